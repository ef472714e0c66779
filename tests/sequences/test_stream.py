from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
import torch

from reward.sequences.stream import Stream, Windows

every_length = pytest.mark.parametrize("max_events", [2, 6, 16, 1000])


def rows_of(windows, batches):
    """Each window's rows of events and slots."""
    found = {}
    for batch in batches:
        made = windows.batch(batch)
        for place, window in enumerate(batch):
            events, slots = made.history.row[place], made.slots.row[place]
            found[int(window)] = (events[events >= 0], slots[slots >= 0])
    return found


@pytest.fixture(scope="module")
def asked(log, features):
    """The stream with slots of its own: four moments for each user and one who has no events."""
    users = [*log.events.select(pl.col("user_id").unique().sort()).collect()["user_id"], 10_000]
    moments = [datetime(2024, 3, day, 9, tzinfo=UTC) for day in (1, 24, 30)] + [datetime(2024, 5, 1, tzinfo=UTC)]
    at = pl.DataFrame({"user_id": users}).join(
        pl.DataFrame({"timestamp": pl.Series(moments, dtype=pl.Datetime("us", "UTC"))}), how="cross"
    )
    return Stream.build(log.events, features, at=at.sample(fraction=1, shuffle=True, seed=0))


def test_the_stream_has_the_logs_rows_in_order(log, stream, features):
    events = log.events.collect()
    assert len(stream.events) == len(stream.slots) == events.height
    assert stream.users.to_list() == events["user_id"].unique().sort().to_list()
    assert stream.users.gather(stream.events.user).to_list() == events["user_id"].to_list()
    assert np.array_equal(stream.events.source, np.arange(events.height))
    assert np.array_equal(stream.events.items.code, features.item_inputs(events["item_id"]).code)
    assert np.diff(stream.offsets).tolist() == events.group_by("user_id", maintain_order=True).len()["len"].to_list()


@every_length
def test_every_event_is_owned_exactly_once(stream, max_events):
    windows = Windows.cut(stream, max_events)
    found = rows_of(windows, windows.batches(64))
    assert sorted(torch.cat([events for events, _ in found.values()]).tolist()) == list(range(len(stream.events)))


@every_length
def test_every_slot_is_owned_exactly_once(stream, asked, max_events):
    for each in (stream, asked):
        windows = Windows.cut(each, max_events)
        found = rows_of(windows, windows.batches(64))
        assert sorted(torch.cat([slots for _, slots in found.values()]).tolist()) == list(range(len(each.slots)))


@every_length
def test_a_slot_reads_the_latest_events_before_it_and_no_other_users(stream, asked, max_events):
    for each in (stream, asked):
        windows = Windows.cut(each, max_events)
        batch = windows.batch(np.arange(len(windows)))
        start = torch.from_numpy(windows.start).unsqueeze(1).expand_as(batch.visible)
        asks = batch.slots.row >= 0
        slot, first, read = batch.slots.row[asks].numpy(), start[asks].numpy(), batch.visible[asks].numpy()
        begin = each.offsets[each.slots.user[slot]]
        assert np.array_equal(first + read, begin + each.slots.visible[slot])
        # all of a short history, and at least half a window of a long one
        assert (read >= np.minimum(each.slots.visible[slot], max_events // 2)).all()
        assert (read <= max_events).all()
        assert (first >= begin).all()


@every_length
def test_an_event_is_read_after_the_events_before_it(stream, max_events):
    windows = Windows.cut(stream, max_events)
    batch = windows.batch(np.arange(len(windows)))
    for place in range(len(windows)):
        row = batch.history.row[place]
        own = torch.nonzero(row >= 0).flatten()
        assert (row[own] == windows.start[place] + own).all()
        begin = stream.offsets[stream.events.user[windows.start[place]]]
        assert (own >= torch.minimum(row[own] - begin, torch.tensor(max_events // 2))).all()
    assert (np.diff(windows.start) > 0).all()


def test_windows_of_a_long_history_overlap_by_half(small, fit):
    start = datetime(2024, 5, 1)
    log = small([(1, (start + timedelta(hours=hour)).isoformat()) for hour in range(11)] + [(2, "2024-05-03T00:00")])
    windows = Windows.cut(Stream.build(log.events, fit(log)), 4)
    spans = zip(windows.start, windows.stop, windows.first_own, strict=True)
    assert [tuple(map(int, span)) for span in spans] == [
        (0, 4, 0),
        (2, 6, 4),
        (4, 8, 6),
        (6, 10, 8),
        (8, 11, 10),
        (11, 12, 11),
    ]
    assert np.diff(windows.slot_bounds).tolist() == [4, 2, 2, 2, 1, 1]


@every_length
@pytest.mark.parametrize("seed", [None, 0, 1])
def test_batches_cover_every_window_once(stream, max_events, seed):
    windows = Windows.cut(stream, max_events)
    shuffle = None if seed is None else np.random.default_rng(seed)
    batches = windows.batches(100, shuffle)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(windows)))
    assert all(len(batch) for batch in batches)
    longest = windows.lengths.max()
    assert all(windows.lengths[batch].sum() <= 100 + longest for batch in batches)


def test_a_shuffle_draws_other_batches_and_the_same_seed_the_same(stream):
    windows = Windows.cut(stream, 8)
    first, again, other = (windows.batches(100, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert all(np.array_equal(one, two) for one, two in zip(first, again, strict=True))
    assert [batch.tolist() for batch in first] != [batch.tolist() for batch in other]


def test_a_shuffled_batch_is_a_fair_sample_of_the_lengths(stream):
    windows = Windows.cut(stream, 8)
    lengths = windows.lengths.astype(float)

    def between(batches):
        """Share of the variance of the lengths that lies between batches; (batches - 1) / (windows - 1) by chance."""
        means = np.concatenate([np.full(len(batch), lengths[batch].mean()) for batch in batches])
        return means.var() / lengths.var()

    shares = [between(windows.batches(100, np.random.default_rng(seed))) for seed in range(20)]
    by_chance = (len(windows.batches(100)) - 1) / (len(windows) - 1)
    assert by_chance / 2 < np.mean(shares) < 1.5 * by_chance
    assert between(windows.batches(100)) > 0.9


def test_padding_is_zero_and_belongs_to_no_row(stream):
    windows = Windows.cut(stream, 1000)
    order = np.argsort(windows.lengths)
    batch = windows.batch(np.array([order[0], order[-1]]))
    length = int(windows.lengths[order[0]])
    assert batch.history.row.shape[1] > length
    for tokens in (batch.history, batch.slots):
        assert (tokens.row[0, length:] == -1).all()
        assert not any(part[0, length:].any() for part in tokens[:-1])
    assert not batch.visible[0, length:].any()


def test_hours_are_counted_from_the_windows_first_event(log, stream):
    windows = Windows.cut(stream, 6)
    batch = windows.batch(np.arange(len(windows)))
    moments = log.events.collect()["timestamp"].to_physical().to_numpy()
    own = batch.history.row >= 0
    origin = torch.from_numpy(moments[windows.start]).unsqueeze(1).expand_as(own)[own]
    expected = (moments[batch.history.row[own].numpy()] - origin.numpy()) / 3.6e9
    assert batch.history.hours[own].numpy() == pytest.approx(expected, rel=1e-6, abs=1e-6)
    assert (batch.history.hours[:, 0] == 0).all()


def test_the_slots_of_a_slate_are_put_together_at_its_first_moment(small, fit):
    moments = ["08:00:00", "08:10:00", "08:10:40", "08:11:40"]
    log = small([(1, f"2024-05-01T{moment}") for moment in moments], request_id=["a", "b", "b", "b"])
    batch = Windows.cut(Stream.build(log.events, fit(log)), 8).batch(np.array([0]))
    assert batch.history.hours[0].tolist() == pytest.approx([0, 600 / 3600, 640 / 3600, 700 / 3600])
    # how long the user stayed with an item of the slate is feedback on it, unknown when the slate was made
    assert batch.slots.hours[0].tolist() == pytest.approx([0, 600 / 3600, 600 / 3600, 600 / 3600])


def test_a_users_slots_are_the_same_alone_and_among_others(log, features, stream):
    user = int(np.diff(stream.offsets).argmax())
    name = stream.users[user]
    alone = Stream.build(log.events.filter(pl.col("user_id") == name), features)
    windows, own = Windows.cut(stream, 16), Windows.cut(alone, 16)
    mine = np.flatnonzero(stream.events.user[windows.start] == user)
    assert len(mine) == len(own) > 2
    among, lone = windows.batch(mine), own.batch(np.arange(len(own)))
    for ours, theirs in ((among.history, lone.history), (among.slots, lone.slots)):
        for one, two in zip(ours[:-1], theirs[:-1], strict=True):
            assert torch.equal(one, two)
    assert torch.equal(among.visible, lone.visible)


def test_slots_asked_about_have_no_item_and_change_no_event(stream, asked):
    for field in ("time", "visible", "slot_numbers", "slot_categories", "feedback"):
        assert np.array_equal(getattr(asked.events, field), getattr(stream.events, field))
    assert not asked.slots.items.code.any()
    assert not asked.slots.feedback.any()
    assert asked.users.to_list() == [*stream.users, 10_000]
    assert asked.offsets.tolist() == [*stream.offsets, len(stream.events)]


def test_a_user_without_events_reads_nothing(asked):
    windows = Windows.cut(asked, 6)
    batch = windows.batch(np.arange(len(windows)))
    assert batch.slots.row[-1, :4].min() >= 0
    assert not batch.visible[-1].any()
    assert (batch.history.row[-1] == -1).all()
    assert batch.slots.hours[-1, 0] == 0
    assert all(torch.isfinite(part).all() for tokens in batch[:2] for part in tokens)


def test_a_log_without_events_still_answers_for_slots(log, features):
    at = pl.DataFrame({"user_id": [1, 2], "timestamp": [datetime(2024, 4, 1, tzinfo=UTC)] * 2}).cast(
        {"timestamp": pl.Datetime("us", "UTC")}
    )
    stream = Stream.build(log.events.head(0), features, at=at)
    windows = Windows.cut(stream, 4)
    batch = windows.batch(np.arange(len(windows)))
    assert batch.slots.row.tolist() == [[0], [1]]
    assert batch.slots.slot_numbers.shape[-1] == len(features.slot_names)


def test_the_history_may_begin_before_the_training_log(log, features):
    early = Stream.build(log.events, features, first_day=features.first_day - 30).slots
    late = Stream.build(log.events, features).slots
    rate = features.slot_names.index("rate_28d")
    been = late.slot_numbers[:, features.slot_names.index("days_since_last")] > 0
    assert been.any()
    assert (early.slot_numbers[been, rate] < late.slot_numbers[been, rate]).all()


@pytest.mark.parametrize("max_events", [0, 1, 7])
def test_windows_of_an_odd_length_are_refused(stream, max_events):
    with pytest.raises(ValueError, match=f"even number of at least 2, got {max_events}"):
        Windows.cut(stream, max_events)


def test_an_items_table_reaches_the_stream(log, features):
    fresh = pl.DataFrame({"item_id": [888], "genre": ["b"], "minutes": [5.0], "vector": [[1.0, 2.0, 3.0]]}).cast(
        {"vector": pl.List(pl.Float32)}
    )
    events = log.events.with_columns(item_id=pl.lit(888, pl.Int64)).unique(["user_id", "timestamp"])
    for table, categories in ((fresh, 2), (None, 0)):
        found = Stream.build(events, features, items_table=table)
        assert (found.events.items.code == 0).all()
        assert (found.events.items.categories == categories).all()
