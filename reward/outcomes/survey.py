"""Survey: what a user answers when asked about the item just shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from reward.data.days import day_of, revealed
from reward.data.event_log import EventLog, SchemaError
from reward.outcomes.protocol import Parts

RATING = "rating"


@dataclass(frozen=True)
class SurveyRating:
    """The rating that an exposure got, where anybody was asked and answered.

    ``rating`` is 0 where no answer came, k for the k-th of ``levels``, and −1 where nothing is told of the row. The
    answer is feedback of the exposure itself, so it is a target of the states before it, Q and E, and of none after.

    Attributes:
        question: the feedback column with the answers; 0 where there is none.
        levels: the answers there can be, from worst to best, each above 0.
    """

    question: str
    levels: Sequence[float]

    targets = (RATING,)
    states = ("before", "exposed")
    horizon_days = 0

    def __post_init__(self) -> None:
        if len(self.levels) < 2 or list(self.levels) != sorted(set(self.levels)) or self.levels[0] <= 0:
            raise ValueError(f"levels expected at least two numbers above 0 in rising order, got {list(self.levels)}")

    @property
    def unit(self) -> str:
        """The unit of a value: what one point of it means."""
        return f"{self.question} answered, from {self.levels[0]:g} to {self.levels[-1]:g}"

    @property
    def counted(self) -> str:
        """What a distribution's outcomes are."""
        return self.unit

    def label(self, log: EventLog, end_day: int, *, since: int | None = None) -> pl.LazyFrame:
        """The log's events, in their order, with ``day`` and ``rating``.

        Args:
            log: a checked log.
            end_day: first day that is not wholly known (days since 1970-01-01).
            since: tell only of rows that were not yet there when this was the ``end_day``.

        Raises:
            SchemaError: ``question`` is no feedback column, or an answer is none of ``levels``.
        """
        if self.question not in log.feedback:
            raise SchemaError(f"question={self.question!r} expected one of the feedback columns {list(log.feedback)}")
        answer = pl.col(self.question).cast(pl.Float64)
        given = log.events.select(answer.unique().sort()).collect().to_series().to_list()
        odd = [value for value in given if value != 0 and value not in self.levels]
        if odd:
            raise SchemaError(
                f"{self.question} expected 0 (not asked) or one of the levels {list(self.levels)}, found {odd[:5]}: "
                "name every answer there can be in levels"
            )
        rating = answer.replace_strict(
            {0.0: 0, **{float(it): k for k, it in enumerate(self.levels, 1)}}, return_dtype=pl.Int64
        )
        return log.events.with_columns(day_of(log)).with_columns(
            pl.when(revealed(end_day, since)).then(rating).otherwise(-1).alias(RATING)
        )

    def parts(self, labels: pl.DataFrame) -> Parts:
        """Whether each level but the last was surpassed, of those who answered."""
        rating = labels[RATING].to_numpy()[:, None]
        steps = np.arange(1, len(self.levels))
        names = [f"above {level:g}" for level in self.levels[:-1]]
        return Parts(names, (rating > steps).astype(np.float64), np.broadcast_to(rating > 0, (len(rating), len(steps))))
