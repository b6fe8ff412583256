"""vLLM's own parser reads what the runtime writes, for settings that no CPU can run too."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from deepseek_runtime import engine_args
from support.launch_specs import launch_spec

from .conftest import environment

pytestmark = [pytest.mark.vllm]

PARSE = """
import dataclasses, json, sys
from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.utils.argparse_utils import FlexibleArgumentParser
said = make_arg_parser(FlexibleArgumentParser()).parse_args(json.loads(sys.argv[1]))
names = json.loads(sys.argv[2])
print(json.dumps({name: getattr(said, name) for name in names}))
"""


def test_the_engine_understands_every_parameter_of_the_plan(runtime_python: str) -> None:
    spec = launch_spec(
        accelerator="h200",
        precision="fp8",
        native_precision="fp8",
        engine={"kv_cache_dtype": "fp8_ds_mla", "speculative_tokens": 1, "prefix_caching": False, "max_num_seqs": 7},
        sharding={"tensor_parallel": 1, "data_parallel": 8, "expert_parallel": 8},
    )
    expected = {
        "max_model_len": 2048,
        "max_num_seqs": 7,
        "max_num_batched_tokens": 2048,
        "kv_cache_memory_bytes": 1 << 27,
        "kv_cache_dtype": "fp8_ds_mla",
        "enable_prefix_caching": False,
        "speculative_config": {"method": "mtp", "num_speculative_tokens": 1},
        "tensor_parallel_size": 1,
        "data_parallel_size": 8,
        "enable_expert_parallel": True,
        "dtype": "bfloat16",
        "served_model_name": ["deepseek-tiny"],
    }
    said = list(engine_args.command(spec, checkpoint=Path("/checkpoint"), checkpoint_format="fp8").arguments[2:])
    run = subprocess.run(
        [runtime_python, "-c", PARSE, json.dumps(said), json.dumps(sorted(expected))],
        env=environment(VLLM_TARGET_DEVICE="cpu"), capture_output=True, text=True, check=False, timeout=110,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout.splitlines()[-1]) == expected
