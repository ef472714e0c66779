"""A table of past experiments: the effects of their arms on several metrics, and how noisily each was seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Self

import numpy as np
import numpy.typing as npt
import polars as pl

from reward.arrays import Doubles, Ints

EXPERIMENT, ARM, USER, SIZE, COVARIANCE = "experiment", "arm", "user_id", "size", "covariance"
_SYMMETRIC = 1e-8  # largest asymmetry of a covariance, relative to its largest entry


@dataclass(frozen=True)
class Experiments:
    """Effects of treated arms, each against the control of its own experiment.

    ``effects[k] ~ N(θ_k, covariance[k])``: an arm's users move all metrics together, so that the errors of its
    estimates are correlated. Arms of one experiment share a control and thereby errors; experiments do not.

    Attributes:
        metrics: names of the M metrics.
        experiment: (arms,) code of each arm's experiment, from 0 and without gaps.
        effects: (arms, M) estimated effects, treated minus control, in the metrics' units.
        covariance: (arms, M, M) sampling covariances of the effects.
        size: (arms,) effective numbers of users, 1 / (1 / n_treated + 1 / n_control); ``size · covariance`` is the
            covariance of one user's metrics, whatever the size.

    Raises:
        ValueError: shapes do not fit, a number is not finite, a covariance is not symmetric and positive definite, a
            size is not positive, or codes have gaps.
    """

    metrics: tuple[str, ...]
    experiment: Ints
    effects: Doubles
    covariance: Doubles
    size: Doubles

    def __post_init__(self) -> None:
        if np.ndim(self.experiment) != 1 or np.asarray(self.experiment).dtype.kind not in "iu":
            raise ValueError(f"experiment expected a code for each arm, (arms,) integers, got {self.experiment!r}")
        arms, metrics = len(self.experiment), len(self.metrics)
        shapes = {
            "effects": (self.effects, (arms, metrics)),
            "covariance": (self.covariance, (arms, metrics, metrics)),
            "size": (self.size, (arms,)),
        }
        problems = [
            f"{name} expected shape {expected} for {arms} arms and {metrics} metrics, got {values.shape}"
            for name, (values, expected) in shapes.items()
            if values.shape != expected
        ]
        if metrics == 0:
            problems.append("expected at least one metric, got none")
        if arms == 0:
            problems.append("expected at least one treated arm, got none")
        if len(set(self.metrics)) < metrics:
            problems.append(f"metrics expected distinct names, got {', '.join(self.metrics)}")
        if problems:
            raise ValueError("; ".join(problems))
        codes = np.unique(self.experiment)
        if not np.array_equal(codes, np.arange(len(codes))):
            raise ValueError("experiment expected codes from 0 without gaps: number the experiments with np.unique")
        for name, (values, _) in shapes.items():
            bad = ~np.isfinite(values).reshape(arms, -1).all(1)
            if bad.any():
                raise ValueError(f"{name} expected finite numbers, got others in arms {_first(bad)}: mend or drop them")
        if (self.size <= 0).any():
            raise ValueError(f"size expected positive numbers, got others in arms {_first(self.size <= 0)}")
        flip = np.swapaxes(self.covariance, 1, 2)
        askew = np.abs(self.covariance - flip).max((1, 2)) > _SYMMETRIC * np.abs(self.covariance).max((1, 2))
        if askew.any():
            raise ValueError(f"covariance expected symmetric matrices, got others in arms {_first(askew)}")
        flat = np.linalg.eigvalsh(_scaled(self.covariance))[:, 0] <= _SYMMETRIC
        if flat.any():
            raise ValueError(
                f"covariance expected positive definite matrices, got others in arms {_first(flat)}: a metric that is "
                "constant, or the sum of others, has to be left out"
            )

    def __len__(self) -> int:
        return len(self.experiment)

    @property
    def experiments(self) -> int:
        """How many experiments there are."""
        return int(self.experiment.max()) + 1

    def of(self, names: Sequence[str]) -> Self:
        """The same arms, with the named metrics alone and in this order.

        Raises:
            ValueError: a name is not one of the metrics.
        """
        unknown = [name for name in names if name not in self.metrics]
        if unknown:
            raise ValueError(f"{', '.join(unknown)} expected to be of the metrics {', '.join(self.metrics)}")
        at = [self.metrics.index(name) for name in names]
        return type(self)(
            tuple(names), self.experiment, self.effects[:, at], self.covariance[:, at][:, :, at], self.size
        )

    def among(self, chosen: npt.NDArray[np.bool_]) -> Self:
        """The arms of the chosen experiments; ``chosen`` is (experiments,)."""
        arms = chosen[self.experiment]
        return type(self)(
            self.metrics,
            np.unique(self.experiment[arms], return_inverse=True)[1].astype(np.int64),
            self.effects[arms],
            self.covariance[arms],
            self.size[arms],
        )

    def with_proxy(self, name: str, signals: Sequence[str], weights: npt.ArrayLike, north_star: str) -> Self:
        """The same arms with two metrics, the weighted sum of signals and the north star.

        Args:
            name: of the sum.
            signals: the metrics summed.
            weights: (signals,), or (arms, signals) where each arm has its own.
            north_star: the second metric.

        Raises:
            ValueError: a name is not one of the metrics, or ``weights`` has another shape or is not finite.
        """
        parts = self.of([*signals, north_star])
        given = np.asarray(weights, np.float64)
        if given.shape not in ((len(signals),), (len(self), len(signals))):
            raise ValueError(
                f"weights expected shape ({len(signals)},) or ({len(self)}, {len(signals)}), got {given.shape}"
            )
        if not np.isfinite(given).all():
            raise ValueError(f"weights expected finite numbers, got {given[~np.isfinite(given)][0]} among them")
        turn = np.zeros((len(self), 2, len(signals) + 1))
        turn[:, 0, :-1], turn[:, 1, -1] = given, 1
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused
            effects = np.einsum("kab,kb->ka", turn, parts.effects)
            covariance = turn @ parts.covariance @ np.swapaxes(turn, 1, 2)
        return type(self)((name, north_star), self.experiment, effects, covariance, self.size)


def from_arms(arms: pl.DataFrame, metrics: Sequence[str]) -> Experiments:
    """Read a table with a row for each treated arm.

    Args:
        arms: ``experiment``; a column for each metric with the estimated effect, treated minus control; ``size``, the
            effective number of users (see `Experiments`); ``covariance``, a list of M² numbers, the sampling covariance
            of the effects row by row in the order of ``metrics``.
        metrics: names of the columns that are metrics.

    Raises:
        ValueError: a column is missing, or what is in it does not fit; see `Experiments`.
    """
    _expect(arms.columns, [EXPERIMENT, SIZE, COVARIANCE, *metrics], "a table of arms")
    _no_nulls(arms.select(EXPERIMENT, SIZE, COVARIANCE, *metrics), "a table of arms")
    check_numbers(arms.schema, [*metrics, SIZE], "a table of arms")
    kind = arms.schema[COVARIANCE]
    if not isinstance(kind, pl.List | pl.Array) or not kind.inner.is_numeric():
        raise ValueError(f"covariance expected lists of numbers, got {kind}")
    square = len(metrics) ** 2
    lengths = arms[COVARIANCE].cast(pl.List(pl.Float64)).list.len()
    if (lengths != square).any():
        raise ValueError(
            f"covariance expected lists of {square} numbers for {len(metrics)} metrics, got lengths "
            f"{sorted(lengths.unique())[:5]}"
        )
    flat = arms[COVARIANCE].cast(pl.List(pl.Float64)).explode().to_numpy()
    return Experiments(
        tuple(metrics),
        arms[EXPERIMENT].rank("dense").cast(pl.Int64).to_numpy() - 1,
        arms.select(pl.col(*metrics).cast(pl.Float64)).to_numpy(),
        flat.reshape(len(arms), len(metrics), len(metrics)),
        arms[SIZE].cast(pl.Float64).to_numpy(),
    )


def from_users(users: pl.DataFrame | pl.LazyFrame, metrics: Sequence[str], *, control: str) -> Experiments:
    """Read a table with a row for each user of each experiment.

    An arm's effect is the difference of its mean and its control's; its sampling covariance is the sum of the two
    arms' covariances of users, each over its number of users.

    Args:
        users: ``experiment``, ``arm``, ``user_id`` and a column for each metric: the user's sum over the window.
        metrics: names of the columns that are metrics.
        control: the name of the control arm of every experiment.

    Raises:
        ValueError: a column is missing, a metric is no number, a value is null or not finite, a user has two rows in
            one experiment, an experiment has no control, or an arm has fewer than two users; see also `Experiments`.
    """
    lazy = users.lazy()
    schema = lazy.collect_schema()
    _expect(schema.names(), [EXPERIMENT, ARM, USER, *metrics], "a table of users")
    check_numbers(schema, metrics, "a table of users")
    lazy = lazy.with_columns(arm_names(), *(pl.col(name).cast(pl.Float64) for name in metrics))
    control = arm_name(control)
    pairs = list(combinations_with_replacement(range(len(metrics)), 2))
    level = lazy.select(pl.col(name).filter(pl.col(name).is_finite()).mean() for name in metrics).collect()
    values = [pl.col(name) - (level[name].item() or 0.0) for name in metrics]  # large levels would cancel
    arms = (
        lazy.group_by(EXPERIMENT, ARM)
        .agg(
            pl.len().alias("n"),
            pl.col(USER).n_unique().alias("distinct"),
            pl.sum_horizontal(pl.col(name).null_count() for name in (USER, *metrics)).alias("nulls"),
            pl.sum_horizontal((~pl.col(name).is_finite()).sum() for name in metrics).alias("not finite"),
            *(value.mean().alias(f"mean {at}") for at, value in enumerate(values)),
            *(pl.cov(values[i], values[j]).alias(f"cov {i} {j}") for i, j in pairs),
        )
        .sort(EXPERIMENT, ARM)
        .collect()
    )
    _no_nulls(arms.select(EXPERIMENT, ARM), "a table of users")
    users_of = lazy.group_by(EXPERIMENT).agg(pl.col(USER).n_unique().alias("users"), pl.len().alias("rows")).collect()
    lacking = set(arms[EXPERIMENT]) - set(arms.filter(pl.col(ARM) == control)[EXPERIMENT])
    problems = {
        f"no arm {control!r}": sorted(map(str, lacking)),
        "null values": arms.filter(pl.col("nulls") > 0)[EXPERIMENT].unique().sort().to_list(),
        "values that are not finite": arms.filter(pl.col("not finite") > 0)[EXPERIMENT].unique().sort().to_list(),
        "users with two rows or in two arms": users_of.filter(pl.col("users") < pl.col("rows"))[EXPERIMENT].to_list(),
        "arms of fewer than two users": arms.filter(pl.col("n") < 2)[EXPERIMENT].unique().sort().to_list(),
    }
    told = [f"{what} in experiments {', '.join(map(str, where[:5]))}" for what, where in problems.items() if where]
    if told:
        raise ValueError(
            f"a table of users expected one row a user, a control and finite numbers, got {'; '.join(told)}"
        )
    both = arms.filter(pl.col(ARM) != control).join(
        arms.filter(pl.col(ARM) == control), on=EXPERIMENT, suffix=" control", maintain_order="left"
    )
    n, base = (both[name].to_numpy().astype(np.float64) for name in ("n", "n control"))
    count = len(metrics)
    covariance = np.empty((len(both), count, count))
    for i, j in pairs:
        own, other = (both[f"cov {i} {j}{side}"].to_numpy() for side in ("", " control"))
        covariance[:, i, j] = covariance[:, j, i] = own / n + other / base
    treated, off = (
        both.select(pl.col([f"mean {at}{side}" for at in range(count)])).to_numpy() for side in ("", " control")
    )
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused
        effects = treated - off
    return Experiments(
        tuple(metrics),
        both[EXPERIMENT].rank("dense").cast(pl.Int64).to_numpy() - 1,
        effects,
        covariance,
        1 / (1 / n + 1 / base),
    )


def arm_names() -> pl.Expr:
    """The column `ARM` as text: arms may be numbered."""
    return pl.col(ARM).cast(pl.String)


def arm_name(arm: object) -> str:
    """An arm as `arm_names` has it."""
    return str(arm).lower() if isinstance(arm, bool) else str(arm)


def check_numbers(schema: Mapping[str, pl.DataType], names: Sequence[str], what: str) -> None:
    """See that columns are numbers or booleans.

    Raises:
        ValueError: one is not; the message names all of them.
    """
    fit = {name: kind.is_numeric() or kind in (pl.Boolean, pl.Null) for name, kind in schema.items()}
    other = [f"{name} ({schema[name]})" for name in names if not fit[name]]
    if other:
        raise ValueError(
            f"{what} expected metrics that are numbers, got {', '.join(other)}: leave them out or count them"
        )


def _scaled(covariance: Doubles) -> Doubles:
    """Covariances as correlations, so that units do not matter; a variance that is not positive stays as it is."""
    variance = np.einsum("kii->ki", covariance)
    scale = np.sqrt(np.where(variance > 0, variance, 1.0))
    return covariance / (scale[:, :, None] * scale[:, None, :])


def _first(bad: npt.NDArray[np.bool_]) -> str:
    return ", ".join(map(str, np.flatnonzero(bad)[:5]))


def _expect(columns: Sequence[str], needed: Sequence[str], what: str) -> None:
    missing = [name for name in needed if name not in columns]
    if missing:
        raise ValueError(f"{what} expected the columns {', '.join(needed)}, it has no {', '.join(missing)}")


def _no_nulls(frame: pl.DataFrame, what: str) -> None:
    empty = [name for name, count in frame.null_count().row(0, named=True).items() if count]
    if empty:
        raise ValueError(f"{what} expected no nulls, got some in {', '.join(empty)}: mend or drop these rows")
