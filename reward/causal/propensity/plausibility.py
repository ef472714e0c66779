"""Whether propensities can be the probabilities with which the rows of a log were shown, or only stand in for them."""

from __future__ import annotations

import numpy as np
import polars as pl

from reward.arrays import Doubles
from reward.columns import ITEM, POSITION, PROPENSITY, REQUEST, USER
from reward.data.days import DAY, day_of
from reward.data.event_log import EventLog

_LEAST = 1e-60  # below which squares of 1 / p leave the range of numbers
_UNHEARD_OF = 1e-6  # expected rows of a log as unlikely as its least likely one, below which that cannot be right
_FACTOR = 1.5  # by which the sum of what could have been shown may be off, and
_LEVEL = 3.3  # standard errors by which it must be beyond that: one in a thousand by chance
_LEAST_ROWS = 100  # that can be compared with those of other users
_INSTEAD = "leave the column out, or rename it, if that is not what it holds"


def impossible(propensity: Doubles, rows: int) -> str | None:
    """Why values cannot be used as propensities at all, as a clause that names what to do; None: they can.

    Args:
        propensity: of each row.
        rows: how many there are.
    """
    if propensity.shape != (rows,):
        return f"propensity expected one number a row, {rows}, got shape {propensity.shape}: give those of this log"
    if not ((propensity > 0) & (propensity <= 1)).all():
        wrong = propensity[~((propensity > 0) & (propensity <= 1))]
        return f"propensity expected numbers in (0, 1], got {wrong[0]:g} among others: give those of this log"
    if not propensity.min() >= _LEAST:
        return (
            f"propensity expected the probability with which each row was shown, got {propensity.min():g}, and what is "
            f"that unlikely is never seen: {_INSTEAD}"
        )
    return None


def check_propensities(log: EventLog) -> str | None:
    """Why the column ``propensity`` of a log cannot hold the probabilities with which its rows were shown.

    If x is drawn with probability p(x), then for any shares s the mean of s(x) / p(x) over draws is Σ s(x) over all
    that could be drawn, which is 1. Here s is the item's share of what other users were shown on that day in the same
    context, less in a slate what stands above; the mean is over rows, with a standard error clustered by user. A column
    of ones gives the chance that two users see the same item, one that holds chances of being anywhere in a slate of k
    gives 1 / k. Where only one item could be shown, 1 is right and passes.

    Args:
        log: a checked log.

    Returns:
        A clause that says what is wrong and what to do; None: nothing is, or the log has no such column, or is too
        short to tell.
    """
    names = log.events.collect_schema().names()
    if PROPENSITY not in names:
        return None
    contexts = [name for name in log.context if log.events.collect_schema()[name] == pl.String]
    slate = [name for name in (REQUEST, POSITION) if name in names]
    events = log.events.select(USER, ITEM, PROPENSITY, day_of(log), *contexts, *slate).collect()
    propensity, items = events[PROPENSITY].to_numpy(), events[ITEM].n_unique()
    wrong = impossible(propensity, len(events))
    if wrong is None and len(events) * items * propensity.min() < _UNHEARD_OF:
        wrong = (
            f"propensity expected the probability with which each row was shown, got {propensity.min():g}, and of "
            f"{len(events)} rows none should be that unlikely: {_INSTEAD}"
        )
    if wrong is not None:
        return wrong
    total, se = _total(events, [DAY, *contexts])
    if total + _LEVEL * se < 1 / _FACTOR or total - _LEVEL * se > _FACTOR:
        return (
            f"propensity is {_values(propensity)}, by which the chances of all that could have been shown in a row's "
            f"place are about {1 / total:.2g} in all, and they must be 1: {_INSTEAD} (chances of being anywhere in a "
            "slate are to be divided by its length)"
        )
    return None


def _values(propensity: Doubles) -> str:
    low, high = propensity.min(), propensity.max()
    return f"{low:g} in every row" if low == high else f"{low:g} to {high:g}"


def _total(events: pl.DataFrame, cell: list[str]) -> tuple[float, float]:
    """Mean of share over propensity, against what it should be, and its standard error; 1 and 0 where few rows tell."""
    others = pl.len().over([*cell, ITEM]) - pl.len().over([*cell, ITEM, USER])
    everything = pl.len().over(cell) - pl.len().over([*cell, USER])
    told = events.with_columns((others / everything).alias("share")).filter(everything > 0)
    left = pl.lit(1.0)
    if REQUEST in events.columns:
        told = told.sort([POSITION]) if POSITION in events.columns else told
        above = pl.col("share").cum_sum().over(USER, *cell, REQUEST) - pl.col("share")
        left = pl.when(pl.col(REQUEST).is_null()).then(1.0).otherwise(1 - above)
    sums = (
        told.with_columns(left.alias("left"))
        .group_by(USER)
        .agg((pl.col("share") / pl.col(PROPENSITY)).sum().alias("found"), pl.col("left").sum(), pl.len().alias("rows"))
        .sort(USER)
    )
    found, due = sums["found"].to_numpy(), sums["left"].to_numpy()
    if int(sums["rows"].sum()) < _LEAST_ROWS or not due.sum() > 0 or not found.sum() > 0:
        return 1.0, 0.0
    mean = float(found.sum() / due.sum())
    return mean, float(np.sqrt(np.square(found - mean * due).sum()) / due.sum())
