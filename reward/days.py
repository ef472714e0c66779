"""Days of a horizon: as the bits of a 64-bit word, and as those on which something waited for may come."""

from __future__ import annotations

import torch
from torch import Tensor


def trace_bits(words: Tensor, horizon_days: int) -> Tensor:
    """Unpack trace words into days.

    Args:
        words: int64 (...), bit d−1 for day d.
        horizon_days: H.

    Returns:
        bool (..., H).

    Raises:
        ValueError: another dtype, or a horizon that does not fit a word.

    >>> trace_bits(torch.tensor([5]), 4)
    tensor([[ True, False,  True, False]])
    """
    if words.dtype != torch.int64 or not 1 <= horizon_days <= 63:
        raise ValueError(
            f"expected int64 words and a horizon of 1 to 63 days, got {words.dtype} and {horizon_days}: a shift past "
            "the end of a word would come round to its beginning"
        )
    return (words.unsqueeze(-1) >> torch.arange(horizon_days, device=words.device)) & 1 == 1


def at_risk(time_days: Tensor, entry_days: Tensor | None, horizon_days: int) -> Tensor:
    """The days on which what is waited for could have been seen to come: entry < d ≤ time.

    Args:
        time_days: int64 (...), the day it came, or the last day known to be free of it.
        entry_days: int64 (...), days that had passed when the wait began to be watched; None: 0.
        horizon_days: H.

    Returns:
        bool (..., H).

    >>> at_risk(torch.tensor(3), torch.tensor(1), 4)
    tensor([False,  True,  True, False])
    """
    days = torch.arange(1, horizon_days + 1, device=time_days.device)
    inside = days <= time_days.unsqueeze(-1)
    return inside if entry_days is None else inside & (days > entry_days.unsqueeze(-1))


def event_on(time_days: Tensor, event: Tensor, entry_days: Tensor | None, horizon_days: int) -> Tensor:
    """The day it was seen to come: bool (..., H), true on at most one day; see `at_risk` for the arguments."""
    days = torch.arange(1, horizon_days + 1, device=time_days.device)
    on = (days == time_days.unsqueeze(-1)) & (event != 0).unsqueeze(-1)
    return on if entry_days is None else on & (days > entry_days.unsqueeze(-1))
