"""Do the tests hold their level, and find what they were planned to find?

A/A tests are drawn from a population of users whose active days of the next fourteen pile up at none, each with what a
model predicted from the fourteen days before; then the same tests with an effect of the size they were planned for.
Told is how often each test at 5% rejects:

fixed       once all outcomes are known: the plain difference, the one adjusted for the prediction, that of four cohorts
            joined, and the sample-ratio test
sequential  looked at on each day of enrolment, or after every pair of users, stopping at the first crossing

All tests are computed at once by the formulas of what `reward.experiments` calls; the first of them also one by one
through `reward.experiments` itself, and the largest difference is a row.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
import polars as pl
from harness import Benchmark, Smoke, result_row
from rich.table import Table
from scipy import stats

from reward.experiments.comparison import compare, join_cohorts, sample_ratio
from reward.experiments.design import plan, schedule
from reward.experiments.sequential import always_valid, group_sequential
from reward.statistics.intervals import normal

SMOKE = Smoke("--tests 200 --one-by-one 1", POPULATION=20_000)
DAYS = 14  # of the outcome, and of what is known before
TASTE = (0.4, 1.1)  # of the Beta that users' daily chances come from
TURNED = 0.3  # share of users whose chance is another in the days of the outcome
POPULATION = 1_000_000
USERS = 1_000  # of an arm
COHORTS = 4
ENROLMENT_DAYS, FALL = 28, 0.93  # new users of a day, over those of the day before
FIRST = 50  # users of an arm known at the first look
ALPHA, POWER = 0.05, 0.8
CHUNK = 500
DIFFERENCE = "largest difference from reward.experiments"
FIXED = ("plain", "adjusted", "four cohorts joined", "sample ratio")
LEVELS = {"level": ("0.04 to 0.06", lambda rate: 0.04 <= rate <= 0.06)}
SEQUENTIAL = {
    "group-sequential, every day": ("<= 0.05", lambda rate: rate <= 0.05),
    "always valid, every day": ("<= 0.05", lambda rate: rate <= 0.05),
    "always valid, every pair of users": ("<= 0.05", lambda rate: rate <= 0.05),
    "fixed test read every day": (None, None),
    "fixed test read after every pair of users": (None, None),
}
PLANNED = ("0.78 to 0.82", lambda rate: 0.78 <= rate <= 0.82)


class Population(NamedTuple):
    """Users to draw from."""

    days: np.ndarray
    predicted: np.ndarray

    @classmethod
    def drawn(cls, seed):
        rng = np.random.default_rng(seed)
        chance, another = rng.beta(*TASTE, (2, POPULATION))
        before = rng.binomial(DAYS, chance)
        after = rng.binomial(DAYS, np.where(rng.random(POPULATION) < TURNED, another, chance))
        kept = (TASTE[0] + before) / (sum(TASTE) + DAYS)
        return cls(after.astype(float), DAYS * ((1 - TURNED) * kept + TURNED * TASTE[0] / sum(TASTE)))

    @property
    def explained(self):
        """Share of the outcome's variance that the prediction takes out."""
        return np.corrcoef(self.days, self.predicted)[0, 1] ** 2


class Sums(NamedTuple):
    """Of users of an arm: (tests, arms, …)."""

    n: np.ndarray
    y: np.ndarray
    yy: np.ndarray
    x: np.ndarray
    xx: np.ndarray
    xy: np.ndarray

    @classmethod
    def running(cls, y, x):
        """After each user, along the last axis."""
        parts = (y, y * y, x, x * x, x * y)
        return cls(np.arange(1.0, y.shape[-1] + 1), *(np.cumsum(part, axis=-1) for part in parts))

    def at(self, users):
        """When so many users are known."""
        return Sums(self.n[users - 1], *(part[..., users - 1] for part in self[1:]))

    def less(self, other):
        return Sums(*(one - two for one, two in zip(self, other, strict=True)))


def plain(sums):
    """Effect, standard error and Welch's degrees of freedom; (tests, …)."""
    mean = sums.y / sums.n
    square = (sums.yy - sums.n * mean**2) / (sums.n - 1) / sums.n
    se = np.sqrt(square.sum(1))
    return mean[:, 1] - mean[:, 0], se, se**4 / (square**2 / (sums.n - 1)).sum(1)


def adjusted(sums):
    """Effect and standard error with the slope on the prediction, over both arms, taken out."""
    n, y, _, x, xx, xy = (np.broadcast_to(part, sums.y.shape).sum(1) for part in sums)
    slope = ((xy - x * y / n) / (xx - x**2 / n))[:, None]
    mean_y, mean_x = sums.y / sums.n, sums.x / sums.n
    rest = mean_y - slope * mean_x
    of_y = (sums.yy - sums.n * mean_y**2) / (sums.n - 1)
    of_x, of_both = sums.xx / sums.n - mean_x**2, sums.xy / sums.n - mean_x * mean_y
    square = of_y + slope**2 * of_x - 2 * slope * of_both
    return rest[:, 1] - rest[:, 0], np.sqrt((square / sums.n).sum(1))


def cohorts(sums):
    """Effect and standard error of the plain differences of cohorts, joined by inverse variance."""
    ends = np.arange(1, COHORTS + 1) * USERS // COHORTS
    within = [
        sums.at(ends[:1]),
        *(sums.at(ends[at : at + 1]).less(sums.at(ends[at - 1 : at])) for at in range(1, COHORTS)),
    ]
    effect, se, _ = (np.concatenate(part, axis=-1) for part in zip(*map(plain, within), strict=True))
    weight = 1 / se**2
    return (weight * effect).sum(-1) / weight.sum(-1), weight.sum(-1) ** -0.5


def looks():
    """Users of an arm known on each day of enrolment."""
    known = np.cumsum(FALL ** np.arange(ENROLMENT_DAYS))
    return np.unique(np.maximum(np.round(USERS * known / known[-1]).astype(int), FIRST))


def drawn(population, rng, tests, effect):
    """Outcomes and predictions of (tests, arms, users)."""
    which = rng.integers(POPULATION, size=(tests, 2, USERS), dtype=np.int32)
    y, x = population.days[which], population.predicted[which]
    y[:, 1] += effect
    return y, x


def rejected(y, x, rng, bounds):
    """Which tests reject, by name: (tests,) each."""
    sums = Sums.running(y, x - x.mean((1, 2), keepdims=True))
    end = sums.at(np.array([USERS]))
    effect, se, freedom = (part[:, 0] for part in plain(end))
    out = {"plain": np.abs(effect / se) > stats.t.ppf(1 - ALPHA / 2, freedom)}
    effect, se = (part[:, 0] for part in adjusted(end))
    out["adjusted"] = np.abs(effect / se) > normal(1 - ALPHA)
    effect, se = cohorts(sums)
    out["four cohorts joined"] = np.abs(effect / se) > normal(1 - ALPHA)
    treated = rng.binomial(2 * USERS, 0.5, len(y))
    out["sample ratio"] = 2 * (treated - USERS) ** 2 / USERS > stats.chi2.ppf(1 - ALPHA, 1)
    daily, pairs = looks(), np.arange(FIRST, USERS + 1)
    effect, se = adjusted(sums.at(daily))
    z = np.abs(effect / se)
    for name in ("group-sequential, every day", "always valid, every day"):
        out[name] = (z >= bounds[name]).any(1)
    out["fixed test read every day"] = (z >= normal(1 - ALPHA)).any(1)
    effect, se = adjusted(sums.at(pairs))
    z = np.abs(effect / se)
    out["always valid, every pair of users"] = (z >= bounds["always valid, every pair of users"]).any(1)
    out["fixed test read after every pair of users"] = (z >= normal(1 - ALPHA)).any(1)
    return out


def bounds_of_looks():
    daily, pairs = looks() / USERS, np.arange(FIRST, USERS + 1) / USERS
    return {
        "group-sequential, every day": group_sequential(daily, alpha=ALPHA),
        "always valid, every day": always_valid(daily, alpha=ALPHA),
        "always valid, every pair of users": always_valid(pairs, alpha=ALPHA),
    }


def disagreement(population, seed, tests):
    """Largest difference between what is computed at once here and one by one by `reward.experiments`."""
    rng = np.random.default_rng(seed)
    y, x = drawn(population, rng, tests, 0.1)
    sums = Sums.running(y, x - x.mean((1, 2), keepdims=True))
    end = sums.at(np.array([USERS]))
    ours = {"plain": plain(end)[:2], "adjusted": adjusted(end)}
    joined = cohorts(sums)
    worst = 0.0
    names = {"control": "off", "treated": "on"}
    for test in range(tests):
        frame = pl.DataFrame(
            {
                "arm": ["off"] * USERS + ["on"] * USERS,
                "y": y[test].ravel(),
                "x": x[test].ravel(),
                "cohort": np.tile(np.arange(USERS) // (USERS // COHORTS), 2),
            }
        )
        for name, covariate in (("plain", None), ("adjusted", "x")):
            found = compare(frame, "y", **names, covariate=covariate)
            effect, se = (part[test, 0] for part in ours[name])
            worst = max(worst, abs(found.effect - effect), abs(found.se - se))
        parts = [compare(frame.filter(pl.col("cohort") == cohort), "y", **names) for cohort in range(COHORTS)]
        told = join_cohorts([part.effect for part in parts], [part.se for part in parts])
        worst = max(worst, abs(told.effect - joined[0][test]), abs(told.se - joined[1][test]))
        treated = int(rng.binomial(2 * USERS, 0.5))
        arms = pl.DataFrame({"arm": ["off"] * (2 * USERS - treated) + ["on"] * treated})
        chance = stats.chi2.sf(2 * (treated - USERS) ** 2 / USERS, 1)
        worst = max(worst, abs(sample_ratio(arms, {"off": 0.5, "on": 0.5}) - chance))
    return worst


def rates(population, seed, tests, effect, progress=iter):
    """Share of tests that reject, by name."""
    rng = np.random.default_rng(seed)
    bounds = bounds_of_looks()
    count = {}
    for start in progress(range(0, tests, CHUNK)):
        for name, which in rejected(*drawn(population, rng, min(CHUNK, tests - start), effect), rng, bounds).items():
            count[name] = count.get(name, 0) + int(which.sum())
    return {name: total / tests for name, total in count.items()}


def report(level, power, tests, worst, effect):
    """The rows, and the table."""
    table = Table(
        title=f"{tests:,} tests of {USERS:,} users an arm at {ALPHA:.0%}: share that rejects (standard error)"
    )
    for name in ("test", "no effect", f"an effect of {effect:.3f} days"):
        table.add_column(name)
    rows = []

    def tell(name, metric, rate, goal, holds):
        se = float(np.sqrt(rate * (1 - rate) / tests))
        met = None if holds is None else bool(holds(rate))
        rows.append(result_row(name, metric, rate, se, goal=goal, met=met))
        return f"{rate:.4f} ({se:.4f})" + {True: " ok", False: " [red]no[/red]", None: ""}[met]

    for name in (*FIXED, *SEQUENTIAL):
        level_goal = LEVELS["level"] if name in FIXED else SEQUENTIAL[name]
        cells = [tell(name, "rejects without an effect", level[name], *level_goal)]
        if name == "sample ratio":
            cells.append("")
        else:
            goal = PLANNED if name == "adjusted" else (None, None)
            cells.append(tell(name, "rejects with the planned effect", power[name], *goal))
        table.add_row(name, *cells, end_section=name == FIXED[-1])
    rows.append(result_row("formulas", DIFFERENCE, worst, goal="<= 1e-9", met=worst <= 1e-9))
    return rows, table


def main(arguments=None):
    bench = Benchmark(globals(), SMOKE)
    bench.add("--tests", type=int, default=100_000)
    bench.add("--one-by-one", type=int, default=20, help="tests that also go through reward.experiments")
    bench.add("--seed", type=int, default=0)
    chosen = bench.parse(arguments)
    population = Population.drawn(chosen.seed)
    setting = {"horizon_days": DAYS, "explained": population.explained, "alpha": ALPHA, "power": POWER}
    daily = FALL ** np.arange(ENROLMENT_DAYS)
    daily *= 2 * USERS / daily.sum()
    effect = schedule(1.0, population.days.std(), daily, **setting)["detectable"][-1]
    made = plan(effect * (1 + 1e-9), population.days.std(), daily, **setting)
    bench.say(
        f"outcome {population.days.mean():.2f} days of {DAYS}, sd {population.days.std():.2f}; the prediction explains "
        f"{population.explained:.0%} of the variance; planned: {made.users:,} users for {effect:.3f} days, "
        f"{made.enrolment_days} days of enrolment, {made.days} in all"
    )
    found = [
        rates(population, chosen.seed + at, chosen.tests, size, partial(bench.progress, what=what))
        for at, (size, what) in enumerate(((0.0, "no effect"), (effect, "planned effect")), 1)
    ]
    worst = disagreement(population, chosen.seed + 3, chosen.one_by_one)
    rows, table = report(*found, chosen.tests, worst, effect)
    bench.say(f"largest difference from reward.experiments itself: {worst:.1e}")
    bench.finish(rows, show=table)


if __name__ == "__main__":
    main()
