"""What every benchmark has: its words on the command line, training, kept jobs, peers, the table and the result.

A benchmark file is its question, its data and its peers. It has ``SMOKE``, by which all of it runs in little, and a
``main`` that begins with a `Benchmark`.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, TypeVar

import numpy as np
import torch
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from reward.statistics.intervals import normal
from reward.writing import whole, write_json

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
LEVEL = 0.95  # of the intervals in tables
# a network that learns in a second, and a judging that takes no longer, for smoke forms
TINY = "encoder.width=8 encoder.layers=1 members=1 batches.max_events=16 trainer.max_epochs=1 trainer.accelerator=cpu"
WORLD = "data=world simulation=clickbait simulation.users=60 simulation.days=40"  # a log that is drawn in a second

Row = dict[str, Any]
Arrays = dict[str, np.ndarray]
T = TypeVar("T")


class Smoke:
    """How a benchmark runs in little.

    Args:
        words: on the command line, as they would be typed.
        constants: of the benchmark's file, which are others then.
    """

    def __init__(self, words: str = "", **constants: Any) -> None:
        self.words, self.constants = shlex.split(words), constants


class Benchmark:
    """The command line of a benchmark, and where its progress, tables and result go.

    Args:
        names: the ``globals()`` of its file: the docstring is the question, the file's name that of the result.
        smoke: what ``--smoke`` stands for. What is written then goes into a folder that is gone afterwards.
        cache: the folder in ``outputs/`` that keeps what was computed; None: nothing is kept.
        width: the least width of tables, in characters.
    """

    def __init__(self, names: dict[str, Any], smoke: Smoke, *, cache: str | None = None, width: int = 120) -> None:
        self.console = Console(width=max(Console().width, width))
        self.parser = argparse.ArgumentParser(
            description=names["__doc__"], formatter_class=argparse.RawDescriptionHelpFormatter
        )
        self.add = self.parser.add_argument
        self.out = RESULTS / f"{Path(names['__file__']).stem}.json"
        self.add("--out", type=Path, default=self.out, help="the result, as JSON")
        self.add("--smoke", action="store_true", help="all of it in little, in seconds; nothing is kept")
        self.add("--markdown", action="store_true", help="print the table as markdown, with intervals")
        if cache is not None:
            self.add("--cache", type=Path, default=ROOT / "outputs" / cache, help="what was computed")
        self._names, self._smoke, self._cached = names, smoke, cache is not None
        self._markdown, self._began = False, _seconds()

    def add_settings(self) -> None:
        """Take further settings, as ``train.py`` takes them."""
        self.add("--settings", nargs="*", default=[], metavar="NAME=VALUE", help="further settings of conf/")

    def parse(self, arguments: Sequence[str] | None = None) -> Any:
        """The values of the options; ``--smoke`` puts its words before those that are given."""
        given = list(sys.argv[1:] if arguments is None else arguments)
        if "--smoke" in given:
            scratch = self.scratch()
            self.parser.set_defaults(out=scratch / self.out.name)
            if self._cached:
                self.parser.set_defaults(cache=scratch / "cache")
            given = [*self._smoke.words, *given]
            self._names.update(self._smoke.constants)
            torch.set_num_threads(1)
        chosen = self.parser.parse_args(given)
        if self._cached and getattr(chosen, "settings", None):  # what other settings gave is kept apart
            chosen.cache /= hashlib.sha256(" ".join(chosen.settings).encode()).hexdigest()[:12]
        self.out, self._markdown = chosen.out, chosen.markdown
        return chosen

    def scratch(self) -> Path:
        """A folder that is gone once the benchmark is."""
        folder = Path(mkdtemp())
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return folder

    def progress(self, jobs: Sequence[T] | range, what: str) -> Iterable[T]:
        """The jobs one by one, with a bar."""
        return track(jobs, what, console=self.console)

    def keep(self, jobs: Mapping[Path, Callable[[], Any]], what: str) -> None:
        """Do the jobs whose files are not there yet, and keep each in its file as soon as it is done."""
        missing = [file for file in jobs if not file.exists()]
        for file in self.progress(missing, what):
            self.console.log(file.stem)
            kept(file, jobs[file])

    def say(self, *what: Any) -> None:
        """Print a line beside the bars."""
        self.console.print(*what, soft_wrap=True)

    def without(self, peers: Mapping[str, str]) -> set[str]:
        """Those of the peers, by name, whose library is not installed; says which are left out."""
        missing = {name: library for name, library in peers.items() if importlib.util.find_spec(library) is None}
        for name, library in missing.items():
            self.say(f"{name} is left out: {library} is not installed")
        return set(missing)

    def finish(
        self, rows: Sequence[Row], *, show: Table | Callable[[], None] | None = None, write: bool = True
    ) -> None:
        """Print the table and what the run took, and write the result.

        Args:
            rows: of `result_row`.
            show: what is to be seen in the place of the table of all rows, or prints it.
            write: False: the rows are not all of a result, and nothing is written.
        """
        if self._markdown:
            self.console.print(markdown(rows), markup=False, soft_wrap=True)
        elif callable(show):
            show()
        else:
            self.console.print(table(rows) if show is None else show)
        took = {name: round(value - self._began[name], 1) for name, value in _seconds().items()}
        self.say(f"{took['wall']:,.0f} s, {took['cpu']:,.0f} s of them on the processor")
        if write:
            write_result(self.out, rows, took)


def write_result(file: Path, rows: Sequence[Row], seconds: Mapping[str, float] | None = None) -> None:
    """Rows of a benchmark, with the commit and the machine they were measured on, and the seconds it took.

    What is not finite is written as null.
    """
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=ROOT)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    machine = f"{os.cpu_count()} cores, {memory:.0f} GiB{gpu}"
    told = {"commit": commit.stdout.strip(), "machine": machine, "rows": [_plain(one) for one in rows]}
    write_json(file, told if seconds is None else {**told, "seconds": dict(seconds)})


def result_row(
    what: str,
    metric: str,
    ours: float | None,
    se: float | None = None,
    peers: Mapping[str, float] | None = None,
    goal: str | None = None,
    met: bool | None = None,
) -> Row:
    """A row of a result: a number with its standard error, the same of peers, and what was asked for.

    Args:
        what: is measured, such as a log and a method.
        metric: by which.
        ours: the number; what is not finite is None.
        se: its standard error.
        peers: name -> their number.
        goal: what was asked for, in words; None: it is told and not judged.
        met: whether it was.
    """
    return {
        "what": what,
        "metric": metric,
        "ours": _finite(ours),
        "se": _finite(se),
        "peers": {name: _finite(value) for name, value in (peers or {}).items()},
        "goal": goal,
        "met": None if goal is None or met is None else bool(met),
    }


def mean_and_se(values: Sequence[float] | np.ndarray) -> tuple[float, float | None]:
    """The mean, and its standard error where there are two values or more."""
    found = np.asarray(values, float)
    return float(found.mean()), float(found.std(ddof=1) / np.sqrt(len(found))) if len(found) > 1 else None


def share_and_se(hits: Sequence[bool] | np.ndarray) -> tuple[float, float]:
    """A share, and its standard error."""
    share = float(np.mean(hits)) if len(hits) else np.nan
    return share, float(np.sqrt(share * (1 - share) / max(len(hits), 1)))


def figure(value: float | None) -> str:
    """Four digits after the point; a dash for none."""
    return "–" if value is None else f"{value:,.4f}"


def mark(one: Row) -> str:
    """The goal of a row, and whether it is met."""
    return "" if one["goal"] is None else f"{one['goal']}: {'yes' if one['met'] else 'no'}"


def cells(one: Row) -> list[str]:
    """A row as words: what, metric, the number, its 95% interval, those of peers, the goal."""
    half = None if one["se"] is None or one["ours"] is None else normal(LEVEL) * one["se"]
    interval = "" if half is None else f"{figure(one['ours'] - half)} to {figure(one['ours'] + half)}"
    peers = ", ".join(f"{name} {figure(value)}" for name, value in one["peers"].items())
    return [one["what"], one["metric"], figure(one["ours"]), interval, peers, mark(one)]


HEAD = ("what", "metric", "ours", f"{LEVEL:.0%} interval", "peers", "goal")


def shown(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Head and cells of a table, without the columns that are empty."""
    body = [cells(one) for one in rows]
    there = [place for place in range(len(HEAD)) if place < 3 or any(line[place] for line in body)]
    return [HEAD[place] for place in there], [[line[place] for place in there] for line in body]


def table(rows: Sequence[Row], title: str | None = None) -> Table:
    """All rows, for the terminal."""
    head, body = shown(rows)
    made = Table(*head, title=title)
    for line in body:
        made.add_row(*map(escape, line))
    return made


def markdown(rows: Sequence[Row]) -> str:
    """All rows, as a table of markdown."""
    head, body = shown(rows)
    lines = [head, ["---"] * len(head), *([word.replace("|", "\\|") for word in line] for line in body)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def kept(file: Path, make: Callable[[], Any] | None = None) -> Any:
    """What a file holds: arrays by name of an ``.npz``, plain values of a ``.json``.

    Args:
        file: where it is kept.
        make: makes what is kept where the file is not there; None: what is not there is None.
    """
    if not file.is_file():
        if make is None:
            return None
        made = make()
        if file.suffix == ".json":
            write_json(file, made)
        else:
            with whole(file) as scratch, scratch.open("wb") as out:
                np.savez(out, **made)
    if file.suffix == ".json":
        return json.loads(file.read_text(encoding="utf-8"))
    with np.load(file) as arrays:
        return dict(arrays)


def _finite(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else float(value)


def _plain(one: Row) -> Row:
    peers = {name: _finite(value) for name, value in one["peers"].items()}
    return {**one, "ours": _finite(one["ours"]), "se": _finite(one["se"]), "peers": peers}


def _seconds() -> dict[str, float]:
    """Seconds by the wall, and those that this process and those that it waited for had of a processor."""
    return {"wall": time.perf_counter(), "cpu": sum(os.times()[:4])}
