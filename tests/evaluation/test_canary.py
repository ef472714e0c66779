"""Known traps on generated data: a column that was filled in later is named, and what is known in time is not."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from test_assessment import example

from reward.data.event_log import EventLog, SchemaError
from reward.evaluation.leakage import item_leakage, leakage_summary
from reward.report.saved import from_json, to_json
from reward.report.sentences import leak_sentence, summary_sentences

USERS, DAYS = 400, 30
BEGIN = datetime(2024, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def plain():
    """Users of different habits that drift; heavy users see other items, click more and come back anyway."""
    rng = np.random.default_rng(8)
    habit = rng.normal(0, 1.5, (USERS, 1)) + 0.3 * rng.normal(size=(USERS, DAYS)).cumsum(1)
    active = rng.random((USERS, DAYS)) < 1 / (1 + np.exp(-habit))
    user, day = np.nonzero(active)
    at = habit[user, day]
    events = pl.DataFrame(
        {
            "user_id": user,
            "item_id": rng.integers(0, 20, len(user)) + 20 * (at > 0.5),
            "timestamp": [BEGIN + timedelta(days=int(it), hours=9) for it in day],
            "click": (rng.random(len(user)) < 1 / (1 + np.exp(-at))).astype(int),
            "minutes": np.exp(0.5 * at + rng.normal(size=len(user))),
            "surface": np.where(at + rng.normal(size=len(user)) > 0, "home", "search"),
        }
    )
    items = pl.LazyFrame({"item_id": range(40), "genre": [f"g{it // 10}" for it in range(40)], "length": range(40)})
    return EventLog(
        events.lazy(),
        feedback=("click", "minutes"),
        context=("surface",),
        items=items,
        item_features=("genre", "length"),
        end=BEGIN + timedelta(days=DAYS),
        session_gap_minutes=30,
        max_rejected_share=0.0,
    )


def with_leak(log, name, of_next_days):
    """The log with a column of what the user did on the next 7 days."""
    events = log.events.collect()
    day = (events["timestamp"] - BEGIN).dt.total_days().to_numpy()
    active = np.zeros((USERS, DAYS + 8))
    active[events["user_id"].to_numpy(), day] = 1
    ahead = np.array([active[user, at + 1 : at + 8].sum() for user, at in zip(events["user_id"], day, strict=True)])
    return replace(
        log, events=events.with_columns(of_next_days(ahead).alias(name)).lazy(), context=(*log.context, name)
    )


def test_heavy_users_who_click_more_and_return_anyway_make_no_column_suspect(plain):
    found = item_leakage(plain, days=7, seed=0)
    assert {it.column for it in found} == {"click", "minutes", "surface", "genre", "length"}
    assert not any(it.leaks for it in found)
    told = {it.column: it for it in found}
    assert told["click"].after > 0.05, "it does tell of habits, as much before as after"
    assert abs(told["click"].after - told["click"].before) < 0.03


@pytest.mark.parametrize(
    "told",
    [
        lambda ahead: pl.Series(ahead + np.random.default_rng(0).normal(0, 2, len(ahead))),
        lambda ahead: pl.Series(np.where(ahead > 3, "retained", "churned")),
        lambda ahead: pl.Series(ahead).replace(0.0, None),
    ],
    ids=["noisy", "a label", "missing where nothing came"],
)
def test_a_column_that_was_filled_in_later_is_named_alone(plain, told):
    found = item_leakage(with_leak(plain, "session_total", told), days=7, seed=0)
    assert [it.column for it in found if it.leaks] == ["session_total"]
    assert found[0].column == "session_total"
    assert "session_total explains" in leak_sentence(found[0])
    assert "filled in later" in leak_sentence(found[0])


def test_a_habit_from_before_the_log_is_no_leak(plain):
    backwards = plain.events.collect()
    day = (backwards["timestamp"] - BEGIN).dt.total_days().to_numpy()
    active = np.zeros((USERS, DAYS + 7))
    active[backwards["user_id"].to_numpy(), day + 7] = 1
    past = np.array([active[user, at : at + 7].sum() for user, at in zip(backwards["user_id"], day, strict=True)])
    log = replace(plain, events=backwards.with_columns(past=pl.Series(past)).lazy(), context=("surface", "past"))
    found = {it.column: it for it in item_leakage(log, days=7, seed=0)}
    assert found["past"].before > 0.9
    assert not found["past"].leaks


def test_shares_are_those_of_users_that_were_not_learned_from(plain):
    noise = plain.events.collect().with_columns(
        noise=pl.Series(np.random.default_rng(1).integers(0, 150, plain.events.collect().height)).cast(pl.String)
    )
    log = replace(plain, events=noise.lazy(), context=("noise",), feedback=("click",), item_features=())
    told = {it.column: it for it in item_leakage(log, days=7, seed=0)}["noise"]
    assert told.after < 0.01
    assert told.before < 0.01


def test_a_log_too_short_is_said(plain):
    with pytest.raises(SchemaError, match="the leakage check expected rows with 15 days before and after them"):
        item_leakage(plain, days=15, seed=0)
    one = replace(plain, events=plain.events.filter(pl.col("timestamp") < BEGIN + timedelta(days=2)))
    found = leakage_summary(one, horizon_days=7, seed=0)
    assert "got a log of 2 days" in found.reason
    assert found.columns == ()


def test_what_leaks_is_the_first_thing_that_is_said(plain):
    leak = with_leak(plain, "total", pl.Series)
    found = leakage_summary(leak, horizon_days=14, seed=0)
    assert found.days == 10
    assert [it.column for it in found.columns if it.leaks] == ["total"]
    whole = replace(from_json(example()[-1]), leakage=found)
    said = summary_sentences(whole)
    assert said[0].startswith("total explains")
    assert said[1].startswith("Past activity")
    assert from_json(to_json(whole)).leakage == found


def test_columns_may_have_the_names_of_what_is_counted(plain):
    renamed = {"click": "who", "surface": "day"}
    log = replace(plain, events=plain.events.with_columns(surface=pl.lit("home")), context=("surface",))
    told = {it.column: it for it in item_leakage(log, days=7, seed=0)}
    feedback = tuple(renamed.get(name, name) for name in log.feedback)
    log = replace(log, events=log.events.rename(renamed), feedback=feedback, context=("day",))
    for it in item_leakage(log, days=7, seed=0):
        before = next((old for old, new in renamed.items() if new == it.column), it.column)
        there = told[before]
        assert (it.after, it.before, it.se) == pytest.approx((there.after, there.before, there.se), rel=1e-9, abs=1e-12)


def test_a_column_that_is_nan_is_unknown_and_infinity_is_a_large_number(plain):
    rng = np.random.default_rng(0)
    events = plain.events.collect()
    odd = rng.choice(3, len(events))
    level = pl.Series(np.where(odd == 0, np.nan, np.where(odd == 1, np.inf, rng.normal(size=len(events)))))
    told = [
        {
            it.column: it
            for it in item_leakage(
                replace(plain, events=events.with_columns(x=each).lazy(), context=("x",)), days=7, seed=0
            )
        }
        for each in (level, level.fill_nan(None))
    ]
    for name, suspect in told[0].items():
        assert list(vars(suspect).values())[1:] == pytest.approx(list(vars(told[1][name]).values())[1:])
    assert not told[0]["x"].leaks


def test_a_row_of_long_ago_costs_no_memory(plain):
    old = (
        plain.events.collect()
        .head(1)
        .with_columns(timestamp=pl.lit(BEGIN - timedelta(days=30_000)).cast(pl.Datetime("us", "UTC")))
    )
    events = plain.events.collect()
    both = replace(plain, events=pl.concat([events, old.cast(events.schema)]).lazy())
    near, far = (sorted(item_leakage(each, days=7, seed=0), key=lambda it: it.column) for each in (plain, both))
    assert [it.column for it in near] == [it.column for it in far]
