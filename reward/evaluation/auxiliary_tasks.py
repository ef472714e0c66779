"""Judges the predictions of further outcomes: how much better than the average they are, and whether they add up."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from reward.arrays import Bools, Doubles
from reward.columns import USER
from reward.evaluation.auxiliary_sums import ALL, AuxiliaryRows, AuxiliarySums
from reward.evaluation.estimates import SLICE, Json
from reward.statistics.bootstrap import Resamples, percentiles
from reward.statistics.sums import total
from reward.text import places, readable, side_of_zero


def assess_further(
    predicted: Doubles,
    outcome: Doubles,
    known: Bools,
    average: Doubles,
    *,
    rows: pl.DataFrame,
    unit: str,
    parts: list[str],
    resamples: int,
    seed: int,
    level: float,
    min_slice_users: int,
) -> Json:
    """Measure the prediction of an outcome that is told in parts, such as the days of a horizon.

    ``skill`` is 1 − Σ (outcome − predicted)² / Σ (outcome − average)² over the known parts of all rows: 0 for the
    average of what training knew, 1 for no error. ``predicted`` and ``observed`` are sums over parts of the means over
    the rows that know them; their ratio is 1 where the prediction is calibrated in the large.

    Args:
        predicted: (n, k).
        outcome: (n, k).
        known: (n, k), which of it the log can tell.
        average: (k,), of the outcome in what training saw; nan where it saw none: the part is left out of the skill.
        rows: the n rows: ``user_id`` and any bool columns ``slice: …``.
        unit: of the sum of the parts.
        parts: k names.
        resamples: number of resamples of users.
        seed: of the resamples.
        level: of the intervals, in (0, 1).
        min_slice_users: a slice with fewer is left out.

    Returns:
        ``unit``, ``rows``, ``users``, ``skill``, ``ratio``, ``parts`` (predicted and observed mean and ratio of each)
        and ``slices`` (ratio of each), estimates with intervals; ``reason`` where nothing can be measured, else None.

    Raises:
        ValueError: a prediction or an outcome that is known is not finite.
    """
    slices = {name: rows[name].to_numpy() for name in rows.columns if name.startswith(SLICE)}
    sums = AuxiliarySums(average, Resamples(resamples, seed))
    state = total([sums.partial(AuxiliaryRows(predicted, outcome, known, slices, rows[USER].to_numpy()))])
    count, users = state.slices.sizes[0].tolist()
    found: Json = {"unit": unit, "rows": count, "users": users, "reason": None}
    if users < 2:
        return found | {"reason": "the test days tell it of fewer than two users"}
    table = sums.solve(state)

    def estimates(draws: Doubles) -> list[Json]:
        low, high = percentiles(draws[1:], level)
        return [_plain(*each) for each in zip(draws[0], low, high, strict=True)]

    means = [estimates(part) for part in (table.predicted, table.observed)]
    names = [ALL, *(name.removeprefix(SLICE) for name in slices)]
    large = [at == 0 or size >= min_slice_users for at, (_, size) in enumerate(table.slices.sizes.tolist())]
    return found | {
        "skill": estimates(table.skill)[0],
        "parts": [
            {"part": name, "predicted": at, "observed": is_, "ratio": of}
            for name, at, is_, of in zip(parts, *means, estimates(table.ratio), strict=True)
        ],
        "slices": [
            {"slice": name, "ratio": it}
            for name, it, measured in zip(names, estimates(table.slices.ratios[:, 0]), large, strict=True)
            if measured
        ],
    }


def further_sentences(further: Mapping[str, Json]) -> list[str]:
    """A sentence for each outcome: its skill, and whether it adds up."""
    said = []
    for name, it in further.items():
        if it["reason"] is not None:
            said.append(f"{name} ({it['unit']}): not measured, for {it['reason']}.")
            continue
        skill, whole = it["skill"], it["slices"][0]["ratio"]
        better = {
            "above": f"explains {_number(skill)} of the variance that the average leaves",
            "open": f"is forecast no better than by the average, as far as this log shows (skill {_number(skill)})",
            "below": f"is forecast worse than by the average (skill {_number(skill)})",
            "unknown": f"has a skill of {_number(skill)}",
        }[side_of_zero(skill)]
        said.append(f"{name} ({it['unit']}) {better}; predicted over observed is {_number(whole)}.")
    return said


def _number(estimate: Json) -> str:
    if estimate["value"] is None:
        return "unknown"
    decimals = places([estimate])
    value, low, high = (readable(estimate[end], decimals) for end in ("value", "low", "high"))
    return f"{value} with no interval" if estimate["low"] is None else f"{value} [{low} to {high}]"


def _plain(value: float, low: float, high: float) -> Json:
    finite = [float(each) if np.isfinite(each) else None for each in (value, low, high)]
    return dict(zip(("value", "low", "high"), finite if finite[0] is not None else [None] * 3, strict=True))
