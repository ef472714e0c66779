"""What came after a click, how it hangs together with the effect of being shown, and both in one posterior."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from reward.causal.item_effects.feedback_rates import Traits
from reward.causal.item_effects.front_door import FrontDoor, front_door
from reward.causal.item_effects.ipw import IPWEstimates, _Pairs, ipw_estimates
from reward.causal.item_effects.link import link
from reward.causal.item_effects.observed import Observed
from reward.causal.item_effects.outcome_residuals import DayEffects, UserDays
from reward.causal.item_effects.past import directions_of, profiles_of
from reward.causal.item_effects.shrinkage import evidence, pooled_effects
from reward.statistics.cells import CellTotals

ITEMS, FOLDS = 600, 3
APART = np.arange(ITEMS)  # each item is a group of its own


def shown(user, day, row, fold, value, item, precision=None, noise=None):
    """Exposures of user-days."""
    days = UserDays(
        users=pl.Series(range(len(fold))),
        user=np.array(user),
        day=np.array(day),
        fold=np.array(fold),
        known=np.ones(len(user), np.int64),
        residual=np.array(value, np.float32)[:, None],
        expected=np.zeros(len(user)),
        row=np.array(row),
        start=0,
        span=int(np.max(day)) + 1,
    )
    effect = DayEffects(np.array(value, float), np.ones(len(user)) if precision is None else precision, noise)
    return Observed(days, effect, np.array(item), np.ones(len(row)))


def test_a_contrast_by_hand():
    # of fold 0, whose mean is 2.5: item 0 clicked by two and not by one, item 1 by nobody
    value, item, click = [1.0, 5.0, 0.0, 4.0], [0, 0, 0, 1], np.array([True, True, False, False])
    found = front_door([shown(range(4), [0] * 4, range(4), [0] * 4, value, item)], [click], 2)
    assert found.value[0].tolist() == [3.0, 0.0]
    noise = np.mean((np.array(value) - 2.5) ** 2)
    assert found.variance[0].tolist() == pytest.approx([noise * (1 / 2 + 1), np.inf])


def test_a_contrast_is_known_as_well_as_its_days_are():
    value, click = np.tile([1.0, -1.0], 200), np.arange(400) % 4 < 2
    precision = np.where(click, 1.0, 0.25)  # what came after the others is known half as well
    days = shown(range(400), [0] * 400, range(400), [0] * 400, value / np.sqrt(precision), [0] * 400, precision)
    found = front_door([days], [click], 1)
    assert found.variance[0, 0] == pytest.approx(1 / 200 + 4 / 200)


def test_users_share_no_day_and_no_contrast_with_another_fold():
    rng = np.random.default_rng(0)
    fold, item = np.arange(60) % 2, rng.integers(0, 3, 60)
    value, click = rng.standard_normal(60), rng.random(60) < 0.5
    one = front_door([shown(range(60), [0] * 60, range(60), fold, value, item)], [click], 3)
    other = front_door([shown(range(60), [0] * 60, range(60), fold, np.where(fold, 9, value), item)], [click], 3)
    assert np.array_equal(one.value[0], other.value[0])


def drawn(unopened, bias_std, seed=0, effect_std=0.3):
    """Anchors, traits and contrasts of items whose effects are known: share · effect."""
    rng = np.random.default_rng(seed)
    opened, behind = rng.uniform(0.1, 0.5, ITEMS), rng.normal(0.1, effect_std, ITEMS)
    share = unopened + (1 - unopened) * opened
    anchor, front = 0.1 * rng.uniform(0.7, 1.3, (FOLDS, ITEMS)), 0.15 * rng.uniform(0.7, 1.3, (FOLDS, ITEMS))
    bias = 0.4 + bias_std * rng.standard_normal(ITEMS)  # users who click come more often
    contrast = (1 - unopened) * behind + bias + front * rng.standard_normal((FOLDS, ITEMS))
    traits = Traits(
        np.zeros((ITEMS, 0)), np.zeros((FOLDS + 1, ITEMS, 0)), np.tile(opened, (FOLDS + 1, 1)), np.zeros((ITEMS, 0))
    )
    anchors = IPWEstimates(share * behind + anchor * rng.standard_normal((FOLDS, ITEMS)), anchor**2)
    return share * behind, anchors, traits, FrontDoor(contrast, front**2)


@pytest.mark.parametrize("unopened", [0.0, 0.3, 0.7])
def test_what_an_exposure_does_without_a_click_is_found(unopened):
    found = [link(*drawn(unopened, 0.05, seed)[1:3], APART, drawn(unopened, 0.05, seed)[3]) for seed in range(4)]
    assert np.mean([it.unopened for it in found]) == pytest.approx(unopened, abs=0.12)
    assert np.mean([it.bias_std for it in found]) < 0.15


def test_what_is_no_effect_in_contrasts_is_found():
    found = [link(*drawn(0.0, 0.5, seed)[1:3], APART, drawn(0.0, 0.5, seed)[3]).bias_std for seed in range(4)]
    assert np.mean(found) == pytest.approx(0.5, abs=0.1)


def test_a_share_that_is_set_is_not_looked_for_and_the_found_one_explains_no_less():
    _, anchors, traits, front = drawn(0.3, 0.05)
    found, given = link(anchors, traits, APART, front), link(anchors, traits, APART, front, unopened=0.0)
    assert given.unopened == 0
    assert found.evidence > given.evidence + 1


def test_contrasts_that_hang_together_with_anchors_are_worth_more_than_each_alone():
    _, anchors, traits, front = drawn(0.0, 0.05)
    apart = evidence(anchors, traits, APART) + evidence(None, traits, APART, front)
    assert link(anchors, traits, APART, front).evidence > apart + 10
    order = np.random.default_rng(1).permutation(ITEMS)
    wrong = replace(front, value=front.value[:, order], variance=front.variance[:, order])
    assert link(anchors, traits, APART, wrong).evidence < apart


@pytest.mark.parametrize("unopened", [0.0, 0.4])
def test_the_posterior_of_both_is_nearer_the_truth_and_holds_it(unopened):
    truth, anchors, traits, front = drawn(unopened, 0.05)
    traits, front = replace(traits, unopened=unopened), replace(front, bias_std=0.05)
    alone, _ = pooled_effects(anchors, traits, APART).posterior_effects(traits, APART)
    both, std = pooled_effects(anchors, traits, APART, front).posterior_effects(traits, APART)
    assert np.sqrt(np.mean((both - truth) ** 2)) < 0.9 * np.sqrt(np.mean((alone - truth) ** 2))
    assert 0.92 < np.mean(np.abs(both - truth) <= 1.96 * std) < 0.98


def test_it_is_exact_bayes_for_the_spreads_it_finds():
    rng = np.random.default_rng(0)
    folds, items, a, bias = 3, 40, 0.25, 0.1
    groups, trait = np.arange(items) % 8, rng.standard_normal((items, 2))
    gate = np.tile(rng.uniform(0.2, 0.9, items), (folds + 1, 1))
    variance, spread = rng.uniform(0.05, 0.3, (folds, items)), rng.uniform(0.05, 0.3, (folds, items))
    truth = 0.5 * rng.standard_normal(8)[groups] + 0.3 * rng.standard_normal(items)
    anchor = IPWEstimates(truth + rng.standard_normal((folds, items)) * variance**0.5, variance)
    front = FrontDoor(0.7 + truth + rng.standard_normal((folds, items)) * spread**0.5, spread, bias)
    traits = Traits(trait, np.zeros((folds + 1, items, 0)), gate, np.zeros((items, 0)), a)
    made = pooled_effects(anchor, traits, groups, front)
    mean, std = made.posterior_effects(traits, groups)
    own, group, described, _ = made.spreads
    share, one, nothing = (a + (1 - a) * gate[0])[:, None], np.ones((items, 1)), np.zeros((items, 1))
    parts = np.concatenate([trait, np.eye(8)[groups], np.eye(items)], axis=1)
    # level, intercept, parts, what is the same of all contrasts, and what is no effect in each
    columns = np.concatenate([one, share, share * parts, nothing, np.zeros((items, items))], axis=1)
    contrasts = np.concatenate([nothing, nothing, (1 - a) * parts, one, np.eye(items)], axis=1)
    prior = [1.0, 1.0, *[described**2] * 2, *[group**2] * 8, *[own**2] * items, 1.0, *[bias**2] * items]
    seen = [(columns, anchor.value[k], variance[k]) for k in range(folds)]
    seen += [(contrasts, front.value[k], spread[k]) for k in range(folds)]
    posterior = np.linalg.inv(np.diag(1 / np.array(prior)) + sum(x.T @ (x / v[:, None]) for x, _, v in seen))
    weights = posterior @ sum(x.T @ (y / v) for x, y, v in seen)
    assert mean == pytest.approx(columns @ weights, abs=1e-8)
    assert std == pytest.approx(np.sqrt(np.einsum("xi,ij,xj->x", columns, posterior, columns)), abs=1e-8)


def test_the_fold_that_is_left_out_says_nothing():
    _, anchors, traits, front = drawn(0.0, 0.05)
    before = pooled_effects(anchors, traits, APART, front, without=1)
    moved = replace(front, value=front.value + np.array([[0.0], [9.0], [0.0]]))
    assert np.array_equal(pooled_effects(anchors, traits, APART, moved, without=1).own, before.own)


@pytest.mark.parametrize("rounds", [0, 1])
def test_a_mean_is_known_as_well_as_its_days_are(rounds):
    rng = np.random.default_rng(0)
    users, items = 40_000, 2000
    item = np.arange(users) % items
    precision = np.where(item % 2, 1.0, 0.2)  # of every second item no more than some days after are known
    value = rng.standard_normal(users) / np.sqrt(precision)
    days = shown(range(users), np.zeros(users, int), range(users), np.zeros(users, int), value, item, precision)
    found = ipw_estimates([days], items, rounds=rounds)
    z = (found.value**2 / found.variance)[0]
    assert [z[::2].mean(), z[1::2].mean()] == pytest.approx([1, 1], abs=0.1)


@pytest.mark.parametrize("alike", [0.0, 0.5, 1.0])
def test_days_of_a_user_say_as_much_as_they_differ(alike):
    rng = np.random.default_rng(0)
    users, items, days = 20_000, 1000, 3
    user, day = np.repeat(np.arange(users), days), np.tile(np.arange(days), users)
    value = np.sqrt(alike) * rng.standard_normal(users)[user] + np.sqrt(1 - alike) * rng.standard_normal(len(user))
    faithful = user % 2 == 0  # is shown the same item each day
    item = np.where(faithful, user // 2 % (items // 2), items // 2 + (user + 97 * day) % (items // 2))
    found = ipw_estimates([shown(user, day, range(len(user)), [0] * users, value, item)], items, rounds=0)
    z = (found.value**2 / found.variance)[0]
    assert [z[: items // 2].mean(), z[items // 2 :].mean()] == pytest.approx([1, 1], abs=0.15)


def test_what_else_was_shown_is_told_by_other_users():
    # user 0 is shown items 0 and 1, user 1 item 0, user 2 item 1; user 0's own luck is no part of what 0 and 1 did
    value = np.array([5.0, 1.0, 2.0])
    days = shown(range(3), [0] * 3, [0, 0, 1, 2], [0] * 3, value, [0, 1, 0, 1])
    pairs = _Pairs.of(days, 2, days.value)
    found = CellTotals(np.array([2.0, 2.0]), np.array([6.0, 7.0]))
    assert pairs.others(found, np.array([0.5, 0.25])).tolist() == pytest.approx([0.25 * 2.0, 0.5 * 1.0, 0.0, 0.0])


def test_profiles_are_means_of_what_was_met_on_earlier_days():
    rng = np.random.default_rng(0)
    user, day = np.array([0, 0, 0, 1]), np.array([3, 5, 6, 4])
    row, item = rng.integers(0, 4, 50), rng.integers(0, 5, 50)
    taken, directions = (rng.random(50) < 0.4).astype(float), rng.standard_normal((5, 2)).astype(np.float32)
    found = profiles_of(row, item, [taken], user, day, directions)
    for at in range(4):
        for kind, weight in enumerate([np.ones(50), taken]):
            earlier = (user[row] == user[at]) & (day[row] < day[at])
            fade = np.exp((day[row] - day[at]) / 28.0) * weight * earlier
            wanted = fade @ directions[item] / (fade.sum() + 10)
            assert found[at, 2 * kind : 2 * kind + 2] == pytest.approx(wanted, abs=1e-6)


def test_a_profile_keeps_what_differs_most_of_many_columns():
    rng = np.random.default_rng(0)
    wide = pl.DataFrame({"e": (rng.standard_normal((80, 60)) * np.r_[[5.0] * 2, [1.0] * 58]).tolist()})
    assert directions_of(wide, ["e"]).shape == (80, 32)
    assert directions_of(wide.select(n=pl.col("e").list.get(0)), ["n"]).shape == (80, 1)
    assert directions_of(wide, []).shape == (80, 0)
