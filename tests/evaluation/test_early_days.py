"""How early is early enough, in the report."""

import json

import numpy as np
import polars as pl
import pytest
from test_assessment import example
from test_report import Page, written

from reward.data.event_log import SchemaError
from reward.evaluation.early_readout import LINEAR, SO_FAR, EarlyReadout, day_by_day, early_readout
from reward.evaluation.past_experiments import past_experiments
from reward.experiments.early_readout import effects_by_test, launch_decisions
from reward.records import from_json, to_json
from reward.report.sentences import early_sentences

TESTS, USERS, HORIZON = 20, 300, 12
SETTING = {"control": "off", "north_star": "days", "resamples": 40, "seed": 0, "level": 0.95}


@pytest.fixture(scope="module")
def users():
    """Tests of two arms and a control; a third of the tests do much, from the first day on."""
    rng = np.random.default_rng(2)
    experiment = np.repeat(np.arange(TESTS), USERS)
    arm = np.tile(["off", "a", "b"], TESTS * USERS // 3)
    effect = np.where(np.arange(TESTS) % 3 == 0, 0.25, 0.0)
    chance = rng.beta(1, 1, len(experiment)) * 0.6 + effect[experiment] * (arm != "off")
    days = (rng.random((len(experiment), HORIZON)) < chance[:, None]).astype(int)
    frame = pl.DataFrame({"experiment": experiment, "arm": arm, "user_id": np.arange(len(experiment)), "days": days})
    return frame.with_columns(
        pl.Series("sum", days.cumsum(1) * 1.0), plays=pl.Series(days.sum(1) + rng.normal(size=len(days)))
    )


@pytest.fixture(scope="module")
def found(users):
    days = {name: day_by_day(users[name]) for name in ("days", "sum")}
    return early_readout(users, days, **SETTING)


def value(found, surrogate, day, measure):
    (mine,) = [
        it.estimate.value for it in found.agreement if (it.surrogate, it.day, it.measure) == (surrogate, day, measure)
    ]
    return mine


def test_agreement_is_that_of_tests_counted_one_by_one(users, found):
    daily = np.array(users["days"].to_list())
    experiment, arm = (users[name].to_numpy() for name in ("experiment", "arm"))
    alike = []
    for test in range(TESTS):
        for name in ("a", "b"):
            mine = (experiment == test) & np.isin(arm, ["off", name])
            decided = [
                launch_decisions(
                    effects_by_test(np.zeros(mine.sum(), int), arm[mine] == name, days.sum(1)), alpha=0.05
                )[0]
                for days in (daily[mine][:, :4], daily[mine])
            ]
            alike.append(decided[0] == decided[1])
    assert found.tests == 2 * TESTS
    assert value(found, SO_FAR, 4, "consistent") == pytest.approx(np.mean(alike))


def test_a_surrogate_of_the_table_is_read_as_it_stands_after_each_day(found):
    of = {name: [it.estimate.value for it in found.agreement if it.surrogate == name] for name in (SO_FAR, "sum")}
    assert of[SO_FAR] == of["sum"]
    assert found.days == tuple(range(1, HORIZON))


def test_large_effects_are_launched_early(found):
    for name in (SO_FAR, LINEAR):
        assert value(found, name, 6, "recall") > 0.9
    assert early_sentences(found, 0.95)[0].startswith("So far: 95% or more of the tests are decided as after 12 days ")
    assert from_json(EarlyReadout, json.loads(json.dumps(to_json(found), allow_nan=False)), "early") == found


def test_the_report_has_it_as_a_section(users, tmp_path):
    users.write_parquet(tmp_path / "users.parquet")
    told = past_experiments(tmp_path / "users.parquet", **SETTING)
    assert told.reason is None
    assert {it.signal for it in told.weights} == {"plays"}
    page = written(dict(example()[-1]) | {"experiments": to_json(told)})
    read = Page(page)
    assert read.open == []
    assert "How early is early enough" in read.text["h2"]
    assert "linear auto-surrogate" in read.text["span"]


def test_a_north_star_by_day_alone_needs_no_other_metric(users, tmp_path):
    users.select("experiment", "arm", "user_id", "days").write_parquet(tmp_path / "users.parquet")
    told = past_experiments(tmp_path / "users.parquet", **SETTING)
    assert told.reason == "the table has no other metric with one number a user"
    assert told.early.tests == 2 * TESTS


def test_few_experiments_are_said(users):
    few = users.filter(pl.col("experiment") < 3)
    told = early_readout(few, {"days": day_by_day(few["days"])}, **SETTING)
    assert told.reason == "they need at least 5 experiments with a control named 'off'"
    page = written(dict(example()[-1]) | {"experiments": past_like(told)})
    assert "Early days were not compared with the whole horizon: they need at least 5" in page


def past_like(early):
    return {"north_star": "days", "weights": [], "measures": [], "front": [], "reason": "few", "early": to_json(early)}


@pytest.mark.parametrize("days", [[[1, 0], [1]], [[1, 0], None], [[1.0, float("nan")], [0.0, 1.0]], [[1], [0]]])
def test_lists_that_are_not_days_are_said(days):
    with pytest.raises(SchemaError, match="days expected"):
        day_by_day(pl.Series("days", days))


def test_lists_of_other_lengths_than_the_north_star_s_are_said(users, tmp_path):
    users.with_columns(pl.col("sum").arr.to_list().list.head(3)).write_parquet(tmp_path / "users.parquet")
    with pytest.raises(SchemaError, match=r"expected lists of one length, .* got days of 12, sum of 3"):
        past_experiments(tmp_path / "users.parquet", **SETTING)
