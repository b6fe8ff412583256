"""Requests that arrive at random at many shapes at once: rate, TTFT and TPOT at a percentile, in closed form.

Continuous batching with chunked prefill, open loop. For ``b`` requests that run on a scheduler on average:

* *Steps.* Each finishes ``b / output`` requests and, in balance, admits as many prompts, Poisson within a step: a
  share ``f = 1 - exp(-b / output)`` of the steps carries prompt tokens, at least the share that these need of the
  step's token budget (:mod:`batching`). A step takes ``s = (1 - f) D + f P``: ``D`` a decode step, ``P`` a mixed one.
* *Who is seen.* A request meets the mean ``b`` of others and itself (arrivals see time averages: R. W. Wolff, 1982),
  so its steps are those of ``b + 1``. Little's law gives the rate: ``b / (output * s(b + 1))``.
* *TPOT at a percentile.* The number running is that of a queue with ample servers: Poisson. Over a request's own stay
  its mean varies by ``2 b / 3`` (autocovariance ``b (1 - t / T)`` of constant stays ``T``, averaged over one). Beside
  that, the number of mixed steps that a request meets is Poisson. The two excesses add in quadrature.
* *TTFT.* What is left of the running step (renewal theory: half of ``E[s^2] / E[s]`` on average), the request's own
  prompt steps, the prompts that came within the same step, and the queue for the token budget: one server whose
  service is a prompt's share of the budget, Kingman's mean wait (1961), an exponential tail. Each one's excess over
  its mean at the percentile adds in quadrature, signed: the median of long-tailed prompts lies below the mean.

``tests`` hold it against a simulation of the scheduler under Poisson arrivals, step by step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from deepseek_planner.prediction.factors import Factors
from deepseek_planner.prediction.operations import Batch
from deepseek_planner.prediction.stack import Stack

STAY_VARIANCE = 2.0 / 3.0
"""Variance of the mean number of others that a request sees, per request running."""
FULLEST = 0.85
"""Share of the token budget that prompts may take: beyond it their queue grows faster than any estimate holds."""
LEAST_ARRIVALS = 1e-9
"""Prompts per step of a replica that nobody uses: keeps shares and their ratios finite."""


class Schedulers(NamedTuple):
    """What of the engines shapes the steps: arrays of shape (models, 1), or numbers for all."""

    token_budget: Any
    """Most tokens of a step."""
    pipeline: Any
    data: Any
    """Data-parallel ranks: each has a scheduler, and all wait for the one with a prompt."""


class Arrivals(NamedTuple):
    """Lengths of the requests, in tokens: arrays of shape (models, 1), or numbers for all."""

    prompt: Any
    """Mean of what no cached prefix saves."""
    prompt_far: Any
    """The same at the percentile of TTFT."""
    cached: Any
    output: Any
    variation: Any
    """Squared coefficient of variation of the prompt."""
    per_output: Any
    """Mean of one over the output's length."""
    burstiness: float = 1.0
    """Variance over mean of the arrivals in a span of time: 1 for independent ones."""


class Percentiles(NamedTuple):
    """The asked percentiles as normal quantiles; of TTFT also the share that may be later."""

    first_z: float
    first_share: float
    token_z: float


class Served(NamedTuple):
    """Service of one replica of each model at each concurrency: arrays of shape (models, concurrencies)."""

    rate_per_s: Any
    first_token_s: Any
    per_token_s: Any
    prefill_share: Any
    """Part of the busy time that goes to prompts."""
    is_stable: Any
    """Whether prompts fit into the steps."""


class Engines:
    """Replicas of many shapes under their loads."""

    def __init__(
        self,
        stack: Stack,
        factors: Sequence[Factors],
        schedulers: Schedulers,
        arrivals: Arrivals,
        percentiles: Percentiles,
    ) -> None:
        self._stack, self._schedulers, self._arrivals, self._percentiles = stack, schedulers, arrivals, percentiles
        decode = np.array([one.decode for one in factors]).T[..., None]
        mixed = np.array([one.mixed for one in factors]).T[..., None]
        rest = np.array([one[2:] for one in factors]).T[..., None]
        self._factors = Factors(decode, mixed, *rest)

    def at(self, running: Any) -> Served:
        """Service with that many requests running per replica on average: shape (models, concurrencies)."""
        load, percentiles = self._arrivals, self._percentiles
        width = running.shape[1]
        each = running / (self._schedulers.pipeline * self._schedulers.data)
        seen_far = each + percentiles.token_z * np.sqrt(STAY_VARIANCE * load.burstiness * each)
        mix = self._mix(np.concatenate([each, seen_far], axis=1))
        plain, carrying = self._steps(mix)
        step = (1.0 - mix.share) * plain + mix.share * carrying
        near, far = step[:, :width], step[:, width:]
        stalls = mix.share[:, width:] * (1.0 - mix.share[:, width:] + load.variation) * load.per_output
        stall = percentiles.token_z * np.sqrt(stalls) * (carrying - plain)[:, width:]
        here = _Mix(*(value[:, :width] if isinstance(value, np.ndarray) else value for value in mix))
        own = self._own(here, plain[:, :width])
        return Served(
            rate_per_s=running / (load.output * near),
            first_token_s=self._first_token(here, plain[:, :width], carrying[:, :width], near, own),
            per_token_s=near + np.sqrt((far - near) ** 2 + stall**2),
            prefill_share=1.0 - plain[:, :width] / near,
            is_stable=(here.fullness <= FULLEST) & (here.room > 1.0),
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

    def _steps(self, mix: _Mix) -> tuple[Any, Any]:
        """Seconds of a decode step and of a mixed one."""
        load = self._arrivals
        context = load.cached + load.prompt + load.output / 2.0
        decodes = mix.each + 1.0
        plain = self._decode_s(decodes, context)
        chunks = np.maximum(1.0 / mix.prompts, 1.0)
        tokens = mix.prompts * load.prompt
        carrying = self._mixed_s(
            Batch(
                decodes=decodes,
                context=context,
                prompts=mix.prompts * chunks,
                chunk=load.prompt / chunks,
                history=load.cached + load.prompt * (1.0 - 1.0 / chunks) / 2.0,
                level=(decodes + mix.mean_prompts * load.prompt) / (decodes + tokens),
            )
        )
        # A step with a prompt never takes less than one without: two fits must not say so at a small chunk.
        return plain, np.maximum(carrying, plain)

    def _own(self, mix: _Mix, plain: Any) -> tuple[Any, Any]:
        """Seconds of the steps that carry a request's own prompt: of a mean one, and at the percentile."""
        load, width = self._arrivals, mix.each.shape[1]
        shape = mix.each.shape
        tokens = np.concatenate([np.broadcast_to(load.prompt, shape), np.broadcast_to(load.prompt_far, shape)], axis=1)
        room, each = np.tile(mix.room, 2), np.tile(mix.each, 2)
        chunks = np.ceil(tokens / room)
        chunk = tokens / chunks
        seconds = self._mixed_s(
            Batch(
                decodes=each,
                context=load.cached + load.prompt + load.output / 2.0,
                prompts=1.0,
                chunk=chunk,
                history=load.cached + (tokens - chunk) / 2.0,
                level=(each + chunk / self._schedulers.data) / (each + chunk),
            )
        )
        seconds = np.maximum(seconds, np.tile(plain, 2)) * chunks
        return seconds[:, :width], seconds[:, width:]

    def _first_token(self, mix: _Mix, plain: Any, carrying: Any, step: Any, own: tuple[Any, Any]) -> Any:
        load, fix, percentiles = self._arrivals, self._factors, self._percentiles
        own_mean, own_far = own
        met = ((1.0 - mix.share) * plain**2 + mix.share * carrying**2) / step
        """Length of the step that an arrival falls into."""
        per_s = mix.each / (load.output * step)
        busy = -np.expm1(-mix.each - per_s * own_mean)
        remaining = busy * met / 2.0
        late_step = np.where(mix.share * carrying / step > 1.0 - percentiles.first_share, carrying, plain)
        remaining_far = busy * percentiles.first_share * late_step
        beside = per_s * met * busy
        per_prompt = np.maximum(own_mean - plain, 0.0)
        beside_far = percentiles.first_z * np.sqrt(beside * (load.burstiness + load.variation)) * per_prompt
        fullness = np.minimum(mix.fullness, 0.999)
        served = own_mean * (load.burstiness + load.variation) / (2.0 * (1.0 - fullness))
        late = 1.0 - percentiles.first_share
        queue, queue_far = fullness * served, np.maximum(np.log(fullness / late), 0.0) * served
        mean = fix.wait * remaining + fix.own * (own_mean + beside * per_prompt) + fix.queue * queue
        excess = (
            fix.wait * (remaining_far - remaining),
            fix.own * (own_far - own_mean),
            fix.own * beside_far,
            fix.queue * (queue_far - queue if percentiles.first_z > 0 else 0.0 * queue),
        )
        squares = sum(part * np.abs(part) for part in excess)
        once = fix.first_token_s + fix.first_token_s_per_token * (load.cached + load.prompt)
        return np.maximum(once + mean + np.sign(squares) * np.sqrt(np.abs(squares)), once)

    def _decode_s(self, sequences: Any, context: Any) -> Any:
        fix = self._factors
        parts = self._stack.step(Batch(sequences, context))
        seconds = sum(fix.decode[part] * parts[part] for part in (0, 1, 2, 4, 5))
        return (seconds + fix.decode_s + fix.sequence_s * sequences) * self._schedulers.pipeline

    def _mixed_s(self, batch: Batch) -> Any:
        fix = self._factors
        seconds = sum(factor * part for factor, part in zip(fix.mixed, self._stack.step(batch), strict=True))
        sequences = batch.decodes + batch.prompts
        return (seconds + fix.mixed_s + fix.sequence_s * sequences) * self._schedulers.pipeline


class _Mix(NamedTuple):
    each: Any
    room: Any
    fullness: Any
    share: Any
    mean_prompts: Any
    """Prompts per mixed step on the mean data-parallel rank; below one where a prompt needs several steps."""
    prompts: Any
    """The same on the fullest rank, which the others wait for."""
