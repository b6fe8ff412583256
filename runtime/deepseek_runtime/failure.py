"""How the engine pod fails: a reason, a message with the remedy, an exit code, and where Kubernetes reads them."""

from __future__ import annotations

import json
import os
from enum import Enum
from pathlib import Path

_TERMINATION_FILE = "/dev/termination-log"
_LONGEST_MESSAGE = 3000  # the kubelet keeps 4096 bytes, and JSON escapes take some


class Reason(Enum):
    """Why the pod ended, and with which exit code."""

    DRAINED = "Drained", 0
    INTERNAL = "Internal", 1
    INVALID_LAUNCH_SPEC = "InvalidLaunchSpec", 2
    WEIGHTS_NOT_FOUND = "WeightsNotFound", 3
    ARCHITECTURE_MISMATCH = "ArchitectureMismatch", 4
    WEIGHTS_INCOMPLETE = "WeightsIncomplete", 5
    PRECISION_UNSUPPORTED = "PrecisionUnsupported", 6
    ENGINE_MISSING = "EngineMissing", 7
    ENGINE_START_FAILED = "EngineStartFailed", 10
    ENGINE_CRASHED = "EngineCrashed", 11
    WRONG_LOGITS = "WrongLogits", 12
    ENGINE_STUCK = "EngineStuck", 13
    DRAIN_TIMED_OUT = "DrainTimedOut", 14

    def __init__(self, text: str, exit_code: int) -> None:
        self.text = text
        self.exit_code = exit_code


class Failure(Exception):  # noqa: N818 - it is the pod's word for it
    """The pod cannot go on. ``str()`` names field, value and remedy."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def report(reason: Reason, message: str) -> None:
    """Leave reason and message where the kubelet, and through the pod's status the operator, reads them."""
    path = Path(os.environ.get("TERMINATION_MESSAGE_PATH") or _TERMINATION_FILE)
    text = json.dumps({"reason": reason.text, "message": message[:_LONGEST_MESSAGE]}, ensure_ascii=False)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError:
        # Outside Kubernetes there is no such file; the message is on stderr either way.
        return
