"""A real API server for the tests marked ``cluster``: the one that DEEPSEEK_TEST_KUBECONFIG names, or one of our own
from KUBEBUILDER_ASSETS. Never the ambient kubeconfig: it may be anyone's cluster.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

import pytest
import yaml
from kubernetes import client, config

from support.apiserver import api_server, missing
from support.kubernetes_api import apply, request, wait_for

HOW = (
    "no API server to test against: set DEEPSEEK_TEST_KUBECONFIG to the kubeconfig of a test cluster, or "
    "KUBEBUILDER_ASSETS to a folder with etcd and kube-apiserver (setup-envtest use -p path)"
)
HERE = Path(__file__).parent
PATH = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
ROOT = Path(__file__).parents[2]
CRDS = ROOT / "crds"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One worker has these tests, one after the other: they share a cluster and its CRDs, and engines fill a core."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("integration"))


@pytest.fixture(scope="session")
def runtime_python() -> str:
    """Interpreter with torch and vLLM; skips where the operator alone is installed: ``make test`` installs both."""
    named = os.environ.get("DEEPSEEK_RUNTIME_PYTHON") or str(ROOT / ".venv-runtime/bin/python")
    if not Path(named).is_file():  # 80 s and 2 GB that the operator's own tests do without
        pytest.skip(f"no runtime environment at {named}: run `make setup`, or name one in DEEPSEEK_RUNTIME_PYTHON")
    return named


@pytest.fixture(scope="session")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Path of the kubeconfig of the test API server; skips where there is none."""
    named, assets = os.environ.get("DEEPSEEK_TEST_KUBECONFIG"), os.environ.get("KUBEBUILDER_ASSETS")
    if named:
        yield Path(named)
    elif assets:
        lacking = missing(Path(assets))
        if lacking:
            pytest.fail(f"KUBEBUILDER_ASSETS={assets}: {', '.join(lacking)} not found")
        with api_server(Path(assets), tmp_path_factory.mktemp("apiserver")) as path:
            yield path
    else:
        pytest.skip(HOW)  # what ran against a mock has not run


@pytest.fixture(scope="session")
def api(kubeconfig: Path) -> Iterator[client.ApiClient]:
    """A client with all rights."""
    with config.new_client_from_config(str(kubeconfig)) as found:
        yield found


@pytest.fixture(scope="session")
def crds(api: client.ApiClient) -> Iterator[None]:
    """Our CRDs, as generated, established. Those that were not there before go again."""
    extensions = client.ApiextensionsV1Api(api)
    wanted = [yaml.safe_load(path.read_text()) for path in sorted(CRDS.glob("*.yaml"))]
    before = {item.metadata.name for item in extensions.list_custom_resource_definition().items}
    for crd in wanted:
        if not (crd["metadata"]["name"] in before and _is_up_to_date(api, crd)):
            apply(api, PATH, crd, force=True)
    for crd in wanted:
        name = crd["metadata"]["name"]
        wait_for(lambda name=name: _established(extensions, name), f"{name} is established")
    yield
    ours = {crd["metadata"]["name"] for crd in wanted} - before
    for name in sorted(ours):
        with _gone_is_done():
            extensions.delete_custom_resource_definition(name)
    for name in sorted(ours):
        wait_for(lambda name=name: not _exists(extensions, name), f"{name} is gone")


@pytest.fixture
def namespace(api: client.ApiClient) -> Iterator[str]:
    """A namespace of the test's own."""
    with _a_namespace(api) as name:
        yield name


@pytest.fixture(scope="session")
def dry_namespace(api: client.ApiClient) -> Iterator[str]:
    """A namespace for dry runs: nothing is ever stored in it."""
    with _a_namespace(api) as name:
        yield name


@contextlib.contextmanager
def _a_namespace(api: client.ApiClient) -> Iterator[str]:
    core, name = client.CoreV1Api(api), f"dsd-test-{uuid.uuid4().hex[:8]}"
    core.create_namespace({"metadata": {"name": name}})
    try:
        yield name
    finally:
        with _gone_is_done():
            core.delete_namespace(name)


@contextlib.contextmanager
def _gone_is_done() -> Iterator[None]:
    """urllib3 sends a DELETE again when the connection breaks before the answer: the second one finds nothing."""
    try:
        yield
    except client.ApiException as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise


def _is_up_to_date(api: client.ApiClient, crd: dict) -> bool:
    """Whether an apply would change nothing: then someone else's CRD stays theirs."""
    there = request(api, "GET", f"{PATH}/{crd['metadata']['name']}")
    return apply(api, PATH, crd, force=True, dry_run=True)["spec"] == there["spec"]


def _established(extensions: client.ApiextensionsV1Api, name: str) -> bool:
    status = extensions.read_custom_resource_definition(name).status
    return any(item.type == "Established" and item.status == "True" for item in status.conditions or [])


def _exists(extensions: client.ApiextensionsV1Api, name: str) -> bool:
    return any(item.metadata.name == name for item in extensions.list_custom_resource_definition().items)
