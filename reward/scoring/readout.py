"""One pass over a log: numbers that are read off the states of its events, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from reward.arrays import Doubles
from reward.heads import Head
from reward.outcomes.protocol import STATES
from reward.scoring.requests import Progress, ReadLog
from reward.sequences.network import RewardNetwork
from reward.sequences.stream import Batch, Items, Stream, Tokens, Windows

BATCH_ROWS = 2048  # a quarter of the memory of 8192, and no slower


class States:
    """States of a batch by name: Q and E of its slots, F of its events, and of slots that are asked about an item.

    What a head says of a state is computed once, however many ask.
    """

    def __init__(self, named: Mapping[str, Tensor]) -> None:
        self._named = named
        self._values: dict[tuple[int, str], Tensor] = {}

    def __getitem__(self, name: str) -> Tensor:
        """(windows, places, ·)."""
        return self._named[name]

    def value(self, head: Head, name: str) -> Tensor:
        """(windows, places, members) expected outcomes."""
        key = id(head), name
        if key not in self._values:
            self._values[key] = head.value(self._named[name])
        return self._values[key]


@dataclass(frozen=True)
class Readout:
    """Numbers that are read off the states of each event.

    Attributes:
        of: (windows, places, width) of a batch's states.
        width: how many numbers.
        after: whether the places are events, whose feedback is known; else the slots that they fill.
        asked: what slots are asked about that is not shown, of each event; by the name of the states that answer.
    """

    of: Callable[[States], Tensor]
    width: int = 1
    after: bool = False
    asked: Mapping[str, Items] = field(default_factory=dict)


@dataclass(frozen=True)
class LogStates:
    """A log that the network is about to read.

    Attributes:
        log: its rows.
        windows: its stream in pieces.
        network: what reads it.
        progress: wraps the batches.
    """

    log: ReadLog
    windows: Windows
    network: RewardNetwork
    progress: Progress = iter

    @property
    def stream(self) -> Stream:
        """Every user's events in time order."""
        return self.windows.stream

    def read_off(self, readouts: Mapping[str, Readout]) -> dict[str, Doubles]:
        """(events, width) numbers in stream order, by the names of what reads them; from one pass."""
        count = len(self.stream.events)
        found = {name: torch.full((count, it.width), torch.nan, dtype=torch.float64) for name, it in readouts.items()}
        if not readouts:
            return {}
        asked = {key: items for it in readouts.values() for key, items in it.asked.items()}
        after_alone = all(it.after for it in readouts.values())
        device = next(self.network.parameters()).device
        for index in self.progress(self.windows.batches(BATCH_ROWS)):
            batch = on_device(self.windows.batch(index), device)
            states = States(
                {"after": self.network.after(batch.history)} if after_alone else _all_states(self.network, batch, asked)
            )
            for name, it in readouts.items():
                row = batch.history.row if it.after else batch.slots.row
                there = row >= 0
                found[name][row[there].cpu()] = it.of(states)[there].cpu().double()
        return {name: numbers.numpy() for name, numbers in found.items()}


def on_device(batch: Batch, device: torch.device) -> Batch:
    """The same batch on ``device``."""

    def moved(tokens: Tokens) -> Tokens:
        return Tokens(*(tensor.to(device) for tensor in tokens))

    return Batch(moved(batch.history), moved(batch.slots), batch.visible.to(device))


def _all_states(network: RewardNetwork, batch: Batch, asked: Mapping[str, Items]) -> dict[str, Tensor]:
    questions = [items.at(batch.slots.row) for items in asked.values()]
    return dict(zip((*STATES, *asked), network(batch, *questions), strict=True))
