"""What an outcome is: labels of a log's events, and the parts that a prediction is judged by."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from reward.data.event_log import EventLog

STATES = ("before", "exposed", "after")
ABSENT = "absent"
ASKED = "asked"


class Parts(NamedTuple):
    """An outcome as numbers that add up to it, in the parts that `Head.expected` predicts.

    Attributes:
        names: k of them, such as the days of the horizon.
        values: (rows, k).
        known: (rows, k), which of the values the log can tell.
    """

    names: list[str]
    values: NDArray[np.float64]
    known: NDArray[np.bool_]


def days_of(words: pl.Series, horizon_days: int) -> NDArray[np.bool_]:
    """(rows, H) days of words."""
    return (words.to_numpy()[:, None] >> np.arange(horizon_days)) & 1 == 1


def day_names(horizon_days: int) -> list[str]:
    """A name for each day of a horizon."""
    return [f"day {day}" for day in range(1, horizon_days + 1)]


class Outcome(Protocol):
    """What training asks of an outcome.

    Attributes:
        targets: names of the columns that `label` adds: Int64, or arrays of Float32 with a number for each day.
        horizon_days: H.
        unit: what one point of a value means.
        counted: what the outcomes of `Head.distribution` are numbers of.
        states: which states may be asked for it, of Q ``before``, E ``exposed`` and F ``after``: what the feedback
            itself tells is no target of the state after it. Or ``absent`` alone: the slot, asked about an item,
            creator or show that is not in it. Then `label` says in ``asked`` which; see `AbsentOutcome`.
    """

    @property
    def targets(self) -> tuple[str, ...]: ...

    @property
    def horizon_days(self) -> int: ...

    @property
    def unit(self) -> str: ...

    @property
    def counted(self) -> str: ...

    @property
    def states(self) -> tuple[str, ...]: ...

    def label(self, log: EventLog, end_day: int, *, since: int | None = None) -> pl.LazyFrame: ...

    def parts(self, labels: pl.DataFrame) -> Parts: ...


class AbsentOutcome(Outcome, Protocol):
    """One whose state is ``absent``.

    Attributes:
        scope: what it asks about, ``item`` or a categorical column of the items table.
    """

    @property
    def scope(self) -> str: ...
