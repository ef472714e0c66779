"""Settings by the names that they had before: one table, for command lines and for the configs of old run folders."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from typing import Any

from reward.moved import today as moved
from reward.targets import TARGET
from reward.task import task_of_before
from reward.training.overrides import value_at

GROUPS = {"effects": "causal"}  # settings of before, and of today
SHARED = {"outcome.horizon_days": "horizon_days", "head.members": "members"}  # by all tasks
INSIDE = {"evaluation.policies.least_effective_rows": "min_effective_sample_size"}  # of the same group of settings
CHOICES = {("effects", "second_stage"): "personalized"}
REWARD_TASK = "active_days"
PARTS = ("outcome", "head", "objective")
_FITTING = {"active_days": ("trace", "likelihood"), "return_time": ("hazard", "hazard")}  # head and objective of before
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
        before = match["value"] or ""
        value = _chosen(name, before)
        renamed.append(f"{match['sign']}{today}{value}")
        say(f"{name}{before} is called {today}{value} now" if name in GROUPS else f"{name} is called {today} now")
    if chosen.keys() & {*PARTS, "also"}:
        tasks = ",".join([reward, *_listed(chosen.get("also", ""))])
        renamed.append(f"task=[{tasks}]")
        before = " ".join(f"{name}={value}" for name, value in chosen.items())
        say(f"{before} is called task=[{tasks}] now")
    return [*found, *renamed]


def setting(name: str, reward: str = REWARD_TASK) -> str:
    """The name that a setting has today, where ``reward`` is the task that rewards are told in."""
    if name in SHARED:
        return SHARED[name]
    if name in INSIDE:
        return f"{name.rpartition('.')[0]}.{INSIDE[name]}"
    part, dot, rest = name.partition(".")
    if part in GROUPS:
        return f"{GROUPS[part]}{dot}{rest}"
    if not dot:
        return name
    if part in PARTS:
        return f"task.{reward}.{name}"
    return f"task.{rest}" if part == "also" else name


def config_of_today(config: Mapping[str, Any], today: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The config of a run folder, as plain values with their references, by the names of today.

    Args:
        config: as it was saved.
        today: a config of today, of which parts of the same class lend those settings that the folder's do not have:
            they came later, with the values that were in the code.
    """
    values = _referring(*_by_task({GROUPS.get(name, name): deepcopy(it) for name, it in config.items()}))
    for path, now in INSIDE.items():
        place, _, before = path.rpartition(".")
        group = value_at(values, place)
        if isinstance(group, dict) and before in group:
            group[now] = group.pop(before)
    return values if today is None else {**today, **_completed(values, today)}


def _by_task(values: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Settings with all tasks alike, and the one that rewards are told in."""
    if "outcome" not in values:
        return values, REWARD_TASK
    others = values.pop("also", None) or {}
    reward = task_of_before(str(values["outcome"].get(TARGET, "")), others)
    horizon, members = values["outcome"].get("horizon_days", 14), values["head"].get("members", 1)
    parts = {name: values.pop(name) for name in PARTS}
    tasks = {reward: {**parts, "weight": 1.0}, **others}
    return values | {"horizon_days": horizon, "members": members, "reward": None, "task": tasks}, reward


def _completed(saved: Any, today: Any) -> Any:
    """Parts with the settings that they lack; what is no part stays as it is, with the parts in it completed."""
    if not isinstance(saved, Mapping) or not isinstance(today, Mapping):
        return saved
    known = {name: _completed(value, today[name]) if name in today else value for name, value in saved.items()}
    if TARGET not in saved:
        return known
    return {**today, **known} if saved[TARGET] == moved(str(today.get(TARGET))) else known


def _referring(values: Any, reward: str) -> Any:
    """Values with their references, and what they are made by, by the names of today."""
    if isinstance(values, dict):
        told = {name: _referring(it, reward) for name, it in values.items()}
        return told if TARGET not in told else told | {TARGET: moved(str(told[TARGET]))}
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


def _chosen(name: str, value: str) -> str:
    """``=value`` of a group by the choices of today."""
    if not value.startswith("="):
        return value
    return "=" + ",".join(CHOICES.get((name, choice), choice) for choice in value[1:].split(","))


def _listed(value: str) -> list[str]:
    return [name.strip() for name in value.strip("'\"[]{} ").split(",") if name.strip() and ":" not in name]
