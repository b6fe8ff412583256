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

    __slots__ = ("counts", "kinds")

    def __init__(self, model: StepModel) -> None:
        self.counts = tuple(map(len, model.operations))
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
        self._products, self._head = _Products(products), _Products(head)
        self._experts, self._attending = Experts(*experts), Attending(*attending)
        self._collectives = _Collectives(collectives)
        self._elementwise_s = elementwise[0][0]

    def step(self, batch: Batch, carrying: int = 0) -> Seconds:
        """Seconds by :class:`Part`, each an array of shape (batches, models); attention of prompts from batch
        ``carrying`` on, where those before carry none.
        """
        tokens = batch.tokens
        shared, prompts = tokens * batch.level, (batch.prompts, batch.chunk, batch.history)
        return (
            self._products.seconds(tokens) + self._head.seconds(batch.sampled),
            self._experts.seconds(shared).sum(axis=0),
            self._attending.decode_seconds(batch.decodes, batch.context, batch.width).sum(axis=0),
            self._attending.prefill_seconds(*(each[carrying:] for each in prompts)).sum(axis=0),
            self._collectives.seconds(tokens, shared),
            self._elementwise_s * tokens,
        )


class _Products:
    """The sum of :meth:`formulas.Product.seconds` over products: what is linear in tokens is added up beforehand, and
    what is left of each is the root of a square polynomial.
    """

    def __init__(self, fields: Any) -> None:
        each = Product(*fields)
        self._once_s, self._per_token_s = ((each.calls * part).sum(axis=0) for part in (each[1], each[5]))
        squared = each.calls**2
        self._roots = [
            squared * (each.compute_s_per_token**2 + each.memory_s_per_token**2),
            squared * 2.0 * each.memory_s * each.memory_s_per_token,
            squared * each.memory_s**2,
        ]

    def seconds(self, tokens: Any) -> Any:
        total = self._once_s + self._per_token_s * tokens
        # One by one: arrays of all of them at once are larger than the processor's caches.
        for second, first, none in zip(*self._roots, strict=True):
            squared = second * tokens
            squared += first
            squared *= tokens
            squared += none
            total += np.sqrt(squared, out=squared)
        return total


class _Collectives:
    """The sum of :meth:`formulas.Collective.seconds` over messages, which differ in coefficients alone."""

    def __init__(self, fields: Any) -> None:
        each = Collective(*fields)
        self._once_s = (each.calls * each.latency_s).sum(axis=0)
        wire, root = each.s_per_byte * each.bytes_per_token, each.root_s * each.bytes_per_token**0.5
        own, shared = (
            [(each.calls * kind * part).sum(axis=0) for part in (wire, root)]
            for kind in (1.0 - each.shared, each.shared)
        )
        self._own, self._shared = own, shared if shared[0].any() else None

    def seconds(self, tokens: Any, shared: Any) -> Any:
        """``shared``: tokens of the mean data-parallel rank, ``tokens`` those of this one."""
        wire, root = self._own
        total = self._once_s + wire * tokens + root * np.sqrt(tokens)
        if self._shared is not None:
            wire, root = self._shared
            total += wire * shared + root * np.sqrt(shared)
        return total


def _fields(models: Sequence[Any]) -> Any:
    """Fields of one kind, of operations by model; models with fewer of these than others get some that take no time."""
    counts = np.array([len(rows) for rows in models])
    rows = np.concatenate(models)
    if counts[0] * len(counts) == len(rows) and (counts == counts[0]).all():
        return np.ascontiguousarray(rows.reshape(len(counts), counts[0], rows.shape[1]).T[:, :, None, :])
    operations = np.arange(len(rows)) - np.repeat(counts.cumsum() - counts, counts)
    fields = np.zeros((rows.shape[1], int(counts.max()), 1, len(models)))
    fields[:, operations, 0, np.repeat(np.arange(len(counts)), counts)] = rows.T
    return fields
