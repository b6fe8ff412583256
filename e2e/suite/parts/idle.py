"""Nothing happens -> nothing is written."""

from __future__ import annotations

import time

from suite import install
from suite.parts.gitops import quiet, versions
from suite.suite import Suite


def run(suite: Suite) -> None:
    """Leave the cluster alone and look at who wrote what."""
    seconds = suite.options.idle_seconds
    time.sleep(install.HELM_VALUES["loop"]["measurementWindowSeconds"])  # what was sent last leaves the window
    before = quiet(suite)
    start = suite.audit.mark() if suite.audit else 0
    with suite.progress.step(f"{seconds} idle seconds"):
        time.sleep(seconds)
    after = versions(suite)
    changed = sorted(key for key in {*before, *after} if before.get(key) != after.get(key))
    suite.progress.check("no object of ours changed", not changed, ", ".join(changed) or f"{len(after)} objects")
    if suite.audit is None:
        suite.progress.skip("no write in the audit log", "--audit-log is empty")
        return
    calls = suite.audit.calls(start)
    writes = [str(call) for call in calls if call.is_write and call.resource != "leases"]
    suite.progress.check(
        "no write in the audit log, the Lease aside", not writes, "; ".join(writes[:5]) or f"{len(calls)} calls"
    )
