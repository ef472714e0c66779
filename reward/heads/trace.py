"""The trace head: the probability of being active on each of the next days."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reward.heads.calibration import platt


class TraceHead(nn.Module):
    """An ensemble of small networks, each predicting the days of the trace as independent given the state.

    Calibrated logits are ``scale · logit + offset_d`` (Platt scaling with an offset for each day), with scale 1 and
    offset 0 until `calibrate` has run.

    Args:
        width: D, size of the states.
        hidden: units of each member's hidden layer.
        horizon_days: H, days of the trace.
        members: M, members of the ensemble.

    Source: Platt 1999; Osband et al. 2016 (bootstrapped heads on a shared trunk).
    """

    outputs = ("trace_logits",)
    scale: Tensor
    offset: Tensor

    def __init__(self, *, width: int, hidden: int, horizon_days: int, members: int) -> None:
        super().__init__()
        self.width, self.hidden, self.horizon_days, self.members = width, hidden, horizon_days, members
        self.inner = nn.Linear(width, members * hidden)
        self.outer = nn.Parameter(torch.randn(members, hidden, horizon_days) / hidden**0.5)
        self.bias = nn.Parameter(torch.zeros(members, horizon_days))
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("offset", torch.zeros(horizon_days))

    def forward(self, state: Tensor) -> dict[str, Tensor]:
        """``trace_logits`` (..., M, H) of states (..., D)."""
        hidden = F.gelu(self.inner(state)).unflatten(-1, (self.members, self.hidden))
        logits = torch.einsum("...mh,mhd->...md", hidden, self.outer) + self.bias
        return {"trace_logits": self.scale * logits + self.offset}

    def value(self, state: Tensor) -> Tensor:
        """Expected active days in the next H days, by member: (..., M) for states (..., D)."""
        return self(state)["trace_logits"].sigmoid().sum(-1)

    def probabilities(self, state: Tensor) -> Tensor:
        """Mean over members of the probability of being active on each day: (..., H) for states (..., D)."""
        return self(state)["trace_logits"].sigmoid().mean(-2)

    @torch.no_grad()
    def calibrate(self, logits: Tensor, trace: Tensor, observed: Tensor, *, prior_events: float) -> None:
        """Fit ``scale`` and ``offset`` to outcomes that training did not see; see `platt`.

        Args:
            logits: (rows, M, H), of the head as it is; an earlier calibration is undone first.
            trace: (rows, H) bool, active days.
            observed: (rows, H) bool, known days.
            prior_events: weight of the prior, in observations.
        """
        uncalibrated = (logits.double() - self.offset) / self.scale
        scale, offset = platt(uncalibrated, trace, observed, prior_events=prior_events)
        self.scale.copy_(scale)
        self.offset.copy_(offset)
