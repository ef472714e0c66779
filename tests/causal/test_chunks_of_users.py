"""The personal part of effects as sums over users: the same for any chunks of them, in any order."""

from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest
import torch
from estimators import settings_of

from reward.causal.estimate import estimate_effects
from reward.causal.user_effects.chunked import ItemEffectsBehind, PersonalSettings, fit_of_chunks
from reward.causal.user_effects.effect_net import EffectNet
from reward.causal.user_effects.estimation import exposed_users
from reward.causal.user_effects.exposed import DailyItems, ExposedUsers, ItemsByDay, Shown
from reward.causal.user_effects.feedback import Answers, MeanFeedback
from reward.outcomes.activity import ActivityTrace
from reward.statistics.sums import fold

SETTINGS = {name: value for name, value in settings_of("personalized").items() if name != "personal"}
FIT = settings_of("personalized", "personal") | {"gate_rows": 1500, "pushed_slates": 1600, "pushed_draws": 5}
CLOSE = {"rtol": 1e-10, "atol": 1e-12}


class Given(NamedTuple):
    """What the fit reads."""

    users: ExposedUsers
    shown: DailyItems
    items: ItemEffectsBehind
    answers: Answers
    events: tuple


@pytest.fixture(scope="module")
def given(log_of):
    """The inputs of the personal part of a small world; its users click what they like, each something else."""
    log, propensity = log_of("clickbait", users=150, days=20)
    told = {}

    def read(*places, **names):
        told.update(names, places=places)
        return None, {}

    roles = {"gate": "click", "rare": [], "group": "creator_id"}
    estimate_effects(log, ActivityTrace(5), personal=read, propensity=propensity, **SETTINGS | roles, seed=0)
    events, days, effect = told["places"]
    item = told["ids"].search_sorted(events["item_id"]).to_numpy().astype(np.int64)
    users, shown = exposed_users(
        events,
        item,
        len(told["ids"]),
        days,
        effect,
        told["propensity"],
        told["answers"],
        most_ratio=FIT["most_ratio"],
    )
    rng, log = np.random.default_rng(0), users.events
    liking = 2 * rng.normal(size=log.user.max() + 1)[log.user] * told["traits"][log.item, 0]
    clicks = (rng.random(len(liking)) < 1 / (1 + np.exp(-liking))).astype(np.float64)
    answer = clicks[:, None] - told["answers"].mean[log.item]
    users = replace(users, events=log._replace(answer=answer))
    items = ItemEffectsBehind(
        told["ids"].to_numpy(), *(told[name] for name in ItemEffectsBehind._fields if name != "ids")
    )
    return Given(users, shown, items, told["answers"], (events, item))


def chunks_of(users, pieces, order):
    """Whole users in as many pieces of about as many users, in an order."""
    user = users.events.user
    cut = np.searchsorted(user, [part[0] for part in np.array_split(np.unique(user), pieces)])
    bounds = [*cut.tolist(), len(user)]
    found = [users.take(slice(*ends)) for ends in pairwise(bounds)]
    assert len(found) == pieces
    if order == "shuffled":
        return [found[place] for place in np.random.default_rng(pieces).permutation(pieces)]
    return found[:: 1 if order == "ascending" else -1]


def numbers_of(personal, shifts):
    """All that a fit found, by name."""
    found = {name: part.numpy() for name, part in personal.state_dict().items()}
    found |= {f"item {name}": part.numpy() for name, part in personal.facts._asdict().items()}
    for place, taste in enumerate(personal.tastes):
        found |= {f"taste {place} {name}": np.asarray(value) for name, value in vars(taste).items()}
    for name in ("calibration", "personal_calibration", "net_calibration"):
        if (slope := getattr(personal, name)) is not None:
            found[name] = np.array([slope.slope, slope.se])
    for kappa, shift in shifts.items():
        found |= {f"shift {kappa} {name}": value for name, value in vars(shift).items()}
    return found


def fitted(given, chunks, net=None, seed=0):
    settings = PersonalSettings(**{name: FIT[name] for name in PersonalSettings._fields})
    return numbers_of(*fit_of_chunks(chunks, given.shown, given.items, given.answers, settings, net=net, seed=seed))


@pytest.fixture(scope="module")
def whole(given):
    return fitted(given, [given.users])


CUTS = [(1, "ascending"), *((pieces, order) for pieces in (3, 17) for order in ("ascending", "reversed", "shuffled"))]


@pytest.mark.parametrize(("pieces", "order"), CUTS)
def test_the_fit_is_the_same_for_any_chunks_of_users_in_any_order(given, whole, pieces, order):
    found = fitted(given, chunks_of(given.users, pieces, order))
    assert found.keys() == whole.keys()
    for name, value in whole.items():
        np.testing.assert_allclose(found[name], value, **CLOSE, err_msg=name)


def test_what_the_comparison_holds_to_differs_where_other_numbers_are_drawn(given, whole):
    other = fitted(given, [given.users], seed=1)
    for name in ("gate", "scale", "coefficients", "covariance", "shift 0.0 kept", "shift 1.0 promised"):
        assert np.abs(whole[name]).max() > 0, name
        assert name == "scale" or not np.allclose(other[name], whole[name], rtol=1e-6), name
    assert any(len(whole[f"taste {place} prior"]) for place in range(len(given.answers.feedback)))


@pytest.mark.parametrize("order", ["ascending", "shuffled"])
def test_what_a_net_learns_from_is_the_same_for_any_chunks(given, order):
    learnt = []

    def net(exposures, seed):
        learnt.append(exposures)
        inputs, random = exposures.inputs.shape[-1], torch.Generator().manual_seed(seed)
        layers = [(torch.randn(1, inputs, generator=random), torch.zeros(1))]
        return (EffectNet(torch.zeros(inputs), torch.ones(inputs), layers),) * exposures.value.shape[1]

    one, cut = (fitted(given, chunks, net) for chunks in ([given.users], chunks_of(given.users, 17, order)))
    for name, value in one.items():
        np.testing.assert_allclose(cut[name], value, **CLOSE, err_msg=name)
    for part, other in zip(*learnt, strict=True):
        torch.testing.assert_close(part, other, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("pieces", [3, 17])
def test_answers_and_days_are_sums_over_users_too(given, pieces):
    events, item = given.events
    rows = [slice(chunk.first, chunk.first + len(chunk)) for chunk in chunks_of(given.users, pieces, "shuffled")]
    reading = MeanFeedback(given.answers)
    np.testing.assert_allclose(
        fold(reading, ((events[part], item[part]) for part in rows)).mean, given.answers.mean, **CLOSE
    )
    days = [Shown(part.start, given.users.day[part], given.users.events.item[part]) for part in rows]
    found = fold(ItemsByDay(given.shown.items), days)
    for name, value in vars(given.shown).items():
        np.testing.assert_array_equal(vars(found)[name], value)


@pytest.mark.parametrize("rows", [1, 100, 10**9])
def test_a_chunk_has_whole_users_and_no_more_rows_than_it_may(given, rows):
    user = given.users.events.user
    chunks = list(given.users.chunks(rows))
    np.testing.assert_array_equal(np.concatenate([chunk.events.user for chunk in chunks]), user)
    assert [chunk.first for chunk in chunks] == np.cumsum([0, *map(len, chunks)])[:-1].tolist()
    assert all(len(chunk) <= rows or len(np.unique(chunk.events.user)) == 1 for chunk in chunks)
    assert sum(len(np.unique(chunk.events.user)) for chunk in chunks) == len(np.unique(user))
    assert all(len(one) + int((user == two.first_user).sum()) > rows for one, two in pairwise(chunks))


def test_a_chunk_of_no_rows_is_refused(given):
    with pytest.raises(ValueError, match="rows of a chunk expected at least 1, got 0: give more"):
        list(given.users.chunks(0))


def test_the_share_of_an_item_is_that_of_its_days_exposures(given):
    day, item = given.users.day, given.users.events.item
    some = np.random.default_rng(0).choice(len(day), 50, replace=False)
    by_hand = [np.mean(item[day == day[row]] == item[row]) for row in some]
    np.testing.assert_allclose(given.shown.share(day[some], item[some]), by_hand, rtol=1e-15)
    drawn = given.shown.drawn(day, np.random.default_rng(1).random(len(day)))
    pairs = set(zip(day.tolist(), item.tolist(), strict=True))
    assert set(zip(day.tolist(), drawn.tolist(), strict=True)) <= pairs
