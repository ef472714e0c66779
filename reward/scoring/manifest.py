"""The manifest of an artefact: sealed by a hash of itself, and no larger in memory than its files account for."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from reward.moved import find_names_of_before
from reward.plain import check, parse
from reward.scoring.open_folder import ArtifactError

MANIFEST = "reward.json"
WEIGHTS = "weights.safetensors"
ITEMS = "items.parquet"
EFFECTS = "effects.parquet"
NET = "effects.safetensors"
CARD = "README.md"
_BESIDE = (WEIGHTS, ITEMS, EFFECTS, NET)
NEEDED = (MANIFEST, WEIGHTS, ITEMS, CARD)
# 1 had no effects, 2 one head alone, 3 no frailty, 5 no class of effects, 6 the reward's task apart; 4 is read as 5
READABLE = (1, 2, 3, 4, 5, 6, 7)
FORMAT_VERSION = READABLE[-1]
_FREE = 4 << 20  # bytes of memory that the values of any manifest may take, beside those for its other files
_LIST, _ENTRY, _PAIR = 64, 64, 128  # bytes of memory for each bracket, comma and colon of a manifest
_WIDE = re.compile(rb"[\xf0-\xff]|\\u")
_SEAL = re.compile(rb',\n "seal": "([0-9a-f]{64})"\n\}\Z')
_VERSION = re.compile(rb'\A\{\s*"format_version": (-?\d{1,9}|"[^"\\]{0,20}"|null|true|false|[\d.]{1,20})\s*[,}]')

find_names_of_before(__name__)


def write_manifest(folder: Path, manifest: Mapping[str, Any], files: Sequence[str]) -> None:
    """Write what an artefact says of itself, with the hashes of its files, sealed.

    Raises:
        ValueError: it would take more memory than `check_manifest` allows.
    """
    hashes = {name: _sha256(folder / name) for name in files}
    text = _sealed({"format_version": FORMAT_VERSION, **manifest, "sha256": hashes}).encode()
    try:
        check_manifest(text, lambda name: (folder / name).stat().st_size if (folder / name).is_file() else 0)
    except ValueError as error:
        raise ValueError(f"{MANIFEST} {error}") from error
    (folder / MANIFEST).write_bytes(text)


def unsealed(content: bytes, folder: Path, size_of: Callable[[str], int]) -> dict[str, Any]:
    """The values of a manifest, once its seal is known to be right.

    Args:
        content: its text.
        folder: where it is, for errors.
        size_of: see `check_manifest`.

    Raises:
        ArtifactError: it was changed, is of an unknown format, or takes too much memory.
    """
    broken = f"{folder / MANIFEST} was changed after it was written: copy the artefact again from where it was made"
    said, seal = _VERSION.search(content), _SEAL.search(content)
    if said is not None and said[1].decode() not in map(str, READABLE):
        known = f"{', '.join(map(str, READABLE[:-1]))} and {READABLE[-1]}"
        raise ArtifactError(
            f"{folder} has format version {_as_python(said[1].decode())}, this version of reward reads "
            f"{known}: install the version that wrote it, or train again"
        )
    if said is None or seal is None or _sealed_hash(content, seal.start()) != seal[1].decode():
        raise ArtifactError(broken)
    try:
        check_manifest(content, size_of)
        manifest = parse(content)
        _check_facts(manifest, content)
        check(manifest.get("sha256"), dict[str, str], "sha256")
    except ValueError as error:
        raise ArtifactError(f"{folder / MANIFEST} {error}: copy the artefact again") from error
    return dict(manifest)


def max_bytes(size_of: Callable[[str], int]) -> int:
    """Bytes that a manifest may have, as far as it is not yet read; ``size_of`` as for `check_manifest`."""
    return (_FREE + sum(map(size_of, _BESIDE))) // 3


def check_manifest(content: bytes, size_of: Callable[[str], int]) -> None:
    """See that the values of a manifest take no more memory than the files that it names account for.

    Args:
        content: of the manifest.
        size_of: bytes of a file beside it, 0 where it is not there.

    Raises:
        ValueError: they take more.
    """
    most = _FREE + sum(size_of(name) for name in _BESIDE if f'"{name}": "'.encode() in content)
    taken = _memory_of(content)
    if taken > most:
        raise ValueError(
            f"of {len(content)} bytes takes up to {taken} bytes of memory, where at most {most} were to be expected "
            "beside its weights and tables: it has too many facts or names"
        )


def _check_facts(manifest: Any, content: bytes) -> None:
    """See that facts, which no other file accounts for, take no more memory than is free.

    Raises:
        ValueError: they take more; or it is no table of values.
    """
    check(manifest, dict[str, Any], "the manifest")
    if _memory_of(content) > _FREE:
        taken = _memory_of(json.dumps(manifest.get("facts"), ensure_ascii=False).encode("utf-8", "replace"))
        if taken > _FREE:
            raise ValueError(f"has facts that take up to {taken} bytes of memory, expected at most {_FREE}")


def _memory_of(content: bytes) -> int:
    """Bytes of memory that the values of a JSON text take at most, with the text itself and its letters."""
    letter = 1 if content.isascii() and b"\\u" not in content else 4 if _WIDE.search(content) else 2
    brackets = content.count(b"[") + content.count(b"{")
    values = _LIST * brackets + _ENTRY * content.count(b",") + _PAIR * content.count(b":")
    return len(content) * (1 + 2 * letter) + values


def _sealed(manifest: Mapping[str, Any]) -> str:
    """The manifest as text, with the hash of itself at its end."""
    text = json.dumps(manifest, indent=1, ensure_ascii=False, allow_nan=False)
    seal = hashlib.sha256(text.encode()).hexdigest()
    return text.removesuffix("\n}") + f',\n "seal": "{seal}"\n}}'


def _sealed_hash(content: bytes, end: int) -> str:
    """The hash that the seal at ``end`` should be: of the manifest without it."""
    found = hashlib.sha256(memoryview(content)[:end])
    found.update(b"\n}")
    return found.hexdigest()


def _as_python(text: str) -> str:
    return {"null": "None", "true": "True", "false": "False"}.get(text, text.replace('"', "'"))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
