"""The items that a seed draws in a world."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reward.arrays import Floats, Ints
from reward.simulation.world import World, shares


@dataclass(frozen=True)
class Catalogue:
    """The items a seed drew; each array has one row an item, in the order of release."""

    released: Floats  # (items,) day; negative: before the log
    withdrawn: Floats  # (items,) day
    kind: Ints
    type: Ints
    creator: Ints
    minutes: Floats
    appeal: Floats
    quality: Floats  # satisfaction a click
    taste: Floats  # (items, taste_size)
    embedding: Floats  # (items, embedding_size), observed
    popularity: Floats  # the logging policy's fixed scores
    loading: Floats  # how much more the logging policy shows it to active users

    def live(self, day: int) -> Ints:
        """Items that can be shown on ``day``: (live,) indices, ascending."""
        return np.flatnonzero((self.released <= day) & (day < self.withdrawn))


def catalogue_of(world: World, seed: int) -> Catalogue:
    """The items of ``world`` that ``seed`` draws."""
    rng = np.random.default_rng([seed, 1])
    later = round(world.initial_items * world.calendar_days / world.lifetime_days)
    n = world.initial_items + later
    age = np.sort(rng.uniform(0, world.lifetime_days, world.initial_items))[::-1]
    released = np.concatenate([-age, (np.arange(later) + 1) * world.calendar_days / max(later, 1)])
    creator = rng.integers(0, world.creators, n)
    usual, single = (rng.choice(len(world.kind_names), k, p=shares(world.kind_shares)) for k in (world.creators, n))
    kind = np.where(rng.random(n) < world.kind_creator_share, usual[creator], single)
    # a creator works in one type
    type_ = rng.choice(len(world.type_names), world.creators, p=shares(world.type_shares))[creator]
    style = rng.standard_normal((n, world.style_size))
    direction = rng.standard_normal(world.style_size)
    own, appeal = rng.standard_normal((2, n))
    appeal *= np.sqrt(1 - world.appeal_creator_share)
    appeal += np.sqrt(world.appeal_creator_share) * rng.standard_normal(world.creators)[creator]
    by_creator = rng.standard_normal(world.creators)[creator]
    by_style = style @ direction / np.linalg.norm(direction)
    rest = 1 - world.quality_creator_share - world.quality_style_share
    quality = (
        np.sqrt(world.quality_creator_share) * by_creator
        + np.sqrt(world.quality_style_share) * by_style
        + np.sqrt(rest) * own
    )
    quality = _correlated(quality, appeal, world.quality_appeal_correlation)
    popularity = _correlated(rng.standard_normal(n), appeal, world.popularity_appeal)
    loading = _correlated(
        (rng.standard_normal(world.creators)[creator] + rng.standard_normal(n)) / np.sqrt(2),
        quality,
        world.loading_quality,
    )
    quality = world.quality_mean + world.quality_spread * quality
    taste = rng.standard_normal((n, world.taste_size))
    signal = np.concatenate([taste, style], axis=1)
    mixing = rng.standard_normal((signal.shape[1], world.embedding_size)) / np.sqrt(signal.shape[1])
    embedding = signal @ mixing + world.embedding_noise * rng.standard_normal((n, world.embedding_size))
    minutes = np.array(world.type_minutes)[type_] * np.exp(world.length_spread * rng.standard_normal(n))
    return Catalogue(
        released=released.astype(np.float32),
        withdrawn=(released + world.lifetime_days).astype(np.float32),
        kind=kind,
        type=type_,
        creator=creator,
        minutes=minutes.astype(np.float32),
        appeal=(world.appeal_spread * appeal + np.array(world.kind_appeal)[kind]).astype(np.float32),
        quality=(quality + np.array(world.kind_quality)[kind] + np.array(world.type_quality)[type_]).astype(np.float32),
        taste=taste.astype(np.float32),
        embedding=embedding.astype(np.float32),
        popularity=(world.popularity_spread * popularity).astype(np.float32),
        loading=loading.astype(np.float32),
    )


def _correlated(own: NDArray[np.float64], other: NDArray[np.float64], correlation: float) -> NDArray[np.float64]:
    return correlation * other + np.sqrt(1 - correlation**2) * own
