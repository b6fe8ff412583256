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
        self.kinds = tuple(
            np.array(kind, dtype=float).reshape(len(kind), width)
            for kind, width in zip(model.operations, WIDTHS, strict=True)
        )


class Stack:
    """Step models beside each other: fields of operations are arrays of shape (operations, 1, models)."""

    def __init__(self, models: Sequence[Rows]) -> None:
        self._kinds = [_fields([rows.kinds[kind] for rows in models]) for kind in range(len(WIDTHS))]
        self._prepare()

    def of(self, columns: Sequence[int]) -> Stack:
        """Some of the models."""
        found = Stack.__new__(Stack)
        found._kinds = [fields[..., columns] for fields in self._kinds]
        found._prepare()
        return found

    def _prepare(self) -> None:
        products, experts, attending, collectives, head, elementwise = self._kinds
        # One by one: arrays of all of them at once are larger than the processor's caches.
        self._products = [Product(*rows) for rows in products.transpose(1, 0, 2, 3)]
        self._experts, self._attending = Experts(*experts), Attending(*attending)
        self._collectives, self._head = Collective(*collectives), Product(*head)
        self._elementwise_s = elementwise[0][0]

    def step(self, batch: Batch) -> Seconds:
        """Seconds by :class:`Part`, each an array of shape (batches, models)."""
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


def _fields(models: Sequence[Any]) -> Any:
    """Fields of one kind, of operations by model; models with fewer of these than others get some that take no time."""
    counts = np.array([len(rows) for rows in models])
    rows = np.concatenate(models)
    operations = np.arange(len(rows)) - np.repeat(counts.cumsum() - counts, counts)
    fields = np.zeros((rows.shape[1], int(counts.max()), 1, len(models)))
    fields[:, operations, 0, np.repeat(np.arange(len(counts)), counts)] = rows.T
    return fields
