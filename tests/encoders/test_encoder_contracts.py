import inspect

import pytest
import torch
from torch import nn
from torch._dynamo.exc import UserError
from torch.export import Dim, export
from torch.testing import assert_close

from reward.encoders.hstu import HSTU, Curve, doublings
from reward.encoders.mamba import Mamba, decayed_sums
from reward.encoders.transformer import Transformer

BATCH, LENGTH, SLOTS, WIDTH = 3, 9, 4, 8
ODD = torch.linspace(-3, 4, WIDTH)  # a token like no other


@pytest.fixture
def encoder(encoder_class, build):
    return build(encoder_class)


@pytest.fixture
def history():
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randn(BATCH, LENGTH, WIDTH, generator=generator)
    return tokens, torch.rand(BATCH, LENGTH, generator=generator).mul(50).cumsum(1)


@pytest.fixture
def slots(history):
    """Tokens, hours and visible events of slots: each comes after what it reads, the first reads nothing."""
    generator = torch.Generator().manual_seed(2)
    visible = torch.randint(0, LENGTH + 1, (BATCH, SLOTS), generator=generator)
    visible[:, 0] = 0
    visible[:, 1] = LENGTH
    before = torch.cat([torch.zeros(BATCH, 1), history[1]], 1).gather(1, visible)
    return torch.randn(BATCH, SLOTS, WIDTH, generator=generator), before + 3.0, visible


@pytest.fixture
def trained(encoder, history, slots):
    """An encoder that has learned something from histories of 450 hours at most."""
    fade = (-(history[1].unsqueeze(2) - history[1].unsqueeze(1)).clamp(min=0) / 20).exp().tril()
    wanted = (fade @ history[0][..., :1]).squeeze(-1)
    optimizer = torch.optim.Adam(encoder.parameters(), lr=0.02)
    for _ in range(30):
        memory = encoder.read(*history)
        loss = (memory.states[..., 0] - wanted).square().mean() + encoder.query(memory, *slots).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        yield encoder


def near(one, two):
    assert_close(one, two, rtol=1e-5, atol=1e-5)


def differ(one, two):
    return ((one - two).abs() > 1e-4).any(-1)


def test_states_have_one_place_for_each_event_and_each_slot(encoder, history, slots):
    memory = encoder.read(*history)
    assert encoder.width == WIDTH
    assert memory.states.shape == (BATCH, LENGTH, WIDTH)
    assert torch.equal(memory.hours, history[1])
    assert all(layer.shape[:2] == (BATCH, LENGTH) for layer in memory.layers)
    assert encoder.query(memory, *slots).shape == (BATCH, SLOTS, WIDTH)


@pytest.mark.parametrize("place", [0, 4, LENGTH - 1])
def test_an_event_changes_no_state_before_it(encoder, history, place):
    tokens, hours = history
    changed, later = tokens.clone(), hours.clone()
    changed[:, place] = ODD
    later[:, place:] += 7.0
    ours, theirs = encoder.read(tokens, hours).states, encoder.read(changed, later).states
    near(ours[:, :place], theirs[:, :place])
    assert (ours != theirs).any(-1)[:, place:].all()


def test_a_query_reads_the_visible_events_and_no_other(encoder, history, slots):
    tokens, hours = history
    states = encoder.query(encoder.read(tokens, hours), *slots)
    for row in range(BATCH):
        for slot in range(SLOTS):
            visible = int(slots[2][row, slot])
            changed = tokens.clone()
            changed[row, visible:] = ODD
            found = encoder.query(encoder.read(changed, hours), *slots)
            near(found[row, slot], states[row, slot])
            if visible:
                changed[row, visible - 1] = -ODD
                found = encoder.query(encoder.read(changed, hours), *slots)
                assert differ(found, states)[row, slot]


def test_a_query_reads_the_first_visible_event_too(encoder, history, slots):
    tokens, hours = history
    states = encoder.query(encoder.read(tokens, hours), *slots)
    changed = tokens.clone()
    changed[:, 0] = ODD
    found = encoder.query(encoder.read(changed, hours), *slots)
    assert (found != states).any(-1)[slots[2] > 0].all()


def test_nobody_reads_a_query(encoder, history, slots):
    memory = encoder.read(*history)
    states = encoder.query(memory, *slots)
    tokens, hours, visible = (part.clone() for part in slots)
    tokens[:, 1:], hours[:, 1:], visible[:, 1:] = ODD, 999.0, 2
    near(encoder.query(memory, tokens, hours, visible)[:, 0], states[:, 0])
    tokens[0] = -ODD
    near(encoder.query(memory, tokens, hours, visible)[1:, 0], states[1:, 0])


def test_an_events_state_is_that_of_a_query_filled_with_it(encoder, history):
    memory = encoder.read(*history)
    visible = torch.arange(LENGTH).expand(BATCH, LENGTH)
    near(encoder.query(memory, *history, visible), memory.states)


def test_padding_changes_nothing(encoder, history, slots):
    tokens, hours = history
    memory = encoder.read(tokens, hours)
    padded = encoder.read(
        torch.cat([tokens, ODD.expand(BATCH, 5, WIDTH)], 1), torch.cat([hours, torch.zeros(BATCH, 5)], 1)
    )
    near(padded.states[:, :LENGTH], memory.states)
    wider = [torch.cat([part, torch.zeros_like(part)], 1) for part in slots]
    near(encoder.query(padded, *wider)[:, :SLOTS], encoder.query(memory, *slots))


def test_other_users_in_the_batch_change_nothing(encoder, history, slots):
    memory = encoder.read(*history)
    states = encoder.query(memory, *slots)
    for row in range(BATCH):
        alone = encoder.read(*(part[row : row + 1] for part in history))
        near(alone.states[0], memory.states[row])
        near(encoder.query(alone, *(part[row : row + 1] for part in slots))[0], states[row])


def test_an_empty_history_has_a_state_of_its_own(encoder, history, slots):
    tokens, hours, _ = slots
    nothing = torch.zeros(BATCH, SLOTS, dtype=torch.int64)
    states = encoder.query(encoder.read(*history), tokens, hours, nothing)
    assert torch.isfinite(states).all()
    other = encoder.read(ODD.expand(BATCH, 1, WIDTH), torch.zeros(BATCH, 1))
    near(encoder.query(other, tokens, hours, nothing), states)
    # the token itself still counts
    assert differ(states[:, 0], states[:, 1]).all()


def test_candidates_together_are_those_one_by_one(encoder, history):
    memory = encoder.read(*history)
    candidates = torch.randn(BATCH, 50, WIDTH, generator=torch.Generator().manual_seed(3))
    hours = history[1][:, -1:].expand(BATCH, 50) + 1
    visible = torch.full((BATCH, 50), LENGTH)
    together = encoder.query(memory, candidates, hours, visible)
    for one in range(50):
        place = slice(one, one + 1)
        near(encoder.query(memory, candidates[:, place], hours[:, place], visible[:, place])[:, 0], together[:, one])


def test_evaluation_is_deterministic_and_dropout_is_for_training(encoder, history, slots):
    def run():
        memory = encoder.read(*history)
        return torch.cat([memory.states, encoder.query(memory, *slots)], 1)

    assert torch.equal(run(), run())
    encoder.train()
    if "dropout" in inspect.signature(type(encoder)).parameters:
        assert differ(run(), run()).all()


def test_an_encoder_keeps_its_arguments_as_attributes_so_that_it_can_be_built_again(encoder, history, slots):
    names = inspect.signature(type(encoder)).parameters
    again = type(encoder)(**{name: getattr(encoder, name) for name in names}).eval()
    again.load_state_dict(encoder.state_dict())
    assert torch.equal(again.read(*history).states, encoder.read(*history).states)
    assert torch.equal(again.query(again.read(*history), *slots), encoder.query(encoder.read(*history), *slots))


def test_every_parameter_gets_a_finite_gradient(encoder, history, slots):
    encoder.train()
    memory = encoder.read(*history)
    (memory.states.square().sum() + encoder.query(memory, *slots).pow(3).sum()).backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.any(), name


def test_years_between_events_leave_states_and_gradients_finite(encoder, history, slots):
    tokens, hours = history
    tokens.requires_grad_()
    asked = (slots[0].requires_grad_(), slots[1] * 1e4, slots[2])
    memory = encoder.read(tokens, hours * 1e4)
    states = encoder.query(memory, *asked)
    assert torch.isfinite(states).all()
    (memory.states.sum() + states.square().sum()).backward()
    assert torch.isfinite(tokens.grad).all()
    assert torch.isfinite(asked[0].grad).all()


def test_the_origin_of_time_changes_nothing(trained, history, slots):
    def run(origin):
        hours, asked = (part.mul(64).round().div(64) + origin for part in (history[1], slots[1]))
        memory = trained.read(history[0], hours)
        return torch.cat([memory.states, trained.query(memory, slots[0], asked, slots[2])], 1)

    near(run(2.0**16), run(0.0))  # seven years, and float32 holds a 64th of an hour


def test_ten_years_into_a_window_times_are_as_good_as_at_its_start(trained, history, slots):
    def run(origin):
        memory = trained.read(history[0], history[1] + origin)
        return torch.cat([memory.states, trained.query(memory, slots[0], slots[1] + origin, slots[2])], 1)

    # float32 rounds these times to half a minute
    assert (run(87_600.0) - run(0.0)).abs().max() < 0.02


def test_states_are_continuous_in_a_gap_and_calm_beyond_the_longest_that_training_knew(trained, history):
    tokens, hours = history

    def run(gap):
        later = torch.cat([hours[:, :5], hours[:, 5:] - hours[:, 5:6] + hours[:, 4:5] + gap], 1)
        memory = trained.read(tokens, later)
        asked = trained.query(memory, tokens[:, :1], later[:, -1:] + gap, torch.full((BATCH, 1), LENGTH))
        return torch.cat([memory.states[:, 5:], asked], 1)

    steps = torch.tensor([run(2.0**power).sub(run(2.0 ** (power - 1))).abs().max() for power in range(-8, 60)])
    assert torch.isfinite(steps).all()
    assert steps[21:].max() <= steps[:17].sum() + 1e-5  # from 2¹² hours on; training knew some 2⁸
    assert steps[-1] < 0.1
    for gap in (1e-3, 0.5, 1.0, 40.0, 5000.0, 1e8):
        assert (run(gap * 1.0001) - run(gap)).abs().max() < 1e-3


class Whole(nn.Module):
    """Both operations as one function of tensors."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, tokens, hours, asked, asked_hours, visible):
        memory = self.encoder.read(tokens, hours)
        return memory.states, self.encoder.query(memory, asked, asked_hours, visible)


@pytest.mark.filterwarnings("ignore:The tensor attributes self.encoder.units")  # of nn.GRU's flat weights
def test_an_encoder_exports_for_any_batch_length_and_slots(encoder_class, build, history, slots):
    encoder = build(encoder_class, layers=1)
    recurrent = any(isinstance(part, nn.RNNBase) for part in encoder.modules())
    whole, example = Whole(encoder), (*history, *slots)
    batch, length, asked = Dim("batch"), Dim("length"), Dim("slots")

    def exported(length):
        return export(whole, example, dynamic_shapes=[{0: batch, 1: dim} for dim in (length, length, *[asked] * 3)])

    if recurrent:  # torch unrolls its recurrent layers: one export is good for one length
        with pytest.raises(UserError, match="specialized it to be a constant"):
            exported(length)
    program = exported(Dim.STATIC if recurrent else length).module()
    for shape in ((BATCH, LENGTH, SLOTS), (5, LENGTH, 7), *([] if recurrent else [(2, 70, 3), (4, 32, 2), (1, 1, 1)])):
        rows, events, places = shape
        visible = torch.randint(0, events + 1, (rows, places), generator=torch.Generator().manual_seed(4))
        hours = torch.arange(float(events)).expand(rows, events)
        inputs = (torch.randn(rows, events, WIDTH), hours, torch.randn(rows, places, WIDTH), visible + 1.0, visible)
        for ours, theirs in zip(program(*inputs), whole(*inputs), strict=True):
            near(ours, theirs)


def test_a_transformers_attention_fades_with_the_time_between(build, history):
    tokens, hours = history
    encoder = build(Transformer, layers=1)
    block = encoder.blocks[0]
    block.decay.data.fill_(-100.0)  # softplus is 0: time plays no part
    assert torch.equal(encoder.read(tokens, hours).states, encoder.read(tokens, hours * 3).states)
    block.decay.data.fill_(30.0)  # even an hour apart is out of reach
    near(encoder.read(tokens, hours * 100).states, encoder.read(tokens.flip(0), hours * 100).states.flip(0))
    alone = torch.cat([encoder.read(tokens[:, [place]], hours[:, [place]]).states for place in range(LENGTH)], 1)
    near(encoder.read(tokens, torch.arange(LENGTH) * 100.0 + torch.zeros(BATCH, 1)).states, alone)


def test_a_transformers_attention_is_that_written_out(build, history):
    tokens, hours = history
    encoder = build(Transformer, layers=1, heads=1)
    block = encoder.blocks[0]
    normed = block.attend_norm(tokens)
    key, value = block.key_value(normed).chunk(2, -1)
    query = block.query(normed)
    slope = block.decay.exp().log1p()
    expected = torch.empty_like(tokens)
    for row in range(BATCH):
        for place in range(LENGTH):
            past = slice(0, place + 1)
            logits = key[row, past] @ query[row, place] / WIDTH**0.5
            logits = logits - slope * (hours[row, place] - hours[row, past]).log1p()
            mixed = logits.softmax(0) @ value[row, past]
            state = tokens[row, place] + block.out(mixed)
            expected[row, place] = state + block.feed(state)
    near(encoder.read(tokens, hours).states, encoder.final(expected))


@pytest.mark.parametrize("kind", [Transformer, HSTU, Mamba])
def test_heads_that_do_not_divide_the_width_are_refused(kind, small_arguments):
    with pytest.raises(ValueError, match=r"heads must divide encoder\.width, got 3 heads for a width of 8"):
        kind(**small_arguments(kind, heads=3))


def test_a_curve_is_straight_between_the_doublings_and_flat_beyond_those_it_knows():
    curve = Curve(2)
    with torch.no_grad():
        curve.steps[:3] = torch.tensor([[1.0, 0.0], [0.5, -1.0], [0.25, 3.0]])
    found = curve(doublings(torch.tensor([-7.0, 0.0, 1.0, 2.0**1.5 - 1, 3.0, 100.0, 1e30])))
    wanted = [[1, 0], [1, 0], [1.5, -1], [1.625, 0.5], [1.75, 2], [1.75, 2], [1.75, 2]]
    near(found, torch.tensor(wanted))


def randomised(encoder):
    """No parameter is at its start, where some play no part."""
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(5)) * 0.3)
    return encoder


def test_a_units_attention_is_that_written_out(build, history):
    tokens, hours = history
    encoder = randomised(build(HSTU, layers=1, heads=1))
    unit = encoder.units[0]
    normed = unit.norm(tokens)
    gate, query = nn.functional.silu(unit.gate_query(normed)).chunk(2, -1)
    key, value = nn.functional.silu(unit.key_value(normed)).chunk(2, -1)
    expected = torch.empty_like(tokens)
    for row in range(BATCH):
        for place in range(LENGTH):
            mixed = torch.zeros(WIDTH)
            for other in range(place + 1):
                minutes = 60 * (hours[row, place] - hours[row, other])
                bias = unit.minutes(doublings(minutes)) + unit.places(doublings(torch.tensor(float(place - other))))
                logit = query[row, place] @ key[row, other] / WIDTH**0.5 + bias
                mixed = mixed + logit * logit.sigmoid() * value[row, other]
            expected[row, place] = tokens[row, place] + unit.out(unit.mixed_norm(mixed) * gate[row, place])
    near(encoder.read(tokens, hours).states, encoder.final(expected))


def test_an_hstu_knows_no_longer_gap_than_training_did(build, history, slots):
    encoder = build(HSTU)
    optimizer = torch.optim.Adam(encoder.parameters(), lr=0.1)
    for _ in range(3):  # gaps of at most 450 hours, short of 2¹⁵ minutes
        optimizer.zero_grad()
        encoder.read(*history).states.pow(3).sum().backward()
        optimizer.step()
    memory = encoder.read(*history)
    _, before, visible = slots
    near(*(encoder.query(memory, slots[0], before + gap, visible) for gap in (600.0, 1e6)))
    assert differ(*(encoder.query(memory, slots[0], before + gap, visible) for gap in (0.0, 600.0)))[:, 1].all()


@pytest.mark.parametrize("length", [1, 31, 32, 33, 100])
def test_decayed_sums_are_those_of_a_loop(length):
    generator = torch.Generator().manual_seed(length)
    log_decay = -torch.rand(2, length, 3, generator=generator, dtype=torch.float64).mul(3).exp().sub(1)
    log_decay[:, length // 2] = -1e7  # a long silence must not blur what comes after it
    added = torch.randn(2, length, 2, 3, 4, generator=generator, dtype=torch.float64)
    state, expected = torch.zeros(2, 2, 3, 4, dtype=torch.float64), []
    for place in range(length):
        state = log_decay[:, place].exp()[:, None, :, None] * state + added[:, place]
        expected.append(state)
    assert_close(decayed_sums(log_decay, added), torch.stack(expected, 1))
    near(decayed_sums(log_decay.float(), added.float()), torch.stack(expected, 1).float())
    assert_close(decayed_sums(torch.zeros_like(log_decay), added), added.cumsum(1))


def test_a_mambas_states_are_those_written_out(build):
    encoder = randomised(build(Mamba, layers=1))
    block, heads, length = encoder.blocks[0], 2, 70
    tokens = torch.randn(1, length, WIDTH, generator=torch.Generator().manual_seed(6))
    hours = torch.rand(length, generator=torch.Generator().manual_seed(7)).mul(100).cumsum(0)
    gate, value, write, look, step = block.inputs(block.norm(tokens[0])).split([WIDTH, WIDTH, 3, 3, heads], -1)
    value, write, look, gate = (part * part.sigmoid() for part in (value, write, look, gate))
    step = (1 + step.exp() * (torch.tensor([1 / 2, 1 / 128]).exp() - 1)).log()  # 1/2 and 1/128 at step 0
    state, expected = torch.zeros(heads, WIDTH // heads, 3), []
    for place in range(length):
        gap = hours[place] - hours[max(place - 1, 0)]
        mixed = []
        for head in range(heads):
            mine = value[place].view(heads, -1)[head]
            faded = gap * block.log_pace[head].exp() / (12, 12 * 512)[head]
            left = (-block.log_rate[head].exp() * step[place, head] - faded).exp()
            state[head] = left * state[head] + step[place, head] * torch.outer(mine, write[place])
            mixed.append(state[head] @ look[place] + block.skip[head] * mine)
        mixed = torch.cat(mixed) * gate[place]
        mixed = mixed / (mixed.square().mean() + 1e-5).sqrt() * block.gated_norm.weight
        expected.append(tokens[0, place] + block.out(mixed))
    near(encoder.read(tokens, hours.unsqueeze(0)).states, encoder.final(torch.stack(expected)).unsqueeze(0))


def test_a_mamba_forgets_after_a_very_long_silence(build, history, slots):
    tokens, hours, visible = slots
    encoder = build(Mamba)
    memory = encoder.read(*history)
    late = encoder.query(memory, tokens, hours + 1e6, visible)
    near(late, encoder.query(memory, tokens, hours, torch.zeros_like(visible)))
    assert differ(late, encoder.query(memory, tokens, hours + 24, visible))[visible > 0].all()
