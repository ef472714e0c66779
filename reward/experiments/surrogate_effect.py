"""Effects on a surrogate index: their error, and how far it can be off where surrogacy fails."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from reward.statistics.intervals import normal, student
from reward.statistics.regression import LEAST_SCALE

MOST = 1e60  # of a number that is squared twice


class Violations(NamedTuple):
    """Effects of past tests on the outcome beside the surrogates, in residual standard deviations of the outcome.

    ``mean`` and ``spread`` are of the true ones over tests, ``mean_se`` is the standard error of the mean, ``tests``
    their number.
    """

    mean: float
    spread: float
    mean_se: float
    tests: int


@dataclass(frozen=True)
class IndexEffect:
    """The effect of a test on the surrogate index, and what a failed surrogacy could hide.

    Attributes:
        effect: τ̂, in the outcome's unit; the long-term effect if W moves Y through S alone.
        se: its standard error, clustered by user, with what h's estimation adds.
        uncorrected: the effect without the correction for the error of h.
        residual_sd: σ, standard deviation of Y − h(S, X) in the past sample.
        unexplained: share of the variance of W that S and X do not foretell, 1 − R².
        share: e, share treated.
    """

    effect: float
    se: float
    uncorrected: float
    residual_sd: float
    unexplained: float
    share: float

    @property
    def worst_bias(self) -> float:
        """What no failed surrogacy can exceed: ``σ · √((1 − R²) / (e (1 − e)))``, by Cauchy and Schwarz.

        It is reached where all that S leaves of Y is the doing of what S leaves of W: rarely less than two residual
        standard deviations of one user, where an effect is hundredths of one.

        Source: Athey, Chetty, Imbens and Kang 2019, The Surrogate Index (NBER 26463), bounds on the bias.
        """
        return self.residual_sd * math.sqrt(self.unexplained / (self.share * (1 - self.share)))

    @property
    def bias_per_sd(self) -> float:
        """Bias, in the outcome's unit, of a direct effect of W on Y of one residual standard deviation: σ (1 − R²)."""
        return self.residual_sd * self.unexplained

    @property
    def turning_point(self) -> float:
        """Direct effect of W on Y, beside S and in residual standard deviations, that would turn the effect's sign."""
        return abs(self.effect) / self.bias_per_sd if self.bias_per_sd > 0 else math.inf

    def interval(self, level: float, *, bias: float = 0.0) -> tuple[float, float]:
        """Interval of the long-term effect, were |bias| at most the given, in the outcome's unit.

        ``τ̂ ± (bias + z · se)``. With `worst_bias` it covers whether surrogacy holds or not; with 0 where it holds.

        Raises:
            ValueError: the level lies outside (0, 1), or the bias is below 0.
        """
        if not 0 <= bias < math.inf:
            raise ValueError(f"bias expected a bound of at least 0, got {bias}: give its absolute value")
        half = bias + normal(level) * self.se
        return self.effect - half, self.effect + half

    def predictive_interval(self, level: float, violations: Violations) -> tuple[float, float]:
        """Interval of the long-term effect of a test whose direct effect is one like those of past tests.

        ``τ̂ + m u ± t · √(se² + u² (spread² + mean_se²))``, u = `bias_per_sd`, m = ``violations.mean``, t Student's
        quantile with two degrees of freedom less than past tests.

        Raises:
            ValueError: the level lies outside (0, 1).

        Source: Higgins, Thompson and Spiegelhalter 2009, A re-evaluation of random-effects meta-analysis, section 4.
        """
        unit = self.bias_per_sd
        middle = self.effect + unit * violations.mean
        error = math.hypot(self.se, unit * violations.spread, unit * violations.mean_se)
        half = student(level, violations.tests - 2) * error
        return middle - half, middle + half


@dataclass(frozen=True)
class Gap:
    """A test that has run to the end: its long-term effect against the one on the index.

    Attributes:
        index: what was told early.
        effect: the effect on the outcome itself, its standard error clustered by user.
        se: its standard error.
        direct: (effect − index) / `IndexEffect.bias_per_sd`: what surrogacy left out, in residual standard deviations.
        direct_se: its standard error; both share users, and their errors do not add up.
    """

    index: IndexEffect
    effect: float
    se: float
    direct: float
    direct_se: float


def violations(direct: npt.ArrayLike, se: npt.ArrayLike) -> Violations:
    """Mean and spread of the direct effects behind those that past tests showed.

    The spread is what is left when the errors are taken off: with weights 1/se², Q = Σ w (d − d̄)², it is
    ``√max(0, (Q − (K − 1)) / (Σ w − Σ w² / Σ w))``; the mean weighs a test by 1 / (spread² + se²).

    Args:
        direct: (K,) `Gap.direct` of each.
        se: (K,) `Gap.direct_se`.

    Raises:
        ValueError: fewer than 5 tests, a number that is not finite, or a standard error that is not above 0.

    Source: DerSimonian and Laird 1986, Meta-analysis in clinical trials.

    >>> found = violations([0.0, 1.0, 2.0, 3.0, 4.0], [0.5, 0.5, 0.5, 0.5, 0.5])  # variance 2.5, of which errors .25
    >>> found.mean, found.spread, round(found.mean_se, 4)
    (2.0, 1.5, 0.7071)

    """
    found, errors = (np.asarray(values, np.float64) for values in (direct, se))
    fit = found.shape == errors.shape and found.ndim == 1 and len(found) >= 5
    if not fit or not (np.isfinite(found) & np.isfinite(errors) & (errors > 0)).all():
        raise ValueError(
            f"expected direct effects of at least 5 tests and as many standard errors above 0, got shapes "
            f"{found.shape} and {errors.shape}"
        )
    unit = float(errors.max())
    with np.errstate(over="ignore"):
        found, errors = found / unit, errors / unit
    if not (errors > LEAST_SCALE).all() or not (np.abs(found) < MOST).all() or not unit > LEAST_SCALE:
        raise ValueError("expected direct effects and standard errors of one order, got some beyond all others")
    weight = errors**-2
    apart = weight @ (found - weight @ found / weight.sum()) ** 2
    spread = math.sqrt(max(0.0, (apart - (len(found) - 1)) / (weight.sum() - (weight**2).sum() / weight.sum())))
    weight = 1 / (spread**2 + errors**2)
    mean, mean_se = float(weight @ found / weight.sum()), float(weight.sum() ** -0.5)
    return Violations(unit * mean, unit * spread, unit * mean_se, len(found))
