from __future__ import annotations

import tomllib
from datetime import date
from typing import Any

import pytest

from deepseek_planner import catalog
from deepseek_planner.errors import CatalogError
from deepseek_planner.hardware import CapacityType
from deepseek_planner.models import UNMEASURED, Precision
from deepseek_planner.units import micro_usd

TABLES = ("models", "accelerators", "prices")


def tables() -> list[dict[str, Any]]:
    return [tomllib.loads((catalog.DATA / f"{name}.toml").read_text(encoding="utf-8")) for name in TABLES]


def test_shipped_catalogue_has_every_promised_model_and_accelerator() -> None:
    facts = catalog.load()

    assert {model.name for model in facts.models} == {
        "deepseek-v2-lite",
        "deepseek-v2",
        "deepseek-v3",
        "deepseek-r1",
        "deepseek-v3.1",
        "deepseek-v3.2",
        "deepseek-v4-flash",
        "deepseek-v4-pro",
        "deepseek-r1-distill-qwen-7b",
        "deepseek-r1-distill-qwen-14b",
        "deepseek-r1-distill-qwen-32b",
        "deepseek-r1-distill-llama-8b",
        "deepseek-r1-distill-llama-70b",
        "deepseek-tiny",
    }
    wanted = "t4 v100 l4 a10g l40s a100-40gb a100-40gb-pcie a100-80gb a100-80gb-pcie h100 h100-pcie"
    assert {item.name for item in facts.accelerators} == {*wanted.split(), "h200", "b200", "b300", "gb200", "cpu"}


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("NVIDIA-H100-80GB-HBM3", "h100"),
        ("nvidia-h100-mega-80gb", "h100"),
        ("h100_sxm", "h100"),
        ("Tesla-T4", "t4"),
        ("nvidia-tesla-t4", "t4"),
        ("NVIDIA-A100-SXM4-40GB", "a100-40gb"),
        ("NVIDIA-A100-80GB-PCIe", "a100-80gb-pcie"),
        ("H200", "h200"),
    ],
)
def test_accelerators_are_found_by_the_names_that_nodes_and_tools_use(alias: str, name: str) -> None:
    assert catalog.load().accelerator(alias).name == name


def test_shared_and_partitioned_products_are_not_taken_for_whole_ones() -> None:
    for product in ("NVIDIA-H100-80GB-HBM3-SHARED", "NVIDIA-A100-SXM4-40GB-MIG-1g.5gb"):
        with pytest.raises(KeyError):
            catalog.load().accelerator(product)


@pytest.mark.parametrize(
    ("place", "capacity_type", "dollars"),
    [
        ("us-east-1", CapacityType.ON_DEMAND, "55.04"),
        ("us-east-1a", CapacityType.ON_DEMAND, "55.04"),
        ("us-east-1", CapacityType.SPOT, "18.6838"),
        ("use1-az2", CapacityType.SPOT, "18.734"),
        ("us-east-1a", CapacityType.SPOT, "18.6838"),
    ],
)
def test_prices_are_found_by_region_zone_name_and_zone_id(
    place: str, capacity_type: CapacityType, dollars: str
) -> None:
    price = catalog.load().price("p5.48xlarge", place, capacity_type)

    assert price is not None
    assert price.usd_per_node_hour == micro_usd(dollars)
    assert price.source


@pytest.mark.parametrize(
    ("instance", "place", "capacity_type"),
    [
        ("p5.48xlarge", "eu-west-3a", CapacityType.ON_DEMAND),
        ("x9.large", "us-east-1a", CapacityType.ON_DEMAND),
        ("p5.48xlarge", "us-east-1a", CapacityType.RESERVED),
    ],
)
def test_a_price_that_is_not_listed_is_unknown_rather_than_guessed(
    instance: str, place: str, capacity_type: CapacityType
) -> None:
    assert catalog.load().price(instance, place, capacity_type) is None


def test_zone_names_of_other_clouds_lead_to_their_region() -> None:
    facts = catalog.load()

    assert facts.price("a2-ultragpu-8g", "us-central1-c", CapacityType.ON_DEMAND) is not None
    assert facts.price("Standard_ND96isr_H100_v5", "eastus-2", CapacityType.ON_DEMAND) is not None
    assert facts.price("Standard_ND96isr_H200_v5", "eastus2-1", CapacityType.ON_DEMAND) is not None
    assert facts.price("p5.48xlarge", "us-east-1", CapacityType.ON_DEMAND) is not None


@pytest.mark.parametrize(
    ("instance", "place", "per_day"),
    [
        ("p5en.48xlarge", "us-east-1a", 0.46),  # below 5 %
        ("p5.48xlarge", "us-west-2", 1.4),  # 5 to 10 %
        ("p3.2xlarge", "us-east-1", 5.5),  # above 20 %
        ("a3-highgpu-8g", "us-central1-a", 2.3),  # nobody says
        ("our-own-box", "", 2.3),
    ],
)
def test_interruptions_are_those_of_the_type_and_region_or_of_the_middle(
    instance: str, place: str, per_day: float
) -> None:
    facts = catalog.load()

    assert facts.interruptions_per_node_day(instance, place, CapacityType.SPOT) == per_day
    assert facts.interruptions_per_node_day(instance, place, CapacityType.ON_DEMAND) == 0.0


def test_what_is_offered_carries_its_interruptions() -> None:
    by_name = {item.pool: item.interruptions_per_node_day for item in catalog.load().default_offerings()}

    assert by_name["aws-us-east-1-p5en-48xlarge-spot"] == 0.46
    assert by_name["aws-us-east-1-p5en-48xlarge"] == 0.0


def test_committed_prices_are_known_where_a_list_names_them_and_lie_between_the_others() -> None:
    reserved = [item for item in catalog.load().instances if item.reserved]

    assert {item.cloud for item in reserved} == {"gcp"}
    for item in reserved:
        assert item.on_demand is not None
        assert item.reserved is not None
        assert item.on_demand.usd_per_node_hour / 2 < item.reserved.usd_per_node_hour < item.on_demand.usd_per_node_hour
        assert item.price("", CapacityType.RESERVED) == item.reserved
    assert not any(item.capacity_type is CapacityType.RESERVED for item in catalog.load().default_offerings())


def test_two_prices_of_an_instance_may_be_of_two_sources_and_days() -> None:
    (nebius,) = (item for item in catalog.load().instances if item.instance_type == "gpu-h100-sxm_8gpu-128vcpu-1600gb")

    assert nebius.on_demand is not None
    assert nebius.spot is not None
    assert (nebius.on_demand.usd_per_node_hour, nebius.on_demand.as_of) == (micro_usd("30.8"), date(2026, 9, 25))
    assert nebius.spot.as_of < nebius.on_demand.as_of


def test_spot_is_below_on_demand_everywhere() -> None:
    dear = [
        item.instance_type
        for item in catalog.load().instances
        if item.on_demand and item.spot and item.spot.usd_per_node_hour >= item.on_demand.usd_per_node_hour
    ]
    assert dear == []


def test_default_offerings_have_unique_names_and_a_dated_price() -> None:
    offerings = catalog.load().default_offerings()

    assert len({item.pool for item in offerings}) == len(offerings) > 100
    assert all(item.price is not None and item.price.source for item in offerings)
    assert {"cpu", "t4", "a100-80gb", "h100", "h200", "b200"} <= {item.accelerator for item in offerings}


def test_quality_of_a_precision_is_sourced_or_called_unmeasured() -> None:
    facts = catalog.load()

    assert facts.model("deepseek-r1").quality_in(Precision.FP4).source
    assert facts.model("deepseek-v3.1").quality_in(Precision.FP4) == UNMEASURED
    assert facts.model("deepseek-v3").quality_in(Precision.FP8).loss.startswith("none")


def test_every_contradiction_is_reported_at_once() -> None:
    models, accelerators, prices = tables()
    models["models"][0]["source"] = " "
    models["models"][1]["total_parameters"] = 100e9
    models["models"][2]["checkpoints"] = ["int4", "fp4"]
    models["models"][3]["attention"]["kind"] = "quantum"
    accelerators["accelerators"][0]["tflops"]["bf16"] = 65
    accelerators["accelerators"][1]["aliases"].append("tesla-t4")
    accelerators["accelerators"][2]["memory_gb"] = 0
    prices["regions"][0]["instances"][0]["source"] = "hearsay"
    prices["regions"][0]["instances"][1]["accelerator"] = "tpu"
    prices["regions"][0]["instances"][2]["interruption"] = "often"

    with pytest.raises(CatalogError) as caught:
        catalog.parse(models, accelerators, prices)

    text = "\n".join(caught.value.problems)
    for expected in (
        "deepseek-v2-lite: no source",
        "deepseek-v2: the architecture adds up to 235.",
        "deepseek-v3: its native precision fp8 is not among its checkpoints",
        "deepseek-r1: attention.kind 'quantum'",
        "t4: bf16 needs compute capability 8.0",
        "tesla-t4 stands 2 times",
        "l4: memory_gb must be above 0",
        "source 'hearsay' is not in [sources]",
        "accelerator 'tpu' is not in accelerators.toml",
        "interruption 'often' is not in [interruptions] per_node_day",
    ):
        assert expected in text


def test_a_price_list_without_interruptions_is_refused() -> None:
    models, accelerators, prices = tables()
    del prices["interruptions"]

    with pytest.raises(CatalogError, match=r"prices: \[interruptions\]"):
        catalog.parse(models, accelerators, prices)


@pytest.mark.parametrize("table", ["models", "accelerators"])
def test_every_shipped_row_says_when_it_was_read(table: str) -> None:
    rows = tables()[TABLES.index(table)][table]

    undated = [row["name"] for row in rows if not any(year in row["source"] for year in ("2018", "2021", "2026"))]

    assert undated == []
