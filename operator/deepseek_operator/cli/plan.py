"""``deepseek-operator plan``: what would be served on what, for how much, and why nothing else. No cluster, no GPU."""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepseek_operator import collector

if TYPE_CHECKING:  # what is slow to import is imported where it is used
    from datetime import datetime

    from deepseek_operator.cli.answer import Answer
    from deepseek_operator.documents import Document
    from deepseek_planner.catalog import Catalog
    from deepseek_planner.errors import Problem
    from deepseek_planner.hardware import Offering
    from deepseek_planner.snapshot import DeploymentInput, Policy

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
    parser.add_argument(
        "--prices", type=Path, metavar="CSV", help="your own prices, which come before the shipped list"
    )
    parser.add_argument(
        "-o", "--output", choices=("table", "json", "yaml", "html"), default="table", help="default: table"
    )
    parser.add_argument(
        "--explain", action="store_true", help="with the table: every alternative in dollars, and what precision costs"
    )
    parser.add_argument(
        "--routing",
        choices=("even", "by-length"),
        default="even",
        help="even: all replicas get the same share, as a Kubernetes Service gives it; by-length: a router in front "
        "sends short and long prompts to different shapes, which can be cheaper (default: even)",
    )
    parser.add_argument(
        "--max-usd-per-hour", metavar="USD", help="limit of all deployments together, beside their own (default: none)"
    )
    parser.add_argument("--multi-node", action="store_true", help="allow replicas over several nodes (LeaderWorkerSet)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, now: datetime | None = None) -> int:
    """Plan and print; returns the exit code. ``now`` (default: the clock's) dates prices."""
    from datetime import UTC, datetime  # noqa: PLC0415

    # numpy's linear algebra would start a thread per core: 20 ms, for matrices of a few rows.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Nothing that happens to be installed beside us has a say in how a file is checked; nor is it looked for.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    with collector.paused():
        code = _planned(args, now or datetime.now(UTC))
        gc.freeze()  # What is left is not looked through as the process ends either.
    return code


def _planned(args: argparse.Namespace, now: datetime) -> int:
    from deepseek_planner.errors import InputError  # noqa: PLC0415

    try:
        return _run(args, now)
    except InputError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return BAD_INPUT


def _run(args: argparse.Namespace, now: datetime) -> int:
    found = answer(args, now)
    sys.stderr.write(found.unused_prices())
    if args.output in {"json", "yaml"}:
        _write(found.document(), args.output)
    else:
        sys.stdout.writelines(found.html() if args.output == "html" else found.table())
    return DONE if all(item.is_feasible for item in found.planned.values()) else NO_FEASIBLE_PLAN


def answer(args: argparse.Namespace, now: datetime) -> Answer:
    """Read what the arguments name, and plan it; raises InputError with every problem."""
    from deepseek_operator.cli.answer import Answer  # noqa: PLC0415
    from deepseek_planner import catalog as catalogs  # noqa: PLC0415
    from deepseek_planner.errors import InputError  # noqa: PLC0415
    from deepseek_planner.search import plan  # noqa: PLC0415
    from deepseek_planner.snapshot import Snapshot  # noqa: PLC0415

    problems: list[Problem] = []
    catalog = _priced(catalogs.load(), args.prices, now, problems)
    deployments = _deployments(args.file, catalog, problems)
    offerings = catalog.default_offerings()
    if args.pools is not None:
        offerings = _offerings(args.pools, catalog, now, problems)
    policy = _policy(args, problems)
    if problems:
        raise InputError(tuple(problems))
    snapshot = Snapshot(now=now, deployments=deployments, offerings=offerings, multi_node=args.multi_node)
    is_explained = args.output == "html" or (args.output == "table" and args.explain)
    planned = plan(snapshot, catalog, policy, explains=is_explained).deployments
    return Answer(snapshot, catalog, policy, planned, has_pools=args.pools is not None, is_explained=is_explained)


def _policy(args: argparse.Namespace, problems: list[Problem]) -> Policy:
    from deepseek_planner.errors import Problem  # noqa: PLC0415
    from deepseek_planner.snapshot import Policy, Routing  # noqa: PLC0415
    from deepseek_planner.units import written_usd  # noqa: PLC0415

    routing = Routing.BY_LENGTH if args.routing == "by-length" else Routing.EVEN
    if args.max_usd_per_hour is None:
        return Policy(routing=routing)
    try:
        return Policy(routing=routing, max_usd_per_hour=written_usd(args.max_usd_per_hour))
    except ValueError:
        text = args.max_usd_per_hour
        remedy = "write it like 60 or 2.50"
        problems.append(Problem("--max-usd-per-hour", text, "is not an amount of US dollars above 0", remedy))
        return Policy(routing=routing)


def _deployments(files: Sequence[Path], catalog: Catalog, problems: list[Problem]) -> tuple[DeploymentInput, ...]:
    from deepseek_operator.api.convert import deployment_input  # noqa: PLC0415
    from deepseek_operator.documents import repeated  # noqa: PLC0415
    from deepseek_planner.errors import InputError, Problem  # noqa: PLC0415

    found: list[DeploymentInput] = []
    before = len(problems)
    read = [item for item in _documents(files, problems) if item.object.get("kind") == "DeepSeekDeployment"]
    for document in read:
        try:
            found.append(deployment_input(document.object, catalog=catalog))
        except InputError as error:
            problems += _within(document, error.problems)
    problems += repeated(read)
    if not found and len(problems) == before:
        names = ", ".join(str(path) for path in files)
        problems.append(
            Problem("kind", names, "no DeepSeekDeployment in there", "give a file with kind: DeepSeekDeployment")
        )
    return tuple(found)


def _offerings(files: Sequence[Path], catalog: Catalog, now: datetime, problems: list[Problem]) -> tuple[Offering, ...]:
    from deepseek_operator.documents import repeated  # noqa: PLC0415
    from deepseek_operator.node_form import form_problems  # noqa: PLC0415
    from deepseek_operator.pools import offerings, pool_problems  # noqa: PLC0415
    from deepseek_planner.errors import Problem  # noqa: PLC0415

    by_kind: dict[str, list[Mapping[str, Any]]] = {"AcceleratorPool": [], "Node": [], "Pod": []}
    before = len(problems)
    read = [item for item in _documents(files, problems) if item.object.get("kind") in tuple(by_kind)]
    for document in read:
        kind = str(document.object["kind"])
        by_kind[kind].append(document.object)
        is_pool = kind == "AcceleratorPool"
        found = pool_problems(document.object, catalog=catalog) if is_pool else form_problems(document.object)
        problems += _within(document, found)
    problems += repeated(read)
    pools, nodes = by_kind["AcceleratorPool"], by_kind["Node"]
    if not pools and not nodes and len(problems) == before:
        names = ", ".join(str(path) for path in files)
        problems.append(
            Problem("--pools", names, "neither AcceleratorPools nor Nodes in there", "give a file with some of them")
        )
    if len(problems) > before:
        return ()
    return offerings(pools, nodes, by_kind["Pod"], catalog=catalog, now=now)


def _priced(catalog: Catalog, path: Path | None, now: datetime, problems: list[Problem]) -> Catalog:
    """The catalogue with one's own prices, where they are given and can be read."""
    from deepseek_planner.errors import InputError  # noqa: PLC0415
    from deepseek_planner.price_list import parse  # noqa: PLC0415

    text = None if path is None else _text(path, "a CSV file", problems)
    if text is None:
        return catalog
    try:
        return catalog.with_prices(parse(text, str(path), today=now.date()))
    except InputError as error:
        problems += error.problems
        return catalog


def _text(path: Path, what: str, problems: list[Problem]) -> str | None:
    """What a file or stdin holds; None, with a problem, where it cannot be read."""
    from deepseek_planner.errors import Problem  # noqa: PLC0415

    try:
        return sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
    except OSError as error:
        reason = error.strerror or type(error).__name__
        problems.append(Problem(str(path), "file", f"cannot be read ({reason})", f"give the path of {what}"))
    except UnicodeDecodeError as error:
        problems.append(Problem(str(path), "file", f"is no text ({error.reason})", f"give the path of {what}"))
    return None


def _within(document: Document, problems: Iterable[Problem]) -> list[Problem]:
    """The problems of an object, with where it stands and its name."""
    metadata = document.object.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return [replace(item, field=f"{document.place}: {name or '?'}: {item.field}") for item in problems]


def _documents(files: Iterable[Path], problems: list[Problem]) -> Iterator[Document]:
    """What the files hold; what cannot be read is noted and left out."""
    from deepseek_operator.documents import documents  # noqa: PLC0415

    for path in files:
        text = _text(path, "a YAML file", problems)
        if text is not None:
            yield from documents(text, str(path), problems)


def _write(document: Any, output: str) -> None:
    if output == "json":
        import json  # noqa: PLC0415

        print(json.dumps(document, indent=2, ensure_ascii=False))
        return
    import yaml  # noqa: PLC0415

    sys.stdout.write(yaml.safe_dump(document, sort_keys=False, allow_unicode=True))
