"""Bounds for looking while a test runs: their level, what they cost, and the design that follows."""

import numpy as np
import pytest
from scipy import optimize, stats

from reward.experiments.design import plan, schedule
from reward.experiments.sequential import always_valid, crossing, group_sequential, inflation, monitor
from reward.statistics.intervals import chance_beyond, normal, student

LOOKS = np.arange(1, 15) / 14


@pytest.fixture
def confidence():
    """Sample sizes and group-sequential bounds are called from spotify-confidence."""
    return pytest.importorskip("spotify_confidence", exc_type=ImportError)


def test_quantiles_are_scipys():
    for freedom in (9, 20, 60, 199):
        assert student(0.95, freedom) == pytest.approx(stats.t.ppf(0.975, freedom), abs=2e-3)
    assert normal(0.9) == pytest.approx(stats.norm.ppf(0.95))
    assert chance_beyond(7.3, 4) == pytest.approx(stats.chi2.sf(7.3, 4))
    with pytest.raises(ValueError, match="at least 3 degrees of freedom, got 2"):
        student(0.95, 2)


def test_the_always_valid_bound_is_where_the_mixture_reaches_one_over_alpha():
    r = 0.5 / (-2 * np.log(0.05) + np.log(-2 * np.log(0.05)) + 1)
    for t, bound in zip(LOOKS, always_valid(LOOKS), strict=True):
        drift = np.linspace(-60, 60, 60_001)  # a normal of precision r over drifts, of the likelihood ratio of z √t
        density = stats.norm.pdf(drift, 0, r**-0.5) * np.exp(drift * bound * np.sqrt(t) - drift**2 * t / 2)
        assert np.trapezoid(density, drift) == pytest.approx(20, rel=1e-4)


def test_the_always_valid_bound_is_narrowest_where_it_is_tuned():
    t = np.linspace(0.05, 2, 400)
    for tuned_at in (0.3, 1.0):
        width = always_valid(t, tuned_at=tuned_at) / np.sqrt(t)
        others = [always_valid([tuned_at], tuned_at=other)[0] for other in (0.5 * tuned_at, 2 * tuned_at)]
        assert always_valid([tuned_at], tuned_at=tuned_at)[0] < min(others)
        assert (np.diff(width) < 0).all()


@pytest.mark.parametrize("bounds", [always_valid, group_sequential])
def test_a_level_holds_however_often_one_looks(bounds, request):
    if bounds is group_sequential:
        request.getfixturevalue("confidence")
    assert crossing(LOOKS, bounds(LOOKS), 0.0, paths=40_000)[-1] <= 0.05
    assert crossing(LOOKS, np.full(14, normal(0.95)), 0.0, paths=40_000)[-1] > 0.15


def test_the_last_look_of_a_group_sequential_test_is_almost_a_test_of_fixed_size(confidence):
    bound = group_sequential(LOOKS)
    assert (np.diff(bound) < 0).all()
    assert normal(0.95) < bound[-1] < 2.3
    assert crossing(LOOKS, bound, 0.0, paths=100_000)[-1] == pytest.approx(0.048, abs=0.002)
    assert 1.0 < inflation(LOOKS, bound) < 1.2
    assert inflation(LOOKS, always_valid(LOOKS)) == pytest.approx(1.7, abs=0.1)


def test_one_look_is_a_test_of_fixed_size():
    drift = normal(0.95) + normal(0.6)
    assert crossing([1.0], [normal(0.95)], drift, paths=100_000)[0] == pytest.approx(0.8, abs=0.005)
    assert inflation([1.0], [normal(0.95)], paths=100_000) == pytest.approx(1.0, abs=0.01)


def test_a_look_says_what_it_knows():
    told = monitor([1.0, 2.0, 0.5], [1.0, 0.5, 0.4], [3.0, 3.0, 3.0])
    assert told["z"].to_list() == pytest.approx([1.0, 4.0, 1.25])
    assert told["crossed"].to_list() == [False, True, True]
    assert told["low"].to_list() == pytest.approx([-2.0, 0.5, -0.7])
    assert told["high"].to_list() == pytest.approx([4.0, 3.5, 1.7])


def test_the_users_planned_have_the_power_asked_for(confidence):
    daily = 2000 * 0.95 ** np.arange(60)
    made = plan(0.1, 3.0, daily, horizon_days=14, explained=0.4, treated_share=0.3)
    by_hand = (normal(0.95) + normal(0.6)) ** 2 * 9 * 0.6 / (0.3 * 0.7 * 0.01)
    assert made.users == pytest.approx(by_hand, abs=2)
    assert made.enrolment_days == np.searchsorted(np.cumsum(daily), made.users) + 1
    assert made.days == made.enrolment_days + 14
    days = schedule(0.1, 3.0, daily, horizon_days=14, explained=0.4, treated_share=0.3)
    assert days["power"][made.days - 1] >= 0.8 > days["power"][made.days - 2]
    assert days["detectable"][made.days - 1] == pytest.approx(made.detectable)
    assert made.detectable <= 0.1


def test_looking_costs_users_and_a_covariate_saves_them(confidence):
    daily = np.full(365, 500)
    plain, looked, adjusted = (
        plan(0.1, 3.0, daily, horizon_days=14, **more) for more in ({}, {"inflation": 1.2}, {"explained": 0.5})
    )
    assert looked.users == pytest.approx(1.2 * plain.users, abs=2)
    assert adjusted.users == pytest.approx(0.5 * plain.users, abs=2)


def test_nobody_is_known_before_the_first_horizon_has_passed():
    days = schedule(0.1, 3.0, [100, 50], horizon_days=3)
    assert days["known"].to_list() == [0, 0, 0, 100, 150]
    assert days["entered"].to_list() == [100, 150, 150, 150, 150]
    assert days["detectable"].null_count() == 3
    assert days["power"][0] == pytest.approx(0.05)
    exact = optimize.brentq(lambda e: stats.norm.cdf(e * np.sqrt(150 / 4) / 3 - normal(0.95)) - 0.8, 0, 10)
    assert days["detectable"][4] == pytest.approx(exact)


def test_a_plan_that_cannot_be_made_says_what_could(confidence):
    with pytest.raises(ValueError, match=r"expected 28,\d+ users, 1,000 come in 10 days, who show one of 0\.5"):
        plan(0.1, 3.0, np.full(10, 100), horizon_days=14)


def test_numbers_out_of_their_range_are_named():
    with pytest.raises(ValueError, match=r"sd > 0, got 0; explained in \[0, 1\), got 1; daily_users of one number"):
        schedule(0.1, 0, [], horizon_days=14, explained=1)
    with pytest.raises(ValueError, match="the smallest difference worth finding, above 0, got 0"):
        plan(0, 1.0, [1], horizon_days=14)
    with pytest.raises(ValueError, match="information expected positive shares"):
        always_valid([0.0, 1.0])
    with pytest.raises(ValueError, match="alpha must lie between 0 and 1, got 5"):
        always_valid([1.0], alpha=5)
    with pytest.raises(ValueError, match=r"rise within \(0, 1\]"):
        group_sequential([0.5, 0.5])
    with pytest.raises(ValueError, match="effects, ses and bounds of one length"):
        monitor([1.0], [1.0, 2.0], [3.0])
    with pytest.raises(ValueError, match="ses expected positive numbers"):
        monitor([1.0], [0.0], [3.0])


@pytest.mark.parametrize("looks", [[1e-3, 1.0], [1e-4, 1.0], [1e-3, 0.5, 1.0], [1e-3, 2e-3, 1e-2, 0.02, 1.0]])
def test_looks_at_the_first_users_cost_nothing(confidence, looks):
    bounds = group_sequential(looks)
    late = [each for each in looks if each >= 0.03]
    np.testing.assert_allclose(bounds[-len(late) :], group_sequential(late), rtol=1e-6)
    early = np.array(looks[: -len(late)])
    spent = 2 * stats.norm.sf(bounds[: len(early)])
    np.testing.assert_allclose(spent.cumsum(), 0.96 * 0.05 * early**2, rtol=1e-6)


def test_looks_that_may_spend_nothing_are_refused():
    with pytest.raises(ValueError, match="looks that may spend some of alpha"):
        group_sequential([1e-8, 0.5, 1.0])


def test_bounds_that_nobody_reaches_have_no_price():
    with pytest.raises(ValueError, match="at most 16 times the users of a test of fixed size"):
        inflation([0.5, 1.0], [50.0, 50.0], paths=200)
