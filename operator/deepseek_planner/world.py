"""What all deployments of a snapshot share while they are weighed, and how much is said of what is not chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from deepseek_planner.asked import Request
from deepseek_planner.catalog import Catalog
from deepseek_planner.demand import RequestClass
from deepseek_planner.hardware import Offering
from deepseek_planner.legal import Laid, Legal, Wiring
from deepseek_planner.market import Market
from deepseek_planner.options import Option
from deepseek_planner.plan import Rejection


class Sizes:
    """What shapes sustain, once it is known: the same whatever else is changed about a request."""

    def __init__(self) -> None:
        self._known: list[tuple[tuple[object, ...], dict[Laid, Option | Rejection]]] = []

    def of(self, asked: Request, classes: Sequence[RequestClass]) -> dict[Laid, Option | Rejection]:
        """Of requests of the same lengths that must keep the same; to be added to."""
        key = asked.demand, asked.limits, asked.wanted[1:], classes
        for known, sizes in self._known:
            if known == key:
                return sizes
        self._known.append((key, {}))
        return self._known[-1][1]


class Telling(IntEnum):
    """How much is said of what is not chosen: more takes longer."""

    NOTHING = 0
    NEEDED = 1
    """Why shapes are refused, and the fleets that each option alone would be, but nothing of shapes larger than one
    that is enough.
    """
    REFUSALS = 2
    """The same of all shapes."""
    EVERYTHING = 3
    """Every alternative with its dollars, too."""


@dataclass(frozen=True, slots=True)
class World:
    """What all deployments of a snapshot share."""

    catalog: Catalog
    offerings: tuple[Offering, ...]
    market: Market
    telling: Telling
    sizes: Sizes | None = None
    """What was sized before, where one deployment is weighed again and again."""
    illegal: dict[tuple[object, ...], tuple[list[Legal], list[Rejection]]] = field(default_factory=dict)
    """Why shapes must not run on pools, whatever is asked of them: the same for deployments of one model. What is
    legal is kept beside it: the key holds its identity.
    """
    wirings: dict[int, Wiring] = field(default_factory=dict)
    """Of offerings by their identity: they live as long as this."""

    def wiring(self, offering: Offering) -> Wiring:
        """What of the offering bears on shapes."""
        known = self.wirings.get(id(offering))
        if known is None:
            between = offering.intra_node, offering.inter_node
            known = self.wirings[id(offering)] = Wiring(offering.accelerator, offering.gpus_per_node, *between)
        return known
