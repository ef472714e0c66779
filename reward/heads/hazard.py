"""The hazard head: the probability of coming back on each of the next days, of those who have not yet."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reward.days import at_risk, event_on
from reward.heads.calibration import platt
from reward.heads.ensemble import Ensemble

_FEW = 0.5  # events, and as many days without one, that are added so that no hazard starts at 0 or 1


class HazardHead(nn.Module):
    """An ensemble of small networks, each predicting the hazard of the first return on each day.

    With hazards h_d the user is still away after day d with probability S_d = Π_{k≤d} (1 − h_k), and back by then
    with 1 − S_d. Where K reasons to come back compete, h_d is shared out by a softmax over them. The calibrated logit
    of h_d is ``scale · logit + offset_d``, with scale 1 and offset 0 until `calibrate` ran, and leaves the shares.

    Args:
        width: D, size of the states.
        hidden: units of each member's hidden layer.
        horizon_days: H.
        causes: K, reasons that compete; 1: a return is a return.
        members: M, members of the ensemble.
        once: a value is the probability that the event comes within the horizon, and its parts are the days on which it
            comes; False: the expected days of the horizon on which the user is back, and its parts are these.

    Source: Cox 1972, section 6 (discrete time); Tutz & Schmid 2016, sections 3.1 and 8.1.
    """

    scale: Tensor
    offset: Tensor

    def __init__(
        self, *, width: int, hidden: int, horizon_days: int, causes: int, members: int, once: bool = False
    ) -> None:
        super().__init__()
        self.width, self.hidden, self.horizon_days = width, hidden, horizon_days
        self.causes, self.members, self.once = causes, members, once
        self.ensemble = Ensemble(width=width, hidden=hidden, members=members, outputs=causes * horizon_days)
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("offset", torch.zeros(horizon_days))

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of what a call returns."""
        return ("hazard_logits",) if self.causes == 1 else ("cause_logits",)

    def forward(self, state: Tensor) -> dict[str, Tensor]:
        """``hazard_logits`` (..., M, H), or ``cause_logits`` (..., M, K, H), of states (..., D)."""
        logits = self.ensemble(state).unflatten(-1, (self.causes, self.horizon_days))
        total = logits.logsumexp(-2, keepdim=True)
        logits = logits + (self.scale - 1) * total + self.offset
        return {"hazard_logits": logits.squeeze(-2)} if self.causes == 1 else {"cause_logits": logits}

    def _total(self, outputs: Mapping[str, Tensor]) -> Tensor:
        return outputs["hazard_logits"] if self.causes == 1 else outputs["cause_logits"].logsumexp(-2)

    def back(self, state: Tensor) -> Tensor:
        """Probability of being back by each day, by member: 1 − S_d, (..., M, H) for states (..., D)."""
        return -F.logsigmoid(-self._total(self(state))).cumsum(-1).expm1()

    def value(self, state: Tensor) -> Tensor:
        """By member, (..., M): Σ_d (1 − S_d), the expected days of the next H on which the user is back.

        With ``once`` 1 − S_H, the probability that the event comes within the horizon.
        """
        back = self.back(state)
        return back[..., -1] if self.once else back.sum(-1)

    def probabilities(self, state: Tensor) -> Tensor:
        """Mean over members of what adds up to the value: (..., H) for states (..., D).

        The probability of being back by each day, 1 − S_d; with ``once`` that of the event on each day, S_{d−1} − S_d.
        """
        back = self.back(state).mean(-2)
        return F.pad(back, (1, 0)).diff(dim=-1) if self.once else back

    def after_silence(self, chance: Tensor, days: Tensor) -> Tensor:
        """`probabilities` given that the first days passed without a return: 1 − S_d / S_s.

        With ``once`` (S_{d−1} − S_d) / S_s, of days after the silence; of the silent days themselves it says nothing.

        Args:
            chance: (..., H) of the last state.
            days: s (...) silent days since, from 0 to H.
        """
        away = F.pad(1 - (chance.cumsum(-1) if self.once else chance), (1, 0), value=1.0)
        left = away.gather(-1, days.long().unsqueeze(-1)).clamp(min=torch.finfo(chance.dtype).tiny)
        return chance / left if self.once else 1 - away[..., 1:] / left

    def expected(self, state: Tensor) -> Tensor:
        """What adds up to the value, mean over members: `probabilities`."""
        return self.probabilities(state)

    @torch.no_grad()
    def distribution(self, state: Tensor) -> tuple[Tensor, Tensor]:
        """On which day the user comes back.

        Args:
            state: (..., D).

        Returns:
            ``outcome`` (H + 1,): day 1 to H, and H + 1 for later or never; ``probability`` (..., H + 1), mean over
            members.
        """
        back = F.pad(self.back(state).mean(-2), (1, 0))
        mass = torch.cat([back.diff(dim=-1), 1 - back[..., -1:]], -1)
        return torch.arange(1, self.horizon_days + 2.0, device=mass.device), mass

    def begin(self, targets: Mapping[str, Tensor]) -> None:
        """See that every reason in the targets of training has its share.

        With ``once`` logits start at those of the hazards of training: an event that comes to few in a month is far
        from a hazard of one half, and the first epochs would be spent on the way.

        Args:
            targets: ``time_days``, ``event`` or ``cause``, and ``entry_days`` (rows,) of training.

        Raises:
            TypeError: there are more than K.
        """
        most = int(targets["cause"].max()) if "cause" in targets else 0
        if most > self.causes:
            raise TypeError(
                f"causes expected one more than the outcome has reasons, {most} at the least, got {self.causes}"
            )
        if self.once:
            event, risk = self._days(targets)
            hazard = (event.sum(0) + _FEW) / (risk.sum(0) + 2 * _FEW)
            start = hazard.logit() - math.log(self.causes)
            with torch.no_grad():
                self.ensemble.bias.copy_(start.repeat(self.causes).expand_as(self.ensemble.bias))

    def _days(self, targets: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """(rows, H) on which day it came, and on which days it could have."""
        time, entry, came = (
            targets["time_days"],
            targets["entry_days"],
            targets["event" if self.causes == 1 else "cause"],
        )
        return event_on(time, came, entry, self.horizon_days), at_risk(time, entry, self.horizon_days)

    @torch.no_grad()
    def calibrate(self, outputs: Mapping[str, Tensor], targets: Mapping[str, Tensor], *, prior_events: float) -> None:
        """Fit ``scale`` and ``offset`` to returns that training did not see, of those who were still away; see `platt`.

        Args:
            outputs: what the head as it is gives, by rows; an earlier calibration is undone first.
            targets: ``time_days``, ``event`` or ``cause``, and ``entry_days`` (rows,) of a
                `reward.outcomes.returns.ReturnTime`.
            prior_events: weight of the prior, in observations.
        """
        event, risk = self._days(targets)
        before = (self.scale, self.offset)
        scale, offset = platt(self._total(outputs), event, risk, prior_events=prior_events, before=before)
        self.scale.copy_(scale)
        self.offset.copy_(offset)
