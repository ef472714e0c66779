"""Auto-surrogates, and decisions on first days against those at the horizon."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from reward.data.days import local_day
from reward.experiments.early_readout import (
    MEASURES,
    Effects,
    agreement,
    auto_surrogate,
    effects_by_test,
    launch_decisions,
    reward_surrogate,
)
from reward.scoring.function import RewardFunction
from reward.statistics.regression import linear

FEW = {"alpha": 0.05, "resamples": 30, "seed": 0, "level": 0.95}
ORDINARY = linear(ridge=0, degree=1)


def certain(z):
    """Effects whose standard error is 1."""
    return Effects(np.array(z, float), np.ones(np.shape(z)))


def habits(rng, users, days=10):
    """(users, days) bool of users who differ."""
    return rng.random((users, days)) < rng.beta(0.7, 0.7, users)[:, None]


def told(found, measure, name="early", day=1):
    rows = found.filter((pl.col("measure") == measure) & (pl.col("surrogate") == name) & (pl.col("day") == day))
    return rows["value"].item()


def test_a_surrogate_is_the_days_seen_and_what_these_foretell_of_the_rest():
    # of those active on the first day the others bring 2 more on average, of those silent half a day
    past = np.array([[1, 1, 1], [1, 1, 1], [0, 0, 0], [0, 1, 0]], bool)
    surrogate = auto_surrogate(past, 1, regression=ORDINARY)
    assert surrogate(np.array([[True], [False]])) == pytest.approx([1 + 2, 0 + 0.5], abs=1e-6)


def test_at_the_horizon_a_surrogate_is_the_outcome():
    past = habits(np.random.default_rng(0), 50)
    assert auto_surrogate(past, 10, regression=ORDINARY)(past) == pytest.approx(past.sum(1))


def test_after_no_day_a_surrogate_is_what_covariates_foretell():
    past = np.array([[1, 1], [1, 0], [0, 0], [0, 1]], bool)
    before = np.array([[3.0], [2.0], [1.0], [2.0]])
    surrogate = auto_surrogate(past, 0, regression=ORDINARY, covariates=before)
    assert surrogate(past, np.array([[2.0], [4.0]])[:1].repeat(4, 0)) == pytest.approx([1.0] * 4, abs=1e-6)
    assert auto_surrogate(past, 0, regression=ORDINARY)(past) == pytest.approx([1.0] * 4, abs=1e-6)


def test_later_days_are_not_looked_at():
    rng = np.random.default_rng(1)
    surrogate = auto_surrogate(habits(rng, 300), 4, regression=ORDINARY)
    seen = habits(rng, 20)
    changed = seen.copy()
    changed[:, 4:] = ~changed[:, 4:]
    assert (surrogate(seen) == surrogate(changed)).all()
    assert (surrogate(seen) == surrogate(seen[:, :4])).all()


def test_forecasts_are_right_on_average_and_better_with_each_day():
    rng = np.random.default_rng(2)
    past, others = habits(rng, 3000), habits(rng, 3000)
    errors = [auto_surrogate(past, day, regression=ORDINARY)(others) - others.sum(1) for day in (1, 3, 6)]
    assert np.abs(np.mean(errors, axis=1)).max() < 0.25
    assert (np.diff(np.std(errors, axis=1)) < 0).all()


def test_effects_are_those_of_a_loop():
    rng = np.random.default_rng(3)
    test, treated, values = rng.integers(0, 5, 300), rng.random(300) < 0.4, rng.normal(size=(300, 3))
    found = effects_by_test(test, treated, values)
    for one in range(5):
        arms = [values[(test == one) & (treated == arm)] for arm in (True, False)]
        assert found.effect[one] == pytest.approx(arms[0].mean(0) - arms[1].mean(0))
        variance = sum(arm.var(0, ddof=1) / len(arm) for arm in arms)
        assert found.se[one] == pytest.approx(np.sqrt(variance))
    assert effects_by_test(test, treated, values[:, 0]).effect == pytest.approx(found.effect[:, 0])


def test_decisions_by_hand():
    effects = Effects(np.array([2.0, 1.9, -2.0, 0.0, 1e-9]), np.array([1.0, 1.0, 1.0, 0.0, 0.0]))
    assert launch_decisions(effects, alpha=0.05).tolist() == [1, 0, -1, 0, 1]


def test_measures_by_hand():
    long = certain([3, 3, 1, -3, 0.5, -3])
    early = certain([[3], [1], [3], [-3], [0.5], [3]])
    found = agreement(long, {"early": early}, [1], **FEW)
    assert tuple(found["measure"]) == MEASURES
    assert told(found, "consistent") == pytest.approx(3 / 6)
    assert told(found, "recall") == pytest.approx(1 / 2)
    assert told(found, "precision") == pytest.approx(1 / 3)
    assert told(found, "reversals") == pytest.approx(1 / 6)
    assert told(found, "sensitivity") == pytest.approx(13.5 / 13.5)


def test_what_is_never_launched_has_no_recall():
    found = agreement(certain([1, -3]), {"early": certain([[1], [1]])}, [1], **FEW)
    assert told(found, "recall") is None
    assert told(found, "precision") is None
    assert told(found, "consistent") == pytest.approx(0.5)


def test_intervals_are_over_tests_that_are_drawn_again():
    rng = np.random.default_rng(4)
    long, early = certain(rng.normal(0, 3, 40)), certain(rng.normal(0, 3, (40, 2)))
    found = agreement(long, {"early": early}, [1, 2], **FEW | {"resamples": 400})
    same = launch_decisions(early, alpha=0.05)[:, 1] == launch_decisions(long, alpha=0.05)
    row = found.row(by_predicate=(pl.col("measure") == "consistent") & (pl.col("day") == 2), named=True)
    assert row["value"] == pytest.approx(same.mean())
    half = 1.96 * np.sqrt(same.mean() * (1 - same.mean()) / 40)
    assert (row["low"], row["high"]) == pytest.approx((same.mean() - half, same.mean() + half), abs=0.05)


def test_arms_of_one_cluster_are_drawn_together():
    rng = np.random.default_rng(6)
    long, early = rng.normal(0, 3, 40), rng.normal(0, 3, (40, 1))
    alone = agreement(certain(long), {"early": certain(early)}, [1], **FEW)
    pairs = [certain(np.repeat(it, 2, axis=0)) for it in (long, early)]
    together = agreement(pairs[0], {"early": pairs[1]}, [1], cluster=np.repeat(np.arange(40), 2), **FEW)
    assert together.equals(alone)


def test_on_the_last_day_days_seen_decide_as_the_outcome():
    rng = np.random.default_rng(5)
    test, treated = np.repeat(np.arange(30), 60), np.tile([True, False], 900)
    days = habits(rng, 1800) | (rng.random((1800, 10)) < (0.4 * (test % 3 == 0) * treated)[:, None])
    scores = np.stack([days[:, :day].sum(1) for day in (2, 10)], axis=1)
    outcome = effects_by_test(test, treated, days.sum(1))
    found = agreement(outcome, {"seen": effects_by_test(test, treated, scores)}, [2, 10], **FEW)
    assert told(found, "consistent", "seen", 10) == told(found, "sensitivity", "seen", 10) == 1
    assert told(found, "consistent", "seen", 2) < 1


@pytest.fixture(scope="module")
def fn(network_of, features, outcome):
    return RewardFunction(
        network_of(), features, {"active_days": outcome}, max_events=50, timestamp_unit=None, facts={}
    )


def test_the_reward_model_counts_days_seen_and_forecasts_the_others(fn, log, outcome):
    events = log.events.collect().sample(fraction=1, shuffle=True, seed=1)
    day = events.select(local_day(log.timezone)).to_series().min() + 8
    found = reward_surrogate(fn, events, day=day, days=[0, 3, 7])
    zone = events.with_columns(local_day(log.timezone)).filter(pl.col("day") == day)
    assert found["user_id"].to_list() == sorted(set(zone["user_id"]))
    assert found.columns == ["user_id", "0", "3", "7"]
    known = events.with_columns(local_day(log.timezone))
    for user, none, three, seven in found.iter_rows():
        active = set(known.filter(pl.col("user_id") == user)["day"].to_list())
        assert seven == sum(day + ahead in active for ahead in range(1, 8))
        so_far = sum(day + ahead in active for ahead in range(1, 4))
        assert so_far < three < so_far + 4
        assert 0 < none < 7
    early = reward_surrogate(fn, known.filter(pl.col("day") <= day + 3).drop("day"), day=day, days=[3])
    assert early["3"].to_list() == pytest.approx(found["3"].to_list(), abs=1e-5)


def test_nobody_who_came_is_told(fn, log):
    with pytest.raises(ValueError, match="expected users with an event on day 0"):
        reward_surrogate(fn, log.events.collect(), day=0, days=[1])


def test_the_day_ends_at_the_logs_own_midnight(fn, log):
    # 23:30 in Paris in April is 21:30 UTC; 22:30 UTC is the next day's
    events = log.events.collect().head(2)
    moment = datetime(2024, 4, 5, 21, 30, tzinfo=UTC)
    day = (moment.date() - datetime(1970, 1, 1).date()).days
    rows = events.with_columns(
        user_id=pl.lit(1, events.schema["user_id"]),
        timestamp=pl.Series([moment, moment + timedelta(hours=1)]).cast(events.schema["timestamp"]),
        item_id=pl.Series([1, 2]).cast(events.schema["item_id"]),
    )
    assert reward_surrogate(fn, rows, day=day, days=[7])["7"].item() == 1
    assert reward_surrogate(fn, rows.head(1), day=day, days=[7])["7"].item() == 0
    assert reward_surrogate(fn, rows, day=day + 1, days=[0]).height == 1
    with pytest.raises(ValueError, match="expected users"):
        reward_surrogate(fn, rows.head(1), day=day + 1, days=[0])


def test_what_does_not_fit_is_told():
    past = np.zeros((5, 3), bool)
    with pytest.raises(ValueError, match="days expected from 0 to the horizon, 3, got 4"):
        auto_surrogate(past, 4, regression=ORDINARY)
    with pytest.raises(ValueError, match="at least 2 days, got 1"):
        auto_surrogate(past, 2, regression=ORDINARY)(past[:, :1])
    with pytest.raises(ValueError, match="a test, an arm and values for each row"):
        effects_by_test(np.zeros(4, int), np.ones(3, bool), np.zeros(4))
    with pytest.raises(ValueError, match="finite"):
        effects_by_test(np.zeros(4, int), np.arange(4) < 2, np.full(4, np.nan))
    with pytest.raises(ValueError, match="at least 2 users in each arm of each test, got 1"):
        effects_by_test(np.zeros(4, int), np.arange(4) < 1, np.zeros(4))
    with pytest.raises(ValueError, match="alpha must lie between 0 and 1"):
        launch_decisions(certain([1.0]), alpha=5)
    with pytest.raises(ValueError, match=r"early expected effects of 2 tests after 1 days, shape \(2, 1\)"):
        agreement(certain([1, 2]), {"early": certain([1, 2])}, [1], **FEW)
    with pytest.raises(ValueError, match=r"cluster expected a code for each of 2 tests, got shape \(3,\)"):
        agreement(certain([1, 2]), {"early": certain([[1], [2]])}, [1], cluster=np.arange(3), **FEW)
