"""What a logging policy may have followed: of items, and of the moment they were shown in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from reward.arrays import Floats, Ints
from reward.columns import ITEM
from reward.data.event_log import EventLog
from reward.data.slates import Slates, past_activity, past_liking

ROUNDING = 1e-12  # of the largest value, below which a standard deviation is of numbers that are all alike
GOLDEN = 0.6180339887498949  # its multiples are spread evenly between 0 and 1


@dataclass(frozen=True)
class Traits:
    """What is known of items."""

    values: Floats  # (items, F)
    pairs: NDArray[np.bool_]  # (F, F) which liking may speak for which trait
    names: tuple[str, ...]


@dataclass(frozen=True)
class Slots:
    """What is known of slots before they are filled."""

    state: Floats  # (n, K): z, its first column 1
    liking: Floats  # (n, memories · F): ℓ, its mean taken off
    tercile: Ints  # (n,) of past activity
    memories: int


def drawn(mine: NDArray[np.bool_], most: int, seed: int) -> Ints:
    """Places of what is true, some of them at random where there are more than ``most``."""
    found = np.flatnonzero(mine)
    if len(found) <= most:
        return found
    return np.sort(np.random.default_rng([seed, 1]).choice(found, most, replace=False))


def item_traits(log: EventLog, slates: Slates, gate: str | None, size: int, levels: int, wanted: bool) -> Traits:
    """Traits from the items table, or learned from who clicks what where there is none; none where none are wanted."""
    if not wanted:
        return Traits(np.zeros((len(slates.item_ids), 0), np.float32), np.zeros((0, 0), np.bool_), ())
    if log.items is None or not log.item_features:
        learned = _learned_traits(slates, _gated(log, slates, gate), size)
        full = np.ones((learned.shape[1],) * 2, np.bool_)
        return Traits(learned, full, tuple(f"learned {place}" for place in range(learned.shape[1])))
    items = slates.item_ids.to_frame(ITEM).lazy().join(log.items, on=ITEM, how="left", maintain_order="left").collect()
    blocks: list[tuple[str, Floats, bool]] = []
    for name in log.item_features:
        column = items[name]
        if isinstance(column.dtype, pl.List):
            blocks.append((name, _rotated(column, size), True))
        elif column.dtype.is_float():
            blocks.append((name, _standard(column.to_numpy()[:, None]), True))
        else:
            blocks.append((name, _one_hot(column, levels), False))
    values = np.concatenate([block for _, block, _ in blocks], axis=1)
    owner = np.concatenate([np.full(block.shape[1], place) for place, (_, block, _) in enumerate(blocks)])
    free = np.array([full for *_, full in blocks])[owner]
    pairs = (owner[:, None] == owner) & (free[:, None] | np.eye(len(owner), dtype=np.bool_))
    return Traits(values.astype(np.float32), pairs, tuple(name for name, *_ in blocks))


def _rotated(column: pl.Series, size: int) -> Floats:
    """Principal directions of an embedding about its origin, each of mean square 1; 0 where it is unknown."""
    known = column.is_not_null().to_numpy()
    values = np.zeros((len(column), int(column.list.len().max() or 0)))  # type: ignore[arg-type]
    if not values.shape[1]:
        return values.astype(np.float32)
    values[known] = np.array(column.drop_nulls().to_list())
    spread, directions = np.linalg.eigh(values.T @ values / max(known.sum(), 1))
    kept = spread > 1e-6 * spread[-1]
    spread, directions = spread[kept][-size:], directions[:, kept][:, -size:]
    return (values @ directions / np.sqrt(spread)).astype(np.float32)


def _standard(values: NDArray[np.floating]) -> Floats:
    """Columns of mean 0 and standard deviation 1, a constant one 0; 0, the average, where a value is unknown."""
    known = np.isfinite(values)
    count = np.maximum(known.sum(axis=0), 1)
    largest = np.where(known, np.abs(values), 0).max(axis=0, initial=0)
    scaled = np.ldexp(np.where(known, values, 0).astype(np.float64), -np.frexp(largest)[1])  # exact, and at most 1
    centred = np.where(known, scaled - scaled.sum(axis=0) / count, 0)
    spread = np.sqrt((centred**2).sum(axis=0) / count)
    return np.where(spread > ROUNDING, centred / np.where(spread > ROUNDING, spread, 1), 0).astype(np.float32)


def _one_hot(column: pl.Series, levels: int) -> Floats:
    counts = column.drop_nulls().alias("value").value_counts(name="n")
    common = counts.sort(["n", "value"], descending=[True, False])
    return np.stack(
        [(column == name).fill_null(False).to_numpy() for name in common["value"].head(levels)]
        or [np.zeros(len(column))],
        axis=1,
    ).astype(np.float32)


def _learned_traits(slates: Slates, gated: NDArray[np.bool_], size: int) -> Floats:
    """Left factors of who gated what, each item's row scaled by the root of its count."""
    row, place = np.nonzero(gated)
    item, user = slates.items[row, place], slates.user[row]
    often = np.sqrt(np.bincount(item, minlength=len(slates.item_ids)) + 1.0)
    many = np.sqrt(np.bincount(user, minlength=slates.users) + 1.0)
    table = torch.sparse_coo_tensor(
        torch.from_numpy(np.stack([item, user])),
        torch.from_numpy(1 / (often[item] * many[user])),
        (len(often), slates.users),
        check_invariants=True,
    ).coalesce()
    # the first factor is popularity; the range of a table is found by powers applied to random directions
    wanted = min(size + 1, *table.shape)
    random = np.random.default_rng(0).standard_normal((table.shape[1], wanted))
    basis = torch.from_numpy(random)
    for _ in range(4):
        basis = torch.linalg.qr(torch.sparse.mm(table.t(), torch.linalg.qr(torch.sparse.mm(table, basis))[0]))[0]
    left, strength, _ = torch.linalg.svd(torch.sparse.mm(table, basis), full_matrices=False)
    factors = (left[:, 1:] * (strength[1:] > 1e-9)).numpy() * often[:, None]
    return (factors / np.sqrt(np.maximum((factors**2).mean(axis=0), 1e-12))).astype(np.float32)


def _gated(log: EventLog, slates: Slates, gate: str | None) -> NDArray[np.bool_]:
    gated = slates.items >= 0
    if gate is not None:
        taken = log.events.select(pl.col(gate) > 0).collect().to_series().to_numpy()
        gated = np.zeros_like(gated)
        gated[slates.row, slates.place] = taken
    return gated


def slot_features(
    log: EventLog,
    slates: Slates,
    traits: Traits,
    gate: str | None,
    spans_days: Sequence[float],
    prior_days: float,
    memory_clicks: Sequence[float],
    context: Sequence[str],
    levels: int,
) -> tuple[Slots, tuple[str, ...]]:
    """(n, K) states and (n, memories · F) likings of slots, and the names of what they are made of."""
    activity = past_activity(slates, tuple(spans_days), prior_days)
    told = activity if len(spans_days) else activity[:, :0]
    columns = [np.ones((len(slates.user), 1), np.float32), _standard(told)]
    for name in context:
        column = log.events.select(name).collect().to_series()[_tops(slates)]
        columns.append(_standard(column.to_numpy()[:, None] if column.dtype.is_float() else _one_hot(column, levels)))
    liking = np.zeros((len(slates.user), 0), np.float32)
    if len(memory_clicks):
        gated = _gated(log, slates, gate)
        liking = np.concatenate([past_liking(slates, gated, traits.values, it) for it in memory_clicks], axis=1)
        liking -= liking.mean(axis=0)
    long = activity[:, -1]
    tercile = np.searchsorted(np.quantile(long, [1 / 3, 2 / 3]), long)
    names = (*(f"activity over {span:g} days" for span in spans_days), *context)
    return Slots(np.concatenate(columns, axis=1), liking, tercile, len(memory_clicks)), names


def _tops(slates: Slates) -> Ints:
    """(n,) the row of the log at the top of each slate."""
    rows = np.empty(len(slates.user), np.int64)
    top = np.flatnonzero(slates.place == 0)
    rows[slates.row[top]] = top
    return rows
