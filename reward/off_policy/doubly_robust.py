"""Estimators that lean on a model of the reward, and how much each corrects it by weighted rows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from reward.arrays import Doubles
from reward.off_policy.estimate import Estimate, estimate
from reward.off_policy.feedback import LoggedFeedback, importance
from reward.off_policy.ips import above_zero, single


def direct(rows: LoggedFeedback, expected: npt.ArrayLike) -> Estimate:
    """Direct method: the mean of what a model expects under the target policy.

    As wrong as the model is, and the standard error does not know it. Nothing is weighted, so nothing is refused.

    Args:
        rows: of the log.
        expected: (n,) ``Σ_a π(a|x) q̂(x, a)``, q̂ best learned without the row's own user.

    Raises:
        ValueError: another shape, or something not finite.

    Source:
        Beygelzimer and Langford (2009), The offset tree for learning with partial labels.

    >>> rows = LoggedFeedback(reward=[1, 0], propensity=[0.5, 0.5], min_effective_sample_size=1)
    >>> direct(rows, [0.25, 0.75]).value
    0.5

    """
    told = predictions(rows, expected)
    return estimate(rows, told, np.ones(len(rows)), residual=np.zeros(len(rows)))


def doubly_robust(
    rows: LoggedFeedback, target: npt.ArrayLike, predicted: npt.ArrayLike, expected: npt.ArrayLike
) -> Estimate:
    """Doubly robust: ``mean(w (r − q̂(x, a)) + Σ_a π(a|x) q̂(x, a))``.

    Right if either the propensities or the model are; the better the model, the less the weights' noise counts.

    Args:
        rows: of the log.
        target: (n,) the chance that the target policy gives to the action taken.
        predicted: (n,) what the model expects of the action taken, learned without the row's own user.
        expected: (n,) what it expects under the target policy.

    Raises:
        ValueError: shapes or values that do not fit.
        TooFewEffectiveRows: the weights leave fewer rows than the log asks for.
        MeanWeightOff: they do not average 1.

    Source:
        Dudík, Langford and Li (2011), Doubly robust policy evaluation and learning.

    >>> rows = LoggedFeedback(reward=[1, 0], propensity=[0.5, 0.5], min_effective_sample_size=1)
    >>> doubly_robust(rows, [1.0, 0.5], [0.5, 0.5], [0.25, 0.75]).value  # (2·½ + ¼ − 1·½ + ¾) / 2
    0.75

    """
    return augmented(rows, importance(rows, target), predicted, expected)


def clipped_doubly_robust(
    rows: LoggedFeedback, target: npt.ArrayLike, predicted: npt.ArrayLike, expected: npt.ArrayLike, *, most: float
) -> Estimate:
    """Doubly robust with clipped weights: ``mean(min(w, most) (r − q̂(x, a)) + Σ_a π(a|x) q̂(x, a))``.

    What clipping leaves out is left to the model, and not taken for 0 as by `clipped`.

    Args and Raises: as in `doubly_robust`, but only weights that average more than 1 are off; and:
        most: the largest weight, above 0.

    Source:
        Su, Dimakopoulou, Krishnamurthy and Dudík (2020), Doubly robust off-policy evaluation with shrinkage.

    >>> rows = LoggedFeedback(reward=[1, 0], propensity=[0.5, 0.5], min_effective_sample_size=1)
    >>> clipped_doubly_robust(rows, [1.0, 0.5], [0.5, 0.5], [0.25, 0.75], most=1).value  # (½ + ¼ − ½ + ¾) / 2
    0.5

    """
    return augmented(rows, importance(rows, target), predicted, expected, most=above_zero(most))


def switch_doubly_robust(
    rows: LoggedFeedback, target: npt.ArrayLike, predicted: npt.ArrayLike, expected: npt.ArrayLike, *, most: float
) -> Estimate:
    """Switch-DR: doubly robust where the weight is at most ``most``; where it is larger, the model alone.

    ``mean(w 1[w ≤ most] (r − q̂(x, a)) + Σ_a π(a|x) q̂(x, a))``.

    Args and Raises: as in `doubly_robust`, but only weights that average more than 1 are off; and:
        most: the largest weight that is trusted, above 0.

    Source:
        Wang, Agarwal and Dudík (2017), Optimal and adaptive off-policy evaluation in contextual bandits, section 4.

    >>> rows = LoggedFeedback(reward=[1, 0], propensity=[0.5, 0.5], min_effective_sample_size=1)
    >>> switch_doubly_robust(rows, [1.0, 0.5], [0.5, 0.5], [0.25, 0.75], most=1).value  # (¼ − 1·½ + ¾) / 2
    0.25

    """
    weight = importance(rows, target)
    kept = np.where(weight <= above_zero(most), weight, 0.0)
    return augmented(rows, kept, predicted, expected, lowered=True)


def augmented(
    rows: LoggedFeedback,
    weight: Doubles,
    predicted: npt.ArrayLike,
    expected: npt.ArrayLike,
    *,
    most: float = np.inf,
    lowered: bool = False,
) -> Estimate:
    """What the model expects, and the weighted rest of what came; weights ``most`` at most, or ``lowered`` before."""
    reward, told, mean = single(rows), predictions(rows, predicted), predictions(rows, expected)
    kept, rest = np.minimum(weight, most), reward - told
    clipped = lowered or bool((weight > most).any())
    return estimate(rows, kept * rest + mean, kept, residual=rest, lowered=clipped)


def predictions(rows: LoggedFeedback, predicted: npt.ArrayLike) -> Doubles:
    """Finite predictions, one a row."""
    told = np.asarray(predicted, np.float64)
    if told.shape != (len(rows),) or not np.isfinite(told).all():
        raise ValueError(
            f"expected a finite prediction for each of the {len(rows)} rows, got shape {told.shape}: pass q̂ of the "
            "action taken, (n,), and its mean under the target policy, (n,)"
        )
    return told
