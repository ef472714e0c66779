import socket
import sys

import pytest
import wandb

from reward.tracking import csv_logger, wandb_logger


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


def test_a_table_of_metrics_is_written_in_the_run_folder(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)  # it needs none
    logger = csv_logger(folder=tmp_path / "run")
    logger.log_metrics({"loss": 0.5}, step=3)
    logger.save()
    assert (tmp_path / "run" / "metrics.csv").read_text().split() == ["loss,step", "0.5,3"]
