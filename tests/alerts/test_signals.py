"""What the signals say without Prometheus: thresholds, durations, texts, and the files made from them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from deepseek_operator import alert_rules, dashboard
from deepseek_operator.cli import parser
from deepseek_planner.signals import (
    BURN_RATES,
    SIGNALS,
    LatencyReading,
    Readings,
    SignalName,
    Windows,
    active,
    burn_quantile,
    duration,
    readings,
    windows,
)
from deepseek_planner.units import micro_usd
from support.fleets import deployment as deployed
from support.fleets import measured

ROOT = Path(__file__).resolve().parents[2]
LOW = next(signal for signal in SIGNALS if signal.name is SignalName.UTILIZATION_LOW)


def names(seen):
    return [str(signal.name) for signal in active(seen)]


def test_what_is_unknown_raises_nothing():
    assert names(Readings()) == []
    assert names(Readings(tokens_per_s=0.0)) == []
    assert names(Readings(capacity_tokens_per_s=100.0)) == []
    assert names(Readings(time_to_first_token=LatencyReading(1.0, None, 9.0))) == []


def test_a_burn_shows_in_both_windows():
    assert names(Readings(time_to_first_token=LatencyReading(1.0, 1.2, 1.1))) == ["TimeToFirstTokenBurn"]
    assert names(Readings(time_to_first_token=LatencyReading(1.0, 1.2, 0.9))) == []
    assert names(Readings(time_per_output_token=LatencyReading(1.0, 0.9, 1.2))) == []


@pytest.mark.parametrize("percentile", BURN_RATES)
def test_the_burn_quantile_leaves_as_many_slow_requests_as_the_burn_rate_says(percentile):
    reserve = (100 - percentile) / 100
    assert 1 - burn_quantile(percentile) == pytest.approx(BURN_RATES[percentile] * reserve)
    assert 0 < burn_quantile(percentile) < percentile / 100


def test_measurements_become_readings():
    seen = readings(
        measured(60.0, usd_per_million_tokens=micro_usd("9"), time_to_first_token_s=1.5),
        deployed().objectives,
        capacity_tokens_per_s=6000.0,
        planned_usd_per_million_tokens=micro_usd("2"),
    )
    assert seen.utilization == pytest.approx(0.1)
    assert seen.cost_ratio == pytest.approx(4.5)
    assert names(seen) == ["UtilizationLow", "CostPerTokenHigh", "TimeToFirstTokenBurn"]
    assert LOW.text(seen) == "10 % of the ready engines' capacity is used"
    assert LOW.text(Readings()) == "unknown of the ready engines' capacity is used"


def test_a_signal_fires_when_it_stands_long_enough_and_then_stays():
    short = windows(window_s=30, for_s=10, keep_firing_s=5)
    flapping = [(at, at % 4 != 0) for at in range(60)]
    assert not LOW.is_firing(flapping, short, now_s=60)
    standing = [(float(at), at >= 20) for at in range(31)]
    assert not LOW.is_firing(standing[:30], short, now_s=29)
    assert LOW.is_firing(standing, short, now_s=30)
    over = [*standing, (31.0, False)]
    assert LOW.is_firing(over, short, now_s=35)
    assert not LOW.is_firing(over, short, now_s=35.1)
    assert not LOW.is_firing([], short, now_s=0)


def test_harm_fires_sooner_than_waste():
    spans = {str(signal.name): signal.for_s(Windows()) for signal in SIGNALS}
    assert spans["UtilizationHigh"] < spans["UtilizationLow"]
    assert {signal.severity for signal in SIGNALS if signal.is_harm} == {"warning"}


@pytest.mark.parametrize(
    ("seconds", "text"), [(900, "15m"), (3600, "1h"), (90, "90s"), (2.5, "2500ms"), (0.0001, "1ms"), (5400, "90m")]
)
def test_durations_are_written_as_prometheus_reads_them(seconds, text):
    assert duration(seconds) == text


def test_windows_can_be_shortened_together():
    rules = alert_rules.rule_file(windows(window_s=30, for_s=10, keep_firing_s=20), runbooks="https://wiki/x/")
    for rule in rules["groups"][0]["rules"]:
        assert (rule["for"], rule["keep_firing_for"]) == ("10s", "20s")
        assert "15m" not in rule["expr"]
        assert rule["annotations"]["runbook_url"] == f"https://wiki/x/{rule['alert']}.md"
    assert alert_rules.rule_file()["groups"][0]["rules"][0]["for"] == "15m"


def test_the_rule_file_is_the_rules():
    assert yaml.safe_load(alert_rules.text()) == alert_rules.rule_file()


def test_every_alert_has_a_runbook_that_answers_four_questions():
    written = {path.stem for path in (ROOT / "docs/runbooks").glob("*.md") if path.stem != "README"}
    assert written == {str(name) for name in SignalName}
    for name in written:
        text = (ROOT / f"docs/runbooks/{name}.md").read_text()
        assert text.startswith(f"# {name}\n")
        for heading in ("## Meaning", "## Impact", "## Diagnosis", "## Mitigation"):
            assert heading in text, name
        assert "kubectl " in text


def run(*arguments):
    args = parser("deepseek-operator", ["rules"]).parse_args(["rules", *map(str, arguments)])
    return args.run(args)


def test_the_chart_holds_what_the_code_generates():
    rules, dashboards = ROOT / "charts/deepseek-operator/rules", ROOT / "charts/deepseek-operator/dashboards"
    assert run("--check", "--dir", rules, "--dashboards", dashboards) == 0


def test_rules_are_written_once_and_a_stale_file_is_named(tmp_path, capsys):
    places = ("--dir", tmp_path / "rules", "--dashboards", tmp_path / "dashboards")
    assert run("--check", *places) == 1
    assert run(*places) == 0
    capsys.readouterr()
    assert run(*places) == 0
    assert capsys.readouterr().out == ""
    assert run("--check", *places) == 0
    (tmp_path / "rules/deepseek.yaml").write_text("groups: []\n")
    assert run("--check", *places) == 1
    assert "deepseek.yaml: not up to date" in capsys.readouterr().err


def test_printed_rules_have_the_asked_for_windows(tmp_path, capsys):
    assert run("--print", "--window", "30s", "--for", "10s", "--keep-firing-for", "1m", "--dir", tmp_path) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed == alert_rules.rule_file(windows(window_s=30, for_s=10, keep_firing_s=60))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["30", "0s", "s", "m1", "1d"])
def test_a_wrong_duration_is_refused_with_the_remedy(text, capsys):
    with pytest.raises(SystemExit) as stop:
        run("--window", text)
    assert stop.value.code == 2
    assert "write it like 30s or 15m" in capsys.readouterr().err


def test_the_dashboard_has_distinct_panels_that_do_not_overlap():
    document = json.loads(dashboard.text())
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in document["panels"]]
    assert len(set(places)) == len(places) == len({panel["id"] for panel in document["panels"]})
    assert all(panel["targets"] and panel["description"] for panel in document["panels"])
    assert {item["name"] for item in document["templating"]["list"]} == {"DS_PROMETHEUS", "namespace", "name"}
