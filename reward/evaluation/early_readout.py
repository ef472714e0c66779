"""How early a test can be read, by past experiments whose north star is known day by day."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import polars as pl

from reward.arrays import Doubles
from reward.data.event_log import SchemaError
from reward.evaluation.estimates import Estimate, Flat
from reward.experiments.early_readout import agreement, auto_surrogate, effects_by_test
from reward.off_policy.reward_model import folds
from reward.records import Kept
from reward.statistics.regression import linear

SO_FAR, LINEAR = "so far", "linear auto-surrogate"
ALPHA = 0.05  # level of a test's decision
AGREED = 0.95  # share of tests decided alike that is early enough: Netflix's of 14 days in 63
_DAYS = 14  # that are read, of a longer horizon
_FOLDS, _RIDGE = 5, 1e-4  # of the auto-surrogate
_EXPERIMENT, _ARM = "experiment", "arm"


@dataclass(frozen=True)
class Agreement:
    """How a surrogate, read after a day, decides tests in comparison with the whole horizon.

    Attributes:
        surrogate: its name.
        day: after which it is read.
        measure: what is measured: ``consistent``, ``recall`` or ``precision``.
        estimate: over the tests.
    """

    surrogate: str
    day: int
    measure: str
    estimate: Flat


@dataclass(frozen=True)
class EarlyReadout:
    """How early past tests could have been read.

    Attributes:
        reason: why nothing was measured; None: it was.
        horizon_days: of the north star.
        alpha: level of the tests.
        days: that were read.
        tests: how many.
        agreement: by surrogate, day and measure.
    """

    reason: str | None = None
    horizon_days: Annotated[int, Kept("horizon", omit_empty=True)] = 0
    alpha: Annotated[float, Kept(omit_empty=True)] = 0.0
    days: Annotated[tuple[int, ...], Kept(omit_empty=True)] = ()
    tests: Annotated[int, Kept(omit_empty=True)] = 0
    agreement: Annotated[tuple[Agreement, ...], Kept(omit_empty=True)] = ()


def early_readout(
    users: pl.DataFrame,
    days: Mapping[str, Doubles],
    *,
    control: str,
    north_star: str,
    resamples: int,
    seed: int,
    level: float,
) -> EarlyReadout:
    """How often a test read on an early day would have been decided as at its end.

    Each arm but the control is a test; tests that share a control are one in the resamples. The linear auto-surrogate
    is learned from users of other experiments.

    Args:
        users: a row a user of an experiment: ``experiment`` and ``arm``.
        days: (n, H), by name: the north star on each day, and surrogates as they stand after each.
        control: the arm without treatment.
        north_star: its name.
        resamples: of the experiments, for intervals.
        seed: of the resamples and of the folds.
        level: of the intervals.
    """
    daily = days[north_star]
    horizon = daily.shape[1]
    experiment = np.unique(users[_EXPERIMENT].to_numpy(), return_inverse=True)[1]
    pairs = _pairs(users.with_columns(pl.Series("code", experiment)), control)
    small = pairs.group_by("test", "code", "treated").len().filter(pl.col("len") < 2)
    if len(small):
        names = np.unique(users[_EXPERIMENT].to_numpy())[np.unique(small["code"].to_numpy())]
        return EarlyReadout(
            f"experiments {', '.join(map(str, names[:5]))} have an arm of one user, whose days have no standard error: "
            "leave them out"
        )
    if len(np.unique(pairs["code"])) < _FOLDS:
        return EarlyReadout(f"they need at least {_FOLDS} experiments with a control named {control!r}")
    read = np.unique(np.linspace(1, horizon - 1, min(_DAYS, horizon - 1)).round().astype(np.int64))
    fold = folds(int(experiment.max()) + 1, _FOLDS, seed)[experiment]
    foretold = np.empty((len(daily), len(read)))
    for place, day in enumerate(read):
        for part in range(_FOLDS):
            mine = fold == part
            surrogate = auto_surrogate(daily[~mine], int(day), regression=linear(ridge=_RIDGE, degree=1))
            foretold[mine, place] = surrogate(daily[mine], None)
    values = {SO_FAR: daily.cumsum(axis=1)[:, read - 1], LINEAR: foretold}
    values |= {name: each[:, read - 1] for name, each in days.items() if name != north_star}
    row, test, treated = (pairs[name].to_numpy() for name in ("row", "test", "treated"))
    of_test = pairs.group_by("test").agg(pl.col("code").first()).sort("test")["code"].to_numpy()
    found = agreement(
        effects_by_test(test, treated, daily.sum(axis=1)[row]),
        {name: effects_by_test(test, treated, each[row]) for name, each in values.items()},
        read.tolist(),
        alpha=ALPHA,
        resamples=resamples,
        seed=seed,
        level=level,
        cluster=np.unique(of_test, return_inverse=True)[1].astype(np.int64),
    )
    rows = (Agreement(name, day, measure, Estimate(*ends)) for name, day, measure, *ends in found.rows())
    return EarlyReadout(None, horizon, ALPHA, tuple(read.tolist()), len(of_test), tuple(rows))


def _pairs(users: pl.DataFrame, control: str) -> pl.DataFrame:
    """Rows of tests: ``row`` of a user, ``test`` from 0, ``code`` of its experiment, and whether it is ``treated``."""
    rows = users.select("code", _ARM).with_row_index("row").with_columns(pl.col("row").cast(pl.Int64))
    treated = rows.filter(pl.col(_ARM) != control)
    controls = rows.filter(pl.col(_ARM) == control)
    arms = treated.filter(pl.col("code").is_in(controls["code"].unique().implode())).select("code", _ARM).unique()
    arms = arms.sort("code", _ARM).with_row_index("test").with_columns(pl.col("test").cast(pl.Int64))
    return pl.concat(
        [
            treated.join(arms, on=["code", _ARM]).select("row", "test", "code", pl.lit(value=True).alias("treated")),
            controls.join(arms.select("code", "test"), on="code").select(
                "row", "test", "code", pl.lit(value=False).alias("treated")
            ),
        ]
    )


def day_by_day(column: pl.Series) -> Doubles:
    """A column of lists as (n, H) numbers.

    Raises:
        SchemaError: they are not of one length, at least 2, or not finite.
    """
    lists = column.arr.to_list() if isinstance(column.dtype, pl.Array) else column
    shortest, longest = lists.list.len().min(), lists.list.len().max()
    if not len(lists):
        raise SchemaError(f"{column.name} expected a list for each user, got no users")
    if lists.has_nulls() or shortest != longest or longest < 2:  # type: ignore[operator]
        raise SchemaError(
            f"{column.name} expected lists of one length, a number for each day of the horizon, got {shortest!r} to "
            f"{longest!r} and {lists.null_count()} nulls: leave out users whose horizon has not passed"
        )
    numbers = lists.explode().cast(pl.Float64, strict=False)
    if not numbers.is_finite().fill_null(value=False).all():
        raise SchemaError(f"{column.name} expected finite numbers in its lists, got others")
    return numbers.to_numpy().reshape(len(column), -1)
