"""Estimators that weight the rewards of a log, and model nothing."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from reward.off_policy.estimate import Estimate, estimate
from reward.off_policy.feedback import LoggedFeedback, importance

_LEAST_MEAN = 1e-100  # of weights: with less, estimate refuses


def ips(rows: LoggedFeedback, target: npt.ArrayLike) -> Estimate:
    """Inverse propensity score (IPS): ``mean(w r)`` with ``w = target / propensity``.

    Unbiased if the propensities are right and the logging policy sometimes does all that the target policy does.

    Args:
        rows: of the log, rewards (n,).
        target: (n,) the chance that the target policy gives to the action taken.

    Raises:
        ValueError: as `importance`, or rows of slates.
        TooFewEffectiveRows: the weights leave fewer rows than the log asks for.
        MeanWeightOff: they do not average 1.

    Source:
        Horvitz and Thompson (1952); Precup, Sutton and Singh (2000), Eligibility traces for off-policy policy
        evaluation.

    >>> rows = LoggedFeedback(reward=[1, 0, 1], propensity=[0.5, 0.5, 0.25], min_effective_sample_size=1)
    >>> ips(rows, [0.25, 0.75, 0.5]).value  # (0.5 + 0 + 2) / 3
    0.8333333333333334

    """
    reward, weight = single(rows), importance(rows, target)
    return estimate(rows, weight * reward, weight, residual=reward)


def snips(rows: LoggedFeedback, target: npt.ArrayLike) -> Estimate:
    """Self-normalised IPS: ``Σ w r / Σ w``, always within the rewards' range; biased by the order of 1 / n.

    The mean weight may be any: it is divided by, and told. The standard error is that of a ratio: of the contributions
    ``v + w (r − v) / mean(w)``.

    Args and Raises: as in `ips`.

    Source:
        Hájek (1971); Swaminathan and Joachims (2015), The self-normalized estimator for counterfactual learning.

    >>> rows = LoggedFeedback(reward=[1, 0, 1], propensity=[0.5, 0.5, 0.25], min_effective_sample_size=1)
    >>> round(snips(rows, [0.25, 0.75, 0.5]).value, 9)  # (0.5 + 0 + 2) / (0.5 + 1.5 + 2)
    0.625

    """
    reward, weight = single(rows), importance(rows, target)
    mean = weight.mean()
    value = (weight * reward).mean() / mean if mean > 0 else 0.0  # of no weight: estimate refuses
    rest = (reward - value) / max(mean, _LEAST_MEAN)
    return estimate(rows, value + weight * rest, weight, residual=rest, normalised=True)


def clipped(rows: LoggedFeedback, target: npt.ArrayLike, *, most: float) -> Estimate:
    """Clipped IPS: ``mean(min(w, most) r)``; with rewards of at least 0 it is too low rather than noisy.

    Args and Raises: as in `ips`, but only weights that average more than 1 are off; and:
        most: the largest weight, above 0.

    Source:
        Ionides (2008), Truncated importance sampling.

    >>> rows = LoggedFeedback(reward=[1, 0, 1], propensity=[0.5, 0.5, 0.25], min_effective_sample_size=1)
    >>> clipped(rows, [0.25, 0.75, 0.5], most=1.0).value  # (0.5 + 0 + 1) / 3
    0.5

    """
    reward = single(rows)
    weight = np.minimum(importance(rows, target), above_zero(most))
    return estimate(rows, weight * reward, weight, residual=reward, lowered=True)


def above_zero(most: float) -> float:
    """A largest weight."""
    if not most > 0:
        raise ValueError(f"expected a largest weight above 0, got {most}: 10 is usual, infinity changes nothing")
    return most


def single(rows: LoggedFeedback) -> npt.NDArray[np.float64]:
    """Rewards of rows that are one action each."""
    if rows.reward.ndim != 1:
        raise ValueError(
            f"expected rows of one action, got slates {rows.reward.shape}: take an estimator of "
            "reward.off_policy.slate_ips"
        )
    return rows.reward
