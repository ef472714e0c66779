import inspect

import pytest
import torch
from torch.testing import assert_close

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


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ValueError, match=r"heads must divide encoder\.width, got 3 heads for a width of 8"):
        Transformer(width=8, layers=1, heads=3, dropout=0.0)
