"""What of Nodes and Pods :mod:`deepseek_operator.nodes` reads, by form: a file may hold them otherwise."""

from __future__ import annotations

from collections.abc import Mapping

from deepseek_operator.api.form import FLAG, METADATA, TEXT, Form, a_list, a_map, an_object, problems
from deepseek_operator.nodes import is_quantity
from deepseek_operator.world import Kind, Object
from deepseek_planner.errors import Problem

_METADATA = an_object({**METADATA, "name": TEXT}, required=("name",))
_QUANTITIES = a_map(Form('a quantity such as 8, "300m" or "32Gi"', is_quantity))
_CONTAINERS = a_list(
    an_object({"restartPolicy": TEXT, "resources": an_object({"requests": _QUANTITIES, "limits": _QUANTITIES})})
)
_TAINT = an_object({"key": TEXT, "value": TEXT, "effect": TEXT}, required=("key", "effect"))
_CONDITION = an_object({"type": TEXT, "status": TEXT, "reason": TEXT})
_FORMS: Mapping[str, Form] = {
    Kind.NODE: an_object(
        {
            "metadata": _METADATA,
            "spec": an_object({"unschedulable": FLAG, "taints": a_list(_TAINT)}),
            "status": an_object({"allocatable": _QUANTITIES, "conditions": a_list(_CONDITION)}),
        },
        required=("metadata",),
    ),
    Kind.POD: an_object(
        {
            "metadata": _METADATA,
            "spec": an_object(
                {
                    "nodeName": TEXT,
                    "containers": _CONTAINERS,
                    "initContainers": _CONTAINERS,
                    "overhead": _QUANTITIES,
                }
            ),
            "status": an_object({"phase": TEXT}),
        },
        required=("metadata",),
    ),
}


def form_problems(obj: Object) -> tuple[Problem, ...]:
    """Where a Node or a Pod of a file is not of the form that is read here; kinds that are not read have none."""
    form = _FORMS.get(str(obj.get("kind")))
    return () if form is None else tuple(problems(form, obj))
