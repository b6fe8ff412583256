"""While planning nobody looks for cycles; afterwards it is as it was, whatever happened."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from deepseek_operator import collector


@pytest.fixture(autouse=True)
def enabled() -> Iterator[None]:
    gc.enable()
    yield
    gc.enable()


def test_pauses_and_goes_on() -> None:
    with collector.paused():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_goes_on_after_an_error() -> None:
    with pytest.raises(ZeroDivisionError), collector.paused():
        raise ZeroDivisionError
    assert gc.isenabled()


def test_leaves_a_paused_collector_paused() -> None:
    gc.disable()
    with collector.paused():
        pass
    assert not gc.isenabled()
