"""Laws of the service of a replica: what cannot be, whatever the coefficients."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from deepseek_planner.demand import LatencyTarget, LengthBucket, LengthDistribution
from deepseek_planner.hardware import InterNode, IntraNode
from deepseek_planner.legal import memory_of
from deepseek_planner.models import Precision
from deepseek_planner.plan import EngineParameters
from deepseek_planner.prediction.compiled import Compiled, Setting, compiled
from deepseek_planner.service import Lengths, Limits, Replica, engines, lengths_of
from deepseek_planner.sizing import size
from deepseek_planner.snapshot import Shape
from support.planning import CATALOG

LAW = settings(max_examples=60, deadline=None)
MODELS = ("deepseek-r1", "deepseek-v3.2", "deepseek-v4-flash", "deepseek-v2-lite", "deepseek-r1-distill-qwen-32b")
CUTS = ((1, 1, 1), (2, 1, 1), (8, 1, 1), (1, 1, 8), (2, 1, 4), (2, 2, 1))
NO_LIMITS = Limits(None, None)
TIGHTEST = 1 + 1e-9
FITS = 0.985
"""The search ends within one percent; steps with and without prompts are two fits."""


def steps(model: str, accelerator: str, cut: tuple[int, int, int], wires: IntraNode | None = None) -> Compiled:
    facts, chip = CATALOG.model(model), CATALOG.accelerator(accelerator)
    tensor, pipeline, data = cut
    assume(data == 1 or facts.experts is not None)
    spread = tensor * data if data > 1 else 1
    shape = Shape(chip.name, facts.native_precision, tensor, pipeline, data, spread, 1)
    return compiled(facts, Setting(chip, shape, wires or chip.intra_node, InterNode.ETHERNET, shape.accelerators))


def engine(budget: int = 8192) -> EngineParameters:
    return EngineParameters(200_000, 1024, budget, 40 * 10**9, prefix_caching=True, data_type="bfloat16")


@st.composite
def lengths(draw: st.DrawFn) -> Lengths:
    """Of prompts with a tail, and answers."""
    short = draw(st.integers(200, 4000))
    longest = short * draw(st.integers(2, 12))
    inputs = LengthDistribution((LengthBucket(short, 0.6 * short, 0.8), LengthBucket(longest, 1.5 * short, 0.2)))
    most = draw(st.integers(100, 2000))
    outputs = LengthDistribution((LengthBucket(most, most / 3, 0.9), LengthBucket(4 * most, 1.5 * most, 0.1)))
    return lengths_of(inputs, outputs, shared_prefix_tokens=draw(st.sampled_from([0, 8, 500])))


@st.composite
def replicas(draw: st.DrawFn) -> Replica:
    model = steps(
        draw(st.sampled_from(MODELS)), draw(st.sampled_from(["h100", "h200", "b200"])), draw(st.sampled_from(CUTS))
    )
    budget, most = draw(st.sampled_from([2048, 8192])), draw(st.floats(4, 1000))
    return Replica(model, engine(budget), draw(lengths()), NO_LIMITS, most, 0.35)


def served(one: Replica, running: float, percentile: int = 95) -> tuple[float, float, float]:
    """Rate, TTFT and TPOT."""
    limits = Limits(LatencyTarget(percentile, 1.0), LatencyTarget(percentile, 1.0))
    found = engines([one._replace(limits=limits)]).at(np.array([[running]]))
    return float(found.rate_per_s[0, 0]), float(found.first_token_s[0, 0]), float(found.per_token_s[0, 0])


@LAW
@given(one=replicas())
def test_a_higher_rate_is_never_served_faster(one):
    found = size([one])[0]
    points = found.points

    assert [point.rate_per_s for point in points] == sorted(point.rate_per_s for point in points)
    for early, late in pairwise(points):
        assert late.time_per_output_token_s >= early.time_per_output_token_s
        assert late.time_to_first_token_s >= early.time_to_first_token_s
    assert 0 <= points[-1].prefill_share < 1


@LAW
@given(one=replicas(), running=st.floats(0.1, 200), percentiles=st.sampled_from([(50, 90), (90, 95), (95, 99)]))
def test_a_higher_percentile_is_never_sooner(one, running, percentiles):
    low, high = (served(one, running, percentile) for percentile in percentiles)

    assert high[0] == low[0]
    assert high[1] >= low[1] / TIGHTEST
    assert high[2] >= low[2] / TIGHTEST


@LAW
@given(one=replicas(), limit=st.floats(0.02, 0.5), more=st.floats(1.0, 4.0))
def test_longer_prompts_and_longer_past_are_never_faster(one, limit, more):
    demand = one.demand
    longer = replace(
        demand,
        prefill_mean=demand.prefill_mean * more,
        prefill_at={key: value * more for key, value in demand.prefill_at.items()},
        input_mean=demand.input_mean + demand.prefill_mean * (more - 1),
    )
    cached = replace(demand, input_mean=demand.input_mean * more)
    limits = Limits(LatencyTarget(95, 20 * limit), LatencyTarget(95, limit))
    base, *changed = size([one._replace(demand=kind, limits=limits) for kind in (demand, longer, cached)])
    for found in changed:
        assert found.idle.time_to_first_token_s >= base.idle.time_to_first_token_s / TIGHTEST
        assert found.idle.time_per_output_token_s >= base.idle.time_per_output_token_s * FITS
        if found.capacity is not None:
            assert base.capacity is not None
            assert found.capacity.rate_per_s <= base.capacity.rate_per_s / FITS


@LAW
@given(one=replicas(), limit=st.floats(0.01, 0.5), first=st.floats(0.1, 5.0), looser=st.floats(1.0, 3.0))
def test_looser_targets_smaller_margins_and_more_cache_never_serve_less(one, limit, first, looser):
    def capacity(changed: Replica, factor: float) -> float:
        limits = Limits(LatencyTarget(95, first * factor), LatencyTarget(95, limit * factor))
        found = size([changed._replace(limits=limits)])[0].capacity
        return 0.0 if found is None else found.rate_per_s

    base = capacity(one, 1.0) * 0.99  # the search ends within one percent
    assert capacity(one, looser) >= base
    assert capacity(one._replace(margin=0.15), 1.0) >= base
    assert capacity(one._replace(max_running=one.max_running * looser), 1.0) >= base


@LAW
@given(
    model=st.sampled_from(["deepseek-r1-distill-qwen-32b", "deepseek-r1-distill-llama-8b"]),
    accelerator=st.sampled_from(["a100-80gb", "h100", "h200"]),
    demand=lengths(),
    limit=st.floats(0.03, 0.2),
)
def test_better_wires_are_never_slower(model, accelerator, demand, limit):
    limits = Limits(LatencyTarget(95, 100 * limit), LatencyTarget(95, limit))
    wires = (IntraNode.NVLINK, IntraNode.PCIE_P2P, IntraNode.PCIE)
    cuts = [steps(model, accelerator, (4, 1, 1), one) for one in wires]
    found = size([Replica(cut, engine(), demand, limits, 256, 0.35) for cut in cuts])

    for better, worse in pairwise(found):
        assert better.idle.time_per_output_token_s < worse.idle.time_per_output_token_s
        assert better.idle.time_to_first_token_s < worse.idle.time_to_first_token_s
        if worse.capacity is not None:
            assert better.capacity is not None
            assert better.capacity.rate_per_s > worse.capacity.rate_per_s * 0.98


@LAW
@given(
    model=st.sampled_from(["deepseek-v3", "deepseek-r1-distill-qwen-14b", "deepseek-r1-distill-llama-70b"]),
    accelerator=st.sampled_from(["a100-80gb", "l40s", "h200"]),
    tensor=st.sampled_from([1, 2, 4, 8]),
)
def test_fewer_bits_never_take_more_memory(model, accelerator, tensor):
    facts, chip = CATALOG.model(model), CATALOG.accelerator(accelerator)

    def weights(precision: Precision) -> float:
        return memory_of(facts, Shape(chip.name, precision, tensor, 1, 1, 1, 1), chip).weights

    order = [item for item in (Precision.INT4, Precision.FP8, Precision.BF16) if item in facts.checkpoints]
    found: list[Any] = [weights(item) for item in order]
    assert found == sorted(found)
    assert len(set(found)) == len(found)
