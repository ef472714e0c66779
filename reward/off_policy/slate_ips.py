"""Estimators for slates: a reward at every position, and the value of a slate is their sum.

With ``k`` the position and ``w_k = target / propensity`` there, the three differ in what a reward may depend on:
the whole slate, what stands at its position, or what stands there and above.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from reward.arrays import Doubles
from reward.off_policy.estimate import Estimate, estimate
from reward.off_policy.feedback import LoggedFeedback, importance


def slate_ips(rows: LoggedFeedback, target: npt.ArrayLike) -> Estimate:
    """Standard slate IPS: ``mean(Π_k w_k · Σ_k r_k)``; assumes nothing of users, and few rows are left.

    Args:
        rows: of the log, rewards and propensities (n, positions). The propensity of an item at a position is given the
            items above it.
        target: (n, positions) the target policy's, given the same.

    Raises:
        ValueError: as `importance`, or rows that are no slates.
        TooFewEffectiveRows: the weights leave fewer slates than the log asks for.
        MeanWeightOff: they do not average 1.

    Source:
        Swaminathan et al. (2017), Off-policy evaluation for slate recommendation (its IPS); Precup, Sutton and Singh
        (2000).

    >>> rows = LoggedFeedback(reward=[[1, 0], [0, 1]], propensity=[[0.5, 0.5], [0.5, 1.0]], min_effective_sample_size=1)
    >>> slate_ips(rows, [[1.0, 0.25], [0.5, 0.5]]).value  # (2·½·1 + 1·½·1) / 2
    0.75

    """
    weight = importance(rows, target).prod(axis=_positions(rows))
    reward = rows.reward.sum(axis=1)
    return estimate(rows, weight * reward, weight, residual=reward)


def independent_ips(rows: LoggedFeedback, target: npt.ArrayLike) -> Estimate:
    """Position-based (independent) IPS: ``mean(Σ_k w_k r_k)``; a reward depends on the item at its position alone.

    Args:
        rows: of the log, rewards and propensities (n, positions). The propensity is that of the item at the position,
            whatever stands elsewhere.
        target: (n, positions) the target policy's.

    Raises:
        ValueError, TooFewEffectiveRows and MeanWeightOff: as `slate_ips`, where the worst position
            decides.

    Source:
        Li et al. (2018), Offline evaluation of ranking policies with click models (the item-position model).

    >>> rows = LoggedFeedback(reward=[[1, 0], [0, 1]], propensity=[[0.5, 0.5], [0.5, 1.0]], min_effective_sample_size=1)
    >>> independent_ips(rows, [[1.0, 0.25], [0.5, 1.0]]).value  # (2·1 + 1·1) / 2
    1.5

    """
    return _by_position(rows, importance(rows, target))


def reward_interaction_ips(rows: LoggedFeedback, target: npt.ArrayLike) -> Estimate:
    """Reward-interaction IPS (RIPS): ``mean(Σ_k Π_{j≤k} w_j · r_k)``; users read down, nothing below matters.

    Args and Raises: as in `slate_ips`; the position with the fewest effective rows decides.

    Source:
        McInerney et al. (2020), Counterfactual evaluation of slate recommendations with sequential reward
        interactions (without its self-normalisation).

    >>> rows = LoggedFeedback(reward=[[1, 0], [0, 1]], propensity=[[0.5, 0.5], [0.5, 1.0]], min_effective_sample_size=1)
    >>> reward_interaction_ips(rows, [[1.0, 0.25], [0.5, 0.5]]).value  # (2·1 + 1·½·1) / 2
    1.25

    """
    weight = np.asarray(np.cumprod(importance(rows, target), axis=_positions(rows)), np.float64)
    return _by_position(rows, weight)


def _by_position(rows: LoggedFeedback, weight: Doubles) -> Estimate:
    _positions(rows)
    return estimate(rows, (weight * rows.reward).sum(axis=1), weight, residual=rows.reward)


def _positions(rows: LoggedFeedback) -> int:
    """The axis of the positions."""
    if rows.reward.ndim != 2:
        raise ValueError(
            f"expected slates, rewards (n, positions), got {rows.reward.shape}: make one row of a request_id's rows, "
            "in the order of position"
        )
    return 1
