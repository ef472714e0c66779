"""Off-policy estimators: what another policy would have been worth, from the log of the one that ran.

A row of a log is one action that the logging policy took: the reward that followed and the propensity, the chance that
the policy gave to that action there. The target policy is told by the chance that *it* gives to the same action.
Every estimator is a mean over rows of contributions, and returns them in an `Estimate`, which also says how many rows
the weights leave. There is no estimate but a `Refusal` where they leave too few (`TooFewEffectiveRows`), and where they
do not average 1 (`MeanWeightOff`): then the propensities are wrong, or the log has missed what the target policy does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from reward.arrays import Doubles, Ints
from reward.off_policy.feedback import MOST_ERRORS, LoggedFeedback
from reward.statistics.clustered import clustered_error
from reward.statistics.intervals import normal

TOP = 0.01  # of the rows, whose share of the weight is told
_UNSEEN = 3.0  # rows as heavy as the heaviest that may be missing: what was never seen has this bound at 95%


@dataclass(frozen=True)
class Estimate:
    """What a policy is worth, in the reward's unit for each row, and what that rests on.

    Attributes:
        value: the mean of the contributions.
        standard_error: of ``value``, users as clusters where the log has them; to first order, and as if what was
            predicted for a row had been learned without it.
        unseen: standard deviation of what rows that the log has missed would add to ``value``, see `estimate`.
        effective_sample_size: (Σ w)² / Σ w², so many equally weighted rows would be as good; the least over positions.
        top_share: of the weight, that of the heaviest 1% of the rows; the most over positions.
        mean_weight: 1 but for chance if propensities are right and the logging policy tries all that the target does;
            over positions, the one farthest from 1.
        rows: how many there are.
        contribution: (n,) what each row adds to ``value``, times n.
        cluster: how many users, and each row's; or rows.
    """

    value: float
    standard_error: float
    unseen: float
    effective_sample_size: float
    top_share: float
    mean_weight: float
    rows: int
    contribution: Doubles = field(repr=False, compare=False)
    cluster: tuple[int, Ints] = field(repr=False, compare=False)

    def interval(self, level: float) -> tuple[float, float]:
        """Normal interval that counts on rows the log has missed: ``value ± z · √(standard_error² + unseen²)``.

        Raises:
            ValueError: a level outside (0, 1).
        """
        half = normal(level) * float(np.hypot(self.standard_error, self.unseen))
        return self.value - half, self.value + half

    def minus(self, other: Estimate) -> Estimate:
        """Difference of two estimates on the same rows, with the standard error of the difference.

        Raises:
            ValueError: the other is of another number of rows.
        """
        if other.rows != self.rows:
            raise ValueError(f"expected two estimates on the same rows, got {self.rows} and {other.rows} rows")
        contribution = self.contribution - other.contribution
        return Estimate(
            float(contribution.mean()),
            clustered_error((self.cluster[1], contribution)),
            float(np.hypot(self.unseen, other.unseen)),
            min(self.effective_sample_size, other.effective_sample_size),
            max(self.top_share, other.top_share),
            max(self.mean_weight, other.mean_weight, key=lambda mean: abs(mean - 1)),
            self.rows,
            contribution,
            self.cluster,
        )


class Refusal(ValueError):  # noqa: N818  it is what happened, and not a mistake of the program's
    """The weights allow no estimate.

    Attributes:
        effective_sample_size, rows, top_share, mean_weight: see `Estimate`.
        brief: why, in some words.
    """

    def __init__(self, told: str, brief: str, weights: Weights) -> None:
        self.effective_sample_size, self.top_share, self.mean_weight, _, self.rows = weights
        self.brief = brief
        super().__init__(told)


class TooFewEffectiveRows(Refusal):
    """The weights leave too few rows for an estimate."""

    def __init__(self, weights: Weights, min_effective_sample_size: float) -> None:
        self.min_effective_sample_size = min_effective_sample_size
        super().__init__(
            f"expected at least {min_effective_sample_size:g} effective rows, got "
            f"{weights.effective_sample_size:.1f} of {weights.rows}: the heaviest 1% of the rows "
            f"hold {weights.top_share:.0%} of the weight, so the estimate would be theirs "
            "alone. Evaluate a policy nearer to the logging policy, take an estimator that weights "
            "less (clipped, switch doubly robust, long-term by short-term rewards), or log more rows with a policy "
            "that tries more",
            f"{weights.effective_sample_size:.1f} effective rows of {weights.rows:,}",
            weights,
        )


class MeanWeightOff(Refusal):
    """The weights do not average 1."""

    def __init__(self, weights: Weights) -> None:
        self.mean_error = weights.mean_error
        super().__init__(
            f"expected weights that average 1, got {weights.mean_weight:.3f} with a standard error of "
            f"{weights.mean_error:.3f}: the propensities are wrong, or the log has missed "
            "what the target policy does, and the standard error does not know it. Check the propensities, evaluate a "
            "policy nearer to the logging policy, take an estimator that weights less (clipped, switch doubly robust), "
            "or log more rows with a policy that tries more",
            f"weights that average {weights.mean_weight:.2f} and not 1",
            weights,
        )


class Weights(NamedTuple):
    """What is told of weights; see `Estimate`. ``mean_error`` is the standard error of ``mean_weight``."""

    effective_sample_size: float
    top_share: float
    mean_weight: float
    mean_error: float
    rows: int


def effective_sample_size(weight: npt.ArrayLike) -> Doubles:
    """Kish's effective sample size of each column, ``(Σ w)² / Σ w²``; 0 where all weights are.

    Args:
        weight: (n,) or (n, k), at least 0.

    Returns:
        () or (k,).

    Raises:
        ValueError: no rows, or weights that are not finite or below 0.

    Source:
        Kish (1965), Survey Sampling.

    >>> float(effective_sample_size([3.0, 1.0]))  # 4² / 10
    1.6

    """
    mass = _mass(weight)
    mass = np.ldexp(mass, -np.frexp(mass.max(axis=0))[1])  # squares of what is large would overflow
    squares = (mass**2).sum(axis=0)
    return np.divide(mass.sum(axis=0) ** 2, squares, out=np.zeros_like(squares), where=squares > 0)


def top_share(weight: npt.ArrayLike) -> Doubles:
    """Share of each column's weight that its heaviest 1% of the rows hold, one row at least; 1 where there is none.

    Args:
        weight: (n,) or (n, k), at least 0.

    Returns:
        () or (k,).

    Raises:
        ValueError: no rows, or weights that are not finite or below 0.

    >>> float(top_share([3.0, 1.0]))
    0.75

    """
    mass = _mass(weight)
    mass = np.sort(np.ldexp(mass, -np.frexp(mass.max(axis=0))[1]), axis=0)
    total, top = mass.sum(axis=0), mass[-int(np.ceil(TOP * len(mass))) :].sum(axis=0)
    return np.divide(top, total, out=np.ones_like(total), where=total > 0)


def estimate(
    rows: LoggedFeedback,
    contribution: Doubles,
    weight: Doubles,
    *,
    residual: Doubles | None = None,
    moved: Doubles | None = None,
    lowered: bool = False,
    normalised: bool = False,
) -> Estimate:
    """The mean of contributions, or a refusal.

    The heaviest row of a heavy-tailed weight stands for what the log has not seen. `Estimate.unseen` is the standard
    deviation of what three more rows like it would add, ``√3 · max w / n · (Σ w ρ⁴ / Σ w)^{1/4}`` with ρ what is
    weighted: the standard error is of the rows that were seen, and is low whenever ``value`` is.

    Args:
        rows: of the log.
        contribution: (n,).
        weight: (n,), or (n, k) of k positions or policies, each of which must leave rows enough and average 1.
        residual: ρ of ``moved``'s shape, what is weighted; None: the contribution over the weight.
        moved: (n,) or (n, k) weights of ``residual``; None: ``weight``.
        lowered: weights were clipped and average less than 1 by design: only more than 1 is refused.
        normalised: weights are over their mean, which may be any.

    Raises:
        TooFewEffectiveRows: the weights leave fewer than the log asks for.
        MeanWeightOff: their mean is far from 1.
        ValueError: a weight or the sum of contributions is not finite.

    Source:
        Good (1953), The population frequencies of species, for the heaviest row as what was not seen; Hanley and
        Lippman-Hand (1983), If nothing goes wrong, is everything all right?, for three.
    """
    columns = _mass(weight).reshape(len(weight), -1)
    told = _weights(rows, columns)
    if not told.effective_sample_size >= rows.min_effective_sample_size:
        raise TooFewEffectiveRows(told, rows.min_effective_sample_size)
    off = told.mean_weight - 1
    allowed = max(rows.most_off, MOST_ERRORS * told.mean_error)
    if not normalised and not (off if lowered else abs(off)) <= allowed:
        raise MeanWeightOff(told)
    mass = np.abs(columns if moved is None else moved.reshape(len(moved), -1))
    if residual is None:
        residual = np.divide(contribution[:, None], mass, out=np.zeros_like(mass), where=mass > 0)
    with np.errstate(over="ignore", invalid="ignore"):
        value, error = float(contribution.mean()), clustered_error((rows.cluster[1], contribution))
        unseen = _unseen(mass, residual.reshape(mass.shape))
    if not np.isfinite([value, error, unseen]).all():
        raise ValueError("expected rewards and weights whose squares are numbers, got larger ones: take another unit")
    return Estimate(value, error, unseen, *told[:3], len(rows), contribution, rows.cluster)


def _weights(rows: LoggedFeedback, columns: Doubles) -> Weights:
    """Of the position that is worst off in each respect; the mean's is the one farthest from 1 by what is allowed."""
    with np.errstate(over="ignore", invalid="ignore"):  # of weights that leave one row, and are refused for that
        means = columns.mean(axis=0)
        errors = np.array([clustered_error((rows.cluster[1], column)) for column in columns.T])
    far = int((np.abs(means - 1) / np.maximum(rows.most_off, MOST_ERRORS * errors)).argmax()) if len(means) > 1 else 0
    return Weights(
        float(effective_sample_size(columns).min()),
        float(top_share(columns).max()),
        float(means[far]),
        float(errors[far]),
        len(rows),
    )


def _unseen(mass: Doubles, residual: Doubles) -> float:
    """What rows as heavy as the heaviest would add, over positions together."""
    total, largest = mass.sum(axis=0), np.abs(residual).max(axis=0)
    scaled = residual / np.maximum(largest, np.finfo(np.float64).tiny)
    fourth = np.divide((mass * scaled**4).sum(axis=0), total, out=np.zeros_like(total), where=total > 0)
    return float(_UNSEEN**0.5 * (mass.max(axis=0) / len(mass) * largest * fourth**0.25).sum())


def _mass(weight: npt.ArrayLike) -> Doubles:
    """Weights that are at least 0 and finite."""
    mass = np.asarray(weight, np.float64)
    if not mass.ndim or not len(mass) or not ((mass >= 0) & (mass < np.inf)).all():
        raise ValueError(
            f"expected finite weights of at least 0, got shape {mass.shape}"
            + (f" from {mass.min()} to {mass.max()}" if mass.size else "")
        )
    return mass
