import math
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from reward.data.event_log import EventLog, SchemaError, minutes_of
from reward.data.validation import STRAY, check, check_items, row_keys, unread_item_features

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


def events(rows: int = 10) -> pl.DataFrame:
    """Users 0 and 1 by turns, one event a minute, each of another item."""
    number = pl.int_range(rows, eager=True)
    return pl.DataFrame(
        {
            "user_id": number % 2,
            "item_id": number,
            "timestamp": [NOON + timedelta(minutes=row) for row in range(rows)],
            "click": (number % 3 == 0).cast(pl.Float64),
        },
        schema_overrides={"timestamp": pl.Datetime("us", "UTC")},
    )


def log(frame: pl.DataFrame | pl.LazyFrame, **changes: Any) -> EventLog:
    start = EventLog(frame.lazy(), feedback=("click",), session_gap_minutes=30, max_rejected_share=0.1)
    return replace(start, **changes)


def clean(frame: pl.DataFrame, **changes: Any) -> pl.DataFrame:
    return check(log(frame, **changes)).log.events.collect()


def put(frame: pl.DataFrame, name: str, *values: Any) -> pl.DataFrame:
    """The frame with the column's first values replaced."""
    column = frame[name].to_list()
    return frame.with_columns(pl.Series(name, [*values, *column[len(values) :]], frame.schema[name], strict=False))


def integers(unit: int) -> pl.DataFrame:
    """The events with the timestamps in integers, of which a second has ``unit``."""
    return events().with_columns(pl.col("timestamp").dt.epoch("s") * unit)


def test_a_clean_log_has_exactly_the_promised_columns_and_types():
    frame = events().select(
        pl.all(),
        session_id=pl.lit("a"),
        request_id=pl.lit(7),
        position=pl.lit(1, pl.UInt8),
        propensity=pl.lit(0.5, pl.Float32),
        liked=pl.lit(True),
        listen_ms=pl.lit(3, pl.Int16),
        surface=pl.lit(2),
        device=pl.lit("tv", pl.Categorical),
        age=pl.lit(math.nan),
        unused=pl.lit(None),
    )
    checked = check(log(frame, feedback=("listen_ms", "liked"), context=("surface", "device", "age")))
    found = checked.log.events.collect()
    assert found.schema == {
        "user_id": pl.Int64,
        "item_id": pl.Int64,
        "timestamp": pl.Datetime("us", "UTC"),
        "session_id": pl.String,
        "request_id": pl.Int32,
        "position": pl.Int64,
        "propensity": pl.Float64,
        "listen_ms": pl.Float64,
        "liked": pl.Float64,
        "surface": pl.String,
        "device": pl.String,
        "age": pl.Float64,
    }
    assert found.row(0)[6:] == (0.5, 3.0, 1.0, "2", "tv", None)
    assert checked.rejected.is_empty()
    assert list(found.schema) == [*(n for n in checked.rejected.columns if n != "reason")]


def test_rows_are_sorted_by_user_timestamp_position_and_item():
    frame = pl.DataFrame(
        {
            "user_id": ["b", "a", "a", "a", "a"],
            "item_id": ["x", "x", "z", "y", "w"],
            "timestamp": [NOON, NOON + timedelta(1), NOON, NOON, NOON],
            "position": [0, 0, 0, 1, 1],
            "click": [1, 0, 0, 0, 0],
        }
    )
    assert clean(frame).select("user_id", "item_id").rows() == [
        ("a", "z"),
        ("a", "w"),
        ("a", "y"),
        ("a", "x"),
        ("b", "x"),
    ]


def test_the_order_of_the_rows_plays_no_part():
    frame = put(events(60), "click", math.nan, -1.0)
    frame = pl.concat([frame, frame[10:14].with_columns(click=pl.lit(5.0))])
    frame = put(frame, "timestamp", NOON, NOON, datetime(1970, 1, 2, tzinfo=UTC), datetime(1970, 1, 3, tzinfo=UTC))
    first = check(log(frame, max_rejected_share=0.2))
    for seed in range(5):
        again = check(log(frame.sample(fraction=1, shuffle=True, seed=seed), max_rejected_share=0.2))
        assert_frame_equal(again.log.events, first.log.events)
        assert_frame_equal(again.rejected, first.rejected)
    assert first.rejected.height == 8


def test_a_clean_log_passes_the_check_unchanged():
    items = pl.DataFrame({"item_id": range(10), "genre": ["a"] * 10}).lazy()
    once = check(log(integers(1), timestamp_unit="s", items=items, item_features=("genre",))).log
    twice = check(once).log
    assert once.timestamp_unit is None
    assert_frame_equal(once.events, twice.events)
    assert_frame_equal(once.items, twice.items)


@pytest.mark.parametrize(("unit", "ticks"), [("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)])
def test_integer_timestamps_are_read_in_their_unit(unit, ticks):
    assert_frame_equal(clean(integers(ticks), timestamp_unit=unit), clean(events()))


def test_a_naive_datetime_is_utc_and_a_zoned_one_is_converted():
    naive = events().with_columns(pl.col("timestamp").dt.replace_time_zone(None).dt.cast_time_unit("ms"))
    zoned = events().with_columns(pl.col("timestamp").dt.convert_time_zone("Asia/Tokyo").dt.cast_time_unit("ns"))
    assert_frame_equal(clean(naive), clean(events()))
    assert_frame_equal(clean(zoned), clean(events()))


def test_a_flawed_row_is_set_aside_as_it_came_with_the_reason():
    frame = events().with_columns(pl.col("click").cast(pl.Float32), unused=pl.lit(1))
    checked = check(log(put(frame, "click", math.nan)))
    expected = frame.head(1).select("user_id", "item_id", "timestamp", click=pl.lit(math.nan, pl.Float32))
    reason = pl.lit("click is not a finite number of at least 0")
    assert_frame_equal(checked.rejected, expected.with_columns(reason=reason))
    assert_frame_equal(checked.log.events.collect(), clean(frame[1:]))


FLAWS = [
    ("user_id", None, "user_id is null"),
    ("item_id", None, "item_id is null"),
    ("timestamp", None, "timestamp is null"),
    ("timestamp", datetime(1989, 12, 31, 23, tzinfo=UTC), "timestamp is before 1990 or after 2100"),
    ("timestamp", datetime(2101, 1, 1, tzinfo=UTC), "timestamp is before 1990 or after 2100"),
    ("click", None, "click is not a finite number of at least 0"),
    ("click", math.nan, "click is not a finite number of at least 0"),
    ("click", math.inf, "click is not a finite number of at least 0"),
    ("click", -0.5, "click is not a finite number of at least 0"),
    ("propensity", None, r"propensity is not in \(0, 1\]"),
    ("propensity", math.nan, r"propensity is not in \(0, 1\]"),
    ("propensity", 0.0, r"propensity is not in \(0, 1\]"),
    ("propensity", 1.01, r"propensity is not in \(0, 1\]"),
    ("session_id", None, "session_id is null"),
    ("age", math.inf, "age is infinite"),
    ("position", 2**63, "position is beyond a signed 64-bit integer"),
]


@pytest.mark.parametrize(("name", "value", "reason"), FLAWS)
def test_each_flaw_is_counted_within_the_share_and_an_error_over_it(name, value, reason):
    frame = events().with_columns(
        propensity=pl.lit(1.0), session_id=pl.lit(3), age=pl.lit(30.0), position=pl.lit(0, pl.UInt64)
    )
    one, two = put(frame, name, value), put(frame, name, value, value)
    checked = check(log(one, context=("age",)))
    assert checked.rejected["reason"].str.contains(f"^{reason}").to_list() == [True]
    assert checked.log.events.collect().height == 9
    with pytest.raises(SchemaError, match=rf"2 of 10 events \(20.00%\).*\n +2 row\(s\): {reason}.*\(row 0: {name}="):
        check(log(two, context=("age",)))


def test_an_identifier_beyond_64_bits_is_set_aside():
    frame = put(events().with_columns(pl.col("item_id").cast(pl.UInt64)), "item_id", 2**64 - 1)
    assert "item_id is beyond a signed 64-bit integer" in check(log(frame)).rejected["reason"][0]


def test_plausible_timestamps_reach_from_1990_to_2100():
    ends = datetime(1990, 1, 1, tzinfo=UTC), datetime(2100, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert check(log(put(events(), "timestamp", *ends)), least_users=0).rejected.is_empty()


def test_a_shared_error_counts_every_reason_and_shows_the_first_rows_and_values():
    frame = put(put(events(20), "user_id", None), "click", 1.0, math.nan, -1.0, -2.0, -3.0)
    pattern = (
        r"5 of 20 events \(25.00%\) would be set aside, over max_rejected_share=0.1: mend them"
        r".*\n +1 row\(s\): user_id is null \(row 0: user_id=None\)"
        r"\n +4 row\(s\): click is not .* \(row 1: click=nan; row 2: click=-1.0; row 3: click=-2.0\)$"
    )
    with pytest.raises(SchemaError, match=pattern):
        check(log(frame))


def test_a_row_with_two_flaws_is_counted_once():
    frame = put(put(events(), "user_id", None), "click", -1.0)
    assert check(log(frame)).rejected["reason"].to_list() == ["user_id is null"]


def test_the_share_itself_is_allowed_and_a_share_of_0_allows_no_row():
    frame = put(events(), "click", -1.0)
    assert check(log(frame, max_rejected_share=0.1)).rejected.height == 1
    with pytest.raises(SchemaError, match="max_rejected_share=0"):
        check(log(frame, max_rejected_share=0.0))


def test_of_duplicate_rows_one_is_kept():
    frame = pl.concat([events(20), events(20)[3:5].with_columns(click=pl.lit(9.0))])
    checked = check(log(frame))
    assert_frame_equal(checked.log.events.collect(), clean(events(20)))
    assert checked.rejected["click"].to_list() == [9.0, 9.0]
    assert checked.rejected["reason"].unique().to_list() == ["another row has the same user_id, item_id and timestamp"]


def test_a_flawed_row_is_no_reason_to_set_its_sound_duplicate_aside():
    frame = pl.concat([events()[:1].with_columns(click=pl.lit(-1.0)), events()])
    assert_frame_equal(clean(frame), clean(events()))


def test_duplicates_over_the_share_are_an_error():
    frame = pl.concat([events(), events()])
    with pytest.raises(SchemaError, match=r"10 row\(s\): another row has .*\(row \d+: user_id=\d, item_id=\d, timest"):
        check(log(frame))


def test_the_same_item_twice_at_different_times_is_no_duplicate():
    frame = events().with_columns(item_id=pl.lit(1))
    assert check(log(frame)).rejected.is_empty()


@pytest.mark.parametrize(
    ("ticks", "unit", "year", "fix"),
    [
        (10**3, "us", 1970, "in ms on 2024-05-01: set timestamp_unit=ms"),
        (10**3, "s", 56302, "in ms on 2024-05-01: set timestamp_unit=ms"),
        (1, "ms", 1970, "in s on 2024-05-01: set timestamp_unit=s"),
        (10**9, "us", 56302, "in ns on 2024-05-01: set timestamp_unit=ns"),
    ],
)
def test_integers_in_the_wrong_unit_show_their_year_and_the_unit_that_fits(ticks, unit, year, fix):
    with pytest.raises(SchemaError, match=rf"before 1990 or after 2100.*; in {unit} \d+ is in the year {year}, {fix}"):
        check(log(integers(ticks), timestamp_unit=unit))


@pytest.mark.parametrize(("written", "meant", "year"), [("us", "ms", 1970), ("ms", "us", 56302)])
def test_datetimes_written_in_the_wrong_unit_show_their_year_and_the_unit_that_fits(written, meant, year):
    ticks = pl.col("timestamp").dt.epoch(meant)
    frame = events().with_columns(timestamp=ticks.cast(pl.Datetime(written, "UTC")))
    with pytest.raises(
        SchemaError, match=rf"is in the year {year}, in {meant} on 2024-05-01: write the column in {meant}"
    ):
        check(log(frame))


def test_a_time_that_fits_no_unit_shows_its_year_alone():
    frame = events().with_columns(timestamp=pl.lit(5))
    with pytest.raises(SchemaError, match=r"; in s 5 is in the year 1970$"):
        check(log(frame, timestamp_unit="s"))


def test_an_empty_log_is_refused():
    with pytest.raises(SchemaError, match="events is empty: expected one row for each time"):
        check(log(events().clear()))


def test_a_log_of_one_user_is_refused():
    with pytest.raises(SchemaError, match=r"events has 1 user\(s\); expected at least 2"):
        check(log(events().with_columns(user_id=pl.lit("me"))))


def test_a_log_that_is_only_scored_may_be_empty_or_of_one_user():
    assert check(log(events().clear()), least_users=0).log.events.collect().schema == clean(events()).schema
    one = events().with_columns(user_id=pl.lit("me"))
    assert check(log(one), least_users=0).log.events.collect().height == 10
    with pytest.raises(SchemaError, match=r"events has 2 user\(s\); expected at least 3"):
        check(log(events()), least_users=3)


@pytest.mark.parametrize("name", ["user_id", "item_id", "timestamp"])
def test_a_missing_column_is_named_with_its_near_names(name):
    frame = events().rename({name: f"{name}s"})
    with pytest.raises(
        SchemaError, match=rf"events has no column '{name}' \(did you mean '{name}s'\?\); its columns are"
    ):
        check(log(frame))


def test_an_unknown_feedback_name_lists_the_columns_there_are():
    pattern = r"no column 'clik' \(did you mean 'click'\?\); its columns are user_id, item_id, timestamp, click"
    with pytest.raises(SchemaError, match=pattern):
        check(log(events(), feedback=("clik",)))


def test_an_unknown_context_name_lists_the_columns_there_are():
    with pytest.raises(SchemaError, match="no column 'surface'; its columns are user_id, item_id, timestamp, click"):
        check(log(events(), context=("surface",)))


def test_an_unknown_item_feature_lists_the_columns_of_the_items():
    items = pl.LazyFrame({"item_id": range(10), "genre": ["a"] * 10})
    with pytest.raises(SchemaError, match=r"items has no column 'gnre' \(did you mean 'genre'.*are item_id, genre"):
        check(log(events(), items=items, item_features=("gnre",)))


TYPES = [
    ("user_id", pl.col("user_id").cast(pl.Float64), r"'user_id' as Float64: expected an integer or a string"),
    ("timestamp", pl.lit("2024-05-01"), "'timestamp' as String: expected a datetime in UTC, or an integer"),
    ("timestamp", pl.lit(1.7e9), "'timestamp' as Float64: expected a datetime in UTC, or an integer"),
    (
        "timestamp",
        pl.lit(1_700_000_000, pl.Int64),
        "'timestamp' as Int64: expected timestamp_unit to be one of s, ms, us",
    ),
    ("click", pl.lit("yes"), "'click' as String: expected feedback to be a bool, 0/1 or a quantity"),
    ("propensity", pl.lit("high"), "'propensity' as String: expected the probability"),
    ("position", pl.lit(1.5), "'position' as Float64: expected an integer"),
    ("session_id", pl.lit([1, 2]), r"'session_id' as List\(Int64\): expected one value a row"),
    ("request_id", pl.struct("click"), r"'request_id' as Struct.*: expected one value a row"),
    ("device", pl.lit([1.0]), r"'device' as List\(Float64\): expected a float, which is a number, or what a string"),
]


@pytest.mark.parametrize(("name", "column", "message"), TYPES)
def test_a_column_of_the_wrong_type_says_what_was_expected(name, column, message):
    frame = events().with_columns(device=pl.lit("tv")).with_columns(column.alias(name))
    with pytest.raises(SchemaError, match=message):
        check(log(frame, context=("device",)))


def test_a_unit_with_a_datetime_column_is_refused():
    with pytest.raises(
        SchemaError, match=r"'timestamp' as Datetime.*: timestamp_unit=ms is for integers, leave it null"
    ):
        check(log(events(), timestamp_unit="ms"))


def test_an_unknown_unit_is_refused():
    with pytest.raises(SchemaError, match="expected timestamp_unit to be one of s, ms, us, ns, got minutes"):
        check(log(integers(1), timestamp_unit="minutes"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"feedback": ()}, "no feedback is named: expected at least one column"),
        ({"context": ("click",)}, "'click' is named 2 times, as feedback and context: give a column one role"),
        ({"feedback": ("click", "click")}, "'click' is named 2 times, as feedback and feedback"),
        ({"context": ("user_id",)}, "'user_id' is named 2 times, as the schema's own and context"),
        ({"context": ("reason",)}, "'reason' is named 2 times, as the schema's own and context"),
        ({"item_features": ("genre",)}, r"item_features=\['genre'\], and no items: give the items table"),
        ({"timezone": "Europe/Stokholm"}, r"timezone='Europe/Stokholm' is unknown \(did you mean 'Europe/Stockholm'"),
        ({"timezone": ""}, "timezone='' is unknown: expected an IANA name"),
        ({"max_rejected_share": 1.5}, "max_rejected_share=1.5: expected a share between 0 and 1"),
        ({"session_gap_minutes": 0}, "session_gap_minutes=0: expected minutes, more than 0"),
        ({"end": datetime(2024, 5, 1, 12, 8)}, r"end=2024-05-01T12:08:00\+00:00 is before the last event, at .*12:09"),
    ],
)
def test_a_setting_that_does_not_fit_is_refused(changes, message):
    with pytest.raises(SchemaError, match=message):
        check(log(events(), **changes))


def test_a_naive_end_is_in_the_timezone_of_the_log():
    end = datetime(2024, 5, 1, 21, 9)
    assert check(log(events(), timezone="Asia/Tokyo", end=end)).log.end == end
    with pytest.raises(SchemaError, match=r"end=2024-05-01T21:08:59\+09:00 is before the last event, at .*T21:09:00"):
        check(log(events(), timezone="Asia/Tokyo", end=end - timedelta(seconds=1)))


def test_several_problems_are_listed_in_one_error():
    frame = put(events().rename({"item_id": "video_id"}), "click", -1.0, -1.0).with_columns(timestamp=pl.lit("noon"))
    with pytest.raises(SchemaError, match=r"^the log has 6 problem\(s\):\n- ") as caught:
        check(log(frame, context=("surface", "surface"), timezone="Mars"))
    for problem in ("item_id", "timestamp", "surface", "named 2 times", "Mars", "2 of 10 events"):
        assert problem in str(caught.value)


def items(**columns: Any) -> pl.LazyFrame:
    return pl.LazyFrame({"item_id": [2, 0, 1], **columns})


def test_items_are_sorted_and_their_features_have_the_promised_types():
    table = items(
        year=pl.Series([1999.0, None, math.nan], dtype=pl.Float32),
        genre=pl.Series([3, None, 1]),
        text=[[1.0, 2.0], None, [3.0, 4.0]],
        image=pl.Series([[1.0], [2.0], [3.0]], dtype=pl.Array(pl.Float64, 1)),
        creator=["x", "y", "z"],
    ).with_columns(pl.col("item_id").cast(pl.UInt32))
    found = check(log(events(), items=table, item_features=("year", "genre", "text", "image"))).log.items.collect()
    assert found.schema == {
        "item_id": pl.Int64,
        "year": pl.Float64,
        "genre": pl.String,
        "text": pl.List(pl.Float32),
        "image": pl.List(pl.Float32),
        "creator": pl.String,
    }
    assert found.rows() == [
        (0, None, None, None, [2.0], "y"),
        (1, None, "1", [3.0, 4.0], [3.0], "z"),
        (2, 1999.0, "3", [1.0, 2.0], [1.0], "x"),
    ]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (items(item_id=[0, 1, 1]), r"items: 2 row\(s\): item_id is not unique \(row 1: item_id=1; row 2: item_id=1\)"),
        (items(item_id=[0, None, 1]), r"items: 1 row\(s\): item_id is null \(row 1: item_id=None\)"),
        (items(item_id=["0", "1", "2"]), "item_id is String in items and Int64 in events; expected one type"),
        (items(item_id=[0.0, 1.0, 2.0]), "items has 'item_id' as Float64: expected an integer or a string"),
        (items(feature=[1.0, math.inf, 2.0]), r"items: 1 row\(s\): feature is infinite \(row 1"),
        (items(feature=[[1.0], [1.0, 2.0], [1.0]]), r"feature is not as long as the first one \(row 1: feature="),
        (items(feature=[[1.0], [math.nan], [None]]), r"items: 2 row\(s\): feature has elements that are not finite"),
        (
            items(feature=[[1], [2], [3]]),
            r"items has 'feature' as List\(Int64\): expected an embedding to be a list of",
        ),
        (items(feature=[{"a": 1}] * 3), "items has 'feature' as Struct.*: expected a float, which is a number"),
    ],
)
def test_an_items_table_that_does_not_fit_is_refused(table, message):
    features = tuple(name for name in table.collect_schema() if name == "feature")
    with pytest.raises(SchemaError, match=message):
        check(log(events(), items=table, item_features=features))


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(SchemaError, match=r"events cannot be read: .*nowhere.parquet.*check the path"):
        check(log(pl.scan_parquet(tmp_path / "nowhere.parquet")))


def test_a_truncated_file_is_refused(tmp_path: Path):
    path = tmp_path / "log.parquet"
    events().write_parquet(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(
        SchemaError, match=r"events cannot be read: parquet: .*write a damaged or unfinished file again"
    ):
        check(log(pl.scan_parquet(path)))


def test_a_file_with_damaged_pages_is_named(tmp_path: Path):
    path = tmp_path / "log.parquet"
    events(2000).write_parquet(path, compression="uncompressed", statistics=False)
    content = bytearray(path.read_bytes())
    content[4:400] = b"\xff" * 396
    path.write_bytes(content)
    with pytest.raises(SchemaError, match=r"events \[.*log.parquet\] cannot be read"):
        check(log(pl.scan_parquet(path)))


@pytest.mark.parametrize(("unit", "ticks"), [("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)])
def test_row_keys_are_the_clean_keys_in_the_order_of_the_rows(unit, ticks):
    frame = integers(ticks).reverse()
    found = row_keys(frame, unit)
    assert_frame_equal(found.reverse().sort("user_id", "timestamp"), clean(events()).select(found.columns))
    assert found["item_id"].to_list() == list(range(9, -1, -1))


def test_row_keys_are_of_one_type_whatever_they_came_in():
    frame = events().with_columns(
        pl.col("user_id").cast(pl.UInt8),
        pl.col("item_id").cast(pl.String).cast(pl.Categorical),
        pl.col("timestamp").dt.convert_time_zone("Asia/Tokyo").dt.cast_time_unit("ms"),
    )
    found = row_keys(frame, "s")  # the unit is for integers and this log has none
    assert found.schema == {"user_id": pl.Int64, "item_id": pl.String, "timestamp": pl.Datetime("us", "UTC")}
    assert found["timestamp"].to_list() == events()["timestamp"].to_list()


def test_row_keys_has_only_the_keys_there_are():
    assert row_keys(events().select("click", "timestamp", "user_id"), None).columns == ["user_id", "timestamp"]


def test_row_keys_of_a_type_that_no_log_has_are_refused():
    with pytest.raises(SchemaError, match="expected an integer or a string: cast it"):
        row_keys(events().cast({"item_id": pl.Float64}), None)
    with pytest.raises(SchemaError, match="expected timestamp_unit to be one of s, ms, us, ns, got None"):
        row_keys(integers(1), None)


class TestRolesOfFeedback:
    @pytest.mark.parametrize(
        ("names", "asked", "click"),
        [
            (("skip", "click"), None, "click"),
            (("skip", "is_click"), None, "is_click"),
            (("clicked", "skip"), None, "clicked"),
            (("skip", "play"), None, None),
            (("skip", "play"), "play", "play"),
            (("click", "play"), "play", "play"),
        ],
    )
    def test_the_click_is_the_one_named_or_called_so_and_never_the_first(self, names, asked, click):
        frame = events().drop("click").with_columns(pl.lit(1.0).alias(name) for name in names)
        assert check(log(frame, feedback=names, click=asked)).log.click == click

    def test_a_click_that_is_no_feedback_is_refused(self):
        with pytest.raises(SchemaError, match=r"click='clik' \(did you mean 'click'\?\): expected one of the feedback"):
            check(log(events(), click="clik"))

    def test_a_flag_is_boolean_or_holds_both_numbers_and_no_other(self):
        columns = {
            "bool": pl.lit(value=False),
            "both": pl.int_range(pl.len()) % 2,
            "never": pl.lit(0.0),
            "always": pl.lit(1),
            "count": pl.int_range(pl.len()) % 3,
        }
        frame = events().with_columns(**columns)
        assert check(log(frame, feedback=tuple(columns))).log.flags == ("bool", "both")
        assert check(log(frame, feedback=tuple(columns), flags=("never",))).log.flags == ("never",)

    def test_what_a_flag_cannot_be_is_set_aside(self):
        frame = put(events(60), "click", 2.0, math.nan)
        found = check(log(frame, flags=("click",)))
        assert found.reasons.drop_nulls().to_list() == [
            "click is neither 0 nor 1",
            "click is not a finite number of at least 0",
        ]

    def test_a_flag_that_turned_into_a_quantity_is_refused_by_name(self):
        frame = events(60).with_columns(click=pl.lit(45_000.0))
        with pytest.raises(SchemaError, match=r"60 of 60 events (.|\n)*60 row\(s\): click is neither 0 nor 1"):
            check(log(frame, flags=("click",)))

    def test_flags_that_are_no_feedback_are_refused(self):
        with pytest.raises(SchemaError, match=r"flags=\['nope'\]: expected some of the feedback columns"):
            check(log(events(), flags=("nope",)))


@pytest.mark.parametrize("told", ["4", "24:00", "04:60", "4am", "", "04:00:00", "240"])
def test_an_hour_at_which_no_day_starts_is_refused(told):
    with pytest.raises(SchemaError, match=f"day_starts_at='{told}': expected a local time from 00:00 to 23:59"):
        check(log(events(), day_starts_at=told))


@pytest.mark.parametrize(("told", "minutes"), [("00:00", 0), ("4:00", 240), ("04:30", 270), ("23:59", 1439)])
def test_minutes_after_midnight_by_hand(told, minutes):
    assert minutes_of(told) == minutes


@pytest.mark.parametrize("zone", ["UTC", "America/Los_Angeles", "Pacific/Auckland"])
def test_a_date_is_in_its_own_day_in_the_logs_zone(zone):
    frame = events().with_columns(timestamp=pl.lit(datetime(2024, 5, 1)).dt.date())
    found = clean(frame, timezone=zone)["timestamp"].dt.convert_time_zone(zone)
    assert found.dt.date().unique().to_list() == [datetime(2024, 5, 1).date()]
    assert row_keys(frame, None, zone)["timestamp"].equals(clean(frame, timezone=zone)["timestamp"])


@pytest.mark.parametrize(("unit", "per"), [("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)])
def test_integers_without_a_unit_are_told_which_one_is_plausible(unit, per):
    with pytest.raises(SchemaError, match=f"got None: set it; in {unit} most of them are around 2024-05-01"):
        check(log(integers(per)))


class TestFarAway:
    def test_the_few_rows_that_are_years_from_all_others_are_set_aside(self):
        frame = put(events(300), "timestamp", datetime(1990, 1, 1, tzinfo=UTC), datetime(2100, 5, 1, tzinfo=UTC))
        found = check(log(frame))
        assert found.rejected["reason"].to_list() == [STRAY] * 2
        assert found.log.events.collect()["timestamp"].dt.year().unique().to_list() == [2024]

    def test_they_are_scored_for_a_score_is_of_one_row(self):
        frame = put(events(300), "timestamp", datetime(1990, 1, 1, tzinfo=UTC))
        assert check(log(frame), least_users=0).rejected.is_empty()

    def test_a_part_of_the_log_is_not_few_rows(self):
        frame = put(events(300), "timestamp", *[datetime(2020, 1, 1, minute=it, tzinfo=UTC) for it in range(30)])
        assert check(log(frame)).rejected.is_empty()

    def test_more_than_thirty_years_are_refused(self):
        frame = put(events(300), "timestamp", *[datetime(1990, 1, 1, minute=it, tzinfo=UTC) for it in range(30)])
        with pytest.raises(SchemaError, match="events go from 1990-01-01 to 2024-05-01, over 12,539 days; expected at"):
            check(log(frame))


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("click", 1e300, r"click is over 1e\+19, too large for a sum"),
        ("volume", -1e300, r"volume is beyond ±1e\+19, too large for a sum"),
    ],
)
def test_numbers_that_no_sum_can_hold_are_set_aside(name, value, reason):
    frame = put(events(60).with_columns(volume=pl.lit(1.0)), name, value)
    assert re.fullmatch(reason, check(log(frame, context=("volume",))).reasons[0])


def test_a_number_that_is_nan_is_unknown():
    frame = put(events(60).with_columns(volume=pl.lit(1.0)), "volume", math.nan)
    assert clean(frame, context=("volume",)).sort("timestamp")["volume"].to_list() == [None, *[1.0] * 59]


def test_reasons_are_in_the_order_of_the_rows():
    frame = put(events(60), "click", 0.0, math.nan)
    reasons = check(log(frame)).reasons
    assert reasons.is_not_null().arg_true().to_list() == [1]
    assert len(reasons) == 60


@pytest.mark.parametrize("dtype", [pl.Object, pl.Duration, pl.List(pl.Int64), pl.Struct({"a": pl.Int64})])
@pytest.mark.parametrize("name", ["user_id", "item_id", "timestamp", "click", "surface", "session_id", "request_id"])
def test_a_column_that_nothing_can_be_read_of_is_refused_by_name(name, dtype):
    values = {pl.Object: object(), pl.Duration: timedelta(1), pl.List: [1], pl.Struct: {"a": 1}}[dtype.base_type()]
    frame = events().with_columns(surface=pl.lit("home")).with_columns(pl.Series(name, [values] * 10, dtype=dtype))
    with pytest.raises(SchemaError, match=f"events has '{name}' as .*: expected"):
        check(log(frame, context=("surface",)))


def test_sessions_may_be_named_by_bytes():
    assert clean(events().with_columns(session_id=pl.lit(b"\xff\x00")))["session_id"][0] == "ff00"


class TestItemFeatures:
    ITEMS = pl.DataFrame(
        {"item_id": range(10), "genre": ["a"] * 10, "minutes": [1.0] * 10, "vector": [[1.0, 2.0]] * 10}
    )

    def test_those_that_could_be_read_and_are_not_named_are_told(self):
        items = self.ITEMS.with_columns(parts=pl.lit([1, 2])).lazy()
        assert unread_item_features(log(events(), items=items, item_features=("genre",))) == ("minutes", "vector")
        assert unread_item_features(log(events())) == ()

    @pytest.mark.parametrize(
        ("name", "value", "message"),
        [
            ("minutes", math.inf, r"1 row\(s\): minutes is infinite"),
            ("minutes", 1e300, r"minutes is beyond ±1e\+19"),
            ("vector", [math.nan, 1.0], "vector has elements that are not finite"),
            ("vector", [None, 1.0], "vector has elements that are not finite"),
            ("vector", [1e9, 1.0], r"vector has elements beyond ±1e\+06, scale it"),
            ("item_id", None, "item_id is null"),
        ],
    )
    def test_the_same_is_refused_in_training_and_in_scoring(self, name, value, message):
        items = put(self.ITEMS, name, value)
        with pytest.raises(SchemaError, match=message):
            check(log(events(), items=items.lazy(), item_features=("genre", "minutes", "vector")))
        with pytest.raises(SchemaError, match=f"the items table does not fit: .*{message}"):
            check_items(items, ("genre", "minutes", "vector"))

    def test_a_name_that_context_has_too_is_refused(self):
        frame = events().with_columns(genre=pl.lit("a"))
        with pytest.raises(SchemaError, match="genre: a column's name is taken, by another column"):
            check(log(frame, items=self.ITEMS.lazy(), item_features=("genre",), context=("genre",)))


def test_a_name_of_the_models_own_inputs_is_refused_before_training():
    frame = events().with_columns(pl.lit(1.0).alias(name) for name in ("volume", "volume is missing", "gap_hours"))
    with pytest.raises(SchemaError, match="gap_hours, volume is missing: a column's name is taken"):
        check(log(frame, context=("volume", "volume is missing", "gap_hours")))


@pytest.mark.parametrize("pattern", ["*", "^click.*$"])
def test_a_pattern_is_no_name_of_a_column(pattern):
    with pytest.raises(SchemaError, match="expected the names of columns, and no patterns"):
        check(log(events(), context=(pattern,)))
