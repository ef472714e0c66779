"""Settings of the second stage, checked against the log they are for before anything is trained."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from math import isfinite
from typing import Any, NamedTuple

from reward.data.event_log import EventLog, SchemaError

AUTO = "auto"  # chosen from the log by held-out evidence


class _Range(NamedTuple):
    words: str
    holds: Callable[[float], bool]
    whole: bool = False

    def problem(self, path: str, value: Any) -> str | None:
        """What is wrong with a value; None: nothing."""
        number = isinstance(value, int if self.whole else (int, float)) and not isinstance(value, bool)
        if number and (isinstance(value, int) or isfinite(value)) and self.holds(value):
            return None
        return f"{path}={value!r}: expected {'a whole number' if self.whole else 'a number'} {self.words}"


_COUNT = _Range("of at least 1", lambda value: value >= 1, whole=True)
_ROUNDS = _Range("of at least 0", lambda value: value >= 0, whole=True)
_POSITIVE = _Range("above 0", lambda value: value > 0)
_NOT_NEGATIVE = _Range("of at least 0", lambda value: value >= 0)
_CLIP = _Range("above 1", lambda value: value > 1)
_MEMORY = _Range("of at least 1", lambda value: value >= 1)
_RANGES: dict[str, dict[str, _Range]] = {
    "causal": {
        "folds": _Range("of at least 2", lambda value: value >= 2, whole=True),
        "most_weight": _CLIP,
        "smooth_days": _POSITIVE,
        "curve_rounds": _ROUNDS,
        "joint_rounds": _ROUNDS,
        "prior_users": _NOT_NEGATIVE,
        **dict.fromkeys(
            [f"moderation.{it}" for it in ("most_ratio", "memory_days", "prior_answers", "reference_days")], _POSITIVE
        ),
        **dict.fromkeys([f"moderation.{it}" for it in ("clusters", "pushed_slates", "pushed_draws")], _COUNT),
        "personal.most_ratio": _POSITIVE,
        "personal.alternatives": _COUNT,
        **dict.fromkeys(
            [f"personal.{it}" for it in ("gate_rows", "clusters", "reference_items", "pushed_slates", "pushed_draws")],
            _COUNT,
        ),
        "personal.reference_days": _POSITIVE,
        "personal.net.passes": _COUNT,
        "personal.net.batch_rows": _COUNT,
        "personal.net.learning_rate": _POSITIVE,
        "personal.net.weight_decay": _NOT_NEGATIVE,
    },
    "propensities": {
        "prior_days": _NOT_NEGATIVE,
        **dict.fromkeys(("embedding_size", "category_levels", "passes", "max_training_slates"), _COUNT),
        **dict.fromkeys(("max_candidates", "chunk_slates", "calibration_slates"), _COUNT),
        "ridge": _POSITIVE,
        **dict.fromkeys(("tolerance", "least_excess"), _NOT_NEGATIVE),
        "level": _POSITIVE,
        "seed": _ROUNDS,
    },
    "balance": {
        "prior_days": _NOT_NEGATIVE,
        **dict.fromkeys(("placebo_days", "last_days", "warm_days"), _COUNT),
        "clip": _CLIP,
        "level": _POSITIVE,
        "least_spread": _NOT_NEGATIVE,
        "seed": _ROUNDS,
    },
}
_LISTS: dict[str, dict[str, tuple[_Range, int]]] = {  # what is in them, and how many there must be
    "causal": {"personal.spans_days": (_POSITIVE, 1), "personal.net.hidden": (_COUNT, 1)},
    "propensities": {"spans_days": (_MEMORY, 0), "memory_clicks": (_MEMORY, 0)},
    "balance": {"spans_days": (_MEMORY, 0)},
}


def check_effects(config: Mapping[str, Any], log: EventLog) -> None:
    """Whether the settings of the second stage fit the log, before anything is trained on it.

    Args:
        config: plain containers, of which the groups ``causal``, ``propensities`` and ``balance`` are read. What is
            not there is not checked.
        log: a log; of it the names of columns alone are read, and the types of those of the items table.

    Raises:
        SchemaError: a name in ``gate``, ``rare``, ``group`` or ``context`` is not a column of its kind, or a number is
            out of its range. It lists every problem found.
    """
    problems = [*_names(config, log), *_numbers(config)]
    if problems:
        raise SchemaError(
            f"the settings of effects have {len(problems)} problem(s):" + "".join(f"\n- {it}" for it in problems)
        )


def name_problems(
    log: EventLog, *, gate: str | None, rare: Iterable[str] | str | None, group: str | None, path: str = "causal"
) -> Iterator[str]:
    """What is wrong with names of columns: ``gate`` and ``rare`` of the feedback, ``group`` of the items table."""
    if isinstance(rare, str) and rare != AUTO:
        yield f"{path}.rare={rare!r}: expected {AUTO} or a list of feedback columns, such as [{rare}]"
    listed = () if rare is None or isinstance(rare, str) else rare
    named = [*([] if gate in (None, AUTO) else [("gate", gate)]), *(("rare", name) for name in listed)]
    yield from (
        _unknown(f"{path}.{key}", name, "feedback column", log.feedback)
        for key, name in named
        if name not in log.feedback
    )
    if group is None or group == AUTO:
        return
    if group not in log.item_features:
        yield _unknown(f"{path}.group", group, "item feature", log.item_features)
    elif log.items is not None and (kind := log.items.collect_schema().get(group)) is not None and kind.is_nested():
        yield f"{path}.group={group!r} is an embedding: expected a category, such as the creator"


def _names(config: Mapping[str, Any], log: EventLog) -> Iterator[str]:
    effects, policy = config.get("causal") or {}, config.get("propensities") or {}
    gate, rare, group = (effects.get(name) for name in ("gate", "rare", "group"))
    yield from name_problems(log, gate=gate, rare=rare, group=group)
    own = policy.get("gate")
    if own not in (None, AUTO, gate):
        yield from name_problems(log, gate=own, rare=(), group=None, path="propensities")
    for name in policy.get("context") or ():
        if name not in log.context:
            yield _unknown("propensities.context", name, "context column", log.context)


def _unknown(path: str, name: Any, what: str, known: Iterable[str]) -> str:
    near = get_close_matches(str(name), list(known))
    meant = f" (did you mean {' or '.join(map(repr, near))}?)" if near else ""
    return f"{path}={name!r} is no {what}{meant}: expected one of {list(known)}"


def _numbers(config: Mapping[str, Any]) -> Iterator[str]:
    for group, ranges in _RANGES.items():
        for key, limits in ranges.items():
            for value in _at(config, f"{group}.{key}"):
                if (problem := limits.problem(f"{group}.{key}", value)) is not None:
                    yield problem
    for group, lists in _LISTS.items():
        for key, (limits, least) in lists.items():
            for values in _at(config, f"{group}.{key}"):
                if not isinstance(values, list | tuple) or len(values) < least:
                    yield f"{group}.{key}={values!r}: expected a list of at least {least} number(s)"
                    continue
                yield from (it for one in values if (it := limits.problem(f"{group}.{key}", one)) is not None)
    yield from _together(config)


def _together(config: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with numbers that are fine one by one."""
    folds = next(_at(config, "causal.folds"), None)
    if folds == 2 and any(net is not None for net in _at(config, "causal.personal.net")):
        yield "causal.folds=2: a net expects at least 3 (one to foretell, one to stop by, one to learn from)"
    for warm in _at(config, "balance.warm_days"):
        for placebo in _at(config, "balance.placebo_days"):
            if isinstance(warm, int) and isinstance(placebo, int) and warm < placebo:
                yield f"balance.warm_days={warm}: expected at least balance.placebo_days={placebo}"


def _at(config: Mapping[str, Any], path: str) -> Iterator[Any]:
    """The value at a dotted path, if there is one."""
    node: Any = config
    for key in path.split("."):
        if not isinstance(node, Mapping) or key not in node:
            return
        node = node[key]
    yield node
