from pathlib import Path

import numpy as np
import pytest

from reward.simulation.behaviour import impulse
from reward.simulation.catalogue import catalogue_of
from reward.simulation.population import population_of

FOLDER = Path(__file__).parents[2] / "conf" / "simulation"
NAMES = sorted({path.stem for path in FOLDER.glob("*.yaml")} - {"drawn"})  # whose constants a seed draws


@pytest.mark.parametrize("name", NAMES)
def test_every_yaml_is_a_world(make_world, name):
    world = make_world(name)
    assert world.slate_size == 4
    assert isinstance(world.type_shares, tuple)
    assert hash(world)


def test_the_named_worlds_are_there():
    assert {"clickbait", "confounded", "slow_burn", "cold_start", "no_effect", "hidden"} <= set(NAMES)


def test_as_many_items_stay_live_as_there_were_at_first(make_world):
    world = make_world("cold_start", initial_items=300)
    catalogue = catalogue_of(world, 0)
    live = [len(catalogue.live(day)) for day in range(world.calendar_days)]
    assert 285 <= min(live) <= max(live) <= 315
    assert (catalogue.released > 0).sum() == round(300 * world.calendar_days / world.lifetime_days)


def test_quality_and_appeal_are_as_opposed_as_the_world_says(make_world):
    changes = {"kind_quality": (0.0,) * 4, "kind_appeal": (0.0,) * 4, "type_quality": (0.0,) * 4}
    world = make_world("plain", initial_items=20_000, creators=5000, quality_appeal_correlation=-0.6, **changes)
    catalogue = catalogue_of(world, 0)
    assert np.corrcoef(catalogue.appeal, catalogue.quality)[0, 1] == pytest.approx(-0.6, abs=0.03)
    assert catalogue.quality.std() == pytest.approx(world.quality_spread, rel=0.03)
    assert catalogue.appeal.std() == pytest.approx(world.appeal_spread, rel=0.03)


def test_a_seed_draws_the_same_items_and_users_and_another_draws_others(make_world):
    world = make_world("plain")
    assert np.array_equal(catalogue_of(world, 1).quality, catalogue_of(world, 1).quality)
    assert np.array_equal(population_of(world, 1).mood, population_of(world, 1).mood)
    assert not np.array_equal(catalogue_of(world, 1).quality, catalogue_of(world, 2).quality)


def test_what_sinks_in_late_comes_late_and_fades_by_its_half_life(make_world):
    world = make_world("plain", type_delayed_share=(0.0, 0.5, 0.0, 0.0), type_half_life_days=(2, 1e9, 1, 1))
    response = impulse(world, 5).sum(axis=1)
    assert response[:, 0] == pytest.approx(0.5 ** (np.arange(5) / 2))
    released = 1 - (1 - world.delay_release) ** np.arange(5)
    assert response[:, 1] == pytest.approx(0.5 + 0.5 * released)


def test_constants_that_do_not_fit_are_named_together(make_world):
    with pytest.raises(ValueError, match=r"type_shares has 2 entries, type_names has 4.*weekday has 1 entries"):
        make_world("plain", type_shares=(0.5, 0.5), weekday=(0.0,))
    with pytest.raises(ValueError, match="more live items than a slate holds"):
        make_world("plain", initial_items=4)
