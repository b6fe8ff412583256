"""The little Deployment controller and kubelet: Deployments of the store -> engine processes.

Each pod is one process, ``python -m deepseek_runtime serve --launchspec FILE``, on free loopback
ports. Scale-down marks a pod, which takes it out of the front door at once, then sends SIGTERM and
waits for its drain. A crash restarts it with back-off. A template never changes in place: a new launch
is a new group, so pods are never rolled here.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

from deepseek_operator.local import pods
from deepseek_operator.local.keeper import Keeper, Machine
from deepseek_operator.local.store import Key, timestamp
from deepseek_operator.world import Kind, Object


@dataclass(slots=True)
class Processes:
    """Keeps processes and pods in step with the Deployments of the store."""

    machine: Machine
    _keepers: dict[Key, Keeper] = field(default_factory=dict)
    _is_stopping: bool = False
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def start(self) -> asyncio.Task[None]:
        """Follow the store until the task is cancelled; :meth:`stop` then ends what runs."""
        self.machine.store.watch(self._note)
        self._changed.set()
        return asyncio.create_task(self._follow(), name="processes")

    async def stop(self, *, grace_s: float) -> None:
        """End every process: SIGTERM and drain, SIGKILL after ``grace_s``. Nothing is started any more."""
        self._is_stopping = True
        for pod in self.machine.store.objects(Kind.POD):
            self.machine.store.mark_deleted(Kind.POD, pod["metadata"]["namespace"], pod["metadata"]["name"])
        await asyncio.gather(*(keeper.stop(grace_s=grace_s) for keeper in list(self._keepers.values())))
        for pod in self.machine.store.objects(Kind.POD):
            self.machine.store.delete(Kind.POD, pod["metadata"]["namespace"], pod["metadata"]["name"])

    def hurry(self) -> None:
        """Let nobody wait for requests in flight any longer."""
        for keeper in self._keepers.values():
            keeper.hurry()

    @property
    def pids(self) -> Mapping[str, int]:
        """Process ids of the engines by pod name."""
        alive = ((key[2], keeper.pid) for key, keeper in self._keepers.items())
        return {name: pid for name, pid in alive if pid is not None}

    def _note(self, key: Key) -> None:
        if key[0] in (Kind.ENGINE_GROUP, Kind.CONFIG_MAP, Kind.POD):
            self._changed.set()

    async def _follow(self) -> None:
        while not self._is_stopping:
            await self._changed.wait()
            self._changed.clear()
            if self._is_stopping:
                return
            self._match_replicas()
            self._match_processes()
            self._report_groups()

    def _match_replicas(self) -> None:
        existing = self.machine.store.objects(Kind.POD)
        for group in self.machine.store.objects(Kind.ENGINE_GROUP):
            alive = [pod for pod in pods.pods_of(group, existing) if not pods.is_draining(pod)]
            desired = int(group["spec"].get("replicas", 1))
            for pod in pods.victims(alive, surplus=len(alive) - desired):
                self.machine.store.mark_deleted(Kind.POD, pod["metadata"]["namespace"], pod["metadata"]["name"])
            for _ in range(desired - len(alive)):
                name = f"{group['metadata']['name']}-{uuid.uuid4().hex[:5]}"
                self.machine.store.apply(pods.pod_of(group, name=name, node=self.machine.settings.node))

    def _match_processes(self) -> None:
        for pod in self.machine.store.objects(Kind.POD):
            key = (Kind.POD, pod["metadata"]["namespace"], pod["metadata"]["name"])
            keeper = self._keepers.get(key)
            if keeper is None and pods.is_draining(pod):
                self.machine.store.delete(*key)
            elif keeper is None and self._has_room(pod):
                self._keepers[key] = Keeper(self.machine, key, self._forget)
                self._keepers[key].start()
            elif keeper is not None and pods.is_draining(pod):
                keeper.ask_to_stop()
            elif keeper is not None:
                keeper.refresh_files()

    def _has_room(self, pod: Object) -> bool:
        running = [self.machine.store.get(*key) for key in self._keepers]
        taken = sum(pods.memory_request_bytes(other) for other in running if other is not None)
        asked = pods.memory_request_bytes(pod)
        if taken + asked <= self.machine.settings.memory_bytes:
            return True
        free_gib, asked_gib = (self.machine.settings.memory_bytes - taken) / 2**30, asked / 2**30
        message = f"this machine has {free_gib:.1f} GiB of memory left for engines, {asked_gib:.1f} are asked for"
        status = pods.pending_status(pod, message, now=timestamp(self.machine.now()))
        self.machine.store.write_status(Kind.POD, pod["metadata"]["namespace"], pod["metadata"]["name"], status)
        return False

    def _report_groups(self) -> None:
        existing = self.machine.store.objects(Kind.POD)
        for group in self.machine.store.objects(Kind.ENGINE_GROUP):
            status = pods.group_status(group, pods.pods_of(group, existing), now=timestamp(self.machine.now()))
            self.machine.store.write_status(
                Kind.ENGINE_GROUP, group["metadata"]["namespace"], group["metadata"]["name"], status
            )

    def _forget(self, key: Key) -> None:
        self._keepers.pop(key, None)
        self.machine.store.delete(*key)
