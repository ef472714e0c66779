"""What an estimate is: a value with its interval, of rows and users, or why there is none."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from reward.arrays import Bools, Doubles, Ints, Words
from reward.statistics.bootstrap import RatioRows, Ratios, Resamples, Users, percentiles
from reward.statistics.sums import fold

NO_CLICK = (
    "How this goes with clicks cannot be said: no feedback column is named as the click. Name it with data.click=NAME."
)
BASE_RATE = "base rate"
FEEDBACK_ONLY = "feedback only"
ACTIVITY = "activity only"
ACTIVITY_FEEDBACK = "activity + feedback"
EVERYTHING = "activity + feedback + items"
LIGHTGBM = "LightGBM"
PREVIOUS = "value_previous"
SLICE = "slice: "
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)

Json = dict[str, Any]

SCORES = ("value_before", "value_exposed", "value_after", "reward", "reward_std")
ROUNDING = 1e-3  # above what single precision leaves of a sum of values, below any reward that matters
INFINITE = "something happened that was given probability 0"


def of_log(name: str) -> str:
    """The name of a feedback column of the log among rows that hold scores too, whose names it may have."""
    return f"log: {name}"


@dataclass
class Sample:
    """The users that the rows are of, how to resample them, and what could not be computed from them."""

    user: Ints  # (n,) code of each row's user
    hashes: Words  # (users,) `user_hash` of each user
    resamples: int
    seed: int
    level: float
    notes: list[str] = field(default_factory=list)

    @property
    def users(self) -> int:
        """How many they are."""
        return len(self.hashes)

    @property
    def draws(self) -> Resamples:
        """The resamples of the users."""
        return Resamples(self.resamples, self.seed)

    def estimates(self, table: Doubles, what: str, why: str) -> list[Json]:
        """Values and intervals, flattened, of (1 + resamples, ...); a note says that some are undefined, and why."""
        values = table[0].ravel()
        undefined = ~np.isfinite(values)
        low, high = (end.ravel() for end in percentiles(table[1:], self.level))
        if undefined.any():
            self.notes.append(f"{what}: {undefined.sum()} of {len(values)} without a value, for {why}")
        if count := int((np.isnan(low) & ~undefined).sum()):
            self.notes.append(f"{what}: {count} of {len(values)} without an interval, for {too_few(self.users)}")
        return [estimate_of(*numbers) for numbers in zip(values, low, high, strict=True)]

    def ratio(self, numerator: npt.ArrayLike, denominator: npt.ArrayLike) -> Doubles:
        """(1 + resamples, k) ratios of sums over rows (n, k), in the sample and in each resample."""
        return self.ratio_over(np.ones(len(self.user), bool), numerator, denominator)

    def ratio_over(self, rows: Bools, numerator: npt.ArrayLike, denominator: npt.ArrayLike) -> Doubles:
        """`ratio` over some of the rows, of all users."""
        above, below = (np.asarray(part, np.float64) for part in (numerator, denominator))
        some = RatioRows(above, below, Users(self.user[rows], self.hashes))
        return fold(Ratios(self.draws), [some])


def too_few(users: int) -> str:
    """Why a resample leaves something undefined."""
    return f"some resample of the {users} users leaves it undefined"


def estimate_of(value: float, low: float, high: float) -> Json:
    """Plain numbers; no interval around what has no value."""
    known = bool(np.isfinite([value, low, high]).all())
    ends = {"low": float(low) if known else None, "high": float(high) if known else None}
    return {"value": float(value) if np.isfinite(value) else None, **ends}


def numbers_of(rows: pl.DataFrame, name: str) -> Doubles:
    """(n,) a column as numbers."""
    return rows[name].cast(pl.Float64).to_numpy()


def grouped(score: Doubles, bins: int) -> tuple[Bools, Ints]:
    """Which row is in which group of equal mass, (n, groups), and their sizes: equal scores are in one group.

    A group is the whole part of ``bins`` times the quantile, the share below and half the share tied.
    """
    ordered = np.sort(score)
    middle = (np.searchsorted(ordered, score, "left") + np.searchsorted(ordered, score, "right")) / 2
    inside = np.eye(bins, dtype=bool)[(bins * middle / max(len(score), 1)).astype(np.int64)]
    inside = inside[:, inside.any(axis=0)]
    return inside, inside.sum(axis=0)


def spread(values: Doubles) -> Json:
    """Standard deviation and quantiles; None where there are no values."""
    if not values.size:
        return {"sd": None, "quantiles": {str(q): None for q in QUANTILES}}
    quantiles = np.quantile(values, QUANTILES).tolist()
    return {"sd": float(values.std()), "quantiles": dict(zip(map(str, QUANTILES), quantiles, strict=True))}


def covariances_of(rows: Bools, x: Doubles, y: Doubles, sample: Sample) -> tuple[Doubles, Doubles]:
    """(1 + resamples,) the covariance of x and y over some rows, and the variance of x."""
    x, y = x - x[0], y - y[0]  # a constant is exactly 0
    means = sample.ratio_over(rows, np.column_stack([x, y, x * y, x * x]), np.ones((len(x), 4)))
    mean_x, mean_y, mean_xy, mean_xx = means.T
    return mean_xy - mean_x * mean_y, mean_xx - mean_x**2
