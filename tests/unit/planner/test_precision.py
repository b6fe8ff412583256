from __future__ import annotations

import pytest

from deepseek_planner.demand import AccuracyClass
from deepseek_planner.models import ModelSpec, Precision
from deepseek_planner.plan import RejectionReason
from deepseek_planner.precision import FP16_OVERFLOW, PrecisionChoice, PrecisionRefusal, choices
from support.planning import CATALOG

DISTILL = "deepseek-r1-distill-qwen-7b"


def weigh(
    model: str, accelerator: str, accuracy: AccuracyClass = AccuracyClass.ECONOMY, *, own_weights: bool = False
) -> dict[Precision, PrecisionChoice | PrecisionRefusal]:
    found = choices(CATALOG.model(model), CATALOG.accelerator(accelerator), accuracy, own_weights=own_weights)
    return {item.precision: item for item in found}


@pytest.mark.parametrize(
    ("accelerator", "precision", "compute"),
    [
        ("t4", Precision.FP16, Precision.FP16),
        ("t4", Precision.FP8, Precision.FP16),
        ("t4", Precision.INT8, Precision.INT8),
        ("t4", Precision.INT4, Precision.FP16),
        ("v100", Precision.FP16, Precision.FP16),
        ("a100-80gb", Precision.BF16, Precision.BF16),
        ("a100-80gb", Precision.FP8, Precision.BF16),
        ("a10g", Precision.FP8, Precision.BF16),
        ("l4", Precision.FP8, Precision.FP8),
        ("h100", Precision.FP8, Precision.FP8),
        ("h100", Precision.INT8, Precision.INT8),
        ("b200", Precision.INT4, Precision.BF16),
        ("cpu", Precision.BF16, Precision.BF16),
    ],
)
def test_legal_precisions_compute_in_what_the_kernels_offer(
    accelerator: str, precision: Precision, compute: Precision
) -> None:
    choice = weigh(DISTILL, accelerator)[precision]

    assert isinstance(choice, PrecisionChoice), choice
    assert choice.compute is compute


@pytest.mark.parametrize(
    ("accelerator", "precision", "needed"),
    [
        ("t4", Precision.BF16, "sm80"),
        ("v100", Precision.BF16, "sm80"),
        ("v100", Precision.FP8, "sm75"),
        ("v100", Precision.INT8, "sm75"),
        ("b200", Precision.INT8, "sm100"),
        ("cpu", Precision.INT8, "AMX"),
    ],
)
def test_illegal_precisions_say_what_is_missing(accelerator: str, precision: Precision, needed: str) -> None:
    refusal = weigh(DISTILL, accelerator)[precision]

    assert isinstance(refusal, PrecisionRefusal)
    assert refusal.reason is RejectionReason.PRECISION_ILLEGAL
    assert needed in refusal.message


def test_fp16_stands_in_for_bf16_with_a_warning_and_only_where_bf16_is_impossible() -> None:
    assert weigh(DISTILL, "t4")[Precision.FP16].note == FP16_OVERFLOW  # type: ignore[union-attr]
    assert weigh(DISTILL, "t4")[Precision.FP16].data_type == "float16"  # type: ignore[union-attr]
    assert Precision.FP16 not in weigh(DISTILL, "h100")
    assert Precision.FP16 not in weigh("deepseek-v3", "t4")


@pytest.mark.parametrize("accelerator", ["t4", "v100"])
@pytest.mark.parametrize("model", ["deepseek-v3", "deepseek-v2-lite", "deepseek-tiny"])
def test_latent_attention_does_not_run_below_sm80(model: str, accelerator: str) -> None:
    for refusal in weigh(model, accelerator).values():
        assert isinstance(refusal, PrecisionRefusal)
    assert any("FlashAttention 2" in item.message for item in weigh(model, accelerator).values())  # type: ignore[union-attr]


@pytest.mark.parametrize("model", ["deepseek-v3.2", "deepseek-v4-flash"])
def test_sparse_attention_needs_hopper(model: str) -> None:
    assert all(isinstance(item, PrecisionRefusal) for item in weigh(model, "a100-80gb").values())
    assert any(isinstance(item, PrecisionChoice) for item in weigh(model, "h100").values())


def test_fp4_is_native_to_v4_and_storage_only_below_blackwell() -> None:
    on_hopper, on_blackwell = (weigh("deepseek-v4-flash", name)[Precision.FP4] for name in ("h200", "b200"))

    assert isinstance(on_hopper, PrecisionChoice)
    assert isinstance(on_blackwell, PrecisionChoice)
    assert on_hopper.compute is Precision.BF16
    assert on_blackwell.compute is Precision.FP4


@pytest.mark.parametrize(
    ("accuracy", "model", "legal"),
    [
        (AccuracyClass.CRITICAL, "deepseek-v3", {"fp8"}),
        (AccuracyClass.BALANCED, "deepseek-v3", {"fp8"}),
        (AccuracyClass.ECONOMY, "deepseek-v3", {"fp8", "int4", "fp4"}),
        (AccuracyClass.CRITICAL, DISTILL, {"bf16"}),
        (AccuracyClass.BALANCED, DISTILL, {"bf16", "fp8", "int8"}),
        (AccuracyClass.ECONOMY, DISTILL, {"bf16", "fp8", "int8", "int4"}),
        (AccuracyClass.CRITICAL, "deepseek-v4-flash", {"fp4"}),
        (AccuracyClass.BALANCED, "deepseek-v4-flash", {"fp4"}),
    ],
)
def test_accuracy_class_decides_which_precisions_may_serve(
    accuracy: AccuracyClass, model: str, legal: set[str]
) -> None:
    found = weigh(model, "h100", accuracy)

    assert {str(name) for name, item in found.items() if isinstance(item, PrecisionChoice)} == legal


def test_critical_refuses_fp16_for_a_bf16_checkpoint() -> None:
    refusal = weigh(DISTILL, "t4", AccuracyClass.CRITICAL)[Precision.FP16]

    assert isinstance(refusal, PrecisionRefusal)
    assert refusal.reason is RejectionReason.PRECISION_NOT_ALLOWED


def test_own_weights_serve_in_their_own_precision_only() -> None:
    found = weigh("deepseek-v3", "h200", own_weights=True)

    assert isinstance(found[Precision.FP8], PrecisionChoice)
    refusal = found[Precision.INT4]
    assert isinstance(refusal, PrecisionRefusal)
    assert "given weights are fp8" in refusal.message


@pytest.mark.parametrize("precision", [Precision.INT4, Precision.INT8])
def test_own_weights_of_another_format_serve_in_it_and_in_nothing_else(precision: Precision) -> None:
    found = {
        item.precision: item
        for item in choices(
            CATALOG.model("deepseek-v3.1"),
            CATALOG.accelerator("h200"),
            AccuracyClass.ECONOMY,
            own_weights=True,
            own_precision=precision,
        )
    }
    assert [key for key, item in found.items() if isinstance(item, PrecisionChoice)] == [precision]
    native = found[Precision.FP8]
    assert isinstance(native, PrecisionRefusal)
    assert f"given weights are {precision}" in native.message


def test_own_weights_that_the_accuracy_class_forbids_are_refused_by_it() -> None:
    model, h200 = CATALOG.model("deepseek-v3.1"), CATALOG.accelerator("h200")
    own = {"own_weights": True, "own_precision": Precision.INT4}
    found = {item.precision: item for item in choices(model, h200, AccuracyClass.CRITICAL, **own)}
    refusal = found[Precision.INT4]
    assert isinstance(refusal, PrecisionRefusal)
    assert refusal.reason is RejectionReason.PRECISION_NOT_ALLOWED
    assert refusal.message == "the accuracy class allows fp8 only; the given weights are int4"


def test_own_weights_in_16_bits_run_where_bf16_does_not() -> None:
    found = weigh(DISTILL, "t4", own_weights=True)
    assert isinstance(found[Precision.FP16], PrecisionChoice)


@pytest.mark.parametrize("model", CATALOG.models, ids=lambda model: model.name)
def test_every_missing_checkpoint_says_how_to_come_by_one(model: ModelSpec) -> None:
    for item in choices(model, CATALOG.accelerator("h200"), AccuracyClass.ECONOMY):
        if isinstance(item, PrecisionRefusal) and item.reason is RejectionReason.NO_CHECKPOINT:
            assert "; make one with " in item.message or "; cast its weights with " in item.message
            assert item.message.endswith(f"name it in model.source with precision: {item.precision}")
            assert len(item.message) <= 256, item.message


def test_a_checkpoint_that_is_not_relied_on_is_named_with_the_reason() -> None:
    refusal = weigh("deepseek-v3.2", "h200")[Precision.INT4]
    assert isinstance(refusal, PrecisionRefusal)
    assert refusal.message.startswith("QuantTrio/DeepSeek-V3.2-AWQ was tried on Hopper only")


def test_a_precision_without_a_checkpoint_is_refused_as_such() -> None:
    refusal = weigh("deepseek-v3", "h200")[Precision.INT8]

    assert isinstance(refusal, PrecisionRefusal)
    assert refusal.reason is RejectionReason.NO_CHECKPOINT
