"""The estimator of distal causal excursion effects: arrays of decision points in, effects with their errors out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reward.arrays import Doubles, Ints
from reward.statistics.intervals import student

_ALONE = 1e-9  # what must be left of a direction of the moderators without any one user


@dataclass(frozen=True)
class ExcursionFit:
    """A projection of effects on moderators.

    Attributes:
        coefficients: (p,) of the intercept and the moderators, in the outcome's unit.
        covariance: (p, p) of these, clustered by user.
        degrees_of_freedom: users less coefficients.
    """

    coefficients: Doubles
    covariance: Doubles
    degrees_of_freedom: int

    @property
    def standard_errors(self) -> Doubles:
        """(p,)."""
        return np.sqrt(self.covariance.diagonal())

    def intervals(self, level: float) -> Doubles:
        """(p, 2) intervals of the coefficients, by Student's t with `degrees_of_freedom`.

        Raises:
            ValueError: the level lies outside (0, 1), or there are fewer than 3 degrees of freedom.
        """
        half = student(level, self.degrees_of_freedom) * self.standard_errors
        return np.stack([self.coefficients - half, self.coefficients + half], axis=1)


def expected_by_arm(outcome: Doubles, treatment: Ints, controls: Doubles, *, fold: Ints | None = None) -> Doubles:
    """The outcome expected without and with treatment: a linear regression on the controls in each arm.

    Effects stay unbiased where these regressions are wrong, since the probabilities of treatment are known; the better
    they are, the smaller are the standard errors.

    Args:
        outcome: (n,) of the user of each decision point.
        treatment: (n,) 0 or 1.
        controls: (n, k) what was known before each decision; an intercept is added.
        fold: (n,) of the user, from 0: each is foretold from the others. None: no cross-fitting.

    Returns:
        (n, 2) for treatment 0 and 1.

    Raises:
        ValueError: an arm that is to be learned from is empty, or a treatment is neither 0 nor 1.
    """
    columns = np.column_stack([np.ones(len(outcome)), controls])
    _check_treatment(treatment)
    expected = np.empty((len(outcome), 2))
    for one in (None,) if fold is None else np.unique(fold):
        held = np.ones(len(outcome), bool) if one is None else fold == one
        for arm in (0, 1):
            learnt = (treatment == arm) & (held if one is None else ~held)
            if not learnt.any():
                raise ValueError(f"arm {arm} expected decision points to learn from, there is none: give more users")
            expected[held, arm] = columns[held] @ np.linalg.lstsq(columns[learnt], outcome[learnt], rcond=None)[0]
    return expected


def excursion_effects(
    outcome: Doubles,
    treatment: Ints,
    probability: Doubles,
    user: Ints,
    expected: Doubles,
    *,
    moderators: Doubles | None = None,
    available: Ints | None = None,
    weight: Doubles | None = None,
    small_sample: bool,
) -> ExcursionFit:
    """Effects of treatment at one decision point, with every other one as the policy decides it.

    With p the probability of treatment, A the treatment, I the availability, μ_a the outcome expected in arm a, and S
    an intercept and the moderators, the coefficients β solve

        Σ ω S [I (A/p − (1 − A)/(1 − p)) (Y − (1 − p) μ_1 − p μ_0) − S'β] = 0.

    Where a user is not available, the effect is 0, since no treatment can be given: an effect averages over these
    decision points too.

    Args:
        outcome: (n,) Y of the user of each decision point, measured after it.
        treatment: (n,) A, 0 or 1.
        probability: (n,) p of treatment given all that was known, inside (0, 1).
        user: (n,) from 0: whose decision point it is.
        expected: (n, 2) μ_0 and μ_1, such as `expected_by_arm` makes.
        moderators: (n, p − 1) what the effect may depend on, known before the decision; None: the average effect.
        available: (n,) I, 0 or 1; None: always.
        weight: (n,) ω of each decision point, at least 0; None: all alike.
        small_sample: see `clustered`.

    Raises:
        ValueError: shapes or values do not fit; or the moderators are collinear, see `clustered`.

    Source:
        Qian, "Distal causal excursion effects" (arXiv 2502.13500); Boruvka et al., "Assessing time-varying causal
        effect moderation in mobile health" (JASA 2018).

    >>> y, a, user = np.array([3.0, 1.0, 5.0, 3.0]), np.array([1, 0, 1, 0]), np.arange(4)
    >>> excursion_effects(y, a, np.full(4, 0.5), user, np.zeros((4, 2)), small_sample=False).coefficients
    array([2.])
    """
    n = len(outcome)
    there = np.ones(n) if available is None else np.asarray(available, np.float64)
    heavy = np.ones(n) if weight is None else np.asarray(weight, np.float64)
    for name, part, shape in (
        ("treatment", treatment, (n,)),
        ("probability", probability, (n,)),
        ("user", user, (n,)),
        ("expected", expected, (n, 2)),
        ("available", there, (n,)),
        ("weight", heavy, (n,)),
    ):
        if np.shape(part) != shape:
            raise ValueError(f"{name} expected shape {shape} as outcome has {n} decision points, got {np.shape(part)}")
    _check_treatment(treatment)
    used = there > 0
    if not ((probability[used] > 0) & (probability[used] < 1)).all():
        raise ValueError("probability expected numbers above 0 and below 1 wherever a user is available")
    chance = np.where(used, probability, 0.5)
    signed = np.where(treatment == 1, 1 / chance, -1 / (1 - chance))
    value = there * signed * (outcome - (1 - chance) * expected[:, 1] - chance * expected[:, 0])
    columns = np.ones((n, 1)) if moderators is None else np.column_stack([np.ones(n), moderators])
    return clustered(columns, value, heavy, user, small_sample=small_sample)


def clustered(columns: Doubles, value: Doubles, weight: Doubles, user: Ints, *, small_sample: bool) -> ExcursionFit:
    """Weighted least squares with a sandwich covariance clustered by user.

    With G = Σ ω S S' of a user's rows and B the sum of all users' G, the score U of each user becomes
    (I − G B⁻¹)⁻¹ U where ``small_sample``: what the user's own rows took of their residuals is given back.

    Args:
        columns: (n, p) S.
        value: (n,) what is projected on them.
        weight: (n,) ω, at least 0.
        user: (n,) from 0.
        small_sample: correct the covariance by each user's leverage.

    Raises:
        ValueError: the columns are collinear; there are no more users than columns; or ``small_sample`` and one user
            alone tells of a coefficient.

    Source:
        Liang and Zeger, "Longitudinal data analysis using generalized linear models" (Biometrika 1986); Mancl and
        DeRouen, "A covariance estimator for GEE with improved small-sample properties" (Biometrics 2001).
    """
    users, p = int(user.max(initial=-1)) + 1, columns.shape[1]
    counted = len(np.unique(user))
    if counted <= p:
        raise ValueError(f"effects expected more users than the {p} coefficients, got {counted}: drop moderators")
    heavy = weight[:, None] * columns
    gram = np.stack([_by_user(heavy * part[:, None], user, users) for part in columns.T], axis=2)  # (users, p, p)
    bread = gram.sum(axis=0)
    if np.linalg.matrix_rank(bread, hermitian=True) < p:
        raise ValueError("moderators expected columns of which none is a sum of others: drop one")
    coefficients = np.linalg.solve(bread, heavy.T @ value)
    score = _by_user(heavy * (value - columns @ coefficients)[:, None], user, users)
    inverse = np.linalg.inv(bread)
    if small_sample:
        score = _without_leverage(score, gram @ inverse)
    meat = score.T @ score
    return ExcursionFit(coefficients, inverse @ meat @ inverse, counted - p)


def _without_leverage(score: Doubles, leverage: Doubles) -> Doubles:
    """(users, p) scores as they would be of residuals in which the user took no part."""
    left = np.eye(score.shape[1]) - leverage
    if np.abs(np.linalg.det(left)).min() < _ALONE:
        raise ValueError(
            "small_sample expected every coefficient to be told of by several users, one of them is told of by one "
            "alone: drop a moderator, or set small_sample=False"
        )
    return np.asarray(np.linalg.solve(left, score[..., None])[..., 0], np.float64)


def _by_user(values: Doubles, user: Ints, users: int) -> Doubles:
    """(users, columns) sums of the rows of each user."""
    return np.stack([np.bincount(user, column, users) for column in values.T], axis=1)


def _check_treatment(treatment: Ints) -> None:
    if not np.isin(treatment, (0, 1)).all():
        raise ValueError("treatment expected 0 or 1 at every decision point")
