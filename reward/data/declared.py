"""What is said of a log of one's own beside where it is: the arguments that all that reads one takes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import TypedDict, TypeVar, get_type_hints

from reward.data.files import Source

_Function = TypeVar("_Function", bound=Callable[..., object])


class Declared(TypedDict, total=False):
    """What a log has and how its clock is read; `DEFAULTS` has what is taken where nothing is said.

    Attributes:
        context: columns known before the item is chosen.
        items: where the items table is, in the same forms as the events.
        item_features: columns of the items table.
        timezone: IANA name of the zone whose clock separates the days.
        timestamp_unit: ``s``, ``ms``, ``us`` or ``ns`` where ``timestamp`` is an integer.
        end: the moment up to which the log is complete, a datetime or an ISO 8601 string; without an offset it is in
            ``timezone``.
        click: the feedback that says that the item was taken up; None: the one called ``click``, ``is_click`` or
            ``clicked``, if there is one.
        flags: the feedback that is 0 or 1; None: Boolean columns, and those that hold both and nothing else.
        day_starts_at: local time, such as ``04:00``, at which a day begins.
        outcomes: by kind, such as ``renewal``, where outcome events are, in the same forms as the events: one row an
            event, with ``user_id``, ``timestamp`` and, optionally, ``value``.
        outcomes_end: by kind the moment up to which its events are complete, like ``end``; kinds that are complete up
            to the end of the log need none.
    """

    context: Iterable[str]
    items: Source | None
    item_features: Iterable[str]
    timezone: str
    timestamp_unit: str | None
    end: str | datetime | None
    click: str | None
    flags: Iterable[str] | None
    day_starts_at: str
    outcomes: Mapping[str, Source] | None
    outcomes_end: Mapping[str, str | datetime] | None


DEFAULTS: Declared = {
    "context": (),
    "items": None,
    "item_features": (),
    "timezone": "UTC",
    "timestamp_unit": None,
    "end": None,
    "click": None,
    "flags": None,
    "day_starts_at": "00:00",
    "outcomes": None,
    "outcomes_end": None,
}


def declares(function: _Function) -> _Function:
    """Let the signature of a function that takes ``**declared`` name each argument of `Declared`, with its default."""
    own = inspect.signature(function, eval_str=True)
    named = [it for it in own.parameters.values() if it.kind is not it.VAR_KEYWORD]
    hints = get_type_hints(Declared)
    told = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hints[name])
        for name, default in DEFAULTS.items()
    ]
    vars(function)["__signature__"] = own.replace(parameters=[*named, *told])
    return function


def with_defaults(declared: Declared) -> Declared:
    """What is said of a log, with `DEFAULTS` for what is not.

    Raises:
        TypeError: there is no such argument.
    """
    unknown = [name for name in declared if name not in DEFAULTS]
    if unknown:
        raise TypeError(
            f"a log expected arguments of {', '.join(DEFAULTS)}, got {', '.join(unknown)}: see that the names are right"
        )
    return {**DEFAULTS, **declared}
