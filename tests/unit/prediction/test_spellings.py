"""What others call models, accelerators, formats and engines is read as what it says, and nothing else is."""

from __future__ import annotations

import pytest

from deepseek_planner.prediction import spellings
from deepseek_planner.prediction.known import canonical, is_confirmed, known_architecture
from deepseek_planner.prediction.runs import parse
from deepseek_planner.prediction.systems import system

ROW = {"system": "h200_sxm", "isl": "1024", "osl": "1024", "concurrency": "32", "tp": "8", "gpus": "8"}


@pytest.mark.parametrize(
    ("model", "name", "stored"),
    [
        ("Qwen/Qwen3-235B-A22B-Instruct-2507-FP8", "Qwen/Qwen3-235B-A22B", "fp8"),
        ("nvidia/Qwen3-235B-A22B-FP4", "Qwen/Qwen3-235B-A22B", "fp4"),
        ("meta-llama/Meta-Llama-3.1-70B-Instruct", "meta-llama/Llama-3.1-70B", ""),
        ("nvidia/DeepSeek-R1-0528-NVFP4-v2", "deepseek-ai/DeepSeek-V3", "fp4"),
        ("deepseek-ai/DeepSeek-V3.1-Terminus", "deepseek-ai/DeepSeek-V3", ""),
        ("DEEPSEEK_V3", "deepseek-ai/DeepSeek-V3", ""),
        ("nvidia/Kimi-K2-Thinking-NVFP4", "moonshotai/Kimi-K2.5", "fp4"),
        ("kimik2.5", "moonshotai/Kimi-K2.5", ""),
        ("openai/gpt-oss-120b-mxfp4", "openai/gpt-oss-120b", "fp4"),
        ("gpt_oss_120b", "openai/gpt-oss-120b", ""),
        ("GLM-4.5-Air (106B MoE)", "zai-org/GLM-4.5-Air", ""),
        ("Qwen/Qwen3-32B-AWQ", "Qwen/Qwen3-32B", "int4"),
    ],
)
def test_a_model_is_its_layers_however_it_is_called(model: str, name: str, stored: str) -> None:
    assert canonical(model) == name
    assert spellings.checkpoint_format(model) == stored


@pytest.mark.parametrize(
    ("model", "confirmed"),
    [
        ("Qwen/Qwen3-235B-A22B-Instruct-2507", False),
        ("Qwen/Qwen3-235B-A22B-Instruct-2507-FP8", False),
        ("Qwen/Qwen3-235B-A22B-FP8", True),
        ("MiniMaxAI/MiniMax-M2.1", False),
        ("nvidia/MiniMax-M2.5-NVFP4", True),
    ],
)
def test_what_is_not_confirmed_of_a_model_is_not_of_its_other_formats(model: str, confirmed: bool) -> None:
    assert is_confirmed(model) == confirmed


@pytest.mark.parametrize("model", ["Kimi-K2", "Qwen3-33B", "Llama-3.1", "DeepSeek-V9", "gpt-oss-7b", ""])
def test_a_model_of_other_layers_is_none_of_the_known_ones(model: str) -> None:
    with pytest.raises(ValueError, match="is not known"):
        canonical(model)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("NVIDIA H100 80GB HBM3", "h100_sxm"),
        ("H200-SXM-141GB", "h200_sxm"),
        ("A100-80GB PCIe", "a100_pcie"),
        ("A100-SXM4-40GB", "a100_sxm_40gb"),
        ("V100-SXM2-32GB", "v100_32gb"),
        ("gb200_nvl72", "gb200"),
        ("L4-24GB", "l4"),
        ("T4-16GB", "t4"),
        ("Tesla T4", "t4"),
    ],
)
def test_an_accelerator_is_known_by_what_tells_it_from_others(text: str, name: str) -> None:
    assert system(text).name == name


@pytest.mark.parametrize("text", ["H100 NVL", "gb300", "H20"])
def test_an_accelerator_of_another_kind_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not known"):
        system(text)


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("fp8_block", "fp8"),
        ("FP8", "fp8"),
        ("w4afp8", "int4"),
        ("fp8_w8a8", "fp8"),
        ("awq-int4", "int4"),
        ("int4 w4a16 (AWQ)", "int4"),
        ("fp4 (nvfp4)", "fp4"),
        ("w4a8_mxfp4_mxfp8", "fp4"),
        ("bf16 + fp8 KV", "bf16"),
        ("None", ""),
        ("weird", "weird"),
    ],
)
def test_a_format_is_what_its_name_says(text: str, stored: str) -> None:
    assert spellings.number_format(text) == stored


def test_scales_per_block_are_said_and_not_another_format() -> None:
    dense = known_architecture("Qwen/Qwen3-32B")
    said, plain = (
        parse(ROW | {"precision": text, "backend": "sglang"}, dense, "Qwen/Qwen3-32B") for text in ("fp8_block", "fp8")
    )

    assert said.precision == plain.precision == "fp8"
    assert (said.harness.is_block, plain.harness.is_block) == (True, False)
    assert said.harness._replace(is_block=False) == plain.harness


@pytest.mark.parametrize(
    ("model", "precision"),
    [
        ("openai/gpt-oss-120b", "fp4"),
        ("moonshotai/Kimi-K2.5", "int4"),
        ("deepseek-ai/DeepSeek-V3", "fp8"),
        ("nvidia/DeepSeek-V3.1-NVFP4", "fp4"),
        ("meta-llama/Llama-3.1-8B", "bf16"),
    ],
)
def test_a_row_without_a_format_is_of_the_checkpoints_own(model: str, precision: str) -> None:
    found = parse(ROW | {"model": model}, known_architecture(model), canonical(model))

    assert found.precision == precision


@pytest.mark.parametrize(
    ("text", "engine"),
    [
        ("TRT-LLM", "trtllm"),
        ("vllm (0.11)", "vllm"),
        ("tensorrt-llm (pytorch)", "trtllm"),
        ("dynamo-trt", "trtllm"),
        ("sgl", "sglang"),
        ("nan", "vllm"),
        ("vLLM", "vllm"),
    ],
)
def test_an_engine_is_known_by_its_short_names(text: str, engine: str) -> None:
    assert spellings.engine(text) == engine


def test_an_engine_that_nobody_measured_is_refused_and_not_taken_for_another() -> None:
    with pytest.raises(ValueError, match=r"backend 'tgi' is not known; known are sglang, trtllm, vllm"):
        parse(ROW | {"backend": "tgi"}, known_architecture("Qwen/Qwen3-8B"), "Qwen/Qwen3-8B")


@pytest.mark.parametrize(
    ("cells", "tensor", "data", "gpus"),
    [
        ({"tp": "8", "attn_dp": "8", "gpus": "8"}, 1, 8, 8),
        ({"tp": "8", "attn_dp": "4", "gpus": "8"}, 2, 4, 8),
        ({"tp": "4", "attn_dp": "8", "gpus": "8"}, 1, 8, 8),
        ({"tp": "1", "attn_dp": "8", "gpus": "8"}, 1, 8, 8),
        ({"tp": "2", "attn_dp": "4", "gpus": "8"}, 2, 4, 8),
        ({"tp": "", "attn_dp": "", "gpus": "8"}, 8, 1, 8),
        ({"tp": "0", "attn_dp": "2", "gpus": "8"}, 4, 2, 8),
        ({"tp": "None", "attn_dp": "null", "gpus": ""}, 1, 1, 1),
    ],
)
def test_ranks_are_those_that_the_accelerators_have_room_for(
    cells: dict[str, str], tensor: int, data: int, gpus: int
) -> None:
    found = parse(ROW | cells, known_architecture("deepseek-ai/DeepSeek-V3"), "deepseek-ai/DeepSeek-V3")

    assert (found.sharding.tensor, found.sharding.data, found.gpus) == (tensor, data, gpus)
