from __future__ import annotations

from deepseek_operator.api.status import PlanStatus
from deepseek_planner.explain import MOST_ALTERNATIVES, MOST_REJECTIONS, alternatives, duration, plan_document, summary
from deepseek_planner.hardware import CapacityType
from support.planning import deployment, objectives, offering, planned

POOLS = (
    offering("t4", "7.824"),
    offering("a100-80gb", "27.4471"),
    offering("h100", "55.04"),
    offering("h100", "18.6838", "h100-spot", capacity_type=CapacityType.SPOT),
    offering("h200", "20.7848", "h200-spot", capacity_type=CapacityType.SPOT),
)


def test_the_document_is_what_the_status_declares() -> None:
    for asked in (deployment(), deployment(objectives=objectives(per_hour="1"))):
        document = plan_document(planned(asked, *POOLS))

        PlanStatus.model_validate(document)
        assert len(document["alternatives"]) <= MOST_ALTERNATIVES
        assert len(document["rejections"]) <= MOST_REJECTIONS
        assert all(len(item["message"]) <= 256 for item in document["rejections"])


def test_dollars_are_decimal_strings_and_times_are_durations() -> None:
    result = planned(deployment(), *POOLS)
    document = plan_document(result)

    assert document["placements"][0]["usdPerHour"].replace(".", "").isdigit()
    assert document["predicted"]["timePerOutputToken"]["p95"].endswith("ms")
    assert sum(item["sharePercent"] for item in document["placements"]) == 100
    assert document["digest"] == result.digest


def test_one_line_per_accelerator_that_cannot_serve() -> None:
    result = planned(deployment(), *POOLS)
    lines = {item.accelerator: item for item in summary(result)}
    told = set(lines) | {item.shape.accelerator for item in result.placements}
    told |= {item.accelerator for item in alternatives(result)}

    assert told == {"t4", "a100-80gb", "h100", "h200"}
    assert lines["t4"].name == "t4-*"


def test_an_infeasible_document_says_what_would_do() -> None:
    document = plan_document(planned(deployment(objectives=objectives(per_hour="1")), *POOLS))

    assert document["placements"] == []
    assert "$/h >= " in document["smallestChange"]
    assert "usdPerHour" not in document


def test_durations_are_go_style() -> None:
    assert [duration(value) for value in (0.0042, 0.0999, 0.62, 1.0, 1.417, 12.5)] == [
        "4.2ms",
        "100ms",
        "620ms",
        "1s",
        "1.42s",
        "12.5s",
    ]
