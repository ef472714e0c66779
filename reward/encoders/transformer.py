"""A causal transformer whose attention knows how long ago each event was."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reward.encoders import Memory


class Block(nn.Module):
    """Pre-norm attention and feed-forward layer with a learned decay of attention over log time, one per head."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.attend_norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        self.decay = nn.Parameter(torch.linspace(-3.0, 0.0, heads))
        self.feed = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )
        self.drop = nn.Dropout(dropout)

    def keys(self, tokens: Tensor) -> Tensor:
        """(batch, length, 2D) keys and values."""
        return self.key_value(self.attend_norm(tokens))

    def _split(self, flat: Tensor) -> Tensor:
        return flat.unflatten(-1, (self.heads, -1)).transpose(-3, -2)

    def _bias(self, gap_hours: Tensor, seen: Tensor) -> Tensor:
        slope = F.softplus(self.decay).view(-1, 1, 1)
        bias = -slope * gap_hours.clamp(min=0).log1p().unsqueeze(1)
        return bias.masked_fill(~seen.unsqueeze(1), -math.inf)

    def _finish(self, tokens: Tensor, mixed: Tensor) -> Tensor:
        tokens = tokens + self.drop(self.out(mixed.transpose(-3, -2).flatten(-2)))
        return tokens + self.drop(self.feed(tokens))

    def read(self, tokens: Tensor, keys: Tensor, gap_hours: Tensor, seen: Tensor) -> Tensor:
        """Attend from every event to the events up to itself; ``gap_hours``, ``seen``: (batch, length, length)."""
        key, value = (self._split(part) for part in keys.chunk(2, -1))
        query = self._split(self.query(self.attend_norm(tokens)))
        mixed = F.scaled_dot_product_attention(
            query, key, value, self._bias(gap_hours, seen), self.dropout if self.training else 0.0
        )
        return self._finish(tokens, mixed)

    def ask(self, tokens: Tensor, keys: Tensor, gap_hours: Tensor, seen: Tensor) -> Tensor:
        """Attend from every slot to the events it may read and to itself; ``seen``: (batch, slots, length)."""
        key, value = (self._split(part) for part in keys.chunk(2, -1))
        own_key, own_value = (self._split(part) for part in self.keys(tokens).chunk(2, -1))
        query = self._split(self.query(self.attend_norm(tokens))) / math.sqrt(key.shape[-1])
        past = query @ key.transpose(-1, -2) + self._bias(gap_hours, seen)
        own = (query * own_key).sum(-1, keepdim=True)
        weight = F.dropout(torch.cat([past, own], -1).softmax(-1), self.dropout, self.training)
        return self._finish(tokens, weight[..., :-1] @ value + weight[..., -1:] * own_value)


class Transformer(nn.Module):
    """Causal self-attention over the events; a query attends to what it may read and to itself.

    An attention logit is lowered by softplus(decay_h) · log(1 + hours between the two), with decay_h learned for
    each head: order and elapsed time enter without a table of positions, so histories longer than those of the
    training window are nothing new.

    Args:
        width: D, size of tokens and states.
        layers: blocks.
        heads: attention heads; divides ``width``.
        dropout: share of attention weights and of a layer's output dropped in training.

    Raises:
        ValueError: ``heads`` does not divide ``width``.

    Source: Vaswani et al. 2017; Press et al. 2022 (linear biases), here on log time.
    """

    def __init__(self, *, width: int, layers: int, heads: int, dropout: float) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"encoder.heads must divide encoder.width, got {heads} heads for a width of {width}")
        self.width, self.layers, self.heads, self.dropout = width, layers, heads, dropout
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(layers))
        self.final = nn.LayerNorm(width)

    def read(self, tokens: Tensor, hours: Tensor) -> Memory:
        """Read (batch, length, D) tokens in order; padding comes last."""
        length = tokens.shape[1]
        gap = hours.unsqueeze(2) - hours.unsqueeze(1)
        seen = torch.ones(length, length, dtype=torch.bool, device=tokens.device).tril().expand_as(gap)
        layers = []
        for block in cast("list[Block]", list(self.blocks)):
            keys = block.keys(tokens)
            tokens = block.read(tokens, keys, gap, seen)
            layers.append(keys)
        return Memory(self.final(tokens), hours, tuple(layers))

    def query(self, memory: Memory, tokens: Tensor, hours: Tensor, visible: Tensor) -> Tensor:
        """States of (batch, slots, D) tokens that read ``visible`` (batch, slots) events each."""
        gap = hours.unsqueeze(2) - memory.hours.unsqueeze(1)
        seen = torch.arange(memory.hours.shape[1], device=tokens.device) < visible.unsqueeze(-1)
        for block, keys in zip(cast("list[Block]", list(self.blocks)), memory.layers, strict=True):
            tokens = block.ask(tokens, keys, gap, seen)
        return self.final(tokens)
