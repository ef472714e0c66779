"""The consumption head: how much a user takes in on each of the next days, often nothing."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reward.days import trace_bits
from reward.heads.calibration import platt
from reward.heads.ensemble import Ensemble

_LEAST_STD, _MOST_STD = 0.05, 3.0  # of log amounts; at the most a mean is 90 medians
_DRAWS, _BINS = 512, 40
_STATES = 128  # whose draws are held at a time


class ConsumptionHead(nn.Module):
    """An ensemble of small networks; a day's amount is 0, or log-normal, independent of other days given the state.

    amount_d = 0 with probability 1 − p_d, else exp(μ_d + σ_d · z), z standard normal; its mean is p_d · exp(μ_d +
    σ_d² / 2). Log amounts are told against ``centre``, which `begin` sets from training's. `calibrate` scales and
    moves the logits of p day by day and multiplies amounts by a factor a day.

    Args:
        width: D, size of the states.
        hidden: units of each member's hidden layer.
        horizon_days: H.
        members: M, members of the ensemble.

    Source: Wang et al. 2019, A deep probabilistic model for customer lifetime value prediction, equation 4.
    """

    outputs = ("consumption_logits", "log_mean", "log_std")
    scale: Tensor
    offset: Tensor
    centre: Tensor
    span: Tensor

    def __init__(self, *, width: int, hidden: int, horizon_days: int, members: int) -> None:
        super().__init__()
        self.width, self.hidden, self.horizon_days, self.members = width, hidden, horizon_days, members
        self.ensemble = Ensemble(width=width, hidden=hidden, members=members, outputs=3 * horizon_days)
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("offset", torch.zeros(horizon_days))
        self.register_buffer("centre", torch.zeros(horizon_days))
        self.register_buffer("span", torch.tensor([-7.0, 7.0]))

    def forward(self, state: Tensor) -> dict[str, Tensor]:
        """``consumption_logits``, ``log_mean`` and ``log_std``, (..., M, H) each, of states (..., D)."""
        logits, mean, spread = self.ensemble(state).chunk(3, -1)
        return {
            "consumption_logits": self.scale * logits + self.offset,
            "log_mean": self.centre + mean,
            "log_std": (F.softplus(spread + 0.54) + _LEAST_STD).clamp(max=_MOST_STD),  # 1 where the network gives 0
        }

    def value(self, state: Tensor) -> Tensor:
        """Expected amount in the next H days, by member: (..., M) for states (..., D)."""
        return self._days(state).sum(-1)

    def expected(self, state: Tensor) -> Tensor:
        """What adds up to the value, mean over members: the amount of each day, (..., H)."""
        return self._days(state).mean(-2)

    def _days(self, state: Tensor) -> Tensor:
        found = self(state)
        return found["consumption_logits"].sigmoid() * (found["log_mean"] + found["log_std"].square() / 2).exp()

    @torch.no_grad()
    def distribution(self, state: Tensor) -> tuple[Tensor, Tensor]:
        """How much is taken in over the next H days.

        Args:
            state: (..., D).

        Returns:
            ``outcome`` (K,): 0, and then the middles of bins of equal width in log amount, the same for all states and
            the outer ones open; ``probability`` (..., K), the share of 512 draws a member, of the same for all states.
        """
        generator = torch.Generator().manual_seed(0)
        shape = (_DRAWS, self.horizon_days)
        chance, noise = torch.rand(shape, generator=generator), torch.randn(shape, generator=generator)
        chance, noise = chance.to(state.device), noise.to(state.device)
        edges = torch.linspace(float(self.span[0]), float(self.span[1]), _BINS + 1, device=state.device)
        shares = []
        for some in state.reshape(-1, state.shape[-1]).split(_STATES):
            found = {name: part.unsqueeze(-2) for name, part in self(some).items()}
            amount = (found["log_mean"] + found["log_std"] * noise).exp()
            total = amount.where(chance < found["consumption_logits"].sigmoid(), 0.0).sum(-1).flatten(1)  # M · draws
            place = torch.where(total > 0, torch.bucketize(total.log(), edges[1:-1]) + 1, 0)
            count = total.new_zeros(len(some), _BINS + 1).scatter_add_(1, place, torch.ones_like(total))
            shares.append(count / total.shape[1])
        middles = torch.cat([edges.new_zeros(1), ((edges[1:] + edges[:-1]) / 2).exp()])
        return middles, torch.cat(shares).reshape(*state.shape[:-1], _BINS + 1)

    @torch.no_grad()
    def begin(self, targets: Mapping[str, Tensor]) -> None:
        """Set ``centre`` to the mean log amount of the days on which anything was taken in.

        And ``span``, the log amounts that `distribution` tells apart: from the smallest of these to e times a row's
        largest sum.

        Args:
            targets: ``amount`` (rows, H) and ``observed`` (rows,) of training.
        """
        some = trace_bits(targets["observed"], self.horizon_days) & (targets["amount"] > 0)
        if some.any():
            amount = targets["amount"]
            self.centre.fill_(float(amount[some].log().mean()))
            self.span.copy_(torch.stack([amount[some].min().log(), (amount * some).sum(-1).max().log() + 1]))

    @torch.no_grad()
    def calibrate(self, outputs: Mapping[str, Tensor], targets: Mapping[str, Tensor], *, prior_events: float) -> None:
        """Fit the chance of any amount (see `platt`) and then its size to outcomes that training did not see.

        ``centre`` moves by log(amounts observed / amounts expected), day by day, both with ``prior_events`` days of the
        mean expected amount added.

        Args:
            outputs: what the head as it is gives, (rows, M, H) each; an earlier calibration of chances is undone first.
            targets: ``amount`` (rows, H) and ``observed`` (rows,).
            prior_events: weight of "no correction", in observations.
        """
        observed = trace_bits(targets["observed"], self.horizon_days)
        amount = targets["amount"].double() * observed
        uncalibrated = (outputs["consumption_logits"].double() - self.offset) / self.scale
        scale, offset = platt(uncalibrated, amount > 0, observed, prior_events=prior_events)
        size = (outputs["log_mean"].double() + outputs["log_std"].double().square() / 2).exp()
        expected = ((scale * uncalibrated + offset).sigmoid() * size).mean(-2) * observed
        prior = prior_events * expected.sum() / observed.sum().clamp(min=1)
        factor = ((amount.sum(0) + prior) / (expected.sum(0) + prior)).nan_to_num(1.0)
        self.scale.copy_(scale)
        self.offset.copy_(offset)
        self.centre += torch.where(factor > 0, factor, 1.0).log()
