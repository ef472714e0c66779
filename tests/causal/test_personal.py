from dataclasses import replace
from functools import cache, partial

import numpy as np
import polars as pl
import pytest
import torch
from estimators import PERSONAL

from reward.causal.estimate import estimate_effects
from reward.causal.user_effects.model import PersonalizedEffect
from reward.causal.user_effects.state_dict import arguments
from reward.causal.user_effects.user_state import ItemState
from reward.data.days import days_since_1970
from reward.data.event_log import EventLog
from reward.data.validation import check
from reward.outcomes.activity import ActivityTrace

USERS, DAYS, ITEMS = 1200, 30, 12
OUTCOME = ActivityTrace(5)


def toy_log(strength, seed=0, gate=True):
    """Half the users like the first half of the items; what they like they click more, and it brings them back."""
    rng = np.random.default_rng(seed)
    taste = np.where(np.arange(USERS) % 2 == 0, 1.0, -1.0)
    place = np.where(np.arange(ITEMS) < ITEMS // 2, 1.0, -1.0)
    base, habit, rows = rng.normal(-0.4, 0.8, USERS), np.zeros(USERS), []
    chance = np.exp(0.3 * taste[:, None] * place)
    chance /= chance.sum(axis=1, keepdims=True)
    for day in range(DAYS):
        active = rng.random(USERS) < 1 / (1 + np.exp(-(base + habit)))
        item = (chance.cumsum(axis=1) < rng.random((USERS, 1))).sum(axis=1).clip(0, ITEMS - 1)
        match = taste * place[item]
        click = active & (rng.random(USERS) < 1 / (1 + np.exp(-0.7 * match)))
        habit = 0.6 * habit + strength * click * match
        who = np.flatnonzero(active)
        rows.append((who, item[who], np.full(len(who), day), click[who], chance[who, item[who]]))
    user, item, day, click, propensity = (np.concatenate(column) for column in zip(*rows, strict=True))
    events = pl.DataFrame(
        {
            "user_id": user,
            "item_id": item,
            "timestamp": np.datetime64("2024-01-01T12:00", "us") + day.astype("timedelta64[D]"),
            "click": click,
            "propensity": propensity,
        }
    )
    items = pl.DataFrame({"item_id": range(ITEMS), "style": place})
    log = EventLog(events.lazy(), ("click",), 30, 0.0, items=items.lazy(), item_features=("style",))
    return check(log).log


SETTINGS = {
    "gate": "click",
    "rare": [],
    "group": None,
    "folds": 4,
    "most_weight": 50.0,
    "smooth_days": 30.0,
    "curve_rounds": 1,
    "joint_rounds": 1,
    "personal": PERSONAL,
    "seed": 0,
}


@pytest.fixture(scope="module")
def log():
    return toy_log(0.8)


@pytest.fixture(scope="module")
def found(log):
    return estimate_effects(log, OUTCOME, **SETTINGS)


@pytest.fixture(scope="module")
def of_nothing():
    """A seed -> what is estimated where nothing matters."""
    return cache(lambda seed: estimate_effects(toy_log(0.0, seed), OUTCOME, **SETTINGS))


@pytest.fixture(scope="module")
def few(log):
    """The log of a quarter of its users, where numbers do not matter."""
    return replace(log, events=log.events.filter(pl.col("user_id") < USERS // 4))


def rewards_at_the_end(personal, log, users=200):
    events = log.events.collect()
    ids = events["user_id"].unique().sort()
    past = personal.history(events, ids)
    standing = past.state(np.arange(users), np.full(users, 19_723.0 + DAYS))
    return ids[:users].to_numpy(), personal.score(
        standing, personal.known(np.arange(ITEMS)).of(torch.arange(ITEMS)[None])
    )


def test_what_users_like_does_more_for_them_although_items_are_alike_on_average(found, log):
    assert found.model.personal_calibration.slope > 3 * found.model.personal_calibration.se
    assert found.model.calibration.slope == pytest.approx(1.0, abs=3 * found.model.calibration.se)
    users, rewards = rewards_at_the_end(found.model, log)
    match = np.where(users % 2 == 0, 1.0, -1.0)[:, None] * np.where(np.arange(ITEMS) < ITEMS // 2, 1.0, -1.0)
    mean = rewards.mean.numpy()
    assert np.corrcoef(mean.ravel(), match.ravel())[0, 1] > 0.6
    assert found.items["mean"].std() < np.std(mean)
    assert (rewards.std > 0).all()


@pytest.mark.parametrize("seed", range(3))
def test_where_nothing_matters_nothing_is_borne_out(seed, of_nothing):
    found = of_nothing(seed)
    for told in (found.model.calibration, found.model.personal_calibration):
        assert abs(told.slope) < 3.3 * told.se


def test_the_gate_is_a_probability_that_rises_with_what_is_liked(found, log):
    events = log.events.collect()
    past = found.model.history(events, events["user_id"].unique().sort())
    first = events.filter(pl.col("timestamp") == events["timestamp"].max()).head(50)
    user = events["user_id"].unique().sort().search_sorted(first["user_id"]).to_numpy().astype(np.int64)
    taste = past.person(user, np.full(len(user), 19_800.0)).taste[:, 0] * found.model.facts.taste[0, 0]
    liking = np.where(first["user_id"].to_numpy() % 2 == 0, 1, -1)
    assert np.corrcoef(taste.numpy(), liking)[0, 1] > 0.5


def test_without_a_gate_every_exposure_counts(log):
    found = estimate_effects(log, OUTCOME, **{**SETTINGS, "gate": None})
    assert found.model.gate.shape == (0,)
    assert rewards_at_the_end(found.model, log)[1].mean.isfinite().all()
    assert found.model.calibration.slope > 3 * found.model.calibration.se


@pytest.mark.parametrize("spans", [[10], [3, 30], [1, 3, 10, 30, 90]])
def test_any_number_of_spans_will_do(few, spans):
    personal = partial(PERSONAL, spans_days=spans)
    found = estimate_effects(few, OUTCOME, **SETTINGS | {"personal": personal}).model
    rewards = rewards_at_the_end(found, few)[1].mean
    assert rewards.isfinite().all()
    assert rewards.std() > 0


def test_a_log_without_an_items_table_has_no_taste(few):
    found = estimate_effects(replace(few, items=None, item_features=()), OUTCOME, **SETTINGS)
    assert found.model.facts.taste.shape == (ITEMS + 1, 0)
    assert rewards_at_the_end(found.model, few)[1].mean.isfinite().all()


def test_the_same_seed_gives_the_same_numbers(few):
    once, again = (estimate_effects(few, OUTCOME, **SETTINGS).model for _ in range(2))
    np.testing.assert_array_equal(again.coefficients, once.coefficients)
    np.testing.assert_array_equal(again.gate, once.gate)


def test_a_log_read_in_pieces_gives_the_same_numbers(found, log):
    settings = {**SETTINGS, "personal": partial(SETTINGS["personal"], chunk_rows=2000)}
    pieces = estimate_effects(log, OUTCOME, **settings)
    for name, value in found.model.state_dict().items():
        np.testing.assert_allclose(pieces.model.state_dict()[name], value, rtol=1e-10, atol=1e-12, err_msg=name)
    np.testing.assert_allclose(pieces.pushed[1.0].kept, found.pushed[1.0].kept, rtol=1e-10, atol=1e-12)


class MeanOfInputs(torch.nn.Module):
    def forward(self, inputs):
        return inputs.mean(-1).tanh()


@pytest.mark.parametrize("net", [None, MeanOfInputs()])
def test_a_rows_reward_is_its_items_less_the_mean_of_the_basket_copied_to_the_row(found, log, net):
    personal = found.model.replaced(net=net)
    if net is not None:
        scale, width = personal.scale, len(personal.scale) + 1
        personal = personal.replaced(
            scale=np.append(scale, 2.0),
            coefficients=np.append(personal.coefficients, 0.7),
            covariance=np.eye(width),
        )
    events = log.events.collect()
    users = events["user_id"].unique().sort()
    some = events.sample(300, seed=1)
    user = users.search_sorted(some["user_id"]).to_numpy().astype(np.int64)
    time, past = days_since_1970(some["timestamp"]), personal.history(events, users)
    own = personal.facts.of(torch.tensor(some["item_id"].to_list())[:, None])
    basket = personal.facts.of(personal.basket.expand(300, -1))
    together = ItemState(*(torch.cat(parts, dim=1) for parts in zip(own, basket, strict=True)))
    mean, std = personal.of_rows(past, user, time, together)
    found = personal.score_rows(past, user, time, ItemState(*(part[:, 0] for part in own)))
    torch.testing.assert_close(found.mean, mean[:, 0] - mean[:, 1:].mean(-1), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found.std, std[:, 0], rtol=1e-12, atol=1e-12)


def test_what_is_kept_is_what_was_fitted(found, log):
    personal = found.model
    again = PersonalizedEffect(**arguments(personal.to_json(), personal.to_table(), personal.state_dict()))
    one, two = (rewards_at_the_end(each, log)[1] for each in (personal, again))
    assert torch.equal(one.mean, two.mean)
    assert torch.equal(one.std, two.std)
    assert again.calibration == personal.calibration
    assert again.newcomers.describing == personal.newcomers.describing


def test_a_ranker_may_lean_on_what_users_like_where_items_are_alike_on_average(found, log):
    of_items = estimate_effects(log, OUTCOME, **{**SETTINGS, "personal": None})
    at = {name: list(it.pushed[0.0].divergence).index(0.4) for name, it in (("own", of_items), ("both", found))}
    assert found.pushed[0.0].kept[at["both"]] > 2 * of_items.pushed[0.0].kept[at["own"]]
    assert found.pushed[0.0].low[at["both"]] > 0
    assert found.pushed[0.0].limit > 0


@pytest.mark.parametrize("seed", range(3))
def test_where_nothing_matters_no_push_is_kept(seed, of_nothing):
    push = of_nothing(seed).pushed[0.0]
    assert (np.abs(push.kept) < 3.3 * push.kept_se).all()
