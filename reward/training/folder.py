"""Run folders: each holds one run, and one process works in it at a time."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from reward.data.prepared import RECORD as PREPARED
from reward.targets import TARGET
from reward.writing import whole, write_json

CONFIG = Path(".hydra/config.yaml")
OVERRIDES = Path(".hydra/overrides.yaml")
RECORD = Path("run.json")
CHECKPOINTS = Path("checkpoints")
ARTIFACT = Path("reward")
JUDGED = Path("judged")
METRICS = Path("metrics.json")
CACHE = Path("cache")
_LOCK = ".lock"
_OF_A_RUN = (CONFIG, RECORD, CHECKPOINTS, ARTIFACT, JUDGED, METRICS)


class RunFolderError(ValueError):
    """A run folder that cannot be worked in: it is not there, holds another run, or another process works in it."""


class RunFolder:
    """A folder that this process works in, until it ends or calls `release`.

    Args:
        path: the folder.
        lock: the open lock file.
    """

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock = lock

    @classmethod
    def claim(cls, path: Path, *, or_next: bool) -> RunFolder:
        """Take a folder for a new run.

        Args:
            path: the folder; it is made where it is not there.
            or_next: where the folder is taken, try the same name with -1, -2 and so on.

        Raises:
            RunFolderError: the folder is taken.
        """
        for place in _names(path) if or_next else [path]:
            lock = _lock(place)
            if lock is None:
                problem = f"{place} is in use by another process: wait until it ends, or give another folder"
                continue
            found = [str(name) for name in _OF_A_RUN if (place / name).exists()]
            if not found:
                return cls(place, lock)
            os.close(lock)
            problem = (
                f"{place} holds another run (it has {', '.join(found)}), and a run has a folder of its own: go on with "
                f"that run, resume={place}, or give another folder, hydra.run.dir=DIR"
            )
        raise RunFolderError(problem)

    @classmethod
    def reopen(cls, path: Path, *, called: str) -> RunFolder:
        """Take the folder of a run that is there, to go on with it.

        Args:
            path: the folder.
            called: the setting that names it.

        Raises:
            RunFolderError: no run is there, or another process works in it.
        """
        if not (path / CONFIG).is_file():
            raise RunFolderError(f"{called}={path}: expected a run folder of train.py with {CONFIG}, found none there")
        lock = _lock(path)
        if lock is None:
            raise RunFolderError(f"{called}={path} is in use by another process: wait until it ends")
        return cls(path, lock)

    @property
    def artifact(self) -> Path:
        """Where the scoring function is saved."""
        return self.path / ARTIFACT

    @property
    def judged(self) -> Path:
        """The scoring function that the test days judge: what was saved before a refit, where there was one."""
        path = self.path / JUDGED
        return path if (path / "reward.json").is_file() else self.artifact

    @property
    def refitted(self) -> bool:
        """Whether the scoring function was fitted again after it was judged."""
        file = self.artifact / "reward.json"
        return file.is_file() and "refit" in json.loads(file.read_text(encoding="utf-8"))["facts"]

    @property
    def has_artifact(self) -> bool:
        """Whether the scoring function is saved."""
        return (self.artifact / "reward.json").is_file()

    @property
    def metrics(self) -> Path:
        """Where the figures of the test days are written, last of all."""
        return self.path / METRICS

    @property
    def record(self) -> dict[str, Any] | None:
        """What ran here, as `identify` wrote it; None before it did, and of runs of earlier versions."""
        file = self.path / RECORD
        return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None

    def identify(self, config: str, overrides: str, record: dict[str, Any]) -> None:
        """Write what runs here; from then on the folder is that run's alone."""
        for name, text in ((OVERRIDES, overrides), (CONFIG, config)):
            with whole(self.path / name) as scratch:
                scratch.write_text(text, encoding="utf-8")
        write_json(self.path / RECORD, record)

    @property
    def ended(self) -> bool:
        """Whether all of the run was done, and what it made is there."""
        return self.has_artifact and bool((self.record or {}).get("ended"))

    def end(self) -> None:
        """Write that all of the run was done."""
        write_json(self.path / RECORD, {**(self.record or {}), "ended": True})
        _forget(self.path / CACHE)

    def release(self) -> None:
        """Let go of the folder; where nothing ran in it nothing of it stays."""
        if not any((self.path / name).exists() for name in _OF_A_RUN):
            _forget(self.path / CACHE)
            (self.path / _LOCK).unlink(missing_ok=True)
            with suppress(OSError):  # it holds something else
                self.path.rmdir()
        if self._lock >= 0:
            os.close(self._lock)
        self._lock = -1


def own_modules(folder: RunFolder) -> tuple[str, ...]:
    """The modules of parts from elsewhere that the run's config names, to be trusted where its artefact names them."""
    named = {
        target.rpartition(".")[0] for target in _targets(OmegaConf.to_container(OmegaConf.load(folder.path / CONFIG)))
    }
    return tuple(sorted(name for name in named if name.partition(".")[0] != "reward"))


def _targets(config: Any) -> Iterator[str]:
    """Every part that a config names."""
    if isinstance(config, dict):
        if isinstance(config.get(TARGET), str):
            yield config[TARGET]
        config = list(config.values())
    for value in config if isinstance(config, list) else ():
        yield from _targets(value)


def _forget(cache: Path) -> None:
    """Remove the logs that a run kept, and nothing else that may be there."""
    for record in cache.glob(f"*/{PREPARED}"):
        shutil.rmtree(record.parent, ignore_errors=True)
    with suppress(OSError):  # it holds something else, or is not there
        cache.rmdir()


def _names(path: Path) -> Iterator[Path]:
    yield path
    yield from (path.with_name(f"{path.name}-{number}") for number in count(1))


def _lock(folder: Path) -> int | None:
    """Lock a folder for this process: an open file that holds the lock, which ends with the process; None: locked.

    Raises:
        RunFolderError: the folder cannot be made or written to.
    """
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:  # another process let go of the folder since
            continue
        except OSError as error:
            raise RunFolderError(f"{folder} cannot be a run folder: {error.strerror}; give another one") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(lock).st_ino == (folder / _LOCK).stat().st_ino:
                return lock
        except BlockingIOError:
            os.close(lock)
            return None
        except FileNotFoundError:  # the file was removed between opening and locking
            pass
        os.close(lock)
