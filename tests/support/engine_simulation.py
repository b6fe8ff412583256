"""A small discrete simulation of an engine's scheduler in closed loop, to hold the closed form against.

Continuous batching with chunked prefill: decodes first, then waiting prompts in order of arrival, up to the token
budget. A client that got its answer sends the next request after ``think_s``; it joins the next step that starts.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Sequence:
    prompt: int
    output: int
    arrival_s: float
    computed: int = 0
    produced: int = 0
    first_s: float = 0.0


@dataclass
class Measured:
    ttft_s: float
    tpot_s: float
    steps: int
    mixed_share: float
    ttfts_s: list[float] = field(default_factory=list)


def simulate(  # noqa: C901 - one loop, as a scheduler has
    *,
    concurrency: int,
    prompt: int,
    output: int,
    spread: float,
    budget: int,
    step_s: Callable[[int, int], float],
    requests_per_slot: int = 10,
    think_s: float = 0.002,
    seed: int = 1,
    mixes: bool = True,
    cache_tokens: float = float("inf"),
    cached: int = 0,
    hold: int = 0,
) -> Measured:
    """Mean TTFT and TPOT over ``requests_per_slot * concurrency`` requests; ``step_s(prompt_tokens, decodes)``.

    ``hold``: steps of decodes that the first waiting prompt is held back for, so that others join it.
    """
    rng = random.Random(seed)
    total = concurrency * requests_per_slot

    def draw(longest: int) -> int:
        return longest if not spread else rng.randint(int(longest * (1 - spread)), longest)

    def request(at: float) -> Sequence:
        return Sequence(max(draw(prompt) - cached, 1), max(draw(output), 1), at)

    arriving: deque[Sequence] = deque(request(0.0) for _ in range(concurrency))
    waiting: deque[Sequence] = deque()
    running: list[Sequence] = []
    done: list[tuple[Sequence, float]] = []
    sent, now, steps, mixed, passed = concurrency, 0.0, 0, 0, 0
    while len(done) < total:
        while arriving and arriving[0].arrival_s <= now:
            waiting.append(arriving.popleft())
        if not waiting and not running:
            now = arriving[0].arrival_s
            continue
        decodes = [one for one in running if one.computed >= one.prompt]
        prefilling = [one for one in running if one.computed < one.prompt]
        held = sum(one.computed + one.produced for one in running)
        room = budget - (len(decodes) if mixes else 0)
        is_held = bool(waiting) and bool(decodes) and not prefilling and passed < hold
        passed = passed + 1 if is_held else 0
        room = 0 if is_held else room
        chunks: list[tuple[Sequence, int]] = []
        while room > 0:
            if prefilling:
                one = prefilling.pop(0)
            elif waiting and held + waiting[0].prompt <= cache_tokens:
                one = waiting.popleft()
                held += one.prompt
                running.append(one)
            else:
                break
            take = min(room, one.prompt - one.computed)
            chunks.append((one, take))
            room -= take
        if not mixes and chunks:
            decodes = []
        tokens = sum(take for _, take in chunks)
        now += step_s(tokens, len(decodes))
        steps += 1
        mixed += bool(chunks)
        for one, take in chunks:
            one.computed += take
            if one.computed >= one.prompt:
                one.first_s, one.produced = now, 1
        for one in decodes:
            one.produced += 1
        for one in [one for one in running if one.produced >= one.output]:
            running.remove(one)
            done.append((one, now))
            if sent < total:
                sent += 1
                arriving.append(request(now + think_s))
    ttfts = [one.first_s - one.arrival_s for one, _ in done]
    tpots = [(end - one.first_s) / max(one.output - 1, 1) for one, end in done]
    return Measured(sum(ttfts) / len(ttfts), sum(tpots) / len(tpots), steps, mixed / steps, ttfts)
