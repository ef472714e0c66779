from types import SimpleNamespace

import pytest

from reward.outcomes.activity import ActivityTrace
from reward.outcomes.habit import TakenUp
from reward.outcomes.returns import ReturnTime
from reward.task import Task, reward_first, task_of_before, weight_of_today


def test_the_rewards_task_is_first_whatever_the_order():
    parts = {"survey": 1, "active_days": 2, "return_time": 3}
    assert list(reward_first(parts, "active_days").items()) == [("active_days", 2), ("survey", 1), ("return_time", 3)]
    assert list(parts) == ["survey", "active_days", "return_time"]


@pytest.mark.parametrize("names", [[], ["survey"], ["survey", "return_time"]])
def test_rewards_are_measured_in_a_task_that_there_is(names):
    with pytest.raises(ValueError, match=r"reward expected the name of a task, of \[.*\], got 'active_days': name one"):
        reward_first(dict.fromkeys(names), "active_days")


@pytest.mark.parametrize("name", ["", "a.b", "keys", "training", "forward", "_modules", "__class__"])
def test_a_name_that_no_module_can_have_is_refused(name):
    with pytest.raises(ValueError, match=f"names of tasks expected text without a dot .* got '{name}': give the task"):
        reward_first({name: 1, "active_days": 2}, "active_days")


@pytest.mark.parametrize(
    ("outcome", "sequential"),
    [
        (ActivityTrace(7), True),
        (ActivityTrace(7, scope="item"), False),
        (ReturnTime(7), True),
        (TakenUp("click"), False),
        (SimpleNamespace(states=("before", "exposed", "after")), True),
    ],
)
def test_the_next_state_waits_for_what_the_user_does_and_not_for_one_item(outcome, sequential):
    task = Task(outcome, head=None, objective=None)
    assert task.sequential == sequential
    assert task.states == tuple(outcome.states)


@pytest.mark.parametrize(
    ("before", "today"),
    [
        ("head.ensemble.bias", "heads.days.ensemble.bias"),
        ("also.back.scale", "heads.back.scale"),
        ("heads.back.scale", "heads.back.scale"),
        ("encoder.head.weight", "encoder.head.weight"),
        ("header", "header"),
    ],
)
def test_weights_of_before_are_found_by_their_names(before, today):
    assert weight_of_today(before, "days") == today


@pytest.mark.parametrize(
    ("outcome", "others", "name"),
    [
        ("reward.outcomes.activity.ActivityTrace", [], "active_days"),
        ("ReturnTime", ["survey"], "return_time"),
        ("mine.Renewed", [], "renewed"),
        ("ReturnTime", ["return_time", "return_time_"], "return_time__"),
        ("mine.Half", [], "half_"),
        ("", [], "_"),
    ],
)
def test_a_task_of_before_is_called_by_its_outcome_and_like_no_other(outcome, others, name):
    assert task_of_before(outcome, others) == name
