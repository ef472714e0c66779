"""Wiring by name: parts are checked against each other and against their signatures before anything is built."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from reward.heads import Head
from reward.outcomes.protocol import Outcome
from reward.targets import TARGET, locate

UNSET = "???"  # a value that a config leaves to be given
RESERVED = {TARGET, "_partial_", "_args_", "_convert_", "_recursive_"}


def check_signatures(config: Mapping[str, Any]) -> None:
    """Bind every node with a ``_target_`` to the target's signature, without calling it.

    Args:
        config: a resolved config as plain containers.

    Raises:
        TypeError: lists every key that a target does not take and every argument that is missing.
    """
    problems = misfits(config)
    if problems:
        raise TypeError("the config does not fit the parts it names:\n" + "\n".join(f"  - {line}" for line in problems))


def misfits(config: Mapping[str, Any]) -> list[str]:
    """What `check_signatures` lists."""
    return [problem for path, node in _nodes(config, "") for problem in _misfits(path, node)]


def _nodes(node: Any, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(node, Mapping):
        if TARGET in node:
            yield path, node
        for key, child in node.items():
            yield from _nodes(child, f"{path}.{key}" if path else str(key))
    elif isinstance(node, list):
        for place, child in enumerate(node):
            yield from _nodes(child, f"{path}[{place}]")


def _misfits(path: str, node: Mapping[str, Any]) -> Iterator[str]:
    if not isinstance(node[TARGET], str):
        yield f"{path}.{TARGET}: expected the full path of a class or function, got {node[TARGET]!r}"
        return
    try:
        target = locate(node[TARGET])
    except TypeError as error:
        yield f"{path}: {error}"
        return
    try:
        parameters = inspect.signature(target).parameters
    except ValueError:  # a builtin such as dict, which does not say what it takes
        return
    given = {key for key in node if key not in RESERVED}
    unknown = sorted(given - parameters.keys())
    if unknown and not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        yield f"{path}: {node[TARGET]} takes no {', '.join(unknown)}; it takes {', '.join(parameters)}"
    needed = [
        name
        for name, parameter in parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    missing = [name for name in needed if name not in given and not node.get("_partial_")]
    missing += sorted(name for name in given if node[name] == UNSET)
    if missing:
        yield f"{path}: {node[TARGET]} needs {', '.join(missing)}; set {', '.join(f'{path}.{it}' for it in missing)}"


def check_names(head: Head, outcome: Outcome, objective: Callable[..., Any]) -> None:
    """An objective's parameters are the head's outputs and the outcome's targets, by name.

    Raises:
        TypeError: lists what the objective reads that nobody provides, and what is provided that it does not read.
    """
    parameters = inspect.signature(objective).parameters
    wanted = {name for name, parameter in parameters.items() if parameter.default is parameter.empty}
    provided = {*head.outputs, *outcome.targets}
    missing, unread = sorted(wanted - provided), sorted(provided - set(parameters))
    if missing or unread:
        raise TypeError(
            f"head, outcome and objective do not fit: {_name(objective)} reads {', '.join(sorted(wanted))}; "
            f"{type(head).__name__} gives {', '.join(head.outputs)} and {type(outcome).__name__} gives "
            f"{', '.join(outcome.targets)}; missing: {', '.join(missing) or 'nothing'}; "
            f"unread: {', '.join(unread) or 'nothing'}"
        )


def check_sums(head: Head, outcome: Outcome, place: str) -> None:
    """A head's value adds up what the outcome's days add up to: one event at most, or all days from it on.

    Raises:
        TypeError: they differ.
    """
    given, wanted = getattr(head, "once", False), getattr(outcome, "once", False)
    if given != wanted:
        raise TypeError(
            f"{place}head.once expected {str(wanted).lower()}, for a value is {outcome.unit} by "
            f"{type(outcome).__name__}, got {str(given).lower()}: give a head that has it so"
        )


def _name(part: Callable[..., Any]) -> str:
    return str(getattr(getattr(part, "func", part), "__name__", part))
