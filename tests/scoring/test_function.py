import copy
import math
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from functools import partial

import numpy as np
import polars as pl
import pytest
import torch
from polars.testing import assert_frame_equal
from slots import Lists, slots_of
from torch import nn
from torch.testing import assert_close
from torch.utils.data import DataLoader

from reward.data.days import local_day
from reward.data.event_log import SchemaError
from reward.data.validation import SetAsideWarning
from reward.encoders.gru import GRU
from reward.encoders.transformer import Transformer
from reward.heads.trace import TraceHead
from reward.outcomes.activity import ActivityTrace
from reward.scoring import candidates, readout
from reward.scoring.function import RewardFunction
from reward.scoring.prediction import SCORES
from reward.sequences.network import RewardNetwork

NEAR = {"abs_tol": 1e-5, "rel_tol": 1e-5}
TRANSFORMER = partial(Transformer, width=8, layers=2, heads=2, dropout=0.0)
NOW = datetime(2024, 4, 3, 9, 30, tzinfo=UTC)


@pytest.fixture(scope="module")
def events(log):
    return log.events.filter(pl.col("user_id") < 16).collect()


@pytest.fixture(scope="module")
def function_of(features, outcome):
    """A scoring function of random weights, large enough for rewards to differ."""

    def build(encoder=None, *, max_events=1000, **changes):
        torch.manual_seed(0)
        encoder = GRU(width=8, layers=1, dropout=0.0) if encoder is None else encoder()
        head = TraceHead(width=8, hidden=4, horizon_days=7, members=2)
        network = RewardNetwork(
            encoder, {"active_days": head}, reward="active_days", sizes=features.sizes(), item_dropout=0.0
        )
        torch.nn.init.normal_(network.embedding.blank)
        torch.nn.init.normal_(network.embedding.items.weight)
        settings = {"timestamp_unit": None, "facts": {}} | changes
        return RewardFunction(network, features, {"active_days": outcome}, max_events=max_events, **settings)

    return build


@pytest.fixture(scope="module")
def fn(function_of):
    return function_of()


@pytest.fixture(scope="module")
def scored(fn, events):
    """The log with its scores."""
    return fn.score_events(events)


@pytest.fixture(scope="module")
def history(fn, events):
    """Everyone's history at one moment."""
    return fn.encode(events, now=NOW)


@pytest.fixture
def worded(log, fit, outcome):
    """A function whose item ids are strings, and its events."""
    name = pl.format("i{}", "item_id").alias("item_id")
    words = replace(log, events=log.events.with_columns(name), items=log.items.with_columns(name))
    features = fit(words)
    torch.manual_seed(0)
    head = TraceHead(width=8, hidden=4, horizon_days=7, members=2)
    network = RewardNetwork(
        GRU(width=8, layers=1, dropout=0.0),
        {"active_days": head},
        reward="active_days",
        sizes=features.sizes(),
        item_dropout=0.0,
    )
    return RewardFunction(
        network, features, {"active_days": outcome}, max_events=64, timestamp_unit=None, facts={}
    ), words.events.collect()


def same_scores(one, two):
    assert_frame_equal(one.select(SCORES), two.select(SCORES), **NEAR)


def test_every_row_comes_back_in_its_place_with_finite_scores(fn, events, scored):
    assert_frame_equal(scored.drop(SCORES), events)
    assert scored.columns == [*events.columns, *SCORES]
    assert scored.select(pl.col(SCORES).is_finite().all()).row(0) == (True,) * 5
    assert scored.select(pl.col("value_before", "value_after").is_between(0, 7).all()).row(0) == (True, True)
    assert scored["reward"].std() > 1e-3


def test_the_order_of_the_rows_changes_no_score(fn, events, scored):
    shuffled = events.sample(fraction=1, shuffle=True, seed=3)
    found = fn.score_events(shuffled)
    assert_frame_equal(found.drop(SCORES), shuffled)
    key = ["user_id", "item_id", "timestamp"]
    same_scores(found.sort(key), scored.sort(key))


@pytest.mark.parametrize("max_events", [8, 1000])
def test_the_size_of_a_batch_changes_no_score(function_of, events, monkeypatch, max_events):
    fn = function_of(max_events=max_events)
    together = fn.score_events(events)
    monkeypatch.setattr(readout, "BATCH_ROWS", 50)
    same_scores(fn.score_events(events), together)


def test_a_user_alone_has_the_scores_they_have_among_others(function_of, events):
    fn = function_of(max_events=16)
    among = fn.score_events(events)
    for user in (3, events["user_id"].mode()[0]):
        mine = pl.col("user_id") == user
        same_scores(fn.score_events(events.filter(mine)), among.filter(mine))


def test_a_repeated_row_gets_the_scores_of_the_first(fn, events, scored):
    again = events[100:120].sample(fraction=1, shuffle=True, seed=0)
    found = fn.score_events(pl.concat([again, events]))
    same_scores(found[20:], scored)
    key = ["user_id", "item_id", "timestamp"]
    twin = again.select(key).join(found[20:], on=key, how="left", maintain_order="left")
    assert_frame_equal(found[:20].select(SCORES), twin.select(SCORES))


def test_an_empty_log_comes_back_with_the_columns(fn, events):
    scored = fn.score_events(events.clear(), as_of=NOW)
    assert scored.height == 0
    assert scored.schema == {**events.schema, **dict.fromkeys([*SCORES, "value_as_of"], pl.Float64)}


def test_arrival_exposure_and_surprise_add_up_to_the_move_of_the_value(fn, events, scored):
    previous = scored.select(pl.col("value_after").shift(1).over("user_id"))["value_after"]
    arrival = scored["value_before"] - previous
    surprise = scored["value_after"] - scored["value_exposed"]
    moved = (arrival + scored["reward"] + surprise).drop_nulls().to_numpy()
    np.testing.assert_allclose(moved, (scored["value_after"] - previous).drop_nulls().to_numpy(), atol=1e-5)
    assert surprise.std() > 1e-3


def test_the_reward_is_the_exposure_step_and_its_deviation_is_never_negative(fn, events, scored):
    gained = (scored["value_exposed"] - scored["value_before"]).to_numpy()
    np.testing.assert_allclose(scored["reward"].to_numpy(), gained, atol=1e-6)
    assert scored["reward_std"].min() >= 0
    assert scored["reward_std"].max() > 0


@pytest.mark.parametrize(("encoder", "max_events"), [(None, 8), (TRANSFORMER, 1000)])
def test_the_future_moves_no_earlier_value(function_of, events, encoder, max_events):
    fn = function_of(encoder, max_events=max_events)
    scored = fn.score_events(events)
    late = pl.col("slate") >= NOW
    slate = slots_of(events)["timestamp"].alias("slate")
    ahead = events.with_columns(slate)
    changed = ahead.with_columns(
        click=pl.when(late).then(1 - pl.col("click")).otherwise("click"),
        listen_ms=pl.when(late).then(pl.col("listen_ms") * 3 + 50).otherwise("listen_ms"),
        item_id=pl.when(late).then((pl.col("item_id") + 7) % 30).otherwise("item_id"),
        surface=pl.when(late).then(pl.lit("home")).otherwise("surface"),
    )
    extra = ahead.filter(late).with_columns(
        pl.col("timestamp") + timedelta(hours=5), request_id=pl.lit(None, pl.String)
    )
    for future in (changed, pl.concat([ahead, extra]), ahead.filter(~late)):
        before = fn.score_events(future.drop("slate")).filter(future["slate"] < NOW)[: ahead.filter(~late).height]
        same_scores(before, scored.filter(ahead["slate"] < NOW))
    after = fn.score_events(changed.drop("slate")).filter(changed["slate"] >= NOW)
    moved = after["reward"] - scored.filter(ahead["slate"] >= NOW)["reward"]
    assert moved.abs().max() > 1e-3  # the change is one that a function which looks ahead would notice


def test_a_rows_own_feedback_moves_what_follows_it_alone(fn, events, scored):
    row = 200
    mine = pl.int_range(pl.len()) == row
    changed = events.with_columns(click=pl.when(mine).then(1 - pl.col("click")).otherwise("click"))
    one, two = scored, fn.score_events(changed)
    same_scores(one[:row], two[:row])
    early = ["value_before", "value_exposed", "reward", "reward_std"]
    assert_frame_equal(one[row].select(early), two[row].select(early), **NEAR)
    assert abs(one["value_after"][row] - two["value_after"][row]) > 1e-4


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        (
            "click",
            math.nan,
            r"2 of {rows} events cannot be scored: 2 row\(s\): click is not a finite number.*Mend or drop",
        ),
        ("listen_ms", -1.0, r"2 row\(s\): listen_ms is not a finite number of at least 0"),
        ("user_id", None, r"2 row\(s\): user_id is null"),
        ("item_id", None, r"2 row\(s\): item_id is null"),
        ("timestamp", datetime(1971, 1, 1, tzinfo=UTC), r"2 row\(s\): timestamp is before 1990"),
        ("volume", math.inf, r"2 row\(s\): volume is infinite"),
    ],
)
def test_more_flawed_rows_than_training_allowed_are_refused(fn, events, column, value, message):
    two = pl.int_range(pl.len()).is_in([3, 9])
    flawed = events.with_columns(pl.when(two).then(pl.lit(value)).otherwise(column).alias(column))
    for read in (fn.score_events, partial(fn.encode, now=NOW)):
        with pytest.raises(SchemaError, match=message.replace("{rows}", str(events.height))):
            read(flawed)


class TestRowsThatTrainingWouldSetAside:
    FLAWS = (
        ("click", math.nan, "click is not a finite number of at least 0"),
        ("click", 45_000.0, "click is neither 0 nor 1"),
        ("user_id", None, "user_id is null"),
        ("timestamp", datetime(1971, 1, 1, tzinfo=UTC), "timestamp is before 1990"),
        ("volume", math.inf, "volume is infinite"),
    )

    @staticmethod
    def lenient(function_of):
        found = function_of()
        found.features = replace(found.features, max_rejected_share=0.01)
        return found

    @staticmethod
    def flawed(events, column, value):
        two = pl.int_range(pl.len()).is_in([3, 9])
        return events.with_columns(pl.when(two).then(pl.lit(value)).otherwise(column).alias(column))

    @pytest.mark.parametrize(("column", "value", "reason"), FLAWS)
    def test_they_have_no_score_and_a_warning_counts_them(self, function_of, events, column, value, reason):
        fn, flawed = self.lenient(function_of), self.flawed(events, column, value)
        with pytest.warns(
            UserWarning, match=rf"2 of {events.height} events cannot be scored: 2 row\(s\): {reason}.*no sco"
        ):
            found = fn.score_events(flawed)
        assert_frame_equal(found.select(flawed.columns), flawed)
        for name in SCORES:
            assert found[name].is_null().arg_true().to_list() == [3, 9]
        kept = [row for row in range(events.height) if row not in (3, 9)]
        same_scores(found[kept], fn.score_events(flawed[kept]))

    def test_what_reads_a_log_otherwise_does_the_same(self, function_of, events):
        fn, flawed = self.lenient(function_of), self.flawed(events, "volume", math.inf)
        for read in (fn.forecast, partial(fn.values_as_of, moments=[NOW + timedelta(days=90)])):
            with pytest.warns(SetAsideWarning, match="2 row"):
                found = read(flawed)
            assert np.flatnonzero(np.isnan(found).any(1)).tolist() == [3, 9]
        with pytest.warns(SetAsideWarning, match="2 row"):
            history = fn.encode(flawed, now=NOW)
        assert len(history) == events["user_id"].n_unique()

    def test_a_flawed_row_with_the_key_of_a_sound_one_has_no_score_either(self, function_of, events):
        fn = self.lenient(function_of)
        twice = pl.concat([events, events.head(1).with_columns(listen_ms=pl.lit(-1.0))])
        with pytest.warns(SetAsideWarning, match="1 of"):
            found = fn.score_events(twice)
        assert found["reward"].is_null().arg_true().to_list() == [events.height]

    def test_a_slot_that_cannot_be_read_is_refused_for_it_is_to_be_answered(self, function_of, events):
        slots = pl.DataFrame({"user_id": [3] * 200, "timestamp": [NOW] * 199 + [datetime(1971, 1, 1, tzinfo=UTC)]})
        with pytest.raises(SchemaError, match=r"now does not fit: 1 of 200 events .* at most 0.00% may be set aside"):
            self.lenient(function_of).encode(events, now=slots)


class TestNamesThatTheLogHas:
    def test_a_column_of_the_log_stays_and_the_score_goes_by_another_name(self, fn, events, scored):
        log = events.with_columns(reward=pl.lit("x"), value_after=pl.lit(7), scored_reward=pl.lit(1))
        found = fn.score_events(log)
        assert_frame_equal(found.select(log.columns), log)
        for name, as_ in (("reward", "scored_scored_reward"), ("value_after", "scored_value_after")):
            assert found[as_].equals(scored[name])
        assert found["reward_std"].equals(scored["reward_std"])

    def test_the_scores_alone_have_their_own_names(self, fn, events, scored):
        assert_frame_equal(fn.scores(events.with_columns(reward=pl.lit("x"))), scored.select(SCORES))


@pytest.mark.parametrize("column", ["user_id", "item_id", "timestamp", "click", "surface"])
def test_a_missing_column_is_named(fn, events, column):
    with pytest.raises(SchemaError, match=f"events has no column '{column}'"):
        fn.score_events(events.drop(column))


@pytest.mark.parametrize(
    ("column", "dtype", "message"),
    [
        ("user_id", pl.Float64, "'user_id' as Float64: expected an integer or a string"),
        ("timestamp", pl.String, "'timestamp' as String: expected a datetime"),
        ("click", pl.String, "'click' as String: expected feedback"),
        ("item_id", pl.String, "differ from those of training: item_id is String, expected Int64: cast what differs"),
        ("volume", pl.String, "volume is String, expected Float64"),
    ],
)
def test_a_column_of_another_type_is_refused(fn, events, column, dtype, message):
    with pytest.raises(SchemaError, match=message):
        fn.score_events(events.cast({column: dtype}))


def test_a_category_that_came_as_a_number_is_refused(fn, events):
    with pytest.raises(SchemaError, match="surface is Float64, expected String"):
        fn.score_events(events.with_columns(surface=pl.lit(1.0)))


def test_a_context_number_may_come_as_integers_or_unknown(fn, events):
    whole = events.with_columns(volume=pl.lit(2, pl.Int32))
    same_scores(fn.score_events(whole), fn.score_events(events.with_columns(volume=pl.lit(2.0))))
    none = events.with_columns(volume=pl.lit(None), surface=pl.lit(None))
    typed = events.with_columns(volume=pl.lit(None, pl.Float64), surface=pl.lit(None, pl.String))
    same_scores(fn.score_events(none), fn.score_events(typed))


def test_timestamps_may_be_integers_of_the_training_logs_unit_or_datetimes(function_of, events):
    fn = function_of(timestamp_unit="ms")
    rounded = events.with_columns(pl.col("timestamp").dt.truncate("1s"))
    ticks = rounded.with_columns(pl.col("timestamp").dt.epoch("ms"))
    scored = fn.score_events(ticks)
    assert scored.schema["timestamp"] == pl.Int64
    same_scores(scored, fn.score_events(rounded))
    history = fn.encode(ticks, now=ticks.select("user_id", "timestamp").head(5))
    assert_close(history.slots.hours, fn.encode(rounded, now=rounded.head(5)).slots.hours)
    with pytest.raises(SchemaError, match="expected timestamp_unit to be one of s, ms, us, ns, got None"):
        function_of().score_events(ticks)


def test_unknown_users_and_items_are_scored_and_counted(fn, events):
    strange = events.with_columns(
        pl.col("user_id") + 10_000, item_id=pl.col("item_id") + 1_000 * (pl.col("item_id") % 2)
    )
    scored = fn.score_events(strange)
    assert scored.select(pl.col(SCORES).is_finite().all()).row(0) == (True,) * 5
    odd = int((events["item_id"] % 2).sum())
    known_odd = fn.unknown_items(events["item_id"])
    assert fn.unknown_items(strange["item_id"]) == odd + fn.unknown_items(
        events["item_id"].filter(events["item_id"] % 2 == 0)
    )
    assert known_odd < odd
    assert fn.unknown_items([1, -5, 10**12, 10**12]) == 3


def test_a_user_is_scored_by_their_history_and_not_by_their_name(fn, events, scored):
    same_scores(fn.score_events(events.with_columns(pl.col("user_id") + 99)), scored)


def test_the_features_of_a_new_item_are_read_from_the_items_table(fn, events, history):
    new = events.with_columns(item_id=pl.lit(777))
    table = pl.DataFrame({"item_id": [777], "genre": ["b"], "minutes": [90.0], "vector": [[3.0, -3.0, 3.0]]})
    plain, told = fn.score_events(new), fn.score_events(new, items_table=table)
    assert (plain["reward"] - told["reward"]).abs().min() > 1e-6
    unknown = fn.score_candidates(history, [777])
    known = fn.score_candidates(history, [777, 3], items_table=table)
    assert (unknown.mean - known.mean[:, :1]).abs().min() > 1e-6
    assert_close(known.mean[:, 1:], fn.score_candidates(history, [3]).mean)
    assert fn.unknown_items([777, 3], table) == 1


def test_an_items_table_that_lacks_a_feature_is_refused(fn, events, history):
    with pytest.raises(SchemaError, match="the items table does not fit: items has no column 'genre'"):
        fn.score_candidates(history, [777], items_table=pl.DataFrame({"item_id": [777]}))


def test_the_first_day_of_the_given_histories_can_be_said(fn, events):
    late = events.filter(pl.col("timestamp") >= NOW)
    plain, told = fn.score_events(late), fn.score_events(late, history_start=date(2024, 4, 3))
    assert (plain["value_before"] - told["value_before"]).abs().max() > 1e-4
    same_scores(told, fn.score_events(late, history_start=date(2024, 4, 3)))


def test_the_forecast_sums_to_the_value_after_each_row(fn, events):
    shuffled = events.sample(fraction=1, shuffle=True, seed=1)
    days = fn.forecast(shuffled)
    assert days.shape == (events.height, 7)
    assert days.min() >= 0
    assert days.max() <= 1
    np.testing.assert_allclose(days.sum(1), fn.score_events(shuffled)["value_after"].to_numpy(), atol=1e-5)


def test_there_is_progress_to_show_for_each_batch(fn, events, monkeypatch):
    monkeypatch.setattr(readout, "BATCH_ROWS", 200)
    seen = []

    def progress(batches):
        for batch in batches:
            seen.append(batch)
            yield batch

    fn.score_events(events, progress=progress)
    assert len(seen) > 3


def by_a_loop(fn, events, as_of):
    """value_as_of row by row: days seen whole or already active, and the latest state's forecast of the others.

    Days since the latest that passed in silence lower the intensity of the others, by 1 + frailty · their own.
    """
    known = events.filter(pl.col("timestamp") < as_of).sort("user_id", "timestamp", "position", "item_id")
    forecast = fn.forecast(known)
    day = known.select(local_day("Europe/Paris"))["day"].to_list()
    today = pl.DataFrame({"timestamp": [as_of]}).select(local_day("Europe/Paris")).item()
    users = known["user_id"].to_list()
    latest = {user: row for row, user in enumerate(users)}
    active = set(zip(users, day, strict=True))
    found = {}
    for user, item, moment, own in zip(users, known["item_id"], known["timestamp"], day, strict=True):
        total = 0.0
        for ahead in range(own + 1, own + 8):
            if ahead < today or (user, ahead) in active:
                total += (user, ahead) in active
            else:
                chance, silent = forecast[latest[user]], max(today - 1 - day[latest[user]], 0)
                slower = 1 - fn.network.head.frailty.item() * np.log1p(-chance[:silent]).sum()
                total += 1 - (1 - chance[ahead - day[latest[user]] - 1]) ** (1 / slower)
        found[user, item, moment] = total
    return [found.get(key) for key in events.select("user_id", "item_id", "timestamp").iter_rows()]


@pytest.mark.parametrize("frailty", [0.0, 2.0])
@pytest.mark.parametrize("as_of", [NOW, NOW.replace(hour=22, minute=30), NOW.replace(microsecond=123457)])
def test_what_was_known_at_a_moment_is_days_seen_and_a_forecast_of_the_open_ones(
    fn, events, as_of, frailty, monkeypatch
):
    monkeypatch.setitem(fn.network.head._buffers, "frailty", torch.tensor(frailty))
    shuffled = events.sample(fraction=1, shuffle=True, seed=2)
    scored = fn.score_events(shuffled, as_of=as_of)
    expected = by_a_loop(fn, shuffled, as_of)
    assert scored["value_as_of"].is_null().to_list() == [value is None for value in expected]
    assert 0 < scored["value_as_of"].null_count() < events.height
    np.testing.assert_allclose(
        scored["value_as_of"].fill_null(-1).to_numpy(),
        [-1 if value is None else value for value in expected],
        atol=1e-5,
    )
    assert_frame_equal(scored.drop("value_as_of"), fn.score_events(shuffled))


def test_many_moments_are_told_from_one_reading(fn, events):
    shuffled = events.sample(fraction=1, shuffle=True, seed=3)
    moments = [NOW, datetime(2023, 1, 1), NOW + timedelta(days=3, hours=5)]
    found = fn.values_as_of(shuffled, moments)
    for column, moment in zip(found.T, moments, strict=True):
        wanted = fn.score_events(shuffled, as_of=moment)["value_as_of"].fill_null(np.nan).to_numpy()
        np.testing.assert_array_equal(column, wanted)


def test_rows_up_to_the_last_microsecond_before_a_moment_are_known_at_it(fn, events):
    ticks = 987_653 + 2 * np.arange(300)
    for tick in ticks[::150].tolist():
        moment = NOW.replace(microsecond=tick)
        rows = events[:2].with_columns(
            timestamp=pl.Series([moment - timedelta(microseconds=1), moment]), item_id=pl.Series([1, 2])
        )
        known = fn.score_events(rows.with_columns(user_id=pl.lit(1)), as_of=moment)["value_as_of"]
        assert known.is_null().to_list() == [False, True]


def test_after_everything_is_over_what_is_known_are_the_active_days(fn, events, outcome, log):
    label = outcome.label(log, 10**6).collect()
    active = label["trace"].bitwise_count_ones().cast(pl.Float64)
    scored = fn.score_events(events, as_of=datetime(2025, 1, 1))
    assert scored["value_as_of"].to_list() == active.head(events.height).to_list()
    assert active.n_unique() > 3


def test_before_everything_nothing_is_known(fn, events):
    assert fn.score_events(events, as_of=datetime(2023, 1, 1))["value_as_of"].null_count() == events.height


def test_a_visit_without_the_feedback_that_counts_is_not_an_active_day(network_of, features, events):
    counts = ActivityTrace(horizon_days=7, active_if="click")
    fn = RewardFunction(network_of(), features, {"active_days": counts}, max_events=64, timestamp_unit=None, facts={})
    days = [NOW - timedelta(days=1), NOW - timedelta(minutes=9)]
    two = events[:2].with_columns(user_id=pl.lit(1), timestamp=pl.Series(days), click=pl.lit(0.0))
    came = fn.score_events(two, as_of=NOW)["value_as_of"].to_list()
    clicked = fn.score_events(two.with_columns(click=pl.Series([0.0, 1.0])), as_of=NOW)["value_as_of"].to_list()
    ahead = fn.forecast(two)[1], fn.forecast(two.with_columns(click=pl.Series([0.0, 1.0])))[1]
    assert came == pytest.approx([ahead[0][:6].sum(), ahead[0].sum()], abs=1e-5)
    assert clicked == pytest.approx([1 + ahead[1][:6].sum(), ahead[1].sum()], abs=1e-5)


def test_a_return_to_the_same_item_has_no_forecast_as_of_a_moment(network_of, features, events):
    back = ActivityTrace(horizon_days=7, scope="item", active_if="click")
    fn = RewardFunction(network_of(), features, {"active_days": back}, max_events=64, timestamp_unit=None, facts={})
    with pytest.raises(SchemaError, match=r"as_of expected .* scope='user', this outcome is .*scope='item'"):
        fn.score_events(events, as_of=NOW)


@pytest.mark.parametrize(("encoder", "max_events"), [(None, 1000), (None, 6), (TRANSFORMER, 6)])
def test_a_logged_item_as_a_candidate_in_its_slot_gets_the_reward_of_its_row(function_of, events, encoder, max_events):
    fn = function_of(encoder, max_events=max_events)
    scored = fn.score_events(events)
    assert events["timestamp"].is_duplicated().any()
    assert (events["timestamp"] != slots_of(events)["timestamp"]).any()
    history = fn.encode(events, now=slots_of(events))
    found = fn.score_candidates(history, events["item_id"].to_numpy()[:, None])
    np.testing.assert_allclose(found.mean[:, 0], scored["reward"], atol=1e-5)
    np.testing.assert_allclose(found.std[:, 0], scored["reward_std"], atol=1e-5)


def test_candidates_together_are_candidates_one_by_one(fn, history):
    together = fn.score_candidates(history, range(40))
    alone = [fn.score_candidates(history, [item]) for item in range(40)]
    for name in ("mean", "std"):
        found = getattr(together, name)
        assert found.shape == (len(history), 40)
        assert_close(found, torch.cat([getattr(each, name) for each in alone], 1), atol=1e-5, rtol=0)
    assert together.mean[:, :20].std(1).min() > 1e-4


def test_candidates_of_each_user_are_scored_for_that_user(fn, history):
    everyone = fn.score_candidates(history, range(30))
    own = torch.stack(
        [torch.randperm(30, generator=torch.Generator().manual_seed(row))[:4] for row in range(len(history))]
    )
    each = fn.score_candidates(history, own)
    assert_close(each.mean, everyone.mean.gather(1, own), atol=1e-6, rtol=0)
    assert_close(each.std, everyone.std.gather(1, own), atol=1e-6, rtol=0)


def test_ids_may_come_in_any_container(fn, history):
    expected = fn(history, [4, 2, 999, 4]).mean
    same = [
        (4, 2, 999, 4),
        pl.Series([4, 2, 999, 4]),
        pl.Series([4, 2, 999, 4], dtype=pl.UInt32),
        np.array([4, 2, 999, 4], np.uint64),
        np.array([4, 2, 999, 4], object),
        torch.tensor([4, 2, 999, 4], dtype=torch.int32),
        [[4, 2, 999, 4]] * len(history),
    ]
    for items in same:
        assert torch.equal(fn.score_candidates(history, items).mean, expected)
    assert_close(expected[:, 0], expected[:, 3])


def test_ids_may_be_strings(worded):
    fn, events = worded
    scored = fn.score_events(events)
    history = fn.encode(events, now=slots_of(events))
    found = fn.score_candidates(history, events["item_id"].to_numpy()[:, None])
    np.testing.assert_allclose(found.mean[:, 0], scored["reward"], atol=1e-5)
    listed = fn.score_candidates(history, ["i3", "never seen, and longer than any"])
    assert torch.equal(fn.score_candidates(history, pl.Series(["i3", "else"])).mean, listed.mean)
    assert fn.unknown_items(["i3", "i", "zzz", "3"]) == 3
    assert fn.score_candidates(history, []).mean.shape == (len(history), 0)
    with pytest.raises(ValueError, match="items expected String ids, as in training, got int64: cast them"):
        fn.score_candidates(history, [3])


def test_strings_that_differ_in_nuls_at_their_end_are_different_items(worded):
    fn, events = worded
    history = fn.encode(events, now=slots_of(events))
    found = fn.score_candidates(history, ["i3", "i3\0", "z" * 10_000]).mean
    assert (found[:, 0] != found[:, 1]).any()
    assert_close(found[:, 1], found[:, 2])
    assert fn.unknown_items(["i3\0", "i3", "z" * 10_000]) == 2
    with pytest.raises(ValueError, match="items expected String ids, as in training, got object: cast them"):
        fn.score_candidates(history, ["i3", None])


@pytest.mark.parametrize("items", [["a", "b"], [1.5, 2.0], [True, False]])
def test_ids_of_another_type_are_refused(fn, history, items):
    with pytest.raises(ValueError, match=r"items expected Int64 ids, as in training, got .*: cast them"):
        fn.score_candidates(history, items)


@pytest.mark.parametrize("items", [5, np.zeros((3, 2), int), np.zeros((2, 2, 2), int)])
def test_ids_of_another_shape_are_refused(fn, history, items):
    pattern = (
        rf"items expected shape \(candidates,\) or \({len(history)}, candidates\) for {len(history)} histories, got"
    )
    with pytest.raises(ValueError, match=pattern):
        fn.score_candidates(history, items)


def test_no_candidates_have_no_rewards(fn, history):
    assert fn.score_candidates(history, []).mean.shape == (len(history), 0)
    assert fn.score_candidates(history, np.zeros((len(history), 0), int)).std.shape == (len(history), 0)


def test_histories_are_selected_by_slice_list_and_tensor(fn, history):
    expected = fn.score_candidates(history, range(10)).mean
    mask = torch.arange(len(history)) % 3 == 0
    for index in (slice(3, 9), slice(None, None, 2), [5, 1, 5], torch.tensor([7, 0]), mask):
        part = history[index]
        rows = torch.arange(len(history))[index]
        assert part.users.to_list() == [history.users[row] for row in rows.tolist()]
        assert len(part) == len(rows)
        assert_close(fn.score_candidates(part, range(10)).mean, expected[rows], atol=1e-6, rtol=0)


def test_histories_move_to_a_device(history):
    moved = history.to("meta")
    tensors = [moved.visible, *moved.slots, moved.memory.states, moved.memory.hours, *moved.memory.layers]
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert moved.users is history.users
    assert history.visible.device.type == "cpu"


def test_a_moment_asks_for_every_user_in_the_order_of_their_ids(fn, events):
    history = fn.encode(events.sample(fraction=1, shuffle=True, seed=0), now=NOW)
    assert history.users.to_list() == sorted(set(events["user_id"]))
    frame = pl.DataFrame({"user_id": history.users, "timestamp": [NOW] * len(history)})
    expected = fn.score_candidates(fn.encode(events, now=frame), range(5)).mean
    tokyo = NOW.astimezone(timezone(timedelta(hours=9)))
    for moment in (NOW.replace(tzinfo=None), tokyo):
        assert_close(fn.score_candidates(fn.encode(events, now=moment), range(5)).mean, expected)
    other = fn.encode(events, now=NOW + timedelta(hours=9))
    assert (fn.score_candidates(other, range(5)).mean - expected).abs().max() > 1e-5


def test_a_frame_asks_for_several_slots_of_a_user_and_for_users_without_events(fn, events):
    moments = [NOW, NOW - timedelta(days=3), NOW, NOW + timedelta(days=2), NOW]
    users = [5, 3, 10_001, 3, 3]
    slots = pl.DataFrame({"user_id": users, "timestamp": moments, "surface": ["home", "search", None, "home", "new"]})
    history = fn.encode(events, now=slots)
    assert history.users.to_list() == users
    assert history.visible[2].item() == 0
    together = fn.score_candidates(history, range(6))
    for row in (2, 3):
        alone = fn.score_candidates(fn.encode(events, now=slots[row]), range(6))
        assert_close(together.mean[row], alone.mean[0], atol=1e-5, rtol=0)
    backwards = fn.score_candidates(fn.encode(events, now=slots.reverse()), range(6))
    assert_close(backwards.mean.flip(0), together.mean, atol=1e-5, rtol=0)
    assert (together.mean[1] - together.mean[4]).abs().max() > 1e-5


def test_everyone_may_be_new(fn, events):
    slots = pl.DataFrame({"user_id": [1, 2], "timestamp": [NOW, NOW]})
    rewards = fn.score_candidates(fn.encode(events.clear(), now=slots), [1, 2, 3])
    assert torch.isfinite(rewards.mean).all()
    assert_close(rewards.mean[0], rewards.mean[1])
    assert len(fn.encode(events.clear(), now=NOW)) == 0
    assert fn.score_candidates(fn.encode(events, now=slots.clear()), [1, 2]).mean.shape == (0, 2)


@pytest.mark.parametrize("max_events", [8, 1000])
def test_events_from_a_slots_moment_on_are_not_read(function_of, events, max_events):
    fn = function_of(max_events=max_events)
    moment = events.filter(pl.col("timestamp") >= NOW)["timestamp"].min()
    users = pl.DataFrame(
        {"user_id": events["user_id"].unique().sort(), "timestamp": [moment] * events["user_id"].n_unique()}
    )
    past = events.filter(pl.col("timestamp") < moment)
    assert_close(
        fn.score_candidates(fn.encode(events.drop("session_id"), now=users), range(5)).mean,
        fn.score_candidates(fn.encode(past.drop("session_id"), now=users), range(5)).mean,
        atol=1e-5,
        rtol=0,
    )


def test_the_context_of_a_slot_is_read(fn, events):
    slots = pl.DataFrame({"user_id": [3, 3, 3], "timestamp": [NOW] * 3, "volume": [None, 2.0, math.nan]})
    found = fn.score_candidates(fn.encode(events, now=slots), range(5)).mean
    assert (found[0] - found[1]).abs().max() > 1e-5
    assert_close(found[0], found[2])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"user_id": [None, 3]}, r"now does not fit: 1 of 2 events cannot be scored: 1 row\(s\): user_id is null"),
        ({"user_id": ["a", "b"]}, "now has user_id as String, events as Int64: expected one type, cast one"),
        ({"session_id": [1, 2]}, "now has session_id as Int64, events as String: expected one type"),
        ({"timestamp": ["2024-05-21"] * 2}, "now does not fit: .*'timestamp' as String: expected a datetime"),
        ({"volume": ["loud", "quiet"]}, "now does not fit: events differ .*volume is String, expected Float64"),
        ({"volume": [math.inf, 1.0]}, r"now does not fit: .*1 row\(s\): volume is infinite"),
    ],
)
def test_a_frame_of_slots_that_does_not_fit_is_refused(fn, events, changes, message):
    slots = pl.DataFrame({"user_id": [3, 4], "timestamp": [NOW, NOW], **changes}, strict=False)
    with pytest.raises(SchemaError, match=f"(?s){message}"):
        fn.encode(events, now=slots)


def test_a_frame_of_slots_needs_users_and_moments(fn, events):
    with pytest.raises(SchemaError, match="now expected a frame with user_id and timestamp, it has no timestamp"):
        fn.encode(events, now=pl.DataFrame({"user_id": [1]}))


def test_how_many_are_scored_at_once_changes_nothing(fn, history, monkeypatch):
    together = fn.score_candidates(history, range(10))
    monkeypatch.setattr(candidates, "ATTENTION_CELLS", 1)
    apart = fn.score_candidates(history, range(10))
    assert_close(apart.mean, together.mean, atol=1e-6, rtol=0)
    assert_close(apart.std, together.std, atol=1e-6, rtol=0)


class Ranker(nn.Module):
    def __init__(self, fn):
        super().__init__()
        self.fn = fn
        self.scores = nn.Parameter(torch.zeros(30))

    def forward(self, history, items):
        rewards = self.fn(history, items)
        return -(self.scores.softmax(-1) * rewards.mean).sum(-1).mean()


def test_a_parent_that_trains_leaves_the_function_frozen_and_in_eval_mode(function_of, events):
    fn = function_of(partial(GRU, width=8, layers=1, dropout=0.5))
    parent = nn.Sequential(nn.Linear(2, 2), fn).train()
    assert parent[0].training
    assert not any(part.training for part in fn.modules())
    assert not any(parameter.requires_grad for parameter in fn.parameters())
    first = fn.score_events(events)
    assert_frame_equal(fn.score_events(events), first, check_exact=True)
    assert not any(part.training for part in fn.train(True).modules())


def test_a_copy_scores_alike(fn, history):
    twin = copy.deepcopy(fn)
    assert torch.equal(twin.score_candidates(history, range(9)).mean, fn.score_candidates(history, range(9)).mean)
    assert twin.network is not fn.network


def test_gradients_reach_the_ranker_and_not_the_function(fn, history):
    ranker = Ranker(fn)
    ranker(history, range(30)).backward()
    assert ranker.scores.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in fn.parameters())


@pytest.mark.filterwarnings("default")  # what the compiler itself warns of
def test_a_compiled_ranker_may_hold_the_function(fn, history):
    ranker = Ranker(fn)
    loss = torch.compile(ranker, backend="eager")(history, list(range(30)))
    assert_close(loss, ranker(history, range(30)))
    loss.backward()
    assert ranker.scores.grad.abs().max() > 0


def test_a_forked_worker_scores_candidates(fn, history):
    loader = DataLoader(Lists(fn, history), 2, num_workers=2, timeout=30, multiprocessing_context="fork")
    assert_close(torch.cat(list(loader)), fn.score_candidates(history[:4], Lists.ITEMS).mean)


def test_unit_horizon_and_facts_are_at_hand(function_of):
    fn = function_of(facts={"log": "abc"})
    assert (fn.unit, fn.horizon_days, fn.facts) == ("active days in the next 7 days", 7, {"log": "abc"})
    assert fn.device.type == "cpu"
