"""How an engine is set: every parameter that the plan owns, from what was declared alone.

A change in load, a measurement or a price restarts nothing, because none of them enters here. Why a parameter has
its value is :mod:`engine_reasons`' to say; the reasons are made for the placements that are shown, not per candidate.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

from deepseek_planner.demand import AccuracyClass
from deepseek_planner.hardware import Accelerator
from deepseek_planner.memory import CACHE_UNIT_BYTES, Fit, activation_bytes, shard
from deepseek_planner.models import LatentAttention, ModelSpec
from deepseek_planner.plan import DeploymentInput, EngineParameters, Shape
from deepseek_planner.precision import PrecisionChoice
from deepseek_planner.prediction.batching import CACHE_HELD_OUTPUT
from deepseek_planner.service import Lengths

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


class EngineQuestion(NamedTuple):
    """One replica to be set up: a model in a precision and shape on an accelerator, for what was declared."""

    model: ModelSpec
    shape: Shape
    accelerator: Accelerator
    choice: PrecisionChoice
    declared: Lengths
    longest_tokens: int
    deployment: DeploymentInput

    @property
    def is_cpu(self) -> bool:
        return self.accelerator.compute_capability is None

    @property
    def shared_tokens(self) -> float:
        """Prompt tokens that are kept once for all requests."""
        return self.declared.input_mean - self.declared.prefill_mean

    @property
    def held_tokens(self) -> float:
        """What a request keeps for itself on average, as declared: its prompt, and its answer as far as it has come."""
        declared = self.declared
        return declared.prefill_mean + declared.running_longer + CACHE_HELD_OUTPUT * declared.output_mean


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


def most_running(asked: EngineQuestion) -> int:
    """Most requests at once of this model: :func:`most_sequences`, and what its kernels bear."""
    is_sparse = asked.model.is_sparse and isinstance(asked.model.attention, LatentAttention)
    most = most_sequences(asked.accelerator)
    return min(most, SEQUENCES) if is_sparse else most


def parameters(asked: EngineQuestion, memory: Fit) -> EngineParameters:
    """The settings of one replica."""
    usual = _usual(asked, memory)
    return _with_drafts(asked, memory, _roomier(asked, memory, usual) or usual)


def sequence_bytes(asked: EngineQuestion, memory: Fit, engine: EngineParameters, tokens: float) -> float:
    """Cache of one sequence of that length on one rank, in the format that the engine keeps it in."""
    return memory.cache_per_sequence + tokens * memory.cache_per_token * cache_ratio(asked.model, engine.kv_cache_dtype)


def cache_ratio(model: ModelSpec, kv_cache_dtype: str) -> float:
    """Bytes per token in a cache format over those in the usual one."""
    if kv_cache_dtype == AUTO:
        return 1.0
    if isinstance(model.attention, LatentAttention) and model.is_sparse:
        wide = (model.attention.kv_lora_rank + model.attention.rope_dim) * 2.0
        return 1.0 - model.layers * (wide - SPARSE_CACHE_BYTES) / model.kv_bytes_per_token
    return 0.5


def fp8_cache_format(asked: EngineQuestion) -> str:
    """The fp8 format that the cache may have; empty where it must stay as it is.

    Kernels take it from sm89 on, the sparse ones on sm90 and sm100 (vLLM 0.32). Without calibrated scales it ruins the
    answers of some models (Qwen2.5: NVIDIA/TensorRT-LLM issue 4218; dense latent attention: vllm-project/vllm issue
    38652), so it is for models only of which somebody has measured it, and never for the ``Critical`` class.
    """
    capability = asked.accelerator.compute_capability
    is_allowed = asked.deployment.objectives.accuracy_class is not AccuracyClass.CRITICAL
    if capability is None or capability < (8, 9) or asked.model.fp8_cache is None or not is_allowed:
        return ""
    if asked.model.is_sparse:
        return "fp8_ds_mla" if capability >= (9, 0) else ""
    return "fp8"


def _usual(asked: EngineQuestion, memory: Fit) -> EngineParameters:
    cache = memory.cache_budget_bytes
    if asked.is_cpu:
        # Memory is shared with everything else on the machine: take what the longest requests need, no more.
        needed = (
            math.ceil(most_running(asked) * memory.sequence_bytes(asked.longest_tokens) / CACHE_UNIT_BYTES)
            * CACHE_UNIT_BYTES
        )
        cache = min(cache, needed)
    # Without AMX the CPU build takes a prompt in one piece, so a step must hold the longest.
    tokens = max(step_tokens(asked.accelerator), asked.longest_tokens if asked.is_cpu else 0)
    tokens, cache = _stepping(asked, memory, tokens, cache)
    return EngineParameters(
        max_model_len_tokens=asked.longest_tokens,
        max_num_seqs=_at_once(asked, memory, cache, AUTO),
        max_num_batched_tokens=tokens,
        kv_cache_bytes=cache,
        prefix_caching=prefix_tokens(asked) > 0,
        data_type=asked.choice.data_type,
        kv_cache_dtype=AUTO,
    )


def far_prompt_tokens(asked: EngineQuestion) -> float:
    """Tokens of the prompt that the objective for first tokens is about; 0 without one."""
    target = asked.deployment.objectives.time_to_first_token
    return 0.0 if target is None else asked.declared.prefill_at[target.percentile]


def _is_first_token_tight(asked: EngineQuestion) -> bool:
    """Whether that prompt's arithmetic alone takes much of the time that there is for the first token."""
    target = asked.deployment.objectives.time_to_first_token
    ranks = asked.shape.tensor_parallel * asked.shape.pipeline_parallel
    rate = COMPUTE_SHARE * ranks * asked.accelerator.flops_per_s[asked.choice.compute]
    seconds = 2 * asked.model.active_parameters * far_prompt_tokens(asked) / rate
    return target is not None and seconds > TIGHT * target.limit_s


def _stepping(asked: EngineQuestion, memory: Fit, usual: int, cache_bytes: int) -> tuple[int, int]:
    """Tokens of a step and bytes of the cache: longer steps where first tokens are asked for soon, out of the cache."""
    prompt = far_prompt_tokens(asked)
    if asked.is_cpu or prompt <= usual or not _is_first_token_tight(asked):
        return usual, cache_bytes
    least = max((1 - LONG_STEP_CACHE) * cache_bytes, memory.sequence_bytes(asked.longest_tokens))
    for times in LONG_STEPS:
        work = activation_bytes(asked.model, asked.shape, (times - 1) * usual)
        left = int((memory.cache - work) // CACHE_UNIT_BYTES) * CACHE_UNIT_BYTES
        if left >= least and prompt > usual * times / 2:
            return times * usual, left
    return usual, cache_bytes


def prefix_tokens(asked: EngineQuestion) -> int:
    """Prompt tokens that a later request may find in the cache, in whole blocks: 0 where no prompt fills one."""
    block = CPU_BLOCK_TOKENS if asked.is_cpu else BLOCK_TOKENS
    longest = asked.deployment.demand.input_tokens.max_tokens
    shared = asked.deployment.demand.shared_prefix_tokens
    return (min(shared, longest) if shared else longest) // block * block


def requests_held(asked: EngineQuestion, memory: Fit, cache_bytes: int, kv_cache_dtype: str) -> int:
    """Requests that one rank's cache holds, as they are on average."""
    per_token = memory.cache_per_token * cache_ratio(asked.model, kv_cache_dtype)
    shared_tokens = asked.shared_tokens
    shared = memory.cache_per_sequence + shared_tokens * per_token if shared_tokens > 0 else 0.0
    return max(0, int((cache_bytes - shared) / (memory.cache_per_sequence + asked.held_tokens * per_token)))


def _at_once(asked: EngineQuestion, memory: Fit, cache_bytes: int, kv_cache_dtype: str) -> int:
    """As many requests at once as the cache holds and the engine takes."""
    return min(most_running(asked), max(1, requests_held(asked, memory, cache_bytes, kv_cache_dtype)))


def _roomier(asked: EngineQuestion, memory: Fit, engine: EngineParameters) -> EngineParameters | None:
    """With the cache in fp8, where it may be and binds: half the bytes are nearly twice the requests."""
    other = fp8_cache_format(asked)
    if not other or engine.max_num_seqs >= most_running(asked):
        return None
    held = _at_once(asked, memory, engine.kv_cache_bytes, other)
    return replace(engine, kv_cache_dtype=other, max_num_seqs=held)


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


def _with_drafts(asked: EngineQuestion, memory: Fit, engine: EngineParameters) -> EngineParameters:
    """With drafting where so few requests can run at once that it is sure to help, and the cache gives room for it."""
    if not may_draft(asked) or engine.max_num_seqs > MTP_SEQUENCES:
        return engine
    left = int((engine.kv_cache_bytes - draft_bytes(asked)) // CACHE_UNIT_BYTES) * CACHE_UNIT_BYTES
    if left < max(CACHE_UNIT_BYTES, sequence_bytes(asked, memory, engine, asked.longest_tokens)):
        return engine
    held = min(engine.max_num_seqs, _at_once(asked, memory, left, engine.kv_cache_dtype))
    return replace(engine, kv_cache_bytes=left, max_num_seqs=held, speculative_tokens=1)
