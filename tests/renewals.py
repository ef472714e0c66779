"""A small service with memberships: what showing some items does to renewals is known."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

FIRST = datetime(2024, 3, 1, tzinfo=UTC)
ITEMS, SLATES, EFFECT_DAYS = 20, 3, 4


def service(seed, *, users=300, days=40, spread=0.012):
    """Exposures with propensities, renewals, and what one exposure of each item adds to the expected renewals.

    A user renews on a day with a chance of their own, moved for `EFFECT_DAYS` days by each item that was shown to them.
    Half of the items are clicked on often; that has nothing to do with what they do.
    """
    draw = np.random.default_rng(seed)
    visits, own = draw.uniform(0.2, 0.7, users), draw.uniform(0.02, 0.07, users)
    effect = draw.normal(0, spread, ITEMS)
    odds = draw.uniform(0.5, 2.0, ITEMS)
    share, appeal = odds / odds.sum(), np.where(np.arange(ITEMS) % 2, 0.5, 0.2)
    moved, shown, renewed = np.zeros((days + EFFECT_DAYS, users)), [], []
    for day in range(days):
        renewing = np.flatnonzero(draw.random(users) < np.clip(own + moved[day], 0.001, 0.5))
        renewed += [(user, day, draw.integers(0, 86_000)) for user in renewing]
        there = np.flatnonzero(draw.random(users) < visits)
        items = draw.choice(ITEMS, (len(there), SLATES), p=share)
        moved[day + 1 : day + 1 + EFFECT_DAYS, there] += effect[items].sum(1)
        seconds = np.sort(draw.integers(0, 86_000, (len(there), SLATES)), axis=1)
        shown += [
            (user, item, day, second, draw.random() < appeal[item], share[item])
            for user, row, moments in zip(there, items, seconds, strict=True)
            for item, second in zip(row, moments, strict=True)
        ]
    events = pl.DataFrame(
        shown, schema=["user_id", "item_id", "day", "second", "click", "propensity"], orient="row"
    ).unique(["user_id", "item_id", "day", "second"], maintain_order=True)
    renewals = pl.DataFrame(renewed, schema=["user_id", "day", "second"], orient="row")
    return *map(_at_moments, (events, renewals)), EFFECT_DAYS * effect


def _at_moments(frame):
    moment = pl.lit(FIRST) + pl.duration(days=pl.col("day"), seconds=pl.col("second"))
    return frame.with_columns(moment.dt.cast_time_unit("us").alias("timestamp")).drop("day", "second")


def end(days=40):
    """The moment up to which a service's log is complete."""
    return FIRST + timedelta(days=days)
