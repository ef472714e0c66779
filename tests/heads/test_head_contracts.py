import inspect

import pytest
import torch


@pytest.fixture
def head(head_class, build):
    return build(head_class)


@pytest.fixture
def targets_of(small_arguments):
    """Rows of every target there is, of the small horizon and levels."""

    def draw(rows):
        generator = torch.Generator().manual_seed(1)
        days = 5
        observed = (1 << torch.randint(1, days + 1, (rows,), generator=generator)) - 1
        return {
            "trace": torch.randint(0, 1 << days, (rows,), generator=generator) & observed,
            "observed": observed,
            "time_days": torch.randint(1, days + 1, (rows,), generator=generator),
            "event": torch.randint(0, 2, (rows,), generator=generator),
            "cause": torch.randint(0, 3, (rows,), generator=generator),
            "entry_days": torch.zeros(rows, dtype=torch.int64),
            "amount": torch.rand(rows, days, generator=generator) * (torch.rand(rows, days, generator=generator) < 0.5),
            "rating": torch.randint(0, 4, (rows,), generator=generator),
        }

    return draw


@pytest.fixture
def states():
    return torch.randn(2, 6, 8, generator=torch.Generator().manual_seed(0))


def test_a_head_gives_the_outputs_it_names_for_each_member(head, states):
    found = head(states)
    assert tuple(found) == head.outputs
    assert all(output.shape[:3] == (2, 6, head.members) for output in found.values())


def test_what_is_expected_has_the_same_parts_for_every_state(head, states):
    found = head.expected(states)
    assert found.shape[:2] == (2, 6)
    assert torch.isfinite(found).all()
    torch.testing.assert_close(head.expected(states[0, 2]), found[0, 2])


def test_a_distribution_is_of_rising_outcomes_and_sums_to_1_for_each_state(head, states):
    outcome, probability = head.distribution(states)
    assert probability.shape == (2, 6, len(outcome))
    assert (outcome.diff() > 0).all()
    torch.testing.assert_close(probability.sum(-1), torch.ones(2, 6))
    assert (probability >= 0).all()


def test_calibration_is_fitted_by_the_names_of_outputs_and_targets(head, states, targets_of):
    before = head.value(states)
    outputs = {name: output.flatten(0, 1) for name, output in head(states).items()}
    head.calibrate(outputs, targets_of(12), prior_events=1.0)
    moved = head.value(states)
    assert torch.isfinite(moved).all()
    assert (moved != before).any()
    outputs = {name: output.flatten(0, 1) for name, output in head(states).items()}
    head.calibrate(outputs, targets_of(12), prior_events=1e9)  # from the start, and to no correction
    torch.testing.assert_close(head.scale, torch.ones(()))


def test_a_value_is_one_number_for_each_state_and_member(head, states):
    values = head.value(states)
    assert values.shape == (2, 6, head.members)
    assert torch.isfinite(values).all()
    torch.testing.assert_close(head.value(states[1, 4]), values[1, 4])


def test_probabilities_are_one_for_each_state_and_day(head, states):
    if not hasattr(head, "probabilities"):
        pytest.skip("no outcome of single days")
    found = head.probabilities(states)
    assert found.shape == (2, 6, head.horizon_days)
    assert (found > 0).all()
    assert (found < 1).all()


def test_what_silence_says_of_the_days_after_it_are_chances_and_no_silence_says_nothing(head, states):
    if not hasattr(head, "probabilities"):
        pytest.skip("no outcome of single days")
    chance = head.probabilities(states)
    days = torch.arange(12).view(2, 6) % (head.horizon_days + 1)
    told = head.after_silence(chance, days)
    assert told.shape == chance.shape
    after = torch.arange(head.horizon_days) >= days.unsqueeze(-1)
    assert ((told >= 0) & (told <= 1))[after].all()
    torch.testing.assert_close(told[days == 0], chance[days == 0])


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
