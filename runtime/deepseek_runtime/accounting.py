"""Keeps the meter going: what time it is in the pod's life, what an hour costs, and totals that outlive a container."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

from deepseek_runtime.drain import Lifecycle, Phase
from deepseek_runtime.launchspec import LaunchSpec
from deepseek_runtime.metering import Meter
from deepseek_runtime.pricing import PriceFile
from deepseek_runtime.shared_state import SharedState

TICK_S = 0.5
_SAVE_EVERY_S = 5.0

_STATES = {Phase.STARTING: "cold_start", Phase.READY: "useful", Phase.DRAINING: "draining", Phase.STOPPED: "lost"}


class Account:
    """One replica's meter on this machine's clocks."""

    def __init__(
        self,
        spec: LaunchSpec,
        price: PriceFile,
        state: SharedState,
        lifecycle: Lifecycle,
        *,
        totals: Path,
        window_s: float,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        sharding = spec.sharding
        accelerators = sharding.tensor_parallel * sharding.pipeline_parallel * sharding.data_parallel
        self.meter = Meter(accelerators=accelerators, now=time.monotonic(), window_s=window_s)
        self.ticked_at = time.monotonic()
        self.works: Callable[[], bool] = lambda: True
        """Whether the engine of a ready pod can serve; while it cannot, time is lost."""
        self._identity = spec.digest
        self._price, self._state, self._lifecycle, self._totals, self._say = price, state, lifecycle, totals, say
        price.refresh()
        if self.meter.restore(totals, identity=self._identity, wall_s=time.time(), usd_per_hour=self._usd_per_hour):
            say("meter: going on from the totals of the container before")

    async def run(self) -> None:
        """Tick until cancelled; read the price and keep the totals now and then."""
        saved_at = 0.0
        while True:
            self.tick()
            if self.ticked_at - saved_at >= _SAVE_EVERY_S:
                saved_at = self.ticked_at
                self._price.refresh()
                self.save()
            await asyncio.sleep(TICK_S)

    def tick(self) -> None:
        """Put down the time since the last tick."""
        now = self.ticked_at = time.monotonic()
        phase = self._lifecycle.phase
        state = "lost" if phase is Phase.READY and not self.works() else _STATES[phase]
        self.meter.tick(now, state=state, usd_per_hour=self._usd_per_hour, busy=self._state.busy_seconds(now))

    def save(self) -> None:
        """Keep the totals for the pod's next container."""
        try:
            self.meter.save(self._totals, identity=self._identity, wall_s=time.time())
        except OSError as error:
            self._say(f"meter: totals cannot be kept ({error}); a restart begins at zero")

    @property
    def _usd_per_hour(self) -> Decimal | None:
        return self._price.price.usd_per_hour if self._price.price else None
