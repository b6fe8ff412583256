"""The contract between operator and engine pod: frozen, versioned, JSON.

The operator writes it, the pod reads it. It holds everything that would need a restart when it
changes, and nothing else: prices and the operator's version are not in it, so that neither restarts
an engine. ``digest`` of two equal specs is equal on every machine.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

VERSION = 1

# What `engine.extraArgs` may not say, because the plan or this runtime says it. Short names beside the long.
OWNED_ARGUMENTS = frozenset(
    {
        "--model", "--served-model-name", "--host", "--port", "--uds", "--config", "--headless", "--middleware",
        "--max-model-len", "--max-num-seqs", "--max-num-batched-tokens", "--kv-cache-memory-bytes",
        "--gpu-memory-utilization", "--enable-prefix-caching", "--dtype", "--quantization", "-q", "--shutdown-timeout",
        "--kv-cache-dtype", "--enable-chunked-prefill", "--speculative-config", "-sc", "--spec-method", "--spec-model",
        "--spec-tokens",
        "--tensor-parallel-size", "-tp", "--pipeline-parallel-size", "-pp", "--enable-expert-parallel", "-ep",
        "--data-parallel-size", "-dp", "--data-parallel-size-local", "-dpl", "--data-parallel-start-rank", "-dpr",
        "--data-parallel-rank", "-dpn", "--data-parallel-address", "-dpa", "--data-parallel-rpc-port", "-dpp",
        "--data-parallel-backend", "-dpb", "--data-parallel-external-lb", "-dpe", "--data-parallel-hybrid-lb",
        "-dph", "-dpm",
        "--nnodes", "-n", "--node-rank", "-r", "--master-addr", "--master-port", "--distributed-executor-backend",
        "--api-server-count", "-asc", "--enforce-eager", "--compilation-config", "-cc", "-O", "--optimization-level",
        "--disable-log-stats", "--enable-prompt-tokens-details", "--root-path", "--api-key", "--ssl-keyfile",
    }
)  # fmt: skip
FORBIDDEN_ARGUMENTS = frozenset({"--trust-remote-code"})
OWNED_ENVIRONMENT = frozenset(
    {
        "VLLM_CPU_KVCACHE_SPACE", "VLLM_CPU_OMP_THREADS_BIND", "VLLM_ENABLE_V1_MULTIPROCESSING", "VLLM_TARGET_DEVICE",
        "VLLM_SERVER_DEV_MODE", "VLLM_API_KEY", "VLLM_PORT", "VLLM_HOST_IP", "TORCHDYNAMO_DISABLE", "OMP_NUM_THREADS",
        "PYTHONPATH", "LD_PRELOAD", "TERMINATION_MESSAGE_PATH",
    }
)  # fmt: skip
OWNED_ENVIRONMENT_PREFIXES = ("DEEPSEEK_", "LWS_", "KUBERNETES_")

# Left out of the JSON at their defaults: an engine that does without them is the engine that it was before they came.
_OPTIONAL_ENGINE_FIELDS = ("kv_cache_dtype", "speculative_tokens")

# Beyond drain delay and drain timeout: the engine's own stop, and what it takes to report.
_STOP_MARGIN_S = 20


class LaunchSpecError(ValueError):
    """The JSON is not a LaunchSpec this runtime can read; the message names field, value and remedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """Where the checkpoint is: exactly one of ``repository``, ``uri`` and ``path`` is set.

    A PersistentVolumeClaim arrives as ``path``: the pod mounts it.
    """

    repository: str = ""
    revision: str = ""
    uri: str = ""
    path: str = ""
    cache_path: str = ""
    """Directory that outlives the pod where there is one: downloads go there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharding:
    """Degrees of parallelism of one replica, and over how many nodes it spreads."""

    tensor_parallel: int = 1
    pipeline_parallel: int = 1
    data_parallel: int = 1
    expert_parallel: int = 1
    nodes: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """Engine settings that the plan owns. Lengths in tokens, ``kv_cache_bytes`` per accelerator."""

    max_model_len: int
    max_num_seqs: int
    max_num_batched_tokens: int
    kv_cache_bytes: int
    prefix_caching: bool = True
    data_type: str = "bfloat16"
    kv_cache_dtype: str = "auto"
    """``auto``, ``fp8``, or ``fp8_ds_mla`` for sparse attention."""
    speculative_tokens: int = 0
    """Tokens that the checkpoint's own next-token layers draft per step; 0: none."""
    extra_args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchSpec:
    """One replica's engine: what to load, how to shard it, how to run it, what to call it in metrics."""

    namespace: str
    name: str
    model: str
    """Catalogue name; the checkpoint's ``config.json`` is checked against ``architecture``."""
    served_model_name: str
    architecture: Mapping[str, int | str] = field(default_factory=dict)
    """Facts of ``config.json`` that must hold (``num_hidden_layers``, ``hidden_size``, …)."""
    weights: Weights
    accelerator: str
    """Canonical accelerator name; ``cpu`` runs vLLM's CPU build."""
    precision: str
    native_precision: str
    sharding: Sharding = Sharding()
    engine: Engine
    pool: str
    capacity_type: str
    drain_timeout_s: int = 60
    """Longest time that requests in flight may take to finish after a stop was asked for."""
    drain_delay_s: int = 5
    """Time between turning not ready and refusing new connections: endpoints need it to go."""
    port: int = 8000
    metrics_port: int = 8001

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces; the text that ``digest`` hashes."""
        document = {"version": VERSION, **asdict(self)}
        for item in fields(Engine):
            if item.name in _OPTIONAL_ENGINE_FIELDS and document["engine"][item.name] == item.default:
                del document["engine"][item.name]
        return json.dumps(document, sort_keys=True, separators=(",", ":"))

    @property
    def digest(self) -> str:
        """First ten hex digits of the SHA-256 of the canonical JSON: the identity of an engine."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:10]

    @property
    def termination_grace_s(self) -> int:
        """Seconds between the stop signal and the kill that a pod of this spec needs at most."""
        return self.drain_delay_s + self.drain_timeout_s + _STOP_MARGIN_S

    @classmethod
    def from_json(cls, text: str) -> LaunchSpec:
        """Read what :meth:`to_json` wrote; raises :class:`LaunchSpecError` on anything else."""
        try:
            raw = json.loads(text)
        except json.JSONDecodeError as error:
            raise LaunchSpecError(f"launch spec: not JSON ({error}); let the operator write it") from None
        if not isinstance(raw, dict) or raw.get("version") != VERSION:
            found = raw.get("version") if isinstance(raw, dict) else type(raw).__name__
            raise LaunchSpecError(
                f"version: {found!r}: this runtime reads version {VERSION}; use operator and runtime of one release"
            )
        raw.pop("version")
        nested: dict[str, Any] = {"weights": Weights, "sharding": Sharding, "engine": Engine}
        for name, kind in nested.items():
            raw[name] = _build(kind, raw.get(name, {}), f"{name}.")
        spec: LaunchSpec = _build(cls, raw, "")
        return spec


def refused_arguments(arguments: Sequence[str]) -> list[str]:
    """What is wrong with extra engine arguments: one text per problem, naming field, value and remedy."""
    problems = []
    for index, argument in enumerate(arguments):
        if not argument.startswith("-"):
            continue
        owner = _owner(argument)
        if owner in FORBIDDEN_ARGUMENTS:
            problems.append(
                f"engine.extraArgs[{index}]: {argument!r}: runs code from the checkpoint; "
                "leave it out and use a model that the engine knows"
            )
        elif owner:
            problems.append(f"engine.extraArgs[{index}]: {argument!r}: {owner} is set by the plan; leave it out")
    return problems


def refused_environment(env: Mapping[str, str]) -> list[str]:
    """What is wrong with extra environment variables: one text per problem."""
    return [
        f"engine.env[{name}]: {value!r}: {name} is set by the runtime; leave it out"
        for name, value in sorted(env.items())
        if name in OWNED_ENVIRONMENT or name.startswith(OWNED_ENVIRONMENT_PREFIXES)
    ]


def _owner(argument: str) -> str:
    """The owned flag that ``argument`` means to vLLM's parser, or ""."""
    # The parser takes `_` for `-`, `--no-x` for x off, `--x.key` for a part of x, and any unambiguous beginning.
    name = argument.split("=", 1)[0].split(".", 1)[0]
    owned = OWNED_ARGUMENTS | FORBIDDEN_ARGUMENTS
    if not name.startswith("--"):
        # `-O2` and `-tp2` are a short name and its value in one word.
        short = {flag for flag in owned if not flag.startswith("--")}
        return name if name in short else "-O" if name.startswith("-O") else _glued(name, short)
    name = name.replace("_", "-")
    name = "--" + name.removeprefix("--").removeprefix("no-")
    return next((flag for flag in sorted(owned) if flag == name or (len(name) > 3 and flag.startswith(name))), "")


def _glued(name: str, short: set[str]) -> str:
    stem = name.rstrip("0123456789")
    return stem if stem in short else ""


def _build(kind: Any, raw: object, where: str) -> Any:
    if not isinstance(raw, dict):
        raise LaunchSpecError(f"{where or 'launch spec'}: {raw!r}: must be an object; let the operator write it")
    known = {item.name for item in fields(kind)}
    unknown = sorted(set(raw) - known)
    if unknown:
        raise LaunchSpecError(
            f"{where}{unknown[0]}: not a field of version {VERSION}; use operator and runtime of one release"
        )
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in raw.items()}
    try:
        return kind(**values)
    except TypeError as error:
        raise LaunchSpecError(f"{where or 'launch spec'}: {error}; let the operator write it") from None
