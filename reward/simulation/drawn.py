"""Worlds that nobody chose: a seed draws their mechanisms and their constants from wide priors.

An estimator that was built in sight of a few worlds fits them. Here each seed is another service: what feedback tells
of satisfaction and whether there is a survey, whether an exposure works without a click, what disappoints later, what
bores and what grows on users, how items of a slate compete, how the policy explores and what it logs. Even seeds are
for choosing, odd seeds for reporting.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from reward.simulation.world import World

TYPES = ("music", "podcast", "audiobook", "short")
KINDS = ("plain", "clickbait", "comfort", "acquired", "regretted")
_Constants = dict[str, Any]


def drawn_world(
    seed: int,
    *,
    users: int = 20_000,
    days: int = 60,
    follow_up_days: int = 45,
    constants: Mapping[str, Any] | None = None,
) -> World:
    """The world that a seed draws.

    Args:
        seed: draws it; even ones are for choosing, odd ones for reporting.
        users: who ever join.
        days: length of the log.
        follow_up_days: days that can be simulated after it.
        constants: those of `World` that are set by hand after the draw; a null world is ``{"gain": 0.0}``.

    Raises:
        ValueError: a constant is none of a world's, or they do not fit together.
    """
    rng = np.random.default_rng([seed, 41])
    world = World(
        start="2024-01-01",
        days=days,
        follow_up_days=follow_up_days,
        users=users,
        **_items(rng),
        **_kinds(rng),
        **_clicks(rng),
        **_feedback(rng),
        **_users(rng),
        **_policy(rng),
    )
    given = dict(constants or {})
    unknown = given.keys() - vars(world).keys()
    if unknown:
        raise ValueError(f"expected constants of a world, got {sorted(unknown)}: see reward.simulation.world.World")
    return replace(world, **given)


def _items(rng: np.random.Generator) -> _Constants:
    """300 to 30,000 of them; a first stage retrieves some hundred of a large catalogue."""
    items = round(_log_uniform(rng, 300, 30_000))
    own = rng.dirichlet([2.0, 2.0, 2.0])  # the creator's share of quality, the style's, and the item's own
    works_unclicked = rng.random(4) < _either(rng, 0.0, 0.6)
    return {
        "initial_items": items,
        "lifetime_days": _log_uniform(rng, 45, 300),
        "creators": max(10, round(items / rng.uniform(4, 15))),
        "type_names": TYPES,
        "type_shares": _shares(rng, 4),
        "type_minutes": (4.0, 30.0, 45.0, 1.5),
        "type_half_life_days": _each(4, lambda: _log_uniform(rng, 2, 20)),
        "type_delayed_share": _each(4, lambda: rng.uniform(0, 0.8)),
        "type_quality": _each(4, lambda: rng.normal(0, 0.2)),
        "type_autoplay": tuple(float(it) for it in works_unclicked * rng.uniform(0.1, 0.6, 4)),
        "length_spread": 0.4,
        "delay_release": _log_uniform(rng, 0.08, 0.4),
        "taste_size": 4,
        "style_size": 3,
        "embedding_size": 8,
        "embedding_noise": _log_uniform(rng, 0.1, 1.0),
        "appeal_spread": rng.uniform(0.3, 1.0),
        "appeal_creator_share": rng.uniform(0.2, 0.8),
        "quality_mean": rng.normal(0, 0.2),
        "quality_spread": _log_uniform(rng, 0.5, 1.5),
        "quality_creator_share": float(own[0]),
        "quality_style_share": float(own[1]),
        "quality_appeal_correlation": rng.uniform(-0.6, 0.6),
    }


def _kinds(rng: np.random.Generator) -> _Constants:
    """How common items are that promise more than they hold, do nothing, are an acquired taste, or disappoint later."""
    return {
        "kind_names": KINDS,
        "kind_shares": _shares(rng, 5, first=6.0),
        "kind_creator_share": rng.uniform(0.4, 0.95),
        "kind_appeal": (0.0, rng.uniform(0.3, 1.2), rng.uniform(0.2, 1.0), -rng.uniform(0, 0.6), rng.uniform(0.2, 1.0)),
        "kind_quality": (0.0, -rng.uniform(0.5, 1.5), 0.0, rng.uniform(0.2, 1.0), rng.uniform(0.2, 0.8)),
        "kind_effect": (1.0, 1.0, rng.uniform(0, 0.4), 1.0, 1.0),
        "kind_acquired": (0.0, 0.0, 0.0, 1.0, 0.0),
        "kind_later": (1.0, 1.0, 1.0, 1.0, -rng.uniform(1, 3)),
        "acquired_exposures": _log_uniform(rng, 0.7, 4),
    }


def _clicks(rng: np.random.Generator) -> _Constants:
    """What makes users click, what bores them, and how much items of a slate take from each other."""
    size, falls = int(rng.integers(2, 7)), rng.uniform(0.1, 0.6)
    return {
        "click_bias": rng.uniform(-2.5, -0.7),
        "click_match": rng.uniform(0.1, 0.8),
        "click_novelty": rng.uniform(0, 1),
        "novelty_days": _log_uniform(rng, 2, 15),
        "click_fatigue": rng.uniform(0, 0.5),
        "click_creator_fatigue": _either(rng, 0.0, rng.uniform(-0.05, 0.1)),
        "slate_competition": _either(rng, 0.0, rng.uniform(0.1, 0.8)),
        "position_bias": tuple(float(-falls * np.log1p(place)) for place in range(size)),
        "effect_match": rng.uniform(0.2, 1.5),
        "effect_fatigue": _log_uniform(rng, 0.05, 0.6),
        "effect_creator_fatigue": _either(rng, 0.0, rng.uniform(0, 0.08)),
        "forgetting_days": _log_uniform(rng, 4, 25),
        "surface_names": ("home", "browse", "next"),
        "surface_shares": _shares(rng, 3),
        "surface_click": (0.0, rng.normal(0, 0.4), rng.normal(0, 0.4)),
        "platform_names": ("ios", "android", "web"),
        "platform_shares": _shares(rng, 3),
    }


def _feedback(rng: np.random.Generator) -> _Constants:
    """Which feedback tells of satisfaction, and how well; a third have no survey, in a third it misleads."""
    survey = rng.choice(["none", "honest", "misleading"])
    return {
        "play_bias": rng.uniform(-0.5, 0.8),
        "play_match": rng.uniform(0, 0.6),
        "play_appeal": rng.uniform(0, 0.6),
        "play_quality": _either(rng, 0.0, rng.uniform(0.1, 0.8)),
        "play_spread": rng.uniform(0.8, 1.6),
        "skip_below": 0.2,
        "like_bias": rng.uniform(-5, -2),
        "like_quality": _either(rng, 0.0, rng.uniform(0.1, 0.8)),
        "like_match": rng.uniform(0, 0.8),
        "survey_share": 0.0 if survey == "none" else _log_uniform(rng, 0.003, 0.03),
        "survey_spread": rng.uniform(0.7, 1.4),
        "survey_slope": rng.uniform(0.3, 1.0) if survey == "honest" else rng.uniform(-0.2, 0.2),
        "survey_appeal": rng.uniform(0.3, 0.9) if survey == "misleading" else 0.0,
        "survey_activity": rng.uniform(-0.5, 0.5),
    }


def _users(rng: np.random.Generator) -> _Constants:
    """How often they come, what moves them that nobody logs, and how strongly satisfaction does."""
    return {
        "activity_mean": rng.uniform(-1.8, -0.2),
        "activity_spread": rng.uniform(0.7, 1.6),
        "weekday": _each(7, lambda: rng.normal(0, 0.15)),
        "mood_spread": rng.uniform(0, 0.9),
        "mood_days": _log_uniform(rng, 4, 30),
        "mood_click": _either(rng, 0.0, rng.uniform(0.1, 0.6)),
        "shock_spread": rng.uniform(0, 0.3),
        "shock_click": _either(rng, 0.0, rng.uniform(0.2, 1.0)),
        "season_amplitude": rng.uniform(0, 0.4),
        "season_days": rng.uniform(30, 365),
        "taste_drift": _either(rng, 0.0, rng.uniform(0, np.pi / 120)),  # up to a quarter of a turn in 60 days
        "gain": _log_uniform(rng, 0.07, 0.25),
        "habit_limit": rng.uniform(1, 3),
        "depth_mean": rng.uniform(-0.6, 0.4),
        "depth_activity": rng.uniform(0, 0.4),
        "max_slates": 5,
        "session_break": rng.uniform(0.1, 0.5),
        "early_share": rng.uniform(0.6, 0.95),
        "leaving_rate": _log_uniform(rng, 0.0005, 0.01),
    }


def _policy(rng: np.random.Generator) -> _Constants:
    """What the logging policy follows, how little it explores, and what it logs of its propensities."""
    logs = rng.choice(["exactly", "with noise", "not at all"], p=[0.5, 0.25, 0.25])
    return {
        "popularity_spread": rng.uniform(0.2, 1.0),
        "popularity_appeal": rng.uniform(-0.2, 0.8),
        "policy_likeness": rng.uniform(0, 0.6),
        "policy_activity": rng.uniform(0, 0.5),
        "policy_mood": _either(rng, 0.0, rng.uniform(0.1, 0.5), share=0.3),
        "loading_quality": rng.uniform(-0.5, 0.5),
        "likeness_memory": 20.0,
        "activity_memory_days": 14.0,
        "policy_temperature": _log_uniform(rng, 0.4, 1.0),
        "retrieved_items": 300,
        "logged_propensities": bool(logs != "not at all"),
        "propensity_noise": rng.uniform(0.1, 0.5) if logs == "with noise" else 0.0,
    }


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _either(rng: np.random.Generator, usual: float, other: float, share: float = 0.5) -> float:
    """The other with a probability."""
    return float(other if rng.random() < share else usual)


def _shares(rng: np.random.Generator, number: int, first: float = 2.0) -> tuple[float, ...]:
    return tuple(float(it) for it in rng.dirichlet([first, *[1.5] * (number - 1)]))


def _each(number: int, draw: Callable[[], float]) -> tuple[float, ...]:
    return tuple(float(draw()) for _ in range(number))
