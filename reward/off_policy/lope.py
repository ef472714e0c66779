"""Long-term value from short-term rewards and a learned residual: weights of what happened first, not of what was done.

What an action does later it does partly by way of what it does now. So a row need not weigh by how much more often the
target policy would have taken its action; it is enough to weigh by how much more often its *short-term rewards* would
have come about. That is the mean of the actions' weights given context and short-term rewards, and varies less. What
the action does beside its short-term rewards is left to the model, and so is its error.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from reward.arrays import Doubles, Ints
from reward.off_policy.doubly_robust import augmented
from reward.off_policy.estimate import Estimate
from reward.off_policy.feedback import LoggedFeedback
from reward.off_policy.ips import above_zero
from reward.off_policy.reward_model import action_regression


def long_term(
    rows: LoggedFeedback,
    weight: npt.ArrayLike,
    predicted: npt.ArrayLike,
    expected: npt.ArrayLike,
    *,
    most: float = np.inf,
) -> Estimate:
    """LOPE: ``mean(w(x, s) (r − q̂(x, a)) + Σ_a π(a|x) q̂(x, a))``.

    Unbiased if, given context and short-term rewards, what the model gets wrong of the long-term reward does not
    depend on the action; much weaker than surrogacy, by which the action matters through the short-term rewards alone.

    Args:
        rows: of the log, long-term rewards (n,).
        weight: (n,) w(x, s), as `marginal_weight` makes it; at least 0.
        predicted: (n,) what a model expects of the action taken, learned without the row's own user.
        expected: (n,) what it expects under the target policy.
        most: the largest weight, above 0; what lies above is left to the model.

    Raises:
        ValueError: shapes or values that do not fit.
        TooFewEffectiveRows: the weights leave fewer rows than the log asks for.
        MeanWeightOff: they do not average 1; where some are clipped, they average more.

    Source:
        Saito et al. (2024), Long-term off-policy evaluation and learning, equation (9).

    >>> rows = LoggedFeedback(reward=[1, 0], propensity=[0.5, 0.5], min_effective_sample_size=1)
    >>> long_term(rows, [1.5, 0.5], [0.5, 0.5], [0.25, 0.75]).value  # (1½·½ + ¼ − ½·½ + ¾) / 2
    0.75

    """
    mass = np.asarray(weight, np.float64)
    if mass.shape != (len(rows),) or not ((mass >= 0) & (mass < np.inf)).all():
        raise ValueError(
            f"expected a finite weight of at least 0 for each of the {len(rows)} rows, got shape {mass.shape}: take "
            "what marginal_weight returns"
        )
    return augmented(rows, mass, predicted, expected, most=above_zero(most))


def marginal_weight(target: npt.ArrayLike, logging: npt.ArrayLike, posterior: npt.ArrayLike) -> Doubles:
    """How much likelier the target policy makes the short-term rewards that came.

    ``w(x, s) = Σ_a P(a | x, s) π(a|x) / π₀(a|x)  =  p(s | x, π) / p(s | x, π₀)``.

    Args:
        target: (n, actions) the target policy.
        logging: (n, actions) the logging policy, above 0 wherever the target is.
        posterior: (n, actions) the chance of each action under the logging policy, given context and short-term
            rewards; of `action_posterior` or any classifier's.

    Returns:
        (n,), of mean 1.

    Raises:
        ValueError: shapes that do not fit, rows that do not sum to 1, or a target policy that does what the logging
            policy never does.

    Source:
        Saito et al. (2024), section 4; Saito and Joachims (2022), Off-policy evaluation for large action spaces via
        embeddings.

    >>> marginal_weight([[0.9, 0.1]], [[0.5, 0.5]], [[0.75, 0.25]])  # ¾ · 1.8 + ¼ · 0.2
    array([1.4])

    """
    one, zero, of = (
        distribution("target", target),
        distribution("logging", logging),
        distribution("posterior", posterior),
    )
    if not one.shape == zero.shape == of.shape:
        raise ValueError(f"expected three matrices (n, actions), got {one.shape}, {zero.shape} and {of.shape}")
    if (untried := (one > 0) & (zero <= 0)).any():
        raise ValueError(
            f"the target policy does in {int(untried.any(axis=1).sum())} rows what the logging policy never does "
            "there: no log tells of that; evaluate a policy that keeps to what is tried"
        )
    return np.asarray((of * np.divide(one, zero, out=np.zeros_like(one), where=zero > 0)).sum(axis=1))


def action_posterior(
    context: Doubles,
    actions: Doubles,
    action: Ints,
    short_term: Doubles,
    logging: Doubles,
    fold: Ints,
    *,
    widened: float = 1,
) -> Doubles:
    """Chance of each action given context and short-term rewards, by Bayes' rule from the known propensities.

    ``P(a | x, s) ∝ π₀(a|x) · N(s; f̂(x, a), widened · Σ̂)``, where f̂ is `action_regression` of each short-term
    reward and Σ̂ the covariance of its held-out residuals. Propensities are logged, so only the short-term rewards have
    to be modelled; a classifier has to learn both.

    Args:
        context: (n, p).
        actions: (actions, q) features of the actions; the identity if they have none.
        action: (n,) codes of the actions taken.
        short_term: (n, rewards), not all of them constant.
        logging: (n, actions) the logging policy.
        fold: (n,) cross-fitting fold of each row's user, from 0.
        widened: above 0; 1 is the posterior; the more above, the nearer to π₀, and the weights to 1: bias for
            variance.

    Returns:
        (n, actions), rows sum to 1.

    Raises:
        ValueError: as `action_regression`, ``widened`` not above 0, or a logging policy whose rows do not sum to 1.
    """
    if not 1e-6 <= widened < np.inf:
        raise ValueError(f"expected widened above 0, got {widened}: 1 takes the short-term rewards' noise as it is")
    prior = distribution("logging", logging)
    if np.ndim(short_term) != 2 or np.ndim(actions) != 2 or prior.shape != (len(short_term), len(actions)):
        raise ValueError(
            f"expected short_term (n, rewards) and logging (n, actions) for actions of shape {np.shape(actions)}, got "
            f"{np.shape(short_term)} and {prior.shape}"
        )
    told = np.stack(
        [action_regression(context, actions, action, each, fold, strength=1) for each in short_term.T], axis=2
    )
    rest = short_term - told[np.arange(len(action)), action]
    noise = rest.T @ rest / len(rest)
    spread = np.sqrt(np.diag(noise))
    if (spread <= 0).any():
        raise ValueError("expected short-term rewards that vary, got one foretold without error: leave it out")
    inverse = np.linalg.inv(noise / np.outer(spread, spread) + 1e-9 * np.eye(len(noise)))
    off = (short_term[:, None, :] - told) / spread
    surprise = np.einsum("nas,st,nat->na", off, inverse, off)
    with np.errstate(divide="ignore"):  # what is never done stays so
        score = np.log(prior) - surprise / (2 * widened)
    likely = np.exp(score - score.max(axis=1, keepdims=True))
    return np.asarray(likely / likely.sum(axis=1, keepdims=True))


def distribution(name: str, matrix: npt.ArrayLike) -> Doubles:
    """(n, actions), at least 0, whose rows sum to 1."""
    chance = np.asarray(matrix, np.float64)
    if (
        chance.ndim != 2
        or not (chance >= 0).all()
        or not (chance <= 1 + 1e-6).all()
        or not np.allclose(chance.sum(axis=1), 1, atol=1e-6)
    ):
        raise ValueError(f"expected {name} (n, actions) of rows that sum to 1, got shape {chance.shape}")
    return chance
