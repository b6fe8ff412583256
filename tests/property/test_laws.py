"""Laws of the whole planner, over random clusters: many deployments that compete for scarce pools and budgets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from deepseek_planner import search
from deepseek_planner.demand import AccuracyClass, LatencyTarget, Objectives
from deepseek_planner.digest import canonical_json
from deepseek_planner.plan import DeploymentPlan, Placement, Plan
from deepseek_planner.search import plan
from deepseek_planner.snapshot import EngineGroup, Fleet, Policy, Routing, Snapshot
from deepseek_planner.units import MicroUsd
from support.feasibility import problems
from support.planning import CATALOG, weighed_usd
from support.worlds import small_world, world

QUICK = settings(
    max_examples=12,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],  # a smaller seed is not a smaller world
    suppress_health_check=[HealthCheck.too_slow],
)
FREE = MicroUsd(10**12)

seeds = st.integers(min_value=0, max_value=10**6)
routings = st.sampled_from(list(Routing))


def cluster(seed: int) -> Snapshot:
    """Four kinds of model on about ten nodes."""
    return world(seed, CATALOG, deployments=5, nodes=12)


def planned(snapshot: Snapshot, policy: Policy) -> Plan:
    return plan(snapshot, CATALOG, policy)


def text(found: Plan) -> list[str]:
    return [canonical_json(item) for item in found.deployments.values()]


def cost(found: Plan) -> int:
    return sum(item.usd_per_hour for item in found.deployments.values())


def is_served(found: Plan) -> bool:
    """Whether everybody gets all of what was asked for."""
    return all(item.is_feasible and item.shortage is None for item in found.deployments.values())


@QUICK
@given(seed=seeds, running=st.booleans())
def test_shapes_larger_than_one_that_is_enough_make_no_plan_better(seed: int, running: bool) -> None:
    """Of a crowd nobody looks at them; what cannot be served is told the same."""
    for empty in (cluster(seed), small_world(seed, CATALOG)):
        snapshot = replace(empty, fleet=fleet_of(planned(empty, Policy()))) if running else empty
        of_few = planned(snapshot, Policy()).deployments
        with patch.object(search, "CROWD", 0):
            of_crowd = planned(snapshot, Policy()).deployments

        assert sum(map(weighed_usd, of_crowd.values())) == pytest.approx(sum(map(weighed_usd, of_few.values())))
        for key, item in of_few.items():
            other = of_crowd[key]
            assert (other.shortage is None, other.is_feasible) == (item.shortage is None, item.is_feasible)
            if not item.is_feasible and item.shortage is None:
                assert (other.smallest_change, other.obstacle) == (item.smallest_change, item.obstacle)
                assert other.rejections == item.rejections


@QUICK
@example(seed=0, routing=Routing.BY_LENGTH)  # offers with loads by class beside offers without
@given(seed=seeds, routing=routings)
def test_a_plan_is_feasible_by_rules_that_know_nothing_of_the_search(seed: int, routing: Routing) -> None:
    for snapshot in (cluster(seed), small_world(seed, CATALOG)):
        policy = Policy(routing=routing)
        assert problems(snapshot, planned(snapshot, policy), CATALOG, policy) == []


def feasible_plan() -> tuple[Snapshot, Plan, DeploymentPlan]:
    """A plan to break: its largest deployment has one placement."""
    snapshot = cluster(3)
    found = planned(snapshot, Policy())
    return snapshot, found, max(found.deployments.values(), key=lambda item: item.usd_per_hour)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda item: replace(item, replicas=item.replicas + 100), "no room"),
        (lambda item: replace(item, usd_per_replica_hour=MicroUsd(1)), "costs more than the plan says"),
        (lambda item: replace(item, shape=replace(item.shape, accelerator="cpu")), "another kind of pool"),
        (lambda item: replace(item, share_percent=item.share_percent - 1), "shares"),
        (lambda item: replace(item, replicas=0), "an empty placement"),
    ],
)
def test_the_rules_find_what_is_wrong(change: Callable[[Placement], Placement], said: str) -> None:
    snapshot, found, chosen = feasible_plan()
    broken = replace(chosen, placements=(change(chosen.placements[0]), *chosen.placements[1:]))
    wrong = problems(snapshot, Plan({**found.deployments, chosen.key: broken}), CATALOG, Policy())

    assert any(said in text for text in wrong), wrong


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda item: replace(item, max_usd_per_hour=MicroUsd(1)), "1 allowed"),
        (lambda item: replace(item, max_usd_per_million_tokens=MicroUsd(1)), "per million tokens"),
        (lambda item: replace(item, time_per_output_token=LatencyTarget(95, 1e-6)), "TPOT"),
        (lambda item: replace(item, time_to_first_token=LatencyTarget(95, 1e-6)), "TTFT"),
        (lambda item: replace(item, accuracy_class=AccuracyClass.CRITICAL), "may not serve"),
    ],
)
def test_the_rules_find_what_was_promised_and_not_kept(change: Callable[[Objectives], Objectives], said: str) -> None:
    snapshot = world(2, CATALOG, deployments=12, nodes=60)
    changed = replace(
        snapshot,
        deployments=tuple(replace(item, objectives=change(item.objectives)) for item in snapshot.deployments),
    )
    wrong = problems(changed, planned(snapshot, Policy()), CATALOG, Policy())

    assert any(said in text for text in wrong), wrong


@QUICK
@given(seed=seeds, routing=routings, shuffle=st.integers(min_value=0))
def test_the_order_of_a_cluster_never_shows(seed: int, routing: Routing, shuffle: int) -> None:
    snapshot, random = cluster(seed), Random(shuffle)
    other = replace(
        snapshot,
        deployments=tuple(random.sample(snapshot.deployments, len(snapshot.deployments))),
        offerings=tuple(random.sample(snapshot.offerings, len(snapshot.offerings))),
    )

    assert text(planned(snapshot, Policy(routing=routing))) == text(planned(other, Policy(routing=routing)))


def fleet_of(found: Plan) -> Fleet:
    """Engines that run exactly what the plan says."""
    return Fleet(
        tuple(
            EngineGroup(
                key=item.key,
                name=f"{item.key.name}-{index}",
                launch_hash=str(index),
                shape=placement.shape,
                pool=placement.pool,
                capacity_type=placement.capacity_type,
                desired=placement.replicas,
                ready=placement.replicas,
                starting=0,
                draining=0,
                usd_per_replica_hour=placement.usd_per_replica_hour,
            )
            for item in found.deployments.values()
            for index, placement in enumerate(item.placements)
        )
    )


@QUICK
@given(seed=seeds, routing=routings)
def test_a_fleet_that_is_the_plan_is_planned_again(seed: int, routing: Routing) -> None:
    snapshot, policy = cluster(seed), Policy(routing=routing)
    first = planned(snapshot, policy)
    second = planned(replace(snapshot, fleet=fleet_of(first)), policy)

    assert [item.placements for item in second.deployments.values()] == [
        item.placements for item in first.deployments.values()
    ]


@QUICK
@given(seed=seeds, percent=st.integers(min_value=1, max_value=100))
def test_a_clusters_limit_is_never_exceeded(seed: int, percent: int) -> None:
    snapshot = cluster(seed)
    limit = MicroUsd(cost(planned(snapshot, Policy())) * percent // 100)
    policy = Policy(max_usd_per_hour=limit)
    found = planned(snapshot, policy)

    assert problems(snapshot, found, CATALOG, policy) == []
    assert cost(found) <= limit


def without_limits(snapshot: Snapshot) -> Snapshot:
    """Nobody is refused for money: then what is paid may only fall when something gets cheaper."""
    return replace(
        snapshot,
        deployments=tuple(
            replace(
                item,
                objectives=replace(item.objectives, max_usd_per_hour=FREE, max_usd_per_million_tokens=None),
            )
            for item in snapshot.deployments
        ),
    )


def priced(snapshot: Snapshot, index: int, percent: int) -> Snapshot:
    """One pool at so many percent of its price."""
    chosen = snapshot.offerings[index % len(snapshot.offerings)]
    assert chosen.price is not None
    price = replace(chosen.price, usd_per_node_hour=MicroUsd(chosen.price.usd_per_node_hour * percent // 100))
    return replace(
        snapshot,
        offerings=tuple(replace(item, price=price) if item is chosen else item for item in snapshot.offerings),
    )


def expected_cost(found: Plan) -> float:
    return sum(weighed_usd(item) for item in found.deployments.values())


def slack(*plans: Plan) -> float:
    """By how much plans may be off the best: proven by the search."""
    return 1.0 + sum(max(item.gap_percent for item in found.deployments.values()) for found in plans) / 100 + 1e-6


@QUICK
@given(seed=seeds, index=st.integers(0, 9), percent=st.integers(10, 99), routing=routings)
def test_a_cheaper_pool_never_makes_the_cluster_dearer(seed: int, index: int, percent: int, routing: Routing) -> None:
    snapshot, policy = without_limits(cluster(seed)), Policy(routing=routing)
    before, after = planned(snapshot, policy), planned(priced(snapshot, index, percent), policy)

    assert [item.is_feasible for item in after.deployments.values()] == [
        item.is_feasible for item in before.deployments.values()
    ]
    if is_served(before):
        assert expected_cost(after) <= expected_cost(before) * slack(before, after)


@QUICK
@given(seed=seeds, factor=st.floats(min_value=1.0, max_value=3.0), routing=routings)
def test_more_load_never_costs_less(seed: int, factor: float, routing: Routing) -> None:
    full = without_limits(cluster(seed))
    less = replace(
        full,
        deployments=tuple(
            replace(
                item,
                demand=replace(
                    item.demand,
                    expected_requests_per_min=item.demand.expected_requests_per_min / factor,
                    peak_requests_per_min=item.demand.peak_requests_per_min / factor,
                ),
            )
            for item in full.deployments
        ),
    )
    large, small = planned(full, Policy(routing=routing)), planned(less, Policy(routing=routing))

    if is_served(large):
        assert is_served(small)
        assert expected_cost(small) <= expected_cost(large) * slack(large, small)


def served(found: Plan, snapshot: Snapshot, priority: int) -> list[int]:
    """Percent that each deployment of a priority gets, ascending: the worst off come first."""
    shares = []
    for item in snapshot.deployments:
        if item.objectives.priority == priority:
            planned_item = found.deployments[item.key]
            whole = 100 if planned_item.is_feasible else 0
            shares.append(whole if planned_item.shortage is None else planned_item.shortage.served_percent)
    return sorted(shares)


@QUICK
@given(seed=seeds, routing=routings)
def test_lower_priorities_take_nothing_from_higher_ones(seed: int, routing: Routing) -> None:
    snapshot, policy = cluster(seed), Policy(routing=routing)
    highest = max(item.objectives.priority for item in snapshot.deployments)
    first = tuple(item for item in snapshot.deployments if item.objectives.priority == highest)
    alone = replace(snapshot, deployments=first)

    together, by_themselves = planned(snapshot, policy), planned(alone, policy)

    assert served(together, snapshot, highest) == served(by_themselves, alone, highest)


@QUICK
@given(seed=seeds, index=st.integers(0, 9), more=st.integers(1, 5), routing=routings)
def test_more_nodes_never_serve_less_nor_cost_more(seed: int, index: int, more: int, routing: Routing) -> None:
    snapshot, policy = without_limits(cluster(seed)), Policy(routing=routing)
    chosen = snapshot.offerings[index % len(snapshot.offerings)]
    larger = replace(
        snapshot,
        offerings=tuple(
            replace(item, max_nodes=item.max_nodes + more) if item is chosen else item for item in snapshot.offerings
        ),
    )
    before, after = planned(snapshot, policy), planned(larger, policy)

    for priority in sorted({item.objectives.priority for item in snapshot.deployments}, reverse=True):
        # Beyond the first priority that is better off, others may be worse off.
        one, other = served(before, snapshot, priority), served(after, larger, priority)
        assert one <= other
        if one != other:
            return
    assert expected_cost(after) <= expected_cost(before) * slack(before, after)


def test_a_seed_makes_one_world() -> None:
    assert world(7, CATALOG, deployments=20, nodes=30) == world(7, CATALOG, deployments=20, nodes=30)
    assert world(7, CATALOG, deployments=20, nodes=30) != world(8, CATALOG, deployments=20, nodes=30)
    assert small_world(7, CATALOG) == small_world(7, CATALOG)


@pytest.mark.parametrize("deployments", [1, 40])
@pytest.mark.parametrize("nodes", [1, 7, 300])
def test_a_world_has_the_size_that_was_asked_for(deployments: int, nodes: int) -> None:
    made = world(1, CATALOG, deployments=deployments, nodes=nodes)

    assert len(made.deployments) == len({item.key for item in made.deployments}) == deployments
    assert sum(item.max_nodes for item in made.offerings) == nodes
