"""Tests of rankers in a simulated service: who was shown what for four weeks, and the reward model of its log."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property

import numpy as np
import polars as pl
from hydra import compose, initialize_config_dir
from training import trained
from worlds import ROOT, world_of

from reward.evaluation.surrogates.early import reward_surrogate
from reward.logs.files import columns
from reward.schema import USER, EventLog, check
from reward.sequences.split import bounds, split
from reward.simulation.log import events_of, items_of
from reward.simulation.policies import click_optimal, logging_policy, minutes_optimal, oracle
from reward.simulation.service import Policy, first_state, open_service, simulate

HORIZON_DAYS = 28
VALIDATION_DAYS = 7
HISTORY_DAYS = 21  # of each user, told to the reward model from before the test
EPOCHS = 2
# what a test adds to the logging policy's scores: a ranker's, standardised over the live items, times this
RANKERS = {"oracle": oracle, "clicks": click_optimal, "minutes": minutes_optimal}
TESTS = [
    *(("oracle", times) for times in (0.25, 0.5, 1.0, -0.5, -1.0)),
    *(("clicks", times) for times in (0.5, 1.0, -0.5, -1.0)),
    *(("minutes", times) for times in (0.5, 1.0)),
    ("clicks", 0.0),
]


@dataclass(frozen=True)
class Tests:
    """Users who came on the day the tests began, in the order of their codes; T tests.

    Attributes:
        treated: (T, n) who was treated in each.
        days: (T, n, HORIZON_DAYS) active on each day after that day.
        before: (n, 2) active days among the last 28 and the last 7 before it.
        truth: (T,) what the treatment does to the mean over these users of expected active days, by the same luck.
        scores: (T, n, K) the reward model's, after each of the days asked for.
    """

    treated: np.ndarray
    days: np.ndarray
    before: np.ndarray
    truth: np.ndarray
    scores: np.ndarray


class Lived:
    """A world lived to the end of its log, from where tests go on."""

    def __init__(self, world, seed, users):
        self.seed = seed
        self.world = world_of(world, users=users)
        self.service = open_service(self.world, seed)
        self.run = simulate(
            self.service, logging_policy(self.service), first_state(self.service), self.world.days, record=True
        )
        self.past = events_of(self.service, self.run.exposures)
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            self.config = compose(
                "train",
                overrides=["data=world", f"simulation={world}", f"seed={seed}", f"outcome.horizon_days={HORIZON_DAYS}"],
            )

    @cached_property
    def log(self):
        told = self.config.data
        start = datetime.fromisoformat(self.world.start).replace(tzinfo=UTC)
        return check(
            EventLog(
                events=self.past.lazy(),
                feedback=columns(told.feedback),
                session_gap_minutes=told.session_gap_minutes,
                max_rejected_share=told.max_rejected_share,
                context=columns(told.context),
                items=items_of(self.service).lazy(),
                item_features=columns(told.item_features),
                end=start + timedelta(days=self.world.days),
            )
        ).log

    def reward_model(self):
        """Trained on the log alone."""
        start, end = bounds(self.log)
        window = split(self.log, train_days=end - start - VALIDATION_DAYS - 1, validation_days=VALIDATION_DAYS)
        return trained(self.config, self.log, window, epochs=EPOCHS).function

    def past_traces(self):
        """Users active on a day whose horizon had passed at the end of the log: traces (n, H) and what was before."""
        active = self.active(self.run.exposures, self.world.days, 0)
        day = self.world.days - HORIZON_DAYS - 1
        there = active[:, day]
        return active[there, day + 1 :], before(active[there, :day])

    def active(self, exposures, days, first):
        """(users, days) bool."""
        out = np.zeros((self.world.users, days), bool)
        out[exposures.life, exposures.day - first] = True
        return out

    def tests(self, function, days, progress):
        """The tests, and what the reward model says of them after each of ``days``."""
        start, first = self.run.state, self.world.days
        past = self.active(self.run.exposures, first, 0)
        control = simulate(self.service, logging_policy(self.service), start, HORIZON_DAYS + 1, draw=1, record=True)
        entered = np.flatnonzero(self.active(control.exposures, HORIZON_DAYS + 1, first)[:, 0])
        rng = np.random.default_rng([self.seed, 41])
        epoch = (datetime.fromisoformat(self.world.start) - datetime(1970, 1, 1)).days
        items = items_of(self.service, first + HORIZON_DAYS + 1)
        history = self.past.filter(pl.col("timestamp") >= self.moment(first - HISTORY_DAYS))
        out = {"treated": [], "days": [], "truth": [], "scores": []}
        for ranker, times in progress(TESTS):
            treated = rng.permutation(np.arange(len(entered)) % 2 == 0)
            policy = tilted(self.service, ranker, times)
            run = simulate(self.service, policy, start, HORIZON_DAYS + 1, draw=1, record=True)
            lives = [self.active(it.exposures, HORIZON_DAYS + 1, first)[entered, 1:] for it in (control, run)]
            shown = [
                events_of(self.service, it.exposures).filter(pl.col(USER).is_in(entered[arm]))
                for it, arm in ((control, ~treated), (run, treated))
            ]
            events = pl.concat([history.filter(pl.col(USER).is_in(entered)), *shown])
            told = reward_surrogate(
                function,
                events,
                day=epoch + first,
                days=days,
                items_table=items,
                history_start=self.moment(first - HISTORY_DAYS).date(),
            )
            assert told[USER].to_list() == entered.tolist()
            effect = (run.visit[1:, entered] - control.visit[1:, entered]).sum(0, dtype=float).mean()
            out["treated"].append(treated)
            out["days"].append(np.where(treated[:, None], lives[1], lives[0]))
            out["truth"].append(effect)
            out["scores"].append(told.drop(USER).to_numpy())
        return Tests(before=before(past[entered]), **{name: np.array(parts) for name, parts in out.items()})

    def moment(self, day):
        return datetime.fromisoformat(self.world.start).replace(tzinfo=UTC) + timedelta(days=day)


def before(active):
    """Active days among the last 28 and the last 7."""
    return np.column_stack([active[:, -28:].sum(1), active[:, -7:].sum(1)]).astype(float)


def tilted(service, ranker, times):
    """The logging policy with a ranker's standardised scores added."""
    logging = logging_policy(service)
    if times == 0:
        return logging
    other = RANKERS[ranker](service, HORIZON_DAYS) if ranker == "oracle" else RANKERS[ranker](service)

    def scores(view):
        added = other.scores(view)
        spread = added.std(axis=1, keepdims=True)
        return logging.scores(view) + np.float32(times) * (added - added.mean(axis=1, keepdims=True)) / spread

    return Policy(scores)
