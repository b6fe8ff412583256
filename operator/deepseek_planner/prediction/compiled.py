"""Step models of the catalogue's shapes, compiled once: operations, corrections and what stands behind them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from deepseek_planner.hardware import Accelerator, InterNode, IntraNode
from deepseek_planner.models import ModelSpec
from deepseek_planner.plan import Confidence
from deepseek_planner.prediction.architecture import Architecture
from deepseek_planner.prediction.batching import Load
from deepseek_planner.prediction.corrections import Corrections, shipped
from deepseek_planner.prediction.curves import curve_set
from deepseek_planner.prediction.factors import MARGIN_PERCENT, Factors, confidence, factors
from deepseek_planner.prediction.facts import (
    architecture_of,
    formats_of,
    published_name,
    sharding_of,
    system_of,
)
from deepseek_planner.prediction.operations import StepModel
from deepseek_planner.prediction.runs import CURRENT_VLLM, Run
from deepseek_planner.prediction.stack import Rows, Stack
from deepseek_planner.prediction.systems import System, system
from deepseek_planner.prediction.terms import curves_engine
from deepseek_planner.snapshot import Shape

ENGINE = "vllm"
"""The runtime's pinned minor version: curves and corrections are picked for it."""
TYPICAL_SPREAD = 0.2
"""Requests differ in length: corrections of runs with random lengths apply."""
MOST_COMPILED = 16_384
MOST_MODELS = 256
MOST_STACKS = 64


class Setting(NamedTuple):
    """What beside the model bears on the time of a step."""

    accelerator: Accelerator
    shape: Shape
    intra_node: IntraNode
    inter_node: InterNode
    gpus_per_node: int
    kv_cache_dtype: str = "auto"


class Compiled:
    """One shape's step model with its corrections."""

    __slots__ = ("confidence", "factor_row", "factors", "margin_percent", "rows", "scheduler_ranks", "setting", "steps")

    def __init__(self, model: ModelSpec, setting: Setting, corrections: Corrections) -> None:
        architecture, name = _architecture(model)
        base = system(setting.accelerator.name)
        shape = setting.shape
        facts = system_of(setting.accelerator, setting.intra_node, setting.inter_node, setting.gpus_per_node)
        stored = formats_of(model, architecture, shape.precision, setting.kv_cache_dtype)
        run = _run(architecture, name, base, shape)
        self.setting = setting
        self.steps = StepModel(architecture, run.sharding, stored, facts, curve_set(base.curves, curves_engine(run)))
        self.rows = Rows(self.steps)
        self.factors: Factors = factors(run, corrections, base, self.steps.layers)
        self.factor_row = np.array([self.factors.flat])
        self.scheduler_ranks = shape.pipeline_parallel, shape.data_parallel
        is_spread = shape.pipeline_parallel > 1 or shape.data_parallel > 1 or shape.nodes_per_replica > 1
        self.confidence: Confidence = confidence(run, corrections, base, is_spread=is_spread)
        self.margin_percent = MARGIN_PERCENT[self.confidence]


def _run(architecture: Architecture, name: str, facts: System, shape: Shape) -> Run:
    """The run whose groups' corrections apply to the shape."""
    return Run(
        name=shape.name,
        model=name,
        architecture=architecture,
        system=facts.name,
        engine=ENGINE,
        version=CURRENT_VLLM,
        precision="bf16" if shape.precision == "fp16" else str(shape.precision),
        sharding=sharding_of(shape),
        load=Load(concurrency=1.0, input_tokens=1.0, output_tokens=1.0, spread=TYPICAL_SPREAD),
        nominal_input=1.0,
        nominal_output=1.0,
        gpus=shape.accelerators,
        has_concurrency=True,
    )


_ARCHITECTURES: dict[int, tuple[ModelSpec, tuple[Architecture, str]]] = {}
_COMPILED: dict[tuple[object, ...], tuple[ModelSpec, Accelerator, Compiled]] = {}
_STACKS: dict[tuple[int, ...], tuple[Sequence[Compiled], Stack]] = {}


def _architecture(model: ModelSpec) -> tuple[Architecture, str]:
    # Specs hold mappings and have no hash: their identity is the key, and the entry keeps them alive.
    known = _ARCHITECTURES.get(id(model))
    if known is None:
        if len(_ARCHITECTURES) >= MOST_MODELS:
            _ARCHITECTURES.clear()
        known = _ARCHITECTURES[id(model)] = model, (architecture_of(model), published_name(model))
    return known[1]


def compiled(model: ModelSpec, setting: Setting) -> Compiled:
    """The step model of a shape on an accelerator and its wires, from the cache when it was asked for before."""
    key = (id(model), id(setting.accelerator), *setting[1:])
    known = _COMPILED.get(key)
    if known is None:
        if len(_COMPILED) >= MOST_COMPILED:
            _COMPILED.clear()
        made = Compiled(model, setting, shipped()[ENGINE])
        known = _COMPILED[key] = model, setting.accelerator, made
    return known[2]


def stacked(models: Sequence[Compiled]) -> Stack:
    """The operations of many beside each other."""
    key = tuple(map(id, models))
    known = _STACKS.get(key)
    if known is None:
        if len(_STACKS) >= MOST_STACKS:
            _STACKS.clear()
        known = _STACKS[key] = tuple(models), Stack([one.rows for one in models])
    return known[1]
