"""A DeepSeekDeployment as written -> what the planner plans for, or every problem that it has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from deepseek_operator.api.check import at, check, in_order, nearest, shown, without_nulls
from deepseek_operator.api.deployment import AcceleratorRules, DeepSeekDeploymentSpec
from deepseek_operator.api.envelope import envelope_problems, spec_of
from deepseek_operator.api.lengths import distributions
from deepseek_operator.api.names import DEPLOYMENT_KIND, DEPLOYMENT_NAME
from deepseek_operator.api.rules import decimal_of, duration_s
from deepseek_operator.api.workload import PERCENTILES, LatencyObjective
from deepseek_operator.world import Object
from deepseek_planner.catalog import Catalog
from deepseek_planner.demand import Demand, LatencyTarget, Objectives
from deepseek_planner.errors import InputError, Problem
from deepseek_planner.models import ModelSpec, Precision
from deepseek_planner.snapshot import Constraints, DeploymentInput, DeploymentKey, Rebalancing
from deepseek_planner.units import MicroUsd, micro_usd


def deployment_input(obj: Object, *, catalog: Catalog, in_cluster: bool = False) -> DeploymentInput:
    """One resource as the planner sees it; raises InputError with all its problems.

    The rules are those of the CRD, so that a file is refused for what the cluster would refuse it for.
    ``in_cluster`` also applies those that make no sense in the embedded world.
    """
    raw = without_nulls(spec_of(obj))
    spec, problems = check(DeepSeekDeploymentSpec, raw, "spec", in_cluster=in_cluster)
    problems += _about_catalog(raw, catalog)
    around = envelope_problems(obj, DEPLOYMENT_KIND, DEPLOYMENT_NAME)
    problems = [*around, *in_order(DeepSeekDeploymentSpec, problems, "spec")]
    if spec is None or problems:
        raise InputError(tuple(problems))
    return _converted(obj, spec, catalog)


def _about_catalog(raw: Any, catalog: Catalog) -> Iterator[Problem]:
    """What only the catalogue knows: which models and accelerators there are."""
    models = {model.name: model for model in catalog.models}
    name = at(raw, "model.name")
    model = models.get(name) if isinstance(name, str) else None
    if isinstance(name, str) and model is None:
        yield Problem("spec.model.name", shown(name), "is not a model of the catalogue", nearest(name, models))
    elif model is not None and not model.repository and "source" not in raw["model"]:
        yield Problem(
            "spec.model.source",
            "not set",
            f"{model.name} has no repository on the hub",
            "say where its weights are: persistentVolumeClaim, uri or path",
        )
    yield from _about_variants(raw, models)
    where = "placement.accelerators"
    allow, deny = (_texts(at(raw, f"{where}.{field}")) for field in ("allow", "deny"))
    for field, names in (("allow", allow), ("deny", deny)):
        for index, name in enumerate(names):
            if (problem := unknown_accelerator(name, f"spec.{where}.{field}[{index}]", catalog)) is not None:
                yield problem
    both = set(_canonical(allow, catalog)) & set(_canonical(deny, catalog))
    if both and not set(allow) & set(deny):  # under two names; under one, the rule of the type has said it
        rule = AcceleratorRules.rules[0]
        yield Problem(f"spec.{where}.deny", shown(sorted(both)), rule.message, rule.remedy)


def _about_variants(raw: Any, models: Mapping[str, ModelSpec]) -> Iterator[Problem]:
    """Variants come from the hub, so the catalogue must know where."""
    from_hub = [model.name for model in models.values() if model.repository]
    for index, name in enumerate(_texts(at(raw, "model.variants"))):
        where, model = f"spec.model.variants[{index}]", models.get(name)
        if model is None:
            yield Problem(where, shown(name), "is not a model of the catalogue", nearest(name, from_hub))
        elif not model.repository:
            remedy = "leave it out, or make it a deployment of its own with a source"
            yield Problem(where, shown(name), "has no repository on the hub, where variants come from", remedy)


def _texts(raw: Any) -> tuple[str, ...]:
    return tuple(item for item in raw if isinstance(item, str)) if isinstance(raw, list) else ()


def unknown_accelerator(name: str, where: str, catalog: Catalog) -> Problem | None:
    """The problem with an accelerator that the catalogue does not know by name or alias."""
    try:
        catalog.accelerator(name)
    except KeyError:
        names = [accelerator.name for accelerator in catalog.accelerators]
        return Problem(where, shown(name), "is not an accelerator of the catalogue", nearest(name, names))
    return None


def _canonical(names: tuple[str, ...], catalog: Catalog) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for name in names:
        if unknown_accelerator(name, "", catalog) is None:
            found[catalog.accelerator(name).name] = None
    return tuple(found)


def _converted(obj: Object, spec: DeepSeekDeploymentSpec, catalog: Catalog) -> DeploymentInput:
    metadata, load, placement = obj["metadata"], spec.workload, spec.placement
    rate, source = load.requests_per_minute, spec.model.source
    inputs, outputs = distributions(load)
    return DeploymentInput(
        key=DeploymentKey(metadata.get("namespace") or "", metadata["name"]),
        generation=int(metadata.get("generation") or 1),
        model=spec.model.name,
        demand=Demand(
            expected_requests_per_min=float(rate.expected),
            peak_requests_per_min=float(rate.peak or rate.expected),
            input_tokens=inputs,
            output_tokens=outputs,
            shared_prefix_tokens=load.shared_prefix_tokens,
        ),
        objectives=_objectives(spec),
        constraints=Constraints(
            allow_accelerators=_canonical(placement.accelerators.allow, catalog),
            deny_accelerators=_canonical(placement.accelerators.deny, catalog),
            capacity_types=placement.capacity_types,
            max_spot_percent=placement.max_spot_percent,
            zones=placement.zones,
            node_selector=placement.node_selector,
            min_replicas=spec.scaling.min_replicas,
            max_replicas=spec.scaling.max_replicas,
        ),
        rebalancing=Rebalancing(
            mode=spec.rebalancing.mode,
            min_savings_percent=spec.rebalancing.min_savings_percent,
            cooldown_s=duration_s(spec.rebalancing.cooldown),
        ),
        paused=spec.paused,
        own_weights=source is not None,
        own_precision=Precision(source.precision) if source is not None and source.precision is not None else None,
        variants=spec.model.variants,
    )


def _objectives(spec: DeepSeekDeploymentSpec) -> Objectives:
    asked = spec.objectives
    assert asked.max_usd_per_hour is not None
    return Objectives(
        time_to_first_token=_target(asked.time_to_first_token),
        time_per_output_token=_target(asked.time_per_output_token),
        accuracy_class=asked.accuracy_class,
        max_usd_per_hour=_money(asked.max_usd_per_hour),
        max_usd_per_million_tokens=(
            None if asked.max_usd_per_million_tokens is None else _money(asked.max_usd_per_million_tokens)
        ),
        priority=asked.priority,
        availability_percent=float(decimal_of(asked.availability_percent)),
    )


def _target(objective: LatencyObjective) -> LatencyTarget:
    name = next(name for name in PERCENTILES if getattr(objective, name) is not None)
    return LatencyTarget(percentile=int(name[1:]), limit_s=duration_s(getattr(objective, name)))


def _money(amount: int | str) -> MicroUsd:
    return micro_usd(decimal_of(amount))
