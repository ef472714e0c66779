import math

import pytest
import torch

from reward.days import trace_bits
from reward.objectives.consistency import (
    hazard_targets,
    lambda_return,
    soft_hazard_likelihood,
    soft_trace_likelihood,
    trace_targets,
)
from reward.objectives.hazard import hazard_likelihood
from reward.objectives.likelihood import trace_likelihood

HORIZON = 6
LAMBDAS = [0.0, 0.3, 0.9, 1.0]


def loop_over_states(own, bootstrap, gap, lam):
    """The recursion as it is written, from the last state back; own, bootstrap (L, H), gap (L,)."""
    length, horizon = own.shape
    result = own.clone()
    for state in reversed(range(length - 1)):
        for day in range(int(gap[state]) + 1, horizon + 1):
            place = day - int(gap[state]) - 1
            result[state, day - 1] = (1 - lam) * bootstrap[state + 1, place] + lam * result[state + 1, place]
    return result


def drawn(*rows, length=13, seed=0):
    generator = torch.Generator().manual_seed(seed)
    own, bootstrap = (torch.rand(*rows, length, HORIZON, generator=generator, dtype=torch.float64) for _ in range(2))
    return own, bootstrap, torch.randint(0, 4, (*rows, length), generator=generator)


def streams(windows=20, length=9, end=14, seed=0):
    """Traces of users seen on some days, several times a day, until the log's end; the last state has no successor."""
    generator = torch.Generator().manual_seed(seed)
    day = torch.randint(0, end, (windows, length), generator=generator).sort(-1).values
    gap = torch.cat([day.diff(dim=-1), torch.full((windows, 1), HORIZON)], -1)
    ahead = torch.arange(1, HORIZON + 1)
    active = (day.unsqueeze(-1).unsqueeze(-1) + ahead == day.unsqueeze(1).unsqueeze(-1)).any(2)
    known = (day.unsqueeze(-1) + ahead) < end
    power = 1 << (ahead - 1)
    return ((active & known) * power).sum(-1), (known * power).sum(-1), gap


def waits(windows=30, length=7, seed=0):
    """Waits for one end, seen from states on the way; some are censored after the last of them."""
    generator = torch.Generator().manual_seed(seed)
    gap = torch.randint(0, 3, (windows, length), generator=generator)
    after = torch.randint(1, 4, (windows, 1), generator=generator)
    time = after + gap[:, :-1].flip(-1).cumsum(-1).flip(-1)
    event = (torch.rand(windows, 1, generator=generator) < 0.5).expand(-1, length)
    gap[:, -1] = HORIZON
    return torch.cat([time, after], -1), event, gap


def logits_for(*rows, members=2, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*rows, members, HORIZON, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("lam", LAMBDAS)
def test_doubling_gives_what_the_loop_over_states_gives(lam):
    for length in (1, 2, 3, 8, 13):
        own, bootstrap, gap = drawn(4, length=length)
        result = lambda_return(own, bootstrap, gap, lam=lam)
        for row in range(4):
            expected = loop_over_states(own[row], bootstrap[row], gap[row], lam)
            torch.testing.assert_close(result[row], expected, rtol=0, atol=1e-12)


def test_lambda_0_is_one_step_of_bootstrapping():
    own, bootstrap, gap = drawn()
    result = lambda_return(own, bootstrap, gap, lam=0.0)
    for state in range(12):
        for day in range(1, HORIZON + 1):
            left = day - int(gap[state])
            expected = own[state, day - 1] if left < 1 else bootstrap[state + 1, left - 1]
            assert result[state, day - 1] == expected


def test_a_state_that_nothing_follows_keeps_what_it_knows_and_hides_what_lies_after():
    own, bootstrap, gap = drawn()
    gap[4] = HORIZON
    result = lambda_return(own, bootstrap, gap, lam=0.5)
    torch.testing.assert_close(result[[4, 12]], own[[4, 12]], rtol=0, atol=0)
    torch.testing.assert_close(result[:5], lambda_return(own[:5], bootstrap[:5], gap[:5], lam=0.5))


def test_a_gap_of_any_length_over_the_horizon_and_the_last_gap_say_the_same():
    own, bootstrap, gap = drawn()
    gap[4], odd = HORIZON, gap.clone()
    odd[4], odd[12] = 10_000, 0
    expected = lambda_return(own, bootstrap, gap, lam=0.5)
    assert torch.equal(lambda_return(own, bootstrap, odd, lam=0.5), expected)


def test_windows_stand_on_their_own_at_any_leading_shape():
    own, bootstrap, gap = drawn(2, 3)
    result = lambda_return(own, bootstrap, gap, lam=0.7)
    torch.testing.assert_close(result[1, 2], lambda_return(own[1, 2], bootstrap[1, 2], gap[1, 2], lam=0.7))
    shared = lambda_return(own[0], bootstrap, gap[0], lam=0.7)
    torch.testing.assert_close(shared[1], lambda_return(own[0], bootstrap[1], gap[0], lam=0.7))


def test_it_is_linear_in_the_prediction():
    own, bootstrap, gap = drawn()
    other = bootstrap.flip(0)
    mixed = lambda_return(own, 0.25 * bootstrap + 0.75 * other, gap, lam=0.6)
    parts = [lambda_return(own, each, gap, lam=0.6) for each in (bootstrap, other)]
    torch.testing.assert_close(mixed, 0.25 * parts[0] + 0.75 * parts[1])


def test_no_gradient_flows_into_a_target():
    own, bootstrap, gap = drawn()
    assert not lambda_return(own, bootstrap.requires_grad_(), gap, lam=0.5).requires_grad
    trace, observed, gap = streams()
    assert not any(
        each.requires_grad for each in trace_targets(trace, observed, logits_for(20, 9).requires_grad_(), gap, lam=0.5)
    )


@pytest.mark.parametrize("before", [False, True])
def test_lambda_1_is_the_likelihood_of_the_trace(before):
    trace, observed, gap = streams()
    logits, slow = logits_for(20, 9), logits_for(20, 9, seed=2)
    target, weight = trace_targets(trace, observed, slow, gap, lam=1.0, before=before)
    losses = soft_trace_likelihood(logits, target, weight)
    torch.testing.assert_close(losses, trace_likelihood(logits, trace, observed), rtol=0, atol=1e-6)


@pytest.mark.parametrize("before", [False, True])
def test_lambda_1_is_the_likelihood_of_the_hazard(before):
    time, event, gap = waits()
    logits, slow = logits_for(30, 7), logits_for(30, 7, seed=2)
    target, weight = hazard_targets(time, event, slow, gap, lam=1.0, before=before)
    losses = soft_hazard_likelihood(logits, target, weight)
    torch.testing.assert_close(losses, hazard_likelihood(logits, time, event), rtol=0, atol=1e-6)


@pytest.mark.parametrize("lam", LAMBDAS)
def test_targets_of_traces_are_the_loops_of_activity_and_of_knowledge(lam):
    trace, observed, gap = streams()
    slow = logits_for(20, 9)
    target, weight = trace_targets(trace, observed, slow, gap, lam=lam)
    assert target.shape == slow.shape
    assert weight.shape == (20, 9, 1, HORIZON)
    for window in range(20):
        known = trace_bits(observed[window], HORIZON).double()
        active = trace_bits(trace[window], HORIZON).double() * known
        expected_weight = loop_over_states(known, torch.ones_like(known), gap[window], lam)
        torch.testing.assert_close(weight[window, :, 0], expected_weight)
        for member in range(2):
            mass = loop_over_states(active, slow[window, :, member].sigmoid(), gap[window], lam)
            torch.testing.assert_close(target[window, :, member] * weight[window, :, 0], mass)


def test_the_days_up_to_the_next_state_are_what_was_seen():
    trace, observed, gap = streams()
    target, weight = trace_targets(trace, observed, logits_for(20, 9), gap, lam=0.0)
    sure = (torch.arange(1, HORIZON + 1) <= gap.unsqueeze(-1)).unsqueeze(-2)
    bits, known = (trace_bits(each, HORIZON).unsqueeze(-2) for each in (trace, observed))
    assert torch.equal(weight[sure], known[sure].double())
    seen = (sure & known).expand_as(target)
    assert torch.equal(target[seen], bits.expand_as(target)[seen].double())


def test_a_prediction_fills_unseen_days_at_less_than_full_weight():
    trace, observed = torch.tensor([0b1, 0b0]), torch.tensor([0b11, 0b01])  # the log ends after the second day
    slow = torch.full((2, 1, 3), 0.25).logit()
    target, weight = trace_targets(trace, observed, slow, torch.tensor([1, 3]), lam=0.5)
    torch.testing.assert_close(target[0, 0], torch.tensor([1.0, 0.125, 0.25]))
    torch.testing.assert_close(weight[0, 0], torch.tensor([1.0, 1.0, 0.5]))
    assert weight[1, 0].tolist() == [1, 0, 0]


def test_lambda_0_gives_tcsr():
    """Targets of Maystre & Russo for a step: survive it or not, then the next state's hazards and survival."""
    time, event, gap = torch.tensor([3, 2, 1]), torch.tensor([True] * 3), torch.tensor([1, 1, HORIZON])
    slow = logits_for(3, members=1)
    hazard = slow[:, 0].sigmoid()
    target, weight = hazard_targets(time, event, slow, gap, lam=0.0)
    for state in (0, 1):
        survival = (1 - hazard[state + 1]).cumprod(-1)
        assert target[state, 0, 0] == 0
        torch.testing.assert_close(target[state, 0, 1:], hazard[state + 1, :-1])
        assert weight[state, 0, :2].tolist() == [1, 1]
        torch.testing.assert_close(weight[state, 0, 2:], survival[:-2])
    assert target[2, 0, 0] == 1
    assert weight[2, 0].tolist() == [1] + [0] * (HORIZON - 1)


@pytest.mark.parametrize("lam", LAMBDAS)
def test_targets_of_hazards_are_the_loops_of_event_and_of_risk(lam):
    time, event, gap = waits()
    slow = logits_for(30, 7)
    target, weight = hazard_targets(time, event, slow, gap, lam=lam)
    days = torch.arange(1, HORIZON + 1)
    for window in range(30):
        came = ((days == time[window, :, None]) & event[window, :, None]).double()
        risk = (days <= time[window, :, None]).double()
        for member in range(2):
            hazard = slow[window, :, member].sigmoid()
            before = torch.cat([torch.ones(7, 1).double(), (1 - hazard).cumprod(-1)[:, :-1]], -1)
            expected = loop_over_states(risk, before, gap[window], lam)
            torch.testing.assert_close(weight[window, :, member], expected)
            mass = loop_over_states(came, hazard * before, gap[window], lam)
            torch.testing.assert_close(target[window, :, member] * expected, mass)


def test_nothing_is_learnt_from_a_state_after_the_end_of_the_wait():
    time, event = torch.tensor([2, 5]), torch.tensor([True, False])
    slow = logits_for(2, members=1)
    target, weight = hazard_targets(time, event, slow, torch.tensor([2, HORIZON]), lam=0.0)
    assert weight[0, 0].tolist() == [1, 1, 0, 0, 0, 0]
    assert target[0, 0].tolist() == [0, 1, 0, 0, 0, 0]
    # the same state, censored: the next one says what follows
    weight = hazard_targets(time, event & False, slow, torch.tensor([2, HORIZON]), lam=0.0)[1]
    assert (weight[0, 0] > 0).all()


def test_targets_of_consistent_predictions_are_the_predictions():
    """A Markov chain whose slow network knows the truth: nothing is left to learn at λ = 0."""
    hazard = torch.tensor(0.2).double().logit()
    slow = hazard.expand(5, 1, HORIZON)
    target, weight = hazard_targets(
        torch.full((5,), 9), torch.zeros(5), slow, torch.tensor([0, 0, 0, 0, HORIZON]), lam=0.0
    )
    torch.testing.assert_close(target[:4], slow[:4].sigmoid())
    assert weight[0, 0, 1].item() == pytest.approx(0.8)


@pytest.mark.parametrize("lam", [0.0, 0.4])
def test_a_slot_learns_from_the_state_that_its_feedback_made(lam):
    trace, observed, gap = streams()
    slow = logits_for(20, 9)
    target, weight = trace_targets(trace, observed, slow, gap, lam=lam)
    before, before_weight = trace_targets(trace, observed, slow, gap, lam=lam, before=True)
    torch.testing.assert_close(before_weight, 1 - lam + lam * weight)
    torch.testing.assert_close(before * before_weight, (1 - lam) * slow.sigmoid() + lam * target * weight)


def test_soft_targets_by_hand():
    target, weight = torch.tensor([[0.3, 0.9]]), torch.tensor([[1.0, 0.5]])
    expected = -(0.3 * math.log(0.8) + 0.7 * math.log(0.2)) - 0.5 * (0.9 * math.log(0.4) + 0.1 * math.log(0.6))
    for objective in (soft_trace_likelihood, soft_hazard_likelihood):
        assert objective(torch.tensor([[0.8, 0.4]]).logit(), target, weight).item() == pytest.approx(expected)


def test_soft_targets_are_best_met_by_themselves():
    target, weight = torch.rand(5, 2, 4, generator=torch.Generator().manual_seed(0)), torch.rand(5, 1, 4)
    logits = target.logit().requires_grad_()
    soft_trace_likelihood(logits, target, weight).sum().backward()
    torch.testing.assert_close(logits.grad, torch.zeros_like(logits), rtol=0, atol=1e-6)


def test_members_may_have_targets_of_their_own():
    logits, generator = logits_for(4), torch.Generator().manual_seed(0)
    target, weight = (torch.rand(4, 2, HORIZON, generator=generator).double() for _ in range(2))
    losses = soft_hazard_likelihood(logits, target, weight)
    for member in range(2):
        one = [each[:, [member]] for each in (logits, target, weight)]
        torch.testing.assert_close(losses[:, [member]], soft_hazard_likelihood(*one))


def test_what_does_not_fit_is_refused():
    own, bootstrap, gap = drawn()
    with pytest.raises(ValueError, match=r"lam expected from 0 .* to 1 .*, got 1.5"):
        lambda_return(own, bootstrap, gap, lam=1.5)
    with pytest.raises(ValueError, match=r"expected own and bootstrap .* got \(13, 6\), \(12, 6\) and \(13,\)"):
        lambda_return(own, bootstrap[1:], gap, lam=0.5)
    with pytest.raises(ValueError, match=r"expected own and bootstrap .* and \(12,\)"):
        lambda_return(own, bootstrap, gap[1:], lam=0.5)
    trace, observed, gap = streams()
    with pytest.raises(ValueError, match=r"expected labels and gap .* \(20, 9\), .* got \(20, 9\), \(20, 8\) and"):
        trace_targets(trace, observed[:, 1:], logits_for(20, 9), gap, lam=0.5)
    with pytest.raises(ValueError, match=r"expected labels and gap .* \(20, 9\) and \(20, 8\)"):
        hazard_targets(trace, observed, logits_for(20, 9), gap[:, 1:], lam=0.5)
    with pytest.raises(ValueError, match=r"or with 1 member, for trace_logits .* \(4, 3, 6\)"):
        soft_trace_likelihood(logits_for(4), torch.zeros(4, 3, 6), torch.zeros(4, 1, 6))
