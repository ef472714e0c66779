"""Estimates in words: as many digits as the interval supports, and what it says about zero."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, Literal

import numpy as np

_ALIKE = 5e-7  # half-width of an interval in which only rounding varies, as of a forecast and itself
Estimate = Mapping[str, Any]  # {"value", "low", "high"}, each a float or None


def places(estimates: Iterable[Estimate]) -> int:
    """Decimals that show two digits of the narrowest interval's half-width; 3 where there is no interval.

    >>> places([{"value": 0.5, "low": 0.48, "high": 0.52}])  # half-width 0.020
    3

    """
    widths = [(it["high"] - it["low"]) / 2 for it in estimates if it["low"] is not None]
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

    >>> amount({"value": 0.5, "low": 0.48, "high": 0.52}, unit=" days", level=0.95)
    '0.500 days, 95% interval 0.480 to 0.520'

    """
    decimals = places([estimate])
    value, low, high = (readable(estimate[end], decimals) for end in ("value", "low", "high"))
    if estimate["value"] is None:
        return "no value"
    if estimate["low"] is None:
        return f"{value}{unit}, no interval"
    return f"{value}{unit}, {interval_name(level)} {low} to {high}"


def negated(estimate: Estimate) -> dict[str, float | None]:
    """The estimate of minus the quantity.

    >>> negated({"value": 0.5, "low": 0.25, "high": 0.75})
    {'value': -0.5, 'low': -0.75, 'high': -0.25}

    """
    ends = {"value": estimate["value"], "low": estimate["high"], "high": estimate["low"]}
    return {end: None if number is None else -number for end, number in ends.items()}


def percentage(share: Estimate, *, level: float) -> str:
    """A share in per cent with its interval.

    >>> percentage({"value": 0.5, "low": 0.48, "high": 0.52}, level=0.95)
    '50.0% (95% interval 48.0% to 52.0%)'

    """
    if share["low"] is None:
        return "–" if share["value"] is None else f"{share['value']:.0%} (no interval)"
    decimals = max(places([share]) - 2, 0)
    value, low, high = (f"{readable(100 * share[end], decimals)}%" for end in ("value", "low", "high"))
    return f"{value} ({interval_name(level)} {low} to {high})"


def side_of_zero(estimate: Estimate) -> Literal["above", "open", "below", "unknown"]:
    """Where the interval lies; ``open`` if it holds zero.

    >>> side_of_zero({"value": 0.5, "low": -0.1, "high": 1.1})
    'open'

    """
    if estimate["low"] is None:
        return "unknown"
    return "above" if estimate["low"] > 0 else "below" if estimate["high"] < 0 else "open"


def near(name: str, known: Iterable[str]) -> str:
    """`` (did you mean 'x'?)`` where something known is near."""
    close = get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
