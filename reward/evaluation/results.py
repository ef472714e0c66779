"""What test rows say about a reward model, in numbers: all that a report shows and a table prints.

Intervals resample users. Where something cannot be computed, ``missing`` says why.
"""

from __future__ import annotations

from collections import defaultdict
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
    Estimate,
    Missing,
    Sample,
    estimate_of,
    grouped,
    numbers_of,
    of_log,
    too_few,
)
from reward.evaluation.findings import Bin, DayMetric, DayReliability, Evaluation, Metric, Metrics, Slice
from reward.evaluation.log_carries import ORDER, carried
from reward.evaluation.measure import Measurement, evaluate_against
from reward.evaluation.value_decomposition import reward_distribution, value_decomposition
from reward.outcomes.protocol import DAYS, Points
from reward.statistics.bootstrap import ratio


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
) -> Evaluation:
    """Measure a reward model, its baselines, the steps of its value and its rewards on test rows.

    An item's click rate is its mean of ``click``. Where surprise is grouped by it, it is the rate
    among the other half of the users: with a row's own click on both sides, surprise would rise with it in a
    perfect model too. The correlation of click rate with mean reward is over items, weighted by rows. Its interval, and
    that of the correlation of reward with exposure, resamples the covariance alone. The standard deviations stay as
    they are, because resampling would add noise to them.

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
            not compared with it.
        resamples: number of resamples of users.
        seed: of the resamples and of the halves of the users.
        level: of the intervals, in (0, 1).
        bins: number of groups of equal mass, for the calibration error, the reliability and the items by click rate.
        min_slice_users: a slice with fewer is named and not measured.
        min_item_rows: an item with fewer has no click rate.
        points: how amounts of the outcome are called.

    Returns:
        What was asked for and what was found. `judge` adds the rest.

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
    asked = {"trace": trace, "observed": observed, "user": user, "bins": bins, "once": points.share, **setting}
    tables, pairs = evaluate_against(predictions, model, **asked)
    sample = Sample(user, len(codes), **setting, missing=_undefined(tables))
    given = {name: np.where(observed, np.asarray(p, np.float64), 0.0) for name, p in predictions.items()}
    losses = {name: _losses(p, trace, observed) for name, p in given.items()}
    curves = [name for name in dict.fromkeys((model, ACTIVITY)) if name in given]
    return Evaluation(
        model=model,
        unit=unit,
        points=points,
        click=click,
        horizon_days=trace.shape[1],
        rows=len(trace),
        users=len(codes),
        items=rows[ITEM].n_unique(),
        observed_days=int(observed.sum()),
        bins=bins,
        min_slice_users=min_slice_users,
        min_item_rows=min_item_rows,
        resamples=resamples,
        seed=seed,
        level=level,
        metrics={name: _by_metric(table) for name, table in tables.items()},
        differences={name: _by_metric(table) for name, table in pairs.items()},
        carries=carried(losses, observed, model, sample),
        slices=_slices(given, losses, trace, observed, rows, model, min_slice_users, sample),
        reliability={name: _reliability(given[name], trace, observed, bins, name, sample) for name in curves},
        decomposition=value_decomposition(rows, click, bins, min_item_rows, sample),
        reward=reward_distribution(rows, click, min_item_rows, sample),
        missing=tuple(sample.missing),
    )


def overview(evaluation: Evaluation) -> dict[str, list[Estimate | None]]:
    """Columns that sum an evaluation up, over the horizon: an estimate for each prediction, None if there is none."""
    metrics = evaluation.metrics.values()
    gains = evaluation.carries.gains.get(ACTIVITY, {})
    return {
        "log-loss": [it.log_loss.estimate for it in metrics],
        f"gain over {ACTIVITY}": [
            None if name == ACTIVITY or name not in gains else gains[name].total for name in evaluation.metrics
        ],
        "Brier": [it.brier.estimate for it in metrics],
        "AUC": [it.auc.estimate for it in metrics],
        "C-index": [it.c_index.estimate for it in metrics],
        "calibration error": [it.calibration_error.estimate for it in metrics],
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


def _by_metric(table: Sequence[Measurement]) -> Metrics:
    whole, days = {}, defaultdict(list)
    for it in table:
        estimate = estimate_of(it.value, it.low, it.high)
        if it.day is None:
            whole[it.metric] = (estimate, it.rows, it.users)
        else:
            days[it.metric].append(DayMetric(it.day, estimate, it.rows, it.users))
    return Metrics(**{name: Metric(*sums, tuple(days[name])) for name, sums in whole.items()})


def _undefined(tables: Mapping[str, Sequence[Measurement]]) -> list[Missing]:
    """Measurements that have no value or no interval, with their days; one for each reason."""
    days: dict[tuple[str, str], dict[str, None]] = {}
    for name, table in tables.items():
        for it in table:
            when = "horizon" if it.day is None else f"day {it.day}"
            if it.rows == 0:
                days.setdefault(("metrics", "no row is observed"), {})[when] = None
            elif reason := _reason(it):
                days.setdefault((f"{it.metric} of {name}", reason), {})[when] = None
    return [Missing(f"{what} ({', '.join(when)})", why) for (what, why), when in days.items()]


def _reason(it: Measurement) -> str | None:
    if np.isinf(it.value):
        return f"no value, because {INFINITE}"
    if np.isnan(it.value):
        why = {"auc": "all rows were active, or none", "c_index": "no two rows can be compared"}
        return f"no value, because {why.get(it.metric, 'nobody was active')}"
    return f"no interval, because {too_few(it.users)}" if np.isnan(it.low) else None


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
) -> tuple[Slice, ...]:
    """Log-loss, gain over activity only and active days a row, of all rows and of each slice with enough users."""
    known = np.asarray(observed.any(axis=1))
    masks = {"all rows": known}
    masks |= {name.removeprefix(SLICE): known & rows[name].to_numpy() for name in _slice_names(rows)}
    sizes = {name: (int(mask.sum()), len(np.unique(sample.user[mask]))) for name, mask in masks.items()}
    small = {name: users for name, (_, users) in sizes.items() if users < min_users}
    for name, users in small.items():
        sample.lack(f"slice {name}", f"it has {users} users and needs {min_users} to be measured")
    large = [name for name in masks if name not in small]
    inside = np.array([masks[name] for name in large]).reshape(len(large), len(known)).T

    days = observed.sum(axis=1)
    sums = {
        "log_loss": (losses[model].sum(axis=1), days),
        "predicted": (given[model].sum(axis=1), known),
        "observed": ((trace & observed).sum(axis=1), known),
    }
    if ACTIVITY in losses:
        sums["gain"] = ((losses[ACTIVITY] - losses[model]).sum(axis=1), days)
    measured = {}
    for metric, (above, below) in sums.items():
        if large:
            statistic = ratio(above[:, None] * inside, below[:, None] * inside, sample.user)
            found = sample.estimates(statistic, f"{metric} by slice", INFINITE)
            measured[metric] = dict(zip(large, found, strict=True))
    return tuple(
        Slice(name, rows, users, name in large, **{metric: found.get(name) for metric, found in measured.items()})
        for name, (rows, users) in sizes.items()
    )


def _reliability(
    p: Doubles, trace: Bools, observed: Bools, bins: int, name: str, sample: Sample
) -> tuple[DayReliability, ...]:
    """For each day with an observed row the bins that hold rows: mean predicted, share that came true."""
    days = []
    for day in np.flatnonzero(observed.any(axis=0)):
        seen = observed[:, day]
        predicted, came = p[seen, day], trace[seen, day]
        inside, count = grouped(predicted, bins)
        means = predicted @ inside / count
        statistic = sample.ratio_over(seen, came[:, None] & inside, inside)
        shares = sample.estimates(statistic, f"reliability of {name} on day {day + 1}", "no row is in the bin")
        groups = zip(means.tolist(), shares, count.tolist(), strict=True)
        days.append(DayReliability(int(day) + 1, tuple(Bin(*group) for group in groups)))
    return tuple(days)
