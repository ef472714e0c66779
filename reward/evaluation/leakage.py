"""Leakage: columns that know more of a user's next days than of the last ones, as nothing known in time does.

What a service knows when it shows something, and what the user then does with it, depends on habits, and habits are
as visible in the days before as in the days after. A column that was filled in later, such as a session's total or a
label in the table, explains the days after it and not those before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import polars as pl

from reward.arrays import Doubles, Ints
from reward.columns import ITEM, USER
from reward.data.days import DAY, day_of
from reward.data.event_log import EventLog, SchemaError
from reward.evaluation.estimates import of_log

MOST_ROWS = 200_000  # drawn of the log's rows
MOST_GROUPS = 200  # values of a text column, each a group of its own; a number is cut into
BINS = 20
LEAST = 0.03  # of the variance: a column that leaks explains so much more of the next days than of the last ones
SURE = 4.0  # standard errors


@dataclass(frozen=True)
class Suspect:
    """How much of the days around a row a column explains, of users it was not learned from.

    Attributes:
        column: its name.
        after: share of the variance of active days in the next days that it explains.
        before: the same of the last days.
        se: standard error of their difference, users as clusters.
    """

    derived: ClassVar = ("leaks",)  # is kept beside them
    column: str
    after: float
    before: float
    se: float

    @property
    def leaks(self) -> bool:
        """Whether it explains more of the next days than of the last ones, beyond noise and by enough to matter."""
        gap = self.after - self.before
        return gap > LEAST and gap > SURE * self.se


@dataclass(frozen=True)
class Leakage:
    """What columns know of the days after their rows.

    Attributes:
        days: after a row and before it, that were looked at.
        columns: the most suspicious first.
        reason: why nothing could be looked at; None: it was.
    """

    days: int
    columns: tuple[Suspect, ...]
    reason: str | None = None


def item_leakage(log: EventLog, *, days: int, seed: int) -> list[Suspect]:
    """How much each column of a log explains of the days after its rows, and of the days before them.

    Args:
        log: a checked log, cut where it is to be known.
        days: how many after and before; rows with fewer of either in the log take no part.
        seed: draws the rows and the two halves of the users, each judged by what the other says.

    Returns:
        One a feedback, context or item column (embeddings apart), the most suspicious first.

    Raises:
        SchemaError: the log has no rows with so many days before and after them.
    """
    features = [] if log.items is None else [it for it in log.item_features if not _is_list(log.items, it)]
    own = [pl.col(name).alias(of_log(name)) for name in (*log.feedback, *log.context)]
    events = log.events.select(USER, ITEM, day_of(log), *own)
    if features and log.items is not None:
        traits = log.items.select(ITEM, *(pl.col(name).alias(of_log(name)) for name in features))
        events = events.join(traits, on=ITEM, how="left")
    frame = events.collect().with_columns((pl.col(USER).rank("dense") - 1).cast(pl.Int64).alias("who"))
    who, day = frame["who"].to_numpy(), frame[DAY].to_numpy().astype(np.int64)
    day = day - day.min()
    inside = np.flatnonzero((day >= days) & (day < int(day.max()) + 1 - days))
    if not len(inside):
        raise SchemaError(
            f"the leakage check expected rows with {days} days before and after them, got a log of "
            f"{int(day.max()) + 1} days"
        )
    span, users = int(day.max()) + 1, int(who.max()) + 1
    active = np.unique(who * span + day)  # users' active days as one sorted line: a table would grow with the span
    rng = np.random.default_rng([seed, 61])
    rows = np.sort(rng.permutation(inside)[:MOST_ROWS])
    user, at = who[rows], day[rows]
    place = user * span + at
    upto = {step: np.searchsorted(active, place + step) for step in (-days, 0, 1, days + 1)}
    after, before = ((upto[last] - upto[first]).astype(np.float64) for first, last in ((1, days + 1), (-days, 0)))
    half = (rng.permutation(users) % 2)[user]
    found = [
        _suspect(name, _groups(frame[of_log(name)].gather(rows)), after, before, user, half)
        for name in (*log.feedback, *log.context, *features)
    ]
    return sorted(found, key=lambda it: it.before - it.after)


def leakage_summary(log: EventLog, *, horizon_days: int, seed: int) -> Leakage:
    """What `item_leakage` finds, or why it could not look.

    Args:
        log: a checked log, cut where it is to be known.
        horizon_days: of the outcome; days after and before are no more, and no more than a third of the log.
        seed: see `item_leakage`.
    """
    day = pl.col(DAY)
    span = log.events.with_columns(day_of(log)).select(day.max() - day.min() + 1).collect().item()
    days = max(min(horizon_days, span // 3), 1)
    try:
        return Leakage(days, tuple(item_leakage(log, days=days, seed=seed)))
    except SchemaError as error:
        return Leakage(days, (), str(error))


def _is_list(items: pl.LazyFrame, name: str) -> bool:
    return items.collect_schema()[name].is_nested()


def _groups(column: pl.Series) -> Ints:
    """(rows,) codes from 0: values, the frequent ones of a text, or bins of a number; unknown is a group of its own."""
    if column.dtype.is_numeric():
        column = column.cast(pl.Float64).fill_nan(None)
    if column.dtype.is_numeric() and column.n_unique() > BINS:
        known = column.filter(column.is_finite()).to_numpy()
        cuts = np.linspace(0, 1, BINS + 1)[1:-1]
        edges = np.unique(np.quantile(known, cuts)) if len(known) else np.zeros(0)
        codes = np.searchsorted(edges, column.fill_null(np.inf).to_numpy(), side="right")
        return np.where(column.is_null().to_numpy(), len(edges) + 1, codes).astype(np.int64)
    kept = column.value_counts(sort=True, name="rows").head(MOST_GROUPS)[column.name]
    place = pl.Series(range(len(kept)), dtype=pl.Int64)
    return column.replace_strict(kept, place, default=len(kept), return_dtype=pl.Int64).to_numpy()


def _suspect(name: str, group: Ints, after: Doubles, before: Doubles, user: Ints, half: Ints) -> Suspect:
    shares = [_explained(group, days, half) for days in (after, before)]
    gap = shares[0] - shares[1]
    by_user = np.bincount(user, gap - gap.mean())
    return Suspect(name, float(shares[0].sum()), float(shares[1].sum()), float(np.sqrt(by_user @ by_user)))


def _explained(group: Ints, days: Doubles, half: Ints) -> Doubles:
    """(rows,) share of the variance that each row adds to what groups explain, by means of the other half's users."""
    gain, spread = np.zeros(len(days)), 0.0
    for mine in (0, 1):
        here, other = half == mine, half != mine
        base = days[other].mean() if other.any() else 0.0
        count = np.bincount(group[other], minlength=int(group.max()) + 1)
        mean = np.where(count > 0, np.bincount(group[other], days[other], len(count)) / np.maximum(count, 1), base)
        apart = (days[here] - base) ** 2
        gain[here] = apart - (days[here] - mean[group[here]]) ** 2
        spread += float(apart.sum())
    return gain / spread if spread > 0 else gain
