from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from deepseek_planner.calibration import correction
from deepseek_planner.demand import LatencyTarget, Measured
from deepseek_planner.hardware import InterNode
from deepseek_planner.models import Precision
from deepseek_planner.performance import Batch, StepModel, Wires
from deepseek_planner.plan import EngineParameters, Shape
from deepseek_planner.precision import PrecisionChoice
from deepseek_planner.service import Limits, Replica, lengths
from support.planning import CATALOG, CHAT_INPUT, demand

ENGINE = EngineParameters(18432, 256, 8192, 40 * 10**9, prefix_caching=True, data_type="bfloat16")
LIMITS = Limits(LatencyTarget(95, 1.0), LatencyTarget(95, 0.05))


def steps(model: str = "deepseek-r1", accelerator: str = "h200", precision: str = "fp8", **degrees: int) -> StepModel:
    facts, chip = CATALOG.model(model), CATALOG.accelerator(accelerator)
    tensor, pipeline, data = (degrees.get(name, 1) for name in ("tensor", "pipeline", "data"))
    shape = Shape(accelerator, Precision(precision), tensor, pipeline, data, tensor * data if data > 1 else 1, 1)
    choice = PrecisionChoice(shape.precision, shape.precision, "bfloat16")
    return StepModel(
        model=facts,
        shape=shape,
        choice=choice,
        accelerator=chip,
        wires=Wires(chip.intra_node, InterNode.INFINIBAND),
        correction=correction(CATALOG.calibrations, facts, chip, choice, shape),
    )


def replica(limits: Limits = LIMITS, *, max_running: float = 256, **changed: Any) -> Replica:
    return Replica(steps(tensor=8), ENGINE, lengths(demand(**changed)), limits, max_running=max_running)


def test_a_step_is_the_sum_of_its_corrected_operations() -> None:
    model = steps(tensor=8)
    batch = Batch(64, 1500)
    row = model.correction.calibration
    expected = row.decode_k * sum(op.seconds for op in model.ops(batch)) + row.step_s + row.layer_s * 61

    assert model.step_s(batch) == pytest.approx(expected)
    assert {op.name for op in model.ops(batch)} == {
        "attention projections",
        "attention",
        "feed-forward",
        "head",
        "routed experts",
        "communication",
    }


def test_one_request_reads_the_weights_it_uses_and_a_full_batch_reads_them_all() -> None:
    model = steps(tensor=8)
    one, many = ({op.name: op.seconds for op in model.ops(Batch(n, 1500))} for n in (1, 1000))
    # 8 of 256 experts, 2048 wide, over 58 layers, one byte each, an eighth per GPU at 4.8 TB/s.
    assert one["routed experts"] == pytest.approx(8 * 3 * 7168 * 2048 * 58 / 8 / 4.8e12, rel=0.02)
    assert many["routed experts"] == pytest.approx(32 * one["routed experts"], rel=0.02)


def test_sparse_attention_stops_growing_with_the_context() -> None:
    dense, sparse = steps("deepseek-r1", tensor=8), steps("deepseek-v3.2", tensor=8)

    def attention(model: StepModel, context: float) -> float:
        return next(op.seconds for op in model.ops(Batch(32, context)) if op.name == "attention")

    assert attention(dense, 100_000) == pytest.approx(10 * attention(dense, 10_000), rel=0.01)
    assert attention(sparse, 100_000) < 0.4 * attention(dense, 100_000)


def test_data_parallel_attention_keeps_one_cache_per_request() -> None:
    def attention(model: StepModel, requests: float) -> float:
        return next(op.seconds for op in model.ops(Batch(requests, 8000)) if op.name == "attention")

    # Tensor ranks each read the cache of every request; a data-parallel rank only that of its own eighth.
    assert attention(steps(data=8), 64 / 8) < attention(steps(tensor=8), 64)


def test_latencies_and_rate_grow_with_the_requests_that_run() -> None:
    one = replica()
    services = [one.at(running) for running in (1, 4, 16, 64, 128)]

    rates = [item.rate_per_s for item in services if item]
    assert len(rates) == 5
    assert rates == sorted(rates)
    for name in ("time_per_output_token_s", "time_to_first_token_s"):
        values = [getattr(item, name) for item in services]
        assert values == sorted(values)


def test_capacity_is_the_highest_rate_within_targets_and_margin() -> None:
    one = replica()
    capacity = one.capacity(0.15)

    assert capacity is not None
    assert capacity.time_per_output_token_s * 1.15 <= 0.05
    assert capacity.time_to_first_token_s * 1.15 <= 1.0
    wider = one.capacity(0.35)
    assert wider is not None
    assert wider.rate_per_s < capacity.rate_per_s
    loose = replica(Limits(LatencyTarget(95, 2.0), LatencyTarget(95, 0.1))).capacity(0.15)
    assert loose is not None
    assert loose.rate_per_s > capacity.rate_per_s


def test_a_target_that_an_idle_replica_misses_has_no_capacity() -> None:
    assert replica(Limits(None, LatencyTarget(95, 0.005))).capacity(0.15) is None
    assert replica(Limits(LatencyTarget(95, 0.01), None)).capacity(0.15) is None


def test_the_cache_bounds_what_runs_at_once() -> None:
    small, large = (replica(Limits(None, None), max_running=n).capacity(0.15) for n in (8, 200))

    assert small is not None
    assert large is not None
    assert small.rate_per_s < large.rate_per_s / 2


def test_at_rate_meets_the_rate_and_refuses_what_cannot_be_sustained() -> None:
    one = replica(Limits(None, None))
    capacity = one.capacity(0.0)
    assert capacity is not None
    half = one.at_rate(capacity.rate_per_s / 2)

    assert half is not None
    assert half.rate_per_s == pytest.approx(capacity.rate_per_s / 2, rel=0.01)
    assert half.time_per_output_token_s < capacity.time_per_output_token_s
    assert one.at_rate(capacity.rate_per_s * 2) is None


def test_a_higher_percentile_is_never_sooner() -> None:
    found = []
    for percentile in (50, 90, 95, 99):
        service = replica(Limits(LatencyTarget(percentile, 9.0), LatencyTarget(percentile, 9.0))).at(32)
        assert service is not None
        found.append((service.time_to_first_token_s, service.time_per_output_token_s))
    assert found == sorted(found)


def test_a_shared_prefix_is_not_prefilled_again() -> None:
    plain, shared = lengths(demand()), lengths(demand(shared_prefix_tokens=400))

    assert shared.prefill_mean == pytest.approx(plain.prefill_mean - 400)
    assert shared.input_mean == plain.input_mean


def test_measured_means_scale_the_declared_lengths() -> None:
    measured = Measured(900, 900, 100, 120, CHAT_INPUT.mean_tokens * 2, None, 1000, None, None, None, None)
    scaled = lengths(demand(), measured)

    assert scaled.input_mean == pytest.approx(2 * CHAT_INPUT.mean_tokens)
    assert scaled.output_mean == lengths(demand()).output_mean


def test_percentiles_of_a_distribution_interpolate_inside_buckets() -> None:
    assert CHAT_INPUT.at_percentile(50) == 1200
    assert CHAT_INPUT.at_percentile(90) == 4000
    assert CHAT_INPUT.at_percentile(95) == pytest.approx((4000 + 16384) / 2)
    assert replace(CHAT_INPUT, buckets=CHAT_INPUT.buckets[:1]).at_percentile(99) == 1200
