"""Does the second stage find effects on a real log, and does it find none where there can be none?

On the bundled KuaiRand-Pure log, known as far as `train.py` lets the second stage know it and with the settings of
conf/data/kuairand.yaml: propensities are estimated, for the log has none, and checked for balance; told is the slope of
what users held out showed on what was predicted for them. Then items are permuted among the events of each day, each
with its propensity: how often each item was shown on each day and the spread of the weights stay, who was shown it
becomes chance, so nothing an item seems to do is more than that. What users did stays theirs. A permutation finds
nothing if the 95% interval of its slope holds 0.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from rich.console import Console
from rich.progress import track
from rich.table import Table
from worlds import ROOT, write_result

from reward.causal.diagnostics.summary import account, account_sentences
from reward.columns import ITEM
from reward.data.days import day_of
from reward.data.split import known_at, split
from reward.data.validation import check

LOG, PERMUTED = "KuaiRand-Pure", "KuaiRand-Pure, items permuted within days"
GOAL = 0.93


def settings(*overrides):
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("train", overrides=["data=kuairand", *overrides])


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
    share = float((np.abs(slope) <= 1.96 * se).mean())
    return share, float(np.sqrt(share * (1 - share) / len(slope)))


def report(found, slopes, console):
    """The table, and its rows."""
    rows = []
    table = Table(title="the second stage on a real log")
    for name in ("log", "metric", "value", "goal"):
        table.add_column(name)

    def tell(what, metric, ours, se=None, goal=None, met=None):
        rows.append({"what": what, "metric": metric, "ours": ours, "se": se, "peers": {}, "goal": goal, "met": met})
        value = "none" if ours is None else f"{ours:.3f}" + ("" if se is None else f" ({se:.3f})")
        table.add_row(what, metric, value, "" if goal is None else f"{goal} {'ok' if met else '[red]no[/red]'}")

    low, high = found["interval"] or (None, None)
    tell(LOG, "held-out slope", found["slope"], found["se"])
    tell(LOG, "held-out slope, 95% from", low)
    tell(LOG, "held-out slope, 95% to", high)
    for name in ("rewards", "personal"):
        if found[name] is not None:
            tell(LOG, f"held-out slope, {name}", found[name]["slope"], found[name]["se"])
    tell(LOG, "flagged by the balance check", float(found["balance"]["flagged"]))
    if slopes:
        slope, se = np.array(slopes).T
        share, error = shares_of_nothing(slopes)
        tell(PERMUTED, "share that finds nothing", share, error, f">= {GOAL}", share >= GOAL)
        tell(PERMUTED, "share with an interval above 0", float((slope > 1.96 * se).mean()))
        tell(PERMUTED, "mean slope", float(slope.mean()), float(slope.std() / np.sqrt(len(slope))))
        tell(PERMUTED, "standard deviation of slope / se", float((slope / se).std()))
    console.print(table)
    return rows


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--permutations", type=int, default=100)
    parser.add_argument("--users", type=int, help="fewer than the log's, to try things")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "real_log.json")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)  # the same sums in the same order wherever it runs
    console, config = Console(), settings()
    outcome = instantiate(config.task.active_days.outcome)
    known = known_log(config, chosen.users)
    with console.status("estimating propensities and effects ..."):
        estimated = instantiate(config.propensities, _convert_="all")(known)
        estimate = instantiate(config.causal, _convert_="all")
        effects = estimate(known, outcome, seed=config.seed, propensity=estimated.propensity)
        balance = instantiate(config.balance, _convert_="all")(known, estimated.propensity, half=estimated.half)
    personal = effects.model and (effects.model.calibration, effects.model.personal_calibration)
    found = account(effects.calibration, estimated, balance, personal=personal)
    console.print("\n".join(account_sentences(found)))
    slopes = []
    for seed in track(range(chosen.permutations), "permutations", console=console):
        log, propensity = permuted(known, estimated.propensity, np.random.default_rng([config.seed, seed]))
        made = estimate(log, outcome, personal=None, seed=seed, propensity=propensity).calibration
        slopes.append((made.slope, made.se))
    write_result(chosen.out, report(found, slopes, console))


if __name__ == "__main__":
    main()
