"""Beliefs about new shows from their users' first days: our filter, the published one, and the best there can be.

The experiment of McDonald et al., Impatient Bandits (KDD 2023), on traces drawn as published: 200 shows to learn from,
200 to judge on, 10,000 users each, 59 days. Told are the mean absolute errors of the belief's median, after d days of M
users, against the mean of the show's other users, of

* *published*: the published Gaussian filter, written anew (its mean and median are one);
* *ours*: ``reward.progressive``, which learns from the same 200 shows;
* *bound*: the Bayes-optimal belief of one who knows the generator and its constants; its median errs least,

and the share of the way from the published filter to the bound that ours goes, also of the means; then the published
bandit's regret; then the errors where users behave otherwise than the generator's. Seed 42 is the published data;
nothing was tuned on the seeds that are told. What was computed is kept in a folder, job by job.
"""

from __future__ import annotations

from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from harness import Benchmark, Smoke, kept, mean_and_se, result_row
from impatient.bandit import agents, regret
from impatient.bound import optimal
from impatient.published import Moments, progressive
from impatient.shows import (
    DIFFER,
    JUDGED,
    PUBLISHED,
    RETURN,
    TRAINING,
    TWO_RATES,
    USERS,
    WHOLE,
    H,
    active_on,
    daily_means,
    drawn,
)

from reward.progressive import ItemPrior

SMOKE = Smoke(
    "--seeds 42 1 --bound-seeds 42 --bandit-seeds 42 --other-seeds 1",
    TRAINING=20,
    JUDGED=4,
    SHOWS=3,
    DAILY=3,
    DAYS=3,
    TRIALS=2,
    DRAWS=40,
    CELLS=[(10, 0), (10, 5), (20, 59)],
    JUDGED_CELLS=[(20, 59)],
    HELD_OUT_FROM=20,
    KINDS=(RETURN,),
    SAID={(10, 5): 0.6},
    SIZE=(24, 60),
)
SIZE = (TRAINING + JUDGED, USERS)  # of the traces that are drawn: shows, users
CELLS = [(users, days) for users in (10, 100, 1000) for days in (0, 5, 10, 20, 30, H)]
HELD_OUT_FROM = 1000  # the users whose mean is the truth
GROUPS, OTHER_GROUPS = 8, 1  # of users of each show at most; the bound's, of cells without a goal
DRAWS = 600  # of the bound's importance sampling, for each show
SHOWS, DAILY, DAYS, TRIALS = 50, 50, 180, 10  # of the bandit
EVERY = 42  # the seed of which all cells have a bound, and on which all agents play
PLAYED = ("published progressive", "ours", "full traces at once, our filter")
EARLY, SHARE = 20, 0.5  # the goals: below the published filter's to this day, and this share of the way
FILTERS = ("published", "ours", "mean")
INTERVAL = (0.025, 0.975)
NOTHING = 1e-12  # days, rounding
KINDS = (TWO_RATES, RETURN, DIFFER)
JUDGED_CELLS = [(users, days) for users, days in CELLS if users >= 100 and 0 < days <= EARLY]
SAID = {  # ANCHORS: the published errors, and regrets
    (10, 5): 0.639, (10, 10): 0.635, (10, H): 0.638,
    (100, 5): 0.540, (100, 10): 0.470, (100, H): 0.378,
    (1000, 5): 0.429, (1000, 10): 0.241, (1000, H): 0.166,
}  # fmt: skip
SAID_REGRET = {
    "published progressive": 0.70,
    "delayed": 1.33,
    "day-two proxy": 2.01,
    "published oracle (the sum at once)": 0.59,
}
EXPLAINED = {1: 0.081, 5: 0.535, 10: 0.768, 20: 0.903, 30: 0.969}


@lru_cache(maxsize=1)
def traces(kind: str, seed: int) -> np.ndarray:
    return drawn(kind, seed, *SIZE)


@lru_cache(maxsize=1)
def learned(kind: str, seed: int) -> tuple[Moments, ItemPrior]:
    """The published filter's moments and our prior, from the training shows."""
    mine = traces(kind, seed)[:TRAINING]
    item = np.repeat(np.arange(TRAINING), mine.shape[1])
    return Moments.of(mine), ItemPrior.learn(item, mine.ravel(), np.full(mine.size, WHOLE), horizon_days=H)


def groups_of(words: np.ndarray, users: int, most: int) -> list[np.ndarray]:
    """Disjoint groups (judged shows, users) of the users that the truth leaves out."""
    judged = words[TRAINING : TRAINING + JUDGED]
    return [judged[:, start : start + users] for start in range(0, min(most * users, HELD_OUT_FROM), users)]


def bounds(kind: str, seed: int) -> dict[str, np.ndarray]:
    """By cell, the bound's means and medians, and the difference of either half of its draws, (groups, shows).

    Of the published data all cells; of others those that a goal is set for.
    """
    words, out = traces(kind, seed), {}
    for users, days in CELLS if seed == EVERY else JUDGED_CELLS:
        groups = groups_of(words, users, GROUPS if (users, days) in JUDGED_CELLS else OTHER_GROUPS)
        found = [optimal(seen, days, DRAWS, seed)[:3] for seen in groups]
        for name, values in zip(("mean", "median", "doubt"), zip(*found, strict=True), strict=True):
            out[f"{users} {days} {name}"] = np.array(values)
    return out


def beliefs(kind: str, seed: int) -> dict[str, np.ndarray]:
    """By cell, the published belief's means, our medians, means and 95% intervals, (groups, shows); the truth."""
    words = traces(kind, seed)
    moments, prior = learned(kind, seed)
    truth = daily_means(words[TRAINING : TRAINING + JUDGED, HELD_OUT_FROM:]).sum(axis=1)
    stickiness = 1 + daily_means(words).sum(axis=1)
    out = {
        "truth": truth,
        "stickiness": np.array([stickiness.mean(), stickiness.std()]),
        "explained": np.array([moments.explained(days) for days in EXPLAINED]),
    }
    item = np.arange(len(truth))
    for users, days in CELLS:
        made: list[tuple[np.ndarray, ...]] = []
        for seen in groups_of(words, users, GROUPS):
            active = np.zeros((len(truth), H))
            active[:, :days] = active_on(seen, days).sum(axis=1)
            published = progressive(moments, active, np.where(np.arange(H) < days, users, 0) * np.ones_like(active))
            told = (np.repeat(item, users), seen.ravel(), np.full(seen.size, (1 << days) - 1))
            ours = prior.belief(prior.evidence(*told, items=len(truth)))
            made.append((published[0], ours.median, ours.mean, *map(ours.quantile, INTERVAL)))
        for name, values in zip(("published", "ours", "mean", "low", "high"), zip(*made, strict=True), strict=True):
            out[f"{users} {days} {name}"] = np.array(values)
    return out


def regrets(kind: str, seed: int) -> dict[str, np.ndarray]:
    """Regret (trials,) of each agent."""
    mine = traces(kind, seed)[TRAINING : TRAINING + SHOWS]
    every = agents(*learned(kind, seed))
    played = every if seed == EVERY else {name: every[name] for name in PLAYED}
    return {
        name: regret(mine, agent, trials=TRIALS, daily=DAILY, days=DAYS, seed=seed) for name, agent in played.items()
    }


PARTS = {"beliefs": beliefs, "bounds": bounds, "regrets": regrets}


def file_of(folder: Path, part: str, kind: str, seed: int) -> Path:
    return folder / f"{part}-{kind.replace(' ', '_')}-{seed}.npz"


def jobs_of(chosen: Any) -> dict[str, list[tuple[str, str, int]]]:
    """What is computed for each table: part, kind of users, seed."""
    return {
        "best": [("bounds", PUBLISHED, seed) for seed in chosen.bound_seeds],
        PUBLISHED: [("beliefs", PUBLISHED, seed) for seed in chosen.seeds],
        "bandit": [("regrets", PUBLISHED, seed) for seed in chosen.bandit_seeds],
    } | {kind: [("beliefs", kind, seed) for seed in chosen.other_seeds] for kind in KINDS}


def compute(bench: Benchmark, jobs: list[tuple[str, str, int]], folder: Path) -> None:
    """Computes what is not kept yet, and keeps each job's arrays as soon as they are there."""
    order = [job[1:] for job in jobs]
    jobs = sorted(jobs, key=lambda job: order.index(job[1:]))  # a data set is drawn and learned from once
    bench.keep({file_of(folder, *job): partial(_made, *job) for job in jobs}, "data sets")


def _made(part: str, kind: str, seed: int) -> dict[str, np.ndarray]:
    return PARTS[part](kind, seed)


def known(jobs: list[tuple[str, str, int]], folder: Path) -> dict[tuple[str, str, int], dict[str, np.ndarray]]:
    """What was computed of the jobs."""
    found = {job: kept(file_of(folder, *job)) for job in jobs}
    return {job: arrays for job, arrays in found.items() if arrays is not None}


def share_of(table: np.ndarray, rng: np.random.Generator) -> tuple[float, float, float]:
    """Share of the way from the first column to the third that the second goes, and its 95% bootstrap interval."""
    drawn_sets = table[rng.integers(0, len(table), (4000, len(table)))].mean(axis=1)
    shares = (drawn_sets[:, 0] - drawn_sets[:, 1]) / (drawn_sets[:, 0] - drawn_sets[:, 2])
    first, mine, best = table.mean(axis=0)
    return float((first - mine) / (first - best)), *map(float, np.quantile(shares, [0.025, 0.975]))


def error_rows(kind: str, found: list[dict[str, np.ndarray]], best: list[dict[str, np.ndarray]]):
    """Rows of each cell: means over data sets. ``best`` are the bounds of the first of them, or none."""
    rows, rng = [], np.random.default_rng(0)
    for users, days in CELLS:
        what, cell = f"{kind}, M={users}, d={days}", f"{users} {days}"
        off = {name: [np.abs(one[f"{cell} {name}"] - one["truth"]).mean(axis=1) for one in found] for name in FILTERS}
        published, ours = (np.array([groups.mean() for groups in off[name]]) for name in FILTERS[:2])
        less, apart = mean_and_se(published - ours)
        peers = {"published": float(published.mean())}
        if kind == PUBLISHED and (users, days) in SAID:
            peers["published, in the paper's data"] = SAID[users, days]
        below = kind == PUBLISHED and (users, days) in JUDGED_CELLS
        met = less > 0 if below else apart is None or less >= -apart - NOTHING
        goal = "below the published filter's" if below else "no worse than it by over a standard error"
        rows.append(result_row(what, "mean absolute error", *mean_and_se(ours), peers, goal, bool(met)))
        rows.append(result_row(what, "less than the published filter's by", less, apart))
        sure = [(one[f"{cell} low"] < one["truth"]) & (one["truth"] < one[f"{cell} high"]) for one in found]
        rows.append(result_row(what, "truth in the 95% interval", float(np.mean(sure))))
        for mine, its_name, of in (("ours", "median", ""), ("mean", "mean", "of the means: ")):
            limit = [
                np.abs(its[f"{cell} {its_name}"] - one["truth"]).mean(axis=1)
                for its, one in zip(best, found, strict=False)
                if f"{cell} {its_name}" in its
            ]
            if not limit:
                continue
            same = np.array(
                [  # of the groups that the bound is known of
                    [groups[: len(its)].mean() for groups in (off["published"][place], off[mine][place], its)]
                    for place, its in enumerate(limit)
                ]
            )
            if of:
                rows.append(result_row(what, f"{of}mean absolute error", *mean_and_se(same[:, 1])))
            rows.append(result_row(what, f"{of}the bound's mean absolute error", *mean_and_se(same[:, 2])))
            if days > 0:
                part, low, high = share_of(same, rng)
                goal = (f">= {SHARE}", part >= SHARE) if below and not of else (None, None)
                rows.append(result_row(what, f"{of}share of the way to the bound", part, None, {}, *goal))
                rows.append(result_row(what, f"{of}share of the way to the bound, low", low))
                rows.append(result_row(what, f"{of}share of the way to the bound, high", high))
        doubts = [its[f"{cell} doubt"].mean() for its in best if f"{cell} doubt" in its]
        if doubts:
            rows.append(result_row(what, "the bound: either half of its draws less the other", float(np.mean(doubts))))
    return rows


def sanity_rows(found: list[dict[str, np.ndarray]], seeds: list[int]) -> list[dict[str, object]]:
    """What the published data are like, of the first seed."""
    mean, spread = found[0]["stickiness"]
    rows = [
        result_row(f"seed {seeds[0]}", "mean stickiness", float(mean), None, {"published": 4.46}),
        result_row(f"seed {seeds[0]}", "its standard deviation", float(spread), None, {"published": 0.81}),
    ]
    for (days, said), value in zip(EXPLAINED.items(), found[0]["explained"], strict=True):
        rows.append(
            result_row(f"seed {seeds[0]}", f"variance explained by day {days}", float(value), None, {"published": said})
        )
    for (users, days), said in SAID.items():
        ours, published = (np.abs(found[0][f"{users} {days} {name}"][0] - found[0]["truth"]) for name in FILTERS[1::-1])
        se = float(ours.std(ddof=1) / np.sqrt(len(ours)))
        peers = {"published, here": float(published.mean()), "published, in the paper's data": said}
        rows.append(
            result_row(f"seed {seeds[0]}, M={users}, d={days}", "mean absolute error", float(ours.mean()), se, peers)
        )
    return rows


def regret_rows(found: dict[int, dict[str, np.ndarray]]) -> list[dict[str, object]]:
    """Regrets of the published data over trials, then over data sets."""
    rows = []
    if EVERY in found:
        for name, values in found[EVERY].items():
            mean, se = mean_and_se(values)
            peers = {"published": SAID_REGRET[name]} if name in SAID_REGRET else {}
            rows.append(result_row(f"seed {EVERY}, {name}", "average regret at day 180", mean, se, peers))
    for name in PLAYED:
        mean, se = mean_and_se(np.array([one[name].mean() for one in found.values()]))
        rows.append(result_row(f"all data sets, {name}", "average regret at day 180", mean, se))
    less, se = mean_and_se(np.array([(one[PLAYED[0]] - one[PLAYED[1]]).mean() for one in found.values()]))
    goal = "more than a standard error"
    met = se is not None and less > se
    rows.append(result_row("all data sets", "regret less than the published filter's by", less, se, {}, goal, met))
    return rows


def main(arguments: list[str] | None = None) -> None:
    bench = Benchmark(globals(), SMOKE, cache="progressive", width=160)
    bench.add("--seeds", nargs="+", type=int, default=[42, *range(1, 16)], help="published data sets")
    bench.add("--bound-seeds", nargs="*", type=int, default=[42, *range(1, 16)], help="the bound is told of")
    bench.add("--bandit-seeds", nargs="*", type=int, default=[42, *range(1, 8)], help="the bandit plays on")
    bench.add("--other-seeds", nargs="*", type=int, default=[1, 2, 3], help="of users who behave otherwise")
    bench.add("--from-cache", action="store_true", help="compute nothing, tell of what is there")
    chosen = bench.parse(arguments)
    jobs = jobs_of(chosen)
    if not chosen.from_cache:
        compute(bench, [job for some in jobs.values() for job in some], chosen.cache)
    there = {what: known(some, chosen.cache) for what, some in jobs.items()}
    published = {seed: one for (_, _, seed), one in there[PUBLISHED].items()}
    best = {seed: one for (_, _, seed), one in there["best"].items() if seed in published}
    rows = []
    if published:
        order = [*best, *(seed for seed in published if seed not in best)]
        rows += sanity_rows(list(published.values()), list(published))
        rows += error_rows(PUBLISHED, [published[seed] for seed in order], list(best.values()))
    if there["bandit"]:
        rows += regret_rows({seed: one for (_, _, seed), one in there["bandit"].items()})
    for kind in KINDS:
        if there[kind]:
            rows += error_rows(kind, list(there[kind].values()), [])
    bench.finish(rows)


if __name__ == "__main__":
    main()
