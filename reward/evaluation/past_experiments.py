"""What past experiments say of quick signals and of early days, as values for the report."""

from __future__ import annotations

import math
from pathlib import Path

import polars as pl

from reward.data.event_log import SchemaError, reading
from reward.data.files import scan
from reward.evaluation.early_readout import day_by_day, early_readout
from reward.evaluation.estimates import Json
from reward.experiments.proxy_validation import judge, pareto_front
from reward.experiments.proxy_weights import all_weights, jive
from reward.experiments.table import arm_name, arm_names, from_users

KEYS = ("experiment", "arm", "user_id")
DIRECTIONS = 500  # combinations of signals that are tried for the front


def past_experiments(
    file: str | Path, *, control: str, north_star: str | None, resamples: int, seed: int, level: float
) -> Json:
    """Weights of every other metric of past experiments for the north star, how well a proxy of them decides, and when.

    Args:
        file: parquet with a row a user of an experiment: ``experiment``, ``arm``, ``user_id`` and a column a metric. A
            metric may be told day by day, as a list with a number for each day of the horizon. If the north star is,
            its sum is what is to be foretold, and early days are held against it; other lists are surrogates for it,
            as they stand after each day.
        control: the arm without treatment.
        north_star: the metric to foretell.
        resamples: of the experiments, for the measures' intervals.
        seed: of the resamples, and of the combinations tried for the front.
        level: of the intervals.

    Returns:
        ``north_star``, ``experiments`` and ``arms`` (how many), ``weights``, ``measures`` and ``front``, rows of
        `all_weights`, `judge` and `pareto_front`, and ``reason``: why there are none, else null; and ``early``, see
        `early_readout`, null where the north star is not told day by day; and ``left_out``, columns that are neither
        numbers nor lists.

    Raises:
        SchemaError: the file cannot be read, lacks a column, has rows without an experiment, arm or user, or its lists
            are not of one length.
    """
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
    users, control = users.with_columns(arm_names()), arm_name(control)
    found: Json = {"north_star": north_star, "weights": [], "measures": [], "front": [], "reason": None, "early": None}
    found["left_out"] = left_out
    if north_star in daily:
        try:
            days = {name: day_by_day(users[name]) for name in daily}
            if len({each.shape for each in days.values()}) > 1:
                told = ", ".join(f"{name} of {each.shape[1]}" for name, each in days.items())
                raise SchemaError(f"expected lists of one length, a number for each day of the horizon, got {told}")
        except SchemaError as error:
            raise SchemaError(f"experiments={file}: {error}") from error
        found["early"] = early_readout(
            users, days, control=control, north_star=north_star, resamples=resamples, seed=seed, level=level
        )
        users = users.with_columns(pl.Series(north_star, days[north_star].sum(axis=1)))
    try:
        if len(metrics) < 2:
            raise ValueError("the table has no other metric with one number a user")
        table = from_users(users, metrics, control=control)
        found |= {"experiments": table.experiments, "arms": len(table)}
        found["weights"] = _plain(all_weights(table, north_star, level=level))
        weights = jive(table, north_star, level=level)
        signals = weights.signals
        measures = judge(table, north_star, signals, weights.held_out, resamples=resamples, seed=seed, level=level)
        front = pareto_front(
            table, north_star, signals, directions=DIRECTIONS, resamples=resamples, seed=seed, level=level
        )
        found["measures"], found["front"] = _plain(measures), _plain(front.drop("weights"))
    except ValueError as error:
        found["reason"] = str(error)
    return found


def _plain(table: pl.DataFrame) -> list[Json]:
    """Rows without numbers that JSON has no word for."""
    return [
        {name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in row.items()}
        for row in table.to_dicts()
    ]
