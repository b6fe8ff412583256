from __future__ import annotations

from dataclasses import replace

import pytest

from deepseek_planner.hardware import InterNode, IntraNode
from deepseek_planner.models import Precision
from deepseek_planner.plan import RejectionReason
from deepseek_planner.shapes import ShapeRefusal, shapes
from deepseek_planner.snapshot import Shape
from support.planning import CATALOG


def candidates(
    model: str,
    precision: Precision,
    *,
    gpus: int = 8,
    wire: IntraNode = IntraNode.NVLINK,
    between: InterNode = InterNode.INFINIBAND,
    multi_node: bool = True,
) -> tuple[set[str], list[ShapeRefusal]]:
    legal, refused = shapes(
        CATALOG.model(model),
        "h100",
        precision,
        gpus_per_node=gpus,
        intra_node=wire,
        inter_node=between,
        multi_node=multi_node,
    )
    return {shape.name.removeprefix(f"h100-{precision}-") for shape in legal}, list(refused)


def test_v3_in_one_node_shards_tensors_or_attention_and_experts() -> None:
    legal, _ = candidates("deepseek-v3", Precision.FP8, multi_node=False)

    assert {"tp8", "tp4", "tp1-dp8-ep8", "tp4-dp2-ep8"} <= legal
    assert not any("pp" in name for name in legal)


def test_v3_over_two_nodes_needs_fast_wires_for_tensors_and_experts_but_not_for_pipelines() -> None:
    over_efa, _ = candidates("deepseek-v3", Precision.FP8, between=InterNode.EFA)
    over_ethernet, refused = candidates("deepseek-v3", Precision.FP8, between=InterNode.ETHERNET)

    assert {"tp16", "tp8-pp2", "tp8-dp2-ep16"} <= over_efa
    assert "tp8-pp2" in over_ethernet
    assert not {"tp16", "tp8-dp2-ep16"} & over_ethernet
    reasons = {item.shape.tensor_parallel: item.message for item in refused if item.shape.accelerators == 16}
    assert "InfiniBand or EFA" in reasons[16]


def test_several_nodes_are_refused_once_where_nothing_can_make_them() -> None:
    _, refused = candidates("deepseek-v3", Precision.FP8, multi_node=False)

    several = [item for item in refused if item.reason is RejectionReason.MULTI_NODE_UNAVAILABLE]
    assert len(several) == 1
    assert "LeaderWorkerSet" in several[0].message


def test_pipelines_inside_a_node_are_looked_at_where_wires_are_slow() -> None:
    legal, _ = candidates("deepseek-r1-distill-qwen-7b", Precision.BF16, wire=IntraNode.PCIE)

    assert {"tp1-pp2", "tp1-pp4", "tp2-pp2"} <= legal


def test_qwen_7b_has_28_heads_and_does_not_split_over_eight() -> None:
    legal, refused = candidates("deepseek-r1-distill-qwen-7b", Precision.BF16)

    assert legal >= {"tp1", "tp2", "tp4"}
    assert "tp8" not in legal
    assert any("28 attention heads do not divide by 8" in item.message for item in refused)


def test_int4_groups_forbid_shards_of_odd_width() -> None:
    legal, refused = candidates("deepseek-r1-distill-qwen-14b", Precision.INT4)

    assert "tp4" in legal
    assert "tp8" not in legal
    assert any("13824" not in item.message and "1728 wide, not a multiple of 128" in item.message for item in refused)


def test_experts_that_cannot_be_split_are_dealt_out_whole() -> None:
    model = CATALOG.model("deepseek-v3")
    assert model.experts is not None
    narrow = replace(model, experts=replace(model.experts, intermediate=1408))
    legal, _ = shapes(
        narrow,
        "h100",
        Precision.FP8,
        gpus_per_node=8,
        intra_node=IntraNode.NVLINK,
        inter_node=InterNode.ETHERNET,
        multi_node=False,
    )

    names = {shape.name for shape in legal}
    assert "h100-fp8-tp8-ep8" in names
    assert "h100-fp8-tp8" not in names


def test_dense_models_have_neither_experts_nor_data_parallel_ranks() -> None:
    legal, _ = candidates("deepseek-r1-distill-llama-70b", Precision.BF16)

    assert not any("dp" in name or "ep" in name for name in legal)


def test_cpu_has_one_shape() -> None:
    legal, refused = shapes(
        CATALOG.model("deepseek-tiny"),
        "cpu",
        Precision.BF16,
        gpus_per_node=8,
        intra_node=IntraNode.PCIE,
        inter_node=InterNode.ETHERNET,
        multi_node=True,
    )

    assert [shape.name for shape in legal] == ["cpu-bf16-tp1"]
    assert refused == ()


@pytest.mark.parametrize("gpus", [1, 2, 4, 8])
@pytest.mark.parametrize("model", ["deepseek-v3", "deepseek-r1-distill-qwen-32b", "deepseek-v4-pro"])
def test_legal_shapes_use_whole_nodes_and_are_listed_once(model: str, gpus: int) -> None:
    precision = CATALOG.model(model).native_precision
    legal, _ = shapes(
        CATALOG.model(model),
        "h200",
        precision,
        gpus_per_node=gpus,
        intra_node=IntraNode.NVLINK,
        inter_node=InterNode.INFINIBAND,
        multi_node=True,
    )

    assert len(set(legal)) == len(legal) > 0
    for shape in legal:
        assert shape.accelerators <= gpus * shape.nodes_per_replica
        assert shape.nodes_per_replica == 1 or shape.accelerators == gpus * shape.nodes_per_replica
        assert shape.data_parallel == 1 or shape.expert_parallel == shape.tensor_parallel * shape.data_parallel


def test_shape_names_read_as_they_are_shown() -> None:
    assert Shape("h100", Precision.FP8, 8, 2, 1, 1, 2).name == "h100-fp8-tp8-pp2"
