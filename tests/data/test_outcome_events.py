"""Outcome events are read and checked like the log, cut where the log is cut, and a part of what a run is of."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

import reward
from reward.data.event_log import SchemaError
from reward.data.outcome_events import COPY, kind_of_outcome, outcome_end_day
from reward.data.parquet import read
from reward.data.prepared import PreparedLog
from reward.data.split import EPOCH, Split, known_at
from reward.data.validation import check
from reward.outcomes.event_within import EventWithin
from reward.outcomes.protocol import check_known
from reward.training.identity import fingerprints, placed, same_log

FIRST = datetime(2024, 5, 1, 12, tzinfo=UTC)
START = (date(2024, 5, 1) - EPOCH).days
WINDOW = Split(START, START + 4, START + 6, START + 10)


def exposures(users=(1, 2, 3), days=10):
    rows = [(user, 7, FIRST + timedelta(days=day), day % 2) for user in users for day in range(days)]
    return pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp", "click"], orient="row")


def renewals(*rows, **columns):
    """Events of (user, days after the first exposure)."""
    frame = pl.DataFrame(
        [(user, FIRST + timedelta(days=day)) for user, day in rows], schema=["user_id", "timestamp"], orient="row"
    )
    return frame.with_columns(**columns)


def log_with(frame, events=None, **changes):
    given = {"session_gap_minutes": 30, "max_rejected_share": 0.5, "outcomes": {"renewal": frame}}
    return read(exposures() if events is None else events, feedback=["click"], **(given | changes))


def kept(frame, **changes):
    return check(log_with(frame, **changes)).log.outcomes["renewal"].collect()


def test_clean_outcome_events_have_the_types_of_the_log_and_are_sorted():
    frame = renewals((2, 3.5), (1, 2), value=pl.Series([3, 5], dtype=pl.Int8)).with_columns(unused=pl.lit("x"))
    found = kept(frame)
    assert found.schema == {"user_id": pl.Int64, "timestamp": pl.Datetime("us", "UTC"), "value": pl.Float64}
    assert found["user_id"].to_list() == [1, 2]
    assert found["value"].to_list() == [5.0, 3.0]


@pytest.mark.parametrize(("unit", "per"), [("s", 1), ("ms", 1000)])
def test_integer_timestamps_have_the_unit_of_the_log(unit, per):
    as_integers = (pl.col("timestamp").dt.epoch("s") * per).alias("timestamp")
    frame = renewals((1, 2), (3, 4))
    found = kept(frame.with_columns(as_integers), events=exposures().with_columns(as_integers), timestamp_unit=unit)
    assert found["timestamp"].to_list() == frame["timestamp"].to_list()


def test_moments_may_be_datetimes_where_those_of_the_log_are_integers():
    events = exposures().with_columns(pl.col("timestamp").dt.epoch("s"))
    assert kept(renewals((1, 2)), events=events, timestamp_unit="s")["timestamp"].item() == FIRST + timedelta(days=2)


def test_a_zone_is_read_and_a_date_is_noon_in_the_zone_of_the_log():
    local = renewals((1, 2)).with_columns(pl.col("timestamp").dt.convert_time_zone("Asia/Tokyo"))
    assert kept(local)["timestamp"].item() == FIRST + timedelta(days=2)
    days = renewals((1, 2)).with_columns(pl.col("timestamp").dt.date())
    assert kept(days, timezone="Asia/Tokyo")["timestamp"].item() == datetime(2024, 5, 3, 3, tzinfo=UTC)


def test_rows_without_a_user_or_a_moment_and_copies_are_set_aside_with_the_reason():
    frame = pl.concat(
        [
            renewals((1, 2), (1, 2), (2, 3)),
            pl.DataFrame(
                {"user_id": [None, 3], "timestamp": [FIRST, None]},
                schema={"user_id": pl.Int64, "timestamp": pl.Datetime("us", "UTC")},
            ),
        ]
    )
    checked = check(log_with(frame, max_rejected_share=0.6))
    assert checked.log.outcomes["renewal"].collect()["user_id"].to_list() == [1, 2]
    assert sorted(checked.rejected_outcomes["renewal"]["reason"]) == [COPY, "timestamp is null", "user_id is null"]
    assert checked.rejected.is_empty()


def test_two_purchases_of_one_moment_are_two_where_their_values_differ():
    frame = renewals((1, 2), (1, 2), (1, 2), value=pl.Series([3.0, 5.0, 5.0]))
    assert kept(frame)["value"].to_list() == [3.0, 5.0]


def test_too_many_flawed_rows_are_an_error_that_shows_them():
    frame = renewals((1, 2), (2, 3), value=pl.Series([-1.0, 2.0]))
    with pytest.raises(SchemaError, match=r"1 of 2 rows of outcomes.renewal would be set aside.*\n.*value=-1.0"):
        check(log_with(frame, max_rejected_share=0.1))


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (renewals((1, 2)).rename({"user_id": "user"}), "outcomes.renewal has no column 'user_id'"),
        (renewals((1, 2)).cast({"user_id": pl.String}), "user_id is String in outcomes.renewal and Int64 in events"),
        (
            renewals((1, 2)).cast({"user_id": pl.Float64}),
            "outcomes.renewal has 'user_id' as Float64: expected an integer",
        ),
        (renewals((1, 2)).cast({"timestamp": pl.String}), "outcomes.renewal has 'timestamp' as String"),
        (
            renewals((1, 400)),
            "outcomes.renewal expected events of users of the log within its time.*got none: 1 events",
        ),
        (renewals((9, 2)), "outcomes.renewal expected events of users.*got none: 0 events are of its users. Check"),
        (renewals(), "outcomes.renewal"),
    ],
)
def test_outcome_events_that_do_not_fit_the_log_are_refused(frame, message):
    with pytest.raises(SchemaError, match=f"(?s){message}"):
        check(log_with(frame))


def test_to_score_a_log_no_outcome_event_is_needed():
    assert check(log_with(renewals((9, 2))), least_users=0).notes


def test_users_that_the_log_does_not_have_are_counted_and_said():
    checked = check(log_with(renewals((1, 2), (8, 2), (9, 3))))
    assert checked.notes == (
        "2 of 3 events of outcomes.renewal are of users without an event in the log: they count for nobody",
    )


def test_events_after_their_declared_end_are_not_read_and_that_is_said():
    checked = check(log_with(renewals((1, 2), (2, 8)), outcomes_end={"renewal": "2024-05-05"}, timezone="Asia/Tokyo"))
    assert checked.log.outcomes["renewal"].collect()["user_id"].to_list() == [1]
    assert checked.log.outcomes_end["renewal"] == datetime(2024, 5, 4, 15, tzinfo=UTC)
    assert (
        "1 events of outcomes.renewal at or after outcomes_end=2024-05-04T15:00:00+00:00 are not read" in checked.notes
    )


def test_the_day_up_to_which_events_are_known_is_the_earlier_of_the_two_ends():
    log = check(log_with(renewals((1, 2)), outcomes_end={"renewal": "2024-05-05"})).log
    assert outcome_end_day(log, "renewal", START + 9) == START + 4
    assert outcome_end_day(log, "renewal", START + 2) == START + 2
    assert outcome_end_day(replace(log, outcomes_end={}), "renewal", START + 9) == START + 9


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"outcomes": {"re newal": renewals((1, 2))}}, "outcomes has the kind 're newal': expected a name of letters"),
        ({"outcomes_end": {"renewals": "2024-05-05"}}, r"outcomes_end has 'renewals' \(did you mean 'renewal'\?\)"),
        ({"outcomes_end": {"renewal": "soon"}}, "outcomes_end.renewal='soon': expected an ISO 8601 time"),
        ({"outcomes": "renewals.parquet"}, r"outcomes expected where the events of each kind are, such as \{renewal"),
        (
            {"outcomes": {"renewal": "nowhere.parquet"}},
            "outcomes.renewal at nowhere.parquet: expected a file or folder",
        ),
    ],
)
def test_what_is_said_of_outcomes_is_checked(changes, message):
    with pytest.raises(SchemaError, match=message):
        check(log_with(renewals((1, 2)), **changes))


def test_a_misspelt_kind_is_refused_with_the_kinds_that_there_are():
    log = check(log_with(renewals((1, 2)))).log
    with pytest.raises(SchemaError, match=r"kind='renewals' \(did you mean 'renewal'\?\) expected one of the kinds"):
        kind_of_outcome(log, "renewals")
    with pytest.raises(SchemaError, match=r"the log has none: give them with data.outcomes=\{renewals: PATH\}"):
        kind_of_outcome(replace(log, outcomes={}), "renewals")


def test_a_run_is_refused_before_it_trains_where_its_kind_is_unknown_or_the_test_days_are():
    log = check(log_with(renewals((1, 2)), outcomes_end={"renewal": "2024-05-09"})).log
    check_known(log, WINDOW, {"outcome": EventWithin("renewal", 3)})
    with pytest.raises(SchemaError, match=r"task.paid.outcome.kind='paid' expected one of the kinds"):
        check_known(log, WINDOW, {"task.paid.outcome": EventWithin("paid", 3)})
    early = replace(log, outcomes_end={"renewal": datetime(2024, 5, 7, tzinfo=UTC)})
    with pytest.raises(SchemaError, match="outcome: events of the kind renewal are known until 2024-05-07"):
        check_known(early, WINDOW, {"outcome": EventWithin("renewal", 3)})


def test_nothing_after_the_cut_is_known():
    log = check(log_with(renewals((1, 1), (1, 5), (2, 5)), end=FIRST + timedelta(days=12))).log
    cut = known_at(log, START + 5)
    assert cut.outcomes["renewal"].collect().height == 1
    known = EventWithin("renewal", 4).label(cut, START + 5).collect()
    without = replace(cut, outcomes={"renewal": renewals((1, 1)).lazy()})
    assert known.equals(EventWithin("renewal", 4).label(without, START + 5).collect())


def prepared(log):
    return PreparedLog.of(check(log).log)


def test_an_outcome_file_that_changed_is_another_log():
    frame = renewals((1, 1), (2, 5), (3, 9))
    log = prepared(log_with(frame))
    written = fingerprints(log.log, WINDOW)
    same, changed = same_log(log, WINDOW, written)
    assert same is log
    assert changed is None
    earlier = prepared(log_with(renewals((1, 2), (2, 5), (3, 9))))
    with pytest.raises(SchemaError, match="its items or its outcome events, have changed"):
        same_log(earlier, WINDOW, written)
    grown = prepared(log_with(pl.concat([frame, renewals((1, 9.5))]), end=FIRST + timedelta(days=20)))
    assert "has grown" in same_log(grown, WINDOW, written)[1]
    shorter = prepared(log_with(frame, outcomes_end={"renewal": "2024-05-06"}))
    with pytest.raises(SchemaError, match="its outcome events, have changed"):
        same_log(shorter, WINDOW, written)


def test_a_log_without_outcome_events_has_the_fingerprints_it_had():
    log = check(log_with(renewals((1, 2)))).log
    plain = check(read(exposures(), feedback=["click"], session_gap_minutes=30, max_rejected_share=0.5)).log
    told, bare = fingerprints(log, WINDOW), fingerprints(plain, WINDOW)
    assert bare == fingerprints(replace(log, outcomes={}), WINDOW)
    assert all(told[name] != bare[name] for name in told)


def test_relative_paths_of_outcome_files_hold_from_where_the_run_was_started(tmp_path):
    (tmp_path / "r.parquet").touch()
    found = placed({"events": "e.parquet", "outcomes": {"renewal": "r.parquet"}}, str(tmp_path), grown=False)
    assert found == {"events": "e.parquet", "outcomes": {"renewal": str(tmp_path / "r.parquet")}}


def test_a_check_by_hand_tells_of_outcome_events_too(tmp_path):
    renewals((1, 2), (1, 2), (9, 3)).write_parquet(tmp_path / "r.parquet")
    found = reward.check(exposures(), feedback="click", outcomes={"renewal": tmp_path / "r.parquet"})
    assert found.log.outcomes["renewal"].collect().height == 2
    assert found.rejected_outcomes["renewal"].height == 1
    assert found.notes[0].startswith("1 of 2 events")
