"""A request trace: when requests came and how long they were, and what part of it to replay."""

from __future__ import annotations

import csv
import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

FIRST_TOKEN, LAST_TOKEN = 1000, 100_000
"""Token ids that prompts are drawn from: ordinary words of DeepSeek's tokenizers, no special tokens."""


class TraceError(ValueError):
    """A trace that cannot be read; the message names file, line and remedy."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request: seconds after the first one, prompt and answer in tokens."""

    at_s: float
    input_tokens: int
    output_tokens: int


def read(path: Path) -> Sequence[Arrival]:
    """Arrivals of a CSV file with columns timestamp_s, input_tokens, output_tokens; ``#`` begins a comment.

    Raises TraceError for a file that is absent, empty or malformed.
    """
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise TraceError(f"{path}: {error.strerror}; name a CSV file of requests") from None
    rows = [line for line in lines if line and not line.startswith("#")]
    try:
        found = [
            Arrival(float(row["timestamp_s"]), int(row["input_tokens"]), int(row["output_tokens"]))
            for row in csv.DictReader(rows)
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise TraceError(f"{path}: {error}; columns are timestamp_s,input_tokens,output_tokens") from None
    if not found:
        raise TraceError(f"{path}: no request in it; columns are timestamp_s,input_tokens,output_tokens")
    return sorted(found, key=lambda arrival: arrival.at_s)


def scale(
    arrivals: Sequence[Arrival], *, divide_tokens: float = 1.0, requests_per_s: float | None = None
) -> Sequence[Arrival]:
    """Shorter requests, and the same bursts at another mean rate. Every length stays at least two tokens."""
    first, last = arrivals[0].at_s, arrivals[-1].at_s
    mean_rate = (len(arrivals) - 1) / (last - first) if last > first else 1.0
    stretch = mean_rate / requests_per_s if requests_per_s else 1.0
    return [
        Arrival(
            (arrival.at_s - first) * stretch,
            max(2, round(arrival.input_tokens / divide_tokens)),
            max(2, round(arrival.output_tokens / divide_tokens)),
        )
        for arrival in arrivals
    ]


def repeat(arrivals: Sequence[Arrival]) -> Iterator[Arrival]:
    """The trace over and over; a mean gap lies between two rounds."""
    span = arrivals[-1].at_s - arrivals[0].at_s
    round_s = span + (span / (len(arrivals) - 1) if len(arrivals) > 1 else 1.0)
    for turn in itertools.count():
        for arrival in arrivals:
            at_s = turn * round_s + arrival.at_s - arrivals[0].at_s
            yield Arrival(at_s, arrival.input_tokens, arrival.output_tokens)


def prompt(arrival: Arrival, *, seed: int) -> list[int]:
    """A prompt as token ids: exactly as long as the trace says, and like no other, so no cache helps."""
    draw = random.Random(seed)
    return [draw.randrange(FIRST_TOKEN, LAST_TOKEN) for _ in range(arrival.input_tokens)]
