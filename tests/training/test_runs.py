"""Whole runs in little: what stands when a stage fails, and how a run goes on."""

import hashlib
import json
import shutil

import polars as pl
import pytest
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint

import train
from benchmarks.kill_and_resume import small_log
from reward.data.event_log import SchemaError
from reward.scoring import manifest
from reward.training.command_line import RefusedError
from reward.training.fitting import _ended
from reward.training.folder import RunFolder, RunFolderError
from reward.training.judging import evaluate
from reward.training.stages import Stages

SAME = ("reward/weights.safetensors", "effects.parquet", "metrics.csv")


class Killed(BaseException):
    """As a signal would, where an epoch begins."""


def digests(folder):
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in SAME}


def facts(folder):
    return json.loads((folder / "reward" / "reward.json").read_text())["facts"]


def killed_in_its_second_epoch(opened, folder, monkeypatch, *overrides):
    def stop(callback, trainer, model):
        if trainer.current_epoch == 1:
            raise Killed

    run = opened(folder, *overrides)
    with monkeypatch.context() as patched:
        patched.setattr(ModelCheckpoint, "on_train_epoch_start", stop, raising=False)
        with pytest.raises(Killed):
            train.train(run, Stages(lambda text: None, first=False))
    run.folder.release()


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    return tmp_path_factory.mktemp("unbroken") / "run"


@pytest.fixture
def done(unbroken, trained):
    """A finished run, made once."""
    if not unbroken.exists():
        stages, caught = trained(unbroken)
        assert (stages.failed, caught) == ([], None)
    return unbroken


def test_a_run_that_was_killed_and_moved_ends_as_an_unbroken_one(done, opened, trained, tmp_path, monkeypatch):
    killed_in_its_second_epoch(opened, tmp_path / "run", monkeypatch)
    assert not (tmp_path / "run" / "reward").exists()
    (tmp_path / "run").rename(tmp_path / "elsewhere")
    stages, caught = trained(tmp_path / "elsewhere", f"resume={tmp_path / 'elsewhere'}")
    assert (stages.failed, caught) == ([], None)
    assert digests(tmp_path / "elsewhere") == digests(done)
    assert [line.split(",")[0] for line in (done / "metrics.csv").read_text().split()] == ["epoch", "0", "1"]
    assert not (tmp_path / "run").exists()


def test_a_run_of_another_log_is_refused_its_folder_and_nothing_changes(done, opened):
    before = digests(done)
    with pytest.raises(RunFolderError, match="holds another run"):
        opened(done, "seed=1")
    assert digests(done) == before


def test_a_finished_run_is_not_run_again(done, trained, capsys):
    before = digests(done)
    trained(done, f"resume={done}")
    assert "This run has ended: nothing is left to do" in " ".join(capsys.readouterr().out.split())
    assert digests(done) == before


def test_where_judging_fails_the_scoring_function_stands_and_can_be_judged_later(
    done, opened, trained, evaluation, tmp_path, monkeypatch
):
    def crash(*arguments, **settings):
        raise RuntimeError("the judge is ill")

    with monkeypatch.context() as patched:
        patched.setattr("reward.training.run.evaluate_function", crash)
        stages, caught = trained(tmp_path / "run")
    assert stages.failed == ["judging"]
    assert "judging failed" in str(caught)
    assert "the judge is ill" in (tmp_path / "run" / "judging-failed.txt").read_text()
    assert not (tmp_path / "run" / "metrics.json").exists()
    assert digests(tmp_path / "run") == digests(done)
    assert "metrics" not in facts(tmp_path / "run")
    shutil.copytree(tmp_path / "run", tmp_path / "copy")

    stages, caught = trained(tmp_path / "run", f"resume={tmp_path / 'run'}")
    assert (stages.failed, caught) == ([], None)
    folder = RunFolder.reopen(tmp_path / "copy", called="run")
    evaluate(folder, evaluation, Stages(lambda text: None, first=False))
    folder.release()
    for place in (tmp_path / "run", tmp_path / "copy"):
        assert digests(place) == digests(done)
        assert facts(place)["carry"] == facts(done)["carry"]
        assert facts(place)["metrics"] == facts(done)["metrics"]
        assert (place / "evaluation" / "report.html").is_file()
        assert json.loads((place / "metrics.json").read_text())["metrics"] == facts(done)["metrics"]


def test_what_could_not_be_saved_is_refused_before_training(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(manifest, "_FREE", 0)
    with pytest.raises(RefusedError, match="too many facts or names"):
        trained(tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_where_the_log_does_not_allow_for_judging_the_run_ends_well_and_says_why(done, trained, tmp_path, monkeypatch):
    def refuse(*arguments, **settings):
        raise SchemaError("no test day has an outcome")

    monkeypatch.setattr("reward.training.run.evaluate_function", refuse)
    stages, caught = trained(tmp_path / "run")
    assert (stages.failed, caught) == ([], None)
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["not judged"] == "no test day has an outcome"
    assert digests(tmp_path / "run") == digests(done)


def test_where_effects_fail_the_rest_stands(trained, tmp_path, monkeypatch):
    def singular(*arguments):
        raise ArithmeticError("Singular matrix")

    monkeypatch.setattr("reward.training.causal.estimated_effects", singular)
    stages, caught = trained(tmp_path / "run")
    assert stages.failed == ["effects"]
    assert caught is not None
    assert facts(tmp_path / "run")["effects"]["reason"].startswith("their estimation failed")
    assert (tmp_path / "run" / "metrics.json").is_file()


def test_a_run_goes_on_with_its_own_log_alone_or_with_one_that_has_grown(
    done, opened, trained, events, tmp_path, monkeypatch, capsys
):
    log = tmp_path / "log.parquet"
    shutil.copy(events, log)
    killed_in_its_second_epoch(opened, tmp_path / "run", monkeypatch, f"data.events={log}")
    other = small_log(seed=5)
    other.write_parquet(log)
    run = opened(tmp_path / "run", f"resume={tmp_path / 'run'}")
    with pytest.raises(RefusedError, match="the log is another than the run's"):
        train.train(run, Stages(print, first=False))
    run.folder.release()
    later = other.with_columns(pl.col("timestamp") + pl.duration(days=30))
    pl.concat([pl.read_parquet(events), later]).write_parquet(log)
    stages, caught = trained(tmp_path / "run", f"resume={tmp_path / 'run'}")
    assert (stages.failed, caught) == ([], None)
    assert "The log has grown since the run" in " ".join(capsys.readouterr().out.split())
    assert facts(tmp_path / "run")["window"]["end"] == "2024-03-21"


def test_what_makes_a_log_unfit_is_found_before_training_and_leaves_nothing(trained, tmp_path):
    with pytest.raises(RefusedError, match="clik"):
        trained(tmp_path / "run", "data.feedback=[clik]")
    assert not (tmp_path / "run").exists()


def test_a_run_that_stopped_early_has_no_epoch_left():
    stop = EarlyStopping("validation/loss", patience=2)
    state = {"epoch": 3, "callbacks": {stop.state_key: {"wait_count": 2}}}
    assert _ended(state, stop, max_epochs=10)
    state["callbacks"][stop.state_key]["wait_count"] = 1
    assert not _ended(state, stop, max_epochs=10)
    assert _ended(state, stop, max_epochs=4)


def test_what_is_judged_again_is_the_run_s_own_days_and_a_log_that_grew_is_named(
    done, events, evaluation, tmp_path, capsys
):
    shutil.copytree(done, tmp_path / "run")
    later = small_log(seed=5).with_columns(pl.col("timestamp") + pl.duration(days=30))
    pl.concat([pl.read_parquet(events), later]).write_parquet(tmp_path / "grown.parquet")
    folder = RunFolder.reopen(tmp_path / "run", called="run")
    settings = evaluation | {"moved": {"events": str(tmp_path / "grown.parquet")}}
    evaluate(folder, settings, Stages(print, first=False))
    folder.release()
    assert "The log has grown since the run" in " ".join(capsys.readouterr().out.split())
    again = json.loads((tmp_path / "run" / "evaluation" / "metrics.json").read_text())
    assert again["metrics"] == facts(done)["metrics"]
