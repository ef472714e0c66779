"""The rating head: what a user would answer to a survey, and whether they would answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reward.heads.calibration import platt
from reward.heads.ensemble import Ensemble


class RatingHead(nn.Module):
    """An ensemble of small networks, each giving one score that ordered thresholds cut into the levels of an answer.

    P(answer above the k-th level) = sigmoid(score − c_k), c_1 < c_2 < ...: a cumulative logit, or proportional odds,
    model. A second number is the logit of an answer coming at all; what is missing is taken to be missing at random
    given the state.

    Args:
        width: D, size of the states.
        hidden: units of each member's hidden layer.
        levels: the K answers there can be, in rising order.
        members: M, members of the ensemble.

    Source: McCullagh 1980, Regression models for ordinal data, section 2.
    """

    outputs = ("rating_logits", "response_logits", "response_rate")
    values: Tensor
    rate: Tensor
    scale: Tensor
    offset: Tensor

    def __init__(self, *, width: int, hidden: int, levels: Sequence[float], members: int) -> None:
        super().__init__()
        self.width, self.hidden, self.levels, self.members = width, hidden, list(levels), members
        cuts = len(self.levels) - 1
        self.ensemble = Ensemble(width=width, hidden=hidden, members=members, outputs=2)
        self.first = nn.Parameter(torch.full((members, 1), -0.5 * (cuts - 1)))
        self.steps = nn.Parameter(torch.full((members, cuts - 1), 0.54))  # softplus: 1
        self.register_buffer("values", torch.tensor(self.levels), persistent=False)
        self.register_buffer("rate", torch.ones(()))
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("offset", torch.zeros(cuts))

    def forward(self, state: Tensor) -> dict[str, Tensor]:
        """What `outputs` names, of states (..., D).

        ``rating_logits`` (..., M, K−1) are those of surpassing each level but the last, falling; ``response_logits``
        (..., M) those of an answer coming, and ``response_rate`` (..., M) is the share of training's rows with one.
        """
        score, response = self.ensemble(state).unbind(-1)
        cuts = torch.cat([self.first, self.first + F.softplus(self.steps).cumsum(-1)], -1)
        return {
            "rating_logits": self.scale * (score.unsqueeze(-1) - cuts) + self.offset,
            "response_logits": response,
            "response_rate": self.rate.expand(response.shape),
        }

    def mass(self, state: Tensor) -> Tensor:
        """Probability of each level, by member: (..., M, K)."""
        above = F.pad(self(state)["rating_logits"].sigmoid(), (1, 0), value=1.0).cummin(-1).values
        return above - F.pad(above[..., 1:], (0, 1))

    def value(self, state: Tensor) -> Tensor:
        """Expected answer, were everybody to answer, by member: (..., M) for states (..., D)."""
        return (self.mass(state) * self.values).sum(-1)

    def expected(self, state: Tensor) -> Tensor:
        """Probability of surpassing each level but the last, mean over members: (..., K−1)."""
        return self(state)["rating_logits"].sigmoid().mean(-2)

    @torch.no_grad()
    def distribution(self, state: Tensor) -> tuple[Tensor, Tensor]:
        """``outcome`` (K,), the levels, and the ``probability`` (..., K) of each, mean over members."""
        return self.values, self.mass(state).mean(-2)

    @torch.no_grad()
    def begin(self, targets: Mapping[str, Tensor]) -> None:
        """Set the share of rows with an answer, of those told of, from the ``rating`` (rows,) of training."""
        told = targets["rating"][targets["rating"] >= 0]
        if len(told):
            self.rate.copy_((told > 0).float().mean())

    @torch.no_grad()
    def calibrate(self, outputs: Mapping[str, Tensor], targets: Mapping[str, Tensor], *, prior_events: float) -> None:
        """Fit ``scale`` and ``offset`` of the logits of each level being surpassed to answers not seen before.

        An offset a level may cross two levels where few answered; `mass` then gives the level between them 0.

        Args:
            outputs: ``rating_logits`` (rows, M, K−1) of the head as it is; an earlier calibration is undone first.
            targets: ``rating`` (rows,), 0 or less where no answer came.
            prior_events: weight of "no correction", in observations.
        """
        logits, before = outputs["rating_logits"], (self.scale, self.offset)
        rating = targets["rating"].unsqueeze(-1)
        above = rating > torch.arange(1, len(self.levels), device=rating.device)
        answered = (rating > 0).expand_as(above)
        scale, offset = platt(logits, above, answered, prior_events=prior_events, before=before)
        self.scale.copy_(scale)
        self.offset.copy_(offset)
