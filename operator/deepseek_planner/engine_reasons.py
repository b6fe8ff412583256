"""Why each engine parameter has its value: one sentence each, with its numbers. Shown, and never hashed."""

from __future__ import annotations

from deepseek_planner.demand import AccuracyClass
from deepseek_planner.engine import (
    MTP_SEQUENCES,
    EngineQuestion,
    cache_ratio,
    draft_bytes,
    kernels,
    may_draft,
    most_sequences,
    prefix_tokens,
    requests_held,
    sequence_bytes,
    step_tokens,
)
from deepseek_planner.memory import GB, USABLE_SHARE, Fit
from deepseek_planner.models import CompressedAttention, GroupedAttention, LatentAttention
from deepseek_planner.plan import EngineParameters, EngineReason

NODE_LINK_BYTES_PER_S = 50e9
"""400 Gb/s: what hands a KV cache from one node to another where there is InfiniBand or EFA."""


def reasons(
    asked: EngineQuestion, memory: Fit, engine: EngineParameters, *, prefill_share: float
) -> tuple[EngineReason, ...]:
    """One per parameter, in a fixed order. ``prefill_share``: part of the busy time that prompts take, 0 to 1."""
    return (
        _longest(asked, engine),
        _sequences(asked, memory, engine),
        _step(asked, engine),
        _cache(asked, memory, engine),
        _cache_format(asked, engine),
        _prefix(asked, engine),
        _data_parallel(asked),
        _expert_parallel(asked),
        _disaggregation(asked, engine, prefill_share),
        _drafts(asked, engine),
        _data_type(asked, engine),
    )


def _longest(asked: EngineQuestion, engine: EngineParameters) -> EngineReason:
    demand = asked.wanted.deployment.demand
    return EngineReason(
        "maxModelLen",
        f"{engine.max_model_len_tokens}",
        f"the longest request declared for it: {demand.input_tokens.max_tokens} tokens in and "
        f"{demand.output_tokens.max_tokens} out, of {asked.model.max_context_tokens} that the model takes",
    )


def _sequences(asked: EngineQuestion, memory: Fit, engine: EngineParameters) -> EngineReason:
    ratio, most = cache_ratio(asked.model, engine.kv_cache_dtype), kernels(asked.model, asked.accelerator).most_running
    held = requests_held(asked, memory, engine.kv_cache_bytes, ratio)
    if engine.max_num_seqs >= most:
        whose = "this accelerator" if most == most_sequences(asked.accelerator) else "sparse attention"
        text = f"the engine's usual limit on {whose}; the cache would hold {held} requests"
    elif held:
        each = sequence_bytes(asked, memory, engine.kv_cache_dtype, asked.wanted.held_tokens) / 1e6
        text = (
            f"the cache holds {held} requests of {asked.wanted.held_tokens:.0f} tokens on average, {each:.1f} MB each"
        )
    else:
        text = f"one request of {asked.wanted.held_tokens:.0f} tokens fills the cache"
    return EngineReason("maxNumSeqs", f"{engine.max_num_seqs}", text)


def _step(asked: EngineQuestion, engine: EngineParameters) -> EngineReason:
    usual, tokens = step_tokens(asked.accelerator), engine.max_num_batched_tokens
    capability = asked.accelerator.compute_capability
    if capability is not None and tokens > usual:
        target = asked.wanted.deployment.objectives.time_to_first_token
        assert target is not None
        prompt = asked.wanted.far_prompt_tokens
        text = (
            f"{tokens // usual} times the usual: first tokens are asked for within {target.limit_s:g} s, and the "
            f"p{target.percentile} prompt of {prompt:.0f} tokens takes {_steps(prompt, tokens)} instead of "
            f"{_steps(prompt, usual)}"
        )
    elif capability is not None:
        mean = asked.wanted.declared.prefill_mean
        text = (
            f"usual for compute capability {capability[0]}.{capability[1]}: a mean prompt of {mean:.0f} tokens takes "
            f"{_steps(mean, tokens)}; larger steps hold up running answers, smaller ones first tokens"
        )
    elif tokens > usual:
        text = f"the longest prompt in one piece ({asked.wanted.longest_tokens} tokens), which a CPU without AMX needs"
    else:
        text = f"{usual} on a CPU, enough for the longest request of {asked.wanted.longest_tokens} tokens"
    return EngineReason("maxNumBatchedTokens", f"{tokens}", text)


def _steps(prompt: float, budget: int) -> str:
    count = -int(-prompt // budget)
    return "one step" if count <= 1 else f"{count} steps"


def _cache(asked: EngineQuestion, memory: Fit, engine: EngineParameters) -> EngineReason:
    tokens = engine.kv_cache_bytes / (memory.cache_per_token * cache_ratio(asked.model, engine.kv_cache_dtype))
    if asked.is_cpu and engine.kv_cache_bytes < memory.cache_budget_bytes:
        text = f"{most_sequences(asked.accelerator)} of the longest requests; the machine's other memory is left alone"
    else:
        drafts = f", {draft_bytes(asked) / GB:.1f} GB drafting layer" if engine.speculative_tokens else ""
        text = (
            f"{100 * USABLE_SHARE:.0f} % of {asked.accelerator.memory_bytes / GB:.1f} GB less "
            f"{memory.weights / GB:.1f} GB weights{drafts} and {memory.workspace / GB:.1f} GB workspace; "
            f"holds {tokens:,.0f} tokens"
        )
    return EngineReason("kvCacheBytes", f"{engine.kv_cache_bytes}", text)


def _cache_format(asked: EngineQuestion, engine: EngineParameters) -> EngineReason:
    model = asked.model
    if engine.kv_cache_dtype != "auto":
        assert model.fp8_cache is not None
        ratio = cache_ratio(model, engine.kv_cache_dtype)
        text = (
            f"the cache binds, and in fp8 it takes {100 * ratio:.0f} % of the bytes; measured: {model.fp8_cache.loss}"
        )
    elif isinstance(model.attention, CompressedAttention):
        text = f"the model's own compressed fp8 entries, {model.kv_bytes_per_token / 1e3:.1f} KB a token"
    else:
        text = f"16 bits: {_why_wide(asked, engine)}"
    return EngineReason("kvCacheDtype", engine.kv_cache_dtype, text)


def _why_wide(asked: EngineQuestion, engine: EngineParameters) -> str:
    capability = asked.accelerator.compute_capability
    if capability is None:
        return "the CPU's attention takes no other cache"
    if asked.model.fp8_cache is None:
        return "nobody measured this model with an fp8 cache, which ruins some models without calibrated scales"
    if asked.wanted.deployment.objectives.accuracy_class is AccuracyClass.CRITICAL:
        return "the accuracy class Critical allows nothing that may change answers"
    if not kernels(asked.model, asked.accelerator).fp8_cache_format:
        least = "sm90" if asked.model.is_sparse else "sm89"
        return f"kernels for an fp8 cache start at {least}; this is sm{capability[0]}{capability[1]}"
    return f"the cache does not bind at {engine.max_num_seqs} requests, so fp8 would gain nothing"


def _prefix(asked: EngineQuestion, engine: EngineParameters) -> EngineReason:
    demand = asked.wanted.deployment.demand
    found = prefix_tokens(asked)
    mean = demand.input_tokens.mean_tokens
    if not engine.prefix_caching:
        text = f"prompts of at most {demand.input_tokens.max_tokens} tokens never fill a block, so nothing can be found"
    elif demand.shared_prefix_tokens:
        saved = 100 * min(1.0, found / mean)
        text = f"{found} declared prefix tokens are found again: {saved:.0f} % of a mean prompt; costs below 1 % if not"
    else:
        text = "no shared prefix is declared; conversations that go on find their past, and it costs below 1 % if not"
    if asked.is_cpu and engine.prefix_caching and isinstance(asked.model.attention, LatentAttention):
        text += "; on a CPU without AMX the engine leaves it off"
    return EngineReason("prefixCaching", "on" if engine.prefix_caching else "off", text)


def _data_parallel(asked: EngineQuestion) -> EngineReason:
    shape, model = asked.shape, asked.model
    kilobytes = model.kv_bytes_per_token / 1e3
    is_repeated = not isinstance(model.attention, GroupedAttention)
    if shape.data_parallel > 1:
        text = (
            f"each of {shape.data_parallel} ranks keeps the cache of its own requests: tensor parallelism alone would "
            f"keep the same {kilobytes:.1f} KB a token on all of them"
        )
    elif shape.tensor_parallel == 1:
        text = "one tensor rank: nothing is kept twice"
    elif is_repeated:
        text = (
            f"off: {kilobytes:.1f} KB a token are kept on all {shape.tensor_parallel} tensor ranks, but the weights "
            "are read once for all requests"
        )
    else:
        text = f"off: the cache is split over {shape.tensor_parallel} tensor ranks already"
    return EngineReason("dataParallel", f"{shape.data_parallel}", text)


def _expert_parallel(asked: EngineQuestion) -> EngineReason:
    shape, experts = asked.shape, asked.model.experts
    if experts is None:
        text = "off: the model has no experts"
    elif shape.expert_parallel > 1:
        whole = -(-experts.routed // shape.expert_parallel)
        width = experts.intermediate / shape.expert_parallel
        text = (
            f"{whole} of {experts.routed} experts whole on each rank: split, an expert would be {width:g} wide and "
            "every rank would need every token"
        )
    elif shape.accelerators == 1:
        text = f"off: all {experts.routed} experts are on one accelerator"
    else:
        text = f"off: experts are split {shape.tensor_parallel} ways like all else, so no rank waits for a busier one"
    return EngineReason("expertParallel", f"{shape.expert_parallel}", text)


def _disaggregation(asked: EngineQuestion, engine: EngineParameters, share: float) -> EngineReason:
    """What engines for prompts alone would save, and what they would move, by arithmetic."""
    moved = (
        asked.wanted.declared.input_mean
        * asked.model.kv_bytes_per_token
        * cache_ratio(asked.model, engine.kv_cache_dtype)
    )
    seconds = moved / NODE_LINK_BYTES_PER_S
    if asked.is_cpu:
        text = "off: engines on CPU have no connector that hands a cache over"
    else:
        text = (
            f"off: prompts take {100 * share:.0f} % of the time, the most that engines of their own could take off "
            f"running answers, for {moved / 1e6:.1f} MB of cache a request ({seconds * 1e3:.2g} ms at 400 Gb/s), "
            "and no router here hands caches over"
        )
    return EngineReason("disaggregatedPrefill", "off", text)


def _drafts(asked: EngineQuestion, engine: EngineParameters) -> EngineReason:
    if engine.speculative_tokens:
        text = (
            f"at most {engine.max_num_seqs} requests run at once: published runs answer up to 1.6 x as fast there; "
            "the prediction leaves the gain out"
        )
    elif asked.model.mtp_layers == 0:
        text = "off: the model has no next-token layers"
    elif not may_draft(asked):
        text = "off: needs the model's own checkpoint, no pipeline, and sm90 or newer"
    elif engine.max_num_seqs > MTP_SEQUENCES:
        text = (
            f"off: drafts speed up at most {MTP_SEQUENCES} requests at once and cost throughput above; this engine is "
            f"sized to run {engine.max_num_seqs}"
        )
    else:
        text = f"off: its layer takes {draft_bytes(asked) / GB:.1f} GB a rank, which the longest request needs"
    return EngineReason("speculativeTokens", f"{engine.speculative_tokens}", text)


def _data_type(asked: EngineQuestion, engine: EngineParameters) -> EngineReason:
    choice = asked.choice
    stored = f"weights in {choice.precision}, arithmetic in {choice.compute}"
    if choice.is_weight_only:
        stored += f", for which {asked.accelerator.name} has the kernels"
    return EngineReason("dtype", engine.data_type, f"{stored}; {choice.note or 'activations as trained'}")
