"""The stages of a run: each is timed, and where one after training cannot be done the others stand."""

from __future__ import annotations

import json
import os
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from reward.data.event_log import SchemaError
from reward.writing import write_json

T = TypeVar("T")
TIMING = "timing.json"


class Stages:
    """What a run spends on each of its stages, and which of them failed.

    Args:
        say: prints a line.
        first: nothing else was done by the process before: what it spent so far is the stage ``starting``.
    """

    def __init__(self, say: Callable[[str], None], *, first: bool = True) -> None:
        self.say = say
        self.failed: list[str] = []
        self.reasons: dict[str, str] = {}
        self._started = datetime.now(UTC).isoformat(timespec="seconds")
        self._spent: dict[str, tuple[float, float]] = {}
        if first:
            self._spent["starting"] = (_age_seconds(), _cpu_seconds())

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Count the block's time under ``name``."""
        wall, cpu = time.perf_counter(), _cpu_seconds()
        try:
            yield
        finally:
            before = self._spent.get(name, (0.0, 0.0))
            self._spent[name] = (before[0] + time.perf_counter() - wall, before[1] + _cpu_seconds() - cpu)

    def attempt(self, name: str, work: Callable[[], T], *, folder: Path) -> T | None:
        """Do a stage without which what came before still stands.

        Args:
            name: of the stage.
            work: does it.
            folder: of the run; the traceback of a failure is written there.

        Returns:
            What ``work`` returns; None where the log does not allow for it (``reasons`` has the sentence) or where it
            failed (``failed`` has the name).
        """
        try:
            with self.timed(name):
                return work()
        except SchemaError as error:
            self.reasons[name] = str(error)
            self.say(f"{name.capitalize()} cannot be done on this log: {error}")
        except Exception as error:
            self.failed.append(name)
            file = folder / f"{name}-failed.txt"
            file.write_text(traceback.format_exc(), encoding="utf-8")
            summary = str(error).partition("\n")[0]
            self.say(
                f"{name.capitalize()} failed with {type(error).__name__}: {summary}. What was done before it stands. "
                f"This is a fault of reward: please report it with {file}"
            )
        return None

    def line(self) -> str:
        """Where the time went, in one line."""
        parts = ", ".join(f"{name} {wall:.1f} s" for name, (wall, _) in self._spent.items())
        wall, cpu = (sum(each) for each in zip(*self._spent.values(), strict=True))
        return f"time: {parts}; {wall:.0f} s in all, {cpu:.0f} s of CPU"

    def write(self, folder: Path) -> None:
        """Add this process's times to ``timing.json``, which has one entry for each process that worked on the run."""
        file = folder / TIMING
        before = json.loads(file.read_text(encoding="utf-8"))["processes"] if file.is_file() else []
        stages = {name: {"wall_s": round(wall, 3), "cpu_s": round(cpu, 3)} for name, (wall, cpu) in self._spent.items()}
        write_json(file, {"processes": [*before, {"started": self._started, "stages": stages}]})


def _cpu_seconds() -> float:
    """CPU time of this process and of those it started and waited for."""
    return sum(os.times()[:4])


def _age_seconds() -> float:
    """Time since this process began, where the system says it; else 0."""
    try:
        ticks = int(Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19])
        up = float(Path("/proc/uptime").read_text(encoding="utf-8").split()[0])
        return up - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return 0.0
