from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from omegaconf import OmegaConf
from polars.testing import assert_frame_equal

import reward
from reward.data.event_log import EventLog, SchemaError
from reward.data.parquet import read
from reward.data.validation import check

FRAME = pl.DataFrame(
    {
        "user_id": ["a", "a", "b"],
        "item_id": [1, 2, 1],
        "timestamp": [1714564800, 1714564860, 1714564800],
        "click": [True, False, True],
        "surface": ["home", "home", "search"],
    }
)
ITEMS = pl.DataFrame({"item_id": [1, 2], "genre": ["news", "music"]})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "events" / "day=2").mkdir(parents=True)
    FRAME[:2].write_parquet(tmp_path / "events" / "one.parquet")
    FRAME[2:].write_parquet(tmp_path / "events" / "two.parquet")
    FRAME.write_parquet(tmp_path / "events.parquet")
    ITEMS.write_parquet(tmp_path / "items.parquet")
    return tmp_path


def read_seconds(events: str | Path, **options: Any) -> EventLog:
    settings = {"feedback": ["click"], "session_gap_minutes": 30, "max_rejected_share": 0.0, "timestamp_unit": "s"}
    return read(events, **settings | options)


@pytest.mark.parametrize("path", ["events.parquet", "events", "events/*.parquet", "events/"])
def test_a_file_a_folder_and_a_glob_hold_the_same_log(folder, path):
    found = check(read_seconds(str(folder / path))).log.events.collect()
    assert found.select("user_id", "item_id", "click").rows() == [("a", 1, 1.0), ("a", 2, 0.0), ("b", 1, 1.0)]
    assert found["timestamp"][0] == datetime(2024, 5, 1, 12, tzinfo=UTC)


def test_every_option_reaches_the_log(folder):
    log = read(
        folder / "events.parquet",
        feedback=["click"],
        session_gap_minutes=45,
        max_rejected_share=0.2,
        context=["surface"],
        items=folder / "items.parquet",
        item_features=["genre"],
        timezone="Europe/Paris",
        timestamp_unit="s",
        end="2024-06-01",
    )
    assert (log.feedback, log.context, log.item_features) == (("click",), ("surface",), ("genre",))
    assert (log.session_gap_minutes, log.max_rejected_share) == (45, 0.2)
    assert (log.timezone, log.timestamp_unit, log.end) == ("Europe/Paris", "s", datetime(2024, 6, 1))
    assert_frame_equal(log.events.collect(), FRAME)
    assert log.items is not None
    assert_frame_equal(log.items.collect(), ITEMS)


@pytest.mark.parametrize("names", ["click", ["click"], ("click",), OmegaConf.create(["click"]), iter(["click"])])
def test_names_may_come_as_one_string_or_any_sequence(folder, names):
    assert read_seconds(folder / "events", feedback=names).feedback == ("click",)


@pytest.mark.parametrize(
    ("end", "moment"),
    [
        ("2024-05-02T03:04:05Z", datetime(2024, 5, 2, 3, 4, 5, tzinfo=UTC)),
        (datetime(2024, 5, 2), datetime(2024, 5, 2)),
        (None, None),
    ],
)
def test_the_end_may_be_an_iso_string_a_datetime_or_absent(folder, end, moment):
    assert read_seconds(folder / "events", end=end).end == moment


def test_an_end_that_is_no_time_is_refused(folder):
    with pytest.raises(SchemaError, match="end='tomorrow': expected an ISO 8601 time such as"):
        read_seconds(folder / "events", end="tomorrow")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("z", "events at .*z: expected a file or folder, nothing is there; check the path"),
        ("", "events at : expected a file or folder, nothing is there"),
        ("evnts.parquet", r"nothing is there \(did you mean 'events.parquet'.*\?\)"),
        ("evnts/day=2/a.parquet", r"nothing is there, .*evnts does not exist \(did you mean 'events'"),
        ("nowhere/*.parquet", "expected parquet files, no file matches; check the pattern"),
        ("events/day=2", "expected parquet files in this folder, found nothing"),
        ("texts", "expected parquet files in this folder, found a.csv"),
    ],
)
def test_a_path_without_files_says_so_and_what_is_near(folder, path, message):
    (folder / "texts").mkdir()
    (folder / "texts" / "a.csv").write_text("user_id\n1\n")
    with pytest.raises(SchemaError, match=message):
        read_seconds(path and folder / path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty, 0 bytes, as a write that broke off"),
        (b"user_id,item_id\n1,2\n", r"it is no parquet file, it is text, such as CSV or JSON: .*to_parquet"),
        (b"\x1f\x8b" + b"\0" * 40, r"it is no parquet file, it is compressed \(gzip\)"),
        (b"PAR1" + b"\0" * 40, "it is a parquet file that is damaged or unfinished: write it again"),
        (b"\0\1\2" * 40, "it is no parquet file: expected parquet, as pandas"),
    ],
)
@pytest.mark.parametrize("path", ["events", "events/three.parquet", "events/*.parquet"])
def test_what_is_no_whole_parquet_file_is_named_and_never_passed_over(folder, path, content, message):
    (folder / "events" / "three.parquet").write_bytes(content)
    with pytest.raises(SchemaError, match=f"events at .*three.parquet cannot be read: {message}"):
        read_seconds(folder / path)


def test_files_that_are_not_the_logs_lie_beside_its_own(folder):
    for name in ("_SUCCESS", ".one.parquet.crc", "README.md"):
        (folder / "events" / name).write_text("not a log")
    assert check(read_seconds(folder / "events")).log.events.collect().height == 3


def test_folders_named_by_a_column_hold_it(tmp_path):
    for device, rows in (("tv", FRAME[:2]), ("phone", FRAME[2:])):
        (tmp_path / "log" / f"device={device}").mkdir(parents=True)
        rows.write_parquet(tmp_path / "log" / f"device={device}" / "a.parquet")
    found = check(read_seconds(tmp_path / "log", context=["device"])).log.events.collect()
    assert found["device"].to_list() == ["tv", "tv", "phone"]


def test_brackets_and_equals_signs_in_a_path_are_signs_like_others(tmp_path):
    for place in ("run [1]", "date=2024-03", "a*b"):
        (tmp_path / place).mkdir()
        FRAME.write_parquet(tmp_path / place / "a.parquet")
        for path in (tmp_path / place, tmp_path / place / "a.parquet"):
            assert check(read_seconds(path)).log.events.collect().height == 3


def test_a_column_that_is_not_read_may_be_in_some_files_alone(folder):
    FRAME[:1].with_columns(pl.col("user_id") + "x", extra=1).write_parquet(folder / "events" / "three.parquet")
    assert check(read_seconds(folder / "events")).log.events.collect().height == 4


@pytest.mark.parametrize("name", ["propensity", "session_id", "surface"])
def test_a_column_that_is_read_is_in_all_files_or_in_none(folder, name):
    FRAME.drop("surface").with_columns(pl.lit(1.0).alias(name)).write_parquet(folder / "events" / "zero.parquet")
    FRAME.drop("surface").write_parquet(folder / "events" / "one.parquet")
    FRAME.drop("surface").write_parquet(folder / "events" / "two.parquet")
    with pytest.raises(SchemaError, match=f"'{name}' is in zero.parquet and not in one.parquet: write all files alike"):
        read_seconds(folder / "events", context=[name] if name == "surface" else [])


def test_files_may_differ_in_types_that_have_one_in_common(folder):
    FRAME.cast({"item_id": pl.Int32, "click": pl.Int8}).with_columns(pl.col("user_id") + "x").write_parquet(
        folder / "events" / "three.parquet"
    )
    assert check(read_seconds(folder / "events")).log.events.collect().height == 6
    FRAME.cast({"item_id": pl.String}).write_parquet(folder / "events" / "three.parquet")
    with pytest.raises(SchemaError, match=r"in its files 'item_id' is Int64 and String: write them with one type"):
        read_seconds(folder / "events")


def test_a_log_may_be_a_frame(folder):
    for frame in (FRAME, FRAME.lazy()):
        assert check(read_seconds(frame, items=ITEMS)).log.events.collect().height == 3
    with pytest.raises(SchemaError, match="events expected a path or a polars frame, got dict: convert it"):
        read_seconds({"user_id": [1]})


class TestChecked:
    def test_a_frame_needs_its_feedback_named_and_no_more(self):
        moments = [datetime(2024, 5, 1, hour) for hour in range(4)]
        frame = pl.DataFrame(
            {"user_id": [1, 1, None, 2], "item_id": [1] * 4, "timestamp": moments, "click": [1.0, -1.0, 0.0, 0.0]}
        )
        found = reward.check(frame, feedback="click")
        assert found.log.events.collect()["user_id"].to_list() == [1, 2]
        reasons = [None, "click is not a finite number of at least 0", "user_id is null", None]
        assert found.reasons.to_list() == reasons
        assert sorted(found.rejected["reason"]) == sorted(filter(None, reasons))

    def test_a_path_is_read_too_and_what_is_wrong_is_told(self, folder):
        assert reward.check(folder / "events", feedback="click", timestamp_unit="s").rejected.is_empty()
        with pytest.raises(SchemaError, match=r"events has no column 'clik' \(did you mean 'click'\?\)"):
            reward.check(folder / "events", feedback="clik", timestamp_unit="s")
        with pytest.raises(SchemaError, match="in s most of them are around 2024-05-01"):
            reward.check(folder / "events", feedback="click")


def test_a_truncated_file_is_named(folder):
    path = folder / "items.parquet"
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(SchemaError, match=r"items at .*items.parquet cannot be read: .*damaged or unfinished"):
        read_seconds(folder / "events", items=path)


def test_files_of_different_schemas_are_refused(folder):
    FRAME.drop("item_id").write_parquet(folder / "events" / "three.parquet")
    with pytest.raises(SchemaError, match=r"'item_id' is in one.parquet and not in three.parquet: write all files"):
        read_seconds(folder / "events")
