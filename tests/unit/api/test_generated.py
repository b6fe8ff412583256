from __future__ import annotations

import argparse

import pytest

from deepseek_operator.cli import crds, docs


@pytest.mark.parametrize("command", [crds, docs], ids=["crds", "docs"])
def test_check_fails_until_the_files_are_written(command, tmp_path, capsys):
    folder = tmp_path / "out"
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    name = command.__name__.rpartition(".")[2]

    def run(*extra: str) -> int:
        args = parser.parse_args([name, "--dir", str(folder), *extra])
        return args.run(args)

    assert run("--check") == 1
    assert not folder.exists()
    assert run() == 0
    assert run("--check") == 0
    victim = sorted(folder.iterdir())[0]
    victim.write_text("other")
    capsys.readouterr()
    assert run("--check") == 1
    assert str(victim) in capsys.readouterr().err
    assert run() == 0
    assert victim.read_text() != "other"
    assert capsys.readouterr().out.splitlines() == [f"wrote {victim}"]
