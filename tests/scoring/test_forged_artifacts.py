"""Forged artefacts are refused in one sentence: nothing of them runs, nothing outside is touched, nothing grows."""

import importlib
import os
import pkgutil
import shutil
import sys
import tracemalloc
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from forged import FORGERIES, forged, manifest_of, reseal

import reward
from reward import encoders, experiments, heads, outcomes
from reward.encoders.gru import GRU
from reward.heads.trace import TraceHead
from reward.scoring.artifact import ArtifactError, save
from reward.scoring.function import RewardFunction
from reward.sequences.network import RewardNetwork

SEEN = []  # what the interpreter did while a forgery was loaded
WATCHED = ("open", "os.", "shutil.", "subprocess.", "socket.", "tempfile.", "pty.")
HOUSE = (str(Path(reward.__file__).parent), sys.prefix, sys.base_prefix, "/usr/share/zoneinfo")
LOOKS = {"os.listdir", "os.scandir"}
MOST = 1.5  # of what the honest artefact takes
SIZES = ("small", "large")
MANY = 20_000  # items of the large ones, which are of 8 MB
FREE = 4 << 20  # bytes that facts may take
RESIDENT_SLACK = 16 << 20  # bytes, of what allocators keep
SLACK = 1 << 20  # bytes, of what is small: the honest ones here take 0.2 MB


def _watch(event, arguments):
    if SEEN and event.startswith(WATCHED):
        SEEN.append((event, arguments))


sys.addaudithook(_watch)


@pytest.fixture(scope="session")
def honest(tmp_path_factory, network_of, features, outcome, effects):
    """Honest artefacts: a small and a large one, each without effects, and with them."""
    place = tmp_path_factory.mktemp("honest")
    many = enlarged(features)
    torch.manual_seed(0)
    head = TraceHead(width=64, hidden=4, horizon_days=outcome.horizon_days, members=2)
    wide = RewardNetwork(
        GRU(width=64, layers=1, dropout=0.0),
        {"active_days": head},
        reward="active_days",
        sizes=many.sizes(),
        item_dropout=0.0,
    ).eval()
    for size, network, read_by, personal in (
        ("small", network_of(), features, effects.model),
        ("large", wide, many, of_many(effects.model, many.items["item_id"].to_numpy())),
    ):
        for name, theirs in (("plain", None), ("effects", personal)):
            save(
                RewardFunction(
                    network,
                    read_by,
                    {"active_days": outcome},
                    max_events=16,
                    timestamp_unit=None,
                    facts={},
                    effects=theirs,
                ),
                place / size / name,
            )
    return place


def enlarged(features):
    """Features of 20,000 items, which have a vector of 16 numbers."""
    rng = np.random.default_rng(0)
    items = pl.DataFrame(
        {
            "item_id": np.arange(MANY),
            "code": np.arange(1, MANY + 1),
            "genre": rng.choice(["a", "b", "c"], MANY),
            "minutes": rng.gamma(2.0, 10.0, MANY),
            "vector": pl.Series(rng.normal(size=(MANY, 16))).arr.to_list(),
        }
    )
    moments = {**features.moments, **{f"vector_{place}": (0.0, 1.0) for place in range(16)}}
    return replace(features, items=items, embedding_sizes={"vector": 16}, moments=moments)


def of_many(personal, ids):
    """A personal part of these items, each like one that it has."""
    rng = np.random.default_rng(0)
    like = torch.from_numpy(rng.integers(0, len(personal.ids), len(ids) + 1))
    facts = personal.facts.of(like)
    behind = facts.behind + torch.from_numpy(rng.normal(size=len(like)))
    facts = facts._replace(behind=behind, code=torch.arange(len(like)))
    answers = replace(personal.answers, mean=personal.answers.mean[like.numpy()])
    return personal.replaced(ids=ids, facts=facts, answers=answers)


def peak_of(load):
    """Bytes that Python and numpy take at their peak."""
    tracemalloc.start()
    try:
        load()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def resident_peak_of(load):
    """Bytes that the process has at its peak beyond what it had; None where the system does not tell."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
        before = resident("VmRSS")
    except OSError:
        return None
    load()
    return resident("VmHWM") - before


def resident(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(name))


@pytest.fixture(scope="session")
def usual(honest):
    """Bytes that loading an honest artefact takes at its peak, by size and name."""
    found = {}
    for room in (encoders, heads, outcomes, experiments):
        for each in pkgutil.iter_modules(room.__path__, f"{room.__name__}."):
            importlib.import_module(each.name)
    for size in SIZES:
        for name in ("plain", "effects"):
            reward.load(honest / size / name)
            found[size, name] = peak_of(lambda place=honest / size / name: reward.load(place))
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
    folder, canary = forged(name, honest / "small" / kind_of(name), tmp_path)
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
    assert peak <= MOST * usual["small", kind_of(name)] + SLACK


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forgery_of_a_large_artefact_takes_no_more_than_the_honest_one(name, honest, usual, tmp_path):
    folder, _ = forged(name, honest / "large" / kind_of(name), tmp_path)

    def load():
        with pytest.raises(ArtifactError, match=r"\w+"):
            reward.load(folder)

    assert peak_of(load) <= MOST * usual["large", kind_of(name)]
    resident = resident_peak_of(load)
    assert resident is None or resident <= MOST * usual["large", kind_of(name)] + RESIDENT_SLACK


def with_facts(honest, folder, count):
    """An artefact whose facts have ``count`` small values."""
    shutil.copytree(honest, folder)
    manifest = manifest_of(folder)
    manifest["facts"] = {f"{place:05x}": {} for place in range(count)}
    reseal(folder, manifest)
    return folder


@pytest.mark.parametrize("size", SIZES)
def test_facts_may_take_what_is_free_and_no_more(size, honest, usual, tmp_path):
    some = with_facts(honest / size / "plain", tmp_path / "some", 10_000)
    assert len(reward.load(some).facts) == 10_000
    assert peak_of(lambda: reward.load(some)) <= usual[size, "plain"] + FREE
    many = with_facts(honest / size / "plain", tmp_path / "many", 16_000)

    def refused():
        with pytest.raises(ArtifactError, match=r"memory, (where|expected) at most \d+"):
            reward.load(many)

    assert peak_of(refused) <= usual[size, "plain"] + FREE


def test_forgeries_are_many():
    assert len(FORGERIES) >= 150


def test_the_honest_artefacts_are_read(honest, log):
    events = log.events.head(200).collect()
    for size, name in product(SIZES, ("plain", "effects")):
        assert reward.load(honest / size / name).score_events(events)["reward"].is_finite().all()
