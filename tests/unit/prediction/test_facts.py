"""The catalogue's facts and the prediction's agree, and arrays of steps take what each step takes alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepseek_planner import memory
from deepseek_planner.hardware import InterNode, IntraNode
from deepseek_planner.models import Precision
from deepseek_planner.plan import Confidence
from deepseek_planner.prediction.architecture import Architecture, Layers
from deepseek_planner.prediction.compiled import Compiled, Setting, compiled, stacked
from deepseek_planner.prediction.corrections import keys, shipped
from deepseek_planner.prediction.curves import curve_set
from deepseek_planner.prediction.factors import factors
from deepseek_planner.prediction.facts import architecture_of, formats_of, published_name, sharding_of, system_of
from deepseek_planner.prediction.formats import formats
from deepseek_planner.prediction.known import known_architecture, known_models
from deepseek_planner.prediction.operations import Batch, Part, Sharding, StepModel, link_curve
from deepseek_planner.prediction.runs import parse
from deepseek_planner.prediction.stack import Rows, Stack
from deepseek_planner.prediction.systems import system
from deepseek_planner.prediction.terms import PACE, PART_NAMES, weight_bytes
from deepseek_planner.snapshot import Shape
from support.planning import CATALOG

PUBLISHED = [model for model in CATALOG.models if model.name != "deepseek-tiny"]
CHIPS = [chip.name for chip in CATALOG.accelerators]


def setting(
    accelerator: str = "h200", precision: str = "fp8", wires: IntraNode | None = None, **degrees: int
) -> Setting:
    chip = CATALOG.accelerator(accelerator)
    tensor, pipeline, data = (degrees.get(name, 1) for name in ("tensor", "pipeline", "data"))
    nodes = degrees.get("nodes", 1)
    shape = Shape(chip.name, Precision(precision), tensor, pipeline, data, tensor * data if data > 1 else 1, nodes)
    return Setting(chip, shape, wires or chip.intra_node, InterNode.INFINIBAND, shape.accelerators // nodes)


@pytest.mark.parametrize("model", PUBLISHED, ids=lambda model: model.name)
def test_the_catalogue_describes_the_same_layers_as_the_published_configuration(model):
    known, ours = known_architecture(published_name(model)), architecture_of(model)

    def layers(found: Architecture) -> list[Layers]:
        return sorted(found.groups, key=repr)

    assert layers(ours) == layers(known)
    assert (ours.hidden, ours.vocabulary) == (known.hidden, known.vocabulary)


@pytest.mark.parametrize("name", CHIPS)
def test_every_accelerator_of_the_catalogue_has_a_system_with_the_same_rates(name):
    chip, facts = CATALOG.accelerator(name), system(name)
    if chip.compute_capability is None:
        assert facts.overheads, "a CPU's rates are measured ones"
        return
    assert facts.bandwidth_bytes_per_s == pytest.approx(chip.bandwidth_bytes_per_s, rel=0.01)
    for precision, rate in chip.flops_per_s.items():
        stored = "bf16" if precision is Precision.FP16 else str(precision)
        assert facts.flops_per_s[stored] == pytest.approx(rate, rel=0.01)


def test_weights_are_stored_as_the_catalogue_counts_them():
    v4, v3 = CATALOG.model("deepseek-v4-flash"), CATALOG.model("deepseek-v3")
    found = formats_of(v4, architecture_of(v4), Precision.FP4, "auto")
    assert (found.attention, found.experts) == ("fp8", "fp4")
    assert formats_of(v3, architecture_of(v3), Precision.INT4, "auto").attention == "int4"
    assert formats_of(v3, architecture_of(v3), Precision.FP4, "auto").attention == "bf16"
    assert formats_of(v3, architecture_of(v3), Precision.FP8, "auto").kv_bytes == 2.0
    assert formats_of(v3, architecture_of(v3), Precision.FP8, "fp8").kv_bytes == 1.0


def test_messages_beyond_a_node_take_the_wires_between_nodes():
    chip = CATALOG.accelerator("h100")
    curves = curve_set("h100_sxm", "vllm")
    seconds = {
        (between, ranks): link_curve(curves, system_of(chip, IntraNode.NVLINK, between, 8), ranks).seconds(1e6)
        for between in InterNode
        for ranks in (8, 16)
    }
    assert len({seconds[between, 8] for between in InterNode}) == 1
    assert seconds[InterNode.INFINIBAND, 8] < seconds[InterNode.INFINIBAND, 16]
    assert seconds[InterNode.INFINIBAND, 16] < seconds[InterNode.EFA, 16] < seconds[InterNode.ETHERNET, 16]


def test_wires_of_another_kind_are_not_taken_for_the_measured_ones():
    chip = CATALOG.accelerator("a100-80gb")
    curves = curve_set("a100_sxm", "vllm")
    found = [
        link_curve(curves, system_of(chip, wires, InterNode.ETHERNET, 8), 4).seconds(1e6)
        for wires in (IntraNode.NVLINK, IntraNode.PCIE_P2P, IntraNode.PCIE)
    ]
    assert found == sorted(found)
    assert found[0] < found[1] / 2


BATCHES = st.tuples(
    st.floats(0, 600),
    st.floats(1, 100_000),
    st.floats(0, 8),
    st.floats(1, 8192),
    st.floats(0, 60_000),
    st.floats(0.1, 1),
)


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(known_models()),
    batches=st.lists(BATCHES, min_size=1, max_size=4),
    where=st.lists(
        st.sampled_from(["h100_sxm", "b200_sxm", "a100_pcie", "l40s", "t4", "v100"]), min_size=1, max_size=3
    ),
    precision=st.sampled_from(["bf16", "fp8", "int4", "fp4", "int8"]),
)
def test_many_models_in_arrays_take_what_each_takes_alone(name, batches, where, precision):
    architecture = known_architecture(name)
    cuts = (Sharding(), Sharding(8, 1, 8, 1), Sharding(2, 4, 1, 8), Sharding(4, 1, 4, 1, pipeline=2))
    models = [
        StepModel(
            architecture, cut, formats(architecture, precision), system(one), curve_set(system(one).curves, "vllm")
        )
        for one in where
        for cut in cuts
    ]
    fields = [np.array([[batch[field]] * len(models) for batch in batches]) for field in range(6)]
    found = Stack([Rows(model) for model in models]).step(Batch(*fields))
    for column, model in enumerate(models):
        for row, batch in enumerate(batches):
            alone = model.step(Batch(*batch))
            for part in Part:
                assert found[part][row, column] == pytest.approx(alone[part], rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("kind", ["decode", "mixed"])
@pytest.mark.parametrize("name", ["deepseek-ai/DeepSeek-V3", "meta-llama/Llama-3.1-70B", "moonshotai/Kimi-K2.5"])
def test_factors_are_the_corrections_of_the_terms(name, kind):
    architecture, corrections = known_architecture(name), shipped()["vllm"]
    row = {"model": name, "system": "b200_sxm", "isl": "1024", "osl": "1024", "concurrency": "8", "tp": "8"}
    run = parse(row | {"precision": "fp4", "gpus": "8", "length_spread": "0.2"}, architecture, name)
    groups = keys(run)
    found = factors(run, corrections, system("b200_sxm"), 61.0)

    def one(*names: str) -> float:
        return corrections.seconds([(names, 1.0)], groups)

    by_part = found.decode if kind == "decode" else found.mixed
    assert by_part == pytest.approx([one(PACE, f"{part}.{kind}") for part in PART_NAMES], rel=1e-12)
    beside = found.decode_s if kind == "decode" else found.mixed_s
    assert beside == pytest.approx(61.0 * one(PACE, f"layer.{kind}") + one(PACE, f"step.{kind}"), rel=1e-12)
    assert found.sequence_s == pytest.approx(one(PACE, "sequence"), rel=1e-12)
    assert (found.wait, found.own) == pytest.approx((one("wait"), one("own")), rel=1e-12)
    assert found.first_token_s == pytest.approx(one("first_token"), rel=1e-12)


@pytest.mark.parametrize(
    ("model", "where", "expected"),
    [
        ("deepseek-r1-distill-llama-70b", {"accelerator": "h100", "tensor": 4}, Confidence.CALIBRATED),
        (
            "deepseek-r1-distill-llama-70b",
            {"accelerator": "h200", "tensor": 4},
            Confidence.SAME_MODEL_OTHER_ACCELERATOR,
        ),
        ("deepseek-r1-distill-llama-70b", {"accelerator": "h100", "pipeline": 2}, Confidence.ROOFLINE_ONLY),
        ("deepseek-r1", {"tensor": 8, "data": 2, "nodes": 2}, Confidence.ROOFLINE_ONLY),
        ("deepseek-r1-distill-qwen-7b", {"accelerator": "t4", "precision": "fp16"}, Confidence.UNVERIFIED),
        ("deepseek-tiny", {"accelerator": "cpu", "precision": "bf16"}, Confidence.CALIBRATED),
        ("deepseek-r1-distill-qwen-7b", {"accelerator": "cpu", "precision": "bf16"}, Confidence.UNVERIFIED),
    ],
)
def test_confidence_follows_from_what_was_measured(model, where, expected):
    assert compiled(CATALOG.model(model), setting(**where)).confidence is expected


def tiny(batch: Batch) -> float:
    one = compiled(CATALOG.model("deepseek-tiny"), setting("cpu", "bf16"))
    seconds = one.factors.decode_s + sum(one.steps.step(batch))
    return 1000 * float(seconds)


def test_the_tiny_model_on_a_cpu_takes_what_was_measured():
    decodes = [tiny(Batch(running, 100)) for running in (1, 4, 8, 16)]
    prompts = [tiny(Batch(0, 0, 1, tokens, 0)) + 20 for tokens in (256, 512, 896)]

    assert decodes == pytest.approx([25.0, 27.4, 30.5, 31.9], rel=0.18)
    assert prompts == pytest.approx([90, 140, 370], rel=0.27)


def test_a_compiled_shape_is_kept_and_so_is_its_stack():
    model = CATALOG.model("deepseek-r1")
    first, again = (compiled(model, setting(tensor=8)) for _ in range(2))
    assert isinstance(first, Compiled)
    assert first is again
    assert stacked([first]) is stacked([again])
    assert sharding_of(setting(tensor=8).shape) == Sharding(8, 1, 8, 1)


@pytest.mark.parametrize("model", CATALOG.models, ids=lambda model: model.name)
def test_memory_is_counted_alike_by_the_search_and_by_single_predictions(model):
    """Weights within 2.5 % (scales of 4-bit formats differ between checkpoints, V4's by 6 %), the cache within 2 %."""
    architecture = architecture_of(model)
    for precision in model.checkpoints:
        stored = formats_of(model, architecture, precision, "auto")
        for tensor, data in ((1, 1), (4, 1), (8, 1), (1, 8), (2, 4)):
            if data > 1 and model.experts is None:
                continue
            shape = Shape("h200", precision, tensor, 1, data, tensor * data if data > 1 else 1, 1)
            weights = weight_bytes(architecture, sharding_of(shape), stored)
            tolerance = 0.065 if model.family == "deepseek-v4" else 0.025
            assert weights == pytest.approx(memory.shard(model, shape).total, rel=tolerance)
            cache = architecture.kv_bytes_per_token(tensor, stored.kv_bytes)
            assert cache == pytest.approx(memory.kv_bytes_per_token(model, shape), rel=0.02)
