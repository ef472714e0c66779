import numpy as np
import pytest

from reward.simulation.lives import first_state, open_service
from reward.simulation.long_run import gap_closed, outcome
from reward.simulation.service import simulate
from reward.simulation.slate_policies import (
    click_optimal,
    logging_policy,
    minutes_optimal,
    oracle,
    random_policy,
    rank_by,
)


@pytest.fixture(scope="module")
def service(make_world):
    return open_service(make_world("clickbait", users=600, initial_items=60), 0)


@pytest.fixture(scope="module")
def start(service):
    return simulate(service, logging_policy(service), first_state(service), 10).state


def test_each_optimum_gets_most_of_its_own(service, start):
    policies = {
        "random": random_policy(),
        "click": click_optimal(service),
        "minutes": minutes_optimal(service),
        "oracle": oracle(service, 28),
    }
    runs = {name: simulate(service, it, start, 20, record=True) for name, it in policies.items()}
    clicks = {name: run.exposures.click.mean() for name, run in runs.items()}
    minutes = {name: run.exposures.listen_ms.mean() for name, run in runs.items()}
    days = {name: run.visit.sum() for name, run in runs.items()}
    assert max(clicks, key=clicks.get) == "click"
    assert max(minutes, key=minutes.get) == "minutes"
    assert max(days, key=days.get) == "oracle"


def test_scores_rank_for_all_users_for_each_or_by_what_is_known(service, start):
    table = np.random.default_rng(0).standard_normal((600, len(service.catalogue.kind)))
    by_user = simulate(service, rank_by(table), start, 2, record=True).exposures
    assert (np.diff(table[by_user.life, by_user.item].reshape(-1, 4)) <= 0).all()
    by_view = simulate(service, rank_by(lambda view: table[np.ix_(view.users, view.live)]), start, 2, record=True)
    assert np.array_equal(by_view.exposures.item, by_user.item)
    for_all = simulate(service, rank_by(table[0]), start, 1, record=True).exposures
    assert len(np.unique(for_all.item)) == 4
    best = service.catalogue.live(10)[np.argsort(-table[0][service.catalogue.live(10)])[:4]]
    assert for_all.item.reshape(-1, 4) == pytest.approx(np.broadcast_to(best, (len(for_all.item) // 4, 4)))


def test_scores_that_cannot_rank_are_refused():
    with pytest.raises(ValueError, match=r"expected finite scores .* got shape \(2,\)"):
        rank_by([1.0, np.nan])
    with pytest.raises(ValueError, match=r"got shape \(1, 1, 1\)"):
        rank_by(np.zeros((1, 1, 1)))


def test_a_policy_sees_no_more_than_the_log_tells(service, start):
    seen = []
    simulate(service, rank_by(lambda view: seen.append(view) or np.zeros((1, len(view.live)), np.float32)), start, 1)
    assert set(vars(seen[0])) == {"day", "live", "users", "surface", "activity", "liking", "seen", "met"}
    assert seen[0].seen().shape == seen[0].met().shape == (len(seen[0].users), len(seen[0].live))


def test_the_share_of_the_gap_is_0_at_one_end_and_1_at_the_other(service, start):
    outcomes = {
        "click": outcome(service, click_optimal(service), start, 10),
        "oracle": outcome(service, oracle(service, 28), start, 10),
    }
    ends = [gap_closed(outcomes, name, low="click", high="oracle") for name in outcomes]
    assert ends == [0, 1]


def test_the_hidden_world_follows_the_mood_and_the_others_do_not(make_world):
    leans = {}
    for name in ("hidden", "confounded"):
        service = open_service(make_world(name, users=1500), 0)
        run = simulate(service, logging_policy(service), first_state(service), 12, record=True).exposures
        mood = service.population.mood[run.day, run.life]
        loading = service.catalogue.loading[run.item]
        # within a user, so that their activity plays no part
        apart = mood - (np.bincount(run.life, mood) / np.maximum(np.bincount(run.life), 1))[run.life]
        leans[name] = np.corrcoef(apart, loading)[0, 1]
    assert leans["hidden"] > 0.05
    assert abs(leans["confounded"]) < 0.02
