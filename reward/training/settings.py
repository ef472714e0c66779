"""Which values settings may have: checked on the resolved config, all at once, before anything is read or built."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from reward.plain import near
from reward.targets import TARGET, locate
from reward.training.bounds import BOUNDS, CALLS, OPTIONAL, PARTS, SECTIONS
from reward.training.kinds import Kind
from reward.training.overrides import value_at
from reward.training.wiring import UNSET, misfits

PARTIAL = "_partial_"
_BOUNDED = ("reward.", "torch.optim.")  # whose arguments mean what they do in conf/
_KNOWN = "reward."  # whose arguments are all in conf/


class SettingsError(ValueError):
    """Settings that will not do; the message lists every one."""


def check_settings(config: Mapping[str, Any], *, command: str = "train") -> None:
    """Check every setting that does not depend on the log.

    A part from elsewhere (``_target_``) is checked against its own signature alone, one of reward's by its bounds, too.

    Args:
        config: resolved, as plain values.
        command: whose settings they are, train or evaluate.

    Raises:
        SettingsError: lists all that is wrong.
    """
    problems = list(_sections(config, command))
    if not problems:
        problems = list(_parts(config)) if command == "train" else []
    if not problems:
        problems = [*misfits(config), *_values(config, ())]
    if not problems and command == "train":
        problems = [*_uncallable(config), *_agreements(config)]
    if problems:
        problems = list(_each_once(problems))
        lines = "\n".join(f"  - {line}" for line in problems) if len(problems) > 1 else problems[0]
        raise SettingsError(f"these settings will not do:\n{lines}" if len(problems) > 1 else lines)


def _each_once(problems: Sequence[str]) -> Iterator[str]:
    """Problems without those of settings that follow another one, which has the same problem and the same name."""
    shared = {it for it in problems if "." not in it.partition(":")[0]}
    for problem in dict.fromkeys(problems):
        _, dot, rest = problem.partition(":")[0].rpartition(".")
        if not dot or f"{rest}:{problem.partition(':')[2]}" not in shared:
            yield problem


def kind_of(path: Sequence[str]) -> Kind | None:
    """What a setting may be; None of one that nobody knows."""
    found = BOUNDS.get(".".join(path))
    for place in range(len(path)) if found is None else ():
        if found is None and place:
            found = BOUNDS.get(".".join((*path[:place], "*", *path[place + 1 :])))
    return found


def _sections(config: Mapping[str, Any], command: str) -> Iterator[str]:
    """What should hold settings and does not."""
    for name in SECTIONS[command]:
        node = value_at(config, name)
        if node is None and name in OPTIONAL:
            continue
        if not isinstance(node, Mapping):
            yield f"{name}: expected a group of settings, got {node!r}"
            continue
        needed = [
            path.rpartition(".")[2] for path in BOUNDS if path.rpartition(".")[0] == name and path not in OPTIONAL
        ]
        missing = [it for it in needed if it not in node and TARGET not in node]
        if missing:
            yield f"{name}: expected {', '.join(missing)}, there is none"


def _parts(config: Mapping[str, Any]) -> Iterator[str]:
    """Parts that are not there, or are not made the way that they are used."""
    for pattern, (needed, partial) in PARTS.items():
        for path, node in _matching(config, pattern.split("."), ()):
            if node is None and not needed:
                continue
            if not isinstance(node, Mapping) or not isinstance(node.get(TARGET), str):
                yield f"{path}: expected a part, with the path of its class or function in {TARGET}, got {node!r}"
                continue
            if node.get(PARTIAL, False) not in ((True, False) if partial is None else (partial,)):
                wanted = "true or false" if partial is None else str(partial).lower()
                yield f"{path}.{PARTIAL}: expected {wanted}, got {node.get(PARTIAL, False)!r}"
            odd = [key for key in node if key.startswith("_") and key not in (TARGET, PARTIAL)]
            if odd:
                yield f"{path}: expected no {', '.join(odd)}"


def _matching(node: Any, pattern: list[str], path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """Where a pattern leads, and what is there; nothing where the way there is null."""
    if not pattern:
        yield ".".join(path), node
    elif isinstance(node, Mapping):
        names = list(node) if pattern[0] == "*" else [pattern[0]]
        for name in names:
            yield from _matching(node.get(name), pattern[1:], (*path, name))


def _values(node: Any, path: tuple[str, ...], target: str = _KNOWN) -> Iterator[str]:
    """Values that are not of their kind or out of their bounds, and settings that there are none of."""
    kind = kind_of(path)
    name = ".".join(path)
    if kind is not None:
        if node == UNSET:
            if target == _KNOWN:  # else `misfits` asks for it
                yield f"{name} expected a value, it was given none: set {name}=..."
        elif target.startswith(_BOUNDED) and not kind.admits(node):
            hint = near(node, kind.values) if hasattr(kind, "values") and isinstance(node, str) else ""
            yield f"{name}: expected {kind.describe()}, got {_shown(node)}{hint}"
    elif isinstance(node, Mapping):
        target = str(node.get(TARGET, target))
        for key, value in node.items():
            if not key.startswith("_"):
                yield from _values(value, (*path, str(key)), target)
    elif path and target.startswith(_KNOWN) and not (node is None and name in OPTIONAL) and _taken(target, path[-1]):
        known = [it.split(".")[-1 if path[1:] else 0] for it in BOUNDS if it.startswith(".".join((*path[:-1], "")))]
        yield f"there is no setting {name}{near(path[-1], known)}"


def _uncallable(config: Mapping[str, Any]) -> Iterator[str]:
    """Parts of later stages that do not take what they will be called with."""
    for name, (places, given) in CALLS.items():
        node = config.get(name)
        if node is None:
            continue
        names = {key for key in node if not key.startswith("_")} | set(given)
        try:
            inspect.signature(locate(node[TARGET])).bind(*range(places), **dict.fromkeys(names))
        except (TypeError, ValueError) as error:
            yield f"{name}: {node[TARGET]} cannot be called as {name} is: {error}"


def _taken(target: str, name: str) -> bool:
    """Whether a part takes an argument: of those that it does not take `misfits` tells."""
    if target == _KNOWN:  # no part, but a group of settings
        return True
    try:
        return name in inspect.signature(locate(target)).parameters
    except (TypeError, ValueError):
        return False


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _agreements(config: Mapping[str, Any]) -> Iterator[str]:
    """Settings that do not fit each other."""
    encoder = config["encoder"]
    width = encoder.get("width")
    if isinstance(encoder.get("heads"), int) and isinstance(width, int) and width % encoder["heads"]:
        yield f"encoder.heads must divide encoder.width, got {encoder['heads']} heads for a width of {width}"
    yield from _heads(config, width)
    balance, effects = config["balance"], config["causal"]
    if balance.get("warm_days", 0) < balance.get("placebo_days", 0):
        yield (
            f"balance.warm_days: expected at least balance.placebo_days, {balance['placebo_days']}, got "
            f"{balance['warm_days']}"
        )
    net = (effects.get("personal") or {}).get("net")
    if net is not None and effects.get("folds", 3) < 3:
        yield f"causal.folds: expected at least 3 with causal.personal.net, got {effects['folds']}"
    weights = config["model"]["state_weights"]
    if not any(weights.values()):
        yield "model.state_weights: expected at least one above 0, got none"


def _heads(config: Mapping[str, Any], width: Any) -> Iterator[str]:
    """Heads that do not fit the encoder, their outcomes or each other."""
    reward = config["reward"]
    if not config["task"]:
        yield "task: expected at least one, as in task=[active_days], got none"
    elif reward is not None and reward not in config["task"]:
        yield f"reward: expected one of the tasks, {', '.join(config['task'])}, got {reward!r}"
    for name, task in config["task"].items():
        place, head, outcome = f"task.{name}.", task["head"], task["outcome"]
        for part, wanted, whose in (
            ("width", width, "encoder.width"),
            ("members", config["members"], "members"),
            ("horizon_days", outcome.get("horizon_days"), f"{place}outcome.horizon_days"),
            ("levels", outcome.get("levels"), f"{place}outcome.levels"),
        ):
            if part in head and wanted is not None and head[part] != wanted:
                yield f"{place}head.{part}: expected {wanted}, as {whose} has it, got {head[part]}"
        causes, reasons = head.get("causes"), outcome.get("reasons")
        if causes is not None and causes != len(reasons or ()) + 1:
            yield (
                f"{place}head.causes: expected one more than {place}outcome.reasons has, {len(reasons or ()) + 1}, got "
                f"{causes}"
            )
        if "weight" not in task:
            yield f"{place}weight: expected a number above 0, there is none"
