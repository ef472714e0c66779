"""Arms shrunk to what is usual among them: right where theory says what is right, better than the raw estimates."""

import numpy as np
import pytest

from reward.experiments.shrinkage import shrink


def drawn(seed, arms=400, *, tails="normal", spread=0.5, noise=(0.5, 2.0)):
    rng = np.random.default_rng(seed)
    own = {"normal": rng.standard_normal, "student": lambda n: rng.standard_t(3, n) / np.sqrt(3)}[tails](arms)
    if tails == "student":
        own = np.where(rng.random(arms) < 0.8, 0.0, own * np.sqrt(5))  # four of five do nothing
    effect, se = spread * own, rng.uniform(*noise, arms)
    return effect, effect + se * rng.standard_normal(arms), se


def error(found, effect):
    return np.mean((found - effect) ** 2)


@pytest.mark.parametrize("seed", [1, 3])
def test_normal_effects_are_shrunk_as_the_normal_prior_says(seed):
    effect, estimate, se = drawn(seed, 2000)
    known = estimate * 0.25 / (0.25 + se**2)
    found = shrink(estimate, se)
    assert error(found.mean, effect) < 1.04 * error(known, effect)
    assert np.corrcoef(found.mean, known)[0, 1] > 0.98
    assert found.reliability.mean() == pytest.approx((0.25 / (0.25 + se**2)).mean(), abs=0.05)


@pytest.mark.parametrize("tails", ["normal", "student"])
@pytest.mark.parametrize("seed", [1, 3])
def test_intervals_hold_the_effects_as_often_as_they_say(tails, seed):
    effect, estimate, se = drawn(seed, 1500, tails=tails)
    found = shrink(estimate, se)
    covered = np.abs(found.mean - effect) <= 1.96 * found.std
    assert 0.92 < covered.mean() < 0.985


@pytest.mark.parametrize("seed", [1, 3])
def test_a_few_large_effects_are_not_pulled_in_by_the_many(seed):
    effect, estimate, se = drawn(seed, 1000, tails="student", spread=3.0, noise=(0.8, 1.2))
    normal = np.maximum(np.var(estimate) - np.mean(se**2), 0)
    linear = estimate.mean() + normal / (normal + se**2) * (estimate - estimate.mean())
    found = shrink(estimate, se).mean
    assert error(found, effect) < 0.85 * error(linear, effect)
    assert error(found, effect) < 0.6 * error(estimate, effect)


def test_where_nothing_works_everything_shrinks_to_nothing():
    rng = np.random.default_rng(1)
    se = rng.uniform(0.5, 2.0, 500)
    estimate = se * rng.standard_normal(500)
    assert np.mean(shrink(estimate, se).mean ** 2) < 0.03 * np.mean(estimate**2)


@pytest.mark.parametrize("seed", [1, 3])
def test_groups_and_features_tell_of_arms_that_are_hardly_measured(seed):
    rng = np.random.default_rng(seed)
    group, known = rng.integers(0, 40, 600), rng.normal(size=600)
    effect = 0.3 + 0.5 * known + rng.normal(0, 0.6, 40)[group] + rng.normal(0, 0.2, 600)
    se = np.full(600, 1.0)
    estimate = effect + se * rng.standard_normal(600)
    alone, grouped, both = (
        shrink(estimate, se, **it)
        for it in ({}, {"groups": group}, {"groups": [f"g{it}" for it in group], "features": known})
    )
    assert error(both.mean, effect) < 0.7 * error(grouped.mean, effect)
    assert error(grouped.mean, effect) < 0.95 * error(alone.mean, effect)
    assert both.coefficients == pytest.approx([0.3, 0.5], abs=0.25)
    assert both.group_std == pytest.approx(0.6, abs=0.2)
    assert np.mean(np.abs(both.mean - effect) <= 1.96 * both.std) == pytest.approx(0.95, abs=0.035)


def test_a_scale_lets_tests_of_other_units_be_read_together():
    _, estimate, se = drawn(3)
    unit = np.where(np.arange(len(se)) % 2, 1000.0, 1.0)
    plain, scaled = shrink(estimate, se), shrink(unit * estimate, unit * se, scale=unit)
    assert scaled.mean == pytest.approx(unit * plain.mean, rel=1e-6)
    assert scaled.std == pytest.approx(unit * plain.std, rel=1e-6)
    assert scaled.reliability == pytest.approx(plain.reliability)


def test_it_does_not_depend_on_the_unit_the_order_or_the_sign():
    _, estimate, se = drawn(5, 100)
    found, order = shrink(estimate, se), np.random.default_rng(0).permutation(100)
    assert shrink(1e-6 * estimate, 1e-6 * se).mean == pytest.approx(1e-6 * found.mean, rel=1e-4)
    assert shrink(estimate[order], se[order]).mean == pytest.approx(found.mean[order], rel=1e-6, abs=1e-9)
    assert shrink(-estimate, se).mean == pytest.approx(-found.mean, rel=1e-6, abs=1e-9)


def test_an_arm_that_is_known_for_sure_stays_what_it_is():
    _, estimate, se = drawn(1, 50)
    se[0], estimate[0] = 1e-6, 0.7
    found = shrink(estimate, se)
    assert found.mean[0] == pytest.approx(0.7, abs=1e-4)
    assert found.std[0] < 1e-5
    assert found.table().height == 50


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"estimate": [1.0, 2.0]}, "of one shape"),
        ({"estimate": [1.0, 2.0], "se": [1.0, 1.0]}, "3 arms or more"),
        ({"se": [1.0, 0.0, 1.0]}, r"se expected finite numbers from 1e-50 to 1e\+50, got 0.0 at \(1,\)"),
        ({"estimate": [1.0, np.nan, 1.0]}, "estimate expected finite numbers from .*, got nan"),
        ({"scale": [1.0, -1.0, 1.0]}, "scale expected finite numbers from 1e-50"),
        ({"features": [[1.0], [2.0]]}, r"features of shape \(3, features\)"),
        ({"features": [1.0, np.inf, 2.0]}, "features expected finite numbers"),
        ({"groups": ["a", "b"]}, r"groups of shape \(3,\)"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(change, message):
    with pytest.raises(ValueError, match=message):
        shrink(**({"estimate": [1.0, 2.0, 3.0], "se": [1.0, 1.0, 1.0]} | change))
