"""Calibration: how far to scale and move predicted logits so that they agree with outcomes training did not see."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

_SURE = 1e-6  # from 1, of a chance
_TRIED = 81  # variances from a hundredth to a hundred


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
    day, row = observed.T.nonzero(as_tuple=True)  # the known days alone, some fifth of all, day by day
    fixed = logits.detach()[row, :, day].double().T.contiguous()  # (M, known)
    sign = 2 * trace[row, day].double() - 1  # log(1 − sigmoid(x)) is log sigmoid(−x)
    rows = observed.sum(0).tolist()
    parameters = torch.zeros(1 + logits.shape[-1], dtype=torch.float64, device=logits.device, requires_grad=True)
    solver = torch.optim.LBFGS([parameters], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        solver.zero_grad()
        offset = torch.cat([each.expand(count) for each, count in zip(parameters[1:], rows, strict=True)])
        calibrated = parameters[0].exp() * fixed + offset
        # the mean over members in logarithms, which keep a gradient where a probability rounds to 0 or 1
        loss = -F.logsigmoid(sign * calibrated).logsumexp(0).sum()
        loss = loss + 0.5 * prior_events * parameters.square().sum()
        loss.backward()
        return loss

    with torch.enable_grad():
        solver.step(closure)
    return parameters.detach()[0].exp(), parameters.detach()[1:]


def after_silence(chance: Tensor, days: Tensor, frailty: Tensor) -> Tensor:
    """Chances of being active on each of the next days, given that the first of them passed in silence.

    Users whose state is the same differ all the same: one comes Z times as often as another, Z ~ Gamma with mean 1 and
    variance v. With the intensity ``Λ = −Σ_{d ≤ s} log(1 − p_d)`` of s silent days Z has the mean 1 / (1 + vΛ), and

        ``p_d' = 1 − (1 − p_d)^{1 / (1 + vΛ)}``

    Args:
        chance: p (..., H), in [0, 1).
        days: s (...), whole days of silence, from 0 to H.
        frailty: v (), at least 0; with 0 the days are independent, and silence says nothing.

    Returns:
        p' (..., H); of the silent days themselves it says nothing.

    Source: Vaupel, Manton & Stallard 1979, The impact of heterogeneity in individual frailty on the dynamics of
    mortality (Demography).

    >>> after_silence(torch.tensor([0.5, 0.5]), torch.tensor(1), torch.tensor(2.0))  # Λ = log 2
    tensor([0.2521, 0.2521])

    """
    stays, passed = _silence(chance)
    passed = passed.gather(-1, days.long().unsqueeze(-1))
    return -torch.expm1(stays / (1 + frailty * passed))


def frailty(chance: Tensor, trace: Tensor, observed: Tensor) -> Tensor:
    """The variance of `after_silence` under which the days until users came back are likeliest.

    Maximises ``Σ_rows Σ_d a_d log p_d' + (1 − a_d) log(1 − p_d')`` over the days up to the first active one that are
    known without a gap, each given the silence before it.

    Args:
        chance: p (rows, H), calibrated.
        trace: (rows, H) bool, active days.
        observed: (rows, H) bool, known days.

    Returns:
        v (), float64; 0 where nobody's silence is known.

    >>> chance, known = torch.full((4, 2), 0.5, dtype=torch.float64), torch.ones(4, 2, dtype=torch.bool)
    >>> early = torch.tensor([[True, False], [True, True], [False, False], [False, False]])  # who stays away, stays
    >>> frailty(chance, early, known) > 1, frailty(chance, ~early, known)
    (tensor(True), tensor(0., dtype=torch.float64))

    """
    waiting = F.pad(~trace, (1, -1), value=True).cummin(-1).values
    asked = waiting & observed.cummin(-1).values
    stays, passed = _silence(chance)
    stays, before, came = stays[asked], passed[:, :-1][asked], trace[asked]

    def surprise(variance: Tensor) -> Tensor:
        left = stays / (1 + variance * before)
        return -torch.where(came, torch.log(-torch.expm1(left).clamp(max=-_SURE)), left).sum()

    tried = torch.cat([chance.new_zeros(1), torch.logspace(-2, 2, _TRIED, dtype=chance.dtype, device=chance.device)])
    return tried[torch.stack([surprise(each) for each in tried]).argmin()] if len(stays) else tried[0]


def _silence(chance: Tensor) -> tuple[Tensor, Tensor]:
    """log(1 − p) of each day (..., H), and the intensity Λ of the first 0 to H days (..., H + 1)."""
    stays = torch.log1p(-chance.clamp(max=1 - _SURE))
    return stays, F.pad(-stays.cumsum(-1), (1, 0))
