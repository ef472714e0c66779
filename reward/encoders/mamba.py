"""A selective state space whose memory fades with events and with the hours between them."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reward.encoders import Memory

CHUNK = 32  # events whose states are one product of matrices
EVENTS = (2.0, 128.0)  # how many events, and how many hours, the heads remember before training: from least to most
HOURS = (12.0, 12.0 * 512)


def decayed_sums(log_decay: Tensor, added: Tensor) -> Tensor:
    """States of a linear recurrence, all at once: h_i = exp(log_decay_i) · h_{i−1} + added_i, and h_0 = added_0.

    Inside a chunk the states are one product with the matrix exp(Σ_{j<k≤i} log_decay_k), and so are those that the
    chunks begin with: no step waits for another, and the work is linear in the length up to some thousand places.
    While torch traces, all is one chunk, so that what it traced is good for any length.

    Args:
        log_decay: (batch, length, heads), at most 0.
        added: (batch, length, rows, heads, values).

    Returns:
        (batch, length, rows, heads, values).

    Source: Dao & Gu 2024, section 6.

    >>> half = torch.full((1, 3, 1), 0.5).log()
    >>> decayed_sums(half, torch.ones(1, 3, 1, 1, 1)).flatten()
    tensor([1.0000, 1.5000, 1.7500])
    """
    if torch.compiler.is_compiling() or log_decay.shape[1] <= CHUNK:
        return torch.einsum("bhij,bjnhp->binhp", _left(log_decay.transpose(1, 2)), added)
    length = log_decay.shape[1]
    padding = -length % CHUNK
    log_decay = F.pad(log_decay, (0, 0, 0, padding)).unflatten(1, (-1, CHUNK))
    added = F.pad(added, (0, 0, 0, 0, 0, 0, 0, padding)).unflatten(1, (-1, CHUNK))
    states = torch.einsum("bchij,bcjnhp->bcinhp", _left(log_decay.transpose(2, 3)), added)
    ends = torch.einsum("bhcd,bdnhp->bcnhp", _left(log_decay.sum(2).transpose(1, 2)), states[:, :, -1])
    begun = F.pad(ends[:, :-1], (0, 0, 0, 0, 0, 0, 1, 0)).unsqueeze(2)
    states = states + log_decay.cumsum(2).exp()[:, :, :, None, :, None] * begun
    return states.flatten(1, 2)[:, :length]


def _left(log_decay: Tensor) -> Tensor:
    """(..., n, n) of what is left at place i of what came in at place j, 0 before it came; ``log_decay``: (..., n).

    Each sum is one of its own terms alone: no difference of long sums loses what is short.
    """
    n = log_decay.shape[-1]
    later = torch.ones(n, n, dtype=torch.bool, device=log_decay.device).tril(-1)
    sums = log_decay.unsqueeze(-1).expand(*log_decay.shape, n).masked_fill(~later, 0.0).cumsum(-2)
    return sums.exp().masked_fill(later.T, 0.0)


class Block(nn.Module):
    """A gated state space layer with one decay a head."""

    usual_step: Tensor
    usual_hours: Tensor

    def __init__(self, width: int, heads: int, state_size: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.sizes = heads, (width, width, state_size, state_size, heads)
        self.norm = nn.LayerNorm(width)
        self.inputs = nn.Linear(width, sum(self.sizes))
        # what is learned is how far a head departs from these, so that weight decay leads back to them
        self.register_buffer("usual_step", _log_spaced(*EVENTS, heads).reciprocal().expm1().log(), persistent=False)
        self.register_buffer("usual_hours", _log_spaced(*HOURS, heads), persistent=False)
        self.log_rate, self.log_pace = nn.Parameter(torch.zeros(heads)), nn.Parameter(torch.zeros(heads))
        self.skip = nn.Parameter(torch.ones(heads))
        self.gated_norm = nn.RMSNorm(width, eps=1e-5)
        self.out = nn.Linear(width, width)
        self.drop = nn.Dropout(dropout)

    def read(self, tokens: Tensor, gap_hours: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens and flat states after every event; ``gap_hours``: (batch, length) since the event before."""
        gate, value, write, look, step = self._parts(tokens)
        added = write[..., None, None] * (step.unsqueeze(-1) * value).unsqueeze(-3)
        states = decayed_sums(self._log_decay(step, gap_hours), added).flatten(-2)
        seen = (look.unsqueeze(-2) @ states).squeeze(-2)
        return self._finish(tokens, gate, value, seen), states.flatten(-2)

    def ask(self, tokens: Tensor, before: Tensor, gap_hours: Tensor, begun: Tensor) -> Tensor:
        """Tokens one step after the flat states ``before``, (batch, slots, ·), or after none where none has begun."""
        gate, value, write, look, step = self._parts(tokens)
        left = self._log_decay(step, gap_hours).exp() * begun.unsqueeze(-1)
        seen = (look.unsqueeze(-2) @ before.unflatten(-1, (look.shape[-1], -1))).unflatten(-1, (self.heads, -1))
        own = (write * look).sum(-1, keepdim=True) * step
        seen = left.unsqueeze(-1) * seen.squeeze(-3) + own.unsqueeze(-1) * value
        return self._finish(tokens, gate, value, seen.flatten(-2))

    def _parts(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        gate, value, write, look, step = self.inputs(self.norm(tokens)).split(self.sizes, -1)
        value = F.silu(value).unflatten(-1, (self.heads, -1))
        return gate, value, F.silu(write), F.silu(look), F.softplus(step + self.usual_step)

    def _log_decay(self, step: Tensor, gap_hours: Tensor) -> Tensor:
        return -self.log_rate.exp() * step - gap_hours.unsqueeze(-1) * self.log_pace.exp() / self.usual_hours

    def _finish(self, tokens: Tensor, gate: Tensor, value: Tensor, seen: Tensor) -> Tensor:
        mixed = seen + (self.skip.unsqueeze(-1) * value).flatten(-2)
        return tokens + self.drop(self.out(self.gated_norm(mixed * F.silu(gate))))


def _log_spaced(low: float, high: float, count: int) -> Tensor:
    return torch.logspace(math.log2(low), math.log2(high), count, 2.0)


class Mamba(nn.Module):
    """Selective state space layers; a query is one more step from the state it reads.

    A head keeps a matrix S of values by ``state_size``. An event with value x decides how much is written, where, and
    what is looked up:

        S_i = exp(−rate · Δ_i − hours since the event before / τ) · S_{i−1} + Δ_i x_i b_iᵀ,   y_i = S_i c_i + skip · x_i

    with Δ, b and c functions of the token and rate, τ and skip learned for each head; y is gated, normed and added to
    the token. Left alone a state fades with the real time, as a continuous system does: two gaps do what one as long as
    both does, and after a gap much longer than τ a history is forgotten, whatever gaps training knew. There is no short
    convolution: it counts places and not hours, and would be one more state to keep.

    A query costs the same however long the history is. Each layer keeps width × ``state_size`` numbers an event.

    Args:
        width: D, size of tokens and states.
        layers: blocks.
        heads: divides ``width``; each has a time scale of its own.
        state_size: what a head remembers of each of its values.
        dropout: share of a block's output dropped in training.

    Raises:
        ValueError: ``heads`` does not divide ``width``.

    Source: Dao & Gu 2024 (Mamba-2), with the exact decay of a continuous system between events at irregular times,
    as in Smith et al. 2023 (S5), section 6.3.
    """

    def __init__(self, *, width: int, layers: int, heads: int, state_size: int, dropout: float) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"encoder.heads must divide encoder.width, got {heads} heads for a width of {width}")
        self.width, self.layers, self.heads = width, layers, heads
        self.state_size, self.dropout = state_size, dropout
        self.blocks = nn.ModuleList(Block(width, heads, state_size, dropout) for _ in range(layers))
        self.final = nn.LayerNorm(width)

    def read(self, tokens: Tensor, hours: Tensor) -> Memory:
        """Read (batch, length, D) tokens in order; padding comes last."""
        gap = hours.diff(dim=1, prepend=hours[:, :1]).clamp(min=0)
        layers = []
        for block in cast("list[Block]", list(self.blocks)):
            tokens, states = block.read(tokens, gap)
            layers.append(states)
        return Memory(self.final(tokens), hours, tuple(layers))

    def query(self, memory: Memory, tokens: Tensor, hours: Tensor, visible: Tensor) -> Tensor:
        """States of (batch, slots, D) tokens that read ``visible`` (batch, slots) events each."""
        place = (visible - 1).clamp(min=0)
        gap = (hours - memory.hours.gather(1, place)).clamp(min=0)
        batch, length = memory.hours.shape
        place = place + length * torch.arange(batch, device=place.device).unsqueeze(1)
        for block, states in zip(cast("list[Block]", list(self.blocks)), memory.layers, strict=True):
            before = states.flatten(0, 1).index_select(0, place.flatten()).unflatten(0, visible.shape)
            tokens = block.ask(tokens, before, gap, visible > 0)
        return self.final(tokens)
