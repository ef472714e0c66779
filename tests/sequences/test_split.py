import ast
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from reward.data.days import local_day
from reward.data.event_log import SchemaError
from reward.data.split import Split, bounds, check_windows, day_to_date, known_at, midnight, split


def daily(small, days, **options):
    start = datetime(2024, 5, 1, 12)
    return small(
        [(user, (start + timedelta(days=day)).isoformat()) for user in (1, 2) for day in range(days)], **options
    )


def test_the_last_day_of_a_log_without_an_end_is_not_whole(small):
    start, end = bounds(daily(small, 14))
    assert (day_to_date(start), day_to_date(end)) == (date(2024, 5, 1), date(2024, 5, 14))


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (datetime(2024, 5, 15, tzinfo=UTC), date(2024, 5, 14)),  # 20 o'clock on the 14th in New York
        (datetime(2024, 5, 15, 4, tzinfo=UTC), date(2024, 5, 15)),
        (datetime(2024, 5, 15), date(2024, 5, 15)),  # naive: in the log's time zone
        (datetime(2024, 5, 15, 2, tzinfo=UTC), date(2024, 5, 14)),
    ],
)
def test_an_end_is_read_in_the_logs_time_zone(small, end, expected):
    log = replace(daily(small, 14, timezone="America/New_York"), end=end)
    assert day_to_date(bounds(log)[1]) == expected


def test_windows_follow_one_another_by_days(small):
    found = split(daily(small, 14), train_days=8, validation_days=2)
    assert [day_to_date(day).day for day in found.days] == [1, 9, 11, 14]
    assert found.days == (found.start, found.train_end, found.validation_end, found.end)


def test_without_days_training_takes_60_and_validation_15_percent(small):
    found = split(daily(small, 41), train_days=None, validation_days=None)
    assert [day - found.start for day in found.days] == [0, 24, 30, 40]
    assert [day - found.start for day in split(daily(small, 5), train_days=None, validation_days=None).days] == [
        0,
        2,
        3,
        4,
    ]


@pytest.mark.parametrize(("train_days", "validation_days"), [(12, 1), (8, 5), (8, 0), (0, 2), (8, 20)])
def test_a_window_without_a_day_is_refused_with_the_dates(small, train_days, validation_days):
    with pytest.raises(SchemaError, match=r"too short for its split: .* 2024-05-01, .*set split.train_days"):
        split(daily(small, 14), train_days=train_days, validation_days=validation_days)


def test_one_day_of_training_is_refused_for_it_observes_no_outcome(small):
    with pytest.raises(SchemaError, match=r"train_days must be at least 2, got 1; the log has 13 whole days"):
        split(daily(small, 14), train_days=1, validation_days=2)


def test_bounds_in_the_wrong_order_are_refused():
    with pytest.raises(SchemaError, match="got 1970-01-01, 1970-01-09, 1970-01-05"):
        Split(0, 8, 4, 14)


def test_midnight_is_the_moment_at_which_the_day_begins_there():
    day = (date(2024, 5, 1) - date(1970, 1, 1)).days
    assert midnight(day, "UTC") == datetime(2024, 5, 1, tzinfo=UTC)
    assert midnight(day, "America/New_York") == datetime(2024, 5, 1, 4, tzinfo=UTC)
    assert midnight(day, "Asia/Kolkata") == datetime(2024, 4, 30, 18, 30, tzinfo=UTC)


def test_what_was_known_at_a_day_is_what_happened_before_its_midnight(log, windows_of_time):
    for day in windows_of_time.days[1:3]:
        known = known_at(log, day)
        expected = log.events.filter(local_day(log.timezone) < day).collect()
        assert known.events.collect().equals(expected)
        assert 0 < expected.height < log.events.select(pl.len()).collect().item()
        assert bounds(known) == (windows_of_time.start, day)


def test_an_event_at_midnight_belongs_to_the_day_that_begins(small):
    log = small([(1, "2024-05-01T03:59:59"), (1, "2024-05-01T04:00:00")], timezone="America/New_York")
    day = (date(2024, 5, 1) - date(1970, 1, 1)).days
    assert known_at(log, day).events.collect()["item_id"].to_list() == [0]
    assert known_at(log, day + 1).events.collect()["item_id"].to_list() == [0, 1]


def test_no_day_of_a_trace_is_in_two_windows_and_none_that_was_seen_in_time_is_lost(log, outcome, windows_of_time):
    train_end, validation_end, end = windows_of_time.days[1:]
    everything = outcome.label(log, end).collect()

    def observed(known_until, revealed_by):
        """The mask of each of the log's rows as it stood at a day, 0 for rows after it."""
        frame = outcome.label(known_at(log, known_until), revealed_by).select(
            "user_id", "item_id", "timestamp", "observed"
        )
        joined = everything.select("user_id", "item_id", "timestamp").join(
            frame.collect(), on=["user_id", "item_id", "timestamp"], how="left", maintain_order="left"
        )
        return joined["observed"].fill_null(0)

    training = observed(train_end, train_end)
    validation = observed(validation_end, validation_end) & ~observed(validation_end, train_end)
    rows_of_test = everything["day"] >= validation_end
    test = everything["observed"] * rows_of_test.cast(pl.Int64)
    assert ((training & validation) == 0).all()
    assert (((training | validation) & test) == 0).all()
    by_validation = outcome.label(log, validation_end).collect()["observed"]
    assert (training | validation).equals(by_validation)
    assert (training | validation | test).filter(rows_of_test).equals(everything["observed"].filter(rows_of_test))
    assert all((mask != 0).any() for mask in (training, validation, test))


class TestWindows:
    def test_a_split_with_users_and_outcomes_in_it_passes(self, small):
        log = daily(small, 15)
        check_windows(log, split(log, train_days=8, validation_days=2), {"horizon_days": 7})

    def test_days_that_training_cannot_observe_are_refused_with_the_longest_horizon(self, small):
        log = daily(small, 15)
        message = (
            r"horizon_days=8, and the 8 days of training can observe the first 7 .* set horizon_days=7 "
            r"or less(.|\n)*task.back.outcome.horizon_days=9"
        )
        with pytest.raises(SchemaError, match=message):
            check_windows(
                log,
                split(log, train_days=8, validation_days=2),
                {"horizon_days": 8, "task.back.outcome.horizon_days": 9},
            )

    @pytest.mark.parametrize(
        ("hidden", "message"),
        [
            ((13, (1, 2)), r"the test days, 2024-05-11 to 2024-05-15 \(exclusive\), hold events of 0 user"),
            ((13, (2,)), r"the test days, .* hold events of 1 user.* expected at least 2.*split.train_days"),
        ],
        ids=["only on the last day, of which nothing is known yet", "one user"],
    )
    def test_test_days_with_too_few_users_whose_outcome_is_known_are_refused(self, small, hidden, message):
        before, users = hidden
        log = daily(small, 15)
        day = pl.col("timestamp").dt.ordinal_day() - datetime(2024, 5, 1).timetuple().tm_yday
        kept = ~(day.is_between(10, before) & pl.col("user_id").is_in(users))
        log = replace(log, events=log.events.filter(kept))
        with pytest.raises(SchemaError, match=message):
            check_windows(log, split(log, train_days=8, validation_days=2), {"horizon_days": 3})

    def test_one_user_in_training_is_refused(self, small):
        log = daily(small, 15)
        kept = (pl.col("user_id") == 1) | (pl.col("timestamp") > datetime(2024, 5, 9, tzinfo=UTC))
        log = replace(log, events=log.events.filter(kept))
        with pytest.raises(
            SchemaError, match=r"training, 2024-05-01 to 2024-05-09 \(exclusive\), hold events of 1 user"
        ):
            check_windows(log, split(log, train_days=8, validation_days=2), {"horizon_days": 3})

    def test_the_shortest_log_that_the_docs_promise_has_five_days(self, small):
        for days, fits in ((5, False), (6, True)):  # the last one is not whole
            log = daily(small, days)
            window = split(log, train_days=2, validation_days=1) if days > 4 else None
            if fits:
                check_windows(log, window, {"horizon_days": 1})
            else:
                with pytest.raises(SchemaError, match="the test days"):
                    check_windows(log, window, {"horizon_days": 1})


class TestDaysThatStartLater:
    ZONES = ("UTC", "Europe/Paris", "America/Havana", "Australia/Lord_Howe", "America/Sao_Paulo", "Asia/Beirut")

    @pytest.mark.parametrize("zone", ZONES)
    @pytest.mark.parametrize("starts_at", ["04:00", "01:45", "02:30", "23:30"])
    def test_a_moment_is_in_the_day_whose_beginning_is_the_last_before_it(self, zone, starts_at):
        """By another road: the beginnings of all days, searched."""
        rng = np.random.default_rng(0)
        spans = [
            datetime(2018, 10, 20, tzinfo=UTC),
            datetime(2024, 3, 25, tzinfo=UTC),
            datetime(2024, 10, 20, tzinfo=UTC),
        ]
        moments = [
            start + timedelta(seconds=int(second)) for start in spans for second in rng.integers(0, 20 * 86_400, 2000)
        ]
        first, last = (moments[0] - datetime(1970, 1, 1, tzinfo=UTC)).days - 30, 20_100
        begins = [midnight(day, zone, starts_at) for day in range(first, last)]
        assert all(one < two for one, two in pairwise(begins))
        frame = pl.DataFrame({"timestamp": pl.Series([*moments, *begins[:-1]], dtype=pl.Datetime("us", "UTC"))})
        expected = first - 1 + np.searchsorted(np.array(begins), np.array([*moments, *begins[:-1]]), side="right")
        found = frame.select(local_day(zone, starts_at=starts_at)).to_series().to_numpy()
        assert (found == expected).all()

    def test_what_is_known_of_a_log_is_cut_where_its_days_begin(self, small):
        log = small(
            [(1, "2024-05-01T03:59"), (1, "2024-05-01T04:00"), (1, "2024-05-02T03:59"), (1, "2024-05-02T04:00")]
        )
        log = replace(log, day_starts_at="04:00", end=datetime(2024, 5, 3, 4, tzinfo=UTC))
        start, end = bounds(log)
        assert (day_to_date(start), day_to_date(end)) == (date(2024, 4, 30), date(2024, 5, 3))
        assert known_at(log, start + 2).events.collect().height == 3
        assert known_at(log, start + 2).end == datetime(2024, 5, 2, 4, tzinfo=UTC)

    @pytest.mark.parametrize("folder", ["reward", "benchmarks"])
    def test_every_day_in_the_project_is_the_logs_own(self, folder):
        """Whoever asks for a day, or its beginning, says when days begin."""
        asked = {"local_day": ("starts_at", 3), "midnight": ("starts_at", 2), "slots": ("day_starts_at", 9)}
        for file in sorted((Path(__file__).parents[2] / folder).rglob("*.py")):
            for call in (it for it in ast.walk(ast.parse(file.read_text())) if isinstance(it, ast.Call)):
                keyword, place = asked.get(getattr(call.func, "id", ""), ("", 0))
                told = not keyword or len(call.args) > place or keyword in {it.arg for it in call.keywords}
                assert told, f"{file}:{call.lineno} leaves out when days begin"
