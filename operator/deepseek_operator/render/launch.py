"""Placement -> LaunchSpec -> target group: what an engine is, and what it is called."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from deepseek_operator.render.names import Placed, group_name
from deepseek_operator.render.request import PodRequest, WeightSource
from deepseek_planner.demand import Demand
from deepseek_planner.models import CompressedAttention, GroupedAttention, LatentAttention, ModelSpec, Precision
from deepseek_planner.moves import TargetGroup
from deepseek_planner.plan import Placement
from deepseek_planner.snapshot import DeploymentInput
from deepseek_runtime.launchspec import Engine, LaunchSpec, Sharding, Weights

CACHE_PATH = "/var/cache/deepseek"
CLAIM_PATH = "/weights"

_SLOWEST_TOKENS_PER_S = 10
"""A stream slower than this is not waited for when an engine stops."""
_DRAIN_LIMITS_S = (60, 900)


@dataclass(frozen=True, slots=True)
class Launch:
    """One group of engines to be: its target in the plan's words and the contract for its pods."""

    target: TargetGroup
    spec: LaunchSpec
    model: ModelSpec
    """The one that serves: the deployment's own or a variant."""
    request: PodRequest

    @property
    def placed(self) -> Placed:
        """What its groups say they were made for."""
        target, placement = self.target, self.target.placement
        return Placed(placement.shape, placement.pool, placement.capacity_type, target.launch_hash, placement.model)


def launch(item: DeploymentInput, model: ModelSpec, placement: Placement, request: PodRequest) -> Launch:
    """Everything that makes one placement's engines what they are. Same input, same name and hash.

    A variant's weights are the catalogue's: the resource's own are another model's.
    """
    if placement.model:
        request = replace(request, source=WeightSource())
    spec = launch_spec(item, model, placement, request)
    launch_hash = identity(spec, request)
    name = group_name(item.key.name, placement.shape, launch_hash)
    return Launch(TargetGroup(item.key, name, launch_hash, placement), spec, model, request)


def identity(spec: LaunchSpec, request: PodRequest) -> str:
    """Hash of all that needs other engines when it changes: the LaunchSpec and the user's wishes for the pod.

    It is the LaunchSpec's own digest while a resource asks nothing special of its pods.
    """
    if not request.identity:
        return spec.digest
    return hashlib.sha256(f"{spec.digest}\n{request.identity}".encode()).hexdigest()[:10]


def launch_spec(item: DeploymentInput, model: ModelSpec, placement: Placement, request: PodRequest) -> LaunchSpec:
    """The contract that the pods of a placement read. Clients ask for the deployment's model, whatever serves it."""
    shape, engine = placement.shape, placement.engine
    return LaunchSpec(
        namespace=item.key.namespace,
        name=item.key.name,
        model=model.name,
        served_model_name=item.model,
        architecture=architecture(model),
        weights=weights(model, shape.precision, request),
        accelerator=shape.accelerator,
        precision=str(shape.precision),
        native_precision=str(model.native_precision),
        sharding=Sharding(
            tensor_parallel=shape.tensor_parallel,
            pipeline_parallel=shape.pipeline_parallel,
            data_parallel=shape.data_parallel,
            expert_parallel=shape.expert_parallel,
            nodes=shape.nodes_per_replica,
        ),
        engine=Engine(
            max_model_len=engine.max_model_len_tokens,
            max_num_seqs=engine.max_num_seqs,
            max_num_batched_tokens=engine.max_num_batched_tokens,
            kv_cache_bytes=engine.kv_cache_bytes,
            prefix_caching=engine.prefix_caching,
            data_type=engine.data_type,
            kv_cache_dtype=engine.kv_cache_dtype,
            speculative_tokens=engine.speculative_tokens,
            extra_args=request.extra_args,
            env=dict(request.env),
        ),
        pool=placement.pool,
        capacity_type=str(placement.capacity_type),
        drain_timeout_s=drain_timeout_s(item.demand),
    )


def weights(model: ModelSpec, precision: Precision, request: PodRequest) -> Weights:
    """Where the pods find the checkpoint; the catalogue's for the precision unless the resource says otherwise."""
    source = request.source
    if source.claim:
        return Weights(path=f"{CLAIM_PATH}/{source.claim_path}".rstrip("/"))
    if source.path:
        return Weights(path=source.path)
    if source.uri:
        return Weights(uri=source.uri, cache_path=CACHE_PATH)
    repository = source.repository or model.repository_in(precision)
    return Weights(repository=repository, revision=source.revision, cache_path=CACHE_PATH)


def architecture(model: ModelSpec) -> Mapping[str, int | str]:
    """Keys of a Hugging Face ``config.json`` that a checkpoint of this model has with these values."""
    facts: dict[str, int | str] = {
        "num_hidden_layers": model.layers,
        "hidden_size": model.hidden,
        "num_attention_heads": model.heads,
        "vocab_size": model.vocabulary,
    }
    match model.attention:
        case LatentAttention(kv_lora_rank=rank, rope_dim=rope):
            facts |= {"kv_lora_rank": rank, "qk_rope_head_dim": rope}
        case GroupedAttention(kv_heads=heads):
            facts["num_key_value_heads"] = heads
        case CompressedAttention(q_lora_rank=rank):
            facts["q_lora_rank"] = rank
    if model.experts:
        facts |= {"n_routed_experts": model.experts.routed, "num_experts_per_tok": model.experts.top_k}
    return facts


def drain_timeout_s(demand: Demand) -> int:
    """Seconds that the longest answer declared may need; an engine that is done earlier leaves earlier."""
    shortest, limit = _DRAIN_LIMITS_S
    return min(limit, max(shortest, math.ceil(demand.output_tokens.max_tokens / _SLOWEST_TOKENS_PER_S)))
