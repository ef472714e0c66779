"""Feature statistics and vocabularies: fitted on the training window alone, kept in the artefact."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from reward.arrays import Floats
from reward.columns import ITEM
from reward.data.event_log import EventLog, SchemaError
from reward.data.validation import UNKNOWN
from reward.features.fitted import (
    CODE,
    days_of,
    embedding_sizes,
    moments_of,
    refuse_taken_names,
    usual_rate,
    values_of,
    vocabulary,
)
from reward.features.history import RATE_DAYS, TIMING, slots
from reward.features.items import fitting

COUNTS = (
    "gap_hours",
    "days_since_last",
    "session_position",
    "session_minutes",
    "events_today",
    "events_per_day",
)

Codes = NDArray[np.int64]


@dataclass(frozen=True)
class ItemTable:
    """The model's inputs for a list of items.

    Attributes:
        code: (items,) place in the vocabulary; 0 for an item that training did not know.
        categories: (items, categorical features) codes; 0 for unknown or missing.
        numbers: (items, numeric features) standardised, missing ones 0, with a flag column each.
    """

    code: Codes
    categories: Codes
    numbers: Floats

    def __getitem__(self, index: NDArray[np.int64]) -> ItemTable:
        return ItemTable(self.code[index], self.categories[index], self.numbers[index])


@dataclass(frozen=True)
class Features:
    """How a log's columns become the model's inputs.

    Counts and times enter as log(1 + x), context and item numbers as asinh(x), both standardised by the training
    window's mean and standard deviation; feedback that is a flag enters as it is, a quantity as standardised
    log(1 + x). A number that does not vary in the training window enters as 0, then and later: nothing was learned of
    it. Category values and item ids are vocabularies, with code 0 for what is not in them.

    Attributes:
        feedback, context, item_features: the log's columns, as in `EventLog`.
        timezone, session_gap_minutes: as in `EventLog`.
        first_day: first day of the training log; the history before it is unknown.
        past_rate: share of the past days on which training users were active: what stands in on the log's first day.
        weekday: whether the training window is long enough to tell weekdays from single days.
        moments: (mean, standard deviation) of each numeric input, by name.
        flags: feedback columns that hold 0 or 1, as in `EventLog`.
        vocabularies: category values in code order (code 1 first), by column.
        embedding_sizes: length of each embedding column of the items table.
        items: one row an item of the items table or of the training window: ``item_id``, ``code`` (0: not in the
            vocabulary) and the item features.
        constant: numeric inputs that do not vary in the training window.
        click, day_starts_at, max_rejected_share: as in `EventLog`.
    """

    feedback: tuple[str, ...]
    context: tuple[str, ...]
    item_features: tuple[str, ...]
    timezone: str
    session_gap_minutes: float
    first_day: int
    past_rate: float
    weekday: bool
    moments: dict[str, tuple[float, float]]
    flags: tuple[str, ...]
    vocabularies: dict[str, tuple[str, ...]]
    embedding_sizes: dict[str, int]
    items: pl.DataFrame
    constant: tuple[str, ...] = ()
    click: str | None = None
    day_starts_at: str = "00:00"
    max_rejected_share: float = 0.0

    @classmethod
    def fit(cls, log: EventLog, *, min_item_events: int, min_category_events: int, weekday_from_days: int) -> Features:
        """Statistics of a training log.

        Args:
            log: a checked log, cut at the end of training.
            min_item_events: exposures an item needs for a place of its own in the vocabulary.
            min_category_events: exposures a category value needs for a code of its own.
            weekday_from_days: days of training from which the day of the week is a feature.

        Raises:
            SchemaError: a column has the name of one of the model's own inputs, or of two columns.
        """
        refuse_taken_names(log)
        first_day, last_day = days_of(log)
        frame = slots(
            log.events,
            timezone=log.timezone,
            day_starts_at=log.day_starts_at,
            session_gap_minutes=log.session_gap_minutes,
            first_day=first_day,
        ).collect()
        table = vocabulary(log, min_item_events)
        shown = frame.select(ITEM).join(table, on=ITEM, how="left")
        features = cls(
            feedback=log.feedback,
            context=log.context,
            item_features=log.item_features,
            timezone=log.timezone,
            session_gap_minutes=log.session_gap_minutes,
            first_day=first_day,
            past_rate=usual_rate(frame),
            weekday=last_day - first_day + 1 >= weekday_from_days,
            moments={},
            flags=log.flags or (),
            vocabularies={
                name: values_of(source[name], min_category_events)
                for source, names in ((frame, log.context), (shown, log.item_features))
                for name in names
                if source.schema[name] == pl.String
            },
            embedding_sizes=embedding_sizes(table, log.item_features),
            items=table,
            click=log.click,
            day_starts_at=log.day_starts_at,
            max_rejected_share=log.max_rejected_share,
        )
        raw = frame.select(*features._slot_columns(), *features._feedback_columns()).hstack(
            shown.select(features._item_columns())
        )
        features.moments.update({name: moments_of(raw[name]) for name in raw.columns})
        return replace(features, constant=tuple(name for name in raw.columns if raw[name].n_unique() < 2))

    @property
    def slot_names(self) -> tuple[str, ...]:
        """The columns of `slot_numbers`: timing, rates of past activity, then context numbers and their flags."""
        numbers = [name for name in self.context if name not in self.vocabularies]
        rates = [f"rate_{span}d" for span in RATE_DAYS]
        return (*TIMING, *rates, *numbers, *(name + UNKNOWN for name in numbers))

    @property
    def slot_categories(self) -> tuple[str, ...]:
        """Categorical context columns, the weekday last where it is used."""
        names = tuple(name for name in self.context if name in self.vocabularies)
        return (*names, "weekday") if self.weekday else names

    @property
    def item_categories(self) -> tuple[str, ...]:
        """Categorical columns of the items table."""
        return tuple(name for name in self.item_features if name in self.vocabularies)

    @property
    def item_numbers(self) -> tuple[str, ...]:
        """Columns of an item's numeric input: numbers, their missing flags, then the embeddings' entries."""
        names = [name for name in self.item_features if name not in {**self.vocabularies, **self.embedding_sizes}]
        entries = [f"{name}_{place}" for name, size in self.embedding_sizes.items() for place in range(size)]
        return (*names, *(name + UNKNOWN for name in names), *entries)

    def sizes(self) -> dict[str, Any]:
        """The widths of the inputs: what a network needs to know to read them."""
        codes = {name: len(values) + 1 for name, values in self.vocabularies.items()} | {"weekday": 8}
        return {
            "slot_numbers": len(self.slot_names),
            "slot_categories": [codes[name] for name in self.slot_categories],
            "items": int(self.items[CODE].max() or 0) + 1,  # type: ignore[arg-type]
            "item_numbers": len(self.item_numbers),
            "item_categories": [codes[name] for name in self.item_categories],
            "feedback": len(self.feedback),
        }

    def slot_inputs(self, frame: pl.DataFrame) -> tuple[Floats, Codes]:
        """Numeric and categorical inputs of the slots of a frame made by `slots`: (rows, ·) each."""
        raw = frame.select(*self._slot_columns())
        numbers = _matrix(raw.select(self._standard(raw.columns)), np.float32)
        categories = [self._codes(name) for name in self.slot_categories if name != "weekday"]
        if self.weekday:
            categories.append(pl.col("weekday").cast(pl.Int64))
        return numbers, _matrix(frame.select(categories), np.int64, rows=frame.height)

    def feedback_inputs(self, frame: pl.DataFrame) -> Floats:
        """Feedback of the rows of a log: (rows, feedback columns); rows without any are 0."""
        raw = frame.select(*self._feedback_columns())
        return _matrix(raw.select(self._standard(raw.columns)), np.float32)

    def item_inputs(self, items: pl.Series, items_table: pl.DataFrame | None = None) -> ItemTable:
        """The inputs of ``items`` (item ids), in their order.

        Args:
            items: item ids; ones that training did not know get code 0.
            items_table: features of items that the artefact does not hold, one row an item.

        Raises:
            SchemaError: ``items_table`` lacks a column, or has one that does not fit.
        """
        table = self.items
        if items_table is not None:
            fresh = self.fitting(items_table).join(table, on=ITEM, how="anti")
            table = pl.concat([table, fresh.with_columns(pl.lit(0, pl.Int64).alias(CODE))], how="diagonal_relaxed")
        return self._inputs(items.to_frame(ITEM).join(table, on=ITEM, how="left", maintain_order="left"))

    def _inputs(self, found: pl.DataFrame) -> ItemTable:
        """The inputs of rows of the items table; what is null in them is unknown."""
        columns = self._item_columns()
        raw = found.select(columns) if columns else pl.DataFrame()
        numbers = _matrix(raw.select(self._standard(raw.columns)), np.float32, rows=found.height)
        embeddings = [
            found[name].fill_null([0.0] * size).list.to_array(size).to_numpy().astype(np.float32)
            for name, size in self.embedding_sizes.items()
        ]
        codes = found.select(self._codes(name) for name in self.item_categories)
        return ItemTable(
            found[CODE].fill_null(0).to_numpy(),
            _matrix(codes, np.int64, rows=found.height),
            np.concatenate([numbers, *embeddings], axis=1),
        )

    def groups(self, scope: str, items: pl.Series | ItemTable) -> ItemTable:
        """The inputs of items, creators or shows that a slot is asked about: of an item nothing but which one it is.

        Args:
            scope: ``item``, or a categorical column of the items table.
            items: ids of items or values of the column; or the inputs of items, of which the column's is kept.

        Raises:
            SchemaError: ``scope`` is neither.
        """
        if scope == "item":
            return items if isinstance(items, ItemTable) else self.item_inputs(items)
        if scope not in self.item_categories:
            raise SchemaError(
                f"scope={scope!r} expected item or one of the item features with a vocabulary, "
                f"{list(self.item_categories)}: cast the column to a string, and name it in data.item_features"
            )
        place = self.item_categories.index(scope)
        if isinstance(items, ItemTable):
            code = items.categories[:, place]
        else:
            code = items.cast(pl.String).to_frame(scope).select(self._codes(scope)).to_series().to_numpy()
        blank = self._inputs(self.items.clear(1))[np.zeros(len(code), np.int64)]
        blank.categories[:, place] = code
        return blank

    def to_json(self) -> dict[str, Any]:
        """Everything but the items, as plain JSON values."""
        return {name: value for name, value in vars(self).items() if name != "items"}

    def fitting(self, items_table: pl.DataFrame) -> pl.DataFrame:
        """The columns of an items table that are read, in the types of the one that training saw.

        Raises:
            SchemaError: it lacks a column, or has one that does not fit.
        """
        types = {name: self.items.schema[name] for name in (ITEM, *self.item_features)}
        return fitting(items_table, types, self.embedding_sizes)

    def _slot_columns(self) -> list[pl.Expr]:
        timing = [pl.col(name).cast(pl.Float64).fill_null(0.0) for name in TIMING]
        timing = [
            column.clip(0).log1p() if name in COUNTS else column for name, column in zip(TIMING, timing, strict=True)
        ]
        rates = [
            pl.when(pl.col(f"known_{span}d") > 0)
            .then(pl.col(f"active_{span}d") / pl.col(f"known_{span}d"))
            .otherwise(self.past_rate)
            .alias(f"rate_{span}d")
            for span in RATE_DAYS
        ]
        numbers = [name for name in self.context if name not in self.vocabularies]
        return [*timing, *rates, *(pl.col(name).arcsinh() for name in numbers), *_missing(numbers)]

    def _feedback_columns(self) -> list[pl.Expr]:
        return [pl.col(name) if name in self.flags else pl.col(name).log1p() for name in self.feedback]

    def _item_columns(self) -> list[pl.Expr]:
        names = [name for name in self.item_features if name not in {**self.vocabularies, **self.embedding_sizes}]
        return [*(pl.col(name).arcsinh() for name in names), *_missing(names)]

    def _standard(self, names: list[str]) -> list[pl.Expr]:
        plain = {*self.flags, *(name for name in names if name.endswith(UNKNOWN))}
        return [
            pl.repeat(0.0, pl.len()).alias(name)
            if name in self.constant
            else (pl.col(name) if name in plain else (pl.col(name) - self.moments[name][0]) / self.moments[name][1])
            .fill_null(0.0)
            .alias(name)
            for name in names
        ]

    def _codes(self, name: str) -> pl.Expr:
        values = self.vocabularies[name]
        codes = pl.Series(range(1, len(values) + 1), dtype=pl.Int64)
        old = pl.Series(values, dtype=pl.String)
        return pl.col(name).replace_strict(old, codes, default=0, return_dtype=pl.Int64)


def _missing(names: list[str]) -> list[pl.Expr]:
    return [pl.col(name).is_null().cast(pl.Float64).alias(name + UNKNOWN) for name in names]


def _matrix(frame: pl.DataFrame, dtype: type, rows: int | None = None) -> NDArray[Any]:
    if not frame.columns:
        return np.zeros((frame.height if rows is None else rows, 0), dtype)
    return np.ascontiguousarray(frame.to_numpy(), dtype=dtype)
