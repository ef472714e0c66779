"""Small logs with a few things wrong or odd in them, one a seed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl

FIRST = datetime(2024, 3, 1, tzinfo=UTC)
NAMES = (
    *("reward", "reward_std", "value_before", "value_after", "day", "trace", "observed", "weekday", "slate", "code"),
    *(
        "volume_missing",
        "volume is missing",
        "reason",
        "row",
        "events",
        "habit",
        "active",
        "count",
        "",
        " ",
        "用户",
        "a\0",
    ),
    *("is_event", "user_id", "gap_hours", "rate_2d", "log: click", "previous", "active_7d", "begun", "scored_reward"),
)
Rng = np.random.Generator


@dataclass
class Case:
    """A frame and how it is to be read.

    Attributes:
        frame: rows.
        options: of `reward.check`.
        did: what was done to it.
    """

    frame: pl.DataFrame
    options: dict[str, Any]
    did: list[str] = field(default_factory=list)


def sound(rng: Rng) -> Case:
    """A log of a few dozen to a few hundred rows as it should be."""
    n = int(rng.integers(20, 200))
    frame = pl.DataFrame(
        {
            "user_id": rng.integers(0, max(2, n // 8), n),
            "item_id": rng.integers(0, 12, n),
            "timestamp": pl.Series(
                [FIRST + timedelta(seconds=int(it)) for it in rng.integers(0, 12 * 86_400, n)],
                dtype=pl.Datetime("us", "UTC"),
            ),
            "click": rng.random(n) < 0.4,
            "listen_ms": rng.exponential(6e4, n),
            "surface": rng.choice(["home", "search"], n),
            "volume": rng.normal(size=n),
        }
    )
    items = pl.DataFrame(
        {
            "item_id": np.arange(12),
            "genre": rng.choice(["a", "b"], 12),
            "minutes": rng.gamma(2, 10, 12),
            "vector": rng.normal(size=(12, 3)).tolist(),
        }
    )
    features = ["genre", "minutes", "vector"]
    return Case(
        frame,
        {
            "feedback": ["click", "listen_ms"],
            "context": ["surface", "volume"],
            "items": items,
            "item_features": features,
        },
    )


def _some(rng: Rng, case: Case, share: float | None = None) -> pl.Expr:
    """A mask of some of the rows."""
    share = float(rng.choice([0.005, 0.05, 0.5, 1.0])) if share is None else share
    return pl.lit(pl.Series(rng.random(case.frame.height) < share, dtype=pl.Boolean))


def _column(rng: Rng, case: Case) -> str:
    return str(rng.choice(case.frame.columns))


def _set(case: Case, name: str, expression: pl.Expr | pl.Series) -> None:
    case.frame = case.frame.with_columns(expression.alias(name))


def another_type(rng: Rng, case: Case) -> None:
    """A column of another type."""
    name = _column(rng, case)
    types = (
        *(pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt64, pl.Float32, pl.Float64, pl.Boolean, pl.String),
        *(pl.Date, pl.Time, pl.Datetime("ms"), pl.Datetime("ns", "Asia/Tokyo"), pl.Duration("ms"), pl.Binary, pl.Null),
        *(pl.Categorical, pl.Decimal(38, 4), pl.Int128, pl.List(pl.Int64), pl.List(pl.Float64)),
    )
    dtype = types[int(rng.integers(len(types)))]
    try:
        _set(case, name, pl.col(name).cast(dtype, strict=False))
    except pl.exceptions.PolarsError:
        _set(case, name, pl.lit(None, dtype))
    case.did.append(f"{name} as {dtype}")


def odd_values(rng: Rng, case: Case) -> None:
    """Nulls, NaN, infinite, negative and huge numbers in some rows of a column."""
    name = str(rng.choice(["click", "listen_ms", "volume", "surface", "user_id", "item_id", "timestamp"]))
    if name not in case.frame.columns:
        return
    values = [None, np.nan, np.inf, -np.inf, -1.0, 1e308, -1e308, 5e-324, 0.0, 2.0**63, 1e19]
    value = values[int(rng.integers(len(values)))]
    dtype = case.frame.schema[name]
    mask = _some(rng, case)
    if value is None:
        _set(case, name, pl.when(~mask).then(pl.col(name)))
    elif dtype.is_numeric() or dtype == pl.Boolean:
        _set(case, name, pl.when(mask).then(pl.lit(value)).otherwise(pl.col(name).cast(pl.Float64)))
    case.did.append(f"{name}={value}")


def objects(rng: Rng, case: Case) -> None:
    """A column of Python objects, structs, lists or arrays."""
    name, n = _column(rng, case), case.frame.height
    made: list[Callable[[], pl.Series]] = [
        lambda: pl.Series(name, [object() for _ in range(n)], dtype=pl.Object),
        lambda: pl.Series(name, [{"a": 1, "b": "x"}] * n),
        lambda: pl.Series(name, [[1, None]] * n),
        lambda: pl.Series(name, [[1.0, 2.0]] * n, dtype=pl.Array(pl.Float64, 2)),
        lambda: pl.Series(name, [b"\xff\x00"] * n),
        lambda: pl.Series(name, [Decimal("1.5")] * n),
        lambda: pl.Series(name, [timedelta(seconds=1)] * n),
        lambda: pl.Series(name, [date(2024, 3, 2)] * n),
        lambda: pl.Series(name, ["a"] * n, dtype=pl.Enum(["a", "b"])),
    ]
    which = int(rng.integers(len(made)))
    _set(case, name, made[which]())
    case.did.append(f"{name} as {case.frame.schema[name]}")


def odd_times(rng: Rng, case: Case) -> None:
    """Timestamps of another unit, zone, century or clock."""
    if "timestamp" not in case.frame.columns or not isinstance(case.frame.schema["timestamp"], pl.Datetime):
        return
    name = "timestamp"
    unit = str(rng.choice(["s", "ms", "us", "ns"]))
    odd = [
        datetime(1989, 1, 1),
        datetime(1990, 1, 2),
        datetime(1970, 1, 1),
        datetime(2100, 12, 30),
        datetime(9999, 1, 1),
    ]
    which = int(rng.integers(7))
    if which == 0:
        _set(case, name, pl.col(name).dt.epoch(unit))  # type: ignore[arg-type]
        case.options["timestamp_unit"] = [unit, None, "s", "h"][int(rng.integers(4))]
    elif which == 1:
        zone = str(rng.choice(["America/Sao_Paulo", "Asia/Kolkata", "Pacific/Apia", "UTC", "Mars/Base", ""]))
        case.options["timezone"] = zone
    elif which == 2:
        _set(case, name, pl.col(name).dt.convert_time_zone("Pacific/Kiritimati"))
    elif which == 3:
        _set(case, name, pl.col(name).dt.replace_time_zone(None).dt.cast_time_unit("ns"))
    elif which == 4:
        moment = odd[int(rng.integers(len(odd)))].replace(tzinfo=UTC)
        _set(case, name, pl.when(_some(rng, case)).then(pl.lit(moment)).otherwise(pl.col(name)))
    elif which == 5:
        _set(case, name, pl.col(name).dt.truncate("1d"))
    else:
        case.options["day_starts_at"] = str(rng.choice(["04:00", "23:59", "4", "24:00", "02:30"]))
    case.did.append(f"timestamps {which}, {case.options.get('timestamp_unit')}, {case.options.get('timezone')}")


def odd_names(rng: Rng, case: Case) -> None:
    """A column with a name that something else may have."""
    name, new = str(rng.choice(["click", "listen_ms", "surface", "volume"])), str(rng.choice(NAMES))
    if name not in case.frame.columns or (new in case.frame.columns and rng.random() < 0.5):
        return
    if new in case.frame.columns:
        case.options["context"] = [*case.options["context"], new]
    else:
        case.frame = case.frame.rename({name: new})
        for role in ("feedback", "context"):
            case.options[role] = [new if it == name else it for it in case.options[role]]
    case.did.append(f"{name} is called {new!r}")


def odd_ids(rng: Rng, case: Case) -> None:
    """Ids that are long, of other scripts, empty, with blanks or zeros, or beyond 64 bits."""
    name = str(rng.choice(["user_id", "item_id"]))
    if name not in case.frame.columns:
        return
    text = pl.col(name).cast(pl.String, strict=False).fill_null("x")
    made = [
        text,
        "用户🎧" + text,
        text.str.zfill(6),
        " " + text + " ",
        pl.when(_some(rng, case, 0.05)).then(pl.lit("z" * 20_000)).otherwise(text),
        text + "\0",
        pl.when(_some(rng, case, 0.3)).then(pl.lit("")).otherwise(text),
        text.cast(pl.Categorical),
        text.cast(pl.UInt64, strict=False) + pl.lit(2**63, pl.UInt64),
        text.cast(pl.Int64, strict=False) * -1,
        text.cast(pl.Int64, strict=False) + 2**53,
        text.hash(),
    ]
    which = int(rng.integers(len(made)))
    try:
        _set(case, name, made[which])
    except pl.exceptions.PolarsError:
        return
    if name == "item_id" and rng.random() < 0.8:
        case.options |= {"items": None, "item_features": []}
    case.did.append(f"{name}: ids {which}")


def odd_sizes(rng: Rng, case: Case) -> None:
    """No rows, one row, one user, one item, rows twice, a bot."""
    frame = case.frame
    made: list[Callable[[], pl.DataFrame]] = [
        lambda: frame.head(0),
        lambda: frame.head(1),
        lambda: frame.with_columns(user_id=pl.lit(1)),
        lambda: frame.with_columns(item_id=pl.lit(1)),
        lambda: pl.concat([frame, frame]),
        lambda: pl.concat([frame, frame.head(1)]),
        lambda: frame.with_columns(pl.lit(FIRST).alias("timestamp")),
        lambda: frame.sample(fraction=1.0, shuffle=True, seed=int(rng.integers(1 << 30))),
        lambda: frame.select(pl.all().exclude(_column(rng, case))),
        lambda: pl.DataFrame(),
    ]
    which = int(rng.integers(len(made)))
    case.frame = made[which]()
    case.did.append(f"size {which}")


def odd_optional(rng: Rng, case: Case) -> None:
    """Session, request, position and propensity columns, of any kind."""
    n = case.frame.height
    name = str(rng.choice(["session_id", "request_id", "position", "propensity"]))
    values: list[Any] = [
        pl.Series(rng.integers(0, 5, n)),
        pl.Series(rng.random(n)),
        pl.Series(rng.choice(["a", "b"], n)),
        pl.Series([None] * n, dtype=pl.Null),
        pl.Series(np.full(n, 1e-300)),
        pl.Series(rng.choice([1.0, np.nan], n)),
        pl.Series(rng.choice([0.5, 1.5, -0.5], n)),
        pl.Series([b"\xff"] * n, dtype=pl.Binary),
        pl.Series([None if it else 3 for it in rng.random(n) < 0.3], dtype=pl.Int64),
    ]
    which = int(rng.integers(len(values)))
    _set(case, name, values[which])
    case.did.append(f"{name} {which}")


def odd_items(rng: Rng, case: Case) -> None:
    """Items with ids that are missing or twice, and features that cannot be numbers."""
    items = case.options.get("items")
    if items is None:
        return
    some = pl.lit(pl.Series(rng.random(items.height) < 0.3))
    values = [None, np.nan, np.inf, 1e300, -1e-300]
    made: list[Callable[[], pl.DataFrame]] = [
        lambda: items.head(3),
        lambda: pl.concat([items, items.head(1)]),
        lambda: items.with_columns(minutes=pl.when(some).then(values[int(rng.integers(5))]).otherwise("minutes")),
        lambda: items.with_columns(genre=pl.when(~some).then("genre")),
        lambda: items.with_columns(vector=pl.when(~some).then("vector")),
        lambda: items.with_columns(vector=pl.lit([values[int(rng.integers(5))], 1.0, 2.0], dtype=pl.List(pl.Float64))),
        lambda: items.with_columns(vector=pl.col("vector").list.head(2)),
        lambda: items.with_columns(vector=pl.when(some).then(pl.col("vector").list.head(1)).otherwise("vector")),
        lambda: items.with_columns(vector=pl.lit([], dtype=pl.List(pl.Float64))),
        lambda: items.with_columns(pl.col("item_id").cast(pl.String)),
        lambda: items.with_columns(minutes=pl.col("minutes").cast(pl.Int64, strict=False)),
        lambda: items.with_columns(minutes=pl.lit(None), genre=pl.lit(None)),
        lambda: items.with_columns(pl.Series("genre", [object()] * items.height, dtype=pl.Object)),
        lambda: items.head(0),
        lambda: items.with_columns(pl.col("item_id").cast(pl.Float64, strict=False)),
        lambda: items.with_columns(pl.when(~some).then("item_id").alias("item_id")),
    ]
    which = int(rng.integers(len(made)))
    case.options["items"] = made[which]()
    case.did.append(f"items {which}")


def odd_options(rng: Rng, case: Case) -> None:
    """Settings that name what is not there."""
    made: list[dict[str, Any]] = [
        {"click": "clik"},
        {"click": "listen_ms"},
        {"flags": ["listen_ms"]},
        {"flags": []},
        {"flags": ["nope"]},
        {"feedback": []},
        {"feedback": "click"},
        {"feedback": ["click", "click"]},
        {"context": ["user_id"]},
        {"end": "2024-03-13"},
        {"end": "2024-01-01"},
        {"end": "tomorrow"},
        {"max_rejected_share": float("nan")},
        {"max_rejected_share": 0.0},
        {"item_features": ["genre", "genre"]},
        {"context": ["minutes"]},
        {"item_features": []},
    ]
    options = made[int(rng.integers(len(made)))]
    case.options |= options
    case.did.append(str(options))


ODDITIES = (
    *(another_type, odd_values, odd_values, objects, odd_times, odd_names, odd_ids, odd_sizes, odd_optional),
    *(odd_items, odd_options),
)


def case_of(seed: int) -> Case:
    """The frame of a seed: a log with none to four things odd in it."""
    rng = np.random.default_rng([seed, 16])
    case = sound(rng)
    for place in rng.integers(len(ODDITIES), size=int(rng.choice([0, 1, 1, 2, 2, 3, 4]))):
        if case.frame.columns:
            with suppress(pl.exceptions.PolarsError):  # it cannot be made of this frame
                ODDITIES[place](rng, case)
    return case
