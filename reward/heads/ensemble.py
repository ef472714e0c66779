"""An ensemble of small networks on one state."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Ensemble(nn.Module):
    """M networks of one hidden layer, of one state's first D numbers, as one matrix product.

    Args:
        width: D, size of the states.
        hidden: units of each member's hidden layer.
        members: M.
        outputs: K, numbers that each member gives.

    Source: Osband et al. 2016 (bootstrapped heads on a shared trunk).
    """

    def __init__(self, *, width: int, hidden: int, members: int, outputs: int) -> None:
        super().__init__()
        self.width, self.hidden, self.members = width, hidden, members
        self.inner = nn.Linear(width, members * hidden)
        self.outer = nn.Parameter(torch.randn(members, hidden, outputs) / hidden**0.5)
        self.bias = nn.Parameter(torch.zeros(members, outputs))

    def forward(self, state: Tensor) -> Tensor:
        """(..., M, K) of states (..., D or more)."""
        hidden = F.gelu(self.inner(state[..., : self.width])).unflatten(-1, (self.members, self.hidden))
        return torch.einsum("...mh,mhk->...mk", hidden, self.outer) + self.bias
