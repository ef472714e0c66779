from dataclasses import replace

import numpy as np
import pytest

from reward.progressive import Belief, ItemPrior

H = 4
ITEMS, USERS = 60, 400


def lived(seed=0, items=ITEMS, users=USERS, horizon=H):
    """Traces of users who leave for good, by items that differ in how soon and how active they are."""
    rng = np.random.default_rng(seed)
    leave, active = rng.uniform(0.1, 0.5, (2, items))
    stays = rng.random((items, users, horizon)) > leave[:, None, None]
    days = stays.cumprod(axis=2) * (rng.random(stays.shape) < 1.5 * active[:, None, None])
    still = np.cumprod(np.broadcast_to(1 - leave, (horizon, items)), axis=0)
    return np.repeat(np.arange(items), users), days.reshape(-1, horizon), (still * 1.5 * active).sum(axis=0)


def words(days):
    return days @ (1 << np.arange(days.shape[1]))


def whole(number, horizon=H):
    return np.full(number, (1 << horizon) - 1)


@pytest.fixture(scope="module")
def past():
    item, days, _ = lived()
    return item, days


@pytest.fixture(scope="module")
def prior(past):
    item, days = past
    return ItemPrior.learn(item, words(days), whole(len(item)), horizon_days=H)


def statistics(days):
    """φ of users observed for as many days as there are columns: activity, and whether they come back from day t on."""
    later = np.maximum.accumulate(days[:, ::-1], axis=1)[:, ::-1]
    return np.concatenate([days, later[:, :-1]], axis=1).astype(float)


def test_before_any_evidence_an_item_is_what_past_items_were(past, prior):
    _, days = past
    sums = days.sum(axis=1).reshape(ITEMS, USERS)
    belief = prior.belief(prior.evidence(np.zeros(0, int), np.zeros(0, int), np.zeros(0, int), items=2))
    assert belief.mean == pytest.approx(sums.mean(), abs=1e-9)
    noise = (sums.var(axis=1, ddof=1) / USERS).mean()
    assert belief.std**2 == pytest.approx(sums.mean(axis=1).var(ddof=1) - noise, rel=0.02)
    np.testing.assert_allclose(belief.trace, np.broadcast_to(days.mean(axis=0), (2, H)), atol=1e-9)


def test_two_days_by_hand():
    """One factor, two days: the belief is the scalar Kalman filter's."""
    loadings = np.array([[0.1], [0.2]])
    by_day, by_last, information = np.zeros((3, 2, 1)), np.zeros((3, 3, 1)), np.zeros((3, 1, 1))
    by_day[1, 0], by_last[1] = 0.1 / 0.25, -0.5 * 0.1 / 0.25  # φ = the first day, mean .5 + .1 z, variance .25
    information[1] = 0.1**2 / 0.25
    prior = ItemPrior(
        usual=np.array([0.5, 0.4]),
        shift=np.zeros(2),
        loadings=loadings,
        leftover=np.full(2, 1e-6),
        leftover_days=0.01,
        skew=0.0,
        growth=0.0,
        by_day=by_day,
        by_last=by_last,
        information=information,
        centre=np.zeros(1),
        spread=np.eye(1),
    )
    told = prior.evidence(np.zeros(100, int), (np.arange(100) < 70).astype(int), np.ones(100, int), items=1)
    z, variance = 0.4 * 20 / (1 + 4), 1 / (1 + 100 * 0.04)  # 70 of 100 came where 50 were expected
    belief = prior.belief(told)
    assert belief.mean[0] == pytest.approx(0.9 + 0.3 * z)
    assert belief.std[0] == pytest.approx(np.sqrt(0.09 * variance + 0.01))
    np.testing.assert_allclose(belief.trace[0], [0.5 + 0.1 * z, 0.4 + 0.2 * z])


@pytest.mark.parametrize("d", [1, 2, 3, 4])
def test_the_belief_is_the_regression_on_what_d_days_show(past, prior, d):
    """Oracle: the best linear prediction from the whole covariance of the items' means, without factors."""
    _, days = past
    mean = np.array([statistics(mine[:, :d]).mean(axis=0) for mine in days.reshape(ITEMS, USERS, H)])
    inside = np.mean([np.cov(statistics(mine[:, :d]).T) for mine in days.reshape(ITEMS, USERS, H)], axis=0)
    inside = inside.reshape(2 * d - 1, 2 * d - 1)
    sums = days.reshape(ITEMS, USERS, H).sum(axis=2)
    both = np.mean(
        [np.cov(statistics(mine[:, :d]).T, mine.sum(axis=1))[:-1, -1] for mine in days.reshape(ITEMS, USERS, H)], axis=0
    )
    between = np.cov(mean.T).reshape(inside.shape) - inside / USERS
    with_days = np.cov(mean.T, sums.mean(axis=1))[:-1, -1] - both / USERS
    fresh_item, fresh, _ = lived(seed=1, items=5, users=50)
    seen = np.array([statistics(mine[:, :d]).mean(axis=0) for mine in fresh.reshape(5, 50, H)])
    expected = sums.mean() + (seen - mean.mean(axis=0)) @ np.linalg.solve(between + inside / 50, with_days)
    told = prior.evidence(fresh_item, words(fresh), whole(250, d), items=5)
    straight = replace(prior, skew=0.0, growth=0.0)
    np.testing.assert_allclose(straight.belief(told).mean, expected, atol=0.03)
    np.testing.assert_allclose(prior.belief(told).mean, expected, atol=0.15)


def test_the_belief_finds_what_items_truly_are_and_its_intervals_hold_it(prior):
    inside, errors, prior_errors = [], [], []
    for seed in range(1, 21):
        item, days, truth = lived(seed, items=40, users=60)
        belief = prior.belief(prior.evidence(item, words(days), whole(len(item), 2), items=40))
        inside.append(np.abs(belief.mean - truth) < 1.96 * belief.std)
        errors.append(np.abs(belief.mean - truth).mean())
        prior_errors.append(np.abs(prior.usual.sum() - truth).mean())
    assert 0.91 <= np.mean(inside) <= 0.98
    assert np.mean(errors) < 0.6 * np.mean(prior_errors)


def test_who_fell_silent_is_told_from_who_had_a_quiet_day(prior):
    """The same share active on each day: users who alternate will be back, those who came on day 1 only have left."""
    back = np.array([[1, 0, 1], [1, 1, 0], [1, 0, 0], [1, 0, 0]] * 25)
    gone = np.array([[1, 1, 1], [1, 0, 0], [1, 0, 0], [1, 0, 0]] * 25)
    assert (back.mean(axis=0) == gone.mean(axis=0)).all()
    item = np.repeat([0, 1], 100)
    told = prior.evidence(item, words(np.concatenate([back, gone])), whole(200, 3), items=2)
    mean = prior.belief(told).mean
    assert abs(mean[0] - mean[1]) > 0.02


def test_days_not_observed_are_not_silent_days(prior):
    item, observed = np.zeros(30, int), whole(30, 2)
    told = prior.evidence(item, np.full(30, 0b0001), observed, items=1)
    same = prior.evidence(item, np.full(30, 0b1101), observed, items=1)
    silent = prior.evidence(item, np.full(30, 0b0001), whole(30), items=1)
    np.testing.assert_array_equal(told.score, same.score)
    assert prior.belief(silent).mean[0] < prior.belief(told).mean[0]
    none = prior.evidence(item, np.full(30, 0b1111), np.zeros(30, int), items=1)
    assert prior.belief(none).mean[0] == pytest.approx(prior.usual.sum())


def test_evidence_adds_up_over_users_and_day_by_day(prior):
    item, days, _ = lived(seed=2, items=5, users=40)
    trace, rng = words(days), np.random.default_rng(0)
    observed = (1 << rng.integers(0, H + 1, len(item))) - 1
    at_once = prior.evidence(item, trace, observed, items=5)
    order = rng.permutation(len(item))
    parts = [prior.evidence(item[mine], trace[mine], observed[mine], items=5) for mine in np.array_split(order, 3)]
    together = parts[0] + parts[1] + parts[2]
    np.testing.assert_allclose(together.score, at_once.score, atol=1e-9)
    np.testing.assert_array_equal(together.users, at_once.users)
    daily = prior.evidence(item, trace, whole(len(item), 0), items=5)
    for d in range(H):
        earlier, later = (np.minimum(observed, (1 << one) - 1) for one in (d, d + 1))
        daily = daily - prior.evidence(item, trace, earlier, items=5) + prior.evidence(item, trace, later, items=5)
    np.testing.assert_allclose(prior.belief(daily).mean, prior.belief(at_once).mean)


def test_more_users_and_more_days_never_widen(prior):
    item, days, _ = lived(seed=3, items=6, users=200)
    width = np.zeros((4, H + 1))
    for m, users in enumerate([1, 10, 50, 200]):
        mine = np.arange(len(item)) % 200 < users
        for d in range(H + 1):
            told = prior.evidence(item[mine], words(days)[mine], whole(mine.sum(), d), items=6)
            width[m, d] = prior.belief(told).std.mean()
    assert (np.diff(width, axis=0) < 1e-12).all()
    assert (np.diff(width, axis=1) < 1e-4).all()
    assert width[-1, -1] < 0.5 * width[0, 0]


def test_draws_are_gaussian_with_the_beliefs_moments():
    belief = Belief(np.array([1.0, 2.0, 2.0]), np.array([0.1, 0.5, 0.5]), np.array([0, 1, -1]), np.zeros((3, H)))
    drawn = belief.sample(50_000, np.random.default_rng(0))
    assert drawn.shape == (50_000, 3)
    np.testing.assert_allclose(drawn.mean(axis=0), [1, 2, 2], atol=0.02)
    np.testing.assert_allclose(drawn.std(axis=0), [0.1, 0.5, 0.5], rtol=0.03)
    third = ((drawn - belief.mean) ** 3).mean(axis=0) / belief.std**3
    np.testing.assert_allclose(third, 0, atol=0.05)


@pytest.mark.parametrize("skew", [-1.5, 0.0, 0.6, 2.0])
def test_quantiles_are_those_of_a_law_of_the_belief_s_moments(skew):
    level = (np.arange(20_000) + 0.5) / 20_000
    belief = Belief(np.array([3.0]), np.array([0.7]), np.array([skew]), np.zeros((1, H)))
    days = np.array([belief.quantile(one)[0] for one in level])
    assert (np.diff(days) > 0).all()
    assert days.mean() == pytest.approx(3, abs=1e-3)
    assert days.std() == pytest.approx(0.7, rel=0.005)
    assert ((days - 3) ** 3).mean() / 0.7**3 == pytest.approx(skew, abs=0.03)
    assert belief.median[0] == pytest.approx(days[9_999:10_001].mean(), abs=1e-4)


def test_a_skewed_law_by_hand():
    """e^ξ with ξ ~ N(0, log 2): mean √2, variance 2, third moment over std³ 4, median 1."""
    belief = Belief(np.array([np.sqrt(2)]), np.array([np.sqrt(2)]), np.array([4.0]), np.zeros((1, H)))
    assert belief.median[0] == pytest.approx(1)
    assert belief.quantile(0.8)[0] == pytest.approx(np.exp(np.sqrt(np.log(2)) * 0.8416212))
    mirrored = Belief(-belief.mean, belief.std, -belief.skew, belief.trace)
    assert mirrored.quantile(0.2)[0] == pytest.approx(-belief.quantile(0.8)[0])


@pytest.mark.parametrize("skew", [1.2, -0.8])
@pytest.mark.parametrize("growth", [0.0, 1.0])
def test_a_skewed_belief_is_bayes_rule(skew, growth):
    """Oracle: a million items drawn from the law before, weighed by the likelihood of what their users did."""
    between, noise, leftover = 0.09, 2.25, 0.01  # of the days; a user's; what no factor explains
    information = np.zeros((2, 1, 1))
    information[1] = between / noise
    by_day = np.zeros((2, 1, 1))
    by_day[1] = np.sqrt(between) / noise
    prior = ItemPrior(
        usual=np.array([0.9]),
        shift=np.zeros(1),
        loadings=np.array([[np.sqrt(between)]]),
        leftover=np.full(1, 1e-6),
        leftover_days=leftover,
        skew=skew,
        growth=growth,
        by_day=by_day,
        by_last=-0.9 * np.ones((2, 2, 1)) * by_day[1],
        information=information,
        centre=np.zeros(1),
        spread=np.eye(1),
    )
    told = prior.evidence(np.zeros(40, int), np.ones(40, int), np.ones(40, int), items=1)  # forty of forty came
    belief = prior.belief(told)
    rng = np.random.default_rng(0)
    lean = 2 * np.sinh(np.arcsinh(skew / 2) / 3)  # log-normal of this skewness
    draws = np.exp(np.sqrt(np.log1p(lean**2)) * rng.standard_normal(1_000_000)) / np.sqrt(1 + lean**2)
    draws = 0.9 + np.sqrt(0.1) * (draws - 1) / lean
    kept = 1 - noise / 40 / (between + noise / 40)  # the linear filter's mean over the reading 1 − .9
    reading = 0.9 + kept * 0.1
    known = kept * between / (between + leftover)
    here = kept**2 * noise / 40
    spread = known * (0.1 - kept * between) - here + here * np.maximum(draws / 0.9, 0.05) ** growth
    weight = np.exp(-((reading - 0.9 - known * (draws - 0.9)) ** 2) / 2 / spread) / np.sqrt(spread)
    weight /= weight.sum()
    mean = weight @ draws
    assert belief.mean[0] == pytest.approx(mean, abs=2e-3)
    assert belief.std[0] == pytest.approx(np.sqrt(weight @ (draws - mean) ** 2), rel=0.01)
    order = np.argsort(draws)
    median = draws[order][np.searchsorted(weight[order].cumsum(), 0.5)]
    assert belief.median[0] == pytest.approx(median, abs=5e-3)
    assert belief.trace.sum() == pytest.approx(belief.mean[0])


def test_where_items_are_skewed_the_median_is_closer_than_the_gaussian_belief():
    rng, less = np.random.default_rng(0), []
    for _ in range(8):
        rate = np.minimum(0.15 * np.exp(0.7 * rng.normal(size=600)), 0.9)
        item = np.repeat(np.arange(600), 300)
        trace = words(rng.random((len(item), H)) < rate[item][:, None])
        past, truth = item < 300, H * rate[300:]
        prior = ItemPrior.learn(item[past], trace[past], whole(past.sum()), horizon_days=H)
        few = ~past & (np.arange(len(item)) % 300 < 10)
        told = prior.evidence(item[few] - 300, trace[few], whole(few.sum(), 1), items=300)
        gaussian = replace(prior, skew=0.0, growth=0.0).belief(told)
        less.append(np.abs(gaussian.mean - truth).mean() - np.abs(prior.belief(told).median - truth).mean())
    assert np.mean(less) > 3 * np.std(less) / np.sqrt(len(less))


def test_the_skewness_is_the_items_and_not_their_users():
    """Three users of each item are noise far wider than the items, and skewed; items are of two kinds, one in five."""
    rng = np.random.default_rng(0)
    rate = np.where(rng.random(20_000) < 0.2, 0.35, 0.1)
    item = np.repeat(np.arange(20_000), 3)
    learned = ItemPrior.learn(item, words(rng.random((60_000, H)) < rate[item][:, None]), whole(60_000), horizon_days=H)
    assert learned.skew == pytest.approx((0.8 - 0.2) / np.sqrt(0.2 * 0.8), abs=0.25)


def test_a_forecast_is_where_the_belief_starts(prior):
    nothing = prior.evidence(np.zeros(0, int), np.zeros(0, int), np.zeros(0, int), items=2)
    forecast = np.array([[0.6, 0.5, 0.4, 0.35], [0.2, 0.1, 0.05, 0.05]])
    own = prior.centred_on(forecast)
    np.testing.assert_allclose(own.belief(nothing).trace, forecast)
    np.testing.assert_allclose(own.belief(nothing).mean, forecast.sum(axis=1))
    np.testing.assert_allclose(own.belief(nothing).std, prior.belief(nothing).std)
    sure = prior.centred_on(forecast, np.eye(H) * 1e-8).belief(nothing)
    assert (sure.std < 0.5 * prior.belief(nothing).std).all()
    population = prior.loadings @ prior.loadings.T + np.diag(prior.leftover)
    again = prior.centred_on(prior.usual, population).belief(nothing)
    np.testing.assert_allclose(again.std, prior.belief(nothing).std)
    np.testing.assert_allclose(again.mean, prior.belief(nothing).mean)


def test_many_users_outvote_a_wrong_forecast(prior):
    item, days, truth = lived(seed=4, items=1, users=5000)
    wrong = prior.centred_on(np.clip(prior.usual * 1.5, 0, 1))
    told = prior.evidence(item, words(days), whole(len(item)), items=1)
    assert wrong.belief(told).mean[0] == pytest.approx(truth[0], abs=0.05)
    assert wrong.belief(told).mean[0] == pytest.approx(prior.belief(told).mean[0], abs=0.03)


def test_a_good_forecast_helps_where_users_are_few(prior):
    rng, plain, helped = np.random.default_rng(0), [], []
    for seed in range(10, 20):
        item, days, truth = lived(seed, items=40, users=5)
        forecast = truth[:, None] * prior.usual / prior.usual.sum()
        forecast = np.clip(forecast + 0.02 * rng.normal(size=forecast.shape), 0, 1)
        own = prior.centred_on(forecast, 0.02**2 * np.eye(H))
        told = (item, words(days), whole(len(item), 2))
        plain.append(np.abs(prior.belief(prior.evidence(*told, items=40)).mean - truth).mean())
        helped.append(np.abs(own.belief(own.evidence(*told, items=40)).mean - truth).mean())
    assert np.mean(helped) < 0.5 * np.mean(plain)


def test_users_cut_short_teach_nothing(past, prior):
    item, days = past
    more = np.concatenate([item, item]), np.concatenate([words(days), 0 * item])
    observed = np.concatenate([whole(len(item)), whole(len(item), 3)])
    again = ItemPrior.learn(*more, observed, horizon_days=H)
    np.testing.assert_array_equal(again.by_day, prior.by_day)
    np.testing.assert_array_equal(again.usual, prior.usual)


def test_items_with_few_users_count_for_less(past):
    item, days = past
    odd = np.concatenate([item, [ITEMS, ITEMS]])  # two users who are active every day
    trace = np.concatenate([words(days), [0b1111, 0b1111]])
    with_odd = ItemPrior.learn(odd, trace, whole(len(odd)), horizon_days=H)
    without = ItemPrior.learn(item, words(days), whole(len(item)), horizon_days=H)
    equal_say = (4 - without.usual.sum()) / (ITEMS + 1)
    assert 0 < with_odd.usual.sum() - without.usual.sum() < 0.6 * equal_say
    fresh, mine, truth = lived(seed=5, items=50, users=30)
    told = (fresh, words(mine), whole(len(fresh), 2))
    errors = [np.abs(p.belief(p.evidence(*told, items=50)).mean - truth).mean() for p in (with_odd, without)]
    assert errors[0] < 1.05 * errors[1]


@pytest.mark.parametrize("horizon", [1, 3])
def test_where_past_items_do_not_differ_new_ones_are_not_told_apart(horizon):
    rng = np.random.default_rng(0)
    item = np.repeat(np.arange(20), 50)
    trace = words(rng.random((1000, horizon)) < 0.3)
    prior = ItemPrior.learn(item, trace, whole(1000, horizon), horizon_days=horizon)
    belief = prior.belief(prior.evidence(item, trace, whole(1000, horizon), items=20))
    assert belief.mean.std() < 1e-9
    foretold = prior.centred_on(np.full(horizon, 0.4)).belief(prior.evidence(item, trace, 0 * item, items=20))
    np.testing.assert_allclose(foretold.mean, 0.4 * horizon)


def test_the_longest_horizon_fits_its_word():
    rng = np.random.default_rng(0)
    item = np.repeat(np.arange(5), 20)
    trace = rng.integers(0, 1 << 63, len(item), dtype=np.uint64).astype(np.int64)
    prior = ItemPrior.learn(item, trace, whole(len(item), 63), horizon_days=63)
    belief = prior.belief(prior.evidence(item, trace, whole(len(item), 63), items=5))
    assert np.isfinite(belief.mean).all()
    assert (belief.std >= 0).all()


def test_what_does_not_fit_is_said(prior):
    one = np.zeros(1, int)
    with pytest.raises(ValueError, match="expected items from 0 to 1, got 5 to 5"):
        prior.evidence(one + 5, one, one, items=2)
    with pytest.raises(ValueError, match="observed words of days 1 to d, d at most 4, got 0b101"):
        prior.evidence(one, one, one + 0b101, items=1)
    with pytest.raises(ValueError, match="d at most 4, got 0b11111"):
        prior.evidence(one, one, one + 0b11111, items=1)
    with pytest.raises(ValueError, match="one item, one trace and one observed word"):
        prior.evidence(one, np.zeros(2, int), one, items=1)
    with pytest.raises(ValueError, match="horizon of 1 to 63 days, got 64"):
        ItemPrior.learn(one, one, one, horizon_days=64)
    with pytest.raises(ValueError, match="3 or more items with 2 or more users observed for all 4 days"):
        ItemPrior.learn(np.arange(5), np.zeros(5, int), whole(5), horizon_days=H)
    with pytest.raises(ValueError, match=r"expected trace of 4 daily probabilities"):
        prior.centred_on(np.zeros(3))
    with pytest.raises(ValueError, match="values from 0 to 2"):
        prior.centred_on(np.array([0.0, 0.1, 0.2, 2.0]))
    with pytest.raises(ValueError, match="covariance between 4 days"):
        prior.centred_on(np.full(4, 0.2), np.eye(3))
    with pytest.raises(ValueError, match="items numbered from 0, got -1"):
        ItemPrior.learn(one - 1, one, whole(1), horizon_days=H)
    own = prior.centred_on(np.full((3, 4), 0.2))
    with pytest.raises(ValueError, match="a level between 0 and 1, got 1"):
        prior.belief(prior.evidence(one, one, one, items=1)).quantile(1)
    with pytest.raises(ValueError, match="evidence about 3 items"):
        own.belief(own.evidence(one, one, one, items=1))


@pytest.mark.parametrize(("word", "days"), [(0, 0.0), (2**10 - 1, 10.0)])
def test_items_whose_users_are_all_alike_are_believed_and_surely_so(word, days):
    item, seen = np.repeat(np.arange(30), 50), np.full(1500, 2**10 - 1)
    prior = ItemPrior.learn(item, np.full(1500, word), seen, horizon_days=10)
    for observed in (0, 7, 2**10 - 1):
        belief = prior.belief(prior.evidence(np.zeros(5, int), np.zeros(5, int), np.full(5, observed), items=2))
        assert belief.mean == pytest.approx(days, abs=1e-3)
        assert belief.std == pytest.approx(0, abs=1e-3)
        assert np.isfinite(belief.quantile(0.9)).all()
        assert np.isfinite(belief.trace).all()


@pytest.mark.parametrize("kind", [np.int32, np.uint64, np.int16])
def test_words_of_another_size_are_read_as_64_bits(kind):
    rng = np.random.default_rng(0)
    item, trace, seen = np.repeat(np.arange(9), 40), rng.integers(0, 2**12, 360), np.full(360, 2**12 - 1)
    one, two = (ItemPrior.learn(item, trace.astype(k), seen.astype(k), horizon_days=12) for k in (kind, np.int64))
    np.testing.assert_array_equal(one.usual, two.usual)
    with pytest.raises(ValueError, match="items and words of integers, got int64, float64"):
        ItemPrior.learn(item, trace.astype(float), seen, horizon_days=12)


def test_items_beyond_all_numbers_are_refused():
    with pytest.raises(ValueError, match="expected items numbered from 0, got 1099511627776 among 6 users"):
        ItemPrior.learn(np.array([0, 0, 1, 1, 2, 2**40]), np.zeros(6, int), np.full(6, 3), horizon_days=2)
    prior = ItemPrior.learn(np.repeat(np.arange(9), 4), np.arange(36) % 4, np.full(36, 3), horizon_days=2)
    with pytest.raises(ValueError, match="a number of items that fits the memory"):
        prior.evidence(np.zeros(1, int), np.zeros(1, int), np.ones(1, int), items=2**40)
