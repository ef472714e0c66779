"""What predictions from initial states are held against: order, curves, likelihood."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from reward.objectives.hazard import hazard_likelihood, log_survival


def concordance(risk: Tensor, steps: Tensor, ended: Tensor, *, early: int = 0) -> np.ndarray:
    """Harrell's C-index: the share of pairs whose first to end had the higher risk; a tie counts half.

    Args:
        risk: (rows, fits).
        steps: (rows,), steps to the end, or to where the row was last seen.
        ended: (rows,), whether it ended; a censored row outlasts what ends at its step.
        early: the published index takes a censored row to outlast what ends a step after its last one, too, which is
            not known; 1 does so.

    Returns:
        (fits,).
    """
    right, pairs = np.zeros(risk.shape[1]), 0
    for step in steps[ended].unique():
        now, later = ended & (steps == step), (steps > step) | (steps >= step - early) & ~ended
        order = risk[later].T.contiguous().sort(-1).values
        mine = risk[now].T.contiguous()
        below, upto = (torch.searchsorted(order, mine, right=side).double().sum(-1) for side in (False, True))
        right += ((below + upto) / 2).numpy()
        pairs += int(now.sum()) * int(later.sum())
    return right / pairs


def _still_watched(steps: Tensor, ended: Tensor) -> np.ndarray:
    """Kaplan & Meier's estimate of the chance not to be censored by each step, from step 0."""
    last = np.arange(int(steps.max()) + 1)
    watched = (steps - ended.long()).numpy()[:, None]
    with np.errstate(invalid="ignore"):
        left = 1 - ((watched == last) & ~ended.numpy()[:, None]).sum(0) / (watched >= last).sum(0)
    return np.cumprod(left)


def brier(logits: Tensor, steps: Tensor, ended: Tensor, *, early: int = 0) -> np.ndarray:
    """Integrated Brier score, weighted by the inverse chance of not being censored: the mean over steps and rows.

    Args:
        logits: (rows, fits, H) hazards.
        steps: (rows,), as in `concordance`.
        ended: (rows,), as in `concordance`.
        early: the published score compares what is so after h steps with the curve after h − 1; 1 does so too.

    Returns:
        (fits,).
    """
    survival = torch.cat([torch.ones_like(logits[..., :1]), log_survival(logits).exp()], -1).numpy()
    watched, total = _still_watched(steps, ended), np.zeros(logits.shape[1])
    step, end = steps.numpy(), ended.numpy()
    for after in range(1, int(step.max()) + 1):
        curve = survival[..., after - early]
        gone, left = (step <= after) & end, (step > after) | (step == after) & ~end
        total += (curve[gone] ** 2 / watched[step[gone] - 1, None]).sum(0)
        total += ((1 - curve[left]) ** 2 / watched[after - 1]).sum(0)
    return total / (step.max() * len(step))


def log_likelihood(logits: Tensor, steps: Tensor, ended: Tensor) -> np.ndarray:
    """Mean log-likelihood in nats a row, (fits,), of hazards (rows, fits, H)."""
    return -hazard_likelihood(logits, steps, ended).mean(0).numpy()
