from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from deepseek_planner.demand import LatencyTarget, LengthBucket, LengthDistribution, Measured
from deepseek_planner.hardware import InterNode, IntraNode
from deepseek_planner.models import Precision
from deepseek_planner.plan import EngineParameters
from deepseek_planner.prediction.compiled import Compiled, Setting, compiled
from deepseek_planner.service import Drafting, Limits, Replica, engines, lengths
from deepseek_planner.sizing import Sized, size
from deepseek_planner.slowest import slowest
from deepseek_planner.snapshot import Shape
from support.planning import CATALOG, CHAT_INPUT, demand

ENGINE = EngineParameters(18432, 256, 8192, 40 * 10**9, prefix_caching=True, data_type="bfloat16")
LIMITS = Limits(LatencyTarget(95, 1.0), LatencyTarget(95, 0.05))
NO_LIMITS = Limits(None, None)


def steps(
    model: str = "deepseek-r1",
    accelerator: str = "h200",
    precision: str = "fp8",
    intra_node: IntraNode | None = None,
    **degrees: int,
) -> Compiled:
    chip = CATALOG.accelerator(accelerator)
    tensor, pipeline, data = (degrees.get(name, 1) for name in ("tensor", "pipeline", "data"))
    shape = Shape(accelerator, Precision(precision), tensor, pipeline, data, tensor * data if data > 1 else 1, 1)
    wires = intra_node or chip.intra_node
    return compiled(CATALOG.model(model), Setting(chip, shape, wires, InterNode.ETHERNET, shape.accelerators))


def replica(limits: Limits = LIMITS, *, max_running: float = 256, margin: float = 0.15, **changed: Any) -> Replica:
    return Replica(steps(tensor=8), ENGINE, lengths(demand(**changed)), limits, max_running, margin)


def sized(limits: Limits = LIMITS, **changed: Any) -> Sized:
    return size([replica(limits, **changed)])[0]


def test_latencies_and_rate_grow_with_the_requests_that_run() -> None:
    running = np.array([0.1, 1.0, 4.0, 16.0, 64.0, 128.0])[:, None]
    found = engines([replica()]).at(running)

    for values in (found.rate_per_s, found.first_token_s, found.per_token_s, found.prefill_share):
        assert list(values[:, 0]) == sorted(values[:, 0])


def test_capacity_is_the_highest_rate_within_targets_and_margin() -> None:
    tight = sized().capacity

    assert tight is not None
    assert tight.time_per_output_token_s * 1.15 <= 0.05
    assert tight.time_to_first_token_s * 1.15 <= 1.0
    # No more than one percent below what is possible.
    more = engines([replica()]).at(np.array([[tight.running * 1.01]]))
    assert more.per_token_s[0, 0] * 1.15 > 0.05 or more.first_token_s[0, 0] * 1.15 > 1.0
    wider, loose = sized(margin=0.35).capacity, sized(Limits(LatencyTarget(95, 2.0), LatencyTarget(95, 0.1))).capacity
    assert wider is not None
    assert loose is not None
    assert wider.rate_per_s < tight.rate_per_s < loose.rate_per_s


def test_a_target_that_an_idle_replica_misses_has_no_capacity() -> None:
    for limits in (Limits(None, LatencyTarget(95, 0.005)), Limits(LatencyTarget(95, 0.01), None)):
        found = sized(limits)
        assert found.capacity is None
        assert found.idle.time_per_output_token_s > 0.005


def test_a_target_just_above_what_an_idle_replica_does_has_some_capacity() -> None:
    seconds = sized(NO_LIMITS).idle.time_per_output_token_s * 1.15
    found = sized(Limits(None, LatencyTarget(95, seconds * 1.0001))).capacity

    assert found is not None
    assert found.rate_per_s > 0


def test_the_cache_bounds_what_runs_at_once() -> None:
    small, large = (sized(NO_LIMITS, max_running=n).capacity for n in (8, 200))

    assert small is not None
    assert large is not None
    assert small.running < 8
    assert small.rate_per_s < large.rate_per_s / 2


def test_prompts_never_take_more_of_the_steps_than_they_have_room_for() -> None:
    narrow = replica(NO_LIMITS, max_running=4000)._replace(engine=replace(ENGINE, max_num_batched_tokens=512))
    found = size([narrow])[0].capacity

    assert found is not None
    prompts_per_step = found.running / narrow.demand.output_mean
    assert prompts_per_step * narrow.demand.prefill_mean <= 0.86 * (512 - found.running)


def test_rates_below_the_capacity_are_served_in_between() -> None:
    found = sized(NO_LIMITS)
    assert found.capacity is not None
    highest = found.capacity.rate_per_s
    half = found.at_rate(highest / 2)
    exact = engines([replica(NO_LIMITS)]).at(np.array([[half.running]]))

    assert half.rate_per_s == highest / 2
    assert half.utilization == pytest.approx(0.5)
    assert exact.rate_per_s[0, 0] == pytest.approx(highest / 2, rel=0.02)
    assert exact.per_token_s[0, 0] == pytest.approx(half.time_per_output_token_s, rel=0.02)
    assert exact.first_token_s[0, 0] == pytest.approx(half.time_to_first_token_s, rel=0.05)
    assert found.at_rate(0.0).time_per_output_token_s <= half.time_per_output_token_s
    assert found.at_rate(2 * highest) == found.capacity


def test_many_replicas_at_once_are_sized_as_each_alone() -> None:
    others = [
        replica(),
        Replica(steps(precision="int4", tensor=4), ENGINE, lengths(demand(240, 900)), NO_LIMITS, 90.0, 0.35),
        Replica(
            steps("deepseek-r1", tensor=2, data=4),
            ENGINE,
            lengths(demand(shared_prefix_tokens=300)),
            Limits(LatencyTarget(50, 9.0), LatencyTarget(99, 0.1)),
            700.0,
            0.6,
        ),
        Replica(
            steps("deepseek-r1-distill-qwen-7b", "l4", "bf16", tensor=2), ENGINE, lengths(demand()), LIMITS, 30.0, 0.6
        ),
    ]
    together = size(others)
    alone = [size([one])[0] for one in others]

    for first, second in zip(together, alone, strict=True):
        assert first.idle.time_to_first_token_s == pytest.approx(second.idle.time_to_first_token_s, rel=1e-9)
        assert (first.capacity is None) == (second.capacity is None)
        if first.capacity is not None and second.capacity is not None:
            assert first.capacity.rate_per_s == pytest.approx(second.capacity.rate_per_s, rel=1e-9)


def test_a_higher_percentile_is_never_sooner() -> None:
    found = []
    for percentile in (50, 90, 95, 99):
        limits = Limits(LatencyTarget(percentile, 9.0), LatencyTarget(percentile, 9.0))
        service = engines([replica(limits)]).at(np.array([[32.0]]))
        found.append((service.first_token_s[0, 0], service.per_token_s[0, 0]))
    assert found == sorted(found)


def test_data_parallel_attention_keeps_one_cache_per_request() -> None:
    def decode(model: Compiled, running: float) -> float:
        return float(
            engines([Replica(model, ENGINE, lengths(demand()), LIMITS, 2000, 0.15)])
            .at(np.array([[running]]))
            .per_token_s[0, 0]
        )

    # Tensor ranks each read the cache of every request; a data-parallel rank only that of its own eighth.
    few, many = decode(steps(data=8), 64.0), decode(steps(data=8), 1024.0)
    assert many - few < decode(steps(tensor=8), 1024.0) - decode(steps(tensor=8), 64.0)


def test_wires_without_peer_access_are_slower() -> None:
    def token_s(wires: IntraNode) -> float:
        model = steps("deepseek-r1-distill-qwen-32b", "a100-80gb", "bf16", wires, tensor=4)
        one = Replica(model, ENGINE, lengths(demand()), LIMITS, 200, 0.15)
        return float(engines([one]).at(np.array([[16.0]])).per_token_s[0, 0])

    assert token_s(IntraNode.NVLINK) < token_s(IntraNode.PCIE_P2P) < token_s(IntraNode.PCIE)


def test_what_takes_the_time_is_named_with_what_binds_it() -> None:
    assert "routed experts (bandwidth)" in slowest(replica(), 64.0)
    long = lengths(demand(input_tokens=replace(CHAT_INPUT, buckets=CHAT_INPUT.buckets[-1:])))
    model = steps("deepseek-r1-distill-llama-8b", "h100", "fp8")
    one = Replica(model, ENGINE, replace(long, input_mean=60_000), LIMITS, 64, 0)
    assert "attention (KV)" in slowest(one, 32.0)
    tiny = Replica(steps("deepseek-tiny", "cpu", "bf16"), ENGINE, lengths(demand()), LIMITS, 16, 0.15)
    assert slowest(tiny, 0.0).startswith("engine overhead (latency) 22 ms of")
    full = size([replica(NO_LIMITS, max_running=20)])[0].capacity
    assert full is not None
    assert slowest(replica(max_running=20), full.running).endswith("; KV cache and engine hold 20 requests at once")
    assert ";" not in slowest(replica(max_running=20), full.running / 2)


def test_drafts_answer_sooner_when_few_run_and_buy_nothing_when_many_do() -> None:
    plain, drafting = replica(), replica()._replace(drafting=Drafting(1))

    def token_s(one: Replica, running: float) -> float:
        return float(engines([one]).at(np.array([[running]])).per_token_s[0, 0])

    assert Drafting(1).accepted == pytest.approx(1.85)
    assert Drafting(2).accepted == pytest.approx(1 + 0.85 + 0.85**2)
    gains = [token_s(plain, running) / token_s(drafting, running) for running in (0.1, 16.0, 256.0)]
    # vLLM's own runs: 1.63 times as fast at 1 request/s (pull request 12755).
    assert 1.3 < gains[0] < 1.85
    assert gains == sorted(gains, reverse=True)


def test_a_shared_prefix_is_not_prefilled_again() -> None:
    plain, shared = lengths(demand()), lengths(demand(shared_prefix_tokens=400))

    assert shared.prefill_mean == pytest.approx(plain.prefill_mean - 400)
    assert shared.input_mean == plain.input_mean
    saved, full = sized(shared_prefix_tokens=400).capacity, sized().capacity
    assert saved is not None
    assert full is not None
    assert saved.rate_per_s > full.rate_per_s


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


def test_long_answers_to_long_prompts_are_met_more_often() -> None:
    """The same prompts and the same answers, put together in three ways."""
    apart = (LengthBucket(1000, 500.0, 0.9), LengthBucket(20_000, 15_000.0, 0.1))
    alike, unlike = (
        tuple(replace(bucket, answer_tokens=tokens) for bucket, tokens in zip(apart, means, strict=True))
        for means in ((100.0, 900.0), (200.0, 20.0))
    )
    limits = Limits(None, LatencyTarget(95, 0.05))
    found = [replica(limits, input_tokens=LengthDistribution(prompts)) for prompts in (unlike, apart, alike)]
    longer = [one.demand.running_longer for one in found]

    # Weighed by their answers: 0.9 * 100 * 500 and 0.1 * 900 * 15,000 over 180.
    assert longer[0] < 0.0 == longer[1]
    assert longer[2] == pytest.approx((0.9 * 100 * 500 + 0.1 * 900 * 15_000) / 180 - 1950)
    # Nothing else tells them apart.
    assert len({replace(one.demand, running_longer=0.0).context for one in found}) == 1
    fastest, middle, slowest_rate = (one.capacity.rate_per_s for one in size(found) if one.capacity)
    assert fastest > middle > slowest_rate
