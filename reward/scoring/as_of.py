"""What is known of an outcome at a moment: the active days seen by then, and a forecast of those still open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl
import torch

from reward.arrays import Bools, Doubles, Ints
from reward.columns import TIMESTAMP
from reward.data.days import TRACE, local_day
from reward.data.event_log import EventLog, SchemaError
from reward.features.events import Features
from reward.heads import DailyHead
from reward.outcomes.protocol import Outcome, is_of_exposures
from reward.scoring.requests import in_utc
from reward.sequences.stream import Stream


def refuse_unless_open_days_are_forecast(outcome: Outcome) -> None:
    """See that the user's latest state forecasts the days that an outcome still waits for.

    Raises:
        SchemaError: it does not.
    """
    if not is_of_exposures(outcome):
        raise SchemaError(
            "as_of expected an outcome that exposures alone tell day by day, such as ActivityTrace with "
            f"scope='user', this outcome is {outcome}, whose open days the user's latest state does not "
            "forecast: score without as_of"
        )


@dataclass(frozen=True)
class DaysKnown:
    """Events with what their days are told by.

    Attributes:
        rows: the events in stream order.
        stream: theirs.
        forecast: (events, H) probabilities of being active on the days after each.
        features: how the log tells its days.
        outcome: whose days they are.
        head: what forecasts them.
    """

    rows: pl.DataFrame
    stream: Stream
    forecast: Doubles
    features: Features
    outcome: Outcome
    head: DailyHead

    def at(self, moments: Sequence[datetime]) -> Doubles:
        """(events, moments) in stream order; nan for events that had not happened."""
        clock = local_day(self.features.timezone, starts_at=self.features.day_starts_at)
        day = self.rows.select(clock).to_series().to_numpy()
        value = np.full((len(self.rows), len(moments)), np.nan)
        for place, moment in enumerate(map(in_utc, moments)):
            known = (self.rows[TIMESTAMP] < moment).to_numpy()
            if known.any():
                today = pl.DataFrame({TIMESTAMP: [moment]}).select(clock).item()
                value[known, place] = self._of_known(known, day, today)
        return value

    def _of_known(self, known: Bools, day: Ints, today: int) -> Doubles:
        """(known,) active days of events: seen, or where they are still open forecast by the user's latest event.

        Args:
            known: (events,) which had happened.
            day: (events,) when.
            today: the day of the moment.
        """
        horizon_days = self.outcome.horizon_days
        ahead = np.arange(1, horizon_days + 1)
        user = self.stream.events.user[known]
        last = (self.stream.offsets[:-1] + np.bincount(user, minlength=len(self.stream.users)) - 1)[user]
        active = (self._words(known, today)[:, None] >> (ahead - 1)) & 1
        silent = np.clip(today - 1 - day[last], 0, horizon_days)  # whole days without an event
        chances = self.head.after_silence(torch.from_numpy(self.forecast)[last], torch.from_numpy(silent)).numpy()
        ahead_of_last = day[known, None] + ahead - day[last][:, None]
        chance = np.take_along_axis(chances, np.clip(ahead_of_last - 1, 0, horizon_days - 1), 1)
        open_days = (day[known, None] + ahead >= today) & (ahead_of_last > 0)
        found: Doubles = np.where(open_days, chance, active).sum(1)
        return found

    def _words(self, known: Bools, today: int) -> Ints:
        """(known,) days that were seen, as bits, with today so far."""
        log = EventLog(
            self.rows.filter(known).lazy(),
            self.features.feedback,
            self.features.session_gap_minutes,
            1.0,
            timezone=self.features.timezone,
            day_starts_at=self.features.day_starts_at,
        )
        return self.outcome.label(log, today + 1).select(TRACE).collect()[TRACE].to_numpy()
