import doctest
import inspect

import pytest
import torch

from reward.objectives.likelihood import trace_bits

MEMBERS, DAYS = 3, 7


def inputs(objective, rows=(4, 5), days=DAYS):
    """What an objective reads, by name: add a line for a new one."""
    generator = torch.Generator().manual_seed(0)
    observed = (1 << torch.randint(0, days + 1, rows, generator=generator)) - 1
    known = {
        "trace_logits": torch.randn(*rows, MEMBERS, days, generator=generator),
        "trace": torch.randint(0, 1 << days, rows, generator=generator) & observed,
        "observed": observed,
    }
    names = [name for name, each in inspect.signature(objective).parameters.items() if each.default is each.empty]
    assert set(names) <= set(known), f"{objective.__name__} needs an input for {set(names) - set(known)}"
    return {name: known[name] for name in names}


@pytest.mark.parametrize("rows", [(), (6,), (4, 5), (2, 1, 3)])
def test_an_objective_gives_one_number_for_each_row_and_member(objective, rows):
    losses = objective(**inputs(objective, rows))
    assert losses.shape == (*rows, MEMBERS)
    assert torch.isfinite(losses).all()


def test_a_row_and_a_member_are_on_their_own(objective):
    named = inputs(objective, (6,))
    losses = objective(**named)
    for row in range(6):
        torch.testing.assert_close(objective(**{name: each[row] for name, each in named.items()}), losses[row])
    one = {name: each[:, [1]] if name.endswith("logits") else each for name, each in named.items()}
    torch.testing.assert_close(objective(**one), losses[:, [1]])


def test_what_stands_on_unobserved_days_does_not_matter(objective):
    named = inputs(objective)
    losses = objective(**named)
    hidden = ~trace_bits(named["observed"], DAYS)
    noise = torch.randint(0, 1 << 62, named["trace"].shape, generator=torch.Generator().manual_seed(1))
    odd = {
        "trace": named["trace"] | noise & ~named["observed"],
        "trace_logits": named["trace_logits"].masked_fill(hidden.unsqueeze(-2), 1e6),
    }
    for name in odd.keys() & named.keys():
        torch.testing.assert_close(objective(**{**named, name: odd[name]}), losses)


def test_bits_beyond_the_horizon_do_not_matter(objective):
    named = inputs(objective)
    beyond = 5 << DAYS
    odd = {**named, "observed": named["observed"] | beyond, "trace": named["trace"] | beyond}
    assert torch.equal(objective(**odd), objective(**named))


def test_a_row_without_an_observed_day_gives_0_and_a_zero_gradient(objective):
    named = inputs(objective)
    named["observed"] = torch.zeros_like(named["observed"])
    for size in (1.0, 1e4):
        logits = (named["trace_logits"] * size).requires_grad_()
        losses = objective(**{**named, "trace_logits": logits})
        assert not losses.any()
        losses.sum().backward()
        assert not logits.grad.any()


def test_gradients_are_finite_and_reach_every_observed_day(objective):
    named = inputs(objective)
    for size in (1.0, 1e4):
        logits = (named["trace_logits"] * size).requires_grad_()
        objective(**{**named, "trace_logits": logits}).sum().backward()
        assert torch.isfinite(logits.grad).all()
        if size == 1.0:
            seen = trace_bits(named["observed"], DAYS).unsqueeze(-2).expand_as(logits)
            assert torch.equal(logits.grad != 0, seen)


def test_the_truth_costs_less_than_its_opposite(objective):
    named = inputs(objective)
    sure = 20.0 * (2.0 * trace_bits(named["trace"], DAYS) - 1).unsqueeze(-2).expand_as(named["trace_logits"])
    seen = named["observed"] > 0
    right, wrong = objective(**{**named, "trace_logits": sure}), objective(**{**named, "trace_logits": -sure})
    assert (right[seen] < 1e-6).all()
    assert (wrong[seen] > 10).all()


@pytest.mark.parametrize("name", ["trace", "observed"])
def test_targets_of_another_shape_are_refused(objective, name):
    named = inputs(objective)
    with pytest.raises(ValueError, match=r"expected .* of shape \(4, 5\) .* got .*\(4, 1\)"):
        objective(**{**named, name: named[name][:, :1]})


def test_every_objective_has_an_example_that_is_true(objective):
    module = inspect.getmodule(objective)
    finder = doctest.DocTestFinder(recurse=False)
    (example,) = finder.find(objective, objective.__name__, module, vars(module))
    assert example.examples
    assert doctest.DocTestRunner().run(example).failed == 0
