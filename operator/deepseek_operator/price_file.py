"""The operator's own price list: a CSV that is read again whenever it changes, as a mounted ConfigMap does."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import date
from pathlib import Path

from deepseek_operator.errors import SettingsError
from deepseek_planner.catalog import Catalog
from deepseek_planner.errors import InputError, Problem
from deepseek_planner.price_list import OwnPrice, parse

logger = logging.getLogger(__name__)


class PriceFile:
    """The catalogue with the prices that the file holds now; ``today`` is asked for the day in UTC.

    A file that was good and no longer is changes nothing but the note: prices that jump because of a slip of the pen
    would move engines. One that is bad from the start raises SettingsError, for then there is nothing to go on with.
    """

    def __init__(self, path: str, shipped: Catalog, *, today: Callable[[], date]) -> None:
        self._path = Path(path)
        self._shipped = shipped
        self._today = today
        try:
            self._text = _read(self._path)
            self._catalog = self._good = shipped.with_prices(self._parsed(self._text))
        except InputError as error:
            raise SettingsError(tuple(f"DEEPSEEK_PRICE_FILE: {problem}" for problem in error.problems)) from None

    def catalog(self) -> Catalog:
        """As of now: cheap where nothing has changed."""
        try:
            text = _read(self._path)
            if text == self._text and self._catalog is self._good:
                return self._good
            own = self._parsed(text)
        except InputError as error:
            return self._keep(error)
        self._text = text
        self._catalog = self._good = self._shipped.with_prices(own)
        logger.info("%s: %d prices are in force", self._path, len(own))
        return self._good

    def _parsed(self, text: str) -> tuple[OwnPrice, ...]:
        return parse(text, self._path.name, today=self._today())

    def _keep(self, error: InputError) -> Catalog:
        first, *more = error.problems
        note = f"the price file cannot be used and the one before it stands: {first}"
        note += f" (and {len(more)} more)" if more else ""
        if note != self._catalog.price_note:
            logger.error("%s", "\n".join(str(problem) for problem in error.problems))
            self._catalog = self._good.with_note(note)
        return self._catalog


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        problem = Problem(path.name, str(path), f"cannot be read ({reason})", "give the path of a CSV file")
        raise InputError((problem,)) from None
