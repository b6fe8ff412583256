"""Resources from files: YAML or JSON, several documents in one, as ``kubectl apply -f`` takes them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml

from deepseek_operator.local.store import timestamp, utc_now
from deepseek_operator.render.names import API_VERSION
from deepseek_operator.world import Kind, Object
from deepseek_planner.errors import InputError, Problem

DEFAULT_NAMESPACE = "default"
NODE_LABEL = "serving.deepseek-operator.dev/world"
NODE_LABEL_VALUE = "embedded"
"""Carried by the only node; the pools of this world select it."""

DEFAULT_USD_PER_VCPU_HOUR = Decimal("0.05796")
DEFAULT_PRICE_SOURCE = (
    "AWS m7a per vCPU, us-east-1, Linux on demand: aws/karpenter-provider-aws zz_generated.pricing_aws.go"
)
DEFAULT_PRICE_AS_OF = "2026-07-20"


def read(path: Path, *, kinds: Iterable[Kind]) -> Sequence[Object]:
    """The resources in a file. Raises InputError for what cannot be read and for other kinds."""
    allowed = tuple(kinds)
    try:
        documents = [item for item in yaml.safe_load_all(path.read_text()) if item is not None]
    except OSError as error:
        raise _refused(str(path), "", str(error.strerror), "name a file that can be read") from None
    except yaml.YAMLError as error:
        raise _refused(str(path), "", " ".join(str(error).split()), "write YAML or JSON") from None
    items = [part for item in documents for part in _parts(item)]
    if not items:
        raise _refused(str(path), "empty", "there is no resource in it", f"write a {allowed[0]}")
    problems = [problem for item in items for problem in _wrong_kind(path, item, allowed)]
    if problems:
        raise InputError(tuple(problems))
    return [_placed(item) for item in items]


def default_pool(*, slots: int) -> Object:
    """A pool for machines without a pools file: this machine, priced per vCPU like a cloud's."""
    price = {
        "usdPerNodeHour": str(DEFAULT_USD_PER_VCPU_HOUR * slots),
        "source": DEFAULT_PRICE_SOURCE,
        "asOf": DEFAULT_PRICE_AS_OF,
    }
    return {
        "apiVersion": API_VERSION,
        "kind": str(Kind.POOL),
        "metadata": {"name": "this-machine", "creationTimestamp": timestamp(utc_now())},
        "spec": {
            "accelerator": "cpu",
            "gpusPerNode": slots,
            "capacityType": "OnDemand",
            "price": price,
            "startup": "0s",
            "maxNodes": 1,
            "nodeSelector": {NODE_LABEL: NODE_LABEL_VALUE},
        },
    }


def _parts(item: Any) -> Sequence[Any]:
    return item.get("items", []) if isinstance(item, dict) and item.get("kind") == "List" else [item]


def _wrong_kind(path: Path, item: Any, allowed: Sequence[Kind]) -> Iterable[Problem]:
    kind = item.get("kind") if isinstance(item, dict) else type(item).__name__
    if kind not in allowed:
        yield Problem(f"{path}: kind", repr(kind), "is not served here", f"write {' or '.join(allowed)}")
    elif not isinstance(item.get("metadata"), dict) or not item["metadata"].get("name"):
        yield Problem(f"{path}: metadata.name", "not set", "is required", "name the resource")


def _placed(item: dict[str, Any]) -> Object:
    """With a namespace, and with a weights path that does not depend on where an engine starts."""
    if item["kind"] != Kind.DEPLOYMENT:
        return item
    metadata = {"namespace": DEFAULT_NAMESPACE, **item["metadata"]}
    spec = item.get("spec")
    source = ((spec.get("model") or {}).get("source") or {}) if isinstance(spec, dict) else {}
    if isinstance(source, dict) and isinstance(source.get("path"), str):
        model = {**item["spec"]["model"], "source": {**source, "path": str(Path(source["path"]).absolute())}}
        return {**item, "metadata": metadata, "spec": {**item["spec"], "model": model}}
    return {**item, "metadata": metadata}


def _refused(field: str, value: str, message: str, remedy: str) -> InputError:
    return InputError((Problem(field, value, message, remedy),))
