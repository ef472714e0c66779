import math

import numpy as np
import pytest
import torch

from reward.objectives.hazard import (
    at_risk,
    cause_likelihood,
    event_on,
    hazard_likelihood,
    log_incidence,
    log_survival,
    return_time,
)


def drawn(rows=200, days=6, members=2, causes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(rows, members, causes, days, generator=generator, dtype=torch.float64),
        torch.randint(0, days + 3, (rows,), generator=generator),
        torch.randint(0, causes + 1, (rows,), generator=generator),
        torch.randint(0, days, (rows,), generator=generator),
    )


def loop_over_days(logits, time, cause, entry):
    """The likelihood of one row as the product of its days; ``logits`` (causes, days)."""
    weights = np.exp(logits)
    likelihood = 1.0
    for day in range(entry + 1, min(time, logits.shape[1]) + 1):
        total = 1 + weights[:, day - 1].sum()
        likelihood *= (weights[cause - 1, day - 1] if cause and day == time else 1) / total
    return -math.log(likelihood)


def test_values_by_hand():
    hazards = torch.tensor([[0.5, 0.2, 0.1]]).logit()
    assert hazard_likelihood(hazards, torch.tensor(3), torch.tensor(True)).item() == pytest.approx(
        -math.log(0.5 * 0.8 * 0.1)
    )
    assert hazard_likelihood(hazards, torch.tensor(2), torch.tensor(False)).item() == pytest.approx(
        -math.log(0.5 * 0.8)
    )
    late = hazard_likelihood(hazards, torch.tensor(3), torch.tensor(True), entry_days=torch.tensor(1))
    assert late.item() == pytest.approx(-math.log(0.8 * 0.1))


def test_an_event_beyond_the_horizon_is_a_wait_that_outlasts_it():
    hazards = torch.tensor([[0.5, 0.2]]).logit()
    losses = [
        hazard_likelihood(hazards, torch.tensor(day), torch.tensor(came)) for day, came in ((9, True), (2, False))
    ]
    assert losses[0].item() == losses[1].item() == pytest.approx(-math.log(0.5 * 0.8))


def test_who_enters_after_the_event_tells_nothing():
    hazards = torch.tensor([[0.5, 0.2]]).logit()
    for entry in (1, 2):
        assert not hazard_likelihood(hazards, torch.tensor(1), torch.tensor(True), entry_days=torch.tensor(entry)).any()
        assert not cause_likelihood(
            hazards.unsqueeze(-2), torch.tensor(1), torch.tensor(1), entry_days=torch.tensor(entry)
        ).any()


def test_reasons_that_compete_are_the_product_over_the_days():
    logits, time, cause, entry = drawn()
    losses = cause_likelihood(logits, time, cause, entry_days=entry)
    for row, member in np.ndindex(*losses.shape):
        expected = loop_over_days(logits[row, member].numpy(), int(time[row]), int(cause[row]), int(entry[row]))
        assert losses[row, member].item() == pytest.approx(expected, abs=1e-12)


def test_one_reason_is_the_plain_hazard():
    logits, time, cause, entry = drawn(causes=1)
    torch.testing.assert_close(
        cause_likelihood(logits, time, cause, entry_days=entry),
        hazard_likelihood(logits.squeeze(-2), time, cause > 0, entry_days=entry),
        rtol=0,
        atol=0,
    )


def test_the_best_hazards_are_kaplan_meiers():
    _, time, cause, entry = drawn(rows=500)
    days = torch.arange(1, 7)
    risk = ((entry[:, None] < days) & (days <= time[:, None])).sum(0)
    events = ((days == time[:, None]) & (entry[:, None] < days) & (cause > 0)[:, None]).sum(0)
    logits = (events.double() / risk).logit().unsqueeze(0).requires_grad_()
    hazard_likelihood(logits.expand(500, 1, 6), time, cause > 0, entry_days=entry).sum().backward()
    torch.testing.assert_close(logits.grad, torch.zeros_like(logits), rtol=0, atol=1e-10)


def test_kaplan_meier_with_late_entry_is_that_of_lifelines():
    lifelines = pytest.importorskip("lifelines")
    _, time, cause, entry = drawn(rows=500)
    kept = entry < time
    time, cause, entry = time[kept], cause[kept], entry[kept]
    fitter = lifelines.KaplanMeierFitter().fit(time.numpy(), (cause > 0).numpy(), entry=entry.numpy())
    risk, came = (each.sum(0) for each in (at_risk(time, entry, 6), event_on(time, cause, entry, 6)))
    ours = log_survival((came.double() / risk).logit()).exp()
    expected = [fitter.survival_function_at_times(day).item() for day in range(1, 7)]
    assert ours.tolist() == pytest.approx(expected)


def test_survival_and_incidence_add_up_to_one():
    logits = drawn()[0][:, :, 0]
    survival, incidence = log_survival(logits).exp(), log_incidence(logits).exp()
    torch.testing.assert_close(incidence.cumsum(-1) + survival, torch.ones_like(survival))
    torch.testing.assert_close(survival, (1 - logits.sigmoid()).cumprod(-1))
    torch.testing.assert_close(incidence[..., 1], logits[..., 1].sigmoid() * survival[..., 0])


def test_the_likelihood_is_the_incidence_of_the_day_or_the_survival_to_it():
    logits = drawn()[0][:, :, 0]
    day = torch.full((len(logits),), 4)
    torch.testing.assert_close(hazard_likelihood(logits, day, day > 0), -log_incidence(logits)[..., 3])
    torch.testing.assert_close(hazard_likelihood(logits, day, day < 0), -log_survival(logits)[..., 3])


def test_incidence_by_reason_adds_up_to_the_incidence():
    logits = drawn()[0]
    total = log_incidence(logits.logsumexp(-2))
    each = total.unsqueeze(-2) + logits.log_softmax(-2)
    torch.testing.assert_close(each.exp().sum(-2), total.exp())
    first = torch.ones(len(logits), dtype=torch.long)
    torch.testing.assert_close(cause_likelihood(logits, first, 2 * first), -each[:, :, 1, 0])


@pytest.mark.parametrize("size", [-1e4, 1e4])
def test_hazards_that_round_to_0_or_1_stay_finite_in_logs(size):
    logits = torch.full((1, 3), size)
    assert torch.isfinite(log_survival(logits)).all()
    assert torch.isfinite(log_incidence(logits)).all()


def test_the_return_is_the_first_active_day_known_to_be_the_first():
    rows = [  # trace, observed, time, event
        (0b1010, 0b1111, 2, True),
        (0b0000, 0b0111, 3, False),
        (0b1000, 0b0111, 3, False),
        (0b1000, 0b1011, 2, False),  # the third day is not known: it may have been the first
        (0b0001, 0b0000, 0, False),
        (0b0000, 0b1111, 4, False),
    ]
    trace, observed, time, event = (torch.tensor(column) for column in zip(*rows, strict=True))
    got = return_time(trace, observed, 4)
    assert torch.equal(got[0], time)
    assert torch.equal(got[1], event)


def test_shapes_that_do_not_fit_are_refused():
    day, event = torch.zeros(4).long(), torch.zeros(4).bool()
    with pytest.raises(ValueError, match=r"expected time_days, event of shape \(4,\) .* got \(3,\) and \(4,\)"):
        hazard_likelihood(torch.zeros(4, 1, 2), day[:3], event)
    with pytest.raises(ValueError, match=r"time_days, cause, entry_days of shape \(4,\) .* \(4,\) and \(2,\)"):
        cause_likelihood(torch.zeros(4, 1, 3, 2), day, day, entry_days=day[:2])
