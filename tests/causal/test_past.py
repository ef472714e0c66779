import numpy as np
import pytest

from reward.causal.user_effects.decayed_counts import Counts, Sums

SPANS = (2.0, 9.0)


@pytest.fixture(scope="module")
def events():
    rng = np.random.default_rng(0)
    n = 400
    user, item = rng.integers(0, 7, n), rng.integers(0, 5, n)
    time = 19_000 + np.round(rng.uniform(0, 40, n), 2)  # several at one moment
    order = np.lexsort((time, user))
    return user[order], item[order], time[order]


def test_counts_are_the_decayed_sums_over_earlier_events_of_the_key(events):
    user, item, time = events
    key = user * 5 + item
    asked = np.concatenate([key, [3, 3, 10**6]])
    when = np.concatenate([time, [18_000.0, 19_500.0, 19_020.0]])
    found = Counts.of(key, time, SPANS).before(asked, when)
    for row in range(len(asked)):
        mine = time[(key == asked[row]) & (time < when[row])]
        wanted = [np.exp(-(when[row] - mine) / span).sum() for span in SPANS]
        np.testing.assert_allclose(found[row], wanted, atol=1e-12)


def test_counts_of_nothing_are_0():
    none = Counts.of(np.zeros(0, np.int64), np.zeros(0), SPANS)
    assert (none.before(np.array([0, 4]), np.array([1.0, 2.0])) == 0).all()


def test_a_key_of_ten_years_keeps_its_latest_events():
    time = np.arange(0.0, 3650.0)
    found = Counts.of(np.zeros(len(time), np.int64), time, (3.0, 1000.0)).before(
        np.zeros(1, np.int64), np.array([1000.5])
    )
    np.testing.assert_allclose(found[0, 0], np.exp(-(0.5 + np.arange(1001)) / 3).sum())


def test_sums_are_over_the_users_earlier_events(events):
    user, _, time = events
    values = np.random.default_rng(1).normal(size=(len(user), 3))
    asked = np.concatenate([user, [0, 8]])
    when = np.concatenate([time, [19_500.0, 19_010.0]])
    found = Sums.of(user, time, values, 9).before(asked, when)
    for row in range(len(asked)):
        mine = (user == asked[row]) & (time < when[row])
        np.testing.assert_allclose(found[row], values[mine].sum(axis=0), atol=1e-12)


def test_codes_of_many_users_do_not_overflow_whatever_their_width():
    users = 70_000  # each with a moment of their own: the product is beyond 32 bits
    user, time = np.arange(users), np.arange(users) / 1000
    asked, when = np.array([40_000, 69_000], np.uint32), np.full(2, 70.0)
    counted = Counts.of(user, time, (10.0,)).before(asked, when)
    np.testing.assert_allclose(counted[:, 0], np.exp([-3.0, -0.1]))
    summed = Sums.of(user, time, np.ones((users, 1)), users).before(asked, when)
    assert summed[:, 0].tolist() == [1.0, 1.0]
