"""The first outcome event within a horizon: by hand, by a loop over rows, and what items truly did to it."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from renewals import end, service

from reward.causal.diagnostics.summary import summarize_effects
from reward.causal.estimate import estimate_effects
from reward.data.event_log import SchemaError
from reward.data.parquet import read
from reward.data.split import EPOCH, bounds, known_at
from reward.data.validation import check
from reward.outcomes.activity import ActivityTrace
from reward.outcomes.consumption import Consumption
from reward.outcomes.event_within import EventWithin
from reward.outcomes.protocol import Daily, Points, has_effects, is_of_exposures, read_kinds
from reward.outcomes.returns import ReturnTime
from reward.report.summary import in_short
from reward.scoring.effect_sentences import effect_sentences

START = datetime(2024, 5, 1, 12, tzinfo=UTC)
DAY_0 = (START.date() - EPOCH).days
WORDS = ["time_days", "event", "entry_days", "trace", "observed"]


def log_of(shown, came, **changes):
    """A log of user 1's exposures and renewals, in days after START; 10 days are complete."""
    events = pl.DataFrame({"timestamp": [START + timedelta(days=day) for day in shown]}).with_columns(
        user_id=pl.lit(1), item_id=pl.int_range(pl.len()), click=pl.lit(1.0)
    )
    renewals = pl.DataFrame(
        {"timestamp": [START + timedelta(days=day) for day in came]}, {"timestamp": pl.Datetime("us", "UTC")}
    ).with_columns(user_id=pl.lit(1))
    log = read(events, feedback=["click"], session_gap_minutes=30, max_rejected_share=0.0, **changes)
    return check(replace(log, outcomes={"renewal": renewals.lazy()}), least_users=0).log


def labels(log, end_day=10, horizon=4, **changes):
    found = EventWithin("renewal", horizon).label(log, DAY_0 + end_day, **changes).select(WORDS).collect()
    return found.rows()


def test_the_first_event_after_the_day_ends_the_wait():
    assert labels(log_of([0, 1], [3, 4])) == [(3, 1, 0, 0b0100, 0b1111), (2, 1, 0, 0b0010, 0b1111)]


def test_what_comes_later_on_the_same_day_or_after_the_horizon_does_not_count():
    assert labels(log_of([0], [0.4, 5]), horizon=4) == [(4, 0, 0, 0, 0b1111)]


def test_a_wait_is_censored_where_the_log_ends():
    assert labels(log_of([0, 1], [4]), end_day=3) == [(2, 0, 0, 0, 0b11), (1, 0, 0, 0, 0b1)]


def test_a_wait_is_censored_where_the_outcome_events_end_if_that_is_earlier():
    log = log_of([0], [0.9, 2.4])
    short = replace(log, outcomes_end={"renewal": START.replace(hour=0) + timedelta(days=3)})
    assert labels(short, end_day=10) == [(1, 1, 0, 0b1, 0b11)]
    assert labels(short, end_day=2) == [(1, 1, 0, 0b1, 0b1)]


def test_since_tells_only_of_days_that_were_not_known_and_of_those_who_were_still_waiting():
    log = log_of([0, 1], [3])
    assert labels(log, end_day=5, since=DAY_0 + 3) == [(3, 1, 2, 0b100, 0b1100), (2, 1, 1, 0b010, 0b110)]
    (before, _) = labels(log, end_day=6, since=DAY_0 + 4)
    assert before == (3, 1, 3, 0, 0b1000)  # it came before: the wait says nothing, the day is known all the same


def test_users_without_an_event_and_events_without_a_user_of_the_log_make_no_row():
    log = log_of([0, 2], [])
    strangers = pl.LazyFrame({"user_id": [5], "timestamp": [START + timedelta(days=1)]}).cast(
        {"timestamp": pl.Datetime("us", "UTC")}
    )
    found = labels(replace(log, outcomes={"renewal": strangers}))
    assert found == [(4, 0, 0, 0, 0b1111), (4, 0, 0, 0, 0b1111)]


@pytest.mark.parametrize(("zone", "starts_at"), [("UTC", "00:00"), ("Asia/Tokyo", "00:00"), ("Europe/Paris", "04:00")])
def test_labels_agree_with_a_loop_over_rows(zone, starts_at):
    events, renewals, _ = service(1, users=30, days=20)
    log = check(
        read(
            events,
            feedback=["click"],
            session_gap_minutes=30,
            max_rejected_share=0.0,
            timezone=zone,
            day_starts_at=starts_at,
            outcomes={"renewal": renewals},
        )
    ).log
    horizon, (_, end_day) = 6, bounds(log)
    found = EventWithin("renewal", horizon).label(log, end_day).collect()
    hours = timedelta(hours=int(starts_at[:2]))

    def day_of(moment):
        return ((moment.astimezone(ZoneInfo(zone)) - hours).date() - EPOCH).days

    came = {}
    for user, moment in renewals.iter_rows():
        came.setdefault(user, []).append(day_of(moment))
    assert found["event"].sum() > 20
    for row in found.iter_rows(named=True):
        day = day_of(row["timestamp"])
        known = max(min(horizon, end_day - 1 - day), 0)
        ahead = [each - day for each in came.get(row["user_id"], []) if 0 < each - day <= known]
        assert row["observed"] == (1 << known) - 1
        assert (row["time_days"], row["event"]) == ((min(ahead), 1) if ahead else (known, 0))
        assert row["trace"] == (1 << (min(ahead) - 1) if ahead else 0)


def test_the_rows_are_those_of_the_log_in_their_order_and_the_parts_add_up_to_the_event():
    events, renewals, _ = service(1, users=30, days=20)
    log = check(read(events, feedback="click", session_gap_minutes=30, max_rejected_share=0.0, end=end(20))).log
    log = replace(log, outcomes={"renewal": renewals.lazy()})
    outcome = EventWithin("renewal", 5)
    found = outcome.label(log, bounds(log)[1]).collect()
    assert found.select(log.events.collect_schema().names()).equals(log.events.collect())
    parts = outcome.parts(found)
    assert parts.names[0] == "day 1"
    assert ((parts.values * parts.known).sum(1) == found["event"].to_numpy()).all()
    daily = outcome.daily(log, bounds(log)[1])
    assert daily.rows.height == events.select("user_id", pl.col("timestamp").dt.date()).n_unique()
    assert (daily.values.sum(1) <= 1).all()


def test_a_kind_that_the_log_does_not_have_is_refused():
    with pytest.raises(SchemaError, match=r"kind='renewals' \(did you mean 'renewal'\?\)"):
        EventWithin("renewals", 4).label(log_of([0], [1]), DAY_0 + 4)


@pytest.mark.parametrize("days", [0, 64])
def test_a_horizon_is_one_word(days):
    with pytest.raises(ValueError, match=f"horizon_days must be from 1 to 63, got {days}"):
        EventWithin("renewal", days)


def test_it_is_told_as_a_chance():
    outcome = EventWithin("renewal", 30)
    assert outcome.unit == "chance of renewal within 30 days"
    assert outcome.counted == "day of the first renewal; 31: later or never"
    assert read_kinds(outcome) == ("renewal",)
    assert read_kinds(ActivityTrace(3)) == ()


def test_which_outcomes_have_effects_is_asked_of_what_they_can_do():
    assert all(map(has_effects, [ActivityTrace(3), EventWithin("renewal", 3)]))
    assert not any(map(has_effects, [ActivityTrace(3, scope="item"), ReturnTime(3)]))
    assert [is_of_exposures(it) for it in (ActivityTrace(3), EventWithin("renewal", 3))] == [True, False]


def effects_of(seed, outcome, **changes):
    events, renewals, truth = service(seed, **changes)
    log = check(
        read(
            events,
            feedback=["click"],
            session_gap_minutes=30,
            max_rejected_share=0.0,
            end=end(),
            outcomes={"renewal": renewals},
        )
    ).log
    settings = {"gate": None, "rare": [], "group": None, "folds": 2, "most_weight": 50, "smooth_days": 30}
    found = estimate_effects(log, outcome, **settings, curve_rounds=1, joint_rounds=2, personal=None, seed=0)
    return found, truth


@pytest.mark.parametrize("seed", [1, 3, 5])
def test_effects_of_items_on_renewals_are_those_that_they_have(seed):
    # users and bounds were chosen on seeds 0, 2, .. 14, whose least correlation is .93
    found, truth = effects_of(seed, EventWithin("renewal", 7), users=500)
    items = found.items.sort("item_id")
    assert np.corrcoef(items["mean"], truth)[0, 1] > 0.88
    assert found.calibration.slope - 1.96 * found.calibration.se > 0
    assert abs(found.calibration.slope - 1) < 3 * found.calibration.se


def test_effects_on_activity_are_nothing_where_items_change_renewals_alone():
    found, _ = effects_of(1, ActivityTrace(7))
    assert abs(found.calibration.slope) < 3 * found.calibration.se


@dataclass(frozen=True)
class Amounts:
    """What users take in day by day: real numbers that add up, from another outcome's labels."""

    horizon_days: int
    scope = "user"
    states = ("before", "exposed", "after")
    targets = ("amount", "observed")
    reads = ()
    points = Points("click", "clicks", "clicks", "how much users click", "with clicks")
    unit = counted = "clicks"

    def label(self, log, end_day, *, since=None):
        return Consumption("click", self.horizon_days).label(log, end_day, since=since)

    def parts(self, labels):
        return Consumption("click", self.horizon_days).parts(labels)

    def daily(self, log, end_day):
        found = self.label(log, end_day).collect().unique(["user_id", "day"]).sort("user_id", "day")
        parts = self.parts(found)
        return Daily(found.select("user_id", "day"), parts.values.astype(np.float32), parts.known.sum(1))


def test_any_outcome_that_tells_of_days_has_effects():
    outcome = Amounts(5)
    assert has_effects(outcome)
    found, _ = effects_of(1, outcome)
    assert found.items["mean"].is_finite().all()
    assert found.items["mean"].std() > 0


def test_effects_on_renewals_are_told_in_renewals():
    found, _ = effects_of(1, EventWithin("renewal", 7))
    balanced = SimpleNamespace(flagged=False, sentences=list)
    told = summarize_effects(
        found.calibration, None, balanced, pushed=found.pushed, points=EventWithin("renewal", 7).points
    )
    said = " ".join(effect_sentences(told))
    assert "for each renewal of predicted effect, held-out users show" in said
    assert "renewals (95% interval" in said
    assert "renewals an exposure" in said
    assert " days" not in said
    evaluation = SimpleNamespace(gain=None, leakage=None, policies=None, level=0.95, horizon_days=7)
    assert in_short(evaluation, told)[1].startswith(
        "showing an item changes the chance of renewal within 7 days: held-out users show"
    )


def test_nobody_who_renews_is_a_sentence():
    events, renewals, _ = service(1, users=30, days=20)
    log = check(read(events, feedback="click", session_gap_minutes=30, max_rejected_share=0.0)).log
    log = replace(log, outcomes={"renewal": renewals.head(0).lazy()})
    fit = partial(
        estimate_effects, gate=None, rare=[], group=None, folds=2, most_weight=50, smooth_days=30, personal=None
    )
    with pytest.raises(SchemaError, match="found no user with renewal on no one of them"):
        fit(log, EventWithin("renewal", 5), curve_rounds=0, joint_rounds=1, seed=0)


def test_what_is_cut_changes_no_label_before_the_cut():
    events, renewals, _ = service(1, users=30, days=20)
    log = check(
        read(
            events,
            feedback="click",
            session_gap_minutes=30,
            max_rejected_share=0.0,
            end=end(20),
            outcomes={"renewal": renewals},
        )
    ).log
    cut_day = bounds(log)[0] + 10
    whole, cut = (EventWithin("renewal", 5).label(it, cut_day).collect() for it in (log, known_at(log, cut_day)))
    assert whole.filter(pl.col("day") < cut_day).equals(cut)
