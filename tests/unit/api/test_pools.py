from __future__ import annotations

import copy
from datetime import UTC, date, datetime

import pytest

from deepseek_operator.nodes import quantity, tolerates
from deepseek_operator.pools import declared_offerings, offerings, pool_problems
from deepseek_planner import catalog
from deepseek_planner.errors import InputError
from deepseek_planner.hardware import CapacityType, InterNode, IntraNode, Offering

FACTS = catalog.load()
NOW = datetime(2026, 11, 22, 8, tzinfo=UTC)
TYPE, ZONE = "node.kubernetes.io/instance-type", "topology.kubernetes.io/zone"
OURS = {"serving.deepseek-operator.dev/deployment": "chat"}


def node(name="n0", *, gpus=0, cpu="8", memory="32Gi", taints=(), ready="True", resources=None, spec=None, **labels):
    amounts = {"cpu": cpu, "memory": memory, **({"nvidia.com/gpu": str(gpus)} if gpus else {}), **(resources or {})}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", **labels}},
        "spec": {"taints": list(taints), **(spec or {})},
        "status": {"allocatable": amounts, "conditions": [{"type": "Ready", "status": ready, "reason": "Kubelet"}]},
    }


def gpu_node(name="n0", product="NVIDIA-H100-80GB-HBM3", gpus=8, capacity="on-demand", **rest):
    labels = {"nvidia.com/gpu.product": product, "karpenter.sh/capacity-type": capacity, TYPE: "p5.48xlarge"}
    return node(name, gpus=gpus, **{**labels, ZONE: "us-east-1a", **rest})


def pod(on="n0", *, gpus=0, cpu="0", memory="0", labels=None, phase="Running"):
    requests = {"cpu": cpu, "memory": memory}
    limits = {"nvidia.com/gpu": str(gpus)} if gpus else {}
    return {
        "metadata": {"name": "p", "namespace": "x", "labels": labels or {}},
        "spec": {"nodeName": on, "containers": [{"name": "c", "resources": {"requests": requests, "limits": limits}}]},
        "status": {"phase": phase},
    }


def pool(name="h100", **spec):
    return {
        "apiVersion": "serving.deepseek-operator.dev/v1alpha1",
        "kind": "AcceleratorPool",
        "metadata": {"name": name, "creationTimestamp": "2026-10-01T00:00:00Z"},
        "spec": {"accelerator": "h100", "gpusPerNode": 8, "nodeSelector": {TYPE: "p5.48xlarge"}, **spec},
    }


def found(pools=(), nodes=(), pods=()) -> tuple[Offering, ...]:
    return offerings(pools, nodes, pods, catalog=FACTS, now=NOW)


def only(pools=(), nodes=(), pods=()) -> Offering:
    (offering,) = found(pools, nodes, pods)
    return offering


class TestDiscovery:
    def test_nodes_of_one_kind_are_one_offering(self):
        offering = only(nodes=[gpu_node("b"), gpu_node("a")], pods=[pod("a", gpus=3)])
        assert offering.pool == "h100-8x-p5-48xlarge-on-demand-us-east-1a"
        assert (offering.accelerator, offering.gpus_per_node, offering.max_nodes) == ("h100", 8, 2)
        assert offering.capacity_type is CapacityType.ON_DEMAND
        assert offering.free_gpus_by_node == (8, 5)
        assert offering.intra_node is IntraNode.NVLINK
        assert offering.unavailable_reason == ""
        assert offering.node_selector[TYPE] == "p5.48xlarge"
        assert offering.price is not None
        assert offering.price == FACTS.price("p5.48xlarge", "us-east-1a", CapacityType.ON_DEMAND)

    @pytest.mark.parametrize(
        ("label", "value", "accelerator"),
        [
            ("nvidia.com/gpu.product", "Tesla-T4", "t4"),
            ("nvidia.com/gpu.product", "NVIDIA-A100-SXM4-80GB", "a100-80gb"),
            ("nvidia.com/gpu.product", "NVIDIA-H200", "h200"),
            ("cloud.google.com/gke-accelerator", "nvidia-l4", "l4"),
            ("cloud.google.com/gke-accelerator", "nvidia-h100-80gb", "h100"),
            ("cloud.google.com/gke-accelerator", "nvidia-tesla-t4", "t4"),
            ("karpenter.k8s.aws/instance-gpu-name", "l40s", "l40s"),
            ("karpenter.k8s.aws/instance-gpu-name", "a10g", "a10g"),
            ("karpenter.azure.com/sku-gpu-name", "T4", "t4"),
            ("k8s.amazonaws.com/accelerator", "nvidia-tesla-v100", "v100"),
        ],
    )
    def test_accelerators_by_whose_label_there_is(self, label, value, accelerator):
        assert only(nodes=[node(gpus=4, **{label: value, TYPE: "x"})]).accelerator == accelerator

    @pytest.mark.parametrize(("memory", "accelerator"), [("40960", "a100-40gb"), ("81920", "a100-80gb")])
    def test_one_name_with_two_sizes_is_told_by_memory(self, memory, accelerator):
        labels = {"karpenter.k8s.aws/instance-gpu-name": "a100", "karpenter.k8s.aws/instance-gpu-memory": memory}
        assert only(nodes=[node(gpus=8, **labels, **{TYPE: "x"})]).accelerator == accelerator

    def test_gpus_without_a_label_are_told_by_the_instance_type(self):
        assert only(nodes=[node(gpus=8, **{TYPE: "p5en.48xlarge"})]).accelerator == "h200"

    def test_gpus_that_nobody_knows_are_no_offering(self):
        assert found(nodes=[node(gpus=8, **{"nvidia.com/gpu.product": "NVIDIA-GT-710", TYPE: "x"})]) == ()

    @pytest.mark.parametrize(
        ("label", "value", "kind"),
        [
            ("karpenter.sh/capacity-type", "spot", CapacityType.SPOT),
            ("karpenter.sh/capacity-type", "on-demand", CapacityType.ON_DEMAND),
            ("karpenter.sh/capacity-type", "reserved", CapacityType.RESERVED),
            ("eks.amazonaws.com/capacityType", "SPOT", CapacityType.SPOT),
            ("eks.amazonaws.com/capacityType", "ON_DEMAND", CapacityType.ON_DEMAND),
            ("eks.amazonaws.com/capacityType", "CAPACITY_BLOCK", CapacityType.RESERVED),
            ("cloud.google.com/gke-spot", "true", CapacityType.SPOT),
            ("cloud.google.com/gke-provisioning", "spot", CapacityType.SPOT),
            ("cloud.google.com/gke-preemptible", "true", CapacityType.SPOT),
            ("kubernetes.azure.com/scalesetpriority", "spot", CapacityType.SPOT),
            ("some/label", "spot", CapacityType.ON_DEMAND),
        ],
    )
    def test_capacity_types(self, label, value, kind):
        labels = {"nvidia.com/gpu.product": "NVIDIA-L4", TYPE: "x", label: value}
        offering = only(nodes=[node(gpus=1, **labels)])
        assert offering.capacity_type is kind
        assert (offering.interruptions_per_node_day > 0) == (kind is CapacityType.SPOT)

    def test_spot_and_on_demand_are_apart(self):
        nodes = [gpu_node("a"), gpu_node("b", capacity="spot")]
        assert {item.capacity_type for item in found(nodes=nodes)} == {CapacityType.SPOT, CapacityType.ON_DEMAND}
        assert all(not item.unavailable_reason for item in found(nodes=nodes))

    @pytest.mark.parametrize(
        ("resources", "wires"),
        [
            ({}, InterNode.ETHERNET),
            ({"vpc.amazonaws.com/efa": "16"}, InterNode.EFA),
            ({"rdma/ib": "8"}, InterNode.INFINIBAND),
        ],
    )
    def test_wires_between_nodes(self, resources, wires):
        assert only(nodes=[gpu_node(resources=resources)]).inter_node is wires

    def test_without_a_listed_price_there_is_none(self):
        assert only(nodes=[gpu_node(**{TYPE: "box-of-ours"})]).price is None

    def test_names_do_not_depend_on_how_many_nodes_there_are(self):
        one, two = only(nodes=[gpu_node("a")]), only(nodes=[gpu_node("b"), gpu_node("c")])
        assert one.pool == two.pool

    def test_a_long_name_is_cut_and_stays_its_own(self):
        names = {only(nodes=[gpu_node(**{TYPE: "t" * 60 + end})]).pool for end in "ab"}
        assert len(names) == 2
        assert all(len(name) <= 63 for name in names)

    def test_nodes_that_no_label_tells_apart_are_left_alone(self):
        plain = {"nvidia.com/gpu.product": "NVIDIA-L4", TYPE: "x"}
        nodes = [node(name, gpus=1, **plain) for name in ("a", "b")]
        nodes += [node(name, gpus=1, **plain, **{"cloud.google.com/gke-spot": "true"}) for name in ("c", "d")]
        by_kind = {item.capacity_type: item for item in found(nodes=nodes)}
        assert by_kind[CapacityType.SPOT].unavailable_reason == ""
        reason = by_kind[CapacityType.ON_DEMAND].unavailable_reason
        assert "no label tells its nodes from c; declare an AcceleratorPool" in reason

    def test_a_single_node_is_told_by_its_name(self):
        plain = {"nvidia.com/gpu.product": "NVIDIA-L4", TYPE: "x"}
        nodes = [node("a", gpus=1, **plain), node("b", gpus=1, **plain, **{"cloud.google.com/gke-spot": "true"})]
        by_kind = {item.capacity_type: item for item in found(nodes=nodes)}
        assert by_kind[CapacityType.ON_DEMAND].unavailable_reason == ""
        assert by_kind[CapacityType.ON_DEMAND].node_selector["kubernetes.io/hostname"] == "a"


NOTICE = {"key": "aws-node-termination-handler/spot-itn", "value": "1", "effect": "NoSchedule"}
DISRUPTED = {"key": "karpenter.sh/disrupted", "effect": "NoSchedule"}
DOWN = {"key": "ToBeDeletedByClusterAutoscaler", "value": "1", "effect": "NoSchedule"}
FAKE = {"key": "kwok.x-k8s.io/node", "value": "fake", "effect": "NoSchedule"}


class TestUnusableNodes:
    @pytest.mark.parametrize(
        ("bad", "why"),
        [
            (gpu_node(spec={"unschedulable": True}), "cordoned"),
            (gpu_node(ready="False"), "not ready (Kubelet)"),
            (gpu_node(taints=[NOTICE]), "about to be taken away (taint aws-node-termination-handler/spot-itn)"),
            (gpu_node(taints=[DISRUPTED]), "about to be taken away (taint karpenter.sh/disrupted)"),
            (gpu_node(taints=[DOWN]), "about to be taken away"),
            (gpu_node(taints=[{"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}]), "faulty"),
            (gpu_node(taints=[FAKE]), "taint kwok.x-k8s.io/node:NoSchedule is not tolerated; declare an Accelerator"),
            (gpu_node(product="NVIDIA-H100-80GB-HBM3-SHARED", **{TYPE: "p5.48xlarge"}), "shared"),
            (gpu_node(product="NVIDIA-H100-80GB-HBM3-MIG-1g.10gb"), "its GPUs are cut into MIG slices"),
            (gpu_node(**{"nvidia.com/gpu.sharing-strategy": "time-slicing"}), "its GPUs are shared"),
            (gpu_node(resources={"nvidia.com/mig-1g.10gb": "7"}), "its GPUs are cut into MIG slices"),
            (gpu_node(gpus=0, **{"nvidia.com/gpu.count": "8"}), "no device plugin offers its GPUs"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_each_is_left_out_with_its_reason(self, bad, why):
        offering = only(nodes=[bad])
        assert offering.accelerator == "h100"
        assert offering.free_gpus_by_node == ()
        assert why in offering.unavailable_reason

    def test_the_good_nodes_beside_them_stay(self):
        offering = only(nodes=[gpu_node("a", taints=[NOTICE]), gpu_node("b")])
        assert (offering.max_nodes, offering.free_gpus_by_node, offering.unavailable_reason) == (1, (8,), "")

    def test_usual_taints_of_gpu_and_spot_nodes_are_tolerated(self):
        gpu = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}
        spot = {"key": "kubernetes.azure.com/scalesetpriority", "value": "spot", "effect": "NoSchedule"}
        labels = {"kubernetes.azure.com/scalesetpriority": "spot"}
        offering = only(nodes=[gpu_node(capacity="spot", taints=[gpu, spot], **labels)])
        assert offering.unavailable_reason == ""
        assert all(tolerates(offering.tolerations, taint) for taint in (gpu, spot))

    def test_a_soft_taint_is_none(self):
        assert only(nodes=[gpu_node(taints=[{**FAKE, "effect": "PreferNoSchedule"}])]).unavailable_reason == ""

    def test_the_control_plane_is_left_out(self):
        taint = {"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}
        assert found(nodes=[node(taints=[taint])]) == ()


class TestHeld:
    def test_foreign_pods_are_subtracted_and_ours_are_not(self):
        pods = [pod(gpus=2), pod(gpus=4, labels=OURS), pod(gpus=1, phase="Succeeded"), pod("other", gpus=8)]
        assert only(nodes=[gpu_node()], pods=pods).free_gpus_by_node == (6,)

    def test_an_init_container_counts_where_it_asks_for_more(self):
        holder = pod(gpus=1)
        holder["spec"]["initContainers"] = [{"name": "i", "resources": {"limits": {"nvidia.com/gpu": "5"}}}]
        assert only(nodes=[gpu_node()], pods=[holder]).free_gpus_by_node == (3,)

    def test_a_sidecar_counts_beside_the_containers(self):
        holder = pod(gpus=1)
        sidecar = {"name": "i", "restartPolicy": "Always", "resources": {"limits": {"nvidia.com/gpu": "2"}}}
        holder["spec"]["initContainers"] = [sidecar]
        assert only(nodes=[gpu_node()], pods=[holder]).free_gpus_by_node == (5,)

    def test_a_pod_without_a_node_holds_nothing(self):
        waiting = pod(gpus=8)
        del waiting["spec"]["nodeName"]
        assert only(nodes=[gpu_node()], pods=[waiting]).free_gpus_by_node == (8,)


class TestCpu:
    def test_slots_are_whole_vcpus(self):
        offering = only(nodes=[node(cpu="7910m", memory="64Gi", **{TYPE: "m7i.2xlarge", ZONE: "us-east-1a"})])
        assert (offering.accelerator, offering.gpus_per_node, offering.free_gpus_by_node) == ("cpu", 7, (7,))
        assert not any(item.get("key") == "nvidia.com/gpu" for item in offering.tolerations)

    @pytest.mark.parametrize(
        ("pods", "free"),
        [
            ([], 4),
            ([pod(cpu="3", memory="1Gi")], 3),  # (4000 - 3000) / 300
            ([pod(cpu="100m", memory="5Gi")], 2),  # 10 - 5 GiB leave two engines of 2.5 GiB
            ([pod(cpu="300m", memory="2560Mi", labels=OURS)], 4),
            ([pod(cpu="4", memory="0")], 0),
            ([pod(cpu="5", memory="20Gi")], 0),
        ],
    )
    def test_a_slot_is_free_where_an_engine_fits(self, pods, free):
        assert only(nodes=[node(cpu="4", memory="10Gi")], pods=pods).free_gpus_by_node == (free,)

    def test_gpu_nodes_beside_it_must_be_told_apart(self):
        nodes = [node("a"), node("b"), gpu_node("g")]
        by_name = {item.accelerator: item for item in found(nodes=nodes)}
        assert "no label tells its nodes from g" in by_name["cpu"].unavailable_reason
        assert by_name["h100"].unavailable_reason == ""
        nodes = [node("a"), node("b"), gpu_node("g", taints=[FAKE])]
        assert {item.accelerator: item for item in found(nodes=nodes)}["cpu"].unavailable_reason == ""


class TestDeclared:
    def test_a_declared_pool_wins_for_its_nodes(self):
        offering = only(
            [pool(price={"usdPerNodeHour": "40.5", "source": "contract 17", "asOf": "2026-11-20"})], [gpu_node()]
        )
        assert offering.pool == "h100"
        assert offering.price is not None
        assert (offering.price.usd_per_node_hour, offering.price.source) == (40_500_000, "contract 17")
        assert offering.price.as_of == date(2026, 11, 20)
        assert (offering.max_nodes, offering.free_gpus_by_node) == (1, (8,))

    def test_it_may_have_no_nodes_yet(self):
        offering = only([pool(maxNodes=4, zone="us-east-1a")])
        assert (offering.max_nodes, offering.free_gpus_by_node, offering.unavailable_reason) == (4, (), "")
        assert offering.price == FACTS.price("p5.48xlarge", "us-east-1a", CapacityType.ON_DEMAND)

    def test_without_nodes_and_without_a_limit_it_is_unavailable(self):
        assert "no node matches nodeSelector; set maxNodes" in only([pool()]).unavailable_reason

    def test_a_price_without_a_day_is_as_old_as_the_pool(self):
        offering = only([pool(price={"usdPerNodeHour": 40})])
        assert offering.price is not None
        assert offering.price.as_of == date(2026, 10, 1)
        made_here = pool(price={"usdPerNodeHour": 40})
        del made_here["metadata"]["creationTimestamp"]
        assert only([made_here]).price.as_of == NOW.date()

    def test_everything_declared_arrives(self):
        declared = pool(
            capacityType="Spot",
            interconnect={"intraNode": "PCIe", "interNode": "EFA"},
            interruptionsPerNodeDay="1.5",
            startup="90s",
            maxNodes=3,
            zone="z1",
            allowedNamespaces=["team-a"],
            weightsCache={"hostPath": "/var/cache/deepseek"},
            tolerations=[{"key": "kwok.x-k8s.io/node", "operator": "Exists"}],
        )
        offering = only([declared], [gpu_node(taints=[FAKE])])
        assert offering.capacity_type is CapacityType.SPOT
        assert (offering.intra_node, offering.inter_node) == (IntraNode.PCIE, InterNode.EFA)
        assert (offering.interruptions_per_node_day, offering.startup_s, offering.max_nodes) == (1.5, 90.0, 3)
        assert (offering.zone, offering.allowed_namespaces) == ("z1", ("team-a",))
        assert offering.weights_cache == {"hostPath": "/var/cache/deepseek"}
        assert offering.free_gpus_by_node == (8,)
        assert {"key": "kwok.x-k8s.io/node", "operator": "Exists"} in offering.tolerations
        assert offering.labels[ZONE] == "z1"

    def test_a_taint_that_it_does_not_tolerate_keeps_it_from_the_node(self):
        offering = only([pool()], [gpu_node(taints=[FAKE])])
        assert offering.free_gpus_by_node == ()
        assert "taint kwok.x-k8s.io/node:NoSchedule is not tolerated" in offering.unavailable_reason

    def test_a_selector_that_is_too_wide_is_refused(self):
        wide = pool(nodeSelector={"kubernetes.io/os": "linux"})
        nodes = [gpu_node("a"), gpu_node("b", product="Tesla-T4")]
        assert "nodeSelector also matches b, which has Tesla-T4" in only([wide], nodes).unavailable_reason

    def test_the_first_of_two_pools_has_the_node(self):
        by_name = {item.pool: item for item in found([pool("b"), pool("a")], [gpu_node()])}
        assert by_name["a"].free_gpus_by_node == (8,)
        assert by_name["b"].free_gpus_by_node == ()

    def test_slots_of_a_cpu_pool_are_at_most_those_declared(self):
        cpu = pool("cpu", accelerator="cpu", gpusPerNode=2, nodeSelector={"kubernetes.io/os": "linux"})
        assert only([cpu], [node(cpu="8", memory="64Gi")]).free_gpus_by_node == (2,)

    def test_an_unreadable_pool_hides_no_other_and_keeps_its_nodes(self):
        broken = pool("broken", gpusPerNode=0)
        good = pool("good", nodeSelector={TYPE: "other"}, maxNodes=1)
        assert [item.pool for item in found([broken, good], [gpu_node()])] == ["good"]
        (problem,) = pool_problems(broken, catalog=FACTS)
        assert (problem.field, problem.value, problem.remedy) == ("spec.gpusPerNode", "0", "use 1 or more")

    def test_a_discovered_pool_never_takes_a_declared_name(self):
        name = only(nodes=[gpu_node()]).pool
        taken = pool(name, nodeSelector={TYPE: "other"}, maxNodes=1)
        assert {item.pool for item in found([taken], [gpu_node()])} == {name, f"{name}-nodes"}


class TestFiles:
    def test_all_problems_of_all_pools(self):
        bad = [pool("a", accelerator="h1000"), pool("b", gpusPerNode=0)]
        with pytest.raises(InputError) as refused:
            declared_offerings(bad, catalog=FACTS, now=NOW)
        assert [item.field for item in refused.value.problems] == ["a: spec.accelerator", "b: spec.gpusPerNode"]
        assert "did you mean h100" in refused.value.problems[0].remedy

    def test_the_order_of_objects_does_not_matter(self):
        pools, nodes = [pool("a"), pool("b")], [gpu_node("x"), gpu_node("y", capacity="spot"), node("z")]
        assert found(pools, nodes) == found(pools[::-1], copy.deepcopy(nodes[::-1]))


@pytest.mark.parametrize(
    ("text", "value"),
    [("8", 8), ("300m", 0.3), ("2.5Gi", 2.5 * 2**30), ("1k", 1000), ("128974848", 128974848), ("1e3", 1000), (4, 4)],
)
def test_quantities(text, value):
    assert float(quantity(text)) == pytest.approx(value)


@pytest.mark.parametrize("text", [None, "", "soon", "nan", "inf", "1e999", "\N{FULLWIDTH DIGIT ONE}", "1_000", True])
def test_what_is_no_quantity_is_nothing(text):
    assert quantity(text) == 0


@pytest.mark.parametrize(
    ("toleration", "holds"),
    [
        ({"key": "k", "operator": "Exists"}, True),
        ({"operator": "Exists"}, True),
        ({"key": "k", "value": "v"}, True),
        ({"key": "k", "value": "v", "effect": "NoSchedule"}, True),
        ({"key": "k", "value": "w"}, False),
        ({"key": "l", "operator": "Exists"}, False),
        ({"key": "k", "operator": "Exists", "effect": "NoExecute"}, False),
    ],
)
def test_tolerations_as_the_scheduler_sees_them(toleration, holds):
    assert tolerates([toleration], {"key": "k", "value": "v", "effect": "NoSchedule"}) is holds
