"""A test read: arms compared, with what was predicted before it taken out; cohorts joined; sizes checked."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from reward.experiments import confidence
from reward.experiments.confidence import Difference, Moments
from reward.experiments.quantiles import chance_beyond, normal
from reward.experiments.table import ARM
from reward.function import RewardFunction
from reward.schema import TIMESTAMP, USER

PREDICTED = "predicted"
_ENTERED = "entered the test"


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
            it explains of the variance. Null where nothing was known of a user: these get the mean of the others,
            which is no assumption about them, as being without a past is not the test's doing.
        alpha: level of the two-sided test.

    Raises:
        ValueError: a column is missing, the metric has nulls, an arm has fewer than 2 users, or the covariate is the
            same for all.
        ImportError: spotify-confidence is not installed.
    """
    return confidence.difference(*_moments(users, metric, control, treated, covariate), alpha=alpha)


def join_cohorts(effects: npt.ArrayLike, ses: npt.ArrayLike, *, level: float = 0.95) -> Joined:
    """Join the effects of cohorts of different users by inverse variance.

    ``θ̂ = Σ θ̂_c / s_c² / Σ 1 / s_c²`` with standard error ``(Σ 1 / s_c²)^{−1/2}``; ``Q = Σ (θ̂_c − θ̂)² / s_c²`` is
    chi-square with one degree of freedom less than cohorts, were the effects one.

    Args:
        effects: (cohorts,) treated less control within each, as from `compare`.
        ses: (cohorts,) standard errors.
        level: of the interval.

    Raises:
        ValueError: the lengths differ, there is no cohort, or a standard error is not positive.

    Source: Cochran 1954, The combination of estimates from different experiments.

    >>> join_cohorts([1.0, 2.0], [1.0, 0.5])[:2]
    (1.8, 0.4472135954999579)
    """
    effect, se = np.asarray(effects, np.float64), np.asarray(ses, np.float64)
    if effect.shape != se.shape or effect.ndim != 1 or not len(effect) or not (se > 0).all():
        raise ValueError(
            f"expected an effect and a positive standard error for each cohort, got {effects!r} and {ses!r}"
        )
    weight = 1 / se**2
    mean = float(weight @ effect / weight.sum())
    error = float(weight.sum() ** -0.5)
    half = normal(level) * error
    spread = chance_beyond(float(weight @ (effect - mean) ** 2), len(effect) - 1) if len(effect) > 1 else 1.0
    return Joined(mean, error, mean - half, mean + half, spread)


def sample_ratio(users: pl.DataFrame, expected: Mapping[str, float]) -> float:
    """Chance of arms as unequal as these, if users were split as planned. Below .001 do not read the test: mend it.

    Args:
        users: a row for each user: ``arm``. Everyone who was assigned, whether their outcome is known or not.
        expected: share of each arm; they sum to 1.

    Raises:
        ValueError: the arms are not those expected, or the shares do not sum to 1.
        ImportError: spotify-confidence is not installed.

    Source: Fabijan et al. 2019, Diagnosing sample ratio mismatch in online controlled experiments.
    """
    _expect(users, ARM)
    counts = {str(arm): int(count) for arm, count in users.group_by(ARM).len().sort(ARM).iter_rows()}
    if set(counts) != set(expected) or not np.isclose(sum(expected.values()), 1):
        raise ValueError(
            f"expected shares that sum to 1 for the arms {', '.join(counts)}, got {dict(expected)}: an arm without "
            "users is itself a mismatch"
        )
    return confidence.ratio_chance(counts, expected)


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
) -> tuple[Moments, Moments]:
    _expect(users, ARM, metric, *(() if covariate is None else (covariate,)))
    both = users.filter(pl.col(ARM).is_in([control, treated])).select(
        ARM,
        pl.col(metric).cast(pl.Float64).alias("y"),
        *(() if covariate is None else (pl.col(covariate).cast(pl.Float64).alias("x"),)),
    )
    missing = both["y"].null_count() + both["y"].is_nan().sum()
    if missing:
        raise ValueError(
            f"{metric} expected a number for every user, got {missing} without: leave out users whose horizon is open"
        )
    columns = [pl.len().alias("users"), pl.col("y").sum(), (pl.col("y") ** 2).sum().alias("yy")]
    if covariate is not None:
        known = both["x"].drop_nulls()
        if known.n_unique() < 2:
            raise ValueError(f"{covariate} expected to differ between users, got {known.n_unique()} values")
        # centred: the slope and the variance are the same, and do not cancel where the mean is large
        both = both.with_columns(pl.col("x").fill_null(known.mean()) - known.mean())
        columns += [
            pl.col("x").sum(),
            (pl.col("x") ** 2).sum().alias("xx"),
            (pl.col("x") * pl.col("y")).sum().alias("xy"),
        ]
    sums = {row.pop(ARM): row for row in both.group_by(ARM).agg(columns).to_dicts()}
    for arm in (control, treated):
        count = sums.get(arm, {}).get("users", 0)
        if count < 2:
            raise ValueError(f"arm {arm} expected at least 2 users, got {count}")
    return Moments(**sums[control]), Moments(**sums[treated])


def _expect(frame: pl.DataFrame, *columns: str) -> None:
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise ValueError(f"expected the columns {', '.join(columns)}, the frame has no {', '.join(missing)}")
