"""What other policies would have been worth on the test days: off-policy estimates, each with what it rests on.

A policy is told by the chance with which it would have shown what was shown. Each exposure is judged alone: what its
slot's being filled otherwise would have changed, all else left to the policy that ran.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from reward.arrays import Bools, Doubles, Ints
from reward.causal.diagnostics.policy_shift import strength_at
from reward.columns import ITEM, PROPENSITY, TIMESTAMP, USER
from reward.data.days import DAY
from reward.data.event_log import SchemaError, reading
from reward.data.files import scan
from reward.data.validation import row_keys
from reward.evaluation.estimates import Json, of_log
from reward.off_policy.doubly_robust import clipped_doubly_robust, doubly_robust
from reward.off_policy.estimate import Refusal, effective_sample_size, top_share
from reward.off_policy.feedback import MOST_OFF, LoggedFeedback
from reward.off_policy.ips import ips
from reward.off_policy.selection import select_estimator
from reward.statistics.clustered import clustered_error
from reward.statistics.intervals import normal
from reward.text import amount, interval_name, places, readable, side_of_zero

CHANCE = "shown by chance"
LEANING = "leaning on the reward"  # as `_leaning` calls it
UNCLIPPED = "unclipped"
SHARES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)  # of the rows, the heaviest first, whose weight is told
KEYS = (USER, ITEM, TIMESTAMP)


class _Came(NamedTuple):
    """What came of exposures: some of the rows, by place, the values, and what was expected before the item was."""

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
) -> Json:
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

    Returns:
        ``divergence``, ``level`` and ``click``; ``estimates``, of each policy and outcome ``policy``, ``outcome``,
        ``rows``, ``effective_rows``, ``ran`` (mean of what came), ``change`` (an estimate with its interval) and
        ``guess`` (value and estimator), or why it was ``refused``, at length and in ``brief``; ``weights``, of each
        policy ``policy``, ``effective_rows``, ``top_share``, ``mean`` (an estimate) and ``curve``, the share of the
        weight that the heaviest `SHARES` of the rows hold; and ``sentences``.
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
        weights.append({"policy": name, **_weights(weight, users, level)})
        for came in outcomes:
            logged = LoggedFeedback(
                reward=came.value,
                propensity=propensity[came.place],
                user=user[came.place],
                min_effective_sample_size=min_effective_sample_size,
            )
            found = _estimate(logged, target[came.place], came.expected, most, level)
            estimates.append({"policy": name, "outcome": came.name, "rows": len(came.place), **found})
    found = {"divergence": divergence, "level": level, "click": click, "estimates": estimates, "weights": weights}
    told = {outcomes[0].name, click} if outcomes else {click}
    return found | {"sentences": _sentences(found, [it.name for it in outcomes if it.name in told])}


def proposed_policies(file: str | Path, events: pl.DataFrame, timestamp_unit: str | None) -> pl.DataFrame:
    """Policies that somebody proposes, of each of these events.

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
        told = scan("policies", file).collect()
    names = [name for name in told.columns if name not in KEYS]
    if not names or not {*KEYS} <= {*told.columns}:
        raise SchemaError(
            f"policies={file} expected the columns {', '.join(KEYS)} and a column a policy, its chance of showing the "
            f"item, got {', '.join(told.columns)}"
        )
    wrong = [name for name in names if not told[name].dtype.is_numeric()]
    wrong = wrong or [name for name in names if not told[name].is_between(0, 1).fill_null(value=False).all()]
    if wrong:
        raise SchemaError(
            f"policies={file} expected chances from 0 to 1 without nulls, got others in {', '.join(wrong)}"
        )
    keys = row_keys(told, timestamp_unit)
    if keys.is_duplicated().any():
        raise SchemaError(
            f"policies={file} expected one row an event, got {int(keys.is_duplicated().sum())} rows that share user, "
            "item and moment with another"
        )
    found = events.select(KEYS).join(
        keys.with_columns(told[name].cast(pl.Float64) for name in names), on=KEYS, how="left", maintain_order="left"
    )
    lacking = int(found[names[0]].null_count())
    if lacking:
        raise SchemaError(
            f"policies={file} expected a row for each of the {len(events):,} events of the test days, got none for "
            f"{lacking:,} of them, the first {found.filter(pl.col(names[0]).is_null()).row(0)[:3]}: a policy must be "
            "told wherever something was shown"
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
            told = past.group_by(ITEM).agg(pl.col(name).cast(pl.Float64).mean().alias("mean"))
            mean = counts.join(told, on=ITEM, how="left", maintain_order="left")["mean"]
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
    """What came of the rows: as many of the outcome's days as half of the rows know, and the feedback."""
    known, horizon = observed.sum(axis=1), observed.shape[1]
    days = int(np.sort(known)[len(known) // 2])
    place = np.flatnonzero(known >= days)
    told = unit if days == horizon else f"{unit} (the first {days} of these)"
    value = (trace & observed)[place, :days].sum(axis=1).astype(np.float64)
    yield _Came(told, place, value, rows["value_before"].to_numpy()[place] * days / horizon)
    everywhere = np.arange(len(rows))
    for name in feedback:
        usual = float(past[of_log(name)].cast(pl.Float64).mean() or 0.0)  # type: ignore[arg-type]
        yield _Came(name, everywhere, rows[of_log(name)].cast(pl.Float64).to_numpy(), np.full(len(rows), usual))


def _estimate(logged: LoggedFeedback, target: Doubles, expected: Doubles, most: Sequence[float], level: float) -> Json:
    told: Json = {"ran": float(logged.reward.mean()), "change": None, "guess": None, "refused": None, "brief": None}
    model = (expected, expected)  # before the item is known: of the one shown, and of any
    try:
        ran = ips(logged, logged.propensity)
        worth = {UNCLIPPED: partial(doubly_robust, logged, target, *model)}
        worth |= {f"clipped at {at:g}": partial(clipped_doubly_robust, logged, target, *model, most=at) for at in most}
        changes = {name: lambda estimator=estimator: estimator().minus(ran) for name, estimator in worth.items()}
        chosen = select_estimator(changes, reference=UNCLIPPED)
    except Refusal as error:
        return told | {"effective_rows": error.effective_sample_size, "refused": str(error), "brief": error.brief}
    change = changes[UNCLIPPED]()
    low, high = change.interval(level)
    return told | {
        "effective_rows": change.effective_sample_size,
        "change": {"value": change.value, "low": low, "high": high},
        "guess": {"value": chosen.estimate.value, "estimator": chosen.name},
    }


def _weights(weight: Doubles, users: Ints, level: float) -> Json:
    heavy = np.sort(weight)[::-1].cumsum()
    mean, half = float(weight.mean()), normal(level) * clustered_error((users, weight))
    at = [int(np.ceil(share * len(weight))) - 1 for share in SHARES]
    return {
        "effective_rows": float(effective_sample_size(weight)),
        "top_share": float(top_share(weight)),
        "mean": {"value": mean, "low": mean - half, "high": mean + half},
        "curve": (heavy[at] / max(heavy[-1], np.finfo(float).tiny)).tolist(),
    }


def _sentences(found: Mapping[str, Any], outcomes: Sequence[str]) -> list[str]:
    """What each policy changes of some outcomes, and where its weights do not average 1."""
    said, level = [], found["level"]
    for weights in found["weights"]:
        name, mean = weights["policy"], weights["mean"]
        told = [it for it in found["estimates"] if it["policy"] == name and it["outcome"] in outcomes]
        said.append(f"{name[0].upper()}{name[1:]}: {'; '.join(_change(it, level) for it in told)}.")
        if not mean["low"] <= 1 <= mean["high"] and abs(mean["value"] - 1) > MOST_OFF:
            said.append(
                f"The weights of {name!r} average {amount(mean, unit='', level=level)}, and should average 1: the "
                "propensities are wrong, or it shows what was never tried."
            )
    return said


def _change(estimate: Json, level: float) -> str:
    outcome, change = estimate["outcome"], estimate["change"]
    if change is None:
        return f"no estimate of {outcome}, with {estimate['brief']}"
    decimals = places([change])
    value, low, high = (readable(change[end], decimals) for end in ("value", "low", "high"))
    sign = "+" if float(change["value"]) > 0 else ""
    told = f"{sign}{value} ({interval_name(level)} {low} to {high}) on {estimate['ran']:.3g}"
    if side_of_zero(change) == "open":
        return f"no change of {outcome} that this log can show, {told}"
    return f"{outcome} {told}"
