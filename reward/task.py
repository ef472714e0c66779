"""A task: an outcome, the head that predicts it, the objective that trains the head, and the weight of its loss.

A model has a dict of tasks by name, all alike. ``reward`` names the one whose outcome rewards are measured in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor, nn

from reward.heads import Head
from reward.outcomes.protocol import Outcome
from reward.plain import shown

_Part = TypeVar("_Part")
_TASK_OF = {"ReturnTime": "return_time", "ActivityTrace": "active_days"}  # the task of an outcome's class, before


@dataclass(frozen=True)
class Task:
    """What is learned of one outcome.

    Attributes:
        outcome: what is predicted; see `reward.outcomes`.
        head: what predicts it; see `reward.heads`.
        objective: ``(**named tensors) -> (..., members)``, one loss a row; see `reward.objectives`.
        weight: of its loss, relative to the weights of the other tasks.
    """

    outcome: Outcome
    head: Head
    objective: Callable[..., Tensor]
    weight: float = 1.0

    @property
    def states(self) -> tuple[str, ...]:
        """The states that learn it; see `Outcome`."""
        return tuple(self.outcome.states)

    @property
    def sequential(self) -> bool:
        """Whether the next state in the stream waits for the same outcome: what the user does, and not to one item."""
        return getattr(self.outcome, "scope", "user") == "user" and "after" in self.outcome.states


def reward_first(parts: Mapping[str, _Part], reward: str) -> dict[str, _Part]:
    """Parts by the names of their tasks, that of the reward's task first.

    Losses add up in this order, and weights stand in it in a network: both stay the same, whatever order came.

    Args:
        parts: one of each task.
        reward: the task that rewards are measured in.

    Raises:
        ValueError: ``reward`` is no task, or a task has a name that no module can have.

    >>> list(reward_first({"survey": 1, "active_days": 2}, "active_days"))
    ['active_days', 'survey']
    """
    check_task_names(parts)
    if reward not in parts:
        tasks = shown(list(parts))
        raise ValueError(
            f"reward expected the name of a task, of {tasks}, got {shown(reward)}: name one of these, or add the task"
        )
    return {reward: parts[reward], **parts}


def is_task_name(name: str) -> bool:
    """Whether a network can hold a head by this name."""
    return name != "" and "." not in name and not hasattr(nn.ModuleDict(), name)


def check_task_names(names: Iterable[str]) -> None:
    """See that a network can hold heads by these names.

    Raises:
        ValueError: it cannot.
    """
    wrong = [name for name in names if not is_task_name(name)]
    if wrong:
        raise ValueError(
            f"names of tasks expected text without a dot that is no attribute of torch.nn.ModuleDict, got "
            f"{', '.join(map(shown, wrong[:3]))}: give the task another name"
        )


def weight_of_today(name: str, reward: str) -> str:
    """What a weight of a network is called, by its name of before, when the head of the reward's task stood apart.

    Args:
        name: of a tensor in the ``state_dict`` of a `reward.sequences.network.RewardNetwork`.
        reward: the task that rewards are measured in.

    >>> weight_of_today("head.scale", "active_days"), weight_of_today("also.survey.scale", "active_days")
    ('heads.active_days.scale', 'heads.survey.scale')
    """
    for before, now in (("head.", f"heads.{reward}."), ("also.", "heads.")):
        if name.startswith(before):
            return now + name.removeprefix(before)
    return name


def task_of_before(outcome: str, others: Iterable[str]) -> str:
    """A name for the reward's task where it had none: in configs and artefacts of before it was the outcome itself.

    Args:
        outcome: the name of the outcome's class, with or without its module.
        others: the names of the other tasks, none of which it gets.

    Returns:
        The name; with ``_`` appended until no other task has it and a network can hold a head by it.

    >>> task_of_before("reward.outcomes.activity.ActivityTrace", ["return_time"])
    'active_days'
    >>> task_of_before("ReturnTime", ["return_time"])
    'return_time_'
    """
    kind, taken = outcome.rpartition(".")[2], set(others)
    name = _TASK_OF.get(kind, kind.lower())
    while name in taken or not is_task_name(name):
        name += "_"
    return name
