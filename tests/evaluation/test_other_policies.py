"""What other policies would have been worth, in the report."""

import json

import numpy as np
import polars as pl
import pytest
from test_assessment import example
from test_report import Page, written

from reward.data.event_log import SchemaError
from reward.evaluation.estimates import of_log
from reward.evaluation.policy_values import CHANCE, PolicyValues, other_policies, proposed_policies
from reward.off_policy.doubly_robust import doubly_robust
from reward.off_policy.feedback import LoggedFeedback
from reward.records import from_json, to_json
from reward.report.sentences import policy_sentences

ITEMS, DAYS, ROWS = 20, 4, 40_000
SETTING = {
    "feedback": ["click"],
    "click": "click",
    "unit": "days",
    "proposed": None,
    "divergence": 0.3,
    "min_effective_sample_size": 100,
    "most": [2, 5],
    "level": 0.95,
}


@pytest.fixture(scope="module")
def service():
    """Two kinds of users, shown items by different known odds; clicks and days by item; what the truth is."""
    rng = np.random.default_rng(5)
    odds = np.exp(rng.normal(0, 0.7, (2, ITEMS)))
    logging = odds / odds.sum(1, keepdims=True)
    clicks, days = rng.uniform(0.1, 0.6, ITEMS), rng.uniform(0.2, 0.7, ITEMS)
    user = rng.integers(2000, size=ROWS)
    kind = user % 2
    item = (logging[kind].cumsum(1) > rng.random((ROWS, 1))).argmax(1)
    rows = pl.DataFrame(
        {
            "user_id": user,
            "item_id": item,
            "day": rng.integers(DAYS, size=ROWS),
            "propensity": logging[kind, item],
            of_log("click"): rng.random(ROWS) < clicks[item],
            "value_before": np.full(ROWS, 1.0),
            "reward": days[item] - days.mean(),
        }
    )
    trace = rng.random((ROWS, 2)) < days[item][:, None]
    return rows, trace, logging, clicks, days


@pytest.fixture(scope="module")
def found(service):
    rows, trace, *_ = service
    return other_policies(rows, trace, np.ones_like(trace), past=rows, **SETTING)


def leaning(logging, by, divergence):
    """The policy in proportion to what was shown · exp(β · by) at that distance, by a search of its own."""
    share = logging.mean(0)
    for strength in np.linspace(0, 60, 60_001):
        policy = share * np.exp(strength * by)
        policy /= policy.sum()
        if (policy * np.log(policy / share)).sum() >= divergence:
            return policy
    raise AssertionError


def test_changes_are_the_true_ones_within_their_intervals(service, found):
    _, _, logging, clicks, days = service
    targets = {
        CHANCE: logging.mean(0),
        "leaning on the reward": leaning(logging, days, 0.3),
        "leaning on the rate of click": leaning(logging, clicks, 0.3),
    }
    assert [it.policy for it in found.weights] == list(targets)
    for it in found.estimates:
        by = {"days": 2 * days, "click": clicks}[it.outcome]
        true = targets[it.policy] @ by - (logging @ by).mean()
        half = (it.change.high - it.change.low) / 2
        assert abs(it.change.value - true) < 1.6 * half  # three standard errors: six intervals, all to hold
        assert half < 0.05
    best = {it.outcome: it.change for it in found.estimates if it.policy == "leaning on the reward"}
    assert best["days"].low > 0


def test_weights_average_one_and_their_curve_is_that_of_the_heaviest(found):
    for it in found.weights:
        assert it.mean.low - 0.01 < 1 < it.mean.high + 0.01
        assert list(it.curve) == sorted(it.curve)
        assert it.curve[-1] == pytest.approx(1)
        assert it.curve[2] == pytest.approx(it.top_share)
    assert from_json(PolicyValues, json.loads(json.dumps(to_json(found), allow_nan=False)), "found") == found
    assert len(policy_sentences(found)) == 3


def test_a_proposed_policy_is_estimated_as_by_the_estimators(service):
    rows, trace, *_ = service
    target = np.full(ROWS, 1 / ITEMS)
    proposed = pl.DataFrame({"uniform": target})
    found = other_policies(
        rows, trace, np.ones_like(trace), past=rows, **SETTING | {"proposed": proposed, "most": [1e9]}
    )
    mine = {it.outcome: it for it in found.estimates if it.policy == "uniform"}
    logged = LoggedFeedback(
        reward=trace.sum(1),
        propensity=rows["propensity"].to_numpy(),
        user=rows["user_id"].to_numpy(),
        min_effective_sample_size=1,
    )
    wanted = doubly_robust(logged, target, np.ones(ROWS), np.ones(ROWS))
    assert mine["days"].change.value == pytest.approx(wanted.value - trace.sum(1).mean())


def test_days_that_less_than_half_of_the_rows_know_are_left_out(service):
    rows, trace, *_ = service
    observed = np.ones_like(trace)
    observed[: int(0.6 * ROWS), 1] = False
    found = other_policies(rows, trace, observed, past=rows, **SETTING)
    days = found.estimates[0]
    assert (days.outcome, days.rows) == ("days (the first 1 of these)", ROWS)
    assert days.ran == pytest.approx(trace[:, 0].mean())


def test_a_policy_of_too_few_rows_is_refused_and_the_report_says_so(service):
    rows, trace, *_ = service
    never = pl.DataFrame({"mine": np.where(np.arange(ROWS) < 5, 0.5, 0.0)})
    found = other_policies(rows, trace, np.ones_like(trace), past=rows, **SETTING | {"proposed": never})
    refused = [it for it in found.estimates if it.policy == "mine"]
    assert all(it.change is None and it.effective_sample_size <= 5 for it in refused)
    assert "expected at least 100 effective rows" in refused[0].refused
    said = [it for it in policy_sentences(found) if it.startswith("Mine: ")]
    assert "no estimate of days, with" in said[0]
    page = written(dict(example()[-1]) | {"policies": to_json(found)})
    assert Page(page).open == []
    assert "Other policies" in Page(page).text["h2"]
    assert "refused<small>" in page
    assert any("The weights of 'mine' average" in it for it in policy_sentences(found))


@pytest.fixture
def file(service, tmp_path):
    rows = service[0].head(50)
    events = rows.with_columns(
        pl.datetime(2024, 1, 1, time_zone="UTC").alias("timestamp") + pl.duration(minutes=pl.int_range(pl.len()))
    ).select("user_id", "item_id", "timestamp")
    told = events.with_columns(pl.lit(0.25).alias("mine")).sample(fraction=1, shuffle=True, seed=0)

    def write(change=lambda frame: frame):
        change(told).write_parquet(tmp_path / "policies.parquet")
        return tmp_path / "policies.parquet", events

    return write


def test_a_file_of_policies_is_read_in_the_order_of_the_events(file):
    name, events = file(lambda told: told.with_columns(pl.col("item_id").cast(pl.Float64).truediv(100).alias("mine")))
    read = proposed_policies(name, events, None)
    assert read.columns == ["mine"]
    assert read["mine"].to_list() == pytest.approx([it / 100 for it in events["item_id"]])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda told: told.drop("item_id"), r"expected the columns user_id, item_id, timestamp and a column a policy"),
        (lambda told: told.with_columns(mine=2.0), "expected chances from 0 to 1 without nulls, got others in mine"),
        (lambda told: told.with_columns(mine=pl.lit("x")), "expected chances from 0 to 1"),
        (lambda told: told.head(49), "expected a row for each of the 50 events of the test days, got none for 1"),
        (lambda told: pl.concat([told, told.head(1)]), "expected one row an event, got 2 rows"),
    ],
)
def test_a_file_of_policies_that_does_not_fit_is_said(file, change, said):
    name, events = file(change)
    with pytest.raises(SchemaError, match=said):
        proposed_policies(name, events, None)


def test_an_outcome_that_is_known_of_one_user_alone_is_left_out(service):
    rows, trace, *_ = service
    first = rows["user_id"].to_numpy() == rows["user_id"][0]
    few = rows.filter(first | (np.arange(ROWS) < 5))
    observed = np.zeros((len(few), 2), bool)
    observed[(few["user_id"] == rows["user_id"][0]).to_numpy()] = True
    found = other_policies(few, trace[: len(few)], observed, past=rows, **SETTING)
    assert {it.outcome for it in found.estimates} == {"click"}
    assert all(it.refused is not None for it in found.estimates)  # and fewer rows than an estimate needs


def test_without_a_click_no_policy_leans_on_it_and_feedback_is_still_told(service):
    rows, trace, *_ = service
    found = other_policies(rows, trace, np.ones_like(trace), past=rows, **(SETTING | {"click": None}))
    assert [it.policy for it in found.weights] == [CHANCE, "leaning on the reward"]
    assert {it.outcome for it in found.estimates} == {"days", "click"}
    assert not any("click" in sentence for sentence in policy_sentences(found))
