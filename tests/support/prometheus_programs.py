"""Prometheus' own programs, where they are installed."""

from __future__ import annotations

import shutil

import pytest

INSTALL = "apt-get install -y --no-install-recommends prometheus prometheus-alertmanager"


def promtool() -> str:
    """The path of promtool; skips the test where there is none."""
    found = shutil.which("promtool")
    if found is None:  # a Debian package, and PyPI has none
        pytest.skip(f"promtool is not installed: {INSTALL}")
    return found
