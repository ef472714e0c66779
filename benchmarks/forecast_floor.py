"""Is a forecast ever worse than that of past activity alone?

Each log is trained on with the settings of conf/, a world with few users. Told is, on the test days, the log-loss of
past activity alone less that of a forecast, in nats a day, with a 95% interval from resampled users: of the network
alone, which is what was shipped before forecasts corrected past activity, and of the share of its correction that the
validation days keep. All three are calibrated alike.

The shares tried and the two standard errors were chosen on the newcomers' log and a quarter of the bundled log's users,
both with seed 0; that they are judged on rows of whose outcome training knew nothing, on all the logs here with seed 0,
after a figure of seed 1 for KuaiRand-Pure had been seen. The figures are of seed 1.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import torch
from harness import ROOT, TINY, Benchmark, Row, Smoke, kept, result_row
from hydra.utils import instantiate
from numpy.typing import NDArray
from omegaconf import DictConfig
from training import Trained, trained

from reward.columns import ITEM, USER
from reward.data.days import DAY, OBSERVED, TRACE
from reward.data.event_log import EventLog
from reward.data.split import Split, split
from reward.data.validation import check
from reward.outcomes.protocol import days_of
from reward.training.defaults import composed

SMOKE = Smoke(f"--logs --worlds clickbait --users 60 --settings {TINY}", RESAMPLES=20)
RESAMPLES = 1000
ALONE, NETWORK, SHIPPED = "past activity alone", "network alone", "shipped"
LATE_LISTENERS = ["data=log", "data.feedback=[skip,complete,ms_played]", "data.timezone=Europe/Stockholm"]
REAL = ["data=log", "data.max_rejected_share=0.05"]
LOGS: dict[str, tuple[str | None, list[str]]] = {
    "music, 120 users, 30 days": ("cases/newcomer/log.parquet", [*LATE_LISTENERS, "data.context=[surface,device]"]),
    "music, 60 users, 30 days": ("cases/newcomer/micro.parquet", [*LATE_LISTENERS, "data.context=[surface,device]"]),
    "music, 118 users, 12 days": ("cases/newcomer/log_12days.parquet", [*LATE_LISTENERS, "horizon_days=5"]),
    "CDNOW": ("data/cdnow/events.parquet", [*REAL, "data.feedback=[n_cds,dollars]", "horizon_days=30"]),
    "KuaiRand, bundled": (None, ["data=kuairand"]),
    "KuaiRand-Pure, two weeks": (
        "data/kuairand_pure/events.parquet",
        [
            *REAL,
            "data.feedback=[is_click,long_view,is_like,play_time_ms]",
            "data.timezone=Asia/Shanghai",
            "horizon_days=7",
            "batches.max_events=16",
        ],
    ),
}


class Loss(NamedTuple):
    """Log-loss of what is known of each user on each test day, and how many forecasts that is: (users, days) each."""

    sums: NDArray[np.float64]
    count: NDArray[np.int64]


def read(overrides: list[str], events: Path | None) -> tuple[DictConfig, EventLog, Split]:
    """A config, its checked log and the split."""
    told = [*overrides, *([] if events is None else [f"data.events={events}"])]
    config = composed("train", told)
    log = instantiate(config.data)
    if ITEM not in log.events.collect_schema().names():  # purchases: one item
        log = replace(log, events=log.events.with_columns(pl.lit(0, pl.Int64).alias(ITEM)))
    log = check(log).log
    return config, log, split(log, **config.split)


def test_loss(made: Trained, share: float, log: EventLog, window: Split, prior_events: float) -> Loss:
    """What a share of the network's correction loses on the test days, calibrated on validation."""
    function = made.function
    function.network.head.correction.fill_(share)
    made.model.calibrate(made.data.val_dataloader(), prior_events=prior_events)
    events = log.events.collect()
    labels = function.outcome.label(log, window.end).collect()
    test = ((labels[DAY] >= window.validation_end) & (labels[OBSERVED] > 0)).to_numpy()
    trace, known = (days_of(labels[name], function.horizon_days)[test] for name in (TRACE, OBSERVED))
    chance = function.forecast(events)[test].clip(1e-9, 1 - 1e-9)
    loss = -np.where(trace, np.log(chance), np.log1p(-chance)) * known
    user = events[USER].rank("dense").to_numpy()[test] - 1
    ahead = labels[DAY].to_numpy()[test, None] - window.validation_end + np.arange(known.shape[1])
    shape = (int(user.max()) + 1, int(ahead[known].max()) + 1)
    cell = (user[:, None] * shape[1] + ahead)[known]
    size = shape[0] * shape[1]
    return Loss(np.bincount(cell, loss[known], size).reshape(shape), np.bincount(cell, minlength=size).reshape(shape))


def gain(before: Loss, after: Loss, seed: int, *, days: bool = False) -> tuple[float, float, float]:
    """Nats a day that ``after`` saves on ``before``, and the 95% interval over resampled users.

    With ``days`` days are resampled as well, each by itself (Owen, The pigeonhole bootstrap, 2007): what a holiday's
    end does to the forecasts of all users is no chance of users.
    """
    draw, saved = np.random.default_rng(seed), before.sums - after.sums
    user = draw.poisson(1.0, (RESAMPLES, len(saved)))
    day = draw.poisson(1.0, (RESAMPLES, saved.shape[1])) if days else np.ones((RESAMPLES, saved.shape[1]))
    sums, count = (((user @ each) * day).sum(1) for each in (saved, before.count))
    low, high = np.quantile(sums / np.maximum(count, 1), [0.025, 0.975])
    return float(saved.sum() / before.count.sum()), float(low), float(high)


def rows_of(what: str, overrides: list[str], events: Path | None, seed: int) -> list[Row]:
    """The figures of one log."""
    config, log, window = read([*overrides, f"seed={seed}"], events)
    made = trained(config, log, window)
    assert made.gain is not None
    shares = {ALONE: 0.0, NETWORK: 1.0, SHIPPED: made.gain.share}
    losses = {name: test_loss(made, share, log, window, **config.calibration) for name, share in shares.items()}
    base = losses[ALONE]

    def row(metric: str, value: float, met: bool | None = None, goal: str | None = None) -> Row:
        return result_row(what, metric, value, goal=goal, met=met)

    rows = [row(f"log-loss, {ALONE}", float(base.sums.sum() / base.count.sum()))]
    for name in (NETWORK, SHIPPED):
        value, low, high = gain(base, losses[name], seed)
        floor = name == SHIPPED
        rows.append(row(f"gain over {ALONE}, {name}", value))
        rows.append(row(f"gain over {ALONE}, {name}, low", low))
        rows.append(
            row(f"gain over {ALONE}, {name}, high", high, high > -1e-6 if floor else None, ">= 0" if floor else None)
        )
        _, low, high = gain(base, losses[name], seed, days=True)
        rows.append(row(f"gain over {ALONE}, {name}, low, of users and days", low))
        rows.append(row(f"gain over {ALONE}, {name}, high, of users and days", high))
    return [*rows, row("share of the correction that is kept", made.gain.share)]


def main(arguments: list[str] | None = None) -> None:
    bench = Benchmark(globals(), SMOKE, cache="forecast_floor")
    bench.add("--shared", type=Path, default=ROOT.parent / "shared", help="where the logs are that are not bundled")
    bench.add("--logs", nargs="*", default=list(LOGS), help="of those by name")
    bench.add("--worlds", nargs="*", default=["clickbait", "confounded", "no_effect"])
    bench.add("--users", type=int, default=500, help="of a world")
    bench.add("--seed", type=int, default=1)
    bench.add_settings()
    chosen = bench.parse(arguments)
    torch.set_num_threads(1)
    jobs = {}
    small = {
        f"world {name}": (None, ["data=world", f"simulation={name}", f"simulation.users={chosen.users}"])
        for name in chosen.worlds
    }
    for what, (file, overrides) in ({name: LOGS[name] for name in chosen.logs} | small).items():
        events = None if file is None else chosen.shared / file
        if events is not None and not events.is_file():
            bench.say(f"{what}: left out, {events} is not there")
            continue
        words = [*what.replace(",", "").split(), *([] if what in LOGS else [chosen.users]), chosen.seed]
        told = [*overrides, *chosen.settings]
        jobs[chosen.cache / f"{'_'.join(map(str, words))}.json"] = partial(rows_of, what, told, events, chosen.seed)
    bench.keep(jobs, "logs")
    bench.finish([one for file in jobs for one in kept(file)])


if __name__ == "__main__":
    main()
