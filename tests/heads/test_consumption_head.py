import math

import pytest
import torch

from reward.heads.consumption import ConsumptionHead

DAYS = 3


@pytest.fixture
def head():
    torch.manual_seed(0)
    return ConsumptionHead(width=8, hidden=4, horizon_days=DAYS, members=2)


def drawn(chance, mean, std, rows, seed=0):
    generator = torch.Generator().manual_seed(seed)
    some = torch.rand(rows, DAYS, generator=generator) < chance
    amount = some * (mean + std * torch.randn(rows, DAYS, generator=generator)).exp()
    return {"amount": amount, "observed": torch.full((rows,), 0b111)}


def test_the_value_is_the_mean_of_what_is_drawn(head):
    state = torch.randn(8)
    found = {name: each[0] for name, each in head(state).items()}
    targets = drawn(found["consumption_logits"].sigmoid(), found["log_mean"], found["log_std"], 400_000)
    assert head.value(state)[0].item() == pytest.approx(targets["amount"].sum(1).mean().item(), rel=0.02)


def test_the_distribution_has_nothing_at_0_as_often_as_no_day_has_any(head):
    state = torch.randn(8)
    outcome, mass = head.distribution(state)
    nothing = (1 - head(state)["consumption_logits"].sigmoid()).prod(-1).mean()
    assert outcome[0] == 0
    assert mass[0].item() == pytest.approx(nothing.item(), abs=0.03)
    assert (outcome @ mass).item() == pytest.approx(head.value(state).mean().item(), rel=0.15)


def test_amounts_begin_at_the_mean_log_of_those_seen(head):
    targets = drawn(torch.tensor(0.5), torch.tensor(9.0), torch.tensor(0.3), 2000)
    head.begin(targets)
    assert head.centre.tolist() == pytest.approx([9.0] * DAYS, abs=0.05)
    before = head.centre.clone()
    head.begin({"amount": torch.zeros(4, DAYS), "observed": torch.full((4,), 0b111)})
    assert torch.equal(head.centre, before)


def test_calibration_makes_amounts_add_up_day_by_day(head):
    outputs = {
        "consumption_logits": torch.zeros(50_000, 1, DAYS),
        "log_mean": torch.zeros(50_000, 1, DAYS),
        "log_std": torch.ones(50_000, 1, DAYS),
    }
    chance, mean = torch.tensor([0.2, 0.5, 0.8]), torch.tensor([1.0, 2.0, 0.0])
    targets = drawn(chance, mean, torch.tensor(1.0), 50_000)
    head.calibrate(outputs, targets, prior_events=1.0)
    assert head.offset.sigmoid().tolist() == pytest.approx(chance.tolist(), abs=0.01)
    assert head.centre.tolist() == pytest.approx(mean.tolist(), abs=0.05)


def test_a_states_distribution_is_its_own_whoever_else_is_asked(head):
    state = 5 * torch.randn(300, 8)
    outcome, mass = head.distribution(state)
    for place in (0, 250):
        alone, own = head.distribution(state[place])
        assert torch.equal(alone, outcome)
        torch.testing.assert_close(own, mass[place])
    assert head.distribution(state[:0])[1].shape == (0, len(outcome))
    assert head.distribution(state.reshape(3, 100, 8))[1].shape == (3, 100, len(outcome))


def test_a_distribution_reaches_from_the_least_day_to_beyond_the_largest_sum_of_training(head):
    head.begin({"amount": torch.tensor([[0.5, 0.0, 8.0], [3.0, 20.0, 20.0]]), "observed": torch.tensor([0b111, 0b011])})
    assert head.span.exp().tolist() == pytest.approx([0.5, 23 * math.e])
    outcome, mass = head.distribution(100 * torch.randn(4, 8))  # however far out
    assert 0.5 < outcome[1] < outcome[-1] < 23 * math.e
    torch.testing.assert_close(mass.sum(-1), torch.ones(4))
