"""Continuous batching in closed form: from a load to the mix of steps that a request lives through.

The schedule of an engine hardly depends on how long its steps take, so it is worked out in counts of steps:
how many sequences decode together, which share of the steps also carries prompt tokens and how many, and how long
a prompt waits. Times follow as sums of step times, linear in them. ``tests`` hold it against a small simulation
of the scheduler, step by step.
"""

from __future__ import annotations

from math import ceil, exp
from typing import NamedTuple

from deepseek_planner.prediction.operations import Batch

MAX_UTILIZATION = 0.95
"""Beyond this the wait for prompt tokens of others is bounded by the closed loop, not by the formula."""
FIRST_OF_LOCK_STEP = 1.5
"""Groups of prompts that pass before the steps of a lock-step burst are packed, per prompt in a step."""
CACHE_HELD_OUTPUT = 0.6
"""Share of its output that a sequence holds in the cache on average while the cache is the limit."""
ACCEPTANCE = 0.85
"""Of a drafted token: 85 to 90 % of the second (DeepSeek-V3 technical report, arXiv 2412.19437, section 5.4.3)."""


class Load(NamedTuple):
    """A closed loop of ``concurrency`` requests. Lengths are means; ``spread`` is (longest - shortest) / longest."""

    concurrency: float
    input_tokens: float
    output_tokens: float
    spread: float = 0.2
    """0: all requests are alike and stay in lock-step."""
    cached_tokens: float = 0.0
    """Prompt tokens that the prefix cache holds already: attended to, not computed."""
    requests_per_slot: float = 10.0
    """Requests that each of the concurrent clients sends, the first of them all at once: 10 in most of InferenceX's
scripts that were read (--num-prompts CONC * 10); other publishers do not say."""


class Scheduler(NamedTuple):
    """What of an engine's scheduler shapes the mix."""

    token_budget: float
    """Most tokens in one step."""
    mixes: bool = True
    """Whether decodes share the steps of prompts (vLLM, TensorRT-LLM), or wait for them (SGLang)."""
    poll_steps: float = 1.0
    """Steps between two looks for new requests (SGLang's scheduler-recv-interval)."""
    held_steps: float = 0.0
    """Steps that a prompt is held back so that others may join it, from the first of them on."""
    max_sequences: float = 1024.0
    cache_tokens: float = float("inf")
    """Tokens that the KV cache holds, per replica of the attention."""
    drafted: float = 0.0
    """Tokens that next-token layers draft per step and request."""

    @property
    def tokens_per_step(self) -> float:
        """What a step adds to a request on average: its own token, and the drafts that hold, each only after the one
        before.
        """
        return sum(ACCEPTANCE**place for place in range(int(self.drafted) + 1))


class Mix(NamedTuple):
    """Steps that a request lives through. Times are sums of weights times the seconds of these steps."""

    decode: Batch
    mixed: Batch
    """A step that carries prompt tokens; in an engine that does not mix, it has no decodes."""
    burst: Batch
    """A full step of the first burst."""
    decode_weight: float
    """Decode steps per output token."""
    mixed_weight: float
    """Mixed steps per output token."""
    wait_decode: float
    """Decode steps that a prompt waits for, while the running step ends."""
    wait_mixed: float
    own: float
    """Mixed steps that carry the prompt itself."""
    queue: float
    """Mixed steps that carry prompts of others before."""
    burst_share: float
    """Share of the requests that arrive in the first burst."""
    burst_steps: float
    """Steps that such a request waits for and lives in, on average."""
    cache_wait: float
    """Waits for cache space, in multiples of a request's time in decode."""
    running: float
    """Sequences that run at once."""

    @property
    def is_cache_bound(self) -> bool:
        return self.cache_wait > 0.0


def mix(load: Load, scheduler: Scheduler) -> Mix:
    """The steady mix of steps under ``load``."""
    each, width = scheduler.tokens_per_step, 1.0 + scheduler.drafted
    output = max(load.output_tokens / each, 1.0)
    """Steps of an answer."""
    cached = min(load.cached_tokens, max(load.input_tokens - 1.0, 0.0))
    prompt = max(load.input_tokens - cached, 1.0)
    concurrency = max(load.concurrency, 1.0)
    # A shared prefix is held once, whoever uses it.
    held = prompt + CACHE_HELD_OUTPUT * load.output_tokens
    slots = max(min(concurrency, scheduler.max_sequences, scheduler.cache_tokens / held), 1.0)
    budget = scheduler.token_budget
    # Decodes come first in the budget; prompts get the room that is left.
    running = min(slots, budget / (width + prompt / output)) if scheduler.mixes else slots
    room = max(budget - running * width if scheduler.mixes else budget, 1.0)
    arrivals = running / output
    """Prompts per step."""
    fullness = min(arrivals * prompt / room, 1.0)
    if load.spread > 0.0:
        share = (1.0 - exp(-arrivals * scheduler.poll_steps)) / scheduler.poll_steps
    else:
        share = arrivals / max(min(room / prompt, concurrency), 1.0)
    # Prompts that come while the first is held share its step.
    company = arrivals * scheduler.held_steps
    share = share / (1.0 + company)
    share = min(max(share, fullness), 1.0)
    prompts = arrivals / share
    """Prompts per mixed step, below one where a prompt needs several."""
    chunks = max(1.0 / prompts, 1.0)
    """Mixed steps of one prompt."""
    decode = Batch(decodes=running, context=cached + prompt + load.output_tokens / 2.0, width=width)
    mixed = Batch(
        decodes=max(running - prompts, 0.0) if scheduler.mixes else 0.0,
        context=decode.context,
        prompts=prompts * chunks,
        chunk=prompt / chunks,
        history=cached + prompt * (1.0 - 1.0 / chunks) / 2.0,
        width=width,
    )
    burst_steps = (max(ceil(concurrency * prompt / budget), 1.0) + 1.0) / 2.0
    burst = _burst(scheduler, prompt, cached, concurrency)
    burst_share = min(1.0 / max(load.requests_per_slot, 1.0), 1.0)
    if not scheduler.mixes and load.spread == 0.0:
        # Prompts go first and all lengths are alike: every burst of the closed loop is like the first one, and who
        # is served early waits for the others before it decodes.
        return Mix(
            decode=decode,
            mixed=burst,
            burst=burst,
            decode_weight=1.0 / each,
            mixed_weight=(burst_steps - 1.0) / max(output - 1.0, 1.0) / each,
            wait_decode=0.0,
            wait_mixed=burst_steps - 1.0,
            own=1.0,
            queue=0.0,
            burst_share=burst_share,
            burst_steps=burst_steps,
            cache_wait=max(concurrency - slots, 0.0) / slots,
            running=running,
        )
    wait_decode, wait_mixed, own = _first_steps(load, share, prompts, concurrency)
    wait_decode += (scheduler.poll_steps - 1.0) / 2.0
    wait_decode += scheduler.held_steps * (1.0 + company / 2.0) / (1.0 + company)
    # With more prompts than room, all of the closed loop that does not decode waits.
    backlog = slots / arrivals - output - wait_decode - wait_mixed - own if running < slots else 0.0
    queue = max(backlog, 0.0) + _collisions(load, fullness, chunks, prompt / room)
    # A request's decode lasts output - 1 steps (or more, where prompts stop it); of the mixed steps of a cycle, those
    # that it spent waiting for its own first token do not delay it. While the last requests drain, none arrive.
    cycle = output - 1.0 + wait_decode + wait_mixed + own + queue
    stalls = max(share * min(slots / (arrivals * cycle), 1.0) * cycle - wait_mixed - own - queue, 0.0)
    stalled = min(stalls / max(output - 1.0, 1.0), 1.0) * (1.0 - burst_share / 2.0)
    return Mix(
        decode=decode,
        mixed=mixed,
        burst=burst,
        decode_weight=(1.0 - stalled if scheduler.mixes else 1.0) / each,
        mixed_weight=stalled / each,
        wait_decode=wait_decode,
        wait_mixed=wait_mixed,
        own=own,
        queue=queue,
        burst_share=burst_share,
        burst_steps=burst_steps,
        cache_wait=max(concurrency - slots, 0.0) / running,
        running=running,
    )


def _first_steps(load: Load, share: float, prompts: float, concurrency: float) -> tuple[float, float, float]:
    """Decode and mixed steps that run when a prompt arrives and must end first, and the steps that carry it."""
    if load.spread > 0.0:
        return 1.0 - share, share, max(1.0 / prompts, 1.0)
    # In lock-step the prompts of a burst follow each other for good: each waits for the step of the one before, and
    # what did not fit beside that one's spills into another step. The first of them find room.
    packed = max(1.0 - FIRST_OF_LOCK_STEP * max(prompts, 1.0) ** 2 / concurrency, 0.0)
    return 0.0, packed, max(1.0 / prompts, 1.0) + packed * min(1.0 / prompts, 1.0)


def _collisions(load: Load, fullness: float, chunks: float, steps_per_prompt: float) -> float:
    """Mixed steps of prompts that came just before: random arrivals collide, those in lock-step do not."""
    if load.spread == 0.0:
        return 0.0
    bounded = min(fullness, MAX_UTILIZATION)
    return min(bounded / (2.0 * (1.0 - bounded)) * chunks, load.concurrency * steps_per_prompt / 2.0)


def _burst(scheduler: Scheduler, prompt: float, cached: float, concurrency: float) -> Batch:
    """A full step while the first burst is worked off: half of the sequences decode already."""
    tokens = min(concurrency * prompt, scheduler.token_budget)
    prompts = tokens / prompt
    chunks = max(1.0 / prompts, 1.0)
    decodes = max(concurrency - prompts, 0.0) / 2.0 if scheduler.mixes else 0.0
    return Batch(
        decodes=decodes,
        context=cached + prompt + 1.0,
        prompts=prompts * chunks,
        chunk=prompt / chunks,
        history=cached + prompt * (1.0 - 1.0 / chunks) / 2.0,
        width=1.0 + scheduler.drafted,
    )
