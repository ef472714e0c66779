"""Linear hazards fitted to λ-return targets; many fits of one set of sequences are the members of one model.

Both designs have the same likelihood, that of `reward.objectives`; they differ in what a state is and in how a Newton
step is solved.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from consistency.sequences import Sequences
from reward.objectives.consistency import hazard_targets, soft_hazard_likelihood


class Design(Protocol):
    """What parameters (B, size) say of states.

    Attributes:
        size: how many parameters; the last are the baseline's, one a step.
        penalty: what θ' penalty θ adds to the loss, as the design's solver wants it.
    """

    size: int

    def logits(self, states: Tensor, theta: Tensor) -> Tensor:
        """(rows, B, H)."""

    def step(self, states: Tensor, theta: Tensor, slope: Tensor, bend: Tensor) -> Tensor:
        """The Newton step (B, size), of the loss's slope and curvature by row, fit and day (rows, B, H)."""


@dataclass(frozen=True)
class Numbers:
    """logit h(d | x) = Σ_j basis_j(d) · x'β_j + baseline(d), of states x that are numbers.

    Attributes:
        basis: (J, H); one row of ones makes the hazards proportional.
        penalty: (B, J·P + H, J·P + H).
    """

    basis: Tensor
    penalty: Tensor

    @property
    def size(self) -> int:
        return self.penalty.shape[-1]

    def coefficients(self, theta: Tensor) -> Tensor:
        """(B, J, P)."""
        return theta[:, : -self.basis.shape[1]].unflatten(1, (len(self.basis), -1))

    def logits(self, states: Tensor, theta: Tensor) -> Tensor:
        parts = torch.einsum("rp,bjp->rbj", states, self.coefficients(theta))
        return parts @ self.basis + theta[:, -self.basis.shape[1] :]

    def step(self, states: Tensor, theta: Tensor, slope: Tensor, bend: Tensor) -> Tensor:
        terms, features, x = len(self.basis), states.shape[1], states
        squares = (x.unsqueeze(-1) * x.unsqueeze(-2)).flatten(1)
        gradient = torch.cat([torch.einsum("rbj,rp->bjp", slope @ self.basis.T, x).flatten(1), slope.sum(0)], 1)
        gradient = gradient + 2 * (self.penalty @ theta.unsqueeze(-1)).squeeze(-1)
        pairs = self.basis.unsqueeze(1) * self.basis.unsqueeze(0)
        curved = torch.einsum("rbh,jkh->bjkr", bend, pairs) @ squares
        curved = curved.unflatten(-1, (features, features)).transpose(2, 3).flatten(3, 4).flatten(1, 2)
        mixed = torch.einsum("rbh,rp->bph", bend, x).unsqueeze(1) * self.basis.unsqueeze(1)
        mixed = mixed.reshape(len(theta), terms * features, -1)
        upper, lower = torch.cat([curved, mixed], 2), torch.cat([mixed.mT, torch.diag_embed(bend.sum(0))], 2)
        hessian = torch.cat([upper, lower], 1) + 2 * self.penalty
        return torch.linalg.solve(hessian + 1e-6 * torch.eye(self.size, dtype=x.dtype), gradient)


@dataclass(frozen=True)
class Codes:
    """logit h(d | s) = θ_s + f_s'γ + baseline(d), of discrete states s with features f.

    Attributes:
        features: (S, K).
        penalty: (B, S + K + H), a ridge for each parameter.
    """

    features: Tensor
    penalty: Tensor

    @property
    def size(self) -> int:
        return self.penalty.shape[-1]

    def effects(self, theta: Tensor) -> Tensor:
        """θ_s + f_s'γ, (B, S)."""
        states, terms = self.features.shape
        return theta[:, :states] + theta[:, states : states + terms] @ self.features.T

    def logits(self, states: Tensor, theta: Tensor) -> Tensor:
        horizon = self.size - sum(self.features.shape)
        return self.effects(theta).T[states].unsqueeze(-1) + theta[:, -horizon:]

    def step(self, states: Tensor, theta: Tensor, slope: Tensor, bend: Tensor) -> Tensor:
        count = len(self.features)

        def by_state(values: Tensor) -> Tensor:
            return values.new_zeros(count, *values.shape[1:]).index_add(0, states, values)

        slopes, bends = by_state(slope.sum(-1)), by_state(bend)  # (S, B), (S, B, H)
        f, total = self.features, bends.sum(-1)
        gradient = torch.cat([slopes.T, slopes.T @ f, slope.sum(0)], 1) + 2 * self.penalty * theta
        own = total.T + 2 * self.penalty[:, :count] + 1e-6  # (B, S)
        border = torch.cat([total.T.unsqueeze(-1) * f, bends.transpose(0, 1)], 2)  # (B, S, K + H)
        inner = torch.einsum("sb,sk,sl->bkl", total, f, f)
        mixed = torch.einsum("sbh,sk->bkh", bends, f)
        upper, lower = torch.cat([inner, mixed], 2), torch.cat([mixed.mT, torch.diag_embed(bends.sum(0))], 2)
        corner = torch.cat([upper, lower], 1) + torch.diag_embed(2 * self.penalty[:, count:] + 1e-6)
        scaled = border / own.unsqueeze(-1)
        rest = torch.linalg.solve(
            corner - border.mT @ scaled, gradient[:, count:] - (scaled.mT @ gradient[:, :count, None]).squeeze(-1)
        )
        return torch.cat([gradient[:, :count] / own - (scaled @ rest.unsqueeze(-1)).squeeze(-1), rest], 1)


def fit(
    data: Sequences,
    design: Design,
    *,
    lam: float,
    rows: Tensor | None = None,
    start: Tensor | None = None,
    iterations: int = 100,
    tolerance: float = 1e-5,
) -> Tensor:
    """The fixed point: the parameters (B, size) that best meet the targets which they themselves make.

    Each iteration renews the targets with the parameters so far and takes one Newton step of the weighted cross-entropy
    and the penalty.

    Args:
        data: sequences of states as the design reads them.
        design: says what a parameter is.
        lam: λ of the returns; 0 is TCSR, 1 landmarking (and, on initial states alone, the plain likelihood).
        rows: (rows, B), weight of each row in each fit; None: 1.
        start: (B, size); None: 0.
        iterations: at most so many.
        tolerance: of the largest change of a parameter.
    """
    theta = design.penalty.new_zeros(len(design.penalty), design.size) if start is None else start
    weight = theta.new_ones(len(data.steps), len(theta)) if rows is None else rows
    for _ in range(iterations):
        logits = design.logits(data.states, theta).requires_grad_()
        target, risk = hazard_targets(data.steps, data.ended, logits, data.gap, lam=lam)
        loss = (soft_hazard_likelihood(logits, target, risk) * weight).sum()
        (slope,) = torch.autograd.grad(loss, logits)
        chance = logits.detach().sigmoid()
        bend = risk * weight.unsqueeze(-1) * chance * (1 - chance)
        step = design.step(data.states, theta, slope, bend)
        step = step * (5 / step.abs().amax(1, keepdim=True).clamp(min=5))
        theta = theta - step
        if step.abs().max() < tolerance:
            break
    return theta
