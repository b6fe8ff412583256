"""What an API server would do to a resource on its way in: refuse it with every problem, or fill in defaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deepseek_operator.api.base import Resource
from deepseek_operator.api.check import check
from deepseek_operator.api.convert import deployment_input
from deepseek_operator.api.deployment import DeepSeekDeploymentSpec
from deepseek_operator.api.pool import AcceleratorPoolSpec
from deepseek_operator.local.store import Defaulter
from deepseek_operator.pools import pool_problems
from deepseek_operator.world import Kind, Object
from deepseek_planner.catalog import Catalog
from deepseek_planner.errors import InputError


def defaulters(catalog: Catalog) -> Mapping[Kind, Defaulter]:
    """Admission of the two custom resources; all other kinds are our own and pass as they are."""

    def deployment(item: Object) -> Object:
        deployment_input(item, catalog=catalog, in_cluster=False)
        return _with_defaults(DeepSeekDeploymentSpec, item)

    def pool(item: Object) -> Object:
        if problems := pool_problems(item, catalog=catalog):
            raise InputError(problems)
        return _with_defaults(AcceleratorPoolSpec, item)

    return {Kind.DEPLOYMENT: deployment, Kind.POOL: pool}


def _with_defaults(kind: type[Resource], item: Object) -> Mapping[str, Any]:
    spec, problems = check(kind, item.get("spec", {}), "spec", in_cluster=False)
    if spec is None or problems:
        raise InputError(tuple(problems))
    return {**item, "spec": spec.model_dump(mode="json", by_alias=True, exclude_none=True)}
