"""What is asked of one replica, by a deployment and in terms of the model that is to serve it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from deepseek_planner.catalog import Catalog
from deepseek_planner.engine import Wanted, wanted
from deepseek_planner.models import ModelSpec
from deepseek_planner.precision import LOSSY
from deepseek_planner.service import Lengths, Limits, lengths
from deepseek_planner.snapshot import DeploymentInput, Shape


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of one replica, whatever pool it is on."""

    model: ModelSpec
    demand: Lengths
    limits: Limits
    deployment: DeploymentInput
    wanted: Wanted
    """What engines are set by."""
    variant: str = ""
    """Name of the model where it is not the deployment's own."""
    loss_rank: int = 0
    """Of its native precision."""
    variants: tuple[Request, ...] = ()
    """The same asked of other models that may serve instead."""

    def named(self, shape: Shape) -> str:
        """The shape's name, behind the variant's."""
        return f"{self.variant}/{shape.name}" if self.variant else shape.name


def request(deployment: DeploymentInput, catalog: Catalog, *, is_measured: bool) -> Request:
    """The demand's lengths are measured ones once the rate is; the engine's settings follow from declared ones."""
    demand = deployment.demand
    declared = lengths(demand)
    own = Request(
        model=catalog.model(deployment.model),
        demand=lengths(demand, deployment.measured) if is_measured else declared,
        limits=Limits(deployment.objectives.time_to_first_token, deployment.objectives.time_per_output_token),
        deployment=deployment,
        wanted=wanted(deployment, declared),
    )
    others = [name for name in deployment.variants if name != deployment.model]
    ranks = 2 * len(LOSSY) + 1
    variants = tuple(
        replace(own, model=catalog.model(name), variant=name, loss_rank=ranks * place)
        for place, name in enumerate(dict.fromkeys(others), 1)
    )
    return replace(own, variants=variants)
