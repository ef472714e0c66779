"""Forged artefacts: each function makes of an honest folder what somebody with ill intent, or bad luck, would hand out.

Run it to see what a loader says to each: ``python tests/forged.py HONEST_FOLDER``.
"""

import hashlib
import json
import os
import shutil
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import torch
from safetensors.torch import load_file, save_file

FORGERIES = {}


def forgery(name, *, effects=False):
    """Name a function of a folder and a canary, a path that is to stay empty."""

    def named(function):
        assert name not in FORGERIES
        FORGERIES[name] = function
        function.effects = effects
        return function

    return named


def manifest_of(folder):
    return json.loads((folder / "reward.json").read_text(encoding="utf-8"))


def sealed(text):
    """The text of a manifest with its seal."""
    seal = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return text[: text.rindex("\n}")] + f',\n "seal": "{seal}"\n}}'


def reseal(folder, manifest):
    """Write a manifest with every hash in order."""
    manifest = {name: value for name, value in manifest.items() if name != "seal"}
    for name in manifest.get("sha256", {}):
        if (folder / name).is_file():
            manifest["sha256"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    text = json.dumps(manifest, ensure_ascii=False)  # in one line: with an indent it takes many times as long
    (folder / "reward.json").write_text(sealed(text.removesuffix("}") + "\n}"), encoding="utf-8")


def changed(change):
    """A forgery that changes values of the manifest in place."""

    def forge(folder, canary):
        manifest = manifest_of(folder)
        change(manifest, canary)
        reseal(folder, manifest)

    return forge


def put(*path, value):
    """A change of one value."""

    def change(manifest, canary):
        *outer, last = path
        for key in outer:
            manifest = manifest[key]
        manifest[last] = value

    return change


TASK = ("parts", "tasks", "active_days")  # the one task of an honest artefact
HEAD = "heads.active_days"  # its weights

# parts that are none

TARGETS = {
    "os.system": {"command": "touch {canary}"},
    "posix.system": {"command": "touch {canary}"},
    "reward.scoring.artifact.os.system": {"command": "touch {canary}"},
    "reward.writing.os.system": {"command": "touch {canary}"},
    "reward.scoring.open_folder.os.open": {"path": "{canary}", "flags": 65},
    "reward.writing.os.mkdir": {"path": "{canary}"},
    "reward.writing.shutil.rmtree": {"path": "{folder}/.."},
    "reward.writing.write_json": {"path": "{canary}", "values": {"owned": 1}},
    "reward.writing.whole": {"path": "{canary}"},
    "reward.__main__.main": {"arguments": ["draw", "--out", "{canary}", "--artifact", "a", "--events", "b"]},
    "reward.scoring.hub.tempfile.mkdtemp": {"dir": "{folder}/..", "prefix": "canary"},
    "reward.scoring.artifact.__builtins__.eval": {"source": "open('{canary}', 'w')"},
    "builtins.eval": {"source": "open('{canary}', 'w')"},
    "builtins.open": {"file": "{canary}", "mode": "w"},
    "subprocess.Popen": {"args": ["touch", "{canary}"]},
    "pathlib.Path": {},
    "reward.encoders.gru.torch.load": {"f": "{folder}/weights.safetensors"},
    "reward.encoders.gru.nn.GRU": {"input_size": 8, "hidden_size": 8},
    "reward.encoders.gru.GRU.read": {},
    "reward.encoders.gru.Memory": {},
    "reward.encoders.transformer.Block": {"width": 8, "heads": 2, "dropout": 0.0},
    "reward.encoders.mamba.decayed_sums": {},
    "reward.encoders.Encoder": {},
    "reward.encoders..gru.GRU": {"width": 8, "layers": 1, "dropout": 0.0},
    "reward.heads.trace.TraceHead": {"width": 8, "hidden": 4, "horizon_days": 7, "members": 2},
    "reward.outcomes.activity.ActivityTrace": {"horizon_days": 7},
    "reward.scoring.function.RewardFunction": {},
    "ran_at_import.Part": {},
    "": {},
    "GRU": {"width": 8, "layers": 1, "dropout": 0.0},
    "reward.encoders.gru.GRU\0": {"width": 8, "layers": 1, "dropout": 0.0},
}


def names(target, arguments, role="encoder"):
    def change(manifest, canary):
        text = json.dumps(arguments).replace("{canary}", str(canary)).replace("{folder}", str(canary.parent))
        owner = manifest["parts"] if role == "encoder" else manifest["parts"]["tasks"]["active_days"]
        owner[role] = {"_target_": target, **json.loads(text)}

    return changed(change)


for _target, _arguments in TARGETS.items():
    forgery(f"encoder {_target!r}")(names(_target, _arguments))
for _target in (3, None, ["reward.encoders.gru.GRU"], {"_target_": "reward.encoders.gru.GRU"}):
    forgery(f"encoder {_target!r}")(names(_target, {"width": 8, "layers": 1, "dropout": 0.0}))
for _target in ("reward.data.days.local_day", "reward.outcomes.habit.Habit", "reward.outcomes.protocol.Outcome"):
    forgery(f"outcome {_target}")(names(_target, {"timezone": "UTC"}, "outcome"))
for _target in ("reward.heads.ensemble.Ensemble", "reward.heads.calibration.platt", "reward.encoders.gru.GRU"):
    forgery(f"head {_target}")(names(_target, {"width": 8, "hidden": 4, "members": 2, "outputs": 7}, "head"))
for _target in ("os.system", "reward.scoring.composite.load", "reward.encoders.gru.GRU", 3):
    forgery(f"kind {_target}")(changed(put("_target_", value=_target)))


@forgery("a part of a module that runs when it is imported")
def _(folder, canary):
    (canary.parent / "ran_at_import.py").write_text(f"open({str(canary)!r}, 'w')\n\n\nclass Part:\n    pass\n")
    names("ran_at_import.Part", {})(folder, canary)


# arguments and sizes

for _name, _value in {
    "width": 10**9,
    "layers": 10**6,
    "layers ": 10**18,
    "width ": -8,
    "width  ": 0,
    "width   ": "8",
    "width    ": True,
    "width     ": 8.0,
    "width      ": None,
    "layers  ": [1],
    "dropout": "0",
    "dropout ": 7.0,
    "heads": 2,
}.items():
    forgery(f"encoder with {_name} = {_value!r}")(changed(put("parts", "encoder", _name.strip(), value=_value)))
for _name, _value in {"members": 10**8, "hidden": 10**9, "horizon_days": 10**9, "width": 16, "members ": 0}.items():
    forgery(f"head with {_name} = {_value!r}")(changed(put(*TASK, "head", _name.strip(), value=_value)))
for _value in (10**12, 0, -1, "16", 16.5, None, True):
    forgery(f"max_events {_value!r}")(changed(put("parts", "max_events", value=_value)))
forgery("an argument is missing")(changed(lambda it, _: it["parts"]["encoder"].pop("width")))
forgery("an outcome of another horizon")(changed(put(*TASK, "outcome", "horizon_days", value=6)))
forgery("an outcome of 64 days")(changed(put(*TASK, "outcome", "horizon_days", value=64)))
forgery("an outcome whose scope is a book")(changed(put(*TASK, "outcome", "scope", value="a" * 100_000)))
forgery("another horizon in the manifest")(changed(put("horizon_days", value=8)))
for _kind in ("renewal", 3):  # of a head that tells of days
    _outcome = {"_target_": "reward.outcomes.event_within.EventWithin", "kind": _kind, "horizon_days": 7}
    forgery(f"an outcome of one event, {_kind!r}")(changed(put(*TASK, "outcome", value=_outcome)))
forgery("an unknown unit of time")(changed(put("columns", "timestamp_unit", value=3)))
forgery("half-lives without end")(changed(put("parts", "recall_days", value=[1.0] * 10_000)))
forgery("a half-life of nothing")(changed(put("parts", "recall_days", value=[0.0])))
forgery("tasks without end")(
    changed(lambda it, _: it["parts"]["tasks"].update({str(k): {"head": {}, "outcome": {}} for k in range(500)}))
)
for _name in ("", "a.b", "keys", "training", "_modules", "forward"):
    forgery(f"a task that is called {_name!r}")(
        changed(lambda it, _, name=_name: it["parts"]["tasks"].update({name: it["parts"]["tasks"]["active_days"]}))
    )
for _value in ("survey", "", "x" * 10_000_000, 3, None, ["active_days"]):
    forgery(f"rewards that are measured in {str(_value)[:20]!r}")(changed(put("parts", "reward", value=_value)))
forgery("no reward")(changed(lambda it, _: it["parts"].pop("reward")))
forgery("no tasks")(changed(put("parts", "tasks", value={})))
forgery("tasks that are a list")(changed(put("parts", "tasks", value=["active_days"])))
forgery("a task without a head")(changed(lambda it, _: it["parts"]["tasks"]["active_days"].pop("head")))
forgery("a task that is a text")(changed(put("parts", "tasks", "active_days", value="head")))
forgery("parts of before in a manifest of today")(changed(lambda it, _: of_before(it, format_version=7)))


def of_before(manifest, format_version=6):
    """Change a manifest into one of a format in which the reward's task stood apart."""
    parts = manifest["parts"]
    parts |= parts.pop("tasks")[parts.pop("reward")] | {"also": {}}
    manifest["format_version"] = format_version


def before(change):
    """A forgery of an artefact of format 6, whose manifest and weights are changed."""

    def forge(folder, canary):
        manifest, found = manifest_of(folder), load_file(folder / "weights.safetensors")
        of_before(manifest)
        found = {name.replace("heads.active_days.", "head."): tensor for name, tensor in found.items()}
        change(manifest, found, canary)
        save_file(found, folder / "weights.safetensors")
        reseal(folder, manifest)

    return forge


def also(name):
    """A change that adds a task to a manifest of before, with its weights."""

    def change(manifest, found, canary):
        parts = manifest["parts"]
        parts["also"][name] = {"head": parts["head"], "outcome": parts["outcome"]}
        own = {key.removeprefix("head."): found[key] for key in found if key.startswith("head.")}
        found |= {f"also.{name}.{key}": tensor.clone() for key, tensor in own.items()}

    return change


forgery("before: further outcomes without end")(
    before(lambda it, *_: it["parts"].update(also={str(k): {"head": {}, "outcome": {}} for k in range(500)}))
)
for _name in ("", "a.b", "keys"):
    forgery(f"before: a further outcome that is called {_name!r}")(before(also(_name)))
forgery("before: two weights of one name")(
    before(lambda _, found, canary: found.update({f"{HEAD}.scale": torch.tensor(1.0)}))
)
forgery("before: no head")(before(lambda it, *_: it["parts"].pop("head")))
forgery("before: an outcome that is a list")(before(lambda it, *_: it["parts"].update(outcome=[1])))
forgery("before: a head that runs")(
    before(lambda it, _, canary: it["parts"].update(head={"_target_": "os.system", "command": f"touch {canary}"}))
)
forgery("a share above one")(changed(put("parts", "item_dropout", value=2.0)))


# text that is no manifest


def text_of(change):
    """A forgery whose manifest is changed as text, and sealed again."""

    def forge(folder, canary):
        text = json.dumps({k: v for k, v in manifest_of(folder).items() if k != "seal"}, indent=1, ensure_ascii=False)
        (folder / "reward.json").write_bytes(sealed(change(text)).encode("utf-8", "surrogatepass"))

    return forge


def beginning(more):
    return text_of(lambda text: text.replace('\n "unit"', f'\n {more},\n "unit"', 1))


forgery("JSON nested millions of times")(beginning('"deep": ' + "[" * 2_000_000 + "]" * 2_000_000))
forgery("JSON nested ten thousand times")(beginning('"deep": ' + '{"a":' * 10_000 + "1" + "}" * 10_000))
forgery("a key twice")(beginning('"horizon_days": 6'))
forgery("a version twice")(beginning('"format_version": 4'))
forgery("a number that is none")(beginning('"x": NaN'))
forgery("an infinite number")(beginning('"x": 1e999'))
forgery("a number of ten million digits")(beginning('"x": ' + "9" * 10_000_000))
forgery("a number of ten thousand digits")(beginning('"x": ' + "9" * 10_000))
forgery("bytes that are no text")(lambda folder, _: (folder / "reward.json").write_bytes(b"\xff\xfe" * 1000))
forgery("half a surrogate in a name")(text_of(lambda text: text.replace('"click"', '"\\ud800"')))
forgery("no manifest but a list")(lambda folder, _: (folder / "reward.json").write_text("[1, 2]"))
forgery("an empty manifest")(lambda folder, _: (folder / "reward.json").write_text(""))


@forgery("no seal")
def _(folder, canary):
    manifest = {name: value for name, value in manifest_of(folder).items() if name != "seal"}
    (folder / "reward.json").write_text(json.dumps(manifest, indent=1))


forgery("no hashes")(changed(lambda it, _: it.pop("sha256")))
forgery("no hash of the weights")(changed(lambda it, _: it["sha256"].pop("weights.safetensors")))
forgery("hashes that are a list")(text_of(lambda text: text[: text.index('"sha256"')] + '"sha256": ["README.md"]\n}'))
forgery("a hash that is a number")(text_of(lambda text: text.replace('"README.md": "', '"README.md": 7, "x": "')))
for _value in (True, "5", 5.0, None, 99, -1):
    forgery(f"format version {_value!r}")(changed(put("format_version", value=_value)))
for _name in ("parts", "normalisation", "columns", "facts", "horizon_days"):
    forgery(f"no {_name}")(changed(lambda it, _, name=_name: it.pop(name)))
    forgery(f"{_name} of another kind")(changed(put(_name, value=[1])))


@forgery("a manifest of a gigabyte")
def _(folder, canary):
    os.truncate(folder / "reward.json", 1 << 30)


@forgery("a manifest of as many bytes as its other files")
def _(folder, canary):
    room = (1 << 20) + sum(path.stat().st_size for path in folder.iterdir())
    changed(put("facts", "x", value=["\U0001f600" * (room // 4)]))(folder, canary)


@forgery("a manifest of as many values as its other files have bytes")
def _(folder, canary):
    room = sum(path.stat().st_size for path in folder.iterdir())
    changed(put("facts", "x", value=[{"a": []}] * (150_000 + room // 24)))(folder, canary)


@forgery("a manifest of small values without end")
def _(folder, canary):
    changed(put("facts", "x", value=[[]] * 100_000))(folder, canary)


# normalisation


def normalised(*path, value):
    return changed(put("normalisation", *path, value=value))


forgery("an embedding of a billion numbers")(normalised("embedding_sizes", "vector", value=10**9))
forgery("an embedding of negative length")(normalised("embedding_sizes", "vector", value=-3))
forgery("no standard deviation")(normalised("moments", "volume", value=[0.0, 0.0]))
forgery("a mean of text")(normalised("moments", "volume", value=["0", 1.0]))
forgery("a moment too many")(normalised("moments", "volume", value=[0.0, 1.0, 2.0]))
forgery("moments without end")(
    changed(lambda it, _: it["normalisation"]["moments"].update({f"{k:05}": [k + 0.5, 1.5] for k in range(12_000)}))
)
forgery("constant inputs without end")(normalised("constant", value=[f"{k:05}" for k in range(12_000)]))
forgery("a moment too few")(changed(lambda it, _: it["normalisation"]["moments"].pop("volume")))
forgery("no moments")(changed(lambda it, _: it["normalisation"].pop("moments")))
forgery("a time zone that is a path")(normalised("timezone", value="../../../etc/passwd"))
forgery("a time zone that is a file")(normalised("timezone", value="/etc/passwd"))
forgery("flags that are no feedback")(normalised("flags", value=["surface"]))
forgery("feedback that is a string")(normalised("feedback", value="click"))
forgery("a column twice")(normalised("feedback", value=["click", "click"]))
forgery("a session gap below nothing")(normalised("session_gap_minutes", value=-1))
forgery("a first day in no calendar")(normalised("first_day", value=10**15))
forgery("a past rate of seven")(normalised("past_rate", value=7))
forgery("a feature that is none")(normalised("__class__", value="x"))
forgery("items in the manifest")(normalised("items", value=[]))
forgery("a vocabulary of numbers")(normalised("vocabularies", "surface", value=[1, 2]))
forgery("a vocabulary with a value twice")(normalised("vocabularies", "surface", value=["home", "home"]))
forgery("a vocabulary larger than its weights")(
    normalised("vocabularies", "surface", value=[str(k) for k in range(5000)])
)
forgery("a vocabulary of no column")(normalised("vocabularies", "nowhere", value=["a"]))


# names and what they lead to

for _name in ("../outside", "/etc/passwd", "a/../../b", "..", "", "a//b", "./reward.json", "a\\..\\b", "nul\0l"):
    forgery(f"a hash of {_name!r}")(changed(put("sha256", _name, value="0" * 64)))


def instead_of(name, make):
    def forge(folder, canary):
        kept = canary.parent / "kept"
        (folder / name).rename(kept)
        make(folder / name, kept)

    return forge


for _name in ("reward.json", "weights.safetensors", "items.parquet", "README.md"):
    forgery(f"{_name} is a link")(instead_of(_name, lambda path, kept: path.symlink_to(kept)))
    forgery(f"{_name} is a pipe")(instead_of(_name, lambda path, kept: os.mkfifo(path)))
forgery("weights that are a device")(instead_of("weights.safetensors", lambda path, _: path.symlink_to("/dev/zero")))
forgery("weights that are a folder")(instead_of("weights.safetensors", lambda path, _: path.mkdir()))
forgery("weights that are a link to nothing")(
    instead_of("weights.safetensors", lambda path, _: path.symlink_to("nothing"))
)


@forgery("a composite whose function is outside")
def _(folder, canary):
    outside = canary.parent / "outside"
    shutil.copytree(folder, outside)
    composite(folder, {"../outside": hashlib.sha256((outside / "reward.json").read_bytes()).hexdigest()})


@forgery("a composite whose function is behind a link")
def _(folder, canary):
    outside = canary.parent / "outside"
    shutil.copytree(folder, outside)
    (folder / "signals").mkdir()
    (folder / "signals" / "0").symlink_to(outside)
    composite(folder, {"signals/0": hashlib.sha256((outside / "reward.json").read_bytes()).hexdigest()})


@forgery("a composite of itself")
def _(folder, canary):
    composite(folder, {"signals/0": "0" * 64})
    shutil.copytree(folder, folder / "signals" / "0")
    composite(folder, {"signals/0": hashlib.sha256((folder / "signals/0/reward.json").read_bytes()).hexdigest()})


@forgery("a composite with weights without end")
def _(folder, canary):
    composite(folder, {}, weights={str(k): 1.0 for k in range(200_000)})


@forgery("a composite of one function many times")
def _(folder, canary):
    inner = folder / "signals" / "0"
    shutil.copytree(folder, canary.parent / "whole")
    inner.parent.mkdir()
    (canary.parent / "whole").rename(inner)
    told = hashlib.sha256((inner / "reward.json").read_bytes()).hexdigest()
    names = [f"s{k}" for k in range(900)]
    same = {"weights": dict.fromkeys(names, 1.0), "functions": dict.fromkeys(names, "signals/0")}
    composite(folder, {"signals/0": told})
    reseal(folder, manifest_of(folder) | same | {"covariance": [[0.0] * 900] * 900})


@forgery("a composite of a few functions that are one")
def _(folder, canary):
    FORGERIES["a composite of one function many times"](folder, canary)
    names = [f"s{k}" for k in range(5)]
    manifest = manifest_of(folder)
    more = {"weights": dict.fromkeys(names, 1.0), "functions": dict.fromkeys(names, "signals/0")}
    reseal(folder, manifest | more | {"covariance": [[0.0] * 5] * 5})


@forgery("a composite whose covariance is of another shape")
def _(folder, canary):
    composite(folder, {}, weights={"click": 1.0}, covariance=[[1.0, 2.0]])


def composite(folder, functions, **more):
    manifest = {
        "format_version": 5,
        "_target_": "reward.scoring.composite.Composite",
        "unit": "days",
        "weights": dict.fromkeys(functions, 1.0),
        "covariance": [[0.0]],
        "functions": {place: place for place in functions},
        "facts": {},
        "sha256": {"README.md": hashlib.sha256((folder / "README.md").read_bytes()).hexdigest()}
        | {f"{place}/reward.json": told for place, told in functions.items()},
    }
    (folder / "reward.json").write_text(sealed(json.dumps(manifest | more, indent=1)), encoding="utf-8")


# tensors


def weights(change):
    def forge(folder, canary):
        found = load_file(folder / "weights.safetensors")
        save_file(change(found), folder / "weights.safetensors")
        reseal(folder, manifest_of(folder))

    return forge


forgery("a weight that is no number")(weights(lambda it: it | {"embedding.blank": torch.full((8,), torch.nan)}))
forgery("an infinite weight")(weights(lambda it: it | {f"{HEAD}.scale": torch.tensor(torch.inf)}))
forgery("a negative frailty")(weights(lambda it: it | {f"{HEAD}.frailty": torch.tensor(-1.0)}))
forgery("a tensor is missing")(weights(lambda it: {name: it[name] for name in it if name != f"{HEAD}.offset"}))
forgery("a tensor too many")(weights(lambda it: it | {"more": torch.zeros(3)}))
forgery("a tensor of another shape")(weights(lambda it: it | {f"{HEAD}.offset": torch.zeros(8)}))
forgery("a tensor of integers")(weights(lambda it: it | {f"{HEAD}.offset": torch.zeros(7, dtype=torch.int64)}))
forgery("no tensors")(weights(lambda it: {"x": torch.zeros(0)}))


def header(change):
    """A forgery that changes the header of the weights, and seals it."""

    def forge(folder, canary):
        path = folder / "weights.safetensors"
        content = path.read_bytes()
        length = int.from_bytes(content[:8], "little")
        told = change(json.loads(content[8 : 8 + length]))
        text = told if isinstance(told, bytes) else json.dumps(told).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])
        reseal(folder, manifest_of(folder))

    return forge


def told_of(name, **values):
    return header(lambda it: it | {name: it[name] | values})


forgery("a header that tells of a huge tensor")(told_of("embedding.items.weight", shape=[10**9, 8]))
forgery("a header whose tensor ends elsewhere")(told_of("embedding.items.weight", data_offsets=[0, 10**12]))
forgery("a header with sizes below nothing")(told_of("embedding.items.weight", shape=[-1, -8]))
forgery("a header of another type")(told_of("embedding.items.weight", dtype="F4096"))
forgery("a header of true sizes")(told_of("embedding.items.weight", shape=[True, True]))
forgery("a header of overlapping tensors")(header(lambda it: it | {f"{HEAD}.scale": it[f"{HEAD}.frailty"]}))
forgery("a header that is a list")(header(lambda it: b"[1, 2, 3]"))
forgery("a header that is nested")(header(lambda it: b"[" * 100_000))
forgery("a header with a name twice")(
    header(lambda it: json.dumps(it).encode()[:-1] + f', "{HEAD}.scale": {{}}}}'.encode())
)
forgery("a header of a hundred thousand tensors")(
    header(lambda it: {str(k): {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for k in range(100_000)})
)


@forgery("a header longer than the file")
def _(folder, canary):
    (folder / "weights.safetensors").write_bytes((2**62).to_bytes(8, "little") + b"{}")
    reseal(folder, manifest_of(folder))


@forgery("weights of three bytes")
def _(folder, canary):
    (folder / "weights.safetensors").write_bytes(b"abc")
    reseal(folder, manifest_of(folder))


@forgery("weights of sixteen gigabytes of nothing")
def _(folder, canary):
    path = folder / "weights.safetensors"
    text = json.dumps({"x": {"dtype": "F32", "shape": [1 << 32], "data_offsets": [0, 1 << 34]}}).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    os.truncate(path, 8 + len(text) + (1 << 34))


# tables


def items(change, name="items.parquet", **options):
    def forge(folder, canary):
        found = pl.read_parquet(folder / name)
        change(found).write_parquet(folder / name, **options)
        reseal(folder, manifest_of(folder))

    return forge


BOMB = 3_000_000


def first_rows(table, count, **columns):
    """The table with other columns in a few of its rows."""
    return pl.concat([table.head(count).with_columns(**columns).cast(table.schema), table.slice(count)])


forgery("no items")(items(lambda it: it.clear()))
forgery("items in another order")(items(lambda it: it.reverse()))
forgery("an item twice")(items(lambda it: pl.concat([it.head(1), it])))
forgery("an item without an id")(items(lambda it: it.with_columns(item_id=pl.lit(None, pl.Int64))))
forgery("ids that are numbers with a point")(items(lambda it: it.with_columns(pl.col("item_id").cast(pl.Float64))))
forgery("a code of a million billions")(items(lambda it: it.with_columns(code=pl.lit(10**15))))
forgery("codes below nothing")(items(lambda it: it.with_columns(code=-pl.col("code"))))
forgery("a code twice")(items(lambda it: it.with_columns(code=pl.lit(1, pl.Int64))))
forgery("codes that are text")(items(lambda it: it.with_columns(pl.col("code").cast(pl.String))))
forgery("a column too few")(items(lambda it: it.drop("genre")))
forgery("a column too many")(items(lambda it: it.with_columns(more=1)))
forgery("a category that is a number")(items(lambda it: it.with_columns(genre=pl.lit(1))))
forgery("a number that is text")(items(lambda it: it.with_columns(minutes=pl.lit("a"))))
forgery("an infinite feature")(items(lambda it: it.with_columns(minutes=pl.lit(float("inf")))))
forgery("vectors of another length")(items(lambda it: it.with_columns(vector=pl.lit([1.0, 2.0], pl.List(pl.Float64)))))
forgery("millions of rows in a few bytes")(
    items(
        lambda it: pl.concat(
            [it, pl.DataFrame({"item_id": pl.repeat(7, BOMB, dtype=pl.Int64, eager=True)})], how="diagonal"
        )
    )
)
forgery("one long word in a few bytes")(items(lambda it: first_rows(it, 1, genre=pl.lit("a" * 20 * BOMB))))
forgery("one long vector in a few bytes")(
    items(lambda it: first_rows(it, 30, vector=pl.zeros(BOMB // 3, pl.Float64, eager=True).implode().first()))
)


@forgery("ids of very different lengths")
def _(folder, canary):
    rng = np.random.default_rng(0)
    ids = sorted([f"{k:07}" for k in range(20_000)] + ["x" + bytes(rng.integers(97, 122, 20_000).tolist()).decode()])
    table = pl.DataFrame({"item_id": ids, "code": np.zeros(len(ids), np.int64)})
    manifest = manifest_of(folder)
    manifest["normalisation"] |= {"item_features": [], "embedding_sizes": {}}
    manifest["normalisation"]["vocabularies"].pop("genre")
    table.write_parquet(folder / "items.parquet")
    reseal(folder, manifest)


def parquet(change):
    def forge(folder, canary):
        path = folder / "items.parquet"
        path.write_bytes(change(path.read_bytes()))
        reseal(folder, manifest_of(folder))

    return forge


forgery("items that are no parquet")(parquet(lambda it: b"item_id,code\n1,1\n"))
forgery("items of nothing")(parquet(lambda it: b""))
forgery("items cut short")(parquet(lambda it: it[: len(it) // 2] + b"PAR1"))
forgery("items with metadata longer than the file")(
    parquet(lambda it: it[:-8] + (2**31).to_bytes(4, "little") + b"PAR1")
)
forgery("items with noise for metadata")(parquet(lambda it: it[:-200] + bytes(range(192)) + it[-8:]))
forgery("items with holes")(parquet(lambda it: it[:4] + bytes(1 << 20) + it[4:]))
forgery("items in another format")(
    lambda folder, _: (
        pl.read_parquet(folder / "items.parquet").write_ipc(folder / "items.parquet"),
        reseal(folder, manifest_of(folder)),
    )
)


@forgery("a page that unpacks to two gigabytes")
def _(folder, canary):
    path = folder / "items.parquet"
    pl.read_parquet(path).write_parquet(path, compression="uncompressed", use_pyarrow=False)
    content = bytearray(path.read_bytes())
    place = content.index(b"\x15", 4)  # the first field of a page's header is its kind, the second its size unpacked
    content[place + 2 : place + 4] = b"\x15\xfe\xff\xff\xff\x0f"
    path.write_bytes(content)
    reseal(folder, manifest_of(folder))


# effects


def effect(*path, value):
    return changed(put("effects", *path, value=value))


def with_effects(name):
    return forgery(name, effects=True)


with_effects("effects that are text")(changed(put("effects", value="none")))
with_effects("effects without a table")(changed(lambda it, _: it["sha256"].pop("effects.parquet")))


def tensors(change):
    """A forgery that changes the tensors of the effects in place."""

    def forge(folder, canary):
        found = load_file(folder / "effects.safetensors")
        change(found)
        save_file(found, folder / "effects.safetensors")
        reseal(folder, manifest_of(folder))

    return forge


def tensor(name, value):
    return tensors(lambda it: it.update({name: value}))


with_effects("effects without tensors")(changed(lambda it, _: it["sha256"].pop("effects.safetensors")))
with_effects("a covariance of another shape")(tensor("covariance", torch.ones(1, 1).double()))
with_effects("a covariance of another type")(tensors(lambda it: it.update(covariance=it["covariance"].float())))
with_effects("no scale")(tensor("scale", torch.zeros(0).double()))
with_effects("a scale of nothing")(tensors(lambda it: it["scale"].zero_()))
with_effects("coefficients too many")(
    tensors(lambda it: it.update(coefficients=torch.cat([it["coefficients"], torch.ones(1).double()])))
)
with_effects("coefficients beyond all numbers")(tensors(lambda it: it["coefficients"].fill_(1e308)))
with_effects("coefficients that are no numbers")(tensors(lambda it: it["coefficients"].fill_(torch.nan)))
with_effects("a gate of another length")(tensor("gate", torch.ones(1).double()))
with_effects("a gate in two dimensions")(tensors(lambda it: it.update(gate=it["gate"][None])))
with_effects("a basket of items that are none")(tensor("basket", torch.tensor([10**9])))
with_effects("a basket below nothing")(tensor("basket", torch.tensor([-1])))
with_effects("a basket without end")(tensor("basket", torch.zeros(20_000, dtype=torch.int64)))
with_effects("a basket of numbers with fractions")(tensor("basket", torch.zeros(3).double()))
with_effects("tensors that nobody knows")(tensor("more", torch.ones(1).double()))
with_effects("tensors in place of another's")(tensors(lambda it: it.pop("covariance")))
with_effects("effects of no class")(changed(lambda it, _: it["effects"].pop("_target_")))
with_effects("effects of a class that is none")(effect("_target_", value="reward.causal.estimate.estimate_effects"))
with_effects("effects of a class of somebody else")(effect("_target_", value="subprocess.Popen"))
with_effects("effects of the contract itself")(effect("_target_", value="reward.causal.protocol.EffectModel"))
with_effects("groups more than items")(
    changed(
        lambda it, _: it["effects"]["newcomers"].update(
            groups=[f"{k:05}" for k in range(21_000)], group_codes=[0] * 21_000, group_effects=[0.5] * 21_000
        )
    )
)
with_effects("an empty basket")(tensor("basket", torch.zeros(0, dtype=torch.int64)))
with_effects("spans of nothing")(effect("spans_days", value=[0.0]))
with_effects("spans without end")(effect("spans_days", value=[1.0] * 10_000))
with_effects("answers to what is no feedback")(effect("answers", "feedback", value=["click", "likes"]))
with_effects("a gate that is no feedback")(effect("answers", "gate", value="likes"))
with_effects("no tastes")(effect("tastes", value=[]))
with_effects("tastes of another shape")(
    changed(lambda it, _: it["effects"]["tastes"][0].update(axes=[[1.0]], prior=[1.0]))
)
with_effects("new items told by no feature")(effect("newcomers", "describing", value=[["likes", None, 0.0, 1.0]]))
with_effects("groups without codes")(effect("newcomers", "groups", value=["a", "b", "c", "d"]))
with_effects("groups in disorder")(effect("newcomers", "groups", value=["b", "a"]))


def with_net(*sizes, **changes):
    """A forgery that adds a net of these sizes."""

    def change(found):
        net = {"centre": torch.zeros(sizes[0]).double(), "width": torch.ones(sizes[0]).double()}
        for place, (into, out) in enumerate(pairwise(sizes)):
            net[f"stack.{place}.weight"] = torch.zeros(out, into).double()
            net[f"stack.{place}.bias"] = torch.zeros(out).double()
        found.update({f"net.{name}": it for name, it in (net | changes).items() if it is not None})

    return tensors(change)


with_effects("a net's weights for other inputs")(with_net(1, 8, 1))
with_effects("a net's weights of two outputs")(with_net(17, 8, 2))
with_effects("a net's weights that do not follow each other")(
    with_net(17, 8, 1, **{"stack.0.bias": torch.zeros(9).double()})
)
with_effects("a net's weights of another type")(with_net(17, 8, 1, **{"stack.0.bias": torch.zeros(8)}))
with_effects("a net's weights that are no numbers")(with_net(17, 8, 1, width=torch.full((17,), torch.nan).double()))
with_effects("a net's width of nothing")(with_net(17, 8, 1, width=torch.zeros(17).double()))
with_effects("a net of no layers")(with_net(17))
with_effects("a net without its first layer")(with_net(17, 8, 1, **{"stack.0.weight": None, "stack.0.bias": None}))
with_effects("a net without its inputs")(with_net(17, 8, 1, centre=None))
with_effects("a slope of text")(effect("calibration", "slope", value="1"))


def told_items(change):
    return items(change, "effects.parquet")


with_effects("effects of no items")(told_items(lambda it: it.tail(1)))
with_effects("effects without a last row")(told_items(lambda it: it.head(len(it) - 1)))
with_effects("effects of items in another order")(told_items(lambda it: it.reverse()))
with_effects("effects of ids of another kind")(
    told_items(lambda it: it.with_columns(pl.col("item_id").cast(pl.String)))
)
with_effects("effects that are no numbers")(told_items(lambda it: it.with_columns(behind=pl.lit(float("nan")))))
with_effects("effects that are missing")(told_items(lambda it: it.with_columns(behind=pl.lit(None, pl.Float64))))
with_effects("a variance below nothing")(told_items(lambda it: it.with_columns(variance=-1.0)))
with_effects("groups without end")(told_items(lambda it: it.with_columns(group=pl.lit(10**15))))
with_effects("groups that are text")(told_items(lambda it: it.with_columns(group=pl.lit("a"))))
with_effects("tastes of other lengths")(
    told_items(lambda it: it.with_columns(taste=pl.lit([1.0] * 99, pl.List(pl.Float64))))
)
with_effects("answers of other lengths")(
    told_items(lambda it: it.with_columns(answers=pl.lit([1.0], pl.List(pl.Float64))))
)
with_effects("answers that are no numbers")(
    told_items(lambda it: it.with_columns(pl.col("answers").list.eval(pl.element() * float("inf"))))
)
with_effects("effects of millions of items in a few bytes")(
    told_items(
        lambda it: pl.concat(
            [pl.DataFrame({"item_id": pl.repeat(7, BOMB, dtype=pl.Int64, eager=True)}), it], how="diagonal"
        )
    )
)


def forged(name, honest, place):
    """A copy of an honest artefact in ``place``, forged; and its canary, which stands beside it."""
    folder, canary = Path(place) / "forged", Path(place) / "canary"
    shutil.copytree(honest, folder)
    FORGERIES[name](folder, canary)
    return folder, canary


if __name__ == "__main__":
    import reward

    honest = Path(sys.argv[1])
    for _name in FORGERIES:
        with tempfile.TemporaryDirectory() as _place:
            _folder, _canary = forged(_name, honest, _place)
            try:
                reward.load(_folder)
                _said = "LOADED"
            except reward.ArtifactError as _error:
                _said = str(_error).replace(str(_folder), "IT")
            print(f"{_name}: {_said}" + (" AND RAN" if _canary.exists() else ""))
