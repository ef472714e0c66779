"""The benchmark of the stream's forecast as the second stage's baseline, in little."""

import numpy as np
import pytest

from reward.data.days import local_day
from reward.scoring.function import RewardFunction


@pytest.fixture
def stream_baseline(benchmark):
    return benchmark("stream_baseline")


def test_each_user_day_is_forecast_from_its_first_query(stream_baseline, network_of, features, log, outcome):
    network = network_of()
    found = stream_baseline.first_queries(network, features, log, 16)
    function = RewardFunction(network, features, {"active_days": outcome}, max_events=16, timestamp_unit=None, facts={})
    scored = function.score_events(log.events.collect()).with_columns(local_day(log.timezone))
    first = scored.sort("timestamp", maintain_order=True).unique(["user_id", "day"], keep="first")
    both = found.join(first, on=["user_id", "day"], how="full", validate="1:1")
    assert len(both) == len(found) == len(first)
    assert both["forecast"].list.len().unique().to_list() == [outcome.horizon_days]
    np.testing.assert_allclose(both["forecast"].list.sum(), both["value_before"], rtol=1e-4)


def test_differences_are_within_a_log_and_their_interval_is_student_s(stream_baseline):
    logs = [("one", {"Pearson": {"linear": 0.5, "stream": 0.6}}), ("two", {"Pearson": {"linear": 0.7, "stream": 0.9}})]
    rows = {(row["what"], row["metric"]): row for row in stream_baseline.rows_of(logs)}
    assert rows["one", "Pearson, difference"]["ours"] == pytest.approx(0.1)
    assert rows["one", "Pearson, difference"]["se"] is None
    assert rows["all logs", "Pearson, difference"]["ours"] == pytest.approx(0.15)
    assert rows["all logs", "Pearson, difference"]["se"] == pytest.approx(0.05)
    assert rows["all logs", "Pearson, difference, high"]["ours"] == pytest.approx(0.15 + 12.706 * 0.05, abs=1e-3)


def test_items_are_held_against_the_truth_where_there_are_exposures_enough(stream_baseline):
    truth = {"mean": np.array([1.0, 2.0, 3.0, np.nan, 9.0])}
    made = {
        "exposures": np.array([300, 300, 300, 300, 10]),
        "linear residual": np.array(2.5),
        "linear learned reward": np.array([3.0, 2.0, 1.0, 0.0, 50.0]),
        "stream learned reward": np.array([1.0, 2.0, 3.0, 0.0, -50.0]),
    }
    assert stream_baseline.judged(truth, made) == {
        "residual standard deviation, days": {"linear": 2.5},
        "Pearson, learned reward": {"linear": pytest.approx(-1), "stream": pytest.approx(1)},
    }
