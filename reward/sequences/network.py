"""The network: tokens of the stream, an encoder and heads, and the one operation that gives a slot's state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar, cast

import torch
from torch import Tensor, nn

from reward.encoders import Encoder, Memory
from reward.heads import DailyHead, Head
from reward.moved import OldName
from reward.sequences.stream import Batch, Items, Tokens
from reward.task import reward_first, weight_of_today

_Part = TypeVar("_Part")


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


class RecalledEvents(NamedTuple):
    """What may be recalled of the events of a history.

    Attributes:
        hours: (windows, length).
        codes: (windows, length, 1 + categories) which item it was, and which of each category; 0 for unknown.
        told: (windows, length, 1 + feedback) 1, and what came back.
    """

    hours: Tensor
    codes: Tensor
    told: Tensor

    @classmethod
    def of(cls, events: Tokens) -> RecalledEvents:
        """What is recalled of tokens with their feedback."""
        told = torch.cat([torch.ones_like(events.feedback[..., :1]), events.feedback], -1)
        return cls(events.hours, codes_of(events.item, events.item_categories), told)


def codes_of(item: Tensor, categories: Tensor) -> Tensor:
    """(..., 1 + categories) codes by which one is recalled."""
    return torch.cat([item.unsqueeze(-1), categories], -1)


class Recall(nn.Module):
    """What a history tells of the very item, creator or show that a slot is asked about, as a vector.

    Of each code and half-life a sum over the events that the slot reads and that share the code, of 1 and of the
    feedback, each by 2^(−age / half-life); then a small network of their asinh. What it adds is 0 before training.
    Attention could learn to find the same, and hardly does in logs of ordinary length.

    Args:
        width: D. codes: of each item, as `codes_of` tells them. feedback: columns. half_lives: in days.
    """

    def __init__(self, *, width: int, codes: int, feedback: int, half_lives: Sequence[float]) -> None:
        super().__init__()
        self.half_lives = tuple(half_lives)
        self.sums = _mlp(codes * len(self.half_lives) * (1 + feedback), width)
        for parameter in self.sums[-1].parameters():
            nn.init.zeros_(parameter)

    def forward(self, past: RecalledEvents, hours: Tensor, visible: Tensor, codes: Tensor) -> Tensor:
        """(windows, slots, D).

        Args:
            past: of ``length`` events.
            hours: (windows, slots) of the slots; or (windows, 1), where all of a window's are one.
            visible: events that each reads, shaped alike.
            codes: (windows, slots, 1 + categories) of what they are asked about.
        """
        age = (hours.unsqueeze(-1) - past.hours.unsqueeze(1)).clamp(min=0) / 24
        read = torch.arange(age.shape[-1], device=age.device) < visible.unsqueeze(-1)
        weights = [read * torch.exp2(-age / days) for days in self.half_lives]
        told = torch.cat([weight.transpose(1, 2) * past.told for weight in weights], -1) if age.shape[1] == 1 else None
        sums = []
        for theirs, asked in zip(past.codes.unbind(-1), codes.unbind(-1), strict=True):
            same = (asked.unsqueeze(-1) == theirs.unsqueeze(1)) & (asked > 0).unsqueeze(-1)
            sums += [(same * weight) @ past.told for weight in weights] if told is None else [same.to(told) @ told]
        found: Tensor = self.sums(torch.cat(sums, -1).asinh())
        return found


def _mlp(size: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(size, width), nn.GELU(), nn.Linear(width, width))


def _table(size: int, width: int) -> nn.Embedding:
    table = nn.Embedding(size, width)
    nn.init.normal_(table.weight, std=0.02)
    return table


def _add(vector: Tensor, tables: nn.ModuleList, codes: Tensor) -> Tensor:
    for place, table in enumerate(tables):
        vector = vector + table(codes[..., place])
    return vector


class ActivityLogits(nn.Module):
    """Logits of each day ahead from what a slot knows of past activity: affine in its inputs, fixed before training.

    Args:
        numbers: columns of the slot's numbers. categories: sizes of its categories' vocabularies. horizon_days: H.
    """

    numbers: Tensor
    intercept: Tensor

    def __init__(self, *, numbers: int, categories: Sequence[int], horizon_days: int) -> None:
        super().__init__()
        self.register_buffer("numbers", torch.zeros(numbers, horizon_days))
        self.register_buffer("intercept", torch.zeros(horizon_days))
        for place, size in enumerate(categories):
            self.register_buffer(f"category_{place}", torch.zeros(size, horizon_days))

    @property
    def categories(self) -> list[Tensor]:
        """A table (size, H) for each category."""
        return [table for name, table in self.named_buffers() if name.startswith("category_")]

    def forward(self, slots: Tokens) -> Tensor:
        """(..., H), in full precision also under autocast."""
        with torch.autocast(slots.slot_numbers.device.type, enabled=False):
            logits = slots.slot_numbers @ self.numbers + self.intercept
        for place, table in enumerate(self.categories):
            logits = logits + table[slots.slot_categories[..., place]]
        return logits


class RewardNetwork(nn.Module):
    """The stream of events F and the slots that query it: Q with the item blank, E with the item filled in.

    The memory holds one token an event: slot, item and feedback together. A query holds a slot and, for E and for a
    candidate, an item; it reads the events before its slate and is read by nobody. So baseline, logged item and
    candidate are one operation on one shared reading of the history.

    A state has the encoder's D numbers. Where the head of the reward's task corrects what past activity says
    (``head.from_activity``) the H logits of `ActivityLogits` follow them.

    Attributes:
        heads: those of all tasks by name, that of the reward's task first.
        reward: the task that rewards are measured in.

    Args:
        encoder: see `reward.encoders`.
        heads: of each task, by its name; see `reward.heads`.
        reward: see above.
        sizes: widths of the inputs, `Features.sizes()`.
        item_dropout: share of items shown to training as unknown.
        absent: whether any task asks a slot about what is not in it; see `forward`.
        recall_days: half-lives with which a slot recalls what it is asked about; see `Recall`. Empty: it does not.

    Raises:
        TypeError: the head of another task corrects what past activity says of the reward's outcome.
        ValueError: ``reward`` names no task, or a task has a name that no module can have.
    """

    encoder: Encoder
    also = OldName("heads", lambda it: {name: head for name, head in it.heads.items() if name != it.reward})

    def __init__(
        self,
        encoder: Encoder,
        heads: Mapping[str, Head],
        *,
        reward: str,
        sizes: Mapping[str, Any],
        item_dropout: float,
        absent: bool = False,
        recall_days: Sequence[float] = (),
    ) -> None:
        super().__init__()
        self.reward = reward
        self.item_dropout = item_dropout
        self.recall_days = list(recall_days)
        self.embedding = StreamEmbedding(width=encoder.width, item_dropout=item_dropout, absent=absent, **sizes)
        self.encoder = encoder
        self.heads = nn.ModuleDict(cast(dict[str, nn.Module], reward_first(heads, reward)))
        told = {"codes": 1 + len(sizes["item_categories"]), "feedback": sizes["feedback"]}
        self.recall = Recall(width=encoder.width, half_lives=recall_days, **told) if self.recall_days else None
        correcting = [name for name, head in self.heads.items() if getattr(head, "from_activity", False)]
        wrong = [name for name in correcting if name != reward]
        if wrong:
            raise TypeError(
                f"from_activity expected of the head of the reward's task, {reward}, alone, {', '.join(wrong)} has it: "
                "past activity starts the forecast of that task's outcome, so set it to false there"
            )
        self.activity = None
        if correcting:
            slot = {"numbers": sizes["slot_numbers"], "categories": sizes["slot_categories"]}
            self.activity = ActivityLogits(**slot, horizon_days=self.head.horizon_days)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *more: Any) -> None:
        """Take weights also by the names that they had when the head of the reward's task stood apart."""
        for name in [name for name in state_dict if name.startswith((f"{prefix}head.", f"{prefix}also."))]:
            state_dict[prefix + weight_of_today(name.removeprefix(prefix), self.reward)] = state_dict.pop(name)
        super()._load_from_state_dict(state_dict, prefix, *more)

    @property
    def head(self) -> DailyHead:
        """The head of the reward's task."""
        return cast(DailyHead, self.heads[self.reward])

    def one_a_head(self, tasks: Mapping[str, _Part]) -> dict[str, _Part]:
        """What belongs to the heads, by the names of their tasks, that of the reward's task first.

        Raises:
            ValueError: the names are others than those of the heads.
        """
        if set(tasks) != set(self.heads):
            raise ValueError(
                f"tasks expected one for each head, {sorted(self.heads)}, got {sorted(tasks)}: give both by the same "
                "names"
            )
        return reward_first(tasks, self.reward)

    @property
    def state_width(self) -> int:
        """Numbers of a state: D, and H where past activity starts the forecast."""
        return self.encoder.width + (0 if self.activity is None else self.head.horizon_days)

    def states(self, encoded: Tensor, places: Tokens) -> Tensor:
        """States (windows, places, ·) of what the encoder says (windows, places, D) of events or slots.

        Where the places are one for each window, all that was encoded is of it.
        """
        if self.activity is None:
            return encoded
        logits = self.activity(places)
        return torch.cat([encoded, logits.expand(*encoded.shape[:-1], -1)], -1)

    def after(self, history: Tokens) -> Tensor:
        """States F of the events, (windows, length, ·)."""
        return self.states(self.read(history).states, history)

    def read(self, history: Tokens) -> Memory:
        """The memory of (windows, length) events."""
        embed = self.embedding
        item = embed.item(history.item, history.item_categories, history.item_numbers)
        tokens = embed.slot(history) + item + embed.feedback(history.feedback)
        return self.encoder.read(embed.norm(tokens), history.hours)

    def past(self, history: Tokens) -> RecalledEvents | None:
        """What its slots recall of a history; None where they recall nothing."""
        return None if self.recall is None else RecalledEvents.of(history)

    def recalled(
        self, filling: Tensor, past: RecalledEvents | None, hours: Tensor, visible: Tensor, codes: Tensor
    ) -> Tensor:
        """``filling`` (windows, slots, D) of slots, with what is recalled of it; see `Recall`."""
        return filling if self.recall is None or past is None else filling + self.recall(past, hours, visible, codes)

    def query(self, memory: Memory, slots: Tokens, visible: Tensor, item: Tensor | None = None) -> Tensor:
        """States (windows, slots, ·) of slots filled with ``item`` (windows, slots, D), or left blank (Q)."""
        filling = self.embedding.blank if item is None else item
        tokens = self.embedding.norm(self.embedding.slot(slots) + filling)
        return self.states(self.encoder.query(memory, tokens, slots.hours, visible), slots)

    def forward(self, batch: Batch, *asked: Items) -> tuple[Tensor, ...]:
        """States Q and E of the batch's slots, (windows, slots, ·), and F of its events, (windows, length, ·).

        And for each of ``asked``, (windows, slots) items, creators or shows, the slots' states where it is not shown.
        """
        memory, past, slots = self.read(batch.history), self.past(batch.history), batch.slots
        own = Items(slots.item, slots.item_categories, slots.item_numbers)
        slot = self.embedding.slot(slots)
        filled = [self.embedding.item(*own), *map(self.embedding.without, asked)]
        fillings = [self.embedding.blank] + [
            self.recalled(filling, past, slots.hours, batch.visible, codes_of(items.code, items.categories))
            for filling, items in zip(filled, (own, *asked), strict=True)
        ]
        states = self.encoder.query(
            memory,
            torch.cat([self.embedding.norm(slot + filling) for filling in fillings], 1),
            slots.hours.repeat(1, len(fillings)),
            batch.visible.repeat(1, len(fillings)),
        )
        before, exposed, *without = (self.states(part, slots) for part in states.chunk(len(fillings), 1))
        return before, exposed, self.states(memory.states, batch.history), *without
