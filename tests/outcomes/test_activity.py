from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import numpy as np
import polars as pl
import pytest

from reward.data.days import activity_words, local_day
from reward.data.event_log import SchemaError
from reward.data.validation import check
from reward.outcomes.activity import ActivityTrace

EPOCH = date(1970, 1, 1)


def day_number(text):
    return (date.fromisoformat(text) - EPOCH).days


def bits(word):
    """The days whose bits are set, from 1."""
    return [day for day in range(1, 64) if word >> (day - 1) & 1]


def traces(log, end, horizon_days, **options):
    found = ActivityTrace(horizon_days, **options).label(log, day_number(end)).collect()
    return [bits(word) for word in found["trace"]], [bits(word) for word in found["observed"]]


def test_a_trace_has_the_later_active_days_and_not_the_day_itself(small):
    ours = [(1, f"2024-05-{moment}") for moment in ("01T08:00", "01T22:00", "03T09:00", "07T09:00")]
    log = small([*ours, (2, "2024-05-02T09:00"), (2, "2024-05-04T09:00")])
    trace, observed = traces(log, "2024-06-01", 5)
    assert trace == [[2], [2], [4], [], [2], []]
    assert observed == [[1, 2, 3, 4, 5]] * 6


def test_days_the_log_does_not_wholly_cover_are_unknown_and_never_silent(small):
    log = small([(1, "2024-05-01T08:00"), (1, "2024-05-03T09:00"), (1, "2024-05-04T09:00"), (2, "2024-05-05T00:30")])
    trace, observed = traces(log, "2024-05-04", 3)
    # the events of the 4th are in the log, but that day is not over
    assert trace == [[2], [], [], []]
    assert observed == [[1, 2], [], [], []]
    trace, observed = traces(log, "2024-05-05", 3)
    assert trace == [[2, 3], [1], [], []]
    assert observed == [[1, 2, 3], [1], [], []]


def test_the_days_are_those_of_the_logs_time_zone(small):
    rows = [(1, "2024-05-01T02:00"), (1, "2024-05-01T12:00"), (1, "2024-05-02T03:59"), (1, "2024-05-02T04:00")]
    found = ActivityTrace(3).label(small(rows), day_number("2024-05-10")).collect()
    assert found["trace"].to_list() == [1, 1, 0, 0]
    # midnight in New York is at 4 o'clock UTC in May
    found = ActivityTrace(3).label(small(rows, timezone="America/New_York"), day_number("2024-05-10")).collect()
    assert found["day"].to_list() == [day_number(f"2024-{day}") for day in ("04-30", "05-01", "05-01", "05-02")]
    assert [bits(word) for word in found["trace"]] == [[1, 2], [1], [1], []]


def test_a_day_of_23_hours_is_one_day(small):
    rows = [(1, f"2024-03-{day}T22:30") for day in (29, 30, 31)]
    log = small(rows, timezone="Europe/Paris")  # clocks go forward on the 31st
    found = log.events.select(local_day(log.timezone)).collect()["day"].to_list()
    assert found == [day_number(text) for text in ("2024-03-29", "2024-03-30", "2024-04-01")]
    assert traces(log, "2024-04-05", 3) == ([[1, 3], [2], []], [[1, 2, 3], [1, 2, 3], [1, 2, 3]])


@pytest.mark.parametrize("horizon_days", [1, 7, 63])
def test_a_user_who_comes_daily_fills_the_word_whatever_the_horizon(small, horizon_days):
    start = datetime(2024, 1, 1, 12, tzinfo=UTC)
    log = small([(1, (start + timedelta(days=day)).isoformat()) for day in range(70)])
    found = ActivityTrace(horizon_days).label(log, day_number("2024-01-01") + 70).collect()
    ahead = [min(horizon_days, 69 - day) for day in range(70)]
    assert found["trace"].to_list() == found["observed"].to_list() == [2**days - 1 for days in ahead]
    assert found["trace"].dtype == found["observed"].dtype == pl.Int64


def test_the_63rd_day_has_a_bit_of_its_own(small):
    start = datetime(2024, 1, 1, 12, tzinfo=UTC)
    log = small([(1, start.isoformat()), (1, (start + timedelta(days=63)).isoformat())])
    found = ActivityTrace(63).label(log, day_number("2024-01-01") + 100).collect()
    assert found["trace"].to_list() == [2**62, 0]
    assert found["observed"].to_list() == [2**63 - 1, 2**36 - 1]
    log = small([(1, start.isoformat()), (1, (start + timedelta(days=64)).isoformat())])
    assert traces(log, "2024-12-01", 63)[0] == [[], []]


def test_what_lies_a_horizon_apart_in_other_users_is_nobodys_return(small):
    log = small([(1, "2024-05-01T08:00"), (2, "2024-05-02T08:00"), (3, "2024-05-03T08:00")])
    assert traces(log, "2024-06-01", 63)[0] == [[], [], []]


def test_only_exposures_with_the_feedback_count_as_activity_if_asked(small):
    log = small(
        [(1, "2024-05-01T08:00"), (1, "2024-05-02T08:00"), (1, "2024-05-03T08:00"), (1, "2024-05-03T09:00")],
        listen_ms=[5.0, 0.0, 0.0, 0.5],
    )
    log = replace(log, feedback=("listen_ms",))
    assert traces(log, "2024-05-05", 3)[0] == [[1, 2], [1], [], []]
    trace, observed = traces(log, "2024-05-05", 3, active_if="listen_ms")
    assert trace == [[2], [1], [], []]
    assert observed == [[1, 2, 3], [1, 2], [1], [1]]


def test_the_scope_says_what_a_user_comes_back_to(small):
    log = small(
        [(1, "2024-05-01T08:00"), (1, "2024-05-02T08:00"), (1, "2024-05-03T08:00"), (1, "2024-05-04T08:00")],
        item_id=[7, 8, 9, 7],
    )
    items = pl.LazyFrame({"item_id": [7, 8, 9], "creator": ["a", "b", "b"]})
    log = replace(log, items=items)
    assert traces(log, "2024-05-05", 3)[0] == [[1, 2, 3], [1, 2], [1], []]
    assert traces(log, "2024-05-05", 3, scope="item")[0] == [[3], [], [], []]
    assert traces(log, "2024-05-05", 3, scope="creator")[0] == [[3], [1], [], []]


def test_an_item_without_a_creator_has_an_unknown_trace(small):
    log = small([(1, "2024-05-01T08:00"), (1, "2024-05-02T08:00"), (1, "2024-05-03T08:00")], item_id=[7, 8, 9])
    log = replace(log, items=pl.LazyFrame({"item_id": [7, 8], "creator": [None, "b"]}))
    trace, observed = traces(log, "2024-05-05", 3, scope="creator")
    assert trace == [[], [], []]
    assert observed == [[], [1, 2], []]


@pytest.mark.parametrize(
    ("scope", "active_if"), [("user", None), ("user", "click"), ("item", None), ("creator", "click")]
)
@pytest.mark.parametrize("horizon_days", [1, 5, 63])
def test_labels_are_those_of_a_loop_over_days(log, scope, active_if, horizon_days):
    end = day_number("2024-04-07")
    found = ActivityTrace(horizon_days, scope=scope, active_if=active_if).label(log, end).collect()
    assert found.select(log.events.collect_schema().names()).equals(log.events.collect())
    creator = dict(log.items.select("item_id", "creator").collect().iter_rows())
    target = {"user": lambda item: None, "item": lambda item: item, "creator": creator.get}[scope]
    days = found["timestamp"].dt.convert_time_zone(log.timezone).dt.date().to_list()
    rows = [
        (user, target(item), (day - EPOCH).days, click)
        for user, item, day, click in zip(found["user_id"], found["item_id"], days, found["click"], strict=True)
    ]
    active = {row[:3] for row in rows if active_if is None or row[3] > 0}
    for (user, what, day, _), trace, observed in zip(rows, found["trace"], found["observed"], strict=True):
        seen = [ahead for ahead in range(1, horizon_days + 1) if day + ahead < end]
        assert bits(observed) == seen
        assert bits(trace) == [ahead for ahead in seen if (user, what, day + ahead) in active]


def test_a_later_end_reveals_days_and_takes_none_back(log):
    outcome = ActivityTrace(7)
    frames = [outcome.label(log, day_number(f"2024-04-0{day}")).collect() for day in (1, 2, 5)]
    for before, after in pairwise(frames):
        assert ((after["observed"] & before["observed"]) == before["observed"]).all()
        assert ((after["trace"] & before["observed"]) == before["trace"]).all()
        assert (after["observed"] != before["observed"]).any()


def test_the_past_is_the_same_word_looking_back():
    days = np.array([0, 1, 5, 62, 63, 64])
    frame = pl.LazyFrame({"user_id": 1, "day": days, "active": [True, True, False, True, True, True]})
    found = activity_words(frame, ["user_id"], 63, past=True).collect()
    active = days[[True, True, False, True, True, True]]
    expected = [[int(day - past) for past in active[::-1] if 0 < day - past <= 63] for day in days]
    assert [bits(word) for word in found["trace"]] == expected


@pytest.mark.parametrize("past", [False, True])
@pytest.mark.parametrize("span_days", [1, 2, 31, 63])
def test_words_are_those_of_a_loop_over_days_whatever_the_order_of_the_rows(span_days, past):
    rng = np.random.default_rng(span_days)
    drawn = zip(rng.integers(0, 9, 900), rng.choice(["a", "b", None], 900), rng.integers(-40, 160, 900), strict=True)
    days = {(int(user), what, int(day)): bool(rng.random() < 0.6) for user, what, day in drawn}
    frame = pl.LazyFrame(
        [(*key, active) for key, active in days.items()], schema=["user_id", "what", "day", "active"], orient="row"
    )
    found = activity_words(frame, ["user_id", "what"], span_days, past=past).collect()
    assert found.height == len(days)
    for user, what, day, _, word in found.iter_rows():
        apart = range(1, span_days + 1) if what is not None else ()  # who comes back to nothing known, does not
        assert bits(word) == [ahead for ahead in apart if days.get((user, what, day + (-ahead if past else ahead)))]


@pytest.mark.parametrize("horizon_days", [0, 64, -1])
def test_a_horizon_beyond_one_word_is_refused(horizon_days):
    with pytest.raises(ValueError, match=f"horizon_days must be from 1 to 63, got {horizon_days}"):
        ActivityTrace(horizon_days)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({}, r"scope='show' expected .* has \['item_id', 'creator'"), ({"items": None}, "has not been given")],
)
def test_an_unknown_scope_is_refused(log, changes, message):
    with pytest.raises(SchemaError, match=message):
        ActivityTrace(7, scope="show").label(replace(log, **changes), 0)


def test_an_unknown_feedback_column_is_refused(log):
    with pytest.raises(SchemaError, match=r"active_if='like' expected one of .*\['click', 'listen_ms'\]"):
        ActivityTrace(7, active_if="like").label(log, 0)


def test_the_unit_says_what_is_counted():
    assert ActivityTrace(14).unit == "active days in the next 14 days"
    assert (
        ActivityTrace(7, scope="creator", active_if="click").unit == "days back to the same creator in the next 7 days"
    )


class TestWholeSessions:
    """A session belongs to the day on which it began."""

    @staticmethod
    def traces(log, horizon_days=3, **changes):
        outcome = ActivityTrace(horizon_days, whole_sessions=True, **changes)
        return outcome.label(log, 100_000).collect()["trace"].to_list()

    def test_a_session_that_goes_on_past_midnight_is_not_its_own_return(self, small):
        log = small([(1, "2024-05-01T23:50"), (1, "2024-05-02T00:10")])
        assert self.traces(log) == [0, 0]
        assert ActivityTrace(3).label(log, 100_000).collect()["trace"].to_list() == [1, 0]

    def test_nor_of_what_was_seen_earlier_that_day(self, small):
        log = small([(1, "2024-05-01T12:00"), (1, "2024-05-01T23:50"), (1, "2024-05-02T00:10")])
        assert self.traces(log) == [0, 0, 0]

    def test_the_day_counts_for_those_of_days_before_on_which_the_session_began_later(self, small):
        log = small([(1, "2024-04-30T12:00"), (1, "2024-05-01T23:50"), (1, "2024-05-02T00:10")])
        assert self.traces(log) == [0b11, 0, 0]

    def test_a_session_that_begins_on_the_day_is_a_return(self, small):
        log = small([(1, "2024-05-01T23:50"), (1, "2024-05-02T00:10"), (1, "2024-05-02T20:00")])
        assert self.traces(log) == [1, 0, 0]

    def test_idleness_over_the_gap_ends_a_session(self, small):
        log = small([(1, "2024-05-01T23:50"), (1, "2024-05-02T00:21")])
        assert self.traces(log) == [1, 0]
        assert self.traces(replace(log, session_gap_minutes=31)) == [0, 0]

    @pytest.mark.parametrize(
        ("later", "sessions", "trace"),
        [
            ("2024-05-02T01:00", ["a", "a"], [0, 0]),
            ("2024-05-02T00:10", ["a", "b"], [1, 0]),
            ("2024-05-02T04:00", ["a", "a"], [1, 0]),
        ],
        ids=["one session", "another", "an id of a device"],
    )
    def test_session_ids_say_what_a_session_is(self, small, later, sessions, trace):
        log = small([(1, "2024-05-01T23:50"), (1, later)], session_id=sessions)
        assert self.traces(log) == trace

    def test_of_several_days_none_is_a_return(self, small):
        moments = [datetime(2024, 5, 1, 12) + timedelta(minutes=25 * step) for step in range(200)]
        assert set(self.traces(small([(1, it.isoformat()) for it in moments]))) == {0}

    def test_users_are_kept_apart(self, small):
        log = small([(1, "2024-05-01T23:50"), (2, "2024-05-02T00:10"), (1, "2024-05-02T12:00")])
        log = check(replace(log, events=log.events, max_rejected_share=0.0)).log
        assert self.traces(log) == [1, 0, 0]

    def test_a_day_may_start_at_another_hour(self, small):
        log = replace(small([(1, "2024-05-01T23:50"), (1, "2024-05-02T01:30")]), day_starts_at="04:00")
        assert self.traces(log) == [0, 0]
        log = replace(small([(1, "2024-05-02T03:50"), (1, "2024-05-02T04:10")]), day_starts_at="04:00")
        assert self.traces(log) == [0, 0]
        assert ActivityTrace(3).label(log, 100_000).collect()["trace"].to_list() == [1, 0]

    def test_coming_back_to_an_item_is_read_alike(self, small):
        log = small([(1, "2024-05-01T23:50"), (1, "2024-05-02T00:10")], item_id=[7, 7])
        assert self.traces(log, scope="item", active_if="click") == [0, 0]

    def test_against_a_loop_over_a_log(self, log):
        outcome = ActivityTrace(7, whole_sessions=True)
        labels = outcome.label(log, 100_000).collect()
        rows = labels.select("user_id", "timestamp", "day", "session_id").rows()
        begun, previous = [], None
        for row in rows:
            same = previous is not None and row[0] == previous[0] and row[3] == previous[3]
            same = same and row[1] - previous[1] <= timedelta(hours=4)
            begun.append(begun[-1] if same else row[2])
            previous = row
        for row, trace in zip(rows, labels["trace"], strict=True):
            days = {other[2] for other, since in zip(rows, begun, strict=True) if other[0] == row[0] and since > row[2]}
            assert trace == sum(1 << (day - row[2] - 1) for day in days if 1 <= day - row[2] <= 7)
        assert labels["trace"].to_list() != ActivityTrace(7).label(log, 100_000).collect()["trace"].to_list()
