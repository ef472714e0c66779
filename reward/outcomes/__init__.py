"""Outcomes: a log's rows in, target columns and their observed masks out."""

from __future__ import annotations

from typing import Protocol

import polars as pl

from reward.schema import EventLog


class Outcome(Protocol):
    """What training asks of an outcome.

    Attributes:
        targets: names of the Int64 columns that `label` adds.
        horizon_days: H.
    """

    @property
    def targets(self) -> tuple[str, ...]: ...

    @property
    def horizon_days(self) -> int: ...

    @property
    def unit(self) -> str: ...

    def label(self, log: EventLog, end_day: int) -> pl.LazyFrame: ...
