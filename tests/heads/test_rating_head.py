import pytest
import torch

from reward.heads.rating import RatingHead


@pytest.fixture
def head():
    torch.manual_seed(0)
    return RatingHead(width=8, hidden=4, levels=[1, 3, 4], members=2)


def test_the_value_is_the_mean_answer(head):
    state = torch.randn(8)
    above = head(state)["rating_logits"].sigmoid()
    mass = torch.stack([1 - above[:, 0], above[:, 0] - above[:, 1], above[:, 1]], -1)
    torch.testing.assert_close(head.value(state), mass @ torch.tensor([1.0, 3.0, 4.0]))
    outcome, found = head.distribution(state)
    assert outcome.tolist() == [1, 3, 4]
    torch.testing.assert_close(found, mass.mean(0))


def test_the_share_of_answers_is_that_of_training(head):
    head.begin({"rating": torch.tensor([0, 0, -1, 2, 1, -1])})
    assert (head(torch.randn(5, 8))["response_rate"] == 0.5).all()


def test_calibration_makes_the_levels_as_frequent_as_they_were(head):
    generator = torch.Generator().manual_seed(0)
    rating = torch.multinomial(torch.tensor([0.5, 0.2, 0.2, 0.1]), 50_000, True, generator=generator)
    head.calibrate({"rating_logits": torch.zeros(50_000, 2, 2)}, {"rating": rating}, prior_events=1.0)
    assert head.offset.sigmoid().tolist() == pytest.approx([0.3 / 0.5, 0.1 / 0.5], abs=0.01)


def test_levels_that_calibration_crossed_still_have_probabilities_that_sum_to_1(head):
    head.offset.copy_(torch.tensor([-2.0, 3.0]))
    state = torch.randn(5, 8)
    mass = head.mass(state)
    assert (mass >= 0).all()
    torch.testing.assert_close(mass.sum(-1), torch.ones(5, 2))
    torch.testing.assert_close(mass[..., 1], torch.zeros(5, 2))
    assert (head.value(state) <= 4).all()
