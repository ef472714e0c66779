"""Logged bandit feedback: what was chosen, with which probability, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from reward.arrays import Doubles, Ints
from reward.columns import PROPENSITY, USER

MOST_OFF, MOST_ERRORS = 0.05, 2.0  # of the mean weight from 1: within either of them it is near


@dataclass(frozen=True, kw_only=True)
class LoggedFeedback:
    """Rows of a log, checked once.

    Attributes:
        reward: (n,), finite; of slates (n, positions).
        propensity: of the same shape, in (0, 1]: the chance that the logging policy gave to what it did.
        user: (n,) whose row it is, of any dtype: standard errors then treat users as independent, and not their rows.
            None: rows are independent.
        min_effective_sample_size: with fewer effective rows an estimator refuses. The error of a weighted mean is about
            the reward's standard deviation over the root of this number; under some tens its standard error, too, is
            not to be believed.
        most_off: with a mean weight farther than this from 1, and farther than two of its standard errors, an estimator
            refuses. Infinity: never.

    Raises:
        ValueError: shapes that do not fit, rewards that are not finite, propensities outside (0, 1], no rows, rows of
            one user alone, or a floor that is not a number of at least 0.
    """

    reward: Doubles
    propensity: Doubles
    min_effective_sample_size: float
    user: npt.NDArray[Any] | None = None
    most_off: float = MOST_OFF

    def __post_init__(self) -> None:
        if not 0 <= self.min_effective_sample_size < np.inf or not self.most_off >= 0:
            raise ValueError(
                "expected min_effective_sample_size, a finite number of at least 0, and most_off of at least 0, got "
                f"{self.min_effective_sample_size} and {self.most_off}: 100 rows and {MOST_OFF:g} are usual"
            )
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
                "reward.causal.propensity.conditional_logit.estimate_propensities"
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
        try:
            users, code = np.unique(self.user, return_inverse=True)
        except TypeError as error:
            raise ValueError("expected users of one kind, all numbers or all text, got a mixture or None") from error
        return len(users), code

    def __len__(self) -> int:
        return len(self.reward)


def logged(events: pl.DataFrame, reward: str, *, min_effective_sample_size: float) -> LoggedFeedback:
    """Rows of an event log with propensities.

    Args:
        events: with ``user_id``, ``propensity`` and the reward's column.
        reward: name of a column without nulls: a feedback, or a labelled outcome such as active days.
        min_effective_sample_size: see `LoggedFeedback`.

    Raises:
        ValueError: a column is missing or has nulls; or as `LoggedFeedback`.

    >>> events = pl.DataFrame({"user_id": ["a", "a", "b"], "propensity": [0.5, 0.1, 1.0], "click": [0, 1, 1]})
    >>> logged(events, "click", min_effective_sample_size=1).cluster
    (2, array([0, 0, 1]))

    """
    needed = [USER, PROPENSITY, reward]
    missing = [name for name in needed if name not in events.columns or events[name].has_nulls()]
    if missing:
        raise ValueError(f"expected the columns {needed} without nulls, got none or nulls in {missing}: fill or filter")
    kinds = {name: events.schema[name] for name in (reward, PROPENSITY)}
    text = [name for name, kind in kinds.items() if not (kind.is_numeric() or kind == pl.Boolean)]
    if text:
        raise ValueError(f"expected numbers in {', '.join(text)}, got {kinds[text[0]]}: cast them")
    came, propensity = (events[name].cast(pl.Float64).to_numpy() for name in (reward, PROPENSITY))
    user = np.unique(events[USER].to_numpy(), return_inverse=True)[1]
    return LoggedFeedback(
        reward=came, propensity=propensity, user=user, min_effective_sample_size=min_effective_sample_size
    )


def importance(rows: LoggedFeedback, target: npt.ArrayLike) -> Doubles:
    """How much more often the target policy would have done what was done: ``target / propensity``.

    Args:
        rows: of the log.
        target: of the propensity's shape, in [0, 1]: the chance that the target policy gives to what was done.

    Returns:
        Weights of that shape.

    Raises:
        ValueError: another shape, chances outside [0, 1], or a propensity so small that the weight is no number.
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
    with np.errstate(over="ignore"):
        weight = chance / rows.propensity
    if not np.isfinite(weight).all():
        raise ValueError(
            f"expected propensities that an action can have, got weights up to {weight.max():.3g} of a propensity of "
            f"{rows.propensity.min():.3g}: log the chance with which the action was taken"
        )
    return weight
