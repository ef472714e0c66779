"""Do intervals of off-policy estimates hold the truth as often as they say? And those of an estimate that was chosen?

A made-up service with two kinds of users and twenty items, logged propensities, and a policy that knows no users and
leans on what items are truly worth. Told of its change against the policy that ran, over draws of the service and its
log: how often the 95% interval holds the true change, half its width, and the squared error, of

* *unclipped*: doubly robust with a model that foretells half of what users differ in, and nothing of items;
* *chosen*: of that and of it clipped at 1, 2, 3, 5 and 8, the one `select_estimator` takes, with its own interval;
* *chosen, bias told*: the same with the estimated bias in its interval, ± 1.96 √(estimated squared error).

Items' worth, users and noise are normal; what varies is how far users' kinds are shown different things, how far the
policy leans, the rows and the noise.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
from harness import Benchmark, Row, Smoke, mean_and_se, result_row

from reward.off_policy.doubly_robust import clipped_doubly_robust, doubly_robust
from reward.off_policy.estimate import Refusal
from reward.off_policy.feedback import LoggedFeedback
from reward.off_policy.ips import ips
from reward.off_policy.selection import select_estimator
from reward.statistics.intervals import normal

SMOKE = Smoke("--simulations 10")
ITEMS, ROWS_A_USER, WORTH, FORETOLD = 20, 20, 0.3, 0.5
MOST = (1.0, 2.0, 3.0, 5.0, 8.0)
LEAST_EFFECTIVE_ROWS, LEVEL = 100, 0.95
UNCLIPPED, CHOSEN, TOLD = KINDS = ("unclipped", "chosen", "chosen, bias told")
GOAL = (0.93, 0.97)


class Case(NamedTuple):
    """Rows of a log, spread of the log odds of showing an item, strength of the policy's lean, noise of a row."""

    rows: int
    spread: float
    lean: float
    noise: float

    def __str__(self) -> str:
        return f"n = {self.rows:,}, spread {self.spread:g}, lean {self.lean:g}, noise {self.noise:g}"


CASES = (
    Case(1_000, 0.7, 0.5, 5.0),
    Case(1_000, 1.2, 0.5, 1.0),
    Case(4_000, 0.7, 0.5, 1.0),
    Case(4_000, 1.2, 1.0, 3.0),
    Case(40_000, 0.7, 0.5, 1.0),
    Case(40_000, 1.2, 0.5, 1.0),
)


def simulated(case: Case, seed: int) -> dict[str, tuple[float, float]] | None:
    """Error and half width of each kind of interval; None where the weights are refused."""
    draws = np.random.default_rng(seed)
    odds = np.exp(draws.normal(0, case.spread, (2, ITEMS)))
    logging = odds / odds.sum(axis=1, keepdims=True)
    worth = WORTH * draws.normal(size=ITEMS)
    user = draws.integers(case.rows // ROWS_A_USER, size=case.rows)
    kind = user % 2
    item = (logging[kind].cumsum(axis=1) > draws.random((case.rows, 1))).argmax(axis=1)
    policy = logging.mean(axis=0) * np.exp(case.lean / WORTH * worth)
    policy /= policy.sum()
    own = draws.normal(size=user.max() + 1)[user]
    reward = own + worth[item] + draws.normal(0, case.noise, case.rows)
    rows = LoggedFeedback(
        reward=reward, propensity=logging[kind, item], user=user, min_effective_sample_size=LEAST_EFFECTIVE_ROWS
    )
    target, model, ran = policy[item], (FORETOLD * own, FORETOLD * own), ips(rows, rows.propensity)
    candidates = {UNCLIPPED: lambda: doubly_robust(rows, target, *model).minus(ran)}
    for most in MOST:
        clipped = partial(clipped_doubly_robust, rows, target, *model, most=most)
        candidates[f"at {most:g}"] = lambda clipped=clipped: clipped().minus(ran)
    try:
        unclipped, chosen = candidates[UNCLIPPED](), select_estimator(candidates, reference=UNCLIPPED)
    except Refusal:
        return None
    true = float(policy @ worth - (logging[kind] @ worth).mean())
    z, guess = normal(LEVEL), chosen.estimate
    return {
        UNCLIPPED: (unclipped.value - true, unclipped.interval(LEVEL)[1] - unclipped.value),
        CHOSEN: (guess.value - true, guess.interval(LEVEL)[1] - guess.value),
        TOLD: (guess.value - true, z * chosen.squared_error[chosen.name] ** 0.5),
    }


def rows_of(case: Case, found: list[dict[str, tuple[float, float]]], refused: int) -> list[Row]:
    """Coverage, half width and squared error of each kind, and how many simulations were refused."""
    rows = []
    for kind in KINDS:
        error, half = np.array([each[kind] for each in found]).T
        held = np.abs(error) <= half
        told = {"covered": held, "half width": half} | ({} if kind == TOLD else {"squared error": error**2})
        for metric, values in told.items():
            ours, se = mean_and_se(values)
            goal = f"{GOAL[0]:g} to {GOAL[1]:g}" if kind == UNCLIPPED and metric == "covered" else None
            rows.append(result_row(str(case), f"{kind}, {metric}", ours, se, None, goal, GOAL[0] <= ours <= GOAL[1]))
    squares = {kind: np.array([each[kind][0] for each in found]) ** 2 for kind in (UNCLIPPED, CHOSEN)}
    ratio = float(squares[CHOSEN].mean() / squares[UNCLIPPED].mean())
    pull = (squares[CHOSEN] - ratio * squares[UNCLIPPED]) / squares[UNCLIPPED].mean()
    rows.append(result_row(str(case), "squared error, chosen over unclipped", ratio, mean_and_se(pull)[1]))
    return [*rows, result_row(str(case), "refused", refused / (refused + len(found)))]


def main(arguments: list[str] | None = None) -> None:
    bench = Benchmark(globals(), SMOKE)
    bench.add("--simulations", type=int, default=1000, help="of each case")
    bench.add("--first-seed", type=int, default=0, help="of the simulations")
    chosen = bench.parse(arguments)
    rows = []
    for case in CASES:
        seeds = range(chosen.first_seed, chosen.first_seed + chosen.simulations)
        found = [simulated(case, seed) for seed in bench.progress(seeds, str(case))]
        told = [each for each in found if each is not None]
        rows += rows_of(case, told, len(found) - len(told))
    bench.finish(rows)


if __name__ == "__main__":
    main()
