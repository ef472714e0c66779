"""What is shipped is fitted again on all days, and what was judged stays."""

import json
import shutil
import sys
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file

import reward
from reward.training.defaults import composed

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
import train  # noqa: E402
from reward.training.assembly import Run, plain_values  # noqa: E402
from reward.training.command_line import JobError  # noqa: E402
from reward.training.folder import RunFolder  # noqa: E402
from reward.training.judging import evaluate  # noqa: E402
from reward.training.refit import refit_facts  # noqa: E402
from reward.training.stages import Stages  # noqa: E402

HEAD = "heads.active_days"  # its weights
WINDOW = {"start": "2024-03-01", "train_end": "2024-03-13", "validation_end": "2024-03-17", "end": "2024-03-21"}
SMALL = [
    "data=log",
    "data.feedback=[click]",
    "data.end=2024-03-21T00:00:00",
    "horizon_days=4",
    "split.train_days=12",
    "split.validation_days=4",
    "encoder.width=8",
    "encoder.heads=2",
    "task.active_days.head.hidden=4",
    "members=2",
    "batches.max_events=16",
    "batches.batch_rows=256",
    "trainer.max_epochs=2",
    "trainer.accelerator=cpu",
    "evaluation.intervals.resamples=5",
    "evaluation.boosting=null",
    "evaluation.logistic.strengths=[100]",
    "correction.least_gain=-100",
    "logger=csv",
]


def small_log(users=40, days=20):
    """With logged propensities, and items that appear after validation has ended."""
    draw = np.random.default_rng(0)
    user, day = np.nonzero(draw.random((users, days)) < draw.uniform(0.2, 0.9, users)[:, None])
    user, day = np.repeat(user, 2), np.repeat(day, 2)
    late = (day >= 16) & (draw.random(len(day)) < 0.2)
    return pl.DataFrame(
        {
            "user_id": user,
            "item_id": np.where(late, 100, draw.integers(0, 20, len(user))),
            "timestamp": [
                datetime(2024, 3, 1, tzinfo=UTC) + timedelta(seconds=int(second))
                for second in day * 86_400 + draw.integers(0, 86_399, len(user))
            ],
            "click": draw.random(len(user)) < 0.4,
            "propensity": 0.05,
        }
    ).unique(["user_id", "item_id", "timestamp"], maintain_order=True)


def run_of(folder, events, *overrides, failing=()):
    config = composed("train", [*SMALL, f"data.events={events}", *overrides])
    there = folder.exists()
    claimed = RunFolder.reopen(folder, called="resume") if there else RunFolder.claim(folder, or_next=False)
    run = Run(config, plain_values(config), claimed, [])
    stages = Stages(train.say)
    with pytest.raises(JobError) if failing else nullcontext():
        train.train(run, stages)
    claimed.release()
    assert stages.failed == [*failing]
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("refit")
    small_log().write_parquet(folder / "events.parquet")
    return folder


@pytest.fixture(scope="module")
def runs(place):
    """A run for each of the three settings."""
    return {
        what: run_of(place / what, place / "events.parquet", f"refit={what}") for what in ("none", "effects", "all")
    }


def weights(folder):
    return load_file(folder / "weights.safetensors")


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def facts(folder):
    return json.loads((folder / "reward.json").read_text())["facts"]


def test_without_a_refit_what_was_judged_is_shipped(runs):
    assert not (runs["none"] / "judged").exists()
    assert "refit" not in facts(runs["none"] / "reward")
    assert "fitted again" not in (runs["none"] / "reward" / "README.md").read_text()


def test_what_is_judged_is_the_same_whatever_is_fitted_again(runs):
    judged = {what: json.loads((folder / "metrics.json").read_text())["metrics"] for what, folder in runs.items()}
    assert judged["none"] == judged["effects"] == judged["all"]
    for what in ("effects", "all"):
        assert same(weights(runs[what] / "judged"), weights(runs["none"] / "reward"))
        assert "refit" not in facts(runs[what] / "judged")


def test_a_refit_of_effects_changes_effects_alone(runs, place):
    folder = runs["effects"]
    assert same(weights(folder / "judged"), weights(folder / "reward"))
    before, after = reward.load(folder / "judged"), reward.load(folder / "reward")
    events = pl.read_parquet(place / "events.parquet")
    one, other = before.score_events(events), after.score_events(events)
    assert one["value_exposed"].equals(other["value_exposed"])
    assert not one["reward"].equals(other["reward"])
    # an item that came after validation has effects of its own after the refit alone
    known = (
        pl.read_parquet(folder / "effects.parquet")["item_id"],
        pl.read_parquet(folder / "effects_all_days.parquet")["item_id"],
    )
    assert [100 in items for items in known] == [False, True]


def test_a_refit_of_all_trains_the_network_on_all_days_and_keeps_the_calibration(runs):
    before, after = weights(runs["all"] / "judged"), weights(runs["all"] / "reward")
    kept = [name for name in before if name.startswith("activity.") or name.rpartition(".")[2] in BUFFERS]
    assert {f"{HEAD}.scale", f"{HEAD}.offset", f"{HEAD}.frailty", f"{HEAD}.correction", "activity.numbers"} <= set(kept)
    for name in kept:
        torch.testing.assert_close(before[name], after[name])
    assert not torch.equal(before[f"{HEAD}.ensemble.outer"], after[f"{HEAD}.ensemble.outer"])


BUFFERS = {"scale", "offset", "frailty", "correction"}


def test_the_artefact_and_its_card_say_what_was_judged_before(runs):
    told = facts(runs["effects"] / "reward")["refit"]
    assert told["what"] == "effects"
    assert told["until"] == "2024-03-21"
    assert told["judged_before"] is True
    card = " ".join((runs["effects"] / "reward" / "README.md").read_text().split())
    assert "The effects of items were fitted again on all days before 2024-03-21" in card
    assert "judged before that, on effects fitted on the days before 2024-03-17" in card
    assert "no days are left to calibrate on" in (runs["all"] / "reward" / "README.md").read_text()


def judge_again(run):
    folder = RunFolder.reopen(run, called="run")
    told = [*(it for it in SMALL if it.startswith("evaluation.")), f"run={run}"]
    settings = plain_values(composed("evaluate", told))
    evaluate(folder, settings, Stages(train.say))
    folder.release()


def test_judging_again_judges_what_was_judged(runs):
    judge_again(runs["effects"])
    again = json.loads((runs["effects"] / "evaluation" / "metrics.json").read_text())
    first = json.loads((runs["effects"] / "metrics.json").read_text())
    assert again["metrics"] == first["metrics"]
    worth = [found["policies"]["weights"][0]["mean"]["value"] for found in (again, first)]
    assert worth[0] == pytest.approx(worth[1])


def test_what_is_judged_late_is_told_by_what_was_shipped_before(runs, place, monkeypatch):
    def crash(*arguments, **settings):
        raise RuntimeError("the judge is ill")

    with monkeypatch.context() as patched:
        patched.setattr("reward.training.run.evaluate_function", crash)
        late = run_of(place / "late", place / "events.parquet", "refit=effects", failing=["judging"])
    assert "refit" in facts(late / "reward")
    assert "metrics" not in facts(late / "reward")
    copy = shutil.copytree(late, place / "copy")
    run_of(late, place / "events.parquet", "refit=effects")
    judge_again(copy)
    for run in (late, copy):
        assert (
            facts(run / "reward")["metrics"]
            == facts(run / "judged")["metrics"]
            == facts(runs["effects"] / "reward")["metrics"]
        )
        assert facts(run / "reward")["carry"] == facts(run / "judged")["carry"]
        assert facts(run / "reward")["refit"] == facts(runs["effects"] / "reward")["refit"]


def test_a_network_that_adds_nothing_is_not_fitted_again():
    told = refit_facts("all", WINDOW, network=False)
    assert told["what"] == "effects"
    assert told["sentence"].endswith("The network was not fitted again: it adds nothing to past activity.")
