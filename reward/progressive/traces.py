"""Partial traces: words of days, checked and as bits."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from reward.arrays import Ints
from reward.data.days import MAX_HORIZON_DAYS


def bits(words: Ints, days: int) -> npt.NDArray[np.bool_]:
    """(users, days) of (users,) words."""
    return (words[:, None] >> np.arange(days)) & 1 == 1


def days_observed(item: Ints, trace: Ints, observed: Ints, horizon_days: int) -> tuple[Ints, Ints, Ints, Ints]:
    """The words checked, as 64 bits each, and the days observed of each user."""
    kinds = [np.asarray(each).dtype for each in (item, trace, observed)]
    if any(kind.kind not in "iu" for kind in kinds):
        raise ValueError(f"expected items and words of integers, got {', '.join(map(str, kinds))}")
    item, trace, observed = (np.asarray(each).astype(np.int64) for each in (item, trace, observed))
    if not 1 <= horizon_days <= MAX_HORIZON_DAYS:
        raise ValueError(f"expected a horizon of 1 to {MAX_HORIZON_DAYS} days, got {horizon_days}")
    if not item.shape == trace.shape == observed.shape or item.ndim != 1:
        raise ValueError(
            "expected one item, one trace and one observed word for each user, got shapes "
            f"{item.shape}, {trace.shape} and {observed.shape}"
        )
    days = np.zeros(len(observed), np.int64)
    for day in range(horizon_days):
        days += (observed >> day) & 1
    if (observed != (1 << days) - 1).any():
        odd = int(observed[observed != (1 << days) - 1][0])
        raise ValueError(
            f"expected observed words of days 1 to d, d at most {horizon_days}, got {odd:#b}: cut a trace at its "
            "first unobserved day, and at the horizon"
        )
    return item, trace, observed, days
