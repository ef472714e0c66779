import torch
from torch.distributions import Bernoulli, Normal

from reward.objectives.consumption import consumption_likelihood


def test_the_likelihood_is_that_of_a_coin_and_of_a_normal_log_amount():
    generator = torch.Generator().manual_seed(0)
    shape = (20, 2, 4)
    logits, mean = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    std = torch.rand(shape, generator=generator, dtype=torch.float64) + 0.2
    active, size = (torch.rand(20, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    amount = size.exp() * (active < 0.5)
    some = (amount > 0).unsqueeze(1)
    log_amount = amount.clamp(min=1e-9).log().unsqueeze(1)
    expected = Bernoulli(logits=logits).log_prob(some.double().expand(shape))
    expected = expected + some * Normal(mean, std).log_prob(log_amount)
    found = consumption_likelihood(logits, mean, std, amount, torch.full((20,), 0b0111))
    torch.testing.assert_close(found, -expected[..., :3].sum(-1))


def test_gradients_are_finite_where_nothing_was_taken_in():
    parts = [torch.zeros(1, 1, 2, requires_grad=True) for _ in range(2)]
    std = torch.ones(1, 1, 2, requires_grad=True)
    consumption_likelihood(*parts, std, torch.zeros(1, 2), torch.tensor([3])).sum().backward()
    assert all(torch.isfinite(part.grad).all() for part in (*parts, std))
    assert not std.grad.any()
