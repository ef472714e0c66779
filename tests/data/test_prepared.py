"""A prepared log: its codes, its chunks of users, and its files."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from reward.data.days import day_of
from reward.data.event_log import EventLog
from reward.data.prepared import RECORD, Origin, PreparedLog
from reward.data.split import bounds, known_at


def _alike(one: PreparedLog, other: PreparedLog) -> None:
    assert one.users.to_list() == other.users.to_list()
    assert_frame_equal(one.items, other.items)
    for mine, theirs in zip(one.codes, other.codes, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert (one.first_day, one.end_day) == (other.first_day, other.end_day)
    assert_frame_equal(one.log.events.collect(), other.log.events.collect())


@pytest.fixture(params=["in memory", "on disk"])
def prepared(request, log, tmp_path):
    made = PreparedLog.of(log)
    if request.param == "in memory":
        return made
    return made.kept_in(tmp_path / "log", "stamp", Origin())


def test_codes_say_who_what_and_when(log, prepared):
    everybody = prepared.every_user()
    events = log.events.with_columns(day_of(log)).collect()
    assert prepared.users.gather(everybody.user).to_list() == events["user_id"].to_list()
    assert prepared.items["item_id"].gather(everybody.item).to_list() == events["item_id"].to_list()
    np.testing.assert_array_equal(everybody.day, events["day"].to_numpy())
    assert_frame_equal(everybody.events, log.events.collect())
    assert (prepared.first_day, prepared.end_day) == bounds(log)
    assert len(prepared) == len(everybody) == len(events)


def test_items_are_those_shown_and_those_of_the_table(log):
    seen = log.events.select(pl.col("item_id").unique().sort()).collect()["item_id"]
    few = replace(log, items=log.items.filter(pl.col("item_id") >= seen[3]))
    assert PreparedLog.of(few).items["item_id"].to_list() == sorted({*seen, *log.items.collect()["item_id"][3:]})
    assert PreparedLog.of(replace(log, items=None)).items["item_id"].to_list() == seen.to_list()


@pytest.mark.parametrize("rows", [1, 50, 10**9])
def test_chunks_are_whole_users_one_after_the_other(prepared, rows):
    chunks = list(prepared.chunks(rows))
    assert [it.first for it in chunks] == [0, *(it.last for it in chunks[:-1])]
    assert chunks[-1].last == len(prepared.users)
    assert all(len(it) <= rows or it.last == it.first + 1 for it in chunks)
    assert_frame_equal(pl.concat([it.events for it in chunks]), prepared.log.events.collect())
    for name in ("user", "item", "day"):
        together = np.concatenate([getattr(it, name) for it in chunks])
        np.testing.assert_array_equal(together, getattr(prepared.every_user(), name))


def test_chunks_of_no_rows_are_refused(prepared):
    with pytest.raises(ValueError, match="rows expected at least 1, got 0"):
        next(prepared.chunks(0))


@pytest.mark.parametrize("later", [1, 6, 12])
def test_a_log_known_earlier_is_that_log_prepared(log, prepared, later):
    day = bounds(log)[0] + later
    early = prepared.known_at(day)
    _alike(early, PreparedLog.of(known_at(log, day)))
    assert_frame_equal(pl.concat([it.events for it in early.chunks(30)]), early.log.events.collect())
    assert early.known_at(day + 1) is early
    _alike(early.known_at(day - 0), early)
    if later > 1:
        _alike(early.known_at(day - 1), prepared.known_at(day - 1))


def test_a_log_of_nobody_has_no_chunk(log):
    nobody = PreparedLog.of(replace(log, events=log.events.clear()))
    assert list(nobody.chunks()) == []
    assert len(nobody) == 0


def test_rows_that_are_not_sorted_by_user_are_refused(log):
    with pytest.raises(ValueError, match="rows of a checked log, sorted by user_id"):
        PreparedLog.of(replace(log, events=log.events.sort("timestamp", "item_id")))


def test_what_was_written_is_read_again_with_its_settings(log, tmp_path):
    renewals = pl.LazyFrame({"user_id": [1], "timestamp": [datetime(2024, 3, 5, tzinfo=UTC)]})
    full = replace(log, outcomes={"renewal": renewals}, outcomes_end={"renewal": datetime(2024, 4, 1, tzinfo=UTC)})
    PreparedLog.of(full).kept_in(tmp_path / "log", "stamp", Origin("ms", 3, ("a note",)))
    found, origin = PreparedLog.read(tmp_path / "log", "stamp")
    assert origin == Origin("ms", 3, ("a note",))
    tables = {"events", "items", "outcomes"}
    settings = [{name: it for name, it in vars(one).items() if name not in tables} for one in (found.log, full)]
    assert settings[0] == settings[1]
    assert_frame_equal(found.log.items.collect(), full.items.collect())
    assert_frame_equal(found.log.outcomes["renewal"].collect(), renewals.collect())
    assert isinstance(found.codes.item, np.memmap)


def _damaged(folder):
    (folder / "item.npy").write_bytes(b"")


def _forged(folder):
    (folder / RECORD).write_text("[]", encoding="utf-8")


@pytest.mark.parametrize("harm", [_damaged, _forged, lambda folder: (folder / "events.arrow").unlink()])
def test_files_that_are_not_whole_are_not_read(log, tmp_path, harm):
    PreparedLog.of(log).kept_in(tmp_path / "log", "stamp", Origin())
    harm(tmp_path / "log")
    assert PreparedLog.read(tmp_path / "log", "stamp") is None


def test_a_log_of_another_stamp_is_not_read(log, tmp_path):
    PreparedLog.of(log).kept_in(tmp_path / "log", "stamp", Origin())
    assert PreparedLog.read(tmp_path / "log", "another") is None
    assert PreparedLog.read(tmp_path / "nowhere", "stamp") is None


def test_a_log_without_items_stays_without(log, tmp_path):
    bare = EventLog(**{**vars(log), "items": None, "item_features": ()})
    PreparedLog.of(bare).kept_in(tmp_path / "log", "stamp", Origin())
    assert PreparedLog.read(tmp_path / "log", "stamp")[0].log.items is None
