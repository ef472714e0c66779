"""Is a forecast by the stream network a better baseline for the second stage than the linear one?

In each world and seed a network is trained on one half of the users and forecasts the user-days of the other, from the
query of each day's first slot, which reads what the user did before and nothing of that day. The second stage is
fitted with and without that forecast, with the settings of conf/, and its items are held against the true effects.
Told are differences within a log, stream less linear: their mean over logs, and a 95% interval of it by Student's t.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import polars as pl
import torch
from harness import TINY, Benchmark, Row, Smoke, mean_and_se, result_row
from hydra.utils import instantiate
from recovered.logs import ANSWERS, LEAST_EXPOSURES, TRUTH, Case, compute, found_of, true_effects
from scipy.stats import t as student
from training import Trained, trained
from worlds import correlation

from reward.causal.item_effects.outcome_residuals import UserDays, user_days
from reward.columns import ITEM, TIMESTAMP, USER
from reward.data.days import DAY, day_of
from reward.data.event_log import EventLog
from reward.data.prepared import PreparedLog
from reward.data.split import bounds, split
from reward.features.events import Features
from reward.sequences.network import RewardNetwork
from reward.sequences.stream import Stream, Windows
from reward.training.defaults import composed

SMOKE = Smoke(
    f"--worlds clickbait --seeds 1 --users 80 --truth-users 90 --parents-per-day 5 --settings {TINY}", EPOCHS=1
)
PART = "stream baseline"
LINEAR, STREAM = "linear", "stream"
TRUTH_USERS = 20_000  # the true effects are measured on services of this size, as in recovery.py
VALIDATION_DAYS, LAST_DAYS = 7, 2  # what of a log calibrates a network, and what is left over after it
EPOCHS, MEMBERS, DROPOUT = 2, 1, 0.0  # one forecast is wanted, and rows are not seen often enough to overfit
_BATCH_ROWS = 8192


def forecaster(case: Case, log: EventLog, settings: Sequence[str] = ()) -> Trained:
    """A network for one forecast, trained on all but the last days."""
    start, end = bounds(log)
    window = split(log, train_days=end - start - VALIDATION_DAYS - LAST_DAYS, validation_days=VALIDATION_DAYS)
    changes = [f"seed={case.seed}", f"members={MEMBERS}", f"encoder.dropout={DROPOUT}", *settings]
    return trained(composed("train", [*case.told, *changes]), log, window, epochs=EPOCHS)


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


def forecasts(case: Case, settings: Sequence[str] = ()) -> tuple[pl.DataFrame, float]:
    """Forecasts of all user-days, each by the network of the half of users that it is not in; mean validation loss."""
    users = case.events[USER].unique().sort()
    half = np.random.default_rng([case.seed, 23]).permutation(np.arange(len(users)) % 2)
    found, losses = [], []
    for one in range(2):
        mine, others = (users.filter(pl.Series(half == side)).implode() for side in (one, 1 - one))
        learnt, asked = (
            replace(case.log, events=case.log.events.filter(pl.col(USER).is_in(group))) for group in (others, mine)
        )
        made = forecaster(case, learnt, settings)
        function = made.function
        found.append(first_queries(function.network, function.features, asked, case.config.batches.max_events))
        losses.append(made.loss)
    return pl.concat(found), float(np.mean(losses))


def baselines(case: Case, settings: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """Item effects and the spread of residuals by either baseline."""
    forecast, loss = forecasts(case, settings)
    outcome, told = instantiate(case.config.task.active_days.outcome), case.config.causal
    shown = np.bincount(case.events[ITEM].cast(pl.Int64).to_numpy(), minlength=case.items)
    out = {"exposures": shown, "validation loss": np.array(loss)}
    fewer = tuple(name for name in case.log.feedback if name not in ANSWERS)
    logs = {"": case.log, ", without surveys and likes": replace(case.log, feedback=fewer)}
    for name, given in ((LINEAR, None), (STREAM, forecast)):
        prepared = PreparedLog.of(case.log)
        days = UserDays.joined(user_days(prepared, outcome, folds=told.folds, seed=case.seed, forecast=given))
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


def rows_of(logs: list[tuple[str, dict[str, dict[str, float]]]]) -> list[Row]:
    """Means over the logs of each world and of all, and the differences with the half width of their intervals."""
    rows = []
    for what in [*dict.fromkeys(name for name, _ in logs), "all logs"]:
        mine = [figures for name, figures in logs if what in (name, "all logs")]
        for metric in mine[0]:
            table = np.array([[figures[metric][name] for name in (LINEAR, STREAM)] for figures in mine])
            count = len(table)
            for label, values in ((LINEAR, table[:, 0]), (STREAM, table[:, 1]), ("difference", table @ [-1, 1])):
                mean, se = mean_and_se(values)
                rows.append(result_row(what, f"{metric}, {label}", mean, se))
                if label == "difference" and se is not None:
                    reach = float(student.ppf(0.975, count - 1)) * se
                    for end, side in (("low", -1), ("high", 1)):
                        rows.append(result_row(what, f"{metric}, difference, {end}", mean + side * reach))
    return rows


def main(arguments: list[str] | None = None) -> None:
    bench = Benchmark(globals(), SMOKE, cache="recovery")
    bench.add("--worlds", nargs="+", default=["clickbait", "confounded"], help="names in conf/simulation/")
    bench.add("--seeds", type=int, default=2, help="how many")
    bench.add("--users", type=int, default=1500)
    bench.add("--truth-users", type=int, default=TRUTH_USERS, help="size of the service the truth is of")
    bench.add("--parents-per-day", type=int, default=500, help="visits with paired runs, on each of 6 days")
    bench.add_settings()
    bench.add("--from-cache", action="store_true", help="compute nothing, tell of what is there")
    chosen = bench.parse(arguments)
    parts = {TRUTH: true_effects, PART: partial(baselines, settings=chosen.settings)}
    small = [
        Case(name, seed, chosen.users, chosen.parents_per_day) for seed in range(chosen.seeds) for name in chosen.worlds
    ]
    logs = []
    for case in small:
        large = replace(case, users=chosen.truth_users)
        if not chosen.from_cache:
            compute(bench, {case: [PART]} | {large: [TRUTH, *([PART] if large == case else [])]}, chosen.cache, parts)
        truth = found_of(large, chosen.cache, parts).get(TRUTH)
        made = found_of(case, chosen.cache, parts).get(PART)
        if truth is None or made is None:
            continue
        logs.append((case.name, judged(truth, made)))
        bench.say(case.name, case.seed, logs[-1][1])
    bench.finish(rows_of(logs))


if __name__ == "__main__":
    main()
