import numpy as np
import pytest

from reward.statistics.unit_bootstrap import interval, ratio, unit_weights

SETTING = {"resamples": 300, "seed": 0, "level": 0.95}


def clustered_values(generator, users=40, rows_each=8):
    """Values around 0 that a user's rows share the larger part of, and whose they are."""
    user = np.repeat(np.arange(users), rows_each)
    shared = generator.normal(size=users)
    return shared[user] + 0.5 * generator.normal(size=user.size), user


def mean(values, user):
    return ratio(values[:, None], np.ones((values.size, 1)), user)


def test_each_resample_draws_as_many_units_as_there_are():
    weights = np.stack(list(unit_weights(50, resamples=400, seed=0)))
    assert weights.shape == (400, 50)
    np.testing.assert_array_equal(weights.sum(axis=1), 50)
    np.testing.assert_array_equal(weights, np.round(weights))
    assert weights.min() == 0
    # each count is binomial with mean 1 and variance 1 − 1/50
    assert weights.mean(axis=0) == pytest.approx(np.ones(50), abs=0.25)
    assert weights.var() == pytest.approx(0.98, abs=0.05)


def test_a_seed_fixes_the_resamples_and_another_changes_them():
    first, again, other = (np.stack(list(unit_weights(9, resamples=5, seed=seed))) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_a_ratio_sums_by_unit_before_it_divides():
    numerator = np.array([[1.0, 2.0], [3.0, 0.0], [5.0, 7.0]])
    denominator = np.array([[1.0, 1.0], [1.0, 0.0], [2.0, 4.0]])
    statistic = ratio(numerator, denominator, np.array([1, 0, 1]))
    # user 0: [3, 0] / [1, 0]; user 1: [6, 9] / [3, 5]
    np.testing.assert_allclose(statistic(np.array([2.0, 1.0])), [(2 * 3 + 6) / (2 + 3), 9 / 5])
    np.testing.assert_allclose(statistic(np.array([1.0, 0.0])), [3.0, np.nan])


def test_the_ends_are_quantiles_over_the_resamples():
    values, user = clustered_values(np.random.default_rng(1))
    statistic = mean(values, user)
    draws = np.array([statistic(weights)[0] for weights in unit_weights(40, resamples=300, seed=0)])
    low, high = interval(statistic, 40, **SETTING)
    np.testing.assert_allclose([low[0], high[0]], np.quantile(draws, [0.025, 0.975]))
    narrow_low, narrow_high = interval(statistic, 40, **(SETTING | {"level": 0.5}))
    assert low < narrow_low < narrow_high < high


def test_the_same_seed_gives_the_same_interval():
    values, user = clustered_values(np.random.default_rng(2))
    assert interval(mean(values, user), 40, **SETTING) == interval(mean(values, user), 40, **SETTING)


def test_a_statistic_of_row_weights_agrees_with_sums_by_unit():
    values, user = clustered_values(np.random.default_rng(3))
    by_rows = interval(lambda weights: np.average(values, weights=weights[user]), 40, **SETTING)
    by_sums = interval(mean(values, user), 40, **SETTING)
    np.testing.assert_allclose(by_rows, np.ravel(by_sums))


def test_resampling_units_covers_the_true_mean_where_resampling_rows_does_not():
    generator = np.random.default_rng(4)
    covered = {"units": 0, "rows": 0}
    repetitions = 200
    for _ in range(repetitions):
        values, user = clustered_values(generator)
        for unit, of_row in (("units", user), ("rows", np.arange(values.size))):
            low, high = interval(mean(values, of_row), of_row.max() + 1, **SETTING)
            covered[unit] += bool(low[0] <= 0 <= high[0])
    assert 0.90 <= covered["units"] / repetitions <= 0.99
    assert covered["rows"] / repetitions < 0.75


def test_the_ends_are_nan_where_a_resample_has_no_value_and_only_there():
    statistic = ratio([[1.0, 1.0], [1.0, 2.0]], [[1.0, 1.0], [0.0, 1.0]], np.array([0, 1]))
    low, high = interval(statistic, 2, **SETTING)
    np.testing.assert_array_equal(np.isnan([low, high]), [[True, False]] * 2)


def test_the_ends_are_nan_where_a_resample_is_infinite():
    low, high = interval(ratio([[np.inf], [1.0]], [[1.0], [1.0]], np.array([0, 1])), 2, **SETTING)
    assert np.isnan([low, high]).all()


@pytest.mark.parametrize("units", [0, 1])
def test_fewer_than_two_units_cannot_be_resampled(units):
    with pytest.raises(ValueError, match=f"at least 2 of them, got {units}"):
        unit_weights(units, resamples=10, seed=0)


def test_no_resample_is_refused():
    with pytest.raises(ValueError, match="resamples must be at least 1, got 0"):
        unit_weights(5, resamples=0, seed=0)


@pytest.mark.parametrize("level", [0.0, 1.0, 95])
def test_a_level_outside_the_unit_interval_is_refused(level):
    with pytest.raises(ValueError, match=f"level must lie between 0 and 1, got {level}"):
        interval(lambda weights: weights.sum(), 5, **(SETTING | {"level": level}))
