import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from reward.causal.diagnostics.summary import propensity_model
from reward.causal.propensity.conditional_logit import estimate_propensities
from reward.causal.propensity.policy import choice_log_likelihood
from reward.data.event_log import EventLog, SchemaError
from reward.data.validation import check
from reward.records import to_json


@pytest.fixture(scope="module")
def small(log_of):
    return log_of("confounded", policy_activity=0.8)


@pytest.fixture(scope="module")
def estimated(small, settings):
    return estimate_propensities(small[0], **settings("propensities", gate="click"))


def test_items_above_in_the_slate_can_no_longer_be_drawn():
    # e^score 1, 2, 4 and 5: first 1 of 12, then 2 of 11, then 4 of 9
    shown = torch.tensor([[1.0, 2.0, 4.0]]).log()
    log_p = choice_log_likelihood(shown, torch.tensor([5.0]).log())
    assert log_p.exp()[0].tolist() == pytest.approx([1 / 12, 2 / 11, 4 / 9])


def test_a_place_that_does_not_exist_has_no_likelihood():
    shown = torch.tensor([[0.0, -torch.inf, -torch.inf]])
    assert choice_log_likelihood(shown, torch.tensor([0.0])).exp()[0].tolist() == pytest.approx([0.5, 1, 1])


def test_what_is_estimated_is_near_what_the_policy_did(small, estimated):
    true = small[1]
    assert np.corrcoef(np.log(true), np.log(estimated.propensity))[0, 1] > 0.95
    assert estimated.calibration.held_out_log_likelihood == pytest.approx(np.log(true).mean(), abs=0.03)
    assert not estimated.calibration.flagged


def test_over_the_live_items_propensities_of_a_slates_top_sum_to_one(small, estimated):
    # so the mean of 1 / p over tops is the number of live items
    log, _ = small
    tops = (log.events.select("position").collect().to_series() == 0).to_numpy()
    assert (1 / estimated.propensity[tops]).mean() == pytest.approx(50, rel=0.1)


def test_held_out_rows_fit_worse_than_own_ones_and_better_than_none(estimated):
    check = estimated.calibration
    assert check.uniform_log_likelihood < check.held_out_log_likelihood < check.log_likelihood


def thin_log():
    """Five rows an item, and heavy users among light ones."""
    rng = np.random.default_rng(0)
    appeal, taste = rng.lognormal(0, 1.5, 1000), rng.integers(0, 4, 1000)
    user = np.repeat(np.arange(500), rng.geometric(0.1, 500))
    kind = rng.integers(0, 4, 500)
    chance = appeal * np.where(kind[:, None] == taste, 4.0, 1.0)
    chance /= chance.sum(axis=1, keepdims=True)
    item = (chance.cumsum(axis=1)[user] < rng.random((len(user), 1))).sum(axis=1).clip(max=999)
    minute = rng.integers(0, 10 * 1440, len(user))
    events = pl.DataFrame(
        {
            "user_id": user,
            "item_id": item,
            "timestamp": np.datetime64("2024-01-01", "us") + minute.astype("timedelta64[m]"),
            "click": rng.random(len(user)) < 0.5,
        }
    ).unique(["user_id", "item_id", "timestamp"], maintain_order=True)
    items = pl.DataFrame(
        {"item_id": range(1000), "kind": [f"k{k}" for k in taste], "length": rng.lognormal(0, 2, 1000)}
    )
    log = EventLog(events.lazy(), ("click",), 30, 0.0, items=items.lazy(), item_features=("kind", "length"))
    return check(log).log


def test_a_log_of_a_few_rows_an_item_is_fitted_without_running_away(settings):
    found = estimate_propensities(thin_log(), **settings("propensities")).calibration
    assert found.held_out_log_likelihood > found.uniform_log_likelihood
    assert not found.flagged


def test_a_model_that_foretells_worse_than_none_is_flagged(settings, monkeypatch):
    monkeypatch.setattr("reward.causal.propensity.fit._LONGEST", 1e9)  # steps that run away
    monkeypatch.setattr("reward.causal.propensity.fit._EM_STEPS", 1)
    found = estimate_propensities(thin_log(), **settings("propensities")).calibration
    assert found.held_out_log_likelihood < found.uniform_log_likelihood
    assert found.flagged


def test_predicted_shares_come_true_in_every_tenth(estimated):
    bins = estimated.calibration.bins
    assert bins.height == 10
    assert bins["predicted"].is_sorted()
    covered = (bins["low"] <= bins["predicted"]) & (bins["predicted"] <= bins["high"])
    assert covered.sum() >= 7


def test_a_model_of_popularity_alone_fails_the_calibration_of_a_policy_that_follows_activity(small, settings):
    told = settings("propensities", gate="click", spans_days=[], memory_clicks=[])
    check = estimate_propensities(small[0], **told).calibration
    assert check.flagged
    assert check.z > 5
    assert check.excess > 0.1


def test_the_same_seed_gives_the_same_numbers_and_an_artefact_can_state_them(small, settings):
    told = settings("propensities", gate="click", passes=2, max_candidates=40)
    one, two = (estimate_propensities(small[0], **told) for _ in range(2))
    assert np.array_equal(one.propensity, two.propensity)
    kept = propensity_model(one)
    assert kept == propensity_model(two)
    assert json.loads(json.dumps(to_json(kept))) == to_json(kept)


def test_drawn_candidates_stand_for_the_whole_catalogue(small, estimated, settings):
    told = settings("propensities", gate="click", max_candidates=35, chunk_slates=128)
    drawn = estimate_propensities(small[0], **told)
    assert np.corrcoef(np.log(drawn.propensity), np.log(estimated.propensity))[0, 1] > 0.9
    assert np.log(drawn.propensity).mean() == pytest.approx(np.log(estimated.propensity).mean(), abs=0.05)


def test_without_an_items_table_traits_are_learned_from_who_took_up_what(small, settings):
    log, true = small
    found = estimate_propensities(replace(log, items=None, item_features=()), **settings("propensities", gate="click"))
    assert "learned 0" in found.features
    assert np.corrcoef(np.log(true), np.log(found.propensity))[0, 1] > 0.9


def test_context_can_be_read(small, settings):
    found = estimate_propensities(small[0], **settings("propensities", context=["surface"], passes=2))
    assert found.features[-1] != "surface"
    assert "surface" in found.features


def test_propensities_are_one_a_row_and_each_user_is_in_one_half(small, estimated):
    events = small[0].events.collect()
    assert estimated.propensity.shape == estimated.half.shape == (events.height,)
    assert estimated.propensity.dtype == np.float64
    assert ((estimated.propensity > 0) & (estimated.propensity <= 1)).all()
    halves = events.select("user_id", half=pl.Series(estimated.half)).group_by("user_id").agg(pl.col("half").n_unique())
    assert halves["half"].max() == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gate": "clack"}, r"gate='clack' expected one of the feedback columns \['click'\]"),
        ({"context": ["mood"]}, r"context=\['mood'\] expected context columns of the log, which has \['surface'\]"),
    ],
)
def test_columns_that_the_log_lacks_are_named(small, changes, message, settings):
    with pytest.raises(SchemaError, match=message):
        estimate_propensities(small[0], **settings("propensities", **changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"spans_days": [0.5]}, r"memories of at least 1, got \[0.5\]"),
        ({"passes": 0}, "passes, max_candidates and chunk_slates of at least 1"),
    ],
)
def test_settings_out_of_range_are_refused(small, changes, message, settings):
    with pytest.raises(ValueError, match=message):
        estimate_propensities(small[0], **settings("propensities", **changes))
