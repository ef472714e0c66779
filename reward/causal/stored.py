"""What several models of effects keep in an artefact, and how it is checked when it is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import inf, isfinite
from typing import Any, TypedDict

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from reward.causal.diagnostics.calibration_slope import CalibrationSlope
from reward.causal.item_effects.feedback_rates import Column
from reward.causal.item_effects.newcomers import Newcomers
from reward.columns import ITEM
from reward.features.events import Features


class NewcomersJson(TypedDict):
    """Of `newcomers_to_json`."""

    describing: list[tuple[str, int | str | None, float, float]]
    group: str | None
    coefficients: list[float]
    groups: list[str]
    group_codes: list[int]
    group_effects: list[float]


class SlopeJson(TypedDict):
    """Of `slope_to_json`."""

    slope: float
    se: float | None


def newcomers_to_json(new: Newcomers) -> dict[str, Any]:
    """As JSON values."""
    return {
        "describing": [list(column) for column in new.describing],
        "group": new.group,
        "coefficients": new.coefficients.tolist(),
        "groups": new.groups,
        "group_codes": new.group_codes.tolist(),
        "group_effects": new.group_effects.tolist(),
    }


def newcomers_from_json(told: Mapping[str, Any]) -> Newcomers:
    """The reverse of `newcomers_to_json`."""
    return Newcomers(
        tuple(Column(*column) for column in told["describing"]),
        told["group"],
        np.array(told["coefficients"], np.float64),
        tuple(told["groups"]),
        np.array(told["group_codes"], np.int64),
        np.array(told["group_effects"], np.float64),
    )


def slope_to_json(found: CalibrationSlope) -> dict[str, Any]:
    """As JSON values, which know no infinity."""
    return {"slope": found.slope, "se": found.se if isfinite(found.se) else None}


def slope_from_json(told: Mapping[str, Any]) -> CalibrationSlope:
    """The reverse of `slope_to_json`."""
    return CalibrationSlope(told["slope"], inf if told["se"] is None else told["se"])


def ids_column(ids: NDArray[Any]) -> pl.Series:
    """Ids of items as a column, as strings where they are objects."""
    return pl.Series(ITEM, ids.tolist(), pl.String if ids.dtype == object else pl.Int64)


def newcomers_flaws(new: Mapping[str, Any], features: Features) -> Iterator[str]:
    """What is wrong with what is expected of items that the log does not hold."""
    described, kinds = len(new["describing"]), {*features.item_features}
    if not {column[0] for column in new["describing"]} <= kinds or any(column[3] <= 0 for column in new["describing"]):
        yield "new items are described by what is no feature of items"
    if len(new["coefficients"]) != 1 + described:
        yield f"new items have {len(new['coefficients'])} coefficients for {described} columns"
    sizes = {len(new[name]) for name in ("groups", "group_codes", "group_effects")}
    if len(sizes) > 1 or new["groups"] != sorted(set(new["groups"])):
        yield "groups expected different names in order, with a code and an effect each"


def ids_flaws(table: pl.DataFrame) -> Iterator[str]:
    """What is wrong with the ids of a table of items, whose last row is for all others and has none."""
    ids = table[ITEM].head(len(table) - 1)
    if ids.dtype not in (pl.Int64, pl.String) or ids.null_count() or table[ITEM].null_count() != 1:
        yield f"{ITEM} expected integers or strings, and null in the last row alone"
    elif len(ids) < 1 or not (ids.slice(1) > ids.head(len(ids) - 1)).all():
        yield f"{ITEM} expected rising values"


def is_finite(tensor: Tensor) -> bool:
    """Whether it has finite numbers in double precision."""
    return tensor.dtype == torch.float64 and bool(tensor.isfinite().all())
