"""How much better a policy is than another, estimated at once: what both share is not estimated, and adds no noise.

With ``δ = (target − other) / propensity`` the weight of the difference, ``E δ = 0``. The other policy is usually the
one that made the log, whose weights are 1.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from reward.arrays import Doubles
from reward.off_policy.doubly_robust import predictions
from reward.off_policy.estimate import Estimate, estimate
from reward.off_policy.feedback import LoggedFeedback, importance
from reward.off_policy.ips import single


def difference(rows: LoggedFeedback, target: npt.ArrayLike, other: npt.ArrayLike | None = None) -> Estimate:
    """Δ-IPS: ``mean(δ r)``, unbiased for ``V(target) − V(other)``.

    Args:
        rows: of the log, rewards (n,).
        target: (n,) the chance that the target policy gives to the action taken.
        other: (n,) that of the policy it is compared with; None: the logging policy.

    Raises:
        ValueError: as `importance`, or rows of slates.
        TooFewEffectiveRows: either policy's weights leave fewer rows than the log asks for.
        MeanWeightOff: either policy's do not average 1.

    Source:
        Jeunen and Ustimenko (2024), Δ-OPE: Off-policy estimation with pairs of policies.

    >>> rows = LoggedFeedback(reward=[1, 0, 1], propensity=[0.5, 0.5, 0.25], min_effective_sample_size=1)
    >>> difference(rows, [0.25, 0.75, 0.5]).value  # (−½ + 0 + 1) / 3
    0.16666666666666666

    """
    delta, weight = _delta(rows, target, other)
    reward = single(rows)
    return estimate(rows, delta * reward, weight, residual=reward, moved=delta)


def difference_from_level(rows: LoggedFeedback, target: npt.ArrayLike, other: npt.ArrayLike | None = None) -> Estimate:
    """Δβ-IPS: ``mean(δ (r − β))`` with ``β = Σ δ² r / Σ δ²``, the level that leaves the least variance.

    A constant added to all rewards changes nothing. β is estimated, a bias of the order of 1 / n.

    Args, Raises and Source: as in `difference`.

    >>> rows = LoggedFeedback(reward=[1, 0, 1], propensity=[0.5, 0.5, 0.25], min_effective_sample_size=1)
    >>> round(difference_from_level(rows, [0.25, 0.75, 0.5]).value, 9)  # β = 5/6: (−½·⅙ − ½·⅚ + 1·⅙) / 3
    -0.111111111

    """
    delta, weight = _delta(rows, target, other)
    reward, squares = single(rows), delta**2
    level = squares @ reward / squares.sum() if squares.any() else 0.0
    return estimate(rows, delta * (reward - level), weight, residual=reward - level, moved=delta)


def difference_doubly_robust(
    rows: LoggedFeedback,
    target: npt.ArrayLike,
    predicted: npt.ArrayLike,
    expected: npt.ArrayLike,
    expected_of_other: npt.ArrayLike,
    other: npt.ArrayLike | None = None,
) -> Estimate:
    """Δ-DR: ``mean(δ (r − q̂(x, a)) + Σ_a (π(a|x) − π'(a|x)) q̂(x, a))``.

    Args and Raises: as in `difference`, and:
        predicted: (n,) what a model expects of the action taken, learned without the row's own user.
        expected: (n,) what it expects under the target policy.
        expected_of_other: (n,) what it expects under the other policy.

    Source:
        Dudík, Langford and Li (2011) for each of the two; Jeunen and Ustimenko (2024) for their difference.

    >>> rows = LoggedFeedback(reward=[1, 0], propensity=[0.5, 0.5], min_effective_sample_size=1)
    >>> difference_doubly_robust(rows, [1.0, 0.5], [0.5, 0.5], [0.25, 0.75], [0.5, 0.5]).value  # (1·½ − ¼ + ¼) / 2
    0.25

    """
    delta, weight = _delta(rows, target, other)
    told, mean, mean_of_other = (predictions(rows, part) for part in (predicted, expected, expected_of_other))
    rest = single(rows) - told
    return estimate(rows, delta * rest + mean - mean_of_other, weight, residual=rest, moved=delta)


def _delta(rows: LoggedFeedback, target: npt.ArrayLike, other: npt.ArrayLike | None) -> tuple[Doubles, Doubles]:
    """Weight of the difference (n,), and those of both policies (n, 2)."""
    single(rows)
    one = importance(rows, target)
    two = np.ones_like(one) if other is None else importance(rows, other)
    return one - two, np.stack([one, two], axis=1)
