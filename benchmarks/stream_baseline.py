"""Is a forecast by the stream network a better baseline for the second stage than the linear one?

In each world and seed a network is trained on one half of the users and forecasts the user-days of the other, from the
query of each day's first slot, which reads what the user did before and nothing of that day. The second stage is
fitted with and without that forecast, with the settings of conf/, and its items are held against the true effects.
Told are differences within a log, stream less linear: their mean over logs, and a 95% interval of it by Student's t.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import recovery
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from recovery import ANSWERS, LEAST_EXPOSURES, TRUTH, Case
from rich.console import Console
from rich.table import Table
from scipy.stats import t as student
from training import Trained, trained
from worlds import ROOT, correlation, write_result

from reward.causal.item_effects.outcome_residuals import user_days
from reward.columns import ITEM, TIMESTAMP, USER
from reward.data.days import DAY, day_of
from reward.data.event_log import EventLog
from reward.data.split import bounds, split
from reward.features.events import Features
from reward.sequences.network import RewardNetwork
from reward.sequences.stream import Stream, Windows

PART = "stream baseline"
LINEAR, STREAM = "linear", "stream"
TRUTH_USERS = 20_000  # the true effects are measured on services of this size, as in recovery.py
VALIDATION_DAYS, LAST_DAYS = 7, 1  # what of a log calibrates a network, and what is left over after it
EPOCHS, MEMBERS, DROPOUT = 2, 1, 0.0  # one forecast is wanted, and rows are not seen often enough to overfit
_BATCH_ROWS = 8192


def forecaster(case: Case, log: EventLog) -> Trained:
    """A network for one forecast, trained on all but the last days."""
    start, end = bounds(log)
    window = split(log, train_days=end - start - VALIDATION_DAYS - LAST_DAYS, validation_days=VALIDATION_DAYS)
    changes = {"seed": case.seed, "head": {"members": MEMBERS}, "encoder": {"dropout": DROPOUT}}
    return trained(OmegaConf.merge(case.config, changes), log, window, epochs=EPOCHS)


@torch.no_grad()
def first_queries(network: RewardNetwork, features: Features, log: EventLog, max_events: int) -> pl.DataFrame:
    """Probabilities of activity on the days ahead before each user-day's first slot is filled."""
    events = log.events.select(USER, TIMESTAMP, day_of(log)).collect()
    windows = Windows.cut(Stream.build(log.events, features), max_events)
    out = torch.zeros(len(events), network.head.horizon_days)
    for index in windows.batches(_BATCH_ROWS):
        batch = windows.batch(index)
        row = batch.slots.row
        before = network.query(network.read(batch.history), batch.slots, batch.visible)
        out[row[row >= 0]] = network.head.probabilities(before)[row >= 0]
    place = np.argsort(windows.stream.events.source)
    frame = events.with_columns(pl.Series("forecast", out.numpy()[place]).arr.to_list())
    return (
        frame.sort(TIMESTAMP, maintain_order=True)
        .unique([USER, DAY], keep="first", maintain_order=True)
        .drop(TIMESTAMP)
    )


def forecasts(case: Case) -> tuple[pl.DataFrame, float]:
    """Forecasts of all user-days, each by the network of the half of users that it is not in; mean validation loss."""
    users = case.events[USER].unique().sort()
    half = np.random.default_rng([case.seed, 23]).permutation(np.arange(len(users)) % 2)
    found, losses = [], []
    for one in range(2):
        mine, others = (users.filter(pl.Series(half == side)).implode() for side in (one, 1 - one))
        learnt, asked = (
            replace(case.log, events=case.log.events.filter(pl.col(USER).is_in(group))) for group in (others, mine)
        )
        function, validation = forecaster(case, learnt)
        found.append(first_queries(function.network, function.features, asked, case.config.batches.max_events))
        losses.append(validation[-1])
    return pl.concat(found), float(np.mean(losses))


def baselines(case: Case) -> dict[str, np.ndarray]:
    """Item effects and the spread of residuals by either baseline."""
    forecast, loss = forecasts(case)
    outcome, told = instantiate(case.config.task.active_days.outcome), case.config.causal
    shown = np.bincount(case.events[ITEM].cast(pl.Int64).to_numpy(), minlength=case.items)
    out = {"exposures": shown, "validation loss": np.array(loss)}
    fewer = tuple(name for name in case.log.feedback if name not in ANSWERS)
    logs = {"": case.log, ", without surveys and likes": replace(case.log, feedback=fewer)}
    for name, given in ((LINEAR, None), (STREAM, forecast)):
        days = user_days(case.log, outcome, folds=told.folds, seed=case.seed, forecast=given)
        whole = days.known == outcome.horizon_days
        out[f"{name} residual"] = np.array(days.residual[whole].sum(axis=1, dtype=np.float64).std())
        for variant, log in logs.items():
            rare = [one for one in told.rare if one in log.feedback]
            found = instantiate(told, rare=rare, personal=None, seed=case.seed)(log, outcome, forecast=given)
            place = found.items[ITEM].cast(pl.Int64).to_numpy()
            columns = {"mean": f"learned reward{variant}"} | ({} if variant else {"anchor": "before pooling"})
            for column, label in columns.items():
                values = np.full(case.items, np.nan)
                values[place] = found.items[column].cast(pl.Float64).fill_null(np.nan).to_numpy()
                out[f"{name} {label}"] = values
    return out


PARTS = {TRUTH: recovery.true_effects, PART: baselines}


def judged(truth: dict[str, np.ndarray], made: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Figures of one log: metric -> baseline -> value."""
    known = np.isfinite(truth["mean"]) & (made["exposures"] > LEAST_EXPOSURES)
    out: dict[str, dict[str, float]] = {}
    for key, values in made.items():
        name, _, what = key.partition(" ")
        if what == "residual":
            out.setdefault("residual standard deviation, days", {})[name] = float(values)
        elif name in (LINEAR, STREAM):
            mine = values[known]
            mine = np.where(np.isfinite(mine), mine, np.nanmean(mine))
            out.setdefault(f"Pearson, {what}", {})[name] = correlation(mine, truth["mean"][known])
    return out


def rows_of(logs: list[tuple[str, dict[str, dict[str, float]]]]) -> list[dict[str, object]]:
    """Means over the logs of each world and of all, and the differences with the half width of their intervals."""
    rows = []
    for what in [*dict.fromkeys(name for name, _ in logs), "all logs"]:
        mine = [figures for name, figures in logs if what in (name, "all logs")]
        for metric in mine[0]:
            table = np.array([[figures[metric][name] for name in (LINEAR, STREAM)] for figures in mine])
            count = len(table)
            for label, values in ((LINEAR, table[:, 0]), (STREAM, table[:, 1]), ("difference", table @ [-1, 1])):
                se = float(values.std(ddof=1) / np.sqrt(count)) if count > 1 else None
                row = {"what": what, "metric": f"{metric}, {label}", "ours": float(values.mean()), "se": se}
                rows.append(row | {"peers": {}, "goal": None, "met": None})
                if label == "difference" and se is not None:
                    reach = float(student.ppf(0.975, count - 1)) * se
                    for end, side in (("low", -1), ("high", 1)):
                        bound = row | {"metric": f"{metric}, difference, {end}", "ours": row["ours"] + side * reach}
                        rows.append(bound | {"se": None, "peers": {}, "goal": None, "met": None})
    return rows


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", nargs="+", default=["clickbait", "confounded"], help="names in conf/simulation/")
    parser.add_argument("--seeds", type=int, default=2, help="how many")
    parser.add_argument("--users", type=int, default=1500)
    parser.add_argument("--truth-users", type=int, default=TRUTH_USERS, help="size of the service the truth is of")
    parser.add_argument("--parents-per-day", type=int, default=500, help="visits with paired runs, on each of 6 days")
    parser.add_argument("--cache", type=Path, default=ROOT / "outputs" / "recovery", help="what was computed")
    parser.add_argument("--from-cache", action="store_true", help="compute nothing, tell of what is there")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "stream_baseline.json")
    chosen = parser.parse_args(arguments)
    console = Console(width=max(Console().width, 120))
    small = [
        Case(name, seed, chosen.users, chosen.parents_per_day) for seed in range(chosen.seeds) for name in chosen.worlds
    ]
    logs = []
    for case in small:
        large = replace(case, users=chosen.truth_users)
        if not chosen.from_cache:
            recovery.compute({large: [TRUTH], case: [PART]}, chosen.cache, console, PARTS)
        truth = recovery.found_of(large, chosen.cache, PARTS).get(TRUTH)
        made = recovery.found_of(case, chosen.cache, PARTS).get(PART)
        if truth is None or made is None:
            continue
        logs.append((case.name, judged(truth, made)))
        console.print(case.name, case.seed, logs[-1][1])
    rows = rows_of(logs)
    table = Table("what", "metric", "mean", "standard error", title="the second stage with either baseline")
    for row in rows:
        table.add_row(row["what"], row["metric"], f"{row['ours']:.4f}", "" if row["se"] is None else f"{row['se']:.4f}")
    console.print(table)
    write_result(chosen.out, rows)


if __name__ == "__main__":
    main()
