from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from reward.data.event_log import EventLog
from reward.data.slates import active_days, past_activity, past_liking, rate_before, slates_of
from reward.data.validation import check

START = datetime(2024, 3, 1, tzinfo=UTC)


def log_from(rows, **columns):
    """A checked log of (user, item, day, request, position, click) rows."""
    names = ["user_id", "item_id", "day", "request_id", "position", "click"]
    frame = pl.DataFrame(rows, schema=names, orient="row").with_columns(
        pl.lit(START) + pl.col("day") * pl.duration(days=1) + pl.col("position") * pl.duration(minutes=1)
    )
    frame = frame.rename({"literal": "timestamp"}).drop("day", *columns.get("without", ()))
    return check(EventLog(frame.lazy(), ("click",), session_gap_minutes=30, max_rejected_share=0)).log


ROWS = [
    ("a", "x", 0, 1, 0, 1),
    ("a", "y", 0, 1, 1, 0),
    ("a", "z", 2, 2, 0, 1),
    ("b", "y", 1, 1, 0, 0),
    ("b", "z", 1, 1, 1, 1),
]


def test_a_slate_is_the_rows_of_one_user_and_request_from_the_top():
    slates = slates_of(log_from(ROWS))
    assert slates.item_ids.to_list() == ["x", "y", "z"]
    assert slates.items.tolist() == [[0, 1], [2, -1], [1, 2]]
    assert slates.user.tolist() == [0, 0, 1]
    assert slates.day.tolist() == [0, 2, 1]
    assert slates.row.tolist() == [0, 0, 1, 2, 2]
    assert slates.place.tolist() == [0, 1, 0, 0, 1]


def test_without_requests_each_row_is_a_slate():
    slates = slates_of(log_from(ROWS, without=["request_id"]))
    assert slates.items.tolist() == [[0], [1], [2], [1], [2]]


def test_an_item_that_a_request_repeats_starts_another_slate():
    slates = slates_of(log_from([*ROWS, ("b", "y", 1, 1, 2, 0)]))
    assert slates.items.tolist() == [[0, 1], [2, -1], [1, 2], [1, -1]]


def test_items_are_live_from_their_first_exposure_to_their_last():
    slates = slates_of(log_from(ROWS))
    assert [slates.live(day).tolist() for day in range(3)] == [[0, 1], [1, 2], [2]]


def test_past_activity_is_that_of_the_days_before():
    active = np.array([[True, False, True]])
    user, day = np.zeros(3, np.int64), np.arange(3)
    rate = rate_before(active, user, day, since=np.array([0]), start=0.5, span_days=2.0)
    assert rate.tolist() == [0.5, 0.75, 0.375]


def test_days_before_the_first_that_counts_leave_the_start():
    active = np.array([[False, True, False]])
    user, day = np.zeros(3, np.int64), np.arange(3)
    rate = rate_before(active, user, day, since=np.array([1]), start=0.5, span_days=None, prior_days=1.0)
    assert rate.tolist() == [0.5, 0.5, 0.75]


def test_what_a_day_holds_does_not_move_its_own_past():
    slates = slates_of(log_from(ROWS))
    fewer = slates_of(log_from([row for row in ROWS if row[2] < 2] + [("b", "z", 2, 2, 0, 1)]))
    assert active_days(slates).sum() == active_days(fewer).sum()
    assert past_activity(slates, (3.0,), 1.0)[2, 0] == past_activity(fewer, (3.0,), 1.0)[1, 0]


def test_liking_is_what_was_gated_in_earlier_slates():
    slates = slates_of(log_from(ROWS))
    gated = np.array([[True, False], [True, False], [False, True]])
    liking = past_liking(slates, gated, np.eye(3, dtype=np.float32), 4.0)
    assert liking.tolist() == [[0, 0, 0], [0.25, 0, 0], [0, 0, 0]]


def test_each_gated_item_makes_the_earlier_ones_fade():
    rows = [("a", "x", 0, 1, 0, 1), ("a", "y", 1, 2, 0, 1), ("a", "z", 2, 3, 0, 1), ("b", "x", 0, 1, 0, 1)]
    slates = slates_of(log_from(rows))
    liking = past_liking(slates, slates.items >= 0, np.eye(3, dtype=np.float32), 4.0)
    assert liking[2].tolist() == pytest.approx([0.25 * 0.75, 0.25, 0])


def test_days_are_those_of_the_log():
    assert slates_of(log_from(ROWS)).days == (START + timedelta(days=3) - START).days
