from itertools import product

import pytest
import torch
from torch.nn import functional as F

from reward.heads.trace import TraceHead

DAYS = 3


def words(days):
    return (days.long() << torch.arange(days.shape[-1])).sum(-1)


def calibrate(head, logits, trace, observed, *, prior_events):
    targets = {"trace": words(trace), "observed": words(observed)}
    head.calibrate({"trace_logits": logits}, targets, prior_events=prior_events)


def fresh():
    torch.manual_seed(0)
    return TraceHead(width=8, hidden=4, horizon_days=DAYS, members=2)


@pytest.fixture
def head():
    return fresh()


def outcomes(probability, seed=0):
    return torch.rand(probability.shape, generator=torch.Generator().manual_seed(seed)) < probability


def logits_of(rows, members=1):
    return torch.randn(rows, members, DAYS, generator=torch.Generator().manual_seed(1))


def log_loss(logits, scale, offset, trace, observed):
    probability = (scale * logits + offset).sigmoid().mean(-2)
    losses = F.binary_cross_entropy(probability, trace.float(), reduction="none")
    return losses[observed].sum().item()


def test_the_value_is_the_expected_number_of_active_days_over_all_traces(head):
    state = torch.randn(8)
    chance = head(state)["trace_logits"].sigmoid()
    expected = torch.zeros(2)
    for trace in product((0, 1), repeat=DAYS):
        active = torch.tensor(trace)
        expected += torch.where(active == 1, chance, 1 - chance).prod(-1) * active.sum()
    torch.testing.assert_close(head.value(state), expected)


def test_probabilities_are_the_mean_of_the_members(head):
    states = torch.randn(5, 8)
    logits = head(states)["trace_logits"]
    torch.testing.assert_close(head.probabilities(states), (logits[:, 0].sigmoid() + logits[:, 1].sigmoid()) / 2)
    torch.testing.assert_close(head.probabilities(states).sum(-1), head.value(states).mean(-1))


def test_a_calibrated_head_scales_and_moves_its_logits_day_by_day(head):
    state = torch.randn(8)
    raw = head(state)["trace_logits"]
    head.scale.fill_(2.0)
    head.offset.copy_(torch.tensor([0.0, 1.0, -1.0]))
    torch.testing.assert_close(head(state)["trace_logits"], 2 * raw + torch.tensor([0.0, 1.0, -1.0]))


def test_calibration_is_in_the_state_and_no_parameter(head):
    assert {"scale", "offset"} <= head.state_dict().keys()
    assert not {"scale", "offset"} & dict(head.named_parameters()).keys()


def test_calibration_recovers_a_known_scale_and_offset(head):
    logits = logits_of(40_000)
    scale, offset = 0.5, torch.tensor([-1.0, 0.0, 2.0])
    trace = outcomes((scale * logits + offset).sigmoid().mean(-2))
    calibrate(head, logits, trace, torch.ones_like(trace), prior_events=1.0)
    assert head.scale.item() == pytest.approx(scale, abs=0.02)
    assert head.offset.tolist() == pytest.approx(offset.tolist(), abs=0.06)


def test_calibration_of_an_ensemble_is_of_the_members_mean(head):
    logits = 3 * logits_of(40_000, members=4)
    scale, offset = 0.6, torch.tensor([0.5, -0.5, 0.0])
    trace = outcomes((scale * logits + offset).sigmoid().mean(-2))
    calibrate(head, logits, trace, torch.ones_like(trace), prior_events=1.0)
    assert head.scale.item() == pytest.approx(scale, abs=0.03)
    assert head.offset.tolist() == pytest.approx(offset.tolist(), abs=0.08)


def test_calibration_lowers_the_log_loss_of_over_confident_logits_and_holds_on_other_rows(head):
    truth = logits_of(6_000, members=2)
    trace = outcomes(truth.sigmoid().mean(-2))
    logits = 4 * truth + 1.5
    seen = torch.ones_like(trace)
    calibrate(head, logits[:3_000], trace[:3_000], seen[:3_000], prior_events=1.0)
    for rows in (slice(0, 3_000), slice(3_000, None)):
        before = log_loss(logits[rows], 1.0, torch.zeros(DAYS), trace[rows], seen[rows])
        after = log_loss(logits[rows], head.scale, head.offset, trace[rows], seen[rows])
        assert after < 0.8 * before


def test_calibration_of_one_number_solves_its_equation(head):
    # all logits 0: the scale is idle, and n (sigmoid(offset) - mean) + prior * offset = 0 for each day
    trace = torch.zeros(10, DAYS, dtype=torch.bool)
    trace[:8, 0] = trace[:5, 1] = True
    calibrate(head, torch.zeros(10, 2, DAYS), trace, torch.ones_like(trace), prior_events=2.0)
    residual = 10 * (head.offset.sigmoid() - trace.float().mean(0)) + 2.0 * head.offset
    assert residual.tolist() == pytest.approx([0, 0, 0], abs=1e-3)
    assert head.scale.item() == pytest.approx(1)


def test_a_huge_prior_leaves_the_logits_as_they_are(head):
    logits = logits_of(200)
    calibrate(head, logits, outcomes(torch.full((200, DAYS), 0.9)), torch.ones(200, DAYS).bool(), prior_events=1e9)
    assert head.scale.item() == pytest.approx(1, abs=1e-5)
    assert head.offset.tolist() == pytest.approx([0, 0, 0], abs=1e-5)


def test_days_that_nobody_observed_keep_offset_0(head):
    logits = logits_of(500)
    seen = torch.ones(500, DAYS, dtype=torch.bool)
    seen[:, 2] = False
    calibrate(head, logits, outcomes(torch.full((500, DAYS), 0.9)), seen, prior_events=1.0)
    assert head.offset[2] == 0
    assert (head.offset[:2] > 1).all()


def test_what_stands_on_unobserved_days_does_not_calibrate():
    logits, trace = logits_of(500), outcomes(torch.full((500, DAYS), 0.7))
    seen = outcomes(torch.full((500, DAYS), 0.5), seed=2)
    fits = []
    for garbage in (trace, ~trace):
        head = fresh()
        calibrate(head, logits, torch.where(seen, trace, garbage), seen, prior_events=1.0)
        fits.append((head.scale.item(), *head.offset.tolist()))
    assert fits[0] == fits[1]


def test_calibrating_a_calibrated_head_starts_afresh(head):
    raw, trace = logits_of(500, members=2), outcomes(torch.full((500, DAYS), 0.7))
    fits = []
    for _ in range(2):
        calibrate(head, head.scale * raw + head.offset, trace, torch.ones_like(trace), prior_events=20.0)
        fits.append((head.scale.item(), *head.offset.tolist()))
    assert fits[1] == pytest.approx(fits[0], rel=1e-4)


def test_extreme_logits_calibrate_to_finite_numbers(head):
    logits = 200 * logits_of(300).sign()
    trace = outcomes(torch.full((300, DAYS), 0.5))
    calibrate(head, logits, trace, torch.ones_like(trace), prior_events=10.0)
    assert torch.isfinite(head.scale)
    assert torch.isfinite(head.offset).all()
    assert log_loss(logits, head.scale, head.offset, trace, torch.ones_like(trace)) < 1.2 * 300 * DAYS * 0.7


def test_calibration_touches_no_weight_and_leaves_no_gradient(head):
    before = {name: parameter.clone() for name, parameter in head.named_parameters()}
    trace = outcomes(torch.full((50, DAYS), 0.7))
    calibrate(head, logits_of(50), trace, torch.ones_like(trace), prior_events=1.0)
    for name, parameter in head.named_parameters():
        assert torch.equal(parameter, before[name])
        assert parameter.grad is None
    assert not head.scale.requires_grad
    assert not head.offset.requires_grad


def test_outcomes_of_another_shape_than_the_logits_are_refused(head):
    with pytest.raises(ValueError, match=r"\(rows, M, H\) .* got \(5, 1, 3\), \(4, 3\), \(4, 3\)"):
        calibrate(head, logits_of(5), torch.ones(4, DAYS).bool(), torch.ones(4, DAYS).bool(), prior_events=1.0)
