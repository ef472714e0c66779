"""Calibration: how far to scale and move predicted logits so that they agree with outcomes training did not see."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def platt(logits: Tensor, trace: Tensor, observed: Tensor, *, prior_events: float) -> tuple[Tensor, Tensor]:
    """One scale for all logits and an offset for each day, by maximum a posteriori.

    With p = mean over members of sigmoid(scale · logit + offset_d), minimises
    −Σ_{observed} [trace log p + (1 − trace) log(1 − p)] + ``prior_events`` / 2 · (log² scale + Σ_d offset_d²):
    a Gaussian prior worth that many observations at no correction. A day that nobody observed keeps offset 0.

    Args:
        logits: (rows, M, H), finite.
        trace: (rows, H) bool, active days.
        observed: (rows, H) bool, known days; what ``trace`` says elsewhere is never read.
        prior_events: weight of the prior, in observations.

    Returns:
        ``scale`` () and ``offset`` (H,), float64.

    Raises:
        ValueError: the shapes do not fit.

    Source: Platt 1999, Probabilistic outputs for support vector machines.

    >>> active = torch.tensor([[True], [True], [True], [False]])
    >>> scale, offset = platt(torch.zeros(4, 1, 1), active, torch.ones_like(active), prior_events=0)
    >>> round(offset.item(), 4)  # log(3 / 1)
    1.0986
    """
    if logits.ndim != 3 or trace.shape != (len(logits), logits.shape[-1]) or observed.shape != trace.shape:
        raise ValueError(
            "expected logits (rows, M, H) with trace and observed (rows, H), got "
            f"{', '.join(str(tuple(part.shape)) for part in (logits, trace, observed))}"
        )
    fixed, target, known = logits.detach().double(), trace.double(), observed.double()
    parameters = torch.zeros(1 + logits.shape[-1], dtype=torch.float64, device=logits.device, requires_grad=True)
    solver = torch.optim.LBFGS([parameters], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        solver.zero_grad()
        calibrated = parameters[0].exp() * fixed + parameters[1:]
        # the mean over members in logarithms, which keep a gradient where a probability rounds to 0 or 1
        active, silent = (F.logsigmoid(sign * calibrated).logsumexp(-2) for sign in (1, -1))
        loss = -(known * (target * active + (1 - target) * silent)).sum()
        loss = loss + 0.5 * prior_events * parameters.square().sum()
        loss.backward()
        return loss

    with torch.enable_grad():
        solver.step(closure)
    return parameters.detach()[0].exp(), parameters.detach()[1:]
