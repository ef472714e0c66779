"""The surrogate index by hand, by another road, where surrogacy holds and where it does not."""

import numpy as np
import pytest

from reward.experiments.surrogate_effect import IndexEffect, Violations, violations
from reward.experiments.surrogate_index import Experiment, PastExperiments, SurrogateIndex
from reward.statistics.regression import boosted, linear

INDEX = SurrogateIndex(regression=linear(ridge=1e-6, degree=1), folds=4, degree=1, ridge=1e-4, seed=0)
HALF = IndexEffect(effect=0.3, se=0.1, uncorrected=0.3, residual_sd=2.0, unexplained=0.96, share=0.5)


def drawn(rng, users, *, direct=0.0, curve=0.0, moved=0.0, first=0):
    """W moves s by .3; Y = s + curve s² + x + direct W + noise."""
    x, treated = rng.normal(size=users), rng.random(users) < 0.5
    s = moved + 0.3 * treated + x + rng.normal(size=users)
    y = s + curve * s**2 + x + direct * treated + rng.normal(size=users)
    user = first + np.arange(users)
    return Experiment(user, s[:, None], treated, x[:, None]), PastExperiments(user, s[:, None], y, x[:, None]), y


def ordinary(columns, y):
    """Coefficients of least squares by the normal equations."""
    return np.linalg.solve(columns.T @ columns, columns.T @ y)


def test_a_regression_by_hand():
    x, y = np.array([[0.0], [1.0], [2.0]]), np.array([0.0, 1.0, 4.0])
    assert linear(ridge=0, degree=2)(x, y)(np.array([[3.0]])) == pytest.approx([9.0], abs=1e-4)
    # standardised column (−1.22, 0, 1.22): slope 1.633 without a penalty, half of it with one of 1
    assert linear(ridge=1, degree=1)(x, y)(x) == pytest.approx(5 / 3 + np.array([-1, 0, 1]))


def test_a_column_that_never_varies_does_not_matter():
    x = np.column_stack([np.arange(5.0), np.full(5, 7.0)])
    fit = linear(ridge=0, degree=1)(x, x[:, 0])
    assert fit(np.array([[2.5, 9.0]])) == pytest.approx([2.5], abs=1e-4)


def test_the_effect_is_what_a_loop_over_folds_and_arms_finds():
    rng = np.random.default_rng(0)
    test, _, _ = drawn(rng, 120)
    _, past, _ = drawn(rng, 150, first=1000)
    found = INDEX.effect(test, past)
    fold = np.random.default_rng(0).permutation(270) % 4
    w, e = test.treated, test.treated.mean()
    one, other = (np.column_stack([np.ones(len(it.user)), it.features]) for it in (test, past))
    pieces, corrections = np.zeros(120), np.zeros(150)
    for f in range(4):
        inside, outside = fold[:120] == f, fold[120:] == f
        beta = ordinary(other[~outside], past.outcome[~outside])
        h = one @ beta
        # the weight that balances 1, s and x between the arms; h is a sum of these and adds nothing
        columns = other[~outside]
        pull = one[~inside].T @ np.where(w, 1 / e, -1 / (1 - e))[~inside] / (~inside).sum()
        a = other @ np.linalg.solve(columns.T @ columns / len(columns), pull)
        corrections[outside] = a[outside] * (past.outcome - other @ beta)[outside]
        design = one[:, [0, 2]]
        nu = [design @ ordinary(design[arm & ~inside], h[arm & ~inside]) for arm in (~w, w)]
        for row in np.flatnonzero(inside):
            at = nu[1][row] - nu[0][row]
            at += (h - nu[1])[row] / e if w[row] else -(h - nu[0])[row] / (1 - e)
            pieces[row] = at
    assert found.uncorrected == pytest.approx(pieces.mean(), abs=2e-3)
    assert found.effect == pytest.approx(pieces.mean() + corrections.mean(), abs=2e-3)
    variance = pieces.var() / 119 + corrections.var() / 149
    assert found.se == pytest.approx(np.sqrt(variance), rel=0.02)


def test_intervals_cover_where_surrogacy_holds_and_the_widened_ones_everywhere():
    plain, failed, widened = [], [], []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        _, past, _ = drawn(rng, 300, first=1000)
        for direct, kept in ((0.0, plain), (0.4, failed)):
            test, _, _ = drawn(rng, 300, direct=direct)
            found = INDEX.effect(test, past)
            low, high = found.interval(0.95)
            kept.append(low <= 0.3 + direct <= high)
            low, high = found.interval(0.95, bias=found.worst_bias)
            widened.append(low <= 0.3 + direct <= high)
    assert 0.9 <= np.mean(plain) <= 0.99
    assert np.mean(failed) < 0.6
    assert np.mean(widened) == 1


def test_the_correction_mends_a_regression_that_is_wrong():
    quadratic = SurrogateIndex(regression=linear(ridge=1e-6, degree=1), folds=4, degree=2, ridge=1e-4, seed=0)
    found = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        # the past lies elsewhere: its slope is not the test's. E[s²] is moved by .3² + 2 · 1 · .3 = .69
        test, past = drawn(rng, 1500, moved=1.0)[0], drawn(rng, 1500, curve=0.3, moved=-0.5, first=9000)[1]
        told = quadratic.effect(test, past)
        found.append([told.effect, told.uncorrected])
    truth = 0.3 + 0.3 * (0.3**2 + 2 * 1.0 * 0.3)
    mended, plain = np.abs(np.mean(found, axis=0) - truth)
    assert mended < 0.5 * plain


def test_users_in_both_samples_and_on_many_rows_are_counted_once():
    rng = np.random.default_rng(3)
    test, past, _ = drawn(rng, 400)
    once = INDEX.effect(test, past)
    twice = INDEX.effect(
        Experiment(*(np.tile(it, (2, 1) if it.ndim == 2 else 2) for it in vars(test).values())),
        PastExperiments(*(np.tile(it, (2, 1) if it.ndim == 2 else 2) for it in vars(past).values())),
    )
    assert twice.effect == pytest.approx(once.effect, abs=1e-9)
    assert twice.se == pytest.approx(once.se, rel=1e-6)


def test_names_of_users_do_not_matter():
    test, past, _ = drawn(np.random.default_rng(4), 200)
    names = np.array([f"u{user:04}" for user in test.user])
    other = INDEX.effect(
        Experiment(names, test.surrogates, test.treated, test.covariates),
        PastExperiments(names, past.surrogates, past.outcome, past.covariates),
    )
    assert other == INDEX.effect(test, past)


def test_surrogates_without_covariates_are_enough():
    rng = np.random.default_rng(5)
    test, past, _ = drawn(rng, 4000)
    found = INDEX.effect(
        Experiment(test.user, test.surrogates, test.treated), PastExperiments(past.user, past.surrogates, past.outcome)
    )
    means = [test.surrogates[arm].mean() for arm in (test.treated, ~test.treated)]
    slope = np.polyfit(past.surrogates[:, 0], past.outcome, 1)[0]
    # one sample, so the correction takes in how Y differs between arms beside s: nothing but noise
    assert found.uncorrected == pytest.approx(slope * (means[0] - means[1]), abs=0.02)


def test_bounds_by_hand():
    assert HALF.worst_bias == pytest.approx(2 * np.sqrt(0.96 / 0.25))
    assert HALF.bias_per_sd == pytest.approx(1.92)
    assert HALF.turning_point == pytest.approx(0.3 / 1.92)
    assert HALF.interval(0.95) == pytest.approx((0.3 - 0.196, 0.3 + 0.196), abs=1e-4)
    assert HALF.interval(0.95, bias=0.1) == pytest.approx((0.004, 0.596), abs=1e-4)
    half = 2.228 * np.sqrt(0.01 + (1.92 * 0.05) ** 2 + (1.92 * 0.01) ** 2)  # Student's, 10 degrees of freedom
    low, high = HALF.predictive_interval(0.95, Violations(0.02, 0.05, 0.01, 12))
    assert (low, high) == pytest.approx((0.3 + 0.0384 - half, 0.3 + 0.0384 + half), abs=1e-3)


def test_the_worst_bias_is_reached_where_all_that_is_left_of_one_is_left_of_the_other():
    rng = np.random.default_rng(6)
    n = 20_000
    treated, s = np.arange(n) % 2 == 0, rng.normal(size=n)
    y = s + 3.0 * (treated - 0.5)  # the residual is the treatment
    found = INDEX.effect(Experiment(np.arange(n), s[:, None], treated), PastExperiments(np.arange(n), s[:, None], y))
    assert found.worst_bias == pytest.approx(3.0, rel=0.01)
    assert abs(found.effect) < 0.05
    assert found.bias_per_sd * 3.0 / found.residual_sd == pytest.approx(3.0, rel=0.01)


def test_a_gap_tells_the_direct_effect():
    rng = np.random.default_rng(7)
    _, past, _ = drawn(rng, 20_000, first=100_000)
    test, _, outcome = drawn(rng, 20_000, direct=0.2)
    found = INDEX.gap(test, outcome, past)
    assert found.effect == pytest.approx(0.5, abs=4 * found.se)
    assert found.index.effect == pytest.approx(0.3, abs=4 * found.index.se)
    assert found.direct == pytest.approx(0.2 / found.index.bias_per_sd, abs=4 * found.direct_se)
    assert found.direct_se < np.hypot(found.se, found.index.se) / found.index.bias_per_sd  # they share users


def test_errors_of_gaps_are_told():
    found = []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        test, _, outcome = drawn(rng, 200)
        gap = INDEX.gap(test, outcome, drawn(rng, 200, first=1000)[1])
        found.append([gap.direct, gap.direct_se, gap.effect, gap.se])
    direct, direct_se, effect, se = np.array(found).T
    assert direct_se.mean() == pytest.approx(direct.std(), rel=0.2)
    assert se.mean() == pytest.approx(effect.std(), rel=0.2)


def test_the_spread_of_violations_is_recovered():
    rng = np.random.default_rng(8)
    errors = rng.uniform(0.05, 0.2, 4000)
    found = violations(rng.normal(0.1, 0.2, 4000) + errors * rng.normal(size=4000), errors)
    assert found.spread == pytest.approx(0.2, abs=0.01)
    assert found.mean == pytest.approx(0.1, abs=3 * found.mean_se)
    assert violations(errors * rng.normal(size=4000) / 2, errors).spread == 0


def test_boosted_trees_learn_a_bend():
    pytest.importorskip("lightgbm")
    x = np.random.default_rng(9).uniform(-2, 2, (2000, 1))
    regression = boosted(parameters={"num_leaves": 8, "learning_rate": 0.2}, trees=60, num_threads=1, seed=0)
    h = regression(x, np.abs(x[:, 0]))
    assert np.abs(h(x) - np.abs(x[:, 0])).mean() < 0.05
    assert (h(x) == regression(x, np.abs(x[:, 0]))(x)).all()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"surrogates": np.zeros(4)}, r"surrogates expected shape \(4, columns\)"),
        ({"covariates": np.zeros((3, 1))}, r"covariates expected shape \(4, columns\)"),
        ({"surrogates": np.full((4, 1), np.nan)}, "surrogates expected finite numbers, got others in 4 places"),
        ({"treated": np.array([1, 0, 1, 0])}, "treated expected booleans"),
        ({"treated": np.array([True, False, False, False])}, "at least 2 rows in each arm"),
        ({"treated": np.array([True, False])}, r"treated expected shape \(4,\)"),
    ],
)
def test_a_test_is_checked(change, says):
    good = {"user": np.arange(4), "surrogates": np.zeros((4, 1)), "treated": np.array([True, True, False, False])}
    with pytest.raises(ValueError, match=says):
        Experiment(**good | change)


def test_a_past_is_checked():
    with pytest.raises(ValueError, match=r"outcome expected shape \(4,\)"):
        PastExperiments(np.arange(4), np.zeros((4, 1)), np.zeros(3))


def test_what_does_not_fit_is_told():
    test, past, outcome = drawn(np.random.default_rng(0), 20)
    with pytest.raises(ValueError, match="the same surrogates and covariates in both samples"):
        INDEX.effect(Experiment(test.user, test.surrogates, test.treated), past)
    with pytest.raises(ValueError, match=r"outcome expected shape \(20,\)"):
        INDEX.gap(test, outcome[:5], past)
    with pytest.raises(ValueError, match="at least as many users as folds, got 20 and 50"):
        SurrogateIndex(linear(ridge=0, degree=1), folds=50, degree=1, ridge=0, seed=0).effect(test, past)
    with pytest.raises(ValueError, match="folds expected at least 2, got 1"):
        SurrogateIndex(linear(ridge=0, degree=1), folds=1, degree=1, ridge=0, seed=0)
    with pytest.raises(ValueError, match="ridge of at least 0 and degree 1 or 2, got -1 and 1"):
        linear(ridge=-1, degree=1)
    with pytest.raises(ValueError, match="bias expected a bound of at least 0"):
        HALF.interval(0.95, bias=-1)
    with pytest.raises(ValueError, match="level must lie between 0 and 1"):
        HALF.interval(1.0)
    with pytest.raises(ValueError, match="at least 5 tests"):
        violations([0.1, 0.2], [1.0, 1.0])
    with pytest.raises(ValueError, match="standard errors above 0"):
        violations([0.1, 0.2, 0.3, 0.4, 0.5], [1.0, 1.0, 1.0, 1.0, 0.0])
