"""How far a ranker may be pushed on what was learned."""

import numpy as np
import pytest

from reward.effects.anchors import Anchors
from reward.effects.pushing import DIVERGENCES, PESSIMISM, leaning_at, pushes

ITEMS = 40


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def divergence(policy, share):
    return float(sum(p * np.log(p / s) for p, s in zip(policy, share, strict=True) if p > 0))


def test_a_policy_is_as_far_from_what_was_shown_as_asked_and_the_best_at_that_distance(rng):
    share, reward = rng.dirichlet(np.ones(ITEMS)), rng.normal(size=ITEMS)
    policies = leaning_at(share, reward, np.array([0.1, 1.0]))
    assert [divergence(policy, share) for policy in policies] == pytest.approx([0.1, 1.0], abs=1e-6)
    for policy in policies:  # any other policy as near to what was shown is worth less
        other = rng.dirichlet(np.ones(ITEMS))
        mixed = max(
            (share + part * (other - share) for part in np.linspace(0, 1, 50)),
            key=lambda it: divergence(it, share) if divergence(it, share) <= divergence(policy, share) else -1,
        )
        assert policy @ reward > mixed @ reward


def test_what_is_kept_is_what_other_users_say_of_the_policy(rng):
    shown = rng.integers(1, 50, ITEMS).astype(float)
    mean = rng.normal(size=(2, ITEMS))
    anchor = Anchors(rng.normal(size=(2, ITEMS)), rng.uniform(0.5, 2, (2, ITEMS)))
    push = pushes(shown, mean, np.ones((2, ITEMS)), anchor)[0.0]
    share = shown / shown.sum()
    at = list(push.divergence).index(0.4)
    lean = [leaning_at(share, mean[fold], np.array([0.4]))[0] - share for fold in range(2)]
    assert push.promised[at] == pytest.approx(np.mean([lean[fold] @ mean[fold] for fold in range(2)]))
    assert push.kept[at] == pytest.approx(np.mean([lean[fold] @ anchor.value[fold] for fold in range(2)]))
    noise = sum(lean[fold] ** 2 @ anchor.variance[fold] for fold in range(2)) / 4
    assert push.kept_se[at] == pytest.approx(np.sqrt(2 * noise))


def test_where_rewards_are_noise_more_is_promised_than_kept_and_no_push_is_sure(rng):
    sure = 0
    for _ in range(40):
        mean, value = rng.normal(size=(2, 5, ITEMS))
        push = pushes(np.full(ITEMS, 50.0), mean, np.ones((5, ITEMS)), Anchors(value, np.ones((5, ITEMS))))[0.0]
        assert push.promised[-1] > push.kept[-1] + push.kept_se[-1]
        assert (np.diff(push.promised) > 0).all()
        sure += push.surest is not None
    assert sure <= 4


def test_where_they_are_right_the_whole_promise_is_kept(rng):
    truth = rng.normal(size=ITEMS)
    anchor = Anchors(truth + rng.normal(0, 0.1, (5, ITEMS)), np.full((5, ITEMS), 0.01))
    pushed = pushes(np.full(ITEMS, 50.0), np.tile(truth, (5, 1)), np.zeros((5, ITEMS)), anchor)
    for kappa in PESSIMISM:
        push = pushed[kappa]
        np.testing.assert_allclose(push.kept, push.promised, atol=4 * push.kept_se.max())
        assert push.surest == len(push.divergence) - 1
        assert push.values()["limit"] == push.divergence[-1]


def test_an_item_of_which_little_is_known_is_leaned_on_less_by_a_pessimist():
    mean, std = np.zeros((2, 10)), np.full((2, 10), 0.1)
    mean[:, 0], std[:, 0], mean[:, 1] = 3.0, 4.0, 2.0
    value = np.zeros((2, 10))
    value[:, 1] = 2.0  # the first was luck
    pushed = pushes(np.full(10, 5.0), mean, std, Anchors(value, np.full((2, 10), 0.01)))
    assert pushed[1.0].kept[-1] > pushed[0.0].kept[-1] + 1


def test_items_that_a_fold_has_not_seen_take_no_part():
    mean = np.zeros((2, 3))
    mean[:, 2] = 9.0
    variance = np.ones((2, 3))
    variance[1, 2] = np.inf
    push = pushes(np.array([5.0, 5.0, 5.0]), mean, np.zeros((2, 3)), Anchors(np.zeros((2, 3)), variance))[0.0]
    assert not len(push.divergence)  # the two that are left are alike: nobody can be pushed
    assert push.surest is None
    assert push.values()["limit"] == 0


def test_there_are_pushes_from_hardly_to_as_far_as_one_item_alone(rng):
    share = np.full(ITEMS, 1 / ITEMS)
    anchor = Anchors(np.zeros((2, ITEMS)), np.ones((2, ITEMS)))
    push = pushes(share * 1000, rng.normal(size=(2, ITEMS)), np.ones((2, ITEMS)), anchor)[0.0]
    assert push.divergence.tolist() == [it for it in DIVERGENCES if it < np.log(ITEMS)]
