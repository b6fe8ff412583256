"""Files that are made from code: written, or compared with what is there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def write(folder: Path, files: Mapping[str, str]) -> list[str]:
    """Write what differs, and say which files that were. Files of the folder that are not in ``files`` stay."""
    changed = differing(folder, files)
    folder.mkdir(parents=True, exist_ok=True)
    for name in changed:
        (folder / name).write_text(files[name], encoding="utf-8")
    return changed


def differing(folder: Path, files: Mapping[str, str]) -> list[str]:
    """Names of the files that are missing or differ."""
    return [
        name
        for name, text in files.items()
        if not (folder / name).is_file() or (folder / name).read_text(encoding="utf-8") != text
    ]
