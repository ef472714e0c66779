"""Outcomes beside the one that rewards are told in: learned, saved, scored, judged and drawn."""

from dataclasses import replace
from functools import partial

import numpy as np
import polars as pl
import pytest
import torch
from polars.testing import assert_frame_equal

from reward.__main__ import main
from reward.data.prepared import PreparedLog
from reward.data.split import known_at
from reward.encoders.gru import GRU
from reward.evaluation.auxiliary_tasks import assess_auxiliary
from reward.evaluation.evaluate import evaluate_function
from reward.heads.consumption import ConsumptionHead
from reward.heads.hazard import HazardHead
from reward.heads.rating import RatingHead
from reward.objectives.consumption import consumption_likelihood
from reward.objectives.hazard import hazard_likelihood
from reward.objectives.likelihood import trace_likelihood
from reward.objectives.rating import rating_likelihood
from reward.outcomes.consumption import Consumption
from reward.outcomes.returns import ReturnTime
from reward.outcomes.survey import SurveyRating
from reward.report.sentences import auxiliary_sentences
from reward.scoring.artifact import load, save
from reward.scoring.function import RewardFunction
from reward.scoring.partitioned import score_parquet
from reward.sequences.datamodule import StreamData
from reward.sequences.network import RewardNetwork
from reward.task import Task

TASK = "active_days"
SMALL = {"width": 8, "hidden": 4, "members": 2}
OUTCOMES = {
    "back": ReturnTime(7),
    "listened": Consumption("listen_ms", 7),
    "clicked": SurveyRating("click", [1, 2]),
}
OBJECTIVES = {"back": hazard_likelihood, "listened": consumption_likelihood, "clicked": rating_likelihood}

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
def trained(network_of, data, learn):
    network = network_of()
    torch.manual_seed(1)
    network.heads.update(
        {
            "back": HazardHead(horizon_days=7, causes=1, **SMALL),
            "listened": ConsumptionHead(horizon_days=7, **SMALL),
            "clicked": RatingHead(levels=[1, 2], **SMALL),
        }
    )
    tasks = {name: Task(it, network.heads[name], OBJECTIVES[name], 0.3) for name, it in OUTCOMES.items()}
    return learn(network, data, {TASK: Task(data.outcomes[TASK], network.head, trace_likelihood), **tasks})


@pytest.fixture(scope="module")
def fn(trained, features, outcome):
    network = trained[0].network
    return RewardFunction(network, features, {TASK: outcome, **OUTCOMES}, max_events=16, timestamp_unit=None, facts={})


@pytest.fixture(scope="module")
def events(log):
    return log.events.collect().sample(fraction=1, shuffle=True, seed=0)


def test_each_is_learned_beside_the_others(trained, fn, events):
    _, first, last = trained
    for name in ("loss", "back", "listened"):
        assert last[f"validation/{name}"] < first[f"validation/{name}"]
    assert fn.score_events(events, tasks=["clicked"])["clicked_exposed"].mean() < 1.05  # all who answered said 1


def test_amounts_begin_at_their_own_size(trained, data):
    amount = data.training.targets["listened"]["amount"]
    head = trained[0].network.heads["listened"]
    assert head.centre.mean() == pytest.approx(amount[amount > 0].log().mean(), abs=1.5)


def test_what_heads_begin_with_is_told_before_training_alone(trained):
    model = trained[0]
    before = {name: each.clone() for name, each in model.state_dict().items()}
    model.setup("validate")
    assert all(torch.equal(each, before[name]) for name, each in model.state_dict().items())


def test_saved_and_read_again_they_score_the_same(fn, events, tmp_path):
    save(fn, tmp_path / "reward")
    again = load(tmp_path / "reward")
    assert again.units == {
        "back": "days back in the next 7 days",
        "listened": "listen_ms in the next 7 days",
        "clicked": "click answered, from 1 to 2",
    }
    assert (again.auxiliary, again.reward) == (OUTCOMES, TASK)
    assert again.tasks == {TASK: again.outcome, **OUTCOMES}
    asked = {"tasks": list(OUTCOMES)}
    assert_frame_equal(again.score_events(events, **asked), fn.score_events(events, **asked), check_exact=True)


def test_scores_are_told_of_each_state_that_may_be_asked_and_leave_the_others_as_they_are(fn, events):
    found = fn.score_events(events, tasks=["clicked", "back"])
    assert found.columns[-5:] == ["clicked_before", "clicked_exposed", "back_before", "back_exposed", "back_after"]
    assert found.null_count().select(pl.sum_horizontal(found.columns[-5:])).item() == 0
    assert found["clicked_exposed"].is_between(1, 2).all()
    assert found["back_after"].is_between(0, 7).all()
    assert_frame_equal(found.drop(found.columns[-5:]), fn.score_events(events), check_exact=True)


def test_the_rewards_own_task_can_be_asked_like_any_other(fn, events):
    found = fn.score_events(events, tasks=[TASK])
    for state in ("before", "exposed", "after"):
        np.testing.assert_array_equal(found[f"{TASK}_{state}"], found[f"value_{state}"])
    assert_frame_equal(fn.distribution(events, TASK), fn.distribution(events), check_exact=True)
    np.testing.assert_allclose(fn.expected(events, TASK), fn.forecast(events), rtol=1e-6)


def test_what_was_called_also_goes_on_working_and_says_what_it_is_called_now(fn, events, tmp_path):
    wanted = fn.score_events(events, tasks=["back"])
    events.write_parquet(tmp_path / "events.parquet")
    calls = {
        "score_events": partial(fn.score_events, events),
        "scores": partial(fn.scores, events),
        "predict": partial(fn.predict, events),
        "score_parquet": partial(score_parquet, fn, tmp_path / "events.parquet", tmp_path / "scored.parquet"),
    }
    for name, call in calls.items():
        with pytest.warns(DeprecationWarning, match="^also= is called tasks= now: write that") as said:
            found = call(also=["back"])
        assert len(said) == 1
        assert said[0].filename == __file__, name
        found = (
            getattr(found, "scores", found) if name != "score_parquet" else pl.read_parquet(tmp_path / "scored.parquet")
        )
        assert_frame_equal(found.select(wanted.columns[-3:]), wanted.select(wanted.columns[-3:]), rel_tol=1e-5)
        with pytest.raises(TypeError, match=f"{name} expected tasks= or, by its name of before, also=, got both: give"):
            call(also=["back"], tasks=["back"])
    with pytest.warns(DeprecationWarning, match="RewardFunction.also is auxiliary now: read that"):
        assert fn.also == OUTCOMES
    with pytest.warns(DeprecationWarning, match="RewardNetwork.also is heads now: read that"):
        assert list(fn.network.also) == list(OUTCOMES)


def test_what_is_expected_of_the_parts_adds_up_to_the_value(fn, events):
    value = fn.score_events(events, tasks=["listened", "back"])
    for name in ("listened", "back"):
        np.testing.assert_allclose(fn.expected(events, name).sum(1), value[f"{name}_after"].to_numpy(), rtol=1e-4)


@pytest.mark.parametrize("name", [None, *OUTCOMES])
def test_a_distribution_is_told_of_each_user_and_sums_to_1(fn, events, name):
    found = fn.distribution(events, name)
    by_user = found.group_by("user_id", maintain_order=True).agg(pl.col("probability").sum(), pl.len())
    assert by_user["user_id"].to_list() == events["user_id"].unique().sort().to_list()
    np.testing.assert_allclose(by_user["probability"].to_numpy(), 1, rtol=1e-5)


def test_a_distribution_has_the_value_of_the_last_event_as_its_mean(fn, events):
    found = fn.distribution(events).group_by("user_id").agg((pl.col("outcome") * pl.col("probability")).sum())
    last = fn.score_events(events).sort("user_id", "timestamp", "position").group_by("user_id").last()
    both = found.join(last, on="user_id")
    np.testing.assert_allclose(both["outcome"].to_numpy(), both["value_after"].to_numpy(), rtol=1e-4)


def test_an_outcome_that_there_is_not_is_named_with_those_that_there_are(fn, events):
    said = r"expected names of the tasks of this function, active_days, back, listened, clicked, got sales: name some"
    for ask in (partial(fn.score_events, tasks=["sales"]), partial(fn.distribution, name="sales")):
        with pytest.raises(ValueError, match=said):
            ask(events)


@pytest.mark.usefixtures("drawn_figures")
def test_one_user_is_drawn_and_a_log_scored_from_the_command_line(fn, events, tmp_path, capsys):
    save(fn, tmp_path / "reward")
    events.write_parquet(tmp_path / "events.parquet")
    paths = ["--artifact", str(tmp_path / "reward"), "--events", str(tmp_path / "events.parquet")]
    user = str(events["user_id"][0])
    assert main(["draw", *paths, "--user", user, "--out", str(tmp_path / "user.svg")]) == 0
    assert (tmp_path / "user.svg").read_text().lstrip().startswith("<svg")
    assert main(["draw", *paths, "--user", "nobody", "--out", str(tmp_path / "nobody.svg")]) == 2
    assert "expected a user of the log" in capsys.readouterr().err
    assert not (tmp_path / "nobody.svg").exists()
    assert main(["score", *paths, "--tasks", "back", "--out", str(tmp_path / "scored.parquet")]) == 0
    assert "back_after" in pl.read_parquet(tmp_path / "scored.parquet").columns
    assert "--also" not in capsys.readouterr().err
    assert main(["score", *paths, "--also", "back", "--out", str(tmp_path / "again.parquet")]) == 0
    assert "--also is called --tasks now" in capsys.readouterr().err
    assert_frame_equal(pl.read_parquet(tmp_path / "again.parquet"), pl.read_parquet(tmp_path / "scored.parquet"))


SETTING = {"unit": "things", "parts": ["one", "two"], "resamples": 100, "seed": 0, "level": 0.95, "min_slice_users": 5}


def test_skill_and_ratio_by_hand():
    outcome = np.array([[1.0, 0.0], [3.0, 4.0]] * 10)
    known = np.array([[True, False], [True, True]] * 10)
    predicted = np.array([[1.0, 9.0], [2.0, 4.0]] * 10)
    rows = pl.DataFrame({"user_id": np.repeat(np.arange(10), 2), "slice: odd": [True, False] * 10})
    found = assess_auxiliary(predicted, outcome, known, np.array([2.0, 2.0]), rows=rows, **SETTING)
    # squared errors 0, 1, 0 against 1, 1, 4 of the average; 1 + 2 + 4 predicted of 1 + 3 + 4
    assert found.skill.value == pytest.approx(1 - 1 / 6)
    assert [it.ratio.value for it in found.slices] == pytest.approx([7 / 8, 1.0])
    assert [it.observed.value for it in found.parts] == [2.0, 4.0]
    assert [it.predicted.value for it in found.parts] == [1.5, 4.0]
    (said,) = auxiliary_sentences({"sales": found})
    assert said.startswith("sales (things) explains 0.833 [0.833 to 0.833] of the variance that the average leaves; ")


def test_the_average_has_no_skill_and_the_truth_all_of_it():
    rng = np.random.default_rng(0)
    outcome = rng.normal(3, 1, (200, 2))
    rows = pl.DataFrame({"user_id": np.arange(200)})
    ask = partial(assess_auxiliary, outcome=outcome, known=np.ones((200, 2), bool), average=outcome.mean(0), rows=rows)
    assert ask(np.broadcast_to(outcome.mean(0), (200, 2)), **SETTING).skill.value == pytest.approx(0)
    assert ask(outcome, **SETTING).skill.value == 1


def test_where_hardly_anybody_is_known_it_says_so():
    rows, nothing = pl.DataFrame({"user_id": [1, 2]}), np.zeros((2, 2), bool)
    found = assess_auxiliary(np.ones((2, 2)), np.ones((2, 2)), nothing, np.ones(2), rows=rows, **SETTING)
    assert found.reason == "the test days have this outcome of fewer than two users"
    assert auxiliary_sentences({"sales": found}) == [f"sales (things): not measured, because {found.reason}."]


def test_an_input_with_the_name_of_a_label_is_judged_as_it_came(log, windows_of_time, fit):
    def judged(name):
        renamed = log.events.rename({"listen_ms": name})
        named = replace(log, events=renamed, feedback=("click", name))
        features = fit(known_at(named, windows_of_time.train_end))
        torch.manual_seed(0)
        network = RewardNetwork(
            GRU(width=8, layers=1, dropout=0.0),
            {
                "back": HazardHead(horizon_days=7, causes=1, **SMALL),
                "listened": ConsumptionHead(horizon_days=7, **SMALL),
            },
            reward="back",
            sizes=features.sizes(),
            item_dropout=0.0,
        )
        tasks = {"back": ReturnTime(7), "listened": Consumption(name, 7)}
        fn = RewardFunction(network, features, tasks, max_events=16, timestamp_unit=None, facts={})
        return evaluate_function(
            fn,
            PreparedLog.of(named),
            windows_of_time,
            logistic={"strengths": [1.0], "max_categories": 10},
            boosting=None,
            intervals={"resamples": 10, "level": 0.95, "min_slice_users": 5, "bins": 5, "min_item_rows": 5},
            calibration={"prior_events": 10},
            policies={"divergence": 0.5, "min_effective_sample_size": 100, "most": [2]},
            seed=0,
        )

    wanted = judged("listen_ms")
    for name in ("event", "amount"):
        found = judged(name)
        assert found.metrics == wanted.metrics
        assert found.auxiliary["listened"].skill == wanted.auxiliary["listened"].skill
