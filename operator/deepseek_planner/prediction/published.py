"""What the scripts behind the published runs set, which the runs themselves do not say.

Read 2026-11-22 in SemiAnalysisAI/InferenceX at the commits named. A run does not name its script: that runs of a model,
engine and accelerator were made by the script of that name is inferred. Runs of other publishers (all requests alike)
are taken for defaults.
"""

from __future__ import annotations

from math import isfinite
from typing import NamedTuple

from deepseek_planner.prediction.architecture import Architecture, Latent, Linear

R1_HIDDEN, R1_EXPERTS = 7168, 256
"""What tells DeepSeek-V3's layers, which are R1's, from those of other models with latent attention."""
MANY_SEQUENCES, FEW_SEQUENCES = 1024.0, 256.0
"""vLLM's default of sequences at once: the former from 70 GiB on, but not on A100 (engine/arg_utils.py of 0.32, read
2026-11-22).
"""
CACHE_8_BITS = 1.0
CACHE_16_BITS = 2.0
POLLED_FROM = 16.0
"""Concurrency from which SGLang looks for requests every 30 steps and not 10 on Blackwell (SCHEDULER_RECV_INTERVAL of
dsr1_fp4_b200.sh, dsr1_fp8_b200.sh, qwen3.5_{bf16,fp8}_b200.sh @1cb92d21, qwen3.5_{bf16,fp4}_b300.sh @32274d6c,
@8acbd08b). qwen3.5_fp8_b300.sh @c0f62a2e always has 10, and so has DeepSeek-R1 in 8 bits on four accelerators.
"""
BALANCE_STEPS = 60.0
"""Steps that TensorRT-LLM holds a prompt back until every rank of data-parallel attention has one (timeout_iters of
dsr1_fp4_b200_trt.sh and dsr1_fp8_h200_trt.sh @1cb92d21).
"""
GATHER_STEPS = 20.0
"""Steps that TensorRT-LLM gathers prompts for (batch_wait_timeout_iters of 70b_fp8_b200_trt_slurm.sh @a267b4bd and
70b_fp8_h200_trt_slurm.sh @73ef9225, where input and output are 1024 and fewer than eight accelerators work).
"""
DRAFTING_RELEASE = "1.2.0rc6.post3"
"""Of TensorRT-LLM: only the scripts with drafts name this image (.github/configs/nvidia-master.yaml @1cb92d21,
dsr1-fp4-b200-trt-mtp and dsr1-fp8-b200-trt-mtp).
"""
SHARED_RELEASE = "1.1.0rc2.post2"
"""Of TensorRT-LLM: scripts with and without drafts name this image (nvidia-master.yaml @bf345672)."""
DRAFTING_UP_TO = {
    (4.0, 1024.0, 1024.0): 8.0,
    (4.0, 1024.0, 8192.0): 16.0,
    (4.0, 8192.0, 1024.0): 16.0,
    (8.0, 1024.0, 1024.0): 8.0,
    (8.0, 1024.0, 8192.0): 4.0,
    (8.0, 8192.0, 1024.0): 16.0,
}
"""By ranks, input and output: most requests at once of dsr1-fp4-b200-trt-mtp there, with neither experts nor attention
spread. Of points that both scripts have, the runs of the release are as fast as only drafts make them (inferred).
"""
DRAFTED = 3.0
"""Tokens that scripts with drafts have drafted per step (--speculative-num-steps 3, num_nextn_predict_layers: 3)."""
DRAFTED_BY_DATA_PARALLEL = 1.0
"""With data-parallel attention (dsr1_fp4_b200_trt_mtp.sh, dsr1_fp8_h200_trt_mtp.sh @1cb92d21: MTP=1)."""
FLOOR_RELEASE = (1, 2)
"""Of TensorRT-LLM: from here on the scripts give a step at least 8192 tokens (dsr1_fp4_b200_trt_slurm.sh @64af5a77,
2026-01-21)."""


SHORTEST_PROMPT = 1024.0
"""Of the runs of TensorRT-LLM that are not InferenceX's."""
FEWEST_CLIENTS = 8.0
"""Of the runs of Llama-3.1-8B among them."""


class Harness(NamedTuple):
    """What of an engine's settings shapes a run. The defaults are those of vLLM on a large accelerator."""

    token_budget: float = 8192.0
    """Most tokens in one step."""
    poll_steps: float = 1.0
    """Steps between two looks for new requests."""
    held_steps: float = 0.0
    """Steps that a prompt is held back for company."""
    cache_bytes: float | None = None
    """Per element of the KV cache; None: what the precision implies."""
    max_sequences: float = MANY_SEQUENCES
    drafted: float = 0.0
    """Tokens that next-token layers draft per step and request."""
    is_block: bool = False
    """Whether the 8-bit weights of a dense model carry scales per block, as those of experts do."""
    is_cold: bool = False
    """Whether the engine compiles a kernel during the run."""
    is_slow_prefill: bool = False
    """Whether prompts attend by a kernel that is no match for the tables' one."""


class Asked(NamedTuple):
    """The cells of a run that its script is inferred from."""

    engine: str
    version: str
    architecture: Architecture
    generation: str
    system: str
    precision: str
    is_block_scaled: bool
    """Whether the row says that weights carry scales per block."""
    ranks: float
    expert_parallel: float
    input_tokens: float
    output_tokens: float
    concurrency: float
    is_inferencex: bool
    is_published: bool
    """Whether the row names a run: what else goes for runs of its publisher holds for it."""

    @property
    def release(self) -> tuple[int, ...]:
        """Major, minor and patch of the engine; empty when the run does not say."""
        digits = "".join(letter if letter.isdigit() else " " for letter in self.version).split()
        return tuple(int(part) for part in digits[:3])

    @property
    def is_b300_script(self) -> bool:
        """Whether SGLang's scripts of B300 made the run: they came with 0.5.10, and B200's served before."""
        return self.system == "b300_sxm" and self.release >= (0, 5, 10)

    @property
    def is_linear(self) -> bool:
        return any(isinstance(group.attention, Linear) for group in self.architecture.groups)

    @property
    def is_latent(self) -> bool:
        return any(isinstance(group.attention, Latent) for group in self.architecture.groups)

    @property
    def is_r1(self) -> bool:
        """Whether the model has the layers of DeepSeek-R1: scripts of that name are no other model's."""
        return self.architecture.hidden == R1_HIDDEN and any(
            isinstance(group.attention, Latent)
            and not group.attention.index_heads
            and group.network.experts == R1_EXPERTS
            for group in self.architecture.groups
        )


def harness(asked: Asked, data: float) -> Harness:
    """Settings of the run's script; ``data``: ranks of data-parallel attention."""
    return Harness(
        token_budget=token_budget(asked),
        poll_steps=poll_steps(asked),
        held_steps=held_steps(asked, data),
        cache_bytes=cache_bytes(asked),
        max_sequences=max_sequences(asked),
        drafted=drafted(asked, data),
        is_block=is_block(asked),
        is_cold=is_cold(asked),
        is_slow_prefill=is_slow_prefill(asked),
    )


def cache_bytes(asked: Asked) -> float:
    """Bytes per element of the KV cache.

    Checkpoints and scripts with 8-bit or 4-bit weights keep an 8-bit cache (70b_fp8_h100_slurm.sh @2a205bb3,
    70b_fp8_b200_docker.sh @bb4c7f93, all of TensorRT-LLM's, most of SGLang's), but for block-scaled experts on Hopper
    under vLLM (minimaxm2.5_fp8_h200.sh @1cb92d21) and DeepSeek-R1 there under SGLang (dsr1_fp8_h200.sh @1cb92d21).
    Older accelerators are taken to be like Hopper.
    """
    if asked.precision not in {"fp8", "fp4"}:
        return CACHE_16_BITS
    if asked.precision == "fp8" and asked.generation != "blackwell":
        if asked.engine == "vllm" and asked.architecture.is_sparse:
            return CACHE_16_BITS
        if asked.engine == "sglang" and asked.is_latent:
            return CACHE_16_BITS
    return CACHE_8_BITS


def token_budget(asked: Asked) -> float:
    """Most tokens per step.

    vLLM: 8192, what the scripts of 70b_* ask for and the default on large accelerators; other publishers' runs fit the
    default of small ones, widened to one prompt (inferred from TTFT, which shows no second step). TensorRT-LLM and
    SGLang: as their scripts have it.
    """
    match asked.engine:
        case "vllm":
            return 8192.0 if asked.is_inferencex else max(2048.0, asked.input_tokens)
        case "trtllm":
            return _trtllm_budget(asked)
        case _:
            return _sglang_budget(asked)


def _trtllm_budget(asked: Asked) -> float:
    if not asked.is_inferencex:
        # The runs that this is inferred from have prompts of that length or longer.
        return max(asked.input_tokens, SHORTEST_PROMPT)
    budget = asked.input_tokens + asked.concurrency + 64.0
    return max(budget, 8192.0) if asked.release >= FLOOR_RELEASE else budget


def _sglang_budget(asked: Asked) -> float:
    """16384 or 32768 (CHUNKED_PREFILL_SIZE)."""
    if not asked.is_inferencex:
        return 16384.0
    if asked.is_latent:
        if asked.precision == "fp8" and asked.ranks <= 4 and asked.generation == "blackwell":
            return 8192.0
        return 16384.0 if asked.precision == "fp4" else 32768.0
    return 16384.0 if asked.precision == "fp8" and (asked.generation == "hopper" or asked.is_b300_script) else 32768.0


def poll_steps(asked: Asked) -> float:
    """Steps between two looks for new requests."""
    if asked.engine != "sglang" or not asked.is_inferencex or asked.generation != "blackwell":
        return 1.0
    often = asked.precision == "fp8" and (asked.ranks <= 4 if asked.is_latent else asked.is_b300_script)
    return 10.0 if often or asked.concurrency < POLLED_FROM else 30.0


def held_steps(asked: Asked, data: float) -> float:
    """Steps that a prompt is held back for company."""
    if asked.engine != "trtllm" or not asked.is_inferencex:
        return 0.0
    if data > 1.0:
        return BALANCE_STEPS
    is_short = asked.input_tokens <= 1024.0 and asked.output_tokens <= 1024.0
    return GATHER_STEPS if is_short and asked.ranks < 8 and not asked.architecture.is_sparse else 0.0


def max_sequences(asked: Asked) -> float:
    """Sequences that run at once.

    vLLM: its default, which is small on accelerators before Hopper. TensorRT-LLM, inferred from the runs of
    Llama-3.1-8B that are not InferenceX's: TTFT exceeds that of the others by the time of one whole answer over the
    concurrency, so one request of each round waits for a slot.
    """
    if asked.engine == "vllm" and not asked.is_inferencex:
        return MANY_SEQUENCES if asked.generation in {"hopper", "blackwell"} else FEW_SEQUENCES
    is_short = asked.engine == "trtllm" and not asked.is_inferencex and asked.architecture.family == "llama"
    is_short = is_short and asked.architecture.hidden == 4096 and asked.concurrency >= FEWEST_CLIENTS
    return asked.concurrency - 1.0 if is_short else MANY_SEQUENCES


def drafted(asked: Asked, data: float) -> float:
    """Tokens drafted per step, where only a script with drafts has the run's image and sharding."""
    if not (asked.is_inferencex and asked.is_published):
        return 0.0
    if asked.engine == "trtllm" and asked.is_r1 and _is_drafted_trtllm(asked, data):
        return DRAFTED_BY_DATA_PARALLEL if data > 1.0 else DRAFTED
    return DRAFTED if asked.engine == "sglang" and _is_drafted_sglang(asked) else 0.0


def _is_drafted_trtllm(asked: Asked, data: float) -> bool:
    if asked.version != SHARED_RELEASE:
        return asked.version == DRAFTING_RELEASE
    if data > 1.0 or asked.precision != "fp4":
        return True
    return asked.concurrency <= DRAFTING_UP_TO.get((asked.ranks, asked.input_tokens, asked.output_tokens), 0.0)


def _is_drafted_sglang(asked: Asked) -> bool:
    """Qwen3.5 in 8 bits: with 0.5.9 on four ranks of B200 and B300, experts are whole without drafts and cut with them
    (qwen3.5-fp8-b200-sglang and -mtp in nvidia-master.yaml @35d4bb36); on H200 the image of 0.5.10 is the drafting
    script's alone (@28752f61).
    """
    if asked.precision != "fp8" or not asked.is_linear:
        return False
    if asked.generation == "hopper":
        return asked.release >= (0, 5, 10)
    is_small = asked.ranks == 4.0 and asked.expert_parallel == 1.0
    return asked.system in {"b200_sxm", "b300_sxm"} and asked.release == (0, 5, 9) and is_small


def is_block(asked: Asked) -> bool:
    """Qwen publishes its dense models in 8 bits with a scale per block (weight_block_size of Qwen3-32B-FP8's
    config.json). That TensorRT-LLM's runs are of that checkpoint is inferred, and that vLLM's are of the one with a
    scale per tensor.
    """
    is_taken = asked.engine == "trtllm" and asked.architecture.family == "qwen3"
    return asked.precision == "fp8" and (asked.is_block_scaled or is_taken)


def is_cold(asked: Asked) -> bool:
    """Inferred from the runs: under an SGLang that does not say its version, DeepSeek-R1 in 4 bits on B200 waits for
    its first token wherever the prompts of the first burst exceed one step, so that one of them is cut, however many
    requests there are; where they fit, it waits as later versions do.
    """
    first = asked.concurrency * asked.input_tokens
    is_early = asked.engine == "sglang" and not asked.version and asked.precision == "fp4" and asked.is_published
    return is_early and asked.is_r1 and asked.system == "b200_sxm" and first > token_budget(asked)


def is_slow_prefill(asked: Asked) -> bool:
    """Inferred from the runs: DeepSeek-R1 in 8 bits on B300 under SGLang 0.5.10 takes seconds for prompts of 8192 and
    the usual time for prompts of 1024, so what grows with the square of the prompt is slow.
    """
    return asked.engine == "sglang" and asked.is_r1 and asked.precision == "fp8" and asked.is_b300_script


def data_parallel(asked: Asked, stated: float, expert_parallel: float) -> float:
    """Ranks of data-parallel attention. TensorRT-LLM's older rows of DeepSeek-R1 leave it out.

    Where the scripts set it: above a concurrency (`If CONC > 64, then DP_ATTN=true`, above 32 with 8192 tokens in;
    nvidia-master.yaml @1cb92d21 for H200, dsr1_fp4_b200_trt_slurm.sh @d22bf9ca for B200, from 256 on).
    """
    if asked.engine != "trtllm" or not asked.is_r1 or stated > 1.0 or not asked.is_published:
        return max(stated, 1.0) if isfinite(stated) else 1.0
    if not isfinite(stated) and expert_parallel >= asked.ranks > 1.0:
        return asked.ranks
    if not asked.is_inferencex:
        return 1.0
    if asked.input_tokens > asked.output_tokens:
        return asked.ranks if asked.concurrency > 32.0 else 1.0
    few = 64.0 if asked.generation == "hopper" else 255.0
    return asked.ranks if asked.concurrency > few else 1.0
