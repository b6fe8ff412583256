"""An open-loop load generator: requests leave when the trace says, whether or not earlier ones came back.

``python -m deepseek_operator.local.load --url http://HOST:8000 --model NAME --trace FILE --rate 5 --requests 500``

Exit code 0 when every request was answered 2xx and every stream came whole, else 1; 2 for bad input.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import aiohttp

from deepseek_operator.local import traffic
from deepseek_operator.local.traffic import Arrival


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one request. Times in seconds; latencies are None where there is none to tell."""

    at_s: float
    stream: bool
    status: int
    """0: no answer at all."""
    input_tokens: int = 0
    output_tokens: int = 0
    first_token_s: float | None = None
    per_token_s: float | None = None
    cut: bool = False
    """A stream that did not end with [DONE], or held an error event."""
    error: str = ""

    @property
    def is_good(self) -> bool:
        return 200 <= self.status < 300 and not self.cut


@dataclass(frozen=True, slots=True)
class Summary:
    """All outcomes of a run. Latencies in seconds at percentile 50, 95 and 99, None without a sample."""

    requests: int
    good: int
    non_2xx: int
    unanswered: int
    cut: int
    input_tokens: int
    output_tokens: int
    first_token_s: dict[str, float | None]
    per_token_s: dict[str, float | None]
    errors: list[str]
    """The first few, for people."""

    @property
    def is_clean(self) -> bool:
        return self.good == self.requests


def percentile(values: Sequence[float], percent: float) -> float | None:
    """The value that ``percent`` % of the values do not exceed (nearest rank); None without values."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * int(percent) // 100) - 1)] if ordered else None


def summarize(outcomes: Sequence[Outcome]) -> Summary:
    """Count and rank what came back."""
    first = [outcome.first_token_s for outcome in outcomes if outcome.first_token_s is not None]
    each = [outcome.per_token_s for outcome in outcomes if outcome.per_token_s is not None]
    answered = [outcome for outcome in outcomes if outcome.status]
    return Summary(
        requests=len(outcomes),
        good=sum(outcome.is_good for outcome in outcomes),
        non_2xx=sum(not 200 <= outcome.status < 300 for outcome in answered),
        unanswered=len(outcomes) - len(answered),
        cut=sum(outcome.cut for outcome in outcomes),
        input_tokens=sum(outcome.input_tokens for outcome in outcomes),
        output_tokens=sum(outcome.output_tokens for outcome in outcomes),
        first_token_s={f"p{percent}": percentile(first, percent) for percent in (50, 95, 99)},
        per_token_s={f"p{percent}": percentile(each, percent) for percent in (50, 95, 99)},
        errors=[outcome.error for outcome in outcomes if outcome.error][:5],
    )


@dataclass(slots=True)
class Load:
    """Sends arrivals to one address and keeps their outcomes."""

    http: aiohttp.ClientSession
    url: str
    model: str
    stream_percent: int = 50
    timeout_s: float = 120.0
    outcomes: list[Outcome] = field(default_factory=list)
    in_flight: int = 0
    sent: int = 0

    async def run(self, arrivals: Iterable[Arrival], *, stop: asyncio.Event | None = None) -> None:
        """Send each arrival at its time, until they end or ``stop`` is set; returns when all are answered."""
        loop = asyncio.get_running_loop()
        stopped = stop or asyncio.Event()
        began = loop.time()
        async with asyncio.TaskGroup() as running:
            for arrival in arrivals:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stopped.wait(), max(0.0, began + arrival.at_s - loop.time()))
                if stopped.is_set():
                    break
                running.create_task(self._send(arrival, self.sent, loop.time() - began))
                self.sent += 1

    async def _send(self, arrival: Arrival, number: int, at_s: float) -> None:
        # Spread evenly over the numbers: with 50 % every second request streams.
        stream = number * self.stream_percent % 100 < self.stream_percent
        body: dict[str, Any] = {
            "model": self.model,
            "prompt": traffic.prompt(arrival, seed=number),
            "max_tokens": arrival.output_tokens,
            "min_tokens": arrival.output_tokens,
            "ignore_eos": True,
            "temperature": 0,
            "stream": stream,
        }
        if stream:
            body["stream_options"] = {"include_usage": True}
        self.in_flight += 1
        try:
            self.outcomes.append(await self._ask(body, at_s))
        except (aiohttp.ClientError, TimeoutError) as error:
            self.outcomes.append(Outcome(at_s, stream, 0, error=f"{type(error).__name__}: {error}"))
        finally:
            self.in_flight -= 1

    async def _ask(self, body: dict[str, Any], at_s: float) -> Outcome:
        began = asyncio.get_running_loop().time()
        limit = aiohttp.ClientTimeout(total=self.timeout_s)
        async with self.http.post(f"{self.url}/v1/completions", json=body, timeout=limit) as answer:
            if not 200 <= answer.status < 300:
                text = (await answer.text())[:200]
                return Outcome(at_s, body["stream"], answer.status, error=f"HTTP {answer.status}: {text}")
            if body["stream"]:
                return await _read_stream(answer, at_s, began)
            try:
                usage = (await answer.json())["usage"]
            except (aiohttp.ClientPayloadError, ValueError, KeyError) as error:
                cut = f"answer broke off: {error!r}"
                return Outcome(at_s, stream=False, status=answer.status, cut=True, error=cut)
            return Outcome(at_s, False, answer.status, usage["prompt_tokens"], usage["completion_tokens"])  # noqa: FBT003


async def _read_stream(answer: aiohttp.ClientResponse, at_s: float, began: float) -> Outcome:
    """Follow server-sent events to [DONE]; anything less is a cut stream."""
    clock = asyncio.get_running_loop().time
    first: float | None = None
    last = 0.0
    usage: dict[str, int] = {}
    done, error = False, ""
    # A server that goes away shows as an exception or, worse, as a quiet end: both leave ``done`` False.
    with contextlib.suppress(aiohttp.ClientPayloadError, aiohttp.ClientConnectionError):
        async for raw in answer.content:
            line = raw.decode(errors="replace").strip()
            if not line.startswith("data:"):
                continue
            data = line.removeprefix("data:").strip()
            if data == "[DONE]":
                done = True
                continue  # to the end of the answer, or the connection could not be used again
            event = json.loads(data)
            if "error" in event:
                error = f"error event: {json.dumps(event['error'])[:200]}"
            elif event.get("choices"):
                last = clock()
                first = last if first is None else first
            usage = event.get("usage") or usage
    output = usage.get("completion_tokens", 0)
    cut = not done or bool(error)
    return Outcome(
        at_s=at_s,
        stream=True,
        status=answer.status,
        input_tokens=usage.get("prompt_tokens", 0),
        output_tokens=output,
        first_token_s=first - began if first is not None else None,
        per_token_s=(last - first) / (output - 1) if first is not None and output > 1 else None,
        cut=cut,
        error=error or ("stream ended without [DONE]" if cut else ""),
    )


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m deepseek_operator.local.load",
        description="Send the requests of a trace to an OpenAI-compatible server, open loop.",
        epilog="example: … --url http://127.0.0.1:8000 --model tiny --trace examples/demo/trace.csv --rate 5",
    )
    parser.add_argument("--url", required=True, help="address of the server, without /v1")
    parser.add_argument("--model", required=True, help="name that the server serves the model under")
    parser.add_argument("--trace", required=True, type=Path, help="CSV with timestamp_s,input_tokens,output_tokens")
    parser.add_argument("--rate", type=float, default=None, help="mean requests/s (default: the trace's own)")
    parser.add_argument("--requests", type=int, default=None, help="how many (default: the trace once)")
    parser.add_argument("--divide", type=float, default=1.0, help="divide all lengths by this (default 1)")
    parser.add_argument("--stream", default="50%", help="share of requests that stream (default 50%%)")
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds a request may take (default 120)")
    parser.add_argument("--json", type=Path, default=None, help="write summary and outcomes to this file")
    options = parser.parse_args(arguments)
    written = options.stream.rstrip("%")
    if not written.isdecimal() or int(written) > 100:
        parser.error(f"--stream: {options.stream}: not a share; write 0% to 100%")
    options.stream = int(written)
    for name in ("rate", "requests", "divide", "timeout"):
        value = getattr(options, name)
        if value is not None and value <= 0:
            parser.error(f"--{name}: {value}: must be more than 0; leave it out for the default")
    return options


def show(summary: Summary) -> str:
    """The summary for people."""
    first = ", ".join(f"{name} {value * 1000:.0f} ms" for name, value in summary.first_token_s.items() if value)
    each = ", ".join(f"{name} {value * 1000:.1f} ms" for name, value in summary.per_token_s.items() if value)
    lost = f"{summary.non_2xx} non-2xx, {summary.unanswered} unanswered, {summary.cut} cut"
    lines = [
        f"requests {summary.requests}: {summary.good} good, {lost}",
        f"tokens   {summary.input_tokens} in, {summary.output_tokens} out",
        f"TTFT     {first or 'no streamed answer'}",
        f"TPOT     {each or 'no streamed answer'}",
    ]
    return "\n".join([*lines, *(f"error    {error}" for error in summary.errors)])


async def run(options: argparse.Namespace) -> int:
    """Replay the trace and report; the exit code."""
    scaled = traffic.scale(traffic.read(options.trace), divide_tokens=options.divide, requests_per_s=options.rate)
    arrivals = islice(traffic.repeat(scaled), options.requests or len(scaled))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        load = Load(http, options.url.rstrip("/"), options.model, options.stream, options.timeout)
        await load.run(arrivals)
    summary = summarize(load.outcomes)
    if options.json:
        document = {"summary": asdict(summary), "outcomes": [asdict(outcome) for outcome in load.outcomes]}
        options.json.write_text(json.dumps(document, indent=1) + "\n")
    sys.stdout.write(show(summary) + "\n")
    return 0 if summary.is_clean else 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of ``python -m``."""
    options = parse(sys.argv[1:] if arguments is None else arguments)
    try:
        return asyncio.run(run(options))
    except traffic.TraceError as error:
        sys.stderr.write(f"{error}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())
