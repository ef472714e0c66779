"""The benchmark of progressive beliefs, in little."""

import itertools
import json

import numpy as np
import pytest


@pytest.fixture
def progressive(benchmark):
    return benchmark("progressive")


@pytest.fixture
def bound(benchmark):
    return benchmark("impatient.bound")


@pytest.fixture
def published(benchmark):
    return benchmark("impatient.published")


def by_hand(trace, leave, active):
    """P(trace) by summing over the day on which the user leaves."""
    total = 0.0
    for stay in range(len(trace) + 1):
        chance = np.prod(1 - leave[:stay]) * (leave[stay] if stay < len(trace) else 1)
        for day, came in enumerate(trace):
            rate = active[day] if day < stay else 0.0
            chance *= rate if came else 1 - rate
        total += chance
    return total


def some_theta(bound, shows=3, seed=0):
    z = np.random.default_rng(seed).normal(size=(shows, 62))
    return z, bound.logits(z)


def test_the_likelihood_sums_over_the_day_a_user_leaves(bound):
    _, theta = some_theta(bound, shows=1)
    leave, active = 1 / (1 + np.exp(-theta[0]))
    total = 0.0
    for trace in itertools.product([0, 1], repeat=4):
        word = sum(came << day for day, came in enumerate(trace))
        table = bound.Table.of(np.array([[word]]), 4)
        found = np.exp(bound.log_likelihood(table, theta)[0])
        assert found == pytest.approx(by_hand(trace, leave, active), rel=1e-10)
        total += found
    assert total == pytest.approx(1)


def test_slope_and_curvature_are_the_likelihood_s_derivatives(bound):
    z, theta = some_theta(bound)
    table = bound.Table.of(np.random.default_rng(1).integers(0, 1 << 6, (3, 40)), 6)
    apart = np.zeros((3, 2, 59, 12))
    for place in range(12):
        apart[:, place // 6, place % 6, place] = 1
    gradient, information = bound.curvature(table, theta, apart)
    for place in range(12):
        change = np.zeros_like(theta)
        change[:, place // 6, place % 6] = 1e-5
        ends = [bound.log_likelihood(table, theta + sign * change) for sign in (1, -1)]
        np.testing.assert_allclose(gradient[:, place], (ends[0] - ends[1]) / 2e-5, rtol=1e-5, atol=1e-5)
        ends = [bound.curvature(table, theta + sign * change, apart)[0] for sign in (1, -1)]
        np.testing.assert_allclose(information[:, place], -(ends[0] - ends[1]) / 2e-5, rtol=1e-4, atol=1e-4)
    up, down = (bound.logits(z + sign * 1e-6 * np.eye(62)[1]) for sign in (1, -1))
    np.testing.assert_allclose(bound.slopes(z)[..., 1], (up - down) / 2e-6, rtol=1e-5, atol=1e-8)


def test_the_bound_is_the_mean_of_shows_drawn_as_published_weighed_by_their_likelihood(bound, benchmark):
    """Oracle: 20,000 shows drawn from the generator."""
    shows = benchmark("impatient.shows")
    words = shows.published(5, shows=4, users=30)
    z = np.random.default_rng(0).normal(size=(1, 20_000, 62))
    theta = bound.logits(z)
    value = bound.expected_days(theta)[0]
    for days in (0, 4):
        found, median, doubt, worth = bound.optimal(words, days, 2000, 0)
        for show in range(4):
            table = bound.Table.of(words[show : show + 1], days)
            weight = bound.log_likelihood(table, theta)[0]
            weight = np.exp(weight - weight.max())
            assert found[show] == pytest.approx(weight @ value / weight.sum(), abs=0.04)
            order = value.argsort()
            half = np.searchsorted(weight[order].cumsum(), weight.sum() / 2)
            assert median[show] == pytest.approx(value[order][half], abs=0.06)
        assert (worth > 0.5).all()
        assert (doubt < 0.1).all()


def test_the_published_filter_is_the_regression_on_the_days_seen(published):
    rng = np.random.default_rng(0)
    root = rng.normal(size=(59, 59)) / 60
    moments = published.Moments(np.full(59, 0.1), root @ root.T, np.eye(59) * 0.1)
    users = np.zeros((2, 59))
    users[0, :3], users[1, :2] = 20, [30, 10]
    active = np.zeros((2, 59))
    active[0, :3], active[1, :2] = [5, 1, 0], [2, 4]
    mean, std = published.progressive(moments, active, users)
    for show, days in ((0, 3), (1, 2)):
        count = users[show, :days]
        seen = moments.between[:days, :days] + moments.within[:days, :days] / np.maximum.outer(count, count)
        lift = moments.between[:, :days] @ np.linalg.inv(seen)
        expected = moments.mean + lift @ (active[show, :days] / count - 0.1)
        assert mean[show] == pytest.approx(expected.sum())
        assert std[show] ** 2 == pytest.approx((moments.between - lift @ moments.between[:days]).sum())
    nothing = published.progressive(moments, 0 * active, 0 * users)
    np.testing.assert_allclose(nothing[0], 5.9)


def test_the_published_traces_are_those_of_the_published_order(benchmark):
    shows = benchmark("impatient.shows")
    rng = np.random.default_rng(42)
    alpha = 1 / (1 + np.exp(-(0.1 * rng.normal() - 0.4)))
    k = rng.uniform(0.7, 1.5)
    rates = -0.5 + 0.1 * shows.CHOLESKY @ rng.normal(size=59)
    chance = 1 / (1 + np.exp(-(rates + rng.uniform(0.1, 1.0) * shows.WEEK)))
    traces = rng.binomial(1, chance, size=(50, 59))
    last = rng.geometric(rng.beta(k * alpha, k * (1 - alpha), size=50)) - 1
    traces[last[:, None] <= np.arange(59)] = 0
    np.testing.assert_array_equal(shows.active_on(shows.published(42, shows=1, users=50))[0], traces)
    for kind in (shows.TWO_RATES, shows.RETURN, shows.DIFFER):
        words = shows.otherwise(kind, 0, shows=3, users=200)
        assert words.shape == (3, 200)
        assert 0.01 < shows.daily_means(words).mean() < 0.5


def test_a_bandit_that_knows_the_best_show_has_no_regret(benchmark):
    bandit, shows = benchmark("impatient.bandit"), benchmark("impatient.shows")
    words = shows.published(3, shows=4, users=300)
    worth = shows.daily_means(words).sum(axis=1)
    told = {"trials": 2, "daily": 3, "days": 4, "seed": 0}
    sure = np.tile(worth, 2)
    assert bandit.regret(words, lambda seen: bandit.gaussian(sure, np.zeros(8)), **told).tolist() == [0, 0]
    worst = bandit.regret(words, lambda seen: bandit.gaussian(-sure, np.zeros(8)), **told)
    np.testing.assert_allclose(worst, worth.max() - worth.min())
    seen = []
    bandit.regret(words, lambda one: (seen.append(one), bandit.gaussian(np.zeros(8), np.ones(8)))[1], **told)
    assert [len(one.arm) for one in seen] == [0, 6, 12, 18]
    assert seen[3].age.tolist() == [3] * 6 + [2] * 6 + [1] * 6
    for arm in range(8):  # a show's users are its own, and none is drawn twice
        assert np.isin(seen[3].trace[seen[3].arm == arm], words[arm % 4]).all()


def test_the_share_of_the_way_is_of_means(progressive):
    table = np.tile([0.5, 0.42, 0.4], (5, 1))
    assert progressive.share_of(table, np.random.default_rng(0)) == pytest.approx((0.8, 0.8, 0.8))


def test_a_run_goes_on_from_what_is_kept(progressive, benchmark, tmp_path, monkeypatch):
    shows = benchmark("impatient.shows")
    small = {"TRAINING": 20, "JUDGED": 4, "SHOWS": 3, "DAILY": 3, "DAYS": 3, "TRIALS": 2, "DRAWS": 40}
    small |= {
        "CELLS": [(10, 0), (10, 5), (20, 59)],
        "JUDGED_CELLS": [(20, 59)],
        "HELD_OUT_FROM": 20,
        "KINDS": (shows.RETURN,),
    }
    small |= {"SAID": {(10, 5): 0.6}}
    for name, value in small.items():
        monkeypatch.setattr(progressive, name, value)
    monkeypatch.setattr(
        progressive,
        "drawn",
        lambda kind, seed, *_: (
            shows.published(seed, 24, 60) if kind == shows.PUBLISHED else shows.otherwise(kind, seed, 24, 60)
        ),
    )
    file = tmp_path / "result.json"
    told = ["--seeds", "42", "1", "2", "--bound-seeds", "42", "1", "--bandit-seeds", "42", "1", "--other-seeds", "1"]
    told += ["--cache", str(tmp_path), "--out", str(file)]
    progressive.main(told)
    first = json.loads(file.read_text())["rows"]
    monkeypatch.setattr(progressive, "PARTS", {})  # would fail if anything was computed again
    progressive.main(told)
    rows = json.loads(file.read_text())["rows"]
    assert rows == first
    named = {(row["what"], row["metric"]): row for row in rows}
    assert named["published, M=10, d=0", "less than the published filter's by"]["ours"] == pytest.approx(0, abs=0.3)
    assert named["users return, M=20, d=59", "mean absolute error"]["peers"].keys() == {"published"}
    assert named["seed 42, ours", "average regret at day 180"]["ours"] >= 0
    assert named["all data sets", "regret less than the published filter's by"]["se"] is not None
