"""Every shape of every pool weighed for one deployment: what would serve it alone, and why the others would not."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

from deepseek_planner import cost, eligibility
from deepseek_planner.asked import Request, request
from deepseek_planner.budgets import over_budget
from deepseek_planner.candidates import Bought, Weighed
from deepseek_planner.catalog import Catalog
from deepseek_planner.demand import RequestClass, classes
from deepseek_planner.fleets import fleets
from deepseek_planner.forecast import MEASURED, with_headroom, wobble
from deepseek_planner.hardware import Offering
from deepseek_planner.legal import Laid, Legal, Wiring
from deepseek_planner.market import Buyer, Fleet, Market, Quote, expected_usd_per_hour, in_order, quotes
from deepseek_planner.models import ModelSpec, Precision
from deepseek_planner.options import Enough, Gate, Option, Survey, weigh
from deepseek_planner.plan import Rejection
from deepseek_planner.snapshot import DeploymentInput, Routing, Shape
from deepseek_planner.units import MicroUsd


class Sizes:
    """What shapes sustain, once it is known: the same whatever else is changed about a request."""

    def __init__(self) -> None:
        self._known: list[tuple[tuple[object, ...], dict[Laid, Option | Rejection]]] = []

    def of(self, asked: Request, classes: Sequence[RequestClass]) -> dict[Laid, Option | Rejection]:
        """Of requests of the same lengths that must keep the same; to be added to."""
        key = asked.demand, asked.limits, asked.wanted[1:], classes
        for known, sizes in self._known:
            if known == key:
                return sizes
        self._known.append((key, {}))
        return self._known[-1][1]


class Telling(IntEnum):
    """How much is said of what is not chosen: more takes longer."""

    NOTHING = 0
    NEEDED = 1
    """Why shapes are refused, and the fleets that each option alone would be, but nothing of shapes larger than one
    that is enough.
    """
    REFUSALS = 2
    """The same of all shapes."""
    EVERYTHING = 3
    """Every alternative with its dollars, too."""


@dataclass(frozen=True, slots=True)
class World:
    """What all deployments of a snapshot share."""

    catalog: Catalog
    offerings: tuple[Offering, ...]
    market: Market
    telling: Telling
    sizes: Sizes | None = None
    """What was sized before, where one deployment is weighed again and again."""
    illegal: dict[tuple[object, ...], tuple[list[Legal], list[Rejection]]] = field(default_factory=dict)
    """Why shapes must not run on pools, whatever is asked of them: the same for deployments of one model. What is
    legal is kept beside it: the key holds its identity.
    """
    wirings: dict[int, Wiring] = field(default_factory=dict)
    """Of offerings by their identity: they live as long as this."""

    def wiring(self, offering: Offering) -> Wiring:
        """What of the offering bears on shapes."""
        known = self.wirings.get(id(offering))
        if known is None:
            between = offering.intra_node, offering.inter_node
            known = self.wirings[id(offering)] = Wiring(offering.accelerator, offering.gpus_per_node, *between)
        return known


class Place(NamedTuple):
    """An option where it may run."""

    option: Option
    startable: list[Offering]
    """Where engines of it were not given up."""
    offerings: list[Offering]

    @property
    def rank(self) -> tuple[object, ...]:
        """Of as many accelerators: the least lossy, the surest, the roomiest."""
        option = self.option
        return option.loss_rank, option.margin_percent, -option.capacity.rate_per_s


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
    for place in _best_of_each(place for place in outcome.beaten if _size(place.option.shape) == size):
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
        self.survey = Survey(
            self._asked,
            [
                (wiring, _gate(deployment, [item for item in usable if item.accelerator == wiring.accelerator]))
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
        ledger = _Ledger(self._world, self._asked, self._rate, self._rejections)
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


class _Ledger:
    """What has been found for one deployment so far."""

    def __init__(self, world: World, asked: Request, rate: float, rejections: list[Rejection]) -> None:
        self._world = world
        self._buyer = Buyer(asked, rate)
        self._models = {each.variant: each.model for each in (asked, *asked.variants)}
        self._tried = eligibility.tried(world.market.snapshot, asked.deployment, world.market.policy)
        self._groups = world.market.snapshot.fleet.of(asked.deployment.key)
        self.rejections = list(rejections)
        self.choices: list[tuple[Option, tuple[Quote, ...]]] = []
        self.beaten: list[Place] = []
        self.fleets: list[Fleet] = []
        self.weighed: list[Weighed] = []
        self._cheapest: dict[tuple[int, int], MicroUsd] = {}

    def refuse(self, refusal: Rejection, shape: Shape | None, offerings: list[Offering]) -> None:
        """A shape that does not serve there."""
        item = self._priced(refusal, refusal.name, shape, offerings)
        self.rejections.append(item)
        if self._world.telling is Telling.EVERYTHING and shape is not None:
            model = self._models[item.name.rpartition("/")[0]]
            self.weighed.append(Weighed(model, shape, (), None, item))

    def refuse_illegal(self, legal: Sequence[tuple[int, Legal]], offerings: Sequence[list[Offering]]) -> None:
        """Shapes that must not run on the pools of each place."""
        pools = tuple(tuple(map(id, each)) for each in offerings)
        key = tuple((place, id(permitted)) for place, permitted in legal), pools
        known = self._world.illegal.get(key)
        if known is None or self._world.telling is Telling.EVERYTHING:
            before = len(self.rejections)
            for place, permitted in legal:
                for refusal, shape in permitted.refusals:
                    self.refuse(refusal, shape, offerings[place])
            rejections = distinct(self.rejections[before:])
            del self.rejections[before:]
            known = self._world.illegal[key] = [permitted for _, permitted in legal], rejections
        self.rejections += known[1]

    def weigh(self, serving: Iterable[tuple[Option, list[Offering]]]) -> None:
        """Options, each on all of its offerings where engines of it may be started."""
        places: list[Place] = []
        for option, offerings in serving:
            startable = offerings
            if self._tried:
                startable, given_up = eligibility.startable(offerings, option.shape, self._tried, option.model)
                self.rejections += [self._priced(item, item.name, option.shape, offerings) for item in given_up]
            if startable:
                places.append(Place(option, startable, offerings))
        beaten = self._beaten(places)
        self.beaten = [place for place in places if id(place) in beaten]
        for place in places:
            if id(place) not in beaten:
                self._weigh(place)
            elif self._world.telling is Telling.EVERYTHING and place.option.refusal is None:
                self._explain(place, *self._bought(place, self._quotes(place)))

    def _beaten(self, places: Sequence[Place]) -> set[int]:
        """Those that another of as many accelerators and nodes on the same pools beats: one that would come first among
        equal dollars and carries no less, so that it can stand in for them in every fleet with even routing.
        """
        if self._world.market.policy.routing is not Routing.EVEN:
            return set()
        running = {(group.shape, group.model) for group in self._groups}
        alike: dict[tuple[object, ...], list[Place]] = {}
        for place in places:
            shape = place.option.shape
            # Shapes of the same nodes share the list of their pools, but where engines of one were given up.
            pools = id(place.startable)
            alike.setdefault((shape.accelerators, shape.nodes_per_replica, pools), []).append(place)
        beaten: set[int] = set()
        for group in alike.values():
            best = 0.0
            for place in sorted(group, key=lambda place: place.rank) if len(group) > 1 else ():
                capacity = place.option.capacity.rate_per_s
                if capacity <= best and (place.option.shape, place.option.model) not in running:
                    beaten.add(id(place))
                best = max(best, capacity)
        return beaten

    def _quotes(self, place: Place) -> tuple[Quote, ...]:
        return quotes(self._world.market, self._buyer, place.option, place.startable)

    def _bought(self, place: Place, offers: tuple[Quote, ...]) -> tuple[list[Fleet], list[Rejection]]:
        """Fleets of the option alone, and why there are no others."""
        outcomes = fleets(self._world.market, self._buyer, place.option, offers)
        works = [item for item in outcomes if isinstance(item, Fleet)]
        refused = [item for item in outcomes if isinstance(item, Rejection)]
        shape, offerings = place.option.shape, place.offerings
        return works, [self._priced(item, place.option.name, shape, offerings) for item in refused]

    def _weigh(self, place: Place) -> None:
        offers = self._quotes(place)
        self.choices.append((place.option, offers))
        if place.option.refusal is not None or self._world.telling is Telling.NOTHING:
            return  # no fleet alone, its refusal says why; or nobody asks
        works, refusals = self._bought(place, offers)
        self.fleets += works
        self.rejections += refusals
        if self._world.telling is Telling.EVERYTHING:
            self._explain(place, works, refusals)

    def _explain(self, place: Place, works: list[Fleet], refusals: list[Rejection]) -> None:
        model, rate = self._models[place.option.model], self._buyer.requests_per_min
        self.weighed.append(
            _weighed(self._world, model, place.option, place.offerings, rate, works=works, refusals=refusals)
        )

    def _priced(self, rejection: Rejection, name: str, shape: Shape | None, offerings: list[Offering]) -> Rejection:
        """With the accelerator, and what one replica, or one accelerator, costs on the cheapest of these pools."""
        if rejection.accelerator:
            return rejection
        hourly = rejection.usd_per_hour
        if hourly is None:
            count = shape.accelerators if shape else 1
            key = id(offerings), count
            known = self._cheapest.get(key)
            if known is None:
                known = min(cost.usd_per_accelerators_hour(item, count) for item in offerings)
                self._cheapest[key] = known
            hourly = known
        # Not ``replace``: there are hundreds of them for each deployment, and it takes thrice as long.
        return Rejection(
            name,
            rejection.reason,
            rejection.message,
            rejection.value,
            rejection.limit,
            rejection.unit,
            offerings[0].accelerator,
            hourly,
            rejection.replicas,
        )


def _best_of_each(places: Iterable[Place]) -> list[Place]:
    """Of places of one size, of each model and precision the first by rank, and only what serves all lengths."""
    found: dict[tuple[str, Precision], Place] = {}
    whole = [place for place in places if place.option.refusal is None]
    for place in sorted(whole, key=lambda place: (place.rank, place.option.name)):
        found.setdefault((place.option.model, place.option.shape.precision), place)
    return list(found.values())


def _weighed(
    world: World,
    model: ModelSpec,
    option: Option,
    offerings: list[Offering],
    rate: float,
    *,
    works: list[Fleet],
    refusals: list[Rejection],
) -> Weighed:
    """The option alone: its cheapest fleet, or what it would have been."""
    if not works:
        why = refusals[0]
        replicas, hourly = why.replicas, why.usd_per_hour
        if not replicas or hourly is None:
            replicas = max(1, math.ceil(rate / 60 / option.capacity.rate_per_s - 1e-9))
            hourly = MicroUsd(replicas * min(cost.usd_per_replica_hour(item, option.shape) for item in offerings))
        would = Bought("", None, replicas, hourly, hourly)
        return Weighed(model, option.shape, (would,), option.prediction(rate / 60, replicas=replicas), why)
    best = min(works, key=lambda fleet: fleet.order)
    bought = []
    for offering, count in best.parts:
        hourly = MicroUsd(count * cost.usd_per_replica_hour(offering, option.shape))
        expected = expected_usd_per_hour(world.market, option, offering, count)
        bought.append(Bought(offering.pool, offering.capacity_type, count, hourly, expected))
    return Weighed(model, option.shape, tuple(bought), option.prediction(rate / 60, replicas=best.replicas), None)


def _gate(deployment: DeploymentInput, offerings: list[Offering]) -> Gate:
    """Refuses shapes of which the fewest replicas, on the cheapest pool, are over the budget already."""
    limit = deployment.objectives.max_usd_per_hour
    fewest = max(1, deployment.constraints.min_replicas)
    known: dict[tuple[int, bool], MicroUsd | None] = {}

    def affordable(asked: Request, shape: Shape) -> Rejection | None:
        key = count, is_spread = shape.accelerators, shape.nodes_per_replica > 1
        if key not in known:
            hosts = [item for item in offerings if is_spread or item.gpus_per_node >= count]
            known[key] = min((cost.usd_per_accelerators_hour(item, count) for item in hosts), default=None)
        least = known[key]
        if least is None or fewest * least <= limit:
            return None
        # The load may take more of them: that is worked out for what passes here.
        what = f"at least {fewest} x {shape.name}"
        return over_budget(asked.named(shape), shape, what, MicroUsd(fewest * least), limit)

    return affordable


def distinct(rejections: Iterable[Rejection]) -> list[Rejection]:
    """Sorted, each once: two pools of one accelerator refuse the same shapes."""
    unique: dict[tuple[str, str], Rejection] = {}
    for item in rejections:
        key = item.name, item.message
        other = unique.setdefault(key, item)
        if other is not item and (item.usd_per_hour or 0) < (other.usd_per_hour or 0):
            unique[key] = item
    return [unique[key] for key in sorted(unique)]
