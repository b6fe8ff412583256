"""Specs that must be refused, and by which rule: the API server and ``plan`` are both held to this table."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

GOOD: dict[str, Any] = {
    "apiVersion": "serving.deepseek-operator.dev/v1alpha1",
    "kind": "DeepSeekDeployment",
    "metadata": {"name": "chat", "namespace": "team-a"},
    "spec": {
        "model": {"name": "deepseek-v3.1"},
        "workload": {"requestsPerMinute": {"expected": 240}},
        "objectives": {"maxUSDPerHour": "60"},
    },
}


@dataclass(frozen=True)
class Bad:
    """``change`` puts a value (or, with ``REMOVE``, nothing) at a dotted path; ``says`` is part of the answer."""

    name: str
    path: str
    value: Any
    says: str
    field: str = ""
    """Where it is reported; empty: at ``path``."""

    @property
    def reported_at(self) -> str:
        return self.field or self.path


REMOVE = object()


def changed(path: str, value: Any, good: dict[str, Any] = GOOD) -> dict[str, Any]:
    """The good resource with one change."""
    obj = copy.deepcopy(good)
    *parents, last = path.split(".")
    inner = obj
    for name in parents:
        inner = inner.setdefault(name, {})
    if value is REMOVE:
        inner.pop(last, None)
    else:
        inner[last] = value
    return obj


VARIANTS = "spec.model.variants"
SOURCE, LENGTHS, PLACEMENT = "spec.model.source", "spec.workload.inputTokens", "spec.placement"
LOAD, OBJECTIVES, ENGINE = "spec.workload", "spec.objectives", "spec.engine"
SUMMARY = {"mean": 100, "p90": 200, "max": 400}
BY_RULE = (
    Bad("no budget", f"{OBJECTIVES}.maxUSDPerHour", REMOVE, "there is no budget; set maxUSDPerHour"),
    Bad("no objectives", OBJECTIVES, REMOVE, "there is no budget; set maxUSDPerHour", f"{OBJECTIVES}.maxUSDPerHour"),
    Bad("budget of zero", f"{OBJECTIVES}.maxUSDPerHour", "0", "is not an amount of US dollars above 0"),
    Bad("budget of zero dollars and cents", f"{OBJECTIVES}.maxUSDPerHour", "0.00", "is not an amount of US dollars"),
    Bad("negative budget", f"{OBJECTIVES}.maxUSDPerHour", -5, "is not an amount of US dollars above 0"),
    Bad("budget in words", f"{OBJECTIVES}.maxUSDPerHour", "sixty", "is not an amount of US dollars above 0"),
    Bad("always available", f"{OBJECTIVES}.availabilityPercent", 100, "is not a percentage from 50 to 99.99"),
    Bad("availability with a comma", f"{OBJECTIVES}.availabilityPercent", "99,99", "is not a percentage from 50"),
    Bad("hardly available", f"{OBJECTIVES}.availabilityPercent", "49.9", "is not a percentage from 50 to 99.99"),
    Bad("budget with a sign", f"{OBJECTIVES}.maxUSDPerHour", "$60", "is not an amount of US dollars above 0"),
    Bad("limit per token of zero", f"{OBJECTIVES}.maxUSDPerMillionTokens", 0, "is not an amount of US dollars above 0"),
    Bad(
        "latency without unit",
        f"{OBJECTIVES}.timeToFirstToken",
        {"p95": "1"},
        "is not a duration above 0",
        f"{OBJECTIVES}.timeToFirstToken.p95",
    ),
    Bad(
        "latency of zero",
        f"{OBJECTIVES}.timeToFirstToken",
        {"p95": "0ms"},
        "is not a duration above 0",
        f"{OBJECTIVES}.timeToFirstToken.p95",
    ),
    Bad(
        "latency of zero, with a fraction",
        f"{OBJECTIVES}.timeToFirstToken",
        {"p95": "0.0s"},
        "is not a duration above 0",
        f"{OBJECTIVES}.timeToFirstToken.p95",
    ),
    Bad(
        "latency with half a fraction",
        f"{OBJECTIVES}.timePerOutputToken",
        {"p95": "1.ms"},
        "is not a duration above 0; write it like 800ms, 1.5s, 15m or 1h30m",
        f"{OBJECTIVES}.timePerOutputToken.p95",
    ),
    Bad("no percentile", f"{OBJECTIVES}.timeToFirstToken", {}, "set exactly one of p50, p90, p95 and p99"),
    Bad("two percentiles", f"{OBJECTIVES}.timePerOutputToken", {"p50": "1s", "p95": "2s"}, "set exactly one of p50"),
    Bad("model in capitals", "spec.model.name", "DeepSeek-V3.1", "write it as on the hub, in lower case"),
    Bad("a variant of itself", VARIANTS, ["deepseek-r1", "deepseek-v3.1"], "among its own variants; take it out"),
    Bad("a variant twice", VARIANTS, ["deepseek-r1", "deepseek-r1"], "a variant stands twice; name each once"),
    Bad("a variant in capitals", VARIANTS, ["DeepSeek-R1"], "write it as on the hub, in lower case", f"{VARIANTS}[0]"),
    Bad("no source in source", SOURCE, {}, "set exactly one of huggingFace, persistentVolumeClaim, uri and path"),
    Bad("two sources", SOURCE, {"uri": "s3://a/b", "persistentVolumeClaim": {"name": "c"}}, "set exactly one of"),
    Bad("an address that is none", SOURCE, {"uri": "bucket/model"}, "write it like s3://", f"{SOURCE}.uri"),
    Bad(
        "a repository that is none",
        SOURCE,
        {"huggingFace": {"repo": "v3"}},
        "write owner/name",
        f"{SOURCE}.huggingFace.repo",
    ),
    Bad(
        "a path out of the volume",
        SOURCE,
        {"persistentVolumeClaim": {"name": "c", "path": "../x"}},
        "leaves the volume; write a path inside",
        f"{SOURCE}.persistentVolumeClaim.path",
    ),
    Bad("a path of a machine", SOURCE, {"path": "/models/v3"}, "name it in persistentVolumeClaim", f"{SOURCE}.path"),
    Bad(
        "peak below expected",
        f"{LOAD}.requestsPerMinute",
        {"expected": 100, "peak": 99},
        "raise peak to at least expected",
        f"{LOAD}.requestsPerMinute.peak",
    ),
    Bad("half the lengths", LENGTHS, {"mean": 100, "p90": 200}, "set mean, p90 and max, or histogram alone"),
    Bad("lengths twice", LENGTHS, {**SUMMARY, "histogram": [{"upTo": 512, "percent": 100}]}, "histogram alone"),
    Bad("p90 above max", LENGTHS, {**SUMMARY, "p90": 500}, "lower p90 or raise max", f"{LENGTHS}.p90"),
    Bad("mean above p90", LENGTHS, {**SUMMARY, "mean": 300}, "raise p90, or describe", f"{LENGTHS}.mean"),
    Bad(
        "mean too small for p90",
        LENGTHS,
        {"mean": 10, "p90": 200, "max": 400},
        "at least a tenth of p90",
        f"{LENGTHS}.mean",
    ),
    Bad(
        "99 percent",
        LENGTHS,
        {"histogram": [{"upTo": 512, "percent": 99}]},
        "do not add up to 100",
        f"{LENGTHS}.histogram",
    ),
    Bad(
        "buckets out of order",
        LENGTHS,
        {"histogram": [{"upTo": 512, "percent": 50}, {"upTo": 64, "percent": 50}]},
        "order them by upTo",
        f"{LENGTHS}.histogram",
    ),
    Bad(
        "answers to some prompts",
        LENGTHS,
        {"histogram": [{"upTo": 64, "percent": 50, "outputMean": 300}, {"upTo": 512, "percent": 50}]},
        "some buckets have outputMean and some have not; set it in every bucket, or in none",
        f"{LENGTHS}.histogram",
    ),
    Bad(
        "answers of another mean than all answers",
        LENGTHS,
        {
            "histogram": [
                {"upTo": 64, "percent": 50, "outputMean": 100},
                {"upTo": 512, "percent": 50, "outputMean": 439},
            ]
        },
        "is more than a tenth away from what outputMean of inputTokens.histogram averages; say in outputTokens",
        f"{LOAD}.outputTokens.mean",
    ),
    Bad(
        "answers longer than the longest",
        LENGTHS,
        {
            "histogram": [
                {"upTo": 64, "percent": 90, "outputMean": 100},
                {"upTo": 512, "percent": 10, "outputMean": 2049},
            ]
        },
        "an outputMean is above the longest answer of outputTokens; lower outputMean",
        f"{LENGTHS}.histogram",
    ),
    Bad(
        "a bucket twice",
        LENGTHS,
        {"histogram": [{"upTo": 512, "percent": 50}, {"upTo": 512, "percent": 50}]},
        "name each upTo once",
        f"{LENGTHS}.histogram",
    ),
    Bad("prefix longer than prompts", f"{LOAD}.sharedPrefixTokens", 2000, "raise inputTokens.mean"),
    Bad(
        "prefix longer than any bucket",
        LOAD,
        {
            "requestsPerMinute": {"expected": 1},
            "sharedPrefixTokens": 600,
            "inputTokens": {"histogram": [{"upTo": 512, "percent": 100}]},
        },
        "the shared prefix is longer",
        f"{LOAD}.sharedPrefixTokens",
    ),
    Bad(
        "allowed and denied",
        f"{PLACEMENT}.accelerators",
        {"allow": ["h100", "l4"], "deny": ["h100"]},
        "take it out of allow or out of deny",
        f"{PLACEMENT}.accelerators.deny",
    ),
    Bad("no capacity type", f"{PLACEMENT}.capacityTypes", [], "name at least one of Spot, OnDemand and Reserved"),
    Bad(
        "only Spot, at most 50 %",
        PLACEMENT,
        {"capacityTypes": ["Spot"], "maxSpotPercent": 50},
        "set maxSpotPercent to 100",
        f"{PLACEMENT}.maxSpotPercent",
    ),
    Bad(
        "an effect that is none",
        f"{PLACEMENT}.tolerations",
        [{"key": "a", "effect": "Never"}],
        "use NoSchedule, PreferNoSchedule or NoExecute",
        f"{PLACEMENT}.tolerations[0].effect",
    ),
    Bad(
        "Exists with a value",
        f"{PLACEMENT}.tolerations",
        [{"key": "a", "operator": "Exists", "value": "b"}],
        "give Exists no value",
        f"{PLACEMENT}.tolerations[0]",
    ),
    Bad(
        "more at least than at most",
        "spec.scaling",
        {"minReplicas": 5, "maxReplicas": 4},
        "lower minReplicas or raise maxReplicas",
        "spec.scaling.minReplicas",
    ),
    Bad("a cooldown that is none", "spec.rebalancing.cooldown", "10 minutes", "is not a duration of at least 0"),
    Bad("a label of ours", "spec.pod.labels", {"serving.deepseek-operator.dev/deployment": "x"}, "of your own"),
    Bad("an annotation of ours", "spec.pod.annotations", {"app.kubernetes.io/name": "x"}, "of your own"),
    Bad("a flag of the plan", f"{ENGINE}.extraArgs", ["--tensor-parallel-size=8"], "follow from the plan"),
    Bad("a flag of the plan with underscores", f"{ENGINE}.extraArgs", ["--max_model_len=8"], "follow from the plan"),
    Bad("a flag of the plan, abbreviated", f"{ENGINE}.extraArgs", ["--tensor-par=8"], "follow from the plan"),
    Bad("remote code", f"{ENGINE}.extraArgs", ["--trust-remote-code"], "or --trust-remote-code; take it out"),
    Bad("remote code, abbreviated", f"{ENGINE}.extraArgs", ["--trust"], "or --trust-remote-code; take it out"),
    Bad("a short flag", f"{ENGINE}.extraArgs", ["-tp=8"], "write each argument in one piece"),
    Bad("a loose value", f"{ENGINE}.extraArgs", ["--seed", "7"], "write each argument in one piece"),
    Bad(
        "a token in the environment",
        f"{ENGINE}.env",
        [{"name": "HF_TOKEN", "value": "x"}],
        "tokenSecretRef",
        f"{ENGINE}.env[0].name",
    ),
    Bad(
        "a variable that is none",
        f"{ENGINE}.env",
        [{"name": "1X"}],
        "use letters, digits and _",
        f"{ENGINE}.env[0].name",
    ),
    Bad("a name with capitals", "metadata.name", "Chat", "use at most 40 characters"),
    Bad("a name that begins with a digit", "metadata.name", "3chat", "use at most 40 characters"),
    Bad("a long name", "metadata.name", "c" * 41, "use at most 40 characters"),
)
"""RefusedError by a rule: the same text from the API server and from ``plan``."""

BY_SCHEMA = (
    Bad("no model", "spec.model", REMOVE, ""),
    Bad("no name of a model", "spec.model", {}, "", "spec.model.name"),
    Bad("five variants", VARIANTS, ["a", "b", "c", "d", "e"], ""),
    Bad(
        "weights in a format that is none", SOURCE, {"uri": "s3://a/b", "precision": "int2"}, "", f"{SOURCE}.precision"
    ),
    Bad("no workload", LOAD, REMOVE, ""),
    Bad("no rate", LOAD, {}, "", f"{LOAD}.requestsPerMinute"),
    Bad("no expected rate", f"{LOAD}.requestsPerMinute", {}, "", f"{LOAD}.requestsPerMinute.expected"),
    Bad("negative rate", f"{LOAD}.requestsPerMinute", {"expected": -1}, "", f"{LOAD}.requestsPerMinute.expected"),
    Bad("rate of zero", f"{LOAD}.requestsPerMinute", {"expected": 0}, "", f"{LOAD}.requestsPerMinute.expected"),
    Bad("rate as text", f"{LOAD}.requestsPerMinute", {"expected": "9"}, "", f"{LOAD}.requestsPerMinute.expected"),
    Bad("budget as a fraction", f"{OBJECTIVES}.maxUSDPerHour", 1.5, ""),
    Bad("available to three decimals", f"{OBJECTIVES}.availabilityPercent", "99.999", ""),
    Bad("availability as a fraction", f"{OBJECTIVES}.availabilityPercent", 99.9, ""),
    Bad("budget as a list", f"{OBJECTIVES}.maxUSDPerHour", [], ""),
    Bad("unknown accuracy class", f"{OBJECTIVES}.accuracyClass", "balanced", ""),
    Bad("priority too high", f"{OBJECTIVES}.priority", 1001, ""),
    Bad("101 percent", f"{PLACEMENT}.maxSpotPercent", 101, ""),
    Bad("unknown capacity type", f"{PLACEMENT}.capacityTypes", ["Free"], "", f"{PLACEMENT}.capacityTypes[0]"),
    Bad("no replica at all", "spec.scaling", {"minReplicas": 0}, "", "spec.scaling.minReplicas"),
    Bad("paused in words", "spec.paused", "yes", ""),
    Bad("tokens below one", LENGTHS, {**SUMMARY, "mean": 0}, "", f"{LENGTHS}.mean"),
    Bad("too many arguments", f"{ENGINE}.extraArgs", ["--a"] * 33, ""),
    Bad("an argument too long", f"{ENGINE}.extraArgs", ["--" + "a" * 511], "", f"{ENGINE}.extraArgs[0]"),
    Bad(
        "unknown operator",
        f"{PLACEMENT}.tolerations",
        [{"key": "a", "operator": "In"}],
        "",
        f"{PLACEMENT}.tolerations[0].operator",
    ),
    Bad("a field that is none", "spec.loraAdapters", [], ""),
    Bad("a field that is none, deeper", f"{LOAD}.tenants", [], ""),
)
"""RefusedError by the schema: the API server has its own words, but the field is the same."""

POOL: dict[str, Any] = {
    "apiVersion": "serving.deepseek-operator.dev/v1alpha1",
    "kind": "AcceleratorPool",
    "metadata": {"name": "aws-p5en-spot"},
    "spec": {"accelerator": "h200", "gpusPerNode": 8, "nodeSelector": {"karpenter.sh/capacity-type": "spot"}},
}
BAD_POOLS = (
    Bad("no selector", "spec.nodeSelector", REMOVE, "set nodeSelector to labels that only its nodes carry"),
    Bad("an empty selector", "spec.nodeSelector", {}, "set nodeSelector to labels that only its nodes carry"),
    Bad("price of zero", "spec.price", {"usdPerNodeHour": "0"}, "above 0", "spec.price.usdPerNodeHour"),
    Bad(
        "a day that is none",
        "spec.price",
        {"usdPerNodeHour": "1", "asOf": "2026-13-01"},
        "write it like 2026-11-20",
        "spec.price.asOf",
    ),
    Bad(
        "a day that February never has",
        "spec.price",
        {"usdPerNodeHour": "1", "asOf": "2026-02-29"},
        "write it like 2026-11-20",
        "spec.price.asOf",
    ),
    Bad(
        "a day that November never has",
        "spec.price",
        {"usdPerNodeHour": "1", "asOf": "2026-11-31"},
        "write it like 2026-11-20",
        "spec.price.asOf",
    ),
    Bad("negative interruptions", "spec.interruptionsPerNodeDay", "-0.4", "is not a number of at least 0"),
    Bad("start-up in words", "spec.startup", "soon", "is not a duration of at least 0"),
    Bad("start-up with a comma", "spec.startup", "1,5m", "is not a duration of at least 0"),
    Bad("two caches", "spec.weightsCache", {"hostPath": "/var/cache/x", "persistentVolumeClaim": "c"}, "two homes"),
    Bad(
        "the whole disk as cache",
        "spec.weightsCache",
        {"hostPath": "/"},
        "such as /var/cache/deepseek",
        "spec.weightsCache.hostPath",
    ),
    Bad(
        "a cache up the tree",
        "spec.weightsCache",
        {"hostPath": "/var/../etc"},
        "such as /var/cache/deepseek",
        "spec.weightsCache.hostPath",
    ),
    Bad("an accelerator that is no name", "spec.accelerator", "h 200", "write it like h100 or a100-80gb"),
    Bad("a name that is no label", "metadata.name", "a" * 64, "use at most 63 characters"),
)
