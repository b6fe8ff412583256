"""What the operator did, from the API server's audit log: no spec of its own resources, nothing granted for nothing."""

from __future__ import annotations

from suite.audit import granted, used
from suite.suite import GROUP, RELEASE, SYSTEM, Suite

ASKED_FOR_NOTHING = {"leaderworkersets"}
"""Whether these may be listed is how the operator learns that several nodes are not wanted here."""


def run(suite: Suite) -> None:
    """Compare what was granted with what was used, over the whole run."""
    if suite.audit is None:
        suite.progress.skip("rights against the audit log", "--audit-log is empty")
        return
    calls = suite.audit.calls()
    specs = [
        str(call)
        for call in calls
        if call.is_write and call.group == GROUP and not call.resource.endswith("/status") and call.code < 400
    ]
    suite.progress.check(
        "the operator wrote no spec of its own resources", bool(calls) and not specs, "; ".join(specs[:5])
    )
    denied = sorted(
        {
            f"{call.verb} {call.resource}"
            for call in calls
            if call.code == 403 and call.resource not in ASKED_FOR_NOTHING
        }
    )
    suite.progress.check("nothing that it tried was forbidden", not denied, ", ".join(denied))
    labels = f"app.kubernetes.io/instance={RELEASE}"
    roles = suite.cluster.items("clusterroles", "-l", labels) + suite.cluster.items("roles", "-n", SYSTEM, "-l", labels)
    rights = granted(roles)
    idle = sorted(" ".join(right) for right in rights - used(calls))
    suite.progress.check(
        "every verb granted was used", bool(rights) and not idle, ", ".join(idle) or f"{len(rights)} rights"
    )
