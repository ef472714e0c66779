"""Features from an artefact: what it says of itself, checked before anybody reads a log by it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, get_type_hints
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import polars as pl

from reward.columns import CLICKS, ITEM
from reward.features.events import Features
from reward.features.fitted import CODE
from reward.features.history import RATE_DAYS, TIMING
from reward.plain import check

_MOST_DAY = 3_000_000  # days from 1970, the end of the calendar
_MOST_COLUMNS = 10_000
_FREE_LETTERS, _MOST_PADDING = 1 << 22, 64  # of ids that are as long as the longest, over those there are


def restored(values: Any, items: pl.DataFrame) -> Features:
    """The features that `Features.to_json` and the table of items tell of.

    Args:
        values: from a file that nobody vouches for.
        items: the same.

    Raises:
        ValueError: they do not fit each other, or hold what no training leaves.
    """
    kinds = get_type_hints(Features)
    check(values, dict[str, Any], "normalisation")
    unknown = sorted(values.keys() - kinds.keys())
    if unknown or "items" in values:
        raise ValueError(f"normalisation has {', '.join(unknown) or 'items'}, which are no features")
    for name, value in values.items():
        check(value, kinds[name], f"normalisation.{name}")
    features = from_json(values, items)
    problems = [*_flaws(features), *_flaws_of_items(features)]
    if problems:
        raise ValueError("its normalisation and items do not fit: " + "; ".join(problems))
    _read_nothing(features)
    return features


def from_json(values: Mapping[str, Any], items: pl.DataFrame) -> Features:
    """The reverse of `Features.to_json`."""
    plain = dict(values)
    for name in ("feedback", "context", "item_features", "flags", "constant"):
        plain[name] = tuple(plain.get(name, ()))
    plain.setdefault("click", next((name for name in CLICKS if name in plain["feedback"]), None))
    plain["moments"] = {name: (mean, deviation) for name, (mean, deviation) in plain["moments"].items()}
    plain["vocabularies"] = {name: tuple(known) for name, known in plain["vocabularies"].items()}
    return Features(**plain, items=items)


def _flaws(features: Features) -> Iterator[str]:
    named = [*features.feedback, *features.context, *features.item_features]
    if len(named) > _MOST_COLUMNS or len(set(named)) < len(named):
        yield f"columns expected at most {_MOST_COLUMNS} of different names"
    if max(len(features.moments), len(features.constant)) > _MOST_COLUMNS:
        yield f"moments and constant inputs expected at most {_MOST_COLUMNS}"
    if not {*features.flags} <= {*features.feedback}:
        yield "flags are no feedback"
    if not {*features.vocabularies} <= {*features.context, *features.item_features}:
        yield "vocabularies are of no column"
    repeated = [name for name, words in features.vocabularies.items() if len(set(words)) < len(words)]
    if repeated:
        yield f"the vocabulary of {repeated[0]} has a value twice"
    narrow = [name for name, (_, deviation) in features.moments.items() if deviation <= 0]
    if narrow:
        yield f"the standard deviation of {narrow[0]} is not above 0"
    if features.session_gap_minutes <= 0:
        yield f"session_gap_minutes is {features.session_gap_minutes}, expected more than 0"
    if not 0 <= features.past_rate <= 1:
        yield f"past_rate is {features.past_rate}, expected a share"
    if abs(features.first_day) > _MOST_DAY:
        yield f"first_day is {features.first_day}, which is in no calendar"
    try:
        ZoneInfo(features.timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        yield "timezone is unknown"


def _flaws_of_items(features: Features) -> Iterator[str]:
    table = features.items
    expected = {ITEM, CODE, *features.item_features}
    if set(table.columns) != expected:
        yield f"the table of items has {len(table.columns)} columns, expected {', '.join(sorted(expected))}"
        return
    ids, codes = table[ITEM], table[CODE]
    if table.is_empty():
        yield "there are no items"
    elif not (ids.dtype.is_integer() or ids.dtype == pl.String) or ids.null_count() or not _ascend(ids):
        yield f"{ITEM} is {ids.dtype}, expected integers or strings in rising order without nulls"
    elif ids.dtype == pl.String and _padded(ids) > _FREE_LETTERS:
        yield f"a value of {ITEM} is longer than all others allow for"
    if codes.dtype != pl.Int64 or codes.null_count() or not _are_places(codes):
        yield f"{CODE} expected 0, or 1 and on once each"
    for name in features.item_features:
        size = features.embedding_sizes.get(name)
        if name in features.vocabularies:
            fits = table.schema[name] == pl.String
        elif size is not None:
            fits = _are_vectors(table[name], size)
        else:
            fits = table.schema[name].is_numeric() or table.schema[name] in (pl.Boolean, pl.Null)
        if not fits:
            yield f"{name} is {table.schema[name]}, which is not what it is said to be"
    if not {*features.embedding_sizes} <= {*features.item_features}:
        yield "embedding_sizes are of no item feature"


def _ascend(ids: pl.Series) -> bool:
    return len(ids) < 2 or bool((ids.slice(1) > ids.slice(0, len(ids) - 1)).all())


def _are_places(codes: pl.Series) -> bool:
    known = codes.filter(codes != 0).sort()
    return bool((known == pl.int_range(1, len(known) + 1, eager=True)).all())


def _padded(ids: pl.Series) -> int:
    """Letters that an array with room for the longest in each place would have beyond what is to be expected."""
    lengths = ids.str.len_bytes()
    return len(ids) * int(lengths.max() or 0) - _MOST_PADDING * int(lengths.sum())  # type: ignore[arg-type]


def _are_vectors(column: pl.Series, size: int) -> bool:
    inner = column.dtype.inner if isinstance(column.dtype, pl.List) else None
    known = column.drop_nulls()
    return inner is not None and inner.is_numeric() and size >= 0 and bool((known.list.len() == size).all())


def _read_nothing(features: Features) -> None:
    """Read a log without rows and the items: what is lacking among moments and vocabularies shows.

    Raises:
        ValueError: something is.
    """
    spans = {f"{what}_{span}d": pl.Int64 for span in RATE_DAYS for what in ("known", "active")}
    columns: Mapping[str, Any] = {
        **dict.fromkeys([*TIMING, *features.feedback], pl.Float64),
        **spans,
        **{name: pl.String if name in features.vocabularies else pl.Float64 for name in features.context},
        "weekday": pl.Int64,
    }
    empty = pl.DataFrame(schema=columns)
    try:
        features.slot_inputs(empty)
        features.feedback_inputs(empty)
        numbers = features.item_inputs(features.items[ITEM].head(1)).numbers
    except (KeyError, pl.exceptions.PolarsError) as error:
        raise ValueError(f"its normalisation lacks what a log is read by: {error}") from error
    sizes = features.sizes()
    if sizes["item_numbers"] != numbers.shape[1] or not np.isfinite(numbers).all():
        raise ValueError("the numbers of its items do not fit its normalisation")
