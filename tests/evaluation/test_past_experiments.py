"""Past experiments in the report, and the questions that the data at hand cannot answer."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from test_assessment import example
from test_report import Page, written

from reward.causal.diagnostics.summary import BalanceCheck, EffectSummary, HeldOutSlope, ShiftCurve
from reward.data.event_log import SchemaError
from reward.evaluation.early_readout import EarlyReadout
from reward.evaluation.leakage import Leakage
from reward.evaluation.past_experiments import PastExperiments, past_experiments
from reward.evaluation.policy_values import PolicyEstimate, PolicyValues
from reward.experiments.proxy_weights import jive
from reward.experiments.table import from_users
from reward.records import from_json, to_json
from reward.report import saved
from reward.report.write import unanswered

SETTING = {"control": "off", "north_star": "days", "resamples": 50, "seed": 0, "level": 0.95}
EXPERIMENTS, USERS = 30, 200


@pytest.fixture(scope="module")
def users():
    rng = np.random.default_rng(4)
    experiment = np.repeat(np.arange(EXPERIMENTS), USERS)
    treated = np.tile([0, 1], EXPERIMENTS * USERS // 2)
    pushed = rng.normal(0, 0.5, (EXPERIMENTS, 2))[experiment] * treated[:, None]
    habit = rng.normal(size=len(experiment))
    return pl.DataFrame(
        {
            "experiment": experiment,
            "arm": np.where(treated, "on", "off"),
            "user_id": np.arange(len(experiment)),
            "plays": pushed[:, 0] - habit + rng.normal(size=len(experiment)),
            "saves": pushed[:, 1] + habit + rng.normal(size=len(experiment)),
            "days": pushed @ [0.6, 0.3] + habit + rng.normal(size=len(experiment)),
        }
    )


@pytest.fixture(scope="module")
def found(users, tmp_path_factory):
    file = tmp_path_factory.mktemp("past") / "users.parquet"
    users.write_parquet(file)
    return past_experiments(file, **SETTING)


def test_weights_measures_and_front_are_those_of_the_experiments(users, found):
    assert from_json(PastExperiments, to_json(found), "found") == found
    assert (found.experiments, found.arms, found.reason) == (EXPERIMENTS, EXPERIMENTS, None)
    weights = jive(from_users(users, ["plays", "saves", "days"], control="off"), "days")
    told = {it.signal: it.weight for it in found.weights if it.method == "JIVE"}
    assert told == pytest.approx(dict(zip(weights.signals, weights.weights, strict=True)))
    assert {it.measure for it in found.measures} >= {"sign agreement", "recall", "precision", "sensitivity"}
    assert any(it.front for it in found.front)


def test_the_report_has_them_as_a_section(found):
    read = Page(written(dict(example()[-1]) | {"experiments": to_json(found)}))
    assert read.open == []
    assert "Past experiments" in read.text["h2"]
    cells = [text for name in ("th", "td") for text in read.text[name]]
    assert "JIVE: plays" in cells
    assert "decision agreement" in cells


def test_too_few_experiments_are_said_and_not_weighed(users, tmp_path):
    users.filter(pl.col("experiment") < 3).write_parquet(tmp_path / "few.parquet")
    few = past_experiments(tmp_path / "few.parquet", **SETTING)
    assert "at least" in few.reason
    page = written(dict(example()[-1]) | {"experiments": to_json(few)})
    assert "Not computed: " in page
    assert Page(page).open == []


@pytest.mark.parametrize(("columns", "star"), [(["experiment", "arm", "days"], "days"), (None, "weeks"), (None, None)])
def test_a_table_that_does_not_fit_is_said(users, tmp_path, columns, star):
    users.select(columns or users.columns).write_parquet(tmp_path / "users.parquet")
    with pytest.raises(SchemaError, match=r"expected the columns experiment, arm, user_id and two metrics or more"):
        past_experiments(tmp_path / "users.parquet", **SETTING | {"north_star": star})


def test_questions_that_the_data_cannot_answer_are_named():
    shift = {"0": ShiftCurve(divergence=(0.1,))}
    logged = EffectSummary("logged", HeldOutSlope(1.0, 0.2, (0.5, 1.5)), balance=BalanceCheck(False))
    logged = replace(logged, policy_shifts=shift)
    bare = replace(saved.from_json(example()[-1]), policies=None, experiments=None, leakage=None)
    estimate = PolicyEstimate("mine", "days", 10, 5.0, 2.0)
    with_tests = replace(bare, experiments=PastExperiments("days", early=EarlyReadout("few")))
    whole = replace(with_tests, policies=PolicyValues(0.3, 0.95, (estimate,), ()))

    def asked(*given):
        return [it.what for it in unanswered(*given)]

    assert asked(EffectSummary(reason="no propensities"), replace(bare, leakage=Leakage(7, (), "too short"))) == [
        "What another policy would have been worth",
        "What showing an item does",
        "Whether moving this reward, or a quick signal, moves the north star",
        "Whether a column was filled in later than its rows",
    ]
    none = unanswered(EffectSummary(reason="they need outcome.scope=user"), bare)[1]
    assert "not estimated. They need outcome.scope=user." in none.why
    assert asked(replace(logged, propensities="estimated"), with_tests) == ["What another policy would have been worth"]
    assert asked(replace(logged, balance=BalanceCheck(True)), whole) == ["How far a ranker can lean on the rewards"]
    refused = replace(whole, policies=replace(whole.policies, estimates=(replace(estimate, refused="few"),)))
    assert "too few rows inform the estimate of mine" in unanswered(logged, refused)[0].why
    day_less = replace(whole, experiments=PastExperiments("days"))
    assert asked(logged, day_less) == ["How early a test can be read"]
    assert unanswered(logged, replace(whole, leakage=Leakage(7, ()))) == ()


def test_a_column_of_text_is_left_out_and_named(users, found, tmp_path):
    file = tmp_path / "users.parquet"
    users.with_columns(country=pl.lit("se"), since=pl.lit("2024-01-01").str.to_date()).write_parquet(file)
    told = past_experiments(file, **SETTING)
    assert told.left_out == ("country", "since")
    assert replace(told, left_out=()) == found
    page = written(dict(example()[-1]) | {"experiments": to_json(told)})
    assert "Columns that are not numbers were left out: country, since." in page


def test_an_arm_of_one_user_is_a_reason(users, tmp_path):
    file = tmp_path / "users.parquet"
    days = users.with_columns(days=pl.concat_list(pl.col("days") / 2, pl.col("days") / 2))
    lone = days.head(3).with_columns(
        experiment=pl.lit(99, pl.Int64), arm=pl.Series(["off", "on", "on"]), user_id=pl.Series([-1, -2, -3])
    )
    pl.concat([days, lone]).write_parquet(file)
    told = past_experiments(file, **SETTING)
    assert "experiments 99 have an arm of one user" in told.early.reason
    assert "arms of fewer than two users in experiments 99" in told.reason


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_metric_that_is_not_finite_is_a_reason(users, tmp_path, value):
    file = tmp_path / "users.parquet"
    users.with_columns(plays=pl.when(pl.col("user_id") == 5).then(value).otherwise("plays")).write_parquet(file)
    assert "values that are not finite in experiments 0" in past_experiments(file, **SETTING).reason


def test_rows_without_an_arm_are_refused(users, tmp_path):
    file = tmp_path / "users.parquet"
    users.with_columns(arm=pl.when(pl.col("user_id") > 5).then("arm")).write_parquet(file)
    with pytest.raises(SchemaError, match="got nulls in arm"):
        past_experiments(file, **SETTING)
