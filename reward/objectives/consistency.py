"""Temporal consistency: what a state predicts must agree with what the next state, a few days later, predicts.

A state's label is a noisy draw; the next state's prediction of the same days has averaged over many users who passed
through states like it. λ-returns mix the two: λ = 1 is plain likelihood, λ = 0 learns from the next state alone. The
predictions come from a slow copy of the network (an average of its past weights), which the caller keeps.

Shapes: a window of L states in time order stands at the axis ``L``; ``gap[k]`` is the whole days from state k to
state k+1, 0 inside a day, and H (the horizon) or more where nothing follows: the last state, padding, the end of a
stream. Values are not inspected, which would make a GPU wait.

Source: Maystre & Russo, "Temporally-Consistent Survival Analysis" (NeurIPS 2022); Sutton 1988 (TD(λ)); Blelloch 1990
(prefix sums by pointer doubling).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from reward.days import at_risk, event_on, trace_bits
from reward.objectives.hazard import log_survival


def lambda_return(own: Tensor, bootstrap: Tensor, gap: Tensor, *, lam: float) -> Tensor:
    """λ-return of a quantity told for each of the next H days, along a sequence of states.

    result[k, d] = own[k, d]                                                             for d ≤ gap[k]
    result[k, d] = (1 − λ) bootstrap[k+1, d − gap[k]] + λ result[k+1, d − gap[k]]        for d > gap[k]

    Days are shared, not discounted: day d of state k is day d − gap[k] of state k+1. The recursion is affine, so two
    halves of a sequence compose; log₂ L rounds of doubling, in memory of the order L · H, take the place of a loop over
    states, and rounds whose weight λ^(2^r) rounds to nothing are left out (λ = 0 needs none).

    Args:
        own: (..., L, H), what row k itself knows of day d.
        bootstrap: (..., L, H), what the slow network predicts of it from state k.
        gap: int64 (..., L), days ≥ 0 to the next state; H or more where nothing follows. The last one is not read.
        lam: λ, from 0 to 1.

    Returns:
        (..., L, H), a constant: no gradient flows into a target.

    Raises:
        ValueError: λ outside [0, 1], or shapes that do not fit.

    Source: Sutton 1988; Maystre & Russo 2022.

    Three states a day apart; the last one's label is all that is known of the days after tomorrow.

    >>> own, bootstrap = torch.tensor([[1.0, 0, 0], [0, 0, 0], [1, 1, 1]]), torch.full((3, 3), 0.5)
    >>> lambda_return(own, bootstrap, torch.tensor([1, 1, 3]), lam=0.5)
    tensor([[1.0000, 0.2500, 0.6250],
            [0.0000, 0.7500, 0.7500],
            [1.0000, 1.0000, 1.0000]])
    """
    if not 0.0 <= lam <= 1.0:
        raise ValueError(f"lam expected from 0 (the next state alone) to 1 (plain likelihood), got {lam}")
    if own.ndim < 2 or own.shape[-2:] != bootstrap.shape[-2:] or gap.shape[-1:] != own.shape[-2:-1]:
        raise ValueError(
            f"expected own and bootstrap of shape (..., L, H) and gap of shape (..., L), got {tuple(own.shape)}, "
            f"{tuple(bootstrap.shape)} and {tuple(gap.shape)}"
        )
    shape = torch.broadcast_shapes(own.shape, bootstrap.shape, (*gap.shape, own.shape[-1]))
    length, horizon = shape[-2:]
    days = torch.arange(1, horizon + 1, device=own.device)
    state = torch.arange(length, device=own.device)

    def later(values: Tensor, apart: Tensor, steps: int) -> Tensor:
        """Values of the state ``steps`` further on, on the same day; 0 where it does not reach back."""
        ahead = values.index_select(-2, (state + steps).clamp(max=length - 1))
        day = days - apart.unsqueeze(-1)
        place = (day - 1).clamp(min=0).expand(shape)
        return ahead.expand(shape).gather(-1, place).where(day > 0, 0.0)

    with torch.no_grad():
        away = torch.where(state == length - 1, horizon, gap.clamp(max=horizon))
        beyond = days > away.unsqueeze(-1)
        result = own.expand(shape).where(~beyond, 0.0) + (1 - lam) * later(bootstrap, away, 1)
        steps, weight = 1, lam
        while steps < length and weight > torch.finfo(own.dtype).tiny:
            result = result + weight * later(result, away, steps)
            onward = away.index_select(-1, (state + steps).clamp(max=length - 1)).where(state + steps < length, horizon)
            away = (away + onward).clamp(max=horizon)
            steps, weight = 2 * steps, weight * weight
        return result


def trace_targets(
    trace: Tensor, observed: Tensor, slow_logits: Tensor, gap: Tensor, *, lam: float, before: bool = False
) -> tuple[Tensor, Tensor]:
    """Soft targets of traces: λ-returns of activity and of what is known of it.

    Numerator trace · observed and weight observed, where the slow network's prediction counts as known: the target is
    the ratio of their λ-returns. With λ = 1 both are the row's own labels; with less, the next states' predictions
    fill days that the log has not seen, at a weight of 1 − λ for the next state's and less for later ones'.

    Args:
        trace: int64 (..., L), active days of each state as the bits of a word.
        observed: int64 (..., L), known days as the bits of a word.
        slow_logits: (..., L, M, H), the slow network's trace logits from each state.
        gap: int64 (..., L), days to the next state; see `lambda_return`.
        lam: λ, from 0 to 1.
        before: the targets of a slot that is filled just before each state, on the same day (Q and E of the event
            whose feedback the state has read): one step of λ further back, at a gap of 0.

    Returns:
        ``target`` (..., L, M, H), from 0 to 1, and ``weight`` (..., L, 1, H), as `soft_trace_likelihood` reads them.

    Raises:
        ValueError: λ outside [0, 1], or shapes that do not fit.

    Source: Maystre & Russo 2022, carried from the first event over to every day of a trace.

    >>> words = torch.tensor([0b01, 0b10]), torch.tensor([0b11, 0b11])
    >>> trace_targets(*words, torch.zeros(2, 1, 2), torch.tensor([1, 2]), lam=0.0)[0].squeeze()
    tensor([[1.0000, 0.5000],
            [0.0000, 1.0000]])
    """
    _check_words(trace, observed, slow_logits, gap)
    horizon_days = slow_logits.shape[-1]
    chance = slow_logits.detach().sigmoid().movedim(-2, 0)  # (M, ..., L, H)
    known = trace_bits(observed, horizon_days).to(chance.dtype)
    active = trace_bits(trace, horizon_days).to(chance.dtype) * known
    returned = [
        _returned(own, bootstrap, gap, lam, before).movedim(0, -2)
        for own, bootstrap in ((active.unsqueeze(0), chance), (known.unsqueeze(0), torch.ones_like(chance[:1])))
    ]
    return returned[0] / returned[1].where(returned[1] > 0, 1.0), returned[1]


def hazard_targets(
    time_days: Tensor, event: Tensor, slow_logits: Tensor, gap: Tensor, *, lam: float, before: bool = False
) -> tuple[Tensor, Tensor]:
    """Soft targets of hazards: λ-returns of the chance to be at risk on a day and of the event falling on it.

    R[k, d], at risk: 1(d ≤ time) where the row knows, S̄(d − 1) where the slow network says; M[k, d], event: 1(event,
    d = time) or f̄(d). The target is M / R, the weight R. With λ = 0 this is TCSR; with λ = 1 the likelihood. What ends
    the wait has no state after it: an event on or before the day of the next state leaves the row its own label.

    Args:
        time_days: int64 (..., L), the day it came, or the last day known to be free of it.
        event: (..., L), bool or 0/1: it came.
        slow_logits: (..., L, M, H), the slow network's hazard logits from each state.
        gap: int64 (..., L), days to the next state; see `lambda_return`.
        lam: λ, from 0 to 1.
        before: the targets of a slot that is filled just before each state; see `trace_targets`.

    Returns:
        ``target`` (..., L, M, H), from 0 to 1, and ``weight`` (..., L, M, H), as `soft_hazard_likelihood` reads them.

    Raises:
        ValueError: λ outside [0, 1], or shapes that do not fit.

    Source: Maystre & Russo 2022 (TCSR, λ = 0).

    The first of two states is censored after a day; the second says that half of those left end on each day.

    >>> state = torch.tensor([1, 0]), torch.tensor([False, False]), torch.zeros(2, 1, 3), torch.tensor([1, 3])
    >>> target, weight = hazard_targets(*state, lam=0.0)
    >>> target[0, 0], weight[0, 0]
    (tensor([0.0000, 0.5000, 0.5000]), tensor([1.0000, 1.0000, 0.5000]))
    """
    _check_words(time_days, event, slow_logits, gap)
    horizon_days = slow_logits.shape[-1]
    slow = slow_logits.detach().movedim(-2, 0)  # (M, ..., L, H)
    open_ended = gap.where((event == 0) | (time_days > gap), horizon_days)
    alive = F.pad(log_survival(slow)[..., :-1], (1, 0)).exp()
    pairs = (
        (event_on(time_days, event, None, horizon_days), slow.sigmoid() * alive),
        (at_risk(time_days, None, horizon_days), alive),
    )
    mass, risk = (
        _returned(own.to(slow.dtype).unsqueeze(0), bootstrap, open_ended, lam, before).movedim(0, -2)
        for own, bootstrap in pairs
    )
    return mass / risk.where(risk > 0, 1.0), risk


def soft_trace_likelihood(trace_logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Cross-entropy of a trace with soft targets: Σ_d weight_d · BCE(logit_d, target_d), by ensemble member.

    Args:
        trace_logits: (..., M, H), finite.
        target: (..., M, H) or (..., 1, H), from 0 to 1.
        weight: (..., M, H) or (..., 1, H), ≥ 0; a day of weight 0 contributes nothing.

    Returns:
        (..., M), in nats.

    Raises:
        ValueError: the shapes do not fit.

    Source: Maystre & Russo 2022.

    >>> soft_trace_likelihood(torch.zeros(1, 2), torch.tensor([[0.3, 0.9]]), torch.tensor([[1.0, 0.5]]))
    tensor([1.0397])
    """
    return _soft("trace_logits", trace_logits, target, weight)


def soft_hazard_likelihood(hazard_logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Cross-entropy of hazards with soft targets: Σ_d weight_d · BCE(logit_d, target_d), by ensemble member.

    Args:
        hazard_logits: (..., M, H), finite.
        target: (..., M, H) or (..., 1, H), chance of the event on day d among those at risk, from 0 to 1.
        weight: (..., M, H) or (..., 1, H), chance to be at risk on day d; a day of weight 0 contributes nothing.

    Returns:
        (..., M), in nats.

    Raises:
        ValueError: the shapes do not fit.

    Source: Maystre & Russo 2022.

    >>> soft_hazard_likelihood(torch.zeros(1, 2), torch.tensor([[0.3, 0.9]]), torch.tensor([[1.0, 0.5]]))
    tensor([1.0397])
    """
    return _soft("hazard_logits", hazard_logits, target, weight)


def _returned(own: Tensor, bootstrap: Tensor, gap: Tensor, lam: float, before: bool) -> Tensor:
    result = lambda_return(own, bootstrap, gap, lam=lam)
    return (1 - lam) * bootstrap + lam * result if before else result


def _soft(name: str, logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    for each in (target, weight):
        members_apart = each.shape[:-2] + each.shape[-1:] == logits.shape[:-2] + logits.shape[-1:]
        if each.ndim != logits.ndim or not members_apart or each.shape[-2] not in (1, logits.shape[-2]):
            raise ValueError(
                f"expected target and weight of shape {tuple(logits.shape)}, or with 1 member, for {name} of that "
                f"shape, got {tuple(target.shape)} and {tuple(weight.shape)}"
            )
    loss = F.binary_cross_entropy_with_logits(logits, target.to(logits.dtype).expand_as(logits), reduction="none")
    return (loss * weight).sum(-1)


def _check_words(first: Tensor, second: Tensor, slow_logits: Tensor, gap: Tensor) -> None:
    rows = slow_logits.shape[:-2]
    if not rows or any(each.shape != rows for each in (first, second, gap)):
        raise ValueError(
            f"expected labels and gap of shape (..., L), here {tuple(rows)}, for slow_logits (..., L, M, H) of shape "
            f"{tuple(slow_logits.shape)}, got {tuple(first.shape)}, {tuple(second.shape)} and {tuple(gap.shape)}"
        )
