"""Pure: how planned drafting (speculative decoding) becomes vLLM flags."""

from __future__ import annotations

import json

from deepseek_runtime.failure import Failure, Reason
from deepseek_runtime.launchspec import LaunchSpec

MOST_TOKENS = 8
"""More drafts than anybody reports a gain from."""


def arguments(spec: LaunchSpec) -> list[str]:
    """The checkpoint's own next-token layers draft; no other model is loaded."""
    tokens = spec.engine.speculative_tokens
    if not 0 <= tokens <= MOST_TOKENS:
        raise Failure(
            Reason.INVALID_LAUNCH_SPEC,
            f"engine.speculative_tokens: {tokens}: must be 0 to {MOST_TOKENS}; use operator and runtime of one release",
        )
    if not tokens:
        return []
    config = {"method": "mtp", "num_speculative_tokens": tokens}
    return ["--speculative-config", json.dumps(config, separators=(",", ":"))]
