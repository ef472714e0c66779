"""A personal part as it is kept: plain values, a table of items, and tensors by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from reward.causal.stored import ids_column, newcomers_from_json, newcomers_to_json, slope_from_json, slope_to_json
from reward.causal.user_effects.effect_net import EffectNet
from reward.causal.user_effects.feedback import Answers
from reward.causal.user_effects.preferences import Taste
from reward.causal.user_effects.user_state import ItemState
from reward.columns import ITEM

if TYPE_CHECKING:
    from reward.causal.user_effects.model import PersonalizedEffect

NUMBERS = ("behind", "variance", "gate", "first", "group")
VECTORS = ("gate", "scale", "coefficients", "covariance")
NET = "net."  # before the names of the net's tensors
_CALIBRATIONS = ("calibration", "personal_calibration", "net_calibration")


def values_of(personal: PersonalizedEffect) -> dict[str, Any]:
    """Everything but what is told of items and tensors, as JSON values."""
    answers = personal.answers
    told = {name: getattr(personal, name) for name in _CALIBRATIONS}
    return {
        "answers": {name: getattr(answers, name) for name in ("feedback", "gate", "rare", "flags", "unopened")},
        "tastes": [
            {"axes": taste.axes.tolist(), "prior": taste.prior.tolist(), "noise": taste.noise}
            for taste in personal.tastes
        ],
        "newcomers": newcomers_to_json(personal.newcomers),
        "spans_days": personal.spans_days,
        **{name: None if slope is None else slope_to_json(slope) for name, slope in told.items()},
    }


def table_of(personal: PersonalizedEffect) -> pl.DataFrame:
    """One row an item, ascending, and last one without an id for all others."""
    facts = personal.facts.to("cpu")
    return pl.DataFrame(
        {
            ITEM: ids_column(personal.ids).extend_constant(None, 1),
            **{name: getattr(facts, name).numpy() for name in NUMBERS},
            "taste": _lists(facts.taste.numpy()),
            "answers": _lists(personal.answers.mean),
        }
    )


def arguments(values: Mapping[str, Any], table: pl.DataFrame, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """What makes a `PersonalizedEffect` again of `values_of`, `table_of` and its ``state_dict``."""
    told = values["answers"]
    tastes = tuple(
        Taste(
            np.array(taste["axes"], np.float64).reshape(len(taste["axes"]), len(taste["prior"])),
            np.array(taste["prior"], np.float64),
            taste["noise"],
        )
        for taste in values["tastes"]
    )
    numbers = {name: torch.from_numpy(table[name].to_numpy().copy()) for name in NUMBERS}
    rows = len(table)
    slopes = {name: values.get(name) for name in _CALIBRATIONS}
    return {
        "answers": Answers(
            tuple(told["feedback"]),
            told["gate"],
            tuple(told["rare"]),
            tuple(told["flags"]),
            _matrix(table["answers"]),
            told.get("unopened", 0.0),
        ),
        "tastes": tastes,
        "ids": table[ITEM].head(rows - 1).to_numpy(),
        "facts": ItemState(**numbers, taste=torch.from_numpy(_matrix(table["taste"])), code=torch.arange(rows)),
        "newcomers": newcomers_from_json(values["newcomers"]),
        "spans_days": tuple(values["spans_days"]),
        "basket": tensors["basket"],
        **{name: tensors[name] for name in VECTORS},
        "net": _net({name.removeprefix(NET): it for name, it in tensors.items() if name.startswith(NET)}),
        **{name: None if slope is None else slope_from_json(slope) for name, slope in slopes.items()},
    }


def layers_of(net: Mapping[str, Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Weights and biases of a net's layers, from first to last, by its tensors' names without `NET`."""
    count = sum(name.endswith(".weight") for name in net)
    return [(net[f"stack.{place}.weight"], net[f"stack.{place}.bias"]) for place in range(count)]


def _net(net: Mapping[str, Tensor]) -> EffectNet | None:
    return EffectNet(net["centre"], net["width"], layers_of(net)) if net else None


def _lists(rows: NDArray[np.float64]) -> pl.Series:
    """(n, k) as n lists."""
    if not rows.shape[1]:
        return pl.Series([[]] * len(rows), dtype=pl.List(pl.Float64))
    return pl.Series(np.ascontiguousarray(rows)).arr.to_list()


def _matrix(lists: pl.Series) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    width = lists.list.len()[0]
    return (
        lists.explode().to_numpy().astype(np.float64).reshape(len(lists), width) if width else np.zeros((len(lists), 0))
    )
