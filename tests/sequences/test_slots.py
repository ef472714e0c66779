import math
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from reward.features.history import PAST_DAYS, RATE_DAYS, TIMING, slots

RATES = tuple(f"{kind}_{span}d" for kind in ("active", "known") for span in RATE_DAYS)
KNOWN = ("visible", "weekday", *TIMING, *RATES)


def slots_of(log, first_day=19_000, at=None):
    return slots(
        log.events,
        timezone=log.timezone,
        session_gap_minutes=log.session_gap_minutes,
        first_day=first_day,
        at=None if at is None else at.lazy(),
    ).collect()


def day_of(log, moment):
    return (moment.astimezone(ZoneInfo(log.timezone)).date() - date(1970, 1, 1)).days


def slots_by_a_loop(log, first_day):
    """What each event's slot knows, one user and one row at a time."""
    expected = []
    for _, mine in groupby(log.events.collect().to_dicts(), key=lambda row: row["user_id"]):
        mine = list(mine)
        shown = {}
        for row in mine:
            shown[row["request_id"]] = min(row["timestamp"], shown.get(row["request_id"], row["timestamp"]))
        facts, session, before = {}, (None, 0), None
        for moment, together in groupby(mine, key=lambda row: row["timestamp"]):
            name = min(row["session_id"] for row in together)
            past = [row for row in mine if row["timestamp"] < moment]
            new = before is None or name != before[1]
            if new:
                session = (moment, 0)
            day, days = day_of(log, moment), [day_of(log, row["timestamp"]) for row in past]
            local = moment.astimezone(ZoneInfo(log.timezone))
            turn = (local.hour + local.minute / 60) / 24 * 2 * math.pi
            facts[moment] = {
                "visible": len(past),
                "weekday": local.isoweekday(),
                "no_history": before is None,
                "gap_hours": None if before is None else (moment - before[0]).total_seconds() / 3600,
                "days_since_last": day - days[-1] if days else None,
                "new_session": new,
                "session_position": session[1],
                "session_minutes": (moment - session[0]).total_seconds() / 60,
                "events_today": days.count(day),
                "events_per_day": len(past) / max(len(set(days)), 1),
                "hour_sin": math.sin(turn),
                "hour_cos": math.cos(turn),
            }
            for span in RATE_DAYS:
                apart = [day - other for other in set(days) - {day} if day - other <= PAST_DAYS]
                covered = np.arange(1, min(PAST_DAYS, day - first_day) + 1)
                facts[moment][f"active_{span}d"] = np.exp(-np.array(apart) / span).sum()
                facts[moment][f"known_{span}d"] = np.exp(-covered / span).sum()
            session, before = (session[0], session[1] + 1), (moment, name)
        expected += [facts[shown[row["request_id"]] if row["request_id"] else row["timestamp"]] for row in mine]
    return pl.DataFrame(expected, infer_schema_length=None).select(KNOWN)


def test_slots_know_what_a_loop_over_users_and_rows_finds(log):
    first_day = day_of(log, log.events.select(pl.col("timestamp").min()).collect().item())
    found = slots_of(log, first_day).select(KNOWN)
    assert_frame_equal(found, slots_by_a_loop(log, first_day), check_dtypes=False, abs_tol=1e-12)


def test_a_day_that_the_clocks_enter_twice_is_one_day(small):
    # in Newfoundland clocks went back to 23:01 of the day before, a minute after midnight: 2:31 UTC in November 2006
    rows = [(1, "2006-10-29T02:15"), (1, "2006-10-29T02:30:30"), (1, "2006-10-29T02:31:30"), (1, "2006-10-29T05:00")]
    log = small(rows, timezone="America/St_Johns")
    assert [day_of(log, moment) - 13_449 for moment in log.events.collect()["timestamp"]] == [0, 1, 0, 1]
    found = slots_of(log, first_day=13_440)
    assert found["active_2d"].to_list() == pytest.approx([0, math.exp(-1 / 2), 0, math.exp(-1 / 2)])


def test_a_session_by_hand(small):
    log = small(
        [
            (1, "2024-05-01T08:00"),
            (1, "2024-05-01T08:10"),
            (1, "2024-05-01T08:40"),  # 30 minutes of idleness do not end a session
            (1, "2024-05-01T09:10:01"),  # more do
            (1, "2024-05-04T09:00"),
            (2, "2024-05-01T08:05"),
        ]
    )
    found = slots_of(log)
    assert found["visible"].to_list() == [0, 1, 2, 3, 4, 0]
    assert found["no_history"].to_list() == [True, False, False, False, False, True]
    assert found["gap_hours"].to_list() == pytest.approx(
        [None, 1 / 6, 0.5, 0.5 + 1 / 3600, 71 + 50 / 60 - 1 / 3600, None]
    )
    assert found["new_session"].to_list() == [True, False, False, True, True, True]
    assert found["session_position"].to_list() == [0, 1, 2, 0, 0, 0]
    assert found["session_minutes"].to_list() == [0, 10, 40, 0, 0, 0]
    assert found["events_today"].to_list() == [0, 1, 2, 3, 0, 0]
    assert found["events_per_day"].to_list() == [0, 1, 2, 3, 4, 0]
    assert found["days_since_last"].to_list() == [None, 0, 0, 0, 3, None]
    assert found["weekday"].to_list() == [3, 3, 3, 3, 6, 3]
    assert found["hour_sin"][0] == pytest.approx(math.sin(math.tau / 3))
    assert found["hour_cos"][4] == pytest.approx(math.cos(math.tau * 9 / 24))
    assert found["active_2d"].to_list() == pytest.approx([0, 0, 0, 0, math.exp(-3 / 2), 0])


def test_a_session_id_outweighs_the_idleness(small):
    rows = [(1, "2024-05-01T08:00"), (1, "2024-05-01T08:01"), (1, "2024-05-01T18:00"), (1, "2024-05-01T18:01")]
    found = slots_of(small(rows, session_id=["a", "b", "b", "a"]))
    assert found["new_session"].to_list() == [True, True, False, True]
    assert found["session_position"].to_list() == [0, 0, 1, 0]
    assert found["session_minutes"].to_list() == [0, 0, 599, 0]


def test_days_before_the_log_are_unknown_and_silent_ones_in_it_are_known(small):
    log = small([(1, "1970-01-11T08:00"), (1, "1970-01-13T08:00"), (2, "1970-01-13T09:00")])
    found = slots_of(log, first_day=8)
    one, two, three, four = (math.exp(-day / 7) for day in (1, 2, 3, 4))
    assert found["active_7d"].to_list() == pytest.approx([0, two, 0])
    assert found["known_7d"].to_list() == pytest.approx([one + two, one + two + three + four, one + two + three + four])


def test_the_past_ends_63_days_ago(small):
    moments = [datetime(2024, 1, 1, 12) + timedelta(days=day) for day in (0, 63, 127)]
    found = slots_of(small([(1, moment.isoformat()) for moment in moments]))
    assert found["active_28d"].to_list() == pytest.approx([0, math.exp(-63 / 28), 0])
    assert found["known_28d"].to_list() == pytest.approx([sum(math.exp(-day / 28) for day in range(1, 64))] * 3)


def test_the_rows_of_a_slate_do_not_see_each_other(small):
    rows = [(1, "2024-05-01T08:00"), (1, "2024-05-01T08:01"), (1, "2024-05-01T08:02"), (1, "2024-05-01T08:03")]
    found = slots_of(small(rows, request_id=[None, "a", "a", None]))
    assert found["visible"].to_list() == [0, 1, 1, 3]
    assert found["gap_hours"].to_list() == pytest.approx([None, 1 / 60, 1 / 60, 1 / 60])
    assert found["session_position"].to_list() == [0, 1, 1, 3]
    assert found["slate"].dt.minute().to_list() == [0, 1, 1, 3]


def test_another_users_request_of_the_same_name_is_another_slate(small):
    rows = [(1, "2024-05-01T08:00"), (1, "2024-05-01T09:00"), (2, "2024-05-01T07:00"), (2, "2024-05-01T08:00")]
    found = slots_of(small(rows, request_id=["x", "a", "a", None]))
    assert found["visible"].to_list() == [0, 1, 0, 1]


def test_rows_of_one_moment_do_not_see_each_other(small):
    rows = [(1, "2024-05-01T08:00"), (1, "2024-05-01T08:01"), (1, "2024-05-01T08:01"), (1, "2024-05-01T08:02")]
    found = slots_of(small(rows))
    assert found["visible"].to_list() == [0, 1, 1, 3]
    assert found["session_position"].to_list() == [0, 1, 1, 2]


@pytest.mark.parametrize("columns", [[], ["request_id"], ["session_id", "position"]])
def test_the_future_of_a_log_changes_no_earlier_slot(log, columns):
    events = log.events.drop(columns).collect()
    whole = slots_of(replace(log, events=events.lazy()), first_day=19_800)
    moments = events["timestamp"].unique().sort()
    for place in (60, len(moments) - 2):
        now = moments[place]
        past = pl.col("timestamp") <= now
        # after the moment: fewer rows, other items and sessions, and a user who never stops
        future = events.filter(~past).gather_every(3).with_columns(item_id=pl.lit(0, pl.Int64))
        if "session_id" in events.columns:
            future = future.with_columns(session_id=pl.lit("other"))
        future = future.unique(["user_id", "timestamp"], keep="first")
        changed = pl.concat([events.filter(past), future]).sort("user_id", "timestamp", maintain_order=True)
        found = slots_of(replace(log, events=changed.lazy()), first_day=19_800)
        assert_frame_equal(found.filter(past).drop("row"), whole.filter(past).drop("row"))
        assert not found.filter(~past).drop("row").equals(whole.filter(~past).drop("row"))


def test_the_stream_has_the_checked_logs_order_whatever_order_the_rows_came_in(log):
    events = log.events.collect()
    shuffled = replace(log, events=events.sample(fraction=1, shuffle=True, seed=0).lazy())
    found = slots_of(shuffled)
    assert_frame_equal(found.drop("row"), slots_of(log).drop("row"))
    assert found.select(events.columns).equals(events)
    assert shuffled.events.collect()[found["row"]].equals(events)


def asked(log, moments, **columns):
    users = log.events.select(pl.col("user_id").unique().sort()).collect()["user_id"]
    return (
        pl.DataFrame({"user_id": users})
        .join(pl.DataFrame({"timestamp": pl.Series(moments, dtype=pl.Datetime("us", "UTC"))}), how="cross")
        .with_columns(**columns)
    )


@pytest.mark.parametrize("session", [None, "", "~"])
def test_a_slot_that_is_asked_about_changes_no_event(log, session):
    events = log.events.collect()
    somewhen = [datetime(2024, 3, day, hour, tzinfo=UTC) for day in (10, 22, 25, 31) for hour in (0, 9, 23)]
    at = pl.concat([asked(log, somewhen), events.select("user_id", "timestamp"), events.select("user_id", "timestamp")])
    if session is not None:
        at = at.with_columns(session_id=pl.lit(session))
    found = slots_of(log, at=at)
    assert found.height == events.height + at.height
    assert_frame_equal(found.filter("is_event"), slots_of(log))


@pytest.mark.parametrize("with_sessions", [True, False])
def test_a_slot_at_an_events_moment_knows_what_the_event_knows(log, with_sessions):
    changed = log if with_sessions else replace(log, events=log.events.drop("session_id"))
    events = changed.events.filter(pl.col("request_id").is_null() | (pl.col("position") == 0)).collect()
    names = ["user_id", "timestamp", "session_id", "surface"] if with_sessions else ["user_id", "timestamp", "surface"]
    found = slots_of(changed, at=events.select(names)).filter(~pl.col("is_event")).sort("row")
    own = slots_of(changed).join(events, on=["user_id", "timestamp", "item_id"], how="semi", maintain_order="left")
    assert_frame_equal(found.select(*names, *KNOWN), own.select(*names, *KNOWN))


def test_a_slot_after_the_last_event_reads_all_of_the_users_events(small):
    log = small([(1, "2024-05-01T08:00"), (1, "2024-05-01T08:10"), (2, "2024-05-01T08:00")])
    at = pl.DataFrame(
        {"user_id": [2, 1, 9, 1], "timestamp": [datetime(2024, 5, 1, hour, tzinfo=UTC) for hour in (9, 9, 9, 7)]}
    ).with_columns(pl.col("timestamp").cast(pl.Datetime("us", "UTC")))
    found = slots_of(log, at=at).filter(~pl.col("is_event")).sort("row")
    assert found["visible"].to_list() == [1, 2, 0, 0]
    assert found["new_session"].to_list() == [True, True, True, True]
    assert found["gap_hours"].to_list() == pytest.approx([1, 5 / 6, None, None])
    assert found["item_id"].null_count() == 4
