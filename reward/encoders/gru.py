"""A gated recurrent encoder."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from reward.encoders import Memory


class GRU(nn.Module):
    """Layers of gated recurrent units; a query is one more step from the state it reads.

    Args:
        width: D, size of tokens and states.
        layers: layers, each with a residual connection.
        dropout: share of a layer's output dropped in training.

    Source: Cho et al. 2014, equations 5 to 8.
    """

    def __init__(self, *, width: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.width, self.layers, self.dropout = width, layers, dropout
        self.units = nn.ModuleList(nn.GRU(width, width, batch_first=True) for _ in range(layers))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(layers))
        self.drop = nn.Dropout(dropout)
        self.final = nn.LayerNorm(width)

    def read(self, tokens: Tensor, hours: Tensor) -> Memory:
        """Read (batch, length, D) tokens in order; padding comes last."""
        outputs = []
        for unit, norm in zip(self.units, self.norms, strict=True):
            hidden, _ = unit(norm(tokens))
            outputs.append(hidden)
            tokens = tokens + self.drop(hidden)
        return Memory(self.final(tokens), hours, tuple(outputs))

    def query(self, memory: Memory, tokens: Tensor, hours: Tensor, visible: Tensor) -> Tensor:  # noqa: ARG002
        """States of (batch, slots, D) tokens that read ``visible`` (batch, slots) events each."""
        batch, slots, width = tokens.shape
        place = (visible - 1).clamp(min=0).unsqueeze(-1).expand(batch, slots, width)
        begun = (visible > 0).unsqueeze(-1)
        units = cast("list[nn.GRU]", list(self.units))
        for unit, norm, hidden in zip(units, self.norms, memory.layers, strict=True):
            before = torch.where(begun, hidden.gather(1, place), 0.0)
            after = torch.gru_cell(
                norm(tokens).reshape(-1, width),
                before.reshape(-1, width),
                *cast("list[Tensor]", unit.all_weights[0]),
            )
            tokens = tokens + self.drop(after.view(batch, slots, width))
        return self.final(tokens)
