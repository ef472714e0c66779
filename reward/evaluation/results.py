"""What test rows say about a reward model, as plain values: all that a report shows and a table prints.

An estimate is ``{"value", "low", "high"}`` with an interval that resamples users. None stands where something
cannot be computed, and ``notes`` says why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from reward.arrays import Bools, Doubles
from reward.columns import ITEM, USER
from reward.evaluation.estimates import (
    ACTIVITY,
    INFINITE,
    PREVIOUS,
    SCORES,
    SLICE,
    Json,
    Sample,
    estimate_of,
    grouped,
    numbers_of,
    of_log,
    too_few,
)
from reward.evaluation.log_carries import ORDER, carried, sentences
from reward.evaluation.measure import Measurement, evaluate_against
from reward.evaluation.slice_ratios import SlicedRows, SliceRatios
from reward.evaluation.value_decomposition import ledger, reward_account
from reward.outcomes.protocol import DAYS, Points
from reward.statistics.bootstrap import Users
from reward.statistics.sums import fold
from reward.statistics.user_hash import user_hash


def assess(
    predictions: Mapping[str, npt.ArrayLike],
    trace: Bools,
    observed: Bools,
    *,
    rows: pl.DataFrame,
    model: str,
    unit: str,
    click: str | None,
    resamples: int,
    seed: int,
    level: float,
    bins: int,
    min_slice_users: int,
    min_item_rows: int,
    points: Points = DAYS,
) -> Json:
    """Measure a reward model, its baselines, its ledger and its rewards on test rows.

    An item's click rate is its mean of ``click``. Where surprise is grouped by it, it is the rate
    among the other half of the users: with a row's own click on both sides, surprise would rise with it in a
    perfect model too. The correlation of click rate with mean reward is over items, weighted by rows. Of it and of the
    correlation of reward with exposure resampled is the covariance, and the standard deviations stay, which resampling
    would raise by adding noise.

    Args:
        predictions: probabilities (n, H) of being active on each day, by name. Beside ``model`` the names
            ``base rate``, ``feedback only``, ``activity only``, ``activity + feedback``,
            ``activity + feedback + items`` and ``LightGBM`` have a meaning; any of them may be absent.
        trace: bool (n, H): was active.
        observed: bool (n, H): the bit is known.
        rows: the n rows: ``user_id``, ``item_id``, the click under the name that `of_log` gives it,
            ``value_before``, ``value_exposed``, ``value_after``, ``value_previous`` (null at a user's first row),
            ``reward``, ``reward_std`` and any bool columns ``slice: …``.
        model: name of the reward model's prediction.
        unit: of values and rewards.
        click: the log's feedback that says that an item was taken up; None: it has none, and rewards and surprise are
            not held against it.
        resamples: number of resamples of users.
        seed: of the resamples and of the halves of the users.
        level: of the intervals, in (0, 1).
        bins: groups of equal mass: of the calibration error, the reliability curves and the items by click rate.
        min_slice_users: a slice with fewer is named and not measured.
        min_item_rows: an item with fewer has no click rate.
        points: how amounts of the outcome are told.

    Returns:
        What was asked for and ``metrics`` {prediction: {metric: estimate, by_day}}; ``differences``, ``model`` minus
        each other prediction, alike; ``carry``, how much of what can be predicted past activity carries alone and what
        the rest adds; ``slices``; ``reliability``; ``ledger``; ``reward``; ``notes``. Every value is a string,
        finite number, bool or None.

    Raises:
        ValueError: a prediction, column or row is missing or unusable, nothing is observed, or all rows are of
            one user.

    """
    _check(predictions, trace, rows, model, click)
    predictions = {
        name: predictions[name] for name in dict.fromkeys((model, *ORDER, *predictions)) if name in predictions
    }
    codes, user = np.unique(rows[USER].to_numpy(), return_inverse=True)
    setting: dict[str, Any] = {"resamples": resamples, "seed": seed, "level": level}
    asked = {"trace": trace, "observed": observed, "user": rows[USER], "bins": bins, "once": points.share, **setting}
    tables, pairs = evaluate_against(predictions, model, **asked)
    differences = {name: _by_metric(table) for name, table in pairs.items()}
    sample = Sample(user, user_hash(codes), **setting, notes=_undefined(tables))
    given = {name: np.where(observed, np.asarray(p, np.float64), 0.0) for name, p in predictions.items()}
    losses = {name: _losses(p, trace, observed) for name, p in given.items()}
    carry = carried(losses, observed, model, sample)
    return {
        "model": model,
        "unit": unit,
        "points": points._asdict(),
        "feedback": click,
        "horizon_days": trace.shape[1],
        "rows": len(trace),
        "users": len(codes),
        "items": rows[ITEM].n_unique(),
        "observed_days": int(observed.sum()),
        "bins": bins,
        "min_slice_users": min_slice_users,
        "min_item_rows": min_item_rows,
        **setting,
        "metrics": {name: _by_metric(table) for name, table in tables.items()},
        "differences": differences,
        "carry": carry | {"sentences": sentences(carry, differences, model, level)},
        "slices": _slices(given, losses, trace, observed, rows, model, min_slice_users, sample),
        "reliability": {
            name: _reliability(given[name], trace, observed, bins, name, sample)
            for name in dict.fromkeys((model, ACTIVITY))
            if name in given
        },
        "ledger": ledger(rows, click, unit, bins, min_item_rows, sample),
        "reward": reward_account(rows, click, min_item_rows, sample),
        "notes": sample.notes,
    }


def overview(assessment: Json) -> dict[str, list[Json | None]]:
    """Columns that sum an assessment up, over the horizon: an estimate for each prediction, None if there is none."""
    metrics = assessment["metrics"]
    gains = assessment["carry"]["gains"].get(ACTIVITY, {})
    named = {"Brier": "brier", "AUC": "auc", "C-index": "c_index", "calibration error": "calibration_error"}
    return {
        "log-loss": [it["log_loss"] for it in metrics.values()],
        f"gain over {ACTIVITY}": [None if name == ACTIVITY else gains.get(name) for name in metrics],
        **{column: [it[metric] for it in metrics.values()] for column, metric in named.items()},
    }


def _check(
    predictions: Mapping[str, npt.ArrayLike], trace: Bools, rows: pl.DataFrame, model: str, click: str | None
) -> None:
    if model not in predictions:
        raise ValueError(f"expected a prediction named {model!r}, the reward model's, got {', '.join(predictions)}")
    if rows.height != len(trace):
        raise ValueError(f"expected one of rows for each of the {len(trace)} rows of trace, got {rows.height}")
    numbers = (*([] if click is None else [of_log(click)]), *SCORES)
    missing = [name for name in (USER, ITEM, PREVIOUS, *numbers) if name not in rows.columns]
    if missing:
        raise ValueError(f"rows has no column {', '.join(missing)}; its columns are {', '.join(rows.columns)}")
    unusable = [name for name in numbers if not np.isfinite(numbers_of(rows, name)).all()]
    if unusable:
        raise ValueError(f"expected finite numbers in {', '.join(unusable)}: score every row before it is assessed")
    unclear = [name for name in _slice_names(rows) if rows[name].dtype != pl.Boolean or rows[name].null_count()]
    if unclear:
        raise ValueError(f"expected true or false on every row of {', '.join(unclear)}: cast them, and fill nulls")


def _slice_names(rows: pl.DataFrame) -> list[str]:
    return [name for name in rows.columns if name.startswith(SLICE)]


def _by_metric(table: Sequence[Measurement]) -> Json:
    nested: Json = {}
    for it in table:
        plain = estimate_of(it.value, it.low, it.high) | {"rows": it.rows, "users": it.users}
        if it.day is None:
            nested[it.metric] = plain | {"by_day": []}
        else:
            nested[it.metric]["by_day"].append({"day": it.day, **plain})
    return nested


def _undefined(tables: Mapping[str, Sequence[Measurement]]) -> list[str]:
    """A line for each reason why measurements have no value or no interval, with their days."""
    days: dict[str, dict[str, None]] = {}
    for name, table in tables.items():
        for it in table:
            when = "horizon" if it.day is None else f"day {it.day}"
            if it.rows == 0:
                days.setdefault("no row is observed", {})[when] = None
            elif reason := _reason(it):
                days.setdefault(f"{it.metric} of {name}: {reason}", {})[when] = None
    return [f"{reason} ({', '.join(when)})" for reason, when in days.items()]


def _reason(it: Measurement) -> str | None:
    if np.isinf(it.value):
        return f"no value, for {INFINITE}"
    if np.isnan(it.value):
        why = {"auc": "all rows were active, or none", "c_index": "no two rows can be compared"}
        return f"no value, for {why.get(it.metric, 'nobody was active')}"
    return f"no interval, for {too_few(it.users)}" if np.isnan(it.low) else None


def _losses(p: Doubles, trace: Bools, observed: Bools) -> Doubles:
    """−log of the probability given to what came true, bit by bit; 0 where nothing is observed."""
    with np.errstate(divide="ignore"):
        return np.asarray(-np.log(np.where(observed, np.where(trace, p, 1 - p), 1.0)))


def _slices(
    given: Mapping[str, Doubles],
    losses: Mapping[str, Doubles],
    trace: Bools,
    observed: Bools,
    rows: pl.DataFrame,
    model: str,
    min_users: int,
    sample: Sample,
) -> list[Json]:
    """Log-loss, gain over activity only and active days a row, of all rows and of each slice with enough users."""
    known = np.asarray(observed.any(axis=1))
    masks = {"all rows": known}
    masks |= {name.removeprefix(SLICE): known & rows[name].to_numpy() for name in _slice_names(rows)}
    days = observed.sum(axis=1)
    sums = {
        "log_loss": (losses[model].sum(axis=1), days),
        "predicted": (given[model].sum(axis=1), known),
        "observed": ((trace & observed).sum(axis=1), known),
    }
    if ACTIVITY in losses:
        sums["gain"] = ((losses[ACTIVITY] - losses[model]).sum(axis=1), days)
    above, below = (np.stack(column, axis=1).astype(np.float64) for column in zip(*sums.values(), strict=True))
    inside = np.stack(list(masks.values()), axis=1)
    sliced = SlicedRows(above, below, inside, Users(sample.user, sample.hashes))
    table = fold(SliceRatios(sample.draws), [sliced])
    sizes = {name: (rows, users) for name, (rows, users) in zip(masks, table.sizes.tolist(), strict=True)}
    small = {name: users for name, (_, users) in sizes.items() if users < min_users}
    sample.notes += [f"slice {it}: not measured, it has {n} users, of {min_users} at least" for it, n in small.items()]
    large = [name for name in masks if name not in small]
    places = [at for at, name in enumerate(masks) if name in large]
    measured = {}
    for at, metric in enumerate(sums):
        if large:
            found = sample.estimates(table.ratios[:, at, places], f"{metric} by slice", INFINITE)
            measured[metric] = dict(zip(large, found, strict=True))
    metrics = ("log_loss", "gain", "predicted", "observed")
    return [
        {"slice": name, "rows": count, "users": users, "measured": name in large}
        | {metric: measured.get(metric, {}).get(name) for metric in metrics}
        for name, (count, users) in sizes.items()
    ]


def _reliability(p: Doubles, trace: Bools, observed: Bools, bins: int, name: str, sample: Sample) -> list[Json]:
    """For each day with an observed row the bins that hold rows: mean predicted, share that came true."""
    days = []
    for day in np.flatnonzero(observed.any(axis=0)):
        seen = observed[:, day]
        predicted, came = p[seen, day], trace[seen, day]
        inside, count = grouped(predicted, bins)
        means = predicted @ inside / count
        ratios = sample.ratio_over(seen, came[:, None] & inside, inside)
        shares = sample.estimates(ratios, f"reliability of {name} on day {day + 1}", "no row is in the bin")
        groups = zip(means.tolist(), shares, count.tolist(), strict=True)
        table = [{"predicted": mean, "observed": share, "rows": size} for mean, share, size in groups]
        days.append({"day": int(day) + 1, "bins": table})
    return days
