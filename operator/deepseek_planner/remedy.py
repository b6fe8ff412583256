"""What would make an infeasible request feasible: the smallest change of one limit, or of several together.

Every change that is named was asked: with it, and with nothing else, there is a plan. Where no change is known that
would do, what stands in the way is said instead.
"""

from __future__ import annotations

from collections.abc import Sequence

from deepseek_planner import concessions, provisions
from deepseek_planner.plan import Rejection, RejectionReason
from deepseek_planner.snapshot import DeploymentInput
from deepseek_planner.what_if import Ask, Case, Change, passes

MOST = 3
"""Changes that are named: more is a list to read, not an answer."""

SINGLE: tuple[Change, ...] = (
    concessions.AVAILABILITY,
    concessions.FIRST_TOKEN,
    concessions.PER_OUTPUT_TOKEN,
    concessions.PER_HOUR,
    concessions.PER_MILLION_TOKENS,
    concessions.MOST_REPLICAS,
    concessions.FEWEST_REPLICAS,
    concessions.SPOT_PERCENT,
    concessions.CAPACITY_TYPES,
    concessions.ACCELERATORS,
    concessions.ZONES,
    concessions.NODE_SELECTOR,
    concessions.ACCURACY,
    concessions.LONGEST_PROMPT,
    provisions.MULTI_NODE,
    provisions.NAMESPACES,
    provisions.PRICES,
    concessions.LOAD,
    provisions.NODES,
)
"""In the order in which they are named."""

TOGETHER: tuple[Change, ...] = (
    provisions.NODES,
    provisions.PRICES,
    provisions.NAMESPACES,
    provisions.MULTI_NODE,
    concessions.LOAD,
    concessions.LONGEST_PROMPT,
    concessions.FEWEST_REPLICAS,
    concessions.ACCURACY,
    concessions.NODE_SELECTOR,
    concessions.ZONES,
    concessions.ACCELERATORS,
    concessions.CAPACITY_TYPES,
    concessions.SPOT_PERCENT,
    concessions.MOST_REPLICAS,
    concessions.AVAILABILITY,
    concessions.PER_OUTPUT_TOKEN,
    concessions.FIRST_TOKEN,
    concessions.PER_MILLION_TOKENS,
    concessions.PER_HOUR,
)
"""What is kept as it is sooner comes first; dollars come last, so that they pay for what the others leave."""


def smallest_change(case: Case, rejections: Sequence[Rejection], ask: Ask) -> str:
    """Changes each of which alone would do, or else what it takes together; empty where nothing is known to."""
    met, found = {item.reason for item in rejections}, list[str]()
    for change in SINGLE:
        is_met = not change.reasons or bool(change.reasons & met)
        if len(found) < MOST and is_met and change.lifted(case) is not None:
            said = change.smallest(case, ask, rejections)
            found += [] if said is None else [said.text]
    return ", or ".join(found) or _together(case, ask)


def _together(case: Case, ask: Ask) -> str:
    """Everything is lifted; then what can be as it was asked is, and the rest is as near to it as serves."""
    free = _lifted(case, TOGETHER)
    if not passes(free, ask):
        return ""
    needed = list(TOGETHER)
    for change in TOGETHER:
        others = [item for item in needed if item is not change]
        if change.lifted(case) is None or passes(_lifted(case, others), ask):
            needed = others
    texts: list[str] = []
    for place, change in enumerate(needed, start=1):
        said = change.smallest(_lifted(case, needed[place:]), ask, ())
        if said is None:
            return ""
        texts.append(said.text)
        case = said.applied(case)
    return " and ".join(texts) + (" together" if len(texts) > 1 else "")


def _lifted(case: Case, changes: Sequence[Change]) -> Case:
    for change in changes:
        case = change.lifted(case) or case
    return case


def obstacle(deployment: DeploymentInput, rejections: Sequence[Rejection]) -> str:
    """What stands in the way where no change is known that would do; never empty."""
    if not any(item.accelerator for item in rejections):
        return "no pool is offered; declare an AcceleratorPool or add nodes with accelerators"
    if any(item.reason is RejectionReason.DID_NOT_START for item in rejections):
        return (
            "engines were given up wherever they would serve; they are tried again later, or after an edit of the spec"
        )
    models = " or ".join((deployment.model, *deployment.variants))
    return f"nothing that is offered can run {models}; offer larger accelerators, or a smaller model as a variant"
