"""The likelihood of amounts that are often zero."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional as F

from reward.days import trace_bits


def consumption_likelihood(
    consumption_logits: Tensor, log_mean: Tensor, log_std: Tensor, amount: Tensor, observed: Tensor
) -> Tensor:
    """Negative log-likelihood of zero-inflated log-normal amounts on the observed days, by ensemble member.

    Σ_d observed_d · [−log(1 − p_d) where amount_d = 0, else −log p_d + log σ_d + (log amount_d − μ_d)² / 2σ_d² +
    log(2π) / 2], p = sigmoid(logits), in nats a row: the density is that of log amounts.

    Args:
        consumption_logits: (..., M, H), finite.
        log_mean: (..., M, H) μ.
        log_std: (..., M, H) σ, above 0.
        amount: (..., H), at least 0.
        observed: int64 (...), known days as the bits of a word.

    Returns:
        (..., M).

    Raises:
        ValueError: the shapes do not fit.

    Source: Wang et al. 2019, A deep probabilistic model for customer lifetime value prediction, equation 5.

    >>> import torch  # of two even chances, and a standard normal at 0: 2 log 2 + log(2π) / 2
    >>> zero = torch.zeros(1, 1, 2)
    >>> consumption_likelihood(zero, zero, zero + 1, torch.tensor([[0.0, 1.0]]), torch.tensor([3]))
    tensor([[2.3052]])
    """
    days = consumption_logits.shape[-1]
    rows = tuple(consumption_logits.shape[:-2])
    if amount.shape != (*rows, days) or observed.shape != rows:
        raise ValueError(
            f"expected amount {(*rows, days)} and observed {rows} for consumption_logits of shape "
            f"{tuple(consumption_logits.shape)}, "
            f"got {tuple(amount.shape)} and {tuple(observed.shape)}"
        )
    known = trace_bits(observed, days).unsqueeze(-2)
    some = known & (amount > 0).unsqueeze(-2)
    chance = F.binary_cross_entropy_with_logits(
        consumption_logits, some.to(log_mean.dtype).expand_as(log_mean), reduction="none"
    )
    log_amount = amount.unsqueeze(-2).where(some, 1.0).log()
    size = log_std.log() + ((log_amount - log_mean) / log_std).square() / 2 + math.log(2 * math.pi) / 2
    return (chance.masked_fill(~known, 0.0) + size.masked_fill(~some, 0.0)).sum(-1)
