"""Requests that arrive at random at many shapes at once: rate, TTFT and TPOT at a percentile, in closed form.

Continuous batching with chunked prefill, open loop. For ``b`` requests that run on a scheduler on average:

* *Steps.* Each finishes ``b / output`` requests and, in balance, admits as many prompts, Poisson within a step: a
  share ``f = 1 - exp(-b / output)`` of the steps carries prompt tokens, at least the share that these need of the
  step's token budget (:mod:`batching`). A step takes ``s = (1 - f) D + f P``: ``D`` a decode step, ``P`` a mixed one.
* *Who is seen.* A request meets the mean ``b`` of others and itself (arrivals see time averages: R. W. Wolff, 1982),
  so its steps are those of ``b + 1``. Little's law gives the rate: ``r = b / (output * s(b + 1))``.
* *Steps as cycles.* Every step serves the prompts that arrived during the one before: a queue with gated service and
  vacations ``D`` (H. Takagi, Analysis of Polling Systems, 1986). With ``x`` the seconds that a prompt adds to a step
  and ``p = r E[x]``, a step's mean is ``D / (1 - p)``, its variance ``r E[x^2] s / (1 - p^2)``, its third cumulant
  ``(r E[x^3] s + 3 p r E[x^2] var) / (1 - p^3)``: long steps collect many prompts and so beget long ones.
* *TTFT.* What is left of the step that runs (an arrival meets steps in proportion to their length), then the step with
  the request's own prompt and all that came meanwhile. Mean and variance of what others add follow from the moments
  of a step; their quantile is that of a gamma distribution. The own prompt's excess at the percentile adds to it in
  quadrature, signed: the median of long-tailed prompts lies below the mean.
* *TPOT.* Decoding is a busy period that prompts prolong: over ``n`` steps its variance per token is
  ``r E[x^2] s / ((1 - p)^2 n)`` (L. Kleinrock, Queueing Systems I, 1975, delay cycles), gamma again. Beside that, the
  number running varies. With constant stays ``T`` the mean that a request sees over its own has variance ``2 b / 3``
  (autocovariance ``b (1 - t / T)``); where a step grows with ``b``, by the elasticity ``e``, busy moments last, and it
  is ``b / (1 - e)`` times between two thirds and one.

``tests`` hold it against a simulation of the scheduler under Poisson arrivals, step by step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from deepseek_planner.prediction.factors import Factors
from deepseek_planner.prediction.operations import Batch, Part
from deepseek_planner.prediction.stack import Stack

STAY_VARIANCE = 2.0 / 3.0
"""Variance of the mean number of others that a request sees, per request running."""
FULLEST = 0.85
"""Share of the token budget that prompts may take: beyond it their queue grows faster than any estimate holds."""
MOST_AGAIN = 0.97
"""Bound of what grows without limit near saturation, where nothing keeps a target anyway."""
LEAST_ARRIVALS = 1e-9
"""Prompts per step of a replica that nobody uses: keeps shares and their ratios finite."""


class Schedulers(NamedTuple):
    """What of the engines shapes the steps: arrays of shape (models,), or numbers for all."""

    token_budget: Any
    """Most tokens of a step."""
    pipeline: Any
    data: Any
    """Data-parallel ranks: each has a scheduler, and all wait for the one with a prompt."""
    drafted: Any = 0.0
    """Tokens that the model's own next-token layers draft per step and request."""
    accepted: Any = 1.0
    """Tokens that a step adds to a request on average, its own and the drafts that hold."""
    draft: Any = 0.0
    """Part of a decode step that drafting takes on top."""


class Arrivals(NamedTuple):
    """Lengths of the requests, in tokens: arrays of shape (models,), or numbers for all."""

    prompt: Any
    """Mean of what no cached prefix saves."""
    prompt_far: Any
    """The same at the percentile of TTFT."""
    cached: Any
    output: Any
    variation: Any
    """Squared coefficient of variation of the prompt."""
    third: Any
    """Mean of the cube of the prompt over the cube of its mean."""
    per_output: Any
    """Mean of one over the output's length."""
    burstiness: float = 1.0
    """Variance over mean of the arrivals in a span of time: 1 for independent ones."""
    longer: Any = 0.0
    """By how much the prompt of a request that runs at a random moment is longer than the mean."""


class Percentiles(NamedTuple):
    """The asked percentiles as normal quantiles: arrays of shape (models,), or numbers for all."""

    first_z: Any
    token_z: Any


class Served(NamedTuple):
    """Service of one replica of each model at each concurrency: arrays of shape (concurrencies, models).

    Models are the last axis: there are more of them, and loops over neighbours in memory are the quick ones.
    """

    rate_per_s: Any
    first_token_s: Any
    per_token_s: Any
    prefill_share: Any
    """Part of the busy time that goes to prompts."""
    fullness: Any
    """Tokens of prompts that arrive in a step, over the most that its budget may hold of them: above one their queue
    grows without end."""


class Engines:
    """Replicas of many shapes under their loads."""

    def __init__(
        self,
        stack: Stack,
        factors: Factors,
        schedulers: Schedulers,
        arrivals: Arrivals,
        percentiles: Percentiles,
    ) -> None:
        self._stack, self._factors, self._schedulers, self._percentiles = stack, factors, schedulers, percentiles
        self._context = arrivals.cached + arrivals.prompt + arrivals.longer + arrivals.output / 2.0
        # From here on an answer is as long as the steps that it takes.
        self._arrivals = arrivals._replace(
            output=arrivals.output / schedulers.accepted, per_output=arrivals.per_output * schedulers.accepted
        )

    def of(self, models: Sequence[int]) -> Engines:
        """Some of them: where every model has numbers of its own."""
        found = Engines.__new__(Engines)
        found._stack, found._context = self._stack.of(models), self._context[models]
        found._factors = Factors(*(field[..., models] for field in self._factors))
        found._schedulers = Schedulers(*(field[models] for field in self._schedulers))
        arrivals = (field if isinstance(field, float) else field[models] for field in self._arrivals)
        found._arrivals = Arrivals(*arrivals)
        found._percentiles = Percentiles(*(field[models] for field in self._percentiles))
        return found

    def at(self, running: Any) -> Served:
        """Service with that many requests running per replica on average: shape (concurrencies, models)."""
        load = self._arrivals
        each = running / (self._schedulers.pipeline * self._schedulers.data)
        mix = self._mix(each)
        plain, carrying, slope, own, own_far = self._steps(mix)
        step = (1.0 - mix.share) * plain + mix.share * carrying
        prompts = _Prompts(
            per_s=each / (load.output * step),
            share=np.maximum(1.0 - plain / step, 0.0),
            seconds=np.maximum(own - plain, 0.0) + plain * load.prompt / mix.room,
        )
        return Served(
            rate_per_s=running / (load.output * step),
            first_token_s=self._first_token(mix, prompts, step, own, own_far),
            per_token_s=self._per_token(mix, prompts, step, plain, slope) / self._schedulers.accepted,
            prefill_share=prompts.share,
            fullness=np.where(mix.room > 1.0, mix.fullness / FULLEST, np.inf),
        )

    def _mix(self, each: Any) -> _Mix:
        """Steps of a scheduler with ``each`` requests: how many carry prompts, and how many of them."""
        load, schedulers = self._arrivals, self._schedulers
        room = np.maximum(schedulers.token_budget - each - 1.0, 1.0)
        arrivals = np.maximum(each / load.output, LEAST_ARRIVALS)
        fullness = arrivals * load.prompt / room
        # Ranks that share experts step together: a prompt on one makes the step of all of them a mixed one.
        share = np.minimum(np.maximum(-np.expm1(-arrivals * schedulers.data), fullness), 1.0)
        mean = np.minimum(arrivals, room / load.prompt) / share
        prompts = np.maximum(mean, np.minimum(1.0, room / load.prompt))
        return _Mix(each, room, fullness, share, mean, prompts)

    def _steps(self, mix: _Mix) -> tuple[Any, Any, Any, Any, Any]:
        """Seconds of a decode step and of a mixed one, how much longer the former is per request more, and seconds of
        the steps that carry a request's own prompt: of a mean one, and at the percentile.
        """
        load, each, width = self._arrivals, mix.each, len(mix.each)
        more = 1.0 + np.sqrt(each)
        chunks = np.maximum(1.0 / mix.prompts, 1.0)
        tokens = mix.prompts * load.prompt
        level = (each + 1.0 + mix.mean_prompts * load.prompt) / (each + 1.0 + tokens)
        owns = [np.ceil(prompt / mix.room) for prompt in (load.prompt, load.prompt_far)]
        parts = [load.prompt / owns[0], load.prompt_far / owns[1]]
        nothing, one = np.zeros_like(each), np.ones_like(each)
        history = load.cached + load.prompt * (1.0 - 1.0 / chunks) / 2.0
        seconds = self._seconds(
            width,
            Batch(
                decodes=_beside(each + 1.0, each + 1.0 + more, each + 1.0, each, each),
                context=self._context,
                prompts=_beside(nothing, nothing, mix.prompts * chunks, one, one),
                chunk=_beside(nothing, nothing, load.prompt / chunks, *parts),
                history=_beside(
                    nothing,
                    nothing,
                    history,
                    load.cached + (load.prompt - parts[0]) / 2.0,
                    load.cached + (load.prompt_far - parts[1]) / 2.0,
                ),
                level=_beside(one, one, level, *(self._level(each, part) for part in parts)),
                width=1.0 + self._schedulers.drafted,
            ),
        )
        seconds = seconds * (1.0 + self._schedulers.draft)
        plain, fuller, carrying, own, own_far = (seconds[width * i : width * (i + 1)] for i in range(5))
        # A step with a prompt never takes less than one without: two fits must not say so at a small chunk.
        own, own_far = np.maximum(own, plain) * owns[0], np.maximum(own_far, plain) * owns[1]
        return plain, np.maximum(carrying, plain), (fuller - plain) / more, own, own_far

    def _level(self, each: Any, tokens: Any) -> Any:
        """Of a step with one prompt on one data-parallel rank."""
        return (each + tokens / self._schedulers.data) / (each + tokens)

    def _seconds(self, width: int, batch: Batch) -> Any:
        """Of steps whose first two parts of that width carry no prompts, and the other three do."""
        fix, parts = self._factors, self._stack.step(batch, 2 * width)
        others = [part for part in Part if part is not Part.PREFILL_ATTENTION]
        decode = sum(fix.decode[part] * parts[part][: 2 * width] for part in others) + fix.decode_s
        mixed = sum(fix.mixed[part] * parts[part][2 * width :] for part in others) + fix.mixed_s
        mixed = mixed + fix.mixed[Part.PREFILL_ATTENTION] * parts[Part.PREFILL_ATTENTION]
        beside = fix.sequence_s * (batch.decodes + batch.prompts)
        return (_beside(decode, mixed) + beside) * self._schedulers.pipeline

    def _first_token(self, mix: _Mix, prompts: _Prompts, step: Any, own: Any, own_far: Any) -> Any:
        load, fix = self._arrivals, self._factors
        per_s, share = prompts.per_s, prompts.share
        again = np.maximum(share, np.minimum(per_s * prompts.seconds, MOST_AGAIN))
        second = per_s * prompts.seconds**2 * (load.burstiness + load.variation)
        third = per_s * _cube(prompts.seconds) * load.third
        variance = second * step / (1.0 - again**2)
        skew = (third * step + 3.0 * again * second * variance) / (1.0 - _cube(again))
        # The step that an arrival falls into is met in proportion to its length.
        met = step + variance / step
        met_squared = step**2 + 3.0 * variance + skew / step
        busy = -np.expm1(-mix.each - per_s * own)
        mean = busy * (fix.wait / 2.0 + fix.own * share) * met
        squared = busy * (
            (fix.wait**2 / 3.0 + fix.wait * fix.own * share + (fix.own * share) ** 2) * met_squared
            + fix.own**2 * second * met
        )
        others = _gamma_quantile(mean, squared - mean**2, self._percentiles.first_z) - mean
        once = fix.first_token_s + fix.first_token_s_per_token * (load.cached + load.prompt)
        excess = _together(fix.own * (own_far - own), others)
        return np.maximum(once + fix.own * own + mean + excess, once)

    def _per_token(self, mix: _Mix, prompts: _Prompts, step: Any, plain: Any, slope: Any) -> Any:
        load, z = self._arrivals, self._percentiles.token_z
        free = 1.0 - prompts.share
        stall = step * prompts.per_s * prompts.seconds**2 * (load.burstiness + load.variation) * load.per_output
        stalls = np.maximum(_gamma_quantile(step - plain, stall / free**2, z) - (step - plain), 0.0)
        # Where a step grows with the requests in it, a busy moment lasts: its elasticity says how much.
        bend = np.minimum(mix.each * slope / plain, MOST_AGAIN)
        seen = mix.each * load.burstiness * (STAY_VARIANCE + bend * (1.0 - STAY_VARIANCE)) / (1.0 - bend)
        return step + _together(stalls, z * slope * np.sqrt(seen) / free)


def _beside(*parts: Any) -> Any:
    """Arrays of shape (concurrencies, models), one after the other."""
    return np.concatenate(parts)


def _gamma_quantile(mean: Any, variance: Any, z: float) -> Any:
    """Quantile of a gamma distribution with that mean and variance (Wilson and Hilferty, 1931)."""
    ninth = np.maximum(variance, 0.0) / (9.0 * np.maximum(mean, 1e-12) ** 2)
    return mean * _cube(np.maximum(1.0 - ninth + z * np.sqrt(ninth), 0.0))


def _cube(amount: Any) -> Any:
    """Not ``** 3``, which takes ten times as long."""
    return amount * amount * amount


def _together(first: Any, second: Any) -> Any:
    """Excesses of two independent parts over their means: in quadrature, signed."""
    squares = first * np.abs(first) + second * np.abs(second)
    return np.sign(squares) * np.sqrt(np.abs(squares))


class _Prompts(NamedTuple):
    per_s: Any
    share: Any
    """Part of the time that prompts take."""
    seconds: Any
    """That a prompt adds to the steps of others."""


class _Mix(NamedTuple):
    each: Any
    room: Any
    fullness: Any
    share: Any
    mean_prompts: Any
    """Prompts per mixed step on the mean data-parallel rank; below one where a prompt needs several steps."""
    prompts: Any
    """The same on the fullest rank, which the others wait for."""
