"""Pure: how a planned sharding becomes vLLM flags.

A pod of a replica over several nodes knows its rank from LeaderWorkerSet's environment.
"""

from __future__ import annotations

from collections.abc import Mapping

from deepseek_runtime.failure import Failure, Reason
from deepseek_runtime.launchspec import LaunchSpec

_MASTER_PORT = "29501"


def rank(spec: LaunchSpec, env: Mapping[str, str]) -> int:
    """The pod's place in its replica: 0 serves HTTP, the others only compute."""
    if spec.sharding.nodes == 1:
        return 0
    text = env.get("LWS_WORKER_INDEX", "")
    if not text.isdigit() or int(text) >= spec.sharding.nodes:
        raise Failure(
            Reason.INVALID_LAUNCH_SPEC,
            f"LWS_WORKER_INDEX: {text!r}: sharding.nodes is {spec.sharding.nodes}; run the pods by a LeaderWorkerSet",
        )
    return int(text)


def arguments(spec: LaunchSpec, env: Mapping[str, str]) -> list[str]:
    """Degrees of parallelism, and over several nodes who leads and which of them this is."""
    sharding = spec.sharding
    flags = ["--tensor-parallel-size", str(sharding.tensor_parallel)]
    if sharding.pipeline_parallel > 1:
        flags += ["--pipeline-parallel-size", str(sharding.pipeline_parallel)]
    if sharding.data_parallel > 1:
        flags += ["--data-parallel-size", str(sharding.data_parallel)]
    if sharding.expert_parallel > 1:
        flags += ["--enable-expert-parallel"]
    return flags + _nodes(spec, env)


def _nodes(spec: LaunchSpec, env: Mapping[str, str]) -> list[str]:
    nodes = spec.sharding.nodes
    if nodes == 1:
        return []
    leader = env.get("LWS_LEADER_ADDRESS", "")
    size = env.get("LWS_GROUP_SIZE", "")
    if not leader or size != str(nodes):
        raise Failure(
            Reason.INVALID_LAUNCH_SPEC,
            f"LWS_LEADER_ADDRESS, LWS_GROUP_SIZE: {leader!r}, {size!r}: sharding.nodes is {nodes}; "
            "run the pods by a LeaderWorkerSet of that size",
        )
    index = rank(spec, env)
    flags = ["--nnodes", str(nodes), "--node-rank", str(index), "--master-addr", leader, "--master-port", _MASTER_PORT]
    # On GPUs the engine picks this by itself over several nodes, on CPUs it does not.
    flags += ["--distributed-executor-backend", "mp"]
    return [*flags, "--headless"] if index else flags
