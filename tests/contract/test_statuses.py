"""What the loop reports is what the CRDs keep: an API server prunes unknown fields without a word."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from deepseek_operator import reconcile
from deepseek_operator.api.base import Resource
from deepseek_operator.api.convert import deployment_input
from deepseek_operator.api.status import DeepSeekDeploymentStatus, PlanStatus, PoolStatus
from deepseek_operator.pools import declared_offerings
from deepseek_operator.settings import Settings
from deepseek_operator.world import Kind
from deepseek_planner import catalog, search
from deepseek_planner.demand import Measured
from deepseek_planner.explain import plan_document
from deepseek_planner.snapshot import DeploymentKey, Policy, Snapshot
from deepseek_planner.units import micro_usd
from support.memory_world import MemoryWorld
from support.objects import deployment, node, pool

ROOT = Path(__file__).parents[2]
FACTS = catalog.load()
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
POOLS = {"distill": "aws-single-gpu", "tiny": "cpu"}


@pytest.mark.parametrize("name", ["chat", "distill", "deepseek-v3", "tiny"])
@pytest.mark.parametrize("budget", ["200", "0.01"], ids=["feasible", "infeasible"])
def test_plans_fit(name, budget):
    pools = ROOT / "examples" / "pools" / f"{POOLS.get(name, 'aws-us-east-1')}.yaml"
    offerings = declared_offerings(list(yaml.safe_load_all(pools.read_text())), catalog=FACTS, now=NOW)
    obj = yaml.safe_load((ROOT / "examples" / f"{name}.yaml").read_text())
    obj["spec"]["objectives"]["maxUSDPerHour"] = budget
    asked = deployment_input(obj, catalog=FACTS)
    planned = search.plan(Snapshot(now=NOW, deployments=(asked,), offerings=offerings), FACTS, Policy())
    document = plan_document(planned.deployments[asked.key])
    assert bool(document["placements"]) == (budget == "200")
    assert not filled_in(PlanStatus.model_validate(document))


def filled_in(value: object, path: str = "status") -> list[str]:
    """Fields that an API server would add by their defaults: the loop would take them away again, at every look."""
    if isinstance(value, list | tuple):
        return [found for item in value for found in filled_in(item, f"{path}[]")]
    if not isinstance(value, Resource):
        return []
    left_out = set(type(value).model_fields) - value.model_fields_set
    found = [f"{path}.{name}" for name in sorted(left_out) if getattr(value, name) is not None]
    return found + [
        text for name in value.model_fields_set for text in filled_in(getattr(value, name), f"{path}.{name}")
    ]


def measured(per_minute: float) -> Measured:
    return Measured(
        window_s=3600,
        covered_s=3600,
        requests_per_min=per_minute,
        peak_requests_per_min=per_minute,
        mean_input_tokens=100,
        mean_output_tokens=30,
        tokens_per_s=per_minute * 130 / 60,
        usd_per_hour=micro_usd("0.05"),
        usd_per_million_tokens=micro_usd("0.11"),
        time_to_first_token_s=0.2,
        time_per_output_token_s=0.02,
    )


async def test_every_status_of_a_life_fits():
    world, memory, now = MemoryWorld(deployment(), pool(), pool("empty", maxNodes=0), node(pool="machines")), None, NOW
    memory = reconcile.Memory()
    settings = Settings(policy=Policy(settle_s=0.0))
    key = DeploymentKey("team-a", "chat")
    seen: set[str] = set()
    for turn in range(14):
        world.measurements = {key: measured(60)} if turn > 6 else {}
        if turn == 10:
            old = world.get(Kind.DEPLOYMENT, "team-a", "chat")
            objectives = {**old["spec"]["objectives"], "maxUSDPerHour": "0.001"}
            world.put(
                {
                    **old,
                    "metadata": {**old["metadata"], "generation": 2},
                    "spec": {**old["spec"], "objectives": objectives},
                }
            )
        await reconcile.cycle(world=world, writer=world, catalog=FACTS, settings=settings, memory=memory, now=now)
        now += timedelta(minutes=10)
        world.run_pods()
        for item in world.objects(Kind.DEPLOYMENT):
            status = item["status"]
            assert not filled_in(DeepSeekDeploymentStatus.model_validate(status))
            seen |= set(status) | {f"plan.{name}" for name in status.get("plan", {})}
        for item in world.objects(Kind.POOL):
            assert not filled_in(PoolStatus.model_validate(item["status"]))
    assert {"conditions", "summary", "endpoint", "readyReplicas", "lastMove", "actual", "plan.placements"} <= seen


async def test_the_status_of_who_gives_way_fits():
    four = {"scaling": {"minReplicas": 4}}
    world, now = MemoryWorld(deployment(**four), pool(maxNodes=1), node(pool="machines")), NOW
    memory = reconcile.Memory()
    settings = Settings(policy=Policy(settle_s=60.0))
    shortages = []
    for turn in range(12):
        if turn == 4:
            first = deployment("first", objectives={"priority": 10}, **four)
            world.put({**first, "metadata": {**first["metadata"], "uid": "2"}})
        await reconcile.cycle(world=world, writer=world, catalog=FACTS, settings=settings, memory=memory, now=now)
        now += timedelta(seconds=40)
        world.run_pods()
        for item in world.objects(Kind.DEPLOYMENT):
            assert not filled_in(DeepSeekDeploymentStatus.model_validate(item["status"]))
        plan = world.get(Kind.DEPLOYMENT, "team-a", "chat")["status"]["plan"]
        shortages.append((len(plan["placements"]), plan.get("shortage", {}).get("servedPercent")))
    assert shortages[0] == (1, None)
    assert shortages[-1] == (0, 0)
    assert world.get(Kind.DEPLOYMENT, "team-a", "chat")["status"]["lastMove"]["to"] == "nothing"
