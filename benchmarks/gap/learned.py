"""What `reward` learns from a study's log, and the ranking that its scores are when used as they are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from worlds import HORIZON_DAYS, ROOT

from gap.study import Study
from reward.effects.personal import days_since_1970
from reward.effects.second_stage import ItemEffects
from reward.effects.standing import Person, middle
from reward.outcomes.activity import ActivityTrace
from reward.schema import ITEM, TIMESTAMP, USER, EventLog, check
from reward.simulation.policies import rank_by
from reward.simulation.service import Policy, View
from reward.simulation.world import Floats

AT_ONCE = 1000
_LATEST: list[tuple[Study, ItemEffects]] = []


def learned(study: Study) -> ItemEffects:
    """The second stage's estimates, by the settings that train.py has for the data of a world."""
    if not _LATEST or _LATEST[0][0] is not study:
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            config = compose("train", overrides=["data=world"])
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
        _LATEST[:] = [(study, instantiate(config.effects)(check(log).log, outcome, seed=study.service.seed))]
    return _LATEST[0][1]


def reward(study: Study) -> Floats:
    """What `RewardFunction.score_candidates` returns for the candidates of each view."""
    personal, views = learned(study).personal, study.views
    users = study.events[USER].unique().sort()
    past = personal.past(study.events, users)
    user = users.search_sorted(study.events[USER].gather(views.row[:, 0])).to_numpy().astype(np.int64)
    moment = days_since_1970(study.events[TIMESTAMP])[views.row[:, 0]]
    code = torch.from_numpy(personal.codes(views.items.ravel()).reshape(views.items.shape))
    out = np.empty(code.shape, np.float32)
    for start in range(0, len(code), AT_ONCE):
        rows = slice(start, start + AT_ONCE)
        out[rows] = personal.score(past.standing(user[rows], moment[rows]), personal.facts.of(code[rows])).mean.numpy()
    return out


def reward_by_item(study: Study) -> Floats:
    """The items' own effects, the same for all users; NaN for items that were never shown."""
    items, out = learned(study).items, np.full(len(study.service.catalogue.kind), np.nan)
    shown = items.filter(items["exposures"] > 0)
    out[shown[ITEM].to_numpy()] = shown["mean"].to_numpy()
    return out


def score_candidates(study: Study) -> Policy:
    """Ranks by the rewards themselves: tastes as the log's end tells them, what was seen as of every slate."""
    personal, service = learned(study).personal, study.service
    world = service.world
    users = study.events[USER].unique().sort()
    ids = study.start.users
    known = np.isin(ids, users.to_numpy())
    past = personal.past(study.events, users)
    end = (_start(study) - datetime(1970, 1, 1, tzinfo=UTC)).days + world.days
    place = np.where(known, users.search_sorted(ids), 0).astype(np.int64)
    person = past.person(place, np.full(len(ids), float(end)))
    person = Person(*(torch.where(_like(torch.from_numpy(known), part), part, 0.0) for part in person))
    every = personal.codes(np.arange(len(service.catalogue.kind)))
    counts = np.zeros((len(ids), len(personal.facts.code), len(personal.spans_days)), np.float32)
    held = past.standing(place, np.full(len(ids), float(end)))
    for row in np.flatnonzero(known):
        mine = held.items[row] < counts.shape[1]
        counts[row, held.items[row][mine]] = held.counts[row][mine]
    at = np.full(int(ids.max()) + 1, -1)
    at[ids] = np.arange(len(ids))
    today, fade = [world.days], np.exp(-1 / np.array(personal.spans_days, np.float32))
    group = personal.facts.group
    kin = torch.nn.functional.one_hot(group.clamp_min(0)).float() * (group >= 0)[:, None]

    def scores(view: View) -> Floats:
        if view.day != today[0]:
            counts[...] *= fade ** (view.day - today[0])
            today[0] = view.day
        rows, codes = at[view.users], every[view.live]
        facts = personal.facts.of(torch.from_numpy(codes)[None])
        own = torch.from_numpy(counts[np.ix_(rows, codes)])
        middling = torch.from_numpy(counts[rows, :, middle(counts.shape[2])])
        alike = (middling @ kin)[:, group[codes].clamp_min(0)] * (group[codes] >= 0)
        now = Person(*(part[rows] for part in person[:4]), torch.full((len(rows),), float(end - world.days + view.day)))
        told = personal.of_seen(now, facts, own, alike).mean.numpy()
        best = np.argpartition(-told, world.slate_size, axis=1)[:, : world.slate_size]
        counts[rows[:, None], codes[best]] += 1
        return told

    return rank_by(scores)


def _start(study: Study) -> datetime:
    return datetime.fromisoformat(study.service.world.start).replace(tzinfo=UTC)


def _like(known: torch.Tensor, part: torch.Tensor) -> torch.Tensor:
    return known.reshape(-1, *(1 for _ in part.shape[1:]))
