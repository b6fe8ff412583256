from __future__ import annotations

import io

from deepseek_operator.local import console
from deepseek_operator.local.console import Console
from deepseek_operator.local.store import Store
from deepseek_operator.world import Event, Kind
from deepseek_planner.demand import Measured
from deepseek_planner.units import micro_usd


def pod(**status):
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n"}, "status": status}


def make():
    out = io.StringIO()
    ticks = iter(range(10_000))
    return Console(out, clock=lambda: float(next(ticks))), out


def test_lines_carry_the_time_and_stay_below_100_columns():
    screen, out = make()
    screen.line("word " * 60)
    lines = out.getvalue().splitlines()

    assert lines[0].startswith("   1.0 s  word")
    assert lines[1].startswith("          word")
    assert max(map(len, lines)) < 100


def test_a_pods_life_is_told_once_per_change():
    screen, out = make()
    store = Store()
    screen.follow(store)
    store.apply(pod())
    for _ in range(2):
        store.write_status(Kind.POD, "n", "p", {"conditions": [{"type": "Ready", "status": "True"}]})
    store.mark_deleted(Kind.POD, "n", "p")
    store.delete(Kind.POD, "n", "p")

    told = [line.split("engine p: ")[1] for line in out.getvalue().splitlines()]
    assert told == ["starting", "ready", "draining: takes nothing new, finishes what it has", "gone"]


def test_a_failure_is_told_with_its_last_words_and_remembered():
    screen, out = make()
    store = Store()
    screen.follow(store)
    store.apply(pod())
    state = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 2 s"}}
    ended = {"terminated": {"exitCode": 3, "message": "line\nno such checkpoint"}}
    store.write_status(Kind.POD, "n", "p", {"containerStatuses": [{"state": state, "lastState": ended}]})

    assert "failed with exit code 3: no such checkpoint; back-off 2 s" in out.getvalue()
    assert screen.saw_failure


def test_events_are_told_once():
    screen, out = make()
    store = Store()
    about = {"metadata": {"name": "chat"}}
    store.emit(Event(about, False, "Ready", "1 of 1", "Serve"))
    screen.events(store)
    screen.events(store)

    assert out.getvalue().count("chat: Ready: 1 of 1") == 1


def test_a_row_has_the_columns_of_its_heading():
    measured = Measured(15, 15, 60, 60, 100, 10, 123.4, micro_usd("0.1"), micro_usd("2.5"), 0.62, 0.0312)
    row = console.measured_row(measured, engines=2, spent_usd=0.5)

    assert row.split() == ["2", "60", "123", "620", "ms", "31", "ms", "0.1000", "2.50", "0.500000"]
    assert len(row) == len(console.heading(None)) < 90
    assert console.measured_row(None, engines=0, spent_usd=0.0).split()[1:7] == ["-"] * 6
