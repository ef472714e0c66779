"""Off-policy estimators: what another policy would have been worth, from the log of the one that ran.

A row of a log is one action that the logging policy took: the reward that followed and the propensity, the chance that
the policy gave to that action there. The target policy is told by the chance that *it* gives to the same action.
Every estimator is a mean over rows of contributions, and returns them in an `Estimate`, which also says how many rows
the weights leave. Where they leave too few there is no estimate but `TooFewEffectiveRows`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from reward.evaluation.resampling import Floats, Ints, clustered_error
from reward.experiments.quantiles import normal
from reward.schema import PROPENSITY, USER

TOP = 0.01  # of the rows, whose share of the weight is told


@dataclass(frozen=True, kw_only=True)
class Logged:
    """Rows of a log, checked once.

    Attributes:
        reward: (n,), finite; of slates (n, positions).
        propensity: of the same shape, in (0, 1]: the chance that the logging policy gave to what it did.
        user: (n,) whose row it is, of any dtype: standard errors then treat users as independent, and not their rows.
            None: rows are independent.
        least_effective_rows: with fewer effective rows an estimator refuses. The error of a weighted mean is about
            the reward's standard deviation over the root of this number; under some tens its standard error, too, is
            not to be believed.

    Raises:
        ValueError: shapes that do not fit, rewards that are not finite, propensities outside (0, 1], no rows, or rows
            of one user alone.
    """

    reward: Floats
    propensity: Floats
    least_effective_rows: float
    user: npt.NDArray[Any] | None = None

    def __post_init__(self) -> None:
        reward, propensity = (np.asarray(part, np.float64) for part in (self.reward, self.propensity))
        object.__setattr__(self, "reward", reward)
        object.__setattr__(self, "propensity", propensity)
        if reward.shape != propensity.shape or reward.ndim not in (1, 2) or len(reward) < 2:
            raise ValueError(
                "expected reward and propensity of one shape, (n,) or (n, positions) with n at least 2, got "
                f"{reward.shape} and {propensity.shape}: pass one row an action taken, or one row a slate"
            )
        if not np.isfinite(reward).all():
            raise ValueError(
                f"expected finite rewards, got {int((~np.isfinite(reward)).sum())} others: set rows aside whose reward "
                "is not yet known, and say that you did"
            )
        wrong = ~((propensity > 0) & (propensity <= 1))
        if wrong.any():
            raise ValueError(
                f"expected propensities in (0, 1], got {int(wrong.sum())} others, the first {propensity[wrong][0]}: an "
                "action that was taken had a chance; log it, or estimate it with "
                "reward.effects.propensities.estimate_propensities"
            )
        if self.user is not None and (np.shape(self.user) != (len(reward),) or self.cluster[0] < 2):
            raise ValueError(
                f"expected a user for each of the {len(reward)} rows and at least 2 users, got shape "
                f"{np.shape(self.user)}: pass user=None where rows are independent"
            )

    @cached_property
    def cluster(self) -> tuple[int, Ints]:
        """How many users there are, or rows, and each row's."""
        if self.user is None:
            return len(self.reward), np.arange(len(self.reward))
        users, code = np.unique(self.user, return_inverse=True)
        return len(users), code

    def __len__(self) -> int:
        return len(self.reward)


def logged(events: pl.DataFrame, reward: str, *, least_effective_rows: float) -> Logged:
    """Rows of an event log with propensities.

    Args:
        events: with ``user_id``, ``propensity`` and the reward's column.
        reward: name of a column without nulls: a feedback, or a labelled outcome such as active days.
        least_effective_rows: see `Logged`.

    Raises:
        ValueError: a column is missing or has nulls; or as `Logged`.

    >>> events = pl.DataFrame({"user_id": ["a", "a", "b"], "propensity": [0.5, 0.1, 1.0], "click": [0, 1, 1]})
    >>> logged(events, "click", least_effective_rows=1).cluster
    (2, array([0, 0, 1]))

    """
    needed = [USER, PROPENSITY, reward]
    missing = [name for name in needed if name not in events.columns or events[name].has_nulls()]
    if missing:
        raise ValueError(f"expected the columns {needed} without nulls, got none or nulls in {missing}: fill or filter")
    came, propensity = (events[name].cast(pl.Float64).to_numpy() for name in (reward, PROPENSITY))
    user = np.unique(events[USER].to_numpy(), return_inverse=True)[1]
    return Logged(reward=came, propensity=propensity, user=user, least_effective_rows=least_effective_rows)


@dataclass(frozen=True)
class Estimate:
    """What a policy is worth, in the reward's unit for each row, and what that rests on.

    Attributes:
        value: the mean of the contributions.
        standard_error: of ``value``, users as clusters where the log has them; to first order, and as if what was
            predicted for a row had been learned without it.
        effective_rows: (Σ w)² / Σ w², so many equally weighted rows would be as good; the least over positions.
        top_share: of the weight, that of the heaviest 1% of the rows; the most over positions.
        mean_weight: 1 but for chance if propensities are right and the logging policy tries all that the target does;
            over positions, the one farthest from 1.
        rows: how many there are.
        contribution: (n,) what each row adds to ``value``, times n.
        cluster: how many users, and each row's; or rows.
    """

    value: float
    standard_error: float
    effective_rows: float
    top_share: float
    mean_weight: float
    rows: int
    contribution: Floats = field(repr=False, compare=False)
    cluster: tuple[int, Ints] = field(repr=False, compare=False)

    def interval(self, level: float) -> tuple[float, float]:
        """Normal interval: ``value ± z · standard_error``.

        Raises:
            ValueError: a level outside (0, 1).
        """
        half = normal(level) * self.standard_error
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
            min(self.effective_rows, other.effective_rows),
            max(self.top_share, other.top_share),
            max(self.mean_weight, other.mean_weight, key=lambda mean: abs(mean - 1)),
            self.rows,
            contribution,
            self.cluster,
        )


class TooFewEffectiveRows(ValueError):  # noqa: N818  it is what happened, and not a mistake of the program's
    """The weights leave too few rows for an estimate.

    Attributes:
        effective_rows, rows, least_effective_rows, top_share: see `Estimate` and `Logged`.
    """

    def __init__(self, effective_rows: float, rows: int, least_effective_rows: float, top_share: float) -> None:
        self.effective_rows, self.rows = effective_rows, rows
        self.least_effective_rows, self.top_share = least_effective_rows, top_share
        super().__init__(
            f"expected at least {least_effective_rows:g} effective rows, got {effective_rows:.1f} of {rows}: the "
            f"heaviest 1% of the rows hold {top_share:.0%} of the weight, so the estimate would be theirs alone. "
            "Evaluate a policy nearer to the logging policy, take an estimator that weights less (clipped, switch "
            "doubly robust, long-term by short-term rewards), or log more rows with a policy that tries more"
        )


def effective_rows(weight: npt.ArrayLike) -> Floats:
    """Kish's effective sample size of each column, ``(Σ w)² / Σ w²``; 0 where all weights are.

    Args:
        weight: (n,) or (n, k), at least 0.

    Returns:
        () or (k,).

    Source:
        Kish (1965), Survey Sampling.

    >>> float(effective_rows([3.0, 1.0]))  # 4² / 10
    1.6

    """
    mass = np.asarray(weight, np.float64)
    squares = (mass**2).sum(axis=0)
    return np.divide(mass.sum(axis=0) ** 2, squares, out=np.zeros_like(squares), where=squares > 0)


def top_share(weight: npt.ArrayLike) -> Floats:
    """Share of each column's weight that its heaviest 1% of the rows hold, one row at least; 1 where there is none.

    Args:
        weight: (n,) or (n, k), at least 0.

    Returns:
        () or (k,).

    >>> float(top_share([3.0, 1.0]))
    0.75

    """
    mass = np.sort(np.asarray(weight, np.float64), axis=0)
    total, top = mass.sum(axis=0), mass[-int(np.ceil(TOP * len(mass))) :].sum(axis=0)
    return np.divide(top, total, out=np.ones_like(total), where=total > 0)


def importance(rows: Logged, target: npt.ArrayLike) -> Floats:
    """How much more often the target policy would have done what was done: ``target / propensity``.

    Args:
        rows: of the log.
        target: of the propensity's shape, in [0, 1]: the chance that the target policy gives to what was done.

    Returns:
        Weights of that shape.

    Raises:
        ValueError: another shape, or chances outside [0, 1].
    """
    chance = np.asarray(target, np.float64)
    if chance.shape != rows.propensity.shape:
        raise ValueError(
            f"expected the target policy's chance of each action taken, shape {rows.propensity.shape}, got "
            f"{chance.shape}: of a matrix over actions, take the column of the action in each row"
        )
    if not ((chance >= 0) & (chance <= 1)).all():
        raise ValueError(
            f"expected chances in [0, 1], got from {chance.min()} to {chance.max()}: pass probabilities, not scores"
        )
    return chance / rows.propensity


def estimate(rows: Logged, contribution: Floats, weight: Floats) -> Estimate:
    """The mean of contributions, or a refusal.

    Args:
        rows: of the log.
        contribution: (n,).
        weight: (n,), or (n, k) of k positions or policies, each of which must leave rows enough.

    Raises:
        TooFewEffectiveRows: the weights leave fewer than the log asks for.
    """
    columns = weight.reshape(len(weight), -1)
    effective, top = float(effective_rows(columns).min()), float(top_share(columns).max())
    if effective < rows.least_effective_rows:
        raise TooFewEffectiveRows(effective, len(rows), rows.least_effective_rows, top)
    means = columns.mean(axis=0)
    error = clustered_error((rows.cluster[1], contribution))
    mean_weight = float(means[np.abs(means - 1).argmax()])
    return Estimate(
        float(contribution.mean()), error, effective, top, mean_weight, len(rows), contribution, rows.cluster
    )
