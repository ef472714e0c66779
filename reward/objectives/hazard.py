"""Discrete-time hazards: likelihoods of a return or of an end, and what hazards say of survival.

A hazard is the probability that what is waited for comes on day d, given that it has not come before. Its logit is
any real number, so a head is free; survival and incidence are sums of log-sigmoids and keep their digits where
probabilities would round to 0 or 1. Values are not inspected, which would make a GPU wait.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from reward.days import at_risk, event_on, trace_bits


def log_survival(hazard_logits: Tensor) -> Tensor:
    """Log-probability that nothing has come by the end of each day: log S(d) = Σ_{e ≤ d} log(1 − h_e).

    With reasons that compete, the logit of the hazard from any of them is ``cause_logits.logsumexp(-2)``.

    Args:
        hazard_logits: (..., H).

    Returns:
        (..., H), in nats.

    Source: Singer & Willett 1993.

    >>> log_survival(torch.zeros(2)).exp()
    tensor([0.5000, 0.2500])
    """
    return F.logsigmoid(-hazard_logits).cumsum(-1)


def log_incidence(hazard_logits: Tensor) -> Tensor:
    """Log-probability that it comes on each day: log f(d) = log h_d + log S(d − 1).

    Of reason c among those that compete it is ``log_incidence(cause_logits.logsumexp(-2)).unsqueeze(-2) +
    cause_logits.log_softmax(-2)``.

    Args:
        hazard_logits: (..., H).

    Returns:
        (..., H), in nats; the exponentials sum to 1 − S(H).

    Source: Singer & Willett 1993.

    >>> log_incidence(torch.zeros(2)).exp()
    tensor([0.5000, 0.2500])
    """
    return F.logsigmoid(hazard_logits) + F.pad(log_survival(hazard_logits)[..., :-1], (1, 0))


def return_time(trace: Tensor, observed: Tensor, horizon_days: int) -> tuple[Tensor, Tensor]:
    """The first active day of a trace, right-censored by the first day that is not observed.

    Args:
        trace: int64 (...), active days as the bits of a word.
        observed: int64 (...), known days as the bits of a word.
        horizon_days: H.

    Returns:
        ``time_days`` int64 (...) and ``event`` bool (...), as `hazard_likelihood` reads them.

    >>> return_time(torch.tensor([0b100, 0b100]), torch.tensor([0b1111, 0b0011]), 4)
    (tensor([3, 2]), tensor([ True, False]))
    """
    known = trace_bits(observed, horizon_days).long().cumprod(-1)
    back = trace_bits(trace, horizon_days) * known
    event = back.any(-1)
    return torch.where(event, back.argmax(-1) + 1, known.sum(-1)), event


def hazard_likelihood(
    hazard_logits: Tensor, time_days: Tensor, event: Tensor, *, entry_days: Tensor | None = None
) -> Tensor:
    """Negative log-likelihood of the day something comes, right-censored and with delayed entry.

    −Σ_{entry < d ≤ time} [1(event, d = time) log h_d + (1 − 1(event, d = time)) log(1 − h_d)], h = sigmoid(logits), in
    nats a row. A row that is censored on the day it enters, or enters at or after its event, contributes nothing; one
    whose time lies beyond the horizon was free of the event throughout.

    Args:
        hazard_logits: (..., M, H), finite.
        time_days: int64 (...), the day d ≥ 1 it came, or the last day known to be free of it (0: not even the first).
        event: (...), bool or 0/1: it came; otherwise the row is censored.
        entry_days: int64 (...), days that had passed when the wait began to be watched (left truncation); None: 0.

    Returns:
        (..., M).

    Raises:
        ValueError: the shapes do not fit.

    Source: Cox 1972 (the discrete logistic model); Singer & Willett 1993; left truncation, Kalbfleisch & Prentice 2002.

    >>> two_days = torch.zeros(1, 2)
    >>> hazard_likelihood(two_days, torch.tensor(2), torch.tensor(True))  # silent, then back: log 2 each
    tensor([1.3863])
    """
    _check("hazard_logits", hazard_logits, hazard_logits.shape[:-2], time_days, event, entry_days)
    horizon_days = hazard_logits.shape[-1]
    target = event_on(time_days, event, entry_days, horizon_days).unsqueeze(-2).expand_as(hazard_logits)
    known = at_risk(time_days, entry_days, horizon_days).unsqueeze(-2).to(hazard_logits.dtype)
    loss = F.binary_cross_entropy_with_logits(hazard_logits, target.to(hazard_logits.dtype), reduction="none")
    return (loss * known).sum(-1)


def cause_likelihood(
    cause_logits: Tensor, time_days: Tensor, cause: Tensor, *, entry_days: Tensor | None = None
) -> Tensor:
    """Negative log-likelihood of the day something comes and for which of K reasons that compete.

    On each day a multinomial logit over the reasons and "none": h_{c,d} = exp(l_{c,d}) / (1 + Σ_k exp(l_{k,d})). That
    is the plain hazard of logit log Σ_k exp(l_{k,d}) for coming at all, times softmax_c(l_{·,d}) for the reason: the
    loss is `hazard_likelihood` of the first less the logarithm of the second on the day it came. K = 1 is
    `hazard_likelihood`.

    Args:
        cause_logits: (..., M, K, H), finite.
        time_days: int64 (...), as in `hazard_likelihood`.
        cause: int64 (...), 1 to K; 0: the row is censored.
        entry_days: int64 (...), as in `hazard_likelihood`.

    Returns:
        (..., M), in nats.

    Raises:
        ValueError: the shapes do not fit.

    Source: Tutz & Schmid 2016, chapter 8 (competing risks).

    >>> two_reasons = torch.zeros(1, 2, 1)
    >>> cause_likelihood(two_reasons, torch.tensor(1), torch.tensor(2))  # one of three things: log 3
    tensor([1.0986])
    """
    _check("cause_logits", cause_logits, cause_logits.shape[:-3], time_days, cause, entry_days)
    causes, horizon_days = cause_logits.shape[-2:]
    coming = hazard_likelihood(cause_logits.logsumexp(-2), time_days, cause, entry_days=entry_days)
    which = torch.arange(1, causes + 1, device=cause.device).unsqueeze(-1) == cause[..., None, None]
    hit = which & event_on(time_days, cause, entry_days, horizon_days).unsqueeze(-2)
    reason = cause_logits.log_softmax(-2).masked_fill(~hit.unsqueeze(-3), 0.0)
    return coming - reason.sum((-2, -1))


def _check(name: str, logits: Tensor, rows: torch.Size, time_days: Tensor, what: Tensor, entry: Tensor | None) -> None:
    given = {"time_days": time_days, "event" if name == "hazard_logits" else "cause": what}
    given |= {} if entry is None else {"entry_days": entry}
    if any(each.shape != rows for each in given.values()):
        raise ValueError(
            f"expected {', '.join(given)} of shape {tuple(rows)} for {name} of shape {tuple(logits.shape)}, got "
            + " and ".join(str(tuple(each.shape)) for each in given.values())
        )
