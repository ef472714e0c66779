"""The bootstrap by user: counts by hash, sums that add over chunks of users, intervals that cover."""

import numpy as np
import pytest
from scipy import stats

from reward.statistics.bootstrap import POISSON, RatioRows, Ratios, Resamples, Sums, Users, percentiles
from reward.statistics.sums import fold
from reward.statistics.unit_bootstrap import interval, ratio
from reward.statistics.user_hash import user_hash

LEVEL = 0.95
SETTING = {"resamples": 200, "level": LEVEL}


def counts_of(users, *, resamples, seed=0):
    """(resamples, users)."""
    return np.concatenate([part for _, part in Resamples(resamples, seed).weights(user_hash(np.arange(users)))])


def rows_of(seed=0, n=400, users=60, k=3):
    generator = np.random.default_rng(seed)
    user = generator.integers(users, size=n)
    shared = generator.normal(size=users)[user]
    return shared[:, None] + generator.normal(size=(n, k)), generator.random((n, k)) < 0.7, user


def chunked(arrays, user, chunks, seed):
    """The rows cut into chunks of whole users, in a random order."""
    generator = np.random.default_rng(seed)
    of_user = generator.integers(chunks, size=user.max() + 1)[user]
    for chunk in generator.permutation(chunks):
        some = np.flatnonzero(of_user == chunk)
        some = generator.permutation(some)
        yield *(array[some] for array in arrays), user[some]


def test_the_law_of_a_count_is_poissons_with_a_mean_and_a_variance_of_exactly_one():
    law, count = np.array(POISSON), np.arange(len(POISSON))
    assert law.sum() == 2**16
    assert law @ count == 2**16
    assert law @ (count - 1) ** 2 == 2**16
    np.testing.assert_allclose(law / 2**16, stats.poisson(1).pmf(count), atol=3e-5)


def test_counts_have_their_law_and_are_independent_over_users_resamples_and_seeds():
    counts = counts_of(5_000, resamples=200)
    seen = np.bincount(counts.astype(int).ravel(), minlength=len(POISSON))
    pooled = [np.append(each[:6], each[6:].sum()) for each in (seen, counts.size * np.array(POISSON) / 2**16)]
    assert stats.chisquare(*pooled).pvalue > 1e-3
    # of each user over resamples, and of each resample over users: mean and variance 1
    for axis, size in ((0, 200), (1, 5_000)):
        assert np.abs(counts.mean(axis=axis) - 1).max() < 5 / np.sqrt(size)
    assert counts.var(axis=1) == pytest.approx(np.ones(200), abs=5 * np.sqrt(3 / 5_000))
    between_resamples = np.corrcoef(counts) - np.eye(200)
    assert np.abs(between_resamples).max() < 5.5 / np.sqrt(5_000)
    between_users = np.corrcoef(counts[:, :300].T) - np.eye(300)
    assert np.abs(between_users).max() < 5.5 / np.sqrt(200)
    assert between_users.std() == pytest.approx(1 / np.sqrt(200), rel=0.05)
    other = counts_of(5_000, resamples=200, seed=1)
    assert abs(np.corrcoef(counts.ravel(), other.ravel())[0, 1]) < 5 / 1_000


def test_a_count_depends_on_user_resample_and_seed_alone(monkeypatch):
    counts = counts_of(50, resamples=10)
    np.testing.assert_array_equal(counts_of(20, resamples=10), counts[:, :20])
    np.testing.assert_array_equal(counts_of(50, resamples=7), counts[:7])
    assert (counts_of(50, resamples=10, seed=1) != counts).any()
    monkeypatch.setattr("reward.statistics.bootstrap._CELLS", 100)
    np.testing.assert_array_equal(counts_of(50, resamples=10), counts)


def test_sums_are_those_of_rows_times_the_counts_of_their_users(monkeypatch):
    values, _, user = rows_of()
    counts = counts_of(60, resamples=10)[:, user]
    wanted = np.concatenate([values.sum(axis=0, keepdims=True), counts @ values])
    for cells, part in ((1 << 20, 1 << 12), (40, 4)):
        monkeypatch.setattr("reward.statistics.bootstrap._CELLS", cells)
        monkeypatch.setattr("reward.statistics.bootstrap._PART", part)
        found = Resamples(10, seed=0).sums(values, Users.of(user))
        np.testing.assert_allclose(found.table, wanted, rtol=1e-12, atol=1e-12)
        assert found.users == len(np.unique(user))


@pytest.mark.parametrize("names", [False, True])
@pytest.mark.parametrize("chunks", [1, 3, 17])
@pytest.mark.parametrize("order", [0, 1, 2])
def test_ratios_are_the_same_over_any_chunks_of_users_in_any_order(chunks, order, names):
    above, below, user = rows_of()
    ids = np.array([f"user {code}" for code in range(60)]) if names else np.arange(60)
    ratios = Ratios(Resamples(30, seed=0))
    whole = ratios.solve(ratios.partial(RatioRows(above, below, Users.of(ids[user]))))
    cut = chunked((above, below), user, chunks, order)
    found = fold(ratios, (RatioRows(*parts, Users.of(ids[codes])) for *parts, codes in cut))
    np.testing.assert_allclose(found, whole, rtol=1e-10)


def test_two_statistics_with_one_seed_have_the_same_resamples():
    above, below, user = rows_of()
    ratios = Ratios(Resamples(30, seed=0))
    first, second = (
        ratios.solve(ratios.partial(RatioRows(column, below, Users.of(user)))) for column in (above, 2 * above + 3)
    )
    of_one = ratios.solve(ratios.partial(RatioRows(np.ones(below.shape), below, Users.of(user))))
    np.testing.assert_allclose(second, 2 * first + 3 * of_one, rtol=1e-9)


def test_a_ratio_sums_by_user_before_it_divides_and_has_no_value_over_nothing():
    rows = RatioRows(
        np.array([[1.0, 2.0], [3.0, 0.0], [5.0, 7.0]]),
        np.array([[1.0, 1.0], [1.0, 0.0], [2.0, 0.0]]),
        Users.of([8, 7, 8]),
    )
    ratios = Ratios(Resamples(40, seed=0))
    table = ratios.solve(ratios.partial(rows))
    np.testing.assert_allclose(table[0], [(1 + 3 + 5) / (1 + 1 + 2), (2 + 7) / 1])
    one, other = counts_of(9, resamples=40)[:, 7:].T
    drawn = one + other > 0
    np.testing.assert_allclose(table[1:, 0][drawn], (3 * one + 6 * other)[drawn] / (one + 3 * other)[drawn])
    np.testing.assert_array_equal(np.isnan(table[1:, 1]), other == 0)


def test_intervals_cover_as_often_as_those_of_multinomial_counts():
    covered = {"by hash": 0, "multinomial": 0}
    widths = {"by hash": [], "multinomial": []}
    repetitions = 200
    for repetition in range(repetitions):
        values, below, user = rows_of(seed=repetition, n=300, users=50, k=1)
        ids = user + 1_000 * repetition  # other users each time
        ratios = Ratios(Resamples(200, seed=0))
        table = ratios.solve(ratios.partial(RatioRows(values * below, below, Users.of(ids))))
        code = np.unique(user, return_inverse=True)[1]
        plain = interval(ratio(values * below, below, code), code.max() + 1, **(SETTING | {"seed": repetition}))
        for name, (low, high) in {"by hash": percentiles(table[1:], LEVEL), "multinomial": plain}.items():
            covered[name] += bool(low[0] <= 0 <= high[0])
            widths[name].append(high[0] - low[0])
    assert 0.89 <= covered["by hash"] / repetitions <= 0.98
    assert abs(covered["by hash"] - covered["multinomial"]) / repetitions < 0.03
    assert np.mean(widths["by hash"]) == pytest.approx(np.mean(widths["multinomial"]), rel=0.03)


def test_ends_are_quantiles_and_nan_where_a_resample_has_no_value():
    draws = np.stack([np.arange(101.0), np.where(np.arange(101) == 7, np.nan, 1.0), np.full(101, np.inf)], axis=1)
    low, high = percentiles(draws, 0.9)
    np.testing.assert_allclose([low[0], high[0]], [5, 95])
    assert np.isnan([low[1:], high[1:]]).all()


def test_an_infinite_loss_leaves_no_interval_and_other_columns_theirs():
    above, below, user = rows_of()
    above[3, 0] = np.inf
    ratios = Ratios(Resamples(30, seed=0))
    low, high = percentiles(ratios.solve(ratios.partial(RatioRows(above, below, Users.of(user))))[1:], LEVEL)
    np.testing.assert_array_equal(np.isnan([low, high]), [[True, False, False]] * 2)


@pytest.mark.parametrize("ids", [[], [7, 7]])
def test_fewer_than_two_users_cannot_be_resampled(ids):
    ratios = Ratios(Resamples(5, seed=0))
    state = ratios.partial(RatioRows(np.ones((len(ids), 1)), np.ones((len(ids), 1)), Users.of(ids)))
    with pytest.raises(ValueError, match=f"at least 2 of them, got {len(set(ids))}"):
        ratios.solve(state)


def test_no_resample_is_refused():
    with pytest.raises(ValueError, match="resamples must be at least 1, got 0"):
        Resamples(0, seed=0)


def test_shapes_that_do_not_fit_are_refused():
    ratios, users = Ratios(Resamples(5, seed=0)), Users.of([1, 2])
    with pytest.raises(ValueError, match=r"\(n, k\), got \(2, 1\) and \(2,\)"):
        ratios.partial(RatioRows(np.ones((2, 1)), np.ones(2), users))
    with pytest.raises(ValueError, match="for each of 3 rows"):
        ratios.partial(RatioRows(np.ones((3, 1)), np.ones((3, 1)), users))
    with pytest.raises(ValueError, match=r"expected values \(n, k\), got shape \(2,\)"):
        Resamples(5, seed=0).sums(np.ones(2), users)


def test_states_of_sums_add():
    one, other = Sums(np.ones((3, 2)), 4), Sums(np.full((3, 2), 2.0), 5)
    both = one + other
    assert both.users == 9
    np.testing.assert_array_equal(both.table, np.full((3, 2), 3.0))
