from dataclasses import replace
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

CONF = Path(__file__).parents[2] / "conf"
SMALL = {"users": 300, "days": 24, "follow_up_days": 20, "initial_items": 30}


def world_of(name, **changes):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        world = instantiate(compose(f"simulation/{name}").simulation)
    return replace(world, **{**SMALL, **changes})


@pytest.fixture(scope="session")
def make_world():
    """The named world, made small."""
    return world_of
