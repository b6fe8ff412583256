"""Nothing is written twice: applying the same files again, helm upgrades, price changes."""

from __future__ import annotations

import time

from suite import install
from suite.cluster import CommandFailedError
from suite.objects import WATCHED
from suite.parts.serve import tiny
from suite.progress import StepFailedError
from suite.suite import WORK, Suite


def run(suite: Suite) -> None:
    """Upgrade, reprice, then apply what is there once more."""
    upgrade(suite)
    reprice(suite)
    apply_twice(suite)


def versions(suite: Suite) -> dict[str, str]:
    """resourceVersion of everything of ours in the cluster."""
    kinds = ",".join(kind for kind in WATCHED if kind != "pods")
    items = suite.cluster.items(f"{kinds},deepseekdeployments", "-n", WORK) + suite.cluster.items("acceleratorpools")
    return {f"{item['kind']}/{item['metadata']['name']}": item["metadata"]["resourceVersion"] for item in items}


def quiet(suite: Suite) -> dict[str, str]:
    """The versions once they have stood still for longer than a look takes: what was done has been reported."""
    seconds = install.HELM_VALUES["loop"]["resyncSeconds"] + 2
    seen = versions(suite)
    for _ in range(10):
        time.sleep(seconds)
        now = versions(suite)
        if now == seen:
            return now
        seen = now
    raise StepFailedError(f"never at rest: {_changed(seen, versions(suite))}")


def apply_twice(suite: Suite) -> None:
    files = suite.fill("pools.yaml") + "---\n" + tiny(suite)
    with suite.progress.step("apply the same files twice"):
        before = quiet(suite)
        for _ in range(2):
            suite.cluster.apply(files)
            time.sleep(2)
        after = versions(suite)
    suite.progress.check("no resourceVersion changed", before == after, _changed(before, after))
    try:
        suite.cluster.kubectl("diff", "-f", "-", stdin=files)
        suite.progress.check("kubectl diff exits 0", True)  # noqa: FBT003
    except CommandFailedError as error:
        suite.progress.check("kubectl diff exits 0", False, error.text[:600])  # noqa: FBT003


def _changed(before: dict[str, str], after: dict[str, str]) -> str:
    changed = {key for key in {*before, *after} if before.get(key) != after.get(key)}
    return ", ".join(sorted(changed)) if changed else f"{len(after)} objects"


def served(suite: Suite) -> dict[str, int]:
    """Engines that answer now; there must be one to say anything about."""
    found = suite.serving()
    if not found:
        raise StepFailedError(f"no engine serves: {suite.settled()}")
    return found


def upgrade(suite: Suite) -> None:
    """Another operator pod, and another default image for engines to come: no engine restarts."""
    before = served(suite)
    pods = {pod["metadata"]["uid"] for pod in suite.operator_pods()}
    install.operator(suite, "--set", "engine.images.cpu.tag=another", "--set", "podAnnotations.e2e=upgraded")
    with suite.progress.step("the new operator leads and looks"):
        time.sleep(15)
    new = {pod["metadata"]["uid"] for pod in suite.operator_pods()}
    suite.progress.check("the operator's pod is another one", bool(new) and not pods & new)
    suite.progress.check("an operator upgrade restarts no engine", suite.serving() == before, suite.serving())
    install.operator(suite)
    time.sleep(10)
    suite.progress.check("nor does its rollback", suite.serving() == before, suite.serving())


def reprice(suite: Suite) -> None:
    """Another price reaches the meters of running engines."""
    before = served(suite)
    pool = suite.fill("pools.yaml")
    dearer = pool.replace('"0.23184"', '"0.28"')
    try:
        with suite.progress.step("a dearer pool"):
            suite.cluster.apply(dearer)
            time.sleep(10)
        maps = suite.cluster.items("configmaps", "-n", WORK, "-l", "app.kubernetes.io/managed-by=deepseek-operator")
        prices = {item["data"].get("price.json", "") for item in maps}
        suite.progress.check("the price reaches the engines' files", any("0.07" in price for price in prices), prices)
        suite.progress.check("a price change restarts no engine", suite.serving() == before, suite.serving())
    finally:
        suite.cluster.apply(pool)
        suite.await_settled(seconds=60)
