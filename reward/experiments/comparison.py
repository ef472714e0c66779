"""A test read: arms compared, with what was predicted before it taken out; cohorts joined; sizes checked."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from reward.arrays import Doubles
from reward.columns import TIMESTAMP, USER
from reward.experiments import confidence
from reward.experiments.confidence import Difference, Moments
from reward.experiments.table import ARM, arm_name, arm_names, check_numbers
from reward.scoring.function import RewardFunction
from reward.statistics.intervals import chance_beyond, check_alpha, normal

PREDICTED = "predicted"
_ENTERED = "entered the test"
_FLAT = 1e-7  # of the difference between users: what they vary by within an arm, below which sums do not hold it


class Joined(NamedTuple):
    """The effect that several cohorts tell together.

    ``spread`` is the chance of cohorts differing as much as they do, were their effects one: where it is small, the
    effect has changed from cohort to cohort, and the joint one is an average of several.
    """

    effect: float
    se: float
    low: float
    high: float
    spread: float


def compare(
    users: pl.DataFrame, metric: str, *, control: str, treated: str, covariate: str | None = None, alpha: float = 0.05
) -> Difference:
    """Test a metric's difference between two arms.

    Args:
        users: a row for each user: ``arm``, the metric and the covariate.
        metric: name of the column; the user's outcome, whose horizon has passed.
        control: name of an arm.
        treated: name of the other.
        covariate: name of a column known before the test began, such as `predicted_before` gives: it takes out what
            it explains of the variance. Null or NaN where nothing was known of a user: these get the mean of the
            others, which is no assumption about them, as being without a past is not the test's doing.
        alpha: level of the two-sided test.

    Raises:
        ValueError: a column is missing or no number, the metric has nulls or something that is not finite, the
            covariate is infinite or the same for all, an arm has fewer than 2 users, users do not vary within the arms
            or not beyond the covariate, or alpha lies outside (0, 1).
        ImportError: spotify-confidence is not installed.
    """
    check_alpha(alpha)
    sides, unit = _moments(users, metric, control, treated, covariate)
    found = confidence.difference(*sides, alpha=alpha)
    effect, se, low, high = (part * unit for part in found[:4])
    told = Difference(effect, se, low, high, found.p_value)
    if not (np.isfinite(told).all() and told.se > 0) or _foretold(sides) > 1 - _FLAT:
        raise ValueError(
            f"{metric} expected users who differ"
            + (" within an arm" if covariate is None else f" beyond what {covariate} says of them")
            + f", got an effect of {told.effect:g} with a standard error of {told.se:g}: it cannot be tested"
        )
    return told


def join_cohorts(effects: npt.ArrayLike, ses: npt.ArrayLike, *, level: float = 0.95) -> Joined:
    """Join the effects of cohorts of different users by inverse variance.

    ``θ̂ = Σ θ̂_c / s_c² / Σ 1 / s_c²`` with standard error ``(Σ 1 / s_c²)^{−1/2}``; ``Q = Σ (θ̂_c − θ̂)² / s_c²`` is
    chi-square with one degree of freedom less than cohorts, were the effects one.

    Args:
        effects: (cohorts,) treated less control within each, as from `compare`.
        ses: (cohorts,) standard errors.
        level: of the interval.

    Raises:
        ValueError: the lengths differ, there is no cohort, a number is not finite, or a standard error is not positive.

    Source: Cochran 1954, The combination of estimates from different experiments.

    >>> join_cohorts([1.0, 2.0], [1.0, 0.5])[:2]
    (1.8, 0.4472135954999579)
    """
    effect, se = np.asarray(effects, np.float64), np.asarray(ses, np.float64)
    fit = effect.shape == se.shape and effect.ndim == 1 and len(effect) > 0
    if not fit or not (np.isfinite(effect) & np.isfinite(se) & (se > 0)).all():
        raise ValueError(
            f"expected a finite effect and a positive standard error for each cohort, got {effects!r} and {ses!r}"
        )
    least = se.min()
    weight = (least / se) ** 2
    mean = float(weight @ effect / weight.sum())
    error = float(least * weight.sum() ** -0.5)
    half = normal(level) * error
    with np.errstate(over="ignore"):  # cohorts further apart than a number can tell
        apart = float((((effect - mean) / se) ** 2).sum())
    spread = chance_beyond(apart, len(effect) - 1) if len(effect) > 1 else 1.0
    return Joined(mean, error, mean - half, mean + half, spread)


def sample_ratio(users: pl.DataFrame, expected: Mapping[str, float] | Mapping[int, float]) -> float:
    """Chance of arms as unequal as these, if users were split as planned. Below .001 do not read the test: mend it.

    Args:
        users: a row for each user: ``arm``. Everyone who was assigned, whether their outcome is known or not.
        expected: share of each arm, above 0; they sum to 1. Names are compared as text: 0 is "0".

    Raises:
        ValueError: the arms are not those expected, there is but one, or the shares are not above 0 or do not sum to 1.
        ImportError: spotify-confidence is not installed.

    Source: Fabijan et al. 2019, Diagnosing sample ratio mismatch in online controlled experiments.
    """
    _expect(users, ARM)
    counts = {str(arm): int(count) for arm, count in users.group_by(arm_names()).len().sort(ARM).iter_rows()}
    shares = {arm_name(arm): float(share) for arm, share in expected.items()}
    fit = set(counts) == set(shares) and len(shares) > 1 and np.isclose(sum(shares.values()), 1)
    if not fit or not all(share > 0 for share in shares.values()):
        raise ValueError(
            f"expected shares that sum to 1 for the arms {', '.join(counts)}, each above 0, of two arms or more, got "
            f"{dict(expected)}: an arm without users is itself a mismatch"
        )
    return confidence.ratio_chance(counts, shares)


def predicted_before(
    function: RewardFunction,
    events: pl.DataFrame,
    enrolment: pl.DataFrame,
    *,
    items_table: pl.DataFrame | None = None,
    history_start: date | None = None,
) -> pl.DataFrame:
    """What a scoring function predicted of each user on entering a test: the covariate that explains most.

    The value after the user's last event before the moment of enrolment, in the function's unit. Nothing at or after
    that moment is read, so that the treatment cannot have changed it.

    Args:
        function: trained on a log that ends before the test: one that has seen its outcomes would take the effect out
            with the noise.
        events: the users' events; each user's history from the beginning.
        enrolment: a row for each user: ``user_id``, ``timestamp`` of enrolment in the type of the events' own, and
            whatever else.
        items_table: features of items that the function does not hold.
        history_start: the first day the given histories cover; None: the training log's first day.

    Returns:
        ``enrolment`` in its order with ``predicted`` (Float64): null for users without an event before.

    Raises:
        ValueError: a column is missing or of another type, or a user is enrolled twice.
        SchemaError: the function cannot score the events.
    """
    _expect(enrolment, USER, TIMESTAMP)
    if enrolment[USER].is_duplicated().any():
        raise ValueError("enrolment expected one row a user, got several for some: a user enters a test once")
    if events.schema.get(TIMESTAMP) != enrolment.schema[TIMESTAMP]:
        raise ValueError(
            f"enrolment expected timestamps as those of the events, {events.schema.get(TIMESTAMP)}, got "
            f"{enrolment.schema[TIMESTAMP]}: cast them"
        )
    entered = enrolment.select(USER, pl.col(TIMESTAMP).alias(_ENTERED))
    before = events.join(entered, on=USER, maintain_order="left").filter(pl.col(TIMESTAMP) < pl.col(_ENTERED))
    if before.is_empty():
        return enrolment.with_columns(pl.lit(None, pl.Float64).alias(PREDICTED))
    scored = function.scores(before.drop(_ENTERED), items_table=items_table, history_start=history_start)
    latest = (
        before.select(USER, TIMESTAMP, scored["value_after"].alias(PREDICTED))
        .sort(TIMESTAMP, maintain_order=True)
        .unique(USER, keep="last", maintain_order=True)
        .drop(TIMESTAMP)
    )
    return enrolment.join(latest, on=USER, how="left", maintain_order="left")


def _moments(
    users: pl.DataFrame, metric: str, control: str, treated: str, covariate: str | None
) -> tuple[tuple[Moments, Moments], float]:
    """Sums of both arms, of a metric that is centred and told in ``unit``: large levels and scales do not cancel."""
    names = (metric,) if covariate is None else (metric, covariate)
    _expect(users, ARM, *names)
    check_numbers(users.schema, names, "a table of users")
    if arm_name(control) == arm_name(treated):
        raise ValueError(f"expected two arms to compare, got {control!r} twice")
    both = users.select(arm_names(), *(pl.col(name).cast(pl.Float64) for name in names))
    both = both.filter(pl.col(ARM).is_in([arm_name(control), arm_name(treated)]))
    counts = dict(both.group_by(ARM).len().iter_rows())
    for arm in (control, treated):
        count = counts.get(arm_name(arm), 0)
        if count < 2:
            raise ValueError(f"arm {arm} expected at least 2 users, got {count}")
    y, on = both[metric], (both[ARM] == arm_name(treated)).to_numpy()
    wrong = len(both) - int(y.is_finite().sum())
    if wrong:
        raise ValueError(
            f"{metric} expected a finite number for every user, got {wrong} without: leave out users whose horizon is "
            "open"
        )
    centred, unit = _centred(y.to_numpy())
    rest = centred - np.where(on, centred[on].mean(), centred[~on].mean())
    if np.abs(rest).max() <= _FLAT:
        raise ValueError(
            f"{metric} expected users who differ within an arm, got the same (or nearly) for all of each: no error can "
            "be told of the difference"
        )
    columns = [centred]
    if covariate is not None:
        columns.append(_known(both[covariate]))
    return tuple(_sums(*(column[of] for column in columns)) for of in (~on, on)), unit  # type: ignore[return-value]


def _foretold(sides: tuple[Moments, Moments]) -> float:
    """Share of the metric's variance that goes with the covariate, over both arms; 0 without one."""
    users = sum(side.users for side in sides)
    y, yy, x, xx, xy = (sum(getattr(side, name) or 0.0 for side in sides) for name in ("y", "yy", "x", "xx", "xy"))
    spread = (yy - y**2 / users) * (xx - x**2 / users)
    return float((xy - x * y / users) ** 2 / spread) if spread > 0 else 0.0


def _known(covariate: pl.Series) -> Doubles:
    """A covariate in its own unit, 0 where it is unknown."""
    told = covariate.fill_nan(None)
    if told.is_infinite().any():
        raise ValueError(
            f"{covariate.name} expected finite numbers, or null where nothing is known, got "
            f"{int(told.is_infinite().sum())} that are infinite"
        )
    known = told.drop_nulls()
    if known.n_unique() < 2:
        raise ValueError(f"{covariate.name} expected to differ between users, got {known.n_unique()} values")
    filled = np.zeros(len(told))
    filled[told.is_not_null().to_numpy()] = _centred(known.to_numpy())[0]
    return filled


def _centred(values: Doubles) -> tuple[Doubles, float]:
    """Values less their mean, in units of the largest of these; and the unit, 1 where all are the same."""
    scale = float(np.abs(values).max()) or 1.0
    shared = values / scale
    off = shared - shared.mean()
    unit = float(np.abs(off).max()) or 1.0
    return off / unit, unit * scale


def _sums(y: Doubles, x: Doubles | None = None) -> Moments:
    plain = Moments(len(y), float(y.sum()), float(y @ y))
    return plain if x is None else plain._replace(x=float(x.sum()), xx=float(x @ x), xy=float(x @ y))


def _expect(frame: pl.DataFrame, *columns: str) -> None:
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise ValueError(f"expected the columns {', '.join(columns)}, the frame has no {', '.join(missing)}")
