"""Another model answers in a deployment's place: its own weights and architecture, the deployment's name and door.

And two groups of one deployment that differ in their precision alone, behind the same door.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from deepseek_operator import reconcile, render
from deepseek_operator.api.convert import deployment_input
from deepseek_operator.fleet import fleet
from deepseek_operator.render.names import read_placement
from deepseek_operator.settings import EngineSettings, Settings
from deepseek_operator.view import summary
from deepseek_operator.world import Kind
from deepseek_planner.difference import as_running
from deepseek_planner.eligibility import startable
from deepseek_planner.errors import InputError
from deepseek_planner.hardware import CapacityType
from deepseek_planner.models import Precision
from deepseek_planner.plan import DeploymentPlan, EngineParameters, EngineReason, Placement, Plan
from deepseek_planner.setbacks import setbacks, shuns
from deepseek_planner.snapshot import Fleet, Policy, Shape, Snapshot
from deepseek_planner.units import MicroUsd
from deepseek_runtime.exposition import labels as meter_labels
from deepseek_runtime.launchspec import LaunchSpec
from support.bad_deployments import GOOD, changed
from support.memory_world import MemoryWorld
from support.objects import deployment, node, pod_of, pool
from support.shells import CATALOG, launched, offering

QWEN = "deepseek-r1-distill-qwen-7b"
INT8 = Shape("l4", Precision.INT8, 1, 1, 1, 1, 1)
BF16 = Shape("l4", Precision.BF16, 1, 1, 1, 1, 1)
PRIVATE = {"huggingFace": {"repo": "acme/r1", "tokenSecretRef": {"name": "hub"}}}
CLAIM = {"persistentVolumeClaim": {"name": "r1", "path": "weights"}}


def r1(source: Any = None, **spec: Any) -> Any:
    resource = deployment(**spec)
    resource["spec"]["model"] = {"name": "deepseek-r1", "variants": [QWEN]} | ({"source": source} if source else {})
    resource["spec"]["objectives"]["maxUSDPerHour"] = "100"
    return resource


class TestApi:
    def test_variants_arrive_and_are_none_by_default(self) -> None:
        named = changed("spec.model.variants", [QWEN, "deepseek-v2-lite"])
        assert deployment_input(named, catalog=CATALOG).variants == (QWEN, "deepseek-v2-lite")
        assert deployment_input(GOOD, catalog=CATALOG).variants == ()

    @pytest.mark.parametrize(
        ("variant", "says"),
        [
            ("deepseek-r1-distil-qwen-7b", f"did you mean .*{QWEN}"),
            ("deepseek-tiny", "has no repository on the hub, where variants come from; leave it out"),
        ],
    )
    def test_the_hub_must_hold_a_variant(self, variant: str, says: str) -> None:
        with pytest.raises(InputError, match=says) as refused:
            deployment_input(changed("spec.model.variants", [QWEN, variant]), catalog=CATALOG)
        (problem,) = refused.value.problems
        assert (problem.field, problem.value) == ("spec.model.variants[1]", f'"{variant}"')


class TestEngines:
    def test_weights_and_architecture_are_the_variants_and_the_name_is_the_deployments(self) -> None:
        spec = launched(r1(), INT8, model=QWEN).spec
        assert (spec.model, spec.served_model_name) == (QWEN, "deepseek-r1")
        assert spec.weights.repository == "RedHatAI/DeepSeek-R1-Distill-Qwen-7B-quantized.w8a8"
        assert spec.architecture["num_hidden_layers"] == 28
        assert spec.native_precision == "bf16"

    @pytest.mark.parametrize("source", [PRIVATE, CLAIM])
    def test_the_resources_own_weights_and_token_are_not_the_variants(self, source: Any) -> None:
        launch = launched(r1(source), INT8, model=QWEN)
        assert launch.spec.weights.repository.startswith("RedHatAI/")
        made = render.engine_group(r1(source), launch, 1, offering=offering(INT8), settings=EngineSettings())
        pod = made["spec"]["template"]["spec"]
        assert {mount["name"] for mount in pod["containers"][0]["volumeMounts"]} == {"launch", "tmp", "shm", "cache"}
        assert {item["name"] for item in pod["containers"][0]["env"]} == {"HOME"}
        own = launched(r1(source), BF16)
        assert own.request.source != launch.request.source

    def test_a_variant_is_another_engine_and_says_so_to_the_meter(self) -> None:
        one, other = launched(r1(), BF16, model=QWEN), launched(r1(), BF16, model="deepseek-r1-distill-llama-8b")
        assert one.target.name != other.target.name
        assert meter_labels(one.spec)["model"] == QWEN
        assert meter_labels(one.spec)["name"] == "chat"

    def test_variants_change_no_engine_of_the_model_itself(self) -> None:
        resource = r1()
        shape = Shape("h200", Precision.FP8, 8, 1, 1, 1, 1)
        before = launched(resource, shape)
        del resource["spec"]["model"]["variants"]
        assert launched(resource, shape).target == before.target

    def test_why_a_setting_has_its_value_changes_no_engine(self) -> None:
        told = (EngineReason("maxNumSeqs", "16", "in other words"),)
        assert launched(r1(), BF16, engine_reasons=told).spec == launched(r1(), BF16).spec

    def test_the_group_says_which_model_it_was_made_for(self) -> None:
        launch = launched(r1(), INT8, model=QWEN)
        made = render.engine_group(r1(), launch, 1, offering=offering(INT8), settings=EngineSettings())
        placed = read_placement(made["metadata"]["annotations"])
        assert placed is not None
        assert placed.model == QWEN
        own = render.engine_group(r1(), launched(r1(), BF16), 1, offering=offering(BF16), settings=EngineSettings())
        assert "model" not in own["metadata"]["annotations"]["serving.deepseek-operator.dev/placement"]


ENGINE = EngineParameters(640, 16, 2048, 1 << 30, prefix_caching=True, data_type="bfloat16")


def placement(shape: Shape, model: str = "", share: int = 100) -> Placement:
    return Placement(shape, "l4s", CapacityType.ON_DEMAND, 1, share, MicroUsd(800_000), ENGINE, model)


class Planned:
    """The loop over a world in memory, with placements that the test chose instead of the search."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, resource: Any, *placements: Placement) -> None:
        slots = {"cpu": "8", "memory": "64Gi", "nvidia.com/gpu": "4"}
        machine = node(
            metadata={"labels": {"pool": "l4s", "nvidia.com/gpu.product": "NVIDIA-L4"}},
            status={"allocatable": slots, "capacity": slots},
        )
        self.world = MemoryWorld(resource, pool("l4s", accelerator="l4"), machine)
        self.placements = placements
        self.memory, self.now = reconcile.Memory(), datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
        monkeypatch.setattr(reconcile.search, "plan", self._plan)

    def _plan(self, snapshot: Any, *_: Any) -> Plan:
        (item,) = snapshot.deployments
        hourly = MicroUsd(sum(each.usd_per_hour for each in self.placements))
        base: dict[str, Any] = {"usd_per_million_tokens": MicroUsd(1), "prediction": None, "demand_source": "declared"}
        base |= {"planned_requests_per_min": 60.0, "alternatives": (), "rejections": ()}
        return Plan({item.key: DeploymentPlan(item.key, item.model, self.placements, hourly, **base)})

    async def turn(self, times: int) -> reconcile.Report:
        settings = Settings(policy=Policy(settle_s=0.0))
        for _ in range(times):
            report = await reconcile.cycle(
                world=self.world,
                writer=self.world,
                catalog=CATALOG,
                settings=settings,
                memory=self.memory,
                now=self.now,
            )
            self.now += timedelta(seconds=1)
            self.world.run_pods()
        return report

    def specs(self) -> list[LaunchSpec]:
        files = self.world.objects(Kind.CONFIG_MAP)
        return [LaunchSpec.from_json(item["data"]["launchspec.json"]) for item in files]

    def status(self) -> Any:
        (item,) = self.world.objects(Kind.DEPLOYMENT)
        return item["status"]


async def test_a_variant_serves_and_the_status_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    it = Planned(monkeypatch, r1(), placement(INT8, QWEN))
    report = await it.turn(6)
    ((group,),) = [item.groups for item in report.deployments]
    assert (group.model, group.ready) == (QWEN, 1)
    assert report.deployments[0].is_converged
    assert it.status()["summary"] == f"1 x 1 L4 int8 ({QWEN})"
    assert it.status()["modelName"] == "deepseek-r1"
    (spec,) = it.specs()
    assert spec.served_model_name == "deepseek-r1"
    writes = list(it.world.writes)
    await it.turn(3)
    assert it.world.writes == writes, "what runs is what was planned"


async def test_a_variant_gives_way_to_another_create_before_destroy(monkeypatch: pytest.MonkeyPatch) -> None:
    it = Planned(monkeypatch, r1(), placement(INT8, QWEN))
    await it.turn(6)
    it.placements = (placement(INT8, "deepseek-r1-distill-llama-8b"),)
    resource = it.world.objects(Kind.DEPLOYMENT)[0]
    it.world.put({**resource, "metadata": {**resource["metadata"], "generation": 2}})
    seen = []
    for _ in range(12):
        report = await it.turn(1)
        seen.append({group.model: group.ready for group in report.deployments[0].groups})
    assert all(any(ready for ready in each.values()) for each in seen), "somebody always answers"
    assert seen[-1] == {"deepseek-r1-distill-llama-8b": 1}


async def test_two_precisions_stand_behind_one_door(monkeypatch: pytest.MonkeyPatch) -> None:
    resource = deployment()
    resource["spec"]["model"] = {"name": QWEN}
    resource["spec"]["objectives"] |= {"maxUSDPerHour": "100", "accuracyClass": "Balanced"}
    it = Planned(monkeypatch, resource, placement(INT8, share=60), placement(BF16, share=40))
    report = await it.turn(8)
    assert {group.shape.precision for group in report.deployments[0].groups} == {Precision.INT8, Precision.BF16}
    assert report.deployments[0].is_converged
    assert it.status()["summary"] == "1 x 1 L4 int8 + 1 x 1 L4 bf16"
    assert it.status()["readyReplicas"] == 2

    specs = it.specs()
    assert {(spec.precision, spec.served_model_name) for spec in specs} == {("int8", QWEN), ("bf16", QWEN)}
    assert len({tuple(sorted(meter_labels(spec).items())) for spec in specs}) == 2, "apart in every metric"

    groups = it.world.objects(Kind.ENGINE_GROUP)
    pods = [group["spec"]["template"]["metadata"]["labels"] for group in groups]
    (service,) = it.world.objects(Kind.SERVICE)
    (budget,) = it.world.objects(Kind.DISRUPTION_BUDGET)
    for selector in (service["spec"]["selector"], budget["spec"]["selector"]["matchLabels"]):
        assert all(selector.items() <= pod.items() for pod in pods)
    own = [group["spec"]["selector"]["matchLabels"].items() for group in groups]
    assert [[items <= pod.items() for pod in pods] for items in own] == [[True, False], [False, True]]


async def test_one_precision_leaves_and_the_other_serves_on(monkeypatch: pytest.MonkeyPatch) -> None:
    resource = deployment()
    resource["spec"]["model"] = {"name": QWEN}
    resource["spec"]["objectives"] |= {"maxUSDPerHour": "100", "accuracyClass": "Balanced"}
    it = Planned(monkeypatch, resource, placement(INT8, share=60), placement(BF16, share=40))
    await it.turn(8)
    it.placements = (placement(INT8),)
    resource = it.world.objects(Kind.DEPLOYMENT)[0]
    it.world.put({**resource, "metadata": {**resource["metadata"], "generation": 2}})
    report = await it.turn(8)
    ((group,),) = [item.groups for item in report.deployments]
    assert (group.shape.precision, group.ready) == (Precision.INT8, 1)


def test_a_running_variant_is_no_twin_of_the_model_itself() -> None:
    resource = r1()
    item = deployment_input(resource, catalog=CATALOG)
    settled = replace(item, planned_generation=item.generation)
    launch = launched(resource, INT8, model=QWEN)
    made = render.engine_group(resource, launch, 1, offering=offering(INT8), settings=EngineSettings())
    (group,) = fleet([made], [pod_of(made, "a")], (), (offering(INT8),)).groups
    own = launched(resource, INT8).target
    assert as_running(settled, (own,), (group,)) == (own,)
    same = launched(resource, INT8, model=QWEN, engine=ENGINE).target
    assert as_running(settled, (same,), (group,))[0].name == group.name


def test_what_a_variant_could_not_do_is_not_held_against_the_model_itself() -> None:
    launch = launched(r1(), INT8, model=QWEN)
    made = render.engine_group(r1(), launch, 1, offering=offering(INT8), settings=EngineSettings())
    now = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
    (group,) = fleet([made], [pod_of(made, "a", ready=False)], (), (offering(INT8),)).groups
    stuck = replace(group, unready_since=now - timedelta(days=1))
    item = deployment_input(r1(), catalog=CATALOG)
    known = setbacks(Snapshot(now, (item,), (offering(INT8),), Fleet((stuck,))), item, Policy())
    assert shuns(known, INT8, "machines", QWEN)
    assert not shuns(known, INT8, "machines")
    assert not shuns(known, INT8, "machines", "deepseek-r1-distill-llama-8b")
    none, (refused,) = startable((offering(INT8),), INT8, known, QWEN)
    assert (none, refused.name) == ([], f"{QWEN}/l4-int8-tp1")


def test_the_summary_names_the_variant() -> None:
    assert summary((placement(INT8, QWEN), placement(BF16)), ()) == f"1 x 1 L4 int8 ({QWEN}) + 1 x 1 L4 bf16"
