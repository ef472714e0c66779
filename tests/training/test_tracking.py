import socket
import sys

import pytest
import wandb
from pytorch_lightning.loggers.logger import DummyLogger

from reward.training.tracking import csv_logger, finish, log_config, log_results, wandb_logger


@pytest.fixture(autouse=True)
def nobody(monkeypatch, tmp_path):
    """No key, no settings, no home, no network."""
    for name in (
        "WANDB_API_KEY",
        "WANDB_IDENTITY_TOKEN_FILE",
        "WANDB_MODE",
        "WANDB_BASE_URL",
        "WANDB_PROJECT",
        "NETRC",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()

    def refuse(*arguments):
        raise AssertionError("asked the network or the user")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr("builtins.input", refuse)
    monkeypatch.setattr("getpass.getpass", refuse)


@pytest.fixture
def started(monkeypatch):
    """What wandb is asked to start a run with."""
    calls = []

    class Run:
        def __init__(self):
            calls.append(self)

    def init(**arguments):
        calls.append(arguments)
        return Run()

    monkeypatch.setattr(wandb, "init", init)
    return calls


def mode(started, tmp_path):
    logger = wandb_logger(folder=tmp_path / "run", project="mine")
    (tmp_path / "run").mkdir(exist_ok=True)
    assert logger.experiment is started[1]
    assert started[0]["project"] == "mine"
    assert started[0]["dir"] == str(tmp_path / "run")
    assert started[0]["name"] == "run"
    return started[0]["mode"]


def test_without_a_key_a_run_is_offline_and_nothing_is_asked_or_said(started, tmp_path, capfd):
    assert mode(started, tmp_path) == "offline"
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"])
def test_a_key_in_the_environment_makes_a_run_online(started, tmp_path, monkeypatch, name):
    monkeypatch.setenv(name, "x" * 40)
    assert mode(started, tmp_path) == "online"


@pytest.mark.parametrize("chosen", ["offline", "disabled", "online"])
def test_the_mode_in_the_environment_is_respected(started, tmp_path, monkeypatch, chosen):
    monkeypatch.setenv("WANDB_MODE", chosen)
    if chosen == "offline":
        monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    assert mode(started, tmp_path) == chosen


@pytest.mark.parametrize("file", ["home/.netrc", "home/_netrc", "elsewhere"])
@pytest.mark.parametrize(("host", "found"), [("api.wandb.ai", "online"), ("example.org", "offline")])
def test_a_key_that_a_login_left_makes_a_run_online(started, tmp_path, monkeypatch, file, host, found):
    (tmp_path / file).write_text(f"machine {host}\n  login user\n  password {'x' * 40}\n")
    if file == "elsewhere":
        monkeypatch.setenv("NETRC", str(tmp_path / file))
    assert mode(started, tmp_path) == found


def test_a_key_of_another_server_is_found_by_its_address(started, tmp_path, monkeypatch):
    (tmp_path / "home/.netrc").write_text(f"machine wandb.example.org:8080\n  login user\n  password {'x' * 40}\n")
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org:8080")
    assert mode(started, tmp_path) == "online"


@pytest.mark.parametrize("content", [b"machine", b"\xff\xfe\x00", None])
def test_a_login_file_that_cannot_be_read_is_no_key(started, tmp_path, content):
    path = tmp_path / "home/.netrc"
    path.mkdir() if content is None else path.write_bytes(content)
    assert mode(started, tmp_path) == "offline"


def test_no_tracker_needs_no_tracker(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert csv_logger(folder=tmp_path / "run") is False


def test_a_run_that_goes_on_in_its_folder_goes_on_under_its_id_even_where_that_was_moved(started, tmp_path):
    def begun(folder):
        _ = wandb_logger(folder=folder, project="mine").experiment
        return next(it for it in reversed(started) if isinstance(it, dict))

    first = begun(tmp_path / "run")["id"]
    (tmp_path / "run").rename(tmp_path / "elsewhere")
    assert begun(tmp_path / "elsewhere")["id"] == first
    assert begun(tmp_path / "other")["id"] != first


def test_the_jobs_of_a_sweep_are_runs_of_their_own_in_one_group(started, tmp_path):
    for name in ("0", "1-1"):
        _ = wandb_logger(folder=tmp_path / "sweep" / name, project="mine").experiment
    told = [it for it in started if isinstance(it, dict)]
    assert [it["name"] for it in told] == ["sweep-0", "sweep-1-1"]
    assert {it["group"] for it in told} == {"sweep"}
    assert len({it["id"] for it in told}) == 2


@pytest.fixture
def ready(tmp_path):
    """A run folder with what a tracker is given."""
    (tmp_path / "reward").mkdir()
    (tmp_path / "reward" / "reward.json").write_text("{}")
    (tmp_path / "report.html").write_text("<!doctype html>")
    return {"report": tmp_path / "report.html", "artifact": tmp_path / "reward"}


def test_each_run_of_a_process_is_told_its_config_and_results_and_ends(ready, tmp_path, monkeypatch):
    monkeypatch.undo()  # wandb talks to a process of its own on this machine
    monkeypatch.setenv("WANDB_MODE", "offline")
    found = []
    for place in (tmp_path / "one", tmp_path / "two"):
        logger = wandb_logger(folder=place, project="mine")
        place.mkdir(exist_ok=True)
        log_config(logger, {"seed": 3, "encoder": {"width": 8}})
        run = logger.experiment
        log_results(
            logger, {"metrics": {"model": {"auc": {"value": 0.7, "low": None}}}, "validation/loss": 0.5}, **ready
        )
        assert dict(run.config) == {"seed": 3, "encoder": {"width": 8}}
        told = dict(run.summary)
        assert (told["final/metrics/model/auc"], told["final/validation/loss"]) == (0.7, 0.5)
        assert "report" in told
        found.append(run.id)
        finish(logger)
        assert wandb.run is None
        assert len(list(place.glob("wandb/offline-run-*"))) == 1
    assert len(set(found)) == 2


def test_another_tracker_gets_the_numbers_and_its_end(ready):
    class ChunkCache(DummyLogger):
        def __init__(self):
            super().__init__()
            self.told = []

        def log_hyperparams(self, params):
            self.told.append(params)

        def log_metrics(self, metrics):
            self.told.append(metrics)

        def save(self):
            self.told.append("saved")

        def finalize(self, status):
            self.told.append(status)

    logger = ChunkCache()
    log_config(logger, {"seed": 3})
    log_results(logger, {"loss": 0.5, "name": "x", "flag": True}, **ready)
    finish(logger, failed=True)
    assert logger.told == [{"seed": 3}, {"final/loss": 0.5}, "saved", "failed"]
    log_config(False, {})
    log_results(False, {}, **ready)
    finish(False)
