"""Tests of differences, against NumPy; cohorts, sizes and the covariate."""

import sys
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from scipy import stats

from reward.experiments.comparison import compare, join_cohorts, predicted_before, sample_ratio
from reward.experiments.confidence import spending_bounds
from reward.scoring.function import RewardFunction

HERE = {"control": "off", "treated": "on"}


@pytest.fixture
def confidence():
    """Tests of differences are called from spotify-confidence."""
    return pytest.importorskip("spotify_confidence", exc_type=ImportError)


def users(seed=0, n=400, m=300, effect=0.0):
    rng = np.random.default_rng(seed)
    x = rng.gamma(2.0, size=n + m)
    y = rng.poisson(x) + effect * (np.arange(n + m) >= n)
    return pl.DataFrame({"arm": ["off"] * n + ["on"] * m, "days": y, "before": x, "user_id": np.arange(n + m)})


def test_a_plain_difference_is_welchs(confidence):
    frame = users(effect=0.2)
    found = compare(frame, "days", **HERE)
    on, off = (frame.filter(pl.col("arm") == arm)["days"].to_numpy() for arm in ("on", "off"))
    welch = stats.ttest_ind(on, off, equal_var=False)
    assert found.effect == pytest.approx(on.mean() - off.mean(), abs=1e-12)
    assert found.p_value == pytest.approx(welch.pvalue, abs=1e-9)
    low, high = welch.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-9)


def test_an_adjusted_difference_is_the_difference_of_residuals(confidence):
    frame = users(effect=0.2)
    found = compare(frame, "days", **HERE, covariate="before")
    y, x, on = frame["days"].to_numpy(), frame["before"].to_numpy(), (frame["arm"] == "on").to_numpy()
    rest = y - np.polyfit(x, y, 1)[0] * x
    assert found.effect == pytest.approx(rest[on].mean() - rest[~on].mean(), abs=1e-9)
    assert found.se == pytest.approx(
        np.sqrt(rest[on].var(ddof=1) / on.sum() + rest[~on].var(ddof=1) / (~on).sum()), rel=2e-3
    )
    assert found.se < 0.8 * compare(frame, "days", **HERE).se


def test_a_user_without_a_past_is_taken_as_an_average_one(confidence):
    frame = users()
    few = frame.with_columns(pl.when(pl.col("user_id") % 5 == 0).then(None).otherwise("before").alias("before"))
    mean = few["before"].mean()
    assert compare(few, "days", **HERE, covariate="before") == pytest.approx(
        compare(few.with_columns(pl.col("before").fill_null(mean)), "days", **HERE, covariate="before")
    )


def test_where_the_covariate_starts_changes_nothing(confidence):
    frame = users()
    far = frame.with_columns(pl.col("before") + 1e6)
    one, two = (compare(each, "days", **HERE, covariate="before") for each in (frame, far))
    assert one == pytest.approx(two, rel=1e-6)


def test_sizes_are_pearsons(confidence):
    frame = pl.DataFrame({"arm": ["off"] * 1000 + ["on"] * 1100})
    expected = stats.chisquare([1000, 1100]).pvalue
    assert sample_ratio(frame, {"off": 0.5, "on": 0.5}) == pytest.approx(expected, abs=1e-9)


def test_cohorts_are_joined_by_hand():
    joined = join_cohorts([1.0, 2.0], [1.0, 0.5])
    assert joined.effect == pytest.approx(9 / 5)
    assert joined.se == pytest.approx(np.sqrt(1 / 5))
    assert joined.high - joined.effect == pytest.approx(1.959964 * np.sqrt(1 / 5))
    assert joined.spread == pytest.approx(stats.chi2.sf(0.8**2 + 0.2**2 * 4, 1))
    assert join_cohorts([1.0], [2.0]).spread == 1.0


def test_cohorts_joined_are_one_test_where_they_are_alike(confidence):
    frame = users(n=6000, m=6000)
    parts = [compare(frame.filter(pl.col("user_id") % 4 == cohort), "days", **HERE) for cohort in range(4)]
    joined, whole = join_cohorts([p.effect for p in parts], [p.se for p in parts]), compare(frame, "days", **HERE)
    assert joined.effect == pytest.approx(whole.effect, abs=0.3 * whole.se)
    assert joined.se == pytest.approx(whole.se, rel=0.02)


def test_what_was_predicted_before_reads_nothing_of_the_test(log, network_of, features, outcome):
    fn = RewardFunction(network_of(), features, {"active_days": outcome}, max_events=16, timestamp_unit=None, facts={})
    events = log.events.filter(pl.col("user_id") < 10).collect()
    moment = events["timestamp"].sort()[len(events) // 2]
    enrolment = pl.DataFrame({"user_id": [7, 3, 999, 5, 1]}).with_columns(
        pl.lit(moment).cast(events.schema["timestamp"]).alias("timestamp")
    )
    found = predicted_before(fn, events, enrolment)
    assert found["user_id"].to_list() == [7, 3, 999, 5, 1]
    changed = events.with_columns(
        pl.when(pl.col("timestamp") >= moment).then(1 - pl.col("click")).otherwise("click").alias("click")
    )
    assert found.equals(predicted_before(fn, changed, enrolment))
    assert found.equals(predicted_before(fn, events.filter(pl.col("timestamp") < moment), enrolment))
    before = events.filter((pl.col("user_id") == 3) & (pl.col("timestamp") < moment))
    assert found["predicted"][1] == pytest.approx(fn.score_events(before)["value_after"][-1])
    assert found["predicted"][2] is None
    early = enrolment.with_columns(pl.col("timestamp") - timedelta(days=900))
    assert predicted_before(fn, events, early)["predicted"].null_count() == 5
    with pytest.raises(ValueError, match="one row a user"):
        predicted_before(fn, events, pl.concat([enrolment, enrolment]))
    with pytest.raises(ValueError, match=r"timestamps as those of the events, .* got Date: cast them"):
        predicted_before(fn, events, enrolment.with_columns(pl.col("timestamp").dt.date()))


def test_a_test_that_cannot_be_read_is_an_error():
    frame = users()
    with pytest.raises(ValueError, match="the frame has no weeks"):
        compare(frame, "weeks", **HERE)
    with pytest.raises(ValueError, match="arm hot expected at least 2 users, got 0"):
        compare(frame, "days", control="off", treated="hot")
    with pytest.raises(ValueError, match="got 700 without: leave out users whose horizon is open"):
        compare(frame.with_columns(days=None), "days", **HERE)
    with pytest.raises(ValueError, match="before expected to differ between users, got 1 values"):
        compare(frame.with_columns(before=1.0), "days", **HERE, covariate="before")
    with pytest.raises(ValueError, match="shares that sum to 1 for the arms off, on"):
        sample_ratio(frame, {"off": 0.5, "hot": 0.5})
    with pytest.raises(ValueError, match="a positive standard error for each cohort"):
        join_cohorts([1.0, 2.0], [1.0, 0.0])


def test_without_the_library_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "spotify_confidence", None)
    with pytest.raises(ImportError, match=r"pip install 'reward\[experiments\]'"):
        compare(users(), "days", **HERE)


@pytest.mark.parametrize("level", [0, 1e6, 1e8, 1e9, 1e10])
@pytest.mark.parametrize("unit", [1e-150, 1.0, 1e150])
def test_where_a_metric_starts_and_its_unit_change_nothing(confidence, level, unit):
    frame = users(effect=0.2).with_columns(pl.col("days").cast(pl.Float64))
    far = frame.with_columns((pl.col("days") + level) * unit)
    for covariate in (None, "before"):
        one, two = (compare(each, "days", **HERE, covariate=covariate) for each in (frame, far))
        assert np.array(two[:4]) / unit == pytest.approx(one[:4], rel=1e-3)
        assert two.p_value == pytest.approx(one.p_value, rel=1e-3)


@pytest.mark.parametrize(("off", "on"), [(0.0, 0.0), (0.0, 1.0), (3.0, 3.0 + 1e9)])
def test_arms_that_do_not_vary_are_refused(confidence, off, on):
    frame = pl.DataFrame({"arm": ["off"] * 50 + ["on"] * 50, "days": [off] * 50 + [on] * 50})
    with pytest.raises(ValueError, match="days expected users who differ within an arm"):
        compare(frame, "days", **HERE)


def test_one_arm_that_varies_is_enough(confidence):
    frame = pl.DataFrame({"arm": ["off"] * 50 + ["on"] * 50, "days": [0.0] * 50 + [0.0, 1.0] * 25})
    assert np.isfinite(compare(frame, "days", **HERE)).all()


def test_a_covariate_that_is_the_metric_leaves_nothing_to_test(confidence):
    frame = users().with_columns(before="days")
    with pytest.raises(ValueError, match="days expected users who differ beyond what before says of them"):
        compare(frame, "days", **HERE, covariate="before")


def test_a_covariate_that_is_nan_is_unknown_and_one_that_is_infinite_is_refused(confidence):
    frame = users().with_columns(pl.when(pl.col("user_id") % 5 == 0).then(None).otherwise("before").alias("before"))
    as_nan = frame.with_columns(pl.col("before").fill_null(np.nan))
    one, two = (compare(each, "days", **HERE, covariate="before") for each in (frame, as_nan))
    assert one == two
    with pytest.raises(ValueError, match="before expected finite numbers, or null where nothing is known, got 140"):
        compare(frame.with_columns(pl.col("before").fill_null(np.inf)), "days", **HERE, covariate="before")


@pytest.mark.parametrize("alpha", [0, 1, 1.5, 5, -0.1, np.nan, np.inf])
def test_a_level_of_a_test_lies_between_0_and_1(alpha):
    with pytest.raises(ValueError, match="alpha must lie between 0 and 1"):
        compare(users(), "days", **HERE, alpha=alpha)


def test_arms_may_be_numbered(confidence):
    frame = users(effect=0.2)
    numbered = frame.with_columns(pl.col("arm").replace_strict({"off": 0, "on": 1}, return_dtype=pl.Int64))
    assert compare(numbered, "days", control="0", treated="1") == compare(frame, "days", **HERE)
    assert sample_ratio(numbered, {0: 4 / 7, 1: 3 / 7}) == pytest.approx(1)
    with pytest.raises(ValueError, match="expected two arms to compare, got '0' twice"):
        compare(numbered, "days", control="0", treated="0")


@pytest.mark.parametrize("shares", [{"off": 1.5, "on": -0.5}, {"off": 1.0, "on": 0.0}, {"off": np.nan, "on": 0.5}])
def test_shares_are_above_0(shares):
    with pytest.raises(ValueError, match="each above 0"):
        sample_ratio(users(), shares)


def test_a_column_of_text_is_named():
    with pytest.raises(ValueError, match=r"metrics that are numbers, got days \(String\)"):
        compare(users().with_columns(days=pl.lit("se")), "days", **HERE)


def test_what_the_library_cannot_do_is_said_in_our_words(confidence):
    with pytest.raises(ValueError, match=r"these numbers cannot be tested \(spotify-confidence"):
        spending_bounds([0.001, 1.0], alpha=0.048)
