"""What a simulated log tells of what was shown: one row a shown item."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reward.arrays import Floats, Ints
from reward.simulation.behaviour import (
    BREAK,
    HOUR,
    NOISE,
    random_numbers,
)
from reward.simulation.lives import Service, State
from reward.simulation.world import sigmoid


@dataclass(frozen=True)
class Exposures:
    """What was shown and what came of it, one row a shown item, by day, slate and life.

    Attributes:
        life: row of the state.
        session: session of the day, from 0.
        slate: slate of the day, from 0.
        minute: minute of the day.
        propensity: probability of the item at its position, given those above it, times that of its group to be
            retrieved; as it is logged.
        survey: 1 to 5; 0: not asked.
    """

    day: Ints
    life: Ints
    item: Ints
    session: Ints
    slate: Ints
    position: Ints
    surface: Ints
    minute: Floats
    propensity: NDArray[np.float64]
    click: NDArray[np.bool_]
    listen_ms: Ints
    skip: NDArray[np.bool_]
    like: NDArray[np.bool_]
    survey: Ints


def shown_on_a_day(
    service: Service, state: State, day: int, draw: int, slates: list[dict[str, NDArray[Any]]]
) -> dict[str, NDArray[Any]]:
    """All that the log tells of a day's slates: the columns of `Exposures`."""
    world, catalogue = service.world, service.catalogue
    joint = {name: np.concatenate([entry[name] for entry in slates]) for name in slates[0]}
    life, slate, item, click, match = (joint[name] for name in ("life", "slate", "item", "click", "match"))
    who, size = state.users[life], world.slate_size
    users, most = world.users, world.max_slates
    noise = random_numbers(service, draw, day, NOISE).random((users, most, size, 4), np.float32)[who, slate]
    gauss = random_numbers(service, draw, day, NOISE, 1).standard_normal((users, most, size, 2), np.float32)[who, slate]
    play = world.play_bias + world.play_match * match + world.play_appeal * catalogue.appeal[item]
    play = play + np.float32(world.play_quality) * joint["gives"]
    share = sigmoid(play + world.play_spread * gauss[..., 0])
    listen = click * np.rint(share * catalogue.minutes[item] * 60_000)
    skip = click & (share < world.skip_below)
    liking = world.like_bias + world.like_quality * catalogue.quality[item] + world.like_match * match
    like = click & ~skip & (noise[..., 0] < sigmoid(liking))
    willing = np.exp(world.survey_activity * (service.population.base[who] - world.activity_mean))
    asked = click & (noise[..., 1] < world.survey_share * willing[:, None])
    meant = world.survey_slope * joint["gives"] + np.float32(world.survey_appeal) * catalogue.appeal[item]
    answer = np.rint(3 + meant + world.survey_spread * gauss[..., 1])
    later = random_numbers(service, draw, day, BREAK).random((users, most), np.float32) < world.session_break
    later[:, 0] = False
    hours = random_numbers(service, draw, day, HOUR).random((users, most + 1), np.float32)
    # a day starts between 6 and 15 o'clock; a slate of the same session comes minutes later, one of the next hours
    wait = np.where(later, 60 + 60 * hours[:, 1:], 6 + 4 * hours[:, 1:])
    wait[:, 0] = 360 + 540 * hours[:, 0]
    begins = np.cumsum(wait, axis=1)[who, slate]
    minute = begins[:, None] + np.arange(size) * (0.5 + noise[..., 2].mean(axis=1, keepdims=True))

    def flat(values: NDArray[Any]) -> NDArray[Any]:
        return (np.broadcast_to(values[:, None], item.shape) if values.ndim == 1 else values).ravel()

    return {
        "day": np.full(item.size, day),
        "life": flat(life),
        "item": flat(item),
        "session": flat(np.cumsum(later, axis=1)[who, slate]),
        "slate": flat(slate),
        "position": flat(np.broadcast_to(np.arange(size), item.shape)),
        "surface": flat(joint["surface"]),
        "minute": flat(minute),
        "propensity": flat(_as_logged(service, draw, day, joint["propensity"])),
        "click": flat(click),
        "listen_ms": flat(listen).astype(np.int64),
        "skip": flat(skip),
        "like": flat(like),
        "survey": flat(asked * np.clip(answer, 1, 5)).astype(np.int64),
    }


def _as_logged(service: Service, draw: int, day: int, propensity: NDArray[np.float64]) -> NDArray[np.float64]:
    spread = service.world.propensity_noise
    if not spread:
        return propensity
    rng = random_numbers(service, draw, day, NOISE, 2)
    return np.minimum(propensity * np.exp(spread * rng.standard_normal(propensity.shape)), 1)


def joined(shown: list[dict[str, NDArray[Any]]]) -> Exposures:
    """The days of a run, see `shown_on_a_day`, as one table."""
    names = Exposures.__dataclass_fields__
    columns: dict[str, Any] = {
        name: np.concatenate([entry[name] for entry in shown]) if shown else np.zeros(0, np.int64) for name in names
    }
    return Exposures(**columns)
