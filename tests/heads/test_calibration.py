import pytest
import torch

from reward.heads.calibration import (
    FrailtyLoss,
    KnownDays,
    after_silence,
    chances,
    frailty,
    platt,
    platt_of,
)
from reward.heads.trace import TraceHead


def drawn(rows, members=1, days=2, seed=0):
    """Logits, and outcomes that a scale of 0.5 and offsets of 1 and -1 would predict."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(rows, members, days, generator=generator)
    chance = (0.5 * logits + torch.tensor([1.0, -1.0])[:days]).sigmoid().mean(-2)
    return logits, torch.rand(rows, days, generator=generator) < chance


def test_without_a_prior_an_offset_is_the_log_odds_of_its_day():
    trace = torch.tensor([[True, False], [True, False], [True, True], [False, False]])
    scale, offset = platt(torch.zeros(4, 1, 2), trace, torch.ones_like(trace), prior_events=0)
    assert scale.item() == 1
    torch.testing.assert_close(offset, torch.tensor([3.0, 1 / 3]).double().log(), atol=1e-5, rtol=0)


def test_the_fit_is_stationary():
    # d/d log scale = Σ (p - y) scale logit + prior log scale, d/d offset = Σ (p - y) + prior offset
    logits, trace = drawn(500)
    scale, offset = platt(logits, trace, torch.ones_like(trace), prior_events=20)
    error = (scale * logits[:, 0] + offset).sigmoid() - trace.double()
    assert ((error * scale * logits[:, 0]).sum() + 20 * scale.log()).item() == pytest.approx(0, abs=1e-2)
    torch.testing.assert_close(error.sum(0) + 20 * offset, torch.zeros(2).double(), atol=1e-2, rtol=0)


def test_a_prior_of_more_events_moves_the_logits_less():
    logits, trace = drawn(300)
    moves = []
    for prior_events in (0, 30, 300, 1e9):
        scale, offset = platt(logits, trace, torch.ones_like(trace), prior_events=prior_events)
        moves.append(scale.log().square().item() + offset.square().sum().item())
    assert moves == sorted(moves, reverse=True)
    assert moves[0] > 1
    assert moves[-1] < 1e-9


def test_what_is_found_does_not_depend_on_the_logits_own_scale():
    logits, trace = drawn(400)
    scale, offset = platt(logits, trace, torch.ones_like(trace), prior_events=0)
    wider, same = platt(3 * logits, trace, torch.ones_like(trace), prior_events=0)
    torch.testing.assert_close(3 * wider, scale, atol=1e-4, rtol=0)
    torch.testing.assert_close(same, offset, atol=1e-4, rtol=0)


def test_members_that_agree_count_as_one():
    logits, trace = drawn(200)
    alone = platt(logits, trace, torch.ones_like(trace), prior_events=5)
    crowd = platt(logits.expand(-1, 4, -1), trace, torch.ones_like(trace), prior_events=5)
    torch.testing.assert_close(alone, crowd, atol=1e-6, rtol=0)


def test_outcomes_that_nobody_observed_are_not_read():
    logits, trace = drawn(200)
    observed = torch.rand(trace.shape, generator=torch.Generator().manual_seed(3)) < 0.5
    found = platt(logits, trace, observed, prior_events=5)
    assert all(map(torch.equal, found, platt(logits, trace ^ ~observed, observed, prior_events=5)))
    assert platt(logits, trace, torch.zeros_like(observed), prior_events=5)[1].tolist() == [0, 0]


def test_a_head_is_calibrated_by_the_same_fit():
    logits, trace = drawn(200, members=3)
    head = TraceHead(width=4, hidden=2, horizon_days=2, members=3)
    words = (trace.long() << torch.arange(2)).sum(-1)
    observed = torch.full((200,), 0b11)
    head.calibrate({"trace_logits": logits}, {"trace": words, "observed": observed}, prior_events=5)
    scale, offset = platt(logits, trace, torch.ones_like(trace), prior_events=5)
    torch.testing.assert_close(head.scale, scale.float())
    torch.testing.assert_close(head.offset, offset.float())


def test_it_fits_where_gradients_are_off_and_leaves_none_behind():
    logits, trace = drawn(50)
    logits.requires_grad_()
    with torch.no_grad():
        scale, offset = platt(logits, trace, torch.ones_like(trace), prior_events=5)
    assert scale != 1
    assert not scale.requires_grad
    assert not offset.requires_grad
    assert logits.grad is None


@pytest.mark.parametrize(
    ("logits", "trace", "observed"),
    [((5, 2), (5, 2), (5, 2)), ((5, 1, 2), (5, 3), (5, 3)), ((5, 1, 2), (5, 2), (5,)), ((5, 1, 2), (4, 2), (4, 2))],
)
def test_shapes_that_do_not_fit_are_refused(logits, trace, observed):
    bits = (torch.ones(shape, dtype=torch.bool) for shape in (trace, observed))
    with pytest.raises(ValueError, match=r"expected logits \(rows, M, H\) with trace and observed \(rows, H\), got"):
        platt(torch.zeros(logits), *bits, prior_events=1)


def users_of(variance, rows=40_000, days=6):
    """Users who come alike often by their state, and in truth by a gamma frailty of this variance: chances and days."""
    generator = torch.Generator().manual_seed(3)
    torch.manual_seed(3)
    often = torch.distributions.Gamma(1 / variance, 1 / variance).sample((rows, 1)).double()
    state = 0.1 + 0.5 * torch.rand(rows, 1, generator=generator).double()
    trace = torch.rand(rows, days, generator=generator) < -torch.expm1(-state * often)
    return state, trace


def test_the_frailty_of_users_is_found():
    variance, days = 0.8, 6
    state, trace = users_of(variance)
    # what is calibrated on each day, over all users of a state: E exp(−Λ Z) = (1 + vΛ)^{−1/v}
    chance = (1 - (1 + variance * state) ** (-1 / variance)).expand(-1, days)
    found = frailty(chance, trace, torch.ones_like(trace)).item()
    assert 0.5 < found < 1.3
    silent = ~trace[:, :4].any(1)
    told = after_silence(chance, torch.full((len(chance),), 4), torch.tensor(found))[silent, 4:].mean()
    assert chance[silent, 4:].mean() > 1.2 * trace[silent, 4:].double().mean()
    assert told.item() == pytest.approx(trace[silent, 4:].double().mean().item(), rel=0.06)


def test_days_that_nobody_knows_tell_nothing_of_frailty():
    state, trace = users_of(0.8, rows=2_000)
    chance = state.expand(-1, 6).neg().expm1().neg()
    gap = torch.ones_like(trace)
    gap[:, 0] = False
    assert frailty(chance, trace, gap).item() == 0
    half = torch.rand(2_000, generator=torch.Generator().manual_seed(0)) < 0.5
    known = half[:, None].expand_as(trace)
    other = trace ^ ~known
    assert frailty(chance, trace, known) == frailty(chance, other, known)


def test_without_frailty_or_silence_chances_stay_and_more_of_either_lowers_them():
    chance = torch.linspace(0, 0.95, 12).view(2, 6)
    for days, variance in ((0, 3.0), (5, 0.0)):
        told = after_silence(chance, torch.full((2,), days), torch.tensor(variance))
        torch.testing.assert_close(told, chance, atol=1e-6, rtol=0)
    told = [after_silence(chance, torch.full((2,), days), torch.tensor(1.0)).sum() for days in range(7)]
    assert told == sorted(told, reverse=True)


ORDERS = (
    lambda n: range(n),
    lambda n: reversed(range(n)),
    lambda n: torch.randperm(n, generator=torch.Generator().manual_seed(1)).tolist(),
)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("chunks", [1, 3, 17])
def test_a_fit_is_the_same_however_its_rows_are_cut(chunks, order):
    logits, trace = drawn(500, members=3)
    observed = torch.rand(trace.shape, generator=torch.Generator().manual_seed(3)) < 0.2
    before = (torch.tensor(1.5), torch.tensor([0.2, -0.3]))
    whole = platt((logits.double() - before[1]) / before[0], trace, observed, prior_events=5)
    rows = [torch.arange(500).tensor_split(chunks)[place] for place in order(chunks)]
    parts = [KnownDays.of(logits[it], trace[it], observed[it], before) for it in rows]
    torch.testing.assert_close(platt_of(parts, prior_events=5), whole, atol=1e-10, rtol=0)
    if chunks > 1:
        away = platt_of(parts[1:], prior_events=5)
        assert (away[1] - whole[1]).abs().max() > 1e-4


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("chunks", [1, 3, 17])
def test_the_frailty_is_the_same_however_its_rows_are_cut(chunks, order):
    state, trace = users_of(0.8, rows=2_000)
    rows = (-torch.expm1(-state).expand(-1, 6), trace, torch.ones_like(trace))
    loss = FrailtyLoss(torch.linspace(0, 3, 301, dtype=torch.float64))
    whole = loss.partial(rows)
    parts = list(zip(*(it.tensor_split(chunks) for it in rows), strict=True))
    cut = sum(loss.partial(parts[place]) for place in order(chunks))
    torch.testing.assert_close(cut, whole, atol=0, rtol=1e-10)
    assert loss.solve(cut) == loss.solve(whole) > 0


def test_only_known_days_are_held_in_double_precision():
    logits, trace = drawn(100, members=3)
    observed = torch.zeros_like(trace)
    observed[::10, 0] = True
    days = KnownDays.of(logits, trace, observed)
    assert days.count == (10, 0)
    assert days.logits.shape == (3, 10)
    torch.testing.assert_close(days.logits, logits[::10, :, 0].double().T)


def test_chances_are_the_mean_over_members_of_what_is_calibrated():
    logits, _ = drawn(7, members=3)
    scale, offset = torch.tensor(0.5).double(), torch.tensor([1.0, -1.0]).double()
    wanted = (0.5 * logits.double() + offset).sigmoid().mean(1)
    torch.testing.assert_close(chances(logits, scale, offset), wanted)
    before = (torch.tensor(2.0), torch.tensor([0.5, 0.0]))
    torch.testing.assert_close(chances(2 * logits + before[1], scale, offset, before=before), wanted, atol=1e-6, rtol=0)
