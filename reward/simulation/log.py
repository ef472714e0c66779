"""The log that a simulated service would keep: nothing of what moves its users beneath."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from reward.arrays import Ints
from reward.columns import ITEM, POSITION, PROPENSITY, REQUEST, SESSION, TIMESTAMP, USER
from reward.data.event_log import EventLog
from reward.data.parquet import columns
from reward.simulation.exposures import Exposures
from reward.simulation.lives import Service, first_state, open_service
from reward.simulation.service import simulate
from reward.simulation.slate_policies import logging_policy
from reward.simulation.world import World


def world_log(
    world: World,
    *,
    seed: int,
    feedback: Iterable[str],
    context: Iterable[str],
    item_features: Iterable[str],
    session_gap_minutes: float,
    max_rejected_share: float,
) -> EventLog:
    """The log of the world's days under its logging policy.

    Args:
        world: the world's constants.
        seed: draws its items, its users and their luck.
        feedback: of ``click``, ``listen_ms``, ``skip``, ``like`` and ``survey`` (1 to 5; 0: not answered).
        context: of ``surface`` and ``platform``.
        item_features: of ``content_type``, ``creator_id``, ``minutes``, ``release_day`` and ``embedding``.
        session_gap_minutes: kept in the log, which has its own ``session_id``.
        max_rejected_share: share of rows that the check may set aside; it sets aside none.

    Returns:
        The log, with ``propensity`` where the world logs it; complete up to the end of its last day.
    """
    service = open_service(world, seed)
    run = simulate(service, logging_policy(service), first_state(service), world.days, record=True)
    assert run.exposures is not None
    return EventLog(
        events=events_of(service, run.exposures).lazy(),
        feedback=columns(feedback),
        session_gap_minutes=session_gap_minutes,
        max_rejected_share=max_rejected_share,
        context=columns(context),
        items=items_of(service).lazy(),
        item_features=columns(item_features),
        end=_start(world) + timedelta(days=world.days),
    )


def events_of(service: Service, exposures: Exposures) -> pl.DataFrame:
    """The rows of a log; lives are those of `first_state`, whose rows are the users."""
    world, day, user = service.world, exposures.day, exposures.life
    visit = (user * world.calendar_days + day) * world.max_slates
    moments = np.datetime64(world.start, "us") + (
        day * 86_400_000_000 + np.rint(exposures.minute.astype(np.float64) * 60_000_000).astype(np.int64)
    ).astype("timedelta64[us]")
    frame = pl.DataFrame(
        {
            USER: user,
            ITEM: exposures.item,
            TIMESTAMP: moments,
            SESSION: visit + exposures.session,
            REQUEST: visit + exposures.slate,
            POSITION: exposures.position,
            "surface": _named(exposures.surface, world.surface_names),
            "platform": _named(service.population.platform[user], world.platform_names),
            "click": exposures.click,
            "listen_ms": exposures.listen_ms,
            "skip": exposures.skip,
            "like": exposures.like,
            "survey": exposures.survey,
            PROPENSITY: exposures.propensity,
        }
    ).with_columns(pl.col(TIMESTAMP).dt.replace_time_zone("UTC"))
    return frame if world.logged_propensities else frame.drop(PROPENSITY)


def items_of(service: Service, days: int | None = None) -> pl.DataFrame:
    """What the service knows of the items released within ``days``; None: by the end of the log."""
    world, catalogue = service.world, service.catalogue
    return pl.DataFrame(
        {
            ITEM: np.arange(len(catalogue.kind)),
            "content_type": _named(catalogue.type, world.type_names),
            "creator_id": catalogue.creator,
            "minutes": catalogue.minutes.astype(np.float64),
            "release_day": np.floor(catalogue.released.astype(np.float64)),
            "embedding": pl.Series(catalogue.embedding).cast(pl.List(pl.Float32)),
        }
    ).filter(pl.col("release_day") < (world.days if days is None else days))


def _named(codes: Ints, names: tuple[str, ...]) -> pl.Series:
    return pl.Series(names, dtype=pl.String).gather(codes)


def _start(world: World) -> datetime:
    return datetime.fromisoformat(world.start).replace(tzinfo=UTC)
