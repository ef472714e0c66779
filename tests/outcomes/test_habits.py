"""The reward of bringing a creator up: learned from exposures and from what was not shown, saved, scored and judged."""

from copy import deepcopy
from functools import partial

import numpy as np
import polars as pl
import pytest
import torch
from polars.testing import assert_frame_equal

from reward.__main__ import main
from reward.data.event_log import SchemaError
from reward.data.prepared import PreparedLog
from reward.encoders.gru import GRU
from reward.evaluation.evaluate import evaluate_function
from reward.heads.trace import TraceHead
from reward.objectives.likelihood import trace_likelihood
from reward.outcomes.habit import BackAfter, BackWithout, TakenUp
from reward.scoring.artifact import load, save
from reward.scoring.function import RewardFunction
from reward.sequences.datamodule import StreamData
from reward.sequences.network import RewardNetwork
from reward.task import Task

DAYS = 7
TASK = "active_days"
OUTCOMES = {
    "taken": TakenUp("click"),
    "after": BackAfter(DAYS, "genre", "click"),
    "without": BackWithout(DAYS, "genre", "click", own_share=0.5, seed=0),
}
HABIT = ["habit", "habit_std"]

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.isinstance.treespec, LeafSpec.:FutureWarning"),
]


@pytest.fixture(scope="module")
def data(log, outcome, features, windows_of_time):
    settings = {"max_events": 16, "batch_rows": 150, "members": 2, "seed": 0}
    data = StreamData(log, {TASK: outcome, **OUTCOMES}, features, windows_of_time, reward=TASK, **settings)
    data.setup()
    return data


@pytest.fixture(scope="module")
def trained(features, data, learn):
    torch.manual_seed(0)
    head = partial(TraceHead, width=8, hidden=4, members=2)
    network = RewardNetwork(
        GRU(width=8, layers=1, dropout=0.0),
        {
            TASK: head(horizon_days=DAYS),
            "taken": head(horizon_days=1),
            "after": head(horizon_days=DAYS),
            "without": head(horizon_days=DAYS),
        },
        reward=TASK,
        sizes=features.sizes(),
        item_dropout=0.0,
        absent=True,
        recall_days=[1, 7],
    )
    weights = {name: 1.0 if name == TASK else 0.3 for name in network.heads}
    tasks = {
        name: Task(data.outcomes[name], network.heads[name], trace_likelihood, weight)
        for name, weight in weights.items()
    }
    return learn(network, data, tasks)


@pytest.fixture(scope="module")
def fn(trained, features, outcome):
    network = trained[0].network
    return RewardFunction(network, features, {TASK: outcome, **OUTCOMES}, max_events=16, timestamp_unit=None, facts={})


@pytest.fixture(scope="module")
def events(log):
    return log.events.collect().sample(fraction=1, shuffle=True, seed=0)


def test_all_three_parts_are_learned(trained):
    _, first, last = trained
    for name in OUTCOMES:
        assert last[f"validation/{name}"] < first[f"validation/{name}"]


def test_a_habit_is_taken_up_times_the_days_it_is_worth_more_than_without(fn, events):
    found = fn.score_events(events, tasks=list(OUTCOMES), habit="genre")
    assert found.columns[-5:] == ["taken_exposed", "after_exposed", "without_absent", *HABIT]
    alone = RewardFunction(  # an ensemble of one, where the mean of products is the product of means
        first_members(fn.network), fn.features, fn.tasks, max_events=16, timestamp_unit=None, facts={}
    ).score_events(events, tasks=list(OUTCOMES), habit="genre")
    taken, after, without = (alone[name].to_numpy() for name in found.columns[-5:-2])
    np.testing.assert_allclose(alone["habit"].to_numpy(), taken * (after - without), rtol=1e-4, atol=1e-6)
    assert alone["habit_std"].max() == 0
    assert found["habit_std"].min() > 0


def first_members(network):
    """The network with the first member of each of its ensembles."""
    network = deepcopy(network)
    for head in network.heads.values():
        ensemble = head.ensemble
        source = torch.nn.Linear(8, 4)
        source.weight.data, source.bias.data = ensemble.inner.weight[:4], ensemble.inner.bias[:4]
        ensemble.outer = torch.nn.Parameter(ensemble.outer[:1])
        ensemble.bias = torch.nn.Parameter(ensemble.bias[:1])
        ensemble.inner, ensemble.members, head.members = source, 1, 1
    return network


def test_rows_and_candidates_agree_and_history_is_shared(fn, events):
    last = events.sort("timestamp").filter(pl.col("user_id") == events["user_id"][0]).tail(1)
    own = events.filter((pl.col("user_id") == last["user_id"][0]) & (pl.col("timestamp") < last["timestamp"][0]))
    slot = last.select("user_id", "timestamp", "session_id", "surface", "volume")
    wanted = fn.score_events(pl.concat([own, last]), habit="genre").tail(1)
    history = fn.encode(own, now=slot)
    found = fn.score_candidates(history, [3, last["item_id"][0], 9], habit="genre")
    assert found.mean[0, 1].item() == pytest.approx(wanted["habit"].item(), abs=1e-5)
    assert found.std[0, 1].item() == pytest.approx(wanted["habit_std"].item(), abs=1e-5)
    parts = fn.score_events(pl.concat([own, last]), tasks=list(OUTCOMES)).tail(1)
    for name, it in OUTCOMES.items():
        predicted = fn.predict_candidates(history, [3, last["item_id"][0], 9], name)
        assert predicted[0, 1].item() == pytest.approx(parts[f"{name}_{it.states[0]}"].item(), abs=1e-5)
    alone = fn.score_candidates(history, [last["item_id"][0]], habit="genre")
    assert alone.mean.item() == pytest.approx(found.mean[0, 1].item(), abs=1e-6)


def test_what_is_not_asked_for_leaves_the_scores_as_they_are(fn, events):
    plain = fn.score_events(events)
    told = fn.score_events(events, tasks=list(OUTCOMES), habit="genre")
    assert_frame_equal(told.select(plain.columns), plain, rel_tol=1e-5, abs_tol=1e-6)
    assert told.select(pl.col(HABIT).null_count()).row(0) == (0, 0)


def test_saved_and_read_again_it_is_the_same(fn, events, tmp_path, capsys):
    save(fn, tmp_path / "reward")
    again = load(tmp_path / "reward")
    assert again.habits == fn.habits
    card = (tmp_path / "reward" / "README.md").read_text(encoding="utf-8")
    assert "- `without`: days back to the same genre in the next 7 days, where it is not shown\n" in card
    assert "- the habit `genre`: days back" in card
    wanted = fn.score_events(events, habit="genre")
    assert_frame_equal(again.score_events(events, habit="genre"), wanted, check_exact=True)
    events.write_parquet(tmp_path / "events.parquet")
    paths = ["--artifact", str(tmp_path / "reward"), "--events", str(tmp_path / "events.parquet")]
    assert main(["score", *paths, "--habit", "genre", "--out", str(tmp_path / "scored.parquet")]) == 0
    assert_frame_equal(pl.read_parquet(tmp_path / "scored.parquet"), wanted)
    assert main(["score", *paths, "--habit", "show", "--out", str(tmp_path / "other.parquet")]) == 2
    assert "habit='show' expected one of the habits of this function, genre" in capsys.readouterr().err


def test_what_is_asked_of_a_slot_does_not_read_what_is_in_it(fn, events):
    other = events.with_columns(item_id=(pl.col("item_id") + 3) % 30)  # of the same genre, but for the unknown ones
    last = events.sort("timestamp", "position").group_by("user_id").last().select("user_id", "timestamp", "item_id")
    swapped = events.join(last, on=["user_id", "timestamp", "item_id"], how="semi")
    assert swapped.height == last.height
    asked = pl.Series(["b"] * events.height)
    found = fn.expected(events, "without", asked=asked)
    same = fn.expected(events.with_columns(item_id=other["item_id"]), "without", asked=asked)
    first = events.with_columns(row=pl.int_range(pl.len())).sort("timestamp").group_by("user_id").first()["row"]
    np.testing.assert_allclose(found[first], same[first], atol=1e-6)  # a first slot has no history to differ in


def test_what_was_not_shown_is_judged_by_what_came_of_it(fn, log, windows_of_time):
    found = evaluate_function(
        fn,
        PreparedLog.of(log),
        windows_of_time,
        logistic={"strengths": [1.0], "max_categories": 10},
        boosting=None,
        intervals={"resamples": 10, "level": 0.95, "min_slice_users": 5, "bins": 5, "min_item_rows": 5},
        calibration={"prior_events": 10},
        policies={"divergence": 0.5, "min_effective_sample_size": 100, "most": [2]},
        seed=0,
    ).auxiliary
    assert [found[name].reason for name in OUTCOMES] == [None] * 3
    assert [it.name for it in found["taken"].parts] == ["taken up"]
    for name in OUTCOMES:
        assert 0.5 < found[name].slices[0].ratio.value < 2


def test_a_scope_without_a_vocabulary_is_said(log, features):
    with pytest.raises(SchemaError, match=r"scope='minutes' expected item or one of the item features .*\['genre'\]"):
        features.groups("minutes", pl.Series(["a"]))


def test_a_genre_is_an_item_of_which_nothing_else_is_known(features):
    named = features.groups("genre", pl.Series(["a", None, "unheard of", "c"]))
    known = features.groups("genre", features.item_inputs(pl.Series([3, 0, 5])))
    assert named.categories[:, 0].tolist() == [1, 0, 0, 3]
    assert known.categories[:, 0].tolist() == features.item_inputs(pl.Series([3, 0, 5])).categories[:, 0].tolist()
    assert not named.code.any()
    assert not known.code.any()
    blank = features.item_inputs(pl.Series([None], dtype=pl.Int64)).numbers
    np.testing.assert_array_equal(named.numbers, np.repeat(blank, 4, axis=0))
    assert features.groups("item", pl.Series([3])).code.item() == features.item_inputs(pl.Series([3])).code.item()
