"""The status says what matters, in few bytes, and says it again only when it changed."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from deepseek_operator import events
from deepseek_operator.actual import actual
from deepseek_operator.api.convert import deployment_input
from deepseek_operator.status import MAX_BYTES, deployment_status
from deepseek_operator.view import Refusal, View, summary
from deepseek_planner.demand import LatencyTarget, Measured
from deepseek_planner.errors import Problem
from deepseek_planner.hardware import CapacityType
from deepseek_planner.models import Precision
from deepseek_planner.plan import Alternative, DeploymentPlan, Placement, Rejection, RejectionReason, Shortage
from deepseek_planner.snapshot import DeploymentKey, EngineGroup, Shape
from deepseek_planner.units import micro_usd
from support.objects import deployment
from support.shells import CATALOG, CPU, ENGINE

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
KEY = DeploymentKey("team-a", "chat")
PLACEMENT = Placement(CPU, "machines", CapacityType.SPOT, 2, 100, micro_usd("0.25"), ENGINE)


def planned(**changes):
    values = {
        "key": KEY,
        "model": "deepseek-tiny",
        "placements": (PLACEMENT,),
        "usd_per_hour": micro_usd("0.50"),
        "usd_per_million_tokens": micro_usd("1.07"),
        "prediction": None,
        "demand_source": "declared",
        "planned_requests_per_min": 60.0,
        "alternatives": (),
        "rejections": (),
        "digest": "d",
    }
    return DeploymentPlan(**{**values, **changes})


def group(**changes):
    values = {
        "key": KEY,
        "name": "chat-cpu",
        "launch_hash": "h",
        "shape": CPU,
        "pool": "machines",
        "capacity_type": CapacityType.SPOT,
        "desired": 2,
        "ready": 2,
        "starting": 0,
        "draining": 0,
        "usd_per_replica_hour": micro_usd("0.25"),
    }
    return EngineGroup(**{**values, **changes})


def view(resource=None, **changes):
    resource = resource or deployment()
    values = {
        "resource": resource,
        "input": deployment_input(deployment(), catalog=CATALOG),
        "plan": planned(),
        "groups": (group(),),
        "is_converged": True,
    }
    return View(**{**values, **changes})


def conditions(seen):
    return {item["type"]: item for item in deployment_status(seen, now=NOW)["conditions"]}


def claims(seen):
    return {kind: (item["status"], item["reason"]) for kind, item in conditions(seen).items()}


def after(status, **changes):
    """The same deployment in a later cycle."""
    return view({**deployment(), "status": status}, **changes)


def test_all_is_well():
    assert claims(view()) == {
        "Ready": ("True", "Ready"),
        "Reconciling": ("False", "UpToDate"),
        "Stalled": ("False", "Progressing"),
        "Planned": ("True", "Planned"),
        "WithinBudget": ("True", "WithinBudget"),
        "ObjectivesMet": ("Unknown", "NoMeasurements"),
    }


def test_the_same_world_gives_the_same_status():
    first = deployment_status(view(), now=NOW)
    assert deployment_status(after(first), now=NOW + timedelta(hours=1)) == first


def test_a_condition_keeps_its_time_until_its_status_flips():
    first = deployment_status(view(groups=()), now=NOW)
    later = NOW + timedelta(minutes=5)
    second = deployment_status(after(first, groups=(group(ready=0, starting=2),)), now=later)
    third = deployment_status(after(second), now=later)
    times = [next(c for c in status["conditions"] if c["type"] == "Ready") for status in (first, second, third)]
    assert [(item["status"], item["lastTransitionTime"]) for item in times] == [
        ("False", "2026-11-22T12:00:00Z"),
        ("False", "2026-11-22T12:00:00Z"),
        ("True", "2026-11-22T12:05:00Z"),
    ]


PROBLEMS = (Problem("spec.model.name", '"x"', "is unknown", "use y"), Problem("spec.workload", "-1", "bad", "fix"))


@pytest.mark.parametrize(
    ("changes", "ready", "stalled"),
    [
        ({"groups": ()}, ("False", "EnginesStarting"), "False"),
        ({"groups": (group(ready=0, starting=2, failure="X: y"),)}, ("False", "EngineFailed"), "False"),
        ({"groups": (group(ready=1, starting=1, failure="X: y"),)}, ("True", "EngineFailed"), "False"),
        ({"plan": planned(placements=(), smallest_change="TTFT >= 1 s")}, ("True", "NoFeasiblePlan"), "False"),
        ({"plan": None, "input": None, "problems": PROBLEMS}, ("True", "InvalidSpec"), "True"),
        ({"refusal": Refusal("ApplyRefused", "no", is_lasting=True)}, ("True", "ApplyRefused"), "True"),
        ({"refusal": Refusal("Unreachable", "no", is_lasting=False)}, ("True", "Unreachable"), "False"),
        ({"input": replace(view().input, paused=True)}, ("True", "Paused"), "False"),
    ],
)
def test_the_status_column_names_what_matters_most(changes, ready, stalled):
    found = claims(view(**changes))
    assert found["Ready"] == ready
    assert found["Stalled"][0] == stalled


def test_every_problem_is_in_the_message():
    message = conditions(view(plan=None, input=None, problems=PROBLEMS))["Stalled"]["message"]
    assert message == 'spec.model.name: "x": is unknown; use y | spec.workload: -1: bad; fix'


def test_an_infeasible_request_is_told_what_would_be_feasible():
    found = conditions(view(plan=planned(placements=(), smallest_change="TTFT >= 1.4 s")))
    asked, _, remedy = found["Planned"]["message"].partition("; ")
    assert remedy == "would be feasible: TTFT >= 1.4 s"
    assert asked.startswith("nothing offered meets timeToFirstToken p95 5s")
    assert asked.endswith("maxUSDPerHour 1.00")


def test_a_target_is_told_as_it_was_asked():
    asked = replace(view().input.objectives, time_per_output_token=LatencyTarget(95, 0.0405))
    told = view(plan=planned(placements=()), input=replace(view().input, objectives=asked))
    assert "timePerOutputToken p95 40.5ms" in conditions(told)["Planned"]["message"]


def test_who_gets_less_is_told_of_what_and_who_comes_first():
    short = Shortage(75, "budget", (DeploymentKey("team-b", "docs"),))
    text = "serves 75 % of the planned load: the cluster's budget is short; team-b/docs comes first"
    in_part = conditions(view(plan=planned(shortage=short)))["Planned"]
    assert (in_part["status"], in_part["reason"]) == ("True", "PlannedInPart")
    assert text in in_part["message"]
    nothing = replace(short, served_percent=0, short_of="h200-spot")
    none = conditions(view(plan=planned(placements=(), shortage=nothing, smallest_change="more nodes")))["Planned"]
    assert (none["status"], none["reason"]) == ("False", "CapacityShort")
    assert none["message"].startswith("serves 0 % of the planned load: pool h200-spot is short")
    assert none["message"].endswith("would be feasible: more nodes")
    kept = conditions(view(plan=planned(placements=(), shortage=nothing, smallest_change="more nodes")))["Reconciling"]
    assert (kept["status"], kept["reason"]) == ("False", "CapacityShort")
    assert kept["message"].startswith("what runs is kept until who comes first needs its room")


def test_over_budget_counts_everything_that_is_paid_for():
    limit = replace(view().input, objectives=replace(view().input.objectives, max_usd_per_hour=micro_usd("0.50")))
    assert claims(view(input=limit))["WithinBudget"][0] == "True"
    assert claims(view(input=limit, groups=(group(draining=1),)))["WithinBudget"] == ("False", "OverBudget")
    pending = group(starting=1, unscheduled=1)
    assert claims(view(input=limit, groups=(pending,)))["WithinBudget"][0] == "True"
    assert claims(view(groups=(group(usd_per_replica_hour=None),)))["WithinBudget"] == ("Unknown", "PriceUnknown")


def measured(**changes):
    values = {
        "window_s": 900.0,
        "covered_s": 900.0,
        "requests_per_min": 60.0,
        "peak_requests_per_min": 80.0,
        "mean_input_tokens": 100.0,
        "mean_output_tokens": 30.0,
        "tokens_per_s": 130.0,
        "usd_per_hour": micro_usd("0.50"),
        "usd_per_million_tokens": micro_usd("1.00"),
        "time_to_first_token_s": 0.62,
        "time_per_output_token_s": 0.031,
    }
    return Measured(**{**values, **changes})


def with_measured(**changes):
    return replace(view().input, measured=measured(**changes))


def test_objectives_are_met_or_missed_by_measurement():
    assert claims(view(input=with_measured()))["ObjectivesMet"] == ("True", "ObjectivesMet")
    missed = conditions(view(input=with_measured(time_to_first_token_s=6.0)))["ObjectivesMet"]
    assert (missed["status"], missed["reason"]) == ("False", "ObjectivesMissed")
    assert missed["message"] == "timeToFirstToken p95 is 120% of 5s"


# Numbers that move a little are not written each time


def numbers(before, *, is_due=False, **changes):
    return actual({"actual": before} if before else {}, with_measured(**changes), (group(),), is_due=is_due)


def test_actual_is_written_when_it_means_something():
    first = numbers(None)
    assert first == {
        "window": "15m",
        "usdPerHour": "0.5000",
        "usdPerMillionTokens": "1.00",
        "timeToFirstToken": {"p95": "620ms"},
        "timePerOutputToken": {"p95": "31ms"},
    }
    assert numbers(first, time_to_first_token_s=0.64) == first
    assert numbers(first, time_to_first_token_s=0.64, is_due=True)["timeToFirstToken"] == {"p95": "640ms"}
    assert numbers(first, time_to_first_token_s=0.66)["timeToFirstToken"] == {"p95": "660ms"}
    assert numbers(first, time_to_first_token_s=0.622, is_due=True) == first
    assert numbers(first, time_to_first_token_s=None) != first


def test_an_idle_fleet_costs_what_it_holds_however_its_rate_jitters():
    idle = {"tokens_per_s": 0.0, "usd_per_million_tokens": None}
    first = numbers(None, usd_per_hour=micro_usd("0.47"), **idle)
    assert first["usdPerHour"] == "0.5000"  # two engines at 0.25
    assert numbers(first, usd_per_hour=micro_usd("0.55"), is_due=True, **idle) == first


def test_without_measurements_the_last_ones_stay():
    assert actual({"actual": {"window": "15m"}}, view().input, (), is_due=True) == {"window": "15m"}


def test_the_plan_is_written_again_when_the_decision_is_another():
    first = deployment_status(view(), now=NOW)
    moved = planned(planned_requests_per_min=61.0, digest="e")
    assert deployment_status(after(first, plan=moved, is_due=False), now=NOW)["plan"] == first["plan"]
    assert deployment_status(after(first, plan=moved, is_due=True), now=NOW)["plan"]["requestsPerMinute"] == 61
    idle = planned(planned_requests_per_min=0.0, digest="i")
    assert deployment_status(after(first, plan=idle, is_due=False), now=NOW)["plan"]["requestsPerMinute"] == 0
    more = planned(placements=(replace(PLACEMENT, replicas=3),))
    assert deployment_status(after(first, plan=more, is_due=False), now=NOW)["plan"]["placements"][0]["replicas"] == 3


# Bounds


def test_the_status_stays_small():
    many = tuple(Rejection("r" * 128, RejectionReason.DOES_NOT_FIT, "m" * 256 if i else "the first") for i in range(40))
    others = tuple(Alternative("a" * 128, CapacityType.SPOT, micro_usd("1"), micro_usd("1")) for _ in range(40))
    places = tuple(replace(PLACEMENT, pool="p" * 63) for _ in range(16))
    problems = tuple(Problem("f" * 100, "v" * 100, "m" * 100, "r" * 100) for _ in range(100))
    seen = view(plan=planned(rejections=many, alternatives=others, placements=places), problems=problems)
    status = deployment_status(seen, now=NOW)
    assert len(json.dumps(status)) <= MAX_BYTES
    assert len(status["plan"]["placements"]) == 16
    assert all(len(item["message"]) <= 512 for item in status["conditions"])


@pytest.mark.parametrize(
    ("placements", "expected"),
    [
        ((), ""),
        (((1, Shape("h200", Precision.FP8, 8, 1, 1, 1, 1), CapacityType.SPOT),), "1 x 8 H200 fp8 spot"),
        (
            (
                (1, Shape("h200", Precision.FP8, 8, 1, 1, 1, 1), CapacityType.SPOT),
                (1, Shape("a100-80gb", Precision.INT4, 8, 1, 1, 1, 1), CapacityType.ON_DEMAND),
            ),
            "1 x 8 H200 fp8 spot + 1 x 8 A100-80 int4",
        ),
    ],
)
def test_summary(placements, expected):
    made = [replace(PLACEMENT, replicas=n, shape=shape, capacity_type=kind) for n, shape, kind in placements]
    assert summary(made, ()) == expected


def test_a_long_summary_is_cut_to_64_characters():
    assert len(summary([PLACEMENT] * 9, ())) == 64


# Events


def transitions(before, seen):
    now = deployment_status(seen, now=NOW)
    return [(event.reason, event.warning) for event in events.transitions(seen.resource, before, now)]


def test_events_are_about_what_changed():
    first = deployment_status(view(groups=()), now=NOW)
    assert transitions({}, view(groups=())) == [("Planned", False)]
    assert transitions(first, after(first)) == [("Ready", False)]
    ready = deployment_status(after(first), now=NOW)
    assert transitions(ready, after(ready)) == []
    assert transitions(ready, after(ready, groups=())) == [("NotReady", True)]
    infeasible = planned(placements=(), smallest_change="x")
    assert transitions(ready, after(ready, plan=infeasible)) == [("NoFeasiblePlan", True)]
    outranked = replace(infeasible, shortage=Shortage(0, "machines", (DeploymentKey("team-b", "docs"),)))
    assert transitions(ready, after(ready, plan=outranked)) == [("CapacityShort", True)]
    assert transitions(ready, after(ready, plan=None, input=None, problems=PROBLEMS)) == [("InvalidSpec", True)]
    refused = Refusal("NameTaken", "no", is_lasting=True)
    assert transitions(ready, after(ready, refusal=refused)) == [("ApplyRefused", True)]


def test_every_reason_has_an_action_and_is_a_word():
    for reason in events.Reason:
        assert events._ACTIONS[reason].isalpha()
        assert reason.isalpha()
