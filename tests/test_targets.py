"""A part is a class of its role that ships with the project, or that a trusted module defines."""

import pytest

from reward.encoders.gru import GRU
from reward.outcomes.survey import SurveyRating
from reward.targets import ROLES, build, check_arguments, resolve, trusted

NOBODY = frozenset()
SPEC = {"_target_": "reward.encoders.gru.GRU", "width": 8, "layers": 1, "dropout": 0.0}


def test_every_encoder_head_and_outcome_is_found(encoder_class, head_class):
    for role, kind in (("encoder", encoder_class), ("head", head_class), ("outcome", SurveyRating)):
        assert resolve(f"{kind.__module__}.{kind.__qualname__}", role, NOBODY) is kind


def test_a_part_is_built_of_its_arguments():
    assert build(SPEC, "encoder", NOBODY, most=8).width == 8
    survey = {"_target_": "reward.outcomes.survey.SurveyRating", "question": "stars", "levels": [1, 2.5]}
    assert build(survey, "outcome", NOBODY, most=1).levels == [1, 2.5]


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("target", ["os.system", "reward.targets.locate", "rewards.heads.Head", "", ".", "reward"])
def test_what_is_in_no_room_of_its_role_is_refused_by_name(role, target):
    with pytest.raises(ValueError, match=f"it names '{target}' as its {role}, which is outside the modules of"):
        resolve(target, role, NOBODY)


@pytest.mark.parametrize("name", ["torch", "nn", "Memory", "GRU.read", "nothing", "annotations", "__builtins__"])
def test_what_a_module_of_the_room_does_not_define_as_such_a_class_is_refused(name):
    with pytest.raises(
        ValueError, match=r"expected a class that reward.encoders.gru defines|is outside the modules of"
    ):
        resolve(f"reward.encoders.gru.{name}", "encoder", NOBODY)


def test_a_target_is_text_and_a_part_a_table():
    with pytest.raises(ValueError, match="the head expected the full name of a class in _target_, got 3"):
        resolve(3, "head", NOBODY)
    with pytest.raises(ValueError, match=r"the head expected a target and its arguments, got \[\]"):
        build([], "head", NOBODY, most=1)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"width": 8, "layers": 1}, "takes dropout, layers, width; missing: dropout; unknown: nothing"),
        ({"width": 8, "layers": 1, "dropout": 0.0, "x": 1}, "missing: nothing; unknown: 'x'"),
        ({"width": "8", "layers": 1, "dropout": 0.0}, "width of its encoder GRU expected an integer, got '8'"),
        (
            {"width": 9, "layers": 1, "dropout": 0.0},
            "width of its encoder GRU is 9, and its tensors have no size beyond 8",
        ),
        ({"width": -1, "layers": 1, "dropout": 0.0}, "width of its encoder GRU is -1"),
    ],
)
def test_arguments_that_do_not_fit_are_named(given, message):
    with pytest.raises(ValueError, match=message):
        check_arguments(GRU, given, "encoder", 8)


def test_a_list_or_text_among_them_is_short():
    given = {"question": "a" * 1001, "levels": [1.0, 2.0]}
    with pytest.raises(ValueError, match="question of its outcome SurveyRating expected at most 1000 entries"):
        check_arguments(SurveyRating, given, "outcome", None)


def test_names_of_modules_are_taken_as_they_are():
    assert trusted(["mine.encoders", "yours"]) == {"mine.encoders", "yours"}
    assert trusted(()) == NOBODY
