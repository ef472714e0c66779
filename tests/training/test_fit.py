"""The Python calls that train and judge are the run of the command line."""

import json
import subprocess
import sys
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest
import torch
from figures import drawn
from polars.testing import assert_frame_equal

import reward
from benchmarks.kill_and_resume import SETTINGS, small_log

QUICK = {
    "horizon_days": 5,
    "members": 2,
    "split.train_days": 12,
    "split.validation_days": 4,
    "encoder.width": 16,
    "encoder.layers": 1,
    "encoder.heads": 2,
    "task.active_days.head.hidden": 8,
    "batches.max_events": 16,
    "batches.batch_rows": 64,
    "trainer.max_epochs": 1,
    "trainer.accelerator": "cpu",
    "evaluation.intervals.resamples": 2,
    "evaluation.intervals.min_slice_users": 5,
    "evaluation.boosting": None,
    "evaluation.logistic.strengths": [100],
    "evaluation.policies.min_effective_sample_size": 10,
    "causal.personal": None,
    "features.min_item_events": 2,
    "logger": "csv",
}
END = datetime(2024, 3, 21, tzinfo=UTC)


@pytest.fixture(scope="module")
def log():
    """String ids, a zone and an items table; of items the log does not show, too."""
    events = small_log().with_columns(
        pl.format("u{}", "user_id").alias("user_id"), pl.format("i{}", "item_id").alias("item_id")
    )
    items = pl.DataFrame({"item_id": [f"i{it}" for it in range(30)], "maker": [f"m{it % 4}" for it in range(30)]})
    return reward.read_log(
        events,
        feedback="click",
        context=["surface"],
        items=items,
        item_features=["maker"],
        timezone="Europe/Stockholm",
        day_starts_at="04:00",
        end=END,
    )


@pytest.fixture(scope="module")
def run(log, tmp_path_factory):
    """A whole run in a folder, what it returned, and the generators' states before and after."""
    folder = tmp_path_factory.mktemp("fit") / "run"
    torch.manual_seed(7)
    np.random.seed(7)  # noqa: NPY002  the state that must stay
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    with drawn():
        function = reward.fit(log, settings=QUICK, folder=folder, silent=True)
    after = torch.get_rng_state(), np.random.get_state()[1]  # noqa: NPY002
    return folder, function, before, after


def test_what_it_returns_is_the_artefact_of_the_run_folder(run, log):
    folder, function, _, _ = run
    events = log.events.collect()
    saved = reward.load(folder / "reward")
    assert isinstance(function, reward.RewardFunction)
    assert function.fingerprint == saved.fingerprint
    assert_frame_equal(function.score_events(events), saved.score_events(events))
    assert (function.features.timezone, function.features.day_starts_at) == ("Europe/Stockholm", "04:00")
    assert json.loads((folder / "metrics.json").read_text())["metrics"]
    assert (folder / "evaluation/report.html").is_file()


def test_random_numbers_of_the_caller_are_not_touched(run):
    _, _, before, after = run
    assert torch.equal(before[0], after[0])
    np.testing.assert_array_equal(before[1], after[1])


def test_without_a_folder_the_weights_are_the_same_and_nothing_stays(run, log, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    function = reward.fit(log, settings=QUICK, evaluate=False, silent=True)
    assert function.fingerprint == reward.load(run[0] / "reward").fingerprint
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().out == ""


def test_it_is_the_run_of_the_command_line(tmp_path):
    """The same log and settings by train.py give the same weights."""
    events = tmp_path / "events.parquet"
    small_log().write_parquet(events)
    given = [*SETTINGS.split(), "trainer.max_epochs=1", "refit=none", "causal.personal=null"]
    given = [it.strip("'") for it in given if not it.startswith("data")]
    log = reward.read_log(events, feedback=["click"], context=["surface"], end="2024-03-21")
    function = reward.fit(log, settings=given, evaluate=False, silent=True)
    asked = [*given, "data=log", "data.feedback=[click]", "data.context=[surface]", "data.end=2024-03-21"]
    by_command = reward.fit(settings=[*asked, f"data.events={events}"], evaluate=False, silent=True)
    assert function.fingerprint == by_command.fingerprint


def test_tasks_by_name_are_all_predicted_and_the_first_is_what_rewards_are_told_in(log):
    change = {name: value for name, value in QUICK.items() if not name.startswith("task.")}
    function = reward.fit(
        log, tasks=["return_time", "active_days"], encoder="gru", seed=3, settings=_without(change, "encoder.heads"),
        evaluate=False, silent=True,
    )  # fmt: skip
    assert list(function.units) == ["active_days"]
    assert type(function.network.encoder).__name__ == "GRU"
    assert "back" in function.unit or "days" in function.unit
    assert function.effects is None


def _without(settings, *names):
    return {name: value for name, value in settings.items() if name not in names}


def test_it_is_judged_later_and_again(run, log, tmp_path):
    folder = tmp_path / "run"
    reward.fit(log, settings=QUICK, folder=folder, evaluate=False, silent=True)
    assert not (folder / "metrics.json").exists()
    found = reward.evaluate(
        folder, settings={"evaluation.intervals.resamples": 3, "evaluation.boosting": None}, silent=True
    )
    assert found["resamples"] == 3
    first = json.loads((run[0] / "metrics.json").read_text())["metrics"]
    assert json.loads((folder / "metrics.json").read_text())["metrics"].keys() == first.keys()


def test_a_run_that_stopped_is_gone_on_with(run, log, tmp_path):
    folder = tmp_path / "run"
    reward.fit(log, settings=QUICK, folder=folder, evaluate=False, silent=True)
    function = reward.fit(folder=folder, resume=True, silent=True)
    assert function.fingerprint == run[1].fingerprint
    assert json.loads((folder / "run.json").read_text())["ended"]


@pytest.mark.parametrize(
    ("call", "kind", "told"),
    [
        ({"log": "events.parquet"}, TypeError, r"expected an EventLog, got str: make one with reward\.read_log"),
        ({"settings": {"trainer.max_epoch": 3}}, ValueError, r"no setting trainer\.max_epoch \(did you mean"),
        ({"settings": {"trainer.max_epochs": -3}}, ValueError, r"trainer\.max_epochs: expected a whole number"),
        ({"settings": "seed=1"}, ValueError, r"expected a mapping, or a list such as \['seed=1'\]"),
        ({"tasks": ["activity"]}, ValueError, r"task=activity is no choice.*active_days"),
        ({"encoder": "gr"}, ValueError, r"encoder=gr is no choice \(did you mean 'gru'"),
        ({"settings": {"reward": "survey"}}, ValueError, r"reward: expected one of the tasks, active_days"),
        ({"settings": {"horizon_days": 12}}, reward.SchemaError, r"horizon_days=12, and the 12 days of training"),
        ({"resume": True}, ValueError, r"expected log=None"),
        ({"log": None, "resume": True}, ValueError, r"resume=True expected the folder of a run"),
    ],
)  # fmt: skip
def test_what_will_not_do_is_refused_and_leaves_nothing(call, kind, told, log, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call = {"log": log, "silent": True, **call}
    with pytest.raises(kind, match=told):
        reward.fit(**{**call, "settings": _joined(call.get("settings", {}))})
    if not call.get("resume"):
        with pytest.raises(kind, match=told):
            reward.fit(**{**call, "folder": tmp_path / "run", "settings": _joined(call.get("settings", {}))})
    assert list(tmp_path.iterdir()) == []


def _joined(settings):
    return settings if isinstance(settings, str) else {**QUICK, **settings}


def test_a_folder_with_another_run_is_refused_and_stays_as_it_is(run, log):
    before = {file: file.stat().st_mtime_ns for file in sorted(run[0].rglob("*")) if file.is_file()}
    with pytest.raises(ValueError, match="holds another run"):
        reward.fit(log, settings=QUICK, folder=run[0], silent=True)
    assert {file: file.stat().st_mtime_ns for file in sorted(run[0].rglob("*")) if file.is_file()} == before


def test_a_setting_that_reading_does_not_have_is_named():
    with pytest.raises(TypeError, match=r"got feedbacks|got time_zone \(did you mean 'timezone'\?\)"):
        reward.read_log(small_log(), feedback=["click"], time_zone="UTC")


def test_a_hydra_application_of_the_caller_goes_on(log):
    from hydra import compose, initialize_config_dir

    from reward.training.defaults import conf_folder

    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        reward.fit(log, settings=QUICK, evaluate=False, silent=True)
        assert compose("train", overrides=["seed=5"]).seed == 5


def test_importing_reward_does_not_import_what_trains():
    asked = "import reward, sys; print(*({'hydra', 'pytorch_lightning', 'wandb'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
