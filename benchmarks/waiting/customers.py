"""Customers: what they bought, what is known of them as a week begins, and how long they then stay away."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

FIRST_DAY = "1997-01-01"
WEEK = 7
_SPAN = 1 << 20  # days between the keys of two customers
NAMES = (
    "age",
    "recency",
    "frequency",
    "weeks a purchase",
    "overdue",
    "last gap",
    "spread of gaps",
    "purchases in 4 weeks",
    "purchases in 13 weeks",
    "purchases in 26 weeks",
    "all dollars",
    "mean dollars",
    "last dollars",
    "mean units",
    "last units",
)
RFM = ("age", "recency", "frequency")
AGELESS = tuple(name for name in NAMES if name != "age")  # all joined in one quarter: their age is the calendar
Floats = np.ndarray
Ints = np.ndarray


@dataclass(frozen=True)
class Purchases:
    """One row a customer and day of purchase, by customer and day.

    Attributes:
        customer: (n,) codes from 0.
        day: (n,) days since the log's first.
        dollars, units: (n,) what was bought that day.
        customers: how many there are, those who have not bought yet among them.
    """

    customer: Ints
    day: Ints
    dollars: Floats
    units: Floats
    customers: int

    def before(self, week: int) -> Purchases:
        """What was known when ``week`` began."""
        seen = self.day < WEEK * week
        return replace(self, **{name: getattr(self, name)[seen] for name in ("customer", "day", "dollars", "units")})

    @property
    def first(self) -> Ints:
        """(customers + 1,) the row with which each customer begins."""
        return np.searchsorted(self.customer, np.arange(self.customers + 1))

    def seen(self, customer: Ints, day: Ints) -> Ints:
        """How many rows precede ``day`` among those of customers up to ``customer``."""
        return np.searchsorted(self.customer * _SPAN + self.day, customer * _SPAN + day)


def drawn(people: int, weeks: int, seed: int = 0) -> Purchases:
    """Purchases of people who buy at their own rates, so many times at most that some have left."""
    random = np.random.default_rng(seed)
    rows = sorted(
        {
            (who, int(day))
            for who in range(people)
            for day in np.cumsum(np.r_[random.integers(20), random.geometric(0.02 + 0.1 * random.random(), 12)])
            if day < WEEK * weeks
        }
    )
    who, day = np.array(rows).T
    return Purchases(who, day, random.gamma(2.0, 10.0, len(rows)), np.ones(len(rows)), people)


def read(folder: Path) -> Purchases:
    """The CDNOW master log, as ``events.parquet`` with ``user_id``, ``timestamp``, ``n_cds`` and ``dollars``.

    Raises:
        SystemExit: it is not there.
    """
    file = folder / "cdnow" / "events.parquet"
    if not file.is_file():
        raise SystemExit(
            f"{file} is missing: expected the CDNOW master data set (Fader & Hardie, brucehardie.com/datasets, also in "
            "the PyPI package lifetimes) as parquet with user_id, timestamp, n_cds and dollars; say where with --data"
        )
    began = pl.lit(FIRST_DAY).str.to_datetime(time_zone="UTC")
    days = (
        pl.read_parquet(file)
        .with_columns(((pl.col("timestamp") - began).dt.total_days()).alias("day"))
        .group_by("user_id", "day")
        .agg(pl.col("dollars").sum(), pl.col("n_cds").sum().cast(pl.Float64).alias("units"))
        .sort("user_id", "day")
    )
    customer = days["user_id"].rle_id().cast(pl.Int64).to_numpy()
    columns = (days[name].to_numpy().copy() for name in ("day", "dollars", "units"))
    return Purchases(customer, *columns, customers=int(customer[-1]) + 1)


def landmarks(purchases: Purchases, weeks: Ints) -> tuple[Ints, Ints]:
    """Each customer at the start of each of ``weeks``, once they have bought: customers and weeks."""
    customer = np.repeat(np.arange(purchases.customers), len(weeks))
    week = np.tile(np.sort(weeks), purchases.customers)
    begun = purchases.seen(customer, WEEK * week) > purchases.first[customer]
    return customer[begun], week[begun]


def waits(purchases: Purchases, customer: Ints, week: Ints, *, end: int, horizon: int) -> tuple[Ints, np.ndarray]:
    """How many weeks pass until the next purchase, counted from 1 for the landmark's own week.

    Args:
        purchases: the log.
        customer: (rows,).
        week: (rows,), the landmark: the wait begins as it begins.
        end: the first week that is not known.
        horizon: H.

    Returns:
        ``time`` (rows,): the week of the return where ``event`` (rows,) is True; else how many weeks are known to have
        passed without one, at most H.
    """
    after = purchases.seen(customer, WEEK * week)
    comes = after < purchases.first[customer + 1]
    day = purchases.day[np.minimum(after, len(purchases.day) - 1)]
    known = np.minimum(end - week, horizon)
    time = np.where(comes, day // WEEK - week + 1, horizon + 1)
    return np.minimum(time, known), time <= known


def known(purchases: Purchases, customer: Ints, day: Ints) -> Floats:
    """Age, recency, frequency, amounts and gaps of customers who have bought before ``day``: (rows, `NAMES`), weeks."""
    first, after = purchases.first[customer], purchases.seen(customer, day)
    count = after - first
    if np.any(count < 1):
        raise ValueError("expected customers who have bought before the day, got some who have not: take `landmarks`")
    own = np.diff(purchases.customer, prepend=-1) == 0
    gap = np.where(own, np.diff(purchases.day, prepend=0), 0) / WEEK
    sums = {
        name: np.concatenate([[0.0], np.cumsum(values)])
        for name, values in {
            "dollars": purchases.dollars,
            "units": purchases.units,
            "gap": gap,
            "square": gap**2,
        }.items()
    }
    total = {name: each[after] - each[first] for name, each in sums.items()}
    age = (day - purchases.day[first]) / WEEK
    recency = (day - purchases.day[after - 1]) / WEEK
    gaps = np.maximum(count - 1, 1)
    spread = np.sqrt(np.maximum(total["square"] / gaps - (total["gap"] / gaps) ** 2, 0.0))
    recent = [after - np.maximum(purchases.seen(customer, day - WEEK * weeks), first) for weeks in (4, 13, 26)]
    return np.column_stack(
        [
            age,
            recency,
            count - 1,
            age / count,
            recency * count / age,
            np.where(count > 1, gap[after - 1], age),
            spread,
            *recent,
            total["dollars"],
            total["dollars"] / count,
            purchases.dollars[after - 1],
            total["units"] / count,
            purchases.units[after - 1],
        ]
    ).astype(np.float64)
