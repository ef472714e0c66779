"""Consumption: how much of something a user takes in on each of the next days."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from reward.columns import USER
from reward.data.days import DAY, MAX_HORIZON_DAYS, OBSERVED, day_of, observed_days
from reward.data.event_log import EventLog, SchemaError
from reward.outcomes.protocol import STATES, Parts, day_names, days_of

AMOUNT = "amount"


@dataclass(frozen=True)
class Consumption:
    """The sum of a feedback quantity over each of the next ``horizon_days`` days.

    For an event on day D (local date in the log's time zone) ``amount[d−1]`` is what all the user's events of day D+d
    add up to, and bit d−1 of ``observed`` says that this day lies wholly inside the log. What happens later on day D
    does not count.

    Attributes:
        quantity: a feedback column, at least 0, such as ``listen_ms``.
        horizon_days: H, 1 to 63.
    """

    quantity: str
    horizon_days: int

    targets = (AMOUNT, OBSERVED)
    states = STATES

    def __post_init__(self) -> None:
        if not 1 <= self.horizon_days <= MAX_HORIZON_DAYS:
            raise ValueError(f"horizon_days must be from 1 to {MAX_HORIZON_DAYS}, got {self.horizon_days}")

    @property
    def unit(self) -> str:
        """The unit of a value: what one point of it means."""
        return f"{self.quantity} in the next {self.horizon_days} days"

    @property
    def counted(self) -> str:
        """What a distribution's outcomes are."""
        return self.unit

    def label(self, log: EventLog, end_day: int, *, since: int | None = None) -> pl.LazyFrame:
        """The log's events, in their order, with ``day``, ``amount`` and ``observed``.

        Args:
            log: a checked log.
            end_day: first day that is not wholly known (days since 1970-01-01).
            since: tell only of days that were not yet known when this was the ``end_day``.

        Raises:
            SchemaError: ``quantity`` is no feedback column.
        """
        if self.quantity not in log.feedback:
            raise SchemaError(f"quantity={self.quantity!r} expected one of the feedback columns {list(log.feedback)}")
        events = log.events.with_columns(day_of(log))
        total = pl.col(self.quantity).cast(pl.Float64).sum().alias("total")
        days = events.group_by(USER, DAY).agg(total).sort(USER, DAY).collect()
        known = observed_days(pl.col(DAY), end_day, self.horizon_days)
        if since is not None:
            known = known & ~observed_days(pl.col(DAY), since, self.horizon_days)
        ahead = days.select(USER, DAY, pl.Series(AMOUNT, self._ahead(days), pl.Array(pl.Float32, self.horizon_days)))
        return (
            events.drop(AMOUNT, strict=False)  # a log may have a column of that name
            .join(ahead.lazy(), on=[USER, DAY], how="left", maintain_order="left")
            .with_columns(known.alias(OBSERVED))
        )

    def parts(self, labels: pl.DataFrame) -> Parts:
        """Amounts of days, as `label` tells them."""
        amount = labels[AMOUNT].to_numpy().astype(np.float64)
        return Parts(day_names(self.horizon_days), amount, days_of(labels[OBSERVED], self.horizon_days))

    def _ahead(self, days: pl.DataFrame) -> np.ndarray:
        """(rows, H) totals of the days after each row of ``days``, which is sorted by user and day."""
        day = days[DAY].to_numpy()
        span = int(day.max() - day.min()) + self.horizon_days + 1
        key = days[USER].rle_id().to_numpy().astype(np.int64) * span + day - day.min()
        wanted = key[:, None] + np.arange(1, self.horizon_days + 1)
        place = np.minimum(np.searchsorted(key, wanted), len(key) - 1)
        return np.where(key[place] == wanted, days["total"].to_numpy()[place], 0.0).astype(np.float32)
