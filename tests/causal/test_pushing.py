"""How far a ranker may be pushed on what was learned."""

from dataclasses import replace

import numpy as np
import pytest

from reward.causal.diagnostics.policy_shift import (
    DIVERGENCES,
    PESSIMISM,
    Slots,
    leaning_at,
    policy_shifts,
    slot_policy_shifts,
)
from reward.causal.item_effects.ipw import Anchors

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
    push = policy_shifts(shown, mean, np.ones((2, ITEMS)), anchor)[0.0]
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
        push = policy_shifts(np.full(ITEMS, 50.0), mean, np.ones((5, ITEMS)), Anchors(value, np.ones((5, ITEMS))))[0.0]
        assert push.promised[-1] > push.kept[-1] + push.kept_se[-1]
        assert (np.diff(push.promised) > 0).all()
        sure += push.surest is not None
    assert sure <= 4


def test_where_they_are_right_the_whole_promise_is_kept(rng):
    truth = rng.normal(size=ITEMS)
    anchor = Anchors(truth + rng.normal(0, 0.1, (5, ITEMS)), np.full((5, ITEMS), 0.01))
    pushed = policy_shifts(np.full(ITEMS, 50.0), np.tile(truth, (5, 1)), np.zeros((5, ITEMS)), anchor)
    for kappa in PESSIMISM:
        push = pushed[kappa]
        np.testing.assert_allclose(push.kept, push.promised, atol=4 * push.kept_se.max())
        assert push.surest == len(push.divergence) - 1
        assert push.limit == push.divergence[-1]


def test_an_item_of_which_little_is_known_is_leaned_on_less_by_a_pessimist():
    mean, std = np.zeros((2, 10)), np.full((2, 10), 0.1)
    mean[:, 0], std[:, 0], mean[:, 1] = 3.0, 4.0, 2.0
    value = np.zeros((2, 10))
    value[:, 1] = 2.0  # the first was luck
    pushed = policy_shifts(np.full(10, 5.0), mean, std, Anchors(value, np.full((2, 10), 0.01)))
    assert pushed[1.0].kept[-1] > pushed[0.0].kept[-1] + 1


def test_items_that_a_fold_has_not_seen_take_no_part():
    mean = np.zeros((2, 3))
    mean[:, 2] = 9.0
    variance = np.ones((2, 3))
    variance[1, 2] = np.inf
    push = policy_shifts(np.array([5.0, 5.0, 5.0]), mean, np.zeros((2, 3)), Anchors(np.zeros((2, 3)), variance))[0.0]
    assert not len(push.divergence)  # the two that are left are alike: nobody can be pushed
    assert push.surest is None
    assert push.limit == 0


def test_there_are_pushes_from_hardly_to_as_far_as_one_item_alone(rng):
    share = np.full(ITEMS, 1 / ITEMS)
    anchor = Anchors(np.zeros((2, ITEMS)), np.ones((2, ITEMS)))
    push = policy_shifts(share * 1000, rng.normal(size=(2, ITEMS)), np.ones((2, ITEMS)), anchor)[0.0]
    assert push.divergence.tolist() == [it for it in DIVERGENCES if it < np.log(ITEMS)]


def slots_of(rng, slates=300, draws=7, users=40, per_slate=2):
    """Slots of rewards alone: nothing in them says anything of the days gained."""
    n = slates * per_slate
    slate = np.repeat(np.arange(slates), per_slate)
    return Slots(
        mean=rng.normal(size=n),
        std=rng.uniform(0.1, 1, n),
        others_mean=rng.normal(size=(slates, draws)),
        others_std=rng.uniform(0.1, 1, (slates, draws)),
        slate=slate,
        user=rng.integers(0, users, slates)[slate],
        weight=rng.uniform(0.2, 3, n),
        value=rng.normal(0, 3, n),
    )


def test_one_of_two_items_is_picked_by_its_reward():
    slots = Slots(
        mean=np.array([1.0, 0.0]),
        std=np.zeros(2),
        others_mean=np.array([[0.0], [1.0]]),  # 1 was shown where 0 could have been, and the reverse
        others_std=np.zeros((2, 1)),
        slate=np.array([0, 1]),
        user=np.array([0, 1]),
        weight=np.array([1.0, 3.0]),
        value=np.array([4.0, 2.0]),
    )
    push = slot_policy_shifts(slots)[0.0]
    assert push.divergence.tolist() == [0.01, 0.03, 0.1, 0.2, 0.4]  # picking the better of two is ln 2 away
    at, chance = 2, next(p for p in np.linspace(0.5, 1, 10**6) if p * np.log(2 * p) + (1 - p) * np.log(2 - 2 * p) > 0.1)
    assert push.promised[at] == pytest.approx(chance - 0.5, abs=1e-5)
    gains = np.array([1 * (2 * chance - 1) * 4, 3 * (2 * (1 - chance) - 1) * 2])
    assert push.kept[at] == pytest.approx(gains.sum() / 4, abs=1e-5)
    assert push.kept_se[at] == pytest.approx(np.sqrt(2 * (gains**2).sum()) / 4, abs=1e-5)


@pytest.mark.parametrize("kappa", PESSIMISM)
def test_what_slots_keep_is_a_sum_over_them_one_by_one(rng, kappa):
    slots = slots_of(rng)
    push = slot_policy_shifts(slots)[kappa]
    candidates = np.concatenate([slots.mean[:, None], slots.others_mean[slots.slate]], axis=1)
    doubt = np.concatenate([slots.std[:, None], slots.others_std[slots.slate]], axis=1)

    def told(beta):
        far = promised = kept = 0.0
        by_user = np.zeros(slots.user.max() + 1)
        for row in range(len(slots.mean)):
            odds = np.exp(beta * (candidates[row] - kappa * doubt[row]))
            pick = odds / odds.sum()
            far += slots.weight[row] * sum(p * np.log(len(pick) * p) for p in pick)
            promised += slots.weight[row] * (pick @ candidates[row] - candidates[row].mean())
            gain = slots.weight[row] * (len(pick) * pick[0] - 1) * slots.value[row]
            kept += gain
            by_user[slots.user[row]] += gain
        return np.array([far, promised, kept, np.sqrt(2 * (by_user**2).sum())]) / slots.weight.sum()

    at = list(push.divergence).index(0.4)
    low, high = 0.01, 100.0
    for _ in range(50):
        middle = np.sqrt(low * high)
        low, high = (middle, high) if told(middle)[0] < 0.4 else (low, middle)
    assert [push.divergence[at], push.promised[at], push.kept[at], push.kept_se[at]] == pytest.approx(
        told(low), rel=1e-6
    )


def lived(rng, effect, users=4000, slots_each=5, draws=15):
    """Two kinds of users, shown items by a policy that leans on what their kind likes; ``effect``, (kinds, items)."""
    items, n = effect.shape[1], users * slots_each
    user = np.repeat(np.arange(users), slots_each)
    kind = user % 2
    chance = np.exp(0.5 * rng.normal(size=items) + 0.5 * effect)
    chance /= chance.sum(axis=1, keepdims=True)
    item = (chance[kind].cumsum(axis=1) < rng.random((n, 1))).sum(axis=1).clip(0, items - 1)
    share = np.bincount(item, minlength=items) / n
    drawn = rng.choice(items, p=share, size=(n, draws))
    reward = effect[kind]
    slots = Slots(
        mean=np.take_along_axis(reward, item[:, None], axis=1)[:, 0],
        std=np.zeros(n),
        others_mean=np.take_along_axis(reward, drawn, axis=1),
        others_std=np.zeros((n, draws)),
        slate=np.arange(n),
        user=user,
        weight=share[item] / chance[kind, item],
        value=effect[kind, item] + rng.normal(0, 0.5, n),
    )
    return slots, share


def exact_gain(share, effect, nats):
    """What the policy of one strength for all kinds of users gains that is as far from ``share`` on average."""
    low, high = 0.01, 100.0
    for _ in range(60):
        middle = np.sqrt(low * high)
        policy = share * np.exp(middle * effect)
        policy /= policy.sum(axis=1, keepdims=True)
        far = (policy * np.log(policy / share)).sum(axis=1).mean()
        low, high = (middle, high) if far < nats else (low, middle)
    return ((policy - share) * effect).sum(axis=1).mean()


def test_where_rewards_are_right_slots_keep_the_promise_and_it_is_what_the_policy_gains(rng):
    effect = rng.normal(size=(2, 12))
    slots, share = lived(rng, effect, draws=63)
    push = slot_policy_shifts(slots)[0.0]
    np.testing.assert_allclose(push.kept, push.promised, atol=3 * push.kept_se.max())
    at = list(push.divergence).index(0.4)
    assert push.promised[at] == pytest.approx(exact_gain(share, effect, 0.4), rel=0.05)
    assert push.limit == push.divergence[-1]


def test_more_draws_bring_a_pick_nearer_to_the_policy_that_knows_the_day(rng):
    effect = rng.normal(size=(2, 40))
    gained = []
    for draws in (3, 15, 63):
        slots, share = lived(np.random.default_rng(5), effect, draws=draws)
        gained.append(slot_policy_shifts(slots)[0.0].promised[4])  # at .4 nats
    assert gained == sorted(gained)
    assert gained[-1] == pytest.approx(exact_gain(share, effect, 0.4), rel=0.03)


def test_where_slots_gain_nothing_no_push_is_sure():
    sure = sum(slot_policy_shifts(slots_of(np.random.default_rng(seed)))[0.0].surest is not None for seed in range(40))
    assert sure <= 4


def test_what_is_shown_is_no_better_than_what_could_have_been_on_average(rng):
    slots, _ = lived(rng, rng.normal(size=(2, 12)))
    push = slot_policy_shifts(replace(slots, value=np.ones(len(slots.value))))[
        0.0
    ]  # a day that was good whatever was shown
    assert np.abs(push.kept / push.kept_se).max() < 3


def test_rewards_that_are_all_alike_push_nobody(rng):
    slots = replace(slots_of(rng), mean=np.full(600, 0.3), others_mean=np.full((300, 7), 0.3))
    assert not len(slot_policy_shifts(slots)[0.0].divergence)
    assert slot_policy_shifts(slots)[0.0].limit == 0
