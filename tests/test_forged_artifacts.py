"""Forged artefacts are refused in one sentence: nothing of them runs, nothing outside is touched, nothing grows."""

import importlib
import os
import pkgutil
import sys
import tracemalloc
from pathlib import Path

import pytest
from forged import FORGERIES, forged

import reward
from reward import encoders, experiments, heads, outcomes
from reward.artifact import ArtifactError, save
from reward.function import RewardFunction

SEEN = []  # what the interpreter did while a forgery was loaded
WATCHED = ("open", "os.", "shutil.", "subprocess.", "socket.", "tempfile.", "pty.")
HOUSE = (str(Path(reward.__file__).parent), sys.prefix, sys.base_prefix, "/usr/share/zoneinfo")
LOOKS = {"os.listdir", "os.scandir"}
MOST = 1.5  # of what the honest artefact takes
SLACK = 1 << 20  # bytes, of what is small: the honest ones here take 0.2 MB


def _watch(event, arguments):
    if SEEN and event.startswith(WATCHED):
        SEEN.append((event, arguments))


sys.addaudithook(_watch)


@pytest.fixture(scope="session")
def honest(tmp_path_factory, network_of, features, outcome, effects):
    """Two honest artefacts: without effects, and with them."""
    place = tmp_path_factory.mktemp("honest")
    for name, personal in (("plain", None), ("effects", effects.personal)):
        save(
            RewardFunction(
                network_of(), features, outcome, max_events=16, timestamp_unit=None, facts={}, effects=personal
            ),
            place / name,
        )
    return place


def peak_of(load):
    tracemalloc.start()
    try:
        load()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.fixture(scope="session")
def usual(honest):
    """Bytes that loading an honest artefact takes at its peak, by name."""
    found = {}
    for room in (encoders, heads, outcomes, experiments):
        for each in pkgutil.iter_modules(room.__path__, f"{room.__name__}."):
            importlib.import_module(each.name)
    for name in ("plain", "effects"):
        reward.load(honest / name)
        found[name] = peak_of(lambda name=name: reward.load(honest / name))
    return found


def kind_of(name):
    return "effects" if FORGERIES[name].effects else "plain"


def outside_of(folder, before):
    """What was done outside of a folder while it was loaded."""
    for event, arguments in before:
        if event in LOOKS and isinstance(arguments[0], int):
            continue
        path = arguments[0] if arguments else ""
        path = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else ""
        reads = event == "open" and not (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        inside = not path.startswith("/") or Path(path) == folder or folder in Path(path).parents
        known = path.startswith(HOUSE)
        if not ((reads or event in LOOKS) and (inside or known)):
            yield event, arguments


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_artefact_is_refused_and_does_nothing(name, honest, usual, tmp_path, monkeypatch):
    folder, canary = forged(name, honest / kind_of(name), tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    before = sorted(tmp_path.rglob("*"))

    def load():
        with pytest.raises(ArtifactError, match=r"\w+") as raised:
            reward.load(folder)
        assert len(str(raised.value).splitlines()) == 1
        assert len(str(raised.value)) < 1500

    SEEN.append(("started", ()))
    try:
        peak = peak_of(load)
    finally:
        done = SEEN[1:]
        SEEN.clear()
    assert list(outside_of(folder, done)) == []
    assert not canary.exists()
    assert sorted(tmp_path.rglob("*")) == before
    assert peak <= MOST * usual[kind_of(name)] + SLACK


def test_forgeries_are_many():
    assert len(FORGERIES) >= 150


def test_the_honest_artefacts_are_read(honest, log):
    events = log.events.head(200).collect()
    for name in ("plain", "effects"):
        assert reward.load(honest / name).score_events(events)["reward"].is_finite().all()
