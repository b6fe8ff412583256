"""Where engines may run: selectors and tolerations that deployments and pools share."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from annotated_types import MaxLen, MinLen
from pydantic import Field

from deepseek_operator.api.base import (
    Label,
    Resource,
)
from deepseek_operator.api.rules import Rule


class TolerationOperator(StrEnum):
    """How a toleration is compared with a taint."""

    EXISTS = "Exists"
    EQUAL = "Equal"


class Toleration(Resource):
    """A toleration as in a pod."""

    key: Annotated[str, MaxLen(316)] = Field(
        default="", description="Key of the taint; empty with Exists: every taint."
    )
    operator: TolerationOperator = Field(default=TolerationOperator.EQUAL, description="Exists or Equal.")
    value: Label = Field(default="", description="Value of the taint, for Equal.")
    effect: Annotated[str, MaxLen(16)] = Field(
        default="", description="NoSchedule, PreferNoSchedule or NoExecute; empty: all."
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="self.effect in ['', 'NoSchedule', 'PreferNoSchedule', 'NoExecute']",
            holds=lambda it: it.effect in {"", "NoSchedule", "PreferNoSchedule", "NoExecute"},
            message="is not an effect of a taint",
            remedy="use NoSchedule, PreferNoSchedule or NoExecute, or leave it out for all",
            field="effect",
        ),
        Rule(
            cel="self.operator == 'Exists' ? self.value == '' : self.key != ''",
            holds=lambda it: it.value == "" if it.operator is TolerationOperator.EXISTS else it.key != "",
            message="the toleration contradicts its operator",
            remedy="give Exists no value, and Equal a key",
        ),
    )


Labels = Annotated[dict[Annotated[str, MinLen(1), MaxLen(317)], Label], MaxLen(32)]
Tolerations = Annotated[tuple[Toleration, ...], MaxLen(16)]
NodeSelector = Annotated[dict[Annotated[str, MinLen(1), MaxLen(317)], Label], MaxLen(16)]
