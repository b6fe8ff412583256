"""The setting of Melange's evaluation (Griggs et al., arXiv 2404.14527, section 6 and appendix), in our words.

From the paper: Llama-2-7b; one L4, A10G, A100-80GB or H100 per replica; the prices of its table 1; the mean lengths
of its figure 10; mixed requests are 80 % short and 20 % long ones; ten ranges of prompts by six of answers; a target
of 40 or 120 ms on the mean time per output token; 1 to 32 requests a second. Not in the paper, so chosen here: how
far lengths spread around their means (log-normal, cut off at the longest: chats at 4,000 and 1,000 tokens, as the
models that they are from took and gave no more) and where the ranges end above 2,000 tokens. Lengths of prompt and
answer are independent within the short and within the long requests.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

from deepseek_planner.catalog import Catalog
from deepseek_planner.demand import AccuracyClass, Demand, LatencyTarget, LengthBucket, LengthDistribution, Objectives
from deepseek_planner.hardware import CapacityType, InterNode, IntraNode, Offering, Price
from deepseek_planner.models import GroupedAttention, ModelSpec, Precision
from deepseek_planner.snapshot import Constraints, DeploymentInput, DeploymentKey, Policy, Routing, Snapshot
from deepseek_planner.units import MICRO_PER_USD, MicroUsd
from support.planning import CATALOG, NOW

MODEL = ModelSpec(
    name="llama-2-7b",
    family="distill",
    repository="meta-llama/Llama-2-7b-hf",
    layers=32,
    hidden=4096,
    heads=32,
    vocabulary=32000,
    attention=GroupedAttention(kv_heads=32, head_dim=128),
    experts=None,
    dense_intermediate=11008,
    native_precision=Precision.BF16,
    total_parameters=6.74e9,
    active_parameters=6.74e9,
    max_context_tokens=32768,
    mtp_layers=0,
    checkpoints=(Precision.BF16,),
    source="Touvron et al., arXiv 2307.09288: every head has keys and values of its own, 512 KiB a token; "
    "its context is stretched beyond 4,096 tokens, as the paper's long requests ask",
)
"""Not a model of the catalogue's: those of seven billion parameters keep a tenth of this cache."""


class WithLlama(Catalog):
    """The shipped catalogue and that model."""

    def __init__(self, shipped: Catalog) -> None:
        self.__dict__.update(shipped.__dict__)

    def model(self, name: str) -> ModelSpec:
        return MODEL if name == MODEL.name else super().model(name)


WITH_LLAMA = WithLlama(CATALOG)

PAPER_PRICES = {"l4": 0.70, "a10g": 1.01, "a100-80gb": 3.67, "h100": 7.516}
"""Dollars per GPU and hour, table 1."""
TARGETS_S = (0.12, 0.04)
RATES_PER_S = (1, 2, 4, 8, 16, 32)
INPUT_ENDS = (25, 100, 250, 500, 1000, 2000, 4000, 8000, 12000, 16000)
OUTPUT_ENDS = (25, 100, 250, 500, 1000, 2000)
LEAST_SHARE = 1e-4
"""Rarer sizes would not be among some thousand requests of a data set."""
MOST_GPUS = 500


@dataclass(frozen=True, slots=True)
class Spread:
    """Lengths of one data set: their mean as published, and the deviation of their logarithm as chosen here."""

    mean: float
    sigma: float
    longest: int

    def shares(self, all_ends: Sequence[int]) -> list[tuple[float, float]]:
        """By range: share of the requests, and their mean length."""
        ends = [end for end in all_ends if end <= self.longest]
        low, high = math.log(self.mean) - 4.0, math.log(self.mean) + 4.0
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if self._cut(middle, ends)[1] < self.mean else (low, middle)
        ranges, _ = self._cut(low, ends)
        return ranges

    def _cut(self, mu: float, ends: Sequence[int]) -> tuple[list[tuple[float, float]], float]:
        """The ranges of the log-normal distribution around ``mu`` that is cut off at the last end, and its mean."""
        scale = math.exp(mu + self.sigma**2 / 2)
        below = [0.0, *(_normal((math.log(end) - mu) / self.sigma) for end in ends)]
        weighted = [0.0, *(scale * _normal((math.log(end) - mu) / self.sigma - self.sigma) for end in ends)]
        total = below[-1]
        ranges = []
        for index in range(len(ends)):
            share = below[index + 1] - below[index]
            tokens = (weighted[index + 1] - weighted[index]) / share if share > 0 else float(ends[index])
            ranges.append((share / total, tokens))
        return ranges, weighted[-1] / total


@dataclass(frozen=True, slots=True)
class Size:
    """Requests whose prompt and answer are in one range each."""

    input_index: int
    output_index: int
    input_tokens: float
    output_tokens: float
    share: float


def _sizes(prompts: Spread, answers: Spread) -> tuple[Size, ...]:
    found = [
        Size(i, o, prompt, answer, share * part)
        for i, (share, prompt) in enumerate(prompts.shares(INPUT_ENDS))
        for o, (part, answer) in enumerate(answers.shares(OUTPUT_ENDS))
        if share * part >= LEAST_SHARE
    ]
    total = sum(size.share for size in found)
    return tuple(Size(s.input_index, s.output_index, s.input_tokens, s.output_tokens, s.share / total) for s in found)


def _mixed(parts: Sequence[tuple[float, Sequence[Size]]]) -> tuple[Size, ...]:
    """One histogram of several, each with its weight."""
    cells: dict[tuple[int, int], list[tuple[float, Size]]] = {}
    for weight, sizes in parts:
        for size in sizes:
            cells.setdefault((size.input_index, size.output_index), []).append((weight * size.share, size))
    return tuple(
        Size(
            *cell,
            sum(share * size.input_tokens for share, size in members) / sum(share for share, _ in members),
            sum(share * size.output_tokens for share, size in members) / sum(share for share, _ in members),
            sum(share for share, _ in members),
        )
        for cell, members in sorted(cells.items())
    )


def _normal(value: float) -> float:
    return 0.5 * (1.0 + math.erf(value / math.sqrt(2.0)))


SHORT = _sizes(Spread(329.43, 1.2, 4000), Spread(195.66, 0.9, 1000))
LONG = _sizes(Spread(4174.13, 0.8, 16000), Spread(314.10, 0.5, 2000))
WORKLOADS: Mapping[str, tuple[Size, ...]] = {
    "short": SHORT,
    "long": LONG,
    "mixed": _mixed(((0.8, SHORT), (0.2, LONG))),
}


def demand(sizes: Sequence[tuple[Size, float]]) -> Demand:
    """Requests of these sizes, each at its rate per second, as the planner is told of them."""
    per_min = 60.0 * sum(rate for _, rate in sizes)
    prompts = _lengths([(size.input_index, size.input_tokens, rate) for size, rate in sizes], INPUT_ENDS)
    answers = _lengths([(size.output_index, size.output_tokens, rate) for size, rate in sizes], OUTPUT_ENDS)
    return Demand(per_min, per_min, _answered(prompts, sizes, INPUT_ENDS), answers)


def _lengths(found: Sequence[tuple[int, float, float]], ends: Sequence[int]) -> LengthDistribution:
    total = sum(rate for _, _, rate in found)
    buckets = []
    for index, end in enumerate(ends):
        inside = [(tokens, rate) for which, tokens, rate in found if which == index and rate > 0]
        rate = sum(part for _, part in inside)
        if rate > 0:
            buckets.append(LengthBucket(end, sum(tokens * part for tokens, part in inside) / rate, rate / total))
    return LengthDistribution(tuple(buckets))


def _answered(
    prompts: LengthDistribution, sizes: Sequence[tuple[Size, float]], ends: Sequence[int]
) -> LengthDistribution:
    """The prompts with the mean answer to those of each range, as a request log has them."""
    buckets = []
    for bucket in prompts.buckets:
        inside = [(size.output_tokens, rate) for size, rate in sizes if ends[size.input_index] == bucket.up_to_tokens]
        mean = sum(tokens * rate for tokens, rate in inside) / sum(rate for _, rate in inside)
        buckets.append(replace(bucket, answer_tokens=mean))
    return LengthDistribution(tuple(buckets))


def deployment(asked: Demand, target_s: float, *, replicas: int | None = None) -> DeploymentInput:
    """The service with its one target; ``replicas``: neither more nor fewer."""
    return DeploymentInput(
        key=DeploymentKey("melange", MODEL.name),
        generation=1,
        model=MODEL.name,
        demand=asked,
        objectives=Objectives(
            time_to_first_token=None,
            time_per_output_token=LatencyTarget(50, target_s),
            accuracy_class=AccuracyClass.CRITICAL,
            max_usd_per_hour=MicroUsd(10**12),
            max_usd_per_million_tokens=None,
        ),
        constraints=Constraints(min_replicas=replicas or 1, max_replicas=replicas or 4 * MOST_GPUS),
    )


def offerings(prices: Mapping[str, float]) -> tuple[Offering, ...]:
    """Nodes of one GPU each, as many as anybody could need."""
    return tuple(
        Offering(
            pool=name,
            accelerator=name,
            gpus_per_node=1,
            capacity_type=CapacityType.ON_DEMAND,
            price=Price(MicroUsd(round(usd * MICRO_PER_USD)), "benchmark", date(2026, 11, 22)),
            max_nodes=MOST_GPUS,
            free_gpus_by_node=(),
            intra_node=IntraNode.PCIE,
            inter_node=InterNode.ETHERNET,
        )
        for name, usd in prices.items()
    )


def snapshot(asked: DeploymentInput, offered: Sequence[Offering]) -> Snapshot:
    return Snapshot(now=NOW, deployments=(asked,), offerings=tuple(offered))


def shipped_prices() -> dict[str, float]:
    """Per GPU: the cheapest instance on demand of the shipped list that has it, whatever the number of its GPUs."""
    return {
        name: min(
            item.on_demand.usd_per_node_hour / item.accelerators / MICRO_PER_USD
            for item in CATALOG.instances
            if item.accelerator == name and item.on_demand is not None
        )
        for name in PAPER_PRICES
    }


BY_LENGTH = Policy(routing=Routing.BY_LENGTH)
EVEN = Policy(routing=Routing.EVEN)
