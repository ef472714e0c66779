"""Tests of rankers in a simulated service: who was shown what for four weeks, and the reward model of its log."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property

import numpy as np
import polars as pl
from training import trained
from worlds import world_of

from reward.columns import TIMESTAMP, USER
from reward.data.event_log import EventLog
from reward.data.parquet import columns
from reward.data.split import bounds, split
from reward.data.validation import check
from reward.experiments.early_readout import reward_surrogate
from reward.simulation.lives import Policy, first_state, open_service
from reward.simulation.log import events_of, items_of
from reward.simulation.service import simulate
from reward.simulation.slate_policies import click_optimal, logging_policy, minutes_optimal, oracle
from reward.training.defaults import composed

HORIZON_DAYS = 28
VALIDATION_DAYS, LAST_DAYS = 7, 2  # of the log: what calibrates the model, and what is left over after it
HISTORY_DAYS = 21  # of each user, told to the reward model from before the test
EPOCHS = 2
SETTINGS = [f"horizon_days={HORIZON_DAYS}", "encoder=gru", "members=1"]
# what a test adds to the logging policy's scores: a ranker's, standardised over the live items, times this
RANKERS = {"oracle": oracle, "clicks": click_optimal, "minutes": minutes_optimal}
TESTS = [(ranker, times) for ranker in RANKERS for times in (-0.75, 0.4, 1.0)]


@dataclass(frozen=True)
class Lives:
    """How users who came on the day the tests began went on under one policy, in the order of their codes.

    Attributes:
        events: what is logged of them, from `HISTORY_DAYS` before that day on.
        days: (n, HORIZON_DAYS) active on each day after it.
        expected: (n,) expected active days over the horizon, given the days before each.
    """

    events: pl.DataFrame
    days: np.ndarray
    expected: np.ndarray


class Lived:
    """A world lived to the end of its log, from where tests go on."""

    def __init__(self, world, seed, users, settings=()):
        self.seed = seed
        self.world = world_of(world, users=users)
        self.service = open_service(self.world, seed)
        self.run = simulate(
            self.service, logging_policy(self.service), first_state(self.service), self.world.days, record=True
        )
        self.past = events_of(self.service, self.run.exposures)
        self.config = composed("train", ["data=world", f"simulation={world}", f"seed={seed}", *SETTINGS, *settings])

    @cached_property
    def log(self):
        told = self.config.data
        return check(
            EventLog(
                events=self.past.lazy(),
                feedback=columns(told.feedback),
                session_gap_minutes=told.session_gap_minutes,
                max_rejected_share=told.max_rejected_share,
                context=columns(told.context),
                items=items_of(self.service).lazy(),
                item_features=columns(told.item_features),
                end=self.moment(self.world.days),
            )
        ).log

    def reward_model(self):
        """Trained on the log alone."""
        start, end = bounds(self.log)
        window = split(self.log, train_days=end - start - VALIDATION_DAYS - LAST_DAYS, validation_days=VALIDATION_DAYS)
        return trained(self.config, self.log, window, epochs=EPOCHS).function

    def past_traces(self):
        """Users active on a day whose horizon had passed at the end of the log: traces (n, H) and what was before."""
        active = self.active(self.run.exposures, 0, self.world.days)
        day = self.world.days - HORIZON_DAYS - 1
        there = active[:, day]
        return active[there, day + 1 :], before(active[there, :day])

    def active(self, exposures, first, days):
        """(users, days) bool."""
        out = np.zeros((self.world.users, days), bool)
        out[exposures.life, exposures.day - first] = True
        return out

    @cached_property
    def entered(self):
        """Users with a visit on the day after the log, when tests begin; no policy has had a say in it."""
        run = simulate(self.service, logging_policy(self.service), self.run.state, 1, draw=1, record=True)
        return np.unique(run.exposures.life)

    @cached_property
    def history(self):
        """What is logged of them, and their active days of before: (n, 2)."""
        since = self.world.days - HISTORY_DAYS
        events = self.past.filter(pl.col(USER).is_in(self.entered) & (pl.col(TIMESTAMP) >= self.moment(since)))
        return events, before(self.active(self.run.exposures, 0, self.world.days)[self.entered])

    def lives(self, policy):
        """From the day after the log on, under the same luck whatever the policy."""
        first, days = self.world.days, HORIZON_DAYS + 1
        run = simulate(self.service, policy, self.run.state, days, draw=1, record=True)
        shown = events_of(self.service, run.exposures).filter(pl.col(USER).is_in(self.entered))
        return Lives(
            events=pl.concat([self.history[0], shown]),
            days=self.active(run.exposures, first, days)[self.entered, 1:],
            expected=run.visit[1:, self.entered].sum(0, dtype=float),
        )

    def read(self, function, lives, days):
        """(n, len(days)) what the reward model says of lives after each of the days."""
        first = self.world.days
        told = reward_surrogate(
            function,
            lives.events,
            day=(self.moment(first) - datetime(1970, 1, 1, tzinfo=UTC)).days,
            days=days,
            items_table=items_of(self.service, first + HORIZON_DAYS + 1),
            history_start=self.moment(first - HISTORY_DAYS).date(),
        )
        assert told[USER].to_list() == self.entered.tolist()
        return told.drop(USER).to_numpy()

    def moment(self, day):
        return datetime.fromisoformat(self.world.start).replace(tzinfo=UTC) + timedelta(days=day)


def before(active):
    """Active days among the last 28 and the last 7."""
    return np.column_stack([active[:, -28:].sum(1), active[:, -7:].sum(1)]).astype(float)


def tilted(service, ranker, times):
    """The logging policy with a ranker's standardised scores added."""
    logging = logging_policy(service)
    other = oracle(service, HORIZON_DAYS) if ranker == "oracle" else RANKERS[ranker](service)

    def scores(view):
        added = other.scores(view)
        spread = added.std(axis=1, keepdims=True)
        return logging.scores(view) + np.float32(times) * (added - added.mean(axis=1, keepdims=True)) / spread

    return Policy(scores)
