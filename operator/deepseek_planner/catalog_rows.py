"""Rows of the catalogue's TOML tables -> values. A row that cannot be read is left out and its problem noted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from typing import Any, NamedTuple, TypeVar, cast

from deepseek_planner.hardware import Accelerator, InterNode, IntraNode, Price
from deepseek_planner.models import (
    Attention,
    CompressedAttention,
    Experts,
    GroupedAttention,
    LatentAttention,
    ModelSpec,
    Precision,
    Quality,
)
from deepseek_planner.units import micro_usd

T = TypeVar("T")
Row = dict[str, Any]
Table = Mapping[str, object]


class Interruptions(NamedTuple):
    """How often spot nodes are taken back, per node and day, by the band in which their cloud puts them."""

    per_node_day: Mapping[str, float]
    unknown: float
    """Of nodes in no band."""
    source: str
    as_of: date

    def of(self, raw: Mapping[str, Any]) -> float:
        """Of the instance of one row; raises ValueError for a band that the table lacks."""
        band = raw.get("interruption")
        if band is not None and band not in self.per_node_day:
            raise ValueError(f"interruption {band!r} is not in [interruptions] per_node_day")
        return self.unknown if band is None else self.per_node_day[band]


ATTENTIONS: Mapping[str, type[LatentAttention] | type[GroupedAttention] | type[CompressedAttention]] = {
    "latent": LatentAttention,
    "grouped": GroupedAttention,
    "compressed": CompressedAttention,
}


def models(table: Table, problems: list[str]) -> list[ModelSpec]:
    """Rows of ``[[models]]``."""
    return _rows(table, "models", "name", _model, problems)


def accelerators(table: Table, problems: list[str]) -> list[Accelerator]:
    """Rows of ``[[accelerators]]``."""
    return _rows(table, "accelerators", "name", _accelerator, problems)


def interruptions(table: Table, problems: list[str]) -> Interruptions:
    """The table ``[interruptions]``."""
    raw = table.get("interruptions")
    try:
        assert isinstance(raw, Mapping)
        per_day = {str(band): float(value) for band, value in raw["per_node_day"].items()}
        return Interruptions(per_day, per_day[raw["unknown"]], str(raw["source"]), raw["as_of"])
    except (AssertionError, KeyError, TypeError, ValueError) as error:
        problems.append(
            f"prices: [interruptions]: {_text(error) or 'missing'}; it holds per_node_day, unknown, source, as_of"
        )
        return Interruptions({}, 0.0, "", date.min)


def instances(table: Table, interruptions: Interruptions, problems: list[str]) -> list[Row]:
    """Fields of instances, flattened over regions."""
    sources = table.get("sources", {})
    assert isinstance(sources, Mapping)
    found: list[Row] = []
    regions = table.get("regions", [])
    assert isinstance(regions, list)
    for region in regions:
        for raw in region.get("instances", []):
            where = f"prices: {region.get('region', '?')} {raw.get('type', '?')}"
            try:
                found.append(_instance(raw, region, sources) | {"interruptions_per_node_day": interruptions.of(raw)})
            except (KeyError, TypeError, ValueError) as error:
                problems.append(f"{where}: {_text(error)}")
    return found


def _rows(table: Table, key: str, name: str, read: Callable[[Row], T], problems: list[str]) -> list[T]:
    found: list[T] = []
    raw_rows = table.get(key)
    if not isinstance(raw_rows, list):
        problems.append(f"{key}: missing; the table must hold [[{key}]] rows")
        return found
    for raw in raw_rows:
        where = f"{key}: {raw.get(name, '?')}"
        if not str(raw.get("source", "")).strip():
            problems.append(f"{where}: no source; say where the row comes from and when it was read")
        try:
            found.append(read(dict(raw)))
        except (KeyError, TypeError, ValueError) as error:
            problems.append(f"{where}: {_text(error)}")
    return found


def _model(raw: Row) -> ModelSpec:
    raw["attention"] = _attention(dict(raw["attention"]))
    raw["experts"] = Experts(**raw["experts"]) if "experts" in raw else None
    raw["native_precision"] = Precision(raw["native_precision"])
    raw["checkpoints"] = tuple(Precision(name) for name in raw["checkpoints"])
    raw["repositories"] = {Precision(name): value for name, value in raw.get("repositories", {}).items()}
    raw["quality"] = {Precision(name): Quality(**value) for name, value in raw.get("quality", {}).items()}
    raw["elsewhere"] = {Precision(name): value for name, value in raw.get("elsewhere", {}).items()}
    raw["fp8_cache"] = Quality(**raw["fp8_cache"]) if "fp8_cache" in raw else None
    raw["total_parameters"] = float(raw["total_parameters"])
    raw["active_parameters"] = float(raw["active_parameters"])
    return ModelSpec(**raw)


def _attention(raw: Row) -> Attention:
    kind = raw.pop("kind")
    if kind not in ATTENTIONS:
        raise ValueError(f"attention.kind {kind!r} is not one of {', '.join(ATTENTIONS)}")
    if kind == "latent":
        raw.setdefault("q_lora_rank", None)
    if kind == "compressed":
        raw["layers_by_ratio"] = tuple((int(ratio), int(layers)) for ratio, layers in raw["layers_by_ratio"])
    return ATTENTIONS[kind](**raw)


def _accelerator(raw: Row) -> Accelerator:
    capability = raw.get("compute_capability")
    return Accelerator(
        name=raw["name"],
        aliases=tuple(raw["aliases"]),
        compute_capability=None if capability is None else (int(capability[0]), int(capability[1])),
        memory_bytes=float(raw["memory_gb"]) * 1e9,
        bandwidth_bytes_per_s=float(raw["bandwidth_gb_per_s"]) * 1e9,
        flops_per_s={Precision(name): float(value) * 1e12 for name, value in raw["tflops"].items()},
        intra_node=IntraNode(raw["intra_node"]),
        link_bytes_per_s=float(raw["link_gb_per_s"]) * 1e9,
        source=raw["source"],
    )


def _instance(raw: Mapping[str, Any], region: Mapping[str, Any], sources: Mapping[str, Any]) -> Row:
    def price(key: str) -> Price | None:
        source = _source(raw.get(f"{key}_source", raw["source"]), sources)
        if key not in raw:
            return None
        return Price(usd_per_node_hour=micro_usd(raw[key]), source=source["text"], as_of=source["as_of"])

    if "on_demand" not in raw and "spot" not in raw:
        raise ValueError("neither on_demand nor spot; leave the row out")
    return {
        "cloud": region["cloud"],
        "region": region["region"],
        "instance_type": raw["type"],
        "accelerator": raw["accelerator"],
        "accelerators": int(raw["accelerators"]),
        "inter_node": InterNode(raw["inter_node"]),
        "on_demand": price("on_demand"),
        "spot": price("spot"),
        "reserved": price("reserved"),
        "spot_by_zone": {zone: micro_usd(value) for zone, value in raw.get("spot_by_zone", {}).items()},
    }


def _source(name: str, sources: Mapping[str, Any]) -> Mapping[str, Any]:
    source = sources.get(name)
    if source is None:
        raise ValueError(f"source {name!r} is not in [sources]; add it with text and as_of")
    if not isinstance(source.get("as_of"), date):
        raise ValueError(f"source {name!r} has no date; add as_of")
    return cast("Mapping[str, Any]", source)


def _text(error: Exception) -> str:
    return f"missing {error}" if isinstance(error, KeyError) else str(error)
