"""A composite scores and is saved like any other scoring function."""

import json
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest
import torch
from arms import simulated
from forged import reseal
from polars.testing import assert_frame_equal

import reward
from reward.__main__ import main
from reward.data.event_log import SchemaError
from reward.experiments.proxy_weights import jive
from reward.scoring.artifact import ArtifactError, save
from reward.scoring.composite import Composite
from reward.scoring.function import RewardFunction

NOW = datetime(2024, 4, 3, 9, 30, tzinfo=UTC)


@pytest.fixture(scope="module")
def events(log):
    return log.events.filter(pl.col("user_id") < 6).collect()


@pytest.fixture
def functions(network_of, features, outcome):
    made = (
        RewardFunction(
            network_of(seed=seed), features, {"active_days": outcome}, max_events=16, timestamp_unit=None, facts={}
        )
        for seed in (0, 1)
    )
    return dict(zip(("plays", "returns"), made, strict=True))


@pytest.fixture
def scored_by_models(functions):
    return Composite({"plays": 2.0, "returns": -1.0}, "days", functions=functions, covariance=[[0.1, 0.0], [0.0, 0.2]])


def test_columns_are_summed_by_hand():
    log = pl.DataFrame({"click": [True, False], "listen_ms": [100, 300]})
    made = Composite({"click": 0.5, "listen_ms": 0.01}, "days", covariance=[[0.04, 0.001], [0.001, 0.0001]])
    scored = made.score_events(log)
    assert scored["reward"].to_list() == pytest.approx([1.5, 3.0])
    # (1, 100) and (0, 300) on the covariance
    assert scored["reward_std"].to_list() == pytest.approx([np.sqrt(0.04 + 0.2 + 1.0), 3.0])
    assert scored.columns == ["click", "listen_ms", "reward", "reward_std"]


def test_functions_and_columns_are_summed_together(functions, events):
    made = Composite({"click": 0.5, "plays": 2.0}, "days", functions={"plays": functions["plays"]})
    scored, parts = made.score_events(events), functions["plays"].score_events(events)
    expected = 0.5 * events["click"].cast(pl.Float64) + 2 * parts["reward"]
    np.testing.assert_allclose(scored["reward"], expected)
    np.testing.assert_allclose(scored["reward_std"], 2 * parts["reward_std"])
    assert_frame_equal(scored.select(events.columns), events)


def test_candidates_are_the_sum_of_their_functions(scored_by_models, functions, events):
    history = scored_by_models.encode(events, now=NOW)
    rewards = scored_by_models.score_candidates(history, range(10))
    one, two = (fn.score_candidates(fn.encode(events, now=NOW), range(10)) for fn in functions.values())
    torch.testing.assert_close(rewards.mean, 2 * one.mean - two.mean)
    doubt = 0.1 * one.mean**2 + 0.2 * two.mean**2
    torch.testing.assert_close(rewards.std, ((2 * one.std + two.std) ** 2 + doubt).sqrt())
    assert rewards.mean.dtype == torch.float32
    some = scored_by_models.score_candidates(history[[1, 3]], range(10))
    torch.testing.assert_close(some.mean, rewards.mean[[1, 3]])
    assert len(history) == 6
    assert len(history.to("cpu").users) == 6
    torch.testing.assert_close(scored_by_models(history, range(10)).mean, rewards.mean)


def test_what_is_read_scores_exactly_as_what_was_written(scored_by_models, events, tmp_path):
    again = reward.load(scored_by_models.save(tmp_path / "made"))
    assert isinstance(again, Composite)
    assert_frame_equal(again.score_events(events), scored_by_models.score_events(events), check_exact=True)
    assert again.unit == "days"
    assert again.signals == ("plays", "returns")
    assert not any(part.training for part in again.train().modules())
    assert not any(weight.requires_grad for weight in again.parameters())
    assert again.unknown_items([0, 1000]) == 1
    assert scored_by_models.save(tmp_path / "made").is_dir()  # again, in the place of the first


def test_the_weights_of_experiments_become_a_reward_with_their_errors(tmp_path):
    found = jive(simulated(0), "north")
    made = Composite.of(found, "active days")
    row = pl.DataFrame({"a": [1.0], "b": [0.0]})
    scored = made.score_events(row)
    assert scored["reward"].item() == pytest.approx(found.weights[0])
    assert scored["reward_std"].item() == pytest.approx(found.se[0])
    again = reward.load(made.save(tmp_path / "made"))
    assert again.facts["experiments"]["method"] == "JIVE"
    assert_frame_equal(again.score_events(row), scored, check_exact=True)
    assert "JIVE" in (tmp_path / "made" / "README.md").read_text()
    assert again.unknown_items([1, 2]) == 0


def test_an_unbounded_interval_can_be_saved(tmp_path):
    found = jive(simulated(3, experiments=12, strength=0.7), "north")
    again = reward.load(Composite.of(found, "days").save(tmp_path / "made"))
    assert again.facts["experiments"]["weights"][0]["high"] is None


def test_a_byte_that_changed_anywhere_is_an_error(scored_by_models, tmp_path):
    folder = scored_by_models.save(tmp_path / "made")
    names = sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())
    assert len(names) == 10
    for name in names:
        kept = (folder / name).read_bytes()
        (folder / name).write_bytes(kept[:-2] + bytes([kept[-2] ^ 1]) + kept[-1:])
        with pytest.raises(ArtifactError, match=r"was changed after it was written|is no artefact"):
            reward.load(folder)
        (folder / name).write_bytes(kept)
    (folder / "signals" / "1" / "reward.json").unlink()
    with pytest.raises(ArtifactError, match=r"is no artefact: missing signals/1/reward.json"):
        reward.load(folder)


def test_a_function_swapped_for_another_whole_one_is_an_error(scored_by_models, functions, tmp_path):
    folder = scored_by_models.save(tmp_path / "made")
    save(functions["returns"], folder / "signals" / "0")
    with pytest.raises(ArtifactError, match=r"signals/0/reward.json was changed"):
        reward.load(folder)


@pytest.mark.parametrize("target", ["mine.Composite", "reward.encoders.gru.GRU", "reward.experiments.table.Table"])
def test_a_kind_that_is_none_is_not_run(scored_by_models, tmp_path, target):
    folder = scored_by_models.save(tmp_path / "made")
    found = json.loads((folder / "reward.json").read_text())
    assert found["_target_"] == "reward.scoring.composite.Composite"
    reseal(folder, found | {"_target_": target})
    with pytest.raises(ArtifactError, match=f"it names '{target}' as its composite"):
        reward.load(folder)


def test_a_history_of_another_composite_or_function_is_refused(scored_by_models, functions, events):
    one = Composite({"plays": 1.0}, "days", functions={"plays": functions["plays"]})
    swapped = Composite(
        {"plays": 1.0, "returns": 1.0},
        "days",
        functions={"plays": functions["returns"], "returns": functions["plays"]},
    )
    history = scored_by_models.encode(events, now=NOW)
    with pytest.raises(ValueError, match="of plays, got one of plays, returns: encode the events again"):
        one.score_candidates(history, [1])
    with pytest.raises(ValueError, match="history expected one that this function encoded"):
        swapped.score_candidates(history, [1])


def test_a_parent_neither_holds_nor_casts_a_composite(scored_by_models, events):
    parent = torch.nn.Sequential(torch.nn.Linear(2, 2), scored_by_models)
    history = scored_by_models.encode(events, now=NOW)
    before = scored_by_models.score_candidates(history, range(10))
    parent.half().bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        after = scored_by_models.score_candidates(scored_by_models.encode(events, now=NOW), range(10))
    assert torch.equal(after.mean, before.mean)
    assert torch.equal(after.std, before.std)
    assert list(parent.state_dict()) == ["0.weight", "0.bias"]


def test_the_command_line_scores_with_it_and_does_not_draw(scored_by_models, events, tmp_path, capsys):
    folder = scored_by_models.save(tmp_path / "made")
    events.write_parquet(tmp_path / "log.parquet")
    given = ["--artifact", str(folder), "--events", str(tmp_path / "log.parquet"), "--out"]
    assert main(["score", *given, str(tmp_path / "out.parquet")]) == 0
    assert_frame_equal(pl.read_parquet(tmp_path / "out.parquet"), scored_by_models.score_events(events))
    assert main(["draw", *given, str(tmp_path / "out.svg"), "--user", "1"]) == 2
    assert "is a Composite, which predicts no outcome to draw" in capsys.readouterr().err


def test_what_it_cannot_do_is_said(functions, events):
    made = Composite({"click": 0.5, "likes": 1.0, "surface": 2.0}, "days")
    with pytest.raises(SchemaError, match="likes is missing; surface is String, expected a number"):
        made.score_events(events)
    with pytest.raises(SchemaError, match="click has 1 nulls"):
        Composite({"click": 1.0}, "days").score_events(pl.DataFrame({"click": [1, None]}))
    with pytest.raises(ValueError, match=r"candidates have no feedback yet: .* click, likes, surface are columns"):
        made.encode(events, now=NOW)
    with pytest.raises(ValueError, match="expected no tasks, habit or as_of"):
        made.score_events(events, as_of=NOW)
    with pytest.raises(ValueError, match="functions expected to be of the signals click, got plays"):
        Composite({"click": 1.0}, "days", functions={"plays": functions["plays"]})
    with pytest.raises(ValueError, match=r"none were given"):
        Composite({}, "days")
    with pytest.raises(
        ValueError, match=r"covariance of shape \(1, 1\), got weights \[1.0\] and a covariance of shape"
    ):
        Composite({"click": 1.0}, "days", covariance=[1.0, 2.0])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_signal_that_is_not_finite_is_named(value):
    composite = Composite({"click": 1.0}, "days")
    with pytest.raises(SchemaError, match="click has 1 values that are NaN or infinite"):
        composite.score_events(pl.DataFrame({"click": [1.0, value]}))


@pytest.mark.parametrize("covariance", [[[1.0, 0.5], [0.0, 1.0]], [[1.0, 0.0], [0.0, -1.0]], [[1.0, 2.0], [2.0, 1.0]]])
def test_a_covariance_that_is_none_is_refused(covariance):
    with pytest.raises(ValueError, match="a symmetric matrix without negative variances"):
        Composite({"click": 1.0, "minutes": 0.1}, "days", covariance=covariance)
