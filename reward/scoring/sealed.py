"""The folder of an artefact as its reader has it: opened once, each file read once, nothing outside it touched."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from reward.plain import check, parse, shown
from reward.scoring.bounded import Peek

MANIFEST = "reward.json"
WEIGHTS = "weights.safetensors"
ITEMS = "items.parquet"
EFFECTS = "effects.parquet"
NET = "effects.safetensors"
CARD = "README.md"
_BESIDE = (WEIGHTS, ITEMS, EFFECTS, NET)
NEEDED = (MANIFEST, WEIGHTS, ITEMS, CARD)
READABLE = (1, 2, 3, 4, 5, 6)  # 1 had no effects, 2 one head alone, 3 no frailty, 5 no class of effects; 4 is read as 5
_FREE = 4 << 20  # bytes of memory that the values of any manifest may take, beside those for its other files
_MOST = 512 << 20  # bytes of a file that is hashed to say what is wrong with it
_MOST_CARD = 4 << 20
_LIST, _ENTRY, _PAIR = 64, 64, 128  # bytes of memory for each bracket, comma and colon of a manifest
_WIDE = re.compile(rb"[\xf0-\xff]|\\u")
_BLOCK = 1 << 16
_SEAL = re.compile(rb',\n "seal": "([0-9a-f]{64})"\n\}\Z')
_VERSION = re.compile(rb'\A\{\s*"format_version": (-?\d{1,9}|"[^"\\]{0,20}"|null|true|false|[\d.]{1,20})\s*[,}]')
_OPEN = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)

Check = Callable[[Peek, int], Any]
_Found = TypeVar("_Found")


class ArtifactError(ValueError):
    """A folder that is no intact artefact, or one of a format this version does not read."""


class MissingError(ArtifactError):
    """A file, or the folder itself, is not there."""


class ReplacedError(ArtifactError):
    """Another folder took the place of this one while it was read."""


class Sealed:
    """An artefact whose manifest is known to be whole; its other files are read by name.

    All of them come from the folder that was there when it was opened, whatever takes its place meanwhile.

    Attributes:
        folder: where it was found, for errors.
        manifest: what it says of itself.
        version: of its format.
        warnings: what readers found that whoever loads it should know.
    """

    def __init__(
        self, folder: Path, handle: int, *, links_to: Path | None, expected: str | None, warnings: list[str]
    ) -> None:
        self.folder, self.warnings = folder, warnings
        self._handle, self._links_to = handle, links_to
        content = self._whole(MANIFEST, _check_size(self._most()), expected)
        self.manifest = self._unsealed(content)
        self.version: int = self.manifest["format_version"]
        self._hashes: dict[str, str] = self.manifest["sha256"]

    @classmethod
    @contextmanager
    def opened(cls, folder: Path, *, links_to: Path | None = None) -> Iterator[Sealed]:
        """An artefact in a folder.

        Args:
            folder: where it is.
            links_to: a folder in which its files may be links; None: no file may be one.

        Raises:
            ArtifactError: there is none, or its manifest is not whole.
        """
        try:
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise _incomplete(folder, NEEDED) from error
        try:
            there = set(os.listdir(handle))  # noqa: PTH208
            try:
                if MANIFEST not in there:
                    raise _incomplete(folder, [name for name in NEEDED if name not in there])
                sealed = cls(folder, handle, links_to=links_to, expected=None, warnings=[])
            except ArtifactError as error:
                if _was_replaced(folder, handle):
                    raise ReplacedError(str(error)) from error
                raise
            yield sealed
        finally:
            os.close(handle)

    @contextmanager
    def within(self, place: Any) -> Iterator[Sealed]:
        """The artefact in a folder inside of this one, whose manifest is the one that this one's names by its hash.

        Raises:
            ArtifactError: there is none, or it is not whole.
        """
        expected = self._hashes.get(f"{place}/{MANIFEST}")
        if not isinstance(place, str) or expected is None:
            raise ArtifactError(f"{self.folder} names {shown(place)}, of which it has no hash")
        handle = self._folder(place)
        try:
            yield Sealed(
                self.folder / place, handle, links_to=self._links_to, expected=expected, warnings=self.warnings
            )
        finally:
            os.close(handle)

    def require(self, *names: str) -> None:
        """See that it has files: these, and all that it has a hash of.

        Raises:
            ArtifactError: one is not there, or has no hash.
        """
        missing = [name for name in names if not self._is_there(name)]
        if missing:
            raise _incomplete(self.folder, missing)
        unnamed = [name for name in names if name not in self._hashes]
        if unnamed:
            raise ArtifactError(
                f"{self.folder / MANIFEST} has no sha256 of {', '.join(unnamed)}: copy the artefact again"
            )
        missing = [name for name in self._hashes if not self._is_there(name)]
        if missing:
            raise self._missing(", ".join(missing))

    def peek(self, name: str, check_it: Callable[[Peek, int], _Found]) -> _Found:
        """What a check finds in a file, which is not read as a whole."""
        handle = self._file(name)
        try:
            with self.blaming(name):
                return check_it(lambda start, count: os.pread(handle, count, start), os.fstat(handle).st_size)
        finally:
            os.close(handle)

    @contextmanager
    def blaming(self, name: str) -> Iterator[None]:
        """Where something does not fit in the block, say that the file was changed, if it was."""
        try:
            yield
        except ValueError as error:
            if name in self._hashes and self._hash_of(name) != self._hashes[name]:
                raise self._changed(name) from error
            raise

    def read(self, name: str, check_it: Check) -> bytes:
        """A file, whose hash agrees and which a check has passed: once before it is read, and once as it was read.

        Raises:
            ArtifactError: it does not agree.
            ValueError: by the check.
        """
        with self.blaming(name):
            return self._whole(name, check_it, self._hashes[name])

    def read_card(self) -> None:
        """See that the model card is as it was written."""
        self.read(CARD, _check_size(_MOST_CARD))

    def was_replaced(self) -> bool:
        """Whether another folder has its name by now, or none."""
        return _was_replaced(self.folder, self._handle)

    def _whole(self, name: str, check_it: Check, expected: str | None) -> bytes:
        handle = self._file(name)
        try:
            size = os.fstat(handle).st_size
            check_it(lambda start, count: os.pread(handle, count, start), size)
            content = _content(handle, size)
        finally:
            os.close(handle)
        if expected is not None and hashlib.sha256(content).hexdigest() != expected:
            raise self._changed(name)
        check_it(lambda start, count: content[start : start + count], len(content))
        return content

    def _hash_of(self, name: str) -> str:
        """The hash of a file, in blocks; where that would take long it is taken to be right."""
        handle = self._file(name)
        try:
            if os.fstat(handle).st_size > _MOST:
                return self._hashes[name]
            found, place = hashlib.sha256(), 0
            while block := os.pread(handle, _BLOCK, place):
                found.update(block)
                place += len(block)
            return found.hexdigest()
        finally:
            os.close(handle)

    def _missing(self, names: str) -> MissingError:
        return MissingError(
            f"{self.folder} is no artefact: missing {names}; copy the artefact again from where it was made"
        )

    def _unsealed(self, content: bytes) -> dict[str, Any]:
        broken = (
            f"{self.folder / MANIFEST} was changed after it was written: copy the artefact again from where it was made"
        )
        said, seal = _VERSION.search(content), _SEAL.search(content)
        if said is not None and said[1].decode() not in map(str, READABLE):
            known = f"{', '.join(map(str, READABLE[:-1]))} and {READABLE[-1]}"
            raise ArtifactError(
                f"{self.folder} has format version {_as_python(said[1].decode())}, this version of reward reads "
                f"{known}: install the version that wrote it, or train again"
            )
        if said is None or seal is None or _sealed_hash(content, seal.start()) != seal[1].decode():
            raise ArtifactError(broken)
        try:
            check_manifest(content, self._size)
            manifest = parse(content)
            _check_facts(manifest, content)
            check(manifest.get("sha256"), dict[str, str], "sha256")
        except ValueError as error:
            raise ArtifactError(f"{self.folder / MANIFEST} {error}: copy the artefact again") from error
        return dict(manifest)

    def _changed(self, name: str) -> ArtifactError:
        why = "" if name == MANIFEST else " (sha256 differs)"
        return ArtifactError(
            f"{self.folder / name} was changed after it was written{why}: copy the artefact again from where it was "
            "made"
        )

    def _most(self) -> int:
        """Bytes that the manifest may have, as far as it is not yet read."""
        return (_FREE + sum(map(self._size, _BESIDE))) // 3

    def _size(self, name: str) -> int:
        try:
            return os.stat(name, dir_fd=self._handle, follow_symlinks=self._links_to is not None).st_size
        except OSError:
            return 0

    def _is_there(self, name: str) -> bool:
        self._parts(name)
        try:
            os.stat(name, dir_fd=self._handle, follow_symlinks=False)
        except OSError:
            return False
        return True

    def _parts(self, name: str) -> list[str]:
        """The steps to a file inside."""
        parts = name.split("/")
        if any(part in ("", ".", "..") or "\0" in part or "\\" in part for part in parts):
            raise ArtifactError(f"{self.folder} names {shown(name)}, which is no file inside of it: do not load it")
        return parts

    def _folder(self, place: str) -> int:
        handle = os.dup(self._handle)
        for part in self._parts(place):
            try:
                inner = os.open(part, _OPEN | os.O_DIRECTORY, dir_fd=handle)
            except OSError as error:
                raise self._unopened(place, error) from error
            finally:
                os.close(handle)
            handle = inner
        return handle

    def _file(self, name: str) -> int:
        """A handle of an ordinary file inside; nothing waits for a pipe, and no link leads outside."""
        place, _, last = name.rpartition("/")
        self._parts(name)
        folder = self._folder(place) if place else os.dup(self._handle)
        try:
            handle = os.open(last, _OPEN, dir_fd=folder)
        except FileNotFoundError as error:
            raise self._missing(name) from error
        except OSError as error:
            if error.errno != errno.ELOOP or self._links_to is None:
                raise self._unopened(name, error) from error
            handle = self._linked(name)
        finally:
            os.close(folder)
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise ArtifactError(f"{self.folder / name} is no ordinary file: do not load it")
        return handle

    def _linked(self, name: str) -> int:
        assert self._links_to is not None
        real = Path(os.path.realpath(self.folder / name))
        if not real.is_relative_to(os.path.realpath(self._links_to)):
            raise ArtifactError(f"{self.folder / name} is a link to outside of it: do not load it")
        return os.open(real, _OPEN)

    def _unopened(self, name: str, error: OSError) -> ArtifactError:
        why = (
            "is a link, and files of an artefact are none"
            if error.errno == errno.ELOOP
            else f"cannot be opened: {error}"
        )
        return ArtifactError(f"{self.folder / name} {why}: copy the artefact again from where it was made")


def _was_replaced(folder: Path, handle: int) -> bool:
    try:
        now, then = folder.stat(), os.fstat(handle)
    except OSError:
        return True
    return (now.st_dev, now.st_ino) != (then.st_dev, then.st_ino)


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


def _incomplete(folder: Path, missing: Sequence[str]) -> MissingError:
    return MissingError(
        f"{folder} is no artefact: expected {', '.join(NEEDED)}, missing {', '.join(missing)}; give the folder that "
        "training printed, or copy it again"
    )


def _check_size(most: int) -> Check:
    def check_it(peek: Peek, size: int) -> None:  # noqa: ARG001
        if size > most:
            raise ArtifactError(f"a file of the artefact has {size} bytes, where at most {most} were to be expected")

    return check_it


def _content(handle: int, size: int) -> bytes:
    """At most ``size`` bytes of a file from its beginning."""
    content = os.pread(handle, size, 0)
    while len(content) < size and (more := os.pread(handle, size - len(content), len(content))):
        content += more
    return content


def _sealed_hash(content: bytes, end: int) -> str:
    """The hash that the seal at ``end`` should be: of the manifest without it."""
    found = hashlib.sha256(memoryview(content)[:end])
    found.update(b"\n}")
    return found.hexdigest()


def _as_python(text: str) -> str:
    return {"null": "None", "true": "True", "false": "False"}.get(text, text.replace('"', "'"))


def shown_error(error: Exception) -> str:
    """One line of an error, with its kind where it is no ValueError."""
    line = str(error).strip().partition("\n")[0][:500]
    return line if isinstance(error, ValueError) else f"{type(error).__name__}: {line}"
