"""Likelihoods, masked where the log cannot tell."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from reward.days import trace_bits


def trace_likelihood(trace_logits: Tensor, trace: Tensor, observed: Tensor) -> Tensor:
    """Negative log-likelihood of the observed days of a trace, by ensemble member.

    −Σ_d observed_d · [trace_d log p_d + (1 − trace_d) log(1 − p_d)], p = sigmoid(logits), in nats a row. A day that
    is not observed contributes nothing: the likelihood of the days the log has seen.

    Args:
        trace_logits: (..., M, H), finite.
        trace: int64 (...), active days as the bits of a word.
        observed: int64 (...), known days as the bits of a word.

    Returns:
        (..., M).

    Raises:
        ValueError: the shapes do not fit.

    Source: Bernoulli likelihood with independent censoring, Kalbfleisch & Prentice 2002, section 6.2.

    >>> import torch
    >>> logits = torch.zeros(1, 1, 3)
    >>> trace_likelihood(logits, torch.tensor([1]), torch.tensor([3]))  # two days observed, log 2 each
    tensor([[1.3863]])
    """
    if trace.shape != trace_logits.shape[:-2] or observed.shape != trace.shape:
        raise ValueError(
            f"expected trace and observed of shape {tuple(trace_logits.shape[:-2])} for trace_logits of shape "
            f"{tuple(trace_logits.shape)}, got {tuple(trace.shape)} and {tuple(observed.shape)}"
        )
    horizon_days = trace_logits.shape[-1]
    target = trace_bits(trace, horizon_days).unsqueeze(-2).expand_as(trace_logits).to(trace_logits.dtype)
    known = trace_bits(observed, horizon_days).unsqueeze(-2).to(trace_logits.dtype)
    return (F.binary_cross_entropy_with_logits(trace_logits, target, reduction="none") * known).sum(-1)
