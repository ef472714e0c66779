"""Do proxy weights find the slope of true effects, and do their intervals cover it?

Many times over, a service's past experiments are simulated from effects whose covariance is known, and the weights of
two signals are learned by every method of `reward.experiments.proxy_weights`. Told are the bias of each, beside that of
the naive regression of estimates on estimates, and how often the 95% interval holds the truth.

Users differ in the signals and the north star together, with correlations that are not those of the effects; effects
are about as large as their errors; users vary more in some experiments than in others. The cases:

carried    the signals carry the whole effect to the north star
shared     so they do; three arms of each experiment share one control
skewed     so they do; each user's metrics are drawn, long-tailed, and read by `from_users`
direct     treatments reach the north star past the signals as well. LIML then estimates another slope, total least
           squares of the true effects, and is held against both
faint      as carried, with effects half as large as their errors: where it ends, held against no goal. Repetitions in
           which a method refuses to answer are counted and left out
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import polars as pl
from harness import Benchmark, Smoke, result_row
from rich.table import Table
from scipy.linalg import eigh

from reward.experiments.proxy_weights import METHODS, liml, naive
from reward.experiments.table import Experiments, from_users

SMOKE = Smoke("--repetitions 4", EXPERIMENTS=100)
SIGNALS, NORTH = ("short", "long"), "north star"
BETA = np.array([0.6, 0.3])
EFFECTS = np.array([[1.0, 0.3], [0.3, 1.0]])  # covariance of the effects on the signals, up to their strength
USERS = np.array([[1.0, 0.4, -0.3], [0.4, 1.0, 0.5], [-0.3, 0.5, 1.0]])  # of users' metrics
UNEVEN = 0.5  # standard deviation over experiments of the log of how much users vary
EXPERIMENTS = 200
LEVEL = 0.95
NAMES = dict(zip(METHODS, ("naive", "TC", "JIVE", "LIML"), strict=True))
OWN = "LIML, its own slope"
BIAS_GOAL, COVER_GOAL = 0.2, (0.93, 0.97)


@dataclass(frozen=True)
class Case:
    """How experiments are simulated."""

    arms: int = 1  # treated, beside one control
    users: tuple[int, int] = (2_000, 20_000)  # of an arm, from and to, even on a log scale
    strength: float = 1.5  # variance of the effects over that of their errors, in an experiment of middle size
    direct: float = 0.0  # variance of effects past the signals, over that of effects on a signal
    rows: bool = False  # users one by one
    judged: bool = True  # against the goals


CASES = {
    "carried": Case(),
    "shared": Case(arms=3),
    "skewed": Case(users=(100, 400), rows=True),
    "direct": Case(direct=0.25),
    "faint": Case(strength=0.5, judged=False),
}


def true_effects(case, rng):
    """(arms, 3) effects of all treated arms, on the signals and the north star."""
    count = EXPERIMENTS * case.arms
    signals = rng.normal(size=(count, 2)) @ np.linalg.cholesky(EFFECTS).T
    past = rng.normal(size=count) * np.sqrt(case.direct)
    return np.column_stack([signals, signals @ BETA + past]) * np.sqrt(case.strength * 2 / np.sqrt(np.prod(case.users)))


def sizes(case, rng):
    """(experiments,) users of each of an experiment's arms, and how much they vary."""
    low, high = np.log(case.users)
    users = np.exp(rng.uniform(low, high, EXPERIMENTS)).astype(int)
    return users, np.exp(UNEVEN * rng.normal(size=EXPERIMENTS) - UNEVEN**2 / 2)


def from_moments(case, rng):
    """A table whose arms' means and covariances are drawn from the laws that normal users give them."""
    effects = true_effects(case, rng).reshape(EXPERIMENTS, case.arms, 3)
    users, vary = sizes(case, rng)
    sides = case.arms + 1
    factor = np.linalg.cholesky(USERS) * np.sqrt(vary)[:, None, None, None]  # (experiments, 1, 3, 3)
    mean = np.einsum(
        "esab,esb->esa", np.broadcast_to(factor, (EXPERIMENTS, sides, 3, 3)), rng.normal(size=(EXPERIMENTS, sides, 3))
    )
    mean = mean / np.sqrt(users)[:, None, None]
    lower = np.tril(rng.normal(size=(EXPERIMENTS, sides, 3, 3)), -1)  # Bartlett's decomposition of a Wishart
    freedom = (users - 1)[:, None, None] - np.arange(3)
    lower[..., range(3), range(3)] = np.sqrt(rng.chisquare(np.broadcast_to(freedom, (EXPERIMENTS, sides, 3))))
    root = factor @ lower
    spread = root @ np.swapaxes(root, -1, -2) / (users - 1)[:, None, None, None] / users[:, None, None, None]
    seen = effects + mean[:, 1:] - mean[:, :1]
    return Experiments(
        (*SIGNALS, NORTH),
        np.repeat(np.arange(EXPERIMENTS), case.arms),
        seen.reshape(-1, 3),
        (spread[:, 1:] + spread[:, :1]).reshape(-1, 3, 3),
        np.repeat(users / 2, case.arms).astype(np.float64),
    )


def from_rows(case, rng):
    """A table read from users whose metrics have the long right tails of exponentials."""
    effects = true_effects(case, rng)
    users, vary = sizes(case, rng)
    experiment = np.repeat(np.arange(EXPERIMENTS), 2 * users)
    first = np.repeat(np.cumsum(2 * users) - 2 * users, 2 * users)
    treated = np.arange(len(experiment)) - first >= users[experiment]
    noise = (rng.exponential(size=(len(experiment), 3)) - 1) @ np.linalg.cholesky(USERS).T
    metrics = noise * np.sqrt(vary)[experiment, None] + effects[experiment] * treated[:, None]
    frame = pl.DataFrame(
        {
            "experiment": experiment,
            "arm": pl.Series(treated).replace_strict({False: "control", True: "treated"}, return_dtype=pl.String),
            "user_id": np.arange(len(experiment)),
            **dict(zip((*SIGNALS, NORTH), metrics.T, strict=True)),
        }
    )
    return from_users(frame, [*SIGNALS, NORTH], control="control")


def own_slope(case):
    """What LIML estimates: the least direction of the true effects' covariance relative to the users'."""
    cross = EFFECTS @ BETA
    full = np.block([[EFFECTS, cross[:, None]], [cross[None], BETA @ cross + case.direct]])
    least = eigh(full, USERS)[1][:, 0]
    return -least[:2] / least[2]


def simulate(case, repetitions, seed, progress=iter):
    """What each method found, by name: (found repetitions, signals) errors, covers and widths; and its strengths."""
    rng = np.random.default_rng(seed)
    truth = {**dict.fromkeys(NAMES.values(), BETA), OWN: own_slope(case)}
    found = {name: [] for name in truth}
    strength = []
    for _ in progress(range(repetitions)):
        table = from_rows(case, rng) if case.rows else from_moments(case, rng)
        for method, name in NAMES.items():
            try:
                weights = method(table, NORTH, SIGNALS, level=LEVEL)
            except ValueError:  # effects that cannot be told from noise
                continue
            for which in (name, OWN) if method is liml else (name,):
                covers = (weights.low <= truth[which]) & (truth[which] <= weights.high)
                found[which].append((weights.weights - truth[which], covers, weights.high - weights.low))
            if method is naive:
                strength.append(weights.strength)
    return {name: [np.array(part) for part in zip(*each, strict=True)] for name, each in found.items()}, strength


def report(results):
    """The rows, and their table."""
    table = Table(title=f"weights of two signals from {EXPERIMENTS} experiments: bias, and cover of the 95% interval")
    for name in ("case", "method", "signal", "bias (se)", "of naive", "cover (se)", "median width"):
        table.add_column(name)
    rows = []
    for case, (found, strength) in results.items():
        repetitions = len(strength)
        wrong = found[NAMES[naive]][0].mean(0)
        for name, (error, covers, width) in found.items():
            if name == OWN and not CASES[case].direct:
                continue
            judged = CASES[case].judged and name != NAMES[naive] and not (name == NAMES[liml] and CASES[case].direct)
            answers = len(error)
            if answers < repetitions:
                rows.append(result_row(f"{case}: {name}", "share refused", 1 - answers / repetitions))
            bias, bias_se = error.mean(0), error.std(0, ddof=1) / np.sqrt(answers)
            share, cover = np.abs(bias) / np.abs(wrong), covers.mean(0)
            cover_se = np.sqrt(cover * (1 - cover) / answers)
            for at, signal in enumerate(SIGNALS):
                peers = {} if name == NAMES[naive] else {"naive": float(wrong[at])}
                what = f"{case}: {name}, {signal}"
                small, covers = (
                    goal if judged else None for goal in (f"<= {BIAS_GOAL}", "{} to {}".format(*COVER_GOAL))
                )
                met = share[at] <= BIAS_GOAL, COVER_GOAL[0] <= cover[at] <= COVER_GOAL[1]
                relative = bias_se[at] / abs(wrong[at])
                rows += [
                    result_row(what, "bias", bias[at], bias_se[at], peers),
                    result_row(what, "bias / naive bias", share[at], relative, None, small, met[0]),
                    result_row(what, "cover of the 95% interval", cover[at], cover_se[at], None, covers, met[1]),
                ]
                mark = {True: " ok", False: " [red]no[/red]", None: ""}
                table.add_row(
                    *(case, name, signal),
                    f"{bias[at]:+.4f} ({bias_se[at]:.4f})",
                    f"{share[at]:.3f}" + mark[rows[-2]["met"]],
                    f"{cover[at]:.3f} ({cover_se[at]:.3f})" + mark[rows[-1]["met"]],
                    f"{np.median(width[:, at]):.3f}",
                )
        se = float(np.std(strength) / np.sqrt(repetitions))
        rows.append(result_row(case, "strength of the instruments", float(np.mean(strength)), se))
        table.add_section()
    return rows, table


def main(arguments=None):
    bench = Benchmark(globals(), SMOKE)
    bench.add("--cases", nargs="+", choices=CASES, default=list(CASES))
    bench.add("--repetitions", type=int, default=4000)
    bench.add("--seed", type=int, default=0)
    chosen = bench.parse(arguments)
    results = {
        case: simulate(CASES[case], chosen.repetitions, chosen.seed, partial(bench.progress, what=case))
        for case in chosen.cases
    }
    rows, table = report(results)
    for told in (told for told in rows if told["metric"] == "share refused"):
        bench.say(f"{told['what']} refused {told['ours']:.1%} of the repetitions")
    bench.finish(rows, show=table)
    bench.say("strength: " + ", ".join(f"{case} {np.mean(of):.2f}" for case, (_, of) in results.items()))


if __name__ == "__main__":
    main()
