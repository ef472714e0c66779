"""A folder that is held open: its files are those that were there when it was opened, and none lies outside it."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reward.plain import shown

_OPEN = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


class ArtifactError(ValueError):
    """A folder that is no intact artefact, or one of a format this version does not read."""


class MissingError(ArtifactError):
    """A file, or the folder itself, is not there."""


class ReplacedError(ArtifactError):
    """Another folder took the place of this one while it was read."""


class OpenFolder:
    """A folder as it was when it was opened, whatever takes its place meanwhile; `close` it, or use it as a context.

    Attributes:
        place: where it was found, for errors.

    Args:
        place: see above.
        handle: of the folder, which is closed with it.
        links_to: a folder in which its files may be links; None: no file may be one.
    """

    def __init__(self, place: Path, handle: int, links_to: Path | None) -> None:
        self.place = place
        self._handle, self._links_to = handle, links_to

    @classmethod
    def at(cls, place: Path, links_to: Path | None) -> OpenFolder:
        """The folder at a place.

        Raises:
            OSError: there is none.
        """
        return cls(place, os.open(place, os.O_RDONLY | os.O_DIRECTORY), links_to)

    def __enter__(self) -> OpenFolder:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        """Give up the handle."""
        os.close(self._handle)

    def within(self, name: str) -> OpenFolder:
        """A folder inside of it.

        Raises:
            ArtifactError: there is none, or it is a link.
        """
        return OpenFolder(self.place / name, self._folder(name), self._links_to)

    def names(self) -> set[str]:
        """What is in it."""
        return set(os.listdir(self._handle))  # noqa: PTH208

    def has(self, name: str) -> bool:
        """Whether a file is there, be it a link."""
        self._steps(name)
        try:
            os.stat(name, dir_fd=self._handle, follow_symlinks=False)
        except OSError:
            return False
        return True

    def size(self, name: str) -> int:
        """Bytes of a file, 0 where it is not there."""
        try:
            return os.stat(name, dir_fd=self._handle, follow_symlinks=self._links_to is not None).st_size
        except OSError:
            return 0

    def was_replaced(self) -> bool:
        """Whether another folder has its name by now, or none."""
        try:
            now, then = self.place.stat(), os.fstat(self._handle)
        except OSError:
            return True
        return (now.st_dev, now.st_ino) != (then.st_dev, then.st_ino)

    @contextmanager
    def file(self, name: str) -> Iterator[int]:
        """A handle of an ordinary file inside; nothing waits for a pipe, and no link leads outside.

        Raises:
            ArtifactError: it is none, or cannot be opened.
        """
        handle = self._file(name)
        try:
            yield handle
        finally:
            os.close(handle)

    def missing(self, names: str) -> MissingError:
        """That files are not there."""
        return MissingError(
            f"{self.place} is no artefact: missing {names}; copy the artefact again from where it was made"
        )

    def _steps(self, name: str) -> list[str]:
        """The steps to a file inside."""
        steps = name.split("/")
        if any(step in ("", ".", "..") or "\0" in step or "\\" in step for step in steps):
            raise ArtifactError(f"{self.place} names {shown(name)}, which is no file inside of it: do not load it")
        return steps

    def _folder(self, name: str) -> int:
        handle = os.dup(self._handle)
        for step in self._steps(name):
            try:
                inner = os.open(step, _OPEN | os.O_DIRECTORY, dir_fd=handle)
            except OSError as error:
                raise self._unopened(name, error) from error
            finally:
                os.close(handle)
            handle = inner
        return handle

    def _file(self, name: str) -> int:
        place, _, last = name.rpartition("/")
        self._steps(name)
        folder = self._folder(place) if place else os.dup(self._handle)
        try:
            handle = os.open(last, _OPEN, dir_fd=folder)
        except FileNotFoundError as error:
            raise self.missing(name) from error
        except OSError as error:
            if error.errno != errno.ELOOP or self._links_to is None:
                raise self._unopened(name, error) from error
            handle = self._linked(name, self._links_to)
        finally:
            os.close(folder)
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise ArtifactError(f"{self.place / name} is no ordinary file: do not load it")
        return handle

    def _linked(self, name: str, links_to: Path) -> int:
        real = Path(os.path.realpath(self.place / name))
        if not real.is_relative_to(os.path.realpath(links_to)):
            raise ArtifactError(f"{self.place / name} is a link to outside of it: do not load it")
        return os.open(real, _OPEN)

    def _unopened(self, name: str, error: OSError) -> ArtifactError:
        why = (
            "is a link, and files of an artefact are none"
            if error.errno == errno.ELOOP
            else f"cannot be opened: {error}"
        )
        return ArtifactError(f"{self.place / name} {why}: copy the artefact again from where it was made")


def content_of(handle: int, size: int) -> bytes:
    """At most ``size`` bytes of a file from its beginning."""
    content = os.pread(handle, size, 0)
    while len(content) < size and (more := os.pread(handle, size - len(content), len(content))):
        content += more
    return content


def shown_error(error: Exception) -> str:
    """One line of an error, with its kind where it is no ValueError."""
    line = str(error).strip().partition("\n")[0][:500]
    return line if isinstance(error, ValueError) else f"{type(error).__name__}: {line}"
