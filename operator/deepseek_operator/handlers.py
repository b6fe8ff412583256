"""Every kopf decorator. A handler notes what it sees and wakes the loop; it decides nothing.

Only ``on.event`` is used: it is level-based, adds no finalizers and keeps no state on the objects.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import kopf

from deepseek_operator.cache import ObjectCache
from deepseek_operator.client import APIS, in_cluster
from deepseek_operator.world import Kind


def registry(cache: ObjectCache, *, seen: Callable[[], None]) -> kopf.OperatorRegistry:
    """Handlers for every kind of the cache. ``seen`` is called on every event, wanted or not."""
    handlers = kopf.OperatorRegistry()

    @kopf.on.login(registry=handlers)
    async def login(**kwargs: Any) -> Any:
        return kopf.login_with_service_account(**kwargs) if in_cluster() else kopf.login_with_kubeconfig(**kwargs)

    for kind in cache.kinds:
        api = APIS[kind]

        @kopf.on.event(api.group, api.version, api.plural, registry=handlers, id=str(kind), param=kind)
        async def note(**cause: Any) -> None:
            seen()
            event, noted = cause["event"], cause["param"]
            if event["type"] == "DELETED":
                cache.remove(noted, event["object"])
            else:
                cache.put(noted, event["object"])

    return handlers


def settings(kinds: Sequence[Kind]) -> kopf.OperatorSettings:
    """What kopf does by itself is reduced to lists and watches."""
    chosen = kopf.OperatorSettings()
    chosen.scanning.disabled = True  # no reading of CRDs and namespaces
    chosen.peering.standalone = True  # the lease decides who acts
    chosen.posting.enabled = False  # Events are written in one place, by us
    chosen.watching.server_timeout = 300
    chosen.watching.client_timeout = 310
    chosen.watching.connect_timeout = 10
    chosen.watching.chunk_size = 500
    chosen.networking.request_timeout = 30
    chosen.networking.connect_timeout = 5
    chosen.networking.error_backoffs = Backoffs()
    chosen.queueing.idle_timeout = 1.0
    for kind in kinds:
        api = APIS[kind]
        if api.selector:
            # The group is left out for the core: "v1/pods" would silently match nothing.
            key = (api.group, api.version, api.plural) if api.group else (api.version, api.plural)
            chosen.watching.label_selectors[key] = api.selector
    return chosen


class Backoffs:
    """Pauses between attempts to reach the API, about five minutes in all; then the process ends and starts again."""

    def __iter__(self) -> Iterator[float]:
        for pause in (0.5, 1, 2, 4, 8, 15, 30, 30, 30, 30, 30, 30, 30, 30):
            yield pause * random.uniform(0.7, 1.3)
