"""One leader at a time, whatever the clocks and the network do."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from deepseek_operator.errors import UnreachableError
from deepseek_operator.leader import Elector
from deepseek_operator.settings import LeaderSettings

SETTINGS = LeaderSettings(name="l", duration_s=0.3, renew_deadline_s=0.2, retry_s=0.02)


class Leases:
    """One lease on one server, with optimistic locking."""

    def __init__(self):
        self.lease = None
        self.version = 0
        self.down = False

    async def get_lease(self, namespace, name):
        self._answer()
        return self.lease

    async def write_lease(self, namespace, name, lease):
        self._answer()
        held = self.lease and self.lease["metadata"]["resourceVersion"]
        if lease["metadata"].get("resourceVersion") != held:
            raise UnreachableError("409: conflict")
        self.version += 1
        self.lease = {**lease, "metadata": {**lease["metadata"], "resourceVersion": str(self.version)}}
        return self.lease

    def _answer(self):
        if self.down:
            raise UnreachableError("connection refused")


class Clock:
    """The loop's time, which a process can see leap."""

    def __init__(self):
        self.leap = 0.0

    def __call__(self):
        return asyncio.get_running_loop().time() + self.leap


@pytest.fixture
def leases():
    return Leases()


def elector(leases, clock=None):
    return Elector(leases, SETTINGS, namespace="n", wall=lambda: datetime.now(UTC), monotonic=clock or Clock())


async def test_the_first_leads_and_the_second_waits(leases):
    first, second = elector(leases), elector(leases)
    await first.acquire()
    holding = asyncio.create_task(first.hold())
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(second.acquire(), 3 * SETTINGS.duration_s)
    assert first.is_leader
    assert not second.is_leader
    holding.cancel()


async def test_a_silent_leader_is_replaced_after_the_duration(leases):
    first, second = elector(leases), elector(leases)
    await first.acquire()
    began = asyncio.get_running_loop().time()
    await asyncio.wait_for(second.acquire(), 5)
    assert asyncio.get_running_loop().time() - began >= SETTINGS.duration_s
    assert not first.is_leader
    assert leases.lease["spec"]["leaseTransitions"] == 1


async def test_a_lease_given_back_is_taken_at_once(leases):
    first, second = elector(leases), elector(leases)
    await first.acquire()
    await first.release()
    assert not first.is_leader
    await asyncio.wait_for(second.acquire(), SETTINGS.duration_s / 2)


async def test_a_leader_without_a_server_stops_before_another_may_begin(leases):
    leader = elector(leases)
    await leader.acquire()
    leases.down = True
    began = asyncio.get_running_loop().time()
    await asyncio.wait_for(leader.hold(), 5)
    assert asyncio.get_running_loop().time() - began < SETTINGS.duration_s
    assert not leader.is_leader


async def test_a_leader_that_was_frozen_does_not_act_on_waking(leases):
    clock = Clock()
    leader = elector(leases, clock)
    await leader.acquire()
    clock.leap = SETTINGS.renew_deadline_s
    assert not leader.is_leader


async def test_a_leader_that_was_replaced_stops(leases):
    first = elector(leases)
    await first.acquire()
    leases.lease["spec"]["holderIdentity"] = "another"
    await asyncio.wait_for(first.hold(), 5)
    assert first.holder == "another"


async def test_releasing_takes_nothing_from_another(leases):
    first = elector(leases)
    await first.acquire()
    leases.lease["spec"]["holderIdentity"] = "another"
    await first.release()
    assert leases.lease["spec"]["holderIdentity"] == "another"
