"""The trace head: the probability of being active on each of the next days."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


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
        """Fit ``scale`` and ``offset`` to outcomes that training did not see.

        Minimises the log-loss of the members' mean probability plus ``prior_events`` / 2 · (log² scale + Σ offset²),
        a Gaussian prior worth that many observations at no correction.

        Args:
            logits: (rows, M, H), of the uncalibrated head.
            trace: (rows, H) bool, active days.
            observed: (rows, H) bool, known days.
            prior_events: weight of the prior, in observations.
        """
        known = observed.double()
        target = trace.double()
        fixed = logits.double()
        parameters = torch.zeros(1 + self.horizon_days, dtype=torch.float64, requires_grad=True)
        solver = torch.optim.LBFGS([parameters], max_iter=100, line_search_fn="strong_wolfe")

        def closure() -> Tensor:
            solver.zero_grad()
            probability = (parameters[0].exp() * fixed + parameters[1:]).sigmoid().mean(-2)
            loss = F.binary_cross_entropy(probability, target, known, reduction="sum")
            loss = loss + 0.5 * prior_events * parameters.square().sum()
            loss.backward()
            return loss

        with torch.enable_grad():
            solver.step(closure)
        self.scale.copy_(parameters[0].exp())
        self.offset.copy_(parameters[1:])
