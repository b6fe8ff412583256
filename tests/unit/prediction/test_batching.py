"""The closed form against a simulation of the scheduler, step by step."""

from __future__ import annotations

import pytest

from deepseek_planner.prediction.batching import Load, Scheduler, mix
from support.engine_simulation import simulate

SECONDS_PER_TOKEN = 46e-6


def mixing(prompt_tokens: int, decodes: int) -> float:
    return 0.015 + 3e-5 * decodes + SECONDS_PER_TOKEN * prompt_tokens


def alternating(prompt_tokens: int, decodes: int) -> float:
    prefill = 0.020 + SECONDS_PER_TOKEN * prompt_tokens if prompt_tokens else 0.0
    return prefill + (0.015 + 3e-5 * decodes if decodes else 0.0)


def closed(load, scheduler, step):
    def seconds(batch):
        return step(batch.prompts * batch.chunk, batch.decodes)

    found = mix(load, scheduler)
    decode, mixed, burst = seconds(found.decode), seconds(found.mixed), seconds(found.burst)
    tpot = found.decode_weight * decode + found.mixed_weight * mixed
    steady = found.wait_decode * decode + (found.wait_mixed + found.own + found.queue) * mixed
    ttft = (1 - found.burst_share) * steady + found.burst_share * found.burst_steps * burst
    return ttft + found.cache_wait * load.output_tokens * tpot, tpot


def compare(concurrency, prompt, output, spread, budget, mixes=True):
    step = mixing if mixes else alternating
    simulated = simulate(
        concurrency=concurrency,
        prompt=prompt,
        output=output,
        spread=spread,
        budget=budget,
        step_s=step,
        mixes=mixes,
    )
    mean = 1 - spread / 2
    load = Load(concurrency, prompt * mean, output * mean, spread)
    return simulated, closed(load, Scheduler(budget, mixes), step)


@pytest.mark.parametrize("concurrency", [4, 16, 64, 128])
@pytest.mark.parametrize(("prompt", "output"), [(1024, 1024), (8192, 1024), (1024, 4096)])
def test_random_lengths(concurrency, prompt, output):
    simulated, (ttft, tpot) = compare(concurrency, prompt, output, 0.2, 8192)
    assert tpot == pytest.approx(simulated.tpot_s, rel=0.02)
    assert ttft == pytest.approx(simulated.ttft_s, rel=0.10)


@pytest.mark.parametrize("concurrency", [8, 32, 128])
@pytest.mark.parametrize(("prompt", "output"), [(1024, 128), (1024, 512), (4096, 512)])
def test_lock_step(concurrency, prompt, output):
    simulated, (ttft, tpot) = compare(concurrency, prompt, output, 0.0, max(2048, prompt))
    assert tpot == pytest.approx(simulated.tpot_s, rel=0.01)
    assert ttft == pytest.approx(simulated.ttft_s, rel=0.05)


def test_lock_step_with_more_prompts_than_room():
    simulated, (ttft, tpot) = compare(128, 4096, 128, 0.0, 4096)
    assert tpot == pytest.approx(simulated.tpot_s, rel=0.02)
    assert ttft == pytest.approx(simulated.ttft_s, rel=0.15)


@pytest.mark.parametrize("concurrency", [4, 16, 64, 256])
@pytest.mark.parametrize(
    ("prompt", "output", "spread", "budget"),
    [(1000, 100, 0.0, 8192), (8000, 500, 0.0, 8192), (8192, 1024, 0.2, 16384), (1024, 2048, 0.2, 16384)],
)
def test_engine_that_does_not_mix(concurrency, prompt, output, spread, budget):
    simulated, (ttft, tpot) = compare(concurrency, prompt, output, spread, budget, mixes=False)
    assert tpot == pytest.approx(simulated.tpot_s, rel=0.03)
    assert ttft == pytest.approx(simulated.ttft_s, rel=0.10)


@pytest.mark.parametrize(
    ("concurrency", "prompt", "output", "hold"),
    [(8, 1024, 1024, 20), (32, 1024, 1024, 20), (128, 1024, 1024, 20), (32, 1024, 8192, 60), (8, 8192, 1024, 60)],
)
def test_prompts_held_back_for_company(concurrency, prompt, output, hold):
    simulated = simulate(
        concurrency=concurrency, prompt=prompt, output=output, spread=0.2, budget=16384, step_s=mixing, hold=hold
    )
    load = Load(concurrency, prompt * 0.9, output * 0.9, 0.2)
    ttft, tpot = closed(load, Scheduler(16384, held_steps=hold), mixing)
    assert tpot == pytest.approx(simulated.tpot_s, rel=0.05)
    assert ttft == pytest.approx(simulated.ttft_s, rel=0.15)


@pytest.mark.parametrize("spread", [0.0, 0.2])
@pytest.mark.parametrize("mixes", [True, False])
def test_drafts_save_steps_and_make_them_wider(spread, mixes):
    load = Load(16, 4000, 500, spread)
    plain, drafting = (mix(load, Scheduler(8192, mixes, drafted=drafted)) for drafted in (0.0, 3.0))
    tokens = Scheduler(8192, drafted=3.0).tokens_per_step
    assert tokens == pytest.approx(1 + 0.85 + 0.85**2 + 0.85**3)
    assert drafting.decode.width == drafting.mixed.width == drafting.burst.width == 4
    assert drafting.decode.context == plain.decode.context
    steps = drafting.decode_weight + (drafting.mixed_weight if mixes else 0.0)
    assert steps == pytest.approx(1 / tokens, rel=0.01)
    # A prompt is computed once, however few steps its answer takes.
    carried, before = (one.mixed_weight * one.mixed.prompts * one.mixed.chunk for one in (drafting, plain))
    assert carried == pytest.approx(before, rel=0.25)


def test_cached_prefix_is_not_computed():
    plain = mix(Load(16, 4000, 500), Scheduler(8192))
    cached = mix(Load(16, 4000, 500, cached_tokens=3600), Scheduler(8192))
    assert cached.mixed.chunk == pytest.approx(plain.mixed.chunk / 10)
    assert cached.decode.context == plain.decode.context
    assert cached.mixed.history >= 3600


def test_full_cache_makes_requests_wait():
    scheduler = Scheduler(8192, cache_tokens=20_000)
    found = mix(Load(64, 1000, 1000), scheduler)
    assert found.is_cache_bound
    assert found.running == pytest.approx(20_000 / 1600)
    assert found.cache_wait == pytest.approx(64 / found.running - 1)


@pytest.mark.parametrize("spread", [0.0, 0.2])
@pytest.mark.parametrize("mixes", [True, False])
def test_more_concurrency_never_runs_fewer_sequences(spread, mixes):
    found = [mix(Load(2.0**power, 2000, 500, spread), Scheduler(8192, mixes)).running for power in range(12)]
    assert found == sorted(found)
