from functools import partial

import numpy as np
import polars as pl
import pytest
import torch
from torch.testing import assert_close

from reward.encoders.gru import GRU
from reward.heads.trace import TraceHead
from reward.sequences.network import Recall, RecalledEvents, RewardNetwork, codes_of
from reward.sequences.stream import Stream, Windows


@pytest.fixture(params=[(), (1.0, 7.0)], ids=["plain", "recalling"])
def network(request, encoder_class, build, network_of):
    return network_of(partial(build, encoder_class), recall_days=request.param)


@pytest.fixture(scope="module")
def short(log, features):
    """The stream of a few users."""
    return Stream.build(log.events.filter(pl.col("user_id") < 12), features)


@pytest.fixture
def windows(stream):
    return Windows.cut(stream, 1000)


@pytest.fixture
def batch(windows):
    return windows.batch(np.arange(len(windows)))


def near(one, two):
    assert_close(one, two, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def states_by_row(network, windows, rows_in_a_batch):
    """The states Q, E and F of each row, however the windows are put together."""
    found = torch.full((3, len(windows.stream.events), 8), torch.nan)
    for index in windows.batches(rows_in_a_batch):
        batch = windows.batch(index)
        before, exposed, after = network(batch)
        for place, states, tokens in ((0, before, batch.slots), (1, exposed, batch.slots), (2, after, batch.history)):
            inside = tokens.row >= 0
            found[place, tokens.row[inside]] = states[inside]
    return found


def test_there_is_a_state_for_each_slot_and_each_event(network, batch):
    before, exposed, after = network(batch)
    assert before.shape == exposed.shape == (*batch.visible.shape, 8)
    assert after.shape == (*batch.history.row.shape, 8)
    assert all(torch.isfinite(states).all() for states in (before, exposed, after))
    assert network.head.value(after).shape == (*batch.history.row.shape, 2)


@pytest.mark.parametrize("max_events", [6, 1000])
def test_how_windows_are_put_together_changes_no_state(network, short, max_events):
    windows = Windows.cut(short, max_events)
    assert len(windows) > 8
    together = states_by_row(network, windows, 10_000)
    assert torch.isfinite(together).all()
    near(states_by_row(network, windows, 1), together)


def test_a_users_states_are_the_same_alone_and_among_others(network, log, features, stream):
    for user in (0, int(np.diff(stream.offsets).argmax())):
        alone = Stream.build(log.events.filter(pl.col("user_id") == stream.users[user]), features)
        among = states_by_row(network, Windows.cut(stream, 16), 200)[:, torch.from_numpy(stream.events.user == user)]
        near(states_by_row(network, Windows.cut(alone, 16), 200), among)


def test_what_is_exposed_is_a_candidate_that_was_shown(network, batch):
    before, exposed, after = network(batch)
    memory = network.read(batch.history)
    slots = batch.slots
    item = network.embedding.item(slots.item, slots.item_categories, slots.item_numbers)
    past, codes = network.past(batch.history), codes_of(slots.item, slots.item_categories)
    item = network.recalled(item, past, slots.hours, batch.visible, codes)
    near(network.query(memory, slots, batch.visible, item), exposed)
    near(network.query(memory, slots, batch.visible), before)
    near(memory.states, after)
    assert ((exposed - before).abs().amax(-1) > 1e-4)[slots.row >= 0].all()


def test_feedback_reveals_itself_to_what_comes_after_it_alone(network, batch):
    states = network(batch)
    window, place = int(batch.visible.max(1).values.argmax()), 7
    feedback = batch.history.feedback.clone()
    feedback[window, place] += torch.tensor([1.0, -2.0])
    changed = network(batch._replace(history=batch.history._replace(feedback=feedback)))
    reads = batch.visible[window] > place
    assert not reads[place]  # its own slot does not, nor do its neighbours' in the slate
    soon = reads & (batch.visible[window] < place + 5)
    for ours, theirs in zip(states[:2], changed[:2], strict=True):
        near(ours[window, ~reads], theirs[window, ~reads])
        assert (ours != theirs)[window, soon].any(-1).all()
    near(states[2][window, :place], changed[2][window, :place])
    assert (states[2] != changed[2])[window, place : place + 5].any(-1).all()
    others = [row for row in range(len(batch.visible)) if row != window]
    for ours, theirs in zip(states, changed, strict=True):
        near(ours[others], theirs[others])


def test_the_rows_of_a_slate_do_not_see_each_others_feedback(network, log, features):
    def scored(events):
        return states_by_row(network, Windows.cut(Stream.build(events, features), 1000), 10_000)

    sizes = log.events.filter(pl.len().over("request_id") == 3, pl.col("timestamp").n_unique().over("request_id") == 3)
    request = sizes.select("request_id").collect().item(0, 0)
    slate = (pl.col("request_id") == request).fill_null(False)
    changed = log.events.with_columns(click=pl.when(slate).then(1 - pl.col("click")).otherwise("click"))
    ours, theirs = scored(log.events), scored(changed)
    mine = torch.from_numpy(log.events.select(slate).collect().to_series().to_numpy()).nonzero().flatten()
    assert len(mine) == 3
    near(ours[:2, mine], theirs[:2, mine])
    assert (ours[2, mine] != theirs[2, mine]).any(-1).all()
    assert (ours[:, mine[-1] + 1] != theirs[:, mine[-1] + 1]).any(-1).all()
    rest = torch.ones(ours.shape[1], dtype=torch.bool)
    rest[mine[0] :] = False
    near(ours[:, rest], theirs[:, rest])


@pytest.mark.parametrize("field", ["item", "item_categories", "item_numbers"])
def test_an_item_is_in_what_is_exposed_and_in_what_follows_but_not_in_the_slot(network, batch, field):
    place = 5

    def swapped(tokens):
        old = getattr(tokens, field)
        new = old.clone()
        new[:, place] = (old[:, place] + 1) % old.max() if old.dtype == torch.int64 else old[:, place] + 1.0
        return tokens._replace(**{field: new})

    states = network(batch)
    changed = network(batch._replace(history=swapped(batch.history), slots=swapped(batch.slots)))
    inside = batch.history.row[:, place] >= 0
    moved = [(ours != theirs)[inside, place].any(-1) for ours, theirs in zip(states, changed, strict=True)]
    assert not moved[0].any()
    assert moved[1].all()
    assert moved[2].all()
    near(states[2][:, :place], changed[2][:, :place])


def test_a_users_value_moves_by_arrival_exposure_and_surprise(network, log, features):
    events = log.events.unique(["user_id", "timestamp"], keep="first", maintain_order=True).drop("request_id")
    windows = Windows.cut(Stream.build(events, features), 1000)
    batch = windows.batch(np.arange(len(windows)))
    # without slates a slot reads every event before it, so the state it starts from is the last one after feedback
    inside = batch.slots.row >= 0
    assert torch.equal(batch.visible[inside], torch.arange(inside.shape[1]).expand_as(inside)[inside])
    before, exposed, after = (network.head.value(states) for states in network(batch))
    previous = after.gather(1, (batch.visible - 1).clamp(min=0).unsqueeze(-1).expand_as(after))
    moves = (before - previous) + (exposed - before) + (after - exposed)
    moves[:, 0] = 0
    total = (moves * inside.unsqueeze(-1)).sum(1)
    last = (inside.sum(1) - 1).view(-1, 1, 1).expand(-1, 1, after.shape[-1])
    assert_close(total, (after.gather(1, last) - after[:, :1]).squeeze(1), rtol=1e-4, atol=1e-4)


def test_items_are_hidden_from_training_alone_and_in_the_share_asked(network_of, batch):
    network = network_of(item_dropout=1.0)
    slots = batch.slots
    unknown = network.embedding.item(torch.zeros_like(slots.item), slots.item_categories, slots.item_numbers)
    known = network.embedding.item(slots.item, slots.item_categories, slots.item_numbers)
    assert not torch.equal(known, unknown)
    network.train()
    assert torch.equal(network.embedding.item(slots.item, slots.item_categories, slots.item_numbers), unknown)
    network = network_of(item_dropout=0.25).train()
    drawn = network.embedding.item(slots.item, slots.item_categories, slots.item_numbers)
    inside = slots.item > 0
    hidden = (drawn == unknown).all(-1)[inside].float().mean()
    assert hidden == pytest.approx(0.25, abs=0.05)


def test_every_parameter_learns_from_the_three_states(network, batch):
    states = network(batch)
    sum(network.head.value(each).square().sum() for each in states).backward()
    for name, parameter in network.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.any(), name


def test_a_log_without_items_and_context_has_a_network_too(small, fit, build, encoder_class):
    log = small([(1, "2024-05-01T08:00"), (1, "2024-05-02T08:00"), (2, "2024-05-02T08:00")])
    features = fit(log)
    heads = {"active_days": build(TraceHead)}
    settings = {"reward": "active_days", "sizes": features.sizes(), "item_dropout": 0.0}
    network = RewardNetwork(build(encoder_class), heads, **settings).eval()
    windows = Windows.cut(Stream.build(log.events, features), 4)
    assert torch.isfinite(states_by_row(network, windows, 10)).all()


@pytest.mark.parametrize("prefix", ["", "network.", "consistency.slow."])
def test_weights_are_taken_also_by_the_names_that_they_had(network_of, build, prefix):
    """As checkpoints have them: the head of the reward's task stood apart from the others."""

    def made(seed):
        network = network_of(seed=seed)
        network.heads["survey"] = build(TraceHead)
        owner = torch.nn.Module()
        for name in reversed(prefix.split(".")[:-1]):
            owner.add_module(name, network)
            network, owner = owner, torch.nn.Module()
        return network

    source, target = made(0), made(1)
    told = source.state_dict()
    renamed = {
        name.replace("heads.active_days.", "head.").replace("heads.survey.", "also.survey."): each
        for name, each in told.items()
    }
    assert {f"{prefix}head.scale", f"{prefix}also.survey.scale"} < renamed.keys()
    target.load_state_dict(renamed)
    assert all(torch.equal(each, told[name]) for name, each in target.state_dict().items())
    with pytest.raises(RuntimeError, match=r"Unexpected key\(s\) in state_dict: .*heads.sales.scale"):
        target.load_state_dict(renamed | {f"{prefix}also.sales.scale": torch.ones(())})


def test_parameters_stand_in_the_order_that_optimizers_of_checkpoints_know(build, features):
    """That of the reward's head before those of other tasks, whatever order they come in."""
    heads = {name: build(TraceHead) for name in ("survey", "active_days")}
    settings = {"reward": "active_days", "sizes": features.sizes(), "item_dropout": 0.0, "recall_days": [1.0]}
    network = RewardNetwork(build(GRU), heads, **settings)
    names = [name.split(".")[1 if name.startswith("heads") else 0] for name, _ in network.named_parameters()]
    assert list(dict.fromkeys(names)) == ["embedding", "encoder", "active_days", "survey", "recall"]


def test_what_is_recalled_are_sums_over_the_events_that_share_a_code(monkeypatch):
    recall = Recall(width=4, codes=2, feedback=1, half_lives=[1, 7])
    monkeypatch.setattr(recall, "sums", torch.nn.Identity())
    past = RecalledEvents(
        hours=torch.tensor([[0.0, 24.0, 48.0, 60.0]]),
        codes=torch.tensor([[[5, 2], [6, 2], [5, 1], [5, 2]]]),
        told=torch.tensor([[[1.0, 3.0], [1.0, 0.5], [1.0, -1.0], [1.0, 9.0]]]),
    )
    hours, visible = torch.tensor([[48.0, 72.0, 72.0]]), torch.tensor([[2, 3, 3]])
    found = recall(past, hours, visible, torch.tensor([[[5, 2], [5, 2], [0, 1]]]))[0]
    shares = {days: 2.0 ** (-np.array([[2, 1, 0], [3, 2, 1]]) / days) for days in (1, 7)}
    first = [
        [shares[days][0, 0] * np.array([1, 3]) for days in (1, 7)],
        [shares[days][0, 0] * np.array([1, 3]) + shares[days][0, 1] * np.array([1, 0.5]) for days in (1, 7)],
    ]
    assert_close(found[0], torch.tensor(np.arcsinh(np.ravel(first)), dtype=torch.float32))
    second = [shares[days][1, 0] * np.array([1, 3]) + shares[days][1, 2] * np.array([1, -1]) for days in (1, 7)]
    assert_close(found[1, :4], torch.tensor(np.arcsinh(np.ravel(second)), dtype=torch.float32))
    assert not found[2, :4].any(), "an item of which nothing is known was never there"
    last = [shares[days][1, 2] * np.array([1, -1]) for days in (1, 7)]
    assert_close(found[2, 4:], torch.tensor(np.arcsinh(np.ravel(last)), dtype=torch.float32))


def test_a_moment_of_all_slots_is_told_once_or_for_each(network_of, batch):
    network = network_of(recall_days=[1.0, 7.0])
    past, slots = network.past(batch.history), batch.slots
    hours, visible = slots.hours[:, -1:] + 5, batch.visible[:, -1:]
    codes = codes_of(slots.item, slots.item_categories)
    once = network.recall(past, hours, visible, codes)
    assert once.abs().max() > 0.1
    assert_close(once, network.recall(past, hours.expand(slots.hours.shape), visible.expand(slots.hours.shape), codes))


def test_before_training_nothing_is_added_by_what_is_recalled():
    recall = Recall(width=4, codes=2, feedback=1, half_lives=[1, 7])
    past = RecalledEvents(torch.zeros(1, 2), torch.ones(1, 2, 2, dtype=torch.int64), torch.ones(1, 2, 2))
    assert not recall(past, torch.zeros(1, 1), torch.ones(1, 1), torch.ones(1, 1, 2, dtype=torch.int64)).any()
