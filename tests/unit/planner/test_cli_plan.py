"""``deepseek-operator plan`` as a person meets it: output, exit codes, and what it does not import."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from deepseek_operator.cli import plan

ROOT = Path(__file__).resolve().parents[3]
CASES = ROOT / "tests" / "golden" / "cases"
POOLS = ROOT / "tests" / "golden" / "pools.yaml"
REQUEST = (CASES / "v3-cheapest.yaml").read_text(encoding="utf-8")


def run(*arguments: str, now: datetime | None = None) -> int:
    parser = argparse.ArgumentParser()
    plan.add_parser(parser.add_subparsers())
    return plan.run(parser.parse_args(["plan", *arguments]), now)


def write(folder: Path, text: str, name: str = "request.yaml") -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_table_json_and_yaml_tell_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    case = str(CASES / "v3-cheapest.yaml")

    assert run("-f", case, "--pools", str(POOLS), "-o", "json") == 0
    as_json = json.loads(capsys.readouterr().out)
    assert run("-f", case, "--pools", str(POOLS), "-o", "yaml") == 0
    assert yaml.safe_load(capsys.readouterr().out) == as_json
    assert run("-f", case, "--pools", str(POOLS)) == 0
    assert f"${as_json['usdPerHour']}/h" in capsys.readouterr().out


def test_the_explanation_names_every_alternative_as_text_and_as_a_page(capsys: pytest.CaptureFixture[str]) -> None:
    case = str(CASES / "v3-cheapest.yaml")

    assert run("-f", case, "--pools", str(POOLS)) == 0
    short = capsys.readouterr().out
    assert run("-f", case, "--pools", str(POOLS), "--explain") == 0
    long = capsys.readouterr().out
    assert run("-f", case, "--pools", str(POOLS), "-o", "html") == 0
    page = capsys.readouterr().out

    assert long.startswith(short.rstrip("\n"))
    for word in ("weighed, each alone", "what precision costs", "tight latency"):
        assert word in long
        assert word not in short
    names = [line.split()[2].rstrip(",") for line in long.splitlines() if line.split()[1:2] == ["x"]]
    assert len(names) > 5
    assert all(name in page for name in names)


@pytest.mark.parametrize("amount", ["cheap", "1e3", "1_000", "\N{FULLWIDTH DIGIT SIX}0", "0", " 60", "60\n", "1."])
def test_a_limit_of_all_deployments_must_be_an_amount(amount: str, capsys: pytest.CaptureFixture[str]) -> None:
    case = str(CASES / "v3-cheapest.yaml")

    assert run("-f", case, "--pools", str(POOLS), "--max-usd-per-hour", amount) == 2
    assert f"--max-usd-per-hour: {amount}: is not an amount of US dollars above 0" in capsys.readouterr().err


def test_a_limit_of_all_deployments_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    case = str(CASES / "v3-cheapest.yaml")

    assert run("-f", case, "--pools", str(POOLS), "--max-usd-per-hour", "500", "-o", "json") == 0


def test_own_prices_come_before_the_shipped_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = str(CASES / "v3-cheapest.yaml")
    columns = "instance_type,zone,capacity_type,usd_per_node_hour,as_of,source\n"
    prices = write(tmp_path, f"{columns}p5en.48xlarge,us-west-2,OnDemand,3.00,2026-11-20,contract 17\n", "prices.csv")

    assert run("-f", case, "--prices", prices, now=datetime(2026, 11, 22, tzinfo=UTC)) == 0

    out = capsys.readouterr().out
    (chosen,) = (line for line in out.splitlines() if line.startswith("  100 %"))
    assert chosen.endswith("aws-us-west-2-p5en-48xlarge")
    replicas, dollars = int(chosen.split()[2]), chosen.split("$")[1].split("/h")[0]
    assert float(dollars) == 3.0 * replicas
    assert "contract 17 (2026-11-20)" in out
    assert "prices older than" not in out


@pytest.mark.parametrize("output", ["table", "json"])
def test_a_price_that_counts_for_nothing_is_said_and_no_source(
    output: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = "instance_type,zone,capacity_type,usd_per_node_hour,as_of\np5.48xlarge,us-east-1a,OnDemand,1,2026-11-20\n"
    case, prices = str(CASES / "v3-cheapest.yaml"), write(tmp_path, line, "prices.csv")

    assert run("-f", case, "--prices", prices, "-o", output, now=datetime(2026, 11, 22, tzinfo=UTC)) == 0
    told = capsys.readouterr()
    assert told.err.startswith("prices not used: p5.48xlarge us-east-1a OnDemand; without --pools, ")
    assert "prices.csv" not in told.out
    pools = ("--pools", str(POOLS))
    assert run("-f", case, *pools, "--prices", prices, "-o", output, now=datetime(2026, 11, 22, tzinfo=UTC)) == 0
    assert not capsys.readouterr().err


def test_a_price_of_the_future_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = "instance_type,capacity_type,usd_per_node_hour,as_of\np5.48xlarge,OnDemand,1,2099-01-01\n"
    prices = write(tmp_path, line, "p.csv")

    case = str(CASES / "v3-cheapest.yaml")
    assert run("-f", case, "--prices", prices, now=datetime(2026, 11, 22, tzinfo=UTC)) == 2
    assert "p.csv line 2: as_of: 2099-01-01: is in the future: it is 2026-11-22" in capsys.readouterr().err


def test_a_price_file_is_refused_line_by_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prices = write(tmp_path, "instance_type,capacity_type,usd_per_node_hour,as_of\np5,Spot,dear,2026-11-20\n", "p.csv")

    assert run("-f", str(CASES / "v3-cheapest.yaml"), "--prices", prices) == 2
    assert "p.csv line 2: usd_per_node_hour: dear: is not an amount of dollars above 0" in capsys.readouterr().err
    assert run("-f", str(CASES / "v3-cheapest.yaml"), "--prices", str(tmp_path / "none.csv")) == 2
    assert "cannot be read (No such file or directory); give the path of a CSV file" in capsys.readouterr().err


def test_stale_prices_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    case = str(CASES / "v3-cheapest.yaml")

    assert run("-f", case, now=datetime(2026, 9, 1, tzinfo=UTC)) == 0
    assert "prices older than" not in capsys.readouterr().out
    assert run("-f", case, now=datetime(2027, 9, 1, tzinfo=UTC)) == 0
    assert "prices older than 90 days: " in capsys.readouterr().out


def test_without_pools_the_shipped_list_is_used_and_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("-f", str(CASES / "v3-cheapest.yaml")) == 0

    out = capsys.readouterr().out
    assert "prices: shipped list" in out
    assert "2026-07-20" in out


def test_an_infeasible_request_exits_3_and_says_what_would_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("-f", str(CASES / "v3-small-budget.yaml"), "--pools", str(POOLS)) == 3
    assert "would be feasible with: $/h >= " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("field", "typed", "shown", "target"),
    [("timeToFirstToken", "40.5ms", "40.5 ms", "TTFT"), ("timePerOutputToken", "1500us", "1.5 ms", "TPOT")],
)
def test_a_latency_that_would_do_can_be_typed_back(
    field: str, typed: str, shown: str, target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    request = yaml.safe_load(REQUEST)
    request["spec"]["objectives"][field] = {"p95": typed}
    assert run("-f", write(tmp_path, yaml.safe_dump(request)), "--pools", str(POOLS)) == 3
    out = capsys.readouterr().out
    assert f"{target} p95 <= {shown} · " in out
    (change,) = (line for line in out.splitlines() if line.startswith("  would be feasible with: "))
    said = change.split(f"{target} >= ")[1].split(",")[0]

    request["spec"]["objectives"][field] = {"p95": said.replace(" ", "")}

    assert run("-f", write(tmp_path, yaml.safe_dump(request)), "--pools", str(POOLS)) == 0
    assert f"{target} p95 <= {said}" in capsys.readouterr().out


def test_bad_input_exits_2_with_every_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (
        REQUEST.replace("deepseek-v3}", "deepseek-v9}")
        .replace("expected: 240", "expected: -1")
        .replace('maxUSDPerHour: "150"', 'maxUSDPerHour: "cheap"')
    )
    pools = POOLS.read_text(encoding="utf-8").replace("accelerator: h200", "accelerator: h300")

    assert run("-f", write(tmp_path, text), "--pools", write(tmp_path, pools, "pools.yaml")) == 2

    captured = capsys.readouterr()
    assert captured.out == ""
    for field in ("spec.model.name", "requestsPerMinute.expected", "maxUSDPerHour", "spec.accelerator", "h300"):
        assert field in captured.err


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "no DeepSeekDeployment in there"),
        ("kind: Pod\n", "no DeepSeekDeployment in there"),
        ("- 1\n- 2\n", "is not an object"),
        ("a: [1\n", "is not YAML"),
        (REQUEST + "---\n" + REQUEST, "stands more than once"),
    ],
)
def test_files_that_hold_no_request_are_refused(
    text: str, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("-f", write(tmp_path, text), "--pools", str(POOLS)) == 2
    assert expected in capsys.readouterr().err


def test_a_pool_that_stands_twice_is_refused_with_both_places(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case, pools = str(CASES / "v3-cheapest.yaml"), POOLS.read_text(encoding="utf-8")
    first = next(item for item in yaml.safe_load_all(pools) if item)
    again = write(tmp_path, yaml.safe_dump(first | {"metadata": {"name": first["metadata"]["name"], "labels": {}}}))
    said = f"metadata.name: AcceleratorPool {first['metadata']['name']}: stands more than once: in"

    assert run("-f", case, "--pools", str(POOLS), "--pools", again) == 2
    assert f"{said} {POOLS} document 1 and {again}; name each file once" in capsys.readouterr().err
    assert run("-f", case, "--pools", again, "--pools", again) == 2
    assert f"{said} {again} and {again}; " in capsys.readouterr().err


def test_a_node_and_a_request_that_stand_twice_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n0"}}
    nodes = write(tmp_path, yaml.safe_dump({"kind": "List", "items": [node, node]}), "nodes.yaml")
    case = str(CASES / "v3-cheapest.yaml")

    assert run("-f", case, "-f", case, "--pools", nodes) == 2

    err = capsys.readouterr().err
    assert f"Node n0: stands more than once: in {nodes} item 1 and {nodes} item 2; " in err
    assert f"DeepSeekDeployment team-a/v3-cheapest: stands more than once: in {case} and {case}; " in err


def test_a_missing_file_and_empty_pools_are_both_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("-f", str(tmp_path / "none.yaml"), "--pools", write(tmp_path, "", "pools.yaml")) == 2

    err = capsys.readouterr().err
    assert "cannot be read (No such file or directory)" in err
    assert "neither AcceleratorPools nor Nodes" in err


def test_several_deployments_share_the_pools_and_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = REQUEST.replace("name: v3-cheapest", "name: second")

    run("-f", write(tmp_path, REQUEST + "---\n" + other), "--pools", str(POOLS), "-o", "json")

    documents = json.loads(capsys.readouterr().out)
    assert [item["name"] for item in documents] == ["second", "v3-cheapest"]


def test_it_loads_neither_kopf_nor_a_kubernetes_client_nor_solvers() -> None:
    script = (
        "import sys; from deepseek_operator.__main__ import main; "
        f"code = main(['plan', '-f', {str(CASES / 'v3-cheapest.yaml')!r}, '--pools', {str(POOLS)!r}]); "
        "heavy = {'kopf', 'kubernetes', 'aiohttp', 'highspy', 'prometheus_client', 'torch', 'vllm'}; "
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr); sys.exit(code)"
    )
    path = f"{ROOT / 'operator'}{os.pathsep}{ROOT / 'runtime'}"
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": path},
    )

    assert done.returncode == 0, done.stderr
    assert done.stderr.strip().splitlines()[-1] == "[]"
