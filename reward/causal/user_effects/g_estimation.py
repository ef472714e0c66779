"""Instrumental regression of the days after an exposure on how it differs from what could have been shown."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from reward.arrays import Doubles, Ints
from reward.causal.diagnostics.calibration_slope import NOTHING_DAYS, CalibrationSlope

_AT_ONCE = 20_000
_LEAST_DAYS, _MOST_DAYS = 1e-5, 1.0  # between which the spread of a coefficient's contributions is looked for
_RANK = 1e-9  # of the largest singular value, below which a direction of the columns is not identified
_ROUNDING = 1e-14  # of a covariance's largest eigenvalue


@dataclass(frozen=True)
class Moments:
    """Sums over exposures, by cluster of users; what is shown is an instrument for what it does. A state that adds.

    With g the columns of an exposure, z what they are beyond the mean of what could have been shown in the same slot,
    w the weight and v the effect of the day: given the slot, w z has mean 0 and knows nothing of the user.

    Attributes:
        gram: (clusters, p, p) Σ w z g'.
        moment: (clusters, p) Σ w z v.
        squares: (p,) Σ w z².
        mass: Σ w.
        fold: (clusters,) cross-fitting fold of each cluster's users.
    """

    gram: Doubles
    moment: Doubles
    squares: Doubles
    mass: float
    fold: Ints

    @classmethod
    def none(cls, columns: int, fold: Ints) -> Moments:
        """Of no exposures."""
        clusters = len(fold)
        gram, moment = np.zeros((clusters, columns, columns)), np.zeros((clusters, columns))
        return cls(gram, moment, np.zeros(columns), 0.0, fold)

    @classmethod
    def of(
        cls, columns: Doubles, beyond: Doubles, weight: Doubles, value: Doubles, cluster: Ints, fold: Ints
    ) -> Moments:
        """Of n exposures.

        Args:
            columns: (n, p) g.
            beyond: (n, p) z.
            weight: (n,) w.
            value: (n,) v.
            cluster: (n,) of the user, from 0.
            fold: (clusters,) see above.
        """
        none = cls.none(columns.shape[1], fold)
        gram, moment = torch.from_numpy(none.gram), torch.from_numpy(none.moment)
        heavy = weight[:, None] * beyond
        for start in range(0, len(columns), _AT_ONCE):
            rows = slice(start, start + _AT_ONCE)
            z, g, v = (torch.from_numpy(part[rows]) for part in (heavy, columns, value))
            at = torch.from_numpy(cluster[rows])
            gram.index_add_(0, at, z[:, :, None] * g[:, None, :])
            moment.index_add_(0, at, z * v[:, None])
        return cls(gram.numpy(), moment.numpy(), (heavy * beyond).sum(axis=0), float(weight.sum()), fold)

    def __add__(self, other: Moments) -> Moments:
        """Of the exposures of both, whose users are in the same clusters."""
        return Moments(
            self.gram + other.gram,
            self.moment + other.moment,
            self.squares + other.squares,
            self.mass + other.mass,
            self.fold,
        )

    def divided(self, scale: Doubles) -> Moments:
        """Of the same exposures with each column divided by its (p,) ``scale``."""
        return Moments(
            self.gram / scale / scale[:, None],
            self.moment / scale,
            self.squares / scale / scale,
            self.mass,
            self.fold,
        )


@dataclass(frozen=True)
class GEstimates:
    """Coefficients drawn to what was expected of them by empirical Bayes.

    Attributes:
        coefficients: (p,) posterior means.
        covariance: (p, p) posterior covariance.
        spread: standard deviation found of what a coefficient contributes beyond what was expected, in days.
        identified: (p,) whether the log tells of the coefficient; else it is what was expected of it, for its column
            does not vary among what could have been shown, or only as others do.
    """

    coefficients: Doubles
    covariance: Doubles
    spread: float
    identified: NDArray[np.bool_]


def g_estimates(moments: Moments, expected: Doubles, *, without: int | None = None) -> GEstimates:
    """Coefficients of all folds, or of all but one.

    The moments m = Σ w z v have mean G β, G = Σ w z g', and a covariance S that is a sandwich over clusters around the
    plain estimate G⁻¹ m. β has a Gaussian prior around ``expected``: every column contributes beyond it with the same
    standard deviation in days, which is the one that makes the moments likeliest. Directions of the columns in which G
    is singular are not identified and stay where they are expected: nothing is divided by what the log does not hold.

    Args:
        moments: of a log.
        expected: (p,) prior means.
        without: a fold to leave out.

    Source:
        Robins' g-estimation of structural mean models; Nie & Wager, "Quasi-oracle estimation of heterogeneous
        treatment effects" (Biometrika 2021); Efron & Morris (1973).
    """
    rows = np.ones(len(moments.fold), bool) if without is None else moments.fold != without
    gram, moment = moments.gram[rows], moments.moment[rows]
    reach = np.sqrt(moments.squares / max(moments.mass, 1e-300))  # days that a coefficient of 1 contributes
    told = reach > 1e-9 * max(float(reach.max(initial=0)), 1e-300)
    coefficients, covariance = expected.copy(), np.zeros((len(expected), len(expected)))
    nothing = GEstimates(coefficients, covariance, 0.0, np.zeros(len(expected), bool))
    if not told.any():
        return nothing
    inner = np.ix_(told, told)
    total = gram.sum(axis=0)[inner] / reach[told]  # by what a coefficient contributes, in days
    beyond = moment.sum(axis=0)[told] - total @ (expected[told] * reach[told])
    scale = np.abs(total).max(axis=1)
    if not (scale > 0).all():
        return nothing
    total, beyond = total / scale[:, None], beyond / scale
    left, size, right = np.linalg.svd(total)
    known = size > _RANK * size[0]
    plain = expected[told] + right[known].T @ (left[:, known].T @ beyond / size[known]) / reach[told]
    pull = (moment[:, told] - gram[:, told][:, :, told] @ plain) / scale
    noise, moves = pull.T @ pull, total @ total.T

    def spectrum(spread: float) -> tuple[Doubles, Doubles]:
        """Eigenvalues and axes of the covariance that the moments have at a spread."""
        values, axes = np.linalg.eigh(spread**2 * moves + noise)
        return np.maximum(values, _ROUNDING * values[-1]), axes

    def surprise(spread: float) -> float:
        values, axes = spectrum(spread)
        return float(np.log(values).sum() + ((axes.T @ beyond) ** 2 / values).sum())

    tried = np.geomspace(_LEAST_DAYS, _MOST_DAYS, 201)
    lost = [surprise(spread) - 2 * np.log(spread) for spread in tried]  # never 0, as in `pooled_effects`
    spread = float(tried[np.argmin(lost)])
    values, axes = spectrum(spread)
    gain = spread**2 * (total.T @ axes / values) @ axes.T
    coefficients[told] += gain @ beyond / reach[told]
    remains = spread**2 * (np.eye(len(total)) - gain @ total)
    covariance[inner] = (remains + remains.T) / 2 / np.outer(reach[told], reach[told])
    identified = np.zeros(len(expected), bool)
    identified[told] = (right[~known] ** 2).sum(axis=0) < 0.5
    return GEstimates(coefficients, covariance, spread, identified)


def held_out_g_estimates(moments: Moments, predicted: Doubles, given: Doubles | None = None) -> CalibrationSlope:
    """Slope of what was seen on what coefficients foretell that were fitted without the users concerned.

    Args:
        moments: of a log.
        predicted: (folds, p) coefficients, each fold's made without its users.
        given: (folds, p) others, of what is taken for known already.
    """
    moment = moments.moment
    if given is not None:
        moment = moment - np.einsum("cpq,cq->cp", moments.gram, given[moments.fold])
    mine = predicted[moments.fold]  # (clusters, p)
    told = np.einsum("cp,cpq,cq->c", mine, moments.gram, mine)
    seen = np.einsum("cp,cp->c", mine, moment)
    total = float(told.sum())
    if not total > NOTHING_DAYS**2 * moments.mass:
        return CalibrationSlope(0.0, np.inf)
    slope = float(seen.sum()) / total
    return CalibrationSlope(slope, float(np.sqrt(2 * ((seen - slope * told) ** 2).sum())) / total)
