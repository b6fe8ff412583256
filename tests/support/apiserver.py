"""An API server of one's own: etcd and kube-apiserver as processes on loopback, from ``KUBEBUILDER_ASSETS``."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import yaml

from support.ports import free_ports

STARTS_WITHIN_S = 60


@contextlib.contextmanager
def api_server(assets: Path, folder: Path) -> Iterator[Path]:
    """Start both, yield the path of a kubeconfig with all rights, stop both."""
    token, (etcd_port, peer_port, port) = secrets.token_hex(16), free_ports(3)
    (folder / "tokens.csv").write_text(f'{token},test,test,"system:masters"\n')
    key = folder / "service-accounts.key"
    subprocess.run(["openssl", "genrsa", "-out", str(key), "2048"], check=True, capture_output=True)
    etcd_url = f"http://127.0.0.1:{etcd_port}"
    etcd = [
        str(assets / "etcd"),
        f"--data-dir={folder / 'etcd'}",
        f"--listen-client-urls={etcd_url}",
        f"--advertise-client-urls={etcd_url}",
        f"--listen-peer-urls=http://127.0.0.1:{peer_port}",
        "--unsafe-no-fsync",
    ]
    server = [
        str(assets / "kube-apiserver"),
        f"--etcd-servers={etcd_url}",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        f"--cert-dir={folder / 'certificates'}",
        f"--token-auth-file={folder / 'tokens.csv'}",
        "--authorization-mode=RBAC",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={key}",
        f"--service-account-signing-key-file={key}",
        "--service-cluster-ip-range=10.0.0.0/24",
        "--disable-admission-plugins=ServiceAccount",  # no controller makes the default ServiceAccount here
    ]
    with _running(etcd, folder / "etcd.log"), _running(server, folder / "kube-apiserver.log") as process:
        _wait_until_ready(f"https://127.0.0.1:{port}/readyz", token, process, folder / "kube-apiserver.log")
        yield _kubeconfig(folder / "kubeconfig", folder / "certificates" / "apiserver.crt", port, token)


def missing(assets: Path) -> list[str]:
    """What is needed and not there."""
    programs = [name for name in ("etcd", "kube-apiserver") if not os.access(assets / name, os.X_OK)]
    return programs + ([] if shutil.which("openssl") else ["openssl"])


def _kubeconfig(path: Path, certificate: Path, port: int, token: str) -> Path:
    # The certificate that the server has made itself, with its issuer in the same file.
    cluster = {"server": f"https://127.0.0.1:{port}", "certificate-authority": str(certificate)}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": cluster}],
        "users": [{"name": "test", "user": {"token": token}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "current-context": "test",
    }
    path.write_text(yaml.safe_dump(document))
    return path


@contextlib.contextmanager
def _running(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait_until_ready(url: str, token: str, process: subprocess.Popen[bytes], log: Path) -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # a certificate it has just made itself
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    deadline = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(request, context=context, timeout=2):
                return
        except OSError:
            time.sleep(0.2)
    tail = log.read_text(errors="replace")[-2000:]
    raise RuntimeError(f"kube-apiserver is not ready after {STARTS_WITHIN_S} s:\n{tail}")
