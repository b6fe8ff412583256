from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from deepseek_runtime import reference, weights
from deepseek_runtime.tiny_checkpoint import ARCHITECTURE, PARAMETERS

from .conftest import command

pytestmark = pytest.mark.vllm


def digest(directory: Path) -> str:
    return hashlib.sha256((directory / "model.safetensors").read_bytes()).hexdigest()


def test_it_is_whole_and_of_the_architecture_it_claims(checkpoint: Path) -> None:
    found = weights.check(checkpoint, ARCHITECTURE, field="path")
    assert found.format == ""
    size = (checkpoint / "model.safetensors").stat().st_size
    assert 2 * PARAMETERS < size < 2 * PARAMETERS + 100_000


def test_its_reference_is_its_own(checkpoint: Path) -> None:
    stored = reference.read(checkpoint)
    assert stored is not None
    assert stored.vocabulary == ARCHITECTURE["vocab_size"]
    assert len(stored.token_ids) > 50
    assert len(stored.logprobs) == len(stored.token_ids) - 1
    assert all(-60 < logprob < 0 for logprob in stored.logprobs)


def test_the_same_seed_gives_the_same_model(runtime_python: str, checkpoint: Path, tmp_path: Path) -> None:
    assert command(runtime_python, "tiny-checkpoint", str(tmp_path)).returncode == 0
    assert digest(tmp_path) == digest(checkpoint)
    assert json.loads((tmp_path / "reference.json").read_text()) == json.loads(
        (checkpoint / "reference.json").read_text()
    )


def test_another_seed_gives_another(runtime_python: str, checkpoint: Path, tmp_path: Path) -> None:
    assert command(runtime_python, "tiny-checkpoint", str(tmp_path), "--seed", "1").returncode == 0
    assert digest(tmp_path) != digest(checkpoint)


def test_what_cannot_be_written_or_read_is_said(runtime_python: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused = command(runtime_python, "tiny-checkpoint", str(tmp_path / "file" / "x"))
    assert refused.returncode == 2
    assert "name a directory that can be written" in refused.stderr
    absent = command(runtime_python, "reference", str(tmp_path / "nowhere"))
    assert absent.returncode == 3
    assert "no config.json there" in absent.stderr
