"""Whether a fitted policy is calibrated on users that it was not fitted on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
import torch

from reward.arrays import Doubles, Ints
from reward.causal.diagnostics.balance import agreement
from reward.causal.propensity.candidates import Plan, chunks
from reward.causal.propensity.features import drawn
from reward.causal.propensity.policy import Policy, choice_of
from reward.data.slates import HALVES, Slates

_READING, _CHECKING = 10**6, 10**6 + 1  # draws of candidates, after those of the passes


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
class _Reading:
    log_p: Doubles  # (n, size) of what was shown, each slate under the fit of its own half; 0 where nothing
    shown: Doubles  # (halves, 3, items) times shown, by activity tercile
    expected: Doubles  # (halves, 3, items) times expected


def reading_of(plan: Plan, policies: Sequence[Policy], half: Ints) -> _Reading:
    """What the policy of the other half of the users says of each half's slates."""
    log_p = np.zeros(plan.slates.items.shape)
    shown, expected = (torch.zeros(HALVES, 3, len(plan.slates.item_ids), dtype=torch.float64) for _ in range(2))
    for own, policy in enumerate(policies):
        for chunk in chunks(plan, np.flatnonzero(half == own), _READING):
            choice = choice_of(policy, chunk)
            log_p[chunk.at] = choice.log_p.numpy()
            tercile = torch.from_numpy(plan.slots.tercile[chunk.at])
            row, column = torch.nonzero(chunk.items >= 0, as_tuple=True)
            cell = (tercile[row], chunk.items[row, column])
            shown[own].index_put_(cell, torch.ones(len(row), dtype=torch.float64), accumulate=True)
            expected[own].index_put_(cell, choice.shown[row, column].double(), accumulate=True)
            others = torch.eye(3)[tercile].T @ choice.others
            expected[own].index_add_(1, chunk.candidates, others.double())
    return _Reading(log_p, shown.numpy(), expected.numpy())


def _optimism(plan: Plan, policies: Sequence[Policy], at: Ints, half: Ints) -> float:
    """Mean log-likelihood of a row under its own half's fit less that under the other's."""
    gap, rows = 0.0, 0
    for own in range(HALVES):
        for chunk in chunks(plan, at[half[at] == own], _CHECKING):
            mine, other = (choice_of(policies[which], chunk).log_p.double().sum() for which in (own, 1 - own))
            gap += float(mine - other)
            rows += int((chunk.items >= 0).sum())
    return gap / max(rows, 1)


def check_calibration(
    plan: Plan,
    policies: Sequence[Policy],
    half: Ints,
    reading: _Reading,
    most: int,
    level: float,
    least_excess: float,
) -> Calibration:
    """The calibration of policies on the half of the users that they were not fitted on."""
    covariance, z = agreement(*_left_over(reading))
    excess = float(np.sqrt(max(covariance, 0.0)))
    some = drawn(np.ones(len(half), np.bool_), most, plan.seed)
    mean = float(reading.log_p.sum() / len(plan.slates.row))
    held_out, uniform = mean - _optimism(plan, policies, some, half), _uniform(plan.slates)
    return Calibration(
        bins=_bins(plan, policies, some, half),
        z=z,
        excess=excess,
        flagged=(z > level and excess > least_excess) or not held_out >= uniform,
        log_likelihood=mean,
        held_out_log_likelihood=held_out,
        uniform_log_likelihood=uniform,
    )


def _left_over(reading: _Reading) -> tuple[Doubles, Doubles, Doubles]:
    """Share by which each cell of item and tercile was shown too often, in each half, and the cells' weight."""
    surplus = (reading.shown - reading.expected) / np.maximum(reading.expected, 1e-9)
    first, second = surplus.reshape(HALVES, -1)
    return first, second, np.sqrt(reading.expected.prod(axis=0)).ravel()


def _uniform(slates: Slates) -> float:
    live = np.array([len(slates.live(day)) for day in range(slates.days)])
    left = live[slates.day[slates.row]] - slates.place
    return float(-np.log(np.maximum(left, 1)).mean())


def _bins(plan: Plan, policies: Sequence[Policy], at: Ints, half: Ints) -> pl.DataFrame:
    """Pairs of a slate's top and a live item, by the probability that the other half's fit gives them."""
    edges = _edges((p, weight) for p, weight, *_ in _tops_foretold(plan, policies, at, half))
    bins = len(edges) + 1
    pairs: Doubles = np.zeros(bins)
    predicted, observed = np.zeros_like(pairs), np.zeros_like(pairs)
    surplus: Doubles = np.zeros((plan.slates.users, bins))
    for p, weight, top, users in _tops_foretold(plan, policies, at, half):
        where, hit = np.searchsorted(edges, p, side="right"), np.searchsorted(edges, top, side="right")
        foretold = p * weight
        pairs = pairs + np.bincount(where.ravel(), weight.ravel(), bins) + np.bincount(hit, minlength=bins)
        predicted += np.bincount(where.ravel(), foretold.ravel(), bins) + np.bincount(hit, top, bins)
        observed += np.bincount(hit, minlength=bins)
        cell = np.arange(len(p))[:, None] * bins + where
        expected = np.asarray(np.bincount(cell.ravel(), foretold.ravel(), len(p) * bins), np.float64).reshape(-1, bins)
        expected[np.arange(len(p)), hit] += top - 1
        np.add.at(surplus, users, -expected)
    pairs = np.maximum(pairs, 1)
    se = np.sqrt(np.square(surplus).sum(axis=0)) / pairs
    return pl.DataFrame(
        {
            "predicted": predicted / pairs,
            "observed": observed / pairs,
            "low": observed / pairs - 1.96 * se,
            "high": observed / pairs + 1.96 * se,
            "pairs": pairs,
        }
    )


def _tops_foretold(
    plan: Plan, policies: Sequence[Policy], at: Ints, half: Ints
) -> Iterator[tuple[Doubles, Doubles, Doubles, Ints]]:
    """By chunk: p (n, m) of the items not at the top and how many each stands for, p (n,) of the top, the users."""
    for which in range(HALVES):
        for chunk in chunks(plan, at[half[at] == 1 - which], _CHECKING):
            top = replace(chunk, items=chunk.items[:, :1], place=chunk.place[:, :1])
            choice = choice_of(policies[which], top)
            p = (choice.others / chunk.weight).double().numpy()
            weight = np.where(p > 0, chunk.weight.double().numpy(), 0.0)
            yield p, weight, choice.shown[:, 0].double().numpy(), plan.slates.user[chunk.at]


def _edges(foretold: Iterable[tuple[Doubles, Doubles]]) -> Doubles:
    """Nine edges between tenths of the pairs."""
    fine = np.geomspace(1e-12, 1.0, 2400)
    counts = sum(np.bincount(np.searchsorted(fine, p.ravel()), weight.ravel(), len(fine) + 1) for p, weight in foretold)
    cumulated = np.cumsum(counts)
    return fine[np.minimum(np.searchsorted(cumulated, np.arange(1, 10) / 10 * cumulated[-1]), len(fine) - 1)]
