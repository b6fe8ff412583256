"""The open-loop closed form against a simulation of the scheduler under random arrivals, and its laws."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import numpy as np
import pytest

from deepseek_planner.prediction.factors import Factors
from deepseek_planner.prediction.operations import Batch, Part
from deepseek_planner.prediction.serving import Arrivals, Engines, Percentiles, Schedulers
from support.open_loop import simulate

Z = {50: 0.0, 95: 1.6449}
ONES = (1.0,) * 6


class LinearSteps:
    """Steps that take a time of their own, and some per running request and per prompt token."""

    def __init__(self, step: float, request: float, token: float) -> None:
        self.step_s, self.request_s, self.token_s = step, request, token

    def step(self, batch: Batch, carrying: int = 0) -> tuple[object, ...]:
        tokens = batch.prompts * batch.chunk
        seconds = self.step_s + self.request_s * batch.decodes + self.token_s * tokens
        nothing = {part: 0.0 * seconds[carrying if part is Part.PREFILL_ATTENTION else 0 :] for part in Part}
        return tuple(seconds if part is Part.GEMM else nothing[part] for part in Part)

    def seconds(self, tokens: int, _prompts: int, decodes: int) -> float:
        return self.step_s + self.request_s * decodes + self.token_s * tokens


GPU = LinearSteps(0.015, 3e-5, 46e-6)
FAST_GPU = LinearSteps(0.008, 6e-5, 12e-6)
CPU = LinearSteps(0.025, 0.5e-3, 2e-4)


def lognormal(mean: float, sigma: float, longest: int) -> Callable[[random.Random], int]:
    middle = math.log(mean) - sigma**2 / 2
    return lambda rng: max(2, min(longest, int(rng.lognormvariate(middle, sigma))))


def constant(tokens: int) -> Callable[[random.Random], int]:
    return lambda _: tokens


CHAT = lognormal(1200, 1.0, 16_000), lognormal(300, 0.8, 2000)
SHORT = lognormal(158, 0.7, 900), lognormal(29, 0.7, 128)
LONG = lognormal(8000, 0.8, 60_000), lognormal(400, 0.8, 3000)
ALIKE = constant(1000), constant(300)


def predicted(
    steps: LinearSteps, lengths: tuple[Callable[[random.Random], int], ...], budget: int, rate: float, percentile: int
) -> tuple[float, float, float]:
    """Running, TTFT and TPOT at a rate."""
    rng = random.Random(5)
    prompts, outputs = (np.array([draw(rng) for _ in range(20_000)], dtype=float) for draw in lengths)
    mean = prompts.mean()
    arrivals = Arrivals(
        prompt=mean,
        prompt_far=np.percentile(prompts, percentile),
        cached=0.0,
        output=outputs.mean(),
        variation=prompts.var() / mean**2,
        third=(prompts**3).mean() / mean**3,
        per_output=(1 / outputs).mean(),
    )
    z = Z[percentile]
    none = Factors(ONES, ONES, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0)
    engines = Engines(steps, none, Schedulers(budget, 1, 1), arrivals, Percentiles(z, z))  # type: ignore[arg-type]
    running = np.geomspace(0.01, 2000, 4000)[:, None]
    found = engines.at(running)
    index = int(np.searchsorted(found.rate_per_s[:, 0], rate))
    return running[index, 0], found.first_token_s[index, 0], found.per_token_s[index, 0]


@pytest.mark.parametrize(
    ("steps", "lengths", "budget", "rate"),
    [
        (GPU, ALIKE, 8192, 2.0),
        (GPU, ALIKE, 8192, 8.0),
        (GPU, CHAT, 8192, 0.5),
        (GPU, CHAT, 8192, 5.0),
        (GPU, CHAT, 8192, 8.0),
        (GPU, CHAT, 2048, 5.0),
        (GPU, LONG, 8192, 0.5),
        (GPU, LONG, 8192, 1.0),
        (FAST_GPU, CHAT, 8192, 8.0),
        (FAST_GPU, CHAT, 8192, 20.0),
        (CPU, SHORT, 1024, 1.0),
        (CPU, SHORT, 1024, 8.0),
    ],
)
def test_latencies_of_random_arrivals(steps, lengths, budget, rate):
    """Where prompts take up to half of the time: the median within 15 % (TTFT) and 5 % (TPOT), the 95th percentile
    within 20 % and 15 %; a request's margin is wider.
    """
    measured = simulate(
        rate_per_s=rate,
        lengths=lambda rng: (lengths[0](rng), lengths[1](rng)),
        budget=budget,
        step_s=steps.seconds,
        requests=6000,
    )
    running, first, token = predicted(steps, lengths, budget, rate, 50)
    assert running == pytest.approx(measured.running, rel=0.06)
    assert first == pytest.approx(measured.first(50), rel=0.15)
    assert token == pytest.approx(measured.token(50), rel=0.05)
    _, first, token = predicted(steps, lengths, budget, rate, 95)
    assert first == pytest.approx(measured.first(95), rel=0.20)
    assert token == pytest.approx(measured.token(95), rel=0.15)


def test_bursts_make_the_tail_longer_and_leave_the_rate():
    def served(burstiness: float) -> tuple[float, float, float]:
        arrivals = Arrivals(1000.0, 2000.0, 0.0, 300.0, 1.0, 6.0, 1 / 200, burstiness)
        none = Factors(ONES, ONES, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0)
        engines = Engines(GPU, none, Schedulers(8192, 1, 1), arrivals, Percentiles(Z[95], Z[95]))  # type: ignore[arg-type]
        found = engines.at(np.array([[30.0]]))
        return found.rate_per_s[0, 0], found.first_token_s[0, 0], found.per_token_s[0, 0]

    calm, bursts = served(1.0), served(4.0)
    assert bursts[0] == calm[0]
    assert bursts[1] > calm[1]
    assert bursts[2] > calm[2]
