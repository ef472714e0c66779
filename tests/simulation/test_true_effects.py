import numpy as np
import pytest

from reward.simulation.behaviour import context_logit, plan, reaction_to, visiting, visitors
from reward.simulation.lives import Swap, first_state, open_service
from reward.simulation.long_run import outcome
from reward.simulation.paired_runs import paired_runs
from reward.simulation.service import simulate
from reward.simulation.slate_policies import click_optimal, logging_policy, oracle, random_policy
from reward.simulation.true_effects import effects_from_pairs, item_effects, segments_of
from reward.simulation.world import sigmoid

HORIZON = 14


def opened(make_world, name, **changes):
    service = open_service(make_world(name, **changes), 0)
    return service, logging_policy(service)


def pairs_of(service, policy, **changes):
    settings = {"horizon_days": HORIZON, "days": (6, 12, 18), "parents_per_day": 120, "items_per_parent": 5}
    return paired_runs(service, policy, **{**settings, **changes})


@pytest.fixture(scope="module")
def plain(make_world):
    service, policy = opened(make_world, "plain", users=600, gain=0.4)
    return service, policy, pairs_of(service, policy)


def test_where_nothing_matters_every_effect_is_exactly_0(make_world):
    service, policy = opened(make_world, "no_effect", users=600)
    pairs = pairs_of(service, policy)
    assert (pairs.difference == 0).all()
    truth = effects_from_pairs(pairs, segments_of(service), service.catalogue.kind)
    known = truth.pairs > 0
    assert known.sum() > 20
    assert (truth.mean[known] == 0).all()
    assert (truth.se[known] == 0).all()
    assert np.nanmax(np.abs(truth.by_segment)) == 0
    assert truth.personal_spread == 0
    start = simulate(service, policy, first_state(service), 10).state
    assert outcome(service, oracle(service, 20), start, 20).less(
        outcome(service, click_optimal(service), start, 20)
    ) == (0, 0)


def test_a_paired_difference_is_that_of_two_runs_made_one_by_one(plain):
    service, policy, _ = plain
    pairs = pairs_of(service, policy, days=(6,), parents_per_day=8, items_per_parent=2)
    state = simulate(service, policy, first_state(service), 6).state
    there = np.flatnonzero(visitors(service, state, 1, visiting(service, state)[0]))
    rng = np.random.default_rng([0, 1, 3])  # the draws that paired_runs makes, in its order
    parents = rng.permutation(there)[:8]
    live = service.catalogue.live(6)
    items = rng.permuted(np.tile(live, (1, 1)), axis=1).ravel()[:16].reshape(8, 2)
    position = rng.integers(0, 4, 8)
    assert np.array_equal(pairs.item, items)

    def days(life, item, place):
        swap = Swap(np.array([place]), np.array([item]))
        run = simulate(service, policy, state.of(np.array([life])), HORIZON + 1, draw=1, swap=swap)
        return run.visit[1:].sum(dtype=np.float64)

    for parent, life in enumerate(parents):
        nothing = days(life, -1, position[parent])
        alone = [days(life, item, position[parent]) - nothing for item in items[parent]]
        assert pairs.difference[parent] == pytest.approx(alone, abs=1e-5)


def test_sums_of_probabilities_agree_with_counted_visits(make_world):
    """The Rao-Blackwell outcome has the mean of the plain one, and less noise."""
    service, policy = opened(make_world, "plain", users=2000, gain=0.4)
    state = simulate(service, policy, first_state(service), 8).state
    there = np.flatnonzero(visitors(service, state, 1, visiting(service, state)[0]))
    live = service.catalogue.live(8)
    best = live[np.argmax(service.catalogue.quality[live] * (service.catalogue.kind[live] == 0))]
    counted, summed = [], []
    for item in (best, -1):
        swap = Swap(np.zeros(len(there), np.int64), np.full(len(there), item))
        run = simulate(service, policy, state.of(there), HORIZON + 1, draw=1, swap=swap, record=True)
        shown = run.exposures
        visits = np.unique(shown.life[shown.day > 8] * 100 + shown.day[shown.day > 8]) // 100
        counted.append(np.bincount(visits, minlength=len(there)))
        summed.append(run.visit[1:].sum(axis=0))
    plain, smooth = counted[0] - counted[1], summed[0] - summed[1]
    apart = plain - smooth
    assert abs(apart.mean()) < 4 * apart.std() / np.sqrt(len(there))
    assert smooth.mean() > 4 * smooth.std() / np.sqrt(len(there))
    assert smooth.std() < 0.9 * plain.std()


def test_the_first_order_prediction_is_unbiased_for_what_the_exposure_gives(plain):
    """Its expectation over clicks, item by item, is what ``predicted`` has in the mean."""
    _, _, pairs = plain
    expected = np.take_along_axis(pairs.expected, pairs.item, axis=1)
    apart = (pairs.predicted - expected).ravel()
    assert abs(apart.mean()) < 4 * apart.std() / np.sqrt(len(apart))
    assert np.corrcoef(pairs.predicted.ravel(), expected.ravel())[0, 1] > 0.3


def test_the_first_order_tells_most_of_a_paired_difference(plain):
    _, _, pairs = plain
    assert np.corrcoef(pairs.predicted.ravel(), pairs.difference.ravel())[0, 1] > 0.4
    slope = (pairs.predicted * pairs.difference).sum() / (pairs.predicted**2).sum()
    assert 0.7 < slope < 1.6


def test_a_small_enough_effect_is_its_first_order(make_world):
    # habit is the only way on: no memory of exposures, in the user or in the policy
    forgetful = {"click_fatigue": 0.0, "effect_fatigue": 0.0, "kind_acquired": (0, 0, 0, 0), "policy_likeness": 0.0}
    service, policy = opened(make_world, "plain", users=600, gain=1e-3, **forgetful)
    pairs = pairs_of(service, policy, days=(6,))
    quiet = np.abs(pairs.difference - pairs.predicted) < 0.02 * np.abs(pairs.predicted) + 2e-6
    assert quiet.mean() > 0.9  # the rest saw a day's luck turn


def test_effects_agree_with_plain_means_of_paired_differences(plain):
    service, _, pairs = plain
    truth = effects_from_pairs(pairs, segments_of(service), service.catalogue.kind)
    known = truth.pairs > 20
    weight = np.repeat(pairs.weight, pairs.item.shape[1])
    item = pairs.item.ravel()
    heavy = np.bincount(item, weight, len(truth.mean))
    mean = np.bincount(item, weight * pairs.difference.ravel(), len(truth.mean)) / np.maximum(heavy, 1e-9)
    spread = np.bincount(item, (weight * (pairs.difference.ravel() - mean[item])) ** 2, len(truth.mean))
    z = (mean - truth.mean)[known] / np.sqrt(spread[known] / heavy[known] ** 2)
    assert known.sum() >= 25
    assert np.sqrt(np.mean(z**2)) < 1.4
    z = (truth.paired_mean - truth.mean)[known] / truth.paired_se[known]
    assert np.sqrt(np.mean(z**2)) < 1.4
    assert (truth.se[known] < truth.paired_se[known]).all()


def test_segments_average_to_the_item(plain):
    service, _, pairs = plain
    segment = segments_of(service)
    assert set(segment) == set(range(6))
    truth = effects_from_pairs(pairs, segment, service.catalogue.kind)
    share = np.bincount(segment[pairs.user], pairs.weight, 6) / pairs.weight.sum()
    known = truth.pairs > 20
    z = (truth.by_segment @ share - truth.mean)[known] / truth.by_segment_se[known].mean(axis=1)
    assert np.abs(z).max() < 3


def test_expectations_come_from_the_state_of_the_slot(plain):
    service, policy, _ = plain
    pairs = pairs_of(service, policy, days=(6,), parents_per_day=3, items_per_parent=1)
    user, live = pairs.user[0], service.catalogue.live(6)
    state = simulate(service, policy, first_state(service), 6).state
    users = np.array([user])
    reaction = reaction_to(service, 6, users, live, state.remembered(service, users, live))
    gives = reaction.gives[0]
    where = context_logit(service.world, plan(service, 6, 1)[1][users, 0])[0]
    some = np.abs(gives) > 1e-3
    logit, expected = reaction.click[0, some], pairs.expected[0, live][some]
    ratios = [expected / (sigmoid(logit + shift) * gives[some]) for shift in where]
    # one position explains all items by one factor a type
    types = service.catalogue.type[live][some]
    fits = [all(np.ptp(it[types == one]) < 1e-4 * np.abs(it).max() for one in set(types)) for it in ratios]
    assert sum(fits) == 1


def test_an_outcome_is_the_same_again_and_pairs_take_out_the_luck(make_world):
    service, policy = opened(make_world, "plain", users=600)
    start = simulate(service, policy, first_state(service), 10).state
    best = outcome(service, oracle(service, 20), start, 20, draws=(1, 2))
    again = outcome(service, oracle(service, 20), start, 20, draws=(1, 2))
    assert np.array_equal(best.active_days, again.active_days)
    other = outcome(service, random_policy(), start, 20, draws=(1, 2))
    gain, se = best.less(other)
    assert gain > 4 * se
    assert se < 0.3 * np.hypot(best.mean()[1], other.mean()[1])


def test_the_effects_of_a_world_s_items_are_those_of_its_paired_runs_and_0_where_nothing_matters(make_world):
    asked = {"seed": 0, "horizon_days": HORIZON, "first_day": 6, "every_days": 6, "parents_per_day": 60}
    world = make_world("plain", users=300)
    found = item_effects(world, items_per_parent=5, **asked)
    service = open_service(world, 0)
    days = range(6, world.days - HORIZON, 6)
    pairs = pairs_of(service, logging_policy(service), days=days, parents_per_day=60)
    wanted = effects_from_pairs(pairs, segments_of(service), service.catalogue.kind)
    np.testing.assert_array_equal(found["effect"], wanted.mean[found["item_id"].to_numpy()])
    assert (found["effect_se"] > 0).all()
    none = item_effects(make_world("no_effect", users=300), items_per_parent=5, **asked)
    assert none["effect"].to_list() == [0.0] * none.height
    assert none.height > found.height / 2
