"""Estimates as text: as many digits as the interval supports."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from reward.evaluation.estimates import Estimate

_ALIKE = 5e-7  # half-width of an interval in which only rounding varies, as of a forecast and itself


def places(estimates: Iterable[Estimate]) -> int:
    """Decimals that show two digits of the narrowest interval's half-width; 3 where there is no interval.

    >>> places([Estimate(0.5, 0.48, 0.52)])  # half-width 0.020
    3

    """
    widths = [(ends[1] - ends[0]) / 2 for it in estimates if (ends := it.interval) is not None]
    narrowest = min((width for width in widths if width > _ALIKE), default=0.01)
    return int(np.clip(1 - np.floor(np.log10(narrowest * (1 + 1e-9))), 0, 8))


def readable(number: float | None, decimals: int) -> str:
    """A number with a minus sign where it is below zero as written; a dash for None.

    >>> readable(-0.126, 2), readable(-0.001, 2), readable(None, 2)
    ('−0.13', '0.00', '–')

    """
    if number is None:
        return "–"
    text = f"{number:.{decimals}f}"
    return text.replace("-", "−") if float(text) else text.removeprefix("-")


def interval_name(level: float) -> str:
    """What an interval is called.

    >>> interval_name(0.95)
    '95% interval'

    """
    return f"{100 * level:.4g}% interval"


def amount(estimate: Estimate, *, unit: str, level: float) -> str:
    """An estimate with its unit and interval.

    >>> amount(Estimate(0.5, 0.48, 0.52), unit=" days", level=0.95)
    '0.500 days, 95% interval 0.480 to 0.520'

    """
    value, ends = figures(estimate)
    if value is None:
        return "no value"
    return f"{value}{unit}, " + ("no interval" if ends is None else f"{interval_name(level)} {ends}")


def figures(estimate: Estimate) -> tuple[str | None, str | None]:
    """An estimate and the ends of its interval, with as many decimals as the interval is worth; None where unknown.

    >>> figures(Estimate(0.5, 0.48, 0.52))
    ('0.500', '0.480 to 0.520')

    """
    if estimate.value is None:
        return None, None
    decimals = places([estimate])
    ends = None if estimate.interval is None else " to ".join(readable(end, decimals) for end in estimate.interval)
    return readable(estimate.value, decimals), ends


def percentage(share: Estimate, *, level: float) -> str:
    """A share in per cent with its interval.

    >>> percentage(Estimate(0.5, 0.48, 0.52), level=0.95)
    '50.0% (95% interval 48.0% to 52.0%)'

    """
    if share.value is None:
        return "–"
    if share.interval is None:
        return f"{share.value:.0%} (no interval)"
    decimals = max(places([share]) - 2, 0)
    value, low, high = (f"{readable(100 * end, decimals)}%" for end in (share.value, *share.interval))
    return f"{value} ({interval_name(level)} {low} to {high})"
