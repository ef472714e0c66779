"""Do off-policy intervals hold the truth where the weights leave few rows? Of what is not refused, in four bandits.

Near the floor of effective rows an estimate passes more easily when the log has missed the heaviest weights, and then
both the estimate and its standard error are low. So what passes is judged, and not what is drawn: over draws of four
made-up services, none of them among those that the rule was found on, how often the 95% interval of an estimate that
was not refused holds the truth, and how many are refused. Each service runs near the floor, and far from it.

* *kinds*: two kinds of users, twenty items, rewards that are normal, and many rows a user.
* *contexts*: users of four features and twelve items, a target policy that likes what is rarely shown, and clicks.
* *catalogue*: four hundred items of very uneven popularity, a target that leans on what they are worth, and days.
* *doses*: an action that is a number, and a reward that peaks where the target policy goes.

"Floor alone" is the same log judged by its effective rows and with the standard error alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from harness import Benchmark, Row, Smoke, result_row, share_and_se
from numpy.typing import NDArray

from reward.arrays import Doubles
from reward.off_policy.doubly_robust import doubly_robust
from reward.off_policy.estimate import Estimate, MeanWeightOff, TooFewEffectiveRows
from reward.off_policy.feedback import LoggedFeedback
from reward.off_policy.ips import ips, snips
from reward.off_policy.paired_difference import difference_from_level
from reward.statistics.intervals import normal

SMOKE = Smoke("--simulations 60")
LEAST_EFFECTIVE_ROWS, LEVEL, NEAR = 100, 0.95, 200
GOAL = 0.93
_CONTEXTS = 20_000
ESTIMATORS = ("IPS", "SNIPS", "DR", "difference from level")


class Drawn(NamedTuple):
    """A log and a policy: rewards, propensities, users, the target's chances, a model, and what is true.

    ``model`` is what is expected of any action before it is known; ``worth`` the target policy's, ``ran`` that of the
    policy that ran.
    """

    reward: Doubles
    propensity: Doubles
    user: NDArray[np.int64] | None
    target: Doubles
    model: Doubles
    worth: float
    ran: float


Service = Callable[[np.random.Generator, bool], Drawn]


def kinds(draws: np.random.Generator, near: bool) -> Drawn:
    spread, lean, rows = (1.9, 1.5, 4_000) if near else (0.7, 0.5, 4_000)
    logging = _softmax(draws.normal(0, spread, (2, 20)))
    worth = 0.3 * draws.normal(size=20)
    user = draws.integers(rows // 20, size=rows)
    kind, own = user % 2, draws.normal(size=rows // 20)[user]
    item = _drawn(logging[kind], draws)
    policy = logging.mean(axis=0) * np.exp(lean / 0.3 * worth)
    policy /= policy.sum()
    reward = own + worth[item] + draws.normal(size=rows)
    true = policy @ worth, (logging @ worth).mean()
    return Drawn(reward, logging[kind, item], user, policy[item], 0.5 * own, *map(float, true))


def contexts(draws: np.random.Generator, near: bool) -> Drawn:
    spread, rows = (1.7, 4_000) if near else (0.8, 4_000)
    taste, other = draws.normal(size=(2, 4, 12)) / 2
    level = 1.8 - 0.4 * draws.normal(size=12)
    context = draws.normal(size=(_CONTEXTS, 4))  # those after the log's rows are for the truth alone
    logging = _softmax(spread * context @ taste)
    policy = _softmax(context @ (0.5 * other - 0.3 * spread * taste))
    chance = 1 / (1 + np.exp(level + context @ taste))
    true = ((each * chance).sum(axis=1).mean() for each in (policy, logging))
    item, at = _drawn(logging[:rows], draws), np.arange(rows)
    clicked = (draws.random(rows) < chance[at, item]).astype(np.float64)
    return Drawn(clicked, logging[at, item], None, policy[at, item], np.full(rows, 0.15), *map(float, true))


def catalogue(draws: np.random.Generator, near: bool) -> Drawn:
    lean, rows = (2.5, 6_000) if near else (0.6, 6_000)
    popular = draws.gamma(0.35, size=400)
    logging = 0.95 * popular / popular.sum() + 0.05 / 400
    worth = draws.normal(size=400)
    policy = logging * np.exp(lean * worth)
    policy /= policy.sum()
    item = draws.choice(400, rows, p=logging)
    days = 2.0 * np.exp(0.15 * worth)
    reward = draws.poisson(days[item]).astype(np.float64)
    return Drawn(
        reward, logging[item], None, policy[item], np.full(rows, 2.0), float(policy @ days), float(logging @ days)
    )


def doses(draws: np.random.Generator, near: bool) -> Drawn:
    """Densities take the place of chances: both are below 1."""
    shift, rows = (1.95, 5_000) if near else (0.7, 5_000)
    dose = draws.standard_normal(rows)
    logging, policy = (np.exp(-((dose - middle) ** 2) / 2) / np.sqrt(2 * np.pi) for middle in (0.0, shift))
    reward = 1 + np.exp(-((dose - shift) ** 2) / 2) + 0.5 * draws.normal(size=rows)
    # of N(m, 1), the mean of exp(−(x − s)² / 2) is exp(−(m − s)² / 4) / √2
    true = (1 + np.exp(-((middle - shift) ** 2) / 4) / np.sqrt(2) for middle in (shift, 0.0))
    return Drawn(reward, logging, None, policy, np.full(rows, 1.3), *map(float, true))


SERVICES: dict[str, Service] = {each.__name__: each for each in (kinds, contexts, catalogue, doses)}


class Told(NamedTuple):
    """Of one log: why it was refused, or its effective rows; and of each estimator the error, half width and se."""

    refused: str | None
    effective_sample_size: float
    errors: Doubles  # (estimators, 3)


def simulated(service: Service, near: bool, seed: int) -> Told:
    drawn = service(np.random.default_rng([seed, 17]), near)
    log: dict[str, Any] = {"reward": drawn.reward, "propensity": drawn.propensity, "user": drawn.user}
    refused = None
    try:
        ips(LoggedFeedback(**log, min_effective_sample_size=LEAST_EFFECTIVE_ROWS), drawn.target)
    except (TooFewEffectiveRows, MeanWeightOff) as error:
        refused = type(error).__name__
    rows = LoggedFeedback(**log, min_effective_sample_size=0, most_off=np.inf)
    found: list[Estimate] = [
        ips(rows, drawn.target),
        snips(rows, drawn.target),
        doubly_robust(rows, drawn.target, drawn.model, drawn.model),
        difference_from_level(rows, drawn.target),
    ]
    truths = [drawn.worth] * 3 + [drawn.worth - drawn.ran]
    errors = [
        (each.value - truth, each.interval(LEVEL)[1] - each.value, normal(LEVEL) * each.standard_error)
        for each, truth in zip(found, truths, strict=True)
    ]
    return Told(refused, found[0].effective_sample_size, np.array(errors))


def rows_of(what: str, found: list[Told]) -> list[Row]:
    """Shares that were refused, and of the rest the coverage of each estimator, all of it and that near the floor."""
    few, off = (
        np.array([each.refused == kind.__name__ for each in found]) for kind in (TooFewEffectiveRows, MeanWeightOff)
    )
    left, errors = np.array([each.effective_sample_size for each in found]), np.stack([each.errors for each in found])
    rows = [
        result_row(what, "refused, few effective rows", float(few.mean())),
        result_row(what, "refused, mean weight", float(off.mean())),
        result_row(what, "effective rows, median", float(np.median(left))),
    ]
    passed = {"": ~(few | off), f", below {NEAR} effective rows": ~(few | off) & (left < NEAR)}
    for place, name in enumerate(ESTIMATORS):
        error, half, plain = errors[:, place].T
        for label, which in passed.items():
            if which.sum() < 50:
                continue
            held = np.abs(error[which]) <= half[which]
            floor = ~few & (left < NEAR) if label else ~few
            before = float((np.abs(error[floor]) <= plain[floor]).mean())
            asked = {"goal": f"at least {GOAL:g}", "met": held.mean() >= GOAL}
            peers = {"floor alone": before}
            rows.append(result_row(what, f"{name}, covered{label}", *share_and_se(held), peers, **asked))
        which = passed[""]
        rows.append(result_row(what, f"{name}, half width over 1.96 se", float(np.median(half[which] / plain[which]))))
    return rows


def _softmax(logits: Doubles) -> Doubles:
    odds = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(odds / odds.sum(axis=-1, keepdims=True), np.float64)


def _drawn(chance: Doubles, draws: np.random.Generator) -> NDArray[np.int64]:
    return np.asarray((chance.cumsum(axis=1) > draws.random((len(chance), 1))).argmax(axis=1), np.int64)


def main(arguments: list[str] | None = None) -> None:
    bench = Benchmark(globals(), SMOKE)
    bench.add("--simulations", type=int, default=1000, help="of each service, near the floor and far")
    bench.add("--first-seed", type=int, default=100_000, help="of the simulations")
    chosen = bench.parse(arguments)
    rows = []
    for name, service in SERVICES.items():
        for near in (True, False):
            what = f"{name}, {'near the floor' if near else 'far from it'}"
            seeds = range(chosen.first_seed, chosen.first_seed + chosen.simulations)
            rows += rows_of(what, [simulated(service, near, seed) for seed in bench.progress(seeds, what)])
    bench.finish(rows)


if __name__ == "__main__":
    main()
