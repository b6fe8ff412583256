"""Many step models at once: their operations beside each other in arrays, evaluated by the formulas of one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from deepseek_planner.prediction.formulas import Attending, Batch, Collective, Experts, Product, Seconds
from deepseek_planner.prediction.operations import StepModel

WIDTHS = (*(len(kind._fields) for kind in (Product, Experts, Attending, Collective, Product)), 1)


class Rows:
    """One step model's operations as arrays, made once."""

    __slots__ = ("kinds",)

    def __init__(self, model: StepModel) -> None:
        self.kinds = tuple(np.array(kind, dtype=float) for kind in model.operations)


class Stack:
    """Step models beside each other: fields of operations are arrays of shape (operations, models, 1)."""

    def __init__(self, models: Sequence[Rows]) -> None:
        self._models = models
        # One by one: arrays of all of them at once are larger than the processor's caches.
        self._products = [Product(*rows) for rows in zip(*self._fields(0), strict=True)]
        self._experts = Experts(*self._fields(1))
        self._attending = Attending(*self._fields(2))
        self._collectives = Collective(*self._fields(3))
        self._head = Product(*self._fields(4))
        self._elementwise_s = self._fields(5)[0][0]

    def _fields(self, kind: int) -> Any:
        """Fields of one kind; models with fewer such operations than others get some that take no time."""
        most = max(len(rows.kinds[kind]) for rows in self._models)
        fields = np.zeros((most, len(self._models), WIDTHS[kind]))
        for index, rows in enumerate(self._models):
            if len(rows.kinds[kind]):
                fields[: len(rows.kinds[kind]), index] = rows.kinds[kind]
        return fields.transpose(2, 0, 1)[..., None]

    def step(self, batch: Batch) -> Seconds:
        """Seconds by :class:`Part`, each an array of shape (models, batches)."""
        tokens = batch.tokens
        shared = tokens * batch.level
        products = np.zeros(np.shape(tokens))
        for product in self._products:
            products += product.seconds(tokens)
        return (
            products + self._head.seconds(batch.sampled)[0],
            self._experts.seconds(shared).sum(axis=0),
            self._attending.decode_seconds(batch.decodes, batch.context, batch.width).sum(axis=0),
            self._attending.prefill_seconds(batch.prompts, batch.chunk, batch.history).sum(axis=0),
            self._collectives.seconds(tokens, batch.level).sum(axis=0),
            self._elementwise_s * tokens,
        )
