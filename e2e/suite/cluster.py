"""kubectl and helm, and the rule about which clusters may be touched at all."""

from __future__ import annotations

import ipaddress
import json
import os
import string
import subprocess
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from suite.progress import StepFailedError

MANIFESTS = Path(__file__).parents[1] / "manifests"


class CommandFailedError(StepFailedError):
    """A command ended with something else than 0; ``text`` is what it said."""

    def __init__(self, command: list[str], code: int, text: str) -> None:
        self.code, self.text = code, text
        super().__init__(f"{' '.join(command)[:200]}: exit code {code}: {text.strip()[-1500:]}")


@dataclass(frozen=True, slots=True)
class Cluster:
    """The cluster of the current context."""

    verbose: bool = False

    def run(self, *command: str, stdin: str | None = None, seconds: float = 120) -> str:
        if self.verbose:
            print("      $", *command, flush=True)
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=seconds, check=False)
        if done.returncode:
            raise CommandFailedError(list(command), done.returncode, done.stderr + done.stdout)
        return done.stdout

    def kubectl(self, *arguments: str, stdin: str | None = None, seconds: float = 120) -> str:
        return self.run("kubectl", *arguments, stdin=stdin, seconds=seconds)

    def get(self, *arguments: str) -> dict[str, Any]:
        """One object, or a list of them under ``items``."""
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def items(self, *arguments: str) -> list[dict[str, Any]]:
        return self.get(*arguments)["items"]

    def find(self, kind: str, name: str, namespace: str = "") -> dict[str, Any] | None:
        """The object, or None when there is none."""
        where = ("-n", namespace) if namespace else ()
        text = self.kubectl("get", kind, name, *where, "-o", "json", "--ignore-not-found")
        return json.loads(text) if text.strip() else None

    def raw(self, path: str) -> Any:
        return json.loads(self.kubectl("get", "--raw", path))

    def apply(self, text: str) -> str:
        return self.kubectl("apply", "-f", "-", stdin=text)

    def refuses(self, text: str) -> str:
        """What the API server says against it; empty when it takes it."""
        try:
            self.apply(text)
        except CommandFailedError as error:
            return error.text
        return ""

    def execute(self, namespace: str, pod: str, *command: str, stdin: str | None = None, seconds: float = 60) -> str:
        extra = ("-i",) if stdin is not None else ()
        return self.kubectl("-n", namespace, "exec", *extra, pod, "--", *command, stdin=stdin, seconds=seconds)


def manifest(name: str, variables: Mapping[str, object]) -> str:
    """A file of ``manifests/`` with ``${names}`` filled in; a name without a value is an error."""
    return string.Template((MANIFESTS / name).read_text()).substitute(variables)


def refuse_foreign_clusters(cluster: Cluster) -> str:
    """The current context, if it may be used: at a loopback address, or named by E2E_CONTEXT."""
    config = json.loads(cluster.kubectl("config", "view", "--minify", "-o", "json"))
    context = config["current-context"]
    server = config["clusters"][0]["cluster"]["server"]
    host = urllib.parse.urlsplit(server).hostname or ""
    named = os.environ.get("E2E_CONTEXT", "")
    if named and named != context:
        raise StepFailedError(f"E2E_CONTEXT: {named!r}: the current context is {context!r}; switch to the one you mean")
    if not named and not is_loopback(host):
        raise StepFailedError(
            f"context {context!r} is at {server}, which is not a loopback address; "
            f"if you mean this cluster, set E2E_CONTEXT={context}"
        )
    return f"{context} at {server}"


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
