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
