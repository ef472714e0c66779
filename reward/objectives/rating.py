"""The likelihood of ordered answers that few give."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def rating_likelihood(
    rating_logits: Tensor,
    response_logits: Tensor,
    response_rate: Tensor,
    rating: Tensor,
    *,
    most_weight: float = 10.0,
) -> Tensor:
    """Negative log-likelihood of an answer coming, plus that of the answer weighted by how rare answers like it are.

    With q = P(answered) and r the share that answers, −log q − w · log P(rating) where an answer came, w = r / q but at
    most ``most_weight``, and −log(1 − q) where none did, in nats a row. The weights make those who answer stand for
    those who do not, and take no gradient.

    Args:
        rating_logits: (..., M, K−1) of each level being surpassed, falling along the last dimension.
        response_logits: (..., M) of q.
        response_rate: (..., M) r.
        rating: int64 (...), 1 to K; 0 where no answer came; below 0 where nothing is told: such a row costs nothing.
        most_weight: clip of the weights.

    Returns:
        (..., M).

    Raises:
        ValueError: the shapes do not fit.

    Source: McCullagh 1980, section 2; inverse-propensity weights: Little & Rubin 2019, section 3.3.

    >>> logits = torch.tensor([[[0.0, -100.0]]])  # level 1 or 2, evenly
    >>> half = torch.full((1, 1), 0.5)
    >>> rating_likelihood(logits, torch.zeros(1, 1), half, torch.tensor([2]))  # log 2 for coming, log 2 for the level
    tensor([[1.3863]])
    """
    if rating_logits.shape[:-1] != response_logits.shape or rating.shape != response_logits.shape[:-1]:
        raise ValueError(
            f"expected response_logits {tuple(rating_logits.shape[:-1])} and rating {tuple(rating_logits.shape[:-2])} "
            f"for rating_logits of shape {tuple(rating_logits.shape)}, got {tuple(response_logits.shape)} and "
            f"{tuple(rating.shape)}"
        )
    told, came = (rating >= 0).unsqueeze(-1), (rating > 0).unsqueeze(-1)
    coming = F.binary_cross_entropy_with_logits(
        response_logits, came.to(response_logits.dtype).expand_as(response_logits), reduction="none"
    )
    # P(k) = sigmoid(a) − sigmoid(b), a = logit of surpassing k−1, b = of surpassing k, in logarithms
    level = (rating - 1).clamp(min=0)[..., None, None].expand(*response_logits.shape, 1)
    lower = F.pad(rating_logits, (1, 0), value=float("inf")).gather(-1, level).squeeze(-1)
    upper = F.pad(rating_logits, (0, 1), value=float("-inf")).gather(-1, level).squeeze(-1)
    log_mass = _log_difference(lower, upper)
    chance = response_logits.detach().sigmoid()
    weight = (response_rate / chance.clamp(min=1e-12)).clamp(max=most_weight)
    return coming.where(told, 0.0) - (weight * log_mass).where(came, 0.0)


def _log_difference(high: Tensor, low: Tensor) -> Tensor:
    """log(sigmoid(high) − sigmoid(low)) for high ≥ low, either of them infinite.

    σ(a) − σ(b) = σ(a) · σ(−b) · (1 − exp(b − a)), which keeps its digits where both are near 0 or near 1.
    """
    gap = (high - low).clamp(min=1e-7)
    return F.logsigmoid(high) + F.logsigmoid(-low) + torch.log(-torch.expm1(-gap))
