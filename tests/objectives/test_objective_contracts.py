import doctest
import inspect

import pytest
import torch

from reward.days import event_on, trace_bits

MEMBERS, CAUSES, DAYS = 3, 2, 7


def inputs(objective, rows=(4, 5), days=DAYS):
    """What an objective reads, by name, its logits first: add a line for a new one."""
    generator = torch.Generator().manual_seed(0)
    observed = (1 << torch.randint(0, days + 1, rows, generator=generator)) - 1
    cause = torch.randint(0, CAUSES + 1, rows, generator=generator)
    known = {
        "trace_logits": torch.randn(*rows, MEMBERS, days, generator=generator),
        "trace": torch.randint(0, 1 << days, rows, generator=generator) & observed,
        "observed": observed,
        "hazard_logits": torch.randn(*rows, MEMBERS, days, generator=generator),
        "cause_logits": torch.randn(*rows, MEMBERS, CAUSES, days, generator=generator),
        "time_days": torch.randint(0, days + 1, rows, generator=generator),
        "event": cause > 0,
        "cause": cause,
        "consumption_logits": torch.randn(*rows, MEMBERS, days, generator=generator),
        "log_mean": torch.randn(*rows, MEMBERS, days, generator=generator),
        "log_std": torch.rand(*rows, MEMBERS, days, generator=generator) + 0.1,
        "amount": torch.rand(*rows, days, generator=generator) * (torch.rand(*rows, days, generator=generator) < 0.5),
        "rating_logits": -torch.rand(*rows, MEMBERS, 2, generator=generator).cumsum(-1),
        "response_logits": torch.randn(*rows, MEMBERS, generator=generator),
        "response_rate": torch.full((*rows, MEMBERS), 0.3),
        "rating": torch.randint(0, 4, rows, generator=generator),
        "target": torch.randint(0, 2, (*rows, 1, days), generator=generator).float(),
        "weight": torch.randint(0, 3, (*rows, 1, days), generator=generator) / 2,
    }
    names = [name for name, each in inspect.signature(objective).parameters.items() if each.default is each.empty]
    assert set(names) <= set(known), f"{objective.__name__} needs an input for {set(names) - set(known)}"
    return {name: known[name] for name in names}


def outputs_of(named):
    """The names of what a head gives."""
    return [name for name in named if name.endswith("_logits") or name.startswith(("log_", "response_"))]


def logits_of(named):
    return next(iter(named))


def over_days(mask, logits):
    """A mask (*rows, days) as one of the logits, which have more axes before the last."""
    return mask.view(*mask.shape[:-1], *[1] * (logits.ndim - mask.ndim), mask.shape[-1]).expand_as(logits)


def counted(named):
    """The days that count, as a mask of the logits."""
    logits = named[logits_of(named)]
    if "observed" in named:
        days = trace_bits(named["observed"], DAYS)
    elif "time_days" in named:
        days = torch.arange(1, DAYS + 1) <= named["time_days"].unsqueeze(-1)
    else:
        days = named["weight"].squeeze(-2) > 0
    return over_days(days, logits)


def truth(named):
    """What happened, as a mask of the logits."""
    logits = named[logits_of(named)]
    if "trace" in named:
        return over_days(trace_bits(named["trace"], DAYS), logits)
    if "target" in named:
        return over_days(named["target"].squeeze(-2) == 1, logits)
    what = named.get("event", named.get("cause"))
    came = over_days(event_on(named["time_days"], what, None, DAYS), logits)
    if "cause" not in named:
        return came
    return came & (torch.arange(1, CAUSES + 1)[:, None] == what[..., None, None, None])


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
    one = {name: each[:, [1]] if name in outputs_of(named) else each for name, each in named.items()}
    torch.testing.assert_close(objective(**one), losses[:, [1]])


def test_what_stands_on_days_that_do_not_count_does_not_matter(daily_objective):
    named = inputs(daily_objective)
    losses = daily_objective(**named)
    name, noise = logits_of(named), torch.randint(0, 1 << 62, (4, 5), generator=torch.Generator().manual_seed(1))
    odd = {**named, name: named[name].masked_fill(~counted(named), 1e6)}
    if "trace" in named:
        odd["trace"] = named["trace"] | noise & ~named["observed"]
    if "target" in named:
        odd["target"] = named["target"].masked_fill(named["weight"] == 0, 0.3)
    torch.testing.assert_close(daily_objective(**odd), losses)


def test_what_lies_beyond_the_horizon_does_not_matter(daily_objective):
    named = inputs(daily_objective)
    odd = {name: named[name] | 5 << DAYS for name in ("trace", "observed") if name in named}
    if "time_days" in named:
        named = {name: torch.zeros_like(each) if name in ("event", "cause") else each for name, each in named.items()}
        odd["time_days"] = named["time_days"].where(named["time_days"] < DAYS, DAYS + 5)
    assert torch.equal(daily_objective(**{**named, **odd}), daily_objective(**named))


def test_a_row_of_which_nothing_is_known_gives_0_and_a_zero_gradient(daily_objective):
    named = inputs(daily_objective)
    nothing = {name: torch.zeros_like(named[name]) for name in ("observed", "time_days", "weight") if name in named}
    for size in (1.0, 1e4):
        logits = (named[logits_of(named)] * size).requires_grad_()
        losses = daily_objective(**{**named, **nothing, logits_of(named): logits})
        assert not losses.any()
        losses.sum().backward()
        assert not logits.grad.any()


def test_gradients_are_finite_and_reach_every_day_that_counts(daily_objective):
    named = inputs(daily_objective)
    for size in (1.0, 1e4):
        logits = (named[logits_of(named)] * size).requires_grad_()
        daily_objective(**{**named, logits_of(named): logits}).sum().backward()
        assert torch.isfinite(logits.grad).all()
        if size == 1.0:
            assert torch.equal(logits.grad != 0, counted(named))


def test_the_truth_costs_less_than_its_opposite(daily_objective):
    named = inputs(daily_objective)
    sure = 20.0 * (2.0 * truth(named) - 1)
    seen = counted(named).flatten(2).any(-1)
    right, wrong = (daily_objective(**{**named, logits_of(named): sign * sure}) for sign in (1, -1))
    assert (right[seen] < 1e-6).all()
    assert (wrong[seen] > 9).all()


def test_targets_of_another_shape_are_refused(objective):
    named = inputs(objective)
    for name in set(named) - set(outputs_of(named)):
        with pytest.raises(ValueError, match=r"expected .* \(4, 5.* got .*\(4, 1"):
            objective(**{**named, name: named[name][:, :1]})


def test_every_objective_has_an_example_that_is_true(objective):
    module = inspect.getmodule(objective)
    finder = doctest.DocTestFinder(recurse=False)
    (example,) = finder.find(objective, objective.__name__, module, vars(module))
    assert example.examples
    assert doctest.DocTestRunner().run(example).failed == 0
