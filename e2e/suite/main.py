"""The order of the parts, and the table at the end."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from suite import images, install
from suite.audit import AuditLog
from suite.cluster import Cluster, refuse_foreign_clusters
from suite.objects import everything
from suite.options import Options, parse
from suite.parts import bad_input, gitops, idle, kills, placement, rebalance, removal, rights, serve
from suite.progress import Progress, StepFailedError
from suite.suite import GROUP, RELEASE, SYSTEM, Suite, is_ready

PARTS: dict[str, Callable[[Suite], None]] = {
    "serve": serve.run,
    "rebalance": rebalance.run,
    "gitops": gitops.run,
    "placement": placement.run,
    "bad-input": bad_input.run,
    "kills": kills.run,
    "idle": idle.run,
    "rights": rights.run,
}
ESSENTIAL = {"serve"}
"""Parts without which the others say nothing."""


def main(arguments: Sequence[str]) -> int:
    """Run everything; 0 when every claim held, 1 when one did not, 2 when it could not begin."""
    options = parse(arguments)
    progress = Progress()
    try:
        suite = begin(options, progress)
    except StepFailedError as error:
        print(f"e2e: {error}")
        return 2
    before: dict[str, object] = {}
    try:
        before.update(everything(suite.cluster))
        run(suite)
    except StepFailedError:
        pass  # it stands in the table
    finally:
        if options.keep:
            progress.say("--keep: everything is left as it is")
        else:
            removal.run(suite, before)
        print(progress.table(), flush=True)
    return 1 if progress.failed else 0


def begin(options: Options, progress: Progress) -> Suite:
    """Check that the run may begin, and where."""
    missing = [tool for tool in ("kubectl", "helm") if not shutil.which(tool)]
    if missing:
        raise StepFailedError(f"{' and '.join(missing)} not on PATH; install what is missing")
    unknown = set(options.only) - set(PARTS)
    if unknown:
        raise StepFailedError(f"--only: {sorted(unknown)}: no such part; choose from {', '.join(PARTS)}")
    cluster = Cluster(verbose=options.verbose)
    progress.say(f"cluster {refuse_foreign_clusters(cluster)}")
    refuse_second_operator(cluster)
    nodes = [node for node in cluster.items("nodes") if is_ready(node) and not node["spec"].get("taints")]
    names = [node["metadata"]["name"] for node in nodes]
    if options.node and options.node not in names:
        raise StepFailedError(
            f"--node: {options.node!r}: not a ready node without taints; choose from {', '.join(names)}"
        )
    if not names:
        raise StepFailedError("no node is ready and without taints; add one")
    audit = None
    if options.audit_log:
        path = Path(options.audit_log)
        if not path.is_file():
            raise StepFailedError(f"--audit-log: {path}: no such file; leave it out where it cannot be read")
        audit = AuditLog(path, f"system:serviceaccount:{SYSTEM}:{RELEASE}", path.stat().st_size)
    return Suite(options, progress, cluster, images.references(options), options.node or names[0], audit)


def refuse_second_operator(cluster: Cluster) -> None:
    """A cluster where someone serves with this operator is left alone: the run removes the CRDs at its end."""
    # By the definitions themselves: kubectl remembers for a while what kinds an API served.
    groups = {item["spec"]["group"] for item in cluster.items("customresourcedefinitions")}
    if GROUP not in groups:
        return
    found = cluster.items("deepseekdeployments,acceleratorpools", "-A")
    names = ", ".join(f"{item['kind']} {item['metadata']['name']}" for item in found[:5])
    raise StepFailedError(
        f"the cluster has the CustomResourceDefinitions already ({names or 'no object uses them'}); "
        "use another cluster, or delete them first: kubectl delete crd "
        "deepseekdeployments.serving.deepseek-operator.dev acceleratorpools.serving.deepseek-operator.dev"
    )


def run(suite: Suite) -> None:
    """Everything between an empty cluster and the removal."""
    images.load(suite.options, suite.progress)
    install.namespaces(suite)
    install.operator(suite, *install.ONLY_WOKEN)
    install.helm_test(suite)
    for name, part in PARTS.items():
        if suite.options.only and name not in {*suite.options.only, *ESSENTIAL}:
            continue
        suite.progress.say(f"== {name}")
        try:
            part(suite)
        except StepFailedError:
            print(suite.operator_logs(tail=40), flush=True)
            if name in ESSENTIAL:
                raise
