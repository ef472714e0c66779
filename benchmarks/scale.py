"""Does the second stage carry a large catalogue? Its time, its memory and what it finds, at 1M rows on 100k items.

A log is drawn in which what an item does hangs on one of its features, and for one user rather than another on a second
one; a policy shows the harmful items to active users. Each size is measured in a process of its own, with the settings
of conf/causal, personal part included. Peak memory is that of the whole process, the log and Python's libraries in it.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

import numpy as np
import polars as pl
from harness import Benchmark, Smoke, result_row
from hydra.utils import instantiate
from training import choice_of
from worlds import correlation

from reward.data.event_log import EventLog
from reward.data.validation import check
from reward.outcomes.activity import ActivityTrace

SMOKE = Smoke("--rows 2000 --items 30")
DAYS, HORIZON_DAYS, MOST_SHOWN, KINDS = 30, 14, 4, 20
ROWS_PER_USER = 28  # or a little more
HABIT, STRENGTH = 0.6, 0.25  # what of a habit is left the day after, and what an exposure adds to it
FIRST = np.datetime64("2024-01-01", "us")
GOALS = {
    "Pearson": (">= 0.8", lambda value: value >= 0.8),
    "held-out slope / its standard error": (">= 1.96", lambda value: value >= 1.96),
    "KiB a row": ("<= 2", lambda value: value <= 2),
}


def drawn_log(rows: int, items: int, seed: int = 0) -> tuple[EventLog, np.ndarray]:
    """A checked log of at least ``rows`` rows, and what a click on each item does, (items,), in units of its own.

    Args:
        rows: about how many; users have `ROWS_PER_USER` or more.
        items: how many there are; some are never shown.
        seed: draws everything.
    """
    rng = np.random.default_rng(seed)
    users = -(-rows // ROWS_PER_USER)
    style, tempo = rng.normal(size=(2, items))
    creator, kind = rng.integers(0, max(items // 50, 1), items), rng.integers(0, KINDS, items)
    open_rate = -0.8 - 0.3 * style + 0.3 * rng.normal(size=items)  # logit
    popular = 1 / (50 + rng.permutation(items))
    busy, idle = (popular * np.exp(lean * style) for lean in (-0.4, 0.4))
    chance = np.stack([busy / busy.sum(), idle / idle.sum()])
    reach = chance.cumsum(axis=1)
    base, taste = rng.normal(-0.6, 0.8, users), rng.choice([-1.0, 1.0], users)
    habit, active = np.zeros(users), np.zeros(users, bool)
    columns: list[list[np.ndarray]] = []
    for day in range(DAYS):
        state = np.where(active, 0, 1)
        active = rng.random(users) < 1 / (1 + np.exp(-(base + habit)))
        there = np.flatnonzero(active)
        user = np.repeat(there, rng.integers(1, MOST_SHOWN + 1, len(there)))
        draw, item = rng.random(len(user)), np.empty(len(user), np.int64)
        for one in range(2):
            mine = state[user] == one
            item[mine] = np.searchsorted(reach[one], draw[mine] * reach[one, -1])
        match = taste[user] * tempo[item]
        click = rng.random(len(user)) < 1 / (1 + np.exp(-(open_rate[item] + 0.5 * match)))
        like = click & (rng.random(len(user)) < 1 / (1 + np.exp(1.5 - 0.5 * match)))
        habit = HABIT * habit + STRENGTH * np.bincount(user, click * (style[item] + match), users)
        moment = (day + rng.random(len(user))) * 86_400e6  # microseconds
        columns.append([user, item, moment.astype("timedelta64[us]"), click, like, chance[state[user], item]])
    user, item, moment, click, like, propensity = (np.concatenate(column) for column in zip(*columns, strict=True))
    names = pl.Series(np.char.add("item ", np.arange(items).astype(np.str_)))
    events = pl.DataFrame(
        {
            "user_id": user,
            "item_id": names.gather(item),
            "timestamp": FIRST + moment,
            "click": click,
            "like": like,
            "propensity": propensity,
        }
    )
    table = {"item_id": names, "style": style, "tempo": tempo}
    table |= {name: pl.Series(codes).cast(pl.String) for name, codes in (("creator", creator), ("kind", kind))}
    log = EventLog(
        events.lazy(),
        ("click", "like"),
        30,
        0.0,
        items=pl.DataFrame(table).lazy(),
        item_features=("style", "tempo", "creator", "kind"),
    )
    return check(log).log, style / (1 + np.exp(-open_rate))


def measure(rows: int, items: int, seed: int = 0) -> dict[str, float]:
    """What one fit took and found; of the process, so call it in a fresh one."""
    log, truth = drawn_log(rows, items, seed)
    settings = choice_of("causal", "personalized")
    before = peak_mib()
    began, used = time.perf_counter(), time.process_time()
    fit = instantiate(settings, gate="click", group="creator", seed=seed, _convert_="all")
    found = fit(log, ActivityTrace(HORIZON_DAYS))
    seconds, used = time.perf_counter() - began, time.process_time() - used
    place = found.items["item_id"].str.slice(5).cast(pl.Int64).to_numpy()
    mean = found.items["mean"].to_numpy()
    shown = found.items["exposures"].to_numpy()
    peak = peak_mib()
    personal = found.model.personal_calibration
    return {
        "rows": float(shown.sum()),
        "items": float(items),
        "items shown": float((shown > 0).sum()),
        "users": float(log.events.select(pl.col("user_id").n_unique()).collect().item()),
        "seconds": seconds,
        "processor seconds": used,
        "MiB before the fit": before,
        "MiB at the peak": peak,
        "KiB a row": peak * 1024 / shown.sum(),
        "Pearson": correlation(mean, truth[place]),
        "held-out slope": found.calibration.slope,
        "held-out slope / its standard error": found.calibration.slope / found.calibration.se,
        "personal held-out slope": personal.slope,
        "personal held-out slope / its standard error": personal.slope / personal.se,
    }


def peak_mib() -> float:
    """The most memory that this process has held."""
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return held / (2**20 if sys.platform == "darwin" else 2**10)


def apart(rows: int, items: int) -> dict[str, float]:
    """`measure` in a process of its own."""
    told = [sys.executable, __file__, "--one", str(rows), str(items)]
    return json.loads(subprocess.run(told, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])


def main(arguments: list[str] | None = None) -> None:
    bench = Benchmark(globals(), SMOKE)
    bench.add("--rows", nargs="+", type=int, default=[1_000_000], help="a log of each size")
    bench.add("--items", nargs="+", type=int, default=[100_000], help="of each of them")
    bench.add("--one", nargs=2, type=int, help=argparse.SUPPRESS)
    chosen = bench.parse(arguments)
    if chosen.one is not None:
        print(json.dumps(measure(*chosen.one)))
        return
    rows = []
    for size in zip(chosen.rows, chosen.items, strict=True):
        what = f"{size[0]:,} rows x {size[1]:,} items"
        for metric, value in apart(*size).items():
            goal, holds = GOALS.get(metric, (None, None))
            met = None if holds is None else bool(holds(value))
            rows.append(result_row(what, metric, value, goal=goal, met=met))
    bench.finish(rows)


if __name__ == "__main__":
    main()
