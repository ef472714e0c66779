"""Looking at a test while it runs: bounds on |z| that hold its level however often it is looked at.

Information t is the share of the planned users whose outcome is known: each user counts once, on the day their horizon
ends, so that what comes between two looks is independent of what came before.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import polars as pl

from reward.arrays import Doubles
from reward.experiments.confidence import spending_bounds
from reward.statistics.intervals import check_alpha, normal

_EARLY = 0.03  # information before which the grid of the group-sequential bounds holds too little
_LEAST_SPENT = 1e-15  # of chance, that a bound can be told for
_LEAST_INFORMATION, _MOST_INFORMATION = 1e-9, 1e9  # of the planned users
_MOST_TIMES = 16  # the users of a test of fixed size
_SPENT = 0.96  # of alpha, by the group-sequential bounds: they take variances as known, and are found on a grid


def always_valid(information: npt.ArrayLike, *, alpha: float = 0.05, tuned_at: float = 0.5) -> Doubles:
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
    check_alpha(alpha)
    if not _LEAST_INFORMATION <= tuned_at <= _MOST_INFORMATION:
        raise ValueError(f"tuned_at expected a share of the planned users above 0, got {tuned_at}")
    least = -2 * math.log(alpha)
    r = tuned_at / max(least + math.log(least) + 1, least)  # the second where alpha is nearly 1
    return np.sqrt((1 + r / t) * (np.log1p(t / r) + least))


def group_sequential(information: npt.ArrayLike, *, alpha: float = 0.05) -> Doubles:
    """Bounds for looks whose last one is planned: narrower than `always_valid` late, wider early.

    ``α t²`` may be spent by information t, by `reward.experiments.confidence.spending_bounds`; a 25th of α is kept
    for what these bounds take as exact. Looks before information .03, which may spend less than a thousandth of α
    together, are each given their share by Bonferroni's inequality: the grid of the others does not hold so little.

    Args:
        information: (looks,) rising, in (0, 1].
        alpha: chance of ever crossing where there is no effect.

    Returns:
        (looks,) bounds on |z|.

    Raises:
        ValueError: information does not rise within (0, 1], looks are too near to each other to be told apart, or alpha
            lies outside (0, 1).
        ImportError: spotify-confidence is not installed.
    """
    t = _information(information)
    check_alpha(alpha)
    if not (np.diff(t) > 0).all() or t[-1] > 1:
        raise ValueError(f"information of a group-sequential test expected to rise within (0, 1], got {t.tolist()}")
    early = t[t < _EARLY]
    spent = _SPENT * alpha * np.diff(early**2, prepend=0.0)
    if (spent < _LEAST_SPENT).any():
        raise ValueError(
            f"information expected looks that may spend some of alpha={alpha:g}, got "
            f"{early[spent < _LEAST_SPENT][0]:g} among them: begin to look later, or less often"
        )
    bounds = np.array([normal(1 - each) for each in spent])
    return np.append(bounds, spending_bounds(t[len(early) :], alpha=_SPENT * alpha)) if len(early) < len(t) else bounds


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
        ValueError: the lengths differ or are 0, an effect or a bound is not finite, or a standard error not positive.
    """
    effect, se, bound = (np.asarray(values, np.float64) for values in (effects, ses, bounds))
    if not effect.shape == se.shape == bound.shape or effect.ndim != 1 or not len(effect):
        raise ValueError(f"expected effects, ses and bounds of one length, got {effect.shape, se.shape, bound.shape}")
    if not ((se > 0) & np.isfinite(se)).all():
        raise ValueError("ses expected positive numbers: begin to look when the outcomes of several users are known")
    if not (np.isfinite(effect) & np.isfinite(bound) & (bound > 0)).all():
        raise ValueError("expected finite effects and finite bounds on |z| above 0, got others: leave out such looks")
    with np.errstate(over="ignore"):
        z, low, high = effect / se, effect - bound * se, effect + bound * se
    if not (np.isfinite(z) & np.isfinite(low) & np.isfinite(high)).all():
        raise ValueError("expected effects and errors in a unit in which their ratio is a number: take another unit")
    return pl.DataFrame(
        {
            "effect": effect,
            "low": low,
            "high": high,
            "z": z,
            "bound": bound,
            "crossed": np.logical_or.accumulate(np.abs(z) >= bound),
        }
    )


def crossing(
    information: npt.ArrayLike, bounds: npt.ArrayLike, drift: float, *, paths: int = 20_000, seed: int = 0
) -> Doubles:
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

    Raises:
        ValueError: information that does not rise, bounds that do not fit it, a drift that is not finite, or no path.

    >>> crossing([1.0], [normal(0.95)], 2.8).round(2)
    array([0.8])
    """
    t, bound = _looks(information, bounds)
    if not math.isfinite(drift):
        raise ValueError(f"drift expected a finite z at information 1, got {drift}")
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

    Raises:
        ValueError: see `crossing`; alpha outside (0, 1) or power outside (.5, 1), or looks that need more than 16 times
            the users.

    >>> round(inflation([1.0], [normal(0.95)]), 1)
    1.0
    """
    t, bound = _looks(information, bounds)
    check_alpha(alpha)
    if not 0.5 < power < 1:
        raise ValueError(f"power expected a chance in (0.5, 1), got {power}: 0.8 is usual")
    drawn = _paths(t, paths, seed)
    fixed = normal(1 - alpha) + normal(2 * power - 1)
    low, high = 0.0, _MOST_TIMES**0.5 * fixed
    if not _crossed(drawn, t, bound, high)[:, -1].mean() >= power:
        raise ValueError(
            f"bounds expected to be crossed with at most {_MOST_TIMES} times the users of a test of fixed size, got "
            f"bounds from {bound.min():g} to {bound.max():g}, which are not: look less often"
        )
    for _ in range(30):
        middle = (low + high) / 2
        enough = _crossed(drawn, t, bound, middle)[:, -1].mean() >= power
        low, high = (low, middle) if enough else (middle, high)
    return float((high / fixed) ** 2)


def _information(information: npt.ArrayLike) -> Doubles:
    t = np.asarray(information, np.float64)
    if t.ndim != 1 or not len(t) or not ((t >= _LEAST_INFORMATION) & (t <= _MOST_INFORMATION)).all():
        raise ValueError(f"information expected positive shares of the planned users, one a look, got {information!r}")
    return t


def _looks(information: npt.ArrayLike, bounds: npt.ArrayLike) -> tuple[Doubles, Doubles]:
    """Rising information and a bound at each."""
    t, bound = _information(information), np.asarray(bounds, np.float64)
    if bound.shape != t.shape or not (bound > 0).all() or not (np.diff(t) >= 0).all():
        raise ValueError(
            f"expected rising information and a bound on |z| above 0 at each look, got {t.tolist()} and {bounds!r}"
        )
    return t, bound


def _paths(t: Doubles, paths: int, seed: int) -> Doubles:
    """(paths, looks) of Brownian motion without drift."""
    if not paths >= 1:
        raise ValueError(f"paths expected a number of at least 1, got {paths}: thousands tell a chance to two digits")
    steps = np.random.default_rng(seed).normal(size=(paths, len(t))) * np.sqrt(np.diff(t, prepend=0.0))
    return np.cumsum(steps, axis=1)


def _crossed(paths: Doubles, t: Doubles, bounds: Doubles, drift: float) -> npt.NDArray[np.bool_]:
    """(paths, looks) whether each has crossed by each look."""
    return np.logical_or.accumulate(np.abs(paths + drift * t) >= bounds * np.sqrt(t), axis=1)
