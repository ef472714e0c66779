"""The benchmark of habits, in little: what it takes for the truth, by another road."""

import numpy as np
import pytest


@pytest.fixture
def habits(benchmark):
    return benchmark("habits")


def simulated(habits, world, habit, rng):
    """Days back to each show by playing the next days, (users, shows)."""
    total = np.zeros(habit.shape)
    for _ in range(habits.HORIZON_DAYS):
        habit = habit & (rng.random(habit.shape) >= habits.ENDS)
        visits = rng.random((len(habit), 1)) < world.visits[:, None]
        shown = visits & (rng.random(habit.shape) < habits.SLATE / habits.SHOWS)
        click = shown & (rng.random(habit.shape) < world.taken)
        total += click | (habit & (rng.random(habit.shape) < habits.RETURNS))
        habit = habit | (click & (rng.random(habit.shape) < world.formed))
    return total


def test_expected_days_back_are_those_of_the_days_played(habits):
    world = habits.service(40, 10, seed=0)
    rng = np.random.default_rng(1)
    for now in (world.habit, np.ones_like(world.habit)):
        played = np.mean([simulated(habits, world, now, rng) for _ in range(150)], axis=0)
        expected = habits.days_back(world, now.astype(float))
        assert played.mean() == pytest.approx(expected.mean(), rel=0.02)
        slope = np.polyfit(expected.ravel(), played.ravel(), 1)[0]
        assert slope == pytest.approx(1, abs=0.2)


def test_showing_does_nothing_to_those_who_have_the_habit_and_most_where_it_forms(habits):
    world = habits.service(60, 20, seed=0)
    effect = habits.truth(world)
    assert world.habit.any()
    assert np.allclose(effect[world.habit], 0)
    others = ~world.habit
    assert (effect[others] > 0).all()
    assert np.corrcoef(effect[others], (world.taken * world.formed)[others])[0, 1] > 0.95


def test_the_log_has_what_happened_once(habits):
    events = habits.service(30, 12, seed=3).events
    assert events.select("user_id", "item_id", "timestamp").is_duplicated().sum() == 0
    assert set(events["surface"]) == {"home", "library"}
    assert events.filter(surface="library")["click"].all()


def test_the_truth_is_the_best_score_of_itself(habits):
    true = np.random.default_rng(0).random((5, habits.SHOWS))
    found = habits.judged(true, 2 * true)
    assert found["Pearson"] == pytest.approx(1)
    assert found["slope of the truth"] == pytest.approx(0.5, rel=0.01)
    assert found[f"worth of the first {habits.PICKS}"] == pytest.approx(1)
