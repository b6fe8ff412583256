"""``calibrate check``: cross-validation as a page with a plot. Needs numpy; the plot is written by hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from math import ceil, isfinite, log10
from pathlib import Path
from textwrap import wrap

from deepseek_operator.calibrate import reports as report_files
from deepseek_operator.calibrate import runs as files
from deepseek_planner.prediction.corrections import groups
from deepseek_planner.prediction.fitting import Problem
from deepseek_planner.prediction.validation import WAYS, Residual, Score, cross_validate, residuals, score

GOALS = {"shape": (6, 11, 5), "accelerator": (6, 12, 5), "model": (15, 20, 12)}
BAD = (15.0, 30.0)
"""A group is named when its TPOT or TTFT error is above these, in percent."""
SIDE, GAP, LEFT, TOP = 230, 56, 58, 44
WIDTH = 118
"""Of the lines of the page."""
QUANTITIES = ("TPOT", "TTFT")
DECADES = {"TPOT": (0.0, 2.5), "TTFT": (1.5, 4.5)}
"""Powers of ten of milliseconds that the axes show."""
COLORS = {"vllm": "#1f6feb", "sglang": "#bf5a00", "trtllm": "#2da44e"}
NAMES = {"vllm": "vLLM", "sglang": "SGLang", "trtllm": "TensorRT-LLM"}
TITLES = {"shape": "new lengths or sharding", "accelerator": "new accelerator", "model": "new model"}


INTRODUCTION = """\
# How well latency and throughput are predicted

Generated on {date} by

    deepseek-operator calibrate check --runs runs.csv --reports reports.csv --source '{source}' --out docs/reference

from {runs} runs of {engines} on one node each; the numbers do not depend on the machine that works them out.
Source of the runs: {source}. Their engine versions are {versions}. Nothing was measured by this project.

Mean error of TPOT, median error of TTFT and of throughput (output tokens per second and accelerator), in percent,
beside what this project aims at. `fitted`: the runs that the coefficients are fitted to, which says how well the form
fits and not how well it predicts. The other rows are cross-validated: each run is predicted by a fit that has not seen

- **shape**: its lengths and sharding (eight folds);
- **accelerator**: its model on that accelerator;
- **model**: its model at all, on any accelerator.

The form, the widths of the priors and what is inferred about the runs were chosen while looking at these folds, and
about a hundred and eighty variants were compared on them, so the numbers are optimistic, those for a new accelerator
most: vLLM's are one model on two accelerators. What others report (below) is fitted to as well, but for what a row
holds out; only runs of the first source are counted here.

| engine | held out | TPOT | goal | TTFT | goal | throughput | goal | runs |
|---|---|---|---|---|---|---|---|---|"""
UNCOVERED = """\
No run covers these, so nothing above says anything about them: T4, V100, L4, A10G and L40S; several nodes; int8 and
int4 weights on accelerators that compute in them; how many drafts hold; the sparse attention of V3.2 and V4;
percentiles (the runs have one central value each, and do not say whether mean or median); requests that arrive at
random instead of in a closed loop.

What a run does not say is taken from the script that its publisher has for its model, engine and accelerator: format
of the cache, tokens per step, how often requests are looked for, how long prompts are held back, whether attention is
data-parallel. The scripts and their commits are in `deepseek_planner.prediction.published`; that a run was made by one
of them is inferred. So is that runs draft tokens where only a script with drafts has their image and sharding: three
per step, one with data-parallel attention, each holding by 85 %; a factor of such steps is fitted.

Runs whose TTFT is above 10 s or above eight times what the curves alone expect are taken for cold starts: their TTFT
is not fitted, and it is counted here. SGLang's runs of DeepSeek-R1 in 4 bits that do not say their version are cold
wherever the first burst exceeds a step, and get seconds of their own, as if a kernel was compiled then. The prior of
these seconds was chosen with the runs known, which flatters SGLang's rows for a new accelerator and a new model.

Where SGLang and TensorRT-LLM miss a goal, the runs hardly tell causes apart: each has a few models, most releases ran
one model on one accelerator, and what is learned from one publisher's loads is asked of another's. TTFT has jumps that
neither load nor lengths explain (Llama-3.1-8B under both with many requests at once)."""
REPORTED = """\
## What others report

{kept} more runs of other publishers say enough to be predicted: one replica on one node, lengths, how many requests at
once, and a time per output token. `unseen`: predicted by a fit to the first source alone, which has few of these models
and no A100, and of these publishers only InferenceX. `fitted`: by what ships, which is fitted to them, too. TPOT is the
mean error in percent, TTFT the median one; bias is the median of predicted over measured, less one: below zero, the
engine is slower than predicted. Publishers whose prompts may lie in a cache have no TTFT.

Unseen is not blind: the coefficients have not seen these runs, but the form was changed while looking at them. Latent
attention of vLLM on Hopper, requests of one length under SGLang and the latency of a reduction through host memory
were looked into because these runs were off, and the last was read off two of them (on A100 without peer access).
Before, DeepSeek-V3 under vLLM was 34 % too fast, and Qwen3-8B under SGLang three to four times too slow.

{left} reported runs were left out: {reasons}.

| publisher | engine | model | accelerator | weights | runs | TPOT unseen | bias | fitted | TTFT unseen | fitted |
|---|---|---|---|---|---|---|---|---|---|---|"""


Results = dict[str, dict[str, list[Residual]]]
"""By engine and way."""


@dataclass(frozen=True, slots=True)
class Reports:
    """How well runs of other publishers are predicted: by a fit that has not seen them, and by one that has."""

    unseen: list[Residual]
    fitted: list[Residual]
    left_out: Counter[str]


def check(*, runs: Path, reports: Path | None, out: Path | None, source: str, as_of: date) -> Iterator[str]:
    """Cross-validate every engine; writes the page and the plot when ``out`` is given; yields a summary.

    Raises ValueError when a run cannot be used.
    """
    found = files.read(runs, files.Models())
    reported, left_out = report_files.read(reports, files.Models()) if reports is not None else ([], Counter[str]())
    results, others = Results(), Reports([], [], left_out)
    for engine in sorted({run.engine for run in found}):
        problem = Problem([run for run in found + reported if run.engine == engine])
        if not any(not run.publisher for run in problem.runs):
            continue
        everything = range(len(problem.runs))
        fitted = residuals(problem, problem.fit(everything), everything, "fitted")
        by_way = {"fitted": _of(fitted, reported=False)}
        by_way |= {way: _of(cross_validate(problem, way), reported=False) for way in WAYS}
        results[engine] = {way: rows for way, rows in by_way.items() if rows}
        for way, rows in results[engine].items():
            yield f"{engine:8} {way:12} {_text(score(rows))}"
        seen = [at for at in everything if not problem.runs[at].publisher]
        unseen = [at for at in everything if problem.runs[at].publisher]
        if unseen:
            others.unseen.extend(residuals(problem, problem.fit(seen), unseen, "unseen"))
            others.fitted.extend(_of(fitted, reported=True))
    if others.unseen:
        yield f"{'reports':8} {'unseen':12} {_text(score(others.unseen))}"
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "prediction-accuracy.svg").write_text(plot(results), encoding="utf-8")
        text = page(results, others, source=source, as_of=as_of)
        (out / "prediction-accuracy.md").write_text(text, encoding="utf-8")


def _of(rows: Sequence[Residual], *, reported: bool) -> list[Residual]:
    return [row for row in rows if bool(row.run.publisher) is reported]


def _text(found: Score) -> str:
    return (
        f"TPOT {found.tpot_percent:5.1f} %  TTFT {found.ttft_percent:5.1f} %  "
        f"throughput {found.throughput_percent:5.1f} %  ({found.points} runs)"
    )


def page(results: Results, others: Reports, *, source: str, as_of: date) -> str:
    """The page in Markdown."""
    everything = [row.run for by_way in results.values() for row in by_way["fitted"]]
    introduction = INTRODUCTION.format(
        date=as_of.isoformat(),
        source=source,
        runs=len(everything),
        engines=_and([NAMES.get(engine, engine) for engine in results]),
        versions="; ".join(_versions(engine, by_way["fitted"]) for engine, by_way in results.items()),
    )
    lines = _wrap(introduction)
    together = {way: [row for by_way in results.values() for row in by_way.get(way, [])] for way in ("fitted", *WAYS)}
    for engine, by_way in {"all": together, **results}.items():
        for way, rows in by_way.items():
            if not rows:
                continue
            found, goals = score(rows), GOALS.get(way, ("", "", ""))
            lines.append(
                f"| {engine} | {way} | {found.tpot_percent:.1f} | {goals[0]} | {found.ttft_percent:.1f} | {goals[1]} "
                f"| {found.throughput_percent:.1f} | {goals[2]} | {found.points} |"
            )
    lines += ["", "![Predicted against measured](prediction-accuracy.svg)", "", "## Where it is bad", ""]
    for engine, by_way in results.items():
        lines += wrap(f"- {_words(engine, by_way)}", WIDTH, subsequent_indent="  ", break_on_hyphens=False)
    lines += _reported(others)
    lines += [
        "",
        *_wrap(UNCOVERED),
        "",
        f"These groups of runs have a TPOT error above {BAD[0]:g} % or a TTFT error above {BAD[1]:g} %. Bias is the",
        "median of predicted over measured, less one, in percent: above zero, the engine is faster than predicted.",
        "",
        "| engine | held out | group | TPOT | bias | TTFT | bias | runs |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for engine, by_way in results.items():
        for way, rows in by_way.items():
            lines += list(_bad(engine, way, rows))
    return "\n".join(lines) + "\n"


def _reported(others: Reports) -> Iterator[str]:
    """The section about other publishers; nothing where there are no reports."""
    if not others.unseen:
        return
    reasons = "; ".join(f"{reason} ({count})" for reason, count in others.left_out.most_common())
    kept, left = len(others.unseen), others.left_out.total()
    yield ""
    yield from _wrap(REPORTED.format(kept=kept, left=left, reasons=reasons))
    groups_of: dict[tuple[str, ...], tuple[list[Residual], list[Residual]]] = {}
    for rows, at in ((others.unseen, 0), (others.fitted, 1)):
        for row in rows:
            run = row.run
            key = (run.publisher, run.engine, run.model, groups(run)["system"], run.precision)
            groups_of.setdefault(key, ([], []))[at].append(row)
    for group, (unseen, fitted) in sorted(groups_of.items()):
        before, after = score(unseen), score(fitted)
        bias = 100.0 * sorted(row.tpot for row in unseen)[len(unseen) // 2]
        numbers = [_percent(before.tpot_percent), f"{bias:+.0f}", _percent(after.tpot_percent)]
        numbers += [_percent(before.ttft_percent), _percent(after.ttft_percent)]
        yield f"| {' | '.join([*group, str(len(unseen)), *numbers])} |"


def _percent(amount: float) -> str:
    return f"{amount:.1f}" if isfinite(amount) else ""


def _versions(engine: str, rows: Sequence[Residual]) -> str:
    known = sorted({row.run.version for row in rows if row.run.version})
    unknown = sum(not row.run.version for row in rows)
    text = f"{NAMES.get(engine, engine)} {', '.join(known)}" if known else NAMES.get(engine, engine)
    return f"{text} ({unknown} runs do not say)" if unknown else text


def _words(engine: str, by_way: dict[str, list[Residual]]) -> str:
    """The table again in words: which goals are met, which are missed and by how much, and the worst runs."""
    met, missed = [], []
    for way in WAYS:
        if way not in by_way:
            missed.append(f"a new {way} cannot be held out: too few runs")
            continue
        found = score(by_way[way])
        errors = {"TPOT": found.tpot_percent, "TTFT": found.ttft_percent, "throughput": found.throughput_percent}
        over = [
            f"{name} by {error - goal:.1f} points"
            for (name, error), goal in zip(errors.items(), GOALS[way], strict=True)
            if error > goal
        ]
        if over:
            missed.append(f"for a new {way} it misses {_and(over)}")
        else:
            met.append(way)
    text = f"**{NAMES.get(engine, engine)}**: "
    text += f"all goals are met for a new {_and(met)}; " if met else ""
    text += "; ".join(missed) if missed else "none is missed"
    held_out = [row for way in WAYS for row in by_way.get(way, ())]
    if held_out:
        far = sum(abs(row.ttft) > 0.5 for row in held_out)
        text += f". TTFT is off by more than half in {100 * far / len(held_out):.0f} % of its held-out predictions"
        far = sum(abs(row.tpot) > 0.5 for row in held_out)
        text += f", TPOT in {100 * far / len(held_out):.0f} %"
    return text + "."


def _wrap(text: str) -> list[str]:
    """Lines of paragraphs; lists, tables, headings and what is indented stay as they are."""
    lines: list[str] = []
    for block in text.split("\n\n"):
        lines += [*(block.splitlines() if block[0] in " #|-" else wrap(block, WIDTH, break_on_hyphens=False)), ""]
    return lines[:-1]


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _bad(engine: str, way: str, rows: Sequence[Residual]) -> Iterator[str]:
    by_group: dict[str, list[Residual]] = {}
    for row in rows:
        own = groups(row.run)
        by_group.setdefault(own["cell"] + (f" {row.run.version}" if row.run.version else ""), []).append(row)
    for group, members in sorted(by_group.items()):
        found = score(members)
        if found.tpot_percent <= BAD[0] and found.ttft_percent <= BAD[1]:
            continue
        tpot = 100.0 * sorted(row.tpot for row in members)[len(members) // 2]
        ttft = 100.0 * sorted(row.ttft for row in members)[len(members) // 2]
        yield (
            f"| {engine} | {way} | {group} | {found.tpot_percent:.1f} | {tpot:+.0f} | {found.ttft_percent:.1f} "
            f"| {ttft:+.0f} | {found.points} |"
        )


def plot(results: Results) -> str:
    """Predicted against measured, TPOT above and TTFT below, one panel per way; logarithmic milliseconds."""
    width = LEFT + len(WAYS) * (SIDE + GAP) - GAP + 16
    height = TOP + 2 * (SIDE + GAP) + 6
    head = 'font-family="sans-serif" font-size="11" role="img" aria-label="Predicted against measured TPOT and TTFT"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" {head}>',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for quantity in QUANTITIES:
        for column in range(len(WAYS)):
            parts += _panel(results, quantity, column)
    x = LEFT
    for engine in results:
        name = NAMES.get(engine, engine)
        parts.append(f'<circle cx="{x + 4}" cy="10" r="4" fill="{COLORS.get(engine, "#666")}"/>')
        parts.append(f'<text x="{x + 12}" y="14">{name}</text>')
        x += 30 + 7 * len(name)
    parts.append(f'<path d="M{x} 10h22" stroke="#555" stroke-dasharray="4 3"/>')
    parts.append(f'<text x="{x + 28}" y="14">predicted as measured</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(results: Results, quantity: str, column: int) -> Iterator[str]:
    way, row = WAYS[column], QUANTITIES.index(quantity)
    low, high = DECADES[quantity]
    left, top = LEFT + column * (SIDE + GAP), TOP + row * (SIDE + GAP)

    def place(milliseconds: float) -> float:
        share = (log10(milliseconds) - low) / (high - low)
        return min(max(share, 0.0), 1.0) * SIDE

    bottom = top + SIDE
    yield f'<text x="{left + SIDE / 2}" y="{top - 8}" text-anchor="middle">{quantity}, {TITLES[way]}</text>'
    for exponent in range(ceil(low), int(high) + 1):
        at, label = place(10.0**exponent), f"{10**exponent:,}".replace(",", "\u202f")
        if 0 < at < SIDE:
            yield f'<path d="M{left + at:.1f} {top}v{SIDE}M{left} {bottom - at:.1f}h{SIDE}" stroke="#e4e4e4"/>'
        yield f'<text x="{left + at:.1f}" y="{bottom + 14}" text-anchor="middle">{label}</text>'
        yield f'<text x="{left - 4}" y="{bottom - at + 4:.1f}" text-anchor="end">{label}</text>'
    yield f'<text x="{left + SIDE / 2}" y="{bottom + 28}" text-anchor="middle">measured, ms</text>'
    if column == 0:
        x, y = left - 44, top + SIDE / 2
        yield f'<text x="{x}" y="{y}" text-anchor="middle" transform="rotate(-90 {x} {y})">predicted, ms</text>'
    for engine, by_way in results.items():
        points = []
        for one in by_way.get(way, ()):
            measured = one.run.tpot_ms if quantity == "TPOT" else one.run.ttft_ms
            predicted = measured * (1.0 + (one.tpot if quantity == "TPOT" else one.ttft))
            points.append(f"M{left + place(measured):.1f} {bottom - place(predicted):.1f}h0")
        # A path of points with round caps is a tenth of as many circles.
        style = 'fill="none" stroke-linecap="round" stroke-width="3" stroke-opacity="0.5"'
        if points:
            yield f'<path d="{"".join(points)}" stroke="{COLORS.get(engine, "#666")}" {style}/>'
    yield f'<path d="M{left} {bottom}L{left + SIDE} {top}" stroke="#555" stroke-dasharray="4 3"/>'
    yield f'<rect x="{left}" y="{top}" width="{SIDE}" height="{SIDE}" fill="none" stroke="#888"/>'
