"""What is found for one deployment: options where they may run, fleets of them alone, and why others do not serve."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from deepseek_planner import cost, eligibility
from deepseek_planner.asked import Request
from deepseek_planner.candidates import Bought, Weighed
from deepseek_planner.fleets import fleets
from deepseek_planner.hardware import Offering
from deepseek_planner.legal import Legal
from deepseek_planner.market import Buyer, Fleet, Quote, expected_usd_per_hour, quotes
from deepseek_planner.models import ModelSpec, Precision
from deepseek_planner.options import Option
from deepseek_planner.plan import Rejection
from deepseek_planner.snapshot import Routing, Shape
from deepseek_planner.units import MicroUsd, whole
from deepseek_planner.world import Telling, World


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


class Ledger:
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


def best_of_each(places: Iterable[Place]) -> list[Place]:
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
            replicas = max(1, whole(rate / 60 / option.capacity.rate_per_s))
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


def distinct(rejections: Iterable[Rejection]) -> list[Rejection]:
    """Sorted, each once: two pools of one accelerator refuse the same shapes."""
    unique: dict[tuple[str, str], Rejection] = {}
    for item in rejections:
        key = item.name, item.message
        other = unique.setdefault(key, item)
        if other is not item and (item.usd_per_hour or 0) < (other.usd_per_hour or 0):
            unique[key] = item
    return [unique[key] for key in sorted(unique)]
