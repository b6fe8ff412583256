"""What ``plan --explain`` adds to the table: every alternative in dollars, and what each precision would cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from deepseek_operator.cli.screens import CAPACITY, latency, spaced
from deepseek_planner.matrix import Cell, Row
from deepseek_planner.plan import Candidate, DeploymentPlan
from deepseek_planner.units import format_usd
from deepseek_planner.verdicts import DEARER


def candidates_screen(planned: DeploymentPlan, model: str) -> str:
    """Every alternative whose service was worked out, cheapest first; how many were refused before that."""
    priced = [item for item in planned.candidates if item.prediction is not None]
    head = ("weighed, each alone", "$/h", "$/M", "in", "out", "TTFT", "TPOT", "load", "margin", "bound by", "why not")
    rows = [tuple(_candidate(item, model)) for item in priced]
    lines = ["", *_columns([head, *rows], left={0, 9, 10})]
    before = len(planned.candidates) - len(priced)
    if before:
        lines.append(f"  and {before} were refused before their service was worked out")
    return "\n".join(lines) + "\n"


def _candidate(item: Candidate, model: str) -> Iterator[str]:
    prediction = item.prediction
    assert prediction is not None
    kinds = " and ".join(dict.fromkeys(CAPACITY[str(kind)] for _, kind, _ in item.pools))
    kind = f", {kinds}" if kinds else ""
    variant = f" of {item.model}" if item.model != model else ""
    yield f" {'*' if item.is_chosen else ' '}{item.replicas} x {item.name}{variant}{kind}"
    for amount in (
        item.usd_per_hour,
        item.usd_per_million_tokens,
        item.usd_per_million_input_tokens,
        item.usd_per_million_output_tokens,
    ):
        yield format_usd(amount)
    yield latency(prediction.time_to_first_token_s)
    yield latency(prediction.time_per_output_token_s)
    yield f"{prediction.utilization_percent:.0f} %"
    yield f"{prediction.margin_percent} %"
    yield prediction.bottleneck
    yield _verdict(item)


def _verdict(item: Candidate) -> str:
    """That it is dearer, the dollars say."""
    if item.is_chosen:
        return f"chosen {item.verdict}".strip()
    text = spaced(str(item.rejection.reason)) if item.rejection else item.verdict
    if item.is_part:
        return f"chosen beside others; alone {text}" if text else "chosen beside others"
    return "" if text == DEARER else text


def matrix_screen(rows: Sequence[Row]) -> str:
    """Scenario by precision: dollars per hour, or why not; ``!``: more than the budget, ``-``: not in the class."""
    if not rows:
        return ""
    head = ["what precision costs, $/h"]
    head += [f"{cell.precision}{'' if cell.is_allowed else ' -'}" for cell in rows[0].cells]
    table = [tuple(head)]
    table += [(f"  {row.scenario}, {row.detail}", *map(_cell, row.cells)) for row in rows]
    note = "  *: cheapest that class and budget allow; !: over budget; -: not in the accuracy class"
    return "\n".join(["", *_columns(table, left={0}), note]) + "\n"


def _cell(cell: Cell) -> str:
    if not cell.name:
        return cell.refusal
    mark = "*" if cell.is_cheapest else "!" if cell.is_over_budget else ""
    return format_usd(cell.usd_per_hour) + mark


def _columns(rows: Sequence[tuple[str, ...]], *, left: set[int]) -> Iterator[str]:
    """Lines of aligned columns, numbers to the right."""
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    for row in rows:
        cells = (
            cell.ljust(width) if index in left else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield ("  " + "  ".join(cells)).rstrip()
