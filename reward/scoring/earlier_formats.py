"""What manifests of the formats 1 to 6 say of the parts of a network, in the form of today.

There the head and the outcome that rewards are measured in stood apart from the others and had no name. The task gets
the one that the settings of its training have for it, which the facts tell; else that of its outcome's class.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NotRequired, TypedDict, TypeVar

from reward.scoring.parts import Parts, TaskParts
from reward.targets import TARGET
from reward.task import is_task_name, task_of_before, weight_of_today

_Tensor = TypeVar("_Tensor")  # a tensor, or its shape
SINCE = 7  # the first format in which all tasks are alike
_ENSEMBLES_SINCE = 3
_ENSEMBLE = {f"head.{name}": f"head.ensemble.{name}" for name in ("inner.weight", "inner.bias", "outer", "bias")}


class EarlierParts(TypedDict):
    """What a manifest of before says of the parts."""

    encoder: dict[str, Any]
    head: dict[str, Any]
    outcome: dict[str, Any]
    also: NotRequired[dict[str, TaskParts]]
    item_dropout: float
    recall_days: NotRequired[list[float]]
    max_events: int


def parts_of_today(parts: EarlierParts, facts: Mapping[str, Any]) -> Parts:
    """Parts with all tasks alike.

    Args:
        parts: of a manifest of before.
        facts: what else it says of itself.
    """
    others = parts.get("also", {})
    reward = _named_by(facts, others) or task_of_before(str(parts["outcome"].get(TARGET)), others)
    return {
        "encoder": parts["encoder"],
        "tasks": {reward: {"head": parts["head"], "outcome": parts["outcome"]}, **others},
        "reward": reward,
        "item_dropout": parts["item_dropout"],
        "recall_days": parts.get("recall_days", []),
        "max_events": parts["max_events"],
    }


def named(tensors: Mapping[str, _Tensor], reward: str, version: int) -> dict[str, _Tensor]:
    """Shapes or tensors by the names of today's modules.

    Args:
        tensors: by their names in a file.
        reward: the task that rewards are measured in.
        version: of the format of the file.

    Raises:
        ValueError: two of them have one name.
    """
    found = dict(_named(tensors, reward, version))
    if len(found) < len(tensors):
        raise ValueError("its weights expected one tensor of each name, two of them go by one: get the artefact again")
    return found


def _named(tensors: Mapping[str, _Tensor], reward: str, version: int) -> Iterator[tuple[str, _Tensor]]:
    for name, each in tensors.items():
        today = _ENSEMBLE.get(name, name) if version < _ENSEMBLES_SINCE else name
        yield (weight_of_today(today, reward) if version < SINCE else today), each


def _named_by(facts: Mapping[str, Any], others: Mapping[str, Any]) -> str | None:
    """The name in the settings of the training, where they have one more task than ``others``."""
    config = facts.get("config")
    tasks = config.get("task") if isinstance(config, dict) else None
    if not isinstance(tasks, dict):
        return None
    left = tasks.keys() - others.keys()
    found = left.pop() if len(left) == 1 and len(tasks) == 1 + len(others) else ""
    return found if is_task_name(found) else None
