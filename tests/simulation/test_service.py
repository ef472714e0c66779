import itertools
from dataclasses import fields

import numpy as np
import pytest

from reward.simulation.lives import Policy, Swap, first_state, open_service
from reward.simulation.service import simulate
from reward.simulation.slate_policies import logging_policy, random_policy, rank_by


@pytest.fixture(scope="module")
def service(make_world):
    return open_service(make_world("plain"), 0)


@pytest.fixture(scope="module")
def run(service):
    return simulate(service, logging_policy(service), first_state(service), 24, record=True)


def same(one, other):
    return all(np.array_equal(getattr(one, it.name), getattr(other, it.name)) for it in fields(one))


def test_a_seed_makes_the_same_days_again(service, run):
    again = simulate(service, logging_policy(service), first_state(service), 24, record=True)
    assert same(run.exposures, again.exposures)
    assert same(run.state, again.state)


def test_another_draw_is_other_luck(service, run):
    other = simulate(service, logging_policy(service), first_state(service), 24, draw=1)
    assert not np.array_equal(run.visit[5], other.visit[5])
    assert np.array_equal(run.visit[0], other.visit[0])


def test_a_run_that_stops_and_goes_on_is_the_unbroken_one(service, run):
    policy = logging_policy(service)
    half = simulate(service, policy, first_state(service), 11).state
    kept = half.habit.copy()
    assert same(simulate(service, policy, half, 13).state, run.state)
    assert np.array_equal(half.habit, kept)  # the start is left as it was
    assert half.day == 11


def test_a_life_goes_as_it_does_beside_others(service, run):
    lives = np.array([7, 7, 3])
    few = simulate(service, logging_policy(service), first_state(service).of(lives), 24)
    assert few.visit == pytest.approx(run.visit[:, lives], abs=1e-6)


def test_a_propensity_is_the_softmax_over_what_is_left(make_world):
    world = make_world("plain", initial_items=5, lifetime_days=1e6, users=3000)
    service = open_service(world, 0)
    scores = np.array([1.0, 0.5, 0.0, -0.5, -1.0])
    shown = simulate(service, rank_by(scores, temperature=0.8), first_state(service), 4, record=True).exposures
    slates = shown.item.reshape(-1, 4)
    weight = np.exp(scores / 0.8)

    def by_hand(order):
        left = [weight.sum() - sum(weight[it] for it in order[:place]) for place in range(4)]
        return [weight[it] / rest for it, rest in zip(order, left, strict=True)]

    orders = list(itertools.permutations(range(5), 4))
    expected = {order: by_hand(order) for order in orders}
    assert sum(np.prod(it) for it in expected.values()) == pytest.approx(1)
    assert shown.propensity.reshape(-1, 4) == pytest.approx(np.array([expected[tuple(it)] for it in slates]), rel=1e-4)
    # orders come as often as the product of their propensities says: chi-square with 119 degrees of freedom
    code = dict(zip(orders, range(120), strict=True))
    count = np.bincount([code[tuple(it)] for it in slates], minlength=120)
    mean = len(slates) * np.array([np.prod(expected[it]) for it in orders])
    assert len(slates) > 5000
    assert ((count - mean) ** 2 / mean).sum() < 119 + 4 * np.sqrt(2 * 119)


def test_the_logged_propensities_are_true_at_every_position(make_world):
    world = make_world("confounded", users=1500)
    service = open_service(world, 0)
    shown = simulate(service, logging_policy(service), first_state(service), 24, record=True).exposures
    items = len(service.catalogue.kind)
    alive = np.flatnonzero(service.catalogue.withdrawn > 24)
    alive = alive[service.catalogue.released[alive] <= 0]
    slates = len(shown.item) / 4
    above = np.zeros(items)  # slates in which the item stood higher
    for position in range(4):
        mine = shown.position == position
        hits = np.bincount(shown.item[mine], 1 / shown.propensity[mine], items)
        noise = np.sqrt(np.bincount(shown.item[mine], 1 / shown.propensity[mine] ** 2, items))
        assert (np.abs(hits - (slates - above))[alive] / noise[alive]).max() < 4.5
        above += np.bincount(shown.item[mine], minlength=items)


def test_no_item_stands_twice_in_a_slate_and_only_live_ones_stand(service, run):
    shown = run.exposures
    slates = np.sort(shown.item.reshape(-1, 4), axis=1)
    assert (slates[:, 1:] > slates[:, :-1]).all()
    assert (shown.day >= service.catalogue.released[shown.item]).all()
    assert (shown.day < service.catalogue.withdrawn[shown.item]).all()


def test_users_visit_as_often_as_their_probabilities_say(run):
    visits = len(np.unique(run.exposures.day * 300 + run.exposures.life))
    expected, noise = run.visit.sum(), np.sqrt((run.visit * (1 - run.visit)).sum())
    assert abs(visits - expected) < 4 * noise


def test_users_who_have_not_joined_or_have_left_do_not_visit(service, run):
    people = service.population
    gone = (people.joined > np.arange(24)[:, None]) | (people.left <= np.arange(24)[:, None])
    assert gone.any()
    assert (run.visit[gone] == 0).all()
    assert (run.visit[~gone] > 0).all()


def test_clicks_fall_with_the_position(make_world):
    service = open_service(make_world("plain", users=1500), 1)
    shown = simulate(service, random_policy(), first_state(service), 24, record=True).exposures
    rates = [shown.click[shown.position == it].mean() for it in range(4)]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] > 1.3 * rates[3]


def test_an_empty_place_gives_nothing_and_a_swap_gives_what_was_put_there(service):
    start, n = first_state(service), 300
    item = np.where(np.arange(n) % 2, 3, -1)
    swap = Swap(np.full(n, 2), item)
    run = simulate(service, logging_policy(service), start, 1, swap=swap, record=True)
    shown = run.exposures
    swapped = (shown.slate == 0) & (shown.position == 2)
    odd = shown.life % 2 == 1
    assert (shown.item[swapped & odd] == 3).all()
    assert not shown.click[swapped & ~odd].any()
    assert (run.first_satisfaction[::2] == 0).all()
    elsewhere = (shown.slate == 0) & odd & (shown.position != 2)
    assert not (shown.item[elsewhere] == 3).any()


def test_the_calendar_has_an_end(service):
    with pytest.raises(ValueError, match=r"at most 44 days .* got a run of 45 from day 0"):
        simulate(service, random_policy(), first_state(service), 45)


def test_a_temperature_is_at_least_0():
    with pytest.raises(ValueError, match=r"temperature expected at least 0, got -1"):
        Policy(lambda view: np.zeros((1, len(view.live)), np.float32), temperature=-1)
