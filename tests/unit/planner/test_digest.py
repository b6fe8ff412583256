"""The canonical form is JSON as everybody writes it: sorted, without spaces, numbers of nine digits."""

from __future__ import annotations

import json
from dataclasses import replace

from deepseek_planner.digest import canonical_json, digest
from deepseek_planner.plan import DeploymentPlan, Rejection, RejectionReason
from deepseek_planner.search import plan
from deepseek_planner.snapshot import Policy
from support.planning import CATALOG, deployment, snapshot

TEXT = 'say "3 < 4" \\ caf\u00e9\n\x01\u2028\U0001f600'


def planned() -> DeploymentPlan:
    world = snapshot(deployment(), offerings=CATALOG.default_offerings())
    (found,) = plan(world, CATALOG, Policy()).deployments.values()
    odd = [
        Rejection(TEXT, RejectionReason.OVER_BUDGET, "", value, limit, TEXT)
        for value, limit in [(1 / 3, 1e300), (-0.0, 1.5e-7), (10**20, None), (1e16, 1), (float("inf"), float("-inf"))]
    ]
    return replace(found, rejections=(*found.rejections, *odd))


def test_is_what_the_standard_library_writes() -> None:
    text = canonical_json(planned())
    assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def test_holds_everything_but_what_only_explains() -> None:
    found = json.loads(canonical_json(planned()))
    assert not {"digest", "candidates", "warnings"} & found.keys()
    assert "engine_reasons" not in found["placements"][0]
    last = found["rejections"][-5]
    assert (last["name"], last["reason"], last["unit"]) == (TEXT, "OverBudget", TEXT)
    assert (last["value"], last["limit"]) == (0.333333333, 1e300)


def test_last_bits_do_not_show() -> None:
    one = planned()
    assert digest(replace(one, gap_percent=0.1 + 0.2)) == digest(replace(one, gap_percent=0.3))
    assert digest(replace(one, gap_percent=0.3)) != digest(replace(one, gap_percent=0.300001))
