from __future__ import annotations

import json
from pathlib import Path

import pytest

from deepseek_runtime import engine_args, precision, sharding
from deepseek_runtime.failure import Failure, Reason
from deepseek_runtime.launchspec import LaunchSpec, refused_arguments, refused_environment
from support.launch_specs import launch_spec


def flags(spec: LaunchSpec, checkpoint_format: str = "", env: dict[str, str] | None = None) -> list[str]:
    command = engine_args.command(spec, checkpoint=Path("/ckpt"), checkpoint_format=checkpoint_format, env=env)
    return list(command.arguments)


def value(arguments: list[str], flag: str) -> str:
    return arguments[arguments.index(flag) + 1]


def test_everything_the_plan_says_reaches_the_engine() -> None:
    said = flags(launch_spec(port=9000, engine={"kv_cache_bytes": 123, "max_num_seqs": 7}))
    assert value(said, "--model") == "/ckpt"
    assert value(said, "--port") == "9000"
    assert value(said, "--kv-cache-memory-bytes") == "123"
    assert value(said, "--max-num-seqs") == "7"
    assert value(said, "--middleware") == "deepseek_runtime.middleware.FrontDoor"
    assert "--enable-prefix-caching" in said


def test_a_cpu_engine_never_uses_the_wrong_rotary_embedding_nor_a_compiler() -> None:
    command = engine_args.command(launch_spec(), checkpoint=Path("/ckpt"))
    config = json.loads(value(list(command.arguments), "--compilation-config"))
    assert config == {"custom_ops": ["-rotary_embedding"]}
    assert command.env["TORCHDYNAMO_DISABLE"] == "1"
    assert command.env["VLLM_CPU_OMP_THREADS_BIND"] == "nobind"


def test_a_gpu_engine_gets_none_of_the_cpu_workarounds() -> None:
    command = engine_args.command(launch_spec(accelerator="h100"), checkpoint=Path("/ckpt"))
    assert "--enforce-eager" not in command.arguments
    assert "TORCHDYNAMO_DISABLE" not in command.env


def test_the_environment_of_the_resource_comes_last_and_owns_nothing_of_ours() -> None:
    assert engine_args.command(
        launch_spec(engine={"env": {"HF_HUB_OFFLINE": "0"}}), checkpoint=Path("/c")
    ).env["HF_HUB_OFFLINE"] == "0"  # fmt: skip
    with pytest.raises(Failure, match=r"VLLM_CPU_KVCACHE_SPACE.*leave it out") as caught:
        flags(launch_spec(engine={"env": {"VLLM_CPU_KVCACHE_SPACE": "4"}}))
    assert caught.value.reason is Reason.INVALID_LAUNCH_SPEC


@pytest.mark.parametrize(
    "argument",
    [
        "--trust-remote-code",
        "--trust_remote_code",
        "--trust-remote",  # the parser completes beginnings
        "--no-trust-remote-code",
        "--max-model-len=4",
        "--max_num_seqs",
        "--compilation-config.mode=3",
        "-cc.mode=3",
        "-tp2",
        "-tp=2",
        "-O3",
        "--config",
        "--middleware",
        "--no-enable-prefix-caching",
        "--api-server-count",
        "--kv-cache-dtype=fp8",
        "--no-enable-chunked-prefill",
        "--speculative-config.method=ngram",
        "-sc",
        "--spec-tokens=3",
    ],
)
def test_flags_of_the_plan_are_refused_in_every_spelling(argument: str) -> None:
    problems = refused_arguments(["--seed", "1", argument])
    assert len(problems) == 1
    assert problems[0].startswith(f"engine.extraArgs[2]: {argument!r}")
    assert "leave it out" in problems[0]


@pytest.mark.parametrize("argument", ["--seed", "--max-num-queued-reqs", "--model-impl", "--generation-config", "7"])
def test_other_flags_pass(argument: str) -> None:
    assert refused_arguments([argument]) == []


def test_every_problem_is_named_at_once() -> None:
    assert len(refused_arguments(["--trust-remote-code", "-tp", "2"])) == 2
    assert len(refused_environment({"DEEPSEEK_HOST": "x", "PYTHONPATH": "y", "NCCL_DEBUG": "INFO"})) == 2


@pytest.mark.parametrize(
    ("accelerator", "planned", "found", "expected"),
    [
        ("h100", "bf16", "", ["--dtype", "bfloat16"]),
        ("t4", "fp16", "", ["--dtype", "float16"]),
        ("cpu", "fp16", "", ["--dtype", "float16", "--attention-backend", "CPU_MLA"]),
        ("h100", "fp8", "fp8", ["--dtype", "bfloat16"]),
        ("h100", "fp8", "", ["--dtype", "bfloat16", "--quantization", "fp8_per_block"]),
        ("cpu", "int8", "compressed-tensors", ["--dtype", "bfloat16"]),
        ("a100-80gb", "int4", "awq", ["--dtype", "bfloat16"]),
    ],
)
def test_precision_becomes_flags(accelerator: str, planned: str, found: str, expected: list[str]) -> None:
    assert precision.arguments(launch_spec(accelerator=accelerator, precision=planned), found) == expected


@pytest.mark.parametrize(
    ("accelerator", "planned", "found"),
    [("h100", "bf16", "fp8"), ("cpu", "int8", ""), ("h100", "int4", ""), ("h100", "int8", "awq")],
)
def test_a_precision_that_the_checkpoint_cannot_give_is_refused(accelerator: str, planned: str, found: str) -> None:
    with pytest.raises(Failure, match=f"precision: '{planned}' on {accelerator}: .*name") as caught:
        precision.arguments(launch_spec(accelerator=accelerator, precision=planned), found)
    assert caught.value.reason is Reason.PRECISION_UNSUPPORTED


def test_a_cache_format_reaches_the_engine_only_where_it_is_another_than_the_usual() -> None:
    assert "--kv-cache-dtype" not in flags(launch_spec(accelerator="h200"))
    sparse = flags(launch_spec(accelerator="h200", engine={"kv_cache_dtype": "fp8_ds_mla", "prefix_caching": False}))
    assert value(sparse, "--kv-cache-dtype") == "fp8_ds_mla"
    assert "--no-enable-prefix-caching" in sparse


@pytest.mark.parametrize(("accelerator", "dtype"), [("h200", "fp3"), ("cpu", "fp8")])
def test_a_cache_format_that_cannot_work_is_refused(accelerator: str, dtype: str) -> None:
    spec = launch_spec(accelerator=accelerator, engine={"kv_cache_dtype": dtype})
    with pytest.raises(Failure, match=f"engine.kv_cache_dtype: '{dtype}' on {accelerator}: .*; ") as caught:
        flags(spec)
    assert caught.value.reason is Reason.INVALID_LAUNCH_SPEC


def test_drafting_uses_the_checkpoints_own_layers() -> None:
    assert "--speculative-config" not in flags(launch_spec())
    said = flags(launch_spec(accelerator="h200", engine={"speculative_tokens": 1}))
    assert json.loads(value(said, "--speculative-config")) == {"method": "mtp", "num_speculative_tokens": 1}


@pytest.mark.parametrize("tokens", [-1, 9])
def test_drafts_beyond_reason_are_refused(tokens: int) -> None:
    with pytest.raises(Failure, match=f"engine.speculative_tokens: {tokens}: must be 0 to 8") as caught:
        flags(launch_spec(accelerator="h200", engine={"speculative_tokens": tokens}))
    assert caught.value.reason is Reason.INVALID_LAUNCH_SPEC


def test_degrees_of_parallelism() -> None:
    spec = launch_spec(
        sharding={"tensor_parallel": 8, "pipeline_parallel": 2, "data_parallel": 4, "expert_parallel": 32}
    )
    said = sharding.arguments(spec, {})
    assert value(said, "--tensor-parallel-size") == "8"
    assert value(said, "--pipeline-parallel-size") == "2"
    assert value(said, "--data-parallel-size") == "4"
    assert "--enable-expert-parallel" in said
    assert "--nnodes" not in said


def test_nodes_learn_their_place_from_the_leader_worker_set() -> None:
    spec = launch_spec(sharding={"tensor_parallel": 16, "nodes": 2})
    env = {"LWS_LEADER_ADDRESS": "chat-0.chat", "LWS_GROUP_SIZE": "2", "LWS_WORKER_INDEX": "0"}
    leader = sharding.arguments(spec, env)
    follower = sharding.arguments(spec, env | {"LWS_WORKER_INDEX": "1"})
    assert value(leader, "--master-addr") == "chat-0.chat"
    assert "--headless" not in leader
    assert value(follower, "--node-rank") == "1"
    assert "--headless" in follower


@pytest.mark.parametrize(
    "env",
    [
        {},
        {"LWS_LEADER_ADDRESS": "a", "LWS_GROUP_SIZE": "3", "LWS_WORKER_INDEX": "0"},
        {"LWS_LEADER_ADDRESS": "a", "LWS_GROUP_SIZE": "2", "LWS_WORKER_INDEX": "2"},
    ],
)
def test_a_node_that_cannot_know_its_place_is_refused(env: dict[str, str]) -> None:
    with pytest.raises(Failure, match="LeaderWorkerSet"):
        sharding.arguments(launch_spec(sharding={"tensor_parallel": 16, "nodes": 2}), env)
