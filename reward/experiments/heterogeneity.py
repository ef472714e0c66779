"""Is a treatment better for some users than for others? What a score of users is worth, in another test."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from reward.arrays import Doubles, Ints
from reward.statistics.intervals import check_level, normal

_CELLS = 10_000_000  # of resamples and users, that are held at once
_LEAST_SHARE = 1e-6  # of users, in an arm
_MOST = 1e100  # that a number may be: its square is a number too


class RankWeighted(NamedTuple):
    """How much more those do whom a score puts first, than all do on average.

    Attributes:
        value: the rank-weighted average effect; 0 where the score says nothing of who gains.
        se: its standard error.
        low: lower end of its interval.
        high: upper end.
        average: the average effect of all.
    """

    value: float
    se: float
    low: float
    high: float
    average: float


def rank_weighted_effect(
    score: npt.ArrayLike,
    outcome: npt.ArrayLike,
    treated: npt.ArrayLike,
    *,
    treated_share: float,
    weighting: Literal["autoc", "qini"] = "autoc",
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> RankWeighted:
    """The rank-weighted average treatment effect of a score, in a randomised test.

    With TOC(q) the average effect among the share q of users of the highest scores, less that of all: ``autoc`` is the
    mean of TOC over q, which asks whether the few who gain most are found; ``qini`` the mean of q · TOC, which asks
    whether the many are. An interval above 0 says that the difference between users is there. The score has to come
    from other users, or from before the test: of those it was fitted to, it finds differences that are not there.

    Args:
        score: (users,) who is treated first; users with equal scores count as one group.
        outcome: (users,).
        treated: (users,) whether in the treated arm, drawn at random.
        treated_share: probability of being treated, the same for all.
        weighting: ``autoc`` or ``qini``.
        resamples: of half of the users, for the error.
        seed: draws them.
        level: of the interval.

    Raises:
        ValueError: shapes differ, a number is not finite or out of its range, or an arm has fewer than two users.

    Source:
        Yadlowsky, Fleming, Shah, Brunskill and Wager, "Evaluating treatment prioritization rules via rank-weighted
        average treatment effects" (JASA 2025); half-sample bootstrap as there.
    """
    check_level(level)
    if weighting not in ("autoc", "qini"):
        raise ValueError(f"weighting expected autoc or qini, got {weighting!r}")
    if resamples < 2:
        raise ValueError(f"resamples expected at least 2, got {resamples}")
    values, effect = _by_score(score, outcome, treated, treated_share)
    first, users = np.r_[0, np.flatnonzero(np.diff(values)) + 1], len(values)
    value = float(_rank_weighted(effect, first, np.ones((1, users)), weighting)[0])
    rng, at_once, drawn = np.random.default_rng(seed), max(1, _CELLS // users), []
    for begun in range(0, resamples, at_once):
        half = rng.random((min(at_once, resamples - begun), users), np.float32) < 0.5
        drawn.append(_rank_weighted(effect, first, half.astype(np.float64), weighting))
    se, z = float(np.concatenate(drawn).std(ddof=1)), normal(level)
    return RankWeighted(value, se, value - z * se, value + z * se, float(effect.mean()))


def _by_score(
    score: npt.ArrayLike, outcome: npt.ArrayLike, treated: npt.ArrayLike, treated_share: float
) -> tuple[Doubles, Doubles]:
    """Scores from the highest on, and each user's unbiased guess of their own effect."""
    values, y, w = np.asarray(score, np.float64), np.asarray(outcome, np.float64), np.asarray(treated)
    if values.ndim != 1 or not values.shape == y.shape == w.shape:
        raise ValueError(f"expected score, outcome and treated of one shape, got {values.shape, y.shape, w.shape}")
    if not np.isin(w, (0, 1)).all():
        raise ValueError("treated expected true or false of every user, got others")
    arm = w.astype(bool)
    if not _LEAST_SHARE <= treated_share <= 1 - _LEAST_SHARE:
        raise ValueError(
            f"treated_share expected a probability from {_LEAST_SHARE:g} to {1 - _LEAST_SHARE:g}, got {treated_share}"
        )
    if min(arm.sum(), (~arm).sum()) < 2:
        raise ValueError(f"expected two users or more in each arm, got {arm.sum()} treated of {len(arm)}")
    for name, these in (("score", values), ("outcome", y)):
        if not (np.abs(these) <= _MOST).all():
            raise ValueError(f"{name} expected finite numbers of at most {_MOST:.0e}, got others")
    # of what is taken from the outcome this leaves the least noise
    usual = (1 - treated_share) * y[arm].mean() + treated_share * y[~arm].mean()
    effect = np.where(arm, 1 / treated_share, -1 / (1 - treated_share)) * (y - usual)
    order = np.argsort(-values, kind="stable")
    return values[order], effect[order]


def _rank_weighted(effect: Doubles, first: Ints, weight: Doubles, weighting: str) -> Doubles:
    """(resamples,) by falling score, groups of equal scores from ``first`` on; weights are (resamples, users)."""
    heavy, above = (np.add.reduceat(it, first, axis=1) for it in (weight, weight * effect))
    count = np.cumsum(heavy, axis=1)
    total = np.maximum(count[:, -1:], 1)
    of_all = above.sum(axis=1, keepdims=True) / total
    excess = np.cumsum(above, axis=1) / np.maximum(count, 1) - of_all * (count > 0)
    if weighting == "qini":
        excess *= count / total
    return np.asarray((heavy * excess).sum(axis=1) / total[:, 0], np.float64)
