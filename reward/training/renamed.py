"""Settings by the names that they had before: one table, for command lines and for the configs of old run folders."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from typing import Any

REWARD_TASK = "active_days"
PARTS = ("outcome", "head", "objective")
_FITTING = {"active_days": ("trace", "likelihood"), "return_time": ("hazard", "hazard")}  # head and objective of before
_TASK_OF = {"ReturnTime": "return_time", "ActivityTrace": "active_days"}  # the task of an outcome's class
_OVERRIDE = re.compile(r"(?P<sign>[+~]{0,2})(?P<name>[\w./]+)(?P<value>=.*)?", re.DOTALL)


class RenamedError(ValueError):
    """A setting of before that has no place any more; the message says what to set."""


def of_today(overrides: Iterable[str], say: Callable[[str], object] = lambda _: None) -> list[str]:
    """A command line's overrides by the names of today.

    Args:
        overrides: ``name=value`` each; what is no override stays as it is.
        say: is called with a sentence for each setting that has another name now.

    Raises:
        RenamedError: a choice of before cannot be said by one of today.

    >>> of_today(["outcome.horizon_days=7", "also=[survey]", "seed=1"])
    ['seed=1', 'horizon_days=7', 'task=[active_days,survey]']
    """
    given = list(overrides)
    parsed = [_OVERRIDE.fullmatch(it) if not it.startswith("-") else None for it in given]
    chosen = {it["name"]: (it["value"] or "")[1:] for it in parsed if it and it["name"] in (*PARTS, "also", "task")}
    reward = _reward_task(chosen)
    found, renamed = [], []
    for override, match in zip(given, parsed, strict=True):
        name = match["name"] if match else ""
        if name in (*PARTS, "also"):
            continue
        today = setting(name, reward)
        if match is None or today == name:
            found.append(override)
            continue
        renamed.append(f"{match['sign']}{today}{match['value'] or ''}")
        say(f"{name} is called {today} now")
    if chosen.keys() & {*PARTS, "also"}:
        tasks = ",".join([reward, *_listed(chosen.get("also", ""))])
        renamed.append(f"task=[{tasks}]")
        before = " ".join(f"{name}={value}" for name, value in chosen.items())
        say(f"{before} is called task=[{tasks}] now")
    return [*found, *renamed]


def setting(name: str, reward: str = REWARD_TASK) -> str:
    """The name that a setting has today, where ``reward`` is the task that rewards are told in."""
    if name in ("outcome.horizon_days", "head.members"):
        return name.partition(".")[2]
    part, dot, rest = name.partition(".")
    if not dot:
        return name
    if part in PARTS:
        return f"task.{reward}.{name}"
    return f"task.{rest}" if part == "also" else name


def config_of_today(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a run folder, as plain values with their references, by the names of today."""
    values = deepcopy(dict(config))
    if "outcome" not in values:
        return values
    outcome = str(values["outcome"].get("_target_", "")).rpartition(".")[2]
    reward = _TASK_OF.get(outcome, outcome.lower())
    horizon, members = values["outcome"].get("horizon_days", 14), values["head"].get("members", 1)
    parts = {name: values.pop(name) for name in PARTS}
    tasks = {reward: {**parts, "weight": 1.0}, **(values.pop("also", None) or {})}
    values |= {"horizon_days": horizon, "members": members, "reward": None, "task": tasks}
    return _referring(values, reward)


def _referring(values: Any, reward: str) -> Any:
    """Values with their references by the names of today."""
    if isinstance(values, dict):
        return {name: _referring(it, reward) for name, it in values.items()}
    if isinstance(values, list):
        return [_referring(it, reward) for it in values]
    if not isinstance(values, str):
        return values
    return re.sub(r"(\$\{(?:oc\.select:)?)([\w.]+)", lambda it: it[1] + setting(it[2], reward), values)


def _reward_task(chosen: Mapping[str, str]) -> str:
    """The task that rewards are told in, by the choices of before or of today."""
    if "task" in chosen:
        mixed = [f"{name}={value}" for name, value in chosen.items() if name != "task"]
        if mixed:
            raise RenamedError(f"{' '.join(mixed)}: say which tasks there are by task={chosen['task']} alone")
        return (_listed(chosen["task"]) or [REWARD_TASK])[0]
    outcome = chosen.get("outcome", REWARD_TASK)
    fitting = dict(zip(("head", "objective"), _FITTING.get(outcome, ()), strict=False))
    for part in PARTS:
        if part in chosen and (not fitting or chosen[part] != fitting.get(part, outcome)):
            raise RenamedError(
                f"{part}={chosen[part]}: an outcome, its head and its objective are one choice now, a task: "
                "task=[active_days] or task=[return_time]; another one is a file of its own, conf/task/NAME.yaml"
            )
    return outcome


def _listed(value: str) -> list[str]:
    return [name.strip() for name in value.strip("'\"[]{} ").split(",") if name.strip() and ":" not in name]
