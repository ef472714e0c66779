"""Whether propensities can be the probabilities with which the rows of a log were shown."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]

_LEAST = 1e-60  # below which squares of 1 / p leave the range of numbers


def impossible(propensity: Doubles, rows: int) -> str | None:
    """Why values cannot be used as propensities at all, as a clause that names what to do; None: they can.

    Args:
        propensity: of each row.
        rows: how many there are.
    """
    if propensity.shape != (rows,):
        return f"propensity expected one number a row, {rows}, got shape {propensity.shape}: give those of this log"
    if not ((propensity > 0) & (propensity <= 1)).all():
        wrong = propensity[~((propensity > 0) & (propensity <= 1))]
        return f"propensity expected numbers in (0, 1], got {wrong[0]:g} among others: give those of this log"
    if not propensity.min() >= _LEAST:
        return (
            f"propensity expected the probability with which each row was shown, got {propensity.min():g}, and what is "
            "that unlikely is never seen: leave the column out, and propensities are estimated"
        )
    return None
