"""Worlds drawn at random: each mechanism does what it says, and the truth stays the truth."""

import numpy as np
import pytest
from hydra.utils import instantiate

from reward.simulation.behaviour import match_of, visiting
from reward.simulation.drawn import drawn_world
from reward.simulation.lives import Swap, first_state, open_service
from reward.simulation.paired_runs import paired_runs
from reward.simulation.service import simulate
from reward.simulation.slate_policies import logging_policy, oracle, random_policy
from reward.simulation.true_effects import effects_from_pairs, segments_of
from reward.training.defaults import composed

SMALL = {"users": 300, "days": 20, "follow_up_days": 20}
# everything at once, as far as it can be seen in a small world
MIXED = {
    "type_autoplay": (0.5, 0.3, 0.0, 0.4),
    "kind_later": (1.0, 1.0, -2.0, 1.0),
    "click_creator_fatigue": 0.05,
    "effect_creator_fatigue": 0.05,
    "slate_competition": 0.6,
    "mood_click": 0.4,
    "shock_spread": 0.3,
    "shock_click": 0.5,
    "season_amplitude": 0.3,
    "season_days": 30.0,
    "taste_drift": 0.05,
    "policy_temperature": 0.7,
}


def lived(world, seed=0, days=None, policy=logging_policy):
    service = open_service(world, seed)
    return service, simulate(service, policy(service), first_state(service), days or world.days, record=True)


@pytest.mark.parametrize("seed", range(8))
def test_a_seed_draws_a_world_that_can_be_lived_in(seed):
    world = drawn_world(seed, users=100, days=5, follow_up_days=0)
    assert world == drawn_world(seed, users=100, days=5, follow_up_days=0)
    assert world != drawn_world(seed + 1, users=100, days=5, follow_up_days=0)
    _, run = lived(world, seed)
    shown = run.exposures
    assert len(shown.item) > 0
    assert ((shown.propensity > 0) & (shown.propensity <= 1)).all()
    slates = np.sort(shown.item.reshape(-1, world.slate_size), axis=1)
    assert (slates[:, 1:] > slates[:, :-1]).all()
    assert (shown.survey > 0).any() <= (world.survey_share > 0)


def test_many_seeds_cover_what_may_be():
    worlds = [drawn_world(seed) for seed in range(200)]
    items = np.array([it.initial_items for it in worlds])
    assert items.min() < 500
    assert items.max() > 20_000
    for holds in (
        lambda it: it.survey_share == 0,
        lambda it: it.survey_slope > 0.3,
        lambda it: it.survey_appeal > 0.3,
        lambda it: any(it.type_autoplay),
        lambda it: not any(it.type_autoplay),
        lambda it: it.slate_competition > 0,
        lambda it: it.policy_mood > 0,
        lambda it: it.propensity_noise > 0,
        lambda it: not it.logged_propensities,
        lambda it: it.taste_drift == 0,
    ):
        assert 10 <= sum(map(holds, worlds)) <= 190


def test_constants_may_be_set_after_the_draw_and_unknown_ones_are_named():
    assert drawn_world(3, constants={"gain": 0.0}).gain == 0
    assert drawn_world(3, constants={"gain": 0.0}).click_bias == drawn_world(3).click_bias
    with pytest.raises(ValueError, match=r"expected constants of a world, got \['gian'\]"):
        drawn_world(3, constants={"gian": 0.0})


def test_train_py_draws_the_world_of_its_seed():
    config = composed("train", ["data=world", "simulation=drawn", "simulation.users=50", "seed=5"])
    assert instantiate(config.simulation) == drawn_world(5, users=50)


@pytest.fixture(scope="module")
def mixed(make_world):
    service = open_service(make_world("plain", users=600, gain=0.3, **MIXED), 0)
    pairs = paired_runs(
        service,
        logging_policy(service),
        horizon_days=14,
        days=(6, 12, 18),
        parents_per_day=120,
        items_per_parent=5,
    )
    return service, pairs


def test_the_first_order_prediction_is_unbiased_whatever_an_exposure_works_by(mixed):
    _, pairs = mixed
    expected = np.take_along_axis(pairs.expected, pairs.item, axis=1)
    apart = (pairs.predicted - expected).ravel()
    assert abs(apart.mean()) < 4 * apart.std() / np.sqrt(len(apart))
    assert np.corrcoef(pairs.predicted.ravel(), expected.ravel())[0, 1] > 0.3


def test_effects_agree_with_plain_means_whatever_an_exposure_works_by(mixed):
    service, pairs = mixed
    truth = effects_from_pairs(pairs, segments_of(service), service.catalogue.kind)
    known = truth.pairs > 20
    z = (truth.paired_mean - truth.mean)[known] / truth.paired_se[known]
    assert known.sum() >= 25
    assert np.sqrt(np.mean(z**2)) < 1.4


def test_a_small_enough_effect_is_its_first_order_with_and_without_a_click(make_world):
    forgetful = {"click_fatigue": 0.0, "effect_fatigue": 0.0, "kind_acquired": (0, 0, 0, 0), "policy_likeness": 0.0}
    ways = {"type_autoplay": (0.5, 0.3, 0.0, 0.4), "kind_later": (1.0, 1.0, -2.0, 1.0)}
    service = open_service(make_world("plain", users=600, gain=1e-3, **forgetful, **ways), 0)
    pairs = paired_runs(
        service, logging_policy(service), horizon_days=14, days=(6,), parents_per_day=120, items_per_parent=5
    )
    quiet = np.abs(pairs.difference - pairs.predicted) < 0.02 * np.abs(pairs.predicted) + 2e-6
    assert quiet.mean() > 0.8  # the rest saw a day's luck turn
    assert (pairs.predicted != 0).mean() > 0.5  # more than are clicked


def test_propensities_are_true_where_a_first_stage_retrieves(make_world):
    world = make_world("confounded", users=1500, retrieved_items=10)
    service, run = lived(world, days=20)
    shown, items = run.exposures, len(service.catalogue.kind)
    alive = np.flatnonzero((service.catalogue.withdrawn > 20) & (service.catalogue.released <= 0))
    mine = shown.position == 0
    hits = np.bincount(shown.item[mine], 1 / shown.propensity[mine], items)
    noise = np.sqrt(np.bincount(shown.item[mine], 1 / shown.propensity[mine] ** 2, items))
    assert (np.abs(hits - len(shown.item) / 4)[alive] / noise[alive]).max() < 4.5


def test_a_swapped_item_stands_in_its_place_alone_where_a_first_stage_retrieves(make_world):
    service = open_service(make_world("plain", retrieved_items=10), 0)
    start, live = first_state(service), service.catalogue.live(0)
    lives = np.arange(len(start.users))
    swap = Swap(lives % 4, live[lives % len(live)])
    shown = simulate(service, random_policy(), start, 1, swap=swap, record=True).exposures
    first = shown.slate == 0
    life, slates = shown.life[first].reshape(-1, 4)[:, 0], shown.item[first].reshape(-1, 4)
    assert len(life) > 50
    assert (slates[np.arange(len(life)), life % 4] == swap.item[life]).all()
    assert ((slates == swap.item[life][:, None]).sum(axis=1) == 1).all()


def test_the_log_of_propensities_may_be_noisy(make_world):
    exact, noisy = (lived(make_world("plain", propensity_noise=it))[1].exposures for it in (0.0, 0.3))
    assert np.array_equal(exact.item, noisy.item)
    ratio = np.log(noisy.propensity / exact.propensity)[exact.propensity < 0.3]
    assert ratio.std() == pytest.approx(0.3, rel=0.05)
    assert abs(ratio.mean()) < 0.02


def test_items_of_a_slate_take_clicks_from_each_other(make_world):
    alone, crowded = (lived(make_world("plain", slate_competition=it), days=6)[1].exposures for it in (0.0, 0.9))
    begun, other = ((it.day == 0) & (it.slate == 0) for it in (alone, crowded))  # before the lives part
    assert np.array_equal(alone.item[begun], crowded.item[other])
    assert (crowded.click[other] <= alone.click[begun]).all()
    assert crowded.click.mean() < 0.85 * alone.click.mean()


def test_an_exposure_may_work_without_a_click(make_world):
    changes = {"click_bias": -30.0, "gain": 0.4, "quality_mean": 3.0}
    for share, comes in ((0.0, False), (0.8, True)):
        _, run = lived(make_world("plain", type_autoplay=(share,) * 4, **changes), days=10)
        assert not run.exposures.click.any()
        assert bool((run.state.habit > 0.01).any()) == comes


def test_what_disappoints_later_pleases_at_first(make_world):
    all_regretted = {"kind_shares": (0, 0, 0, 1), "kind_later": (1, 1, 1, -2), "kind_acquired": (0, 0, 0, 0)}
    world = make_world("plain", quality_mean=3.0, gain=0.2, **all_regretted)
    service, run = lived(world, days=1)
    got = run.state.habit.sum(axis=1) > 0
    assert got.sum() > 20
    assert (run.state.pending[got].sum(axis=1) < 0).all()
    later = simulate(service, random_policy(), run.state, 1).state
    quiet = got & (later.habit.sum(axis=1) < run.state.habit.sum(axis=1))
    assert quiet.sum() > 10
    assert oracle(service, 14).temperature == 0


def test_tastes_drift_and_keep_their_spread(make_world):
    service = open_service(make_world("plain", users=2000, taste_drift=np.pi / 40), 0)
    users, items = np.arange(2000), service.catalogue.live(0)
    first, half, last = (match_of(service, day, users, items) for day in (0, 10, 20))
    assert np.corrcoef(first.ravel(), half.ravel())[0, 1] == pytest.approx(np.sqrt(0.5), abs=0.1)
    assert abs(np.corrcoef(first.ravel(), last.ravel())[0, 1]) < 0.1
    assert last.std() == pytest.approx(first.std(), rel=0.1)


def test_shocks_and_seasons_move_everybody(make_world):
    world = make_world("plain", users=2000, shock_spread=0.5, shock_click=1.0, mood_spread=0.0)
    service, run = lived(world)
    calm, _ = lived(make_world("plain", users=2000, shock_spread=0.0, mood_spread=0.0), days=1)
    state = first_state(service)
    moved = [visiting(at, state)[0].mean() for at in (service, calm)]
    assert np.sign(moved[0] - moved[1]) == np.sign(service.population.shock[0])
    shown = run.exposures
    clicks = np.bincount(shown.day, shown.click) / np.bincount(shown.day)
    assert np.corrcoef(clicks, service.population.shock[: len(clicks)])[0, 1] > 0.7
    season = make_world("plain", users=2000, season_amplitude=0.8, season_days=20.0, mood_spread=0.0)
    _, run = lived(season)
    visits = run.visit.mean(axis=1)
    assert visits[3:7].mean() > visits[13:17].mean()


@pytest.mark.parametrize(("slope", "appeal", "tells"), [(0.8, 0.0, "gives"), (0.0, 0.8, "appeal")])
def test_a_survey_tells_of_satisfaction_or_misleads(make_world, slope, appeal, tells):
    world = make_world("plain", users=1500, survey_share=0.5, survey_slope=slope, survey_appeal=appeal)
    service, run = lived(world)
    shown = run.exposures
    asked = shown.survey > 0
    of_items = {"gives": service.catalogue.quality, "appeal": service.catalogue.appeal}
    found = {name: np.corrcoef(it[shown.item[asked]], shown.survey[asked])[0, 1] for name, it in of_items.items()}
    assert max(found, key=lambda name: found[name]) == tells
    assert found[tells] > 0.25


def test_who_answers_may_depend_on_activity_and_plays_may_tell_of_quality(make_world):
    world = make_world("plain", users=1500, survey_share=0.1, survey_activity=1.0, play_quality=1.5, play_spread=0.5)
    service, run = lived(world)
    shown = run.exposures
    base, asked = service.population.base[shown.life], shown.survey > 0
    assert base[asked].mean() > base[shown.click].mean() + 0.2
    share = shown.listen_ms / 60_000 / service.catalogue.minutes[shown.item]
    assert np.corrcoef(share[shown.click], service.catalogue.quality[shown.item[shown.click]])[0, 1] > 0.3


def test_the_paired_runs_of_a_null_world_differ_by_nothing_and_those_of_another_do():
    for gain, differs in ((0.0, False), (0.5, True)):
        world = drawn_world(4, **SMALL, constants={"gain": gain, "initial_items": 60, "creators": 10})
        service = open_service(world, 4)
        pairs = paired_runs(
            service, logging_policy(service), horizon_days=10, days=(6,), parents_per_day=30, items_per_parent=3
        )
        assert bool((pairs.difference != 0).any()) == differs
