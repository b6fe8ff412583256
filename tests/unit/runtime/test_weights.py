from __future__ import annotations

import http.server
import io
import json
import ssl
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from deepseek_runtime import weights
from deepseek_runtime.failure import Failure, Reason
from deepseek_runtime.launchspec import Weights
from support.launch_specs import CONFIG, launch_spec, write_checkpoint


def refusal(directory: Path, **changes: object) -> Failure:
    with pytest.raises(Failure) as caught:
        weights.resolve(launch_spec(weights=Weights(path=str(directory)), **changes))
    return caught.value


def test_a_whole_checkpoint_is_found(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, CONFIG | {"quantization_config": {"quant_method": "fp8"}}, shards=3)
    found = weights.resolve(launch_spec(weights=Weights(path=str(tmp_path))))
    assert found.directory == tmp_path
    assert found.format == "fp8"


def test_absent_weights_name_field_value_and_remedy(tmp_path: Path) -> None:
    failure = refusal(tmp_path / "nowhere")
    assert failure.reason is Reason.WEIGHTS_NOT_FOUND
    assert f"weights.path: '{tmp_path}/nowhere': no config.json there; name a directory" in str(failure)


def test_another_models_checkpoint_is_refused_with_every_difference(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, {"hidden_size": 7168, "num_hidden_layers": 4})
    failure = refusal(tmp_path)
    assert failure.reason is Reason.ARCHITECTURE_MISMATCH
    assert "hidden_size is 7168, the plan needs 128" in str(failure)
    assert "vocab_size is 'absent', the plan needs 512" in str(failure)


def test_a_missing_and_a_cut_shard_are_named(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, shards=3)
    (tmp_path / "model-1.safetensors").unlink()
    cut = tmp_path / "model-2.safetensors"
    cut.write_bytes(cut.read_bytes()[:-1])
    failure = refusal(tmp_path)
    assert failure.reason is Reason.WEIGHTS_INCOMPLETE
    assert "model-1.safetensors is missing" in str(failure)
    assert f"model-2.safetensors has {cut.stat().st_size} bytes of {cut.stat().st_size + 1}" in str(failure)


@pytest.mark.parametrize("content", [b"", b"abc", b"\xff" * 64, b"\x02\0\0\0\0\0\0\0[]"])
def test_what_is_no_safetensors_file_is_named(tmp_path: Path, content: bytes) -> None:
    write_checkpoint(tmp_path)
    (tmp_path / "model-0.safetensors").write_bytes(content)
    assert "model-0.safetensors" in str(refusal(tmp_path))


def test_a_checkpoint_without_tokenizer_or_weights_is_incomplete(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / "model-0.safetensors").unlink()
    assert "no *.safetensors file, no tokenizer.json" in str(refusal(tmp_path))


def test_weights_must_be_in_one_place() -> None:
    with pytest.raises(Failure, match="exactly one of repository, uri and path"):
        weights.locate(Weights(path="/a", uri="file:///b"))
    with pytest.raises(Failure, match="nothing given"):
        weights.locate(Weights())


def test_a_file_uri_is_a_path(tmp_path: Path) -> None:
    assert weights.locate(Weights(uri=f"file://{tmp_path}")) == tmp_path


@pytest.mark.parametrize("uri", ["ftp://host/x.tar", "https://host/folder/"])
def test_an_address_that_cannot_be_fetched_names_those_that_can(uri: str) -> None:
    with pytest.raises(Failure, match="use s3://, gs://, file:// or https://") as caught:
        weights.locate(Weights(uri=uri))
    assert caught.value.reason is Reason.INVALID_LAUNCH_SPEC


def test_a_bucket_without_its_library_is_refused_with_the_alternatives(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="has no s3fs; add it to the image, mount the bucket") as caught:
        weights.locate(Weights(uri="s3://bucket/model", cache_path=str(tmp_path)))
    assert caught.value.reason is Reason.ENGINE_MISSING
    assert list((tmp_path / "uri").iterdir()) == []


@pytest.fixture
def archive_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, list[str]]]:
    """An https server on loopback that gives a checkpoint as a tar; (address, paths asked for)."""
    made = write_checkpoint(tmp_path / "made" / "model")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        archive.add(made, "model")
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            found = self.path == "/model.tar.gz"
            self.send_response(200 if found else 404)
            self.end_headers()
            self.wfile.write(buffer.getvalue() if found else b"")

        def log_message(self, *_: object) -> None:
            pass

    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    yield f"https://localhost:{server.server_address[1]}", asked
    server.shutdown()


def test_an_archive_is_fetched_once_and_found_again(archive_server: tuple[str, list[str]], tmp_path: Path) -> None:
    address, asked = archive_server
    wanted = Weights(uri=f"{address}/model.tar.gz", cache_path=str(tmp_path / "cache"))
    first = weights.resolve(launch_spec(weights=wanted)).directory
    again = weights.resolve(launch_spec(weights=wanted)).directory
    assert first == again
    assert json.loads((first / "config.json").read_text()) == CONFIG
    assert asked == ["/model.tar.gz"]


def test_an_archive_that_is_not_there_leaves_nothing_behind(
    archive_server: tuple[str, list[str]], tmp_path: Path
) -> None:
    with pytest.raises(Failure, match="404") as caught:
        weights.locate(Weights(uri=f"{archive_server[0]}/other.tar", cache_path=str(tmp_path / "cache")))
    assert caught.value.reason is Reason.WEIGHTS_NOT_FOUND
    assert list((tmp_path / "cache" / "uri").iterdir()) == []
