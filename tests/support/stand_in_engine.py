"""A process with an engine pod's manners and no model: answers, streams, becomes ready, drains on SIGTERM.

``python -m support.stand_in_engine LAUNCHSPEC [--start-s S] [--token-s S] [--crash]``
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from pathlib import Path

from aiohttp import web

LOOPBACK = "127.0.0.1"


class Engine:
    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.ready = False
        self.in_flight = 0
        self.served = 0

    async def completions(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        self.in_flight += 1
        try:
            if not asked.get("stream"):
                await asyncio.sleep(self.arguments.token_s * asked["max_tokens"])
                self.served += asked["max_tokens"]
                return web.json_response({"choices": [{"text": "x" * asked["max_tokens"]}]})
            answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
            await answer.prepare(request)
            for index in range(asked["max_tokens"]):
                if index == asked.get("break_after"):
                    request.transport.abort()
                    return answer
                await asyncio.sleep(self.arguments.token_s)
                await answer.write(b"data: " + json.dumps({"choices": [{"text": "x"}]}).encode() + b"\n\n")
                self.served += 1
            await answer.write(b"data: [DONE]\n\n")
            return answer
        finally:
            self.in_flight -= 1

    async def readyz(self, _: web.Request) -> web.Response:
        return web.Response(status=200 if self.ready else 503)

    async def metrics(self, _: web.Request) -> web.Response:
        return web.Response(text=f'deepseek_tokens_total{{direction="output"}} {self.served}\n')


async def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("launchspec", type=Path)
    parser.add_argument("--start-s", type=float, default=0.1)
    parser.add_argument("--token-s", type=float, default=0.005)
    parser.add_argument("--crash", action="store_true")
    arguments = parser.parse_args()
    spec = json.loads(arguments.launchspec.read_text())
    if arguments.crash:
        sys.stderr.write("no such checkpoint\n")
        return 3
    engine = Engine(arguments)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    for port, routes in (
        (spec["port"], [web.post("/v1/completions", engine.completions)]),
        (spec["metrics_port"], [web.get("/readyz", engine.readyz), web.get("/metrics", engine.metrics)]),
    ):
        app = web.Application()
        app.add_routes(routes)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, LOOPBACK, port).start()
    await asyncio.sleep(arguments.start_s)
    engine.ready = True
    await stop.wait()
    engine.ready = False
    while engine.in_flight:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
