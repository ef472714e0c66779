"""The causal stream of each user, and batches of it as padded tensors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from reward.arrays import Floats
from reward.columns import ITEM, TIMESTAMP, USER
from reward.features.events import Codes, Features, ItemTable
from reward.features.history import VISIBLE, slots

Index = NDArray[np.int64]


class Tokens(NamedTuple):
    """Inputs of a batch of places in the stream; every tensor starts with (batch, length).

    Attributes:
        hours: time since the window's first event, or its first slot where it has no events (float32).
        slot_numbers, slot_categories: what the slot knows, see `Features`.
        item, item_categories, item_numbers: the item in it; code 0 and zeros where there is none.
        feedback: what came back; zeros where nothing did.
        row: the place in the stream's rows, −1 for padding and for rows that only lend context.
    """

    hours: Tensor
    slot_numbers: Tensor
    slot_categories: Tensor
    item: Tensor
    item_categories: Tensor
    item_numbers: Tensor
    feedback: Tensor
    row: Tensor


class Items(NamedTuple):
    """Items, or what stands for a creator or a show, as inputs: (...), (..., ·) and (..., ·).

    Attributes:
        code, categories, numbers: see `ItemTable`.
    """

    code: Tensor
    categories: Tensor
    numbers: Tensor

    @classmethod
    def of(cls, table: ItemTable) -> Items:
        """(items,) of a table."""
        return cls(*(torch.tensor(part) for part in (table.code, table.categories, table.numbers)))

    def at(self, place: Tensor) -> Items:
        """(...) of places (...); what stands at −1 is of no account."""
        return Items(*(part[place.clamp(min=0)] for part in self))


class Batch(NamedTuple):
    """Windows of histories and the slots that read them.

    Attributes:
        history: events with their feedback, (windows, length).
        slots: places about to be filled, (windows, slots).
        visible: how many events of its window each slot reads, (windows, slots), int64.
    """

    history: Tokens
    slots: Tokens
    visible: Tensor


@dataclass(frozen=True)
class Rows:
    """Flat arrays, one entry a row: events in stream order, or slots asked about.

    Attributes:
        user: user code. visible: events the slot may read.
        time: microseconds since 1970, of an event its own moment and of a slot that of its slate.
        source: the row's place in the frame it came from.
    """

    user: Index
    time: Index
    visible: Index
    source: Index
    slot_numbers: Floats
    slot_categories: Codes
    items: ItemTable
    feedback: Floats

    def __len__(self) -> int:
        return len(self.user)


@dataclass(frozen=True)
class Stream:
    """Every user's events in time order, and the slots that read them.

    Attributes:
        events: the log's events.
        slots: the places asked about; the events' own where no others were given.
        users: user ids by user code.
        offsets: (users + 1,) first event of each user.
    """

    events: Rows
    slots: Rows
    users: pl.Series
    offsets: Index

    @classmethod
    def build(
        cls,
        events: pl.LazyFrame,
        features: Features,
        *,
        first_day: int | None = None,
        at: pl.DataFrame | None = None,
        items_table: pl.DataFrame | None = None,
    ) -> Stream:
        """The stream of a checked log's events.

        Args:
            events: a checked log's events.
            features: how its columns are read.
            first_day: first day the log's history covers; None: the training log's.
            at: slots to ask about instead of the events' own: ``user_id``, ``timestamp``, context columns.
            items_table: features of items that ``features`` does not hold.
        """
        frame = slots(
            events,
            timezone=features.timezone,
            day_starts_at=features.day_starts_at,
            session_gap_minutes=features.session_gap_minutes,
            first_day=features.first_day if first_day is None else first_day,
            at=None if at is None else at.lazy(),
        ).collect()
        frame = frame.with_columns(code=pl.col(USER).rle_id().cast(pl.Int64))
        users = frame[USER].unique(maintain_order=True)
        logged = frame.filter(pl.col("is_event"))
        rows = _rows(logged, features, items_table)
        if at is None:
            asked = replace(rows, time=logged["slate"].to_physical().to_numpy())
        else:
            asked = _rows(frame.filter(~pl.col("is_event")), features, items_table)
        return cls(rows, asked, users, np.searchsorted(rows.user, np.arange(len(users) + 1)))


@dataclass(frozen=True)
class Windows:
    """A stream cut into overlapping windows of at most ``max_events`` events.

    A window starts at every ``max_events / 2`` events of a user. A slot that may read v events belongs to the last
    window that leaves it at least half a window of them, and an event to the one its place asks for: what a row
    reads depends on its own history alone, never on what else is in the log.

    Attributes:
        stream: what is cut.
        start, stop: (windows,) first event of each window and the one after its last.
        first_own: (windows,) first event that belongs to the window; those before it lend context.
        slots: slots in the order of the windows they belong to.
        slot_bounds: (windows + 1,) where each window's slots begin in ``slots``.
    """

    stream: Stream
    start: Index
    stop: Index
    first_own: Index
    slots: Index
    slot_bounds: Index

    @classmethod
    def cut(cls, stream: Stream, max_events: int) -> Windows:
        """Cut ``stream``; ``max_events`` is even."""
        if max_events < 2 or max_events % 2:
            raise ValueError(f"max_events must be an even number of at least 2, got {max_events}")
        half = max_events // 2
        begin, end = stream.offsets[:-1], stream.offsets[1:]
        count = np.maximum((end - begin) // half, 1)
        first = np.concatenate([[0], np.cumsum(count)])
        ordinal = np.arange(first[-1]) - np.repeat(first[:-1], count)
        start = np.repeat(begin, count) + ordinal * half
        stop = np.minimum(start + max_events, np.repeat(end, count))
        owner = first[stream.slots.user] + np.maximum(stream.slots.visible // half - 1, 0)
        order = np.argsort(owner, kind="stable")
        bounds = np.searchsorted(owner[order], np.arange(first[-1] + 1))
        return cls(stream, start, stop, start + half * (ordinal > 0), order, bounds)

    def __len__(self) -> int:
        return len(self.start)

    @property
    def lengths(self) -> Index:
        """Length each window is padded from: its events or its slots, whichever are more."""
        return np.maximum(self.stop - self.start, np.diff(self.slot_bounds))

    def batches(self, max_rows: int, shuffle: np.random.Generator | None = None) -> list[Index]:
        """Windows by groups of at most about ``max_rows`` rows, as indices into the windows.

        Args:
            max_rows: rows a group should not exceed, padding apart.
            shuffle: draws the order, and groups are fair samples of the windows: a step on windows of one length would
                learn what is true of users with so long a history and unlearn it in the next. None: from the shortest
                to the longest, so that there is next to no padding.
        """
        lengths = self.lengths
        order = np.argsort(lengths, kind="stable") if shuffle is None else shuffle.permutation(len(lengths))
        # a window counts for at most a batch, so that the number of batches is the same in any order
        batch = (np.cumsum(np.clip(lengths[order], 1, max_rows)) - 1) // max_rows
        return np.split(order, np.flatnonzero(np.diff(batch)) + 1) if len(order) else []

    def batch(self, windows: Index) -> Batch:
        """The chosen windows as padded tensors."""
        start, stop = self.start[windows], self.stop[windows]
        history, inside = _ragged(start, stop - start)
        own = inside & (history >= self.first_own[windows][:, None])
        first = self.slot_bounds[windows]
        place, asked = _ragged(first, self.slot_bounds[windows + 1] - first)
        slot = self.slots[place] if len(self.slots) else place
        events, slots = self.stream.events, self.stream.slots
        origin = np.where(inside[:, :1], _at(events.time, history[:, :1]), _at(slots.time, slot[:, :1]))
        user_start = self.stream.offsets[slots.user[slot]] if len(slots) else slot
        visible = np.clip(slots.visible[slot] - (start[:, None] - user_start), 0, (stop - start)[:, None])
        return Batch(
            _tokens(events, history, inside, own, origin),
            _tokens(slots, slot, asked, asked, origin),
            torch.from_numpy(np.where(asked, visible, 0)),
        )


def _ragged(start: Index, length: Index) -> tuple[Index, NDArray[np.bool_]]:
    """Indices start..start+length as padded rows, and which of them are no padding."""
    steps = np.arange(max(int(length.max(initial=0)), 1))
    inside = steps < length[:, None]
    return np.where(inside, start[:, None] + steps, 0), inside


def _rows(frame: pl.DataFrame, features: Features, items_table: pl.DataFrame | None) -> Rows:
    numbers, categories = features.slot_inputs(frame)
    return Rows(
        user=frame["code"].to_numpy(),
        time=frame[TIMESTAMP].to_physical().to_numpy(),
        visible=frame[VISIBLE].cast(pl.Int64).to_numpy(),
        source=frame["row"].cast(pl.Int64).to_numpy(),
        slot_numbers=numbers,
        slot_categories=categories,
        items=features.item_inputs(frame[ITEM], items_table),
        feedback=features.feedback_inputs(frame),
    )


def _at(values: NDArray[Any], index: Index) -> NDArray[Any]:
    """``values[index]``, zeros where there are no values to index."""
    return values[index] if len(values) else np.zeros((*index.shape, *values.shape[1:]), values.dtype)


def _tokens(rows: Rows, index: Index, inside: NDArray[np.bool_], own: NDArray[np.bool_], origin: Index) -> Tokens:
    def pick(values: NDArray[np.float32] | NDArray[np.int64]) -> Tensor:
        mask = inside.reshape(*inside.shape, *(1 for _ in values.shape[1:]))
        return torch.from_numpy(_at(values, index) * mask)

    hours = (_at(rows.time, index) - origin) / 3.6e9
    return Tokens(
        torch.from_numpy(np.where(inside, hours, 0.0).astype(np.float32)),
        pick(rows.slot_numbers),
        pick(rows.slot_categories),
        pick(rows.items.code),
        pick(rows.items.categories),
        pick(rows.items.numbers),
        pick(rows.feedback),
        torch.from_numpy(np.where(own, index, -1)),
    )
