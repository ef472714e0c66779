import inspect

import pytest
import torch


@pytest.fixture
def head(head_class, build):
    return build(head_class)


@pytest.fixture
def states():
    return torch.randn(2, 6, 8, generator=torch.Generator().manual_seed(0))


def test_a_head_gives_the_outputs_it_names_for_each_member(head, states):
    found = head(states)
    assert tuple(found) == head.outputs
    assert all(output.shape[:3] == (2, 6, head.members) for output in found.values())


def test_a_value_is_one_number_for_each_state_and_member(head, states):
    values = head.value(states)
    assert values.shape == (2, 6, head.members)
    assert torch.isfinite(values).all()
    torch.testing.assert_close(head.value(states[1, 4]), values[1, 4])


def test_probabilities_are_one_for_each_state_and_day(head, states):
    found = head.probabilities(states)
    assert found.shape == (2, 6, head.horizon_days)
    assert (found > 0).all()
    assert (found < 1).all()


def test_members_disagree_before_training(head, states):
    assert (head.value(states).std(-1) > 1e-3).all()


def test_a_head_keeps_its_arguments_as_attributes_so_that_it_can_be_built_again(head, states):
    names = inspect.signature(type(head)).parameters
    again = type(head)(**{name: getattr(head, name) for name in names})
    again.load_state_dict(head.state_dict())
    assert torch.equal(again.value(states), head.value(states))


def test_every_parameter_gets_a_finite_gradient(head, states):
    sum(output.square().sum() for output in head(states).values()).backward()
    for name, parameter in head.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.any(), name
