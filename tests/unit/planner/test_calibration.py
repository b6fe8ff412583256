"""Predictions against published runs: facts with their sources, and how good we claim to be."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest

from deepseek_planner.calibration import BARE, correction
from deepseek_planner.demand import AccuracyClass
from deepseek_planner.hardware import InterNode, IntraNode
from deepseek_planner.models import Experts, GroupedAttention, ModelSpec, Precision
from deepseek_planner.performance import Batch, StepModel, Wires
from deepseek_planner.plan import Confidence, Shape
from deepseek_planner.precision import PrecisionChoice, choices
from support.planning import CATALOG

CHUNK = 8192


@dataclass(frozen=True)
class Run:
    """One published closed-loop run: what ran, at how many requests at once, and the mean TPOT in ms."""

    model: str
    accelerator: str
    precision: str
    tensor: int
    prompt: int
    output: int
    running: int
    tpot_ms: float
    wire: IntraNode = IntraNode.NVLINK


# vLLM recipe for V3; GPUStack performance lab 47277d79; aiconfigurator-core 0.12.0 for vLLM 0.24 (estimates): 8xH200.
R1_ON_H200 = (
    Run("deepseek-r1", "h200", "fp8", 8, 7902, 1000, 1, 15.85),
    Run("deepseek-r1", "h200", "fp8", 8, 228, 213, 4, 19.36),
    Run("deepseek-v3.2", "h200", "fp8", 8, 1000, 2000, 100, 45.72),
    Run("deepseek-r1", "h200", "fp8", 8, 1024, 1024, 16, 21.9),
    Run("deepseek-r1", "h200", "fp8", 8, 1024, 1024, 64, 35.2),
    Run("deepseek-r1", "h200", "fp8", 8, 1024, 1024, 128, 43.0),
    Run("deepseek-r1", "h200", "fp8", 8, 1024, 1024, 256, 59.3),
)
# dennislee22/vLLM-benchmarking b474d1e, vLLM 0.10.1: one A100, and two without GPU peer-to-peer. Qwen2-7B and
# Qwen2.5-32B have the shapes of the distills.
QWEN_7B, QWEN_32B = "deepseek-r1-distill-qwen-7b", "deepseek-r1-distill-qwen-32b"
QWEN_ON_A100 = (
    Run(QWEN_7B, "a100-80gb", "bf16", 1, 1024, 1024, 10, 13.47),
    Run(QWEN_7B, "a100-80gb", "bf16", 1, 1024, 1024, 20, 14.36),
    Run(QWEN_7B, "a100-80gb", "bf16", 1, 1024, 1024, 30, 15.19),
    Run(QWEN_7B, "a100-80gb", "bf16", 1, 1024, 1024, 50, 18.47),
    Run(QWEN_7B, "a100-80gb", "bf16", 1, 1024, 1024, 75, 24.02),
    Run(QWEN_7B, "a100-80gb-pcie", "bf16", 2, 1024, 1024, 20, 14.17, IntraNode.PCIE),
    Run(QWEN_7B, "a100-80gb-pcie", "bf16", 2, 1024, 1024, 50, 19.53, IntraNode.PCIE),
    Run(QWEN_32B, "a100-80gb-pcie", "bf16", 2, 1024, 1024, 1, 29.21, IntraNode.PCIE),
)
R1_INT4 = (
    Run("deepseek-r1", "h100", "int4", 8, 1024, 128, 1, 16.1),
    Run("deepseek-r1", "h100", "int4", 8, 4000, 256, 32, 33.2),
)


def step_model(run: Run, model: ModelSpec | None = None) -> StepModel:
    facts, chip = model or CATALOG.model(run.model), CATALOG.accelerator(run.accelerator)
    shape = Shape(run.accelerator, Precision(run.precision), run.tensor, 1, 1, 1, 1)
    legal = choices(facts, chip, AccuracyClass.ECONOMY)
    choice = next(item for item in legal if isinstance(item, PrecisionChoice) and item.precision is shape.precision)
    return StepModel(
        model=facts,
        shape=shape,
        choice=choice,
        accelerator=chip,
        wires=Wires(run.wire, InterNode.INFINIBAND),
        correction=correction(CATALOG.calibrations, facts, chip, choice, shape),
    )


def predicted_ms(run: Run, steps: StepModel) -> float:
    """Closed loop: of ``running`` requests, those being prefilled do not wait for the mixed step."""
    prompts = run.running / run.output
    share = max(1 - math.exp(-prompts), min(1.0, prompts * run.prompt / (CHUNK - run.running)))
    chunk = min(CHUNK - run.running, prompts * run.prompt / share)
    admitted = min(run.running, max(1.0, chunk / run.prompt))
    share *= max(0.0, run.running - admitted) / run.running
    context = run.prompt + run.output / 2
    plain = steps.step_s(Batch(run.running, context))
    mixed = steps.step_s(Batch(run.running, context, chunk, run.prompt / 2))
    return 1000 * ((1 - share) * plain + share * mixed)


@pytest.mark.parametrize(
    ("runs", "mean_error", "worst"),
    [(R1_ON_H200, 0.10, 0.17), (QWEN_ON_A100, 0.08, 0.15), (R1_INT4, 0.12, 0.20)],
    ids=["r1-h200", "qwen-a100", "r1-int4"],
)
def test_predictions_are_as_close_to_published_runs_as_the_margin_claims(
    runs: tuple[Run, ...], mean_error: float, worst: float
) -> None:
    errors = [abs(predicted_ms(run, step_model(run)) / run.tpot_ms - 1) for run in runs]

    assert sum(errors) / len(errors) <= mean_error
    assert max(errors) <= worst


def test_r1_on_eight_h200_at_64_requests_takes_35_to_43_ms_a_token() -> None:
    run = Run("deepseek-r1", "h200", "fp8", 8, 1024, 1024, 64, 35.2)

    assert 33 <= predicted_ms(run, step_model(run)) <= 44


@pytest.mark.parametrize(
    ("model", "accelerator", "precision", "degrees", "confidence"),
    [
        ("deepseek-r1", "h200", "fp8", (8, 1, 1), Confidence.CALIBRATED),
        ("deepseek-r1", "b200", "fp8", (8, 1, 1), Confidence.SAME_MODEL_OTHER_ACCELERATOR),
        ("deepseek-r1", "h100", "int4", (8, 1, 1), Confidence.SAME_MODEL_OTHER_ACCELERATOR),  # few points
        ("deepseek-r1", "h200", "fp8", (1, 1, 8), Confidence.ROOFLINE_ONLY),  # another topology
        ("deepseek-v2-lite", "a100-80gb", "bf16", (1, 1, 1), Confidence.OTHER_MODEL),
        ("deepseek-r1-distill-qwen-32b", "h100", "bf16", (2, 1, 1), Confidence.CALIBRATED),
        ("deepseek-r1-distill-qwen-7b", "l40s", "bf16", (1, 1, 1), Confidence.SAME_MODEL_OTHER_ACCELERATOR),
        ("deepseek-r1-distill-qwen-7b", "t4", "fp16", (1, 1, 1), Confidence.UNVERIFIED),
        ("deepseek-r1-distill-qwen-7b", "l4", "bf16", (1, 1, 1), Confidence.UNVERIFIED),
        ("deepseek-tiny", "cpu", "bf16", (1, 1, 1), Confidence.CALIBRATED),
        ("deepseek-r1-distill-qwen-7b", "cpu", "bf16", (1, 1, 1), Confidence.UNVERIFIED),
    ],
)
def test_confidence_follows_from_what_was_measured(
    model: str, accelerator: str, precision: str, degrees: tuple[int, int, int], confidence: Confidence
) -> None:
    facts, chip = CATALOG.model(model), CATALOG.accelerator(accelerator)
    tensor, pipeline, data = degrees
    wanted = Precision(precision)
    shape = Shape(accelerator, wanted, tensor, pipeline, data, tensor * data if data > 1 else 1, 1)
    found = correction(CATALOG.calibrations, facts, chip, PrecisionChoice(wanted, wanted, "bfloat16"), shape)

    assert found.confidence is confidence
    assert found.margin_percent == {"Calibrated": 15, "SameModelOtherAccelerator": 25, "OtherModel": 35}.get(
        confidence, 60
    )


def test_an_unknown_family_gets_typical_efficiencies_and_the_widest_margin() -> None:
    model = ModelSpec(
        name="other",
        family="other",
        repository="",
        layers=32,
        hidden=4096,
        heads=32,
        vocabulary=32000,
        attention=GroupedAttention(8, 128),
        experts=Experts(8, 2, 0, 14336, 0),
        dense_intermediate=0,
        native_precision=Precision.BF16,
        total_parameters=47e9,
        active_parameters=13e9,
        max_context_tokens=32768,
        mtp_layers=0,
        checkpoints=(Precision.BF16,),
        source="test",
    )
    shape = Shape("h100", Precision.BF16, 2, 1, 1, 1, 1)
    choice = PrecisionChoice(Precision.BF16, Precision.BF16, "bfloat16")
    found = correction(CATALOG.calibrations, model, CATALOG.accelerator("h100"), choice, shape)

    assert found.calibration is BARE
    assert found.margin_percent == 60
