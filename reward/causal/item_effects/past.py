"""What a user-day's past says of the days after it: when the user was there, what they saw and what they did."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

from reward.arrays import Bools, Doubles, Floats, Ints
from reward.causal.item_effects.feedback_rates import described, describing
from reward.causal.user_effects.decayed_counts import decayed
from reward.columns import USER
from reward.data.days import DAY, TRACE, activity_words, day_of
from reward.data.event_log import EventLog
from reward.features.history import PAST_DAYS, RATE_DAYS, past_rates
from reward.statistics.cells import cell_sums

_RECENT_DAYS = 7
_VOLUME_DAYS = 28.0  # over which what was shown and answered is forgotten
_PRIOR_EVENTS = 10.0  # exposures before a user's own rates count for half
_MOST_LEVELS = 16  # most frequent values of a category that are told apart in a profile
_MOST_DIRECTIONS = 32  # of what describes items, that a profile keeps


class UserPast(NamedTuple):
    """What n user-days' pasts say, of which `table` makes the columns of a regression.

    Attributes:
        main: (n, 7) shares of active days by how soon days are forgotten, of all days, and how long the user is there,
            how much they were shown, in all and a day.
        answers: (n, feedback) decayed means of earlier answers.
        profile: (n, columns) decayed means of what describes the items met before, see `profiles_of`.
        since: (n,) days since the user's first.
        word: (n,) the last 63 days as bits.
    """

    main: Doubles
    answers: Doubles
    profile: Floats
    since: Doubles
    word: Ints

    @classmethod
    def of(cls, days: pl.DataFrame, volumes: pl.DataFrame, profile: Floats, start: int) -> UserPast:
        """Pasts of the user-days of whole users.

        Args:
            days: (n rows) ``user_id`` and ``day``, sorted.
            volumes: of the same, see `volumes_of`.
            profile: of the same, see `profiles_of`.
            start: first day of the log.
        """
        active = days.select(USER, DAY, pl.lit(True).alias("active")).lazy()
        words = activity_words(active, [USER], PAST_DAYS, past=True)
        first = pl.col(DAY).min().over(USER)
        frame = words.select(USER, DAY, TRACE, (pl.col(DAY) - first).alias("since")).collect()
        rates = past_rates(frame, start)
        known = {span: rates[f"known_{span}d"] for span in RATE_DAYS}
        active_share = [rates[f"active_{span}d"] / np.where(known[span] == 0, 1, known[span]) for span in RATE_DAYS]
        since, word = frame["since"].to_numpy().astype(np.float64), frame[TRACE].to_numpy()
        own = np.bitwise_count(word) / np.maximum(np.minimum(since, PAST_DAYS), 1)
        shown = volumes["shown"].to_numpy()
        depth = np.log1p(shown) - np.log1p(volumes["days"].to_numpy())
        answers = [volumes[name].to_numpy() / (shown + _PRIOR_EVENTS) for name in volumes.columns[4:]]
        return cls(
            np.stack([*active_share, own, np.log1p(since), np.log1p(shown), depth], axis=1),
            np.stack(answers, axis=1) if answers else np.zeros((len(days), 0)),
            profile,
            since,
            word,
        )

    def table(self) -> Doubles:
        """(n, columns) of a regression, with products of the main ones and the last days bit by bit."""
        main = self.main.T
        bits = [((self.word >> d) & 1).astype(np.float64) for d in range(_RECENT_DAYS)]
        products = [one * other for k, one in enumerate(main) for other in main[k:]]
        first, fresh = (self.since == 0).astype(np.float64), np.exp(-self.since / 7)
        return np.stack([*main, first, fresh, *self.answers.T, *self.profile.T, *bits, *products], axis=1)


def volumes_of(log: EventLog) -> pl.DataFrame:
    """For each user-day, sorted, what was shown on earlier days and what came back: decayed sums."""
    came = {f"sum of {name}": pl.col(name).log1p().sum() for name in log.feedback}  # whatever its name is
    days = (
        log.events.group_by(USER, day_of(log))
        .agg(pl.len().cast(pl.Float64).alias("shown"), pl.lit(1.0).alias("days"), **came)
        .sort(USER, DAY)
        .collect()
    )
    earlier = _EarlierDays.of(days[USER].is_first_distinct().to_numpy(), days[DAY].to_numpy())
    sums_before = {name: earlier.sums(days[name].to_numpy()) for name in ("days", "shown", *came)}
    return days.select(USER, DAY).with_columns(**sums_before)


class _EarlierDays(NamedTuple):
    """What was before each of n user-days, and is forgotten by and by.

    Attributes:
        day: (n,) ascending within a user.
        first: places at which a user begins.
        before: (n,) place of the user-day before.
        fades: (n,) what is left of it; 0 on a user's first.
    """

    day: Doubles
    first: Ints
    before: Ints
    fades: Doubles

    @classmethod
    def of(cls, is_first: Bools, day: Ints) -> _EarlierDays:
        """Of days, (n,), sorted by user; ``is_first`` (n,) says where a user begins."""
        when, first = day.astype(np.float64), np.flatnonzero(is_first)
        before = np.maximum(np.arange(len(day)) - 1, 0)
        since = when - when[before]
        since[first] = np.inf
        return cls(when, first, before, np.exp(-since / _VOLUME_DAYS))

    def sums(self, values: Doubles) -> Doubles:
        """(n,) decayed sums over earlier days of (n,) values."""
        return decayed(values, self.day, self.first, _VOLUME_DAYS)[self.before] * self.fades


def directions_of(items: pl.DataFrame, features: Sequence[str]) -> Floats:
    """(items, directions) what a user's profile tells items apart by: all that describes them, of unit variance.

    Of more columns than a profile keeps the first principal components stand for them.

    Args:
        items: the items table of a checked log.
        features: columns of it that describe items.
    """
    columns = described(items, describing(items, features, None, most_levels=_MOST_LEVELS))
    if columns.shape[1] > _MOST_DIRECTIONS:
        _, axes = np.linalg.eigh(columns.T @ columns)
        columns = columns @ axes[:, : -_MOST_DIRECTIONS - 1 : -1]
    return columns.astype(np.float32)


def profiles_of(row: Ints, item: Ints, taken: Sequence[Doubles], user: Ints, day: Ints, directions: Floats) -> Floats:
    """(n, directions · (1 + kinds)) means of what describes the items that each user-day's user met on earlier days.

    A policy that shows users what is like what they took up before shows like items to like users, and these have
    habits of their own: what they met tells of them.

    Args:
        row: (events,) user-day of each exposure.
        item: (events,) codes.
        taken: of each kind of meeting beside being shown, (events,) 1 where an exposure was one, such as a click.
        user: (n,) of user-days, sorted.
        day: (n,) of the same, ascending within a user.
        directions: (items, directions), see `directions_of`.
    """
    size = len(user)
    earlier = _EarlierDays.of(np.r_[True, user[1:] != user[:-1]][:size], day)

    def before(weight: Doubles) -> Doubles:
        return earlier.sums(cell_sums(row, weight, size))

    out = np.empty((size, directions.shape[1] * (1 + len(taken))), np.float32)
    for kind, weight in enumerate([np.ones(len(row)), *taken] if directions.shape[1] else []):
        met = before(weight) + _PRIOR_EVENTS
        for place, direction in enumerate(directions.T.astype(np.float64)):
            out[:, kind * directions.shape[1] + place] = before(weight * direction[item]) / met
    return out
