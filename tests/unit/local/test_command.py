"""``deepseek-operator local`` on bad input: exit code 2, and every problem with its remedy."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from deepseek_operator.__main__ import main

EXAMPLES = Path(__file__).parents[3] / "examples" / "demo"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--runtime-python", "/no/such/python"], "--runtime-python: /no/such/python: is not a program"),
        (["--port", "99999"], "--port: 99999"),
        (["--pools", "absent.yaml"], "absent.yaml"),
        (["--pools", str(EXAMPLES / "deployment.yaml")], "AcceleratorPool"),
    ],
)
def test_bad_input_ends_with_2_and_says_what_to_do(arguments, said, capsys):
    command = ["local", "-f", str(EXAMPLES / "deployment.yaml"), "--runtime-python", sys.executable, "--port", "0"]

    assert main([*command, *arguments]) == 2
    assert said in capsys.readouterr().err


def test_a_port_that_is_taken_is_named(capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        command = ["local", "-f", str(EXAMPLES / "deployment.yaml"), "--runtime-python", sys.executable]

        assert main([*command, "--port", port]) == 2
    assert f"--port: {port}: Address already in use" in capsys.readouterr().err


def test_a_deployment_with_problems_is_refused_before_anything_starts(tmp_path, capsys):
    file = tmp_path / "chat.yaml"
    file.write_text((EXAMPLES / "deployment.yaml").read_text().replace("deepseek-tiny\n", "deepseek-tinny\n", 1))
    command = ["local", "-f", str(file), "--runtime-python", sys.executable, "--port", "0"]

    assert main(command) == 2
    assert "did you mean deepseek-tiny" in capsys.readouterr().err
