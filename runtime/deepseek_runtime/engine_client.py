"""The few things the supervisor asks the engine over loopback, none of which counts as served."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import aiohttp

from deepseek_runtime.engine_metrics import EngineMetrics
from deepseek_runtime.metering import Tokens
from deepseek_runtime.middleware import PROBE_HEADER


class EngineError(Exception):
    """The engine did not answer, or not as it must; the message says what was asked and what came."""


class EngineClient:
    """HTTP to one engine. Requests carry the token by which its front door leaves them out of its counts."""

    def __init__(self, session: aiohttp.ClientSession, *, port: int, model: str, probe_token: str) -> None:
        self._session = session
        self._base = f"http://127.0.0.1:{port}"
        self._model = model
        self._headers = {PROBE_HEADER.decode(): probe_token}

    async def health(self) -> int:
        """Status of /health, 0 where nothing answers. 200 is liveness only: an engine that cannot generate says it."""
        try:
            async with self._session.get(f"{self._base}/health", timeout=_limit(5)) as answer:
                return answer.status
        except (aiohttp.ClientError, TimeoutError):
            return 0

    async def metrics(self) -> EngineMetrics | None:
        """A scrape, or None when the engine does not answer in time."""
        try:
            async with self._session.get(f"{self._base}/metrics", timeout=_limit(5)) as answer:
                return EngineMetrics(await answer.text()) if answer.status == 200 else None
        except (aiohttp.ClientError, TimeoutError):
            return None

    async def tokenize(self, text: str) -> tuple[int, ...]:
        answer = await self._post("/tokenize", {"prompt": text, "add_special_tokens": False}, timeout_s=30)
        return tuple(answer["tokens"])

    async def generate_one(self, prompt: str | Sequence[int], *, timeout_s: float) -> Tokens:
        """One greedy token; returns what the engine counted for it."""
        answer = await self._complete(prompt, timeout_s=timeout_s)
        return _usage(answer)

    async def prompt_logprobs(self, ids: Sequence[int], *, timeout_s: float) -> tuple[tuple[float, ...], Tokens]:
        """Logprob of each prompt token but the first, and what the engine counted for the request."""
        answer = await self._complete(ids, timeout_s=timeout_s, prompt_logprobs=0)
        entries = answer["choices"][0].get("prompt_logprobs") or []
        try:
            chosen = tuple(float(entry[str(id_)]["logprob"]) for entry, id_ in zip(entries[1:], ids[1:], strict=True))
        except (KeyError, TypeError, ValueError) as error:
            raise EngineError(f"prompt_logprobs: {error!r} in the answer") from None
        return chosen, _usage(answer)

    async def _complete(self, prompt: str | Sequence[int], *, timeout_s: float, **more: object) -> dict[str, Any]:
        text = prompt if isinstance(prompt, str) else list(prompt)
        body = {"prompt": text, "max_tokens": 1, "temperature": 0, **more}
        answer = await self._post("/v1/completions", body, timeout_s=timeout_s)
        if answer.get("usage", {}).get("completion_tokens") != 1:
            raise EngineError(f"/v1/completions: generated {answer.get('usage')}, asked for one token")
        return answer

    async def _post(self, path: str, body: dict[str, object], *, timeout_s: float) -> dict[str, Any]:
        try:
            async with self._session.post(
                self._base + path, json={"model": self._model, **body}, headers=self._headers, timeout=_limit(timeout_s)
            ) as answer:
                if answer.status != 200:
                    raise EngineError(f"{path}: HTTP {answer.status}: {(await answer.text())[:300]}")
                decoded: dict[str, Any] = await answer.json()
                return decoded
        except TimeoutError:
            raise EngineError(f"{path}: no answer in {timeout_s:.0f} s") from None
        except (aiohttp.ClientError, ValueError, asyncio.IncompleteReadError) as error:
            raise EngineError(f"{path}: {error!r}") from None


def _limit(seconds: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=seconds)


def _usage(answer: dict[str, Any]) -> Tokens:
    usage = answer["usage"]
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    return Tokens(input=usage["prompt_tokens"] - cached, cached=cached, output=usage["completion_tokens"])
