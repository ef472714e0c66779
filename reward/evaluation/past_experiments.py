"""What past experiments say of quick signals and of early days."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import polars as pl

from reward.arrays import Doubles
from reward.data.event_log import SchemaError, reading
from reward.data.files import scan
from reward.evaluation.early_readout import EarlyReadout, day_by_day, early_readout
from reward.evaluation.estimates import Estimate, Flat
from reward.experiments.proxy_validation import evaluate_proxy, pareto_front
from reward.experiments.proxy_weights import all_weights, jive
from reward.experiments.table import arm_name, arm_names, from_users
from reward.records import Kept

KEYS = ("experiment", "arm", "user_id")
DIRECTIONS = 500  # combinations of signals that are tried for the front


@dataclass(frozen=True)
class SignalWeight:
    """The weight of a signal for the north star, by one method; None where the experiments cannot bound a number."""

    method: str
    signal: str
    weight: float | None
    se: float | None
    low: float | None
    high: float | None

    @property
    def estimate(self) -> Estimate:
        """The weight with its interval."""
        return Estimate(self.weight, self.low, self.high)


@dataclass(frozen=True)
class ProxyMeasure:
    """How well the proxy would have decided, see `reward.experiments.proxy_validation.evaluate_proxy`."""

    measure: str
    estimate: Flat


@dataclass(frozen=True)
class Combination:
    """A combination of signals, or one signal, between sensitivity and agreement with the north star.

    Attributes:
        name: of a single signal; None: a combination.
        front: no other is both more sensitive and more often of the north star's sign.
        sensitivity: times that of the north star.
        sensitivity_low: lower end of its interval.
        sensitivity_high: upper end.
        sensitivity_chosen_by: the same on the experiments by which the front was chosen.
        sign_agreement: share of arms whose effects on both have one sign.
        sign_agreement_low: lower end of its interval.
        sign_agreement_high: upper end.
        sign_agreement_chosen_by: the same on the experiments by which the front was chosen.
    """

    name: str | None
    front: bool
    sensitivity: float | None
    sensitivity_low: Annotated[float | None, Kept("sensitivity low")]
    sensitivity_high: Annotated[float | None, Kept("sensitivity high")]
    sensitivity_chosen_by: Annotated[float | None, Kept("sensitivity chosen by")]
    sign_agreement: Annotated[float | None, Kept("sign agreement")]
    sign_agreement_low: Annotated[float | None, Kept("sign agreement low")]
    sign_agreement_high: Annotated[float | None, Kept("sign agreement high")]
    sign_agreement_chosen_by: Annotated[float | None, Kept("sign agreement chosen by")]


@dataclass(frozen=True)
class PastExperiments:
    """What past experiments say of quick signals.

    Attributes:
        north_star: the metric that signals are to predict.
        weights: of the signals.
        measures: of a proxy of them.
        front: between sensitivity and agreement.
        reason: why there are none of these; None: there are.
        early: None: the north star is not given day by day.
        left_out: columns that are neither numbers nor lists.
        experiments: how many; None: not counted.
        arms: how many.
    """

    north_star: str
    weights: tuple[SignalWeight, ...] = ()
    measures: tuple[ProxyMeasure, ...] = ()
    front: tuple[Combination, ...] = ()
    reason: str | None = None
    early: EarlyReadout | None = None
    left_out: tuple[str, ...] = ()
    experiments: Annotated[int | None, Kept(omit_empty=True)] = None
    arms: Annotated[int | None, Kept(omit_empty=True)] = None


def past_experiments(
    file: str | Path, *, control: str, north_star: str | None, resamples: int, seed: int, level: float
) -> PastExperiments:
    """Weights of every other metric of past experiments for the north star, how well a proxy of them decides, and when.

    Args:
        file: parquet with a row a user of an experiment: ``experiment``, ``arm``, ``user_id`` and a column a metric. A
            metric may be given day by day, as a list with a number for each day of the horizon. If the north star is,
            its sum is what signals are to predict, and early days are compared with it; other lists are surrogates for
            it, with their value after each day.
        control: the arm without treatment.
        north_star: the metric that signals are to predict.
        resamples: of the experiments, for the measures' intervals.
        seed: of the resamples, and of the combinations tried for the front.
        level: of the intervals.

    Raises:
        SchemaError: the file cannot be read, lacks a column, has rows without an experiment, arm or user, or its lists
            are not of one length.
    """
    given, star = _read(file, north_star)
    users, control = given.users.with_columns(arm_names()), arm_name(control)
    intervals: dict[str, Any] = {"resamples": resamples, "seed": seed}
    found = PastExperiments(star, left_out=given.left_out)
    if star in given.daily:
        days = _by_day(file, users, given.daily)
        early = early_readout(users, days, control=control, north_star=star, level=level, **intervals)
        found = replace(found, early=early)
        users = users.with_columns(pl.Series(star, days[star].sum(axis=1)))
    try:
        if len(given.metrics) < 2:
            raise ValueError("the table has no other metric with one number a user")
        table = from_users(users, given.metrics, control=control)
        found = replace(found, experiments=table.experiments, arms=len(table))
        every = tuple(SignalWeight(**row) for row in _finite(all_weights(table, star, level=level)))
        found = replace(found, weights=every)
        weights = jive(table, star, level=level)
        measures = evaluate_proxy(table, star, weights.signals, weights.held_out, level=level, **intervals)
        front = pareto_front(table, star, weights.signals, directions=DIRECTIONS, level=level, **intervals)
        return replace(
            found,
            measures=tuple(ProxyMeasure(row.pop("measure"), Estimate(**row)) for row in _finite(measures)),
            front=tuple(Combination(**row) for row in _finite(front.drop("weights"))),
        )
    except ValueError as error:
        return replace(found, reason=str(error))


class _Table(NamedTuple):
    """Users of past experiments, and their columns: one number a user, a list by day, and what is neither."""

    users: pl.DataFrame
    metrics: list[str]
    daily: list[str]
    left_out: tuple[str, ...]


def _read(file: str | Path, north_star: str | None) -> tuple[_Table, str]:
    """The file's table, and its north star."""
    with reading(f"experiments={file}"):
        users = scan("experiments", file).collect()
    missing = [name for name in (*KEYS, north_star) if name is not None and name not in users.columns]
    daily = [name for name, kind in users.schema.items() if isinstance(kind, pl.List | pl.Array) and name not in KEYS]
    others = [name for name in users.columns if name not in (*KEYS, *daily)]
    left_out = [name for name in others if not (users[name].dtype.is_numeric() or users[name].dtype == pl.Boolean)]
    metrics = [name for name in others if name not in left_out] + [name for name in daily if name == north_star]
    metrics.sort(key=users.columns.index)
    if (
        missing
        or north_star is None
        or north_star in (*KEYS, *left_out)
        or (len(metrics) < 2 and north_star not in daily)
    ):
        raise SchemaError(
            f"experiments={file} expected the columns {', '.join(KEYS)} and two metrics or more, one of them named by "
            f"north_star, got {', '.join(users.columns)} and north_star={north_star}"
            + (f"; {', '.join(left_out)} are no numbers" if left_out else "")
        )
    unnamed = [name for name in KEYS if users[name].has_nulls()]
    if unnamed or not len(users):
        raise SchemaError(
            f"experiments={file} expected an experiment, an arm and a user in each row, got "
            + (f"nulls in {', '.join(unnamed)}" if unnamed else "no rows")
        )
    return _Table(users, metrics, daily, tuple(left_out)), north_star


def _by_day(file: str | Path, users: pl.DataFrame, daily: list[str]) -> dict[str, Doubles]:
    """(users, H) of each column by day."""
    try:
        days = {name: day_by_day(users[name]) for name in daily}
        if len({each.shape for each in days.values()}) > 1:
            lengths = ", ".join(f"{name} of {each.shape[1]}" for name, each in days.items())
            raise SchemaError(f"expected lists of one length, a number for each day of the horizon, got {lengths}")
    except SchemaError as error:
        raise SchemaError(f"experiments={file}: {error}") from error
    return days


def _finite(table: pl.DataFrame) -> Iterator[dict[str, Any]]:
    """Rows, by names that a class may have, with None for a number that is not finite."""
    for row in table.to_dicts():
        yield {
            name.replace(" ", "_"): None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in row.items()
        }
