"""Whether a fitted policy is calibrated on users that it was not fitted on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import polars as pl
import torch
from torch import Tensor

from reward.arrays import Doubles, Ints
from reward.causal.diagnostics.balance import agreement
from reward.causal.propensity.candidates import Draw, Part, Plan, drawn
from reward.causal.propensity.policy import Policy, choice_of
from reward.data.prepared import UserRows
from reward.data.slates import HALVES
from reward.statistics.gathered import Gathered
from reward.statistics.sums import Totals, fold

_READING, _CHECKING = 10**6, 10**6 + 1  # draws of candidates, after those of the passes
_FINE = np.geomspace(1e-12, 1.0, 2400)  # probabilities, between which tenths of the pairs are found


@dataclass(frozen=True)
class Calibration:
    """Whether items are shown as often as the model says, to users it was not fitted on and within groups.

    Attributes:
        bins: ten rows by predicted probability, of pairs of a slot and an item live there, each slot predicted by the
            fit of the other half: ``predicted``, ``observed``, ``low``, ``high`` (95%, users resampled by their
            spread) and ``pairs``.
        z: of the covariance between halves of what is left in each cell of item and activity tercile; about standard
            normal if the model holds, large if some items go to active or inactive users more than it says.
        excess: the root of that covariance: the share by which cells are over- or undershown beyond chance.
        flagged: z is beyond ``level`` and the excess beyond ``least_excess``; or users the model was not fitted on are
            foretold worse than if every live item were as likely.
        log_likelihood: mean over rows, each half under its own fit.
        held_out_log_likelihood: the same under the other half's fit.
        uniform_log_likelihood: the same if every live item were as likely.
    """

    bins: pl.DataFrame
    z: float
    excess: float
    flagged: bool
    log_likelihood: float
    held_out_log_likelihood: float
    uniform_log_likelihood: float


@dataclass(frozen=True)
class Reading(Totals):
    """What the policies say of some users' slates.

    Attributes:
        log_p: (rows,) of what was shown, each slate under the fit of its own half; by the chunk's first row.
        uniform: sum over rows of the log-probability if every live item were as likely.
        rows: how many.
        shown: (halves, 3, items) times shown, by activity tercile.
        expected: (halves, 3, items) times expected.
    """

    log_p: Gathered[Doubles]
    uniform: float
    rows: int
    shown: Tensor
    expected: Tensor


class ReadSlates:
    """What the policy of each half of the users says of its slates, as a sum over users.

    Args:
        plan: how slates are read.
        policies: of each half.
        half: (slates,) of all users.
    """

    def __init__(self, plan: Plan, policies: Sequence[Policy], half: Ints):
        self._policies, self._items = policies, len(plan.shown)
        self._draws = [Draw(plan, np.flatnonzero(half == own), _READING) for own in range(HALVES)]
        self._live = np.array([len(plan.catalogue.live(day)) for day in range(plan.catalogue.days)])

    def partial(self, part: Part, /) -> Reading:
        """What they say of some users' slates."""
        slates = part.slates
        log_p = np.zeros(slates.items.shape)
        shown, expected = (torch.zeros(HALVES, 3, self._items, dtype=torch.float64) for _ in range(2))
        for own, (draw, policy) in enumerate(zip(self._draws, self._policies, strict=True)):
            for chunk in draw.chunks(part):
                choice = choice_of(policy, chunk)
                log_p[chunk.at] = choice.log_p.numpy()
                tercile = torch.from_numpy(part.slots.tercile[chunk.at])
                row, column = torch.nonzero(chunk.items >= 0, as_tuple=True)
                cell = (tercile[row], chunk.items[row, column])
                shown[own].index_put_(cell, torch.ones(len(row), dtype=torch.float64), accumulate=True)
                expected[own].index_put_(cell, choice.shown[row, column], accumulate=True)
                others = torch.eye(3, dtype=torch.float64)[tercile].T @ choice.others
                expected[own].index_add_(1, chunk.candidates, others)
        left = self._live[slates.day[slates.row]] - slates.place
        uniform = float(-np.log(np.maximum(left, 1)).sum())
        told = log_p[slates.row, slates.place]
        return Reading(Gathered.of(part.begin, told), uniform, len(slates.row), shown, expected)

    def solve(self, state: Reading, /) -> Reading:
        """What they say of all slates."""
        return state


@dataclass(frozen=True)
class _Gap(Totals):
    gap: float
    rows: int


class _Optimism:
    """Mean log-likelihood of a row under its own half's fit less that under the other's."""

    def __init__(self, draws: Sequence[Draw], policies: Sequence[Policy]):
        self._draws, self._policies = draws, policies

    def partial(self, part: Part, /) -> _Gap:
        gap, rows = 0.0, 0
        for own, draw in enumerate(self._draws):
            for chunk in draw.chunks(part):
                mine, other = (choice_of(self._policies[which], chunk).log_p.sum() for which in (own, 1 - own))
                gap += float(mine - other)
                rows += int((chunk.items >= 0).sum())
        return _Gap(gap, rows)

    def solve(self, state: _Gap, /) -> float:
        return state.gap / max(state.rows, 1)


class _Top(NamedTuple):
    """What is said of the tops of n slates, by the fit of the other half.

    Attributes:
        p: (n, m) of the items not at the top.
        weight: (n, m) how many items each stands for.
        top: (n,) of the top.
        user: (n,) place of the user in the part.
    """

    p: Doubles
    weight: Doubles
    top: Doubles
    user: Ints


def _tops(part: Part, draws: Sequence[Draw], policies: Sequence[Policy]) -> Iterator[_Top]:
    for own, draw in enumerate(draws):
        for chunk in draw.chunks(part):
            choice = choice_of(policies[1 - own], replace(chunk, items=chunk.items[:, :1], place=chunk.place[:, :1]))
            p = (choice.others / chunk.weight).numpy()
            weight = np.where(p > 0, chunk.weight.numpy(), 0.0)
            yield _Top(p, weight, choice.shown[:, 0].numpy(), part.slates.user[chunk.at])


class _Edges:
    """Nine edges between tenths of the pairs of a slate's top and a live item, by their probability."""

    def __init__(self, draws: Sequence[Draw], policies: Sequence[Policy]):
        self._draws, self._policies = draws, policies

    def partial(self, part: Part, /) -> Doubles:
        counts = np.zeros(len(_FINE) + 1)
        for found in _tops(part, self._draws, self._policies):
            counts += np.bincount(np.searchsorted(_FINE, found.p.ravel()), found.weight.ravel(), len(counts))
        return counts

    def solve(self, state: Doubles, /) -> Doubles:
        cumulated = np.cumsum(state)
        tenths = np.searchsorted(cumulated, np.arange(1, 10) / 10 * cumulated[-1])
        return _FINE[np.minimum(tenths, len(_FINE) - 1)]


@dataclass(frozen=True)
class _BinSums(Totals):
    pairs: Doubles  # (bins,)
    predicted: Doubles  # (bins,)
    observed: Doubles  # (bins,)
    surplus: Doubles  # (bins,) sum over users of the square of what was shown beyond what was predicted


class _Bins:
    """Pairs of a slate's top and a live item, by the probability that the other half's fit gives them."""

    def __init__(self, draws: Sequence[Draw], policies: Sequence[Policy], edges: Doubles):
        self._draws, self._policies, self._edges = draws, policies, edges

    def partial(self, part: Part, /) -> _BinSums:
        edges, bins = self._edges, len(self._edges) + 1
        pairs, predicted, observed = np.zeros((3, bins))
        surplus: Doubles = np.zeros((part.slates.users, bins))
        for p, weight, top, user in _tops(part, self._draws, self._policies):
            where, hit = np.searchsorted(edges, p, side="right"), np.searchsorted(edges, top, side="right")
            foretold = p * weight
            pairs += np.bincount(where.ravel(), weight.ravel(), bins) + np.bincount(hit, minlength=bins)
            predicted += np.bincount(where.ravel(), foretold.ravel(), bins) + np.bincount(hit, top, bins)
            observed += np.bincount(hit, minlength=bins)
            cell = np.arange(len(p))[:, None] * bins + where
            expected = np.asarray(np.bincount(cell.ravel(), foretold.ravel(), len(p) * bins), np.float64)
            expected = expected.reshape(-1, bins)
            expected[np.arange(len(p)), hit] += top - 1
            np.add.at(surplus, user, -expected)
        return _BinSums(pairs, predicted, observed, np.square(surplus).sum(axis=0))

    def solve(self, state: _BinSums, /) -> pl.DataFrame:
        pairs = np.maximum(state.pairs, 1)
        se = np.sqrt(state.surplus) / pairs
        return pl.DataFrame(
            {
                "predicted": state.predicted / pairs,
                "observed": state.observed / pairs,
                "low": state.observed / pairs - 1.96 * se,
                "high": state.observed / pairs + 1.96 * se,
                "pairs": pairs,
            }
        )


def check_calibration(
    plan: Plan,
    chunks: Sequence[UserRows],
    policies: Sequence[Policy],
    half: Ints,
    reading: Reading,
    *,
    most: int,
    level: float,
    least_excess: float,
) -> Calibration:
    """The calibration of policies on the half of the users that they were not fitted on.

    Args:
        plan: how slates are read.
        chunks: users, in any order.
        policies: of each half.
        half: (slates,) of all users.
        reading: what `ReadSlates` found.
        most: slates that are read.
        level: see `Calibration`.
        least_excess: see `Calibration`.
    """
    covariance, z = agreement(*_left_over(reading))
    excess = float(np.sqrt(max(covariance, 0.0)))
    some = drawn(np.arange(len(half)), most, plan.seed)
    draws = [Draw(plan, some[half[some] == own], _CHECKING) for own in range(HALVES)]
    mean = float(np.concatenate(reading.log_p.in_order).sum() / reading.rows)
    held_out = mean - fold(_Optimism(draws, policies), plan.parts(chunks))
    uniform = reading.uniform / reading.rows
    edges = fold(_Edges(draws, policies), plan.parts(chunks))
    return Calibration(
        bins=fold(_Bins(draws, policies, edges), plan.parts(chunks)),
        z=z,
        excess=excess,
        flagged=(z > level and excess > least_excess) or not held_out >= uniform,
        log_likelihood=mean,
        held_out_log_likelihood=held_out,
        uniform_log_likelihood=uniform,
    )


def _left_over(reading: Reading) -> tuple[Doubles, Doubles, Doubles]:
    """Share by which each cell of item and tercile was shown too often, in each half, and the cells' weight."""
    shown, expected = reading.shown.numpy(), reading.expected.numpy()
    surplus = (shown - expected) / np.maximum(expected, 1e-9)
    first, second = surplus.reshape(HALVES, -1)
    return first, second, np.sqrt(expected.prod(axis=0)).ravel()
