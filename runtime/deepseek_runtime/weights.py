"""The checkpoint on this pod's disk: fetched where it must be, and checked before an engine is started on it."""

from __future__ import annotations

import json
import os
import shutil
import struct
import tarfile
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from deepseek_runtime.failure import Failure, Reason
from deepseek_runtime.launchspec import LaunchSpec, Weights

_WANTED = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]
_ARCHIVES = (".tar", ".tar.gz", ".tgz")
_HTTP_TIMEOUT_S = 60
_LIBRARY = {"s3": "s3fs", "gs": "gcsfs"}


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A directory that was found complete, and the format of its weights ("" where they are not quantized)."""

    directory: Path
    config: Mapping[str, Any]
    format: str


def resolve(spec: LaunchSpec, *, say: Callable[[str], None] = lambda _: None) -> Checkpoint:
    """Find or fetch the checkpoint of ``spec`` and check it; raises :class:`Failure` with the remedy."""
    return check(locate(spec.weights, say=say), spec.architecture, field=_field(spec.weights))


def locate(weights: Weights, *, say: Callable[[str], None] = lambda _: None) -> Path:
    """The directory of the weights, downloaded first where they are elsewhere."""
    given = [name for name in ("repository", "uri", "path") if getattr(weights, name)]
    if len(given) != 1:
        raise Failure(
            Reason.INVALID_LAUNCH_SPEC,
            f"weights: {given or 'nothing'} given: exactly one of repository, uri and path says where they are",
        )
    if weights.path:
        return Path(weights.path)
    say(f"weights: fetching {weights.repository or weights.uri}")
    return _from_hub(weights) if weights.repository else _from_uri(weights)


def check(directory: Path, architecture: Mapping[str, int | str], *, field: str) -> Checkpoint:
    """Refuse a directory that is no checkpoint, another model's, or not whole. Reads headers, never tensors."""
    where = f"{field}: {str(directory)!r}"
    path = directory / "config.json"
    if not path.is_file():
        raise Failure(
            Reason.WEIGHTS_NOT_FOUND,
            f"{where}: no config.json there; name a directory that holds a checkpoint, or mount the volume that does",
        )
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise Failure(Reason.WEIGHTS_INCOMPLETE, f"{where}: config.json is not JSON ({error}); copy it again") from None
    differing = [
        f"{name} is {config.get(name, 'absent')!r}, the plan needs {value!r}"
        for name, value in sorted(architecture.items())
        if config.get(name) != value
    ]
    if differing:
        raise Failure(
            Reason.ARCHITECTURE_MISMATCH,
            f"{where}: config.json is another model's: {'; '.join(differing)}; "
            "name the checkpoint of spec.model.name, or the model that this checkpoint is",
        )
    _check_files(directory, where)
    quantization = config.get("quantization_config") or {}
    return Checkpoint(directory=directory, config=config, format=str(quantization.get("quant_method", "")))


def _check_files(directory: Path, where: str) -> None:
    index = directory / "model.safetensors.index.json"
    if index.is_file():
        files = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    else:
        files = sorted(path.name for path in directory.glob("*.safetensors"))
    problems = [f"{name} {problem}" for name in files if (problem := _file_problem(directory / name))]
    if not files:
        problems.append("no *.safetensors file")
    if not any((directory / name).is_file() for name in ("tokenizer.json", "tokenizer.model")):
        problems.append("no tokenizer.json")
    if problems:
        more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise Failure(
            Reason.WEIGHTS_INCOMPLETE, f"{where}: {', '.join(problems[:5])}{more}; finish the download or copy it again"
        )


def _file_problem(path: Path) -> str:
    """A safetensors file states its own length in its header: 8 bytes of header size, the header, then the tensors."""
    if not path.is_file():
        return "is missing"
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            (header,) = struct.unpack("<Q", file.read(8))
            if header > size:
                return f"has {size} bytes, its header alone {header}"
            tensors = json.loads(file.read(header))
        ends = [entry["data_offsets"][1] for name, entry in tensors.items() if name != "__metadata__"]
    except (struct.error, ValueError, AttributeError, TypeError, LookupError):
        return "is not a safetensors file"
    expected = 8 + header + max(ends, default=0)
    return "" if size == expected else f"has {size} bytes of {expected}"


def _from_hub(weights: Weights) -> Path:
    try:
        import huggingface_hub  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415
        from huggingface_hub import errors  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415
    except ImportError:
        raise Failure(Reason.ENGINE_MISSING, "huggingface_hub: not installed; use the runtime image") from None
    token = os.environ.get("HF_TOKEN") or None
    cache = str(Path(weights.cache_path) / "hub") if weights.cache_path else None
    where = f"weights.repository: {weights.repository!r}"
    try:
        directory = huggingface_hub.snapshot_download(
            weights.repository,
            revision=weights.revision or None,
            cache_dir=cache,
            token=token,
            allow_patterns=_WANTED,
        )
    except errors.GatedRepoError:
        remedy = "accept its licence on the hub and give a token of that account in tokenSecretRef"
        raise Failure(Reason.WEIGHTS_NOT_FOUND, f"{where}: access is restricted; {remedy}") from None
    except errors.RevisionNotFoundError:
        raise Failure(
            Reason.WEIGHTS_NOT_FOUND, f"{where}: no revision {weights.revision!r}; name a branch, tag or commit of it"
        ) from None
    except errors.RepositoryNotFoundError:
        remedy = "correct the name, or give a token that may read it in tokenSecretRef"
        raise Failure(Reason.WEIGHTS_NOT_FOUND, f"{where}: not on the hub; {remedy}") from None
    except (errors.HfHubHTTPError, errors.HFValidationError, errors.LocalEntryNotFoundError, OSError) as error:
        remedy = "allow egress to the hub, or name a volume or path that holds the checkpoint"
        raise Failure(Reason.WEIGHTS_NOT_FOUND, f"{where}: {_first_line(error)}; {remedy}") from None
    return Path(directory)


def _from_uri(weights: Weights) -> Path:
    parts = urlsplit(weights.uri)
    where = f"weights.uri: {weights.uri!r}"
    if parts.scheme == "file":
        return Path(parts.path)
    target = _cache_directory(weights)
    if (target / "config.json").is_file():
        return target
    if parts.scheme in _LIBRARY:
        _fetch(target, where, lambda into: _from_bucket(weights.uri, parts.scheme, into))
    elif parts.scheme == "https" and parts.path.endswith(_ARCHIVES):
        _fetch(target, where, lambda into: _from_archive(weights.uri, into))
    else:
        raise Failure(
            Reason.INVALID_LAUNCH_SPEC,
            f"{where}: cannot be fetched; use s3://, gs://, file:// or https:// with {', '.join(_ARCHIVES)}",
        )
    return target


def _cache_directory(weights: Weights) -> Path:
    """One directory per URI, so that a cache shared by several models mixes none of them."""
    root = Path(weights.cache_path or tempfile.gettempdir()) / "uri"
    return root / "".join(letter if letter.isalnum() else "-" for letter in weights.uri)


def _fetch(target: Path, where: str, fill: Callable[[Path], None]) -> None:
    """Fill a directory beside ``target`` and rename it: another pod on the same cache never sees half of it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=target.parent, prefix=".partial-"))
    try:
        fill(partial)
        found = next((path.parent for path in sorted(partial.rglob("config.json"))), None)
        if found is None:
            raise Failure(Reason.WEIGHTS_NOT_FOUND, f"{where}: no config.json in it; name a checkpoint's directory")
        if not target.exists():
            found.rename(target)
    except (OSError, tarfile.TarError, urllib.error.URLError) as error:
        raise Failure(
            Reason.WEIGHTS_NOT_FOUND, f"{where}: {_first_line(error)}; check the address and the pod's access to it"
        ) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _from_bucket(uri: str, scheme: str, into: Path) -> None:
    try:
        import fsspec  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415

        filesystem = fsspec.filesystem(scheme)
    except ImportError:
        raise Failure(
            Reason.ENGINE_MISSING,
            f"weights.uri: {uri!r}: this image has no {_LIBRARY[scheme]}; add it to the image, "
            "mount the bucket as a volume and name that, or use a hub repository",
        ) from None
    filesystem.get(uri.rstrip("/") + "/", str(into), recursive=True)


def _from_archive(uri: str, into: Path) -> None:
    with (
        urllib.request.urlopen(uri, timeout=_HTTP_TIMEOUT_S) as response,  # noqa: S310 - https only, checked above
        tarfile.open(fileobj=response, mode="r|*") as archive,
    ):
        archive.extractall(into, filter="data")


def _field(weights: Weights) -> str:
    return "weights." + next((name for name in ("repository", "uri", "path") if getattr(weights, name)), "path")


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
