"""Outcomes: a log's rows in, target columns and their observed masks out."""

from __future__ import annotations

from typing import Protocol

import polars as pl

from reward.schema import EventLog

STATES = ("before", "exposed", "after")


class Outcome(Protocol):
    """What training asks of an outcome.

    Attributes:
        targets: names of the columns that `label` adds: Int64, or arrays of Float32 with a number for each day.
        horizon_days: H.
        unit: what one point of a value means.
        states: which states may be asked for it, of Q ``before``, E ``exposed`` and F ``after``: what the feedback
            itself tells is no target of the state after it.
    """

    @property
    def targets(self) -> tuple[str, ...]: ...

    @property
    def horizon_days(self) -> int: ...

    @property
    def unit(self) -> str: ...

    @property
    def states(self) -> tuple[str, ...]: ...

    def label(self, log: EventLog, end_day: int, *, since: int | None = None) -> pl.LazyFrame: ...
