"""What each of many randomised arms did, given what all of them did: empirical Bayes with heavy tails."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
from numpy.polynomial.hermite_e import hermegauss

from reward.arrays import Doubles, Ints

_RATIO = np.sqrt(2.0)  # from one standard deviation of the mixture to the next
_ROUNDS, _NATS = 2000, 1e-7  # of expectation and maximisation: most of them, and the gain at which they end
_MOST = 1e50  # that a number may be: its square is a number too
_FINEST = 1e-9  # of the largest standard deviation of the mixture, that the least is
_NODES, _WEIGHTS = (np.asarray(it, np.float64) for it in hermegauss(15))  # of what a group's part may be


@dataclass(frozen=True)
class Shrunk:
    """What arms truly did, as far as their estimates and those of all other arms tell.

    Attributes:
        mean: (arms,) posterior means, in the estimates' unit.
        std: (arms,) posterior standard deviations.
        reliability: (arms,) share of the variance of an estimate that is the effects' own, not the estimate's error:
            what two tests of the arm would correlate by, beyond what features say. 0 to 1.
        coefficients: (1 + features,) of the mean that features foretell, the intercept first, with a scale of 1.
        group_std: standard deviation between groups, in scales; 0 without groups.
        mixture_std: (components,) standard deviations of the mixture that effects are drawn from, in scales.
        mixture_weight: (components,) its weights.
    """

    mean: Doubles
    std: Doubles
    reliability: Doubles
    coefficients: Doubles
    group_std: float
    mixture_std: Doubles
    mixture_weight: Doubles

    def table(self) -> pl.DataFrame:
        """A row for each arm: ``mean``, ``std`` and ``reliability``."""
        return pl.DataFrame({name: getattr(self, name) for name in ("mean", "std", "reliability")})


def shrink(
    estimate: npt.ArrayLike,
    se: npt.ArrayLike,
    *,
    scale: npt.ArrayLike | None = None,
    groups: npt.ArrayLike | None = None,
    features: npt.ArrayLike | None = None,
) -> Shrunk:
    """Shrink the estimated effects of many randomised arms towards what is usual among them.

    An estimate is normal around the arm's effect. In units of its ``scale`` the effect is what its features foretell,
    plus a part that its group shares, plus a part of its own, which is drawn from a mixture of normals of mean 0 whose
    standard deviations are a grid and whose weights are estimated: most arms may do next to nothing and some a lot, so
    that the many do not pull in the few. Nothing is set by hand. Best for twenty arms or more; with fewer the spread of
    effects is a guess.

    Args:
        estimate: (arms,) estimated effects against the control.
        se: (arms,) their standard errors, above 0; estimates must be independent.
        scale: (arms,) a unit for each arm's effect, above 0, such as the metric's standard deviation where arms are of
            tests with different metrics; None: the same for all.
        groups: (arms,) names or numbers of what arms share, such as the test or the team; None: nothing.
        features: (arms, features) or (arms,) what was known of arms before they ran; None: nothing.

    Raises:
        ValueError: shapes differ, there are fewer than 3 arms, or a number is not finite or out of its range.

    Source:
        Stephens, "False discovery rates: a new deal" (Biostatistics 2017), the mixture and its weights; Robinson, "That
        BLUP is a good thing" (Statistical Science 1991), groups and features.

    >>> shrink([0.1, -0.2, 0.0, 0.2, 5.0], [1.0, 1.0, 1.0, 1.0, 1.0]).mean.round(1)
    array([0.1, 0.1, 0.1, 0.1, 4.8])
    """
    arms = _checked(estimate, se, scale, groups, features)
    grid = _grid(arms)
    made = _fitted(arms, grid)
    shared, doubt = made.group[arms.group], made.group_variance[arms.group]
    usual = arms.features @ made.coefficients + shared
    # the mean over what the group's part may be, node by node
    at = usual[:, None] + np.sqrt(doubt)[:, None] * _NODES
    part = _own_parts(arms.estimate[:, None] - at, arms.se[:, None], grid, made.weight)
    chance = part.share * _WEIGHTS[:, None] / _WEIGHTS.sum()
    mean_at = at[..., None] + part.mean
    mean = (chance * mean_at).sum(axis=(1, 2))
    variance = (chance * (part.variance + mean_at**2)).sum(axis=(1, 2)) - mean**2
    prior = made.weight @ grid**2 + made.group_spread**2
    return Shrunk(
        mean=mean * arms.scale,
        std=np.sqrt(np.maximum(variance, 0)) * arms.scale,
        reliability=prior / (prior + arms.se**2),
        coefficients=made.coefficients,
        group_std=float(made.group_spread),
        mixture_std=grid,
        mixture_weight=made.weight,
    )


class _Arms(NamedTuple):
    """Estimates in scales; ``features`` begin with a column of ones over the scale's own unit."""

    estimate: Doubles
    se: Doubles
    scale: Doubles
    group: Ints
    groups: int  # 0: arms share nothing
    features: Doubles


class _Fit(NamedTuple):
    coefficients: Doubles
    group: Doubles  # (groups,) posterior means of the groups' parts
    group_variance: Doubles  # (groups,)
    group_spread: float
    weight: Doubles  # (components,)


class _Parts(NamedTuple):
    """An arm's own part by component of the mixture: the chance of the component, and its mean and variance then."""

    share: Doubles
    mean: Doubles
    variance: Doubles


def _fitted(arms: _Arms, grid: Doubles) -> _Fit:
    """What makes the estimates most likely, by expectation and maximisation.

    Given the chances of components, an estimate is a normal with the precision that these have in the mean, so that
    coefficients and groups are a mixed model with known weights.
    """
    weight = np.full(len(grid), 1 / len(grid))
    spread = float(np.std(arms.estimate)) / 2 if arms.groups else 0.0
    group, group_variance = np.zeros(max(arms.groups, 1)), np.zeros(max(arms.groups, 1))
    coefficients = _weighted(arms.features, arms.estimate, 1 / arms.se**2)
    total = arms.se[:, None] ** 2 + grid**2
    last = -np.inf
    for _ in range(_ROUNDS):
        left = arms.estimate - arms.features @ coefficients - group[arms.group]
        squares = left[:, None] ** 2 + group_variance[arms.group][:, None]
        log = np.log(np.maximum(weight, 1e-300)) - 0.5 * (np.log(total) + squares / total)
        most = log.max(axis=1, keepdims=True)
        share = np.exp(log - most)
        sums = share.sum(axis=1, keepdims=True)
        share /= sums
        weight = share.mean(axis=0)
        precision = (share / total).sum(axis=1)
        if arms.groups:
            coefficients, group, group_variance = _mixed(arms, precision, max(spread, 1e-12))
            spread = float(np.sqrt(np.mean(group**2 + group_variance)))
        else:
            coefficients = _weighted(arms.features, arms.estimate, precision)
        now = float((most + np.log(sums)).sum())
        if abs(now - last) < _NATS * len(left):
            break
        last = now
    return _Fit(coefficients, group, group_variance, spread, weight)


def _mixed(arms: _Arms, precision: Doubles, spread: float) -> tuple[Doubles, Doubles, Doubles]:
    """Coefficients, and groups' posterior means and variances, at a spread between groups."""
    heavy = np.bincount(arms.group, precision, arms.groups)
    carry = 1 / (heavy + spread**-2)  # posterior variance of a group's part
    pull = (precision * carry[arms.group])[:, None]

    def without_groups(columns: Doubles) -> Doubles:
        sums = np.stack([np.bincount(arms.group, precision * it, arms.groups) for it in columns.T], axis=1)
        return precision[:, None] * columns - pull * sums[arms.group]

    gram = arms.features.T @ without_groups(arms.features)
    right = without_groups(arms.estimate[:, None]).T @ arms.features
    coefficients = np.linalg.lstsq(gram, right[0], rcond=None)[0]
    left = arms.estimate - arms.features @ coefficients
    return coefficients, carry * np.bincount(arms.group, precision * left, arms.groups), carry


def _weighted(features: Doubles, values: Doubles, precision: Doubles) -> Doubles:
    root = np.sqrt(precision)
    return np.asarray(np.linalg.lstsq(features * root[:, None], values * root, rcond=None)[0], np.float64)


def _own_parts(left: Doubles, se: Doubles, grid: Doubles, weight: Doubles) -> _Parts:
    """(…, components) of estimates less what is usual, with standard errors."""
    noise, own = se[..., None] ** 2, grid**2
    total = noise + own
    log = np.log(np.maximum(weight, 1e-300)) - 0.5 * (np.log(total) + left[..., None] ** 2 / total)
    share = np.exp(log - log.max(axis=-1, keepdims=True))
    kept = own / total
    share /= share.sum(axis=-1, keepdims=True)
    return _Parts(share, kept * left[..., None], np.broadcast_to(kept * noise, log.shape))


def _grid(arms: _Arms) -> Doubles:
    """Standard deviations from a tenth of the least standard error to beyond the largest effect, and 0."""
    least = float(arms.se.min()) / 10
    away = arms.estimate - np.median(arms.estimate)
    most = 2 * float(np.sqrt(np.maximum(away**2 - arms.se**2, 0).max()))
    least = max(least, _FINEST * most)
    most = max(most, 8 * least)
    return np.concatenate([[0.0], least * _RATIO ** np.arange(int(np.ceil(np.log(most / least) / np.log(_RATIO))) + 1)])


def _checked(
    estimate: npt.ArrayLike,
    se: npt.ArrayLike,
    scale: npt.ArrayLike | None,
    groups: npt.ArrayLike | None,
    features: npt.ArrayLike | None,
) -> _Arms:
    values, errors = np.asarray(estimate, np.float64), np.asarray(se, np.float64)
    units = np.ones_like(values) if scale is None else np.asarray(scale, np.float64)
    if values.ndim != 1 or not values.shape == errors.shape == units.shape:
        shapes = f"{values.shape}, {errors.shape} and {units.shape}"
        raise ValueError(f"expected estimate, se and scale of one shape (arms,), got {shapes}")
    if len(values) < 3:
        raise ValueError(f"expected 3 arms or more to learn from what is usual among them, got {len(values)}")
    table = np.zeros((len(values), 0)) if features is None else np.asarray(features, np.float64)
    table = table[:, None] if table.ndim == 1 else table
    if table.ndim != 2 or len(table) != len(values):
        raise ValueError(f"expected features of shape ({len(values)}, features), got {table.shape}")
    names, codes = np.zeros(1), np.zeros(len(values), np.int64)
    if groups is not None:
        names, codes = np.unique(np.asarray(groups), return_inverse=True)
        if codes.shape != values.shape:
            raise ValueError(f"expected groups of shape {values.shape}, got {codes.shape}")
    for name, these, positive in (
        ("scale", units, True),
        ("features", table, False),
        ("estimate", values, False),
        ("se", errors, True),
    ):
        _expect(name, these, positive=positive)
    values, errors = values / units, errors / units
    _expect("estimate / scale", values, positive=False)
    _expect("se / scale", errors, positive=True)
    columns = np.column_stack([np.ones(len(values)), table])
    return _Arms(values, errors, units, codes, 0 if groups is None else len(names), columns)


def _expect(name: str, values: Doubles, *, positive: bool) -> None:
    fine = np.abs(values) <= _MOST  # and no NaN
    if positive:
        fine &= values >= 1 / _MOST
    if not fine.all():
        at = tuple(map(int, np.argwhere(~fine)[0]))
        least = f"{1 / _MOST:.0e}" if positive else f"{-_MOST:.0e}"
        raise ValueError(f"{name} expected finite numbers from {least} to {_MOST:.0e}, got {values[at]} at {at}")
