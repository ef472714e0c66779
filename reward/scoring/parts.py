"""The parts of an artefact: how each is written down, and how they fit one another and the weights beside them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict

import torch
from torch import Tensor

from reward.outcomes.protocol import STATES
from reward.plain import shown
from reward.scoring.bounded import Shape, tensor_shapes, tensors
from reward.scoring.manifest import WEIGHTS
from reward.scoring.sealed import Sealed
from reward.sequences.network import RewardNetwork
from reward.targets import TARGET

_MOST_EVENTS = 1 << 20  # of a history
_MOST_TASKS = 101
_MOST_HALF_LIVES = 100
_FLOATS = {"F64", "F32", "F16", "BF16"}


class TaskParts(TypedDict):
    """What a manifest says of a task."""

    head: dict[str, Any]
    outcome: dict[str, Any]


class Parts(TypedDict):
    """What a manifest says of the parts."""

    encoder: dict[str, Any]
    tasks: dict[str, TaskParts]
    reward: str
    item_dropout: float
    recall_days: list[float]
    max_events: int


def part(instance: Any) -> dict[str, Any]:
    """How to build a part again: its class and constructor arguments, kept as attributes of the same name."""
    kind = type(instance)
    names = list(inspect.signature(kind).parameters)
    return {TARGET: f"{kind.__module__}.{kind.__qualname__}", **{name: getattr(instance, name) for name in names}}


def modules_of(parts: Parts) -> set[str]:
    """Where the parts of the network are from."""
    specs = [parts["encoder"], *(each["head"] for each in parts["tasks"].values())]
    return {str(spec.get(TARGET)).rpartition(".")[0] for spec in specs}


def check_sizes(parts: Parts) -> None:
    """See that the numbers of the parts are in range.

    Raises:
        ValueError: one is not.
    """
    if not 1 <= parts["max_events"] <= _MOST_EVENTS:
        raise ValueError(f"max_events expected 1 to {_MOST_EVENTS}, got {parts['max_events']}")
    if not 0 <= parts["item_dropout"] <= 1:
        raise ValueError(f"item_dropout expected a share, got {parts['item_dropout']}")
    half_lives = parts["recall_days"]
    if len(half_lives) > _MOST_HALF_LIVES or not all(days > 0 for days in half_lives):
        raise ValueError(f"recall_days expected at most {_MOST_HALF_LIVES} half-lives above 0, got {shown(half_lives)}")
    if len(parts["tasks"]) > _MOST_TASKS:
        raise ValueError(f"tasks expected at most {_MOST_TASKS}, got {len(parts['tasks'])}")


def filled(
    network: Callable[[], RewardNetwork],
    shapes: Mapping[str, Shape],
    sealed: Sealed,
    *,
    named: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]],
    on_trial: bool,
) -> RewardNetwork:
    """The network with its weights; built once its tensors are known to have the shapes of those in the file.

    Args:
        network: makes it.
        shapes: of the tensors in the file, by the names of today's modules.
        sealed: the artefact.
        named: tensors of the file by the names of today's modules.
        on_trial: whether it is made without memory first; a part that does not ship with `reward` may not be fit for
            that, and is built at once.

    Raises:
        ValueError: the tensors do not fit, or hold numbers that none may.
    """
    later = [] if sealed.version > 3 else [".frailty"]  # tensors that came with a later format
    if on_trial:
        with torch.device("meta"):
            _check_shapes(network().state_dict(), shapes, later)
    made = network()
    own = made.state_dict()
    _check_shapes(own, shapes, later)
    weights = named(tensors(sealed.read(WEIGHTS, tensor_shapes)))
    wrong = [name for name, tensor in weights.items() if not tensor.isfinite().all()]
    wrong += [name for name, tensor in weights.items() if name.endswith(".frailty") and (tensor < 0).any()]
    if wrong:
        raise ValueError(f"its tensor {wrong[0]} has numbers that are not finite, or negative where none may be")
    made.load_state_dict({name: torch.zeros_like(tensor) for name, tensor in own.items()} | dict(weights))
    return made


def _check_shapes(expected: Mapping[str, Tensor], shapes: Mapping[str, Shape], later: Sequence[str]) -> None:
    missing = [name for name in expected if name not in shapes and not name.endswith(tuple(later))]
    unknown = [name for name in shapes if name not in expected]
    unlike = [
        f"{name} is {shapes[name].dtype} {list(shapes[name].sizes)}, its parts make it {list(tensor.shape)}"
        for name, tensor in expected.items()
        if name in shapes
        and (shapes[name].sizes != tuple(tensor.shape) or (shapes[name].dtype in _FLOATS) != tensor.is_floating_point())
    ]
    unfit = [
        *(f"{name} is missing" for name in missing[:3]),
        *(f"{shown(name)} is unknown" for name in unknown[:3]),
        *unlike[:3],
    ]
    if unfit:
        raise ValueError(f"{WEIGHTS} does not fit the parts of the artefact: {'; '.join(unfit)}")


def check_horizons(network: RewardNetwork, tasks: Mapping[str, Any], horizon_days: int) -> None:
    """See that heads and outcomes tell of the same days and answers, and that heads read what the encoder gives.

    Args:
        network: with a head for each task.
        tasks: their outcomes, by name.
        horizon_days: what the manifest says.

    Raises:
        ValueError: they do not.
    """
    pairs = {name: (network.heads[name], each) for name, each in tasks.items()}
    problems = [
        f"{name}: {what} is {shown(getattr(head, what))}, that of its outcome {shown(getattr(told, what))}"
        for name, (head, told) in pairs.items()
        for what in ("horizon_days", "levels")
        if hasattr(head, what) and hasattr(told, what) and _plain(getattr(head, what)) != _plain(getattr(told, what))
    ]
    once = {name: [getattr(it, "once", False) for it in pair] for name, pair in pairs.items()}
    problems += [
        f"{name}: once is {shown(given)}, that of its outcome {shown(wanted)}"
        for name, (given, wanted) in once.items()
        if given != wanted
    ]
    widths = {name: head.width for name, (head, _) in pairs.items() if hasattr(head, "width")}
    problems += [
        f"{name} reads {width} numbers, the encoder gives {network.encoder.width}"
        for name, width in widths.items()
        if width != network.encoder.width
    ]
    outcome = tasks[network.reward]
    if tuple(outcome.states) != STATES:
        problems.append(f"the outcome that rewards are measured in is one of {', '.join(outcome.states)} alone")
    if horizon_days != outcome.horizon_days:
        problems.append(f"horizon_days is {horizon_days}, that of its outcome {outcome.horizon_days}")
    if problems:
        raise ValueError("its parts do not fit each other: " + "; ".join(problems))


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, list | tuple) else value
