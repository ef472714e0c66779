"""Effects from an artefact: what it says of them, checked before anybody is scored by them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NotRequired, TypedDict

import numpy as np
import polars as pl
import torch
from torch import Tensor

from reward.causal.user_effects.model import PersonalizedEffect
from reward.causal.user_effects.storage import NUMBERS, from_values
from reward.causal.user_effects.user_state import Events, UserHistory
from reward.columns import ITEM
from reward.features.events import Features
from reward.plain import check

_MOST_SPANS = 100
_MOST_BASKET = 10_000


class _Answers(TypedDict):
    feedback: list[str]
    gate: str | None
    rare: list[str]
    flags: list[str]


class _Taste(TypedDict):
    axes: list[list[float]]
    prior: list[float]
    noise: float


class _Newcomers(TypedDict):
    describing: list[tuple[str, int | str | None, float, float]]
    group: str | None
    coefficients: list[float]
    groups: list[str]
    group_codes: list[int]
    group_effects: list[float]


class _HeldOut(TypedDict):
    slope: float
    se: float | None


class _Net(TypedDict):
    centre: list[float]
    width: list[float]
    layers: list[tuple[list[list[float]], list[float]]]


class _Values(TypedDict):
    answers: _Answers
    tastes: list[_Taste]
    newcomers: _Newcomers
    spans_days: list[float]
    basket: list[int]
    gate: list[float]
    scale: list[float]
    coefficients: list[float]
    covariance: list[list[float]]
    borne_out: _HeldOut
    personal_borne_out: _HeldOut
    net: NotRequired[_Net | int | None]
    net_borne_out: NotRequired[_HeldOut | None]


def restored(values: Any, table: pl.DataFrame, net: Mapping[str, Tensor], features: Features) -> PersonalizedEffect:
    """The personal part that `to_values`, `to_table` and `to_tensors` told of.

    Args:
        values: from a file that nobody vouches for.
        table: the same.
        net: the same; empty where there is no such file.
        features: of the artefact whose effects they are.

    Raises:
        ValueError: they do not fit each other or the features, or hold what no estimate leaves.
    """
    check(values, _Values, "effects")
    problems = [*_flaws(values, features), *_flaws_of_net(values.get("net"), net), *_flaws_of_table(values, table)]
    if problems:
        raise ValueError("its effects do not fit: " + "; ".join(problems))
    personal = from_values(values, table, net)
    _score_nothing(personal)
    return personal


def _flaws(values: Mapping[str, Any], features: Features) -> Iterator[str]:
    told, new = values["answers"], values["newcomers"]
    columns = {*features.feedback}
    gates = set() if told["gate"] is None else {told["gate"]}
    if not {*told["feedback"], *gates} <= columns or not gates <= {*told["feedback"][:1]}:
        yield "answers are to no feedback of the log"
    if not {*told["rare"], *told["flags"]} <= {*told["feedback"], *columns}:
        yield "rare answers and flags are none of the answers"
    if len(values["tastes"]) != len(told["feedback"]):
        yield f"there are {len(values['tastes'])} tastes for {len(told['feedback'])} answers"
    described = len(new["describing"])
    for taste in values["tastes"]:
        if not _is_shaped(taste["axes"], described, len(taste["prior"])) or min(taste["prior"], default=0) < 0:
            yield "a taste has directions of another shape than what describes items"
    kinds = {*features.item_features}
    if not {column[0] for column in new["describing"]} <= kinds or any(column[3] <= 0 for column in new["describing"]):
        yield "new items are described by what is no feature of items"
    if len(new["coefficients"]) != 1 + described:
        yield f"new items have {len(new['coefficients'])} coefficients for {described} columns"
    sizes = {len(new[name]) for name in ("groups", "group_codes", "group_effects")}
    if len(sizes) > 1 or new["groups"] != sorted(set(new["groups"])):
        yield "groups expected different names in order, with a code and an effect each"
    if not 0 < len(values["spans_days"]) <= _MOST_SPANS or min(values["spans_days"]) <= 0:
        yield f"spans_days expected 1 to {_MOST_SPANS} above 0"
    size = len(values["coefficients"])
    if len(values["scale"]) != size or not _is_shaped(values["covariance"], size, size) or 0 in values["scale"]:
        yield f"{size} coefficients have a scale or covariance of another shape"


def _is_shaped(rows: Sequence[Sequence[float]], height: int, width: int) -> bool:
    return len(rows) == height and all(len(row) == width for row in rows)


def _is_net(net: Mapping[str, Any]) -> bool:
    inputs = len(net["centre"])
    if not net["layers"] or len(net["width"]) != inputs or min(net["width"], default=1) <= 0:
        return False
    for weight, bias in net["layers"]:
        if not _is_shaped(weight, len(bias), inputs):
            return False
        inputs = len(bias)
    return inputs == 1


def _flaws_of_net(told: Any, weights: Mapping[str, Tensor]) -> Iterator[str]:
    fits = _is_net_of(told, weights) if isinstance(told, int) else not weights and (told is None or _is_net(told))
    if not fits:
        yield "the layers of the net do not fit each other"


def _is_net_of(layers: int, weights: Mapping[str, Tensor]) -> bool:
    sizes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    finite = all(tensor.dtype == torch.float64 and tensor.isfinite().all() for tensor in weights.values())
    if not finite or not layers > 0 or len(weights) != 2 + 2 * layers or len(sizes.get("centre", ())) != 1:
        return False
    inputs = sizes["centre"]
    if sizes.get("width") != inputs or not (weights["width"] > 0).all():
        return False
    for place in range(layers):
        outputs = sizes.get(f"{place}.bias", ())
        if len(outputs) != 1 or sizes.get(f"{place}.weight") != (*outputs, *inputs):
            return False
        inputs = outputs
    return inputs == (1,)


def _flaws_of_table(values: Mapping[str, Any], table: pl.DataFrame) -> Iterator[str]:
    kinds = dict(table.schema)
    vectors = {"taste": sum(len(taste["prior"]) for taste in values["tastes"]), "answers": len(values["tastes"])}
    expected = {ITEM, *NUMBERS, *vectors}
    if set(kinds) != expected or not len(table):
        yield f"{len(table)} rows of {len(kinds)} columns, expected some of {', '.join(sorted(expected))}"
        return
    ids = table[ITEM].head(len(table) - 1)
    if ids.dtype not in (pl.Int64, pl.String) or ids.null_count() or table[ITEM].null_count() != 1:
        yield f"{ITEM} expected integers or strings, and null in the last row alone"
    elif len(ids) < 1 or not (ids.slice(1) > ids.head(len(ids) - 1)).all():
        yield f"{ITEM} expected rising values"
    for name in NUMBERS:
        whole = name == "group"
        if kinds[name] != (pl.Int64 if whole else pl.Float64) or not table[name].is_finite().all():
            yield f"{name} expected {'integers' if whole else 'finite numbers'}"
            return
    if (table["variance"] < 0).any():
        yield "variance is negative"
    if not table["group"].is_between(-1, len(table) - 1).all():
        yield "group expected codes of groups, no more than there are items"
    if len(values["newcomers"]["groups"]) > len(table):
        yield "there are more groups than items"
    if len(values["basket"]) > _MOST_BASKET:
        yield f"basket expected at most {_MOST_BASKET} items"
    codes = [*values["basket"], *values["newcomers"]["group_codes"]]
    if not values["basket"] or min(codes) < -1 or min(values["basket"]) < 0 or max(codes) >= len(table):
        yield "basket and group_codes expected places of items and groups"
    for name, width in vectors.items():
        if kinds[name] != pl.List(pl.Float64) or not (table[name].list.len() == width).fill_null(False).all():
            yield f"{name} expected lists of {width} numbers"
        elif not table[name].explode(empty_as_null=False).is_finite().all():
            yield f"{name} expected finite numbers"


def _score_nothing(personal: PersonalizedEffect) -> None:
    """Score the first item for somebody without a past: shapes that do not fit show.

    Raises:
        ValueError: they do not, or the score is not finite.
    """
    nobody, now = np.zeros(0, np.int64), np.zeros(1)
    width = len(personal.answers.feedback)
    events = Events(nobody, nobody, np.zeros(0), np.zeros((0, width)), np.zeros((0, width)))
    try:
        past = UserHistory.of(
            events,
            users=1,
            answers=personal.answers,
            tastes=personal.tastes,
            facts=personal.facts,
            spans_days=personal.spans_days,
        )
        first = personal.facts.of(torch.zeros((1, 1), dtype=torch.long))
        found = personal.score(past.standing(np.zeros(1, np.int64), now), first)
    except (RuntimeError, IndexError, ValueError) as error:
        raise ValueError(f"its effects do not fit each other: {str(error).partition(chr(10))[0]}") from error
    if not all(part.isfinite().all() for part in found):
        raise ValueError("its effects score an item by what is no finite number")
