"""Every metric of some predictions as an estimator: `partial` of some users' rows, states that add, and `solve`.

Log-loss, Brier score and active days are ratios of sums over users. AUC, calibration error and C-index sort all rows:
their state holds the rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from reward.arrays import Bools, Doubles, Ints, Words
from reward.evaluation.daily import (
    NOTHING_OBSERVED,
    active_days_of,
    auc_statistic,
    bits_of,
    calibration_error_statistic,
    log_losses,
    masked,
    mean_over_days,
    squared_errors,
)
from reward.evaluation.survival_metrics import c_index_statistic, return_time
from reward.statistics.bootstrap import Resamples, Sums, Users, check_users, quotient

BY_DAY = ("log_loss", "brier", "auc", "calibration_error")
WHOLE = ("c_index", "active_days_predicted", "active_days_observed", "active_days_ratio")


class JudgedRows(NamedTuple):
    """Rows of some users: what was predicted for them and what came."""

    predictions: Mapping[str, npt.ArrayLike]  # probabilities (n, H), by name
    trace: Bools  # (n, H)
    observed: Bools  # (n, H)
    user: npt.ArrayLike  # (n,) ids


class SortedRows(NamedTuple):
    """What statistics of order need of some users' rows."""

    hashes: Words  # (n,) of each row's user
    p: Doubles  # (predictions, n, H), 0 where nothing is observed
    y: Bools  # (n, H)
    seen: Bools  # (n, H)

    @classmethod
    def joined(cls, chunks: Sequence[SortedRows]) -> SortedRows:
        """The rows of all chunks."""
        hashes, p, y, seen = zip(*chunks, strict=True)
        return cls(np.concatenate(hashes), np.concatenate(p, axis=1), np.concatenate(y), np.concatenate(seen))


@dataclass(frozen=True)
class MetricState:
    """What some users add to a `MetricTable`.

    Attributes:
        names: of the predictions.
        sums: see `_columns`.
        sizes: (1 + H, 2) rows and users of whom something is observed: at all, and on each day.
        rows: of chunks of users, which are put together once, in `solve`.
    """

    names: tuple[str, ...]
    sums: Sums
    sizes: Ints
    rows: tuple[SortedRows, ...]

    def __add__(self, other: MetricState) -> MetricState:
        """What the users of both add.

        Raises:
            ValueError: they are of other predictions.
        """
        if self.names != other.names:
            raise ValueError(
                f"expected the same predictions, in one order, of every chunk of users, got {', '.join(self.names)} "
                f"and {', '.join(other.names)}: predict alike for all of them"
            )
        return MetricState(self.names, self.sums + other.sums, self.sizes + other.sizes, self.rows + other.rows)


class MetricTable(NamedTuple):
    """Every metric of some predictions.

    Attributes:
        names: of the predictions.
        values: (1 + resamples, predictions, metrics), those of the sample first; by day each of `BY_DAY` over the
            horizon and on days 1 .. H, then `WHOLE`.
        sizes: (1 + H, 2) rows and users of whom something is observed: at all, and on each day.
    """

    names: tuple[str, ...]
    values: Doubles
    sizes: Ints

    @property
    def log_loss(self) -> Doubles:
        """(1 + resamples, predictions, 1 + H) over the horizon and on each day."""
        return self.values[..., : len(self.sizes)]


@dataclass(frozen=True)
class MetricEstimator:
    """The metrics of some predictions on the same rows.

    Attributes:
        resamples: of users.
        bins: number of bins of the calibration error, at least 1.
        once: at most one of a row's days can be set, so the chances of days add up to that of having come by then.
    """

    resamples: Resamples
    bins: int
    once: bool

    def partial(self, users: JudgedRows, /) -> MetricState:
        """What some users add.

        Raises:
            ValueError: shapes or dtypes that do not fit, or observed probabilities outside [0, 1].
        """
        y, seen = bits_of(users.trace, users.observed)
        if np.shape(users.user) != y.shape[:1]:
            raise ValueError(f"expected a user for each of the {len(y)} rows, got shape {np.shape(users.user)}")
        whose = Users.of(users.user)
        p = np.stack([masked(each, y, seen)[0] for each in users.predictions.values()])
        y = y & seen
        rows = SortedRows(whose.hashes[whose.code], p, y, seen)
        sums = self.resamples.sums(_columns(rows), whose)
        return MetricState(tuple(users.predictions), sums, _sizes(seen, whose.code), (rows,))

    def solve(self, state: MetricState, /) -> MetricTable:
        """The metrics in the sample and in each resample.

        Raises:
            ValueError: nothing is observed, fewer than 2 users, or no bin.
        """
        if not state.sizes[0, 0]:
            raise ValueError(NOTHING_OBSERVED)
        check_users(state.sums.users)
        rows = SortedRows.joined(state.rows)
        auc, error, index = self._of_order(rows)
        losses, squares, predicted, bits, came, known = _parted(state.sums.table, *rows.p.shape[::2])
        by_day = [quotient(losses, bits), quotient(squares, bits), auc, error]
        columns = [np.append(mean_over_days(each, bits)[..., None], each, axis=-1) for each in by_day]
        days = active_days_of(predicted, *np.broadcast_arrays(came, known, predicted)[:2])
        return MetricTable(state.names, np.concatenate([*columns, index, days], axis=-1), state.sizes)

    def _of_order(self, rows: SortedRows) -> tuple[Doubles, Doubles, Doubles]:
        """AUC and calibration error (1 + resamples, predictions, H), and C-index (1 + resamples, predictions, 1)."""
        hashes, user = np.unique(rows.hashes, return_inverse=True)
        error = partial(calibration_error_statistic, bins=self.bins)
        returns = return_time(rows.y, rows.seen)
        statistics = []
        for p in rows.p:
            by_day = [build(p, rows.y, rows.seen, user) for build in (auc_statistic, error)]
            returned = np.asarray(np.cumsum(p, axis=1) if self.once else 1 - np.cumprod(1 - p, axis=1), np.float64)
            statistics.append([*by_day, c_index_statistic(returned, *returns, user)])
        days = rows.y.shape[1]
        table = np.empty((1 + self.resamples.count, len(statistics), 2 * days + 1))

        def fill(place: int, weights: Doubles) -> None:
            table[place] = [np.concatenate([each(weights) for each in of_one]) for of_one in statistics]

        fill(0, np.ones(len(hashes)))
        for some, counts in self.resamples.weights(hashes):
            for place, weights in enumerate(counts, some.start + 1):
                fill(place, weights)
        auc, errors, index = np.split(table, (days, 2 * days), axis=-1)
        return auc, errors, index


def _columns(rows: SortedRows) -> Doubles:
    """(n, predictions · (2H + 1) + H + 2) what is summed: see `_parted`."""
    losses = [log_losses(p, rows.y) for p in rows.p]
    squares = [squared_errors(p, rows.y) for p in rows.p]
    shared = [rows.seen, rows.y.sum(axis=1)[:, None], np.asarray(rows.seen.any(axis=1))[:, None]]
    return np.concatenate([*losses, *squares, rows.p.sum(axis=2).T, *shared], axis=1)


def _parted(table: Doubles, predictions: int, days: int) -> list[Doubles]:
    """What sums (m, ·) of `_columns` hold, in their order.

    Losses and squares (m, predictions, H); days predicted (m, predictions); observed bits (m, 1, H); days that came and
    rows with an observed day (m, 1).
    """
    widths = [predictions * days, predictions * days, predictions, days, 1, 1]
    losses, squares, predicted, bits, came, known = np.split(table, np.cumsum(widths)[:-1], axis=1)
    shape = (len(table), predictions, days)
    return [losses.reshape(shape), squares.reshape(shape), predicted, bits[:, None], came, known]


def _sizes(seen: Bools, code: Ints) -> Ints:
    """(1 + H, 2) rows and users of whom something is observed: at all, and on each day."""
    known = np.concatenate([np.asarray(seen.any(axis=1))[:, None], seen], axis=1).T
    return np.array([[rows.sum(), len(np.unique(code[rows]))] for rows in known], np.int64)
