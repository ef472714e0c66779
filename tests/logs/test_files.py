from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from omegaconf import OmegaConf
from polars.testing import assert_frame_equal

from reward.logs.files import read
from reward.schema import EventLog, SchemaError, check

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


@pytest.mark.parametrize("path", ["nowhere.parquet", "nowhere/*.parquet", "events/day=2"])
def test_a_path_without_files_is_named(folder, path):
    with pytest.raises(SchemaError, match=rf"events at .*{path.replace('*', '.')} cannot be read: .*: check the path"):
        read_seconds(folder / path)


def test_a_truncated_file_is_named(folder):
    path = folder / "items.parquet"
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(SchemaError, match=r"items at .*items.parquet cannot be read: .*damaged or unfinished"):
        read_seconds(folder / "events", items=path)


def test_files_of_different_schemas_are_refused(folder):
    FRAME.drop("item_id").write_parquet(folder / "events" / "three.parquet")
    with pytest.raises(SchemaError, match=r"events \[.*one.parquet.*\] cannot be read: .*item_id.*have one schema"):
        check(read_seconds(folder / "events"))
