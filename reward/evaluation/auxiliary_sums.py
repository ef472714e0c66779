"""What predictions of an auxiliary outcome are measured by, as an estimator: `partial`, states that add, `solve`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from reward.arrays import Bools, Doubles
from reward.evaluation.slice_ratios import SlicedRows, SliceRatios, SliceState, SliceTable
from reward.statistics.bootstrap import RatioRows, Ratios, Resamples, Sums, Users

ALL = "all rows"


class AuxiliaryRows(NamedTuple):
    """Rows of some users: k parts of an outcome, such as the days of a horizon."""

    predicted: Doubles  # (n, k)
    outcome: Doubles  # (n, k)
    known: Bools  # (n, k) which parts the log knows
    slices: Mapping[str, Bools]  # (n,) by name
    user: npt.NDArray[Any]  # (n,) ids


@dataclass(frozen=True)
class AuxiliaryState:
    """What some users add.

    Attributes:
        parts: of `Ratios`: the skill's one, and of each part predicted, observed and predicted over observed.
        slices: predicted over observed in all rows and in each slice.
    """

    parts: Sums
    slices: SliceState

    def __add__(self, other: AuxiliaryState) -> AuxiliaryState:
        """What the users of both add."""
        return AuxiliaryState(self.parts + other.parts, self.slices + other.slices)


class AuxiliaryTable(NamedTuple):
    """What is measured, in the sample and in each resample.

    Attributes:
        skill: (1 + resamples, 1) share of the squared error that the average leaves and the prediction does not.
        predicted: (1 + resamples, k) mean of each part over the rows that know it.
        observed: (1 + resamples, k) alike.
        ratio: (1 + resamples, k) predicted over observed.
        slices: predicted over observed, of all parts, in all rows and in each slice.
    """

    skill: Doubles
    predicted: Doubles
    observed: Doubles
    ratio: Doubles
    slices: SliceTable


@dataclass(frozen=True)
class AuxiliarySums:
    """The skill of a prediction and whether it adds up, over rows that know a part of the outcome.

    Attributes:
        average: (k,) of the outcome in what training saw; nan where it saw none: the part is left out of the skill.
        resamples: of users.
    """

    average: Doubles
    resamples: Resamples

    def partial(self, users: AuxiliaryRows, /) -> AuxiliaryState:
        """What some users add.

        Raises:
            ValueError: a prediction or an outcome that is known is not finite.
        """
        some = users.known.any(axis=1)
        predicted, outcome, known = users.predicted[some], users.outcome[some], users.known[some]
        odd = known & ~(np.isfinite(predicted) & np.isfinite(outcome))
        if odd.any():
            raise ValueError(
                f"expected finite predictions and outcomes where they are known, got {int(odd.sum())} others"
            )
        whose = Users.of(users.user[some])
        comparable = known & np.isfinite(self.average)
        error, spread = (
            (np.where(comparable, outcome - against, 0.0) ** 2).sum(axis=1, keepdims=True)
            for against in (predicted, self.average)
        )
        expected, came = np.where(known, predicted, 0.0), np.where(known, outcome, 0.0)
        above = np.concatenate([error, expected, came, expected], axis=1)
        below = np.concatenate([spread, known, known, came], axis=1)
        inside = np.stack([np.ones(len(known), np.bool_), *(rows[some] for rows in users.slices.values())], axis=1)
        whole, whole_that_came = (part.sum(axis=1, keepdims=True) for part in (expected, came))
        return AuxiliaryState(
            Ratios(self.resamples).partial(RatioRows(above, below, whose)),
            SliceRatios(self.resamples).partial(SlicedRows(whole, whole_that_came, inside, whose)),
        )

    def solve(self, state: AuxiliaryState, /) -> AuxiliaryTable:
        """What is measured; nan where a denominator is 0.

        Raises:
            ValueError: fewer than 2 users.
        """
        table = Ratios(self.resamples).solve(state.parts)
        parts = (table.shape[1] - 1) // 3
        error, predicted, observed, ratio = np.split(table, (1, 1 + parts, 1 + 2 * parts), axis=1)
        return AuxiliaryTable(1 - error, predicted, observed, ratio, SliceRatios(self.resamples).solve(state.slices))
