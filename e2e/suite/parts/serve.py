"""kubectl apply -> planned -> served: the tiny model on the real node."""

from __future__ import annotations

from suite import install
from suite.suite import TINY, WORK, Suite

DEMAND = {"expected": 300, "peak": 1500, "longest": 128}
"""Declared demand that needs two engines at its peak, and one at what is really sent."""


def tiny(suite: Suite, *, name: str = TINY, path: str = "tiny", **demand: object) -> str:
    """The manifest of the deployment."""
    return suite.fill("tiny.yaml", name=name, path=path, **{**DEMAND, **demand})


def run(suite: Suite) -> None:
    """Until two engines answer."""
    install.weights(suite)
    with suite.progress.step("kubectl apply pool and deployment"):
        suite.cluster.apply(suite.fill("pools.yaml"))
        suite.cluster.apply(tiny(suite))
    with suite.progress.step("two engines at the declared peak are ready"):
        suite.await_settled(replicas=2, seconds=240)
    for line in suite.cluster.kubectl("get", "dsd,apool", "-n", WORK).splitlines():
        suite.progress.say(f"    {line}")
    restarts = suite.serving()
    suite.progress.check("no engine restarted on its way", not any(restarts.values()), restarts)
