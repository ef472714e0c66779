"""Calibration: how far to scale and move predicted logits so that they agree with outcomes training did not see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

_SURE = 1e-6  # from 1, of a chance
_TRIED = 81  # variances from a hundredth to a hundred
_ROWS = 16_384  # read at a time


@dataclass(frozen=True)
class KnownDays:
    """The days of some rows that are known, day by day: all that a calibration reads.

    Attributes:
        logits: (M, known) float64.
        sign: (known,) 1 on active days, else −1.
        count: known days of each of the H days of the horizon.
    """

    logits: Tensor
    sign: Tensor
    count: tuple[int, ...]

    @classmethod
    def of(cls, logits: Tensor, trace: Tensor, observed: Tensor, before: tuple[Tensor, Tensor] | None = None) -> Self:
        """Of rows as `platt` takes them; ``before`` as there."""
        day, row = observed.T.nonzero(as_tuple=True)
        known = logits.detach()[row, :, day].double()
        if before is not None:
            scale, offset = before
            known = (known - offset[day, None]) / scale
        sign = 2 * trace[row, day].double() - 1  # log(1 − sigmoid(x)) is log sigmoid(−x)
        return cls(known.T.contiguous(), sign, tuple(observed.sum(0).tolist()))


@dataclass(frozen=True)
class Slope:
    """What some known days add to the loss () of a calibration, and to its gradient (1 + H,)."""

    loss: Tensor
    gradient: Tensor

    def __add__(self, other: Slope, /) -> Slope:
        """What the days of both add."""
        return Slope(self.loss + other.loss, self.gradient + other.gradient)


@dataclass(frozen=True)
class CalibrationLoss:
    """The loss of `platt` and its gradient at one place, as sums over known days.

    Attributes:
        parameters: (1 + H,) log scale and offsets.
        prior_events: weight of the prior.
    """

    parameters: Tensor
    prior_events: float

    def partial(self, days: KnownDays, /) -> Slope:
        """What these days add."""
        place = self.parameters.detach().requires_grad_()
        with torch.enable_grad():
            offset = torch.cat([each.expand(count) for each, count in zip(place[1:], days.count, strict=True)])
            calibrated = place[0].exp() * days.logits + offset
            # the mean over members in logarithms, which keep a gradient where a probability rounds to 0 or 1
            loss = -F.logsigmoid(days.sign * calibrated).logsumexp(0).sum()
            (gradient,) = torch.autograd.grad(loss, place)
        return Slope(loss.detach(), gradient)

    def solve(self, state: Slope, /) -> tuple[Tensor, Tensor]:
        """The loss of all days and its gradient, with the prior."""
        place = self.parameters.detach()
        return (
            state.loss + 0.5 * self.prior_events * place.square().sum(),
            state.gradient + self.prior_events * place,
        )


def platt(
    logits: Tensor,
    trace: Tensor,
    observed: Tensor,
    *,
    prior_events: float,
    before: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """One scale for all logits and an offset for each day, by maximum a posteriori.

    With p = mean over members of sigmoid(scale · logit + offset_d), minimises
    −Σ_{observed} [trace log p + (1 − trace) log(1 − p)] + ``prior_events`` / 2 · (log² scale + Σ_d offset_d²):
    a Gaussian prior worth that many observations at no correction. A day that nobody observed keeps offset 0.

    Args:
        logits: (rows, M, H), finite.
        trace: (rows, H) bool, active days.
        observed: (rows, H) bool, known days; what ``trace`` says elsewhere is never read.
        prior_events: weight of the prior, in observations.
        before: scale () and offset (H,) of a calibration that ``logits`` have and that is undone first; None: none.

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
    parts = zip(logits.split(_ROWS), trace.split(_ROWS), observed.split(_ROWS), strict=True)
    return platt_of([KnownDays.of(*part, before=before) for part in parts], prior_events=prior_events)


def platt_of(chunks: Sequence[KnownDays], *, prior_events: float) -> tuple[Tensor, Tensor]:
    """`platt` of known days that are read in chunks, in any order; each evaluation of the loss is a sum over them.

    Args:
        chunks: at least one; all tell of the same days of the horizon.
        prior_events: weight of the prior, in observations.

    Returns:
        ``scale`` () and ``offset`` (H,), float64.
    """
    horizon_days, device = len(chunks[0].count), chunks[0].logits.device
    parameters = torch.zeros(1 + horizon_days, dtype=torch.float64, device=device, requires_grad=True)
    solver = torch.optim.LBFGS([parameters], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        loss = CalibrationLoss(parameters, prior_events)
        value, parameters.grad = loss.solve(reduce(add, map(loss.partial, chunks)))
        return value

    solver.step(closure)
    return parameters.detach()[0].exp(), parameters.detach()[1:]


def chances(logits: Tensor, scale: Tensor, offset: Tensor, *, before: tuple[Tensor, Tensor] | None = None) -> Tensor:
    """Mean over members of calibrated probabilities (rows, H), float64; some rows are in double precision at a time.

    Args:
        logits: (rows, M, H).
        scale: () from `platt`.
        offset: (H,) from `platt`.
        before: as there.
    """

    def some(part: Tensor) -> Tensor:
        plain = part.double() if before is None else (part.double() - before[1]) / before[0]
        return (scale * plain + offset).sigmoid().mean(-2)

    return torch.cat([some(part) for part in logits.split(_ROWS)])


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
    loss = FrailtyLoss(_variances(chance))
    parts = zip(chance.split(_ROWS), trace.split(_ROWS), observed.split(_ROWS), strict=True)
    return loss.solve(reduce(add, (loss.partial(part) for part in parts)))


@dataclass(frozen=True)
class FrailtyLoss:
    """Minus the log-likelihood of `frailty` at each of some variances, as a sum over rows.

    Attributes:
        variances: (tried,) ascending, the first of them 0.
    """

    variances: Tensor

    def partial(self, rows: tuple[Tensor, Tensor, Tensor], /) -> Tensor:
        """(tried,) what some rows add: chance, trace and observed as `frailty` takes them."""
        chance, trace, observed = rows
        waiting = F.pad(~trace, (1, -1), value=True).cummin(-1).values
        asked = waiting & observed.cummin(-1).values
        stays, passed = _silence(chance)
        stays, before, came = stays[asked], passed[:, :-1][asked], trace[asked]

        def surprise(variance: Tensor) -> Tensor:
            left = stays / (1 + variance * before)
            return -torch.where(came, torch.log(-torch.expm1(left).clamp(max=-_SURE)), left).sum()

        return torch.stack([surprise(each) for each in self.variances])

    def solve(self, state: Tensor, /) -> Tensor:
        """The likeliest variance (); 0 where no row adds anything."""
        return self.variances[state.argmin()]


def _variances(chance: Tensor) -> Tensor:
    """Those that are tried."""
    return torch.cat([chance.new_zeros(1), torch.logspace(-2, 2, _TRIED, dtype=chance.dtype, device=chance.device)])


def _silence(chance: Tensor) -> tuple[Tensor, Tensor]:
    """log(1 − p) of each day (..., H), and the intensity Λ of the first 0 to H days (..., H + 1)."""
    stays = torch.log1p(-chance.clamp(max=1 - _SURE))
    return stays, F.pad(-stays.cumsum(-1), (1, 0))
