"""The operator SIGKILLed at each step of a move ends where an undisturbed one ends."""

from __future__ import annotations

import time
from typing import Any

from suite import install
from suite.load import Load, all_answered
from suite.objects import WATCHED, differences, normalised
from suite.parts.serve import tiny
from suite.progress import StepFailedError
from suite.suite import DEPLOYMENT_LABEL, TINY, WORK, Suite

LONGER = {"longest": 192}
"""Longer prompts need other engines: create, wait for ready, scale down, delete."""
STEPS_AT_LEAST = 3


def run(suite: Suite) -> None:
    """The same move twice: once left alone, once with a kill after each write that it makes."""
    with suite.progress.step("a move to other engines, undisturbed"):
        move(suite, LONGER)
    expected = final(suite)
    with suite.progress.step("and back"):
        move(suite, {})
    load = Load(suite, "load-kills", 240, 3)
    load.start()
    with suite.progress.step("the same move, the operator killed at each step"):
        seen = progress_of(suite)
        suite.cluster.apply(tiny(suite, **LONGER))
        kills = kill_at_each_step(suite, seen)
        install.await_operator(suite)
        suite.await_settled(seconds=120)
    suite.progress.check(f"killed at {STEPS_AT_LEAST} steps or more", len(kills) >= STEPS_AT_LEAST, "; ".join(kills))
    unlike = differences(expected, final(suite))
    suite.progress.check(
        "the objects are those of the undisturbed run", not unlike, "\n".join(unlike) or f"{len(expected)} objects"
    )
    with suite.progress.step("requests across the kills end"):
        summary = load.result()
    all_answered(suite, summary, 240)
    load.remove()


def move(suite: Suite, demand: dict[str, object]) -> None:
    suite.cluster.apply(tiny(suite, **demand))
    time.sleep(2)
    suite.await_settled(seconds=180)


def final(suite: Suite) -> dict[str, Any]:
    """Everything that the deployment is and has."""
    children = suite.cluster.items(",".join(WATCHED), "-n", WORK, "-l", f"{DEPLOYMENT_LABEL}={TINY}")
    return normalised([suite.deployment(), *children])


def kill_at_each_step(suite: Suite, seen: dict[str, tuple[int, int]]) -> list[str]:
    """Kill the operator after each change to its groups of engines, until the move is over."""
    kills: list[str] = []
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        now = progress_of(suite)
        if now != seen:
            what = describe(seen, now)
            killed = install.sigkill_operator(suite)
            kills.append(what)
            suite.progress.say(f"    {what}: {killed}")
            install.await_operator(suite)
            seen = now
        elif kills and not suite.settled():
            return kills
        time.sleep(0.2)
    raise StepFailedError(f"the move is not over after 240 s and {len(kills)} kills: {suite.settled()}")


def progress_of(suite: Suite) -> dict[str, tuple[int, int]]:
    """Groups of engines, wanted and ready: what the steps of a move change and wait for."""
    groups = suite.cluster.items("deployments", "-n", WORK, "-l", f"{DEPLOYMENT_LABEL}={TINY}")
    return {
        group["metadata"]["name"]: (group["spec"]["replicas"], group.get("status", {}).get("readyReplicas", 0))
        for group in groups
    }


def describe(before: dict[str, tuple[int, int]], after: dict[str, tuple[int, int]]) -> str:
    parts = [f"{name} made" for name in after if name not in before]
    parts += [f"{name} deleted" for name in before if name not in after]
    parts += [
        f"{name} {before[name][0]}/{before[name][1]} -> {after[name][0]}/{after[name][1]}"
        for name in after
        if name in before and before[name] != after[name]
    ]
    return ", ".join(parts)
