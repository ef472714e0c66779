from datetime import UTC, datetime

import polars as pl
import pytest

from reward.data.validation import check
from reward.outcomes.activity import ActivityTrace
from reward.simulation.log import world_log

READ = {
    "feedback": ["click", "listen_ms", "skip", "like", "survey"],
    "context": ["surface", "platform"],
    "item_features": ["content_type", "creator_id", "minutes", "release_day", "embedding"],
    "session_gap_minutes": 30,
    "max_rejected_share": 0.0,
}


@pytest.fixture(scope="module")
def log(make_world):
    return world_log(make_world("cold_start"), seed=0, **READ)


@pytest.fixture(scope="module")
def events(log):
    return check(log).log.events.collect()


def test_a_simulated_log_passes_the_check_with_no_row_rejected(log, events):
    assert check(log).rejected.is_empty()
    assert events.height == log.events.collect().height > 10_000


def test_the_log_is_the_same_again_and_another_seed_makes_another(make_world, log):
    again = world_log(make_world("cold_start"), seed=0, **READ)
    assert again.events.collect().equals(log.events.collect())
    assert again.items.collect().equals(log.items.collect())
    other = world_log(make_world("cold_start"), seed=1, **READ)
    assert not other.events.collect().equals(log.events.collect())


def test_the_log_holds_what_a_service_would_know_and_no_more(log):
    assert set(log.events.collect_schema()) == {
        *("user_id", "item_id", "timestamp", "session_id", "request_id", "position", "propensity"),
        *("surface", "platform", "click", "listen_ms", "skip", "like", "survey"),
    }
    assert set(log.items.collect_schema()) == {
        *("item_id", "content_type", "creator_id", "minutes", "release_day", "embedding")
    }


def test_every_day_of_the_log_is_whole(log, events):
    assert log.end == datetime(2024, 1, 25, tzinfo=UTC)
    assert events["timestamp"].max() < log.end
    labelled = ActivityTrace(7).label(check(log).log, 19_723 + 24).collect()
    last_but_one = labelled.filter(pl.col("day") == 19_723 + 22)
    assert (last_but_one["observed"] == 1).all()


def test_rows_of_a_request_are_a_slate_and_of_a_session_a_sitting(events):
    slates = events.group_by("request_id").agg(
        pl.len(), pl.col("position").sort(), pl.col("item_id").n_unique().alias("items"), pl.col("user_id").n_unique()
    )
    assert (slates["len"] == 4).all()
    assert (slates["items"] == 4).all()
    assert (slates["user_id"] == 1).all()
    assert slates["position"].to_list() == [[0, 1, 2, 3]] * slates.height
    steps = events.with_columns(
        pl.col("timestamp").diff().over("session_id").dt.total_seconds().alias("step"),
        pl.col("position").diff().over("request_id").alias("down"),
    )
    assert steps["step"].drop_nulls().is_between(20, 12 * 60).all()
    assert (steps["down"].drop_nulls() == 1).all()
    apart = events.group_by("user_id", "session_id").agg(pl.col("timestamp").min().alias("t")).sort("user_id", "t")
    gaps = apart.select(pl.col("t").diff().over("user_id").dt.total_minutes())["t"].drop_nulls()
    assert gaps.min() > 30


def test_feedback_hangs_together(events):
    quiet = events.filter(pl.col("click") == 0)
    assert quiet.select(pl.max_horizontal("listen_ms", "skip", "like", "survey").max()).item() == 0
    clicked = events.filter(pl.col("click") == 1)
    assert 0.1 < clicked.height / events.height < 0.4
    assert clicked.filter((pl.col("skip") == 1) & (pl.col("like") == 1)).is_empty()
    assert 0 < clicked["like"].mean() < 0.3
    assert set(events["survey"].unique()) == {0, 1, 2, 3, 4, 5}


def test_an_item_is_shown_from_the_day_of_its_release(log, events):
    first = events.group_by("item_id").agg(pl.col("timestamp").min().dt.date().alias("first"))
    shown = first.join(log.items.collect(), on="item_id")
    assert shown.height == first.height
    start = pl.lit(datetime(2024, 1, 1)).dt.date()
    assert shown.select(((pl.col("first") - start).dt.total_days() >= pl.col("release_day")).all()).item()
    assert (shown["release_day"] > 0).sum() > 5


def test_the_hidden_world_logs_no_propensity(make_world):
    hidden = world_log(make_world("hidden", users=50), seed=0, **READ)
    assert "propensity" not in hidden.events.collect_schema()
    assert check(hidden).rejected.is_empty()
