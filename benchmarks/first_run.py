"""A newcomer's first run, as whole processes: what `python train.py` takes from a log to a report.

Makes a newcomer's log (20,000 rows, string ids, an items table, a time zone, some nulls), runs ``train.py`` on it and
on the bundled log, and writes wall and CPU seconds, and the largest memory, of each to results/first_run.json.

    python benchmarks/first_run.py                # both logs
    python benchmarks/first_run.py newcomer       # one of them
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
from harness import ROOT, TINY, Benchmark, Smoke, result_row

SMOKE = Smoke(
    f"newcomer --settings {TINY} causal.personal=null evaluation.boosting=null evaluation.intervals.resamples=2"
    " evaluation.logistic.strengths=[100] refit=none",
    ROWS=2000,
    USERS=120,
)
GOALS = {"newcomer": 120.0, "bundled": 180.0}  # seconds by the wall, on two cores
ROWS, USERS, ITEMS, DAYS = 20_000, 800, 400, 45
GENRES = ("folk", "jazz", "pop", "rock", "talk")


def newcomer(folder: Path, *, rows: int | None = None, seed: int = 0) -> list[str]:
    """Write a music service's log and items table; returns the settings with which ``train.py`` reads them."""
    rng, rows = np.random.default_rng(seed), rows or ROWS
    often = rng.gamma(0.7, size=USERS)
    user = rng.choice(USERS, rows, p=often / often.sum())
    popular = rng.zipf(1.6, ITEMS).astype(float).clip(1, 200)
    item = rng.choice(ITEMS, rows, p=popular / popular.sum())
    seconds = rng.integers(0, DAYS, rows) * 86_400 + rng.normal(19, 3, rows).clip(0, 23.9) * 3600
    heard = rng.gamma(1.5, 60_000, rows).astype(np.int64)
    unknown = rng.random(rows) < 0.01
    events = pl.DataFrame(
        {
            "user_id": [f"listener-{one:05}" for one in user],
            "item_id": [f"track:{one:04x}" for one in item],
            "timestamp": pl.Series(((seconds + 19_700 * 86_400) * 1e6).astype(np.int64)).cast(pl.Datetime("us", "UTC")),
            "skip": heard < 30_000,
            "complete": heard > 150_000,
            "ms_played": heard,
            "surface": pl.Series(rng.choice(["home", "search", "radio"], rows)).scatter(np.flatnonzero(unknown), None),
        }
    )
    items = pl.DataFrame(
        {
            "item_id": [f"track:{one:04x}" for one in range(ITEMS)],
            "genre": rng.choice(GENRES, ITEMS),
            "length_s": pl.Series(rng.normal(210, 40, ITEMS)).scatter([3, 5], None),
        }
    )
    events.write_parquet(folder / "events.parquet")
    items.write_parquet(folder / "items.parquet")
    return [
        "data=log",
        f"data.events={folder / 'events.parquet'}",
        "data.feedback=[skip,complete,ms_played]",
        "data.context=[surface]",
        f"data.items={folder / 'items.parquet'}",
        "data.item_features=[genre,length_s]",
        "data.timezone=America/New_York",
        "horizon_days=7",
    ]


def timed(settings: list[str], folder: Path) -> dict[str, float]:
    """Run ``train.py``; seconds by the wall and of the CPU, and where the run itself says so, by phase."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, str(ROOT / "train.py"), "logger=csv", f"hydra.run.dir={folder}", *settings]
    subprocess.run(command, check=True, cwd=ROOT)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    found = {
        "wall_s": round(wall, 1),
        "cpu_s": round(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime, 1),
        "peak_mib": round(after.ru_maxrss / 1024),
    }
    (process,) = json.loads((folder / "timing.json").read_text())["processes"]
    return found | {f"{stage}, wall_s": round(took["wall_s"], 1) for stage, took in process["stages"].items()}


def main(arguments: list[str] | None = None) -> None:
    """Time the logs that are asked for, and keep what is known of the others."""
    bench = Benchmark(globals(), SMOKE)
    bench.add("logs", nargs="*", metavar="LOG", help="newcomer or bundled; both where none is named")
    bench.add_settings()
    chosen = bench.parse(arguments)
    asked = chosen.logs
    if unknown := set(asked) - {"newcomer", "bundled"}:
        bench.parser.error(f"expected newcomer or bundled, got {', '.join(sorted(unknown))}")
    rows = []
    folder = bench.scratch()
    settings = {"newcomer": newcomer(folder), "bundled": []}
    for name in asked or settings:
        for metric, value in timed([*settings[name], *chosen.settings], folder / name).items():
            goal = GOALS[name] if metric == "wall_s" else None
            met = None if goal is None else value <= goal
            rows.append(result_row(f"first run, {name} log", metric, value, goal=goal and f"<= {goal:g}", met=met))
    bench.finish(rows)


if __name__ == "__main__":
    main()
