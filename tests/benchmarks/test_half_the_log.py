"""The benchmark of temporal consistency on halves of a log, in little."""

import numpy as np
import polars as pl
import pytest


@pytest.fixture
def half_the_log(benchmark):
    return benchmark("half_the_log")


def losses(per_day, validation, users=50, days=4.0):
    spread = np.linspace(0.9, 1.1, users)
    return {"loss": per_day * spread * days, "days": np.full(users, days), "validation": np.array(validation)}


def test_lambda_is_chosen_seed_by_seed_on_validation_and_the_difference_is_within_users(half_the_log):
    whole = {1.0: [losses(0.50, 9.0)] * 2, 0.5: [losses(0.48, 8.0)] * 2}
    half = {
        1.0: [losses(0.60, 9.0)] * 2,
        0.5: [losses(0.55, 8.0), losses(0.10, 8.5)],  # the second is better on the test days, and is not taken
        0.9: [losses(0.20, 8.1), losses(0.53, 8.4)],
    }
    found = half_the_log.judged({"whole": whole, "half the users": half})
    assert [half_the_log.chosen_lambda(half, seed) for seed in range(2)] == [0.5, 0.9]
    assert found["half the users, TD"][0] == pytest.approx(0.54)
    assert found["half the users: TD less labels"][0] == pytest.approx(-0.06)
    value, low, high = found["half the users, TD, less whole, labels"]
    assert value == pytest.approx(0.04)
    assert low < value < high
    assert found["whole: TD less labels"][0] == pytest.approx(-0.02)


def test_logs_that_each_seed_draws_are_of_different_users(half_the_log):
    mine = [losses(0.5, 1.0, users=50), losses(0.7, 1.0, users=30)]
    found = half_the_log.judged({"whole": {1.0: mine, 0.5: mine}}, drawn_anew=True)
    assert found["whole, labels"][0] == pytest.approx((50 * 0.5 + 30 * 0.7) / 80)
    twice = {"whole": {1.0: [losses(0.5, 1.0)] * 2, 0.5: [losses(0.5, 1.0)] * 2}}
    apart, same = (half_the_log.judged(twice, drawn_anew=anew)["whole, labels"] for anew in (True, False))
    assert apart[0] == pytest.approx(same[0])
    assert apart[2] - apart[1] < 0.9 * (same[2] - same[1])


def test_users_without_a_test_day_count_for_nothing(half_the_log):
    days = np.array([4.0, 0.0, 2.0])
    found = half_the_log.estimates({"one": np.array([4.0, 0.0, 4.0])}, days)
    assert found["one"][0] == pytest.approx(8 / 6)


def test_a_half_has_half_the_users_or_the_later_half_of_the_training_days(half_the_log, log, windows_of_time):
    users, window = half_the_log.part_of(log, windows_of_time, half_the_log.USERS, 0)
    everybody, mine = (set(it.events.collect()["user_id"]) for it in (log, users))
    assert mine < everybody
    assert len(mine) == pytest.approx(len(everybody) / 2, abs=1)
    assert window == windows_of_time
    later, window = half_the_log.part_of(log, windows_of_time, half_the_log.DAYS, 0)
    assert window.start - windows_of_time.start == (windows_of_time.train_end - windows_of_time.start) // 2
    assert (window.train_end, window.end) == (windows_of_time.train_end, windows_of_time.end)
    first = later.events.select(pl.col("timestamp").dt.convert_time_zone(log.timezone).dt.date().min()).collect().item()
    assert (first - np.datetime64("1970-01-01").item()).days >= window.start
    assert half_the_log.part_of(log, windows_of_time, half_the_log.WHOLE, 0) == (log, windows_of_time)
