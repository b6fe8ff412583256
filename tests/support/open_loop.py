"""A simulation of an engine's scheduler under requests that arrive at random, step by step, to hold formulas against.

Continuous batching with chunked prefill, as vLLM does it: running sequences first, one token each; then prompts in
order of arrival, up to the token budget; a prompt's first token comes with the step that computes its last ones.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Latencies:
    """Seconds by request, in order of arrival; requests of the warm-up are left out."""

    first_token_s: list[float] = field(default_factory=list)
    per_token_s: list[float] = field(default_factory=list)
    running: float = 0.0

    def first(self, percentile: int) -> float:
        return at(self.first_token_s, percentile)

    def token(self, percentile: int) -> float:
        return at(self.per_token_s, percentile)


def at(values: list[float], percentile: int) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percentile / 100))]


def simulate(
    *,
    rate_per_s: float,
    lengths: Callable[[random.Random], tuple[int, int]],
    budget: int,
    step_s: Callable[[int, int, int], float],
    requests: int,
    seed: int = 1,
) -> Latencies:
    """``lengths`` draws prompt and output; ``step_s(prompt tokens, prompts, decodes)``; a fifth of them warms up."""
    rng = random.Random(seed)
    waiting: deque[list[float]] = deque()  # arrival, tokens left, output
    ending: dict[int, list[tuple[float, int, int]]] = {}  # last step -> (first token, output, number)
    found, now, step, running, number = Latencies(), 0.0, 0, 0, 0
    coming = rng.expovariate(rate_per_s)
    busy = 0.0
    while number < requests:
        while coming <= now:
            waiting.append([coming, *lengths(rng)])
            coming += rng.expovariate(rate_per_s)
        if not waiting and not running:
            now = coming
            continue
        room, tokens, started = budget - running, 0, []
        touched = 0
        while waiting and room > 0:
            taken = min(room, waiting[0][1])
            waiting[0][1] -= taken
            room, tokens, touched = room - taken, tokens + int(taken), touched + 1
            if waiting[0][1] > 0:
                break
            started.append(waiting.popleft())
        seconds = step_s(tokens, touched, running)
        now += seconds
        busy += running * seconds
        for first, output, index in ending.pop(step, ()):
            running -= 1
            if index >= requests // 5:
                found.per_token_s.append((now - first) / (output - 1))
        for arrival, _, output in started:
            if number >= requests // 5:
                found.first_token_s.append(now - arrival)
            if output > 1:
                running += 1
                ending.setdefault(step + int(output) - 1, []).append((now, int(output), number))
            number += 1
        step += 1
    found.running = busy / now
    return found
