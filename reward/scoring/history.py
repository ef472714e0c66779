"""Users' histories, read once: what candidates are scored against."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from torch import Tensor

from reward.causal.protocol import StateOfUsers
from reward.columns import USER
from reward.encoders import Memory
from reward.scoring.readout import on_device
from reward.sequences.network import RecalledEvents, RewardNetwork
from reward.sequences.stream import Tokens, Windows


@dataclass(frozen=True)
class History:
    """Users' histories, read once, each with the slot that is about to be filled.

    Attributes:
        users: whose row is whose.
        memory: what the encoder keeps of each history, (users, length, ·).
        slots: the slots, (users, 1).
        visible: events each slot reads, (users, 1).
        past: what the slots recall of each history; None where the function's recall nothing.
        standing: what the effects read of each history; None where the function has no effects.
        encoded_by: the `RewardFunction.fingerprint` of the function that read them, which alone can score with them;
            None: nobody says.
    """

    users: pl.Series
    memory: Memory
    slots: Tokens
    visible: Tensor
    past: RecalledEvents | None = None
    standing: StateOfUsers | None = None
    encoded_by: str | None = None

    def __len__(self) -> int:
        return len(self.users)

    def __getitem__(self, index: slice | Sequence[int] | Tensor) -> History:
        """The chosen rows."""
        rows = torch.arange(len(self))[index]
        return self._map(lambda tensor: tensor[rows.to(tensor.device)], self.users[rows.numpy()])

    def refuse_unless_encoded_by(self, fingerprint: str) -> None:
        """See that the function of a fingerprint may score with them.

        Raises:
            ValueError: another function read them.
        """
        if self.encoded_by not in (None, fingerprint):
            raise ValueError(
                "history expected one that this function encoded, got one of another function, whose states mean "
                "something else: encode the events again with this function"
            )

    def to(self, device: torch.device | str) -> History:
        """The same histories on ``device``."""
        return self._map(lambda tensor: tensor.to(device), self.users)

    def _map(self, change: Callable[[Tensor], Tensor], users: pl.Series) -> History:
        memory = Memory(
            change(self.memory.states), change(self.memory.hours), tuple(change(layer) for layer in self.memory.layers)
        )
        standing = None if self.standing is None else self.standing.map(change)
        past = None if self.past is None else RecalledEvents(*map(change, self.past))
        slots = Tokens(*map(change, self.slots))
        return History(users, memory, slots, change(self.visible), past, standing, self.encoded_by)


@dataclass(frozen=True)
class Histories:
    """The same users' histories as each of a composite's scoring functions reads them."""

    of: dict[str, History]

    @property
    def users(self) -> pl.Series:
        """Whose row is whose."""
        return next(iter(self.of.values())).users

    def __len__(self) -> int:
        return len(self.users)

    def __getitem__(self, index: slice | Sequence[int] | Tensor) -> Histories:
        """The chosen rows."""
        return Histories({name: history[index] for name, history in self.of.items()})

    def to(self, device: torch.device | str) -> Histories:
        """The same histories on ``device``."""
        return Histories({name: history.to(device) for name, history in self.of.items()})


def encoded(
    network: RewardNetwork,
    windows: Windows,
    slots: pl.DataFrame,
    *,
    standing: StateOfUsers | None,
    encoded_by: str,
) -> History:
    """The histories of slots, in their order.

    Args:
        network: what reads them.
        windows: of the log, whose slots are ``slots``.
        slots: see `reward.scoring.requests.LogReader.slots`.
        standing: see `History`.
        encoded_by: see `History`.
    """
    owner = np.repeat(np.arange(len(windows)), np.diff(windows.slot_bounds))
    place = np.empty(len(slots), np.int64)
    place[windows.stream.slots.source[windows.slots]] = np.arange(len(slots))
    needed, which = np.unique(owner[place], return_inverse=True)
    device = next(network.parameters()).device
    batch = on_device(windows.batch(needed), device)
    memory, past = network.read(batch.history), network.past(batch.history)
    rows = torch.from_numpy(which).to(device)
    column = torch.from_numpy(place - windows.slot_bounds[owner[place]]).to(device)
    return History(
        slots[USER],
        Memory(memory.states[rows], memory.hours[rows], tuple(layer[rows] for layer in memory.layers)),
        Tokens(*(tensor[rows, column].unsqueeze(1) for tensor in batch.slots)),
        batch.visible[rows, column].unsqueeze(1),
        None if past is None else RecalledEvents(*(part[rows] for part in past)),
        standing,
        encoded_by,
    )
