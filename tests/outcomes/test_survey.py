from dataclasses import replace

import polars as pl
import pytest

from reward.data.event_log import SchemaError
from reward.outcomes.survey import SurveyRating


@pytest.fixture(scope="module")
def asked(log):
    """The log with every third exposure rated 1, 2 or 5."""
    place = pl.int_range(pl.len())
    rating = pl.when(place % 3 == 0).then((place // 3 % 3).replace_strict({0: 1.0, 1: 2.0, 2: 5.0})).otherwise(0.0)
    return replace(log, events=log.events.with_columns(survey=rating), feedback=(*log.feedback, "survey"))


def test_an_answer_is_its_place_among_the_levels_and_0_where_there_is_none(asked):
    found = SurveyRating("survey", [1, 2, 5]).label(asked, 10**6).collect()
    expected = found["survey"].replace_strict({0.0: 0, 1.0: 1, 2.0: 2, 5.0: 3})
    assert found["rating"].to_list() == expected.to_list()
    assert set(expected) == {0, 1, 2, 3}


def test_rows_known_before_are_not_told_again_and_are_not_rows_without_an_answer(asked):
    rating = SurveyRating("survey", [1, 2, 5])
    everything = rating.label(asked, 10**6).collect()
    middle = int(everything["day"].median())
    found = rating.label(asked, 10**6, since=middle).collect()
    assert (
        found["rating"].to_list()
        == everything.select(pl.when(pl.col("day") >= middle).then("rating").otherwise(-1)).to_series().to_list()
    )
    assert (rating.label(asked, middle).collect().filter(pl.col("day") >= middle)["rating"] == -1).all()
    assert (rating.parts(found).known.any(1) == (found["rating"] > 0).to_numpy()).all()


def test_it_is_asked_of_no_state_that_has_read_the_answer():
    assert SurveyRating("survey", [1, 2]).states == ("before", "exposed")


def test_an_answer_outside_the_levels_is_named(asked):
    with pytest.raises(SchemaError, match=r"expected 0 \(not asked\) or one of the levels \[1, 2\], found \[5.0\]"):
        SurveyRating("survey", [1, 2]).label(asked, 10**6)


def test_a_question_that_is_no_feedback_is_refused(log):
    with pytest.raises(SchemaError, match="question='survey' expected one of the feedback columns"):
        SurveyRating("survey", [1, 2]).label(log, 10**6)


@pytest.mark.parametrize("levels", [[1], [2, 1], [0, 1], [1, 1]])
def test_levels_that_do_not_rise_from_above_0_are_refused(levels):
    with pytest.raises(ValueError, match="at least two numbers above 0 in rising order"):
        SurveyRating("survey", levels)


def test_a_unit_names_the_question_and_its_range():
    assert SurveyRating("survey", [1, 2, 5]).unit == "survey answered, from 1 to 5"
