"""What opens an effect, which answers are rare and what items are pooled over, chosen from the log."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from reward.causal.choosing import Chosen, Roles
from reward.causal.estimate import estimate_effects
from reward.causal.propensity.conditional_logit import estimate_propensities
from reward.data.event_log import EventLog
from reward.data.validation import check
from reward.outcomes.activity import ActivityTrace

USERS, DAYS, ITEMS = 900, 30, 60
FEEDBACK = ("skip", "listen_ms", "click", "survey")
AUTO = {"gate": "auto", "rare": "auto", "group": "auto"}
NONE = {"gate": None, "rare": [], "group": None}
SETTINGS = {
    "folds": 4,
    "most_weight": 50.0,
    "smooth_days": 30.0,
    "curve_rounds": 1,
    "joint_rounds": 1,
    "personal": None,
    "seed": 0,
}


def log_of(*, clicked, seed=2, strength=0.5):
    """Items do what their quality says where they are clicked, or wherever they are shown; and what they truly do."""
    rng = np.random.default_rng([seed, clicked])
    quality, appeal, creator = rng.normal(size=ITEMS), rng.normal(0, 1.2, ITEMS), rng.integers(0, 8, ITEMS)
    base, habit, rows = rng.normal(-0.5, 0.9, USERS), np.zeros(USERS), []
    for day in range(DAYS):
        who = np.flatnonzero(rng.random(USERS) < 1 / (1 + np.exp(-(base + habit))))
        habit *= 0.7
        for slot in range(2):
            item = rng.integers(0, ITEMS, len(who))
            click = rng.random(len(who)) < 1 / (1 + np.exp(0.8 - appeal[item]))
            asked = click & (rng.random(len(who)) < 0.08)
            habit[who] += strength * (click if clicked else 0.4) * quality[item]
            rows.append(
                {
                    "user_id": who,
                    "item_id": item,
                    "timestamp": np.datetime64("2024-01-01T08:00", "us")
                    + np.full(len(who), day * 86_400 + slot * 3600).astype("timedelta64[s]"),
                    "skip": ~click & (rng.random(len(who)) < 0.7),
                    "listen_ms": np.where(click, rng.exponential(3e4, len(who)), 0),
                    "click": click,
                    "survey": np.where(asked, np.clip(np.rint(3 + quality[item] + rng.normal(size=len(who))), 1, 5), 0),
                    "propensity": np.full(len(who), 1 / ITEMS),
                }
            )
    events = pl.concat([pl.DataFrame(each) for each in rows])
    items = pl.DataFrame({"item_id": range(ITEMS), "creator": [f"c{it}" for it in creator]})
    log = EventLog(events.lazy(), FEEDBACK, 30, 0.01, items=items.lazy(), item_features=("creator",))
    rate = events.group_by("item_id").agg(pl.col("click").mean()).sort("item_id")["click"].to_numpy()
    return check(log).log, quality * (rate if clicked else 1)


def correlation(log, truth, **roles):
    found = estimate_effects(log, ActivityTrace(7), **SETTINGS, **roles)
    return float(np.corrcoef(found.items["mean"], truth)[0, 1]), found.chosen


def test_the_gate_is_found_where_there_is_one_and_helps():
    log, truth = log_of(clicked=True)
    none, _ = correlation(log, truth, **NONE)
    right, _ = correlation(log, truth, gate="click", rare=["survey"], group=None)
    auto, chosen = correlation(log, truth, **AUTO)
    assert chosen.roles == Roles("click", ("survey",), None)
    assert auto == pytest.approx(right, abs=0.01)
    assert auto > none + 0.01
    assert chosen.evidence["gate"]["skip"] < 0
    assert "listen_ms" not in chosen.evidence["gate"]  # above 0 in the same rows as click, which comes first
    assert "an exposure counts where click is above 0 (which explains the items' effects by +" in chosen.sentence()


def test_there_is_no_gate_where_every_exposure_counts():
    log, truth = log_of(clicked=False)
    none, _ = correlation(log, truth, **NONE)
    auto, chosen = correlation(log, truth, **AUTO)
    assert chosen.roles.gate is None
    assert auto >= none - 0.005
    assert max(chosen.evidence["gate"].values()) < 0
    assert "every exposure counts (the best feedback, " in chosen.sentence()


def test_where_nothing_matters_nothing_but_the_click_can_be_chosen():
    log, truth = log_of(clicked=False, strength=0.0)
    _, chosen = correlation(log, truth, **AUTO)
    assert chosen.roles.gate in (None, "click")
    assert chosen.roles.group is None
    assert max(chosen.evidence["gate"].values()) < 3


def test_what_is_set_is_not_chosen():
    log, truth = log_of(clicked=False)
    _, chosen = correlation(log, truth, gate="skip", rare=[], group="creator")
    assert chosen == Chosen(Roles("skip", (), "creator"), bias_std=chosen.bias_std)  # what comes after it is read
    assert chosen.sentence() == ""
    _, mixed = correlation(log, truth, gate="skip", rare="auto", group=None)
    assert mixed.auto == ("rare",)
    assert mixed.roles.gate == "skip"


def test_a_column_that_is_always_or_never_above_0_is_no_gate_and_a_flag_is_no_scale():
    log, truth = log_of(clicked=True)
    dull = replace(log, events=log.events.with_columns(skip=pl.lit(0.0), listen_ms=pl.lit(3.0)))
    _, chosen = correlation(dull, truth, **AUTO)
    assert set(chosen.evidence["gate"]) == {"click", "survey"}
    assert set(chosen.evidence["rare"]) == {"survey"}
    assert set(chosen.evidence["group"]) == {"creator"}


def test_what_was_chosen_is_told_in_plain_values():
    chosen = Chosen(Roles(None, (), "creator"), ("rare", "gate", "group"), {"gate": {}, "group": {"creator": 2.0}})
    assert chosen.sentence() == (
        "Chosen by what the log shows: every exposure counts (no feedback could be tried); items of one creator are "
        "alike (which explains the items' effects by +2.0 nats)."
    )


def test_the_policy_s_model_follows_the_click_where_the_gate_is_chosen(settings):
    log, _ = log_of(clicked=True)
    few = log.events.filter(pl.col("user_id") < 60).drop("propensity")
    made = estimate_propensities(replace(log, events=few), **settings("propensities", gate="auto", passes=2))
    assert made.settings["gate"] == "click"
