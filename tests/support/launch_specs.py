"""LaunchSpecs and checkpoints for tests of the runtime."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from deepseek_runtime.launchspec import Engine, LaunchSpec, Sharding, Weights

CONFIG = {"hidden_size": 128, "num_hidden_layers": 4, "vocab_size": 512}


def launch_spec(**changes: Any) -> LaunchSpec:
    engine = Engine(**{"max_model_len": 2048, "max_num_seqs": 16, "max_num_batched_tokens": 2048,
                       "kv_cache_bytes": 1 << 27, **changes.pop("engine", {})})  # fmt: skip
    values: dict[str, Any] = {
        "namespace": "team-a",
        "name": "chat",
        "model": "deepseek-tiny",
        "served_model_name": "deepseek-tiny",
        "architecture": dict(CONFIG),
        "weights": Weights(path="/weights"),
        "accelerator": "cpu",
        "precision": "bf16",
        "native_precision": "bf16",
        "sharding": Sharding(**changes.pop("sharding", {})),
        "pool": "cpu",
        "capacity_type": "OnDemand",
        "drain_delay_s": 0,
        "drain_timeout_s": 5,
    }
    return LaunchSpec(engine=engine, **{**values, **changes})


def write_checkpoint(directory: Path, config: dict[str, Any] | None = None, *, shards: int = 1) -> Path:
    """A checkpoint that is whole as far as headers say, with four bytes of weights per shard."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(CONFIG if config is None else config))
    (directory / "tokenizer.json").write_text("{}")
    names = [f"model-{index}.safetensors" for index in range(shards)]
    for name in names:
        write_safetensors(directory / name)
    if shards > 1:
        index = {"weight_map": {f"w{number}": name for number, name in enumerate(names)}}
        (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    return directory


def write_safetensors(path: Path) -> None:
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))


def write_reference(directory: Path) -> None:
    from deepseek_runtime import reference

    stored = {
        "version": reference.VERSION,
        "checkpoint": reference.fingerprint(directory),
        "vocabulary": 512,
        "prompt": "a b c d",
        "token_ids": [1, 2, 3, 4],
        "logprobs": [-1.0, -2.0, -3.0],
        "computed_with": "test",
    }
    (directory / reference.FILE).write_text(json.dumps(stored))
