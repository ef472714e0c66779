from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from reward.data.days import local_day
from reward.data.event_log import SchemaError, slate_moment
from reward.outcomes.activity import ActivityTrace
from reward.outcomes.habit import BackAfter, BackWithout, Habit, TakenUp, habits
from reward.outcomes.protocol import ABSENT

MAY = (date(2024, 5, 1) - date(1970, 1, 1)).days - 1  # so that MAY + d is the d-th of May


@pytest.fixture
def by_hand(small):
    """Items 0 and 1 are of show a, 2 of b, 3 of nobody's; user 1 comes back to a on the 3rd, and to b on the 4th."""
    days = [(1, 1, 0, 1.0), (1, 2, 2, 0.0), (1, 3, 1, 1.0), (1, 4, 2, 1.0), (2, 2, 3, 1.0)]
    log = small(
        [(user, f"2024-05-{day:02}T09:00") for user, day, _, _ in days],
        item_id=[item for *_, item, _ in days],
        click=[click for *_, click in days],
    )
    shows = pl.LazyFrame({"item_id": [0, 1, 2, 3], "show": ["a", "a", "b", None]})
    return replace(log, items=shows, item_features=("show",))


def words(outcome, log, end, **more):
    found = outcome.label(log, end, **more).collect()
    return found["trace"].to_list(), found["observed"].to_list()


def test_what_is_taken_up_is_told_of_every_row_at_once(by_hand):
    assert words(TakenUp("click"), by_hand, MAY + 5) == ([1, 0, 1, 1, 1], [1] * 5)
    assert words(TakenUp("click"), by_hand, MAY + 4, since=MAY + 2) == ([0, 0, 1, 0, 1], [0, 1, 1, 0, 1])


def test_days_back_are_told_of_what_was_taken_up_alone(by_hand):
    # the 1st is back to a on the 3rd; the 2nd was not taken up; nobody knows whose item 3 is
    assert words(BackAfter(3, "show", "click"), by_hand, MAY + 6) == ([0b10, 0, 0, 0, 0], [0b111, 0, 0b11, 0b1, 0])


def begun(log):
    """The day on which the session of each row began."""
    rows = (
        log.events.with_columns(day=local_day(log.timezone))
        .collect()
        .select("user_id", "timestamp", "session_id", "day")
    )
    found, previous = [], None
    for row in rows.iter_rows():
        same = previous is not None and (row[0], row[2]) == (previous[0], previous[2])
        same = same and row[1] - previous[1] <= timedelta(hours=4)
        found.append(found[-1] if same else row[3])
        previous = row
    return found


@pytest.mark.parametrize("whole_sessions", [False, True])
def test_days_back_to_what_is_not_shown_are_those_of_what_is_asked_about(log, whole_sessions):
    outcome = BackWithout(7, "creator", "click", own_share=0.5, seed=0, whole_sessions=whole_sessions)
    end = log.events.select(local_day(log.timezone).max()).collect().item() - 2
    found = outcome.label(log, end).collect()
    since = found.with_columns(begun=pl.Series(begun(log)) if whole_sessions else pl.col("day"))
    taken = since.join(log.items.collect(), on="item_id").filter(pl.col("click") > 0)
    taken = taken.group_by("user_id", "creator", "day").agg(pl.col("begun").max())
    back = {tuple(row): since for *row, since in taken.iter_rows()}
    told = 0
    for user, asked, day, trace, observed in found.select("user_id", "asked", "day", "trace", "observed").iter_rows():
        known = [ahead for ahead in range(1, 8) if observed >> (ahead - 1) & 1]
        assert known == ([] if asked is None else [ahead for ahead in range(1, 8) if day + ahead < end])
        assert [ahead for ahead in known if trace >> (ahead - 1) & 1] == [
            ahead for ahead in known if back.get((user, asked, day + ahead), 0) > day
        ]
        told += trace > 0
    assert told > 20


@pytest.mark.parametrize("own_share", [0.0, 1.0])
def test_what_is_asked_about_was_there_before_the_slate_and_is_not_in_it(log, own_share):
    outcome = BackWithout(7, "creator", "click", own_share=own_share, seed=3)
    rows = outcome.label(log, 20_000).with_columns(slate=slate_moment(log.events.collect_schema().names())).collect()
    shown = rows.join(log.items.collect(), on="item_id", how="left", maintain_order="left")
    asked = shown.filter(pl.col("asked").is_not_null())
    assert 0.5 < asked.height / rows.height < 1
    past = shown.select("user_id", "creator", "timestamp", "click").with_columns(known=pl.lit(True))
    same = asked.join(past, left_on="asked", right_on="creator", how="left").filter(
        pl.col("timestamp_right") < pl.col("slate")
    )
    if own_share:  # with nothing taken up before, it is drawn from everybody's
        own = past.filter(pl.col("click") > 0).group_by("user_id").agg(pl.col("timestamp").min().alias("first"))
        some = asked.join(own, on="user_id").filter(pl.col("first") < pl.col("slate"))
        mine = same.filter((pl.col("user_id") == pl.col("user_id_right")) & (pl.col("click_right") > 0))
        keys = ["user_id", "timestamp", "item_id"]
        assert some.select(keys).unique().join(mine.select(keys).unique(), on=keys, how="anti").is_empty()
    assert same.select("user_id", "timestamp", "item_id").n_unique() == asked.height
    slates = shown.group_by("user_id", "slate").agg(pl.col("creator").unique().alias("there"))
    inside = asked.join(slates, on=["user_id", "slate"]).filter(pl.col("asked").is_in(pl.col("there")))
    assert inside.is_empty()


def test_a_session_that_goes_on_past_midnight_is_no_return(small):
    moments = ["2024-05-01T23:50", "2024-05-02T00:10", "2024-05-03T09:00"]
    log = small([(1, moment) for moment in moments], item_id=[7, 7, 7], click=[1.0, 1.0, 1.0])
    assert words(BackAfter(2, "item", "click"), log, MAY + 9)[0] == [0b11, 0b1, 0]
    assert words(BackAfter(2, "item", "click", whole_sessions=True), log, MAY + 9)[0] == [0b10, 0b1, 0]


def test_draws_are_the_seeds(log):
    first, again, other = (
        BackWithout(7, "creator", "click", own_share=0.5, seed=seed).label(log, 20_000).collect()["asked"]
        for seed in (0, 0, 1)
    )
    assert first.equals(again, null_equal=True)
    assert not first.equals(other, null_equal=True)


def test_a_log_of_one_row_has_nothing_to_ask_about(by_hand):
    log = replace(by_hand, events=by_hand.events.head(1))
    found = BackWithout(3, "show", "click", own_share=0.5, seed=0).label(log, MAY + 9).collect()
    assert found.select("asked", "trace", "observed").row(0) == (None, 0, 0)


def test_the_parts_of_a_habit_are_found_by_what_they_are_of():
    days = (7, "show", "click")
    outcomes = {
        "taken": TakenUp("click"),
        "liked": TakenUp("like"),
        "after": BackAfter(*days),
        "without": BackWithout(*days, own_share=0.5, seed=0),
        "alone": BackAfter(7, "item", "click"),
        "other": BackWithout(9, "item", "click", own_share=0.5, seed=0),
    }
    assert habits(outcomes) == {"show": Habit("taken", "after", "without")}
    assert outcomes["without"].states == (ABSENT,)


def test_the_trace_is_that_of_the_activity(log):
    taken = (pl.col("click") > 0).alias("taken")
    ours = BackAfter(7, "creator", "click").label(log, 20_000).filter(taken).collect()
    theirs = ActivityTrace(7, "creator", "click").label(log, 20_000).filter(taken).collect()
    assert ours["trace"].equals(theirs["trace"])
    np.testing.assert_array_equal(ours["observed"], theirs["observed"])


def test_what_does_not_fit_is_said(log):
    for wrong in (lambda: BackAfter(7, "user", "click"), lambda: BackWithout(7, "user", "click", 0.5, 0)):
        with pytest.raises(ValueError, match="scope expected item or a column of the items table"):
            wrong()
    with pytest.raises(ValueError, match=r"own_share expected a share, 0 to 1, got 1\.5"):
        BackWithout(7, "item", "click", 1.5, 0)
    with pytest.raises(SchemaError, match="active_if='bought' expected one of the feedback columns"):
        TakenUp("bought").label(log, 20_000)
