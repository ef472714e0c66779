import pytest
import torch

from reward.heads.hazard import HazardHead

DAYS = 3


def fresh(causes=1):
    torch.manual_seed(0)
    return HazardHead(width=8, hidden=4, horizon_days=DAYS, causes=causes, members=2)


def waits(hazard, rows, seed=0):
    """Return days drawn from hazards of days, as targets."""
    came = torch.rand(rows, DAYS, generator=torch.Generator().manual_seed(seed)) < hazard
    event = came.any(1)
    time = torch.where(event, came.long().argmax(1) + 1, DAYS)
    return {"time_days": time, "event": event.long(), "cause": event.long(), "entry_days": torch.zeros_like(time)}


def test_the_value_is_the_expected_number_of_days_since_the_return():
    head, state = fresh(), torch.randn(8)
    hazard = head(state)["hazard_logits"].sigmoid()
    away = torch.cumprod(1 - hazard, -1)
    torch.testing.assert_close(head.value(state), (1 - away).sum(-1))
    torch.testing.assert_close(head.probabilities(state), (1 - away).mean(0))


def test_the_distribution_is_of_the_day_of_the_return():
    head, state = fresh(), torch.randn(8)
    hazard = head(state)["hazard_logits"].sigmoid()
    day, mass = head.distribution(state)
    assert day.tolist() == [1, 2, 3, 4]
    later = (1 - hazard).prod(-1).mean()
    expected = torch.stack([hazard[:, 0].mean(), ((1 - hazard[:, 0]) * hazard[:, 1]).mean()])
    torch.testing.assert_close(mass[:2], expected)
    torch.testing.assert_close(mass[3], later)


def test_reasons_share_the_hazard_out_and_calibration_leaves_the_shares():
    head, states = fresh(causes=2), torch.randn(400, 8)
    before = head(states)["cause_logits"]
    shares = before.softmax(-2)
    head.calibrate({"cause_logits": before}, waits(torch.tensor([0.6, 0.3, 0.1]), 400), prior_events=1.0)
    after = head(states)["cause_logits"]
    assert (after != before).any()
    torch.testing.assert_close(after.softmax(-2), shares, atol=1e-5, rtol=0)


def test_calibration_recovers_the_hazards_of_those_still_away():
    head, hazard = fresh(), torch.tensor([0.5, 0.2, 0.4])
    logits = torch.zeros(60_000, 2, DAYS)
    head.calibrate({"hazard_logits": logits}, waits(hazard, 60_000), prior_events=1.0)
    assert head.offset.sigmoid().tolist() == pytest.approx(hazard.tolist(), abs=0.01)


def test_days_before_the_entry_do_not_calibrate():
    head, targets = fresh(), waits(torch.tensor([0.5, 0.2, 0.4]), 60_000)
    targets["entry_days"] += 2
    head.calibrate({"hazard_logits": torch.zeros(60_000, 2, DAYS)}, targets, prior_events=1.0)
    assert head.offset[:2].tolist() == [0, 0]
    assert head.offset[2].sigmoid().item() == pytest.approx(0.4, abs=0.01)


def test_more_reasons_than_causes_are_refused():
    head = HazardHead(width=8, hidden=4, horizon_days=3, causes=2, members=1)
    head.begin({"cause": torch.tensor([0, 1, 2])})
    with pytest.raises(TypeError, match="one more than the outcome has reasons, 3 at the least, got 2"):
        head.begin({"cause": torch.tensor([0, 3])})


def test_after_silence_a_return_is_as_likely_as_among_those_still_away():
    head = fresh()
    state = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    hazard = head(state)["hazard_logits"][:, :1].sigmoid()
    back = 1 - (1 - hazard).cumprod(-1).mean(-2)
    told = head.after_silence(back, torch.ones(5, dtype=torch.long))
    torch.testing.assert_close(told[:, 1:], 1 - (1 - hazard[:, 0, 1:]).cumprod(-1))


def once(causes=1):
    torch.manual_seed(0)
    return HazardHead(width=8, hidden=4, horizon_days=DAYS, causes=causes, members=2, once=True)


def test_with_once_the_value_is_the_chance_of_the_event_and_its_parts_are_the_days_on_which_it_comes():
    head, state = once(), torch.randn(8)
    hazard = head(state)["hazard_logits"].sigmoid()
    torch.testing.assert_close(head.value(state), 1 - (1 - hazard).prod(-1))
    on_day_2 = ((1 - hazard[:, 0]) * hazard[:, 1]).mean()
    torch.testing.assert_close(head.probabilities(state)[1], on_day_2)
    torch.testing.assert_close(head.expected(state).sum(), head.value(state).mean())
    day, mass = head.distribution(state)
    torch.testing.assert_close(mass[:-1], head.probabilities(state))
    torch.testing.assert_close(day @ mass, torch.arange(1, DAYS + 2.0) @ mass)


def test_with_once_silence_leaves_the_chances_of_those_still_waiting():
    head, state = once(), torch.randn(8)
    chance = head.probabilities(state).double()
    left = head.after_silence(chance, torch.tensor(1))
    torch.testing.assert_close(left[1:], chance[1:] / (1 - chance[0]))
    torch.testing.assert_close(head.after_silence(chance, torch.tensor(0)), chance)


@pytest.mark.parametrize("causes", [1, 2])
def test_with_once_training_starts_at_the_hazards_of_its_rows(causes):
    head, hazard = once(causes), torch.tensor([0.02, 0.01, 0.04])
    head.begin(waits(hazard, 60_000))
    total = head.ensemble.bias.unflatten(-1, (causes, DAYS)).logsumexp(-2)
    assert total.sigmoid()[0].tolist() == pytest.approx(hazard.tolist(), abs=0.003)


def test_without_once_training_starts_at_even_hazards():
    head = fresh()
    head.begin(waits(torch.tensor([0.02, 0.01, 0.04]), 100))
    assert not head.ensemble.bias.any()
