"""What other policies would have been worth on the test days: off-policy estimates, and the weights behind each.

A policy is given by the probability with which it would have shown what was shown. Each exposure is estimated alone:
what would have changed if another policy had filled its slot, while the policy that ran did all else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import polars as pl

from reward.arrays import Bools, Doubles, Ints
from reward.causal.diagnostics.policy_shift import strength_at
from reward.columns import ITEM, PROPENSITY, TIMESTAMP, USER
from reward.data.days import DAY
from reward.data.event_log import SchemaError, reading
from reward.data.files import scan
from reward.data.validation import row_keys
from reward.evaluation.estimates import Estimate, of_log
from reward.off_policy.doubly_robust import clipped_doubly_robust, doubly_robust
from reward.off_policy.estimate import Refusal, effective_sample_size, top_share
from reward.off_policy.feedback import LoggedFeedback
from reward.off_policy.ips import ips
from reward.off_policy.selection import select_estimator
from reward.records import Kept
from reward.statistics.bootstrap import clustered_error
from reward.statistics.intervals import normal

CHANCE = "shown by chance"
LEANING = "leaning on the reward"  # as `_leaning` calls it
UNCLIPPED = "unclipped"
SHARES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)  # of the rows, the heaviest first, whose weight is summed
KEYS = (USER, ITEM, TIMESTAMP)


@dataclass(frozen=True)
class BestGuess:
    """The value of least estimated squared error, and the estimator that gives it."""

    value: float
    estimator: str


@dataclass(frozen=True)
class PolicyEstimate:
    """What a policy would have changed of an outcome, an exposure.

    Attributes:
        policy: its name.
        outcome: its name.
        rows: of which the outcome is known.
        effective_sample_size: of the weights on these.
        ran: the mean of what came, under the policy that ran.
        change: against that mean, with its interval; None: it is refused.
        guess: None: it is refused.
        refused: why there is no estimate; None: there is.
        brief: the same in a few words.
    """

    policy: str
    outcome: str
    rows: int
    effective_sample_size: Annotated[float, Kept("effective_rows")]
    ran: float
    change: Estimate | None = None
    guess: BestGuess | None = None
    refused: str | None = None
    brief: str | None = None


@dataclass(frozen=True)
class PolicyWeights:
    """The weights that a policy's estimates rest on.

    Attributes:
        policy: its name.
        effective_sample_size: of all rows.
        top_share: of the weight, that the heaviest 1% of the rows hold.
        mean: of the weights; 1 where the propensities are right and the policy shows only what was tried.
        curve: the share of the weight that the heaviest `SHARES` of the rows hold.
    """

    policy: str
    effective_sample_size: Annotated[float, Kept("effective_rows")]
    top_share: float
    mean: Estimate
    curve: tuple[float, ...]


@dataclass(frozen=True)
class PolicyValues:
    """What policies would have been worth on the test days.

    Attributes:
        divergence: of the policies that lean, in nats from what the day showed.
        level: of the intervals.
        estimates: of each policy and outcome.
        weights: of each policy.
        click: the feedback that says that an item was taken up; None: there is none.
    """

    divergence: float
    level: float
    estimates: tuple[PolicyEstimate, ...]
    weights: tuple[PolicyWeights, ...]
    click: str | None = None

    @property
    def outcomes(self) -> list[str]:
        """The names of what was estimated, the outcome first."""
        return list(dict.fromkeys(it.outcome for it in self.estimates))


class _Came(NamedTuple):
    """An outcome of exposures: the places of its rows, their values, and the forecasts of before the item was shown."""

    name: str
    place: Ints
    value: Doubles
    expected: Doubles


def other_policies(
    rows: pl.DataFrame,
    trace: Bools,
    observed: Bools,
    *,
    past: pl.DataFrame,
    feedback: Sequence[str],
    click: str | None,
    unit: str,
    proposed: pl.DataFrame | None,
    divergence: float,
    min_effective_sample_size: float,
    most: Sequence[float],
    level: float,
) -> PolicyValues:
    """Estimate for some policies how much more or less of each outcome an exposure would have brought.

    The policies: the day's items by chance, in the shares in which they were shown; these shares leaning on the mean
    reward of each item, and on its rate of clicks where the log has any, as far from them as ``divergence`` says, both
    as known before the test days; and those proposed. Of each, the doubly robust estimator with what was expected
    before the item was known as its model, less the mean of what came. Its interval is that of the unclipped weights,
    which holds the truth as often as it says; a guess of less squared error may come from clipped ones, as
    `select_estimator` takes it, but no interval around it is both shorter and honest. Outcomes known of
    fewer than two users are left out.

    Args:
        rows: of the test days: ``user_id``, ``item_id``, ``day``, ``propensity``, ``value_before`` and the feedback
            columns under the names that `of_log` gives them.
        trace: (n, H) the day counts.
        observed: (n, H) it is known.
        past: rows of before: ``item_id``, ``reward`` and the feedback columns, named alike.
        feedback: columns of the log.
        click: the one that says that an item was taken up; None: there is none.
        unit: of values.
        proposed: of each row, a column a policy: the chance with which it would have shown the item; None: no policy.
        divergence: of the policies that lean, KL in nats from the shares.
        min_effective_sample_size: below these an estimate is refused.
        most: weights at which estimates may be clipped.
        level: of the intervals.
    """
    targets = dict(_leaning(rows, past, click, divergence))
    if proposed is not None:
        targets |= {name: proposed[name].to_numpy() for name in proposed.columns}
    propensity, user = rows[PROPENSITY].to_numpy(), rows[USER].to_numpy()
    users = np.unique(user, return_inverse=True)[1]
    outcomes = [
        it for it in _outcomes(rows, trace, observed, past, feedback, unit) if len(np.unique(users[it.place])) > 1
    ]
    weights, estimates = [], []
    for name, target in targets.items():
        weight = target / propensity
        weights.append(_weights(name, weight, users, level))
        for came in outcomes:
            logged = LoggedFeedback(
                reward=came.value,
                propensity=propensity[came.place],
                user=user[came.place],
                min_effective_sample_size=min_effective_sample_size,
            )
            estimates.append(_estimate(name, came, logged, target[came.place], most, level))
    return PolicyValues(divergence, level, tuple(estimates), tuple(weights), click)


def proposed_policies(file: str | Path, events: pl.DataFrame, timestamp_unit: str | None) -> pl.DataFrame:
    """Read a file of proposed policies, for each of these events.

    Args:
        file: parquet with ``user_id``, ``item_id``, ``timestamp`` and a column a policy: the chance in [0, 1] with
            which it would have shown the item there.
        events: of a checked log.
        timestamp_unit: of timestamps that are integers.

    Returns:
        A column a policy, a row an event.

    Raises:
        SchemaError: the file cannot be read, lacks a column or an event, or a chance is not one.
    """
    with reading(f"policies={file}"):
        given = scan("policies", file).collect()
    names = [name for name in given.columns if name not in KEYS]
    if not names or not {*KEYS} <= {*given.columns}:
        raise SchemaError(
            f"policies={file} expected the columns {', '.join(KEYS)} and a column a policy, its chance of showing the "
            f"item, got {', '.join(given.columns)}"
        )
    wrong = [name for name in names if not given[name].dtype.is_numeric()]
    wrong = wrong or [name for name in names if not given[name].is_between(0, 1).fill_null(value=False).all()]
    if wrong:
        raise SchemaError(
            f"policies={file} expected chances from 0 to 1 without nulls, got others in {', '.join(wrong)}"
        )
    keys = row_keys(given, timestamp_unit)
    if keys.is_duplicated().any():
        raise SchemaError(
            f"policies={file} expected one row an event, got {int(keys.is_duplicated().sum())} rows that share user, "
            "item and moment with another"
        )
    found = events.select(KEYS).join(
        keys.with_columns(given[name].cast(pl.Float64) for name in names), on=KEYS, how="left", maintain_order="left"
    )
    lacking = int(found[names[0]].null_count())
    if lacking:
        raise SchemaError(
            f"policies={file} expected a row for each of the {len(events):,} events of the test days, got none for "
            f"{lacking:,} of them, the first {found.filter(pl.col(names[0]).is_null()).row(0)[:3]}: a policy needs a "
            "probability wherever something was shown"
        )
    return found.select(names)


def _leaning(
    rows: pl.DataFrame, past: pl.DataFrame, click: str | None, divergence: float
) -> Iterator[tuple[str, Doubles]]:
    """Policies that the log itself suggests, by name: the chance of each row's item among those of its day.

    A policy shows an item in proportion to exposures · exp(strength · lean). A row's own user is left out: a count of
    oneself would lift the mean weight above 1, by items over rows.
    """
    counts = rows.group_by(ITEM).len()
    clicks = [] if click is None else [(of_log(click), f"the rate of {click}")]
    for name, lean in [(CHANCE, None), ("reward", "the reward"), *clicks]:
        table = counts.with_columns(pl.lit(1.0).alias("odds"))
        if lean is not None:
            means = past.group_by(ITEM).agg(pl.col(name).cast(pl.Float64).mean().alias("mean"))
            mean = counts.join(means, on=ITEM, how="left", maintain_order="left")["mean"]
            off = (mean - mean.mean()).fill_null(0.0).to_numpy()
            if not np.ptp(off) > 0:
                continue
            (strength,) = strength_at(counts["len"].to_numpy() / len(rows), off, np.array([divergence]))
            table = counts.with_columns(pl.Series("odds", np.exp(np.clip(strength * (off - off.max()), -700, 0))))
        odds = rows.select(USER, ITEM, DAY).join(table, on=ITEM, how="left", maintain_order="left")
        of_item = pl.col("odds").sum().over(DAY, ITEM) - pl.col("odds").sum().over(DAY, ITEM, USER)
        of_all = pl.col("odds").sum().over(DAY) - pl.col("odds").sum().over(DAY, USER)
        chance = pl.when(of_all > 0).then((of_item / of_all).clip(0, 1)).otherwise(0.0)
        yield (
            name if lean is None else f"leaning on {lean}",
            odds.select(chance).to_series().to_numpy(),
        )


def _outcomes(
    rows: pl.DataFrame, trace: Bools, observed: Bools, past: pl.DataFrame, feedback: Sequence[str], unit: str
) -> Iterator[_Came]:
    """The outcomes of the rows: as many of the outcome's days as half of the rows know, and the feedback."""
    known, horizon = observed.sum(axis=1), observed.shape[1]
    days = int(np.sort(known)[len(known) // 2])
    place = np.flatnonzero(known >= days)
    name = unit if days == horizon else f"{unit} (the first {days} of these)"
    value = (trace & observed)[place, :days].sum(axis=1).astype(np.float64)
    yield _Came(name, place, value, rows["value_before"].to_numpy()[place] * days / horizon)
    everywhere = np.arange(len(rows))
    for name in feedback:
        usual = float(past[of_log(name)].cast(pl.Float64).mean() or 0.0)  # type: ignore[arg-type]
        yield _Came(name, everywhere, rows[of_log(name)].cast(pl.Float64).to_numpy(), np.full(len(rows), usual))


def _estimate(
    policy: str, came: _Came, logged: LoggedFeedback, target: Doubles, most: Sequence[float], level: float
) -> PolicyEstimate:
    known = partial(PolicyEstimate, policy, came.name, len(came.place), ran=float(logged.reward.mean()))
    model = (came.expected, came.expected)  # before the item is known: of the one shown, and of any
    try:
        ran = ips(logged, logged.propensity)
        worth = {UNCLIPPED: partial(doubly_robust, logged, target, *model)}
        worth |= {f"clipped at {at:g}": partial(clipped_doubly_robust, logged, target, *model, most=at) for at in most}
        changes = {name: lambda estimator=estimator: estimator().minus(ran) for name, estimator in worth.items()}
        chosen = select_estimator(changes, reference=UNCLIPPED)
    except Refusal as error:
        return known(error.effective_sample_size, refused=str(error), brief=error.brief)
    change = changes[UNCLIPPED]()
    return known(
        change.effective_sample_size,
        change=Estimate(change.value, *change.interval(level)),
        guess=BestGuess(chosen.estimate.value, chosen.name),
    )


def _weights(policy: str, weight: Doubles, users: Ints, level: float) -> PolicyWeights:
    heavy = np.sort(weight)[::-1].cumsum()
    mean, half = float(weight.mean()), normal(level) * clustered_error((users, weight))
    at = [int(np.ceil(share * len(weight))) - 1 for share in SHARES]
    return PolicyWeights(
        policy,
        float(effective_sample_size(weight)),
        float(top_share(weight)),
        Estimate(mean, mean - half, mean + half),
        tuple((heavy[at] / max(heavy[-1], np.finfo(float).tiny)).tolist()),
    )
