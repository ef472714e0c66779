"""What `assess` measures as an estimator: `partial` of some users' rows, states that add, and `solve`.

Metrics and slices are sums over users. What sorts all rows or groups them by item keeps the rows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from reward.arrays import Bools, Doubles
from reward.columns import ITEM, USER
from reward.evaluation.daily import log_losses
from reward.evaluation.estimates import (
    ACTIVITY,
    INFINITE,
    PREVIOUS,
    SCORES,
    SLICE,
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
from reward.evaluation.measure import Measurement, compared
from reward.evaluation.metric_table import JudgedRows, MetricEstimator, MetricState, SortedRows
from reward.evaluation.slice_ratios import SlicedRows, SliceRatios, SliceState
from reward.evaluation.value_decomposition import reward_distribution, value_decomposition
from reward.outcomes.protocol import Points
from reward.statistics.bootstrap import Resamples, Users
from reward.statistics.sums import Chunks
from reward.statistics.user_hash import user_hash

_ALL = "all rows"
_SLICED = ("log_loss", "predicted", "observed", "gain")  # the last where past activity alone was fitted


class JudgedLog(NamedTuple):
    """Rows of some users, see `assess`."""

    predictions: Mapping[str, npt.ArrayLike]  # probabilities (n, H), by name
    trace: Bools  # (n, H)
    observed: Bools  # (n, H)
    rows: pl.DataFrame  # n


@dataclass(frozen=True)
class EvaluationState:
    """What some users add to an evaluation.

    Attributes:
        metrics: of all predictions.
        slices: their names, and what is measured of them: `_SLICED`.
        rows: of the log, in the order of those that ``metrics`` keeps.
    """

    metrics: MetricState
    slices: tuple[tuple[str, ...], SliceState]
    rows: Chunks[pl.DataFrame]

    def __add__(self, other: EvaluationState) -> EvaluationState:
        """What the users of both add.

        Raises:
            ValueError: they have other slices, or other predictions.
        """
        (names, sums), (others, more) = self.slices, other.slices
        if names != others:
            raise ValueError(
                f"expected the same slices of every chunk of users, got {', '.join(names)} and {', '.join(others)}: "
                "give all chunks the same columns"
            )
        return EvaluationState(self.metrics + other.metrics, (names, sums + more), self.rows + other.rows)


@dataclass(frozen=True)
class Evaluator:
    """Measures a reward model, its baselines, the steps of its value and its rewards on test rows.

    Attributes are those of `assess`; ``resamples`` has their number and their seed.
    """

    model: str
    unit: str
    click: str | None
    resamples: Resamples
    level: float
    bins: int
    min_slice_users: int
    min_item_rows: int
    points: Points

    def partial(self, users: JudgedLog, /) -> EvaluationState:
        """What some users add.

        Raises:
            ValueError: a prediction, column or row is missing or unusable.
        """
        _check(users.predictions, users.trace, users.rows, self.model, self.click)
        names = [it for it in dict.fromkeys((self.model, *ORDER, *users.predictions)) if it in users.predictions]
        predictions = {name: users.predictions[name] for name in names}
        judged = JudgedRows(predictions, users.trace, users.observed, users.rows[USER])
        metrics = self._metrics.partial(judged)
        [rows] = metrics.rows
        whose = Users.of(users.rows[USER])
        masks = {_ALL: np.ones(len(rows.y), bool)}
        masks |= {name.removeprefix(SLICE): users.rows[name].to_numpy() for name in _slice_names(users.rows)}
        sliced = SliceRatios(self.resamples).partial(_sliced(rows, names, self.model, masks, whose))
        clicks = [] if self.click is None else [of_log(self.click)]
        frame = users.rows.select(USER, ITEM, PREVIOUS, *SCORES, *clicks)
        return EvaluationState(metrics, (tuple(masks), sliced), Chunks((frame,)))

    def solve(self, state: EvaluationState, /) -> Evaluation:
        """What all users say.

        Raises:
            ValueError: nothing is observed, or all rows are of one user.
        """
        table = self._metrics.solve(state.metrics)
        tables, pairs = compared(table, self.model, self.level)
        rows, frame = SortedRows.joined(state.metrics.rows), pl.concat(state.rows.rows)
        codes, user = np.unique(frame[USER].to_numpy(), return_inverse=True)
        sample = Sample(
            user, user_hash(codes), self.resamples.count, self.resamples.seed, self.level, missing=_undefined(tables)
        )
        curves = [name for name in dict.fromkeys((self.model, ACTIVITY)) if name in table.names]
        return Evaluation(
            model=self.model,
            unit=self.unit,
            points=self.points,
            click=self.click,
            horizon_days=rows.y.shape[1],
            rows=len(rows.y),
            users=len(codes),
            items=frame[ITEM].n_unique(),
            observed_days=int(rows.seen.sum()),
            bins=self.bins,
            min_slice_users=self.min_slice_users,
            min_item_rows=self.min_item_rows,
            resamples=self.resamples.count,
            seed=self.resamples.seed,
            level=self.level,
            metrics={name: _by_metric(found) for name, found in tables.items()},
            differences={name: _by_metric(found) for name, found in pairs.items()},
            carries=carried(table.log_loss, table.names, self.model, sample),
            slices=self._slices(state, sample),
            reliability={
                name: _reliability(rows.p[table.names.index(name)], rows.y, rows.seen, self.bins, name, sample)
                for name in curves
            },
            decomposition=value_decomposition(frame, self.click, self.bins, self.min_item_rows, sample),
            reward=reward_distribution(frame, self.click, self.min_item_rows, sample),
            missing=tuple(sample.missing),
        )

    @property
    def _metrics(self) -> MetricEstimator:
        return MetricEstimator(self.resamples, self.bins, self.points.share)

    def _slices(self, state: EvaluationState, sample: Sample) -> tuple[Slice, ...]:
        """Log-loss, gain over activity only and active days a row, of each slice with enough users."""
        names, sums = state.slices
        found = SliceRatios(self.resamples).solve(sums)
        sizes = dict(zip(names, found.sizes.tolist(), strict=True))
        large = {name: place for place, name in enumerate(names) if sizes[name][1] >= self.min_slice_users}
        for name in (name for name in names if name not in large):
            sample.lack(
                f"slice {name}", f"it has {sizes[name][1]} users and needs {self.min_slice_users} to be measured"
            )
        measured = {}
        for metric, ratios in zip(_SLICED, found.ratios.swapaxes(0, 1), strict=False):
            if large:
                estimates = sample.estimates(ratios[:, [*large.values()]], f"{metric} by slice", INFINITE)
                measured[metric] = dict(zip(large, estimates, strict=True))
        return tuple(
            Slice(name, rows, users, name in large, **{metric: it.get(name) for metric, it in measured.items()})
            for name, (rows, users) in sizes.items()
        )


def _sliced(rows: SortedRows, names: Sequence[str], model: str, masks: Mapping[str, Bools], whose: Users) -> SlicedRows:
    """What is divided by what in each slice, in the order of `_SLICED`."""
    known, days = np.asarray(rows.seen.any(axis=1)), rows.seen.sum(axis=1)
    p = rows.p[names.index(model)]
    loss = log_losses(p, rows.y)
    above, below = [loss.sum(axis=1), p.sum(axis=1), rows.y.sum(axis=1)], [days, known, known]
    if ACTIVITY in names:
        with np.errstate(invalid="ignore"):  # the difference of two infinite losses is undefined
            above.append((log_losses(rows.p[names.index(ACTIVITY)], rows.y) - loss).sum(axis=1))
        below.append(days)
    inside = np.stack([known & mask for mask in masks.values()], axis=1)
    numerator, denominator = (np.stack(columns, axis=1).astype(np.float64) for columns in (above, below))
    return SlicedRows(numerator, denominator, inside, whose)


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
        ratios = sample.ratio_over(seen, came[:, None] & inside, inside)
        shares = sample.estimates(ratios, f"reliability of {name} on day {day + 1}", "no row is in the bin")
        groups = zip(means.tolist(), shares, count.tolist(), strict=True)
        days.append(DayReliability(int(day) + 1, tuple(Bin(*group) for group in groups)))
    return tuple(days)
