import hashlib
import json
import math
import os
import shutil
import sys
import threading
import warnings
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch
from forged import reseal
from polars.testing import assert_frame_equal
from safetensors.torch import save_file

import reward
from reward import writing
from reward.scoring import open_folder, sealed
from reward.scoring.artifact import ArtifactError, ArtifactWarning, load, save
from reward.scoring.function import RewardFunction
from reward.scoring.model_card import model_card
from reward.sequences.network import RewardNetwork

NOW = datetime(2024, 4, 3, 9, 30, tzinfo=UTC)
FILES = ["README.md", "items.parquet", "reward.json", "weights.safetensors"]
FACTS = {
    "trained_on": {"first_day": "2024-03-20", "days": 12},
    "fingerprint": "abc",
    "metrics": {"loss": 0.123456789012345678},
    "carry": ["the value beats a count of past days"],
    "table": {"trained on": "12 days"},
}


@pytest.fixture(scope="module")
def events(log):
    return log.events.filter(pl.col("user_id") < 8).collect()


@pytest.fixture
def fn(network_of, features, outcome):
    network = network_of()
    network.head.scale.fill_(0.7)
    network.head.offset.copy_(torch.linspace(-0.5, 0.5, 7))
    return RewardFunction(network, features, {"active_days": outcome}, max_events=16, timestamp_unit="ms", facts=FACTS)


@pytest.fixture
def folder(fn, tmp_path):
    return save(fn, tmp_path / "runs" / "reward")


def manifest_of(folder):
    return json.loads((folder / "reward.json").read_text(encoding="utf-8"))


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_is_read_scores_exactly_as_what_was_written(fn, folder, events):
    again = load(folder)
    assert_frame_equal(again.score_events(events), fn.score_events(events), check_exact=True)
    one, two = (each.score_candidates(each.encode(events, now=NOW), range(35)) for each in (fn, again))
    assert torch.equal(one.mean, two.mean)
    assert torch.equal(one.std, two.std)
    np.testing.assert_array_equal(again.forecast(events), fn.forecast(events))
    assert again.network.head.scale == pytest.approx(0.7)
    assert again.facts == FACTS
    assert (again.unit, again.horizon_days) == (fn.unit, fn.horizon_days)
    assert (again.max_events, again.timestamp_unit) == (16, "ms")
    assert not any(part.training for part in again.modules())


def test_every_encoder_and_head_is_built_again(encoder_class, head_class, build, features, outcome, tmp_path, events):
    head = build(head_class, horizon_days=7)
    network = RewardNetwork(
        build(encoder_class), {"active_days": head}, reward="active_days", sizes=features.sizes(), item_dropout=0.1
    ).eval()
    fn = RewardFunction(network, features, {"active_days": outcome}, max_events=16, timestamp_unit=None, facts={})
    again = load(save(fn, tmp_path / "reward"))
    assert_frame_equal(again.score_events(events), fn.score_events(events), check_exact=True)


def test_the_folder_holds_four_files_and_no_pickle(folder):
    assert names_in(folder) == FILES
    assert names_in(folder.parent) == ["reward"]
    assert (folder / "items.parquet").read_bytes()[:4] == b"PAR1"
    header = int.from_bytes((folder / "weights.safetensors").read_bytes()[:8], "little")
    assert json.loads((folder / "weights.safetensors").read_bytes()[8 : 8 + header])


def test_the_manifest_says_what_the_function_needs_and_what_it_gives(fn, folder):
    found = manifest_of(folder)
    assert found["format_version"] == 7
    assert found["unit"] == "active days in the next 7 days"
    assert found["horizon_days"] == 7
    assert found["columns"] == {
        "required": ["user_id", "item_id", "timestamp"],
        "feedback": ["click", "listen_ms"],
        "context": ["surface", "volume"],
        "item_features": ["genre", "minutes", "vector"],
        "timestamp_unit": "ms",
    }
    assert found["normalisation"]["moments"]["volume"] == list(fn.features.moments["volume"])
    assert found["normalisation"]["timezone"] == "Europe/Paris"
    assert found["facts"] == FACTS
    assert found["parts"]["tasks"].keys() == {"active_days"}
    assert found["parts"]["tasks"]["active_days"].keys() == {"head", "outcome"}
    assert found["parts"]["reward"] == "active_days"
    assert found["parts"]["encoder"] == {"_target_": "reward.encoders.gru.GRU", "width": 8, "layers": 1, "dropout": 0.0}
    assert found["sha256"] == {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FILES if name != "reward.json"
    }


def test_the_card_names_unit_and_columns_and_what_cannot_be_claimed(fn, folder):
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert card == model_card(fn, FACTS)
    assert card.startswith("# A reward signal in active days in the next 7 days")
    for said in (
        "feedback `click`, `listen_ms`; context `surface`, `volume`",
        "of the items table `genre`, `minutes`, `vector`",
        "- the value beats a count of past days",
        "| trained on | 12 days |",
        "a difference of forecasts, not an effect",
        "neither confounding nor a change of the service",
    ):
        assert said in card
    assert "- not evaluated" in model_card(fn, {})


NOTHING_FOUND = {"reason": None, "interval": None, "policy": None, "balance": {"flagged": None, "sentences": ["b."]}}


def test_a_warning_is_in_the_manifest_on_top_of_the_card_and_told_at_load(network_of, features, outcome, tmp_path):
    effects = NOTHING_FOUND | {"warning": "expect much less."}
    facts = FACTS | {"effects": effects}
    fn = RewardFunction(
        network_of(), features, {"active_days": outcome}, max_events=16, timestamp_unit=None, facts=facts
    )
    folder = save(fn, tmp_path / "reward")
    assert manifest_of(folder)["facts"]["effects"]["warning"] == "expect much less."
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert card.split("\n\n")[1] == "> **Warning.** expect much less."
    assert "- b." in card
    with pytest.warns(ArtifactWarning, match="reward: expect much less") as told:
        load(folder)
    assert [Path(each.filename) for each in told] == [Path(__file__)]


def test_without_a_warning_nothing_is_warned_of(network_of, features, outcome, tmp_path):
    facts = FACTS | {"effects": NOTHING_FOUND | {"warning": None}}
    fn = RewardFunction(
        network_of(), features, {"active_days": outcome}, max_events=16, timestamp_unit=None, facts=facts
    )
    folder = save(fn, tmp_path / "reward")
    assert "Warning" not in (folder / "README.md").read_text(encoding="utf-8")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(folder)


def test_a_log_without_context_has_a_card_that_says_so(network_of, features, outcome):
    bare = replace(features, context=(), item_features=())
    fn = RewardFunction(network_of(), features, {"active_days": outcome}, max_events=16, timestamp_unit=None, facts={})
    fn.features = bare
    assert "context none;\nof the items table none." in model_card(fn, {})


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(ArtifactError, match=f"is no artefact: expected .*, missing {name}; give the folder that"):
        load(folder)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(
        ArtifactError, match=r"nowhere is no artefact: .*missing reward.json, weights.safetensors, items"
    ):
        load(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["README.md", "items.parquet", "weights.safetensors"])
def test_a_changed_byte_anywhere_in_a_file_is_found(folder, name):
    path = folder / name
    content = path.read_bytes()
    for place in np.linspace(0, len(content) - 1, 9).astype(int):
        changed = bytearray(content)
        changed[place] ^= 1
        path.write_bytes(changed)
        with pytest.raises(ArtifactError, match=rf"{name} was changed after it was written \(sha256 differs\): copy"):
            load(folder)
    path.write_bytes(content[:-1])
    with pytest.raises(ArtifactError, match="sha256 differs"):
        load(folder)


def test_a_changed_byte_anywhere_in_the_manifest_is_found(folder):
    path = folder / "reward.json"
    content = path.read_bytes()
    places = {*range(0, len(content), 11), *range(40), *range(len(content) - 90, len(content))}
    for place in sorted(places):
        for bit in (1, 128):
            changed = bytearray(content)
            changed[place] ^= bit
            path.write_bytes(changed)
            with pytest.raises(ArtifactError, match=r"was changed after it was written|has format version"):
                load(folder)
    path.write_bytes(content + b"\n")
    with pytest.raises(ArtifactError, match="was changed after it was written"):
        load(folder)


@pytest.mark.parametrize(
    "text", ["", "[]", "3", '{"unit": 1}', '{"format_version": 1, "x": 1e999}', '{"format_version": 1, "x": "\\ud800"}']
)
def test_a_manifest_that_is_not_one_is_refused(folder, text):
    (folder / "reward.json").write_text(text)
    with pytest.raises(ArtifactError, match=r"reward.json was changed after it was written: copy the artefact again"):
        load(folder)


@pytest.mark.parametrize("version", [0, 8, -1, "7", None, True, 7.0])
def test_an_unknown_format_version_is_refused(folder, version):
    reseal(folder, manifest_of(folder) | {"format_version": version})
    with pytest.raises(
        ArtifactError,
        match=rf"has format version {version!r}, this version of reward reads 1, 2, 3, 4, 5, 6 and 7: install",
    ):
        load(folder)


@pytest.mark.parametrize("version", [1, 2, 3, 4, 5, 6])
def test_an_artefact_of_an_earlier_version_is_read(fn, folder, events, version):
    manifest = {name: value for name, value in manifest_of(folder).items() if name != "effects" or version > 1}
    weights = {name.replace("heads.active_days.", "head."): tensor for name, tensor in fn.network.state_dict().items()}
    parts = manifest["parts"]
    parts |= parts.pop("tasks")[parts.pop("reward")] | {"also": {}}
    if version < 4:
        del weights["head.frailty"]
    if version < 3:
        del manifest["parts"]["also"]
        weights = {name.replace("head.ensemble.", "head."): each for name, each in weights.items()}
    save_file(weights, folder / "weights.safetensors")
    reseal(folder, manifest | {"format_version": version})
    assert_frame_equal(load(folder).score_events(events), fn.score_events(events), check_exact=True)


def before(manifest, facts, **also):
    """A manifest of format 6, with further outcomes."""
    parts = dict(manifest["parts"])
    parts |= parts.pop("tasks")[parts.pop("reward")]
    parts["also"] = {name: {"head": parts["head"], "outcome": parts["outcome"]} for name in also}
    return manifest | {"parts": parts, "facts": facts, "format_version": 6}


@pytest.mark.parametrize(
    ("facts", "name"),
    [
        ({}, "active_days"),
        ({"config": {"task": {"renewed": {}, "back": {}}}}, "renewed"),
        ({"config": {"task": {"back": {}, "renewed": {}}, "reward": "renewed"}}, "renewed"),
        ({"config": {"task": {"one": {}, "two": {}, "back": {}}}}, "active_days"),
        ({"config": {"task": {"back": {}}}}, "active_days"),
        ({"config": {"task": ["renewed"]}}, "active_days"),
        ({"config": {"task": {"keys": {}, "back": {}}}}, "active_days"),
        ({"config": {"task": {"a.b": {}, "back": {}}}}, "active_days"),
        ({"config": 3}, "active_days"),
    ],
)
def test_the_rewards_task_of_an_earlier_version_is_called_as_its_settings_say(fn, folder, events, facts, name):
    weights = {it.replace("heads.active_days.", "head."): tensor for it, tensor in fn.network.state_dict().items()}
    own = {it.removeprefix("head."): tensor for it, tensor in weights.items() if it.startswith("head.")}
    weights |= {f"also.back.{it}": tensor.clone() for it, tensor in own.items()}
    save_file(weights, folder / "weights.safetensors")
    reseal(folder, before(manifest_of(folder), facts, back=True))
    found = load(folder)
    assert (found.reward, list(found.tasks), list(found.units)) == (name, [name, "back"], ["back"])
    assert found.fingerprint == fn.fingerprint
    assert_frame_equal(found.score_events(events), fn.score_events(events), check_exact=True)
    again = load(save(found, folder))  # in today's format
    assert (again.reward, list(again.tasks)) == (name, [name, "back"])
    assert_frame_equal(again.score_events(events), fn.score_events(events), check_exact=True)


def test_a_function_has_an_outcome_for_each_head(network_of, features, outcome):
    for tasks in ({}, {"days": outcome}, {"active_days": outcome, "back": outcome}):
        with pytest.raises(ValueError, match=r"tasks expected one for each head, \['active_days'\], got .*: give both"):
            RewardFunction(network_of(), features, tasks, max_events=16, timestamp_unit=None, facts={})


@pytest.fixture
def foreign(folder, tmp_path, monkeypatch):
    """An artefact, sealed, whose encoder is of a package of somebody's."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "__init__.py").write_text("")
    (tmp_path / "mine" / "encoders.py").write_text(
        "from reward.encoders.gru import GRU\nbuilt = []\n\n\nclass Mine(GRU):\n"
        "    def __init__(self, **settings):\n        built.append(settings)\n        super().__init__(**settings)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    manifest = manifest_of(folder)
    manifest["parts"]["encoder"]["_target_"] = "mine.encoders.Mine"
    reseal(folder, manifest)
    yield folder
    for name in ("mine", "mine.encoders"):
        sys.modules.pop(name, None)


def test_a_part_outside_the_package_is_refused_by_name_and_not_imported(foreign):
    with pytest.raises(
        ArtifactError, match=r"names 'mine.encoders.Mine' as its encoder, .* trust=\('mine.encoders',\)"
    ):
        load(foreign)
    with pytest.raises(ArtifactError, match=r"names 'mine.encoders.Mine' as its encoder, which is outside"):
        load(foreign, trust=["mine", "mine.heads"])
    assert "mine" not in sys.modules


def test_a_part_of_a_trusted_module_is_built(foreign, fn, events):
    found = load(foreign, trust=("mine.encoders",))
    assert sys.modules["mine.encoders"].built == [{"width": 8, "layers": 1, "dropout": 0.0}]
    assert_frame_equal(found.score_events(events), fn.score_events(events), check_exact=True)


@pytest.mark.parametrize(
    ("trust", "error", "message"),
    [
        ("mine.encoders", TypeError, "trust expected a sequence of names of modules, .* got 'mine.encoders': write a"),
        (b"mine", TypeError, "trust expected a sequence of names of modules"),
        ([3], TypeError, "trust expected a sequence of names of modules"),
        (("reward.", "mine."), ValueError, r"got 'reward.', 'mine.': a prefix is no longer enough, name every module"),
        (("",), ValueError, "trust expected full names of modules"),
        (("../mine",), ValueError, "trust expected full names of modules"),
    ],
)
def test_trust_is_a_sequence_of_full_names_of_modules(folder, trust, error, message):
    with pytest.raises(error, match=message) as raised:
        load(folder, trust=trust)
    assert not isinstance(raised.value, ArtifactError)


def test_saving_over_an_artefact_replaces_it(fn, folder, network_of, features, outcome, events):
    (folder / "left_over.txt").write_text("from before")
    other = RewardFunction(
        network_of(seed=5), features, {"active_days": outcome}, max_events=16, timestamp_unit=None, facts={}
    )
    save(other, folder)
    assert names_in(folder) == FILES
    assert names_in(folder.parent) == ["reward"]
    assert_frame_equal(load(folder).score_events(events), other.score_events(events), check_exact=True)
    assert (other.score_events(events)["reward"] - fn.score_events(events)["reward"]).abs().max() > 1e-4


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_failure_while_writing_leaves_the_old_artefact(fn, folder):
    before = contents(folder.parent)
    fn.facts = {"loss": math.nan}
    with pytest.raises(ValueError, match="not JSON compliant"):
        save(fn, folder)
    assert contents(folder.parent) == before
    assert names_in(folder.parent) == ["reward"]


def test_a_failure_at_the_last_moment_leaves_the_old_artefact(fn, folder, monkeypatch):
    before = contents(folder.parent)

    def fail(*paths):
        raise OSError("the disk went away")

    monkeypatch.setattr(writing, "_exchange", fail)
    with pytest.raises(OSError, match="the disk went away"):
        save(fn, folder)
    assert contents(folder.parent) == before
    assert names_in(folder.parent) == ["reward"]
    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OSError, match="the disk went away"):
        save(fn, folder.parent / "another")
    assert names_in(folder.parent) == ["reward"]


def test_a_folder_that_is_no_artefact_is_never_replaced(fn, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    (tmp_path / "file").write_text("a file")
    for name in ("thesis", "file"):
        with pytest.raises(FileExistsError, match=f"{name} is there and is no artefact: expected a folder to make or"):
            save(fn, tmp_path / name)
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "years of work"
    (tmp_path / "empty").mkdir()
    assert save(fn, str(tmp_path / "empty")) == tmp_path / "empty"


@pytest.mark.parametrize(("source", "revision"), [("hf://org/name", None), ("hf://org/name@v2", "v2")])
def test_an_artefact_on_the_hub_is_downloaded(folder, monkeypatch, source, revision):
    asked = []
    hub = ModuleType("huggingface_hub")
    hub.snapshot_download = lambda name, *, revision: asked.append((name, revision)) or str(folder)
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    assert isinstance(reward.load(source), RewardFunction)
    assert asked == [("org/name", revision)]


def test_without_the_extra_the_hub_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(
        ArtifactError, match=r"hf://org/name needs the extra reward\[hub\]: pip install 'reward\[hub\]'"
    ):
        load("hf://org/name")


def test_an_artefact_of_a_tracked_run_is_downloaded(folder, monkeypatch, tmp_path):
    asked = []

    def download(root):
        shutil.copytree(folder, root, dirs_exist_ok=True)
        return root

    wandb = ModuleType("wandb")
    wandb.Api = lambda: SimpleNamespace(artifact=lambda name: asked.append(name) or SimpleNamespace(download=download))
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert isinstance(load("wandb://entity/project/name:best"), RewardFunction)
    assert asked == ["entity/project/name:best"]


@pytest.mark.parametrize("kind", [ValueError, OSError, RuntimeError, KeyError])
def test_a_download_that_fails_is_one_kind_of_error(monkeypatch, kind):
    def fail(*given, **more):
        raise kind("the network\nis down")

    hub, wandb = ModuleType("huggingface_hub"), ModuleType("wandb")
    hub.snapshot_download = wandb.Api = fail
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    for source in ("hf://org/name", "wandb://entity/project/name:best"):
        with pytest.raises(
            ArtifactError, match=f"{source} could not be downloaded: {kind.__name__}: .*the network"
        ) as told:
            load(source)
        assert len(str(told.value).splitlines()) == 1


def test_files_of_the_hubs_cache_are_links_to_its_own_blobs_and_to_nothing_else(fn, folder, monkeypatch, tmp_path):
    cache = tmp_path / "models--org--name"
    (cache / "blobs").mkdir(parents=True)
    snapshot = cache / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    for number, name in enumerate(FILES):
        shutil.copy(folder / name, cache / "blobs" / str(number))
        (snapshot / name).symlink_to(f"../../blobs/{number}")
    hub = ModuleType("huggingface_hub")
    hub.snapshot_download = lambda name, *, revision: str(snapshot)
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    assert load("hf://org/name").fingerprint == fn.fingerprint
    with pytest.raises(ArtifactError, match=r"reward.json is a link, and files of an artefact are none"):
        load(snapshot)
    (snapshot / "items.parquet").unlink()
    (snapshot / "items.parquet").symlink_to(folder / "items.parquet")
    with pytest.raises(ArtifactError, match=r"items.parquet is a link to outside of it: do not load it"):
        load("hf://org/name")


def test_no_name_is_no_artefact():
    with pytest.raises(ArtifactError, match=r"expected a folder, hf://org/name or .*, got ''"):
        load("")


def test_an_artefact_that_is_replaced_while_it_is_read_is_the_one_or_the_other(
    fn, folder, network_of, features, outcome
):
    """Each loads with its own facts and weights, however its reader is overtaken."""
    more = {"max_events": 16, "timestamp_unit": None}
    kinds = {
        seed: RewardFunction(network_of(seed=seed), features, {"active_days": outcome}, facts={"seed": seed}, **more)
        for seed in (3, 4)
    }
    save(kinds[3], folder)
    stop = threading.Event()

    def write():
        for turn in range(1000):
            if stop.is_set():
                return
            save(kinds[3 + turn % 2], folder)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(15):
            found = load(folder)
            assert found.fingerprint == kinds[found.facts["seed"]].fingerprint
    finally:
        stop.set()
        writer.join()
    assert names_in(folder.parent) == ["reward"]


def test_a_reader_that_is_overtaken_before_the_manifest_reads_the_new_artefact(fn, folder, monkeypatch):
    listdir, done = os.listdir, []

    def overtaken(handle):
        there = listdir(handle)
        if not done:
            done.append(handle)
            fn.facts = {"new": True}
            save(fn, folder)
        return there

    monkeypatch.setattr(open_folder.os, "listdir", overtaken)
    assert load(folder).facts == {"new": True}


def test_a_reader_that_is_overtaken_between_two_files_reads_the_new_artefact(fn, folder, monkeypatch):
    read, done = sealed.Sealed.read, []

    def overtaken(self, name, check):
        if not done:
            done.append(name)
            fn.facts = {"new": True}
            save(fn, folder)
        return read(self, name, check)

    monkeypatch.setattr(sealed.Sealed, "read", overtaken)
    assert load(folder).facts == {"new": True}


def test_what_a_writer_had_moved_away_when_it_was_killed_is_read(fn, folder):
    folder.rename(folder.with_name(".reward-0123abcd.old"))
    assert load(folder).fingerprint == fn.fingerprint
    assert names_in(folder.parent) == ["reward"]


def test_a_manifest_that_no_reader_would_take_is_not_written(fn, folder):
    before = contents(folder.parent)
    fn.facts = {"much": "a" * 3_000_000}
    with pytest.raises(ValueError, match=r"reward.json of 30\d+ bytes takes up to 90\d+ bytes of memory"):
        save(fn, folder)
    assert contents(folder.parent) == before


def weightless(fn):
    fn.network.embedding.blank.data[0] = torch.nan


def of_long_ids(fn):
    items = fn.features.items
    more = items.head(25).with_columns(code=pl.lit(0, pl.Int64))
    items = pl.concat([items, *[more] * 4])
    ids = [f"{place:07}" for place in range(len(items) - 1)] + ["x" * 1_000_000]
    fn.features = replace(fn.features, items=items.with_columns(item_id=pl.Series(ids)))


def of_no_zone(fn):
    fn.features = replace(fn.features, timezone="Nowhere/None")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (weightless, "its tensor embedding.blank has numbers that are not finite"),
        (of_long_ids, "a value of item_id is longer than all others allow for"),
        (of_no_zone, "timezone is unknown"),
    ],
)
def test_what_no_reader_would_take_is_not_written(fn, folder, change, message):
    before = contents(folder.parent)
    change(fn)
    with pytest.raises(ValueError, match="the artefact is not saved, since it could not be loaded: .*" + message):
        save(fn, folder)
    assert contents(folder.parent) == before


def test_modes_follow_the_umask(fn, tmp_path):
    before = os.umask(0o027)
    try:
        folder = save(fn, tmp_path / "reward")
    finally:
        os.umask(before)
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in [folder, *folder.iterdir()]} == {
        "reward": "0o750",
        **dict.fromkeys(FILES, "0o640"),
    }


def test_the_first_file_read_is_the_only_one_that_counts(fn, folder, monkeypatch):
    """What is parsed is what was hashed: a file that changes under the reader is the old one or an error."""
    whole = open_folder.content_of

    def then_changed(handle, size):
        content = whole(handle, size)
        (folder / "weights.safetensors").write_bytes(b"changed")
        return content

    monkeypatch.setattr(sealed, "content_of", then_changed)
    with pytest.raises(ArtifactError, match=r"weights.safetensors was changed after it was written"):
        load(folder)
