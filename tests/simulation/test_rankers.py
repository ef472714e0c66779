"""Slates of a simulated log, and the rankers that learn from them."""

import numpy as np
import pytest
import torch

from reward.simulation.lives import first_state, open_service
from reward.simulation.log import events_of
from reward.simulation.rankers import Ranker, log_with_slates, policy_of, train_ranker, true_effects
from reward.simulation.service import simulate
from reward.simulation.slate_policies import logging_policy

SMALL = {"width": 8, "size": 2, "epochs": 30, "batch": 64, "learning_rate": 0.02, "weight_decay": 0.0}


@pytest.fixture(scope="module")
def lived(make_world):
    service = open_service(make_world("clickbait"), 3)
    return service, *log_with_slates(service, slates=200, candidates=10, first_day=4)


def test_slates_are_those_of_the_log_with_other_live_items_behind(lived):
    service, _, shown, slates = lived
    events = events_of(service, shown)
    size = service.world.slate_size
    rows = slates.row[:, None] + np.arange(size)
    assert len(slates.day) == 200
    np.testing.assert_array_equal(slates.items[:, :size], events["item_id"].to_numpy()[rows])
    np.testing.assert_array_equal(slates.clicks[:, :size], events["click"].to_numpy()[rows])
    np.testing.assert_array_equal(slates.user, events["user_id"].to_numpy()[slates.row])
    assert np.isnan(slates.clicks[:, size:]).all()
    assert slates.day.min() >= 4
    live = (service.catalogue.released[slates.items] <= slates.day[:, None]) & (
        slates.day[:, None] < service.catalogue.withdrawn[slates.items]
    )
    assert live.all()


def test_the_log_is_the_one_that_is_lived_without_looking(lived, make_world):

    service, _, shown, _ = lived
    run = simulate(service, logging_policy(service), first_state(service), service.world.days, record=True)
    np.testing.assert_array_equal(run.exposures.item, shown.item)


def test_what_an_item_truly_does_is_nothing_where_satisfaction_moves_no_visits(make_world):
    service = open_service(make_world("clickbait", gain=0.0), 3)
    run, _, slates = log_with_slates(service, slates=50, candidates=8, first_day=4)
    assert not true_effects(service, slates, run.slope[slates.day, slates.user], 14).any()


def test_a_ranker_learns_what_the_signal_prefers_and_not_what_it_leaves_out(lived):
    service, _, _, slates = lived
    best = service.catalogue.quality[slates.items].astype(np.float32)
    hidden = np.where(np.arange(best.shape[1]) < 3, np.nan, best)
    ranker = train_ranker(service, slates, hidden, **SMALL)
    view = torch.zeros(1, 4 + service.world.embedding_size + len(service.world.surface_names) - 1)
    everything = torch.arange(len(service.catalogue.kind))[None]
    with torch.no_grad():
        scores = ranker(view, everything, torch.zeros(everything.shape)).numpy()[0]
    met = np.unique(slates.items[:, 3:])
    assert np.corrcoef(scores[met], service.catalogue.quality[met])[0, 1] > 0.8


def test_the_same_seed_trains_the_same_ranker_and_its_policy_is_greedy(lived):
    service, _, _, slates = lived
    few = SMALL | {"epochs": 1}
    first, second = (train_ranker(service, slates, slates.clicks, **few).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    policy = policy_of(service, train_ranker(service, slates, slates.clicks, **few))
    assert policy.temperature == 0
    assert isinstance(train_ranker(service, slates, slates.clicks, **few), Ranker)
