"""The trace head: the probability of being active on each of the next days."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from reward.days import trace_bits
from reward.heads.calibration import after_silence, chances, frailty, platt
from reward.heads.ensemble import Ensemble


class TraceHead(nn.Module):
    """An ensemble of small networks, each predicting the days of the trace as independent given the state.

    Calibrated logits are ``scale · logit + offset_d`` (Platt scaling with an offset for each day), with scale 1 and
    offset 0 until `calibrate` has run. So is ``frailty``, by which silence tells of the days after it; see
    `after_silence`.

    With ``from_activity`` the logit is that of past activity, moved towards the ensemble's by the share ``correction``:
    ``activity + correction · (ensemble − activity)``. In training the correction is 1, so that the ensemble learns all
    there is to learn; how much of it is kept is for validation to say. A correction of 0 leaves past activity alone.

    Args:
        width: D, size of the states.
        hidden: units of each member's hidden layer.
        horizon_days: H, days of the trace.
        members: M, members of the ensemble.
        from_activity: whether the state has H logits of past activity after its D numbers, to correct.

    Source: Platt 1999; Osband et al. 2016 (bootstrapped heads on a shared trunk).
    """

    outputs = ("trace_logits",)
    scale: Tensor
    offset: Tensor
    frailty: Tensor
    correction: Tensor

    def __init__(
        self, *, width: int, hidden: int, horizon_days: int, members: int, from_activity: bool = False
    ) -> None:
        super().__init__()
        self.width, self.hidden, self.horizon_days, self.members = width, hidden, horizon_days, members
        self.from_activity = from_activity
        self.ensemble = Ensemble(width=width, hidden=hidden, members=members, outputs=horizon_days)
        if from_activity:
            self.register_buffer("correction", torch.ones(()))
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("offset", torch.zeros(horizon_days))
        self.register_buffer("frailty", torch.zeros(()))

    def forward(self, state: Tensor) -> dict[str, Tensor]:
        """``trace_logits`` (..., M, H) of states (..., D), or (..., D + H) with ``from_activity``."""
        logits = self.ensemble(state)
        if self.from_activity:
            logits = (1 - self.correction) * state[..., self.width :].unsqueeze(-2) + self.correction * logits
        return {"trace_logits": self.scale * logits + self.offset}

    def value(self, state: Tensor) -> Tensor:
        """Expected active days in the next H days, by member: (..., M) for states (..., D)."""
        return self(state)["trace_logits"].sigmoid().sum(-1)

    def probabilities(self, state: Tensor) -> Tensor:
        """Mean over members of the probability of being active on each day: (..., H) for states (..., D)."""
        return self(state)["trace_logits"].sigmoid().mean(-2)

    def after_silence(self, chance: Tensor, days: Tensor) -> Tensor:
        """`probabilities` given that the first days have passed in silence; see `after_silence`.

        Args:
            chance: (..., H) of the last state.
            days: (...) silent days since.
        """
        return after_silence(chance, days, self.frailty.to(chance))

    def expected(self, state: Tensor) -> Tensor:
        """What adds up to the value, mean over members: `probabilities`."""
        return self.probabilities(state)

    @torch.no_grad()
    def distribution(self, state: Tensor) -> tuple[Tensor, Tensor]:
        """How many of the next H days will be active.

        Days are independent given the state and the member, so the number is Poisson-binomial, built up day by day.

        Args:
            state: (..., D).

        Returns:
            ``outcome`` (H + 1,): 0 to H active days; ``probability`` (..., H + 1), mean over members.
        """
        chance = self(state)["trace_logits"].sigmoid()
        mass = torch.nn.functional.pad(torch.ones_like(chance[..., :1]), (0, self.horizon_days))
        for day in range(self.horizon_days):
            active = chance[..., day, None]
            mass = (1 - active) * mass + active * mass.roll(1, -1)
        return torch.arange(self.horizon_days + 1.0, device=mass.device), mass.mean(-2)

    @torch.no_grad()
    def calibrate(self, outputs: Mapping[str, Tensor], targets: Mapping[str, Tensor], *, prior_events: float) -> None:
        """Fit ``scale``, ``offset`` and ``frailty`` to outcomes that training did not see; see `platt` and `frailty`.

        Args:
            outputs: ``trace_logits`` (rows, M, H) of the head as it is; an earlier calibration is undone first.
            targets: ``trace`` and ``observed`` (rows,), the words of an activity trace.
            prior_events: weight of the prior, in observations.
        """
        logits, before = outputs["trace_logits"], (self.scale.clone(), self.offset.clone())
        trace, observed = (trace_bits(targets[name], self.horizon_days) for name in ("trace", "observed"))
        scale, offset = platt(logits, trace, observed, prior_events=prior_events, before=before)
        self.scale.copy_(scale)
        self.offset.copy_(offset)
        chance = chances(logits, scale, offset, before=before)
        self.frailty.copy_(frailty(chance, trace, observed))
