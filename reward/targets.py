"""Parts that an artefact names, looked up in a closed list: each of its role, and built of checked arguments alone."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from torch import nn

from reward.moved import today
from reward.plain import check, shown

TARGET = "_target_"
MOST_ENTRIES = 1000  # of a list or text among the arguments


class Role(NamedTuple):
    """What a part is for.

    Attributes:
        room: the package whose modules ship such parts.
        has: what any class of it has.
        module: whether it is a torch module, whose integer arguments are sizes.
    """

    room: str
    has: tuple[str, ...]
    module: bool


ROLES = {
    "encoder": Role("reward.encoders", ("read", "query"), True),
    "head": Role("reward.heads", ("value", "expected", "distribution", "calibrate"), True),
    "outcome": Role("reward.outcomes", ("label", "parts", "targets", "states", "unit"), False),
    "effects": Role("reward.causal", ("history", "known", "score", "score_rows", "restored"), True),
    "composite": Role("reward.scoring.composite", ("read", "score_events", "score_candidates"), True),
}


def trusted(trust: Sequence[str]) -> frozenset[str]:
    """The names of modules in ``trust``.

    Raises:
        TypeError: it is a lone string, or no sequence of strings.
        ValueError: one of them is no full name of a module, such as a prefix.
    """
    if isinstance(trust, str | bytes) or not all(isinstance(name, str) for name in trust):
        raise TypeError(
            f"trust expected a sequence of names of modules, such as ('mine.encoders',), got {trust!r}: "
            "write a comma after a single one"
        )
    wrong = [name for name in trust if not all(part.isidentifier() for part in name.split("."))]
    if wrong:
        raise ValueError(
            f"trust expected full names of modules, such as 'mine.encoders', got {', '.join(map(repr, wrong))}: a "
            "prefix is no longer enough, name every module; what ships with reward needs no entry"
        )
    return frozenset(trust)


def resolve(target: Any, role: str, trust: frozenset[str]) -> type:
    """The class that a part names, of those that ship with `reward` or whose module is in ``trust``.

    No other module is imported, since that would run its code.

    Raises:
        ValueError: it names something else.
    """
    if not isinstance(target, str):
        raise ValueError(f"the {role} expected the full name of a class in {TARGET}, got {shown(target)}")
    wanted = ROLES[role]
    shipped = _modules_of(wanted.room)
    target = today(target, among=shipped)
    module, _, name = target.rpartition(".")
    if module not in trust and module not in shipped:
        entry = f"load it with trust=({module!r},)" if module.partition(".")[0] != "reward" else "it is no such part"
        raise ValueError(
            f"it names {shown(target)} as its {role}, which is outside the modules of {wanted.room} and of trust: if "
            f"you know that code and trust it, {entry}"
        )
    found = vars(importlib.import_module(module)).get(name)
    own = isinstance(found, type) and f"{found.__module__}.{found.__qualname__}" == target and not name.startswith("_")
    own = own and not inspect.isabstract(found)
    if not own or wanted.module != issubclass(found, nn.Module) or not all(_has(found, it) for it in wanted.has):  # type: ignore[arg-type]
        raise ValueError(
            f"it names {shown(target)} as its {role}: expected a class that {module} defines, with "
            f"{', '.join(wanted.has)}"
        )
    return found  # type: ignore[return-value]


def build(spec: Any, role: str, trust: frozenset[str], *, most: int) -> Any:
    """A part of its arguments, once these are known to fit its signature.

    Args:
        spec: the target and the arguments.
        role: see `ROLES`.
        trust: see `resolve`.
        most: the largest size that a module of the artefact can have.

    Raises:
        ValueError: a name or value does not fit.
    """
    if not isinstance(spec, dict):
        raise ValueError(f"the {role} expected a target and its arguments, got {shown(spec)}")
    kind = resolve(spec.get(TARGET), role, trust)
    given = {name: value for name, value in spec.items() if name != TARGET}
    check_arguments(kind, given, role, most if ROLES[role].module and kind.__module__ not in trust else None)
    return kind(**given)


def check_arguments(kind: type, given: Mapping[str, Any], role: str, most: int | None) -> None:
    """See that arguments fit a signature by name, by type and in size.

    Raises:
        ValueError: they do not.
    """
    parameters = inspect.signature(kind, eval_str=True).parameters
    takes = {name for name, it in parameters.items() if it.kind in (it.POSITIONAL_OR_KEYWORD, it.KEYWORD_ONLY)}
    open_ended = any(it.kind is it.VAR_KEYWORD for it in parameters.values())
    missing = sorted(name for name in takes - given.keys() if parameters[name].default is inspect.Parameter.empty)
    unknown = [] if open_ended else sorted(given.keys() - takes)
    if missing or unknown:
        raise ValueError(
            f"its {role} {kind.__name__} takes {', '.join(sorted(takes)) or 'no arguments'}; missing: "
            f"{', '.join(missing) or 'nothing'}; unknown: {shown(', '.join(unknown)) if unknown else 'nothing'}"
        )
    for name, value in given.items():
        place = f"{name} of its {role} {kind.__name__}"
        if name in parameters:
            check(value, parameters[name].annotation, place)
        if isinstance(value, list | str) and len(value) > MOST_ENTRIES:
            raise ValueError(f"{place} expected at most {MOST_ENTRIES} entries or letters, got {len(value)}")
        if most is not None and type(value) is int and not 0 <= value <= most:
            raise ValueError(f"{place} is {shown(value)}, and its tensors have no size beyond {most}")


def _has(kind: type, name: str) -> bool:
    return hasattr(kind, name) or name in getattr(kind, "__annotations__", {})


def _modules_of(room: str) -> set[str]:
    """The modules of a package and of the packages in it by name, without importing them."""
    paths = getattr(importlib.import_module(room), "__path__", None)
    return {room} if paths is None else set(_inside(list(paths), room))


def _inside(paths: list[str], package: str) -> Iterator[str]:
    for found in pkgutil.iter_modules(paths):
        yield f"{package}.{found.name}"
        if found.ispkg:
            yield from _inside([f"{path}/{found.name}" for path in paths], f"{package}.{found.name}")


def locate(target: str) -> Callable[..., Any]:
    """The object at a full dotted path, such as ``reward.heads.trace.TraceHead``.

    Raises:
        TypeError: nothing is there.
    """
    module, _, name = target.rpartition(".")
    try:
        owner = importlib.import_module(module)
        return getattr(owner, name)
    except (ImportError, AttributeError, ValueError) as error:
        reason = error
    try:
        outer, _, cls = module.rpartition(".")
        return getattr(getattr(importlib.import_module(outer), cls), name)
    except (ImportError, AttributeError, ValueError):
        raise TypeError(
            f"_target_={target!r} expected the full path of a class or function, found nothing there: {reason}"
        ) from reason
