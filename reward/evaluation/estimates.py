"""What an estimate is: a value with its interval, from rows and users; and what is missing, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from reward.arrays import Bools, Doubles, Ints
from reward.records import Kept
from reward.statistics.bootstrap import Statistic, interval, ratio

BASE_RATE = "base rate"
FEEDBACK_ONLY = "feedback only"
ACTIVITY = "activity only"
ACTIVITY_FEEDBACK = "activity + feedback"
EVERYTHING = "activity + feedback + items"
LIGHTGBM = "LightGBM"
PREVIOUS = "value_previous"
SLICE = "slice: "
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)

SCORES = ("value_before", "value_exposed", "value_after", "reward", "reward_std")
ROUNDING = 1e-3  # above what single precision leaves of a sum of values, below any reward that matters
INFINITE = "something happened that was given probability 0"


Side = Literal["above", "open", "below", "unknown"]


@dataclass(frozen=True)
class Estimate:
    """A value with its interval.

    Attributes:
        value: None where it cannot be computed.
        low: lower end of the interval; None where there is none, as is ``high``.
        high: its upper end.
    """

    value: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Both ends, where there are any."""
        return None if self.low is None or self.high is None else (self.low, self.high)

    @property
    def side_of_zero(self) -> Side:
        """Where the interval lies; ``open`` if it holds zero.

        >>> Estimate(0.5, -0.1, 1.1).side_of_zero
        'open'

        """
        if self.interval is None:
            return "unknown"
        low, high = self.interval
        return "above" if low > 0 else "below" if high < 0 else "open"

    def __neg__(self) -> Estimate:
        """The estimate of minus the quantity.

        >>> -Estimate(0.5, 0.25, 0.75)
        Estimate(value=-0.5, low=-0.75, high=-0.25)

        """
        value, low, high = (None if it is None else -it for it in (self.value, self.high, self.low))
        return Estimate(value, low, high)

    def scaled(self, factor: float) -> Estimate:
        """The estimate of ``factor`` times the quantity, a factor above 0."""
        return Estimate(*(None if it is None else factor * it for it in (self.value, self.low, self.high)))

    def minus(self, number: float) -> Estimate:
        """The estimate of the quantity less a known number."""
        return Estimate(*(None if it is None else it - number for it in (self.value, self.low, self.high)))


Flat = Annotated[Estimate, Kept(flat=True)]  # its three numbers stand among those of the record that has it


@dataclass(frozen=True)
class Missing:
    """What could not be computed, and why: a clause."""

    what: str
    why: str


@dataclass(frozen=True)
class Spread:
    """How values are spread.

    Attributes:
        sd: standard deviation; None where there are no values.
        quantiles: by the share of values below.
    """

    sd: float | None
    quantiles: Mapping[float, float | None]


def of_log(name: str) -> str:
    """The name of a feedback column of the log among rows that hold scores too, whose names it may have."""
    return f"log: {name}"


@dataclass
class Sample:
    """The users that the rows are of, how to resample them, and what could not be computed from them."""

    user: Ints  # (n,) code of each row's user
    users: int
    resamples: int
    seed: int
    level: float
    missing: list[Missing] = field(default_factory=list)

    def estimates(self, statistic: Statistic, what: str, why: str) -> list[Estimate]:
        """Values and intervals, flattened; those that are undefined are noted as missing, and why."""
        with np.errstate(invalid="ignore"):  # the difference of two infinite losses is undefined
            values = statistic(np.ones(self.users)).ravel()
            ends = interval(statistic, self.users, resamples=self.resamples, seed=self.seed, level=self.level)
        undefined = ~np.isfinite(values)
        low, high = (end.ravel() for end in ends)
        if undefined.any():
            self.lack(what, f"{undefined.sum()} of {len(values)} have no value, because {why}")
        if count := int((np.isnan(low) & ~undefined).sum()):
            self.lack(what, f"{count} of {len(values)} have no interval, because {too_few(self.users)}")
        return [estimate_of(*numbers) for numbers in zip(values, low, high, strict=True)]

    def lack(self, what: str, why: str) -> None:
        """Note what cannot be computed."""
        self.missing.append(Missing(what, why))

    def ratio_over(self, rows: Bools, numerator: npt.ArrayLike, denominator: npt.ArrayLike) -> Statistic:
        """`ratio` over some of the rows, of the weights of all users."""
        codes, user = np.unique(self.user[rows], return_inverse=True)
        statistic = ratio(numerator, denominator, user)
        return lambda weights: statistic(weights[codes])


def too_few(users: int) -> str:
    """Why a resample leaves something undefined."""
    return f"some resample of the {users} users leaves it undefined"


def estimate_of(value: float, low: float, high: float) -> Estimate:
    """Plain numbers; no interval around what has no value."""
    known = bool(np.isfinite([value, low, high]).all())
    ends = (float(low), float(high)) if known else (None, None)
    return Estimate(float(value) if np.isfinite(value) else None, *ends)


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


def spread(values: Doubles) -> Spread:
    """Standard deviation and quantiles."""
    if not values.size:
        return Spread(None, dict.fromkeys(QUANTILES))
    return Spread(float(values.std()), dict(zip(QUANTILES, np.quantile(values, QUANTILES).tolist(), strict=True)))


def covariances_of(rows: Bools, x: Doubles, y: Doubles, sample: Sample) -> Statistic:
    """Make the covariance of x and y over some rows and the variance of x a statistic, (2, 1)."""
    x, y = x - x[0], y - y[0]  # a constant is exactly 0
    means = sample.ratio_over(rows, np.column_stack([x, y, x * y, x * x]), np.ones((len(x), 4)))

    def statistic(weights: Doubles) -> Doubles:
        mean_x, mean_y, mean_xy, mean_xx = means(weights)
        return np.array([[mean_xy - mean_x * mean_y], [mean_xx - mean_x**2]])

    return statistic
