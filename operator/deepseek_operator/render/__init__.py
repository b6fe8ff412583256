"""Pure: placements of a plan -> launch specs and Kubernetes objects. No clock, no cluster, no order of calls."""

from __future__ import annotations

from deepseek_operator.render.groups import config_map, engine_group, kind_of, price_document
from deepseek_operator.render.launch import Launch, launch
from deepseek_operator.render.network import base, endpoint
from deepseek_operator.render.request import PodRequest, pod_request

__all__ = [
    "Launch",
    "PodRequest",
    "base",
    "config_map",
    "endpoint",
    "engine_group",
    "kind_of",
    "launch",
    "pod_request",
    "price_document",
]
