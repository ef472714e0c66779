"""The artefact: a folder that holds a scoring function, readable without the code that trained it."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import torch
from safetensors.torch import load_file, save_file

from reward.card import model_card
from reward.effects.storage import from_values, to_table, to_values
from reward.function import RewardFunction
from reward.network import RewardNetwork
from reward.outcomes import ABSENT
from reward.sequences.features import Features
from reward.wiring import TARGET, locate

FORMAT_VERSION = 4
READABLE = (1, 2, 3, 4)  # the first had no effects, the second one head alone, the third no frailty
MANIFEST = "reward.json"
WEIGHTS = "weights.safetensors"
ITEMS = "items.parquet"
EFFECTS = "effects.parquet"
CARD = "README.md"
_RENAMED = {f"head.{name}": f"head.ensemble.{name}" for name in ("inner.weight", "inner.bias", "outer", "bias")}


class ArtifactError(ValueError):
    """A folder that is no intact artefact, or one of a format this version does not read."""


class ArtifactWarning(UserWarning):
    """What an artefact says of itself that whoever uses its effects should know."""


def part(instance: Any) -> dict[str, Any]:
    """How to build a part again: its class and constructor arguments, kept as attributes of the same name."""
    kind = type(instance)
    names = list(inspect.signature(kind).parameters)
    return {TARGET: f"{kind.__module__}.{kind.__qualname__}", **{name: getattr(instance, name) for name in names}}


def save(function: RewardFunction, folder: str | os.PathLike[str]) -> Path:
    """Write a scoring function to ``folder``, whole or not at all; an artefact already there is replaced.

    Args:
        function: what to save.
        folder: where.

    Raises:
        FileExistsError: what is there is not an artefact.
    """
    with fresh_folder(folder) as fresh:
        save_file(
            {name: tensor.contiguous() for name, tensor in function.network.state_dict().items()}, fresh / WEIGHTS
        )
        function.features.items.write_parquet(fresh / ITEMS)
        effects = function.effects
        if effects is not None:
            to_table(effects).write_parquet(fresh / EFFECTS)
        (fresh / CARD).write_text(model_card(function, function.facts), encoding="utf-8")
        manifest = {
            "unit": function.unit,
            "horizon_days": function.horizon_days,
            "columns": {
                "required": ["user_id", "item_id", "timestamp"],
                "feedback": list(function.features.feedback),
                "context": list(function.features.context),
                "item_features": list(function.features.item_features),
                "timestamp_unit": function.timestamp_unit,
            },
            "parts": {
                "encoder": part(function.network.encoder),
                "head": part(function.network.head),
                "outcome": part(function.outcome),
                "also": {
                    name: {"head": part(function.network.also[name]), "outcome": part(outcome)}
                    for name, outcome in function.also.items()
                },
                "item_dropout": function.network.item_dropout,
                "recall_days": function.network.recall_days,
                "max_events": function.max_events,
            },
            "normalisation": function.features.to_json(),
            "effects": None if effects is None else to_values(effects),
            "facts": function.facts,
        }
        write_manifest(fresh, manifest, sorted(file.name for file in fresh.iterdir()))
    return Path(folder)


@contextmanager
def fresh_folder(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a folder to fill; it becomes ``folder``, in the place of an artefact there, when the block ends well.

    Raises:
        FileExistsError: what is there is not an artefact.
    """
    target = Path(folder)
    if target.exists() and not (target / MANIFEST).is_file() and not (target.is_dir() and not any(target.iterdir())):
        raise FileExistsError(
            f"{target} is there and is no artefact: expected a folder to make or an artefact to replace"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as scratch:
        fresh = Path(scratch) / "new"
        fresh.mkdir()
        yield fresh
        old = Path(scratch) / "old"
        if target.exists():
            target.rename(old)
        try:
            fresh.rename(target)
        except OSError:
            if old.exists():
                old.rename(target)
            raise


def write_manifest(folder: Path, manifest: Mapping[str, Any], files: Sequence[str]) -> None:
    """Write what an artefact says of itself, with the hashes of its files, sealed."""
    hashes = {name: _sha256(folder / name) for name in files}
    text = _sealed({"format_version": FORMAT_VERSION, **manifest, "sha256": hashes})
    (folder / MANIFEST).write_text(text, encoding="utf-8")


def load(source: str | os.PathLike[str], *, trust: Sequence[str] = ("reward.",)) -> RewardFunction:
    """Read a scoring function.

    Args:
        source: a folder, ``hf://org/name[@revision]`` (with the extra ``reward[hub]``) or
            ``wandb://entity/project/name:alias``.
        trust: prefixes of the modules whose classes the artefact may name as its parts. Add your own package's to
            load an artefact with an encoder of yours; nothing else in an artefact runs code.

    Returns:
        The scoring function. An artefact of another kind names the class that reads it, such as
        `reward.experiments.composite.Composite`, which scores with the same methods.

    Raises:
        ArtifactError: the folder is missing a file, a byte of it changed, its format version is unknown, or it names
            a part outside ``trust``.

    Warns:
        ArtifactWarning: what it says of the effects of items rests on propensities that were estimated, or that a
            check speaks against.
    """
    folder = _fetch(str(source))
    manifest = _manifest(folder)
    if TARGET in manifest:
        return _trusted(manifest[TARGET], trust).read(folder, manifest, trust=trust)
    warning = (manifest["facts"].get("effects") or {}).get("warning")
    if warning is not None:
        warnings.warn(f"{source}: {warning}", ArtifactWarning, stacklevel=2)
    parts = manifest["parts"]
    features = Features.from_json(manifest["normalisation"], pl.read_parquet(folder / ITEMS))
    encoder, head, outcome = (_build(parts[name], trust) for name in ("encoder", "head", "outcome"))
    also = {
        name: {key: _build(spec, trust) for key, spec in each.items()} for name, each in parts.get("also", {}).items()
    }
    network = RewardNetwork(
        encoder,
        head,
        sizes=features.sizes(),
        item_dropout=parts["item_dropout"],
        also={name: each["head"] for name, each in also.items()},
        absent=any(ABSENT in each["outcome"].states for each in also.values()),
        recall_days=parts.get("recall_days", ()),
    )
    weights = load_file(folder / WEIGHTS)
    if manifest["format_version"] < 3:
        weights = {_RENAMED.get(name, name): tensor for name, tensor in weights.items()}
    if manifest["format_version"] < 4:
        weights = {name: torch.zeros(()) for name in network.state_dict() if name.endswith(".frailty")} | weights
    network.load_state_dict(weights)
    told = manifest.get("effects")
    return RewardFunction(
        network,
        features,
        outcome,
        max_events=parts["max_events"],
        timestamp_unit=manifest["columns"]["timestamp_unit"],
        facts=manifest["facts"],
        effects=None if told is None else from_values(told, pl.read_parquet(folder / EFFECTS)),
        also={name: each["outcome"] for name, each in also.items()},
    )


def _manifest(folder: Path) -> dict[str, Any]:
    missing = [name for name in (MANIFEST, WEIGHTS, ITEMS, CARD) if not (folder / name).is_file()]
    if MANIFEST in missing or (missing and not _reads_itself(folder)):
        raise ArtifactError(
            f"{folder} is no artefact: expected {', '.join((MANIFEST, WEIGHTS, ITEMS, CARD))}, missing "
            f"{', '.join(missing)}; give the folder that training printed, or copy it again"
        )
    broken = f"{folder / MANIFEST} was changed after it was written: copy the artefact again from where it was made"
    try:
        text = (folder / MANIFEST).read_text(encoding="utf-8")
        manifest: dict[str, Any] = json.loads(text)
        version = manifest["format_version"]
        intact = _sealed({name: value for name, value in manifest.items() if name != "seal"}) == text
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(broken) from error
    if version not in READABLE:
        known = f"{', '.join(map(str, READABLE[:-1]))} and {READABLE[-1]}"
        raise ArtifactError(
            f"{folder} has format version {version!r}, this version of reward reads {known}: install the version that "
            "wrote it, or train again"
        )
    if not intact:
        raise ArtifactError(broken)
    for name, expected in manifest["sha256"].items():
        if not (folder / name).is_file():
            raise ArtifactError(
                f"{folder} is no artefact: missing {name}; copy the artefact again from where it was made"
            )
        if _sha256(folder / name) != expected:
            raise ArtifactError(
                f"{folder / name} was changed after it was written (sha256 differs): copy the artefact again from "
                "where it was made"
            )
    return manifest


def _sealed(manifest: Mapping[str, Any]) -> str:
    """The manifest as text, with the hash of itself at its end."""
    text = json.dumps(manifest, indent=1, ensure_ascii=False, allow_nan=False)
    return json.dumps({**manifest, "seal": hashlib.sha256(text.encode()).hexdigest()}, indent=1, ensure_ascii=False)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _reads_itself(folder: Path) -> bool:
    """Whether an artefact is of a kind that has files of its own: they are looked for by their hashes."""
    try:
        return TARGET in json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (ValueError, TypeError):
        return False


def _trusted(target: str, trust: Sequence[str]) -> Any:
    if not target.startswith(tuple(trust)):
        raise ArtifactError(
            f"the artefact names {target} as one of its parts, which is outside {', '.join(trust)}: if you trust it, "
            f"load with trust=(..., {target.partition('.')[0] + '.'!r})"
        )
    return locate(target)


def _build(spec: Mapping[str, Any], trust: Sequence[str]) -> Any:
    return _trusted(spec[TARGET], trust)(**{name: value for name, value in spec.items() if name != TARGET})


def _fetch(source: str) -> Path:
    """The local folder of ``source``."""
    if source.startswith("hf://"):
        try:
            from huggingface_hub import snapshot_download
        except ImportError as error:
            raise ArtifactError(f"{source} needs the extra reward[hub]: pip install 'reward[hub]'") from error
        name, _, revision = source.removeprefix("hf://").partition("@")
        return Path(snapshot_download(name, revision=revision or None))
    if source.startswith("wandb://"):
        import wandb

        artifact = wandb.Api().artifact(source.removeprefix("wandb://"))
        return Path(artifact.download(root=tempfile.mkdtemp(prefix="reward-")))
    return Path(source)
