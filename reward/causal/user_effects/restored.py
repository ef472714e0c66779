"""Effects from an artefact: what it says of them, checked before anybody is scored by them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

import numpy as np
import polars as pl
import torch
from torch import Tensor

from reward.causal.stored import NewcomersJson, SlopeJson, ids_flaws, is_finite, newcomers_flaws
from reward.causal.user_effects.state_dict import NET, NUMBERS, VECTORS
from reward.causal.user_effects.user_state import Events, UserHistory
from reward.columns import ITEM
from reward.features.events import Features
from reward.plain import check, shown

if TYPE_CHECKING:
    from reward.causal.user_effects.model import PersonalizedEffect

_MOST_SPANS = 100
_MOST_BASKET = 10_000


class AnswersJson(TypedDict):
    """How feedback is read."""

    feedback: list[str]
    gate: str | None
    rare: list[str]
    flags: list[str]
    unopened: NotRequired[float]


class TasteJson(TypedDict):
    """Of one column of answers."""

    axes: list[list[float]]
    prior: list[float]
    noise: float


class _Values(TypedDict):
    answers: AnswersJson
    tastes: list[TasteJson]
    newcomers: NewcomersJson
    spans_days: list[float]
    calibration: SlopeJson
    personal_calibration: SlopeJson
    net_calibration: SlopeJson | None


def checked(
    told: Any, table: pl.DataFrame | None, tensors: Mapping[str, Tensor], features: Features
) -> tuple[Mapping[str, Any], pl.DataFrame, Mapping[str, Tensor]]:
    """The parts of a `PersonalizedEffect` as they were saved, in the order of `arguments`.

    Args:
        told: from a file that nobody vouches for.
        table: the same.
        tensors: the same.
        features: of the artefact whose effects they are.

    Raises:
        ValueError: they do not fit each other or the features, or hold what no estimate leaves.
    """
    check(told, _Values, "effects")
    if table is None:
        raise ValueError("its effects do not fit: there is no table of items")
    problems = [
        *_flaws(told, features),
        *_flaws_of_tensors(tensors),
        *_flaws_of_table(told, table),
        *_flaws_of_basket(tensors.get("basket"), len(table)),
    ]
    if problems:
        raise ValueError("its effects do not fit: " + "; ".join(problems))
    return told, table, tensors


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
    if not 0 <= told.get("unopened", 0.0) <= 1:
        yield f"unopened={told['unopened']!r} expected a share"
    described = len(new["describing"])
    for taste in values["tastes"]:
        if not _is_shaped(taste["axes"], described, len(taste["prior"])) or min(taste["prior"], default=0) < 0:
            yield "a taste has directions of another shape than what describes items"
    yield from newcomers_flaws(new, features)
    if not 0 < len(values["spans_days"]) <= _MOST_SPANS or min(values["spans_days"]) <= 0:
        yield f"spans_days expected 1 to {_MOST_SPANS} above 0"


def _is_shaped(rows: Sequence[Sequence[float]], height: int, width: int) -> bool:
    return len(rows) == height and all(len(row) == width for row in rows)


def _flaws_of_tensors(tensors: Mapping[str, Tensor]) -> Iterator[str]:
    own = {name: tensor for name, tensor in tensors.items() if not name.startswith(NET)}
    net = {name.removeprefix(NET): tensor for name, tensor in tensors.items() if name.startswith(NET)}
    if set(own) != {"basket", *VECTORS}:
        yield f"it has tensors named {shown(', '.join(sorted(own)))}, expected basket, {', '.join(VECTORS)}"
        return
    wrong = [name for name, it in tensors.items() if name != "basket" and not is_finite(it)]
    if wrong:
        yield f"{shown(wrong[0])} expected finite numbers in double precision"
        return
    size = len(own["coefficients"]) if own["coefficients"].ndim == 1 else -1
    shapes = {name: tuple(own[name].shape) for name in VECTORS}
    if shapes["scale"] != (size,) or shapes["covariance"] != (size, size) or not (own["scale"] != 0).all():
        yield f"{size} coefficients have a scale or covariance of another shape"
    if own["gate"].ndim != 1:
        yield "gate expected one coefficient a column"
    if net and not _is_net(net):
        yield "the layers of the net do not fit each other"


def _flaws_of_basket(basket: Tensor | None, rows: int) -> Iterator[str]:
    if basket is None or basket.dtype != torch.int64 or basket.ndim != 1 or not 0 < len(basket) <= _MOST_BASKET:
        yield f"basket expected 1 to {_MOST_BASKET} places of items"
    elif int(basket.min()) < 0 or int(basket.max()) >= rows:
        yield "basket expected places of items"


def _is_net(net: Mapping[str, Tensor]) -> bool:
    layers = sum(name.endswith(".weight") for name in net)
    sizes = {name: tuple(tensor.shape) for name, tensor in net.items()}
    if not layers or len(net) != 2 + 2 * layers or len(sizes.get("centre", ())) != 1:
        return False
    inputs = sizes["centre"]
    if sizes.get("width") != inputs or not (net["width"] > 0).all():
        return False
    for place in range(layers):
        outputs = sizes.get(f"stack.{place}.bias", ())
        if len(outputs) != 1 or sizes.get(f"stack.{place}.weight") != (*outputs, *inputs):
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
    yield from ids_flaws(table)
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
    codes = values["newcomers"]["group_codes"]
    if min(codes, default=0) < -1 or max(codes, default=0) >= len(table):
        yield "group_codes expected places of groups"
    for name, width in vectors.items():
        if kinds[name] != pl.List(pl.Float64) or not (table[name].list.len() == width).fill_null(False).all():
            yield f"{name} expected lists of {width} numbers"
        elif not table[name].explode(empty_as_null=False).is_finite().all():
            yield f"{name} expected finite numbers"


def check_scores(personal: PersonalizedEffect) -> None:
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
        found = personal.score(past.state(np.zeros(1, np.int64), now), first)
    except (RuntimeError, IndexError, ValueError) as error:
        raise ValueError(f"its effects do not fit each other: {str(error).partition(chr(10))[0]}") from error
    if not all(part.isfinite().all() for part in found):
        raise ValueError("its effects score an item by what is no finite number")
