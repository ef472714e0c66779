"""Propensities that cannot be what they are said to be are named; those that are, pass."""

import re
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from reward.causal.propensity.plausibility import check_propensities, impossible
from reward.data.event_log import EventLog
from reward.data.validation import check

USERS, ITEMS = 300, 20


def log_of(propensity=None, *, contexts=False, slate=1, seed=0, even=False):
    """Slates drawn one after the other, without replacement, with chances of a user's own; and these chances."""
    rng = np.random.default_rng(seed)
    chance = np.full((USERS, ITEMS), 1 / ITEMS) if even else rng.dirichlet(np.full(ITEMS, 0.7), USERS)
    rows = []
    for day in range(5):
        order = np.argsort(np.log(chance) + rng.gumbel(size=chance.shape), axis=1)[:, ::-1][:, :slate]
        shown = np.take_along_axis(chance, order, axis=1)
        above = np.cumsum(shown, axis=1) - shown
        for place in range(slate):
            surface = np.where(np.arange(USERS) % 2, "home", "search")
            rows.append(
                pl.DataFrame(
                    {
                        "user_id": np.arange(USERS),
                        "item_id": np.where(surface == "home", 0, 1) if contexts else order[:, place],
                        "timestamp": np.full(USERS, np.datetime64(f"2024-01-0{day + 1}T12:00", "us")),
                        "request_id": [f"{day}"] * USERS,
                        "position": place,
                        "surface": surface,
                        "click": 1.0,
                        "propensity": shown[:, place] / (1 - above[:, place]) if propensity is None else propensity,
                    }
                )
            )
    events = pl.concat(rows).unique(["user_id", "item_id", "timestamp"])
    return check(EventLog(events.lazy(), ("click",), 30, 0.0, context=("surface",))).log


@pytest.mark.parametrize("slate", [1, 4])
@pytest.mark.parametrize("seed", range(3))
def test_the_chances_with_which_rows_were_drawn_pass(slate, seed):
    assert check_propensities(log_of(slate=slate, seed=seed)) is None


@pytest.mark.parametrize("value", [1.0, 0.5, 1e-4])
def test_a_constant_that_stands_in_for_chances_is_named(value):
    said = check_propensities(log_of(value))
    assert said is not None
    assert f"propensity is {value:g} in every row" in said
    assert "leave the column out, or rename it" in said


def test_a_constant_that_is_the_chance_passes():
    log = log_of()
    items = np.random.default_rng(1).integers(0, ITEMS, log.events.collect().height)
    uniform = log.events.with_columns(item_id=pl.Series(items), propensity=pl.lit(1 / ITEMS))
    assert check_propensities(replace(log, events=uniform)) is None


def test_chances_of_being_anywhere_in_a_slate_are_named():
    assert check_propensities(log_of(slate=4, even=True)) is None
    assert "are to be divided by its length" in check_propensities(log_of(4 / ITEMS, slate=4, even=True))


def test_1_is_right_where_a_context_has_one_item_alone():
    assert check_propensities(log_of(1.0, contexts=True)) is None
    log = log_of(1.0, contexts=True)
    assert check_propensities(replace(log, context=())) is not None  # for all that the log tells, either could be shown


@pytest.mark.parametrize("value", [1e-300, 1e-30])
def test_a_row_that_should_not_have_been_seen_in_any_such_log_is_named(value):
    log = log_of()
    one = pl.when(pl.int_range(pl.len()) == 7).then(value).otherwise(pl.col("propensity"))
    assert f"got {value:g}" in check_propensities(replace(log, events=log.events.with_columns(propensity=one)))


def test_a_log_without_the_column_or_of_few_rows_says_nothing():
    log = log_of(1.0)
    assert check_propensities(replace(log, events=log.events.drop("propensity"))) is None
    assert check_propensities(replace(log, events=log.events.head(50))) is None
    assert check_propensities(replace(log, events=log.events.filter(pl.col("user_id") == 3))) is None


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.ones(3), "one number a row, 2, got shape"),
        (np.array([0.5, 0.0]), r"in \(0, 1\], got 0 among"),
        (np.array([0.5, 1.5]), "got 1.5 among"),
        (np.array([np.nan, 0.5]), "got nan among"),
        (np.array([1e-80, 0.5]), "got 1e-80, and what is that unlikely is never seen"),
    ],
)
def test_numbers_that_are_no_probabilities_are_named(values, said):
    assert re.search(said, impossible(values, 2))
    assert impossible(np.array([1.0, 1e-9]), 2) is None
