"""How the cells of a column are read: of one kind and inside of its bounds, or flawed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from difflib import get_close_matches
from functools import partial

import polars as pl

from reward.columns import ITEM, POSITION, PROPENSITY, REQUEST, SESSION, TIMESTAMP, USER, VALUE
from reward.data.event_log import EventLog, SchemaError, reading

IMPLAUSIBLE = f"{TIMESTAMP} is before 1990 or after 2100"
TICKS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}  # in a second
FIRST = int(datetime(1990, 1, 1, tzinfo=UTC).timestamp())
LAST = int(datetime(2101, 1, 1, tzinfo=UTC).timestamp()) - 1
_LARGEST = 1e19  # every 64-bit integer is below it, and squares of it can be summed
_LARGEST_ELEMENT = 1e6  # of an embedding, which enters as it is
_Column = tuple[pl.Expr, dict[str, pl.Expr]]  # a column's clean form, and its flaws: what is wrong, in which rows
Reader = Callable[[str, pl.DataType], _Column]


def units_of(frame: pl.LazyFrame, name: str, dtype: pl.DataType) -> str:
    """The units in which an integer timestamp would be a plausible one, and when it would be."""
    if name != TIMESTAMP or not dtype.is_integer():
        return ""
    with reading(name):
        ticks = frame.select(pl.col(name).drop_nulls().cast(pl.Float64).median()).collect().item()
    if ticks is None:
        return ""
    told = [
        f"; in {unit} most of them are around {datetime.fromtimestamp(ticks / per, UTC).date()}"
        for unit, per in TICKS.items()
        if FIRST <= ticks / per <= LAST
    ]
    return "".join(told)


def near_names(name: str, names: Iterable[str]) -> str:
    """`` (did you mean 'x'?)`` where names are near."""
    near = get_close_matches(name, list(names))
    return f" (did you mean {' or '.join(map(repr, near))}?)" if near else ""


def event_readers(log: EventLog, schema: pl.Schema) -> dict[str, Reader]:
    """How each column of the events is read, by its name."""
    optional: dict[str, Reader] = {
        SESSION: _session,
        REQUEST: _label,
        POSITION: _integer,
        PROPENSITY: _probability,
    }
    return {
        USER: identifier,
        ITEM: identifier,
        TIMESTAMP: partial(moment, log.timestamp_unit, log.timezone),
        **{name: reader for name, reader in optional.items() if name in schema},
        **{name: _flag if name in (log.flags or ()) else _quantity for name in log.feedback},
        **dict.fromkeys(log.context, _attribute),
    }


def outcome_readers(log: EventLog, schema: pl.Schema) -> dict[str, Reader]:
    """How each column of outcome events is read, by its name."""
    unit = log.timestamp_unit if schema.get(TIMESTAMP, pl.Null()).is_integer() else None
    needed: dict[str, Reader] = {USER: identifier, TIMESTAMP: partial(moment, unit, log.timezone)}
    return needed | ({VALUE: _quantity} if VALUE in schema else {})


def item_readers(item_features: tuple[str, ...], schema: pl.Schema) -> dict[str, Reader]:
    """How each column of the items table is read, by its name."""
    there = (name for name, dtype in schema.items() if dtype != pl.Object)
    as_they_came: dict[str, Reader] = dict.fromkeys(there, lambda name, _: (pl.col(name), {}))
    return as_they_came | dict.fromkeys(item_features, feature) | {ITEM: _unique}


def _label(name: str, dtype: pl.DataType) -> _Column:
    if dtype.is_nested() or dtype in (pl.Object, pl.Duration, pl.Unknown):
        raise SchemaError("expected one value a row, for example an integer or a string: take it apart or leave it out")
    if dtype == pl.Binary:
        return pl.col(name).bin.encode("hex"), {}
    return pl.col(name).cast(pl.String) if dtype in (pl.Categorical, pl.Enum) else pl.col(name), {}


def _session(name: str, dtype: pl.DataType) -> _Column:
    column, _ = _label(name, dtype)
    return column, {f"{name} is null": column.is_null()}


def _integer(name: str, dtype: pl.DataType) -> _Column:
    if not dtype.is_integer():
        raise SchemaError("expected an integer: cast it")
    column = pl.col(name).cast(pl.Int64, strict=False)
    beyond = column.is_null() & pl.col(name).is_not_null()
    return column, {f"{name} is beyond a signed 64-bit integer, cast it to a string": beyond}


def identifier(name: str, dtype: pl.DataType) -> _Column:
    """An id: a whole number of 64 bits, or a text."""
    null = {f"{name} is null": pl.col(name).is_null()}
    if dtype in (pl.String, pl.Categorical, pl.Enum):
        return pl.col(name).cast(pl.String), null
    if not dtype.is_integer():
        raise SchemaError("expected an integer or a string: cast it")
    column, beyond = _integer(name, dtype)
    return column, {**null, **beyond}


def _unique(name: str, dtype: pl.DataType) -> _Column:
    column, flaws = identifier(name, dtype)
    return column, {**flaws, f"{name} is not unique": pl.col(name).is_duplicated()}


def moment(unit: str | None, zone: str, name: str, dtype: pl.DataType) -> _Column:
    """A moment in UTC: a datetime, a date (its noon in the log's zone), or a whole number of units."""
    if dtype == pl.Date:
        noon = pl.col(name).cast(pl.Datetime("us")) + pl.duration(hours=12)
        moment = noon.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null").dt.convert_time_zone("UTC")
        plausible = moment.dt.year().is_between(1990, 2100).fill_null(value=False)
        return pl.when(plausible).then(moment), {f"{name} is null": pl.col(name).is_null(), IMPLAUSIBLE: ~plausible}
    if isinstance(dtype, pl.Datetime):
        if unit is not None:
            raise SchemaError(f"timestamp_unit={unit} is for integers, leave it null")
        unit = dtype.time_unit
    elif not dtype.is_integer():
        raise SchemaError("expected a datetime in UTC, or an integer and its timestamp_unit: parse or cast it")
    elif unit not in TICKS:
        raise SchemaError(f"expected timestamp_unit to be one of {', '.join(TICKS)}, got {unit}: set it")
    ticks = pl.col(name).to_physical().cast(pl.Int64, strict=False)
    plausible = ticks.is_between(FIRST * TICKS[unit], LAST * TICKS[unit]).fill_null(False)
    microseconds = ticks // 1000 if unit == "ns" else ticks * (TICKS["us"] // TICKS[unit])
    return pl.when(plausible).then(microseconds).cast(pl.Datetime("us", "UTC")), {
        f"{name} is null": pl.col(name).is_null(),
        IMPLAUSIBLE: ~plausible,
    }


def _quantity(name: str, dtype: pl.DataType) -> _Column:
    if not (dtype.is_numeric() or dtype == pl.Boolean):
        raise SchemaError("expected feedback to be a bool, 0/1 or a quantity of at least 0: cast it")
    column = pl.col(name).cast(pl.Float64)
    usable = (column.is_finite() & (column >= 0)).fill_null(False)
    return column, {
        f"{name} is not a finite number of at least 0": ~usable,
        f"{name} is over {_LARGEST:g}, too large for a sum": column > _LARGEST,
    }


def _flag(name: str, dtype: pl.DataType) -> _Column:
    column, flaws = _quantity(name, dtype)
    return column, flaws | {f"{name} is neither 0 nor 1": ~column.is_in([0.0, 1.0]).fill_null(False)}


def _probability(name: str, dtype: pl.DataType) -> _Column:
    if not dtype.is_numeric():
        raise SchemaError("expected the probability, in (0, 1], with which the item was shown: cast it")
    column = pl.col(name).cast(pl.Float64)
    usable = ((column > 0) & (column <= 1)).fill_null(False)
    return column, {f"{name} is not in (0, 1]": ~usable}


def _attribute(name: str, dtype: pl.DataType) -> _Column:
    if dtype.is_float() or dtype.is_decimal():
        column = pl.col(name).cast(pl.Float64)
        return column.fill_nan(None), {
            f"{name} is infinite": column.is_infinite(),
            f"{name} is beyond ±{_LARGEST:g}, too large for a sum": column.is_finite() & (column.abs() > _LARGEST),
        }
    if dtype.is_nested() or dtype in (pl.Binary, pl.Object, pl.Duration, pl.Unknown):
        raise SchemaError("expected a float, which is a number, or what a string can name, a category: cast it")
    return pl.col(name).cast(pl.String), {}


def feature(name: str, dtype: pl.DataType) -> _Column:
    """A number, a category or an embedding."""
    if not isinstance(dtype, pl.List | pl.Array):
        return _attribute(name, dtype)
    if dtype.inner not in (pl.Float32, pl.Float64):
        raise SchemaError("expected an embedding to be a list of floats: cast its elements")
    column = pl.col(name).cast(pl.List(pl.Float32))
    length = column.list.len()
    unknown = column.list.eval(~pl.element().is_finite().fill_null(False)).list.any()
    large = column.list.eval(pl.element().is_finite() & (pl.element().abs() > _LARGEST_ELEMENT)).list.any()
    return column, {
        f"{name} is not as long as the first one": length != length.drop_nulls().first(),
        f"{name} has elements that are not finite": unknown,
        f"{name} has elements beyond ±{_LARGEST_ELEMENT:g}, scale it": large,
    }
