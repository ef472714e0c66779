"""The surrogate index: a test's long-term effect from its users' first days, and how wrong that may be."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from reward.evaluation.baselines import boosting_with
from reward.evaluation.off_policy.ridge import folds
from reward.evaluation.resampling import Bools, Floats, Ints, clustered_error
from reward.experiments.quantiles import normal, student

Regression = Callable[[Floats, Floats], Callable[[Floats], Floats]]  # features (n, p), outcome (n,) -> features -> (m,)

_LEAST_SCALE = 1e-100  # of a column that varies
_MOST = 1e60  # of a number that is squared twice


@dataclass(frozen=True)
class Past:
    """Users whose long-term outcome is known: what the index is learned from.

    Attributes:
        user: (n,) whose row it is; rows of one user are not independent.
        surrogates: (n, p) S, what is seen early.
        outcome: (n,) Y, in the outcome's own unit.
        covariates: (n, q) X, known before the test could change anything; None: none.

    Raises:
        ValueError: shapes do not fit, or a number is not finite.
    """

    user: npt.NDArray[Any]
    surrogates: Floats
    outcome: Floats
    covariates: Floats | None = None

    def __post_init__(self) -> None:
        _check(self.user, self.surrogates, self.covariates, outcome=self.outcome)

    @property
    def features(self) -> Floats:
        """(n, p + q) surrogates and covariates."""
        return _joined(self.surrogates, self.covariates)


@dataclass(frozen=True)
class Experiment:
    """Users of an A/B test, at a time when what is seen early of them has been seen.

    Attributes:
        user: (n,).
        surrogates: (n, p) the same as in `Past`.
        treated: (n,) bool, W.
        covariates: (n, q) the same as in `Past`.

    Raises:
        ValueError: shapes do not fit, a number is not finite, or an arm has fewer than 2 rows.
    """

    user: npt.NDArray[Any]
    surrogates: Floats
    treated: Bools
    covariates: Floats | None = None

    def __post_init__(self) -> None:
        _check(self.user, self.surrogates, self.covariates, treated=self.treated)
        if self.treated.dtype != np.bool_ or min(self.treated.sum(), (~self.treated).sum()) < 2:
            raise ValueError(
                f"treated expected booleans with at least 2 rows in each arm, got {self.treated.dtype} with "
                f"{np.count_nonzero(self.treated)} of {len(self.treated)} treated"
            )

    @property
    def features(self) -> Floats:
        """(n, p + q) surrogates and covariates."""
        return _joined(self.surrogates, self.covariates)


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


def linear(*, ridge: float, degree: int) -> Regression:
    """Ridge regression with a free intercept.

    Minimises ``mean (y − a − z'b)² + ridge · |b|²`` over columns z standardised by the rows it is fitted on.

    Args:
        ridge: penalty, at least 0.
        degree: 2: with all products of two features, squares among them; 1: without.

    Raises:
        ValueError: a negative penalty, or another degree; of what it returns, rows that are none or not finite.

    >>> x = np.array([[0.0], [1.0], [2.0]])
    >>> linear(ridge=0, degree=1)(x, np.array([1.0, 3.0, 5.0]))(np.array([[4.0]]))
    array([9.])

    """
    if not 0 <= ridge < math.inf or degree not in (1, 2):
        raise ValueError(f"expected ridge of at least 0 and degree 1 or 2, got {ridge} and {degree}")

    def fit(features: Floats, outcome: Floats) -> Callable[[Floats], Floats]:
        if not len(features) or not (np.isfinite(features).all() and np.isfinite(outcome).all()):
            raise ValueError(
                f"a regression expected rows of finite features and outcomes, got {len(features)} rows or others: "
                "learn from more users, whose outcome is known"
            )
        raw = _expanded(features, degree)
        mean, scale = _moments(raw)
        z, level = (raw - mean) / scale, outcome.mean()
        weights = np.linalg.solve(_gram(z, ridge), z.T @ (outcome - level) / len(z))
        return lambda others: level + (_expanded(others, degree) - mean) / scale @ weights

    return fit


def boosted(*, parameters: dict[str, Any], trees: int, num_threads: int, seed: int) -> Regression:
    """Gradient-boosted trees of LightGBM on the squared error; the same arguments give the same trees.

    Args:
        parameters: LightGBM's own, by its names.
        trees: how many.
        num_threads: threads that LightGBM uses.
        seed: draws the rows and columns that ``parameters`` may ask each tree to leave out.

    Raises:
        ImportError: LightGBM is not installed.
    """
    lightgbm, setting = boosting_with(parameters, objective="regression", num_threads=num_threads, seed=seed)

    def fit(features: Floats, outcome: Floats) -> Callable[[Floats], Floats]:
        booster = lightgbm.train(setting, lightgbm.Dataset(features, outcome, params=setting), trees)
        return lambda others: np.asarray(booster.predict(others, num_threads=num_threads), np.float64)

    return fit


@dataclass(frozen=True)
class SurrogateIndex:
    """The cross-fitted surrogate index h(s, x) = E[Y | S = s, X = x], and what it says of a test.

    h, and the two parts that guard against its errors, a and ν below, are learned without the users of the rows they
    are applied to, be these in one sample or both; the past sample may be the test itself.

    Attributes:
        regression: how h is learned.
        folds: of users, at least 2.
        degree: of a, as in `linear`; 1 is for samples too small for products.
        ridge: penalty of a and of ν, as in `linear`.
        seed: draws the folds.

    Raises:
        ValueError: fewer than 2 folds, a negative penalty, or another degree.
    """

    regression: Regression
    folds: int
    degree: int
    ridge: float
    seed: int

    def __post_init__(self) -> None:
        linear(ridge=self.ridge, degree=self.degree)
        if not self.folds >= 2:
            raise ValueError(f"folds expected at least 2, got {self.folds}: a row is foretold by others' users")

    def effect(self, test: Experiment, past: Past) -> IndexEffect:
        """The effect of a test on the index.

        With ω = W/e − (1 − W)/(1 − e) and ν_w(x) = E[h | W = w, X = x], the doubly robust form

            τ̂ = mean_test [ν₁ − ν₀ + W/e (h − ν₁) − (1 − W)/(1 − e) (h − ν₀)] + mean_past [a(S, X) (Y − h(S, X))]

        where a is the weight of a past row that makes the past look like the test's arms, treated minus control:
        ``E_past[a f] = E_test[ω f]`` for every f of (s, x). It is the product of the density ratio of the two samples
        and (P(W = 1 | s, x) − e) / (e (1 − e)), and is solved for directly, as the linear combination of 1, s, x,
        their products and h that has this property; no density is estimated. An error of h counts only in so far as a
        misses it too.

        The effect is the long-term one under three assumptions: arms were drawn at random, with one share for all; Y
        given S and X is the same in both samples (comparability); W moves Y through S alone (surrogacy). The third is
        what `IndexEffect` bounds.

        Args:
            test: users of the test.
            past: users whose outcome is known.

        Raises:
            ValueError: the samples have other columns, or fewer users than folds.

        Source: Athey, Chetty, Imbens and Kang 2019 (NBER 26463); Chen and Ritzwoller 2023, Semiparametric estimation
        of long-term treatment effects (influence function under surrogacy); Chernozhukov, Newey and Singh 2022,
        Automatic debiased machine learning (a as a regression).
        """
        return _index_effect(test, self._parts(test, past))

    def gap(self, test: Experiment, outcome: Floats, past: Past) -> Gap:
        """How far a test's effect on the index was from its effect on the outcome, now that the outcome is known.

        Args:
            test: users of the test.
            outcome: (n,) their Y.
            past: other users, of before: those of the test would teach h the test's own result.

        Raises:
            ValueError: see `effect`; ``outcome`` is not one finite number a row, or surrogates leave nothing of it.
        """
        _check(test.user, test.surrogates, test.covariates, outcome=outcome)
        parts = self._parts(test, past, outcome)
        index, long_term = _index_effect(test, parts), float(parts.outcome.mean())
        unit = index.bias_per_sd
        if not unit > 0:
            raise ValueError(
                "a gap expected surrogates that leave something of the outcome and of the treatment, got some that "
                "foretell one of them without error: leave out what is the outcome or the arm itself"
            )
        return Gap(
            index=index,
            effect=long_term,
            se=parts.error(parts.outcome, np.zeros(len(past.user))),
            direct=(long_term - index.effect) / unit,
            direct_se=parts.error(parts.outcome - parts.of_index, -parts.correction) / unit,
        )

    def _parts(self, test: Experiment, past: Past, outcome: Floats | None = None) -> _Parts:
        x_test, x_past = test.features, past.features
        if x_test.shape[1] != x_past.shape[1] or test.surrogates.shape[1] != past.surrogates.shape[1]:
            raise ValueError(
                f"expected the same surrogates and covariates in both samples, got {test.surrogates.shape[1]} of "
                f"{x_test.shape[1]} columns in the test and {past.surrogates.shape[1]} of {x_past.shape[1]} in the past"
            )
        _, code = np.unique(np.concatenate([test.user, past.user]), return_inverse=True)
        users, size = int(code.max()) + 1, len(test.user)
        if users < self.folds:
            raise ValueError(f"expected at least as many users as folds, got {users} and {self.folds}")
        fold = folds(users, self.folds, self.seed)[code]
        treated, share = test.treated, float(test.treated.mean())
        weight = np.where(treated, 1 / share, -1 / (1 - share))
        smooth = linear(ridge=self.ridge, degree=1)
        of_index, of_outcome, surprise = np.empty(size), np.zeros(size), np.empty(size)
        correction, residual = np.empty(len(past.user)), np.empty(len(past.user))
        for one in range(self.folds):
            mine, theirs = fold[:size] == one, fold[size:] == one
            h = self.regression(x_past[~theirs], past.outcome[~theirs])
            of_test, of_past = h(x_test), h(x_past)
            residual[theirs] = past.outcome[theirs] - of_past[theirs]
            in_past, in_test = (
                np.column_stack([_expanded(x, self.degree), of_x]) for x, of_x in ((x_past, of_past), (x_test, of_test))
            )
            a = _representer(in_past, in_test, weight, ~mine, ~theirs, self.ridge)
            correction[theirs] = a[theirs] * residual[theirs]
            of_index[mine] = _augmented(of_test, test, mine, share, smooth)
            if outcome is not None:
                of_outcome[mine] = _augmented(outcome, test, mine, share, smooth)
            surprise[mine] = treated[mine] - smooth(x_test[~mine], treated[~mine].astype(np.float64))(x_test[mine])
        return _Parts((code[:size], code[size:]), of_index, correction, of_outcome, residual, surprise)


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
    if not (errors > _LEAST_SCALE).all() or not (np.abs(found) < _MOST).all() or not unit > _LEAST_SCALE:
        raise ValueError("expected direct effects and standard errors of one order, got some beyond all others")
    weight = errors**-2
    apart = weight @ (found - weight @ found / weight.sum()) ** 2
    spread = math.sqrt(max(0.0, (apart - (len(found) - 1)) / (weight.sum() - (weight**2).sum() / weight.sum())))
    weight = 1 / (spread**2 + errors**2)
    mean, mean_se = float(weight @ found / weight.sum()), float(weight.sum() ** -0.5)
    return Violations(unit * mean, unit * spread, unit * mean_se, len(found))


class _Parts(NamedTuple):
    codes: tuple[Ints, Ints]  # users of the test's rows and of the past's, from 0
    of_index: Floats  # (test rows,) whose mean is the uncorrected effect
    correction: Floats  # (past rows,)
    outcome: Floats  # (test rows,) whose mean is the effect on the outcome; 0 where it is not given
    residual: Floats  # (past rows,) Y − h
    surprise: Floats  # (test rows,) W − P(W = 1 | S, X)

    def error(self, test: Floats, past: Floats) -> float:
        """Of the sum of the two samples' means."""
        return clustered_error((self.codes[0], test), (self.codes[1], past))


def _index_effect(test: Experiment, parts: _Parts) -> IndexEffect:
    share = float(test.treated.mean())
    return IndexEffect(
        effect=float(parts.of_index.mean() + parts.correction.mean()),
        se=parts.error(parts.of_index, parts.correction),
        uncorrected=float(parts.of_index.mean()),
        residual_sd=float(np.sqrt(np.mean(parts.residual**2))),
        unexplained=min(1.0, float(np.mean(parts.surprise**2)) / (share * (1 - share))),
        share=share,
    )


def _augmented(values: Floats, test: Experiment, mine: Bools, share: float, smooth: Regression) -> Floats:
    """Of the rows ``mine``: what their mean adds to the effect on ``values``, adjusted for the covariates."""
    covariates = np.zeros((len(values), 0)) if test.covariates is None else test.covariates
    treated = test.treated[mine]
    if min((test.treated & ~mine).sum(), (~test.treated & ~mine).sum()) < 1:
        raise ValueError("expected users of both arms in two folds at least, got an arm within one: ask of fewer folds")
    expected = [
        smooth(covariates[arm & ~mine], values[arm & ~mine])(covariates[mine]) for arm in (~test.treated, test.treated)
    ]
    off = values[mine] - np.where(treated, expected[1], expected[0])
    return expected[1] - expected[0] + off * np.where(treated, 1 / share, -1 / (1 - share))


def _representer(past: Floats, test: Floats, weight: Floats, of_test: Bools, of_past: Bools, ridge: float) -> Floats:
    """(past rows,) a: the combination of 1 and the columns with E_past[a f] = E_test[ω f] for each f of these."""
    known, shown = past[of_past], test[of_test]
    mean, scale = _moments(known)
    z, other = (known - mean) / scale, (shown - mean) / scale
    # the columns are centred in the past, so that the 1 stands apart from them
    level = weight[of_test].mean()
    pull = other.T @ weight[of_test] / len(other)
    return level + (past - mean) / scale @ np.linalg.solve(_gram(z, ridge), pull)


def _moments(columns: Floats) -> tuple[Floats, Floats]:
    """Mean and standard deviation of each column, infinite where it does not vary: standardised it is 0."""
    mean, scale = columns.mean(0), columns.std(0)
    return mean, np.where(scale > np.maximum(1e-9 * np.abs(mean), _LEAST_SCALE), scale, np.inf)


def _gram(z: Floats, ridge: float) -> Floats:
    """Second moments of standardised columns with the penalty; the least one is for columns that are sums of others."""
    return z.T @ z / len(z) + max(ridge, 1e-10) * np.eye(z.shape[1])


def _expanded(features: Floats, degree: int) -> Floats:
    if degree == 1:
        return features
    one, other = np.triu_indices(features.shape[1])
    return np.concatenate([features, features[:, one] * features[:, other]], axis=1)


def _joined(surrogates: Floats, covariates: Floats | None) -> Floats:
    return surrogates if covariates is None else np.concatenate([surrogates, covariates], axis=1)


def _check(user: npt.NDArray[Any], surrogates: Floats, covariates: Floats | None, **columns: npt.NDArray[Any]) -> None:
    if np.ndim(user) != 1:
        raise ValueError(f"user expected shape (rows,), one for each row, got {np.shape(user)}")
    rows = len(user)
    matrices = {"surrogates": surrogates} | ({} if covariates is None else {"covariates": covariates})
    for name, values in matrices.items():
        if values.ndim != 2 or len(values) != rows:
            raise ValueError(f"{name} expected shape ({rows}, columns), a row for each user, got {values.shape}")
    for name, values in columns.items():
        if values.shape != (rows,):
            raise ValueError(f"{name} expected shape ({rows},), one for each user, got {values.shape}")
    for name, values in (matrices | columns).items():
        wrong = ~(np.abs(values.astype(np.float64)) < _MOST)
        if wrong.any():
            raise ValueError(f"{name} expected finite numbers, got others in {wrong.sum()} places; {_MOST:g} is most")
