"""Do the estimates hold where nature drew the treatment? Randomised data that nobody here made.

Each row is a published or an experimental value, ours with its interval, and whether that interval holds it.

gain: a job-training trial with 36 quarters of employment. What a surrogate index says from six quarters, against the
trial's own end, site by site. distal: a micro-randomised trial, with the golden value of MRTAnalysis. hillstrom and
gotv: mailings drawn at random. Effects on all; and whether the difference between users that is found in one half is
there in the other (rank-weighted effects, Yadlowsky et al. 2025). asos: online tests look by look. What would have been
decided at day 14, against the last look.

A set that is missing is named and left out. The data are read where ``--data`` or REWARD_DATA says.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
from harness import ROOT, Benchmark, Row, Smoke, result_row

from reward.causal.excursion.estimator import excursion_effects, expected_by_arm
from reward.experiments.heterogeneity import rank_weighted_effect
from reward.experiments.sequential import group_sequential
from reward.experiments.surrogate_index import Experiment, PastExperiments, SurrogateIndex
from reward.statistics.regression import linear

SMOKE = Smoke("--sets distal")
Z = 1.959964
HOLDS = "95% interval holds it"
PLACES = [Path(os.environ.get("REWARD_DATA", ROOT / "data")), *(above / "shared/data" for above in ROOT.parents)]
PUBLISHED = {"gain, Riverside": 0.0620, "gain, Riverside, index": 0.0748}  # Athey, Chetty, Imbens and Kang


def row(
    what: str, metric: str, ours: float, se: float | None, truth: float, whose: str, goal: float | None = None
) -> Row:
    """A value with its interval, and whether that holds the truth, or is within ``goal`` of it."""
    asked = HOLDS if goal is None else f"within {goal:g}"
    met = abs(ours - truth) <= (Z * (se or 0) if goal is None else goal)
    return result_row(what, metric, ours, se, {whose: truth}, asked, bool(met))


def difference(values: np.ndarray, treated: np.ndarray) -> tuple[float, float]:
    """Mean of the treated less that of the others, and its standard error."""
    one, other = values[treated], values[~treated]
    return float(one.mean() - other.mean()), float(np.sqrt(one.var(ddof=1) / len(one) + other.var(ddof=1) / len(other)))


def gain(folder: Path) -> list[Row]:
    """Mean employment over 36 quarters, by the trial and by an index of the first six."""
    frame = pl.read_parquet(folder / "people.parquet")
    employed = frame.select(pl.col("^emp.*$")).to_numpy().astype(np.float64)
    treated, site, user = frame["treatment"].to_numpy() > 0, frame["site"].to_numpy(), np.arange(frame.height)
    index = SurrogateIndex(linear(ridge=1e-4, degree=1), folds=5, degree=1, ridge=1e-3, seed=0)
    rows = []
    for place in sorted(set(site)):
        mine, what = site == place, f"gain, {place}"
        early, outcome = employed[mine, :6], employed[mine].mean(axis=1)
        effect, se = difference(outcome, treated[mine])
        test, past = Experiment(user[mine], early, treated[mine]), PastExperiments(user[mine], early, outcome)
        found, gap = index.effect(test, past), index.gap(test, outcome, past)
        apart, error = -gap.direct * gap.index.bias_per_sd, gap.direct_se * gap.index.bias_per_sd
        if what in PUBLISHED:
            rows.append(row(what, "effect of the trial", effect, se, PUBLISHED[what], "published", 1e-3))
            published = PUBLISHED[f"{what}, index"]
            rows.append(row(what, "index of six quarters", found.effect, found.se, published, "published"))
            rows.append(row(what, "index less the trial, at most", apart, error, 0.0, "the trial", 0.0128))
        rows.append(row(what, "index less the trial", apart, error, 0.0, "the trial"))
    return rows


def distal(folder: Path) -> list[Row]:
    """The distal effect of an exposure, without moderators."""
    frame = pl.read_parquet(folder / "continuous.parquet")
    outcome, treatment, probability, available = (
        frame[name].to_numpy().astype(np.float64) for name in ("Y", "A", "prob_A", "avail")
    )
    expected = expected_by_arm(outcome, treatment, frame.select("X", "Z").to_numpy())
    users = np.unique(frame["userid"].to_numpy(), return_inverse=True)[1]
    found = excursion_effects(outcome, treatment, probability, users, expected, available=available, small_sample=False)
    effect, se = float(found.coefficients[0]), float(found.standard_errors[0])
    return [
        row("distal, continuous", "distal excursion effect", effect, se, 0.4041, "MRTAnalysis", 1e-3),
        row("distal, continuous", "its standard error", se, None, 0.5848, "MRTAnalysis", 1e-3),
    ]


def halves(what: str, features: np.ndarray, outcome: np.ndarray, treated: np.ndarray) -> list[Row]:
    """Whether the difference between users that one half shows is there in the other, whose truth is unknown."""
    learns = np.random.default_rng(0).random(len(outcome)) < 0.5
    regression, share = linear(ridge=1e-3, degree=2), float(treated.mean())
    of_arms = [regression(features[it], outcome[it]) for it in (learns & treated, learns & ~treated)]
    rows = []
    for name, mine in (("where it was found", learns), ("in the other half", ~learns)):
        score = of_arms[0](features[mine]) - of_arms[1](features[mine])
        for weighting in ("autoc", "qini"):
            found = rank_weighted_effect(score, outcome[mine], treated[mine], treated_share=share, weighting=weighting)
            rows.append(result_row(what, f"{weighting} of who gains, {name}", found.value, found.se))
    return rows


def hillstrom(folder: Path) -> list[Row]:
    """Visits in the two weeks after a mail."""
    frame = pl.read_parquet(folder / "customers.parquet")
    known = frame.select("recency", "history", "mens", "womens", "newbie").to_dummies("newbie")
    features = known.hstack(frame.select("zip_code", "channel").to_dummies()).to_numpy().astype(np.float64)
    segment, visit = frame["segment"].to_numpy(), frame["visit"].to_numpy().astype(np.float64)
    rows = []
    for mail, published in (("Womens E-Mail", 0.151 - 0.106), ("Mens E-Mail", 0.183 - 0.106)):
        mine = np.isin(segment, (mail, "No E-Mail"))
        treated, what = segment[mine] == mail, f"hillstrom, {mail.split()[0].lower()}"
        rows.append(row(what, "effect on visits", *difference(visit[mine], treated), published, "published", 1e-3))
        rows += halves(what, features[mine], visit[mine], treated)
    return rows


def gotv(folder: Path) -> list[Row]:
    """Votes after the neighbours' mailing."""
    frame = pl.read_parquet(folder / "people.parquet").drop_nulls()
    treated, voted = frame["treatment"].to_numpy() > 0, frame["voted"].to_numpy().astype(np.float64)
    features = frame.drop("treatment", "voted").to_numpy().astype(np.float64)
    effect = row("gotv", "effect on voting", *difference(voted, treated), 0.3145 - 0.2966, "published", 1e-3)
    return [effect, *halves("gotv", features, voted, treated)]


def asos(folder: Path) -> list[Row]:
    """Launches that a look at day 14 finds, of those at the last look, by the rule and by whether it is right."""
    looks = pl.read_parquet(folder / "looks.parquet").sort("time_since_start")
    se = (pl.col("variance_c") / pl.col("count_c") + pl.col("variance_t") / pl.col("count_t")).sqrt()
    z, users = (pl.col("mean_t") - pl.col("mean_c")) / se, pl.col("count_c") + pl.col("count_t")
    looks = looks.with_columns(z.alias("z"), users.alias("users")).filter(pl.col("z").is_finite())
    early = pl.col("time_since_start") <= 14
    told = (
        looks.group_by("experiment_id", "variant_id", "metric_id", maintain_order=True)
        .agg(
            looks=pl.len(),
            days=pl.col("time_since_start").max(),
            end=pl.col("z").last(),
            z=pl.col("z").filter(early).last(),
            share=pl.col("users").filter(early).last() / pl.col("users").last(),
        )
        .filter((pl.col("looks") >= 3) & (pl.col("days") >= 28))
        .with_columns(pl.col("z").fill_null(0.0), pl.col("share").fill_null(0.5))  # no early look: nothing is called
    )
    z, end = told["z"].to_numpy(), told["end"].to_numpy()
    bounds = {
        "a plain z-test": np.full(len(z), Z),
        "group-sequential bounds": np.array([group_sequential([it, 1.0])[0] for it in told["share"].clip(0.05, 0.99)]),
    }
    launches = end > Z
    rows = [result_row("asos", "streams", told.height)]
    rows.append(result_row("asos", "launches at the last look", int(launches.sum())))
    for name, bound in bounds.items():
        called = z > bound
        found, right = int((called & launches).sum()), float((called & launches).sum() / max(called.sum(), 1))
        turned = int((called & (end < -Z)).sum())
        rows.append(result_row("asos, day 14", f"launches found, {name}", found, None, None, ">= 40", found >= 40))
        rows.append(result_row("asos, day 14", f"precision, {name}", right, None, None, ">= 0.9", right >= 0.9))
        rows.append(result_row("asos, day 14", f"reversals, {name}", turned, None, None, "0", turned == 0))
    return rows


SETS: dict[str, tuple[str, Callable[[Path], list[Row]]]] = {
    "gain": ("gain_simulated", gain),
    "distal": ("distal_effects", distal),
    "hillstrom": ("hillstrom", hillstrom),
    "gotv": ("gotv", gotv),
    "asos": ("asos", asos),
}


def main(arguments: list[str] | None = None) -> None:
    bench = Benchmark(globals(), SMOKE, width=140)
    bench.add("--sets", nargs="+", choices=SETS, default=list(SETS))
    bench.add("--data", type=Path, help="the folder that holds a folder a set")
    chosen = bench.parse(arguments)
    rows: list[Row] = []
    for name in chosen.sets:
        folder, measure = SETS[name]
        places = [place / folder for place in (PLACES if chosen.data is None else [chosen.data])]
        there = next((place for place in places if place.is_dir()), None)
        if there is None:
            bench.say(f"{name} is left out: no {folder} in {places[0].parent}; say where with --data or REWARD_DATA")
            continue
        rows += measure(there)
    covered = [it["met"] for it in rows if it["goal"] == HOLDS]
    if covered:
        share = float(np.mean(covered))
        rows.append(result_row("all", "intervals that hold", share, None, None, ">= 0.93", share >= 0.93))
    bench.finish(rows)


if __name__ == "__main__":
    main()
