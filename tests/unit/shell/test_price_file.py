"""One's own prices: read again when the file changes, never worse than before it, and planned with."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from deepseek_operator import reconcile
from deepseek_operator.errors import SettingsError
from deepseek_operator.pool_status import pool_statuses
from deepseek_operator.price_file import PriceFile
from deepseek_operator.settings import Settings
from deepseek_operator.world import Kind
from deepseek_planner import catalog
from deepseek_planner.hardware import CapacityType
from deepseek_planner.price_list import EXAMPLE
from deepseek_planner.snapshot import DeploymentKey, Policy
from support.memory_world import MemoryWorld
from support.objects import deployment, node, pool

FACTS = catalog.load()
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
TYPE = "node.kubernetes.io/instance-type"
SETTINGS = Settings(policy=Policy(settle_s=0.0))
CHAT = DeploymentKey("team-a", "chat")


def dollars(facts: catalog.Catalog, instance_type: str) -> int | None:
    price = facts.price(instance_type, "", CapacityType.ON_DEMAND)
    return None if price is None else price.usd_per_node_hour


def write(path, *rows: str) -> None:
    path.write_text("\n".join((EXAMPLE, *rows)) + "\n", encoding="utf-8")


@pytest.fixture
def path(tmp_path):
    found = tmp_path / "prices.csv"
    write(found, "a1,,OnDemand,0.20,2026-11-01,ours")
    return found


class TestReading:
    def test_a_change_is_seen_and_nothing_else_makes_a_new_catalogue(self, path):
        prices = PriceFile(str(path), FACTS, today=NOW.date)
        before = prices.catalog()
        assert dollars(before, "a1") == 200_000
        assert prices.catalog() is before
        write(path, "a1,,OnDemand,0.50,2026-11-22,ours")
        assert dollars(prices.catalog(), "a1") == 500_000

    @pytest.mark.parametrize("slip", ["a1,,OnDemand,dear,2026-11-22,ours", None])
    def test_a_slip_of_the_pen_keeps_the_prices_before_it_and_says_so(self, path, slip, caplog):
        prices = PriceFile(str(path), FACTS, today=NOW.date)
        path.unlink() if slip is None else write(path, slip)
        kept = prices.catalog()
        assert dollars(kept, "a1") == 200_000
        assert kept.price_note.startswith("the price file cannot be used and the one before it stands: prices.csv")
        assert prices.catalog() is kept
        assert len(caplog.records) == 1
        write(path, "a1,,OnDemand,0.20,2026-11-01,ours")
        assert prices.catalog().price_note == ""

    def test_bad_from_the_start_it_stops_the_start_with_every_problem(self, path):
        write(path, "a1,,OnDemand,dear,2026-11-22,ours", "a2,,Cheap,1,2026-11-22,ours")
        with pytest.raises(SettingsError) as refused:
            PriceFile(str(path), FACTS, today=NOW.date)
        assert [problem[:48] for problem in refused.value.problems] == [
            "DEEPSEEK_PRICE_FILE: prices.csv line 2: usd_per_",
            "DEEPSEEK_PRICE_FILE: prices.csv line 3: capacity",
        ]


def world() -> MemoryWorld:
    pools, nodes = [], []
    for name in ("a1", "b1"):
        declared = pool(name, nodeSelector={"pool": name})
        del declared["spec"]["price"]
        pools.append(declared)
        nodes.append(node(f"node-{name}", metadata={"labels": {"pool": name, TYPE: name}}))
    return MemoryWorld(deployment(), *pools, *nodes)


async def planned(facts: catalog.Catalog, of: MemoryWorld) -> tuple[str, str]:
    """The pool of the plan, and the message of its Planned condition."""
    report = await reconcile.cycle(
        world=of, writer=of, catalog=facts, settings=SETTINGS, memory=reconcile.Memory(), now=NOW
    )
    (found,) = report.deployments
    assert found.plan is not None
    conditions = found.status["conditions"]
    message = next(item["message"] for item in conditions if item["type"] == "Planned")
    return found.plan.placements[0].pool, message


async def test_a_changed_price_changes_the_plan(path):
    write(path, "a1,,OnDemand,0.20,2026-11-01,ours", "b1,,OnDemand,0.40,2026-11-01,ours")
    prices, of = PriceFile(str(path), FACTS, today=NOW.date), world()
    assert (await planned(prices.catalog(), of))[0] == "a1"
    write(path, "a1,,OnDemand,0.40,2026-11-01,ours", "b1,,OnDemand,0.20,2026-11-01,ours")
    assert (await planned(prices.catalog(), of))[0] == "b1"


async def test_a_plan_on_stale_prices_is_a_plan_that_says_so(path):
    write(path, "a1,,OnDemand,0.20,2026-01-01,ours", "b1,,OnDemand,0.40,2026-11-01,ours")
    chosen, message = await planned(PriceFile(str(path), FACTS, today=NOW.date).catalog(), world())
    assert chosen == "a1"
    assert "warning: prices older than 90 days: a1 (2026-01-01)" in message


async def test_pools_say_when_the_file_is_bad(path):
    prices, of = PriceFile(str(path), FACTS, today=NOW.date), world()
    write(path, "a1,,OnDemand,dear,2026-11-22,ours")
    facts = prices.catalog()
    report = await reconcile.cycle(
        world=of, writer=of, catalog=facts, settings=SETTINGS, memory=reconcile.Memory(), now=NOW
    )
    statuses = pool_statuses(of.objects(Kind.POOL), report.snapshot, facts, SETTINGS.policy)
    reasons = {item["metadata"]["name"]: status["conditions"][1]["reason"] for item, status in statuses}
    assert reasons == {"a1": "PriceFileInvalid", "b1": "PriceUnknown"}
    assert "the price file cannot be used" in report.deployments[0].status["conditions"][3]["message"]
