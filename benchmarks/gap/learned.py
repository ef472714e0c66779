"""What `reward` learns from a study's log, and the ranking that its scores are when used as they are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import torch
from hydra.utils import instantiate
from worlds import HORIZON_DAYS, ROLL_OUT_DAYS

from gap.study import Study
from reward.arrays import Floats
from reward.causal.estimate import ItemEffects
from reward.causal.user_effects.user_state import UserProfile, middle
from reward.columns import ITEM, TIMESTAMP, USER
from reward.data.days import days_since_1970
from reward.data.event_log import EventLog
from reward.data.validation import check
from reward.outcomes.activity import ActivityTrace
from reward.simulation.lives import Policy, View
from reward.simulation.log import items_of
from reward.simulation.slate_policies import rank_by
from reward.training.defaults import composed

AT_ONCE = 1000
_LATEST: list[tuple[Study, ItemEffects]] = []


def learned(study: Study) -> ItemEffects:
    """The second stage's estimates, by the settings that train.py has for the data of a world."""
    if not _LATEST or _LATEST[0][0] is not study:
        config = composed("train", ["data=world", *study.settings])
        data = config.data
        log = EventLog(
            events=study.events.lazy(),
            feedback=tuple(data.feedback),
            context=tuple(data.context),
            session_gap_minutes=data.session_gap_minutes,
            max_rejected_share=data.max_rejected_share,
            items=study.items.lazy(),
            item_features=tuple(data.item_features),
            end=_start(study) + timedelta(days=study.service.world.days),
        )
        outcome = ActivityTrace(HORIZON_DAYS)
        _LATEST[:] = [(study, instantiate(config.causal)(check(log).log, outcome, seed=study.service.seed))]
    return _LATEST[0][1]


def reward(study: Study) -> Floats:
    """What `RewardFunction.score_candidates` returns for the candidates of each view."""
    personal, views = learned(study).model, study.views
    users = study.events[USER].unique().sort()
    past = personal.history(study.events, users)
    user = users.search_sorted(study.events[USER].gather(views.row[:, 0])).to_numpy().astype(np.int64)
    moment = days_since_1970(study.events[TIMESTAMP])[views.row[:, 0]]
    ids = np.arange(len(study.service.catalogue.kind))
    facts = personal.known(ids)
    out = np.empty(views.items.shape, np.float32)
    for start in range(0, len(out), AT_ONCE):
        rows = slice(start, start + AT_ONCE)
        shown = facts.of(torch.from_numpy(views.items[rows]))
        out[rows] = personal.score(past.state(user[rows], moment[rows]), shown).mean.numpy()
    return out


def reward_by_item(study: Study) -> Floats:
    """The items' own effects, the same for all users; NaN for items that were never shown."""
    items, out = learned(study).items, np.full(len(study.service.catalogue.kind), np.nan)
    shown = items.filter(items["exposures"] > 0)
    out[shown[ITEM].to_numpy()] = shown["mean"].to_numpy()
    return out


def score_candidates(study: Study) -> Policy:
    """Ranks by the rewards themselves: tastes as the log's end tells them, what was seen as of every slate."""
    personal, service = learned(study).model, study.service
    world, lives = service.world, study.start.users
    facts = personal.known(np.arange(len(service.catalogue.kind)), items_of(service, world.days + ROLL_OUT_DAYS))
    users = study.events[USER].unique().sort()
    end = float((_start(study) - datetime(1970, 1, 1, tzinfo=UTC)).days + world.days)
    there = np.isin(lives, users.to_numpy())  # others have no past: they stand with nobody's
    past = personal.history(study.events, pl.concat([users, pl.Series([users.max() + 1])]))
    user = np.where(there, users.search_sorted(lives), len(users)).astype(np.int64)
    standing = past.state(user, np.full(len(lives), end))
    counts = np.zeros((len(lives), len(facts.code), len(personal.spans_days)), np.float32)
    row, place = np.nonzero(standing.items.numpy() < len(personal.ids))
    counts[row, personal.ids[standing.items.numpy()[row, place]]] = standing.counts.numpy()[row, place]
    at = np.zeros(world.users, np.int64)
    at[lives] = np.arange(len(lives))
    fade, today = np.exp(-1 / np.array(personal.spans_days, np.float32)), [world.days]
    kin = torch.nn.functional.one_hot(facts.group.clamp_min(0)).float() * (facts.group >= 0)[:, None]

    def scores(view: View) -> Floats:
        if view.day != today[0]:
            counts[...] *= fade ** (view.day - today[0])
            today[0] = view.day
        rows, live = at[view.users], torch.from_numpy(view.live)
        own = torch.from_numpy(counts[np.ix_(rows, view.live)])
        groups = torch.from_numpy(counts[rows, :, middle(counts.shape[2])]) @ kin
        group = groups[:, facts.group[live].clamp_min(0)] * (facts.group[live] >= 0)
        person = UserProfile(*(part[rows] for part in standing.person))
        person = person._replace(day=torch.full((len(rows),), end + view.day - world.days, dtype=torch.float64))
        told = personal.of_seen(person, facts.of(live[None]), own, group).mean.numpy()
        best = np.argpartition(-told, world.slate_size, axis=1)[:, : world.slate_size]
        counts[rows[:, None], view.live[best]] += 1  # what is ranked so is shown
        return told

    return rank_by(scores)


def _start(study: Study) -> datetime:
    return datetime.fromisoformat(study.service.world.start).replace(tzinfo=UTC)
