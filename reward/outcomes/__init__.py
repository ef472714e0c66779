"""Outcomes: a log's rows in, target columns and their observed masks out; one file each."""

from reward.outcomes.protocol import (
    ABSENT,
    ASKED,
    STATES,
    AbsentOutcome,
    DailyOutcome,
    Outcome,
    Parts,
    day_names,
    days_of,
)

__all__ = ["ABSENT", "ASKED", "STATES", "AbsentOutcome", "DailyOutcome", "Outcome", "Parts", "day_names", "days_of"]
