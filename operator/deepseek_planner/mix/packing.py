"""What pools can hold, as rows of sums: replicas of several sizes fit a pool if and only if every row of it holds.

A replica of ``s`` accelerators sits on one node; one over several nodes takes them whole. Let the sizes of a pool,
each dividing the next larger one, be ``s_1 | s_2 | ... | s_k``, and ``f_j`` what node ``j`` has free. Then replicas
can be packed if and only if for every size ``s``::

    sum over replicas of size t >= s of t / s   <=   sum over nodes of floor(f_j / s)

*Only if*: where they are packed, node ``j`` holds replicas of sizes ``>= s`` that sum to a multiple of ``s`` no
larger than ``f_j``, so to at most ``s * floor(f_j / s)``. Divide by ``s`` and add up the nodes.

*If*: place the largest first, anywhere. By the row of ``s_k`` there is room for all of them. Every one placed on node
``j`` takes ``s_k`` from ``f_j``, and as ``s | s_k``, exactly ``s_k / s`` from ``floor(f_j / s)`` of each smaller size:
wherever it went, the rows of the smaller sizes lose on the right what they lose on the left. So they hold for what is
left, and the next smaller size goes in the same way. (The order of placing and the choice of nodes do not matter:
Kubernetes may still place small ones first; what then waits is moved by the rollout.)

Where sizes do not divide one another a size counts as the next larger one of the chain: never too much is promised.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from typing import NamedTuple

from deepseek_planner.allocation import Offer, PoolRoom


class Row(NamedTuple):
    """Replicas of at least ``size`` accelerators on a pool's nodes, counted in units of ``size``."""

    pool: str
    size: int
    room: int


Uses = tuple[tuple[int, int], ...]
"""Index of a row, and what one replica takes of it."""


class Seat(NamedTuple):
    """What a replica of a size takes of a pool, and how many of them the pool alone has room for."""

    number: int
    uses: Uses
    most: int


class Rows:
    """All rows of all pools, and what an offer's replica takes of them."""

    def __init__(self, rooms: Iterable[PoolRoom], offers: Iterable[Offer]) -> None:
        by_pool = {room.pool: room for room in rooms}
        sizes: dict[str, set[int]] = {}
        for pool, accelerators, nodes in {(offer.pool, offer.accelerators, offer.nodes) for offer in offers}:
            if pool in by_pool:
                sizes.setdefault(pool, set()).add(size_on_node(by_pool[pool], accelerators, nodes))
        self._rooms = by_pool
        self._chains = {pool: chain(found) for pool, found in sizes.items()}
        rows = [
            Row(pool, size, room_for(by_pool[pool].free_by_node, size))
            for pool in sorted(self._chains)
            for size in sorted(set(self._chains[pool].values()))
        ]
        self.rows = tuple(rows)
        self._index = {(row.pool, row.size): index for index, row in enumerate(rows)}
        self._seats: dict[tuple[str, int, int], Seat | None] = {}
        self._less: dict[tuple[int, int], bool] = {}

    def seat(self, offer: Offer) -> Seat | None:
        """None where the pool is not there, or too small for one replica."""
        key = offer.pool, offer.accelerators, offer.nodes
        if key not in self._seats:
            uses = self._uses(offer)
            most = min((self.rows[row].room // amount for row, amount in uses), default=0)
            self._seats[key] = Seat(len(self._seats), uses, most) if most > 0 else None
        return self._seats[key]

    def _uses(self, offer: Offer) -> Uses:
        """Nothing where the pool is not there."""
        room = self._rooms.get(offer.pool)
        if room is None:
            return ()
        members = self._chains[offer.pool]
        size = members[size_on_node(room, offer.accelerators, offer.nodes)]
        return tuple(
            (self._index[offer.pool, other], offer.nodes * size // other)
            for other in sorted(set(members.values()))
            if other <= size
        )

    def takes_no_more(self, one: Seat, other: Seat) -> bool:
        """Whether a replica on the one seat leaves at least as much of every row."""
        key = one.number, other.number
        if key not in self._less:
            taken = dict(other.uses)
            self._less[key] = all(amount <= taken.get(row, 0) for row, amount in one.uses)
        return self._less[key]

    def fits(self, used: Mapping[int, int]) -> bool:
        """Whether what is taken of each row is there."""
        return all(amount <= self.rows[row].room for row, amount in used.items())

    def left(self, used: Mapping[int, int]) -> Rows:
        """The same rows with what others leave of them."""
        other = copy(self)
        other.rows = tuple(
            row._replace(room=row.room - used.get(index, 0)) if index in used else row
            for index, row in enumerate(self.rows)
        )
        return other

    def nodes_for(self, index: int, amount: int) -> int:
        """Empty nodes that a row's pool lacks to hold so much of it."""
        row = self.rows[index]
        return max(0, -(-(amount - row.room) // (self._rooms[row.pool].gpus_per_node // row.size)))


def size_on_node(room: PoolRoom, accelerators: int, nodes: int) -> int:
    """Accelerators of a node that one part of a replica keeps others from: all, where there are several parts."""
    return room.gpus_per_node if nodes > 1 else accelerators


def chain(sizes: Iterable[int]) -> dict[int, int]:
    """Each size, and the size that it counts as: counted sizes divide one another, none is below its own."""
    counted: dict[int, int] = {}
    last = 0
    for size in sorted(set(sizes), reverse=True):
        if last == 0 or last % size == 0:
            last = size
        counted[size] = last
    return counted


def room_for(free_by_node: Sequence[int], size: int) -> int:
    """Replicas of a size that the nodes hold when nothing else comes."""
    return sum(free // size for free in free_by_node)
