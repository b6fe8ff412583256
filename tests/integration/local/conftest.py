"""The embedded world with real vLLM engines as processes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session")
def engine_environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "operator"), str(ROOT / "runtime")])}


@pytest.fixture(scope="session")
def checkpoint(runtime_python: str, engine_environment: dict[str, str], tmp_path_factory) -> Path:
    directory: Path = tmp_path_factory.mktemp("models") / "deepseek-tiny"
    subprocess.run(
        [runtime_python, "-m", "deepseek_runtime", "tiny-checkpoint", str(directory)],
        env=engine_environment,
        check=True,
        capture_output=True,
        timeout=110,
    )
    return directory
