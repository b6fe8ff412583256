"""The plan as text: what is told of mixed fleets, of shortage, of risk, and of what to beware."""

from __future__ import annotations

from dataclasses import replace

from deepseek_operator.cli.explained import candidates_screen, matrix_screen
from deepseek_operator.cli.screens import plan_screen
from deepseek_planner.hardware import CapacityType
from deepseek_planner.matrix import Cell, Row
from deepseek_planner.models import Precision
from deepseek_planner.plan import DeploymentPlan, Shortage
from deepseek_planner.search import plan
from deepseek_planner.snapshot import DeploymentKey, Policy
from deepseek_planner.units import MicroUsd, micro_usd
from support.planning import CATALOG, deployment, offering, snapshot

POOLS = (offering("h200", "63.296"), offering("h200", "20.7848", "h200-spot", capacity_type=CapacityType.SPOT))
ASKED = deployment(variants=("deepseek-r1-distill-qwen-32b",))
MODELS = {name: CATALOG.model(name) for name in ("deepseek-v3", "deepseek-r1-distill-qwen-32b")}
PLANNED = plan(snapshot(ASKED, offerings=POOLS), CATALOG, Policy(), explains=True).deployments[ASKED.key]


def screen(planned: DeploymentPlan) -> str:
    return plan_screen(ASKED, planned, MODELS, {DeploymentKey("team-b", "docs"): 10})


def test_each_part_of_a_mixed_fleet_says_its_share_its_model_and_its_prompts() -> None:
    first = replace(PLANNED.placements[0], share_percent=70, input_tokens=(0, 1200))
    second = replace(first, share_percent=30, input_tokens=(1200, 16384), model="deepseek-r1-distill-qwen-32b")

    lines = screen(replace(PLANNED, placements=(first, second))).splitlines()

    assert any(line.startswith("   70 %") and line.endswith("prompts <= 1,200 tokens") for line in lines)
    assert any(
        "of deepseek-r1-distill-qwen-32b" in line and line.endswith("prompts > 1,200 and <= 16,384 tokens")
        for line in lines
    )


def test_shortage_names_who_comes_first_and_warnings_follow() -> None:
    short = Shortage(60, "h200-spot", (DeploymentKey("team-b", "docs"), DeploymentKey("team-c", "x")))
    more = "more nodes in h200-spot"
    text = screen(replace(PLANNED, shortage=short, smallest_change=more, warnings=("prices are 125 days old",)))

    assert (
        "serves 60 % of the planned load: pool h200-spot is short; team-b/docs (priority 10), team-c/x come first"
        in text
    )
    assert "warning  prices are 125 days old" in text
    assert f"all of it with: {more}" in text
    assert "%" in screen(PLANNED).partition("also works")[2]
    assert "%" not in text.partition("also works")[2], "less than all of it is no measure for the price of all of it"
    equal = screen(replace(PLANNED, shortage=Shortage(60, "h200-spot", (), (DeploymentKey("team-b", "docs"),))))
    assert "pool h200-spot is short; shared with team-b/docs of the same priority\n" in equal
    budget = screen(replace(PLANNED, shortage=Shortage(0, "budget", ())))
    assert "serves 0 % of the planned load: the cluster's budget is short\n" in budget


def test_risk_is_told_where_spot_is_used_and_the_gap_where_there_is_one() -> None:
    told = replace(PLANNED, availability_percent=99.318, expected_usd_per_hour=micro_usd("43.10"), gap_percent=0.42)
    safe = replace(told, placements=tuple(replace(p, capacity_type=CapacityType.ON_DEMAND) for p in told.placements))

    assert "spot: carries the planned load 99.31 % of the time, $43.10/h expected with interruptions" in screen(told)
    assert "at most 0.42 % cheaper" in screen(told)
    assert "spot: " not in screen(safe)
    assert "cheaper" not in screen(replace(told, gap_percent=0.0))


def test_reserved_capacity_is_said_to_come_first() -> None:
    own = tuple(replace(item, capacity_type=CapacityType.RESERVED) for item in PLANNED.placements)

    assert "reserved capacity is paid for anyway" in screen(replace(PLANNED, placements=own))
    assert "reserved" not in screen(PLANNED)


def test_every_priced_alternative_is_a_line_and_the_others_are_counted() -> None:
    text = candidates_screen(PLANNED, ASKED.model)
    priced = [item for item in PLANNED.candidates if item.prediction]

    assert all(f"{item.replicas} x {item.name}" in text for item in priced)
    assert f"and {len(PLANNED.candidates) - len(priced)} were refused" in text
    assert sum(line.startswith("   *") for line in text.splitlines()) == sum(item.is_chosen for item in priced)


def test_the_matrix_marks_the_cheapest_what_is_over_budget_and_what_the_class_forbids() -> None:
    def cell(precision: Precision, usd: str, **changed: object) -> Cell:
        plain = Cell(precision, "2 x h200", micro_usd(usd), micro_usd("2"), "", True, False, False)
        return replace(plain, **changed)

    row = Row(
        "as asked",
        "sized for 900 requests/min",
        (
            cell(Precision.FP8, "40", is_cheapest=True),
            cell(Precision.INT8, "400", is_over_budget=True),
            cell(Precision.INT4, "30", is_allowed=False),
            Cell(Precision.BF16, "", MicroUsd(0), MicroUsd(0), "does not fit", True, False, False),
        ),
    )
    text = matrix_screen([row])

    for word in ("40.00*", "400.00!", "30.00", "does not fit", "int4 -"):
        assert word in text
    assert matrix_screen([]) == ""
