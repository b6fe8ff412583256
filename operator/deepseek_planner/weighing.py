"""Every shape of every pool weighed for one deployment: what would serve it alone, and why the others would not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from deepseek_planner import cost, eligibility
from deepseek_planner.asked import Request, request
from deepseek_planner.budgets import over_budget
from deepseek_planner.candidates import Weighed
from deepseek_planner.demand import RequestClass, classes
from deepseek_planner.fleets import fleets
from deepseek_planner.forecast import MEASURED, with_headroom, wobble
from deepseek_planner.hardware import Offering
from deepseek_planner.ledger import Ledger, Place, best_of_each, distinct
from deepseek_planner.legal import Laid, Wiring
from deepseek_planner.market import Buyer, Fleet, Quote, in_order, quotes
from deepseek_planner.options import Option
from deepseek_planner.plan import Rejection
from deepseek_planner.snapshot import DeploymentInput, Routing, Shape
from deepseek_planner.survey import Enough, Gate, Survey, weigh
from deepseek_planner.units import MicroUsd
from deepseek_planner.world import Telling, World


@dataclass(frozen=True, slots=True)
class Outcome:
    """What there is for one deployment under its limits."""

    deployment: DeploymentInput
    asked: Request
    requests_per_min: float
    """To plan for."""
    source: str
    """Of the rate: ``declared`` or ``measured``."""
    choices: tuple[tuple[Option, tuple[Quote, ...]], ...]
    """Options that serve, with what a replica costs where engines of them may be started."""
    classes: tuple[RequestClass, ...]
    """Of request lengths, where requests are routed by them."""
    beaten: tuple[Place, ...]
    """Options that serve and are no offer: another of their size comes before them."""
    fleets: tuple[Fleet, ...]
    """Of one option each, feasible alone, best first."""
    rejections: tuple[Rejection, ...]
    weighed: tuple[Weighed, ...]
    """Every shape on every kind of node, where alternatives are explained."""


def beaten(world: World, outcome: Outcome, like: Option, *, most: int) -> Iterator[Fleet]:
    """Fleets of what is no offer and of the size of an option, of so many replicas at most; what carries as much."""
    buyer, size = Buyer(outcome.asked, outcome.requests_per_min), _size(like.shape)
    for place in best_of_each(place for place in outcome.beaten if _size(place.option.shape) == size):
        option = place.option
        if most * option.capacity.rate_per_s * 60 >= outcome.requests_per_min * (1 - 1e-9):
            offers = quotes(world.market, buyer, option, place.startable)
            yield from (item for item in fleets(world.market, buyer, option, offers) if isinstance(item, Fleet))


def _size(shape: Shape) -> tuple[str, int, int]:
    return shape.accelerator, shape.accelerators, shape.nodes_per_replica


SURVEYED_TOGETHER = 128
"""Deployments whose shapes are sized at once: enough for quick sums, few enough to be forgotten soon."""


def find(world: World, deployment: DeploymentInput) -> Outcome:
    """Every feasible fleet under the deployment's limits, best first, and why the others are not."""
    (outcome,) = find_all(world, [deployment])
    return outcome


def find_all(world: World, deployments: Sequence[DeploymentInput]) -> Iterator[Outcome]:
    """The same for each of them."""
    for start in range(0, len(deployments), SURVEYED_TOGETHER):
        looks = [_Look(world, deployment) for deployment in deployments[start : start + SURVEYED_TOGETHER]]
        for look, found in zip(looks, weigh([look.survey for look in looks]), strict=True):
            yield look.outcome(found)


class _Look:
    """One deployment and the pools that it may use."""

    def __init__(self, world: World, deployment: DeploymentInput) -> None:
        self._world, self._deployment = world, deployment
        usable, self._rejections = eligibility.usable(world.offerings, deployment)
        self._rate, self._source = eligibility.planned_rate(usable, deployment, world.market.policy)
        is_measured = self._source == MEASURED
        self._asked = request(deployment, world.catalog, is_measured=is_measured)
        by_length = world.market.policy.routing is Routing.BY_LENGTH
        measured = deployment.measured if is_measured else None
        self._classes = classes(deployment.demand, measured) if by_length else ()
        self._offerings: dict[Wiring, list[Offering]] = {}
        for offering in usable:
            self._offerings.setdefault(world.wiring(offering), []).append(offering)
        # In a crowd shapes that could only stand beside others within the budget are left out.
        least = max(1, deployment.constraints.min_replicas) if world.telling is Telling.NEEDED else 1
        self.survey = Survey(
            self._asked,
            [
                (wiring, _gate(deployment, [item for item in usable if item.accelerator == wiring.accelerator], least))
                for wiring in self._offerings
            ],
            world.catalog,
            multi_node=world.market.snapshot.multi_node,
            classes=self._classes,
            known=None if world.sizes is None else world.sizes.of(self._asked, self._classes),
            enough=self._enough() if world.telling is Telling.NEEDED else None,
        )

    def _enough(self) -> Enough | None:
        """What makes larger shapes needless; None where none is: a router sends them what others cannot serve, or where
        engines were given up another shape may start.
        """
        snapshot, policy, deployment = self._world.market.snapshot, self._world.market.policy, self._deployment
        if policy.routing is not Routing.EVEN or eligibility.tried(snapshot, deployment, policy):
            return None
        peak, roots = deployment.demand.peak_requests_per_min, wobble(deployment, snapshot.now, policy)
        most = with_headroom(self._rate, peak=peak, percent=policy.headroom_percent, roots=roots)
        groups = snapshot.fleet.of(deployment.key)
        return Enough(max(self._rate, most) / 60, frozenset((group.shape, group.model) for group in groups))

    def outcome(self, found: Mapping[Laid, Option | Rejection]) -> Outcome:
        """With what each shape sustains."""
        ledger = Ledger(self._world, self._asked, self._rate, self._rejections)
        by_place = list(self._offerings.values())
        tells = self._world.telling > Telling.NOTHING
        if tells:
            ledger.refuse_illegal(self.survey.legal, by_place)
        serving: list[tuple[Option, list[Offering]]] = []
        together: dict[tuple[int, ...], list[Offering]] = {}
        for laid, item in found.items():
            places = self.survey.places[laid]
            offerings = together.setdefault(tuple(places), [])
            if not offerings:
                offerings += [each for at in places for each in by_place[at]]
            if isinstance(item, Option):
                serving.append((item, offerings))
            why = item.refusal if isinstance(item, Option) else item
            if why is not None and tells:
                ledger.refuse(why, laid.shape, offerings)
        ledger.weigh(serving)
        return Outcome(
            deployment=self._deployment,
            asked=self._asked,
            requests_per_min=self._rate,
            source=self._source,
            choices=tuple(ledger.choices),
            beaten=tuple(ledger.beaten),
            classes=self._classes,
            fleets=tuple(in_order(ledger.fleets)),
            rejections=tuple(distinct(ledger.rejections)),
            weighed=tuple(ledger.weighed),
        )


def _gate(deployment: DeploymentInput, offerings: list[Offering], least: int) -> Gate:
    """Refuses shapes of which so many replicas, on the cheapest pool, are over the budget already. As many as there
    must be need not be of one shape.
    """
    limit = deployment.objectives.max_usd_per_hour
    known: dict[tuple[int, bool], MicroUsd | None] = {}

    def affordable(asked: Request, shape: Shape) -> Rejection | None:
        key = count, is_spread = shape.accelerators, shape.nodes_per_replica > 1
        if key not in known:
            hosts = [item for item in offerings if is_spread or item.gpus_per_node >= count]
            known[key] = min((cost.usd_per_accelerators_hour(item, count) for item in hosts), default=None)
        usd = known[key]
        if usd is None or least * usd <= limit:
            return None
        # The load may take more of them: that is worked out for what passes here.
        what = f"at least {least} x {shape.name}"
        return over_budget(asked.named(shape), shape, what, MicroUsd(least * usd), limit)

    return affordable
