"""What the operator makes for a deployment of :mod:`support.objects`, for tests that read it back."""

from __future__ import annotations

from datetime import date
from typing import Any

from deepseek_operator import render
from deepseek_operator.api.convert import deployment_input
from deepseek_operator.settings import EngineSettings
from deepseek_planner import catalog
from deepseek_planner.hardware import CapacityType, InterNode, IntraNode, Offering, Price
from deepseek_planner.models import Precision
from deepseek_planner.plan import EngineParameters, Placement
from deepseek_planner.snapshot import Shape
from deepseek_planner.units import micro_usd
from support.objects import deployment

CATALOG = catalog.load()
ENGINE = EngineParameters(640, 16, 2048, 1 << 28, prefix_caching=True, data_type="bfloat16")
CPU = Shape("cpu", Precision.BF16, 1, 1, 1, 1, 1)
HOUR = micro_usd("2.00")
"""Price of a node."""


def offering(shape: Shape = CPU, **changes: Any) -> Offering:
    """A spot pool of nodes with eight accelerators each."""
    values = {
        "pool": "machines",
        "accelerator": shape.accelerator,
        "gpus_per_node": 8,
        "capacity_type": CapacityType.SPOT,
        "price": Price(HOUR, "a list", date(2026, 11, 1)),
        "max_nodes": 4,
        "free_gpus_by_node": (8,),
        "intra_node": IntraNode.NVLINK,
        "inter_node": InterNode.EFA,
        "node_selector": {"pool": "machines"},
        "tolerations": ({"key": "spot", "operator": "Exists"},),
    }
    return Offering(**{**values, **changes})


def launched(resource: Any, shape: Shape = CPU, **changes: Any) -> render.Launch:
    """The engines of one placement."""
    values = {
        "shape": shape,
        "pool": "machines",
        "capacity_type": CapacityType.SPOT,
        "replicas": 2,
        "share_percent": 100,
        "usd_per_replica_hour": micro_usd("0.25"),
        "engine": ENGINE,
    }
    item = deployment_input(resource, catalog=CATALOG)
    placement = Placement(**{**values, **changes})
    return render.launch(item, CATALOG.model(placement.model or item.model), placement, render.pod_request(resource))


def group(
    resource: Any = None, shape: Shape = CPU, *, settings: EngineSettings | None = None, replicas: int = 2, **pool: Any
) -> Any:
    """The object that runs them; ``pool`` changes the offering."""
    resource = resource or deployment()
    launch = launched(resource, shape)
    return render.engine_group(
        resource,
        launch,
        replicas,
        offering=offering(shape, **pool),
        settings=settings or EngineSettings(),
    )
