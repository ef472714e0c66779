"""What holds of every reward, whatever it is made of; and of one reading of a log for all that is asked of it."""

from collections import Counter
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest
import torch
from polars.testing import assert_frame_equal
from slots import slots_of

from reward.encoders.gru import GRU
from reward.heads.trace import TraceHead
from reward.outcomes.habit import BackAfter, BackWithout, TakenUp
from reward.rewards import Rewards
from reward.scoring import strategies
from reward.scoring.function import RewardFunction
from reward.scoring.prediction import SCORES
from reward.scoring.readout import LogStates
from reward.scoring.requests import LogReader
from reward.scoring.strategies import CausalEffects, ExposureTerm, HabitReward, Strategy
from reward.sequences.network import RewardNetwork

DAYS = 7
MOMENTS = [datetime(2024, 4, 1, tzinfo=UTC), datetime(2024, 4, 4, tzinfo=UTC)]
ALSO = {
    "taken": TakenUp("click"),
    "after": BackAfter(DAYS, "genre", "click"),
    "without": BackWithout(DAYS, "genre", "click", own_share=0.5, seed=0),
}
# how each strategy is asked for: with effects or without, and by the name of a habit
ASKED = {ExposureTerm: (False, None), HabitReward: (False, "genre"), CausalEffects: (True, None)}


@pytest.fixture(scope="module")
def events(log):
    return log.events.filter(pl.col("user_id") < 12).collect().sample(fraction=1, shuffle=True, seed=0)


@pytest.fixture(scope="module")
def function_of(features, outcome, effects):
    """A function of random weights that predicts what a habit is made of, with effects or without."""
    torch.manual_seed(0)
    heads = {name: TraceHead(width=8, hidden=4, horizon_days=it.horizon_days, members=2) for name, it in ALSO.items()}
    network = RewardNetwork(
        GRU(width=8, layers=1, dropout=0.0),
        {"active_days": TraceHead(width=8, hidden=4, horizon_days=DAYS, members=2), **heads},
        reward="active_days",
        sizes=features.sizes(),
        item_dropout=0.0,
        absent=True,
        recall_days=[1, 7],
    )
    for part in (network.embedding.blank, network.embedding.items.weight, network.recall.sums[-1].weight):
        torch.nn.init.normal_(part)
    given = {"max_events": 1000, "timestamp_unit": None, "facts": {}}
    tasks = {"active_days": outcome, **ALSO}
    return {
        causal: RewardFunction(network, features, tasks, effects=effects.model if causal else None, **given)
        for causal in (False, True)
    }


@pytest.fixture(params=ASKED, ids=lambda it: it.__name__)
def asked(request, function_of):
    """A strategy, a function that makes rewards by it, and the habit that is named for it."""
    causal, habit = ASKED[request.param]
    return request.param, function_of[causal], habit


def rows_of(asked, events):
    """(rows, 2) what a strategy says of a log's rows."""
    strategy, function, habit = asked
    return function.score_events(events, habit=habit).select(strategy.columns)


def test_each_strategy_is_held_to_this_contract():
    there = {it for it in vars(strategies).values() if isinstance(it, type) and hasattr(it, "of_rows")} - {Strategy}
    assert there == ASKED.keys()


def test_a_row_and_a_candidate_of_the_same_slot_and_item_have_the_same_reward(asked, events):
    _, function, habit = asked
    rows = rows_of(asked, events)
    history = function.encode(events, now=slots_of(events))
    found = function.score_candidates(history, events["item_id"].to_numpy()[:, None], habit=habit)
    for told, name in zip(found, rows.columns, strict=True):
        np.testing.assert_allclose(told[:, 0], rows[name], atol=2e-6, rtol=1e-4)
    assert rows[:, 0].std() > 1e-4  # or nothing would be compared


def test_each_reward_is_a_finite_mean_with_a_standard_deviation(asked, events):
    rows = rows_of(asked, events)
    assert rows.schema == dict.fromkeys(asked[0].columns, pl.Float64)
    assert rows.select(pl.all().is_finite().all()).row(0) == (True, True)
    assert rows[:, 1].min() >= 0
    assert rows[:, 1].max() > 0


def test_a_reward_does_not_depend_on_what_else_is_scored(asked, events):
    _, function, habit = asked
    history = function.encode(events, now=MOMENTS[1])
    items = [7, 3, 7, 500, 12]
    together = function.score_candidates(history, items, habit=habit)
    alone = [function.score_candidates(history, [item], habit=habit) for item in items]
    for name in Rewards._fields:
        one = torch.cat([getattr(each, name) for each in alone], 1)
        torch.testing.assert_close(getattr(together, name), one, atol=1e-6, rtol=1e-5)
    user = events["user_id"][0]
    own = rows_of(asked, events.filter(pl.col("user_id") == user))
    wanted = rows_of(asked, events).filter(events["user_id"] == user)
    assert_frame_equal(own, wanted, abs_tol=1e-5, rel_tol=1e-5)


def test_a_row_that_repeats_another_has_its_reward(asked, events):
    twice = pl.concat([events, events[:5]])
    found = rows_of(asked, twice)
    assert_frame_equal(found[-5:], found[:5], check_exact=True)


def test_a_strategy_has_columns_of_its_own_where_two_are_told(function_of, events):
    for function in function_of.values():
        assert function.scores(events, habit="genre").columns == [*SCORES, *HabitReward.columns]


class TestPredict:
    """`RewardFunction.predict` against the calls that ask for one thing."""

    @pytest.fixture
    def others(self, events):
        """What each row is asked about: any item, not its own."""
        return events["item_id"].shuffle(seed=1)

    @pytest.fixture
    def counted(self, monkeypatch):
        """How often a log is brought to the schema, and how often the network reads one."""
        counts = Counter()

        def counting(kind, name):
            whole = getattr(kind, name)

            def call(self, *given, **more):
                counts[name] += 1
                return whole(self, *given, **more)

            monkeypatch.setattr(kind, name, call)

        counting(LogReader, "read")
        counting(LogStates, "read_off")
        return counts

    @pytest.mark.parametrize("causal", [False, True])
    def test_one_call_tells_what_single_calls_tell(self, function_of, events, others, causal):
        function = function_of[causal]
        options = {"tasks": ["after"], "habit": "genre", "as_of": MOMENTS[0]}
        expected = {"after": None, "without": others}
        found = function.predict(events, forecast=True, expected=expected, moments=MOMENTS, **options)
        assert_frame_equal(found.scores, function.scores(events, **options), abs_tol=1e-6, rel_tol=1e-6)
        same = {"atol": 1e-6, "rtol": 1e-6}
        np.testing.assert_allclose(found.forecast, function.forecast(events), **same)
        assert found.expected.keys() == expected.keys()
        for name, items in expected.items():
            np.testing.assert_allclose(found.expected[name], function.expected(events, name, asked=items), **same)
        np.testing.assert_allclose(found.values_as_of, function.values_as_of(events, MOMENTS), **same)
        np.testing.assert_allclose(found.values_as_of[:, 0], found.scores["value_as_of"].to_numpy(), **same)

    def test_what_each_row_is_asked_about_matters(self, function_of, events, others):
        own, other = (function_of[False].expected(events, "without", asked=it) for it in (None, others))
        assert np.abs(own - other).max() > 1e-4

    @pytest.mark.parametrize("causal", [False, True])
    def test_the_log_is_read_once_whatever_is_asked(self, function_of, events, others, counted, causal):
        expected = {"after": None, "without": others}
        more = {"tasks": list(ALSO), "habit": "genre", "as_of": MOMENTS[0]}
        function_of[causal].predict(events, forecast=True, expected=expected, moments=MOMENTS, **more)
        assert counted == {"read": 1, "read_off": 1}

    def test_a_single_call_reads_it_once_too(self, function_of, events, counted):
        function = function_of[False]
        calls = [
            function.score_events,
            function.forecast,
            lambda log: function.values_as_of(log, MOMENTS),
            lambda log: function.expected(log, "after"),
            function.distribution,
        ]
        for done, call in enumerate(calls, 1):
            call(events)
            assert counted == {"read": done, "read_off": done}

    def test_what_is_not_asked_for_is_empty(self, function_of, events):
        found = function_of[False].predict(events)
        assert found.scores.columns == list(SCORES)
        assert found.forecast.shape == found.values_as_of.shape == (len(events), 0)
        assert found.expected == {}

    def test_of_a_log_without_rows_all_is_told_in_its_shape(self, function_of, events, counted):
        function = function_of[False]
        asked = {"forecast": True, "expected": {"after": None, "without": None}, "moments": MOMENTS, "habit": "genre"}
        full, empty = function.predict(events, **asked), function.predict(events.clear(), **asked)
        assert counted == {"read": 1, "read_off": 1}  # of the rows that there are
        assert empty.scores.schema == full.scores.schema
        assert empty.forecast.shape == (0, full.forecast.shape[1])
        assert empty.values_as_of.shape == (0, len(MOMENTS))
        assert {name: it.shape for name, it in empty.expected.items()} == {
            name: (0, it.shape[1]) for name, it in full.expected.items()
        }

    def test_what_it_cannot_tell_is_refused_before_the_log_is_read(self, function_of, events, counted):
        train = r"got return_time: name some .* with task=\[active_days,taken,after,without,return_time\]"
        for asked, message in (
            ({"expected": {"return_time": None}}, train),
            ({"tasks": ["return_time"]}, train),
            ({"habit": "show"}, "habit='show' expected one of the habits of this function, genre"),
        ):
            with pytest.raises(ValueError, match=message):
                function_of[False].predict(events, **asked)
        assert counted == {}
