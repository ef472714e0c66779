"""What happened after a day's exposures that the user's past did not foretell.

Each step is a sum over users, see `reward.statistics.sums`; what is kept of a user-day beside it is its own residual.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from reward.arrays import Doubles, Floats, Ints
from reward.causal.item_effects.forecast import LinearForecast, OutcomeDays, PastMoments
from reward.causal.item_effects.past import directions_of
from reward.columns import USER
from reward.data.days import DAY
from reward.data.event_log import SchemaError
from reward.data.prepared import PreparedLog
from reward.outcomes.protocol import DailyOutcome, Points
from reward.statistics.cells import CellMeans, CellRows
from reward.statistics.sums import Totals, fold

_LEAST_VARIANCE = 1e-8  # of a residual, below which it is rounding


@dataclass(frozen=True)
class UserDays:
    """Days on which some of a log's users were shown something, and what was left to explain of the days after.

    Attributes:
        users: (users,) ids of all users of the log, ascending.
        user: (n,) place in ``users``.
        day: (n,) days since 1970-01-01.
        fold: (users,) cross-fitting fold.
        known: (n,) of the H days after, how many the log knows.
        residual: (n, H) what a day brought minus its forecast; 0 where not known.
        expected: (n,) mean of the forecast over the days ahead that the log knows.
        row: (events,) place of each of these users' events among the n.
        start: first day of the log.
        span: days from there to the last with an event.
    """

    users: pl.Series
    user: Ints
    day: Ints
    fold: Ints
    known: Ints
    residual: Floats
    expected: Doubles
    row: Ints
    start: int
    span: int

    @property
    def folds(self) -> int:
        """How many folds there are."""
        return int(self.fold.max()) + 1

    @property
    def since(self) -> Ints:
        """(n,) days since the log's first, below ``span``."""
        return self.day - self.start

    @property
    def row_user(self) -> Ints:
        """(events,) place of each event's user in ``users``."""
        return self.user[self.row]

    @property
    def row_fold(self) -> Ints:
        """(events,) fold of each event's user."""
        return self.fold[self.row_user]

    @property
    def fold_day(self) -> Ints:
        """(n,) fold and day as one number, below folds · span: folds share nothing, not even a day's luck."""
        return self.fold[self.user] * self.span + self.since

    @classmethod
    def joined(cls, parts: Sequence[UserDays]) -> UserDays:
        """The days of users of several chunks, which are in the order of the log."""
        first = np.cumsum([0, *(len(each.user) for each in parts[:-1])])
        one = parts[0]
        return cls(
            users=one.users,
            user=np.concatenate([each.user for each in parts]),
            day=np.concatenate([each.day for each in parts]),
            fold=one.fold,
            known=np.concatenate([each.known for each in parts]),
            residual=np.concatenate([each.residual for each in parts]),
            expected=np.concatenate([each.expected for each in parts]),
            row=np.concatenate([each.row + at for at, each in zip(first, parts, strict=True)]),
            start=one.start,
            span=one.span,
        )


@dataclass(frozen=True)
class DayEffects:
    """An estimate, for each user-day, of what all that was shown that day did over the horizon.

    Attributes:
        value: (n,) days; 0 where nothing is known of the days after.
        precision: (n,) inverse variance, 1/days², of a user-day as it is on average.
        noise: (n,) what a user-day's own variance is of that: hardly active users hardly vary; None: all are alike.
    """

    value: Doubles
    precision: Doubles
    noise: Doubles | None = None


def user_days(
    prepared: PreparedLog, outcome: DailyOutcome, *, folds: int, seed: int, forecast: pl.DataFrame | None = None
) -> list[UserDays]:
    """Residuals of the days after each user-day, chunk by chunk of the log.

    The forecast is a linear regression of each of the H days on what the user's past tells, and what all users of a day
    have in common, such as the weekday, is taken out. Both are done within each fold, so that folds share nothing: a
    forecast made from the other folds would carry their luck, reversed, into this one, and effects of one fold would
    seem to be refuted by the next. A few dozen coefficients, fitted to the rows they are used on, overfit little.

    Args:
        prepared: a checked log, cut where it is to be known.
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
    size = len(prepared.users)
    if size < 2 * folds:
        raise SchemaError(
            f"effects expected at least {2 * folds} users for {folds} folds, got {size}: give a log of more "
            "users, or set fewer causal.folds"
        )
    group = np.random.default_rng([seed, 7]).permutation(np.arange(size) % folds)
    features = [name for name in prepared.log.item_features if name in prepared.items.columns]
    directions = directions_of(prepared.items, features)
    read = [OutcomeDays.of(users, outcome, group, directions) for users in prepared.chunks()]
    fold(_Varies(outcome.points), read)
    if forecast is not None:
        read = _beyond(read, forecast, prepared.users)
    moments = fold(PastMoments(), read)
    weights = fold(LinearForecast(moments, folds, outcome.horizon_days), read)
    span = int(prepared.codes.day.max()) - prepared.first_day + 1
    left = []
    for each in read:
        ahead = each.forecast(moments, weights)
        left.append(
            UserDays(
                users=prepared.users,
                user=each.user,
                day=each.day,
                fold=group,
                known=each.known,
                residual=each.residual(ahead),
                expected=each.expected(ahead),
                row=each.row,
                start=prepared.first_day,
                span=span,
            )
        )
    usual = fold(CellMeans(folds * span, lambda it: CellRows(it.fold_day, None, it.residual)), left)
    return _without_days(left, usual.mean.astype(np.float32))


def _beyond(read: Iterable[OutcomeDays], forecast: pl.DataFrame, users: pl.Series) -> list[OutcomeDays]:
    """The same days, with what they brought beyond a forecast.

    Raises:
        SchemaError: it lacks some of them.
    """
    found, lacking, size = [], 0, 0
    for each in read:
        days = pl.DataFrame({USER: users.gather(each.user), DAY: each.day})
        given = days.join(forecast, on=[USER, DAY], how="left", maintain_order="left")["forecast"]
        lacking, size = lacking + given.null_count(), size + len(given)
        if not lacking:
            table = given.explode().to_numpy().reshape(each.values.shape).astype(np.float32)
            found.append(replace(each, values=each.values - table, given=table))
    if lacking:
        raise SchemaError(f"forecast lacks {lacking} of {size} user-days: forecast all of them")
    return found


@dataclass(frozen=True)
class _Range:
    """The least and the largest of what is known, infinite where nothing is."""

    low: float
    high: float

    def __add__(self, other: _Range, /) -> _Range:
        return _Range(min(self.low, other.low), max(self.high, other.high))


@dataclass(frozen=True)
class _Varies:
    """What the days after brought differs; else they are refused."""

    points: Points

    def partial(self, users: OutcomeDays) -> _Range:
        known = users.values[users.observed]
        return _Range(float(known.min(initial=np.inf)), float(known.max(initial=-np.inf)))

    def solve(self, state: _Range) -> None:
        if state.low > state.high:
            raise SchemaError(
                "effects expected a log that tells of days after an exposure, got none: give a longer log"
            )
        if state.low == state.high:
            every = "every" if state.low else "no"
            raise SchemaError(
                f"effects expected days after an exposure that differ, and found {every} user {self.points.on_a_day} "
                f"on {every} one of them: nothing is left that an item could have done; give a longer log, or check "
                "user_id"
            )


@dataclass(frozen=True)
class _Left(Totals):
    """Σ residual², and of how many."""

    squares: float
    known: int


@dataclass(frozen=True)
class _AnythingLeft:
    """The days after are not all foretold; else they are refused."""

    def partial(self, users: UserDays) -> _Left:
        return _Left(float(np.square(users.residual, dtype=np.float64).sum()), int(users.known.sum()))

    def solve(self, state: _Left) -> None:
        if not state.squares > _LEAST_VARIANCE * state.known:
            raise SchemaError(
                "effects expected users who are not all alike, and found that the past and the day foretell every day "
                "after an exposure: nothing is left that an item could have done; give a longer log, or one of more "
                "users"
            )


def _without_days(left: Iterable[UserDays], usual: NDArray[np.float32]) -> list[UserDays]:
    """Without what all of a fold have in common on a day, (folds · span, H): they know nothing of the others' luck.

    Raises:
        SchemaError: nothing is left.
    """
    found = []
    for each in left:
        residual = each.residual - usual[each.fold_day]
        residual[np.arange(residual.shape[1]) >= each.known[:, None]] = 0
        found.append(replace(each, residual=residual))
    fold(_AnythingLeft(), found)
    return found
