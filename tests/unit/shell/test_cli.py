"""The command line starts fast, explains itself, and says with its exit code what happened."""

from __future__ import annotations

import subprocess
import sys

import pytest

from deepseek_operator import cli
from deepseek_operator.__main__ import main
from support.cluster import ROOT


def started(*arguments, name="deepseek-operator", **environment):
    code = f"import sys; sys.argv[0] = {name!r}; from deepseek_operator.__main__ import main; sys.exit(main())"
    path = f"{ROOT / 'operator'}:{ROOT / 'runtime'}"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={"PYTHONPATH": path, "PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("command", cli.SUBCOMMANDS)
def test_every_command_has_a_help_with_an_example(command, capsys):
    assert main([command, "--help"]) == 0
    assert "example" in capsys.readouterr().out


def test_help_lists_every_command(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(command in text for command in cli.SUBCOMMANDS)
    assert "example" in text


@pytest.mark.parametrize("arguments", [[], ["serve"], ["run", "--no-such-option"]])
def test_a_wrong_command_line_is_2(arguments, capsys):
    assert main(arguments) == 2
    assert "usage:" in capsys.readouterr().err


def test_settings_that_cannot_be_used_are_2_and_told_all_at_once(capsys):
    assert main(["run", "--listen-port", "x", "--resync", "soon"]) == 2
    text = capsys.readouterr().err
    assert "DEEPSEEK_LISTEN_PORT" in text
    assert "DEEPSEEK_RESYNC" in text


def test_prices_that_cannot_be_used_are_2_line_by_line(tmp_path, capsys):
    prices = tmp_path / "prices.csv"
    prices.write_text("instance_type,capacity_type,usd_per_node_hour,as_of\nh,Spot,dear,2026-11-01\n,Spot,1,x\n")
    assert main(["run", "--price-file", str(prices)]) == 2
    text = capsys.readouterr().err
    assert "DEEPSEEK_PRICE_FILE: prices.csv line 2: usd_per_node_hour: dear" in text
    assert "DEEPSEEK_PRICE_FILE: prices.csv line 3: as_of: x" in text


def test_a_fault_of_ours_is_1(monkeypatch, capsys):
    def fault(_):
        raise ZeroDivisionError("a case nobody thought of")

    monkeypatch.setattr("deepseek_operator.cli.run.run", fault)
    assert main(["run"]) == 1
    assert "unexpected fault: ZeroDivisionError" in capsys.readouterr().err


def test_without_a_cluster_run_says_so(tmp_path):
    done = started("run", KUBECONFIG=str(tmp_path / "none"), DEEPSEEK_LISTEN_PORT="1", HOME=str(tmp_path))
    assert done.returncode == 1
    assert "set KUBECONFIG or run in a pod" in done.stderr


def test_the_same_program_is_a_kubectl_plugin():
    done = started("--help", name="/usr/bin/kubectl-deepseek")
    assert done.stdout.startswith("usage: kubectl deepseek ")


def test_help_loads_nothing_heavy():
    code = (
        "import sys; from deepseek_operator.__main__ import main; main(['run', '--help']); "
        "sys.exit(len({'kopf', 'kubernetes', 'pydantic', 'aiohttp', 'numpy'} & set(sys.modules)))"
    )
    path = f"{ROOT / 'operator'}:{ROOT / 'runtime'}"
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": path}, capture_output=True, check=False)
    assert done.returncode == 0
