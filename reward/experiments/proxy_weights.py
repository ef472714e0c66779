"""Proxy weights: how effects on signals foretell the effect on the north star, learned from past experiments.

The slope of true effects on true effects, ``β = Λ_SS⁻¹ Λ_SY`` with Λ the covariance of true effects over experiments.
Estimated effects have the covariance Λ + Ω: the errors of one arm's metrics come from the same users and are
correlated, so that the regression of estimates on estimates (`naive`) learns what moves users apart, however many
experiments there are. The three others take Ω out.

Source: Bibaut, Chou, Ejdemyr and Kallus, Learning the Covariance of Treatment Effects Across Many Weak Experiments,
KDD 2024 (arXiv 2402.17637).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import polars as pl

from reward.arrays import Doubles
from reward.experiments.table import Experiments
from reward.statistics.intervals import check_level, student


@dataclass(frozen=True)
class ProxyWeights:
    """Weights of signals, with their errors.

    Attributes:
        method: the estimator.
        signals: what the weights are of.
        north_star: what they foretell.
        weights: (signals,) in units of the north star for one unit of the signal.
        covariance: (signals, signals) of the weights, by the jackknife over experiments.
        low: (signals,) lower end of each weight's interval; infinite where the experiments cannot bound it.
        high: (signals,) upper end.
        held_out: (arms, signals) weights learned without the arm's own experiment: what a proxy is judged with.
        strength: what is seen of the effects, over what noise alone would show, in the combination of signals where
            that is least; an F statistic over all arms. At 1 the experiments tell nothing of that combination; below
            2, take the intervals with care.
    """

    method: str
    signals: tuple[str, ...]
    north_star: str
    weights: Doubles
    covariance: Doubles
    low: Doubles
    high: Doubles
    held_out: Doubles
    strength: float

    @property
    def se(self) -> Doubles:
        """(signals,) standard errors."""
        return np.sqrt(np.diagonal(self.covariance))

    def table(self) -> pl.DataFrame:
        """A row for each signal: its weight, standard error and interval."""
        numbers = {"weight": self.weights, "se": self.se, "low": self.low, "high": self.high}
        return pl.DataFrame({"method": self.method, "signal": self.signals, **numbers})


class Sums(NamedTuple):
    """What the estimators read of arms: sums, so that leaving an experiment out is a subtraction.

    Weights of arms are their sizes w: ``w · Ω`` is one user's covariance, whatever the size. Leading dimensions are
    free; M metrics, the last of which is the north star.
    """

    arms: Doubles  # (...)
    weight: Doubles  # (...) Σ w
    first: Doubles  # (..., M) Σ w θ̂
    second: Doubles  # (..., M, M) Σ w θ̂ θ̂ᵀ
    noise: Doubles  # (..., M, M) Σ w Ω
    heavy: Doubles  # (..., M, M) Σ w² Ω

    def total(self) -> Doubles:
        """(..., M, M) Σ w (θ̂ − θ̄)(θ̂ − θ̄)ᵀ, with θ̄ the weighted mean."""
        return self.second - self.first[..., :, None] * self.first[..., None, :] / self._weight()

    def own(self) -> Doubles:
        """(..., M, M) what noise adds to `total`, each arm with its own sampling covariance.

        Of θ̄ as if arms had no control in common: off by one part in the number of experiments where they have.
        """
        return self.noise - self.heavy / self._weight()

    def pooled(self) -> Doubles:
        """(..., M, M) what noise adds to `total`, where one user's covariance is the same in all arms."""
        return self.heavy / self._weight() * (self.arms[..., None, None] - 1)

    def _weight(self) -> Doubles:
        return self.weight[..., None, None]


Spread = Callable[[Sums], Doubles]  # (..., M, M): effects' spread over experiments, up to a factor


def sums_by_experiment(table: Experiments) -> Sums:
    """(experiments, …) sums over each experiment's arms, of effects around their weighted mean.

    `Sums.total` and what is made of it are the same around any point; around this one large effects do not cancel.
    """
    w, omega = table.size / table.size.max(), table.covariance
    theta = table.effects - w @ (table.effects / w.sum())
    parts = (
        np.ones(len(table)),
        w,
        w[:, None] * theta,
        w[:, None, None] * theta[:, :, None] * theta[:, None, :],
        w[:, None, None] * omega,
        (w**2)[:, None, None] * omega,
    )
    out = []
    for part in parts:
        summed = np.zeros((table.experiments, *part.shape[1:]))
        np.add.at(summed, table.experiment, part)
        out.append(summed)
    return Sums(*out)


def naive(
    table: Experiments, north_star: str, signals: Sequence[str] | None = None, *, level: float = 0.95
) -> ProxyWeights:
    """Least squares of estimated effects on estimated effects: ``A_SS⁻¹ A_SY``, A the spread of what was estimated.

    Biased towards how users differ, by the share of noise in the signals; only to stand beside the others.

    Args:
        table: past experiments.
        north_star: the metric to foretell.
        signals: metrics to foretell it by; None: all others.
        level: of the intervals.

    Raises:
        ValueError: an unknown metric, the north star among the signals, or too few experiments.
    """
    return _learn("naive", seen, table, north_star, signals, level)


def total_covariance(
    table: Experiments, north_star: str, signals: Sequence[str] | None = None, *, level: float = 0.95
) -> ProxyWeights:
    """Total covariance minus the sampling covariance, taken to be one user's covariance Σ over each arm's size.

    ``β = (A − N)_SS⁻¹ (A − N)_SY`` with A the weighted spread of the estimated effects around their mean and N what
    noise adds to it; Σ is pooled over arms. Right where users vary alike in all experiments (homoskedasticity).

    Args: see `naive`.

    Raises:
        ValueError: see `naive`; or the experiments show no more of a combination of signals than noise would.

    Source: Bibaut et al. 2024, the total covariance estimator, a k-class estimator.
    """
    return _learn("total covariance", beyond_pooled, table, north_star, signals, level)


def jive(
    table: Experiments, north_star: str, signals: Sequence[str] | None = None, *, level: float = 0.95
) -> ProxyWeights:
    """Jackknife instrumental variables: an arm's mean without a user foretells that user, in all pairs of users.

    ``β = J_SS⁻¹ J_SY`` with ``J = Σ_k w_k Σ_{i≠j} x_i x_jᵀ / (n (n − 1))`` over the users of each arm. Leaving out the
    pairs of a user with themselves is the same as taking each arm's own unbiased sampling covariance out of the
    product of its means, which is how it is computed: ``x̄ x̄ᵀ − S / n``. Users may vary differently in each arm.

    Args: see `naive`.

    Raises:
        ValueError: see `total_covariance`.

    Source: Bibaut et al. 2024; Angrist, Imbens and Krueger 1999, Jackknife instrumental variables estimation.
    """
    return _learn("JIVE", beyond_own, table, north_star, signals, level)


def liml(
    table: Experiments, north_star: str, signals: Sequence[str] | None = None, *, level: float = 0.95
) -> ProxyWeights:
    """Limited information maximum likelihood: total least squares once noise is made round.

    Minimises ``bᵀ A b / bᵀ N b`` over b = (−β, 1): the direction in which the estimates vary least beyond their
    noise. Where signals carry the whole effect this is β, with less error than the others. Where treatments also
    reach the north star past the signals it is another number: it then fits the scatter in both directions.

    Args: see `naive`.

    Raises:
        ValueError: see `naive`.

    Source: Bibaut et al. 2024; with each arm's own covariance, Hausman et al. 2012, Instrumental variable estimation
    with heteroskedasticity and many instruments.
    """
    return _learn("LIML", beyond_least, table, north_star, signals, level)


METHODS = (naive, total_covariance, jive, liml)


def all_weights(
    table: Experiments, north_star: str, signals: Sequence[str] | None = None, *, level: float = 0.95
) -> pl.DataFrame:
    """The four estimates side by side: a row for each method and signal."""
    return pl.concat([method(table, north_star, signals, level=level).table() for method in METHODS])


def seen(sums: Sums) -> Doubles:
    """``A``: the spread of the estimates, noise and all."""
    return sums.total()


def beyond_pooled(sums: Sums) -> Doubles:
    """``A − N`` with N by the pooled covariance."""
    return sums.total() - sums.pooled()


def beyond_own(sums: Sums) -> Doubles:
    """``A − N`` with N by each arm's own covariance."""
    return sums.total() - sums.own()


def beyond_least(sums: Sums) -> Doubles:
    """``A − κ N`` with κ the least eigenvalue of A relative to N: LIML as a member of the k-class."""
    own = sums.own()
    return sums.total() - _relative(sums.total(), own)[..., None, None] * own


def slopes(spread: Doubles) -> Doubles:
    """``S_SS⁻¹ S_SY``, (..., M, M) -> (..., M − 1)."""
    return np.asarray(np.linalg.solve(spread[..., :-1, :-1], spread[..., :-1, -1:])[..., 0], np.float64)


class Slopes(NamedTuple):
    """Weights with what the jackknife over experiments says of them; see `jackknife`."""

    weights: Doubles  # (..., M − 1)
    covariance: Doubles  # (..., M − 1, M − 1)
    low: Doubles  # (..., M − 1)
    high: Doubles  # (..., M − 1)
    without: Doubles  # (..., experiments, M − 1)


def jackknife(spread: Spread, by_experiment: Sums, *, level: float) -> Slopes:
    """Weights, their covariance and their intervals, by leaving out one experiment at a time.

    Experiments are what varies independently: it holds for any dependence within them, any distribution of effects
    and any number of weak ones. A weight is a ratio, of what its signal shares with the north star to what the
    signal varies by, each beside the other signals: ``β_j = n_j / d_j``. Where effects are weak d_j is uncertain and
    the ratio is askew, so that the interval is Fieller's, ``{b : (n_j − b d_j)² ≤ t² Var(n_j − b d_j)}`` with t of
    Student: unbounded where d_j cannot be told from 0. The covariance is
    ``(G − 1) / G · Σ_g (β₍₋g₎ − β̄)(β₍₋g₎ − β̄)ᵀ``.

    Args:
        spread: the estimator.
        by_experiment: (..., G, ·) sums.
        level: of the intervals.

    Source: Efron and Stein 1981, The jackknife estimate of variance; Fieller 1954, Some problems in interval
    estimation.
    """
    axis = by_experiment.arms.ndim - 1
    total = Sums(*(part.sum(axis, keepdims=True) for part in by_experiment))
    whole = spread(total)
    parts = spread(Sums(*(every - one for every, one in zip(total, by_experiment, strict=True))))
    groups = parts.shape[-3]
    without = slopes(parts)
    factor = (groups - 1) / groups
    apart = without - without.mean(-2, keepdims=True)
    t = student(level, groups - 1)
    shared, varies = (each[..., 0, :] for each in _ratio(whole))
    n, d = (each - each.mean(-2, keepdims=True) for each in _ratio(parts))
    var_n, cov, var_d = (factor * (one * other).sum(-2) for one, other in ((n, n), (n, d), (d, d)))
    square = varies**2 - t**2 * var_d
    middle = shared * varies - t**2 * cov
    root = np.sqrt(np.maximum(middle**2 - square * (shared**2 - t**2 * var_n), 0))
    known = square > 0
    divisor = np.where(known, square, 1.0)
    return Slopes(
        slopes(whole)[..., 0, :],
        factor * np.swapaxes(apart, -1, -2) @ apart,
        np.where(known, (middle - root) / divisor, -np.inf),
        np.where(known, (middle + root) / divisor, np.inf),
        without,
    )


def strength_of(sums: Sums) -> Doubles:
    """(...) least eigenvalue of the signals' A relative to their N."""
    return _relative(sums.total()[..., :-1, :-1], sums.own()[..., :-1, :-1])


def _ratio(spread: Doubles) -> tuple[Doubles, Doubles]:
    """(..., M − 1) n and d of each weight: ``d_j = 1 / (S_SS⁻¹)_jj``, n_j the same of the weight."""
    varies = 1 / np.einsum("...ii->...i", np.linalg.inv(spread[..., :-1, :-1]))
    return slopes(spread) * varies, varies


def _relative(spread: Doubles, noise: Doubles) -> Doubles:
    """(...) least eigenvalue of ``noise⁻¹ spread``."""
    inverse = np.linalg.inv(np.linalg.cholesky(noise))
    return np.asarray(np.linalg.eigvalsh(inverse @ spread @ np.swapaxes(inverse, -1, -2))[..., 0], np.float64)


def _learn(
    method: str, spread: Spread, table: Experiments, north_star: str, signals: Sequence[str] | None, level: float
) -> ProxyWeights:
    names = tuple(name for name in table.metrics if name != north_star) if signals is None else tuple(signals)
    if north_star in names or not names:
        raise ValueError(f"signals expected other metrics than the north star {north_star}, got {', '.join(names)}")
    needed = len(names) + 3
    if table.experiments < needed:
        raise ValueError(
            f"weights of {len(names)} signals expected at least {needed} experiments, got {table.experiments}: ask of "
            "fewer signals, or add experiments"
        )
    check_level(level)
    chosen = table.of([*names, north_star])
    unit = np.sqrt(np.einsum("kii->ki", chosen.covariance).max(axis=0))  # of each metric: units may be far apart
    chosen = replace(chosen, effects=chosen.effects / unit, covariance=chosen.covariance / np.outer(unit, unit))
    by_experiment = sums_by_experiment(chosen)
    sums = Sums(*(part.sum(0) for part in by_experiment))
    try:
        strength = float(strength_of(sums))
        if np.linalg.eigvalsh(spread(sums)[:-1, :-1])[0] <= 0:
            raise ValueError(
                f"{method} expected effects on every combination of {', '.join(names)}, and of one of them the "
                f"estimates vary no more than noise would make them (strength {strength:.2f}): ask of fewer signals, "
                "or add experiments"
            )
        found = jackknife(spread, by_experiment, level=level)
    except np.linalg.LinAlgError as error:
        raise ValueError(
            f"{method} expected experiments that tell {', '.join(names)} apart, also when one of them is left out, and "
            "they do not: ask of fewer signals, or add experiments"
        ) from error
    per_signal = unit[-1] / unit[:-1]
    return ProxyWeights(
        method,
        names,
        north_star,
        found.weights * per_signal,
        found.covariance * np.outer(per_signal, per_signal),
        found.low * per_signal,
        found.high * per_signal,
        found.without[table.experiment] * per_signal,
        strength,
    )
