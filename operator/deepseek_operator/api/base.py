"""What the types of the custom resources are made of: a base model and bounded scalars."""

from __future__ import annotations

from typing import Annotated, ClassVar

from annotated_types import Ge, Le, MaxLen, MinLen
from pydantic import BaseModel, ConfigDict, StrictBool, StrictInt, StrictStr

from deepseek_operator.api.rules import (
    ACCELERATOR_NAME,
    AMOUNT,
    AVAILABILITY,
    DURATION,
    DURATION_OR_ZERO,
    MODEL_NAME,
    MONEY,
    Rule,
)


def field_name(name: str) -> str:
    """The JSON name of a Python field: camelCase, with USD in capitals inside a name (``maxUSDPerHour``)."""
    first, *rest = name.split("_")
    return first + "".join("USD" if word == "usd" else word.capitalize() for word in rest)


class Resource(BaseModel):
    """An object of the API: frozen, strict, nothing unknown in it; ``rules`` are claims about it as a whole.

    ``set_keys`` and ``map_keys`` say which lists are sets or keyed, by Python field name.
    """

    model_config = ConfigDict(
        alias_generator=field_name, populate_by_name=True, extra="forbid", frozen=True, defer_build=True
    )

    rules: ClassVar[tuple[Rule, ...]] = ()
    set_keys: ClassVar[tuple[str, ...]] = ()
    map_keys: ClassVar[dict[str, tuple[str, ...]]] = {}


Text = Annotated[StrictStr, MaxLen(256)]
"""Any text of a line's length."""
LongText = Annotated[StrictStr, MaxLen(1024)]
Label = Annotated[StrictStr, MaxLen(63)]
"""Text that fits a label's value."""
Flag = StrictBool
Positive = Annotated[StrictInt, Ge(1), Le(1_000_000)]
Tokens = Annotated[StrictInt, Ge(1), Le(10_000_000)]
Percent = Annotated[StrictInt, Ge(0), Le(100)]
Money = Annotated[StrictInt | Annotated[StrictStr, MaxLen(16)], MONEY]
"""Dollars above zero."""
Amount = Annotated[StrictInt | Annotated[StrictStr, MaxLen(16)], AMOUNT]
"""A number of at least zero without a float."""
Availability = Annotated[StrictInt | Annotated[StrictStr, MaxLen(5)], AVAILABILITY]
"""A percentage of the time, never all of it."""
Duration = Annotated[StrictStr, MaxLen(32), DURATION]
DurationOrZero = Annotated[StrictStr, MaxLen(32), DURATION_OR_ZERO]
ModelName = Annotated[StrictStr, MinLen(1), MaxLen(63), MODEL_NAME]
AcceleratorName = Annotated[StrictStr, MinLen(1), MaxLen(63), ACCELERATOR_NAME]
"""An accelerator by its name, or by an alias that a node, a file or a person uses."""
