"""The second stage on logs in which hardly anything happens, or too much: numbers throughout, or a sentence."""

import json
from datetime import UTC, datetime, timedelta
from functools import partial

import numpy as np
import polars as pl
import pytest
import torch
from estimators import PERSONAL

from reward.causal.diagnostics.balance import balance
from reward.causal.diagnostics.summary import summarize_effects
from reward.causal.estimate import estimate_effects
from reward.causal.propensity.conditional_logit import estimate_propensities
from reward.causal.user_effects.g_estimation import Moments, g_estimates
from reward.data.event_log import EventLog, SchemaError
from reward.data.slates import slates_of
from reward.data.validation import check
from reward.outcomes.activity import ActivityTrace
from reward.scoring.effect_sentences import effect_sentences

FIRST = datetime(2024, 3, 1, tzinfo=UTC)
USERS, DAYS, ITEMS = 40, 16, 15
CODES = np.arange(ITEMS)
ROWS = pl.int_range(pl.len())
HUGE = pl.when(ROWS % 9 == 0).then(1e19).otherwise(0.0)
SETTINGS = {
    "gate": "click",
    "rare": [],
    "group": None,
    "folds": 3,
    "most_weight": 50.0,
    "smooth_days": 30.0,
    "curve_rounds": 1,
    "joint_rounds": 1,
    "personal": PERSONAL,
    "seed": 0,
}


def usual(users=USERS, days=DAYS, seed=0):
    """Users of different loyalty, one to three exposures on a day that they are there."""
    rng = np.random.default_rng(seed)
    user, day = np.nonzero(rng.random((users, days)) < rng.uniform(0.1, 0.9, users)[:, None])
    times = rng.integers(1, 4, len(user))
    user, day = np.repeat(user, times).astype(np.int64), np.repeat(day, times)
    click = rng.random(len(user)) < 0.4
    return pl.DataFrame(
        {
            "user_id": user,
            "item_id": rng.integers(0, ITEMS, len(user)),
            "timestamp": moments(day * 86_400 + rng.integers(0, 86_399, len(user))),
            "click": click.astype(np.float64),
            "listen_ms": np.where(click, rng.exponential(6e4, len(user)), 0.0),
        }
    )


def moments(seconds):
    return pl.Series([FIRST + timedelta(seconds=int(it)) for it in seconds], dtype=pl.Datetime("us", "UTC"))


def there_on(days_of):
    """Two exposures to each user on each of their days."""
    rng = np.random.default_rng(1)
    user, day = np.array([(user, day) for user in range(USERS) for day in days_of(user) for _ in range(2)]).T
    return pl.DataFrame(
        {
            "user_id": user,
            "item_id": rng.integers(0, ITEMS, len(user)),
            "timestamp": moments(day * 86_400 + rng.integers(0, 86_399, len(user))),
            "click": (rng.random(len(user)) < 0.4).astype(np.float64),
            "listen_ms": 0.0,
        }
    )


def films():
    """Ratings: many items, few of them often; users who come for a day or two, and a horizon of two weeks."""
    rng = np.random.default_rng(1)
    user = rng.integers(0, 300, 6000)
    day = rng.integers(0, 40, 300)[user] + (rng.random(6000) < 0.1) * rng.integers(1, 9, 6000)
    stars = rng.integers(1, 6, 6000).astype(np.float64)
    return pl.DataFrame(
        {
            "user_id": user,
            "item_id": rng.zipf(1.3, 6000) % 1000,
            "timestamp": moments(day * 86_400 + rng.integers(0, 3000, 6000)),
            "click": (stars > 3).astype(np.float64),
            "listen_ms": stars,
        }
    )


def with_stray(frame, moment, user):
    stray = frame.head(1).with_columns(timestamp=pl.lit(moment).cast(pl.Datetime("us", "UTC")), user_id=user)
    return pl.concat([frame, stray.with_columns(pl.col("user_id").cast(pl.Int64))])


def of(**columns):
    """An items table with these columns."""
    return pl.DataFrame({"item_id": CODES, **columns})


U = usual()
EMPTY = pl.Series([[]] * ITEMS, dtype=pl.List(pl.Float64))
GENRES = pl.DataFrame({"item_id": range(1000), "b": [f"{it % 18}" for it in range(1000)]})
NOBODY = "found no user active|nothing is left that an item could have done"
ALONE = "items that several users of a fold were shown"
UNLIKELY = "what is that unlikely is never seen"
# name: events, items table, changes of the settings, and what the sentence says where effects cannot be estimated
LOGS = {
    "as usual": (U, None, {}, None),
    "everybody every day": (there_on(lambda _: range(DAYS)), None, {}, "found every user active"),
    "all users on the same days": (there_on(lambda _: range(0, DAYS, 2)), None, {}, "foretell every day"),
    "nobody comes back": (there_on(lambda user: [user % DAYS]), None, {}, NOBODY),
    "one row a user": (U.unique("user_id", keep="first", maintain_order=True), None, {}, NOBODY),
    "one item": (U.with_columns(item_id=pl.lit(7, pl.Int64)), None, {}, None),
    "two items": (U.with_columns(pl.col("item_id") % 2), None, {}, None),
    "every item once": (U.with_columns(item_id=ROWS), None, {}, ALONE),
    "an item of each user's own": (U.with_columns(item_id=pl.col("user_id")), None, {}, ALONE),
    "an item of each day's own": (U.with_columns(item_id=pl.col("timestamp").dt.day().cast(pl.Int64)), None, {}, None),
    "no click": (U.with_columns(click=0.0, listen_ms=0.0), None, {}, None),
    "one click": (U.with_columns(click=(ROWS == 100).cast(pl.Float64)), None, {}, None),
    "every row clicked": (U.with_columns(click=1.0), None, {}, None),
    "a constant quantity": (U.with_columns(listen_ms=5.0), None, {}, None),
    "quantities of 1e19": (U.with_columns(listen_ms=HUGE), None, {}, None),
    "a gate of 1e19": (U.with_columns(click=HUGE), None, {}, None),
    "rare answers of 1e19": (
        U.with_columns(listen_ms=HUGE),
        None,
        {"rare": ["listen_ms"]},
        None,
    ),
    "a rare answer that never came": (U.with_columns(listen_ms=0.0), None, {"rare": ["listen_ms"]}, None),
    "a rare answer that came once": (
        U.with_columns(listen_ms=pl.when(ROWS == 97).then(3.0).otherwise(0.0)),
        None,
        {"rare": ["listen_ms"]},
        None,
    ),
    "nothing but rare answers": (U, None, {"gate": None, "rare": ["click", "listen_ms"]}, None),
    "one user": (U.filter(pl.col("user_id") == 1), None, {}, "at least 6 users for 3 folds, got 1"),
    "two users": (U.filter(pl.col("user_id") < 2), None, {}, "at least 6 users for 3 folds, got 2"),
    "fewer users than two a fold": (U.filter(pl.col("user_id") < 5), None, {}, "at least 6 users for 3 folds, got 5"),
    "two users a fold": (U.filter(pl.col("user_id") < 6), None, {}, None),
    "propensity 1": (U.with_columns(propensity=1.0), None, {}, None),
    "propensity 1e-50 in a row": (
        U.with_columns(propensity=pl.when(ROWS == 50).then(1e-50).otherwise(0.05)),
        None,
        {},
        None,
    ),
    "propensity 1e-300": (U.with_columns(propensity=1e-300), None, {}, UNLIKELY),
    "propensity 5e-324 in a row": (
        U.with_columns(propensity=pl.when(ROWS == 50).then(5e-324).otherwise(0.05)),
        None,
        {},
        UNLIKELY,
    ),
    "all rows at midnight": (
        U.with_columns(pl.col("timestamp").dt.truncate("1d")).unique(["user_id", "item_id", "timestamp"]),
        None,
        {},
        None,
    ),
    "one moment": (
        U.with_columns(timestamp=pl.lit(FIRST).cast(pl.Datetime("us", "UTC"))).unique(["user_id", "item_id"]),
        None,
        {},
        "got none: give a longer log",
    ),
    "one day": (U.filter(pl.col("timestamp") < FIRST + timedelta(days=1)), None, {}, "got none: give a longer log"),
    "three days": (U.filter(pl.col("timestamp") < FIRST + timedelta(days=3)), None, {}, None),
    "three days, 63 ahead": (U.filter(pl.col("timestamp") < FIRST + timedelta(days=3)), None, {"horizon": 63}, None),
    "63 days ahead": (U, None, {"horizon": 63}, None),
    "one day ahead": (U, None, {"horizon": 1}, None),
    "a stray row in 1990": (with_stray(U, datetime(1990, 1, 1, tzinfo=UTC), 99_999), None, {}, None),
    "a user's stray row in 1990": (with_stray(U, datetime(1990, 1, 1, tzinfo=UTC), 3), None, {}, None),
    "rows in 1990 and 2100": (
        with_stray(with_stray(U, datetime(1990, 1, 1, tzinfo=UTC), 3), datetime(2100, 1, 1, tzinfo=UTC), 3),
        None,
        {},
        None,
    ),
    "features that are all alike": (U, of(a=[0.1] * ITEMS, b=["x"] * ITEMS, c=[[1.0, 0.1]] * ITEMS), {}, None),
    "features that say the same": (
        U,
        of(a=CODES * 1.0, b=CODES * 2.0, c=[[it * 3.0, it * 4.0] for it in CODES], d=[f"{it % 3}" for it in CODES]),
        {},
        None,
    ),
    "features that are all null": (
        U,
        of(a=pl.Series([None] * ITEMS, dtype=pl.Float64), b=pl.Series([None] * ITEMS, dtype=pl.String)),
        {"group": "b"},
        None,
    ),
    "NaN features": (U, of(a=[float("nan"), *[1.0] * (ITEMS - 1)], b=[float("nan")] * ITEMS), {}, None),
    "null embeddings": (U, of(c=pl.Series([None] * ITEMS, dtype=pl.List(pl.Float64))), {}, None),
    "embeddings of length 0": (U, of(c=EMPTY), {}, None),
    "embeddings of zeros": (U, of(c=[[0.0, 0.0]] * ITEMS), {}, None),
    "features of 1e19": (U, of(a=[1e19, *[0.0] * (ITEMS - 1)], c=[[1e6, float(it)] for it in CODES]), {}, None),
    "features of 1e-308": (U, of(a=CODES * 1e-308, c=[[1e-38 * it, 1e-45] for it in CODES]), {}, None),
    "features that differ by rounding": (U, of(a=1 + CODES * 1e-16), {}, None),
    "one group for all": (U, of(b=["x"] * ITEMS), {"group": "b"}, None),
    "a group for each": (U, of(b=[f"x{it}" for it in CODES]), {"group": "b"}, None),
    "a group that is an embedding": (U, of(c=[[float(it)] for it in CODES]), {"group": "c"}, "is an embedding"),
    "items that were never shown": (
        U,
        pl.DataFrame({"item_id": range(300), "a": np.arange(300.0), "b": [f"x{it % 7}" for it in range(300)]}),
        {"group": "b"},
        None,
    ),
    "none of the table's items shown": (U, pl.DataFrame({"item_id": [90, 91], "a": [1.0, 2.0]}), {}, None),
    "a table of one item": (U, pl.DataFrame({"item_id": [3], "a": [1.0]}), {}, None),
    "films": (films(), GENRES, {"horizon": 14}, None),
    "films, all of which count": (films().with_columns(propensity=0.001), None, {"gate": None, "horizon": 14}, None),
    "rounds of everything": (U, None, {"curve_rounds": 3, "joint_rounds": 3}, None),
    "no clip": (U, None, {"most_weight": 1e308}, None),
}  # fmt: skip


@pytest.fixture(scope="module")
def policy(settings):
    small = {"passes": 4, "max_training_slates": 500, "calibration_slates": 200}
    return partial(estimate_propensities, **settings("propensities", **small))


@pytest.fixture(scope="module")
def checks(settings):
    short = {"spans_days": [3], "warm_days": 4, "placebo_days": 3, "last_days": 1}
    return [partial(balance, **settings("balance", **changes)) for changes in ({}, short)]


def stage(events, items, changes, policy, checks):
    """All of it, as `train.py` does it: the effects, and the account of them."""
    names = () if items is None else tuple(items.columns[1:])
    table = None if items is None else items.lazy()
    log = EventLog(events.lazy(), ("click", "listen_ms"), 30, 0.01, items=table, item_features=names)
    log, changes = check(log, least_users=0).log, dict(changes)
    outcome, estimated = ActivityTrace(changes.pop("horizon", 4)), None
    told = SETTINGS | changes
    if "propensity" in events.columns:
        propensity = log.events.collect()["propensity"].to_numpy()
    else:
        estimated = policy(log, gate=told["gate"])
        propensity = estimated.propensity
    found = estimate_effects(log, outcome, **told, propensity=propensity)
    accounts = []
    for one in checks:
        balanced, unchecked = None, ""
        try:
            balanced = one(log, propensity, half=None if estimated is None else estimated.half)
        except SchemaError as error:
            unchecked = str(error)
        both = (found.model.calibration, found.model.personal_calibration)
        accounts.append(
            summarize_effects(
                found.calibration, estimated, balanced, personal=both, pushed=found.pushed, unchecked=unchecked
            )
        )
    return log, found, accounts


def finite(value):
    """Whether every number in plain values is one."""
    if isinstance(value, dict | list):
        return all(map(finite, value.values() if isinstance(value, dict) else value))
    return not isinstance(value, float) or np.isfinite(value)


@pytest.mark.parametrize("name", LOGS)
def test_effects_are_numbers_or_a_sentence_says_why_there_are_none(name, policy, checks):
    events, items, changes, sentence = LOGS[name]
    if sentence is not None:
        with pytest.raises(SchemaError, match=sentence):
            stage(events, items, changes, policy, checks)
        return
    log, found, accounts = stage(events, items, changes, policy, checks)
    assert all(map(finite, json.loads(json.dumps([it.to_json() for it in accounts]))))
    assert all(effect_sentences(each) for each in accounts)
    for column in ("mean", "std", "gate", "behind"):
        assert found.items[column].is_finite().all(), column
    assert found.items["anchor"].drop_nulls().is_finite().all()
    assert np.isfinite(found.curve).all()
    personal = found.model
    for values in (personal.gate, personal.scale, personal.coefficients, personal.covariance, *personal.facts):
        assert np.isfinite(np.asarray(values)).all()
    users, ids = log.events.collect()["user_id"].unique().sort(), found.items["item_id"].to_numpy()
    past = personal.history(log.events.collect(), users)
    standing = past.state(np.arange(len(users)), np.full(len(users), 19_800.0))
    rewards = personal.score(standing, personal.known(ids).of(torch.arange(len(ids))[None]))
    assert rewards.mean.isfinite().all()
    assert rewards.std.isfinite().all()


@pytest.mark.parametrize(
    "name",
    [
        "one item",
        "no click",
        "one click",
        "every row clicked",
        "quantities of 1e19",
        "a group for each",
        "embeddings of length 0",
        "propensity 1e-50 in a row",
    ],
)
def test_what_feedback_does_can_be_chosen_there_too(name, policy, checks):
    events, items, _, _ = LOGS[name]
    _, found, _ = stage(events, items, {"gate": "auto", "rare": "auto", "group": "auto"}, policy, checks)
    assert found.items["mean"].is_finite().all()
    assert all(map(np.isfinite, [nats for tried in found.chosen.evidence.values() for nats in tried.values()]))
    assert found.chosen.sentence().startswith("Chosen by what the log shows: ")


def test_a_stretch_without_anybody_does_not_make_a_log_as_long_as_it_is():
    early = U.head(2).with_columns(pl.col("timestamp").dt.offset_by("-300d"))
    log = check(EventLog(pl.concat([U, early]).lazy(), ("click",), 30, 0.0)).log
    assert slates_of(log).days <= 60 + DAYS
    assert slates_of(check(EventLog(U.lazy(), ("click",), 30, 0.0)).log).days == DAYS


def moments_of(columns, value, seed=0):
    """Moments of exposures whose columns are what they are beyond what could have been shown."""
    rng = np.random.default_rng(seed)
    cluster = rng.integers(0, 50, len(columns))
    return Moments.of(columns, columns, np.ones(len(columns)), value, cluster, np.arange(50) % 5)


def test_columns_that_say_the_same_share_what_one_of_them_would_have_and_say_so():
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(2, 4000))
    value = 0.3 * one + 0.2 * other + rng.normal(size=4000)
    alone = g_estimates(moments_of(np.stack([one, other], axis=1), value), np.zeros(2))
    both = g_estimates(moments_of(np.stack([one, other, one, np.zeros(4000)], axis=1), value), np.array([0, 0, 0, 0.7]))
    assert both.coefficients[0] == pytest.approx(both.coefficients[2])
    assert both.coefficients[0] + both.coefficients[2] == pytest.approx(alone.coefficients[0], rel=0.1)
    assert both.coefficients[1] == pytest.approx(alone.coefficients[1], rel=0.1)
    assert both.coefficients[3] == 0.7
    assert alone.identified.tolist() == [True, True]
    assert both.identified[[1, 3]].tolist() == [True, False]


def test_what_the_moments_do_not_identify_stays_where_it_is_expected():
    nothing = g_estimates(moments_of(np.zeros((10, 2)), np.ones(10)), np.array([0.4, 1.0]))
    assert nothing.coefficients.tolist() == [0.4, 1.0]
    assert not nothing.identified.any()
    still = g_estimates(moments_of(np.random.default_rng(0).normal(size=(10, 2)), np.zeros(10)), np.zeros(2))
    assert np.allclose(still.coefficients, 0)
