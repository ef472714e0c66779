"""What feedback may be, as the log's rows say in whatever parts they come."""

import numpy as np
import polars as pl
import pytest

from reward.causal.item_effects.feedback_rates import FeedbackRows, Flags
from reward.causal.item_effects.proposals import Openings, RareAnswers, Scale
from reward.statistics.sums import fold

ROWS = 400


def parts_of(events, count):
    code = np.zeros(len(events), np.int64)
    return [
        FeedbackRows(events[place::count].lazy(), code[place::count], code[place::count]) for place in range(count)
    ][::-1]


@pytest.fixture(params=[1, 3, 17])
def parts(request):
    row = np.arange(ROWS)
    rare = np.where(row % 20 == 0, 1 + row // 20 % 5, 0)
    events = pl.DataFrame(
        {
            "click": row % 3 == 0,
            "again": (row % 3 == 0) * 7.0,
            "always": np.ones(ROWS),
            "survey": rare.astype(float),
            "many": np.where(row % 10 == 0, row, 0).astype(float),
            "two": np.where(row % 20 == 0, 1 + row // 20 % 2, 0).astype(float),
            "scale": np.where(row % 20 == 0, np.where(row // 20 % 4, 3, 1), 0).astype(float),
        }
    )
    return parts_of(events, request.param)


def test_a_gate_opens_some_exposures_and_not_those_of_another(parts):
    names = ("always", "again", "click", "survey")
    opened = fold(Openings(names), parts)
    assert list(opened.gates(["click"])) == ["click", "survey"]
    assert list(opened.gates([])) == ["again", "survey"]
    assert opened.rows == ROWS


def test_rare_answers_are_few_and_on_a_scale_of_a_few_values(parts):
    names = ("click", "survey", "many", "two")
    assert fold(RareAnswers(names, None), parts) == ["survey"]
    assert fold(RareAnswers(("survey",), "survey"), parts) == []  # behind itself all answer


def test_the_lowest_answer_of_a_count_is_the_commonest(parts):
    assert fold(Scale("scale"), parts)
    assert not fold(Scale("many"), parts)
    assert not fold(Scale("always"), parts)


def test_flags_are_only_ever_0_or_1(parts):
    assert fold(Flags(("click", "again", "always", "two")), parts) == {"click", "always"}
