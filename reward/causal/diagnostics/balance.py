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
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import polars as pl
from numpy.typing import NDArray

from reward.arrays import Doubles, Ints
from reward.causal.propensity.plausibility import impossible
from reward.data.event_log import EventLog, SchemaError
from reward.data.slates import Slates, active_days, halves, past_activity, slates_of

PAST, LAST, PLACEBO, ASSIGNED = "past activity", "last days", "placebo outcome", "past assignments"


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


def imbalance(slates: Slates, covariate: Doubles, weight: Doubles, part: Doubles) -> tuple[Doubles, Doubles]:
    """D_x of every item over some of the slates, and its rows there.

    A ratio of sums is biased where few rows carry much of the weight, and alike in both halves: to first order by
    −Σ w² (v − v̄) / (Σ w)², which is taken off. An item counts by its rows, not by how even its weights came out:
    rows of a large weight pull D_x as they make the weights uneven, so that would prefer one sign of D_x.

    Args:
        slates: all slates.
        covariate: (n,) of the slates.
        weight: (rows,) inverse propensities.
        part: (n,) 1 for the slates compared, else 0.

    Returns:
        (items,) D_x and the number of rows; both 0 where the item has no row.
    """
    days, items = slates.days, len(slates.item_ids)
    size = np.bincount(slates.row, minlength=len(slates.user)) * part
    slots = np.bincount(slates.day, size, days)
    mean = np.bincount(slates.day, size * covariate, days) / np.maximum(slots, 1)
    centred = covariate - mean[slates.day]
    item = slates.items[slates.row, slates.place]
    mine = weight * part[slates.row]
    value = centred[slates.row]
    rows, total = (np.bincount(item, it, items) for it in (part[slates.row], mine))
    total = np.where(rows > 0, total, 1.0)
    shown = np.bincount(item, mine * value, items) / total
    shown += np.bincount(item, mine**2 * (value - shown[item]), items) / total**2
    # the day means are off, so over whole days only the slots below the item in its own slate are missing
    below = part[slates.row] * (np.bincount(slates.row, minlength=len(slates.user))[slates.row] - 1 - slates.place)
    until = np.r_[0.0, np.cumsum(slots)]
    could = until[slates.last + 1] - until[slates.first] - np.bincount(item, below, items)
    target = -np.bincount(item, below * value, items) / np.maximum(could, 1)
    return np.where(rows > 0, shown - target, 0.0), rows.astype(np.float64)


def balance(
    log: EventLog,
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
        log: a checked log.
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
    slates = slates_of(log)
    if wrong := impossible(propensity, len(slates.row)):
        raise SchemaError(wrong)
    if warm_days < placebo_days or warm_days >= slates.days:
        raise SchemaError(
            f"warm_days={warm_days} expected at least placebo_days={placebo_days} and fewer than the log's "
            f"{slates.days} days: lower them, or give a longer log"
        )
    second = _second(slates, half, seed)
    weight, clipped = _weights(slates, 1 / propensity, clip)
    part = (slates.day >= warm_days).astype(np.float64)
    parts = [part * (second == which) for which in range(2)]
    covariates = _covariates(slates, spans_days, prior_days, placebo_days, last_days, part > 0)
    lean = [imbalance(slates, covariates[PAST], np.ones(len(slates.row)), it)[0] for it in parts]
    rows = []
    for name in (*covariates, ASSIGNED):
        found = []
        for by in (weight, np.ones_like(weight)):
            sides = []
            for which in range(2):
                # the other half says which items go to active users
                values = covariates[name] if name in covariates else _assigned(slates, by, lean[1 - which], prior_days)
                spread = np.sqrt(np.average((values - np.average(values, weights=part)) ** 2, weights=part))
                sides.append(imbalance(slates, values / max(spread, 1e-12), by, parts[which]))
            (first, many), (other, more) = sides
            found.append(agreement(first, other, np.sqrt(many * more)))
        (covariance, z), (raw, _) = found
        rows.append((name, *(float(np.sqrt(max(it, 0.0))) for it in (covariance, raw)), z))
    frame = pl.DataFrame(rows, schema=["covariate", "spread", "unweighted", "z"], orient="row")
    flagged = (pl.col("z") > _several(level, len(rows))) & (pl.col("spread") > least_spread)
    return Balance(frame.with_columns(flagged.alias("flagged")), level, clipped, int(part[slates.row].sum()))


def _several(level: float, tests: int) -> float:
    """The z that one of several tests must pass so that all together are as strict as one at ``level``."""
    tail = math.erfc(level / math.sqrt(2)) / 2  # 1 less the cdf would round to 0
    return -NormalDist().inv_cdf(tail / tests)


def _second(slates: Slates, half: Ints | None, seed: int) -> Ints:
    """(n,) the half of each slate's user."""
    if half is None:
        return halves(slates.users, seed)[slates.user]
    by_user = np.zeros(slates.users, np.int64)
    by_user[slates.user[slates.row]] = half
    if half.shape != slates.row.shape or not (by_user[slates.user[slates.row]] == half).all():
        raise ValueError(
            f"half expected 0 or 1 for each of the log's {len(slates.row)} rows, one for all rows of a user, got "
            f"shape {half.shape}: give Propensities.half of this log, or None"
        )
    return by_user[slates.user]


def _weights(slates: Slates, weight: Doubles, clip: float) -> tuple[Doubles, float]:
    item = slates.items[slates.row, slates.place]
    middle = pl.DataFrame({"item": item, "weight": weight}).select(pl.col("weight").median().over("item"))
    most = clip * middle.to_series().to_numpy()
    return np.minimum(weight, most), float((weight > most).mean())


def _covariates(
    slates: Slates,
    spans_days: Sequence[float],
    prior_days: float,
    placebo_days: int,
    last_days: int,
    part: NDArray[np.bool_],
) -> dict[str, Doubles]:
    """(n,) each."""
    spans = tuple(spans_days)
    until = np.cumsum(active_days(slates), axis=1, dtype=np.int32)

    def count(days: int) -> Doubles:
        """Active days among the ``days`` before each slate's."""
        end, begin = (np.where(day > 0, until[slates.user, day - 1], 0) for day in (slates.day, slates.day - days))
        return (end - begin).astype(np.float64)

    return {
        PAST: past_activity(slates, spans, prior_days)[:, -1].astype(np.float64),
        LAST: _beyond(count(last_days), past_activity(slates, spans, prior_days, last_days), part),
        PLACEBO: _beyond(count(placebo_days), past_activity(slates, spans, prior_days, placebo_days), part),
    }


def _beyond(outcome: Doubles, known: NDArray[np.float32], part: NDArray[np.bool_]) -> Doubles:
    """What is left of ``outcome`` after a linear regression on ``known`` over ``part``."""
    design = np.column_stack([np.ones(len(outcome)), known])
    fitted, *_ = np.linalg.lstsq(design[part], outcome[part], rcond=None)
    return outcome - design @ fitted


def _assigned(slates: Slates, weight: Doubles, lean: Doubles, prior_days: float) -> Doubles:
    """(n,) how far the items shown to the user on earlier days leaned, beyond what the propensities expect.

    A row's weighted lean is, given all before it, Σ of the lean over the items it could have shown; that sum is taken
    off, and what is left is averaged over the user's rows of earlier days, with as many zeros as ``prior_days``.
    """
    live = np.array([len(slates.live(day)) for day in range(slates.days)])
    everything = np.array([lean[slates.live(day)].sum() for day in range(slates.days)])
    item = slates.items[slates.row, slates.place]
    own = lean[item]
    day = slates.day[slates.row]
    padded = np.where(slates.items >= 0, lean[np.maximum(slates.items, 0)], 0)
    above = (np.cumsum(padded, axis=1) - padded)[slates.row, slates.place]
    n = np.maximum(live[day] - slates.place, 1)
    surplus = weight / n * (own - (everything[day] - above) / n)
    slate = np.asarray(np.bincount(slates.row, surplus, len(slates.user)), np.float64)
    many = np.asarray(np.bincount(slates.row, minlength=len(slates.user)), np.float64)
    total, rows = _before(slates, slate), _before(slates, many)
    return total / (rows + prior_days)


def _before(slates: Slates, value: Doubles) -> Doubles:
    """(n,) sum of ``value`` over the user's slates of earlier days."""
    running = np.cumsum(value) - value
    day = np.flatnonzero(np.r_[True, (np.diff(slates.user) != 0) | (np.diff(slates.day) != 0)])
    user = np.flatnonzero(np.r_[True, np.diff(slates.user) != 0])
    at = np.arange(len(value))
    today = running[day[np.searchsorted(day, at, side="right") - 1]]
    ever = running[user[np.searchsorted(user, at, side="right") - 1]]
    return today - ever
