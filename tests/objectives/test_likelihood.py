import math

import pytest
import torch
from torch.distributions import Bernoulli

from reward.days import trace_bits
from reward.objectives.likelihood import trace_likelihood


def word(*days):
    return torch.tensor(sum(1 << (day - 1) for day in days))


def test_bits_are_the_days_from_the_lowest_up():
    assert trace_bits(word(1, 3), 4).tolist() == [True, False, True, False]
    assert trace_bits(torch.tensor([[0], [3]]), 2).tolist() == [[[False, False]], [[True, True]]]


def test_all_63_days_are_told_apart():
    assert trace_bits(torch.tensor(2**63 - 1), 63).all()
    assert trace_bits(word(63), 63).nonzero().flatten().tolist() == [62]
    assert trace_bits(torch.tensor(2**62 - 1), 63).tolist() == [True] * 62 + [False]


def test_a_value_by_hand():
    chance = torch.tensor([[0.9, 0.2, 0.5], [0.5, 0.5, 0.5]])
    losses = trace_likelihood(chance.logit(), word(1, 3), word(1, 2, 3))
    assert losses.tolist() == pytest.approx([-math.log(0.9 * 0.8 * 0.5), 3 * math.log(2)])
    # the third day is not observed
    losses = trace_likelihood(chance.logit(), word(1), word(1, 2))
    assert losses.tolist() == pytest.approx([-math.log(0.9 * 0.8), 2 * math.log(2)])


@pytest.mark.parametrize("days", [1, 7, 63])
def test_the_likelihood_is_that_of_independent_days(days):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(20, 2, days, generator=generator, dtype=torch.float64)
    trace, observed = (torch.randint(0, 2**63 - 1, (20,), generator=generator) >> (63 - days) for _ in range(2))
    bits = torch.tensor([[value >> day & 1 for day in range(days)] for value in trace.tolist()]).unsqueeze(1)
    seen = torch.tensor([[value >> day & 1 for day in range(days)] for value in observed.tolist()]).unsqueeze(1)
    expected = -(Bernoulli(logits=logits).log_prob(bits.double().expand_as(logits)) * seen).sum(-1)
    torch.testing.assert_close(trace_likelihood(logits, trace, observed), expected)


def test_the_gradient_is_what_was_expected_less_what_came():
    logits = torch.tensor([[0.3, -1.0, 2.0]], requires_grad=True)
    trace_likelihood(logits, word(2), word(1, 2)).sum().backward()
    chance = logits.detach().sigmoid()[0]
    assert logits.grad[0].tolist() == pytest.approx([chance[0].item(), chance[1].item() - 1, 0])


def test_a_shape_that_does_not_fit_is_refused_with_all_three():
    with pytest.raises(ValueError, match=r"expected .* \(2,\) for .* \(2, 1, 3\), got \(2,\) and \(3,\)"):
        trace_likelihood(torch.zeros(2, 1, 3), torch.zeros(2).long(), torch.zeros(3).long())
