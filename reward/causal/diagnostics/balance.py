"""Balance: whether inverse-propensity weights leave the users shown each item alike in what came before.

Under the true propensities p, the slots that got item x, weighted by 1 / p, look like all slots that could have got it,
in everything that was settled before. So for a covariate v of slots, with its mean over each day taken off,

    D_x = Σ_{slots shown x} v / p  /  Σ_{slots shown x} 1 / p   −   Σ_{slots x could fill} v  /  number of such slots

has mean zero. It is computed in two halves of the users, who share no noise: the weighted mean over items of
D_x(half A) · D_x(half B) is unbiased for the variance of the true imbalance, whatever the standard errors, and is
compared with what chance makes of it (`agreement`).

The covariates:
    past activity: share of active days; what a policy may follow, so unweighted rows fail it wherever one does.
    last days: activity in the very last days beyond what a linear forecast from the longer past expects.
    placebo outcome: activity in the ``placebo_days`` before the slot beyond its forecast from what was before these
        days. Items cannot cause the past: what is left tells of a confounder.
    past assignments: whether items that go to active users were shown to the user in earlier days more often than
        the propensities say. With the right propensities the draws of one day tell nothing of those of another; a
        cause that lasts, is followed by the policy and is not in the propensities ties them together. The strongest
        of the four against a mood nobody logs, for a model that reads past activity balances past activity even
        where that only stands in for the cause.

What the covariates are not proof against: a user's past activity is itself moved by what was shown earlier, the
same item included. That is no flaw while the propensities are right given that past, but where the policy repeats
items and the propensities leave it out, an item's own effect can look like a tiny imbalance.

Sources: Imai and Ratkovic 2014 (covariate balancing propensity score), Lipsitch, Tchetgen Tchetgen and Cohen 2010
(negative controls), Robins 1986 (sequential ignorability, which makes residual assignments a martingale).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import NormalDist

import numpy as np
import polars as pl

from reward.arrays import Doubles, Ints
from reward.causal.diagnostics.covariates import (
    ASSIGNED,
    LAST,
    PAST,
    PLACEBO,
    Forecasting,
    Windows,
    activity_of,
    assigned,
)
from reward.causal.diagnostics.imbalance import Compared, Imbalance, imbalance_of
from reward.causal.propensity.plausibility import impossible
from reward.columns import ITEM
from reward.data.chunk_cache import ChunkCache
from reward.data.event_log import EventLog, SchemaError
from reward.data.prepared import PreparedLog, UserRows
from reward.data.slates import HALVES, ActiveDays, Catalogue, Live, halves, slates_in
from reward.statistics.gathered import Gathered
from reward.statistics.sums import Totals, fold

_COVARIATES = (PAST, LAST, PLACEBO)
_WEIGHTED, _UNWEIGHTED = range(2)


@dataclass(frozen=True)
class Balance:
    """What inverse-propensity weights left unbalanced.

    Attributes:
        frame: one row a covariate: ``covariate``; ``spread``, the standard deviation over items of its true imbalance
            in the covariate's own, 0 where the halves do not agree; ``unweighted``, the same without weights; ``z``,
            about standard normal under balance; ``flagged``, z is beyond ``level`` for all covariates together
            and the spread beyond ``least_spread``.
        level: z of one covariate alone beyond which it would be flagged.
        clipped: share of rows whose weight was clipped.
        slots: slots that were compared.
    """

    frame: pl.DataFrame
    level: float
    clipped: float
    slots: int

    @property
    def flagged(self) -> bool:
        """Whether any covariate is out of balance."""
        return bool(self.frame["flagged"].any())

    def sentences(self) -> list[str]:
        """The findings in plain words, the verdict first."""
        verdict = (
            "The propensities do not balance the log: the service follows something that they leave out, and effects "
            "estimated with them are confounded."
            if self.flagged
            else "No imbalance beyond chance was found. The check cannot see a cause that leaves no trace in the past."
        )
        return [
            verdict,
            *(
                f"{row['covariate'].capitalize()}: "
                + ("unbalanced" if row["flagged"] else "balanced")
                + f" (between items it differs by {row['spread']:.3f} standard deviations beyond chance, by "
                f"{row['unweighted']:.3f} without weights; z = {row['z']:.1f})."
                for row in self.frame.to_dicts()
            ),
        ]


def agreement(first: Doubles, second: Doubles, weight: Doubles) -> tuple[float, float]:
    """Weighted covariance about zero of two halves' imbalances, and its z when they share nothing.

    ``C = Σ w a b / Σ w`` and ``z = Σ w a b / √Σ (w a b)²``: C has the variance of what the halves share as its mean,
    and the denominator is the standard deviation that its numerator has when each product has a sign drawn at random,
    so neither rests on a standard error of an item, nor on the items being alike.

    Args:
        first: (n,) imbalances in one half.
        second: (n,) the same in the other.
        weight: (n,) how much each tells.

    Returns:
        The covariance and its z; 0 where there is nothing to compare.

    >>> agreement(np.array([1.0, -1.0]), np.array([1.0, -1.0]), np.array([1.0, 1.0]))  # z is at most √n
    (1.0, 1.414213562373095)
    """
    products = weight * first * second
    total, chance = float(products.sum()), float(np.sqrt((products**2).sum()))
    return total / max(float(weight.sum()), 1e-300), total / chance if chance > 0 else 0.0


def balance(
    log: EventLog | PreparedLog,
    propensity: Doubles,
    *,
    half: Ints | None,
    spans_days: Sequence[float],
    prior_days: float,
    placebo_days: int,
    last_days: int,
    warm_days: int,
    clip: float,
    level: float,
    least_spread: float,
    seed: int,
) -> Balance:
    """Whether weights 1 / propensity balance the log's items on what came before them.

    Args:
        log: a checked log, or one that is prepared, which is read in chunks of users.
        propensity: (rows,) in the order of its events; ones for no weights at all.
        half: (rows,) 0 or 1, the half of the users each row belongs to, as `Propensities.half`, so that the halves
            share no fit; None: halves drawn by ``seed``, right for propensities that were logged.
        spans_days: memories of the past activity that forecasts read.
        prior_days: days of average activity a new user is thought to have had.
        placebo_days: length of the placebo outcome's window.
        last_days: length of the negative control's.
        warm_days: first days of the log, compared with nothing, for the past is too short there.
        clip: most that a weight may be, in medians of its item's weights.
        level: z beyond which one covariate would be flagged; raised for several (Bonferroni),
        least_spread: if the spread is also more than this, in standard deviations: with enough users the smallest
            misfit is beyond chance, and what does no harm is not flagged.
        seed: halves the users.

    Raises:
        ValueError: a user is in both halves.
        SchemaError: ``propensity`` is not one number in (0, 1] a row; or the log has no days left after the first
            ``warm_days``.
    """
    prepared = PreparedLog.of(log)
    return balance_of(
        prepared,
        list(prepared.chunks()),
        propensity,
        half=half,
        windows=Windows(spans_days, prior_days, placebo_days, last_days),
        warm_days=warm_days,
        clip=clip,
        level=level,
        least_spread=least_spread,
        seed=seed,
    )


def balance_of(
    prepared: PreparedLog,
    chunks: Sequence[UserRows],
    propensity: Doubles,
    *,
    half: Ints | None,
    windows: Windows,
    warm_days: int,
    clip: float,
    level: float,
    least_spread: float,
    seed: int,
) -> Balance:
    """`balance` of a prepared log whose users are read in ``chunks``, in any order.

    Each pass over them is a sum over users: the days on which items were live, the average activity, the forecasts of
    the windows, the means of covariates by day and the imbalance of items, of covariates first and then of past
    assignments, which follow from it. The medians of weights are no sum: their state holds an item and a weight a row.
    """
    if wrong := impossible(propensity, len(prepared)):
        raise SchemaError(wrong)
    catalogue = fold(Live(prepared.items[ITEM]), chunks)
    if warm_days < windows.placebo_days or warm_days >= catalogue.days:
        raise SchemaError(
            f"warm_days={warm_days} expected at least placebo_days={windows.placebo_days} and fewer than the log's "
            f"{catalogue.days} days: lower them, or give a longer log"
        )
    most = clip * fold(_Medians(catalogue, propensity), chunks)
    second = _second(prepared, half, seed)
    compared = ChunkCache(partial(_compared, catalogue, propensity, most, second, warm_days), prepared.chunk_rows)
    size = fold(_Sizes(compared), chunks)
    start, most_rows = size.activity.share, prepared.chunk_rows
    activity = ChunkCache(lambda users: activity_of(compared(users).slates, windows, start), most_rows)
    forecasts = fold(Forecasting(compared, activity), chunks)
    given = ChunkCache(lambda users: np.tile(forecasts.beyond(activity(users)), (HALVES, 2, 1)), most_rows)
    weighting = np.repeat([_WEIGHTED, _UNWEIGHTED], len(_COVARIATES))
    found = imbalance_of(chunks, lambda users: (compared(users), given(users)), weighting, catalogue)
    lean = found[0].value[:, weighting == _UNWEIGHTED][:, 0]
    past = ChunkCache(lambda users: _assignments(compared(users), lean, windows.prior_days), most_rows)
    ways = np.array([_WEIGHTED, _UNWEIGHTED])
    other = imbalance_of(chunks, lambda users: (compared(users), past(users)), ways, catalogue)
    rows = [*_compare(_COVARIATES, *found), *_compare([ASSIGNED], *other)]
    frame = pl.DataFrame(rows, schema=["covariate", "spread", "unweighted", "z"], orient="row")
    flagged = (pl.col("z") > _several(level, len(rows))) & (pl.col("spread") > least_spread)
    clipped = size.clipped / len(prepared)
    return Balance(frame.with_columns(flagged.alias("flagged")), level, clipped, size.slots)


def _compare(names: Sequence[str], found: Imbalance, scale: Doubles) -> list[tuple[str, float, float, float]]:
    """Of each covariate its name, its spread beyond chance with and without weights, and z."""
    first, second = found.value / scale[:, :, None]
    agreed = [agreement(*it, np.sqrt(found.rows.prod(axis=0))) for it in zip(first, second, strict=True)]
    return [
        (name, math.sqrt(max(covariance, 0.0)), math.sqrt(max(raw, 0.0)), z)
        for name, (covariance, z), (raw, _) in zip(names, agreed, agreed[len(names) :], strict=False)
    ]


def _assignments(compared: Compared, lean: Doubles, prior_days: float) -> Doubles:
    """(halves, 2, n) past assignments with and without weights; the other half says which items active users get."""
    return np.stack([[assigned(compared.slates, by, it, prior_days) for by in compared.weights] for it in lean[::-1]])


@dataclass(frozen=True)
class _Sums(Totals):
    activity: ActiveDays
    clipped: int
    slots: int


@dataclass(frozen=True)
class _Sizes:
    """Average activity, rows whose weight was clipped, and slots that are compared."""

    compared: Callable[[UserRows], Compared]

    def partial(self, users: UserRows, /) -> _Sums:
        compared = self.compared(users)
        slots = int(compared.part[compared.slates.row].sum())
        return _Sums(ActiveDays.of(compared.slates), compared.clipped, slots)

    def solve(self, state: _Sums, /) -> _Sums:
        return state


@dataclass(frozen=True)
class _Medians:
    """Median weight of each item; an order statistic, so its state holds an item and a weight a row."""

    catalogue: Catalogue
    propensity: Doubles

    def partial(self, users: UserRows, /) -> Gathered[tuple[Ints, Doubles]]:
        part = (self.catalogue.code[users.item], 1 / self.propensity[users.rows])
        return Gathered.of(users.rows.start, part)

    def solve(self, state: Gathered[tuple[Ints, Doubles]], /) -> Doubles:
        item, weight = (np.concatenate(it) for it in zip(*state.in_order, strict=True))
        middle = pl.DataFrame({"item": item, "weight": weight}).group_by("item").agg(pl.col("weight").median())
        return middle.sort("item")["weight"].to_numpy()


def _compared(
    catalogue: Catalogue, propensity: Doubles, most: Doubles, second: Ints, warm_days: int, users: UserRows
) -> Compared:
    slates, weight = slates_in(users, catalogue), 1 / propensity[users.rows]
    most = most[slates.item]
    weights = np.stack([np.minimum(weight, most), np.ones_like(weight)])
    half = second[users.first : users.last][slates.user]
    return Compared(slates, half, slates.day >= warm_days, weights, int((weight > most).sum()))


def _several(level: float, tests: int) -> float:
    """The z that one of several tests must pass so that all together are as strict as one at ``level``."""
    tail = math.erfc(level / math.sqrt(2)) / 2  # 1 less the cdf would round to 0
    return -NormalDist().inv_cdf(tail / tests)


def _second(prepared: PreparedLog, half: Ints | None, seed: int) -> Ints:
    """(users,) the half of each."""
    users, rows = len(prepared.users), len(prepared)
    if half is None:
        return halves(users, seed)
    offsets = prepared.codes.offsets
    if half.shape != (rows,) or not (np.repeat(half[offsets[:-1]], np.diff(offsets)) == half).all():
        raise ValueError(
            f"half expected 0 or 1 for each of the log's {rows} rows, one for all rows of a user, got "
            f"shape {half.shape}: give Propensities.half of this log, or None"
        )
    return half[offsets[:-1]]
