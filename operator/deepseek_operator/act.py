"""One deployment's writes in one cycle: keep what runs true to its manifest, take one step, prune."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from deepseek_operator import render
from deepseek_operator.observe import Resource
from deepseek_operator.render.groups import LAUNCH_KEY
from deepseek_operator.render.names import DEPLOYMENT_LABEL, GROUP_LABEL, TEMPLATE_HASH_ANNOTATION
from deepseek_operator.settings import EngineSettings
from deepseek_operator.world import Kind, Object, World, Writer
from deepseek_planner.cost import usd_per_replica_hour
from deepseek_planner.hardware import Offering
from deepseek_planner.rollout import Step, StepKind
from deepseek_planner.snapshot import DeploymentKey, EngineGroup
from deepseek_planner.units import MicroUsd


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One deployment with everything its writes are made from."""

    key: DeploymentKey
    resource: Resource
    launches: tuple[render.Launch, ...]
    """Engines the plan asks for; empty where nothing is feasible."""
    groups: tuple[EngineGroup, ...]
    """Engines that run."""
    offerings: tuple[Offering, ...]
    engine: EngineSettings

    def offering(self, pool: str) -> Offering | None:
        return next((item for item in self.offerings if item.pool == pool), None)

    def manifest(self, launch: render.Launch, replicas: int) -> Mapping[str, object] | None:
        """The group's object; None when its pool is gone since the plan was made."""
        offering = self.offering(launch.target.placement.pool)
        if offering is None:
            return None
        return render.engine_group(
            self.resource.object,
            launch,
            replicas,
            offering=offering,
            settings=self.engine,
        )


async def act(world: World, writer: Writer, scene: Scene, step: Step | None) -> None:
    """Write what one deployment needs now. Everything here may be repeated, and a repetition writes nothing."""
    if scene.launches or scene.groups:
        for manifest in render.base(scene.resource.object, scene.resource.request, scene.engine):
            await writer.apply(manifest)
    observed = {_name(item): item for kind in _GROUP_KINDS for item in world.objects(kind)}
    maps = {_name(item): item for item in world.objects(Kind.CONFIG_MAP) if GROUP_LABEL in _labels(item)}
    for group in scene.groups:
        await _keep(writer, scene, group, observed.get(_of(group)), maps.get(_of(group)))
    if step is not None:
        await _take(writer, scene, step)
    await _prune(writer, scene, step, maps.values())


_GROUP_KINDS = (Kind.ENGINE_GROUP, Kind.MULTI_NODE_GROUP)


async def _keep(
    writer: Writer, scene: Scene, group: EngineGroup, item: Object | None, config_map: Object | None
) -> None:
    """Bring a running group back to its manifest, and its price up to date, without restarting anything."""
    if item is None:
        return
    launch = next((found for found in scene.launches if found.target.name == group.name), None)
    launch_json = launch.spec.to_json() if launch else (config_map or {}).get("data", {}).get(LAUNCH_KEY)
    if launch_json:
        price_json = _price(scene.offering(group.pool), group.usd_per_replica_hour)
        await writer.apply(render.config_map(scene.resource.object, group.name, launch_json, price_json))
    manifest = scene.manifest(launch, group.desired) if launch else None
    if manifest is None:
        return
    hashes = [_annotations(found).get(TEMPLATE_HASH_ANNOTATION) for found in (item, manifest)]
    # Another hash with the same launch means that our own defaults changed (an image, say): applying
    # it would restart engines that serve. New engines get it, these keep theirs.
    if hashes[0] == hashes[1]:
        await writer.apply(manifest)


async def _take(writer: Writer, scene: Scene, step: Step) -> None:
    if step.kind is StepKind.CREATE:
        launch = next(found for found in scene.launches if found.target.name == step.group)
        offering = scene.offering(launch.target.placement.pool)
        manifest = scene.manifest(launch, step.replicas)
        if manifest is None or offering is None:
            return
        per_hour = usd_per_replica_hour(offering, launch.target.placement.shape) if offering.price else None
        files = render.config_map(scene.resource.object, step.group, launch.spec.to_json(), _price(offering, per_hour))
        await writer.apply(files)
        await writer.apply(manifest)
    elif step.kind is StepKind.SCALE:
        await writer.scale(_kind(scene, step.group), scene.key.namespace, step.group, step.replicas)
    elif step.kind is StepKind.DELETE:
        await writer.delete(_kind(scene, step.group), scene.key.namespace, step.group)


def _price(offering: Offering | None, per_hour: MicroUsd | None) -> str | None:
    return None if per_hour is None else render.price_document(per_hour, offering.price if offering else None)


def _kind(scene: Scene, name: str) -> Kind:
    shape = next(group.shape for group in scene.groups if group.name == name)
    return render.kind_of(shape.nodes_per_replica)


async def _prune(writer: Writer, scene: Scene, step: Step | None, config_maps: Iterable[Object]) -> None:
    """Files of groups whose last pod is gone."""
    kept = {group.name for group in scene.groups} | {launch.target.name for launch in scene.launches}
    kept |= {step.group} if step else set()
    for item in config_maps:
        namespace, name = _name(item)
        is_ours = namespace == scene.key.namespace and _labels(item).get(DEPLOYMENT_LABEL) == scene.key.name
        if is_ours and name not in kept:
            await writer.delete(Kind.CONFIG_MAP, namespace, name)


def _of(group: EngineGroup) -> tuple[str, str]:
    return group.key.namespace, group.name


def _name(item: Object) -> tuple[str, str]:
    return item["metadata"].get("namespace", ""), item["metadata"]["name"]


def _labels(item: Object) -> Mapping[str, str]:
    return item["metadata"].get("labels") or {}


def _annotations(item: Object) -> Mapping[str, str]:
    metadata = item["metadata"]
    return metadata.get("annotations") or {}
