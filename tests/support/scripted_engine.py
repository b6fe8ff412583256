"""A process with vLLM's manners and no model, for the supervisor: health, counters, one-token answers, streams.

It counts what is in flight in the shared state, as the front door does inside vLLM, and after SIGTERM answers 500 to
new requests while /health still says 200, as vLLM does. ``FAULT`` in its environment makes it misbehave.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path

from aiohttp import web

from deepseek_runtime import shared_state as slots
from deepseek_runtime.shared_state import SharedState

TOKEN_S = 0.02


class Engine:
    def __init__(self, fault: str, checkpoint: Path) -> None:
        self.fault = fault
        self.state = SharedState(Path(os.environ[slots.VARIABLE]))
        self.prompt = self.output = self.finished = 0
        self.stopping = False
        self.reference = json.loads((checkpoint / "reference.json").read_text())

    async def health(self, _: web.Request) -> web.Response:
        return web.Response(status=503 if self.fault == "unhealthy" and self.finished > 1 else 200)

    async def tokenize(self, _: web.Request) -> web.Response:
        return web.json_response({"tokens": self.reference["token_ids"]})

    async def completions(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        probe = "x-deepseek-probe" in request.headers
        if self.stopping:
            return web.Response(status=500, text="cannot schedule new futures after shutdown")
        if self.fault == "cannot-generate" or (self.fault == "stuck" and self.finished > 1):
            await asyncio.sleep(3600 if self.fault == "stuck" else 0)
            # The engine's words, not ours: what it says of a kernel that it lacks.
            return web.Response(status=500, text="NotImplementedError")
        if not probe:
            self.state.enter(time.monotonic())
        try:
            return await self._stream(request, asked) if asked.get("stream") else self._whole(asked)
        finally:
            if not probe:
                self.state.leave(time.monotonic())

    def _whole(self, asked: dict) -> web.Response:
        ids = asked["prompt"] if isinstance(asked["prompt"], list) else [1] * 4
        self._count(len(ids), asked["max_tokens"])
        usage = {"prompt_tokens": len(ids), "completion_tokens": asked["max_tokens"]}
        choice: dict = {"text": "x"}
        if "prompt_logprobs" in asked:
            shift = 1.0 if self.fault == "wrong-logits" else 0.01
            values = zip(ids[1:], self.reference["logprobs"], strict=True)
            choice["prompt_logprobs"] = [None, *({str(i): {"logprob": value + shift}} for i, value in values)]
        return web.json_response({"choices": [choice], "usage": usage})

    async def _stream(self, request: web.Request, asked: dict) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        for _ in range(asked["max_tokens"]):
            await asyncio.sleep(TOKEN_S)
            await answer.write(b'data: {"choices": [{"text": "x"}]}\n\n')
        self._count(4, asked["max_tokens"])
        await answer.write(b"data: [DONE]\n\n")
        return answer

    def _count(self, prompt: int, output: int) -> None:
        self.prompt += prompt
        self.output += output
        self.finished += 1

    async def metrics(self, _: web.Request) -> web.Response:
        labels = '{engine="0",model_name="m"}'
        lines = [
            "# TYPE vllm:num_requests_running gauge",
            f"vllm:num_requests_running{labels} {self.state.get(slots.IN_FLIGHT)}",
            "# TYPE vllm:prompt_tokens_total counter",
            f"vllm:prompt_tokens_total{labels} {self.prompt}",
            "# TYPE vllm:generation_tokens_total counter",
            f"vllm:generation_tokens_total{labels} {self.output}",
        ]
        for name, value in (
            ("request_prompt_tokens", self.prompt),
            ("request_prefill_kv_computed_tokens", self.prompt),
            ("request_generation_tokens", self.output),
        ):
            lines += [f"# TYPE vllm:{name} histogram", f'vllm:{name}_bucket{{engine="0",le="+Inf"}} {self.finished}']
            lines += [f"vllm:{name}_sum{labels} {value}", f"vllm:{name}_count{labels} {self.finished}"]
        return web.Response(text="\n".join(lines) + "\n")


async def main(port: int, checkpoint: Path) -> int:
    fault = os.environ.get("FAULT", "")
    if fault == "ends-at-start":
        sys.stderr.write("ValueError: No available memory for the cache blocks.\n")
        return 1
    engine = Engine(fault, checkpoint)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    app = web.Application()
    app.add_routes(
        [
            web.get("/health", engine.health),
            web.get("/metrics", engine.metrics),
            web.post("/tokenize", engine.tokenize),
            web.post("/v1/completions", engine.completions),
        ]
    )
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await stop.wait()
    engine.stopping = True
    sys.stdout.write(f"SIGTERM with {engine.state.get(slots.IN_FLIGHT):.0f} in flight\n")
    sys.stdout.flush()
    await asyncio.sleep(0.2)
    await runner.cleanup()
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2]))))
