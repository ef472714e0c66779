"""An artefact as its reader has it: each file is read once, and only as its manifest says that it is."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from reward.moved import OldName
from reward.plain import shown
from reward.scoring.bounded import Peek
from reward.scoring.manifest import CARD, MANIFEST, NEEDED, max_bytes, unsealed
from reward.scoring.open_folder import ArtifactError, MissingError, OpenFolder, ReplacedError, content_of

_MOST = 512 << 20  # bytes of a file that is hashed to say what is wrong with it
_MOST_CARD = 4 << 20
_BLOCK = 1 << 16

Check = Callable[[Peek, int], Any]
_Found = TypeVar("_Found")


class Sealed:
    """An artefact whose manifest is known to be whole; its other files are read by name.

    All of them come from the folder that was there when it was opened, whatever takes its place meanwhile.

    Attributes:
        folder: where it was found, for errors.
        manifest: what it says of itself.
        version: of its format.
        warnings: what readers found that whoever loads it should know.

    Args:
        files: the folder.
        expected: the hash of its manifest, where an artefact around it names it.
        warnings: see above.
    """

    opened = OldName("open", of_class=True)

    def __init__(self, files: OpenFolder, *, expected: str | None, warnings: list[str]) -> None:
        self.folder, self.warnings = files.place, warnings
        self._files = files
        content = self._whole(MANIFEST, _check_size(max_bytes(files.size)), expected)
        self.manifest = unsealed(content, self.folder, files.size)
        self.version: int = self.manifest["format_version"]
        self._hashes: dict[str, str] = self.manifest["sha256"]

    @classmethod
    @contextmanager
    def open(cls, folder: Path, *, links_to: Path | None = None) -> Iterator[Sealed]:
        """An artefact in a folder.

        Args:
            folder: where it is.
            links_to: a folder in which its files may be links; None: no file may be one.

        Raises:
            ArtifactError: there is none, or its manifest is not whole.
        """
        try:
            files = OpenFolder.at(folder, links_to)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise _incomplete(folder, NEEDED) from error
        with files:
            there = files.names()
            try:
                if MANIFEST not in there:
                    raise _incomplete(folder, [name for name in NEEDED if name not in there])
                sealed = cls(files, expected=None, warnings=[])
            except ArtifactError as error:
                if files.was_replaced():
                    raise ReplacedError(str(error)) from error
                raise
            yield sealed

    @contextmanager
    def within(self, place: Any) -> Iterator[Sealed]:
        """The artefact in a folder inside of this one, whose manifest is the one that this one's names by its hash.

        Raises:
            ArtifactError: there is none, or it is not whole.
        """
        expected = self._hashes.get(f"{place}/{MANIFEST}")
        if not isinstance(place, str) or expected is None:
            raise ArtifactError(f"{self.folder} names {shown(place)}, of which it has no hash")
        with self._files.within(place) as inner:
            yield Sealed(inner, expected=expected, warnings=self.warnings)

    def require(self, *names: str) -> None:
        """See that it has files: these, and all that it has a hash of.

        Raises:
            ArtifactError: one is not there, or has no hash.
        """
        missing = [name for name in names if not self._files.has(name)]
        if missing:
            raise _incomplete(self.folder, missing)
        unnamed = [name for name in names if name not in self._hashes]
        if unnamed:
            raise ArtifactError(
                f"{self.folder / MANIFEST} has no sha256 of {', '.join(unnamed)}: copy the artefact again"
            )
        missing = [name for name in self._hashes if not self._files.has(name)]
        if missing:
            raise self._files.missing(", ".join(missing))

    def peek(self, name: str, check_it: Callable[[Peek, int], _Found]) -> _Found:
        """What a check finds in a file, which is not read as a whole."""
        with self._files.file(name) as handle, self.blaming(name):
            return check_it(lambda start, count: os.pread(handle, count, start), os.fstat(handle).st_size)

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
        return self._files.was_replaced()

    def _whole(self, name: str, check_it: Check, expected: str | None) -> bytes:
        with self._files.file(name) as handle:
            size = os.fstat(handle).st_size
            check_it(lambda start, count: os.pread(handle, count, start), size)
            content = content_of(handle, size)
        if expected is not None and hashlib.sha256(content).hexdigest() != expected:
            raise self._changed(name)
        check_it(lambda start, count: content[start : start + count], len(content))
        return content

    def _hash_of(self, name: str) -> str:
        """The hash of a file, in blocks; where that would take long it is taken to be right."""
        with self._files.file(name) as handle:
            if os.fstat(handle).st_size > _MOST:
                return self._hashes[name]
            found, place = hashlib.sha256(), 0
            while block := os.pread(handle, _BLOCK, place):
                found.update(block)
                place += len(block)
            return found.hexdigest()

    def _changed(self, name: str) -> ArtifactError:
        why = "" if name == MANIFEST else " (sha256 differs)"
        return ArtifactError(
            f"{self.folder / name} was changed after it was written{why}: copy the artefact again from where it was "
            "made"
        )


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
