"""Resources from files: YAML or JSON, several documents in one, as ``kubectl apply -f`` takes them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from pathlib import Path

from deepseek_operator.api.check import at, shown
from deepseek_operator.documents import Document, documents, repeated
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
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise _refused(str(path), "", str(error.strerror), "name a file that can be read") from None
    except UnicodeDecodeError as error:
        raise _refused(str(path), "", f"is no text ({error.reason})", "write YAML or JSON in UTF-8") from None
    problems: list[Problem] = []
    found = list(documents(text, str(path), problems))
    if not found and not problems:
        raise _refused(str(path), "empty", "there is no resource in it", f"write a {allowed[0]}")
    problems += [problem for item in found for problem in _wrong_kind(item, allowed)]
    problems += repeated(found)
    if problems:
        raise InputError(tuple(problems))
    return [_placed(item.object) for item in found]


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


def _wrong_kind(document: Document, allowed: Sequence[Kind]) -> Iterable[Problem]:
    kind, name = document.object.get("kind"), at(document.object, "metadata.name")
    if kind not in allowed:
        remedy = f"write {' or '.join(allowed)}"
        yield Problem(f"{document.place}: kind", repr(kind), "is not served here", remedy)
    elif not isinstance(name, str) or not name:
        yield Problem(f"{document.place}: metadata.name", shown(name), "is required", "name the resource")


def _placed(item: Object) -> Object:
    """With a namespace, and with a weights path that does not depend on where an engine starts."""
    if item["kind"] != Kind.DEPLOYMENT:
        return item
    metadata = {**item["metadata"], "namespace": item["metadata"].get("namespace") or DEFAULT_NAMESPACE}
    path = at(item, "spec.model.source.path")
    if isinstance(path, str):
        model = item["spec"]["model"]
        model = {**model, "source": {**model["source"], "path": str(Path(path).absolute())}}
        return {**item, "metadata": metadata, "spec": {**item["spec"], "model": model}}
    return {**item, "metadata": metadata}


def _refused(field: str, value: str, message: str, remedy: str) -> InputError:
    return InputError((Problem(field, value, message, remedy),))
