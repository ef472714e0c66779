import math

import pytest
import torch

from reward.objectives.rating import rating_likelihood


def test_levels_have_the_probability_between_their_thresholds():
    logits, response = torch.tensor([[[1.0, -0.5]]]).double(), torch.zeros(1, 1).double()
    above = logits.sigmoid().flatten().tolist()
    for rating, chance in ((1, 1 - above[0]), (2, above[0] - above[1]), (3, above[1])):
        found = rating_likelihood(logits, response, torch.full((1, 1), 0.5).double(), torch.tensor([rating]))
        assert found.item() == pytest.approx(math.log(2) - math.log(chance))


def test_who_does_not_answer_tells_only_that():
    found = rating_likelihood(torch.zeros(1, 1, 2), torch.tensor([[-1.0]]), torch.ones(1, 1), torch.tensor([0]))
    assert found.item() == pytest.approx(-math.log(torch.tensor(1.0).sigmoid()))


def test_rare_answers_weigh_more_and_no_more_than_the_clip():
    logits = torch.tensor([[[0.0, -100.0]]])
    for response, weight in ((0.0, 0.2 / 0.5), (-3.0, 0.2 / torch.tensor(-3.0).sigmoid().item()), (-9.0, 10.0)):
        chance = torch.tensor([[response]])
        found = rating_likelihood(logits, chance, torch.full((1, 1), 0.2), torch.tensor([2]))
        assert found.item() == pytest.approx(-math.log(chance.sigmoid().item()) + weight * math.log(2), rel=1e-4)


def test_the_weights_take_no_gradient():
    response = torch.zeros(1, 1, requires_grad=True)
    loss = rating_likelihood(torch.tensor([[[3.0, -100.0]]]), response, torch.full((1, 1), 0.2), torch.tensor([1]))
    loss.sum().backward()
    assert response.grad.item() == pytest.approx(-0.5)  # of the coin alone


def test_gradients_are_finite_far_out_and_where_levels_meet():
    for values in ([[300.0, -300.0]], [[0.0, 0.0]], [[-300.0, -301.0]]):
        for rating in (1, 2, 3):
            logits = torch.tensor([values]).requires_grad_()
            loss = rating_likelihood(logits, torch.zeros(1, 1), torch.ones(1, 1), torch.tensor([rating]))
            loss.sum().backward()
            assert torch.isfinite(loss).all()
            assert torch.isfinite(logits.grad).all()


def test_an_answer_far_from_the_score_costs_what_it_should_and_still_pulls():
    for rating, logits in ((1, [30.0, 29.0]), (2, [30.0, 29.0]), (2, [-29.0, -30.0]), (3, [-90.0, -91.0])):
        exact = torch.tensor([[logits]]).double()
        above = torch.cat([torch.ones(1), exact.flatten().sigmoid(), torch.zeros(1)])
        below = torch.cat([torch.zeros(1), (-exact).flatten().sigmoid(), torch.ones(1)])
        side = (below[1:] - below[:-1]) if logits[0] > 0 else (above[:-1] - above[1:])  # the one that keeps its digits
        chance = side[rating - 1]
        found = torch.tensor([[logits]]).requires_grad_()
        loss = rating_likelihood(found, torch.zeros(1, 1), torch.full((1, 1), 0.5), torch.tensor([rating]))
        assert loss.item() == pytest.approx(math.log(2) - math.log(chance), rel=1e-5)
        loss.sum().backward()
        assert found.grad.abs().max() > 0.5


def test_a_row_of_which_nothing_is_told_costs_nothing_and_pulls_nowhere():
    logits, response = torch.zeros(1, 1, 2).requires_grad_(), torch.zeros(1, 1).requires_grad_()
    loss = rating_likelihood(logits, response, torch.ones(1, 1), torch.tensor([-1])).sum()
    loss.backward()
    assert loss.item() == logits.grad.abs().sum() == response.grad.abs().sum() == 0
