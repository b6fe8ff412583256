"""The loop as a whole, over a world in memory whose controllers the test plays."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from deepseek_operator import observe, reconcile
from deepseek_operator.errors import LeaseLostError, RefusedError, UnreachableError
from deepseek_operator.settings import EngineSettings, Settings
from deepseek_operator.world import Kind
from deepseek_planner import catalog
from deepseek_planner.demand import Measured
from deepseek_planner.snapshot import DeploymentKey, Policy
from deepseek_planner.units import micro_usd
from support.memory_world import MemoryWorld
from support.objects import deployment, merged, node, pool

CATALOG = catalog.load()
START = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
SETTINGS = Settings(policy=Policy(settle_s=0.0))
CHAT = DeploymentKey("team-a", "chat")


class Loop:
    """Turns cycles against one world, a second apart."""

    def __init__(self, *items, settings=SETTINGS):
        self.world = MemoryWorld(*items)
        self.settings = settings
        self.memory = reconcile.Memory()
        self.now = START
        self.reports = []

    async def turn(self, times=1, *, controllers=True):
        for _ in range(times):
            report = await reconcile.cycle(
                world=self.world,
                writer=self.world,
                catalog=CATALOG,
                settings=self.settings,
                memory=self.memory,
                now=self.now,
            )
            self.reports.append(report)
            self.world.now = self.now.strftime("%Y-%m-%dT%H:%M:%SZ")
            self.now += timedelta(seconds=1)
            if controllers:
                self.world.run_pods()
        return report

    def restart(self):
        """A new process: only the world is left."""
        self.memory = reconcile.Memory()

    def edit(self, name="chat", **spec):
        old = self.world.get(Kind.DEPLOYMENT, "team-a", name)
        generation = old["metadata"]["generation"] + 1
        self.world.put(merged(old, {"metadata": {"generation": generation}, "spec": spec}))

    def status(self, name="chat"):
        return self.world.get(Kind.DEPLOYMENT, "team-a", name).get("status") or {}

    def condition(self, kind, name="chat"):
        return next(item for item in self.status(name)["conditions"] if item["type"] == kind)

    def groups(self):
        return {item["metadata"]["name"]: item["spec"]["replicas"] for item in self.world.objects(Kind.ENGINE_GROUP)}

    def measure(self, per_min, *, usd_per_million="1.00"):
        self.world.measurements = {
            CHAT: Measured(
                window_s=900,
                covered_s=900,
                requests_per_min=per_min,
                peak_requests_per_min=per_min,
                mean_input_tokens=100.0,
                mean_output_tokens=30.0,
                tokens_per_s=per_min * 130 / 60,
                usd_per_hour=micro_usd("0.10"),
                usd_per_million_tokens=micro_usd(usd_per_million),
                time_to_first_token_s=0.2,
                time_per_output_token_s=0.02,
            )
        }


def loop(*more, settings=SETTINGS, **spec):
    return Loop(deployment(**spec), pool(), node(), *more, settings=settings)


async def test_a_new_deployment_is_served():
    it = loop()
    await it.turn(4)
    kinds = {kind: len(it.world.objects(kind)) for kind in Kind}
    assert kinds[Kind.SERVICE] == kinds[Kind.DISRUPTION_BUDGET] == kinds[Kind.NETWORK_POLICY] == 1
    assert list(it.groups().values()) == [1]
    (files,) = it.world.objects(Kind.CONFIG_MAP)
    assert files["metadata"]["name"] in it.groups()
    status = it.status()
    assert it.condition("Ready")["status"] == "True"
    assert it.condition("Ready")["reason"] == "Ready"
    assert it.condition("Planned")["status"] == "True"
    assert it.condition("Reconciling")["status"] == "False"
    assert status["readyReplicas"] == 1
    assert status["summary"] == "1 x 1 CPU bf16"
    assert status["endpoint"] == "http://chat.team-a.svc:8000/v1"
    assert status["lastMove"]["reason"] == "FirstPlacement"
    assert status["lastMove"]["at"] == "2026-11-22T12:00:00Z"
    assert status["fleetGeneration"] == 1


async def test_a_reconciled_world_is_not_written_to():
    it = loop()
    await it.turn(5)
    before = list(it.world.writes)
    await it.turn(10)
    assert it.world.writes == before


async def test_the_files_are_there_before_the_pods():
    it = loop()
    await it.turn()
    kinds = [kind for verb, kind, _ in it.world.writes if verb == "apply"]
    assert kinds.index("ConfigMap") < kinds.index("Deployment")


async def test_a_restart_at_any_cycle_ends_in_the_same_objects():
    undisturbed = loop()
    await undisturbed.turn(8)
    for cycle in range(1, 6):
        it = loop()
        await it.turn(cycle)
        it.restart()
        await it.turn(8 - cycle)
        assert it.world.objects(Kind.ENGINE_GROUP) == undisturbed.world.objects(Kind.ENGINE_GROUP)
        assert it.world.objects(Kind.CONFIG_MAP) == undisturbed.world.objects(Kind.CONFIG_MAP)
        assert it.status()["lastMove"] == undisturbed.status()["lastMove"]


async def test_a_new_process_knows_what_the_last_move_ends_with_and_when_load_last_asked_for_more():
    it = loop()
    await it.turn(4)
    before = it.world.get(Kind.DEPLOYMENT, "team-a", "chat")
    assert "grewAt" not in before["status"]["lastMove"], "what starts is no growth"
    it.world.put(merged(before, {"status": {"lastMove": {"grewAt": "2026-11-22T07:59:00Z"}}}))
    seen = await observe.snapshot(it.world, catalog=CATALOG, settings=SETTINGS, now=it.now)
    (read,) = seen.snapshot.deployments
    assert read.last_move_groups == it.groups()
    assert read.grew_at == datetime(2026, 11, 22, 7, 59, tzinfo=UTC)


async def test_an_impossible_edit_keeps_what_serves():
    it = loop()
    await it.turn(4)
    before = it.groups()
    it.edit(objectives={"timeToFirstToken": {"p95": "1ms"}})
    await it.turn(5)
    assert it.groups() == before
    assert it.condition("Planned")["status"] == "False"
    assert it.condition("Planned")["reason"] == "NoFeasiblePlan"
    assert "TTFT >= " in it.condition("Planned")["message"]
    assert it.condition("Ready")["status"] == "True"
    assert it.condition("Ready")["reason"] == "NoFeasiblePlan"
    assert it.status()["fleetGeneration"] == 1
    assert [event.reason for event in it.world.events].count("NoFeasiblePlan") == 1


async def test_an_unreadable_edit_keeps_what_serves_and_names_every_problem():
    it = loop()
    await it.turn(4)
    before, writes = it.groups(), len(it.world.writes)
    it.edit(model={"name": "gpt-9"}, placement={"accelerators": {"allow": ["x100"]}})
    await it.turn(3)
    assert it.groups() == before
    stalled = it.condition("Stalled")
    assert (stalled["status"], stalled["reason"]) == ("True", "InvalidSpec")
    assert "spec.model.name" in stalled["message"]
    assert "spec.placement.accelerators.allow[0]" in stalled["message"]
    assert it.condition("Ready")["status"] == "True"
    assert [kind for _, kind, _ in it.world.writes[writes:]] == ["DeepSeekDeployment"]


async def test_a_paused_deployment_is_left_alone():
    it = loop()
    await it.turn(4)
    it.edit(paused=True, engine={"extraArgs": ["--seed=1"]})
    writes = len(it.world.writes)
    await it.turn(4)
    assert [kind for _, kind, _ in it.world.writes[writes:]] == ["DeepSeekDeployment"]
    assert it.condition("Ready")["reason"] == "Paused"
    it.edit(paused=False)
    await it.turn(8)
    assert it.condition("Ready")["reason"] == "Ready"
    assert it.status()["lastMove"]["reason"] == "SpecChanged"


async def test_an_edit_replaces_engines_create_before_destroy():
    it = loop()
    await it.turn(4)
    (old,) = it.groups()
    it.edit(engine={"extraArgs": ["--seed=1"]})
    ready = []
    for _ in range(10):
        await it.turn()
        ready.append(sum(group.ready for group in it.reports[-1].snapshot.fleet.groups))
    (new,) = it.groups()
    assert new != old
    assert min(ready) >= 1
    (files,) = it.world.objects(Kind.CONFIG_MAP)
    assert files["metadata"]["name"] == new
    assert it.status()["fleetGeneration"] == 2


async def test_an_upgrade_of_the_operator_restarts_no_engine():
    it = loop()
    await it.turn(4)
    before = it.world.objects(Kind.ENGINE_GROUP)
    it.settings = Settings(policy=SETTINGS.policy, engine=EngineSettings(cpu_image="engine:next"))
    it.restart()
    await it.turn(5)
    assert it.world.objects(Kind.ENGINE_GROUP) == before


async def test_a_new_price_reaches_running_engines_and_restarts_none():
    it = loop()
    await it.turn(4)
    before = it.world.objects(Kind.ENGINE_GROUP)
    dearer = pool(price={"usdPerNodeHour": "0.24"})
    it.world.put(dearer)
    await it.turn(3)
    assert it.world.objects(Kind.ENGINE_GROUP) == before
    (files,) = it.world.objects(Kind.CONFIG_MAP)
    assert '"usdPerReplicaHour":"0.06"' in files["data"]["price.json"]


async def test_a_changed_child_is_repaired():
    it = loop()
    await it.turn(4)
    (group,) = it.world.objects(Kind.ENGINE_GROUP)
    good = it.world.get(Kind.SERVICE, "team-a", "chat")
    it.world.put(merged(good, {"spec": {"publishNotReadyAddresses": True}}))
    it.world.put(merged(group, {"spec": {"template": {"spec": {"automountServiceAccountToken": True}}}}))
    it.world.remove(Kind.CONFIG_MAP, "team-a", group["metadata"]["name"])
    await it.turn(2)
    assert it.world.get(Kind.SERVICE, "team-a", "chat") == good
    assert it.world.objects(Kind.ENGINE_GROUP) == [group]
    assert len(it.world.objects(Kind.CONFIG_MAP)) == 1


async def test_a_fault_of_one_stops_no_other():
    broken = merged(deployment("other", "team-b"), {"metadata": {"uid": "2"}})
    it = loop(broken)
    it.world.refuse = {("Service", "team-b"): RefusedError("services is forbidden")}
    await it.turn(4)
    assert it.condition("Ready")["status"] == "True"
    other = it.world.get(Kind.DEPLOYMENT, "team-b", "other")["status"]
    stalled = next(item for item in other["conditions"] if item["type"] == "Stalled")
    assert (stalled["status"], stalled["reason"]) == ("True", "ApplyRefused")
    assert "services is forbidden" in stalled["message"]


async def test_a_deployment_that_cannot_be_planned_stops_no_other(monkeypatch):
    broken = merged(deployment("other", "team-b"), {"metadata": {"uid": "2"}})
    it = loop(broken)
    real = reconcile.search.plan

    def plan(snapshot, *rest):
        if any(item.key.name == "other" for item in snapshot.deployments):
            raise ZeroDivisionError("a case nobody thought of")
        return real(snapshot, *rest)

    monkeypatch.setattr(reconcile.search, "plan", plan)
    await it.turn(4)
    assert it.condition("Ready")["status"] == "True"
    other = it.world.get(Kind.DEPLOYMENT, "team-b", "other")["status"]
    planned = next(item for item in other["conditions"] if item["type"] == "Planned")
    assert (planned["status"], planned["reason"]) == ("Unknown", "PlanningFailed")


async def test_an_unreachable_api_is_tried_again_soon():
    it = loop()
    it.world.refuse = {("Deployment", "team-a"): UnreachableError("no answer")}
    report = await it.turn()
    assert report.is_busy
    assert it.condition("Stalled")["status"] == "False"
    it.world.refuse = {}
    await it.turn(3)
    assert it.condition("Ready")["status"] == "True"


async def test_a_lost_lease_ends_the_cycle():
    it = loop()
    it.world.refuse = {("Service", "team-a"): LeaseLostError("gone")}
    with pytest.raises(LeaseLostError):
        await it.turn()


async def test_a_failing_engine_is_named_in_the_status():
    it = loop()
    await it.turn(controllers=False)
    it.world.run_pods(ready=False)
    (pod,) = it.world.objects(Kind.POD)
    message = '{"reason": "WeightsMissing", "message": "/weights/v3: no config.json; put the checkpoint there"}'
    ended = {"lastState": {"terminated": {"exitCode": 1, "message": message}}, "state": {"waiting": {"reason": "X"}}}
    it.world.put(merged(pod, {"status": {"containerStatuses": [{"name": "engine", **ended}]}}))
    await it.turn(2, controllers=False)
    ready = it.condition("Ready")
    assert (ready["status"], ready["reason"]) == ("False", "EngineFailed")
    assert "WeightsMissing: /weights/v3" in ready["message"]
    assert [event.reason for event in it.world.events].count("EngineFailed") == 1


async def test_engines_that_never_become_ready_are_given_up_and_not_tried_again_for_a_while():
    it = loop()
    await it.turn(4)
    (old,) = it.groups()
    it.edit(engine={"extraArgs": ["--seed=1"]})
    it.world.stuck = {"--seed=1"}
    await it.turn(3)
    assert len(it.groups()) == 2
    it.now += timedelta(seconds=3700)
    await it.turn()
    (setback,) = it.status()["setbacks"]
    assert setback["group"] in it.groups()
    assert setback["group"] != old
    assert it.status()["lastMove"]["reason"] == "DidNotStart"
    it.restart()
    await it.turn(4)
    assert list(it.groups()) == [old]
    assert it.status()["fleetGeneration"] == 1, "what was edited is not what runs"
    assert it.condition("Reconciling")["reason"] == "DidNotStart"
    assert "not before 2026-11-22T14:" in it.condition("Reconciling")["message"]
    assert [event.reason for event in it.world.events].count("GivenUp") == 1
    ended = [item.outcome for report in it.reports for item in report.ended]
    assert "RolledBack" in ended
    writes = len(it.world.writes)
    await it.turn(5)
    assert len(it.world.writes) == writes
    it.now += timedelta(seconds=3600)
    it.world.stuck = set()
    await it.turn(10)
    assert list(it.groups()) == [setback["group"]]
    assert "setbacks" not in it.status()
    assert it.status()["fleetGeneration"] == 2


async def test_all_deployments_together_stay_within_the_clusters_limit():
    # Each wants an engine of 0.05 dollars an hour, and the cluster may spend as much.
    other = merged(deployment("other"), {"metadata": {"uid": "2"}})
    limited = Settings(policy=Policy(settle_s=0.0, max_usd_per_hour=micro_usd("0.05")))
    it = loop(other, settings=limited)
    for _ in range(6):
        await it.turn()
        spent = sum(group.usd_per_hour for group in it.reports[-1].snapshot.fleet.groups)
        assert spent <= micro_usd("0.05")
    assert len(it.groups()) == 1


FOUR = {"scaling": {"minReplicas": 4}}
"""As many as one node holds."""


def first(name="first", **spec):
    """A deployment that comes before others."""
    return merged(deployment(name, objectives={"priority": 10}, **spec), {"metadata": {"uid": "2"}})


async def crowded(*, settle_s=0.0):
    """A node full of engines, and one that comes first."""
    settings = Settings(policy=Policy(settle_s=settle_s))
    it = Loop(deployment(**FOUR), pool(maxNodes=1), node(), settings=settings)
    await it.turn(6)
    assert list(it.groups().values()) == [4]
    it.world.put(first(**FOUR))
    return it


async def test_a_higher_priority_gets_the_room_and_the_lower_one_is_told():
    it = await crowded()
    it.world.events.clear()
    await it.turn(8)
    ((name, replicas),) = it.groups().items()
    assert (name.split("-")[0], replicas) == ("first", 4)
    assert it.condition("Ready", "first")["status"] == "True"
    # Scaled to nothing, drained, and deleted only then.
    writes = [verb for verb, _, what in it.world.writes if what.startswith("chat-cpu") and verb != "apply"]
    assert writes[-3:] == ["scale to 0", "delete", "delete"]
    claims = [(it.condition(kind)["status"], it.condition(kind)["reason"]) for kind in ("Ready", "Planned")]
    assert claims == [("False", "CapacityShort")] * 2
    assert it.condition("Planned")["message"] == (
        "serves 0 % of the planned load: pool machines is short; team-a/first comes first; "
        "would be feasible: 1 more node in machines, or a higher priority than team-a/first"
    )
    assert it.condition("Reconciling")["message"] == (
        "nothing runs; engines start by themselves when there is room: "
        "1 more node in machines, or a higher priority than team-a/first"
    )
    assert it.condition("Stalled")["status"] == "False"
    status = it.status()
    assert status["plan"]["placements"] == []
    assert status["plan"]["shortage"] == {"servedPercent": 0, "shortOf": "machines", "lostTo": ["team-a/first"]}
    assert (status["lastMove"]["reason"], status["lastMove"]["to"]) == ("GivesWay", "nothing")
    told = {event.reason: event.message for event in it.world.events if event.about["metadata"]["name"] == "chat"}
    assert told["GaveWay"] == "4 x cpu-bf16-tp1 -> nothing: team-a/first needs the room"
    assert set(told) == {"CapacityShort", "GaveWay", "NotReady"}
    ended = [(item.move.reason, item.outcome) for report in it.reports for item in report.ended]
    assert ("GivesWay", "Completed") in ended


async def test_who_gave_way_rests_and_comes_back_by_itself():
    it = await crowded()
    await it.turn(8)
    writes = list(it.world.writes)
    await it.turn(5)
    assert it.world.writes == writes
    it.world.remove(Kind.DEPLOYMENT, "team-a", "first")
    for name in it.groups():
        it.world.remove(Kind.ENGINE_GROUP, "team-a", name)
    it.world.run_pods()
    await it.turn(4)
    assert list(it.groups().values()) == [4]
    assert it.condition("Ready")["status"] == "True"
    assert it.status()["lastMove"]["reason"] == "RoomFound"
    assert "shortage" not in it.status()["plan"]


async def test_a_restart_at_any_cycle_gives_way_all_the_same():
    for cycle in range(1, 7):
        it = await crowded()
        await it.turn(cycle)
        it.restart()
        await it.turn(9)
        assert [name.split("-")[0] for name in it.groups()] == ["first"]


async def test_a_demand_that_is_gone_before_it_settled_takes_nothing():
    it = await crowded(settle_s=5.0)
    await it.turn(4)
    assert it.condition("Reconciling")["reason"] == "Settling"
    assert it.condition("Ready")["status"] == "True"
    before = it.groups()
    it.world.remove(Kind.DEPLOYMENT, "team-a", "first")
    await it.turn(10)
    assert it.groups() == before


async def test_a_lowered_limit_of_the_cluster_is_kept_at_once():
    it = loop(first(), settings=Settings(policy=Policy(settle_s=60.0, max_usd_per_hour=micro_usd("0.20"))))
    await it.turn(5)
    assert len(it.groups()) == 2
    it.settings = Settings(policy=Policy(settle_s=60.0, max_usd_per_hour=micro_usd("0.05")))
    await it.turn(1)
    assert sum(it.groups().values()) == 1
    await it.turn(3)
    assert [name.split("-")[0] for name in it.groups()] == ["first"]
    assert it.condition("Planned")["reason"] == "CapacityShort"
    assert it.condition("Planned")["message"].startswith(
        "serves 0 % of the planned load: the cluster's budget is short; team-a/first comes first"
    )
    it.settings = Settings(policy=Policy(settle_s=60.0, max_usd_per_hour=micro_usd("0.20")))
    await it.turn(4)
    assert len(it.groups()) == 2
    assert it.condition("Ready")["status"] == "True"


async def test_less_load_means_fewer_engines_only_when_it_is_measured():
    it = loop(workload={"requestsPerMinute": {"expected": 900, "peak": 4000}}, rebalancing={"cooldown": "0s"})
    await it.turn(8)
    (before,) = it.groups().values()
    assert before >= 2, "the declared peak needs several engines"
    await it.turn(5)
    assert list(it.groups().values()) == [before]
    it.measure(10)
    await it.turn(30)
    assert list(it.groups().values()) == [1]
    assert it.status()["actual"]["usdPerMillionTokens"] == "1.00"
    assert it.status()["lastMove"]["reason"] == "DemandLow"
    assert "grewAt" not in it.status()["lastMove"]


async def test_growth_is_remembered_whatever_moves_after_it():
    it = loop(workload={"requestsPerMinute": {"expected": 10, "peak": 4000}}, rebalancing={"cooldown": "0s"})
    it.measure(10)
    await it.turn(8)
    it.measure(900)
    await it.turn(8)
    grown = it.status()["lastMove"]
    assert (grown["reason"], grown["grewAt"]) == ("DemandHigh", grown["at"])
    it.measure(10)
    await it.turn(30)
    later = it.status()["lastMove"]
    assert (later["reason"], later["grewAt"]) == ("DemandLow", grown["at"])
    assert later["at"] > grown["at"]


async def test_a_deployment_on_its_way_out_is_not_touched():
    it = loop()
    it.world.put(merged(deployment(), {"metadata": {"deletionTimestamp": "2026-11-22T12:00:00Z"}}))
    await it.turn(2)
    assert it.groups() == {}
    assert it.world.writes == [("status", "AcceleratorPool", "machines")]


async def test_moves_are_counted_when_they_end():
    it = loop()
    await it.turn(5)
    ended = [(item.move.reason, item.outcome) for report in it.reports for item in report.ended]
    assert ended == [("FirstPlacement", "Completed")]


async def test_the_pool_tells_what_is_free():
    it = loop()
    await it.turn(4)
    status = it.world.get(Kind.POOL, "", "machines")["status"]
    assert status["nodes"] == 1
    assert status["gpusFree"] == 3
    assert status["price"] == {"usdPerNodeHour": "0.2000", "source": "a list", "asOf": "2026-11-01"}
    assert {item["type"]: item["status"] for item in status["conditions"]} == {
        "Available": "True",
        "PriceFresh": "True",
    }
