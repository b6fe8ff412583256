from __future__ import annotations

import math
from dataclasses import replace

import pytest

from deepseek_planner import legal
from deepseek_planner.asked import request
from deepseek_planner.demand import classes
from deepseek_planner.hardware import InterNode, IntraNode
from deepseek_planner.legal import Wiring
from deepseek_planner.models import Precision
from deepseek_planner.options import Option
from deepseek_planner.plan import Rejection, RejectionReason
from deepseek_planner.precision import loss_rank
from deepseek_planner.snapshot import DeploymentInput, Shape
from deepseek_planner.survey import Enough, Survey, weigh
from support.planning import CATALOG, demand, deployment, lengths, objectives, weighed

QWEN_7B, QWEN_32B = "deepseek-r1-distill-qwen-7b", "deepseek-r1-distill-qwen-32b"
H100 = Wiring("h100", 8, IntraNode.NVLINK, InterNode.EFA)
H200 = Wiring("h200", 8, IntraNode.NVLINK, InterNode.EFA)

Found = tuple[list[Option], list[Rejection]]


def found(asked: DeploymentInput, *places: Wiring, by_length: bool = False) -> list[Found]:
    kinds = classes(asked.demand) if by_length else ()
    return weighed(request(asked, CATALOG, is_measured=False), *places, classes=kinds)


def test_places_weighed_together_are_as_each_alone() -> None:
    asked = deployment("deepseek-v3", objectives=objectives(per_hour="1000"))
    together = found(asked, H100, H200)
    alone = [found(asked, place)[0] for place in (H100, H200)]

    for (first, refused), (second, refused_alone) in zip(together, alone, strict=True):
        assert [one.shape for one in first] == [one.shape for one in second]
        assert [item.name for item in refused] == [item.name for item in refused_alone]
        for one, other in zip(first, second, strict=True):
            assert one.capacity.rate_per_s == pytest.approx(other.capacity.rate_per_s, rel=1e-9)


def test_nodes_of_another_size_offer_the_same_shapes() -> None:
    asked = deployment(QWEN_7B, objectives=objectives(ttft_s=3.0))
    (whole, _), (half, _) = found(asked, H100, H100._replace(gpus_per_node=4))
    small = {one.shape: one for one in half}

    assert small
    for one in whole:
        if one.shape in small:
            assert one is small[one.shape]


def worth_sizing(asked: DeploymentInput, enough: Enough | None) -> set[Shape]:
    wanted = request(asked, CATALOG, is_measured=False)
    places = [(place, lambda _asked, _shape: None) for place in (H100, H200)]
    (weighed_of,) = weigh([Survey(wanted, places, CATALOG, multi_node=False, enough=enough)])
    return {laid.shape for laid, item in weighed_of.items() if isinstance(item, Option)}


def test_no_shape_is_sized_that_is_larger_than_one_that_is_enough() -> None:
    asked = deployment(QWEN_7B, objectives=objectives(ttft_s=3.0))
    everything = worth_sizing(asked, None)
    needed = worth_sizing(asked, Enough(1.0, frozenset()))
    large = max(everything, key=lambda shape: shape.accelerators)

    assert {shape.accelerators for shape in everything} == {1, 2, 4}
    assert needed == {shape for shape in everything if shape.accelerators == 1}
    assert worth_sizing(asked, Enough(1.0, frozenset({(large, "")}))) == needed | {large}, "what runs may go on"
    assert worth_sizing(asked, Enough(1e6, frozenset())) == everything, "nothing is enough for that"


def test_variants_come_after_all_precisions_of_the_own_model() -> None:
    asked = deployment(QWEN_32B, variants=(QWEN_7B, QWEN_32B), objectives=objectives(ttft_s=3.0))
    ((serving, refused),) = found(asked, H100)
    own = [one for one in serving if not one.model]
    other = [one for one in serving if one.model == QWEN_7B]

    assert {one.model for one in serving} == {"", QWEN_7B}
    assert max(one.loss_rank for one in own) < min(one.loss_rank for one in other)
    assert {one.name for one in other} == {f"{QWEN_7B}/{one.shape.name}" for one in other}
    assert max(one.capacity.rate_per_s for one in other) > max(one.capacity.rate_per_s for one in own)
    assert any(item.name.startswith(f"{QWEN_7B}/h100-") for item in refused)


def test_a_measured_loss_comes_before_an_unmeasured_one() -> None:
    model = CATALOG.model("deepseek-v3")
    ranks = {precision: loss_rank(model, precision) for precision in Precision}

    assert model.quality_in(Precision.INT4).is_measured
    assert not model.quality_in(Precision.FP4).is_measured
    assert ranks[Precision.FP8] == 0 < ranks[Precision.BF16] < ranks[Precision.INT4] < ranks[Precision.FP4]
    assert len(set(ranks.values())) == len(ranks)


def test_own_weights_have_no_other_precision_but_their_variants_do() -> None:
    asked = deployment(QWEN_32B, variants=(QWEN_7B,), own_weights=True, objectives=objectives(ttft_s=3.0))
    ((serving, _),) = found(asked, H200)

    assert {one.shape.precision for one in serving if not one.model} == {"bf16"}
    assert len({one.shape.precision for one in serving if one.model}) > 1


def test_loads_say_what_a_class_takes_of_a_replica() -> None:
    asked = deployment(QWEN_7B, objectives=objectives(ttft_s=2.0, tpot_s=0.06, per_hour="1000"))
    ((serving, _),) = found(asked, H100, by_length=True)
    ((plain, _),) = found(asked, H100)
    kinds = classes(asked.demand)

    assert all(not one.loads for one in plain)
    assert serving
    for one in serving:
        assert len(one.loads) == len(kinds)
        assert list(one.loads) == sorted(one.loads), "longer prompts take more"
        mixed = sum(kind.share * load for kind, load in zip(kinds, one.loads, strict=True))
        if math.isfinite(mixed):
            # Classes apart are served better than all of them mixed, but not by much.
            assert 0.4 / one.capacity.rate_per_s < mixed < 1.1 / one.capacity.rate_per_s


def test_a_class_that_misses_the_targets_alone_is_infinite() -> None:
    tail = demand(input_tokens=lengths((1000, 500.0, 0.97), (100_000, 90_000.0, 0.03)))
    asked = deployment(QWEN_7B, demand=tail, objectives=objectives(ttft_s=1.0, tpot_s=0.1, per_hour="1000"))
    ((serving, _),) = found(asked, H100, by_length=True)

    assert serving
    assert all(math.isfinite(one.loads[0]) for one in serving)
    assert any(math.isinf(one.loads[-1]) for one in serving)


def test_a_prediction_is_shared_evenly_by_replicas() -> None:
    asked = deployment(QWEN_7B, objectives=objectives(ttft_s=2.0))
    ((serving, _),) = found(asked, H100)
    one = serving[0]
    rate = one.capacity.rate_per_s
    whole, halves = one.prediction(rate), one.prediction(rate, replicas=2)

    assert whole.utilization_percent == 100.0
    assert halves.utilization_percent == 50.0
    assert halves.time_per_output_token_s < whole.time_per_output_token_s
    assert halves.capacity_requests_per_min == pytest.approx(2 * whole.capacity_requests_per_min)
    assert 0 < whole.prefill_share < 1
    assert one.at_rate(rate / 2).rate_per_s == pytest.approx(rate / 2)
    assert [reason.parameter for reason in one.engine_reasons][:2] == ["maxModelLen", "maxNumSeqs"]


def test_refusals_name_the_number_that_would_pass() -> None:
    asked = deployment("deepseek-v3", objectives=objectives(ttft_s=0.05, tpot_s=None, per_hour="1000"))
    ((serving, refused),) = found(asked, H200)
    slow = [item for item in refused if item.reason is RejectionReason.TTFT_TOO_HIGH]

    assert not serving
    assert slow
    for item in slow:
        assert item.value is not None
        assert item.value > 0.05 == item.limit
        seconds = math.ceil(item.value * 100) / 100 + 0.05
        looser = replace(asked, objectives=objectives(ttft_s=seconds, tpot_s=None, per_hour="1000"))
        ((now, _),) = found(looser, H200)
        assert item.name in {one.name for one in now}


@pytest.mark.parametrize("accelerator", ["l4", "a10g", "l40s", "h100-pcie"])
def test_pipelines_deeper_than_weights_need_would_hardly_sustain_more(
    accelerator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wiring = Wiring(accelerator, 8, CATALOG.accelerator(accelerator).intra_node, InterNode.ETHERNET)
    heavy = demand(input_tokens=lengths((8000, 4000.0, 0.9), (32_000, 20_000.0, 0.1)))
    asked = [
        deployment(model, demand=load, objectives=targets)
        for model in (QWEN_7B, "deepseek-r1-distill-qwen-14b", "deepseek-r1-distill-llama-70b")
        for load in (demand(), heavy)
        for targets in (objectives(), objectives(ttft_s=None, tpot_s=None))
    ]
    looked_at = [{one.shape for one in found(each, wiring)[0][0]} for each in asked]
    monkeypatch.setattr(legal, "FEW_WEIGHTS", 0.0)
    monkeypatch.setattr(legal, "_LEGAL", {})
    left_out = 0
    for each, known in zip(asked, looked_at, strict=True):
        capacity = {one.shape: one.capacity.rate_per_s for one in found(each, wiring)[0][0]}
        assert known <= capacity.keys()
        for shape in capacity.keys() - known:
            left_out += 1
            half = replace(shape, pipeline_parallel=shape.pipeline_parallel // 2)
            assert capacity[shape] < 2.1 * capacity[half]
    assert left_out > 5
