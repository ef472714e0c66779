from dataclasses import replace
from types import SimpleNamespace

import polars as pl
import pytest
import torch

from reward.data.split import known_at
from reward.outcomes.activity import ActivityTrace
from reward.sequences.datamodule import StreamData

TASK = "active_days"


@pytest.fixture(scope="module")
def prepared(log, outcome, features, windows_of_time):
    def build(log=log, outcome=outcome, **changes):
        settings = {"max_events": 8, "batch_rows": 120, "members": 3, "seed": 0} | changes
        data = StreamData(log, {TASK: outcome}, features, windows_of_time, reward=TASK, **settings)
        data.setup()
        return data

    return build


@pytest.fixture(scope="module")
def data(prepared):
    return prepared()


def targets_by_row(loader, which, name):
    """Each row's target as the batches give it."""
    found = {}
    for example in loader:
        tokens = example.batch.slots if which == "slot_targets" else example.batch.history
        values = getattr(example, which)[TASK][name]
        assert values.shape == tokens.row.shape
        assert not values[tokens.row < 0].any()
        inside = tokens.row >= 0
        for row, value in zip(tokens.row[inside].tolist(), values[inside].tolist(), strict=True):
            assert row not in found
            found[row] = value
    return [found[row] for row in range(len(found))]


def same(one, two):
    flat = [
        [*item.batch.history, *item.batch.slots, *item.slot_targets[TASK].values(), item.weight] for item in (one, two)
    ]
    return all(torch.equal(ours, theirs) for ours, theirs in zip(*flat, strict=True))


@pytest.mark.parametrize("which", ["slot_targets", "event_targets"])
def test_training_rows_have_the_outcomes_known_when_training_ended(data, log, outcome, windows_of_time, which):
    end = windows_of_time.train_end
    expected = outcome.label(known_at(log, end), end).collect()
    loader = data.train_dataloader()
    assert targets_by_row(loader, which, "trace") == expected["trace"].to_list()
    assert targets_by_row(loader, which, "observed") == expected["observed"].to_list()


@pytest.mark.parametrize("which", ["slot_targets", "event_targets"])
def test_validation_rows_have_the_days_that_validation_revealed(data, log, outcome, windows_of_time, which):
    end = windows_of_time.validation_end
    after = outcome.label(known_at(log, end), end).collect()
    earlier = outcome.label(known_at(log, end), windows_of_time.train_end).collect()
    loader = data.val_dataloader()
    observed = targets_by_row(loader, which, "observed")
    assert observed == (after["observed"] & ~earlier["observed"]).to_list()
    assert targets_by_row(loader, which, "trace") == [
        word & mask for word, mask in zip(after["trace"], observed, strict=True)
    ]
    # the days of validation, and they alone: a row on the last day of training gets bits 1 to 3
    last_day = after["day"].to_list().index(windows_of_time.train_end - 1)
    assert observed[last_day] == 0b111


def test_order_of_the_logs_rows_plays_no_part(prepared, data, log):
    shuffled = prepared(log=replace(log, events=log.events.collect().sample(fraction=1, shuffle=True, seed=1).lazy()))
    for which in ("train_dataloader", "val_dataloader"):
        examples = zip(getattr(data, which)(), getattr(shuffled, which)(), strict=True)
        assert all(same(one, two) for one, two in examples)


def test_nothing_after_validation_is_read(prepared, data, log, windows_of_time):
    known = known_at(log, windows_of_time.validation_end).events
    cut = prepared(log=replace(log, events=known))
    for which in ("train_dataloader", "val_dataloader"):
        assert all(same(one, two) for one, two in zip(getattr(data, which)(), getattr(cut, which)(), strict=True))


def test_training_is_blind_to_validation(prepared, data, log, windows_of_time):
    known = known_at(log, windows_of_time.train_end).events
    later = log.events.join(known, on=["user_id", "item_id", "timestamp"], how="anti").collect().gather_every(2)
    changed = pl.concat([known.collect(), later]).sort("user_id", "timestamp", "position", "item_id")
    other = prepared(log=replace(log, events=changed.lazy()))
    assert all(same(*pair) for pair in zip(data.train_dataloader(), other.train_dataloader(), strict=True))
    assert targets_by_row(other.val_dataloader(), "event_targets", "trace") != targets_by_row(
        data.val_dataloader(), "event_targets", "trace"
    )


def test_each_member_draws_its_users_and_a_user_keeps_the_draw(data):
    weights = {}
    loader = data.train_dataloader()
    windows = data.training.windows
    for index, example in zip(loader.sampler, loader, strict=True):
        users = windows.stream.events.user[windows.start[index]]
        for user, weight in zip(users.tolist(), example.weight.tolist(), strict=True):
            assert weights.setdefault(user, weight) == weight
    drawn = torch.tensor([weights[user] for user in sorted(weights)])
    assert drawn.shape == (len(windows.stream.users), 3)
    assert (drawn == drawn.round()).all()
    assert (drawn[:, 0] != drawn[:, 1]).any()
    assert drawn.mean(0).tolist() == pytest.approx([1, 1, 1], abs=0.5)
    assert (drawn == 0).any()
    assert (drawn > 1).any()


def test_one_member_and_validation_take_every_user_once(prepared, data):
    single = prepared(members=1)
    assert all((example.weight == 1).all() for example in single.train_dataloader())
    assert all(example.weight.shape == (len(example.batch.visible), 1) for example in single.train_dataloader())
    assert all((example.weight == 1).all() for example in data.val_dataloader())


def after(steps):
    return SimpleNamespace(global_step=steps)


def test_an_epoch_is_drawn_from_the_seed_and_the_step_alone(prepared, data):
    def order(source, epoch):
        loader = source.train_dataloader()
        source.trainer = after(epoch)
        return [example.batch.history.row[:, -1].tolist() for example in loader]

    again, other = prepared(), prepared(seed=1)
    assert order(data, 3) == order(again, 3)
    assert order(data, 3) != order(data, 4)
    assert order(data, 3) != order(other, 3)
    assert order(data, 3) == order(data, 3)


@pytest.mark.parametrize("batch_rows", [1, 7, 10_000])
def test_every_epoch_has_every_row_and_the_length_it_says(prepared, batch_rows):
    data = prepared(batch_rows=batch_rows)
    loader = data.train_dataloader()
    for epoch in range(3):
        data.trainer = after(epoch)
        examples = list(loader)
        assert len(examples) == len(loader)
        rows = torch.cat([example.batch.history.row.flatten() for example in examples])
        assert rows[rows >= 0].sort().values.tolist() == list(range(len(loader.dataset.windows.stream.events)))


def test_a_horizon_of_63_days_uses_the_whole_word(prepared):
    data = prepared(outcome=ActivityTrace(63))
    observed = torch.tensor(targets_by_row(data.val_dataloader(), "event_targets", "observed"))
    assert observed.dtype == torch.int64
    assert observed.max() == 0b111 << 11


def test_of_several_processes_each_takes_its_share_of_the_same_draw(prepared):
    def drawn(rank, processes):
        data = prepared()
        data.trainer = SimpleNamespace(global_step=7, global_rank=rank, world_size=processes)
        return data.train_dataloader(), data.val_dataloader()

    alone, judged = drawn(0, 1)
    whole = [set(index.tolist()) for index in alone.sampler]
    assert len(whole) % 2 == 1
    shares = [drawn(rank, 2)[0] for rank in range(2)]
    found = [[set(index.tolist()) for index in share.sampler] for share in shares]
    assert [len(share) for share in shares] == [len(it) for it in found] == [len(whole) // 2 + 1] * 2
    assert found[0] == whole[::2]
    assert found[1] == [*whole[1::2], whole[0]]  # an odd one out: both take as many steps
    for rank in range(2):
        assert len(drawn(rank, 2)[1]) == len(judged)
