"""Fleets that bear the loss of spot nodes, by trial: for where the exact search would take too long.

The cheapest replicas, then more of them, fewer of them on spot, and spot spread over more pools: the cheapest trial
that keeps every limit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from deepseek_planner.mix.asks import Mode, Seeker
from deepseek_planner.mix.lattice import Counts, fits, holds, spot_is_within
from deepseek_planner.mix.packing import Rows

SPREADS = (1, 2, 3, 4, 6, 8)
"""Pools that spot is spread over."""


def probe(seeker: Seeker, level: int, rows: Rows, prices: Sequence[int]) -> Counts | None:
    """The cheapest of the trials; None where none keeps every limit."""
    best: tuple[int, Counts] | None = None
    for mode in seeker.modes[level]:
        if not mode.need or mode.floors:
            continue
        for counts in _trials(seeker, mode, prices):
            cost = sum(count * price for count, price in zip(counts, prices, strict=True))
            if best is not None and (cost, counts) >= best:
                continue
            if not fits(seeker, counts, rows) or not spot_is_within(seeker, counts, by_weight=False):
                continue
            if holds(seeker, level, counts):
                best = cost, counts
    return None if best is None else best[1]


def _trials(seeker: Seeker, mode: Mode, prices: Sequence[int]) -> Iterator[Counts]:
    order = sorted(mode.allowed, key=lambda place: (prices[place], place))
    last = min(seeker.ask.max_replicas, 2 * mode.need + 2)
    for total in range(mode.need, last + 1):
        for spot in sorted({total * percent // 100 for percent in range(0, 101, 10)}):
            for pools in SPREADS if spot else SPREADS[:1]:
                counts = _bought(seeker, order, total, spot, -(-spot // pools))
                if counts is not None:
                    yield counts


def _bought(seeker: Seeker, order: Sequence[int], total: int, spot: int, per_pool: int) -> Counts | None:
    """The cheapest first, so many at most on spot, and so many of these of one offer."""
    counts = [0] * len(seeker.items)
    for place in order:
        item = seeker.items[place]
        count = min(total, item.most)
        if item.is_spot:
            count = min(count, spot, per_pool)
            spot -= count
        counts[place] = count
        total -= count
    return None if total else tuple(counts)
