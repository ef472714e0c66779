"""The personal part of artefacts of the formats 2 to 5, in the form of today."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict

import torch
from torch import Tensor

from reward.causal.stored import NewcomersJson, SlopeJson
from reward.causal.user_effects.restored import AnswersJson, TasteJson
from reward.causal.user_effects.state_dict import NET, VECTORS
from reward.plain import check, shown

_SLOPES = {
    "calibration": "borne_out",
    "personal_calibration": "personal_borne_out",
    "net_calibration": "net_borne_out",
}


class _Net(TypedDict):
    centre: list[float]
    width: list[float]
    layers: list[tuple[list[list[float]], list[float]]]


class _Values(TypedDict):
    answers: AnswersJson
    tastes: list[TasteJson]
    newcomers: NewcomersJson
    spans_days: list[float]
    basket: list[int]
    gate: list[float]
    scale: list[float]
    coefficients: list[float]
    covariance: list[list[float]]
    borne_out: SlopeJson
    personal_borne_out: SlopeJson
    net: NotRequired[_Net | int | None]
    net_borne_out: NotRequired[SlopeJson | None]


def converted(values: Any, net: Mapping[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What `PersonalizedEffect.restored` reads: plain values, and tensors by name.

    Args:
        values: of the manifest, which had what is in tensors today.
        net: tensors of the net, in format 5; before, its numbers were among the values.

    Raises:
        ValueError: they are not what these formats had.
    """
    check(values, _Values, "effects")
    kept = ("answers", "tastes", "newcomers", "spans_days")
    told = {name: values[name] for name in kept} | {name: values.get(old) for name, old in _SLOPES.items()}
    tensors = {name: _tensor(values[name], name) for name in VECTORS}
    tensors["basket"] = torch.tensor(values["basket"], dtype=torch.int64)
    return told, tensors | {f"{NET}{name}": tensor for name, tensor in _net(values.get("net"), net).items()}


def _net(told: Any, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of the net by their names of today; ``told`` is how many layers it has, or all of it."""
    if isinstance(told, dict) and told["layers"] and not weights:
        layers = {
            f"stack.{place}.{name}": _tensor(part, name)
            for place, layer in enumerate(told["layers"])
            for name, part in zip(("weight", "bias"), layer, strict=True)
        }
        return {name: _tensor(told[name], name) for name in ("centre", "width")} | layers
    count = sum(name.endswith(".weight") for name in weights)
    if isinstance(told, dict | bool) or (told or 0) != count or (told is None) != (not weights):
        raise ValueError(f"its effects do not fit: a net of {shown(told)} has weights of {count} layers")
    return {name if name in ("centre", "width") else f"stack.{name}": tensor for name, tensor in weights.items()}


def _tensor(values: Any, name: str) -> Tensor:
    try:
        return torch.tensor(values, dtype=torch.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"its effects do not fit: rows of {name} expected one length") from error
