"""Plain JSON values: read within bounds, checked against type annotations, and named where they are not known."""

from __future__ import annotations

import json
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from math import isfinite
from typing import (
    Any,
    Literal,
    NoReturn,
    NotRequired,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

MOST_INTEGER = 2**63 - 1
_DIGITS = 400  # of a number as text: a float of ordinary notation has at most 309 before its point
_SHOWN = 60
_PLAIN: dict[Any, tuple[set[type], str]] = {
    int: ({int}, "an integer"),
    float: ({int, float}, "a finite number"),
    str: ({str}, "a string"),
    bool: ({bool}, "true or false"),
    type(None): ({type(None)}, "null"),
}


def parse(text: bytes) -> Any:
    """The values of a JSON text.

    Raises:
        ValueError: it is no JSON in UTF-8, has a key twice, a number that is not finite, or is nested too deeply.
    """

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        table = dict(found)
        if len(table) < len(found):
            names = [name for name, _ in found]
            raise ValueError(f"has the key {next(it for it in names if names.count(it) > 1)!r} twice")
        return table

    try:
        return json.loads(
            text.decode("utf-8"),
            object_pairs_hook=pairs,
            parse_constant=_no_number,
            parse_float=_number(float),
            parse_int=_number(int),
        )
    except RecursionError as error:
        raise ValueError("is nested too deeply") from error


def check(value: Any, kind: Any, name: str) -> None:
    """See that a value is of a kind.

    Args:
        value: as JSON has it: lists stand for tuples and sequences, integers also for floats.
        kind: an annotation of plain values: int, float, str, bool, None, lists, tuples, dicts, unions, literals and
            `TypedDict`. Numbers must be finite. What is annotated otherwise is not looked at.
        name: of the value, for the error.

    Raises:
        ValueError: it is not; says where.
    """
    origin, inner = get_origin(kind), get_args(kind)
    if kind in _PLAIN:
        if not _all_are([value], kind):
            raise ValueError(f"{name} expected {_PLAIN[kind][1]}, got {shown(value)}")
    elif origin in (Union, types.UnionType):
        _check_any(value, inner, name)
    elif origin is Literal:
        if value not in inner:
            raise ValueError(f"{name} expected one of {', '.join(map(repr, inner))}, got {shown(value)}")
    elif is_typeddict(kind):
        _check_table(value, kind, name)
    elif origin is tuple and inner[-1] is not Ellipsis:
        if not isinstance(value, list) or len(value) != len(inner):
            raise ValueError(f"{name} expected a list of {len(inner)}, got {shown(value)}")
        for place, (each, its) in enumerate(zip(value, inner, strict=True)):
            check(each, its, f"{name}[{place}]")
    elif origin in (list, tuple, Sequence):
        if not isinstance(value, list):
            raise ValueError(f"{name} expected a list, got {shown(value)}")
        _check_each(enumerate(value), value, inner[0], name)
    elif origin in (dict, Mapping):
        if not isinstance(value, dict):
            raise ValueError(f"{name} expected a table of names, got {shown(value)}")
        _check_each(value.items(), list(value.values()), inner[1], name)


def shown(value: Any) -> str:
    """A value as an error shows it."""
    text = repr(value[:_SHOWN] if isinstance(value, str | list) else value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]} ..."


def near(name: str, known: Iterable[str]) -> str:
    """`` (did you mean 'x'?)`` where something known is near."""
    close = get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _check_each(named: Iterable[tuple[Any, Any]], values: list[Any], kind: Any, name: str) -> None:
    if kind in _PLAIN and _all_are(values, kind):
        return  # at once, where they are many
    for key, each in named:
        check(each, kind, f"{name}[{key!r}]")


def _all_are(values: list[Any], kind: Any) -> bool:
    if not set(map(type, values)) <= _PLAIN[kind][0]:
        return False
    if kind is str:
        return _encodable(values)
    return kind not in (int, float) or all(
        abs(it) <= MOST_INTEGER if type(it) is int else isfinite(it) for it in values
    )


def _encodable(values: list[str]) -> bool:
    try:
        for each in values:
            each.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return True


def _check_any(value: Any, kinds: tuple[Any, ...], name: str) -> None:
    problems = []
    for kind in kinds:
        try:
            check(value, kind, name)
            return
        except ValueError as error:
            problems.append(str(error))
    raise ValueError(problems[0])


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


def _check_table(value: Any, kind: Any, name: str) -> None:
    if not isinstance(value, dict):
        raise ValueError(f"{name} expected a table of names, got {shown(value)}")
    hints = _hints(kind)
    missing = [key for key, its in hints.items() if key not in value and get_origin(its) is not NotRequired]
    if missing:
        raise ValueError(f"{name} has no {', '.join(missing)}")
    for key, its in hints.items():
        if key in value:
            check(value[key], get_args(its)[0] if get_origin(its) is NotRequired else its, f"{name}.{key}")


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"has {text}, which is no number of JSON")


def _number(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        value = kind(text) if len(text) <= _DIGITS else float("inf")
        if isinstance(value, float) and not isfinite(value):
            raise ValueError(f"has the number {shown(text)}, which is too large")
        return value

    return read
