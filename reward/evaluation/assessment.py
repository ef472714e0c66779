"""What test rows say about a reward model, as plain values: all that a report shows and a table prints.

An estimate is ``{"value", "low", "high"}`` with an interval that resamples users. None stands where something
cannot be computed, and ``notes`` says why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from reward.evaluation.metrics import Measurement, evaluate_against
from reward.evaluation.resampling import Bools, Floats, Ints, Statistic, interval, quotient, ratio
from reward.evaluation.wording import amount, negated, percentage, side_of_zero
from reward.schema import ITEM, USER

BASE_RATE = "base rate"
FEEDBACK_ONLY = "feedback only"
ACTIVITY = "activity only"
ACTIVITY_FEEDBACK = "activity + feedback"
EVERYTHING = "activity + feedback + items"
LIGHTGBM = "LightGBM"
PREVIOUS = "value_previous"
NO_CLICK = (
    "How this goes with clicks cannot be said: no feedback column is named as the click. Name it with data.click=NAME."
)
SLICE = "slice: "
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)

Json = dict[str, Any]

_KNOWS: dict[str, tuple[str, ...]] = {
    BASE_RATE: (),
    ACTIVITY: ("past activity",),
    ACTIVITY_FEEDBACK: ("past activity", "feedback"),
    EVERYTHING: ("past activity", "feedback", "item information"),
}
_ORDER = (LIGHTGBM, EVERYTHING, ACTIVITY_FEEDBACK, ACTIVITY, FEEDBACK_ONLY, BASE_RATE)
_SCORES = ("value_before", "value_exposed", "value_after", "reward", "reward_std")
_BARS = 60  # of a histogram, which spans the middle 99% of the rows
_ROUNDING = 1e-3  # above what single precision leaves of a sum of values, below any reward that matters
_INFINITE = "something happened that was given probability 0"


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
        name: predictions[name] for name in dict.fromkeys((model, *_ORDER, *predictions)) if name in predictions
    }
    codes, user = np.unique(rows[USER].to_numpy(), return_inverse=True)
    setting: dict[str, Any] = {"resamples": resamples, "seed": seed, "level": level}
    asked = {"trace": trace, "observed": observed, "user": user, "bins": bins, **setting}
    tables, pairs = evaluate_against(predictions, model, **asked)
    differences = {name: _by_metric(table) for name, table in pairs.items()}
    sample = _Sample(user, len(codes), **setting, notes=_undefined(tables))
    given = {name: np.where(observed, np.asarray(p, np.float64), 0.0) for name, p in predictions.items()}
    losses = {name: _losses(p, trace, observed) for name, p in given.items()}
    carry = _carry(losses, observed, model, sample)
    return {
        "model": model,
        "unit": unit,
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
        "carry": carry | {"sentences": _sentences(carry, differences, model, level)},
        "slices": _slices(given, losses, trace, observed, rows, model, min_slice_users, sample),
        "reliability": {
            name: _reliability(given[name], trace, observed, bins, name, sample)
            for name in dict.fromkeys((model, ACTIVITY))
            if name in given
        },
        "ledger": _ledger(rows, click, unit, bins, min_item_rows, sample),
        "reward": _reward(rows, click, min_item_rows, sample),
        "notes": sample.notes,
    }


def of_log(name: str) -> str:
    """The name of a feedback column of the log among rows that hold scores too, whose names it may have."""
    return f"log: {name}"


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


@dataclass
class _Sample:
    """The users that the rows are of, how to resample them, and what could not be computed from them."""

    user: Ints  # (n,) code of each row's user
    users: int
    resamples: int
    seed: int
    level: float
    notes: list[str] = field(default_factory=list)

    def estimates(self, statistic: Statistic, what: str, why: str) -> list[Json]:
        """Values and intervals, flattened; a note says that some are undefined, and why."""
        with np.errstate(invalid="ignore"):  # the difference of two infinite losses is undefined
            values = statistic(np.ones(self.users)).ravel()
            ends = interval(statistic, self.users, resamples=self.resamples, seed=self.seed, level=self.level)
        undefined = ~np.isfinite(values)
        low, high = (end.ravel() for end in ends)
        if undefined.any():
            self.notes.append(f"{what}: {undefined.sum()} of {len(values)} without a value, for {why}")
        if count := int((np.isnan(low) & ~undefined).sum()):
            self.notes.append(f"{what}: {count} of {len(values)} without an interval, for {_too_few(self.users)}")
        return [_estimate(*numbers) for numbers in zip(values, low, high, strict=True)]

    def ratio_over(self, rows: Bools, numerator: npt.ArrayLike, denominator: npt.ArrayLike) -> Statistic:
        """`ratio` over some of the rows, of the weights of all users."""
        codes, user = np.unique(self.user[rows], return_inverse=True)
        statistic = ratio(numerator, denominator, user)
        return lambda weights: statistic(weights[codes])


def _too_few(users: int) -> str:
    return f"some resample of the {users} users leaves it undefined"


def _estimate(value: float, low: float, high: float) -> Json:
    """Plain numbers; no interval around what has no value."""
    known = bool(np.isfinite([value, low, high]).all())
    ends = {"low": float(low) if known else None, "high": float(high) if known else None}
    return {"value": float(value) if np.isfinite(value) else None, **ends}


def _check(
    predictions: Mapping[str, npt.ArrayLike], trace: Bools, rows: pl.DataFrame, model: str, click: str | None
) -> None:
    if model not in predictions:
        raise ValueError(f"expected a prediction named {model!r}, the reward model's, got {', '.join(predictions)}")
    if rows.height != len(trace):
        raise ValueError(f"expected one of rows for each of the {len(trace)} rows of trace, got {rows.height}")
    numbers = (*([] if click is None else [of_log(click)]), *_SCORES)
    missing = [name for name in (USER, ITEM, PREVIOUS, *numbers) if name not in rows.columns]
    if missing:
        raise ValueError(f"rows has no column {', '.join(missing)}; its columns are {', '.join(rows.columns)}")
    unusable = [name for name in numbers if not np.isfinite(_numbers(rows, name)).all()]
    if unusable:
        raise ValueError(f"expected finite numbers in {', '.join(unusable)}: score every row before it is assessed")
    unclear = [name for name in _slice_names(rows) if rows[name].dtype != pl.Boolean or rows[name].null_count()]
    if unclear:
        raise ValueError(f"expected true or false on every row of {', '.join(unclear)}: cast them, and fill nulls")


def _numbers(rows: pl.DataFrame, name: str) -> Floats:
    return rows[name].cast(pl.Float64).to_numpy()


def _slice_names(rows: pl.DataFrame) -> list[str]:
    return [name for name in rows.columns if name.startswith(SLICE)]


def _by_metric(table: Sequence[Measurement]) -> Json:
    nested: Json = {}
    for it in table:
        plain = _estimate(it.value, it.low, it.high) | {"rows": it.rows, "users": it.users}
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
        return f"no value, for {_INFINITE}"
    if np.isnan(it.value):
        why = {"auc": "all rows were active, or none", "c_index": "no two rows can be compared"}
        return f"no value, for {why.get(it.metric, 'nobody was active')}"
    return f"no interval, for {_too_few(it.users)}" if np.isnan(it.low) else None


def _losses(p: Floats, trace: Bools, observed: Bools) -> Floats:
    """−log of the probability given to what came true, bit by bit; 0 where nothing is observed."""
    with np.errstate(divide="ignore"):
        return np.asarray(-np.log(np.where(observed, np.where(trace, p, 1 - p), 1.0)))


def _carry(losses: Mapping[str, Floats], observed: Bools, model: str, sample: _Sample) -> Json:
    """Gains in log-loss on two references, what each kind of knowledge adds, and shares of the whole gain."""
    seen, *bits = (np.column_stack([it.sum(axis=1), it]) for it in (observed, *losses.values()))  # the sum, the days
    by_name = [ratio(loss, seen, sample.user) for loss in bits]
    place = {name: at for at, name in enumerate(losses)}
    why = f"no row is observed on that day, or {_INFINITE}"

    def log_loss(weights: Floats) -> Floats:
        return np.stack([loss(weights) for loss in by_name])  # (predictions, 1 + H)

    def gain(reference: str, weights: Floats) -> Floats:
        table = log_loss(weights)
        return np.asarray(table[place[reference]] - table)

    gains: Json = {}
    for reference in (BASE_RATE, ACTIVITY):
        if reference not in place:
            sample.notes.append(f"no prediction is named {reference!r}, so there are no gains over it")
            continue
        flat = sample.estimates(partial(gain, reference), f"gains over {reference}", why)
        whole, *days = (flat[column :: seen.shape[1]] for column in range(seen.shape[1]))
        gains[reference] = {
            name: whole[at] | {"by_day": [{"day": day, **table[at]} for day, table in enumerate(days, 1)]}
            for name, at in place.items()
        }

    ladder = [*(name for name in _KNOWS if name in place and name != model), model]
    rungs = [place[name] for name in ladder]
    added = sample.estimates(lambda weights: -np.diff(log_loss(weights)[rungs, 0]), "increments", why)

    of = EVERYTHING if EVERYTHING in place else model
    share: Json = {"of": of, "by": {}}
    if (gains.get(BASE_RATE, {}).get(of, {}).get("low") or 0) > 0:

        def shares(weights: Floats) -> Floats:
            gained = gain(BASE_RATE, weights)[:, 0]
            return quotient(gained, np.full_like(gained, gained[place[of]]))

        share["by"] = dict(zip(place, sample.estimates(shares, f"shares of the gain of {of}", why), strict=True))
    else:
        sample.notes.append(f"no shares of the gain of {of} over {BASE_RATE}: it is not shown to be above zero")
    return {
        "gains": gains,
        "increments": [
            {"from": lower, "to": upper, **it} for lower, upper, it in zip(ladder, ladder[1:], added, strict=False)
        ],
        "share": share,
    }


def _sentences(carry: Json, differences: Json, model: str, level: float) -> list[str]:
    """What the intervals say about what carries the prediction and about the model against its rivals."""
    said = []
    share = carry["share"]["by"].get(ACTIVITY)
    for step in carry["increments"]:
        if step["to"] == model:
            continue
        known = _KNOWS[step["from"]]
        news = [part for part in _KNOWS[step["to"]] if part not in known]
        subject, s = " and ".join(news), "" if news[1:] else "s"
        known_already = f"the prediction from {' and '.join(known)}" if known else f"the {BASE_RATE}"
        gained = amount(step, unit=" nats a day", level=level)
        text = {
            "above": f"{subject} improve{s} on {known_already} ({gained})",
            "open": f"{subject} add{s} nothing that this log can show ({gained})",
            "below": f"{subject} make{s} {known_already} worse ({gained})",
            "unknown": f"whether {subject} improve{s} on {known_already} cannot be said ({gained})",
        }[side_of_zero(step)]
        if step["to"] == ACTIVITY and share and share["low"] is not None:
            text += f"; this is {percentage(share, level=level)} of what {carry['share']['of']} gains on it"
        said.append(text)
    rivals = [name for name in (ACTIVITY, EVERYTHING, LIGHTGBM) if name in differences] or list(differences)
    for rival in rivals:
        gain = negated(differences[rival]["log_loss"])
        gained = amount(gain, unit=" nats a day", level=level)
        said.append(
            {
                "above": f"{model} predicts better than {rival} ({gained})",
                "open": f"{model} and {rival} predict alike as far as this log shows ({gained})",
                "below": f"{model} predicts worse than {rival} ({gained})",
                "unknown": f"whether {model} predicts better than {rival} cannot be said ({gained})",
            }[side_of_zero(gain)]
        )
    return [f"{text[0].upper()}{text[1:]}." for text in said]


def _slices(
    given: Mapping[str, Floats],
    losses: Mapping[str, Floats],
    trace: Bools,
    observed: Bools,
    rows: pl.DataFrame,
    model: str,
    min_users: int,
    sample: _Sample,
) -> list[Json]:
    """Log-loss, gain over activity only and active days a row, of all rows and of each slice with enough users."""
    known = np.asarray(observed.any(axis=1))
    masks = {"all rows": known}
    masks |= {name.removeprefix(SLICE): known & rows[name].to_numpy() for name in _slice_names(rows)}
    sizes = {name: (int(mask.sum()), len(np.unique(sample.user[mask]))) for name, mask in masks.items()}
    small = {name: users for name, (_, users) in sizes.items() if users < min_users}
    sample.notes += [f"slice {it}: not measured, it has {n} users, of {min_users} at least" for it, n in small.items()]
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
            found = sample.estimates(statistic, f"{metric} by slice", _INFINITE)
            measured[metric] = dict(zip(large, found, strict=True))
    metrics = ("log_loss", "gain", "predicted", "observed")
    return [
        {"slice": name, "rows": count, "users": users, "measured": name in large}
        | {metric: measured.get(metric, {}).get(name) for metric in metrics}
        for name, (count, users) in sizes.items()
    ]


def _reliability(p: Floats, trace: Bools, observed: Bools, bins: int, name: str, sample: _Sample) -> list[Json]:
    """For each day with an observed row the bins that hold rows: mean predicted, share that came true."""
    days = []
    for day in np.flatnonzero(observed.any(axis=0)):
        seen = observed[:, day]
        predicted, came = p[seen, day], trace[seen, day]
        inside, count = _grouped(predicted, bins)
        means = predicted @ inside / count
        statistic = sample.ratio_over(seen, came[:, None] & inside, inside)
        shares = sample.estimates(statistic, f"reliability of {name} on day {day + 1}", "no row is in the bin")
        groups = zip(means.tolist(), shares, count.tolist(), strict=True)
        table = [{"predicted": mean, "observed": share, "rows": size} for mean, share, size in groups]
        days.append({"day": int(day) + 1, "bins": table})
    return days


def _grouped(score: Floats, bins: int) -> tuple[Bools, Ints]:
    """Which row is in which group of equal mass, (n, groups), and their sizes: equal scores are in one group.

    A group is the whole part of ``bins`` times the quantile, the share below and half the share tied.
    """
    ordered = np.sort(score)
    middle = (np.searchsorted(ordered, score, "left") + np.searchsorted(ordered, score, "right")) / 2
    inside = np.eye(bins, dtype=bool)[(bins * middle / max(len(score), 1)).astype(np.int64)]
    inside = inside[:, inside.any(axis=0)]
    return inside, inside.sum(axis=0)


def _ledger(rows: pl.DataFrame, click: str | None, unit: str, bins: int, min_item_rows: int, sample: _Sample) -> Json:
    """The three steps of the value, whether the reward is one of them, and whether surprise goes with click rate."""
    before, exposed, after, reward = (_numbers(rows, name) for name in _SCORES[:4])
    previous = _numbers(rows, PREVIOUS)
    later = np.isfinite(previous)
    start = np.where(later, previous, before)
    exposure, surprise = exposed - before, after - exposed
    steps = []
    for name, change, taken in (
        ("arrival", before - start, later),
        ("exposure", exposure, np.ones_like(later)),
        ("surprise", surprise, np.ones_like(later)),
    ):
        mean = ratio(np.where(taken, change, 0.0)[:, None], taken[:, None], sample.user)
        [estimate] = sample.estimates(mean, f"mean {name}", "no row has a value_previous")
        steps.append({"step": name, "rows": int(taken.sum()), **estimate, **_spread(change[taken])})
    off, together = _reward_and_exposure(reward, exposure, sample)
    groups, slope = _surprise_by_rate(surprise, rows, click, bins, min_item_rows, sample)
    told, of_item = amount(slope, unit="", level=sample.level), f"an item's mean {click}"
    return {
        "steps": steps,
        "reward_off": off,
        "reward_is_exposure": off <= _ROUNDING,
        "reward_and_exposure": together,
        "surprise": groups,
        "slope": slope,
        "sentences": [
            f"The reward is the exposure step on every row, within {off:.1g} {unit}."
            if off <= _ROUNDING
            else "The reward is not the exposure step, which is a difference of forecasts: over rows their correlation "
            f"is {amount(together, unit='', level=sample.level)}.",
            NO_CLICK
            if click is None
            else {
                "above": f"Surprise rises with {of_item} (slope {told}): what gets much of it is underrated.",
                "open": f"Surprise does not depend on {of_item} as far as this log shows (slope {told}).",
                "below": f"Surprise falls with {of_item} (slope {told}): what gets much of it is overrated.",
                "unknown": f"Whether surprise depends on {of_item} cannot be said (slope: {told}).",
            }[side_of_zero(slope)],
        ],
    }


def _reward_and_exposure(reward: Floats, exposure: Floats, sample: _Sample) -> tuple[float, Json]:
    """By how much they differ at most, and their correlation over rows."""
    scale = np.array([reward.std() * exposure.std()])
    covariances = _covariances(np.ones(len(reward), bool), exposure, reward, sample)
    [together] = sample.estimates(
        lambda weights: quotient(covariances(weights)[0], scale),
        "correlation of reward with exposure",
        "one of the two does not vary",
    )
    return float(np.abs(reward - exposure).max()), together


def _spread(values: Floats) -> Json:
    """Standard deviation and quantiles; None where there are no values."""
    if not values.size:
        return {"sd": None, "quantiles": {str(q): None for q in QUANTILES}}
    quantiles = np.quantile(values, QUANTILES).tolist()
    return {"sd": float(values.std()), "quantiles": dict(zip(map(str, QUANTILES), quantiles, strict=True))}


def _surprise_by_rate(
    surprise: Floats, rows: pl.DataFrame, click: str | None, bins: int, min_item_rows: int, sample: _Sample
) -> tuple[list[Json], Json]:
    """Mean surprise in groups of items by their click rate among the other half of the users, and its slope."""
    if click is None:
        return [], _estimate(np.nan, np.nan, np.nan)
    codes, item = np.unique(rows[ITEM].to_numpy(), return_inverse=True)
    half = (np.random.default_rng(sample.seed).permutation(sample.users) % 2)[sample.user]
    cell = 2 * item + half
    count = np.bincount(cell, minlength=2 * len(codes))
    clicks = np.bincount(cell, _numbers(rows, of_log(click)), minlength=2 * len(codes))
    other = 2 * item + 1 - half
    there = count[other] >= min_item_rows
    if not there.any():
        sample.notes.append(
            f"surprise by {click}: no item has min_item_rows={min_item_rows} rows in either half of the users"
        )
        return [], _estimate(np.nan, np.nan, np.nan)
    rate = clicks[other[there]] / count[other[there]]
    surprise, item = surprise[there], item[there]
    inside, sizes = _grouped(rate, bins)
    statistic = sample.ratio_over(there, surprise[:, None] * inside, inside)
    means = sample.estimates(statistic, f"surprise by {click}", "no row is in the group")
    rates = rate @ inside / sizes
    groups = [
        {"rate": float(mean_rate), "rows": int(size), "items": len(np.unique(item[members])), **mean}
        for mean_rate, size, members, mean in zip(rates, sizes, inside.T, means, strict=True)
    ]
    covariances = _covariances(there, rate, surprise, sample)

    def slope(weights: Floats) -> Floats:
        covariance, variance = covariances(weights)
        return quotient(covariance, variance)

    [estimate] = sample.estimates(slope, f"slope of surprise on {click}", f"all items have one mean {click}")
    return groups, estimate


def _covariances(rows: Bools, x: Floats, y: Floats, sample: _Sample) -> Statistic:
    """Make the covariance of x and y over some rows and the variance of x a statistic, (2, 1)."""
    x, y = x - x[0], y - y[0]  # a constant is exactly 0
    means = sample.ratio_over(rows, np.column_stack([x, y, x * y, x * x]), np.ones((len(x), 4)))

    def statistic(weights: Floats) -> Floats:
        mean_x, mean_y, mean_xy, mean_xx = means(weights)
        return np.array([[mean_xy - mean_x * mean_y], [mean_xx - mean_x**2]])

    return statistic


def _reward(rows: pl.DataFrame, click: str | None, min_item_rows: int, sample: _Sample) -> Json:
    """How rewards and their standard deviations are distributed, and whether the reward is clickability."""
    reward, std = _numbers(rows, "reward"), _numbers(rows, "reward_std")
    clear = _estimate(np.nan, np.nan, np.nan)
    if std.any():
        beyond = (np.abs(reward) > 2 * std)[:, None]
        [clear] = sample.estimates(ratio(beyond, np.ones_like(beyond), sample.user), "rewards beyond 2 std", "no rows")
    else:
        sample.notes.append(
            "share of rewards beyond 2 reward_std: reward_std is 0 on every row, as in an ensemble of one"
        )
    correlation, items = _clickability(reward, rows, click, min_item_rows, sample)
    told, rate = amount(correlation, unit="", level=sample.level), f"its mean {click}"
    return {
        **_spread(reward),
        "mean": float(reward.mean()),
        "histogram": _histogram(reward),
        "std": _spread(std) | {"mean": float(std.mean()), "histogram": _histogram(std)},
        "beyond_two_std": clear,
        "correlation": correlation | {"items": items},
        "sentences": [
            "How many rewards stand out from their standard deviation cannot be said."
            if clear["value"] is None
            else f"On {percentage(clear, level=sample.level)} of the rows the reward is more than two of its standard "
            "deviations away from zero.",
            NO_CLICK
            if click is None
            else {
                "above": f"An item's mean reward rises with {rate} (correlation {told}).",
                "open": f"An item's mean reward does not go with {rate} as far as this log shows (correlation {told}).",
                "below": f"An item's mean reward falls with {rate} (correlation {told}).",
                "unknown": f"Whether an item's mean reward goes with {rate} cannot be said (correlation: {told}).",
            }[side_of_zero(correlation)],
        ],
    }


def _clickability(
    reward: Floats, rows: pl.DataFrame, click: str | None, min_item_rows: int, sample: _Sample
) -> tuple[Json, int]:
    """Correlation of items' mean reward with their click rate, weighted by rows, and how many items have both."""
    _, item, count = np.unique(rows[ITEM].to_numpy(), return_inverse=True, return_counts=True)
    there = count[item] >= min_item_rows
    items = int((count >= min_item_rows).sum())
    if click is None:
        return _estimate(np.nan, np.nan, np.nan), items
    if items < 3:
        sample.notes.append(
            f"correlation of reward with {click}: {items} items, of 3 at least, have min_item_rows={min_item_rows} rows"
        )
        return _estimate(np.nan, np.nan, np.nan), items
    reward, clicks = (
        column - column[there][0] for column in (reward, _numbers(rows, of_log(click)))
    )  # a constant is 0
    means, rates = ((np.bincount(item, column) / count)[item][there] for column in (reward, clicks))
    scale = np.array([means.std() * rates.std()])
    covariances = _covariances(there, rates, reward[there], sample)
    [found] = sample.estimates(
        lambda weights: quotient(covariances(weights)[0], scale),
        f"correlation of reward with {click}",
        "one of the two does not vary",
    )
    return found, items


def _histogram(values: Floats) -> Json:
    """Counts between edges over the middle 99% of the values, and how many lie outside."""
    low, high = np.quantile(values, [0.005, 0.995])
    span = (low, high) if high > low else (low - abs(low) / 2, high + abs(high) / 2 or 1.0)  # all alike: one bar
    counts, edges = np.histogram(values, _BARS, range=span)
    below, above = int((values < low).sum()), int((values > high).sum())
    return {"edges": edges.tolist(), "counts": counts.tolist(), "below": below, "above": above}
