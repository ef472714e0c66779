import numpy as np
import pytest

from reward.causal.user_effects.g_estimation import Moments, g_estimates, held_out_g_estimates
from reward.statistics.sums import total

FOLDS, CLUSTERS, EACH = 4, 80, 60


def exposures(truth, seed=0, noise=1.0):
    """What is shown hangs on the user, who is active for reasons of their own: only the contrast is clean."""
    rng = np.random.default_rng(seed)
    cluster = np.repeat(np.arange(CLUSTERS), EACH)
    user = rng.normal(size=CLUSTERS)[cluster]
    usual = np.stack([user, rng.normal(size=len(user)), np.ones(len(user))], axis=1)
    beyond = rng.normal(size=(len(user), 3)) * [1.0, 0.5, 0.2]
    columns = usual + beyond
    value = columns @ truth + 3 * user + noise * rng.normal(size=len(user))
    return columns, beyond, rng.uniform(0.5, 1.5, len(user)), value, cluster


def moments_of(parts, pieces=1):
    fold = np.arange(CLUSTERS) % FOLDS
    some = np.array_split(np.arange(len(parts[0])), pieces)
    return total(Moments.of(*(part[rows] for part in parts), fold) for rows in some)


def test_pieces_add_up_to_the_sums_over_all():
    parts = exposures(np.zeros(3))
    columns, beyond, weight, value, cluster = parts
    whole, pieces = moments_of(parts), moments_of(parts, 7)
    np.testing.assert_allclose(whole.gram, pieces.gram)
    np.testing.assert_allclose(whole.moment, pieces.moment)
    mine = cluster == 3
    np.testing.assert_allclose(whole.gram[3], (beyond[mine] * weight[mine, None]).T @ columns[mine])
    np.testing.assert_allclose(whole.moment[3], (beyond[mine] * weight[mine, None]).T @ value[mine])
    np.testing.assert_allclose(whole.squares, (weight[:, None] * beyond**2).sum(0))


def test_coefficients_are_found_although_the_users_differ():
    truth = np.array([1.0, -0.5, 0.3])
    found = g_estimates(moments_of(exposures(truth)), np.zeros(3))
    se = np.sqrt(np.diag(found.covariance))
    assert (np.abs(found.coefficients - truth) < 4 * se + 0.02).all()
    assert (se > 0).all()


def test_intervals_hold_the_truth_as_often_as_they_say():
    inside, truth = [], np.array([0.1, -0.1, 0.1])
    for seed in range(60):
        found = g_estimates(moments_of(exposures(truth, seed)), np.zeros(3))
        inside.append(np.abs(found.coefficients - truth) < 1.96 * np.sqrt(np.diag(found.covariance)))
    assert 0.85 <= np.mean(inside) <= 1.0


def test_where_nothing_is_beyond_what_was_expected_the_expectation_stays():
    expected = np.array([0.4, 0.0, 0.0])
    found = g_estimates(moments_of(exposures(expected, seed=3)), expected)
    plain = g_estimates(moments_of(exposures(expected + 0.5, seed=3)), expected)
    assert found.spread < plain.spread
    assert np.abs(found.coefficients - expected).max() < 0.1


def test_a_column_that_never_varies_keeps_its_expectation_and_is_no_division_by_0():
    columns, beyond, weight, value, cluster = exposures(np.zeros(3))
    beyond[:, 1] = 0
    found = g_estimates(moments_of((columns, beyond, weight, value, cluster)), np.array([0.0, 7.0, 0.0]))
    assert found.coefficients[1] == 7.0
    assert np.isfinite(found.covariance).all()
    none = g_estimates(Moments.none(3, np.arange(4)), np.array([1.0, 2.0, 3.0]))
    assert none.coefficients.tolist() == [1.0, 2.0, 3.0]


def test_users_held_out_bear_out_what_is_true_and_not_what_is_not():
    truth = np.array([1.0, -0.5, 0.3])
    moments = moments_of(exposures(truth))
    apart = np.stack([g_estimates(moments, np.zeros(3), without=fold).coefficients for fold in range(FOLDS)])
    found = held_out_g_estimates(moments, apart)
    assert found.slope == pytest.approx(1.0, abs=3 * found.se)
    assert found.se < 0.1
    known = np.where([True, False, False], apart, 0)
    rest = held_out_g_estimates(moments, apart - known, known)
    assert rest.slope == pytest.approx(1.0, abs=3 * rest.se)
    assert held_out_g_estimates(moments, 2 * apart).slope == pytest.approx(found.slope / 2)
    assert held_out_g_estimates(moments, np.zeros((FOLDS, 3))).se == np.inf
