"""What ``plan`` found, in each of the forms in which it can be printed."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from deepseek_planner.catalog import Catalog, price_sources
from deepseek_planner.explain import plan_document
from deepseek_planner.models import ModelSpec
from deepseek_planner.plan import DeploymentPlan
from deepseek_planner.search import weigh_alone
from deepseek_planner.snapshot import DeploymentInput, DeploymentKey, Policy, Snapshot

if TYPE_CHECKING:  # each form imports what it needs
    from deepseek_operator.cli.page import Report
    from deepseek_planner.matrix import Row


@dataclass(frozen=True, slots=True)
class Answer:
    """What was planned, and from what."""

    snapshot: Snapshot
    catalog: Catalog
    policy: Policy
    planned: Mapping[DeploymentKey, DeploymentPlan]
    has_pools: bool
    """Whether pools were given; else the shipped price list was chosen from."""
    is_explained: bool

    def document(self) -> Any:
        """The status' plan; of several deployments a list."""
        documents = [
            {"namespace": key.namespace, "name": key.name, "plan": plan_document(item)}
            for key, item in self.planned.items()
        ]
        return documents[0]["plan"] if len(documents) == 1 else documents

    def table(self) -> Iterator[str]:
        """Text, deployment by deployment."""
        from deepseek_operator.cli import explained, screens  # noqa: PLC0415

        asked = self._asked()
        for index, (key, planned) in enumerate(self.planned.items()):
            yield "\n" if index else ""
            yield screens.plan_screen(asked[key], planned, self._models(asked[key]), self._priorities())
            if self.is_explained:
                yield explained.candidates_screen(planned, asked[key].model)
                yield explained.matrix_screen(self._matrix(asked[key]))
        if not self.has_pools:
            yield "\n" + screens.sources_line(price_sources(self.snapshot.offerings))

    def unused_prices(self) -> str:
        """Which prices of one's own count for nothing, and why; empty where pools say what is offered."""
        from deepseek_operator.cli import screens  # noqa: PLC0415

        unused = () if self.has_pools else self.catalog.unused_prices(self.snapshot.offerings)
        return screens.unused_line(unused) if unused else ""

    def html(self) -> Iterator[str]:
        """One page."""
        from deepseek_operator.cli.page import page  # noqa: PLC0415

        yield page(self.reports(), self.snapshot.now, has_pools=self.has_pools)

    def reports(self) -> list[Report]:
        """What the page and its pictures are made of."""
        from deepseek_operator.cli.page import Report  # noqa: PLC0415

        asked = self._asked()
        return [
            Report(
                asked=asked[key],
                planned=planned,
                models=self._models(asked[key]),
                priorities=self._priorities(),
                matrix=self._matrix(asked[key]),
                offerings=self.snapshot.offerings,
                max_price_age_days=self.policy.max_price_age_days,
                name=f"d{number}",
            )
            for number, (key, planned) in enumerate(self.planned.items(), start=1)
        ]

    def _asked(self) -> Mapping[DeploymentKey, DeploymentInput]:
        return {item.key: item for item in self.snapshot.deployments}

    def _priorities(self) -> Mapping[DeploymentKey, int]:
        return {item.key: item.objectives.priority for item in self.snapshot.deployments}

    def _models(self, asked: DeploymentInput) -> Mapping[str, ModelSpec]:
        """Its own and its variants, by name."""
        return {name: self.catalog.model(name) for name in (asked.model, *asked.variants)}

    def _matrix(self, asked: DeploymentInput) -> tuple[Row, ...]:
        """What each precision would cost, the deployment alone on the pools: seconds, over a whole price list."""
        from deepseek_planner.matrix import matrix  # noqa: PLC0415

        if sys.stderr.isatty():
            print(f"{asked.key}: what would each precision cost?", file=sys.stderr)
        ask = partial(weigh_alone, snapshot=self.snapshot, catalog=self.catalog, policy=self.policy)
        return matrix(asked, self.catalog.model(asked.model), ask)
