"""The contract between operator and engine pod: frozen, versioned, JSON.

The operator writes it, the pod reads it. It holds everything that would need a restart when it
changes, and nothing else: prices and the operator's version are not in it, so that neither restarts
an engine. ``digest`` of two equal specs is equal on every machine.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

VERSION = 1


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
        return json.dumps({"version": VERSION, **asdict(self)}, sort_keys=True, separators=(",", ":"))

    @property
    def digest(self) -> str:
        """First ten hex digits of the SHA-256 of the canonical JSON: the identity of an engine."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:10]

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
