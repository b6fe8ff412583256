"""How an engine is set: every parameter that the plan owns, from what was declared alone.

A change in load, a measurement or a price restarts nothing, because none of them enters here. Where a router sends
an engine a part of the prompts only, its settings follow from what was declared of these. Why a parameter has
its value is :mod:`engine_reasons`' to say; the reasons are made for the placements that are shown, not per candidate.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

from deepseek_planner import demand
from deepseek_planner.demand import AccuracyClass
from deepseek_planner.hardware import Accelerator
from deepseek_planner.memory import CACHE_UNIT_BYTES, Fit, activation_bytes, shard
from deepseek_planner.models import LatentAttention, ModelSpec
from deepseek_planner.plan import EngineParameters
from deepseek_planner.precision import PrecisionChoice
from deepseek_planner.prediction.batching import CACHE_HELD_OUTPUT
from deepseek_planner.service import Lengths, lengths
from deepseek_planner.snapshot import DeploymentInput, Shape

GIB = float(1 << 30)

CPU_STEP_TOKENS = 512
STEP_TOKENS = {7: 2048, 8: 4096, 9: 8192, 10: 16384}
"""Token budget of a step by compute capability's major number: newer ones prefill faster. From sm90 on vLLM's own."""
LONG_STEPS = (4, 2)
"""Times the budget where first tokens of long prompts are asked for soon."""
TIGHT = 0.1
"""Share of the limit for first tokens that the prompt's arithmetic alone takes where that limit binds."""
COMPUTE_SHARE = 0.4
"""Of the peak rate that prompts reach, for that arithmetic."""
LONG_STEP_CACHE = 0.1
"""Most of the cache that a longer step may cost."""
CPU_SEQUENCES = 16
SEQUENCES = 256
MANY_SEQUENCES = 1024
"""vLLM 0.32's own defaults: 1024 from 70 GiB on, but not on A100 (engine/arg_utils.py, read 2026-11-22).
Sparse latent attention stays at 256: its kernels are reported to fail above (vllm-project/recipes, V3.2-Exp)."""
BLOCK_TOKENS, CPU_BLOCK_TOKENS = 16, 128
"""Tokens of a cache block, the least that a prefix can share."""

AUTO = "auto"
"""The cache's format where it is the model's own, or the data type."""

SPARSE_CACHE_BYTES = 656.0
"""Of a token and layer in ``fp8_ds_mla``: 512 fp8 values, 4 scales, 64 rotary values in bf16 (vLLM 0.32)."""

MTP_SEQUENCES = 16
"""Drafting is used where no more can run at once. vLLM measured 1.63 x faster answers at 1 request/s and nothing at 8
(pull request 12755, read 2026-11-22); GPUStack a third of the throughput with 1,000 prompts at once."""


class Wanted(NamedTuple):
    """What a deployment declares, as far as it sets engines: the same for all shapes that may serve it."""

    deployment: DeploymentInput
    declared: Lengths
    longest_tokens: int
    shared_tokens: float
    """Prompt tokens that are kept once for all requests."""
    held_tokens: float
    """What a request keeps for itself on average, as declared: its prompt, and its answer as far as it has come."""
    far_prompt_tokens: float
    """Of the prompt that the objective for first tokens is about; 0 without one."""
    prefix_tokens: int
    """Most prompt tokens that a later request may find in the cache, before they are cut to whole blocks."""
    is_critical: bool


def wanted(deployment: DeploymentInput, declared: Lengths) -> Wanted:
    """Lengths as ``declared``, whatever has been measured since."""
    asked, target = deployment.demand, deployment.objectives.time_to_first_token
    longest, shared = asked.input_tokens.max_tokens, asked.shared_prefix_tokens
    return Wanted(
        deployment=deployment,
        declared=declared,
        longest_tokens=longest + asked.output_tokens.max_tokens,
        shared_tokens=declared.input_mean - declared.prefill_mean,
        held_tokens=declared.prefill_mean + declared.running_longer + CACHE_HELD_OUTPUT * declared.output_mean,
        far_prompt_tokens=0.0 if target is None else declared.prefill_at[target.percentile],
        prefix_tokens=min(shared, longest) if shared else longest,
        is_critical=deployment.objectives.accuracy_class is AccuracyClass.CRITICAL,
    )


def narrowed(whole: Wanted, above_tokens: int, up_to_tokens: int) -> Wanted:
    """The same of the requests whose prompts have more than so many and up to so many tokens."""
    part = demand.narrowed(whole.deployment.demand, above_tokens, up_to_tokens)
    if part is whole.deployment.demand:
        return whole
    return wanted(replace(whole.deployment, demand=part), lengths(part))


class EngineQuestion(NamedTuple):
    """One replica to be set up: a model in a precision and shape on an accelerator, for what was declared."""

    model: ModelSpec
    shape: Shape
    accelerator: Accelerator
    choice: PrecisionChoice
    wanted: Wanted

    @property
    def is_cpu(self) -> bool:
        return self.accelerator.compute_capability is None


def step_tokens(accelerator: Accelerator) -> int:
    """Most tokens of a step, by capability: what a :class:`Fit` leaves workspace for."""
    capability = accelerator.compute_capability
    return CPU_STEP_TOKENS if capability is None else STEP_TOKENS[capability[0]]


def most_sequences(accelerator: Accelerator) -> int:
    """Most requests at once on one scheduler, whatever the cache holds."""
    if accelerator.compute_capability is None:
        return CPU_SEQUENCES
    is_large = accelerator.memory_bytes >= 70 * GIB and accelerator.compute_capability >= (9, 0)
    return MANY_SEQUENCES if is_large else SEQUENCES


class Kernels(NamedTuple):
    """What an accelerator's kernels bear of a model, whatever is asked of it."""

    step_tokens: int
    most_running: int
    """Most requests at once: :func:`most_sequences`, and what sparse attention bears."""
    fp8_cache_format: str
    """The fp8 format that the cache may have; empty where it must stay as it is."""
    fp8_cache_ratio: float
    """Bytes per token in that format over those in the usual one."""


_KERNELS: dict[tuple[int, int], tuple[ModelSpec, Accelerator, Kernels]] = {}
MOST_KERNELS = 1024


def kernels(model: ModelSpec, accelerator: Accelerator) -> Kernels:
    """From the cache when it was asked for before."""
    # Specs hold mappings and have no hash: their identity is the key, and the entry keeps them alive.
    key = id(model), id(accelerator)
    known = _KERNELS.get(key)
    if known is None:
        if len(_KERNELS) >= MOST_KERNELS:
            _KERNELS.clear()
        known = _KERNELS[key] = model, accelerator, _kernels(model, accelerator)
    return known[2]


def _kernels(model: ModelSpec, accelerator: Accelerator) -> Kernels:
    is_sparse = model.is_sparse and isinstance(model.attention, LatentAttention)
    most = most_sequences(accelerator)
    form = _fp8_cache_format(model, accelerator)
    most = min(most, SEQUENCES) if is_sparse else most
    return Kernels(step_tokens(accelerator), most, form, cache_ratio(model, form or AUTO))


def parameters(asked: EngineQuestion, memory: Fit) -> EngineParameters:
    """The settings of one replica."""
    wanted, able = asked.wanted, kernels(asked.model, asked.accelerator)
    tokens, cache = _stepping(asked, memory, able)
    running, form, drafted = _at_once(asked, memory, cache, 1.0, able), AUTO, 0
    # The cache in fp8, where it may be and binds: half the bytes are nearly twice the requests.
    if running < able.most_running and able.fp8_cache_format and not wanted.is_critical:
        form = able.fp8_cache_format
        running = _at_once(asked, memory, cache, able.fp8_cache_ratio, able)
    if running <= MTP_SEQUENCES and may_draft(asked):
        left = _beside_drafts(asked, memory, cache, form)
        if left:
            ratio = cache_ratio(asked.model, form)
            running, cache, drafted = min(running, _at_once(asked, memory, left, ratio, able)), left, 1
    return EngineParameters(
        max_model_len_tokens=wanted.longest_tokens,
        max_num_seqs=running,
        max_num_batched_tokens=tokens,
        kv_cache_bytes=cache,
        prefix_caching=prefix_tokens(asked) > 0,
        data_type=asked.choice.data_type,
        kv_cache_dtype=form,
        speculative_tokens=drafted,
    )


def sequence_bytes(asked: EngineQuestion, memory: Fit, kv_cache_dtype: str, tokens: float) -> float:
    """Cache of one sequence of that length on one rank, in the format that the engine keeps it in."""
    return memory.cache_per_sequence + tokens * memory.cache_per_token * cache_ratio(asked.model, kv_cache_dtype)


def cache_ratio(model: ModelSpec, kv_cache_dtype: str) -> float:
    """Bytes per token in a cache format over those in the usual one."""
    if kv_cache_dtype == AUTO:
        return 1.0
    if isinstance(model.attention, LatentAttention) and model.is_sparse:
        wide = (model.attention.kv_lora_rank + model.attention.rope_dim) * 2.0
        return 1.0 - model.layers * (wide - SPARSE_CACHE_BYTES) / model.kv_bytes_per_token
    return 0.5


def _fp8_cache_format(model: ModelSpec, accelerator: Accelerator) -> str:
    """Kernels take it from sm89 on, the sparse ones on sm90 and sm100 (vLLM 0.32). Without calibrated scales it ruins
    the answers of some models (Qwen2.5: NVIDIA/TensorRT-LLM issue 4218; dense latent attention: vllm-project/vllm issue
    38652), so it is for models only of which somebody has measured it, and never for the ``Critical`` class.
    """
    capability = accelerator.compute_capability
    if capability is None or capability < (8, 9) or model.fp8_cache is None:
        return ""
    if model.is_sparse:
        return "fp8_ds_mla" if capability >= (9, 0) else ""
    return "fp8"


def _is_first_token_tight(asked: EngineQuestion) -> bool:
    """Whether the arithmetic of the prompt that the objective is about takes much of the time that there is for the
    first token.
    """
    target = asked.wanted.deployment.objectives.time_to_first_token
    ranks = asked.shape.tensor_parallel * asked.shape.pipeline_parallel
    rate = COMPUTE_SHARE * ranks * asked.accelerator.flops_per_s[asked.choice.compute]
    seconds = 2 * asked.model.active_parameters * asked.wanted.far_prompt_tokens / rate
    return target is not None and seconds > TIGHT * target.limit_s


def _stepping(asked: EngineQuestion, memory: Fit, able: Kernels) -> tuple[int, int]:
    """Tokens of a step and bytes of the cache: longer steps where first tokens are asked for soon, out of the cache."""
    usual, cache, longest = able.step_tokens, memory.cache_budget_bytes, asked.wanted.longest_tokens
    if asked.is_cpu:
        # Memory is shared with everything else on the machine: take what the longest requests need, no more.
        needed = math.ceil(able.most_running * memory.sequence_bytes(longest) / CACHE_UNIT_BYTES) * CACHE_UNIT_BYTES
        # Without AMX the CPU build takes a prompt in one piece, so a step must hold the longest.
        return max(usual, longest), min(cache, needed)
    prompt = asked.wanted.far_prompt_tokens
    if prompt <= usual or not _is_first_token_tight(asked):
        return usual, cache
    least = max((1 - LONG_STEP_CACHE) * cache, memory.sequence_bytes(longest))
    for times in LONG_STEPS:
        work = activation_bytes(asked.model, asked.shape, (times - 1) * usual)
        left = int((memory.cache - work) // CACHE_UNIT_BYTES) * CACHE_UNIT_BYTES
        if left >= least and prompt > usual * times / 2:
            return times * usual, left
    return usual, cache


def prefix_tokens(asked: EngineQuestion) -> int:
    """Prompt tokens that a later request may find in the cache, in whole blocks: 0 where no prompt fills one."""
    block = CPU_BLOCK_TOKENS if asked.is_cpu else BLOCK_TOKENS
    return asked.wanted.prefix_tokens // block * block


def requests_held(asked: EngineQuestion, memory: Fit, cache_bytes: int, cache_ratio: float) -> int:
    """Requests that one rank's cache holds, as they are on average; ``cache_ratio``: of its format."""
    wanted, each, per_token = asked.wanted, memory.cache_per_sequence, memory.cache_per_token * cache_ratio
    shared = each + wanted.shared_tokens * per_token if wanted.shared_tokens > 0 else 0.0
    return max(0, int((cache_bytes - shared) / (each + wanted.held_tokens * per_token)))


def _at_once(asked: EngineQuestion, memory: Fit, cache_bytes: int, cache_ratio: float, able: Kernels) -> int:
    """As many requests at once as the cache holds and the engine takes."""
    return min(able.most_running, max(1, requests_held(asked, memory, cache_bytes, cache_ratio)))


def draft_bytes(asked: EngineQuestion) -> float:
    """Weights of the next-token layers on one rank: a layer with experts, and two hidden vectors made one."""
    model, weights = asked.model, shard(asked.model, asked.shape)
    expert_layers = max(1, model.layers - model.dense_layers)
    layer = weights.attention / model.layers + (weights.shared + weights.routed) / expert_layers
    return model.mtp_layers * (layer + 4.0 * model.hidden**2 / asked.shape.tensor_parallel)


def may_draft(asked: EngineQuestion) -> bool:
    """Whether the checkpoint holds next-token layers and kernels take them: the model's own, from sm90 on."""
    capability = asked.accelerator.compute_capability
    is_own = asked.shape.precision is asked.model.native_precision
    is_plain = asked.shape.pipeline_parallel == 1
    return asked.model.mtp_layers > 0 and is_own and is_plain and capability is not None and capability >= (9, 0)


def _beside_drafts(asked: EngineQuestion, memory: Fit, cache_bytes: int, kv_cache_dtype: str) -> int:
    """Bytes of the cache beside layers that draft, used where so few requests can run at once that it is sure to help;
    0 where they leave the longest request no room.
    """
    left = int((cache_bytes - draft_bytes(asked)) // CACHE_UNIT_BYTES) * CACHE_UNIT_BYTES
    least = max(CACHE_UNIT_BYTES, sequence_bytes(asked, memory, kv_cache_dtype, asked.wanted.longest_tokens))
    return left if left >= least else 0
