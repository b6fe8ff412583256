"""Pure: LaunchSpec -> vLLM's command line and environment. GPUs and CPUs take one path; what differs is data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from deepseek_runtime import attention_cache, drafts, precision, sharding
from deepseek_runtime.failure import Failure, Reason
from deepseek_runtime.launchspec import LaunchSpec, refused_arguments, refused_environment

ENTRY = "deepseek_runtime.engine"
MIDDLEWARE = "deepseek_runtime.middleware.FrontDoor"

# After its SIGTERM the engine gets this long for what is still in flight. The drain before it is where requests finish.
STOP_TIMEOUT_S = 5

_ENV = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}

_CPU_ENV = {
    # Without these a request for logprobs needs a C++ compiler at run time, and its absence kills the engine.
    "TORCHDYNAMO_DISABLE": "1",
    # One process less: 0.5 GB and 5 s of start.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    # One slot is one vCPU. Binding would pin every engine of a machine to the same core.
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",
    # The platform check needs it where the engine's own metadata is missing.
    "VLLM_TARGET_DEVICE": "cpu",
}
# Eager mode turns on custom operators, and the CPU's rotary embedding is wrong for latent attention's queries.
_CPU_FLAGS = ("--enforce-eager", "--compilation-config", json.dumps({"custom_ops": ["-rotary_embedding"]}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What to execute: arguments after the Python interpreter, and environment variables to set."""

    arguments: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)


def command(
    spec: LaunchSpec,
    *,
    checkpoint: Path,
    checkpoint_format: str = "",
    env: Mapping[str, str] | None = None,
    host: str = "0.0.0.0",  # noqa: S104 - the pod's address is not known before it runs
) -> Command:
    """The engine's command line for ``spec`` on ``checkpoint``; raises :class:`Failure` on what cannot be run."""
    around = env or {}
    _refuse(spec)
    engine = spec.engine
    flags = ["--model", str(checkpoint), "--served-model-name", spec.served_model_name]
    flags += ["--host", host, "--port", str(spec.port)]
    flags += ["--max-model-len", str(engine.max_model_len), "--max-num-seqs", str(engine.max_num_seqs)]
    flags += ["--max-num-batched-tokens", str(engine.max_num_batched_tokens)]
    flags += ["--shutdown-timeout", str(STOP_TIMEOUT_S), "--middleware", MIDDLEWARE]
    flags += ["--enable-prompt-tokens-details", "--disable-uvicorn-access-log"]
    flags += attention_cache.arguments(spec)
    flags += drafts.arguments(spec)
    flags += precision.arguments(spec, checkpoint_format)
    flags += sharding.arguments(spec, around)
    if spec.accelerator == "cpu":
        flags += _CPU_FLAGS
    flags += engine.extra_args
    variables = {**_ENV, **_accelerator_env(spec), **engine.env}
    return Command(arguments=("-m", ENTRY, *flags), env=variables)


def _accelerator_env(spec: LaunchSpec) -> Mapping[str, str]:
    if spec.accelerator == "cpu":
        return _CPU_ENV
    # Compiled kernels outlive the pod where the weights do.
    return {"VLLM_CACHE_ROOT": f"{spec.weights.cache_path}/vllm"} if spec.weights.cache_path else {}


def _refuse(spec: LaunchSpec) -> None:
    problems = refused_arguments(spec.engine.extra_args) + refused_environment(spec.engine.env)
    if problems:
        raise Failure(Reason.INVALID_LAUNCH_SPEC, "; ".join(problems))
