"""Bad input: an error that names field, value and remedy; what serves keeps serving, pod by pod."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from suite.parts.serve import tiny
from suite.progress import StepFailedError, wait_until
from suite.suite import RELEASE, SYSTEM, Suite


@dataclass(frozen=True, slots=True)
class Case:
    """One mistake: how the file changes, and what the answer must name."""

    name: str
    change: Callable[[str], str]
    says: Sequence[str]
    """Regular expressions that the text must match: the field, the value, the remedy."""


def replace(old: str, new: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        changed = re.sub(old, new, text)
        if changed == text:
            raise StepFailedError(f"{old!r} is not in the manifest")
        return changed

    return change


CASES = (
    Case(
        "an unknown model",
        replace("name: deepseek-tiny", "name: deepseek-v99"),
        ["model.name", "deepseek-v99", "deepseek-v3"],
    ),
    Case("an impossible TTFT", replace("p95: 2s", "p95: 1ms"), ["timeToFirstToken p95 1ms", r"TTFT >= \d+ ms"]),
    Case("no budget", replace(r"\n    maxUSDPerHour: .*", ""), ["maxUSDPerHour", "set maxUSDPerHour"]),
    Case(
        "a negative rate",
        replace(r"expected: \d+", "expected: -5"),
        ["requestsPerMinute.expected", "-5", "greater than or equal to|at least"],
    ),
    Case(
        "an unknown accelerator", replace(r"allow: \[cpu\]", "allow: [h9000]"), ["accelerators.allow", "h9000", "h100"]
    ),
    Case(
        "two limits that contradict",
        replace("minReplicas: 1", "minReplicas: 4"),
        ["minReplicas", "maxReplicas", "lower minReplicas or raise maxReplicas"],
    ),
    Case("absent weights", replace("path: tiny", "path: nowhere"), ["/weights/nowhere", "path|weights"]),
)


def run(suite: Suite) -> None:
    """Each mistake made in the file of the deployment that serves."""
    good = tiny(suite)
    serving = suite.serving()
    for case in CASES:
        with suite.progress.step(case.name):
            answer = tell(suite, case, case.change(good))
            suite.progress.say(f"    {answer[:300]}")
            now = suite.serving()
            if serving.items() - now.items():
                raise StepFailedError(f"engines that served are gone or restarted: {serving} -> {now}")
        suite.cluster.apply(good)
        suite.await_settled(seconds=120)
    suite.progress.check("the pods that served are the same as before", suite.serving() == serving, serving)
    webhooks(suite)


def tell(suite: Suite, case: Case, text: str) -> str:
    """What a person gets to read: from the API server at once, or from the status."""
    refused = suite.cluster.refuses(text)
    if refused:
        missing = [pattern for pattern in case.says if not re.search(pattern, refused)]
        if missing:
            raise StepFailedError(f"the API server's answer does not say {missing}: {refused}")
        return refused

    def silent() -> str:
        item = suite.deployment()
        status = item.get("status") or {}
        if status.get("observedGeneration") != item["metadata"]["generation"]:
            return "not observed"
        told = " ".join(f"{c['reason']}: {c['message']}" for c in status["conditions"])
        missing = [pattern for pattern in case.says if not re.search(pattern, told)]
        return f"does not say {missing}: {told}" if missing else ""

    wait_until(f"{case.name}: the status says so", silent, seconds=120)
    conditions = suite.status()["conditions"]
    told = [c for c in conditions if re.search(case.says[0], c["message"])] or conditions
    return f"{told[0]['type']}={told[0]['status']} {told[0]['reason']}: {told[0]['message']}"


ASK = """
import json, sys, urllib.error, urllib.request
url, token = sys.argv[1:3]
answers = []
bodies = ["{", '{"version": "4", "alerts": 7}', '{"version": "9", "alerts": []}', "{}"]
for body in bodies:
    bearer = "wrong" if body == "{}" else token
    headers = {"Authorization": f"Bearer {bearer}", "Content-Type": "application/json"}
    request = urllib.request.Request(url, body.encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            answers.append([answer.status, answer.read().decode()])
    except urllib.error.HTTPError as error:
        answers.append([error.code, error.read().decode()])
print(json.dumps(answers))
"""


def webhooks(suite: Suite) -> None:
    """Alertmanager's door refuses what it cannot read, and who has no token."""
    token = suite.cluster.kubectl(
        "-n", SYSTEM, "get", "secret", f"{RELEASE}-alerts", "-o", "go-template={{.data.token | base64decode}}"
    )
    answers = suite.toolbox(ASK, f"http://{RELEASE}.{SYSTEM}.svc:8080/alerts", token)
    *malformed, foreign = answers
    told = all(status == 400 and len(text) > 20 for status, text in malformed)
    suite.progress.check("malformed webhooks are refused with 400 and a reason", told, malformed)
    suite.progress.check("a webhook without the token is refused with 401", foreign[0] == 401, foreign)
