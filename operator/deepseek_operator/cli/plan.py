"""``deepseek-operator plan``: what would be served on what, for how much, and why nothing else. No cluster, no GPU."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what is slow to import is imported where it is used
    from datetime import datetime

    from deepseek_planner.catalog import Catalog
    from deepseek_planner.errors import Problem
    from deepseek_planner.hardware import Offering
    from deepseek_planner.plan import DeploymentInput

DONE, BAD_INPUT, NO_FEASIBLE_PLAN = 0, 2, 3


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "plan",
        help="show what would be served on what, for how much, and why nothing else",
        description="Plan the DeepSeekDeployments of the files. Exit code: 0 a plan for each, 3 no feasible plan for "
        "one or more, 2 bad input, 1 a fault of ours.",
        epilog="example: deepseek-operator plan -f examples/chat.yaml -o json",
    )
    parser.add_argument(
        "-f", "--file", action="append", required=True, type=Path, help="DeepSeekDeployments; - for stdin"
    )
    parser.add_argument(
        "--pools",
        action="append",
        type=Path,
        help="AcceleratorPools and Nodes to choose from (default: the price list)",
    )
    parser.add_argument("-o", "--output", choices=("table", "json", "yaml"), default="table", help="default: table")
    parser.add_argument("--multi-node", action="store_true", help="allow replicas over several nodes (LeaderWorkerSet)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Plan and print; returns the exit code."""
    from deepseek_planner.errors import InputError  # noqa: PLC0415

    try:
        return _run(args)
    except InputError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return BAD_INPUT


def _run(args: argparse.Namespace) -> int:
    from datetime import UTC, datetime  # noqa: PLC0415

    from deepseek_operator.cli import screens  # noqa: PLC0415
    from deepseek_planner import catalog as catalogs  # noqa: PLC0415
    from deepseek_planner.errors import InputError  # noqa: PLC0415
    from deepseek_planner.explain import plan_document  # noqa: PLC0415
    from deepseek_planner.plan import Policy, Snapshot  # noqa: PLC0415
    from deepseek_planner.search import plan  # noqa: PLC0415

    catalog, now = catalogs.load(), datetime.now(UTC)
    problems: list[Problem] = []
    deployments = _deployments(args.file, catalog, problems)
    offerings = catalog.default_offerings()
    if args.pools is not None:
        offerings = _offerings(args.pools, catalog, now, problems)
    if problems:
        raise InputError(tuple(problems))
    snapshot = Snapshot(now=now, deployments=deployments, offerings=offerings, multi_node=args.multi_node)
    planned = plan(snapshot, catalog, Policy()).deployments
    if args.output == "table":
        by_key = {item.key: item for item in deployments}
        texts = [screens.plan_screen(by_key[key], item, catalog.model(item.model)) for key, item in planned.items()]
        sys.stdout.write("\n".join(texts))
        if args.pools is None:
            sys.stdout.write("\n" + screens.sources_line(catalog.price_sources()))
    else:
        documents = [
            {"namespace": key.namespace, "name": key.name, "plan": plan_document(item)} for key, item in planned.items()
        ]
        _write(documents[0]["plan"] if len(documents) == 1 else documents, args.output)
    return DONE if all(item.is_feasible for item in planned.values()) else NO_FEASIBLE_PLAN


def _deployments(files: Sequence[Path], catalog: Catalog, problems: list[Problem]) -> tuple[DeploymentInput, ...]:
    from deepseek_operator.api.convert import deployment_input  # noqa: PLC0415
    from deepseek_planner.errors import InputError, Problem  # noqa: PLC0415

    found: list[DeploymentInput] = []
    before = len(problems)
    for path, obj in _objects(files, problems):
        if obj.get("kind") != "DeepSeekDeployment":
            continue
        try:
            found.append(deployment_input(obj, catalog=catalog))
        except InputError as error:
            problems += [_within(f"{path}: {_name(obj)}", item) for item in error.problems]
    if not found and len(problems) == before:
        names = ", ".join(str(path) for path in files)
        problems.append(
            Problem("kind", names, "no DeepSeekDeployment in there", "give a file with kind: DeepSeekDeployment")
        )
    keys = [item.key for item in found]
    problems += [
        Problem("metadata.name", str(key), "stands more than once", "give each deployment its own name")
        for key in sorted(set(keys))
        if keys.count(key) > 1
    ]
    return tuple(found)


def _offerings(files: Sequence[Path], catalog: Catalog, now: datetime, problems: list[Problem]) -> tuple[Offering, ...]:
    from deepseek_operator.pools import offerings, pool_problems  # noqa: PLC0415
    from deepseek_planner.errors import Problem  # noqa: PLC0415

    by_kind: dict[str, list[Mapping[str, Any]]] = {}
    before = len(problems)
    for path, obj in _objects(files, problems):
        by_kind.setdefault(str(obj.get("kind")), []).append(obj)
        if obj.get("kind") == "AcceleratorPool":
            problems += [_within(f"{path}: {_name(obj)}", item) for item in pool_problems(obj, catalog=catalog)]
    pools, nodes = by_kind.get("AcceleratorPool", []), by_kind.get("Node", [])
    if not pools and not nodes and len(problems) == before:
        names = ", ".join(str(path) for path in files)
        problems.append(
            Problem("--pools", names, "neither AcceleratorPools nor Nodes in there", "give a file with some of them")
        )
    if len(problems) > before:
        return ()
    return offerings(pools, nodes, by_kind.get("Pod", []), catalog=catalog, now=now)


def _name(obj: Mapping[str, Any]) -> str:
    metadata = obj.get("metadata")
    return str(metadata.get("name", "?")) if isinstance(metadata, dict) else "?"


def _within(where: str, problem: Problem) -> Problem:
    from dataclasses import replace  # noqa: PLC0415

    return replace(problem, field=f"{where}: {problem.field}")


def _objects(files: Iterable[Path], problems: list[Problem]) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Documents of YAML files, lists taken apart; what is no object is noted and left out."""
    import yaml  # noqa: PLC0415

    from deepseek_planner.errors import Problem  # noqa: PLC0415

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    for path in files:
        try:
            text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
            documents = [item for item in yaml.load_all(text, Loader=loader) if item is not None]
        except OSError as error:
            reason = error.strerror or type(error).__name__
            problems.append(Problem(str(path), "file", f"cannot be read ({reason})", "give the path of a YAML file"))
            continue
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            reason = " ".join(str(error).split())
            problems.append(Problem(str(path), "file", f"is not YAML ({reason})", "mend the file"))
            continue
        for index, obj in enumerate(item for document in documents for item in _items(document)):
            if isinstance(obj, dict):
                yield path, obj
            else:
                problems.append(
                    Problem(f"{path}[{index}]", type(obj).__name__, "is not an object", "write apiVersion, kind, …")
                )


def _items(document: Any) -> list[Any]:
    if isinstance(document, dict) and document.get("kind") == "List":
        return list(document.get("items") or ())
    return [document]


def _write(document: Any, output: str) -> None:
    if output == "json":
        import json  # noqa: PLC0415

        print(json.dumps(document, indent=2, ensure_ascii=False))
        return
    import yaml  # noqa: PLC0415

    sys.stdout.write(yaml.safe_dump(document, sort_keys=False, allow_unicode=True))
