"""Does the second stage find effects on a real log, and does it find none where there can be none?

On the bundled KuaiRand-Pure log, known as far as `train.py` lets the second stage know it and with the settings of
conf/data/kuairand.yaml: propensities are estimated, for the log has none, and checked for balance; told is the slope of
what users held out showed on what was predicted for them. Then items are permuted among the events of each day, each
with its propensity: how often each item was shown on each day and the spread of the weights stay, who was shown it
becomes chance, so nothing an item seems to do is more than that. What users did stays theirs. A permutation finds
nothing if the 95% interval of its slope holds 0.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import torch
from harness import WORLD, Benchmark, Smoke, result_row, share_and_se
from hydra.utils import instantiate

from reward.causal.diagnostics.summary import summarize_effects
from reward.columns import ITEM
from reward.data.days import day_of
from reward.data.split import known_at, split
from reward.data.validation import check
from reward.scoring.effect_sentences import effect_sentences
from reward.training.defaults import composed

SMOKE = Smoke(f"--users 60 --permutations 1 --settings {WORLD} causal.personal=null")
LOG, PERMUTED = "KuaiRand-Pure", "KuaiRand-Pure, items permuted within days"
GOAL = 0.93


def settings(*overrides):
    return composed("train", overrides)


def known_log(config, users=None):
    """The checked log as the second stage of a training run knows it, of the first ``users`` alone if said."""
    log = check(instantiate(config.data)).log
    known = known_at(log, split(log, **config.split).validation_end)
    if users is None:
        return known
    some = known.events.select(pl.col("user_id").unique().sort().head(users))
    return replace(known, events=known.events.join(some, on="user_id", how="semi", maintain_order="left"))


def permuted(log, propensity, rng):
    """The log with its items, each with its propensity, permuted among the events of a day."""
    day = log.events.select(day_of(log)).collect().to_series().to_numpy()
    order = np.lexsort((rng.random(len(day)), day))
    source = np.empty(len(day), np.int64)
    source[np.argsort(day, kind="stable")] = order
    items = log.events.select(ITEM).collect().to_series().gather(source)
    return replace(log, events=log.events.with_columns(items)), propensity[source]


def shares_of_nothing(slopes):
    """Share of the slopes, a row each with its standard error, whose 95% interval holds 0, and its standard error."""
    slope, se = np.array(slopes).T
    return share_and_se(np.abs(slope) <= 1.96 * se)


def report(found, slopes):
    """The rows."""
    rows = []

    def tell(what, metric, ours, se=None, goal=None, met=None):
        rows.append(result_row(what, metric, ours, se, None, goal, met))

    low, high = found.items.interval or (None, None)
    tell(LOG, "held-out slope", found.items.slope, found.items.se)
    tell(LOG, "held-out slope, 95% from", low)
    tell(LOG, "held-out slope, 95% to", high)
    for name in ("rewards", "personal"):
        if (part := getattr(found, name)) is not None:
            tell(LOG, f"held-out slope, {name}", part.slope, part.se)
    tell(LOG, "flagged by the balance check", float(found.flagged))
    if slopes:
        slope, se = np.array(slopes).T
        share, error = shares_of_nothing(slopes)
        tell(PERMUTED, "share that finds nothing", share, error, f">= {GOAL}", share >= GOAL)
        tell(PERMUTED, "share with an interval above 0", float((slope > 1.96 * se).mean()))
        tell(PERMUTED, "mean slope", float(slope.mean()), float(slope.std() / np.sqrt(len(slope))))
        tell(PERMUTED, "standard deviation of slope / se", float((slope / se).std()))
    return rows


def main(arguments=None):
    bench = Benchmark(globals(), SMOKE)
    bench.add("--permutations", type=int, default=100)
    bench.add("--users", type=int, help="fewer than the log's, to try things")
    bench.add_settings()
    chosen = bench.parse(arguments)
    torch.set_num_threads(1)  # the same sums in the same order wherever it runs
    config = settings(*chosen.settings)
    outcome = instantiate(config.task.active_days.outcome)
    known = known_log(config, chosen.users)
    with bench.console.status("estimating propensities and effects ..."):
        estimated = instantiate(config.propensities, _convert_="all")(known)
        estimate = instantiate(config.causal, _convert_="all")
        effects = estimate(known, outcome, seed=config.seed, propensity=estimated.propensity)
        balance = instantiate(config.balance, _convert_="all")(known, estimated.propensity, half=estimated.half)
    personal = effects.model and (effects.model.calibration, effects.model.personal_calibration)
    found = summarize_effects(effects.calibration, estimated, balance, personal=personal)
    bench.say("\n".join(effect_sentences(found)))
    slopes = []
    for seed in bench.progress(range(chosen.permutations), "permutations"):
        log, propensity = permuted(known, estimated.propensity, np.random.default_rng([config.seed, seed]))
        made = estimate(log, outcome, personal=None, seed=seed, propensity=propensity).calibration
        slopes.append((made.slope, made.se))
    bench.finish(report(found, slopes))


if __name__ == "__main__":
    main()
