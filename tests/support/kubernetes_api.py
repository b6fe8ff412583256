"""Raw JSON to and from a real API server."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from kubernetes import client

Api = client.ApiClient


class RefusedError(Exception):
    """The server said no."""

    def __init__(self, status: int, body: dict) -> None:
        self.status = status
        self.body = body
        causes = body.get("details", {}).get("causes") or []
        self.causes = {(item.get("field", ""), item.get("message", "")) for item in causes}
        super().__init__(f"{status}: {body.get('message', body)}")


def request(
    api: Api,
    method: str,
    path: str,
    body: object = None,
    query: list[tuple[str, str]] | None = None,
    *,
    content_type: str = "application/json",
    accept: str = "application/json",
) -> dict:
    """One call; RefusedError for anything but success."""
    headers = {"Accept": accept, "Content-Type": content_type}
    call = api.param_serialize(
        method, path, query_params=query or [], header_params=headers, body=body, auth_settings=["BearerToken"]
    )
    response = api.call_api(*call)
    answer = json.loads(response.read() or b"{}")
    if not 200 <= response.status < 300:
        raise RefusedError(response.status, answer)
    return answer


def apply(api: Api, path: str, obj: dict, *, force: bool = False, dry_run: bool = False) -> dict:
    """Server-side apply, unknown fields refused; returns the object as the server has it."""
    query = [("fieldManager", "test"), ("fieldValidation", "Strict"), ("force", str(force).lower())]
    query += [("dryRun", "All")] if dry_run else []
    return request(
        api, "PATCH", f"{path}/{obj['metadata']['name']}", obj, query, content_type="application/apply-patch+yaml"
    )


def wait_for(holds: Callable[[], object], what: str, *, timeout_s: float = 20.0) -> None:
    """Wait until ``holds()`` is true; fails with ``what`` when it does not in time."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(0.1)
