from dataclasses import replace
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from reward.data.event_log import EventLog, SchemaError
from reward.data.validation import check
from reward.outcomes.activity import ActivityTrace
from reward.outcomes.returns import ReturnTime

FIRST = datetime(2024, 3, 1, 12, tzinfo=UTC)
DAY_0 = (FIRST - datetime(1970, 1, 1, tzinfo=UTC)).days


def log_of(days, surfaces=None):
    """One user who is active on the given days, and a second one so that a log has two."""
    places = zip(days, surfaces or ["a"] * len(days), strict=True)
    rows = [("u", 1, FIRST + timedelta(days=day), surface) for day, surface in places]
    rows.append(("v", 1, FIRST, "a"))
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp", "surface"], orient="row")
    frame = frame.with_columns(click=pl.lit(1))
    log = EventLog(frame.lazy(), ("click",), 30, 0.0, context=("surface",), end=FIRST + timedelta(days=20))
    return check(log).log


def labels(outcome, log, end, **more):
    return outcome.label(log, DAY_0 + end, **more).filter(pl.col("user_id") == "u").collect()


def test_the_first_active_day_is_the_return_and_a_row_without_one_is_censored_at_the_logs_end():
    found = labels(ReturnTime(5), log_of([0, 3, 4, 6]), 9)
    assert found["time_days"].to_list() == [3, 1, 2, 2]  # the last: days 7 and 8 were silent, 9 is not yet known
    assert found["event"].to_list() == [1, 1, 1, 0]
    assert found["entry_days"].to_list() == [0] * 4


def test_a_return_beyond_the_horizon_is_no_return():
    found = labels(ReturnTime(3), log_of([0, 5]), 9)
    assert found["time_days"].to_list() == [3, 3]
    assert found["event"].to_list() == [0, 0]


def test_days_tell_by_when_the_user_is_back_where_they_lie_inside_the_log():
    found = labels(ReturnTime(5), log_of([0, 3, 6]), 8)
    assert found["observed"].to_list() == [0b11111, 0b01111, 0b00001]
    assert found["trace"].to_list() == [0b11100, 0b01100, 0]  # the second: day 8 is not over, though the user is back


def test_a_wait_enters_after_what_was_known_before_and_days_are_told_of_those_who_are_back_too():
    # as of day 5 the row of day 0 was back, that of day 3 had survived a day, that of day 6 was not there
    found = labels(ReturnTime(5), log_of([0, 3, 6]), 8, since=DAY_0 + 5)
    assert found["time_days"].to_list() == [3, 3, 1]
    assert found["entry_days"].to_list() == [4, 1, 0]  # the first enters after its return: it says nothing
    assert found["observed"].to_list() == [0b10000, 0b01110, 0b00001]
    assert found["trace"].to_list() == [0b10000, 0b01100, 0]


def test_the_days_told_since_are_those_of_the_activity_trace_whoever_is_back(log):
    end = log.events.select(pl.col("timestamp").dt.date().max()).collect().item()
    end = (end - datetime(1970, 1, 1).date()).days - 1
    found = ReturnTime(6).label(log, end, since=end - 4).collect()
    assert found["observed"].equals(ActivityTrace(6).label(log, end, since=end - 4).collect()["observed"])
    assert found["trace"].equals(ReturnTime(6).label(log, end).collect()["trace"] & found["observed"])


def test_waits_are_those_of_the_activity_trace(log):
    end = log.events.select(pl.col("timestamp").dt.date().max()).collect().item()
    end = (end - datetime(1970, 1, 1).date()).days - 1
    trace = ActivityTrace(6).label(log, end).collect()
    found = ReturnTime(6).label(log, end).collect()
    rows = zip(trace["trace"], trace["observed"], found["time_days"], found["event"], strict=True)
    for word, observed, time, event in rows:
        active = [day for day in range(1, 7) if word >> (day - 1) & 1]
        assert (time, event) == ((active[0], 1) if active else (observed.bit_count(), 0))


def test_a_reason_is_that_of_the_days_first_event():
    log = log_of([0, 3, 3.01, 4, 6], ["a", "b", "c", "c", "z"])
    found = labels(ReturnTime(5, reason="surface", reasons=["b", "c"]), log, 12)
    assert found["cause"].to_list() == [1, 2, 2, 3, 0]  # z is none of those named
    assert ReturnTime(5, reason="surface", reasons=["b", "c"]).targets == ("time_days", "cause", "entry_days")


def test_a_reason_that_is_no_context_column_is_refused(log):
    with pytest.raises(SchemaError, match=r"reason='click' expected one of the context columns \['surface'"):
        ReturnTime(5, reason="click", reasons=["1"]).label(log, 0).collect()


@pytest.mark.parametrize("told", [{"reason": "surface"}, {"reasons": ["home"]}])
def test_a_reason_and_its_values_come_together(told):
    with pytest.raises(ValueError, match="reason and reasons expected both or neither"):
        ReturnTime(5, **told)


def test_a_horizon_of_another_length_than_a_word_is_refused():
    with pytest.raises(ValueError, match="from 1 to 63, got 64"):
        ReturnTime(64)


def test_a_unit_says_what_one_point_means():
    assert ReturnTime(7).unit == "days back in the next 7 days"
    assert replace(ReturnTime(7), scope="creator").unit == "days back to the same creator in the next 7 days"


@pytest.mark.parametrize("name", ["cause", "event", "time_days"])
def test_the_reason_may_be_a_column_with_the_name_of_a_label(name):
    log = log_of([0, 3, 4, 6], ["a", "b", "c", "z"])
    renamed = replace(log, events=log.events.rename({"surface": name}), context=(name,))
    found = labels(ReturnTime(5, reason=name, reasons=["b", "c"]), renamed, 12)
    expected = labels(ReturnTime(5, reason="surface", reasons=["b", "c"]), log, 12)
    targets = ["time_days", "cause", "entry_days"]
    assert found.select(targets).equals(expected.select(targets))
