"""Hierarchical sequential transduction units: attention without a softmax, which knows how long ago each event was."""

from __future__ import annotations

import math
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reward.encoders import Memory

DOUBLINGS = 24  # of a minute: 32 years; of a place: 17 million events


class Doublings(NamedTuple):
    """How often 1 has to be doubled to reach 1 + x: ``whole`` times, and ``part`` of the next."""

    whole: Tensor
    part: Tensor


def doublings(x: Tensor) -> Doublings:
    """log₂(1 + x), 0 where x is negative.

    >>> doublings(torch.tensor([0.0, 1.0, 2.0, 1e30])).whole
    tensor([ 0,  1,  1, 23])
    """
    exponent = x.clamp(min=0).log1p().div(math.log(2)).clamp(max=DOUBLINGS)
    whole = exponent.long().clamp(max=DOUBLINGS - 1)
    return Doublings(whole, exponent - whole)


class Curve(nn.Module):
    """A learned function of log₂(1 + x) for each head: straight lines between the doublings of 1 + x.

    It is the sum of its steps from one doubling to the next, and a step that no x of the training reached stays zero:
    beyond the longest x that training knew the curve stays where it was there.

    Args:
        heads: how many functions.
    """

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.steps = nn.Parameter(torch.zeros(DOUBLINGS + 1, heads))

    def forward(self, x: Doublings) -> Tensor:
        """Values (..., heads) at x (...)."""
        start, step = F.embedding(x.whole, torch.cat([self.steps.cumsum(0)[:-1], self.steps[1:]], 1)).chunk(2, -1)
        return start + step * x.part.unsqueeze(-1)


class Unit(nn.Module):
    """One unit: gates, queries, keys and values of each token, and what it makes of the tokens it reads."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.gate_query = nn.Linear(width, 2 * width)
        self.key_value = nn.Linear(width, 2 * width)
        self.minutes, self.places = Curve(heads), Curve(heads)
        self.mixed_norm = nn.LayerNorm(width)
        self.drop = nn.Dropout(dropout)
        self.out = nn.Linear(width, width)

    def keys(self, tokens: Tensor) -> Tensor:
        """(batch, length, 2D) keys and values."""
        return F.silu(self.key_value(self.norm(tokens)))

    def read(self, tokens: Tensor, keys: Tensor, minutes: Doublings, places: Tensor) -> Tensor:
        """What every event makes of the events up to itself; ``places``: (length, length)."""
        gate, query, key, value = self._parts(tokens, keys)
        mixed = self._weights(query, key, minutes, places) @ value
        return self._finish(tokens, gate, mixed)

    def ask(self, tokens: Tensor, keys: Tensor, minutes: Doublings, places: Tensor) -> Tensor:
        """What every slot makes of the events it may read and of itself; ``places``: (batch, slots, length)."""
        gate, query, key, value = self._parts(tokens, keys)
        own_key, own_value = (self._split(part) for part in self.keys(tokens).chunk(2, -1))
        here = self.minutes.steps[0] + self.places.steps[0]
        own = F.silu((query * own_key).sum(-1, keepdim=True) + here.view(-1, 1, 1))
        mixed = self._weights(query, key, minutes, places) @ value + own * own_value
        return self._finish(tokens, gate, mixed)

    def _parts(self, tokens: Tensor, keys: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        gate, query = F.silu(self.gate_query(self.norm(tokens))).chunk(2, -1)
        key, value = (self._split(part) for part in keys.chunk(2, -1))
        query = self._split(query)
        return gate, query / math.sqrt(query.shape[-1]), key, value

    def _split(self, flat: Tensor) -> Tensor:
        return flat.unflatten(-1, (self.heads, -1)).transpose(-3, -2)

    def _weights(self, query: Tensor, key: Tensor, minutes: Doublings, places: Tensor) -> Tensor:
        """(batch, heads, ·, length), 0 for what may not be read: places are how many back it stands, −1 for later."""
        counts = torch.arange(key.shape[-2] + 1, device=places.device)
        bias = self.minutes(minutes) + F.embedding(places.clamp(min=0), self.places(doublings(counts)))
        weights = F.silu(query @ key.transpose(-1, -2) + bias.movedim(-1, -3))
        return weights.masked_fill((places < 0).unsqueeze(-3), 0.0)

    def _finish(self, tokens: Tensor, gate: Tensor, mixed: Tensor) -> Tensor:
        mixed = self.mixed_norm(mixed.transpose(-3, -2).flatten(-2))
        return tokens + self.out(self.drop(mixed * gate))


class HSTU(nn.Module):
    """Units whose attention is pointwise and gated; a query attends to what it may read and to itself.

    With U, Q, K, V = SiLU of linear functions of a token,

        weight_ij = SiLU(q_i · k_j / √d + a(minutes from j to i) + b(events from j to i))
        y_i = x_i + out(norm(Σ_j weight_ij v_j) ⊙ u_i)

    for each head, where a and b are `Curve`s in log time and log count. There is no softmax: an event's weight does not
    hang on what else there is, and the norm keeps the sum in bounds. The curves are flat beyond the longest gap and
    the longest history that training knew, so neither is anything new.

    Args:
        width: D, size of tokens and states.
        layers: units.
        heads: attention heads; divides ``width``.
        dropout: share of a unit's gated output dropped in training.

    Raises:
        ValueError: ``heads`` does not divide ``width``.

    Source: Zhai et al. 2024, equations 1 to 3; their table of biases by place and by log time, here continuous.
    """

    def __init__(self, *, width: int, layers: int, heads: int, dropout: float) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"encoder.heads must divide encoder.width, got {heads} heads for a width of {width}")
        self.width, self.layers, self.heads, self.dropout = width, layers, heads, dropout
        self.units = nn.ModuleList(Unit(width, heads, dropout) for _ in range(layers))
        self.final = nn.LayerNorm(width)

    def read(self, tokens: Tensor, hours: Tensor) -> Memory:
        """Read (batch, length, D) tokens in order; padding comes last."""
        place = torch.arange(tokens.shape[1], device=tokens.device)
        places = _places(place.unsqueeze(1), place)
        minutes = doublings(60 * (hours.unsqueeze(2) - hours.unsqueeze(1)))
        layers = []
        for unit in cast("list[Unit]", list(self.units)):
            keys = unit.keys(tokens)
            tokens = unit.read(tokens, keys, minutes, places)
            layers.append(keys)
        return Memory(self.final(tokens), hours, tuple(layers))

    def query(self, memory: Memory, tokens: Tensor, hours: Tensor, visible: Tensor) -> Tensor:
        """States of (batch, slots, D) tokens that read ``visible`` (batch, slots) events each."""
        place = torch.arange(memory.hours.shape[1], device=tokens.device)
        places = _places(visible.unsqueeze(-1), place).masked_fill(place >= visible.unsqueeze(-1), -1)
        minutes = doublings(60 * (hours.unsqueeze(2) - memory.hours.unsqueeze(1)))
        for unit, keys in zip(cast("list[Unit]", list(self.units)), memory.layers, strict=True):
            tokens = unit.ask(tokens, keys, minutes, places)
        return self.final(tokens)


def _places(own: Tensor, other: Tensor) -> Tensor:
    """How many places ``other`` stands before ``own``; −1 if it stands after it."""
    return (own - other).clamp(min=-1)
