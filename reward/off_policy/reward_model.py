"""A model of rewards for the estimators that want one: a ridge, as strong as the log itself says, cross-fitted."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from reward.arrays import Doubles, Ints

_STRENGTHS = np.geomspace(1e-4, 1e2, 25)  # tried, over the number of rows: features have unit scale
_MOST = 1e60  # of what is squared twice


def action_regression(
    context: npt.ArrayLike, actions: npt.ArrayLike, action: Ints, reward: npt.ArrayLike, fold: Ints, *, strength: float
) -> Doubles:
    """What is expected of every action in every row, learned without the row's fold.

    ``q̂(x, a) = [1 x] Θ [1 e_a]'``: context, action features and their products, of standardised columns, shrunk by
    ``strength`` times what the rewards say, ``Θ = Σ_k P(λ_k | r) Θ(strength · λ_k)``: of a grid of λ, each counts by
    its marginal likelihood, for a small noisy log does not tell one from the next. At 1 single predictions are about
    best. The mean of many under another policy, as the direct method and LOPE read it, wants less: averaging takes the
    noise away and leaves what shrinking took.

    Args:
        context: (n, p).
        actions: (actions, q) features of the actions; the identity if they have none.
        action: (n,) codes of the actions taken.
        reward: (n,).
        fold: (n,) from 0; rows of one user belong in one fold.
        strength: above 0, over what the rewards say.

    Returns:
        (n, actions).

    Raises:
        ValueError: shapes that do not fit, numbers that are not finite, fewer than 2 folds, an action without features,
            or a strength of 0.

    Source:
        MacKay (1992), Bayesian interpolation, for the strength; Chernozhukov et al. (2018), Double/debiased machine
        learning, for the folds; Newey, Hsieh and Robins (2004), Twicing kernels, for shrinking less.

    >>> context, actions, action = np.zeros((8, 1)), np.eye(2), np.tile([0, 1], 4)
    >>> reward, fold = np.tile([1.0, 3.0], 4), np.repeat([0, 1], 4)
    >>> action_regression(context, actions, action, reward, fold, strength=1).round(2)[0]
    array([1., 3.])

    """
    x, e, r = (np.asarray(part, np.float64) for part in (context, actions, reward))
    shapes = {r.shape, np.shape(action), np.shape(fold)}
    if x.ndim != 2 or e.ndim != 2 or shapes != {(len(x),)}:
        raise ValueError(
            "expected context (n, p), actions (actions, q), and action, reward and fold (n,), got "
            f"{x.shape}, {e.shape}, {np.shape(action)}, {r.shape} and {np.shape(fold)}"
        )
    if not len(x) or not all(np.isfinite(part).all() and np.abs(part).max(initial=0) < _MOST for part in (x, e, r)):
        raise ValueError(
            f"expected rows of finite context, action features and rewards below {_MOST:g}, got {len(x)} rows or "
            "others: set rows aside whose reward is not yet known"
        )
    if np.asarray(action).dtype.kind not in "iu":
        raise ValueError(f"expected action codes that are integers, got {np.asarray(action).dtype}")
    if not 0 <= action.min() <= action.max() < len(e):
        raise ValueError(f"expected action codes from 0 to {len(e) - 1}, got up to {action.max()}: one row an action")
    if not 0 < strength < _MOST:
        raise ValueError(f"expected a strength above 0, got {strength}: 1 is that of empirical Bayes")
    parts = np.unique(fold)
    if len(parts) < 2:
        raise ValueError("expected at least 2 folds, got 1: what is told of a row must be learned without it")
    left, right = _with_one(x), _with_one(e)
    taken = (left[:, :, None] * right[action][:, None, :]).reshape(len(x), -1)[:, 1:]
    out = np.empty((len(x), len(e)))
    for one in parts:
        held = fold == one
        coefficients, level = _ridge(taken[~held], r[~held], strength)
        theta = np.append(level, coefficients).reshape(left.shape[1], right.shape[1])
        out[held] = left[held] @ theta @ right.T
    return out


def folds(count: int, number: int, seed: int) -> Ints:
    """(count,) a fold for each of so many users, of nearly equal sizes.

    Raises:
        ValueError: no fold, or a negative count.
    """
    if not (number >= 1 and count >= 0):
        raise ValueError(f"expected at least 1 fold for a number of users, got {number} for {count}")
    return np.random.default_rng(seed).permutation(count) % number


def _with_one(features: Doubles) -> Doubles:
    spread = features.std(axis=0)
    scaled = (features - features.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    return np.concatenate([np.ones((len(features), 1)), scaled], axis=1)


def _ridge(features: Doubles, reward: Doubles, share: float) -> tuple[Doubles, float]:
    """Coefficients and level, at a share of each strength, averaged by how likely each makes the rewards."""
    centre, level = features.mean(axis=0), reward.mean()
    u, size, v = np.linalg.svd(features - centre, full_matrices=False)
    along = u.T @ (reward - level)
    rest = max(float((reward - level) @ (reward - level) - along @ along), 0.0)
    rows = len(reward)
    strength = _STRENGTHS[:, None] * rows
    grown = 1 + size**2 / strength
    noise = (along**2 / grown).sum(axis=1) + rest
    surprise = rows * np.log(np.maximum(noise, 1e-300)) + np.log(grown).sum(axis=1)
    likely = np.exp((surprise.min() - surprise) / 2)
    kept = likely / likely.sum() @ (size / (size**2 + share * strength))
    coefficients = v.T @ (kept * along)
    return coefficients, float(level - centre @ coefficients)
