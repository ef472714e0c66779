"""What an artefact keeps of its model of effects: values in the manifest, a table and tensors beside it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from reward.causal.protocol import EffectModel
from reward.causal.user_effects.earlier_formats import converted
from reward.causal.user_effects.model import PersonalizedEffect
from reward.columns import ITEM
from reward.features.events import Features
from reward.plain import check
from reward.scoring.bounded import check_table, table, table_bytes, tensor_shapes, tensors
from reward.scoring.manifest import EFFECTS, ITEMS, NET
from reward.scoring.sealed import Sealed
from reward.targets import TARGET, resolve

_WITH_A_TARGET = 6  # the first format that names the class


def write_effects(effects: EffectModel, folder: Path) -> dict[str, Any]:
    """Write the table and the tensors of a model, where it has any; returns what the manifest says of it."""
    kept, weights = effects.to_table(), effects.state_dict()
    if kept is not None:
        (folder / EFFECTS).write_bytes(table_bytes(kept))
    if weights:
        whole = {name: tensor.cpu().contiguous() for name, tensor in weights.items()}
        (folder / NET).write_bytes(safetensors.torch.save(whole))
    kind = type(effects)
    return {TARGET: f"{kind.__module__}.{kind.__qualname__}", **effects.to_json()}


def read_effects(sealed: Sealed, features: Features, trust: frozenset[str]) -> EffectModel | None:
    """The model of effects of an artefact, which checks itself what it is made of; None: it has none.

    Args:
        sealed: the artefact.
        features: of it.
        trust: modules of classes that do not ship with `reward`.

    Raises:
        ValueError: something in it does not fit.
    """
    told = sealed.manifest.get("effects")
    if told is None:
        return None
    check(told, dict[str, Any], "effects")
    kept: Mapping[str, Any] = sealed.manifest["sha256"]
    check_it = partial(check_table, packed=sealed.version < 5)
    items = table(sealed.read(EFFECTS, check_it)) if EFFECTS in kept else None
    ids = features.items.schema[ITEM]
    if items is not None and ITEM in items.columns and items.schema[ITEM].is_integer() != ids.is_integer():
        raise ValueError(f"{EFFECTS} has {ITEM} as {items.schema[ITEM]}, {ITEMS} as {ids}")
    weights: dict[str, Tensor] = tensors(sealed.read(NET, tensor_shapes)) if NET in kept else {}
    if sealed.version < _WITH_A_TARGET:
        values, weights = converted(told, weights)
        return PersonalizedEffect.restored(values, items, weights, features)
    kind: type[EffectModel] = resolve(told.get(TARGET), "effects", trust)
    return kind.restored({name: it for name, it in told.items() if name != TARGET}, items, weights, features)
