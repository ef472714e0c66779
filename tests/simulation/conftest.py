from dataclasses import replace
from pathlib import Path

import pytest
from hydra.utils import instantiate

from reward.training.defaults import composed

CONF = Path(__file__).parents[2] / "conf"
SMALL = {"users": 300, "days": 24, "follow_up_days": 20, "initial_items": 30}


def world_of(name, **changes):
    world = instantiate(composed(f"simulation/{name}").simulation)
    return replace(world, **{**SMALL, **changes})


@pytest.fixture(scope="session")
def make_world():
    """The named world, made small."""
    return world_of
