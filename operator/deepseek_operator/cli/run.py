"""``deepseek-operator run``: the operator of a cluster."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from deepseek_operator import errors, settings

if TYPE_CHECKING:
    from deepseek_planner.catalog import Catalog

_EXAMPLE = """\
Connects as the pod's service account, or else to the current context of KUBECONFIG.
Each option is also a variable, which is what the Helm chart sets: --prometheus-url is DEEPSEEK_PROMETHEUS_URL.

example:
  KUBECONFIG=~/.kube/config deepseek-operator run --prometheus-url http://localhost:9090
"""
_OPTIONS = {
    "PROMETHEUS_URL": "where load and service are measured; without it nothing is ever scaled down",
    "NAMESPACES": "namespaces to look after, with commas between; default: all",
    "CUDA_IMAGE": "image of engines on GPUs",
    "CPU_IMAGE": "image of engines on CPU nodes",
    "IMAGE_PULL_POLICY": "IfNotPresent, Always or Never, for engines",
    "GPU_RESOURCE": "extended resource that engines on GPUs ask for; default: nvidia.com/gpu",
    "MONITORING_NAMESPACE": "namespace that may read engines' metrics; default: every one",
    "WEIGHT_PORTS": "ports on which engines may reach model hubs and stores; default: 443",
    "SETTLE": "seconds for which a move must stay the answer before its first step; default: 60",
    "PRICE_FILE": "CSV of your own prices, which come before the shipped ones; read again when it changes",
    "MAX_PRICE_AGE_DAYS": "days after which a price is stale and a plan that rests on it says so; default: 90",
    "MAX_USD_PER_HOUR": "dollars per hour that all deployments together may cost, surge included; default: no limit",
    "ROUTING": "how requests reach replicas: Even, a Kubernetes Service; ByLength needs a router and is refused here",
    "DEMAND_PERCENTILE": "how surely capacity covers the highest minute until more could serve; default: 95",
    "ENGINE_START": "seconds an engine takes to start on a node that is there; default: 300",
    "MOVED_ENGINES_PER_HOUR": "engines of a deployment that may start within an hour to save; default: 8",
    "MOVED_ENGINES_PER_HOUR_IN_ALL": "the same for all deployments together; default: 32",
    "RETRY_AFTER": "seconds for which nothing is started again where engines were given up; default: 3600",
    "MEASUREMENT_WINDOW": "seconds of measurements that replace the declared demand; default: 900",
    "RESYNC": "longest time between two cycles, in seconds; default: 60",
    "RELIST": "longest time between two full reads of the cluster, in seconds; default: 300",
    "ALERT_TOKEN_FILE": "file with the bearer token that Alertmanager shows; without it alerts are refused",
    "LISTEN_HOST": "address of the HTTP server: /healthz /readyz /metrics, POST /alerts; default: all",
    "LISTEN_PORT": "its port; default: 8080",
    "LEADER_ELECTION": "true or false: whether several processes may run and one of them acts; default: true",
    "LEASE_NAME": "name of the lease that decides which; default: deepseek-operator",
    "POD_NAMESPACE": "namespace of the lease; default: the pod's",
    "LEASE_DURATION": "seconds after which a silent leader is replaced; default: 15",
    "LEASE_RENEW_DEADLINE": "seconds after which a leader that cannot renew stops; default: 10",
    "LEASE_RETRY": "seconds between two attempts to acquire or renew; default: 2",
    "LOG_LEVEL": "DEBUG, INFO, WARNING or ERROR; default: INFO",
}


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "run",
        help="run the operator",
        description="Run the operator of a cluster.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for name, text in _OPTIONS.items():
        parser.add_argument(f"--{name.lower().replace('_', '-')}", metavar="VALUE", help=text)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Exit codes: 0 after a signal, 2 for settings that cannot be used, 1 for everything else."""
    given = {f"DEEPSEEK_{name}": getattr(args, name.lower()) for name in _OPTIONS}
    environment = {**os.environ, **{name: value for name, value in given.items() if value is not None}}
    try:
        chosen = settings.from_environment(environment)
    except errors.SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    logging.basicConfig(
        level=chosen.log_level, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr
    )
    # kopf tells each event on INFO; its warnings are news.
    logging.getLogger("kopf").setLevel(logging.WARNING)
    # Loaded here, so that --help and wrong settings answer at once.
    from deepseek_operator.price_file import PriceFile  # noqa: PLC0415
    from deepseek_operator.process import Process  # noqa: PLC0415
    from deepseek_planner import catalog  # noqa: PLC0415

    try:
        facts: Callable[[], Catalog] = catalog.load
        if chosen.price_file:
            facts = PriceFile(chosen.price_file, facts(), today=lambda: datetime.now(UTC).date()).catalog
    except errors.SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    return asyncio.run(Process(chosen, facts).run())
