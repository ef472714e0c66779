"""What happened after a day's exposures that the user's past did not foretell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from reward.arrays import Doubles, Ints
from reward.causal.user_effects.decayed_counts import decayed
from reward.columns import USER
from reward.data.days import DAY, TRACE, activity_words, day_of
from reward.data.event_log import EventLog, SchemaError
from reward.data.split import bounds
from reward.features.history import PAST_DAYS, RATE_DAYS, past_rates
from reward.outcomes.protocol import DailyOutcome, Points

_RECENT_DAYS = 7
_VOLUME_DAYS = 28.0  # over which what was shown and answered is forgotten
_PRIOR_EVENTS = 10.0  # exposures before a user's own rates count for half
_LEAST_SHARE = 0.01  # of the mean variance of a day, which every day is taken to have beyond its own
_LEAST_VARIANCE = 1e-8  # of a residual, below which it is rounding


@dataclass(frozen=True)
class UserDays:
    """Days on which users were shown something, and what was left to explain of the days after.

    Attributes:
        users: (users,) ids, ascending.
        user: (n,) place in ``users``.
        day: (n,) days since 1970-01-01.
        fold: (users,) cross-fitting fold.
        known: (n,) of the H days after, how many the log knows.
        residual: (n, H) what a day brought minus its forecast; 0 where not known.
        row: (events,) place of each event of the log among the n.
    """

    users: pl.Series
    user: Ints
    day: Ints
    fold: Ints
    known: Ints
    residual: NDArray[np.float32]
    row: Ints


@dataclass(frozen=True)
class DayEffects:
    """An estimate, for each user-day, of what all that was shown that day did over the horizon.

    Attributes:
        value: (n,) days; 0 where nothing is known of the days after.
        precision: (n,) inverse variance, 1/days².
    """

    value: Doubles
    precision: Doubles


def user_days(
    log: EventLog, outcome: DailyOutcome, *, folds: int, seed: int, forecast: pl.DataFrame | None = None
) -> UserDays:
    """Residuals of the days after each user-day.

    The forecast is a linear regression of each of the H days on what the user's past tells, and what all users of a day
    have in common, such as the weekday, is taken out. Both are done within each fold, so that folds share nothing: a
    forecast made from the other folds would carry their luck, reversed, into this one, and effects of one fold would
    seem to be refuted by the next. A few dozen coefficients, fitted to the rows they are used on, overfit little.

    Args:
        log: a checked log, cut where it is to be known.
        outcome: what the days after bring; its scope must be the user.
        folds: groups of users for cross-fitting, at least 2.
        seed: draws the groups.
        forecast: use these probabilities instead: ``user_id``, ``day`` and ``forecast`` (a list of H), a row for each
            user-day. The linear forecast then only mends what is systematically wrong with them.

    Raises:
        SchemaError: the outcome's scope is not the user; or ``forecast`` lacks user-days.
    """
    if outcome.scope != "user":
        raise SchemaError(
            f"effects expected an outcome with scope=user, got scope={outcome.scope!r}: set outcome.scope=user, "
            "or leave the second stage out"
        )
    start, end = bounds(log)
    told = outcome.daily(log, end)
    days, known = told.rows.with_row_index("place"), told.known
    shown = log.events.select(USER, day_of(log)).collect()
    row = shown.join(days, on=[USER, DAY], how="left", maintain_order="left")["place"]
    users = days[USER].unique().sort()
    who = users.search_sorted(days[USER]).to_numpy().astype(np.int64)
    if len(users) < 2 * folds:
        raise SchemaError(
            f"effects expected at least {2 * folds} users for {folds} folds, got {len(users)}: give a log of more "
            "users, or set fewer causal.folds"
        )
    fold = np.random.default_rng([seed, 7]).permutation(np.arange(len(users)) % folds)
    trace = told.values
    observed = np.arange(outcome.horizon_days) < known[:, None]
    _must_vary(trace, observed, outcome.points)
    day = days[DAY].to_numpy()
    past = _past(days, _volumes(log), start)
    if forecast is not None:
        given = days.join(forecast, on=[USER, DAY], how="left", maintain_order="left")["forecast"]
        if given.null_count():
            raise SchemaError(f"forecast lacks {given.null_count()} of {len(given)} user-days: forecast all of them")
        trace = trace - given.explode().to_numpy().reshape(trace.shape).astype(np.float32)
    residual = np.where(observed, trace - _forecast(past, trace, observed, fold[who]), 0).astype(np.float32)
    when = fold[who] * (int(day.max()) - start + 1) + day - start  # a fold knows nothing of the others' luck on a day
    when = np.unique(when, return_inverse=True)[1]
    residual -= _means(residual, when)[when]
    residual[~observed] = 0
    if not float(np.square(residual, dtype=np.float64).sum()) > _LEAST_VARIANCE * observed.sum():
        raise SchemaError(
            "effects expected users who are not all alike, and found that the past and the day foretell every day "
            "after an exposure: nothing is left that an item could have done; give a longer log, or one of more users"
        )
    return UserDays(users, who, day, fold, known, residual, row.to_numpy().astype(np.int64))


def covariances(days: UserDays) -> Doubles:
    """(H, H) covariance of the residuals of one user-day, from the user-days whose horizon is known longest.

    A day ahead on which hardly anybody ever returned is not taken for one that is known exactly.
    """
    whole = days.known == days.known.max()
    span = int(days.known.max())
    sample = days.residual[whole, :span].astype(np.float64)
    found = sample.T @ sample / max(len(sample), 1)
    return found + (_LEAST_SHARE * np.diag(found).mean() + _LEAST_VARIANCE) * np.eye(span)


def day_effects(days: UserDays, covariance: Doubles, curve: Doubles) -> DayEffects:
    """What a day's exposures did in all, by generalised least squares.

    The days ahead are taken as r_d = c_d A + noise of the given covariance, with c the share of an effect that shows on
    day d and A the effect in days; Â = c'Σ⁻¹r / c'Σ⁻¹c over the days that are known, so censored rows take part.

    Args:
        days: residuals.
        covariance: (h, h), h ≤ H.
        curve: (H,) sums to 1.
    """
    value, precision = np.zeros(len(days.known)), np.zeros(len(days.known))
    for known in range(1, len(covariance) + 1):
        rows = np.flatnonzero(days.known == known)
        if len(rows):
            weights = np.linalg.solve(covariance[:known, :known], curve[:known])
            told = float(weights @ curve[:known])
            if told > 0:  # else no part of an effect shows on the days known
                precision[rows], value[rows] = told, days.residual[rows, :known] @ weights / told
    # early in a log little is known of a user, and more is left to chance
    since = days.day - days.day.min()
    cell, size = np.unique(days.fold[days.user] * (since.max() + 1) + since, return_inverse=True)[1], precision > 0
    alone = np.bincount(cell, size) > 0
    free = np.bincount(since, size) - np.bincount(since[np.unique(cell, return_index=True)[1]], alone, since.max() + 1)
    total = np.bincount(since, precision * value**2)  # of which each fold's mean of the day took one
    usual = total.sum() / max(free.sum(), 1)
    precision /= ((total + usual) / (free + 1))[since] if usual > 0 else 1.0
    return DayEffects(value, precision)


def of_each_event(predicted: Doubles, days: UserDays, item: Ints) -> Doubles:
    """(events,) the effect predicted for each event without its user's fold."""
    return predicted[days.fold[days.user[days.row]], item]


def fold_and_day(days: UserDays) -> Ints:
    """(events,) fold and day of each event as one number: folds share nothing, not even a day's luck."""
    span = int(days.day.max() - days.day.min()) + 1
    return (days.fold[days.user] * span + days.day - days.day.min())[days.row]


def centred(values: Doubles, weight: Doubles, when: Ints) -> Doubles:
    """Values less the weighted mean of what was shown to the fold that day."""
    return values - (np.bincount(when, weight * values) / np.maximum(np.bincount(when, weight), 1e-12))[when]


def _must_vary(trace: NDArray[np.float32], observed: NDArray[np.bool_], points: Points) -> None:
    """A trace of which nothing is known, or that is always the same, is refused with a `SchemaError`."""
    known = trace[observed]
    if not len(known):
        raise SchemaError("effects expected a log that tells of days after an exposure, got none: give a longer log")
    if known.min() == known.max():
        every = "every" if known[0] else "no"
        raise SchemaError(
            f"effects expected days after an exposure that differ, and found {every} user {points.on_a_day} on {every} "
            "one of them: nothing is left that an item could have done; give a longer log, or check user_id"
        )


def _volumes(log: EventLog) -> pl.DataFrame:
    """For each user-day, sorted, what was shown on earlier days and what came back: decayed sums."""
    came = {f"sum of {name}": pl.col(name).log1p().sum() for name in log.feedback}  # whatever its name is
    days = (
        log.events.group_by(USER, day_of(log))
        .agg(pl.len().cast(pl.Float64).alias("shown"), pl.lit(1.0).alias("days"), **came)
        .sort(USER, DAY)
        .collect()
    )
    day = days[DAY].to_numpy().astype(np.float64)
    first = np.flatnonzero(days[USER].is_first_distinct().to_numpy())
    earlier = np.maximum(np.arange(len(days)) - 1, 0)
    since = day - day[earlier]
    since[first] = np.inf  # a user's first day has none before it
    fades = np.exp(-since / _VOLUME_DAYS)
    sums_before = {
        name: decayed(days[name].to_numpy().copy(), day, first, _VOLUME_DAYS)[earlier] * fades
        for name in ("days", "shown", *came)
    }
    return days.select(USER, DAY).with_columns(**sums_before)


def _past(days: pl.DataFrame, volumes: pl.DataFrame, start: int) -> Doubles:
    """(n, features) what each user-day's past says: when the user was there, how much they saw and what they did."""
    active = days.select(USER, DAY, pl.lit(True).alias("active")).lazy()
    words = activity_words(active, [USER], PAST_DAYS, past=True)
    first = pl.col(DAY).min().over(USER)
    frame = words.select(USER, DAY, TRACE, (pl.col(DAY) - first).alias("since")).collect()
    past = past_rates(frame, start)
    known = {span: past[f"known_{span}d"] for span in RATE_DAYS}
    rates = [past[f"active_{span}d"] / np.where(known[span] == 0, 1, known[span]) for span in RATE_DAYS]
    since = frame["since"].to_numpy().astype(np.float64)
    own = np.bitwise_count(frame[TRACE].to_numpy()) / np.maximum(np.minimum(since, PAST_DAYS), 1)
    shown = volumes["shown"].to_numpy()
    depth = np.log1p(shown) - np.log1p(volumes["days"].to_numpy())
    answers = [volumes[name].to_numpy() / (shown + _PRIOR_EVENTS) for name in volumes.columns[4:]]
    main = [*rates, own, np.log1p(since), np.log1p(shown), depth]
    bits = [((frame[TRACE].to_numpy() >> d) & 1).astype(np.float64) for d in range(_RECENT_DAYS)]
    products = [one * other for k, one in enumerate(main) for other in main[k:]]
    table = np.stack([*main, (since == 0).astype(np.float64), np.exp(-since / 7), *answers, *bits, *products], axis=1)
    spread = table.std(axis=0)
    table = (table - table.mean(axis=0)) / np.where(spread > 0, spread, 1)
    return np.concatenate([np.ones((len(table), 1)), table], axis=1)


def _forecast(
    past: Doubles, trace: NDArray[np.float32], observed: NDArray[np.bool_], fold: Ints
) -> NDArray[np.float32]:
    """(n, H) linear forecasts, each fold's from its own rows with that day observed."""
    width, horizon = past.shape[1], trace.shape[1]
    known = observed.sum(axis=1)
    forecast = np.zeros(trace.shape, np.float32)
    for one in range(int(fold.max()) + 1):
        grams, moments = np.zeros((horizon + 1, width, width)), np.zeros((horizon, width))
        for count in np.unique(known[fold == one]):
            rows = (fold == one) & (known == count)
            grams[count] = past[rows].T @ past[rows]
            moments[:count] += trace[rows, :count].T.astype(np.float64) @ past[rows]
        grams = grams[::-1].cumsum(axis=0)[::-1][1:]  # [d]: rows with more than d days known
        penalty = 1e-4 * np.maximum(grams[:, 0, 0], 1)[:, None, None] * np.eye(width)
        weights = np.linalg.solve(grams + penalty, moments[..., None])[..., 0]
        forecast[fold == one] = past[fold == one] @ weights.T
    return forecast


def _means(values: NDArray[np.float32], group: Ints) -> NDArray[np.float32]:
    """(groups, H) means of the rows of each group."""
    counts = np.maximum(np.bincount(group), 1)
    sums = [np.bincount(group, values[:, ahead], len(counts)) for ahead in range(values.shape[1])]
    return (np.stack(sums, axis=1) / counts[:, None]).astype(np.float32)
