"""A personal part as plain values: what goes into an artefact's manifest, a table of items, and tensors of its net."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from math import inf, isfinite
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from reward.causal.item_effects.feedback_rates import Column
from reward.causal.item_effects.ipw import HeldOut
from reward.causal.user_effects.effect_net import EffectNet
from reward.causal.user_effects.feedback import Answers
from reward.causal.user_effects.model import Newcomers, PersonalizedEffect
from reward.causal.user_effects.preferences import Taste
from reward.causal.user_effects.user_state import ItemState
from reward.columns import ITEM

NUMBERS = ("behind", "variance", "gate", "first", "group")
_VECTORS = "gate", "scale", "coefficients", "covariance"


def to_values(personal: PersonalizedEffect) -> dict[str, Any]:
    """Everything but what is told of items and the weights of the net, as JSON values."""
    answers, new = personal.answers, personal.newcomers
    return {
        "answers": {name: getattr(answers, name) for name in ("feedback", "gate", "rare", "flags")},
        "tastes": [
            {"axes": taste.axes.tolist(), "prior": taste.prior.tolist(), "noise": taste.noise}
            for taste in personal.tastes
        ],
        "newcomers": {
            "describing": [list(column) for column in new.describing],
            "group": new.group,
            "coefficients": new.coefficients.tolist(),
            "groups": new.groups,
            "group_codes": new.group_codes.tolist(),
            "group_effects": new.group_effects.tolist(),
        },
        "spans_days": personal.spans_days,
        "basket": personal.basket.tolist(),
        **{name: getattr(personal, name).tolist() for name in _VECTORS},
        **{name: _plain(getattr(personal, name)) for name in ("borne_out", "personal_borne_out")},
        "net": None if personal.net is None else len(personal.net.layers),
        "net_borne_out": None if personal.net_borne_out is None else _plain(personal.net_borne_out),
    }


def to_table(personal: PersonalizedEffect) -> pl.DataFrame:
    """One row an item, ascending, and last one without an id for all others."""
    facts, ids = personal.facts, pl.Series(ITEM, personal.ids.tolist(), _type_of(personal.ids))
    return pl.DataFrame(
        {
            ITEM: ids.extend_constant(None, 1),
            **{name: getattr(facts, name).numpy() for name in NUMBERS},
            "taste": _lists(facts.taste.numpy()),
            "answers": _lists(personal.answers.mean),
        }
    )


def to_tensors(net: EffectNet) -> dict[str, Tensor]:
    """The weights of a net, by name."""
    layers = {
        f"{place}.{name}": part
        for place, layer in enumerate(net.layers)
        for name, part in zip(("weight", "bias"), layer, strict=True)
    }
    arrays = {"centre": net.centre, "width": net.width, **layers}
    return {name: torch.from_numpy(np.ascontiguousarray(part, np.float64)) for name, part in arrays.items()}


def from_values(values: Mapping[str, Any], table: pl.DataFrame, net: Mapping[str, Tensor]) -> PersonalizedEffect:
    """The reverse of `to_values`, `to_table` and `to_tensors`; ``net`` is empty where there is none of its own."""
    told, new = values["answers"], values["newcomers"]
    tastes = tuple(
        Taste(
            np.array(taste["axes"], np.float64).reshape(len(taste["axes"]), len(taste["prior"])),
            np.array(taste["prior"], np.float64),
            taste["noise"],
        )
        for taste in values["tastes"]
    )
    gate, scale, coefficients, covariance = (np.array(values[name], np.float64) for name in _VECTORS)
    numbers = {name: torch.from_numpy(table[name].to_numpy().copy()) for name in NUMBERS}
    rows = len(table)
    facts = ItemState(
        **numbers,
        taste=torch.from_numpy(_matrix(table["taste"])),
        code=torch.arange(rows),
    )
    ids = table[ITEM].head(rows - 1).to_numpy()
    return PersonalizedEffect(
        answers=Answers(
            tuple(told["feedback"]), told["gate"], tuple(told["rare"]), tuple(told["flags"]), _matrix(table["answers"])
        ),
        tastes=tastes,
        ids=ids,
        facts=facts,
        newcomers=Newcomers(
            tuple(Column(*column) for column in new["describing"]),
            new["group"],
            np.array(new["coefficients"], np.float64),
            tuple(new["groups"]),
            np.array(new["group_codes"], np.int64),
            np.array(new["group_effects"], np.float64),
        ),
        spans_days=tuple(values["spans_days"]),
        basket=np.array(values["basket"], np.int64),
        gate=gate,
        scale=scale,
        coefficients=coefficients,
        covariance=covariance,
        net=_net(values.get("net"), net),
        borne_out=_held_out(values["borne_out"]),
        personal_borne_out=_held_out(values["personal_borne_out"]),
        net_borne_out=None if values.get("net_borne_out") is None else _held_out(values["net_borne_out"]),
    )


def _lists(rows: NDArray[np.float64]) -> pl.Series:
    """(n, k) as n lists."""
    if not rows.shape[1]:
        return pl.Series([[]] * len(rows), dtype=pl.List(pl.Float64))
    return pl.Series(np.ascontiguousarray(rows)).arr.to_list()


def digest(personal: PersonalizedEffect) -> str:
    """A hash of all of it; without polars, which a forked process cannot use."""
    found = hashlib.sha256(json.dumps(to_values(personal)).encode())
    found.update(json.dumps(personal.ids.tolist()).encode())
    weights = {} if personal.net is None else to_tensors(personal.net)
    for array in (personal.answers.mean, *(part.numpy() for part in (*personal.facts, *weights.values()))):
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def _matrix(lists: pl.Series) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    width = lists.list.len()[0]
    return (
        lists.explode().to_numpy().astype(np.float64).reshape(len(lists), width) if width else np.zeros((len(lists), 0))
    )


def _type_of(ids: NDArray[Any]) -> type[pl.DataType]:
    return pl.String if ids.dtype == object else pl.Int64


def _plain(found: HeldOut) -> dict[str, Any]:
    return {"slope": found.slope, "se": found.se if isfinite(found.se) else None}


def _held_out(values: Mapping[str, Any]) -> HeldOut:
    return HeldOut(values["slope"], inf if values["se"] is None else values["se"])


def _net(told: Any, weights: Mapping[str, Tensor]) -> EffectNet | None:
    """The net of ``told`` layers, or before format 5 all of it."""
    if told is None:
        return None
    if isinstance(told, int):
        arrays = {name: tensor.numpy() for name, tensor in weights.items()}
        layers = tuple((arrays[f"{place}.weight"], arrays[f"{place}.bias"]) for place in range(told))
        return EffectNet(arrays["centre"], arrays["width"], layers)
    centre, width = (np.array(told[name], np.float64) for name in ("centre", "width"))
    layers = tuple((np.array(weight, np.float64), np.array(bias, np.float64)) for weight, bias in told["layers"])
    return EffectNet(centre, width, layers)
