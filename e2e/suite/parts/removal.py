"""Delete everything and see nothing left, over every type that the API can list."""

from __future__ import annotations

import time
from collections.abc import Mapping

from suite import install
from suite.cluster import CommandFailedError
from suite.objects import everything, is_ours
from suite.progress import StepFailedError
from suite.suite import Suite


def run(suite: Suite, before: Mapping[str, object]) -> None:
    """Remove what the run made, then look for what is left."""
    try:
        with suite.progress.step("delete everything"):
            install.remove(suite)
    except (StepFailedError, CommandFailedError):
        return  # it stands in the table
    left: list[str] = []
    for _ in range(20):  # finalizers of namespaces and the garbage collector take a moment
        left = sorted(key for key, item in everything(suite.cluster).items() if key not in before and is_ours(item))
        if not left:
            break
        time.sleep(1)
    kinds = len(suite.cluster.kubectl("api-resources", "--verbs=list", "-o", "name").split())
    suite.progress.check("no object of ours is left", not left, ", ".join(left[:10]) or f"{kinds} types looked through")
