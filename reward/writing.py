"""Files and folders that appear whole or not at all, for whoever reads them while they are replaced."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # not a POSIX system: what a killed writer leaves stays there
    fcntl = None  # type: ignore[assignment]

_PARTIAL, _OLD = ".partial", ".old"
_AT_WORKING_FOLDER, _EXCHANGE = -100, 2  # of renameat2, from linux/fcntl.h and linux/fs.h
_UNSUPPORTED = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP}


@contextmanager
def whole(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a scratch file to write; it becomes ``path`` when the block ends well, and vanishes when it does not.

    Its mode follows the umask. What a writer that was killed left beside ``path`` is removed first.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    recover(target)
    with _scratch(target, _new_file) as scratch:
        yield scratch
        _sync(scratch)
        scratch.replace(target)


@contextmanager
def whole_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a scratch folder to fill; it becomes ``path`` when the block ends well, and vanishes when it does not.

    A folder that is there already is exchanged for the new one in a single step, so that a reader finds the one or the
    other, and is then removed. Where the file system cannot exchange two names, it is moved away and the new one moved
    in; a writer that is killed between the two is made good by `recover`. Modes follow the umask.
    """
    target = Path(os.path.realpath(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    recover(target)
    with _scratch(target, os.mkdir) as scratch:
        yield scratch
        for each in scratch.rglob("*"):
            _sync(each)
        _sync(scratch)
        _put(scratch, target)
        _sync(target.parent)


@contextmanager
def scratch_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a folder beside ``path`` for what is needed on the way to it; it vanishes when the block ends.

    What a writer that was killed left beside ``path`` is removed first.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    recover(target)
    with _scratch(target, os.mkdir) as scratch:
        yield scratch


def recover(path: str | os.PathLike[str]) -> None:
    """Clear what writers of ``path`` left that were killed: put back what they had moved away, remove the rest.

    Nothing that a living writer holds is touched, nor what this process may not change.
    """
    target = Path(path)
    beside: list[Path] = []
    with suppress(OSError):
        beside = [each for each in target.parent.iterdir() if each.name.startswith(f".{target.name}-")]
    for each in beside:
        if each.suffix in (_OLD, _PARTIAL):
            with suppress(OSError):
                _clear(target, each)


def write_json(path: str | os.PathLike[str], values: Mapping[str, Any]) -> None:
    """Write plain values; a number that JSON does not have is a ValueError."""
    with whole(path) as scratch:
        scratch.write_text(json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


@contextmanager
def _scratch(target: Path, make: Callable[[Path], None]) -> Iterator[Path]:
    """A new file or folder beside ``target``, held for as long as its writer lives; what is left of it goes."""
    while True:
        scratch = target.parent / f".{target.name}-{secrets.token_hex(4)}{_PARTIAL}"
        make(scratch)
        try:
            handle = _hold(scratch)
        except (FileNotFoundError, BlockingIOError):  # somebody cleared it before it was held
            continue
        if scratch.exists():
            break
        os.close(handle)
    try:
        yield scratch
    finally:
        _remove(scratch)
        os.close(handle)


def _new_file(path: Path) -> None:
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))


def _hold(path: Path) -> int:
    """A handle that holds a file or folder until it is closed, where the system has such holds.

    Raises:
        BlockingIOError: somebody else holds it.
    """
    if fcntl is None:
        return os.open(os.devnull, os.O_RDONLY)
    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise
    except OSError:  # a file system without holds: nobody will clear what they cannot hold
        pass
    return handle


def _clear(target: Path, left: Path) -> None:
    """Deal with what a writer of ``target`` left, unless it lives or nobody can tell."""
    if fcntl is None:
        return
    handle = os.open(left, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if left.suffix == _OLD and not target.exists():
            left.rename(target)
        else:
            _remove(left)
    finally:
        os.close(handle)


def _put(scratch: Path, target: Path) -> None:
    """Give a folder its name, in the place of one that has it."""
    try:
        scratch.rename(target)
        return
    except OSError:
        if not target.exists():
            raise
    if not _exchange(scratch, target):
        _replace_in_two_steps(scratch, target)


def _exchange(one: Path, other: Path) -> bool:
    """Give each of two paths the other's name in one step; False where the system cannot."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    if rename(_AT_WORKING_FOLDER, os.fsencode(one), _AT_WORKING_FOLDER, os.fsencode(other), _EXCHANGE) == 0:
        return True
    reason = ctypes.get_errno()
    if reason in _UNSUPPORTED:
        return False
    raise OSError(reason, os.strerror(reason), str(other))


def _replace_in_two_steps(scratch: Path, target: Path) -> None:
    old, handle = scratch.with_suffix(_OLD), _hold(target)
    try:
        target.rename(old)
        try:
            scratch.rename(target)
        except OSError:
            old.rename(target)
            raise
        _remove(old)
    finally:
        os.close(handle)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Have a file's or folder's content on the disk, where the system can say so."""
    with suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
