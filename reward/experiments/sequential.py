"""Looking at a test while it runs: bounds on |z| that hold its level however often it is looked at.

Information t is the share of the planned users whose outcome is known: each user counts once, on the day their horizon
ends, so that what comes between two looks is independent of what came before.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import polars as pl

from reward.experiments.confidence import spending_bounds
from reward.experiments.quantiles import normal
from reward.experiments.table import Floats

_SPENT = 0.96  # of alpha, by the group-sequential bounds: they take variances as known, and are found on a grid


def always_valid(information: npt.ArrayLike, *, alpha: float = 0.05, tuned_at: float = 0.5) -> Floats:
    """Bounds that hold at all times at once: the test may be looked at after every user, and go on past its plan.

    ``z² ≥ (1 + r/t) · log((t + r) / (r α²))``, Robbins' mixture of normal martingales, r the mixture's precision. The
    price: the bound is 3 at best where a test of fixed size has 1.96, for 1.7 times the users at the same power.

    Args:
        information: (looks,) positive, in any order; may exceed 1.
        alpha: chance of ever crossing where there is no effect.
        tuned_at: information at which the bound is narrowest.

    Returns:
        (looks,) bounds on |z|.

    Raises:
        ValueError: a number out of its range.

    Source: Robbins 1970, Statistical methods related to the law of the iterated logarithm; for averages with estimated
    variances, Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas 2024, Time-uniform central limit theory and asymptotic
    confidence sequences.

    >>> always_valid([0.25, 0.5, 1.0]).round(2)
    array([3.07, 3.04, 3.07])
    """
    t = _information(information)
    if not 0 < alpha < 1 or tuned_at <= 0:
        raise ValueError(f"expected alpha in (0, 1) and tuned_at > 0, got {alpha} and {tuned_at}")
    least = -2 * math.log(alpha)
    r = tuned_at / (least + math.log(least) + 1)
    return np.sqrt((1 + r / t) * (np.log1p(t / r) + least))


def group_sequential(information: npt.ArrayLike, *, alpha: float = 0.05) -> Floats:
    """Bounds for looks whose last one is planned: narrower than `always_valid` late, wider early.

    ``α t²`` may be spent by information t, by `reward.experiments.confidence.spending_bounds`; a 25th of α is kept
    for what these bounds take as exact.

    Args:
        information: (looks,) rising, in (0, 1].
        alpha: chance of ever crossing where there is no effect.

    Returns:
        (looks,) bounds on |z|.

    Raises:
        ValueError: information does not rise within (0, 1].
        ImportError: spotify-confidence is not installed.
    """
    t = _information(information)
    if (np.diff(t) <= 0).any() or t[-1] > 1:
        raise ValueError(f"information of a group-sequential test expected to rise within (0, 1], got {t.tolist()}")
    return spending_bounds(t, alpha=_SPENT * alpha)


def monitor(effects: npt.ArrayLike, ses: npt.ArrayLike, bounds: npt.ArrayLike) -> pl.DataFrame:
    """What each look says.

    Args:
        effects: (looks,) estimated from the users known by then.
        ses: (looks,) their standard errors.
        bounds: (looks,) on |z|, from `always_valid` or `group_sequential`.

    Returns:
        A row for each look: ``effect``, ``low`` and ``high`` (``effect ± bound · se``, intervals that hold at all looks
        together), ``z``, ``bound`` and ``crossed``, whether this look or one before has crossed.

    Raises:
        ValueError: the lengths differ, or a standard error is not positive.
    """
    effect, se, bound = (np.asarray(values, np.float64) for values in (effects, ses, bounds))
    if not effect.shape == se.shape == bound.shape == (len(effect),):
        raise ValueError(f"expected effects, ses and bounds of one length, got {effect.shape, se.shape, bound.shape}")
    if not (se > 0).all():
        raise ValueError("ses expected positive numbers: begin to look when the outcomes of several users are known")
    z = effect / se
    return pl.DataFrame(
        {
            "effect": effect,
            "low": effect - bound * se,
            "high": effect + bound * se,
            "z": z,
            "bound": bound,
            "crossed": np.logical_or.accumulate(np.abs(z) >= bound),
        }
    )


def crossing(
    information: npt.ArrayLike, bounds: npt.ArrayLike, drift: float, *, paths: int = 20_000, seed: int = 0
) -> Floats:
    """Chance to have crossed by each look: the level where there is no effect, power where there is.

    Over simulated Brownian paths of mean ``drift · t``.

    Args:
        information: (looks,) rising.
        bounds: (looks,) on |z|.
        drift: expected z at information 1: the effect over its standard error with all planned users.
        paths: simulated.
        seed: of the paths.

    Returns:
        (looks,).

    >>> crossing([1.0], [normal(0.95)], 2.8).round(2)
    array([0.8])
    """
    t, bound = _information(information), np.asarray(bounds, np.float64)
    return _crossed(_paths(t, paths, seed), t, bound, drift).mean(0)


def inflation(
    information: npt.ArrayLike,
    bounds: npt.ArrayLike,
    *,
    alpha: float = 0.05,
    power: float = 0.8,
    paths: int = 20_000,
    seed: int = 0,
) -> float:
    """How many times the users of a test of fixed size the looks need at most, for the same power at the last one.

    Args:
        information: (looks,) rising to 1.
        bounds: (looks,) on |z|.
        alpha: level of the fixed test.
        power: of both.
        paths: see `crossing`.
        seed: see `crossing`.

    >>> round(inflation([1.0], [normal(0.95)]), 1)
    1.0
    """
    t, bound = _information(information), np.asarray(bounds, np.float64)
    drawn = _paths(t, paths, seed)
    fixed = normal(1 - alpha) + normal(2 * power - 1)
    low, high = 0.0, 4 * fixed
    for _ in range(30):
        middle = (low + high) / 2
        enough = _crossed(drawn, t, bound, middle)[:, -1].mean() >= power
        low, high = (low, middle) if enough else (middle, high)
    return float((high / fixed) ** 2)


def _information(information: npt.ArrayLike) -> Floats:
    t = np.asarray(information, np.float64)
    if t.ndim != 1 or not len(t) or not (np.isfinite(t) & (t > 0)).all():
        raise ValueError(f"information expected positive shares of the planned users, one a look, got {information!r}")
    return t


def _paths(t: Floats, paths: int, seed: int) -> Floats:
    """(paths, looks) of Brownian motion without drift."""
    steps = np.random.default_rng(seed).normal(size=(paths, len(t))) * np.sqrt(np.diff(t, prepend=0.0))
    return np.cumsum(steps, axis=1)


def _crossed(paths: Floats, t: Floats, bounds: Floats, drift: float) -> npt.NDArray[np.bool_]:
    """(paths, looks) whether each has crossed by each look."""
    return np.logical_or.accumulate(np.abs(paths + drift * t) >= bounds * np.sqrt(t), axis=1)
