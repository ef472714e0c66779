"""What the days after each user-day brought, and its linear forecast from the user's past, as sums over users."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from reward.arrays import Bools, Doubles, Floats, Ints
from reward.causal.item_effects.past import UserPast, profiles_of, volumes_of
from reward.columns import USER
from reward.data.days import DAY
from reward.data.event_log import EventLog, click_of
from reward.data.prepared import UserRows
from reward.outcomes.protocol import DailyOutcome
from reward.statistics.moments import ColumnMoments
from reward.statistics.sums import Totals

_RIDGE = 1e-4  # of the rows, that keeps a forecast's coefficients finite


@dataclass(frozen=True)
class OutcomeDays:
    """n user-days of some of a log's users.

    Attributes:
        user: (n,) place among all users of the log.
        day: (n,) days since 1970-01-01.
        fold: (n,) of the user.
        known: (n,) of the H days after, how many the log knows.
        values: (n, H) what each of these brought.
        past: what was known when the day began.
        row: (events,) place of each of these users' events among the n.
        given: (n, H) of a forecast that was given, of which ``values`` are what is beyond; 0 where there is none.
    """

    user: Ints
    day: Ints
    fold: Ints
    known: Ints
    values: Floats
    past: UserPast
    row: Ints
    given: Floats | float = 0.0

    @classmethod
    def of(cls, users: UserRows, outcome: DailyOutcome, group: Ints, directions: Floats) -> OutcomeDays:
        """The days of a chunk's users.

        Args:
            users: of the chunk.
            outcome: what their days bring.
            group: (users,) fold of each user of the log.
            directions: of the log's items, see `directions_of`.
        """
        log = users.log
        told = outcome.daily(log, users.prepared.end_day)
        ids = users.prepared.users.slice(users.first, users.last - users.first)
        user = ids.search_sorted(told.rows[USER]).to_numpy().astype(np.int64) + users.first
        day = told.rows[DAY].to_numpy()
        start = users.prepared.first_day
        span = int(day.max()) - start + 1
        row = np.searchsorted((user - users.first) * span + day - start, _when(users, start, span))
        click = click_of(log)
        taken = [] if click is None else [_above(log, click)]
        profile = profiles_of(row, users.item, taken, user, day, directions)
        past = UserPast.of(told.rows, volumes_of(log), profile, start)
        return cls(user, day, group[user], told.known, told.values, past, row)

    @property
    def observed(self) -> Bools:
        """(n, H) whether the log knows what each of the days after brought."""
        return np.arange(self.values.shape[1]) < self.known[:, None]

    def columns(self, moments: ColumnMoments) -> Doubles:
        """(n, 1 + columns) an intercept and the standardised past."""
        spread = np.where(moments.spread > 0, moments.spread, 1)
        table = self.past.table()
        table -= moments.mean
        table /= spread
        return np.concatenate([np.ones((len(table), 1)), table], axis=1)

    def forecast(self, moments: ColumnMoments, weights: Doubles) -> Floats:
        """(n, H) what the days after are expected to bring, by (folds, H, 1 + columns) coefficients."""
        columns, forecast = self.columns(moments), np.zeros(self.values.shape, np.float32)
        for one, coefficients in enumerate(weights):
            mine = self.fold == one
            forecast[mine] = columns[mine] @ coefficients.T
        return forecast

    def residual(self, forecast: Floats) -> Floats:
        """(n, H) what the days after brought beyond their forecast; 0 where it is not known."""
        return np.where(self.observed, self.values - forecast, 0).astype(np.float32)

    def expected(self, forecast: Floats) -> Doubles:
        """(n,) mean of the days after that the log knows, as they were forecast; 0 where it knows none."""
        total = np.where(self.observed, self.given + forecast, 0).sum(axis=1, dtype=np.float64)
        return np.asarray(total / np.maximum(self.known, 1), np.float64)


def _above(log: EventLog, feedback: str) -> Doubles:
    """(events,) 1 where feedback is above 0."""
    return log.events.select((pl.col(feedback) > 0).cast(pl.Float64)).collect().to_series().to_numpy()


def _when(users: UserRows, start: int, span: int) -> Ints:
    """(events,) user and day of each event as one number."""
    return (users.user - users.first) * span + users.day - start


class PastMoments:
    """Means and spreads of the columns that forecasts are made of."""

    def partial(self, users: OutcomeDays) -> ColumnMoments:
        """Of a chunk."""
        return ColumnMoments.of(users.past.table())

    def solve(self, state: ColumnMoments) -> ColumnMoments:
        """Of all chunks."""
        return state


@dataclass(frozen=True)
class _Normal(Totals):
    """Normal equations by fold: Σ x x' by how many days are known, and Σ y x' of each day ahead."""

    gram: Doubles  # (folds, H + 1, columns, columns)
    moment: Doubles  # (folds, H, columns)


@dataclass(frozen=True)
class LinearForecast:
    """Coefficients of each day ahead on the past, each fold's from its own rows with that day observed.

    Attributes:
        moments: of the columns, which standardise them.
        folds: how many there are.
        horizon: H.
    """

    moments: ColumnMoments
    folds: int
    horizon: int

    def partial(self, users: OutcomeDays) -> _Normal:
        """Normal equations of a chunk."""
        past = users.columns(self.moments)
        width = past.shape[1]
        gram = np.zeros((self.folds, self.horizon + 1, width, width))
        moment = np.zeros((self.folds, self.horizon, width))
        for one in range(self.folds):
            mine = users.fold == one
            for count in np.unique(users.known[mine]):
                rows = mine & (users.known == count)
                gram[one, count] = past[rows].T @ past[rows]
                moment[one, :count] += users.values[rows, :count].T.astype(np.float64) @ past[rows]
        return _Normal(gram, moment)

    def solve(self, state: _Normal) -> Doubles:
        """(folds, H, columns) coefficients."""
        weights = np.zeros(state.moment.shape)
        for one, (by_known, moment) in enumerate(zip(state.gram, state.moment, strict=True)):
            gram = by_known[::-1].cumsum(axis=0)[::-1][1:]  # [d]: rows with more than d days known
            penalty = _RIDGE * np.maximum(gram[:, 0, 0], 1)[:, None, None] * np.eye(gram.shape[1])
            weights[one] = np.linalg.solve(gram + penalty, moment[..., None])[..., 0]
        return weights
