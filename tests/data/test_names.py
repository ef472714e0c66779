"""Columns of a log may have the names of what is counted from it: nothing that is learned changes."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from estimators import PERSONAL
from polars.testing import assert_frame_equal

from reward.causal.estimate import estimate_effects
from reward.causal.propensity.conditional_logit import estimate_propensities
from reward.data.split import known_at
from reward.evaluation.leakage import item_leakage
from reward.outcomes.activity import ActivityTrace

FEEDBACK = [("days", "shown"), ("value", "reward"), ("who", "total"), ("observed", "n")]
CONTEXT = [("day", "n"), ("count", "share"), ("first", "rows"), ("again", "active")]
FEATURES = [
    ("count", "mean", "std"),
    ("sum", "effect", "day"),
    ("n", "left", "vector_0"),
    ("rows", "item", "literal"),
]
NAMES = pytest.mark.parametrize(
    "names",
    [
        dict(zip(("feedback", "context", "features"), it, strict=True))
        for it in zip(FEEDBACK, CONTEXT, FEATURES, strict=True)
    ],
)


@pytest.fixture(scope="module")
def known(log, windows_of_time):
    return known_at(log, windows_of_time.validation_end)


def renamed(log, names):
    """The log with other names, and its own name of each."""
    columns = dict(zip((*log.feedback, *log.context), (*names["feedback"], *names["context"]), strict=True))
    traits = dict(zip(log.item_features, names["features"], strict=True))
    found = replace(
        log,
        events=log.events.rename(columns),
        feedback=names["feedback"],
        context=names["context"],
        click=columns[log.click],
        flags=tuple(columns[it] for it in log.flags),
        items=log.items.rename(traits),
        item_features=names["features"],
    )
    return found, columns | traits


@NAMES
def test_the_inputs_of_the_model_are_the_same(known, fit, names):
    other, _ = renamed(known, names)
    ours, theirs = (fit(it) for it in (known, other))
    assert ours.sizes() == theirs.sizes()
    assert list(ours.moments.values()) == list(theirs.moments.values())
    assert np.array_equal(
        ours.item_inputs(ours.items["item_id"]).numbers, theirs.item_inputs(ours.items["item_id"]).numbers
    )


@NAMES
def test_outcomes_and_leaks_are_the_same(known, names):
    other, called = renamed(known, names)
    for outcome in (ActivityTrace(5, whole_sessions=True), ActivityTrace(5, active_if="click")):
        label = replace(outcome, active_if=called.get(outcome.active_if))
        columns = ["trace", "observed"]
        assert_frame_equal(
            outcome.label(known, 30_000).select(columns).collect(), label.label(other, 30_000).select(columns).collect()
        )
    found = {it.column: it for it in item_leakage(other, days=3, seed=0)}
    for it in item_leakage(known, days=3, seed=0):
        there = found[called[it.column]]
        assert (there.after, there.before, there.se) == pytest.approx((it.after, it.before, it.se), rel=1e-9, abs=1e-12)


@NAMES
def test_effects_are_the_same(known, names):
    def effects(log, called):
        return estimate_effects(
            log,
            ActivityTrace(horizon_days=5),
            gate=called["click"],
            rare=[],
            group=called["genre"],
            folds=2,
            most_weight=50.0,
            smooth_days=30.0,
            curve_rounds=1,
            joint_rounds=1,
            personal=PERSONAL,
            seed=0,
            propensity=np.full(log.events.select(pl.len()).collect().item(), 1 / 30),
        ).items

    other, called = renamed(known, names)
    plain = {name: name for name in called}
    assert_frame_equal(effects(known, plain), effects(other, called))


@NAMES
def test_propensities_are_the_same(known, names):
    def propensities(log, called):
        return estimate_propensities(
            log,
            gate=called["click"],
            spans_days=[7],
            prior_days=7.0,
            memory_clicks=[5],
            context=list(log.context),
            embedding_size=4,
            category_levels=4,
            ridge=1.0,
            passes=2,
            tolerance=1e-4,
            max_training_slates=1000,
            max_candidates=50,
            chunk_slates=256,
            calibration_slates=200,
            level=2.33,
            least_excess=0.03,
            seed=0,
        ).propensity

    other, called = renamed(known, names)
    assert np.array_equal(propensities(known, {name: name for name in called}), propensities(other, called))
