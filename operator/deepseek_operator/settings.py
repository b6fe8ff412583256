"""Every knob of the operator process, read once at start.

Settings say how this process runs; what is served, and how well, stands in the resources. Each knob
is an environment variable with the prefix ``DEEPSEEK_``; ``deepseek-operator run --help`` lists them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from deepseek_operator.errors import SettingsError
from deepseek_planner.snapshot import Policy, Routing
from deepseek_planner.units import MicroUsd, written_usd

VERSION = "0.1.0"
FIELD_MANAGER = "deepseek-operator"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How engine pods are made. None of it is part of an engine's identity: a change restarts nothing."""

    cuda_image: str = f"localhost/deepseek-runtime-cuda:{VERSION}"
    """Image for every accelerator but ``cpu``."""
    cpu_image: str = f"localhost/deepseek-runtime-cpu:{VERSION}"
    image_pull_policy: str = "IfNotPresent"
    gpu_resource: str = "nvidia.com/gpu"
    """Extended resource that GPU pods ask for."""
    monitoring_namespace: str = ""
    """Namespace that may reach the metrics port; empty: every namespace."""
    weight_ports: tuple[int, ...] = (443,)
    """Ports on which engines may reach model hubs and stores; a port in a weights URI is added."""


@dataclass(frozen=True, slots=True)
class LeaderSettings:
    """The lease that decides which of several processes acts. Seconds."""

    enabled: bool = True
    name: str = "deepseek-operator"
    namespace: str = ""
    """Empty: the namespace of this process."""
    identity: str = ""
    """Empty: host name and a random suffix."""
    duration_s: float = 15.0
    renew_deadline_s: float = 10.0
    retry_s: float = 2.0


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """The HTTP server of the process: probes, metrics and alerts."""

    host: str = "0.0.0.0"  # noqa: S104 - the probes and Prometheus come from other hosts
    port: int = 8080
    alert_token_file: str = ""
    """File with the bearer token that Alertmanager must show; empty: alerts are refused."""


@dataclass(frozen=True, slots=True)
class Settings:
    """All of it."""

    engine: EngineSettings = EngineSettings()
    leader: LeaderSettings = LeaderSettings()
    server: ServerSettings = ServerSettings()
    policy: Policy = field(default_factory=lambda: Policy(measures=False))
    namespaces: tuple[str, ...] = ()
    """Namespaces to look after; empty: all."""
    price_file: str = ""
    """CSV of prices that come before the shipped ones; empty: none. Read again when it changes."""
    prometheus_url: str = ""
    """Empty: no measurements, the declared demand stands and nothing is scaled down."""
    measurement_window_s: float = 900.0
    resync_s: float = 60.0
    """Longest time between two cycles."""
    relist_s: float = 300.0
    """Longest time between two full reads of the cluster, which find what a watch may have missed."""
    debounce_s: float = 0.3
    """Time after a wake-up in which more of them make one cycle."""
    busy_s: float = 5.0
    """Time between cycles while a move is under way."""
    actual_s: float = 300.0
    """Shortest time between two writes of ``status.actual``, unless it moved by 5 %."""
    local_paths: bool = False
    """Whether weights may lie at a path of this machine: the embedded world only."""
    log_level: str = "INFO"


def from_environment(environ: Mapping[str, str]) -> Settings:
    """Settings from ``DEEPSEEK_*`` variables; raises SettingsError with every problem at once."""
    read = _Reader(environ)
    engine, leader, server = EngineSettings(), LeaderSettings(), ServerSettings()
    prometheus_url, resync_s = read.url("PROMETHEUS_URL"), read.seconds("RESYNC", 60.0)
    settings = Settings(
        engine=EngineSettings(
            cuda_image=read.text("CUDA_IMAGE", engine.cuda_image),
            cpu_image=read.text("CPU_IMAGE", engine.cpu_image),
            image_pull_policy=read.choice("IMAGE_PULL_POLICY", "IfNotPresent", ("IfNotPresent", "Always", "Never")),
            gpu_resource=read.text("GPU_RESOURCE", engine.gpu_resource),
            monitoring_namespace=read.text("MONITORING_NAMESPACE", ""),
            weight_ports=tuple(read.ports("WEIGHT_PORTS", "443")),
        ),
        leader=LeaderSettings(
            enabled=read.choice("LEADER_ELECTION", "true", ("true", "false")) == "true",
            name=read.text("LEASE_NAME", leader.name),
            namespace=read.text("POD_NAMESPACE", ""),
            identity=read.text("POD_NAME", ""),
            duration_s=read.seconds("LEASE_DURATION", leader.duration_s),
            renew_deadline_s=read.seconds("LEASE_RENEW_DEADLINE", leader.renew_deadline_s),
            retry_s=read.seconds("LEASE_RETRY", leader.retry_s),
        ),
        server=ServerSettings(
            host=read.text("LISTEN_HOST", server.host),
            port=read.port("LISTEN_PORT", server.port),
            alert_token_file=read.text("ALERT_TOKEN_FILE", ""),
        ),
        policy=_policy(read, cycle_s=resync_s, measures=bool(prometheus_url)),
        price_file=read.text("PRICE_FILE", ""),
        namespaces=tuple(name for name in read.text("NAMESPACES", "").split(",") if name),
        prometheus_url=prometheus_url,
        measurement_window_s=read.seconds("MEASUREMENT_WINDOW", 900.0, at_least=10.0),
        resync_s=resync_s,
        relist_s=read.seconds("RELIST", 300.0),
        log_level=read.choice("LOG_LEVEL", "INFO", ("DEBUG", "INFO", "WARNING", "ERROR")),
    )
    lease = settings.leader
    if not lease.retry_s < lease.renew_deadline_s < lease.duration_s:
        read.problems.append(
            "DEEPSEEK_LEASE_RETRY < DEEPSEEK_LEASE_RENEW_DEADLINE < DEEPSEEK_LEASE_DURATION must hold: "
            f"{lease.retry_s} < {lease.renew_deadline_s} < {lease.duration_s} does not; 2, 10 and 15 do"
        )
    if read.problems:
        raise SettingsError(tuple(read.problems))
    return settings


def _policy(read: _Reader, *, cycle_s: float, measures: bool) -> Policy:
    """What bears on decisions."""
    default = Policy()
    return Policy(
        settle_s=read.seconds("SETTLE", default.settle_s, at_least=0.0),
        max_price_age_days=read.days("MAX_PRICE_AGE_DAYS", default.max_price_age_days),
        engine_start_s=read.seconds("ENGINE_START", default.engine_start_s),
        measures=measures,
        routing=read.routing("ROUTING"),
        max_usd_per_hour=read.dollars("MAX_USD_PER_HOUR"),
        cycle_s=cycle_s,
        demand_percentile=read.count("DEMAND_PERCENTILE", default.demand_percentile, 50, 99),
        max_moved_engines_per_hour=read.count("MOVED_ENGINES_PER_HOUR", default.max_moved_engines_per_hour, 1, 10_000),
        max_moved_engines_per_hour_in_all=read.count(
            "MOVED_ENGINES_PER_HOUR_IN_ALL", default.max_moved_engines_per_hour_in_all, 1, 10_000
        ),
        retry_s=read.seconds("RETRY_AFTER", default.retry_s),
    )


class _Reader:
    """Reads variables and collects what is wrong with them."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.problems: list[str] = []

    def text(self, name: str, default: str) -> str:
        return self._environ.get(f"DEEPSEEK_{name}", "").strip() or default

    def choice(self, name: str, default: str, allowed: tuple[str, ...]) -> str:
        value = self.text(name, default)
        return value if value in allowed else self._refuse(name, value, f"write one of {', '.join(allowed)}", default)

    def seconds(self, name: str, default: float, *, at_least: float = 0.1) -> float:
        return self._number(name, default, float, lambda value: value >= at_least, f"write seconds >= {at_least:g}")

    def days(self, name: str, default: int) -> int:
        return self._number(name, default, int, lambda value: 1 <= value <= 3650, "write whole days, 1 to 3650")

    def count(self, name: str, default: int, least: int, most: int) -> int:
        return self._number(
            name, default, int, lambda value: least <= value <= most, f"write a whole number, {least} to {most}"
        )

    def dollars(self, name: str) -> MicroUsd | None:
        value = self.text(name, "")
        try:
            return written_usd(value) if value else None
        except ValueError:
            return self._refuse(name, value, "write dollars above 0, like 120 or 99.50", None)

    def routing(self, name: str) -> Routing:
        value = self.text(name, Routing.EVEN)
        if value == Routing.BY_LENGTH:
            remedy = "it needs a router in front of the engines, and this operator runs none: write Even"
            return self._refuse(name, value, remedy, Routing.EVEN)
        return Routing(self.choice(name, Routing.EVEN, (Routing.EVEN,)))

    def port(self, name: str, default: int) -> int:
        return self._number(name, default, int, lambda value: 0 < value < 65536, "write a port, 1 to 65535")

    def ports(self, name: str, default: str) -> list[int]:
        found = self.text(name, default).split(",")
        if all(part.strip().isdecimal() and 0 < int(part) < 65536 for part in found):
            return [int(part) for part in found]
        return self._refuse(name, ",".join(found), "write ports like 443,9000", [443])

    def url(self, name: str) -> str:
        value = self.text(name, "")
        if not value or value.startswith(("http://", "https://")):
            return value.rstrip("/")
        return self._refuse(name, value, "write a URL like http://prometheus.monitoring:9090", "")

    def _number(self, name: str, default: T, kind: type[T], fits: Callable[[T], bool], remedy: str) -> T:
        raw = self.text(name, "")
        if not raw:
            return default
        try:
            value = kind(raw)  # type: ignore[call-arg]
        except ValueError:
            return self._refuse(name, raw, remedy, default)
        return value if fits(value) else self._refuse(name, raw, remedy, default)

    def _refuse(self, name: str, value: str, remedy: str, default: T) -> T:
        self.problems.append(f"DEEPSEEK_{name}: {value!r}: cannot be used; {remedy}")
        return default
