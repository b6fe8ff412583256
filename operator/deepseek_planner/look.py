"""One look at all deployments: who moves, and one step of each, the highest priority first.

What one deployment starts takes room and dollars that the next no longer has; what it lacks is wanted of those below.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from deepseek_planner import claims
from deepseek_planner.claims import Claim
from deepseek_planner.difference import TargetGroup, Wanted
from deepseek_planner.move import Verdict
from deepseek_planner.moves import verdicts
from deepseek_planner.plan import Plan
from deepseek_planner.rollout import Step, next_step
from deepseek_planner.simulation import applied
from deepseek_planner.snapshot import DeploymentInput, DeploymentKey, Policy, Snapshot

WantedFor = Callable[[bool], float]
"""Seconds for which something has been wanted of a deployment, given whether something is."""


class Look:
    """Decisions about one snapshot and its plan, in :attr:`order`; :attr:`snapshot` is the world after their steps."""

    def __init__(self, snapshot: Snapshot, plan: Plan, policy: Policy) -> None:
        self.order = sorted(snapshot.deployments, key=lambda each: (-each.objectives.priority, each.key))
        self.snapshot = snapshot
        self._plan = plan
        self._policy = policy
        self._claims: list[Claim] = []
        self._priority: int | None = None
        self._wanted: dict[DeploymentKey, Wanted] = {}

    def decide(
        self, item: DeploymentInput, targets: tuple[TargetGroup, ...], settled_s: float, wanted_for_s: WantedFor
    ) -> tuple[Verdict | None, Step | None]:
        """One deployment's move, or the one that waits, and the step to take now."""
        wanted = self._wanted_of(item)
        for_s = wanted_for_s(wanted is not None)
        found = verdicts(
            replace(self.snapshot, deployments=(item,)),
            self._plan,
            {item.key: targets},
            policy=self._policy,
            settled_s={item.key: settled_s},
            wanted={} if wanted is None else {item.key: replace(wanted, for_s=for_s)},
        )
        verdict = next(iter(found), None)
        if verdict is None or verdict.waiting is not None:
            return verdict, None
        step = next_step(self.snapshot, verdict.move, self._policy)
        if step is not None:
            self.snapshot = applied(self.snapshot, step)
        lacks = claims.claim(self.snapshot, verdict.move, self._policy)
        self._claims += [lacks] if lacks is not None else []
        return verdict, step

    def _wanted_of(self, item: DeploymentInput) -> Wanted | None:
        """Once for all of a priority: equals claim nothing of each other."""
        if self._priority != item.objectives.priority:
            self._priority = item.objectives.priority
            self._wanted = claims.wanted(self.snapshot, self._plan, self._claims, self._policy)
        return self._wanted.get(item.key)
