"""Laws of planning, over random pools, demands and limits."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deepseek_planner.digest import canonical_json
from deepseek_planner.hardware import CapacityType, Offering
from deepseek_planner.plan import DeploymentPlan
from deepseek_planner.search import plan
from deepseek_planner.snapshot import Constraints, DeploymentInput, Policy
from deepseek_planner.units import MicroUsd
from support.planning import CATALOG, demand, deployment, objectives, offering, snapshot, weighed_usd

QUICK = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
ROUNDING = 1.005
"""A thousandth of what is reserved is compared in whole micro-dollars."""

cents = st.integers(min_value=50, max_value=12_000)
accelerators = st.sampled_from(["t4", "l4", "a100-80gb", "h100", "h200"])
models = st.sampled_from(
    ["deepseek-r1-distill-qwen-7b", "deepseek-r1-distill-qwen-32b", "deepseek-v2-lite", "deepseek-r1"]
)


@st.composite
def pools(draw: st.DrawFn) -> tuple[Offering, ...]:
    count = draw(st.integers(min_value=1, max_value=4))
    found = []
    for index in range(count):
        kind = draw(st.sampled_from(list(CapacityType)))
        found.append(
            offering(
                draw(accelerators),
                f"{draw(cents) / 100:.2f}",
                f"pool-{index}",
                gpus_per_node=draw(st.sampled_from([1, 2, 4, 8])),
                capacity_type=kind,
                max_nodes=draw(st.integers(min_value=0, max_value=6)),
                interruptions_per_node_day=draw(st.sampled_from([0.0, 0.5])) if kind is CapacityType.SPOT else 0.0,
                startup_s=240.0,
            )
        )
    return tuple(found)


@st.composite
def requests(draw: st.DrawFn, name: str = "chat") -> DeploymentInput:
    expected = draw(st.integers(min_value=1, max_value=600))
    return deployment(
        draw(models),
        name=name,
        demand=demand(expected, expected * draw(st.integers(min_value=1, max_value=4))),
        objectives=objectives(
            ttft_s=draw(st.sampled_from([None, 0.5, 2.0])),
            tpot_s=draw(st.sampled_from([None, 0.02, 0.06])),
            accuracy=draw(st.sampled_from(["Critical", "Balanced", "Economy"])),
            per_hour=str(draw(st.integers(min_value=1, max_value=200))),
            per_million=draw(st.sampled_from([None, "0.50", "5"])),
            priority=draw(st.integers(min_value=0, max_value=2)),
        ),
        constraints=Constraints(
            max_spot_percent=draw(st.sampled_from([0, 50, 100])), max_replicas=draw(st.sampled_from([1, 4, 64]))
        ),
    )


def plan_one(asked: DeploymentInput, offerings: tuple[Offering, ...]) -> DeploymentPlan:
    return plan(snapshot(asked, offerings=offerings), CATALOG, Policy()).deployments[asked.key]


@QUICK
@given(first=requests("a"), second=requests("b"), offerings=pools(), random=st.randoms(use_true_random=False))
def test_the_order_of_the_snapshot_never_shows_in_the_plan(
    first: DeploymentInput, second: DeploymentInput, offerings: tuple[Offering, ...], random: object
) -> None:
    shuffled = list(offerings)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one = plan(snapshot(first, second, offerings=offerings), CATALOG, Policy())
    other = plan(snapshot(second, first, offerings=tuple(shuffled)), CATALOG, Policy())

    assert [canonical_json(item) for item in one.deployments.values()] == [
        canonical_json(item) for item in other.deployments.values()
    ]


@QUICK
@given(asked=requests(), offerings=pools())
def test_what_is_chosen_keeps_every_limit(asked: DeploymentInput, offerings: tuple[Offering, ...]) -> None:
    result = plan_one(asked, offerings)
    if not result.is_feasible:
        assert result.smallest_change or result.obstacle
        assert result.rejections
        return
    limits, by_pool = asked.objectives, {item.pool: item for item in offerings}
    prediction, replicas = result.prediction, sum(item.replicas for item in result.placements)
    assert prediction is not None
    margin = 1 + prediction.margin_percent / 100
    assert result.usd_per_hour <= limits.max_usd_per_hour
    if limits.max_usd_per_million_tokens is not None:
        assert result.usd_per_million_tokens <= limits.max_usd_per_million_tokens
    if limits.time_to_first_token is not None:
        assert prediction.time_to_first_token_s * margin <= limits.time_to_first_token.limit_s * 1.001
    if limits.time_per_output_token is not None:
        assert prediction.time_per_output_token_s * margin <= limits.time_per_output_token.limit_s * 1.001
    assert prediction.capacity_requests_per_min >= result.planned_requests_per_min * 0.999
    assert replicas <= asked.constraints.max_replicas
    spot = sum(item.replicas for item in result.placements if item.capacity_type is CapacityType.SPOT)
    assert 100 * spot <= asked.constraints.max_spot_percent * replicas
    assert sum(item.share_percent for item in result.placements) == 100
    for item in result.placements:
        pool = by_pool[item.pool]
        assert item.replicas * item.shape.accelerators <= pool.max_nodes * pool.gpus_per_node
        assert item.shape.accelerator == pool.accelerator


@QUICK
@given(asked=requests(), offerings=pools(), index=st.integers(min_value=0, max_value=3), percent=st.integers(1, 99))
def test_a_cheaper_offering_never_raises_the_cost(
    asked: DeploymentInput, offerings: tuple[Offering, ...], index: int, percent: int
) -> None:
    chosen = offerings[index % len(offerings)]
    assert chosen.price is not None
    price = replace(chosen.price, usd_per_node_hour=MicroUsd(chosen.price.usd_per_node_hour * percent // 100))
    cheaper = tuple(replace(item, price=price) if item is chosen else item for item in offerings)
    free = replace(
        asked, objectives=replace(asked.objectives, max_usd_per_hour=MicroUsd(10**12), max_usd_per_million_tokens=None)
    )
    before, after = plan_one(free, offerings), plan_one(free, cheaper)

    assert after.is_feasible == before.is_feasible
    if before.is_feasible:
        assert weighed_usd(after) <= weighed_usd(before) * ROUNDING


@QUICK
@given(asked=requests(), offerings=pools(), more=pools())
def test_more_to_choose_from_never_hurts(
    asked: DeploymentInput, offerings: tuple[Offering, ...], more: tuple[Offering, ...]
) -> None:
    added = tuple(replace(item, pool=f"more-{item.pool}") for item in more)
    before, after = plan_one(asked, offerings), plan_one(asked, offerings + added)

    if before.is_feasible:
        assert after.is_feasible
        # What is reserved comes first whatever it costs: what an offer is chosen by are the expected dollars.
        assert weighed_usd(after) <= weighed_usd(before) * ROUNDING


@QUICK
@given(
    asked=requests(),
    offerings=pools(),
    factor=st.floats(min_value=1.0, max_value=4.0, allow_nan=False),
)
def test_less_demand_never_costs_more(asked: DeploymentInput, offerings: tuple[Offering, ...], factor: float) -> None:
    free = replace(asked, objectives=replace(asked.objectives, max_usd_per_million_tokens=None))
    less = replace(
        free,
        demand=replace(
            free.demand,
            expected_requests_per_min=free.demand.expected_requests_per_min / factor,
            peak_requests_per_min=free.demand.peak_requests_per_min / factor,
        ),
    )
    full, small = plan_one(free, offerings), plan_one(less, offerings)

    if full.is_feasible:
        assert small.is_feasible
        assert weighed_usd(small) <= weighed_usd(full) * ROUNDING
