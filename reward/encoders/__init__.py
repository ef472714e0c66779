"""Encoders: tokens of the stream in, states out.

An encoder has two operations. ``read(tokens, hours)`` turns the events of a window into a `Memory`;
``query(memory, tokens, hours, visible)`` gives the state of slots that each read the first ``visible`` events of
it. Nobody reads a query, so any number of them share one memory.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from torch import Tensor


class Memory(NamedTuple):
    """A history read once.

    Attributes:
        states: (batch, length, width) the state after each event.
        hours: (batch, length) time of each event.
        layers: what the encoder's queries need of each layer, (batch, length, ·) each.
    """

    states: Tensor
    hours: Tensor
    layers: tuple[Tensor, ...]


class Encoder(Protocol):
    """What the network asks of an encoder."""

    width: int

    def read(self, tokens: Tensor, hours: Tensor) -> Memory: ...

    def query(self, memory: Memory, tokens: Tensor, hours: Tensor, visible: Tensor) -> Tensor: ...
