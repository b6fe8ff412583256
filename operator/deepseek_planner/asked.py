"""What is asked of one replica, by a deployment and in terms of the model that is to serve it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from deepseek_planner.catalog import Catalog
from deepseek_planner.models import ModelSpec, Precision
from deepseek_planner.plan import DeploymentInput, Shape
from deepseek_planner.service import Lengths, Limits, lengths

LOSSY = (Precision.BF16, Precision.FP16, Precision.FP8, Precision.INT8, Precision.FP4, Precision.INT4)
"""Formats by how much they usually lose, least first."""
SIXTEEN_BITS = (Precision.BF16, Precision.FP16)
"""Formats that quantize nothing: what they lose needs no measurement."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of one replica, whatever pool it is on."""

    model: ModelSpec
    demand: Lengths
    declared: Lengths
    longest_tokens: int
    limits: Limits
    deployment: DeploymentInput
    variant: str = ""
    """Name of the model where it is not the deployment's own."""
    loss_rank: int = 0
    """Of its native precision."""
    variants: tuple[Request, ...] = ()
    """The same asked of other models that may serve instead."""

    def named(self, shape: Shape) -> str:
        """The shape's name, behind the variant's."""
        return f"{self.variant}/{shape.name}" if self.variant else shape.name


def loss_rank(model: ModelSpec, precision: Precision) -> int:
    """Order of a model's formats by what they may lose: the native one, then those with a known loss, then the rest.

    What nobody measured may lose anything: it comes after all that somebody did, however little it usually loses.
    """
    if precision is model.native_precision:
        return 0
    usual = 1 + LOSSY.index(precision)
    is_known = precision in SIXTEEN_BITS or model.quality_in(precision).is_measured
    return usual if is_known else usual + len(LOSSY)


def request(deployment: DeploymentInput, catalog: Catalog, *, is_measured: bool) -> Request:
    """The demand's lengths are measured ones once the rate is; the engine's settings follow from declared ones."""
    demand = deployment.demand
    declared = lengths(demand)
    own = Request(
        model=catalog.model(deployment.model),
        demand=lengths(demand, deployment.measured) if is_measured else declared,
        declared=declared,
        longest_tokens=demand.input_tokens.max_tokens + demand.output_tokens.max_tokens,
        limits=Limits(deployment.objectives.time_to_first_token, deployment.objectives.time_per_output_token),
        deployment=deployment,
    )
    others = [name for name in deployment.variants if name != deployment.model]
    ranks = 2 * len(LOSSY) + 1
    variants = tuple(
        replace(own, model=catalog.model(name), variant=name, loss_rank=ranks * place)
        for place, name in enumerate(dict.fromkeys(others), 1)
    )
    return replace(own, variants=variants)
