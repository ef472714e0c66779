"""Weights of proxies, by hand, by a loop over pairs of users, and against a truth that is known."""

import numpy as np
import polars as pl
import pytest
from arms import BETA, simulated
from scipy.linalg import eigh

from reward.experiments.proxy_weights import METHODS, all_weights, jive, liml, naive, total_covariance
from reward.experiments.table import Experiments, from_users


def alike(effects, covariance, size=1.0):
    """Arms of one size and one covariance, each its own experiment."""
    effects = np.asarray(effects, float)
    arms = len(effects)
    many = np.broadcast_to(np.asarray(covariance, float), (arms, *np.shape(covariance))).copy()
    names = (*"abc"[: effects.shape[1] - 1], "north")
    return Experiments(names, np.arange(arms), effects, many, np.full(arms, size))


def test_noise_is_taken_out_of_the_slope_by_hand():
    # A = [[20, 24], [24, 32]] around means 0; noise adds 4 · [[1, .5], [.5, 1]] for five arms
    table = alike(
        [[-3, -4], [-1, 0], [0, 0], [1, 0], [3, 4]],
        [[1.0, 0.5], [0.5, 1.0]],
    )
    assert naive(table, "north").weights == pytest.approx([24 / 20])
    assert total_covariance(table, "north").weights == pytest.approx([22 / 16])
    assert jive(table, "north").weights == pytest.approx([22 / 16])
    assert naive(table, "north").strength == pytest.approx(20 / 4)


def test_liml_is_total_least_squares_where_noise_is_round():
    rng = np.random.default_rng(0)
    effects = rng.normal(size=(30, 3)) @ rng.normal(size=(3, 3))
    least = np.linalg.svd(effects - effects.mean(0))[2][-1]
    found = liml(alike(effects, 0.01 * np.eye(3)), "north").weights
    assert found == pytest.approx(-least[:2] / least[2])


def test_liml_is_the_least_direction_beyond_the_noise():
    table = simulated(1, uneven=0.7)
    w, total = table.size, table.size.sum()
    apart = table.effects - w @ table.effects / total
    spread = np.einsum("k,ka,kb->ab", w, apart, apart)
    noise = np.einsum("k,kab->ab", w - w**2 / total, table.covariance)
    least = eigh(spread, noise)[1][:, 0]
    assert liml(table, "north").weights == pytest.approx(-least[:2] / least[2])


def test_jive_is_what_pairs_of_different_users_say():
    rng = np.random.default_rng(2)
    rows = [
        {"experiment": e, "arm": arm, "user_id": f"{arm}{u}", "a": x, "north": 0.5 * x + rng.normal()}
        for e in range(8)
        for arm, shift in (("control", 0.0), ("treated", rng.normal()))
        for u in range(6 + e)
        for x in [shift + rng.normal()]
    ]
    table = from_users(pl.DataFrame(rows), ["a", "north"], control="control")
    products, weight, first, heavy = np.zeros((2, 2)), 0.0, np.zeros(2), np.zeros((2, 2))
    for e in range(8):
        arms = {
            arm: np.array([[r["a"], r["north"]] for r in rows if (r["experiment"], r["arm"]) == (e, arm)])
            for arm in ("control", "treated")
        }
        n, m = len(arms["treated"]), len(arms["control"])
        pairs = {
            arm: sum(np.outer(x, y) for i, x in enumerate(values) for j, y in enumerate(values) if i != j)
            / (len(values) * (len(values) - 1))
            for arm, values in arms.items()
        }
        treated, control = arms["treated"].mean(0), arms["control"].mean(0)
        crossed = np.outer(treated, control) + np.outer(control, treated)
        product, w = pairs["treated"] + pairs["control"] - crossed, n * m / (n + m)
        products += w * product
        first += w * (treated - control)
        heavy += w**2 * product
        weight += w
    # the square of the mean effect: of different arms by their means, of one arm by its pairs of users
    arms_mean = table.size[:, None] * table.effects
    between = np.outer(first, first) - arms_mean.T @ arms_mean + heavy
    spread = products - between / weight
    assert jive(table, "north").weights == pytest.approx([spread[0, 1] / spread[0, 0]])


def test_pooled_and_own_noise_agree_where_users_vary_alike_and_part_where_they_do_not():
    assert total_covariance(simulated(3), "north").weights == pytest.approx(jive(simulated(3), "north").weights)
    uneven = simulated(3, uneven=1.0)
    assert np.abs(total_covariance(uneven, "north").weights - jive(uneven, "north").weights).max() > 1e-4


def test_what_is_held_out_is_what_the_other_experiments_say():
    table = simulated(4, experiments=20, arms=2)
    for method in METHODS:
        found = method(table, "north")
        assert found.held_out.shape == (40, 2)
        for left_out in (0, 7):
            others = table.among(np.arange(20) != left_out)
            assert found.held_out[table.experiment == left_out] == pytest.approx(
                np.tile(method(others, "north").weights, (2, 1))
            )


def test_standard_errors_are_the_jackknifes():
    table = simulated(5, experiments=15, arms=2)
    for method in METHODS:
        without = np.array([method(table.among(np.arange(15) != g), "north").weights for g in range(15)])
        expected = np.sqrt(14 / 15 * ((without - without.mean(0)) ** 2).sum(0))
        assert method(table, "north").se == pytest.approx(expected)


def test_fiellers_interval_holds_the_weights_whose_difference_is_within_its_error():
    table = simulated(6, experiments=30)

    def share_and_spread(arms):
        w = arms.size
        apart = arms.effects - w @ arms.effects / w.sum()
        s = np.einsum("k,ka,kb->ab", w, apart, apart) - np.einsum("k,kab->ab", w - w**2 / w.sum(), arms.covariance)
        return s[0, 2] - s[0, 1] * s[1, 2] / s[1, 1], s[0, 0] - s[0, 1] ** 2 / s[1, 1]

    whole = share_and_spread(table)
    parts = np.array([share_and_spread(table.among(np.arange(30) != g)) for g in range(30)])
    found = jive(table, "north")
    for end in (found.low[0], found.high[0]):
        rest = parts[:, 0] - end * parts[:, 1]
        error = np.sqrt(29 / 30 * ((rest - rest.mean()) ** 2).sum())
        assert abs(whole[0] - end * whole[1]) / error == pytest.approx(2.0452, abs=1e-3)  # t(29) at 95%


def test_an_interval_is_unbounded_where_the_signal_cannot_be_told_from_noise():
    found = jive(simulated(3, experiments=12, strength=0.7), "north")
    assert found.strength < 2
    assert np.isinf(found.low).any()
    assert np.isinf(found.high).any()


def test_the_truth_is_recovered_where_the_naive_slope_is_not():
    for method in METHODS:
        mean = np.mean([method(simulated(seed), "north").weights for seed in range(40)], axis=0)
        if method is naive:
            assert abs(mean[0] - BETA[0]) > 0.2
        else:
            assert mean == pytest.approx(BETA, abs=0.05)


def test_the_unit_of_a_metric_is_the_unit_of_its_weight():
    table = simulated(7, uneven=0.5)
    scale = np.array([1000.0, 1.0, 0.5])
    other = Experiments(
        table.metrics, table.experiment, table.effects * scale, table.covariance * np.outer(scale, scale), table.size
    )
    for method in METHODS:
        one, two = method(table, "north"), method(other, "north")
        assert two.weights == pytest.approx(one.weights * [0.0005, 0.5])
        assert two.low == pytest.approx(one.low * [0.0005, 0.5])
        assert two.strength == pytest.approx(one.strength)


def test_the_methods_stand_side_by_side():
    found = all_weights(simulated(8), "north", ["b"])
    assert found["method"].to_list() == ["naive", "total covariance", "JIVE", "LIML"]
    assert found["signal"].to_list() == ["b"] * 4
    assert (found["low"] < found["weight"]).all()
    assert (found["weight"] < found["high"]).all()


def test_what_cannot_be_learned_is_an_error():
    with pytest.raises(ValueError, match="other metrics than the north star north"):
        jive(simulated(9), "north", ["north"])
    with pytest.raises(ValueError, match="at least 5 experiments, got 4"):
        jive(simulated(9, experiments=4), "north")
    with pytest.raises(ValueError, match="clicks expected to be of the metrics a, b, north"):
        jive(simulated(9), "north", ["clicks"])
    flat = alike(np.random.default_rng(0).normal(size=(12, 2)) * 0.1, np.eye(2))
    with pytest.raises(ValueError, match=r"JIVE expected effects on every combination of a.*strength 0\.0"):
        jive(flat, "north")
    with pytest.raises(ValueError, match="level must lie between 0 and 1"):
        jive(simulated(9), "north", level=95)
