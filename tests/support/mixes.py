"""Fleets by trial of everything: an independent checker of the mixed-fleet search, and small worlds for it.

Nothing of the search is used here but its questions and answers (``allocation``). Packing is tried node by node,
fleets are all numbers of replicas, plans are all combinations of fleets.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from functools import cache

import highspy
import numpy as np
from hypothesis import strategies as st

from deepseek_planner.allocation import Allotment, Ask, Offer, PoolRoom, Problem, Solution
from deepseek_planner.hardware import CapacityType
from deepseek_planner.snapshot import DeploymentKey, Routing
from deepseek_planner.units import MicroUsd

PARTS = (0.25, 0.5, 0.75, 1.0)
FULL, CONTENT, ENDING = 4, 5, 6
EPS = 1e-6

Counts = tuple[int, ...]


# --- packing


@cache
def packs(free: tuple[int, ...], gpus_per_node: int, replicas: tuple[tuple[int, int], ...]) -> bool:
    """Whether replicas (accelerators, nodes) fit nodes with so many free, by trying every place for each."""
    if not replicas:
        return True
    (size, nodes), rest = replicas[0], replicas[1:]
    if nodes > 1:
        whole = [index for index, count in enumerate(free) if count == gpus_per_node]
        if len(whole) < nodes:
            return False
        left = tuple(count for index, count in enumerate(free) if index not in whole[:nodes])
        return packs(tuple(sorted(left)), gpus_per_node, rest)
    for index in {count: index for index, count in enumerate(free)}.values():
        if free[index] >= size:
            left = (*free[:index], free[index] - size, *free[index + 1 :])
            if packs(tuple(sorted(left)), gpus_per_node, rest):
                return True
    return False


def pools_hold(problem: Problem, fleets: Sequence[tuple[Ask, Counts]]) -> bool:
    """Whether every replica of all the fleets has its place."""
    by_pool: dict[str, list[tuple[int, int]]] = {}
    for ask, counts in fleets:
        for offer, count in zip(ask.offers, counts, strict=True):
            by_pool.setdefault(offer.pool, []).extend([(offer.accelerators, offer.nodes)] * count)
    rooms = {room.pool: room for room in problem.rooms}
    return all(
        not replicas
        or (
            pool in rooms
            and packs(
                tuple(sorted(rooms[pool].free_by_node)),
                rooms[pool].gpus_per_node,
                # Several nodes first, then the largest: any order is tried within, this one is only quick.
                tuple(sorted(replicas, key=lambda item: (-item[1], -item[0]))),
            )
        )
        for pool, replicas in by_pool.items()
    )


# --- one fleet


def raised(ask: Ask, offer: Offer) -> tuple[float, ...]:
    """Loads that never promise more of the whole mix than the replica sustains."""
    if not offer.loads or offer.capacity_per_s <= 0:
        return offer.loads
    total = sum(rate * load for rate, load in zip(ask.class_rates_per_s, offer.loads, strict=True) if rate)
    needed = ask.requests_per_s / offer.capacity_per_s
    return tuple(load * max(1.0, needed / total) for load in offer.loads) if 0 < total < math.inf else offer.loads


def carries(ask: Ask, counts: Counts, rate: float) -> bool:
    """Whether the replicas serve so many requests per second of the ask's mix."""
    used = [(offer, count) for offer, count in zip(ask.offers, counts, strict=True) if count]
    total = sum(counts)
    if not used:
        return False
    if ask.routing is Routing.EVEN:
        return all(offer.capacity_per_s * total >= rate * (1 - EPS * 1e-3) for offer, _ in used)
    if len({offer.option for offer, _ in used}) == 1:
        least = min(offer.capacity_per_s for offer, _ in used)
        return least > 0 and least * total >= rate * (1 - EPS * 1e-3)
    factor = rate / ask.requests_per_s if ask.requests_per_s else 1.0
    rates = [item * factor for item in ask.class_rates_per_s]
    return spreads(rates, [raised(ask, offer) for offer, _ in used], [count for _, count in used])


def spreads(rates: Sequence[float], loads: Sequence[Sequence[float]], counts: Sequence[int]) -> bool:
    """Whether shares of the classes exist that overload no kind: a linear program without an objective."""
    highs = highspy.Highs()
    highs.setOptionValue("output_flag", False)
    columns = {}
    for kind, number in itertools.product(range(len(counts)), range(len(rates))):
        if rates[number] > 0 and math.isfinite(loads[kind][number]):
            columns[kind, number] = len(columns)
            highs.addVar(0.0, 1.0)
    for number, rate in enumerate(rates):
        if rate > 0:
            index = [columns[key] for key in columns if key[1] == number]
            if not index:
                return False
            highs.addRow(1.0, 1.0, len(index), np.array(index, dtype=np.int32), np.ones(len(index)))
    for kind, count in enumerate(counts):
        keys = [key for key in columns if key[0] == kind]
        values = np.array([rates[number] * loads[kind][number] for _, number in keys])
        index = np.array([columns[key] for key in keys], dtype=np.int32)
        highs.addRow(-highspy.kHighsInf, count * (1 + 1e-9), len(keys), index, values)
    if not columns:
        return True
    highs.run()
    return bool(highs.getModelStatus() == highspy.HighsModelStatus.kOptimal)


def weight(ask: Ask, offer: Offer, *, is_mix: bool) -> float:
    if not is_mix:
        return 1.0
    return offer.capacity_per_s or 1 / min(raised(ask, offer))


def keeps_limits(ask: Ask, counts: Counts, *, whole: bool) -> bool:
    """Replicas, dollars, the share of spot, and its risk."""
    total = sum(counts)
    if not max(1, ask.min_replicas) <= total <= ask.max_replicas:
        return False
    if sum(offer.usd_per_hour * count for offer, count in zip(ask.offers, counts, strict=True)) > ask.max_usd_per_hour:
        return False
    used = [(offer, count) for offer, count in zip(ask.offers, counts, strict=True) if count]
    is_mix = ask.routing is Routing.BY_LENGTH and len({offer.option for offer, _ in used}) > 1
    capacity = [(offer, count * weight(ask, offer, is_mix=is_mix)) for offer, count in used]
    spot = sum(amount for offer, amount in capacity if offer.capacity_type is CapacityType.SPOT)
    if 100 * spot > ask.max_spot_percent * sum(amount for _, amount in capacity) * (1 + 1e-9):
        return False
    named = {index: count for index, count in enumerate(counts) if count}
    return not whole or ask.holds is None or ask.holds(named)


def levels(ask: Ask, counts: Counts) -> Iterator[int]:
    """Levels at which the fleet serves the ask: parts of its rate, the whole, the whole with headroom, and the whole as
    the end of the move under way.
    """
    for number, part in enumerate(PARTS, start=1):
        if carries(ask, counts, ask.requests_per_s * part) and keeps_limits(ask, counts, whole=part == 1.0):
            yield number
            keeps = all(counts[index] >= count for index, count in ask.running.items())
            if (
                part == 1.0
                and ask.spare_per_s > ask.requests_per_s
                and (carries(ask, counts, ask.spare_per_s) or (keeps and any(ask.running.values())))
            ):
                yield CONTENT
            if part == 1.0 and ask.ends and dict(ask.ends) == {i: count for i, count in enumerate(counts) if count}:
                yield ENDING


def fleets(problem: Problem, ask: Ask) -> dict[int, list[Counts]]:
    """All fleets by level that the ask could have alone, without such as hold another one of the level."""
    found: dict[int, list[Counts]] = {}
    most = min(ask.max_replicas, 6)
    for counts in sorted(itertools.product(range(most + 1), repeat=len(ask.offers)), key=sum):
        if sum(counts) > most or not pools_hold(problem, [(ask, counts)]):
            continue
        for level in levels(ask, counts):
            smaller = found.setdefault(level, [])
            if not any(all(a <= b for a, b in zip(one, counts, strict=True)) for one in smaller):
                smaller.append(counts)
    return {level: items for level, items in found.items() if items}


# --- everything together

Value = tuple[tuple[tuple[int, ...], ...], int, int]
"""Levels of service by priority, worst off first, negated, and how many go on that run; expected dollars; nominal
dollars. Less is better."""


def value(asks: Sequence[Ask], reached: Sequence[int], plan: Sequence[Counts]) -> Value:
    service = []
    for priority in sorted({ask.priority for ask in asks}, reverse=True):
        members = sorted(level for ask, level in zip(asks, reached, strict=True) if ask.priority == priority)
        service.append(tuple(-level for level in members))
        # Of what is as fair, that more of those go on that run.
        go_on = [
            level > 0 and bool(ask.running)
            for ask, level in zip(asks, reached, strict=True)
            if ask.priority == priority
        ]
        service.append((-sum(go_on),))
    bought = [
        (offer, count)
        for ask, counts in zip(asks, plan, strict=True)
        for offer, count in zip(ask.offers, counts, strict=True)
    ]
    return (
        tuple(service),
        sum(offer.expected_usd_per_hour * count for offer, count in bought),
        sum(offer.usd_per_hour * count for offer, count in bought),
    )


def best_value(problem: Problem) -> tuple[list[DeploymentKey], Value]:
    """Who can be served whole when alone, and the best that can be done for all of them: by trying everything."""
    asks, tops, choices = [], [], []
    for ask in sorted(problem.asks, key=lambda item: item.key):
        by_level = fleets(problem, ask)
        top = max((level for level in by_level if level >= FULL), default=0)
        if top:
            none = (0,) * len(ask.offers)
            asks.append(ask)
            tops.append([(CONTENT, counts) for counts in by_level[top]])
            choices.append(
                [(0, none)]
                + [
                    (CONTENT if level == top else level, counts)
                    for level, items in by_level.items()
                    for counts in items
                    if level <= top
                ]
            )
    # Moves end as they began where everybody can have the best that is possible alone; else they are worth no more.
    best = _least(problem, asks, tops)
    if best is None:
        best = _least(problem, asks, choices)
    assert best is not None
    return [ask.key for ask in asks], best


def _least(problem: Problem, asks: Sequence[Ask], choices: Sequence[Sequence[tuple[int, Counts]]]) -> Value | None:
    """Of all that is possible; None where nothing is."""
    best: Value | None = None
    for plan in itertools.product(*choices):
        reached, counts = [level for level, _ in plan], [item for _, item in plan]
        found = value(asks, reached, counts)
        if (best is None or found < best) and is_possible(problem, list(zip(asks, counts, strict=True))):
            best = found
    return best


def is_possible(problem: Problem, plan: Sequence[tuple[Ask, Counts]]) -> bool:
    """Whether the pools and the cluster's budget hold all fleets."""
    dollars = sum(
        offer.usd_per_hour * count for ask, counts in plan for offer, count in zip(ask.offers, counts, strict=True)
    )
    return (problem.max_usd_per_hour is None or dollars <= problem.max_usd_per_hour) and pools_hold(problem, plan)


def counts_of(ask: Ask, allotment: Allotment) -> Counts:
    counts = [0] * len(ask.offers)
    for part in allotment.parts:
        counts[part.offer] += part.replicas
    return tuple(counts)


def check(problem: Problem, solution: Solution) -> None:
    """Everything that must hold of an answer, whatever it is worth."""
    asks = {ask.key: ask for ask in problem.asks}
    assert set(solution.allotments) == set(asks)
    plan = [(ask, counts_of(ask, solution.allotments[key])) for key, ask in asks.items()]
    assert is_possible(problem, plan)
    for ask, counts in plan:
        allotment = solution.allotments[ask.key]
        assert allotment.usd_per_hour == sum(o.usd_per_hour * n for o, n in zip(ask.offers, counts, strict=True))
        assert allotment.expected_usd_per_hour == sum(
            o.expected_usd_per_hour * n for o, n in zip(ask.offers, counts, strict=True)
        )
        if allotment.served:
            assert allotment.served in PARTS
            assert carries(ask, counts, ask.requests_per_s * allotment.served)
            assert keeps_limits(ask, counts, whole=allotment.served == 1.0)
            check_shares(ask, allotment)
        else:
            assert not allotment.parts
    total = sum(item.expected_usd_per_hour for item in solution.allotments.values())
    assert solution.expected_usd_per_hour == total
    assert solution.lower_bound_usd_per_hour <= total


def check_shares(ask: Ask, allotment: Allotment) -> None:
    """Shares of each class sum to one, and overload no replica."""
    total = sum(part.replicas for part in allotment.parts)
    rate = ask.requests_per_s * allotment.served
    for number in range(len(allotment.parts[0].shares)):
        assert abs(sum(part.shares[number] for part in allotment.parts) - 1) < EPS
    is_mix = len({ask.offers[part.offer].option for part in allotment.parts}) > 1
    for part in allotment.parts:
        assert all(share >= 0 for share in part.shares)
        offer = ask.offers[part.offer]
        if ask.routing is Routing.EVEN or not is_mix:
            assert all(abs(share - part.replicas / total) < EPS for share in part.shares)
            assert offer.capacity_per_s * part.replicas >= rate * part.shares[0] * (1 - EPS)
        else:
            load = sum(
                item * share * each
                for item, share, each in zip(ask.class_rates_per_s, part.shares, offer.loads, strict=True)
                if item * share > EPS
            )
            assert load * allotment.served <= part.replicas * (1 + EPS)


# --- small worlds


@st.composite
def offers(draw: st.DrawFn, option: int, pool: PoolRoom, kind: CapacityType, classes: int) -> Offer:
    size = draw(st.sampled_from([s for s in (1, 2, 4) if s <= pool.gpus_per_node]))
    nodes = draw(st.sampled_from([1, 1, 1, 2])) if size == pool.gpus_per_node else 1
    loads = tuple(draw(st.sampled_from([0.1, 0.25, 0.4, 0.7, math.inf])) for _ in range(classes))
    if classes and not any(map(math.isfinite, loads)):
        loads = (0.5, *loads[1:])
    price = draw(st.integers(1, 12)) * 1_000_000 * size * nodes
    expected = {CapacityType.SPOT: price * 11 // 10, CapacityType.ON_DEMAND: price, CapacityType.RESERVED: 0}[kind]
    return Offer(
        option=option,
        pool=pool.pool,
        capacity_type=kind,
        usd_per_hour=MicroUsd(price),
        expected_usd_per_hour=MicroUsd(expected),
        accelerators=size * nodes,
        nodes=nodes,
        # What cannot serve some class may be unable to serve the mix.
        capacity_per_s=draw(st.integers(0 if math.inf in loads else 1, 8)) / 2,
        loads=loads,
        rank=(draw(st.integers(0, 1)),),
    )


class Survives:
    """A risk that is easy to reason about: the rate is carried without any one pool of spot nodes."""

    def __init__(self, offers: tuple[Offer, ...], replicas: int) -> None:
        self.offers, self.replicas = offers, replicas

    def __call__(self, counts: object) -> bool:
        named = dict(counts)  # type: ignore[call-overload]
        pools = {self.offers[index].pool for index in named if self.offers[index].capacity_type is CapacityType.SPOT}
        return all(
            sum(count for index, count in named.items() if self.offers[index].pool != pool) >= self.replicas
            for pool in pools
        )


class Carries:
    """The same for capacity: without any one pool of spot nodes what is left carries the rate, evenly routed."""

    def __init__(self, offers: tuple[Offer, ...], rate: float) -> None:
        self.offers, self.rate = offers, rate

    def __call__(self, counts: object) -> bool:
        named = {index: count for index, count in dict(counts).items() if count}  # type: ignore[call-overload]
        weakest = min(self.offers[index].capacity_per_s for index in named)
        pools = {self.offers[index].pool for index in named if self.offers[index].capacity_type is CapacityType.SPOT}
        return all(
            weakest * sum(count for index, count in named.items() if self.offers[index].pool != pool)
            >= self.rate * (1 - EPS)
            for pool in pools
        )


@st.composite
def asks(
    draw: st.DrawFn, name: str, rooms: tuple[PoolRoom, ...], kinds: dict[str, CapacityType], routing: Routing
) -> Ask:
    classes = draw(st.integers(1, 2)) if routing is Routing.BY_LENGTH else 0
    count = draw(st.integers(1, 4 if len(rooms) > 1 else 3))
    found = tuple(
        draw(offers(draw(st.integers(0, 2)), room, kinds[room.pool], classes))
        for room in (draw(st.sampled_from(rooms)) for _ in range(count))
    )
    if routing is Routing.BY_LENGTH:  # offers of one option differ by pool and price alone
        first: dict[int, Offer] = {}
        for offer in found:
            first.setdefault(offer.option, offer)

        found = tuple(
            offer._replace(capacity_per_s=first[offer.option].capacity_per_s, loads=first[offer.option].loads)
            for offer in found
        )
    rates = tuple(float(draw(st.integers(0, 4))) for _ in range(classes))
    rate = sum(rates) if classes else float(draw(st.integers(1, 8)))
    running = {draw(st.integers(0, count - 1)): draw(st.integers(1, 2))} if draw(st.booleans()) else {}
    survives = Survives(found, draw(st.integers(0, 2)))
    # By length a replica may carry some classes and nothing of the whole mix.
    bearing = [None, survives, Carries(found, rate) if routing is Routing.EVEN else survives]
    return Ask(
        key=DeploymentKey("team", name),
        requests_per_s=rate,
        class_rates_per_s=rates,
        offers=found,
        routing=routing,
        min_replicas=draw(st.integers(0, 2)),
        max_replicas=draw(st.integers(1, 5)),
        max_usd_per_hour=MicroUsd(draw(st.sampled_from([20, 60, 1000])) * 1_000_000),
        max_spot_percent=draw(st.sampled_from([0, 50, 100])),
        priority=draw(st.integers(0, 1)),
        holds=draw(st.sampled_from(bearing)),
        spare_per_s=rate * draw(st.sampled_from([0.0, 1.1, 1.5])),
        running=running,
        ends=running if draw(st.booleans()) else {},
    )


@st.composite
def problems(draw: st.DrawFn, most_asks: int = 3) -> Problem:
    rooms, kinds = [], {}
    for number in range(draw(st.integers(1, 2))):
        gpus = draw(st.sampled_from([1, 2, 4]))
        free = sorted((draw(st.integers(0, gpus)) for _ in range(draw(st.integers(1, 3)))), reverse=True)
        rooms.append(PoolRoom(f"pool-{number}", gpus, tuple(free)))
        kinds[f"pool-{number}"] = draw(st.sampled_from(list(CapacityType)))
    routing = draw(st.sampled_from(list(Routing)))
    names = "abc"[: draw(st.integers(1, most_asks))]
    return Problem(
        tuple(draw(asks(name, tuple(rooms), kinds, routing)) for name in names),
        tuple(rooms),
        draw(st.sampled_from([None, None, MicroUsd(15_000_000), MicroUsd(40_000_000)])),
    )
