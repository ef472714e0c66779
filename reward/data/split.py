"""The time split: to train as of T is to see the log as it was known at T."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import polars as pl

from reward.columns import TIMESTAMP, USER
from reward.data.days import DAY, day_at, day_of
from reward.data.event_log import EventLog, SchemaError, minutes_of

EPOCH = date(1970, 1, 1)


@dataclass(frozen=True)
class Split:
    """The days that separate training, validation and test; each bound is the first day of what follows.

    A bit of a trace belongs to at most one window, that of the days which reveal it. Training sees the rows before
    ``train_end`` with the bits revealed before it. Validation sees the rows before ``validation_end`` with the bits
    that the validation days revealed, so it covers the whole horizon even where it is shorter than that. Test sees
    the rows from ``validation_end`` on with what was revealed of their traces since. What the test days reveal of
    earlier rows is in none.

    Attributes:
        start, train_end, validation_end, end: days since 1970-01-01 in the log's time zone; ``end`` is the first
            day that is not wholly inside the log.
    """

    start: int
    train_end: int
    validation_end: int
    end: int

    def __post_init__(self) -> None:
        if not self.start < self.train_end < self.validation_end < self.end:
            raise SchemaError(
                "the log is too short for its split: expected first day < end of training < end of validation < end "
                f"of the log, got {', '.join(str(day_to_date(day)) for day in self.days)}; give a longer log, or set "
                "split.train_days and split.validation_days (training takes at least 2 days to observe any outcome)"
            )
        if self.train_end - self.start < 2:
            raise SchemaError(
                "no outcome can be observed in training: a row's first outcome day is the day after it, so "
                f"split.train_days must be at least 2, got {self.train_end - self.start}; the log has "
                f"{self.end - self.start} whole days"
            )

    @property
    def days(self) -> tuple[int, int, int, int]:
        """The four bounds in order."""
        return self.start, self.train_end, self.validation_end, self.end


def day_to_date(day: int) -> date:
    """The calendar date of a day number."""
    return EPOCH + timedelta(days=day)


def midnight(day: int, zone: str, starts_at: str = "00:00") -> datetime:
    """The moment, in UTC, at which ``day`` begins in the time zone ``zone``, by a clock that reads ``starts_at``."""
    wall = datetime.combine(day_to_date(day), time(*divmod(minutes_of(starts_at), 60)))
    moment = wall.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
    if moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None) == wall:
        return moment
    # a time that the clock skips: the day begins where it does, between the two readings of such a time
    early = wall.replace(tzinfo=ZoneInfo(zone), fold=1).astimezone(UTC)
    while moment - early > timedelta(microseconds=1):
        middle = early + (moment - early) // 2
        passed = middle.astimezone(ZoneInfo(zone)).replace(tzinfo=None) >= wall
        early, moment = (early, middle) if passed else (middle, moment)
    return moment


def bounds(log: EventLog) -> tuple[int, int]:
    """First day of a checked log, and the first day that is not wholly inside it."""
    first, last = log.events.select(pl.col(TIMESTAMP).min(), pl.col(TIMESTAMP).max().alias("last")).collect().row(0)
    return day_at(log, first), day_at(log, last if log.end is None else log.end)


def split(log: EventLog, *, train_days: int | None, validation_days: int | None) -> Split:
    """Lay the split over a checked log.

    Args:
        log: a checked log.
        train_days: days from the log's first day; None: 60% of its days.
        validation_days: days after those; None: 15% of its days.

    Raises:
        SchemaError: a window is empty, or training is too short to observe an outcome.
    """
    start, end = bounds(log)
    total = end - start
    train = max(2, round(0.6 * total)) if train_days is None else train_days
    validation = max(1, round(0.15 * total)) if validation_days is None else validation_days
    return Split(start, start + train, start + train + validation, end)


def known_at(log: EventLog, day: int) -> EventLog:
    """The log as it was known when ``day`` began: nothing after that moment exists."""
    moment = midnight(day, log.timezone, log.day_starts_at)
    before = pl.col(TIMESTAMP) < moment
    outcomes = {kind: frame.filter(before) for kind, frame in log.outcomes.items()}
    return replace(log, events=log.events.filter(before), end=moment, outcomes=outcomes)


def check_windows(log: EventLog, window: Split, horizon_days: Mapping[str, int]) -> None:
    """Refuse a split in which something could not be learned or judged, before any work is done.

    Args:
        log: a checked log.
        window: its split.
        horizon_days: H of each outcome, by the setting that says so.

    Raises:
        SchemaError: a horizon has days that training cannot observe, or too few users are in training or in the test
            days with an outcome that the log can tell.
    """
    longest = window.train_end - window.start - 1
    problems = [
        f"{name}={days}, and the {window.train_end - window.start} days of training can observe the first {longest} of "
        f"these days alone, so the others would be forecast untrained: set {name}={longest} or less, or more "
        "split.train_days, or give a longer log"
        for name, days in horizon_days.items()
        if days > longest
    ]
    users = log.events.select(USER, day_of(log)).unique().collect()
    for what, first, stop in (
        ("training", window.start, window.train_end),
        ("the test days", window.validation_end, window.end),
    ):
        told = users.filter(pl.col(DAY).is_between(first, stop - 1, closed="left"))[USER].n_unique()
        if told < 2:
            problems.append(
                f"{what}, {day_to_date(first)} to {day_to_date(stop)} (exclusive), hold events of {told} user(s) with "
                "a whole day of the log still to come in them, expected at least 2: an outcome is what users do on the "
                "days after. Set split.train_days and split.validation_days so that each has such events, or give a "
                "longer log"
            )
    if problems:
        raise SchemaError("".join([f"the split has {len(problems)} problem(s):", *(f"\n- {it}" for it in problems)]))
