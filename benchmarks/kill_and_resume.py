"""Runs of train.py that are killed at random moments, moved, and resumed: do they end as one that was left alone?

Each of them is stopped by SIGKILL at a moment drawn evenly over the time that an unbroken run takes; the folder of
every other one is then moved, and the run is resumed to its end. Compared are the bytes of the weights, of the effects
and of the table of metrics.

    python benchmarks/kill_and_resume.py --kills 50
"""

from __future__ import annotations

import hashlib
import os
import runpy
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
from harness import ROOT, Benchmark, Row, Smoke, result_row

SMOKE = Smoke("--kills 1")
COMPARED = (
    "reward/weights.safetensors",
    "reward/effects.parquet",
    "judged/weights.safetensors",
    "judged/effects.parquet",
    "effects.parquet",
    "effects_all_days.parquet",
    "metrics.csv",
)
SETTINGS = (
    "data=log 'data.feedback=[click]' 'data.context=[surface]' data.end=2024-03-21 horizon_days=5 "
    "split.train_days=12 split.validation_days=4 encoder.width=16 encoder.layers=1 encoder.heads=2 "
    "task.active_days.head.hidden=8 members=2 "
    "batches.max_events=16 batches.batch_rows=64 trainer.max_epochs=4 trainer.patience=4 "
    "trainer.accelerator=cpu evaluation.intervals.resamples=2 evaluation.intervals.min_slice_users=5 "
    "evaluation.boosting=null evaluation.logistic.strengths=[100] "
    "features.min_item_events=2 logger=csv"
).replace("'", "")


def small_log(users: int = 60, days: int = 20, seed: int = 0) -> pl.DataFrame:
    """Users of different loyalty, one to three exposures on an active day."""
    draw = np.random.default_rng(seed)
    user, day = np.nonzero(draw.random((users, days)) < draw.uniform(0.1, 0.9, users)[:, None])
    start = datetime(2024, 3, 1, tzinfo=UTC)
    seconds = day * 86_400 + draw.integers(0, 86_399, len(user))
    return pl.DataFrame(
        {
            "user_id": user,
            "item_id": draw.integers(0, 25, len(user)),
            "timestamp": [start + timedelta(seconds=int(second)) for second in seconds],
            "click": draw.random(len(user)) < 0.4,
            "propensity": 1 / 25,
            "surface": draw.choice(["home", "search"], len(user)),
        }
    )


def make_log(file: Path) -> None:
    """Write the log, in a process of its own: one that has read a frame cannot be forked."""
    process = os.fork()
    if not process:
        small_log().write_parquet(file)
        os._exit(0)
    end(process)


def begin(arguments: Sequence[str], log: Path) -> int:
    """Run train.py in a process forked from this one, which has imported what takes long; returns its id."""
    process = os.fork()
    if process:
        return process
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    code = 1
    try:
        sys.argv = [str(ROOT / "train.py"), *arguments]
        runpy.run_path(sys.argv[0], run_name="__main__")
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 0 if error.code is None else 1
        if isinstance(error.code, str):
            print(error.code)
    finally:
        sys.stdout.flush()
        os._exit(code)


def end(process: int) -> int:
    """Wait for a process; its exit code, negative the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def digests(folder: Path) -> dict[str, str]:
    """What is compared, of that what is there."""
    there = [name for name in COMPARED if (folder / name).is_file()]
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in there}


def furthest(folder: Path) -> str:
    """How far a run had come when it was killed."""
    steps = {
        "effects_all_days.parquet": "refit",
        "metrics.json": "judged",
        "reward": "artefact",
        "checkpoints/last.ckpt": "epoch",
        "run.json": "begun",
    }
    return next((stage for name, stage in steps.items() if (folder / name).exists()), "nothing")


def main(arguments: Sequence[str] | None = None) -> None:
    bench = Benchmark(globals(), SMOKE)
    bench.add("--kills", type=int, default=50)
    bench.add("--seed", type=int, default=0, help="draws the moments")
    told = bench.parse(arguments)
    warm()
    draw = np.random.default_rng(told.seed)
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        make_log(place / "events.parquet")
        fresh = [*SETTINGS.split(), f"data.events={place / 'events.parquet'}"]
        began = time.perf_counter()
        code = end(begin([*fresh, f"hydra.run.dir={place / 'unbroken'}"], place / "unbroken.log"))
        lasted = time.perf_counter() - began
        if code:
            raise SystemExit((place / "unbroken.log").read_text())
        wanted = digests(place / "unbroken")
        found = [
            one_kill(place, fresh, moment=float(draw.uniform(0, lasted)), moved=bool(number % 2), wanted=wanted)
            for number in range(told.kills)
        ]
    bench.finish(rows_of(found))


def one_kill(place: Path, fresh: list[str], *, moment: float, moved: bool, wanted: dict[str, str]) -> dict[str, object]:
    """Start a run, kill it after ``moment`` seconds, move its folder, resume it; what differs from what is wanted."""
    folder, log = place / "run", place / "run.log"
    process = begin([*fresh, f"hydra.run.dir={folder}"], log)
    time.sleep(moment)
    os.kill(process, signal.SIGKILL)
    end(process)
    reached = furthest(folder)
    if moved and folder.exists():
        folder = folder.rename(place / "elsewhere" if not (place / "elsewhere").exists() else place / "elsewhere-2")
    again = [*fresh, f"hydra.run.dir={folder}"] if reached == "nothing" else [f"resume={folder}"]
    code = end(begin(again, log))
    found = {} if code else digests(folder)
    differs = [name for name in {**wanted, **found} if found.get(name) != wanted.get(name)]
    left = [str(file.relative_to(folder)) for file in folder.rglob(".*") if file.name not in (".lock", ".hydra")]
    print(f"killed after {moment:5.1f} s ({reached}){', moved' if moved else ''}: {', '.join(differs) or 'the same'}")
    if code:
        print(log.read_text()[-2000:])
    shutil.rmtree(folder)
    return {"moment": moment, "reached": reached, "moved": moved, "differs": differs, "left": left}


def warm() -> None:
    """Import here what every run would import."""
    for module in ("hydra", "pytorch_lightning", "torch", "lightgbm", "matplotlib.pyplot", "wandb"):
        __import__(module)
    sys.path.insert(0, str(ROOT))
    runpy.run_path(str(ROOT / "train.py"), run_name="imported")


def rows_of(found: list[dict[str, object]]) -> list[Row]:
    """How many of the runs that had come so far when they were killed ended as the unbroken one."""
    rows = []
    for reached in ("nothing", "begun", "epoch", "artefact", "judged", "refit"):
        for moved in (False, True):
            these = [it for it in found if (it["reached"], it["moved"]) == (reached, moved)]
            if these:
                same = sum(not it["differs"] for it in these)
                what = f"killed when {reached} was there{', moved' if moved else ''}"
                rows.append(result_row(what, "ended the same", same, goal=str(len(these)), met=same == len(these)))
    return rows


if __name__ == "__main__":
    main()
