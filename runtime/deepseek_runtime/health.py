"""When an engine is ready, and when it no longer works.

Ready: it generated a token, and its logprobs of the stored prompt agree with the reference, where there is one.
An engine that answers /health may still be unable to generate, or generate fluently from wrong logits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deepseek_runtime import reference
from deepseek_runtime.engine_client import EngineClient, EngineError
from deepseek_runtime.failure import Failure, Reason
from deepseek_runtime.launchspec import LaunchSpec
from deepseek_runtime.metering import Tokens

_WARM_UP: Final = "The quick brown fox"
_FIRST_TOKEN_TIMEOUT_S: Final = 300.0  # kernels are compiled on first use


async def gate(
    client: EngineClient,
    spec: LaunchSpec,
    checkpoint: Path,
    *,
    asked: Callable[[Tokens], None],
    say: Callable[[str], None] = lambda _: None,
) -> None:
    """Pass when the engine generates, and generates right; raises :class:`Failure` otherwise."""
    try:
        expected = reference.read(checkpoint)
        asked(await client.generate_one(_WARM_UP, timeout_s=_FIRST_TOKEN_TIMEOUT_S))
        if expected is None:
            say(
                f"check: generated a token; no {reference.FILE} beside the checkpoint, so its logits are taken on trust"
            )
            return
        await _compare(client, spec, expected, asked=asked, say=say)
    except reference.UnusableReferenceError as error:
        raise Failure(Reason.WRONG_LOGITS, str(error)) from None
    except EngineError as error:
        raise Failure(
            Reason.ENGINE_START_FAILED, f"the engine answers /health and cannot generate: {error}; see its log"
        ) from None


async def _compare(
    client: EngineClient,
    spec: LaunchSpec,
    expected: reference.Reference,
    *,
    asked: Callable[[Tokens], None],
    say: Callable[[str], None],
) -> None:
    tokens = await client.tokenize(expected.prompt)
    if tokens != expected.token_ids:
        raise Failure(
            Reason.WRONG_LOGITS,
            f"tokenizer: the stored prompt gives {len(tokens)} tokens that differ from the reference's "
            f"{len(expected.token_ids)}; put the checkpoint's own tokenizer.json beside it",
        )
    logprobs, counted = await client.prompt_logprobs(expected.token_ids, timeout_s=_FIRST_TOKEN_TIMEOUT_S)
    asked(counted)
    difference, limit = expected.mean_difference(logprobs), reference.LIMITS[spec.precision]
    measured = f"mean |logprob - reference| = {difference:.3f} nats, at most {limit} in {spec.precision}"
    if not difference <= limit:  # NaN is no agreement either
        raise Failure(
            Reason.WRONG_LOGITS,
            f"logits: {measured}: this engine computes another model ({expected.computed_with}); "
            "remove extraArgs and env that change kernels, or correct the checkpoint",
        )
    say(f"check: generated a token; {measured}")


@dataclass(slots=True)
class Watch:
    """Finds an engine that says /health 200 and does nothing. Times are in seconds on one clock."""

    now: float
    probe_every_s: float = 60.0
    """An engine without requests is asked for one token this often."""
    stalled_after_s: float = 300.0
    """With requests and no token computed for this long it is stuck. One very long prompt is no stall."""
    silent_after_s: float = 20.0
    """Without a good answer of /health for this long it is dead."""
    _work: float = -1.0
    _progress_at: float = 0.0
    _probed_at: float = 0.0
    _healthy_at: float = 0.0
    is_healthy: bool = True
    """False at once when the engine itself says that it is dead, as it does seconds before it ends."""

    def __post_init__(self) -> None:
        self._progress_at = self._probed_at = self._healthy_at = self.now

    def heard(self, now: float, *, status: int) -> None:
        """Note the status of /health, 0 for none: a busy server may miss one."""
        self.now = now
        if status == 200:
            self._healthy_at = now
            self.is_healthy = True
        elif status:
            self.is_healthy = False

    @property
    def is_dead(self) -> bool:
        return self.now - self._healthy_at >= self.silent_after_s

    def observe(self, now: float, *, work_done: float | None, in_flight: float) -> None:
        """Note the engine's count of computed tokens; None where it could not be read, which is no progress."""
        advanced = work_done is not None and work_done != self._work
        if work_done is not None:
            self._work = work_done
        if advanced or not in_flight:
            self._progress_at = now
        if advanced:
            self._probed_at = now
        self.now = now

    @property
    def is_stalled(self) -> bool:
        return self.now - self._progress_at >= self.stalled_after_s

    def wants_probe(self, *, in_flight: float) -> bool:
        """Nothing was computed for a while, and nobody waits for anything: time to ask."""
        return not in_flight and self.now - self._probed_at >= self.probe_every_s

    def probed(self) -> None:
        self._probed_at = self.now
