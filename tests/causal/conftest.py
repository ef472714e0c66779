from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import yaml
from hydra.utils import instantiate

from reward.data.prepared import UserRows
from reward.data.validation import check
from reward.simulation.log import world_log
from reward.training.defaults import composed

CONF = Path(__file__).parents[2] / "conf"
FEATURES = ("content_type", "creator_id", "minutes", "release_day", "embedding")


def told(name, **changes):
    (plain,) = (
        each for file in (CONF / name).glob("*.yaml") if "defaults" not in (each := yaml.safe_load(file.read_text()))
    )
    given = {"seed": 0, "gate": None} if name == "propensities" else {"seed": 0}  # what the yaml takes from others
    return {key: value for key, value in plain.items() if not key.startswith("_")} | given | changes


@pytest.fixture(scope="session")
def settings():
    """(group, changes) -> the keyword settings of its one yaml, changed."""
    return told


def world_of(name, **changes):
    world = instantiate(composed(f"simulation/{name}").simulation)
    small = {"users": 600, "days": 30, "follow_up_days": 1, "initial_items": 50}
    return replace(world, logged_propensities=True, **{**small, **changes})


@pytest.fixture(scope="session")
def log_of():
    """(name, seed, changes) -> a checked log without propensities, and its true propensities."""

    def make(name, seed=0, **changes):
        log = world_log(
            world_of(name, **changes),
            seed=seed,
            feedback=["click"],
            context=["surface"],
            item_features=FEATURES,
            session_gap_minutes=30,
            max_rejected_share=0.0,
        )
        events = check(log).log.events.collect()
        items = check(log).log.items
        return (
            replace(log, events=events.drop("propensity").lazy(), items=items),
            events["propensity"].to_numpy().astype(np.float64),
        )

    return make


CUTS = [(parts, order) for parts in (1, 3, 17) for order in ("ascending", "descending", "shuffled")]


@pytest.fixture(params=CUTS, ids=lambda cut: f"{cut[0]} {cut[1]}")
def cut(request):
    """A prepared log -> its users in so many chunks, in one of three orders."""
    parts, order = request.param

    def chunks(prepared):
        edges = np.linspace(0, len(prepared.users), parts + 1).astype(int)
        found = [UserRows(prepared, first, last) for first, last in pairwise(edges.tolist())]
        places = {"ascending": range(parts), "descending": reversed(range(parts))}
        return [found[it] for it in places.get(order, np.random.default_rng(0).permutation(parts))]

    return chunks
