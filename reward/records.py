"""Dataclasses as plain JSON values and back: one reading and one writing for all that is computed and kept in files."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from reward.plain import check, shown

_MISSING = dataclasses.MISSING
T = TypeVar("T")


@dataclass(frozen=True)
class Kept:
    """How a field is kept in JSON, as part of its annotation: ``Annotated[float, Kept("slope_days")]``.

    Attributes:
        key: its key; empty: its name.
        flat: it is a record, and its keys stand among those of the record that has it.
        omit_empty: it is left out where it is None, 0 or empty.
    """

    key: str = ""
    flat: bool = False
    omit_empty: bool = False


@dataclass(frozen=True)
class _Field:
    name: str
    kind: Any
    kept: Kept
    default: Any

    @property
    def key(self) -> str:
        return self.kept.key or self.name


def to_json(record: Any) -> Any:
    """A dataclass, a named tuple, or a mapping or sequence of these, as values that go into JSON.

    A class may name properties that are kept beside its fields in ``derived``.

    Raises:
        TypeError: something in it has no JSON form.

    >>> @dataclass(frozen=True)
    ... class Mean:
    ...     value: float
    ...     rows: Annotated[int, Kept("n")]
    >>> to_json({"a": Mean(0.5, 3)})
    {'a': {'value': 0.5, 'n': 3}}

    """
    if record is None or type(record) in (bool, int, float, str):
        return record
    if _is_record(type(record)):
        return dict(_pairs(record))
    if isinstance(record, Mapping):
        return {str(key): to_json(value) for key, value in record.items()}
    if isinstance(record, list | tuple):
        return [to_json(value) for value in record]
    raise TypeError(f"expected plain values and records of them, got {type(record).__name__}: {shown(record)}")


def from_json(kind: type[T], values: Any, name: str) -> T:
    """The record that `to_json` made these values of; keys that it does not know are left out.

    Args:
        kind: the dataclass.
        values: as JSON has them.
        name: of the whole, for errors.

    Raises:
        ValueError: a key is missing, or a value is of another kind; says where.
    """
    made: T = _read(kind, values, name)
    return made


def _is_record(kind: Any) -> bool:
    return isinstance(kind, type) and (dataclasses.is_dataclass(kind) or hasattr(kind, "_fields"))


@cache
def _fields(kind: Any) -> tuple[_Field, ...]:
    defaults = getattr(kind, "_field_defaults", {})
    if dataclasses.is_dataclass(kind):
        for it in dataclasses.fields(kind):
            made = it.default if it.default_factory is _MISSING else it.default_factory()
            defaults = {**defaults, it.name: made}
    found = []
    for name, hint in get_type_hints(kind, include_extras=True).items():
        if name in defaults or name in getattr(kind, "_fields", ()):
            inner, *notes = get_args(hint) if get_origin(hint) is Annotated else (hint,)
            kept = next((it for it in notes if isinstance(it, Kept)), Kept())
            found.append(_Field(name, inner, kept, defaults.get(name, _MISSING)))
    return tuple(found)


def _pairs(record: Any) -> Iterator[tuple[str, Any]]:
    kind: Any = type(record)
    for field in _fields(kind):
        value = getattr(record, field.name)
        if field.kept.flat:
            yield from to_json(value).items()
        elif value or not field.kept.omit_empty:
            yield field.key, to_json(value)
    for name in getattr(record, "derived", ()):
        yield name, to_json(getattr(record, name))


def _read(kind: Any, value: Any, name: str) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if _is_record(kind):
        return _record(kind, value, name)
    if origin in (Union, types.UnionType):
        others = [it for it in inner if it is not type(None)]
        return None if value is None and len(others) < len(inner) else _first(others, value, name)
    if origin in (tuple, Sequence):
        check(value, list[object], name)
        kinds = inner[:1] * len(value) if inner[-1] is Ellipsis or origin is Sequence else inner
        if len(kinds) != len(value):
            raise ValueError(f"{name} expected a list of {len(kinds)}, got {shown(value)}")
        return tuple(_read(its, each, f"{name}[{at}]") for at, (its, each) in enumerate(zip(kinds, value, strict=True)))
    if origin in (dict, Mapping):
        check(value, dict[str, object], name)
        return {_key(inner[0], key, name): _read(inner[1], each, f"{name}[{key!r}]") for key, each in value.items()}
    check(value, kind, name)
    return float(value) if kind is float else value


def _key(kind: Any, key: str, name: str) -> Any:
    try:
        return kind(key)
    except ValueError as error:
        raise ValueError(f"{name} expected names that are numbers, got {shown(key)}") from error


def _first(kinds: Sequence[Any], value: Any, name: str) -> Any:
    """By the first of these kinds that the value is of."""
    problems = []
    for kind in kinds:
        try:
            return _read(kind, value, name)
        except ValueError as error:
            problems.append(error)
    raise problems[0]


def _record(kind: Any, values: Any, name: str) -> Any:
    check(values, dict[str, object], name)
    given = {}
    for field in _fields(kind):
        if field.kept.flat:
            given[field.name] = _read(field.kind, values, name)
        elif field.key in values:
            given[field.name] = _read(field.kind, values[field.key], f"{name}.{field.key}")
        elif field.default is _MISSING:
            raise ValueError(f"{name} expected a {field.key}, got only {', '.join(values) or 'nothing'}")
    return kind(**given)
