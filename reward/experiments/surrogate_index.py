"""The surrogate index: a test's long-term effect from its users' first days, and how wrong that may be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from reward.arrays import Bools, Doubles, Ints
from reward.experiments.surrogate_effect import MOST, Gap, IndexEffect
from reward.off_policy.reward_model import folds
from reward.statistics.clustered import clustered_error
from reward.statistics.regression import Regression, expanded, gram, linear, moments


@dataclass(frozen=True)
class PastExperiments:
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
    surrogates: Doubles
    outcome: Doubles
    covariates: Doubles | None = None

    def __post_init__(self) -> None:
        _check(self.user, self.surrogates, self.covariates, outcome=self.outcome)

    @property
    def features(self) -> Doubles:
        """(n, p + q) surrogates and covariates."""
        return _joined(self.surrogates, self.covariates)


@dataclass(frozen=True)
class Experiment:
    """Users of an A/B test, at a time when what is seen early of them has been seen.

    Attributes:
        user: (n,).
        surrogates: (n, p) the same as in `PastExperiments`.
        treated: (n,) bool, W.
        covariates: (n, q) the same as in `PastExperiments`.

    Raises:
        ValueError: shapes do not fit, a number is not finite, or an arm has fewer than 2 rows.
    """

    user: npt.NDArray[Any]
    surrogates: Doubles
    treated: Bools
    covariates: Doubles | None = None

    def __post_init__(self) -> None:
        _check(self.user, self.surrogates, self.covariates, treated=self.treated)
        if self.treated.dtype != np.bool_ or min(self.treated.sum(), (~self.treated).sum()) < 2:
            raise ValueError(
                f"treated expected booleans with at least 2 rows in each arm, got {self.treated.dtype} with "
                f"{np.count_nonzero(self.treated)} of {len(self.treated)} treated"
            )

    @property
    def features(self) -> Doubles:
        """(n, p + q) surrogates and covariates."""
        return _joined(self.surrogates, self.covariates)


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

    def effect(self, test: Experiment, past: PastExperiments) -> IndexEffect:
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

    def gap(self, test: Experiment, outcome: Doubles, past: PastExperiments) -> Gap:
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

    def _parts(self, test: Experiment, past: PastExperiments, outcome: Doubles | None = None) -> _Parts:
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
                np.column_stack([expanded(x, self.degree), of_x]) for x, of_x in ((x_past, of_past), (x_test, of_test))
            )
            a = _representer(in_past, in_test, weight, ~mine, ~theirs, self.ridge)
            correction[theirs] = a[theirs] * residual[theirs]
            of_index[mine] = _augmented(of_test, test, mine, share, smooth)
            if outcome is not None:
                of_outcome[mine] = _augmented(outcome, test, mine, share, smooth)
            surprise[mine] = treated[mine] - smooth(x_test[~mine], treated[~mine].astype(np.float64))(x_test[mine])
        return _Parts((code[:size], code[size:]), of_index, correction, of_outcome, residual, surprise)


class _Parts(NamedTuple):
    codes: tuple[Ints, Ints]  # users of the test's rows and of the past's, from 0
    of_index: Doubles  # (test rows,) whose mean is the uncorrected effect
    correction: Doubles  # (past rows,)
    outcome: Doubles  # (test rows,) whose mean is the effect on the outcome; 0 where it is not given
    residual: Doubles  # (past rows,) Y − h
    surprise: Doubles  # (test rows,) W − P(W = 1 | S, X)

    def error(self, test: Doubles, past: Doubles) -> float:
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


def _augmented(values: Doubles, test: Experiment, mine: Bools, share: float, smooth: Regression) -> Doubles:
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


def _representer(
    past: Doubles, test: Doubles, weight: Doubles, of_test: Bools, of_past: Bools, ridge: float
) -> Doubles:
    """(past rows,) a: the combination of 1 and the columns with E_past[a f] = E_test[ω f] for each f of these."""
    known, shown = past[of_past], test[of_test]
    mean, scale = moments(known)
    z, other = (known - mean) / scale, (shown - mean) / scale
    # the columns are centred in the past, so that the 1 stands apart from them
    level = weight[of_test].mean()
    pull = other.T @ weight[of_test] / len(other)
    return level + (past - mean) / scale @ np.linalg.solve(gram(z, ridge), pull)


def _joined(surrogates: Doubles, covariates: Doubles | None) -> Doubles:
    return surrogates if covariates is None else np.concatenate([surrogates, covariates], axis=1)


def _check(
    user: npt.NDArray[Any], surrogates: Doubles, covariates: Doubles | None, **columns: npt.NDArray[Any]
) -> None:
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
        wrong = ~(np.abs(values.astype(np.float64)) < MOST)
        if wrong.any():
            raise ValueError(f"{name} expected finite numbers, got others in {wrong.sum()} places; {MOST:g} is most")
