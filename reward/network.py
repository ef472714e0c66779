"""The network: tokens of the stream, an encoder and a head, and the one operation that gives a slot's state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from reward.encoders import Encoder, Memory
from reward.heads import DailyHead
from reward.sequences.stream import Batch, Items, Tokens


class StreamEmbedding(nn.Module):
    """Slot, item and feedback as vectors; a token is the normalised sum of those that are known.

    Args:
        width: D. slot_numbers, item_numbers, feedback: columns of each. items: size of the item vocabulary with
            code 0 for unknown. slot_categories, item_categories: sizes of each category's vocabulary.
        item_dropout: share of items shown to training as unknown, so that code 0 learns what a new item is.
        absent: whether slots are asked about items that are not in them.
    """

    def __init__(
        self,
        *,
        width: int,
        slot_numbers: int,
        slot_categories: Sequence[int],
        items: int,
        item_numbers: int,
        item_categories: Sequence[int],
        feedback: int,
        item_dropout: float,
        absent: bool,
    ) -> None:
        super().__init__()
        self.item_dropout = item_dropout
        self.slot_numbers = _mlp(slot_numbers, width)
        self.slot_categories = nn.ModuleList(_table(size, width) for size in slot_categories)
        self.items = _table(items, width)
        self.item_numbers = nn.Linear(item_numbers, width, bias=False) if item_numbers else None
        self.item_categories = nn.ModuleList(_table(size, width) for size in item_categories)
        self.feedback = _mlp(feedback, width)
        self.blank = nn.Parameter(torch.zeros(width))
        self.absent = nn.Parameter(torch.zeros(width)) if absent else None
        self.norm = nn.LayerNorm(width)

    def slot(self, tokens: Tokens) -> Tensor:
        """(..., D)."""
        return _add(self.slot_numbers(tokens.slot_numbers), self.slot_categories, tokens.slot_categories)

    def without(self, asked: Items) -> Tensor:
        """(..., D) of what is asked about and not there."""
        assert self.absent is not None
        return self.item(*asked) + self.absent

    def item(self, code: Tensor, categories: Tensor, numbers: Tensor) -> Tensor:
        """(..., D) of items by code (...), categories (..., ·) and numbers (..., ·)."""
        if self.training and self.item_dropout:
            code = code * (torch.rand(code.shape, device=code.device) >= self.item_dropout)
        vector = _add(self.items(code), self.item_categories, categories)
        return vector if self.item_numbers is None else vector + self.item_numbers(numbers)


def _mlp(size: int, width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(size, width), nn.GELU(), nn.Linear(width, width))


def _table(size: int, width: int) -> nn.Embedding:
    table = nn.Embedding(size, width)
    nn.init.normal_(table.weight, std=0.02)
    return table


def _add(vector: Tensor, tables: nn.ModuleList, codes: Tensor) -> Tensor:
    for place, table in enumerate(tables):
        vector = vector + table(codes[..., place])
    return vector


class RewardNetwork(nn.Module):
    """The stream of events F and the slots that query it: Q with the item blank, E with the item filled in.

    The memory holds one token an event: slot, item and feedback together. A query holds a slot and, for E and for a
    candidate, an item; it reads the events before its slate and is read by nobody. So baseline, logged item and
    candidate are one operation on one shared reading of the history.

    Args:
        encoder: see `reward.encoders`.
        head: of the outcome that rewards are told in; see `reward.heads`.
        sizes: widths of the inputs, `Features.sizes()`.
        item_dropout: share of items shown to training as unknown.
        also: heads of further outcomes on the same states, by name.
        absent: whether any of them asks a slot about what is not in it; see `forward`.
    """

    encoder: Encoder
    head: DailyHead

    def __init__(
        self,
        encoder: Encoder,
        head: DailyHead,
        *,
        sizes: Mapping[str, Any],
        item_dropout: float,
        also: Mapping[str, nn.Module] | None = None,
        absent: bool = False,
    ) -> None:
        super().__init__()
        self.item_dropout = item_dropout
        self.embedding = StreamEmbedding(width=encoder.width, item_dropout=item_dropout, absent=absent, **sizes)
        self.encoder = encoder
        self.head = head
        self.also = nn.ModuleDict(also or {})

    def read(self, history: Tokens) -> Memory:
        """The memory of (windows, length) events."""
        embed = self.embedding
        item = embed.item(history.item, history.item_categories, history.item_numbers)
        tokens = embed.slot(history) + item + embed.feedback(history.feedback)
        return self.encoder.read(embed.norm(tokens), history.hours)

    def query(self, memory: Memory, slots: Tokens, visible: Tensor, item: Tensor | None = None) -> Tensor:
        """States (windows, slots, D) of slots filled with ``item`` (windows, slots, D), or left blank (Q)."""
        filling = self.embedding.blank if item is None else item
        tokens = self.embedding.norm(self.embedding.slot(slots) + filling)
        return self.encoder.query(memory, tokens, slots.hours, visible)

    def forward(self, batch: Batch, *asked: Items) -> tuple[Tensor, ...]:
        """States Q and E of the batch's slots, (windows, slots, D), and F of its events, (windows, length, D).

        And for each of ``asked``, (windows, slots) items, creators or shows, the slots' states where it is not shown.
        """
        memory = self.read(batch.history)
        item = self.embedding.item(batch.slots.item, batch.slots.item_categories, batch.slots.item_numbers)
        slot = self.embedding.slot(batch.slots)
        fillings = [self.embedding.blank, item, *map(self.embedding.without, asked)]
        states = self.encoder.query(
            memory,
            torch.cat([self.embedding.norm(slot + filling) for filling in fillings], 1),
            batch.slots.hours.repeat(1, len(fillings)),
            batch.visible.repeat(1, len(fillings)),
        )
        before, exposed, *without = states.chunk(len(fillings), 1)
        return before, exposed, memory.states, *without
