"""Laws of routing by prompt length, over random clusters with prompts and answers that go together or apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from random import Random

from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from deepseek_planner.asked import request
from deepseek_planner.demand import LengthDistribution, RequestClass, answers, classes
from deepseek_planner.hardware import Offering
from deepseek_planner.legal import Wiring
from deepseek_planner.plan import DeploymentPlan, Placement, Plan
from deepseek_planner.search import plan
from deepseek_planner.service import lengths_of
from deepseek_planner.snapshot import DeploymentInput, Policy, Routing, Snapshot
from support.feasibility import problems
from support.planning import CATALOG, weighed, weighed_usd
from support.worlds import small_world, world

QUICK = settings(
    max_examples=6,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],  # a smaller seed is not a smaller world
    suppress_health_check=[HealthCheck.too_slow],
)
EVEN, BY_LENGTH = Policy(routing=Routing.EVEN), Policy(routing=Routing.BY_LENGTH)
ROUNDING = 1.001
"""Predictions are floats, and what a lost request costs is predicted."""
ROUNDED = 0.01
"""Shares are whole percents that sum to 100: one may be nearly a percent too high."""
NEARLY = 1.03
"""So are those of which the rest is left, and it is of other prompts by as much."""

seeds = st.integers(min_value=0, max_value=10**6)


def jointly(snapshot: Snapshot, seed: int) -> Snapshot:
    """The same prompts and answers, but in every other deployment long prompts get longer answers, or shorter ones."""
    random = Random(seed)
    return replace(snapshot, deployments=tuple(_joint(item, random) for item in snapshot.deployments))


def _joint(asked: DeploymentInput, random: Random) -> DeploymentInput:
    if random.random() < 0.5:
        return asked
    power = random.uniform(-1.0, 1.0)
    inputs = LengthDistribution(
        tuple(
            replace(bucket, answer_tokens=100.0 * bucket.mean_tokens**power)
            for bucket in asked.demand.input_tokens.buckets
        )
    )
    return replace(asked, demand=replace(asked.demand, input_tokens=inputs))


def worlds(seed: int) -> Iterator[Snapshot]:
    yield jointly(small_world(seed, CATALOG), seed)
    yield jointly(world(seed, CATALOG, deployments=4, nodes=10), seed)


def is_served(found: Plan) -> list[int]:
    """Percent of each deployment's rate."""
    return [
        0 if not item.is_feasible else 100 if item.shortage is None else item.shortage.served_percent
        for item in found.deployments.values()
    ]


@QUICK
@example(seed=10)  # short prompts on an accelerator that is too slow for long ones
@example(seed=36)
@example(seed=52)  # many mixes
@example(seed=59)  # evenly is cheaper
@given(seed=seeds)
def test_looking_at_lengths_never_costs_more(seed: int) -> None:
    """A router that looks at them can spread requests evenly, too."""
    for snapshot in worlds(seed):
        even, found = plan(snapshot, CATALOG, EVEN), plan(snapshot, CATALOG, BY_LENGTH)

        assert problems(snapshot, found, CATALOG, BY_LENGTH) == []
        if is_served(found) == is_served(even) == [100] * len(snapshot.deployments):
            assert sum(map(weighed_usd, found.deployments.values())) <= ROUNDING * sum(
                map(weighed_usd, even.deployments.values())
            )


@QUICK
@example(seed=10)
@example(seed=36)
@example(seed=154)
@given(seed=seeds)
def test_every_placement_keeps_its_targets_with_the_prompts_it_gets(seed: int) -> None:
    """Asked of the shape alone, without the search and its own check."""
    for snapshot in worlds(seed):
        found = plan(snapshot, CATALOG, BY_LENGTH)
        for asked in snapshot.deployments:
            planned = found.deployments[asked.key]
            part = 1.0 if planned.shortage is None else planned.shortage.served_percent / 100
            rate = planned.planned_requests_per_min / 60 * part
            for item, prompts, share in _given(planned, asked):
                _carries(snapshot, asked, item, prompts, rate * share)


def test_placements_by_length_are_among_them() -> None:
    """Or the law above would say nothing."""
    snapshot = jointly(small_world(10, CATALOG), 10)
    found = plan(snapshot, CATALOG, BY_LENGTH)

    assert any(list(_given(found.deployments[asked.key], asked)) for asked in snapshot.deployments)


def _given(planned: DeploymentPlan, asked: DeploymentInput) -> Iterator[tuple[Placement, LengthDistribution, float]]:
    """Placements with their prompts and their share, where the plan tells: those of one class of lengths each, and the
    one that gets the rest.
    """
    kinds = classes(asked.demand)
    left = [kind.share for kind in kinds]
    others: list[Placement] = []
    for item in planned.placements:
        within = [number for number, kind in enumerate(kinds) if _takes(item, kind)]
        if item.input_tokens is None or len(within) > 1:
            others.append(item)
            continue
        (number,) = within
        left[number] -= item.share_percent / 100
        yield item, kinds[number].input_tokens, item.share_percent / 100 - ROUNDED
    if len(others) != 1 or others[0].input_tokens is None:
        return
    rest = [(kind, max(0.0, part)) for kind, part in zip(kinds, left, strict=True) if _takes(others[0], kind)]
    total = sum(part for _, part in rest)
    prompts = [
        replace(bucket, share=bucket.share * part / total)
        for kind, part in rest
        for bucket in kind.input_tokens.buckets
    ]
    yield others[0], LengthDistribution(tuple(prompts)), total - ROUNDED * len(planned.placements)


def _takes(item: Placement, kind: RequestClass) -> bool:
    above, up_to = item.input_tokens or (0, kind.up_to_tokens)
    return above <= kind.above_tokens and kind.up_to_tokens <= up_to


def _carries(
    snapshot: Snapshot, asked: DeploymentInput, item: Placement, prompts: LengthDistribution, rate_per_s: float
) -> None:
    demand = lengths_of(
        prompts,
        answers(prompts, asked.demand.input_tokens, asked.demand.output_tokens),
        shared_prefix_tokens=asked.demand.shared_prefix_tokens,
    )
    offering: Offering = next(one for one in snapshot.offerings if one.pool == item.pool)
    wiring = Wiring(offering.accelerator, offering.gpus_per_node, offering.intra_node, offering.inter_node)
    # Without targets every shape that fits is there; with them it is then asked for these prompts.
    free = replace(asked, objectives=replace(asked.objectives, time_to_first_token=None, time_per_output_token=None))
    ((options, _),) = weighed(request(free, CATALOG, is_measured=False), wiring, classes=classes(asked.demand))
    option = next(one for one in options if one.shape == item.shape and one.model == item.model)
    strictly = request(asked, CATALOG, is_measured=False)
    assert item.input_tokens is not None
    sized = option._replace(
        question=option.question._replace(wanted=strictly.wanted),
        replica=option.replica._replace(limits=strictly.limits),
    ).at_mix(demand, *item.input_tokens)

    assert sized is not None, f"{item.shape.name} misses a target with prompts of {item.input_tokens}"
    assert sized.engine == item.engine
    assert sized.capacity.rate_per_s * item.replicas * NEARLY >= rate_per_s
