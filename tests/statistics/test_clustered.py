"""Standard errors clustered by user, as sums over chunks of users."""

import numpy as np
import pytest

from reward.statistics.clustered import ClusteredError, clustered_error
from reward.statistics.sums import fold


def plain(*samples):
    """The formula, user by user."""
    users = np.unique(np.concatenate([user for user, _ in samples]))
    total = 0.0
    for one in users:
        total += sum((values[user == one] - values.mean()).sum() / len(values) for user, values in samples) ** 2
    return np.sqrt(len(users) / (len(users) - 1) * total)


def samples(seed=0, users=90, far=0.0):
    """Two samples that have users in common, each row's user as a code without gaps."""
    generator = np.random.default_rng(seed)
    first, second = (np.concatenate([np.arange(users), generator.integers(users, size=n)]) for n in (300, 120))
    shared = generator.normal(size=users)
    return [(user, far + shared[user] + generator.normal(size=len(user))) for user in (first, second)]


def test_it_is_the_formula_user_by_user():
    given = samples()
    assert clustered_error(*given) == pytest.approx(plain(*given), rel=1e-12)
    assert clustered_error(given[0]) == pytest.approx(plain(given[0]), rel=1e-12)


@pytest.mark.parametrize("far", [0.0, 1e6])
@pytest.mark.parametrize("chunks", [1, 3, 17])
@pytest.mark.parametrize("order", [0, 1, 2])
def test_it_is_the_same_over_any_chunks_of_users_in_any_order(chunks, order, far):
    given = samples(far=far)
    generator = np.random.default_rng(order)
    chunk_of = generator.integers(chunks, size=90)
    cut = []
    for chunk in generator.permutation(chunks):
        mine = np.flatnonzero(chunk_of == chunk)
        inside = [np.isin(user, mine) for user, _ in given]
        cut.append(
            [
                (np.searchsorted(mine, user[some]), values[some])
                for (user, values), some in zip(given, inside, strict=True)
            ]
        )
    assert fold(ClusteredError(), cut) == pytest.approx(clustered_error(*given), rel=1e-10)


def test_a_chunk_may_lack_one_of_the_samples():
    (user, values), (other, more) = samples()
    none = np.zeros(0, np.int64), np.zeros(0)
    cut = [[(user, values), none], [none, (other, more)]]
    whole = clustered_error((user, values), (other + 90, more))
    assert fold(ClusteredError(), cut) == pytest.approx(whole, rel=1e-10)


@pytest.mark.parametrize("given", [[], [(np.zeros(3, int), np.ones(3))], [(np.zeros(0, int), np.zeros(0))]])
def test_it_wants_two_users(given):
    with pytest.raises(ValueError, match="rows of at least 2 users"):
        clustered_error(*given)
