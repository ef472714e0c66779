"""Ways to fill slates: the logging policy, the rankers of today, the oracle, and any scores of one's own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from reward.arrays import Floats
from reward.simulation.behaviour import Reaction, impulse, match_of, of_items, reaction_to
from reward.simulation.lives import Policy, Seen, Service, View
from reward.simulation.world import sigmoid


def logging_policy(service: Service) -> Policy:
    """The policy that made the log: a softmax over the live items, of popularity and the user's logged history.

    Its scores are an item's popularity, the likeness of its embedding to what the user clicked, and an item's loading
    times the user's logged activity: it shows some items to active users. In a world with ``policy_mood`` it also
    follows the user's mood, which nobody logs.
    """
    world, catalogue, mood = service.world, service.catalogue, service.population.mood

    def scores(view: View) -> Floats:
        likeness = view.liking @ catalogue.embedding[view.live].T
        lean = world.policy_activity * (view.activity - 0.4) / 0.25
        if world.policy_mood:
            lean = lean + world.policy_mood * mood[view.day, view.users]
        return (
            catalogue.popularity[view.live]
            + np.float32(world.policy_likeness) * likeness
            + lean.astype(np.float32)[:, None] * catalogue.loading[view.live]
        )

    return Policy(scores, world.policy_temperature)


def random_policy() -> Policy:
    """Every live item with the same probability."""
    return Policy(lambda view: np.zeros((1, len(view.live)), np.float32))


def click_optimal(service: Service) -> Policy:
    """The items most likely to be clicked, from the true probabilities."""
    return Policy(lambda view: sigmoid(_reaction(service, view).click), temperature=0)


def minutes_optimal(service: Service) -> Policy:
    """The items with the most expected minutes of listening, from the true probabilities."""
    world, catalogue = service.world, service.catalogue

    def scores(view: View) -> Floats:
        match = match_of(service, view.day, view.users, view.live)
        play = world.play_bias + world.play_match * match + world.play_appeal * catalogue.appeal[view.live]
        return sigmoid(_reaction(service, view).click) * sigmoid(play) * catalogue.minutes[view.live]

    return Policy(scores, temperature=0)


def oracle(service: Service, horizon_days: int) -> Policy:
    """The items whose exposure does most for the user's habit over the horizon, from the true mechanism.

    An exposure is worth the satisfaction it gives, with its click probability and without, times what a unit of it
    leaves in the habit state over ``horizon_days``. It looks one exposure ahead: of an item's satisfaction now and
    after one more exposure the mean counts, so that acquired tastes get their chance.
    """
    lasting = of_items(service, impulse(service.world, horizon_days).sum(axis=0).astype(np.float32))

    def scores(view: View) -> Floats:
        seen = Seen(view.seen(), view.met())
        now = reaction_to(service, view.day, view.users, view.live, seen)
        later = reaction_to(service, view.day, view.users, view.live, seen._replace(item=seen.item + 1))
        half = np.float32(0.5)
        both = now._replace(gives=half * (now.gives + later.gives), unclicked=half * (now.unclicked + later.unclicked))
        return both.expected() * lasting[view.live]

    return Policy(scores, temperature=0)


def rank_by(scores: ArrayLike | Callable[[View], Floats], *, temperature: float = 0.0) -> Policy:
    """Ranks by given scores.

    Args:
        scores: (items,), (users, items), or a function of what the service knows, `View` -> (m, live).
        temperature: 0: the best first; above: drawn in proportion to e^(score / temperature).

    Raises:
        ValueError: the scores have neither one nor two dimensions, or are not all finite.
    """
    if callable(scores):
        return Policy(scores, temperature)
    table = np.asarray(scores, np.float32)
    if table.ndim not in (1, 2) or not np.isfinite(table).all():
        raise ValueError(f"expected finite scores (items,) or (users, items), got shape {table.shape}")
    if table.ndim == 1:
        return Policy(lambda view: table[None, view.live], temperature)
    return Policy(lambda view: table[np.ix_(view.users, view.live)], temperature)


def _reaction(service: Service, view: View) -> Reaction:
    return reaction_to(service, view.day, view.users, view.live, Seen(view.seen(), view.met()))
