"""Is a policy's click rate recovered from the log of another? The Open Bandit Dataset, where both policies ran.

In each of three campaigns of a fashion shop a uniform policy and a Bernoulli Thompson sampler ran side by side, with
true propensities. From the log of each, the click rate of the other is estimated and held against the one it had.

* *random from bts*: the uniform policy shows each of a campaign's items alike.
* *bts from random*: the sampler changes with time and knows no context. What it showed at each position is taken from
  how often its own log has each item there; whether it was clicked is not looked at.

An estimate is right if its difference from the rate observed is within the interval of that difference: the rate is a
mean of some fifty clicks, as noisy as the estimate. Beside it stand the ends of the estimate's own interval, which two
such noisy numbers leave more often. Rows are taken for independent: the log names no users.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import polars as pl
from harness import ROOT, Benchmark, Row, Smoke, result_row, table

from reward.off_policy.estimate import Estimate, Refusal
from reward.off_policy.estimate import effective_sample_size as effective
from reward.off_policy.feedback import LoggedFeedback, importance
from reward.off_policy.ips import clipped, ips, snips

SMOKE = Smoke(SMALL=4000)
SMALL = None  # rows of each policy and campaign in a log that is drawn in the place of the real one
CAMPAIGNS, POLICIES = ("all", "men", "women"), ("random", "bts")
LEAST_EFFECTIVE_ROWS = 100
LEVEL = 0.95
MOST = 10.0  # weight, of clipped estimates
REFUSED = ("women", "bts")  # 2.1 effective rows of 10,000
ESTIMATORS: Mapping[str, Callable[[LoggedFeedback, Any], Estimate]] = {
    "IPS": ips,
    "self-normalised": snips,
    f"clipped at {MOST:g}": partial(clipped, most=MOST),
}
JUDGED = ("IPS", "self-normalised")  # a clipped estimate is too low by design
WITHIN, REFUSES = f"within {LEVEL:.0%} of the rate observed", "refused"
Rows = list[Row]


def read(folder: Path) -> pl.DataFrame:
    """The log, ``events.parquet``."""
    file = folder / "obd_small" / "events.parquet"
    if not file.is_file():
        raise SystemExit(
            f"{file} is missing: it is the small Open Bandit Dataset (Saito et al. 2020, github.com/st-tech/zr-obp,"
            " folder obd) as one file with campaign, behavior_policy, item_id, position, click and propensity_score"
        )
    return pl.read_parquet(
        file, columns=["campaign", "behavior_policy", "item_id", "position", "click", "propensity_score"]
    )


def drawn(rows: int, items: int = 5) -> pl.DataFrame:
    """A log like it; in ``women`` the sampler has settled on one item, but for two rows."""
    draws, rate = np.random.default_rng(0), np.linspace(0.05, 0.25, items)
    uniform, leaning = np.full(items, 1 / items), np.linspace(1, 3, items) / (2 * items)
    settled = np.append(np.full(items - 1, 1e-6), 1 - (items - 1) * 1e-6)
    frames = []
    for campaign in CAMPAIGNS:
        for policy in POLICIES:
            chance = uniform if policy == "random" else settled if campaign == "women" else leaning
            item = draws.choice(items, rows, p=chance)
            if chance is settled:
                item[:2] = 0
            frame = {"item_id": item, "position": draws.integers(1, 4, rows), "propensity_score": chance[item]}
            frame |= {"click": draws.binomial(1, rate[item]).astype(np.int8)}
            frames.append(pl.DataFrame(frame).with_columns(campaign=pl.lit(campaign), behavior_policy=pl.lit(policy)))
    return pl.concat(frames)


def log_of(events: pl.DataFrame, campaign: str, policy: str) -> pl.DataFrame:
    return events.filter(pl.col("campaign") == campaign, pl.col("behavior_policy") == policy)


def rows_of(log: pl.DataFrame) -> LoggedFeedback:
    return LoggedFeedback(
        reward=log["click"].cast(pl.Float64).to_numpy(),
        propensity=log["propensity_score"].to_numpy(),
        min_effective_sample_size=LEAST_EFFECTIVE_ROWS,
    )


def chance_under(other: pl.DataFrame, log: pl.DataFrame) -> np.ndarray:
    """(n,) how often the other policy shows what a row of this log showed, at its position."""
    if other["propensity_score"].n_unique() == 1:
        return np.full(len(log), other["propensity_score"][0])
    shown = other.group_by("position", "item_id").agg(pl.len().alias("times"))
    shown = shown.with_columns(chance=pl.col("times") / pl.col("times").sum().over("position"))
    joined = log.select("position", "item_id").join(
        shown, on=["position", "item_id"], how="left", maintain_order="left"
    )
    return joined["chance"].fill_null(0.0).to_numpy()


def measured(events: pl.DataFrame, campaign: str, policy: str) -> tuple[Rows, str | None]:
    """What the log of a policy says of the other, a row an estimator; and why not, where it does not."""
    log, other = (log_of(events, campaign, each) for each in (policy, POLICIES[policy == "random"]))
    rows, target = rows_of(log), chance_under(other, log)
    what = f"{campaign}: {other['behavior_policy'][0]} from {policy}"
    rate = float(other["click"].mean())
    rate_se = (rate * (1 - rate) / len(other)) ** 0.5
    left = float(effective(importance(rows, target)))
    refused = (campaign, policy) == REFUSED
    table: Rows = [result_row(what, "effective rows", left, None, {}, None, None)]
    table.append(result_row(what, "mean weight", float(importance(rows, target).mean()), None, {}, None, None))
    why = None
    for name, estimator in ESTIMATORS.items():
        judged = name in JUDGED
        try:
            found = estimator(rows, target)
        except Refusal as error:
            why = str(error)
            table.append(
                result_row(
                    what, name, None, None, {"observed": rate}, REFUSES if judged else None, refused if judged else None
                )
            )
            continue
        apart = (found.value - rate) / float(np.hypot(found.standard_error, rate_se))
        goal, met = (REFUSES, False) if refused else (WITHIN, abs(apart) <= NormalDist().inv_cdf((1 + LEVEL) / 2))
        asked = (goal, met) if judged else (None, None)
        table.append(result_row(what, name, found.value, found.standard_error, {"observed": rate}, *asked))
        low, high = found.interval(LEVEL)
        others = {"standard errors from the rate": apart, "lower end": low, "upper end": high}
        table += [result_row(what, f"{name}, {each}", value, None, {}, None, None) for each, value in others.items()]
    return table, why


def main(arguments: list[str] | None = None) -> None:
    bench = Benchmark(globals(), SMOKE, width=140)
    bench.add("--data", type=Path, default=ROOT / "data", help="folder that holds obd_small/events.parquet")
    chosen = bench.parse(arguments)
    events = read(chosen.data) if SMALL is None else drawn(SMALL)
    rows: Rows = []
    told = {"effective rows", "mean weight", *ESTIMATORS}
    for campaign in CAMPAIGNS:
        for policy in POLICIES:
            found, why = measured(events, campaign, policy)
            rows += found
            if why is not None:
                bench.say(f"{campaign}, from {policy}: {why}.")
    shown = [one for one in rows if one["metric"] in told]
    bench.finish(rows, show=table(shown, "click rates from the other log"))


if __name__ == "__main__":
    main()
