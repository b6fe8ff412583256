"""Why an alternative that would serve alone is not the plan: by the order in which the search chooses, in words."""

from __future__ import annotations

from typing import NamedTuple

from deepseek_planner.units import MicroUsd

DEARER = "dearer than the chosen"
AS_DEAR = "as dear as the chosen"
SHORT = "would serve all of it, but needs more than is left"
"""Of what serves alone, where a plan serves a part or nothing for want of nodes or dollars."""


class Standing(NamedTuple):
    """What the search compares fleets by."""

    usd_per_hour: MicroUsd
    expected_usd_per_hour: MicroUsd
    """With what interruptions lose."""
    reserved_usd_per_hour: MicroUsd
    """Of what is paid for anyway."""
    accelerators: int
    is_variant: bool
    """Whether another model than the deployment's own answers."""
    loss_rank: int
    """Of the precision that loses most: see :func:`asked.loss_rank`."""
    is_measured: bool
    """Whether it is known what the precisions lose."""
    margin_percent: int


def verdict(one: Standing, chosen: Standing) -> str:
    """What speaks against an alternative, in a few words."""
    if one.usd_per_hour > chosen.usd_per_hour:
        return DEARER
    if one.reserved_usd_per_hour < chosen.reserved_usd_per_hour:
        return f"{_price(one, chosen)} by the list: reserved capacity is paid for anyway"
    if one.expected_usd_per_hour > chosen.expected_usd_per_hour:
        return f"{_price(one, chosen)}, but dearer with what interruptions lose"
    if one.usd_per_hour < chosen.usd_per_hour:
        return "cheaper alone, but not beside the other deployments"
    return f"{AS_DEAR}, {_tie(one, chosen)}"


def _price(one: Standing, chosen: Standing) -> str:
    return AS_DEAR if one.usd_per_hour == chosen.usd_per_hour else "cheaper"


def _tie(one: Standing, chosen: Standing) -> str:
    if one.accelerators > chosen.accelerators:
        return "on more accelerators"
    if one.is_variant and not chosen.is_variant:
        return "but another model answers"
    if one.loss_rank > chosen.loss_rank:
        return "but its precision usually loses more" if one.is_measured else "but its loss in quality is unmeasured"
    if one.margin_percent > chosen.margin_percent:
        return "but less surely predicted"
    return "without more room"
