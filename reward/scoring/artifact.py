"""The artefact: a folder that holds a scoring function, readable without the code that trained it."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import safetensors.torch
import torch
from torch import Tensor

from reward.features.restored import restored
from reward.outcomes.protocol import ABSENT, STATES
from reward.plain import check, shown
from reward.scoring.bounded import Peek, Shape, check_table, table, table_bytes, tensor_shapes, tensors
from reward.scoring.effects_files import read_effects, write_effects
from reward.scoring.function import RewardFunction
from reward.scoring.hub import fetched
from reward.scoring.model_card import model_card
from reward.scoring.sealed import (
    CARD,
    ITEMS,
    MANIFEST,
    READABLE,
    WEIGHTS,
    MissingError,
    ReplacedError,
    Sealed,
    check_manifest,
    shown_error,
)
from reward.scoring.sealed import ArtifactError as ArtifactError
from reward.sequences.network import RewardNetwork
from reward.targets import TARGET, build, resolve, trusted
from reward.writing import recover, whole_folder

FORMAT_VERSION = READABLE[-1]
_MOST_EVENTS = 1 << 20  # of a history
_MOST_FURTHER = 100  # outcomes, half-lives
_TRIES = 100  # readings of an artefact that is replaced meanwhile
_PAUSE_SECONDS = 0.01
_RENAMED = {f"head.{name}": f"head.ensemble.{name}" for name in ("inner.weight", "inner.bias", "outer", "bias")}
_FLOATS = {"F64", "F32", "F16", "BF16"}


class ArtifactWarning(UserWarning):
    """What an artefact says of itself that whoever uses its effects should know."""


class _Columns(TypedDict):
    timestamp_unit: str | None


class _Further(TypedDict):
    head: dict[str, Any]
    outcome: dict[str, Any]


class _Parts(TypedDict):
    encoder: dict[str, Any]
    head: dict[str, Any]
    outcome: dict[str, Any]
    also: NotRequired[dict[str, _Further]]
    item_dropout: float
    recall_days: NotRequired[list[float]]
    max_events: int


class _Manifest(TypedDict):
    horizon_days: int
    columns: _Columns
    parts: _Parts
    normalisation: dict[str, Any]
    effects: NotRequired[dict[str, Any] | None]
    facts: dict[str, Any]


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
        ValueError: `load` would refuse it, such as for a weight that is not finite; nothing is written.
    """
    with fresh_folder(folder) as fresh:
        weights = {name: tensor.contiguous() for name, tensor in function.network.state_dict().items()}
        (fresh / WEIGHTS).write_bytes(safetensors.torch.save(weights))
        (fresh / ITEMS).write_bytes(table_bytes(function.features.items))
        effects = None if function.effects is None else write_effects(function.effects, fresh)
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
            "effects": effects,
            "facts": function.facts,
        }
        write_manifest(fresh, manifest, sorted(file.name for file in fresh.iterdir()))
        read_back(fresh, [function])
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
    with whole_folder(target) as fresh:
        yield fresh


def write_manifest(folder: Path, manifest: Mapping[str, Any], files: Sequence[str]) -> None:
    """Write what an artefact says of itself, with the hashes of its files, sealed."""
    hashes = {name: _sha256(folder / name) for name in files}
    text = _sealed({"format_version": FORMAT_VERSION, **manifest, "sha256": hashes}).encode()
    try:
        check_manifest(text, lambda name: (folder / name).stat().st_size if (folder / name).is_file() else 0)
    except ValueError as error:
        raise ValueError(f"{MANIFEST} {error}") from error
    (folder / MANIFEST).write_bytes(text)


def read_back(folder: Path, functions: Iterable[RewardFunction]) -> None:
    """See that an artefact that was just written is read, by what reads it.

    Args:
        folder: where it is.
        functions: whose artefact it is; the modules of their parts are trusted.

    Raises:
        ValueError: it is not.
    """
    try:
        with Sealed.opened(folder) as sealed:
            _of_its_kind(sealed, frozenset().union(*map(_own_modules, functions)))
    except Exception as error:
        why = shown_error(error).replace(str(folder), "it")
        raise ValueError(f"the artefact is not saved, since it could not be loaded: {why}") from error


def _own_modules(function: RewardFunction) -> set[str]:
    """Modules of parts that do not ship with `reward`."""
    parts = [*function.network.modules(), function.effects, function.outcome, *function.also.values()]
    return {
        type(each).__module__
        for each in parts
        if not type(each).__module__.startswith(("reward.", "torch.", "builtins"))
    }


def load(source: str | os.PathLike[str], *, trust: Sequence[str] = ()) -> RewardFunction:
    """Read a scoring function.

    Whatever the folder holds, nothing in it runs and nothing outside it is read: its parts are classes that ship with
    `reward`, their arguments, tables and tensors are checked before anything is made of them, and each file is read
    once. Where the artefact is replaced meanwhile, it is the one or the other.

    Args:
        source: a folder, ``hf://org/name[@revision]`` (with the extra ``reward[hub]``) or
            ``wandb://entity/project/name:alias``.
        trust: full names of modules of yours whose classes the artefact may name as its parts, such as
            ``("mine.encoders",)``; they are imported, and with them runs what they do. What ships with `reward` needs
            no entry.

    Returns:
        The scoring function. An artefact of another kind names the class that reads it, such as
        `reward.scoring.composite.Composite`, which scores with the same methods.

    Raises:
        ArtifactError: it cannot be had, a file is missing, a byte of it changed, its format version is unknown, it
            names a part that neither ships with `reward` nor is in ``trust``, or anything in it does not fit.
        TypeError: ``trust`` is a lone string.
        ValueError: ``trust`` has something else than full names of modules.

    Warns:
        ArtifactWarning: what it says of the effects of items rests on propensities that were estimated, or that a
            check speaks against.
    """
    modules = trusted(trust)
    with fetched(str(source)) as (folder, links_to):
        function, told = _read_whole(folder, links_to, modules, str(source))
    for warning in told:
        warnings.warn(f"{source}: {warning}", ArtifactWarning, stacklevel=2)
    return function


def read(sealed: Sealed, trust: frozenset[str]) -> RewardFunction:
    """The scoring function of an artefact that is open.

    Raises:
        ValueError: something in it does not fit.
    """
    sealed.require(WEIGHTS, ITEMS, CARD)
    sealed.read_card()
    manifest = sealed.manifest
    check(manifest, _Manifest, "the manifest")
    parts = manifest["parts"]
    _check_sizes(parts)
    items = table(sealed.read(ITEMS, _table_check(sealed)))
    features = restored(manifest["normalisation"], items)
    shapes = _named(sealed.peek(WEIGHTS, tensor_shapes), sealed.version)
    most = max(len(shapes), *(size for shape in shapes.values() for size in shape.sizes), 1)
    outcome = build(parts["outcome"], "outcome", trust, most=most)
    also = {name: build(each["outcome"], "outcome", trust, most=most) for name, each in _also(parts).items()}
    absent = any(ABSENT in each.states for each in also.values())

    def network() -> RewardNetwork:
        heads = {name: build(each["head"], "head", trust, most=most) for name, each in _also(parts).items()}
        return RewardNetwork(
            build(parts["encoder"], "encoder", trust, most=most),
            build(parts["head"], "head", trust, most=most),
            sizes=features.sizes(),
            item_dropout=parts["item_dropout"],
            also=heads,
            absent=absent,
            recall_days=parts.get("recall_days", ()),
        )

    with sealed.blaming(WEIGHTS):
        made = _filled(network, shapes, sealed, on_trial=not _modules(parts) & trust)
    _check_horizons(made, outcome, also, manifest["horizon_days"])
    function = RewardFunction(
        made,
        features,
        outcome,
        max_events=parts["max_events"],
        timestamp_unit=manifest["columns"]["timestamp_unit"],
        facts=manifest["facts"],
        effects=read_effects(sealed, features, trust),
        also=also,
    )
    sealed.warnings.extend(_warning(manifest["facts"]))
    return function


def _read_whole(folder: Path, links_to: Path | None, trust: frozenset[str], source: str) -> tuple[Any, list[str]]:
    """What an artefact holds, and what is to be said of it; read again where another takes its place meanwhile."""
    for left in reversed(range(_TRIES)):
        replaced = False
        try:
            with Sealed.opened(folder, links_to=links_to) as sealed:
                try:
                    return _of_its_kind(sealed, trust), sealed.warnings
                except Exception:
                    replaced = sealed.was_replaced()
                    raise
        except ArtifactError as error:
            if left and (replaced or isinstance(error, ReplacedError) or _comes_back(folder, error)):
                continue
            raise
        except Exception as error:  # whatever a stranger's file makes of a library is one kind of error
            if left and replaced:
                continue
            raise ArtifactError(
                f"{source} cannot be loaded: {shown_error(error)}; get it again from where it was made, or train again"
            ) from error
    raise AssertionError


def _comes_back(folder: Path, error: ArtifactError) -> bool:
    """Whether a folder that is not there is about to be, or was just put back."""
    if not isinstance(error, MissingError) or folder.exists() or not any(folder.parent.glob(f".{folder.name}-*")):
        return False
    recover(folder)
    time.sleep(_PAUSE_SECONDS)
    return True


def _of_its_kind(sealed: Sealed, trust: frozenset[str]) -> Any:
    if TARGET in sealed.manifest:
        return resolve(sealed.manifest[TARGET], "composite", trust).read(sealed, trust)  # type: ignore[attr-defined]
    return read(sealed, trust)


def _also(parts: Mapping[str, Any]) -> Mapping[str, Any]:
    return parts.get("also", {})


def _modules(parts: Mapping[str, Any]) -> set[str]:
    """Where the parts of the network are from."""
    specs = [parts["encoder"], parts["head"], *(each["head"] for each in _also(parts).values())]
    return {str(spec.get(TARGET)).rpartition(".")[0] for spec in specs}


def _check_sizes(parts: Mapping[str, Any]) -> None:
    if not 1 <= parts["max_events"] <= _MOST_EVENTS:
        raise ValueError(f"max_events expected 1 to {_MOST_EVENTS}, got {parts['max_events']}")
    if not 0 <= parts["item_dropout"] <= 1:
        raise ValueError(f"item_dropout expected a share, got {parts['item_dropout']}")
    half_lives = parts.get("recall_days", [])
    if len(half_lives) > _MOST_FURTHER or not all(days > 0 for days in half_lives):
        raise ValueError(f"recall_days expected at most {_MOST_FURTHER} half-lives above 0, got {shown(half_lives)}")
    if len(_also(parts)) > _MOST_FURTHER:
        raise ValueError(f"also expected at most {_MOST_FURTHER} outcomes, got {len(_also(parts))}")


def _named(shapes: Mapping[str, Any], version: int) -> dict[str, Any]:
    """Shapes or tensors by the names of today's modules."""
    return {_RENAMED.get(name, name) if version < 3 else name: each for name, each in shapes.items()}


def _filled(
    network: Callable[[], RewardNetwork], shapes: Mapping[str, Shape], sealed: Sealed, *, on_trial: bool
) -> RewardNetwork:
    """The network with its weights; built once its tensors are known to have the shapes of those in the file.

    A part that does not ship with `reward` may not be fit for a trial without memory, and is built at once.
    """
    later = [] if sealed.version > 3 else [".frailty"]  # tensors that came with a later format
    if on_trial:
        with torch.device("meta"):
            _check_shapes(network().state_dict(), shapes, later)
    made = network()
    own = made.state_dict()
    _check_shapes(own, shapes, later)
    weights = _named(tensors(sealed.read(WEIGHTS, tensor_shapes)), sealed.version)
    wrong = [name for name, tensor in weights.items() if not tensor.isfinite().all()]
    wrong += [name for name, tensor in weights.items() if name.endswith(".frailty") and (tensor < 0).any()]
    if wrong:
        raise ValueError(f"its tensor {wrong[0]} has numbers that are not finite, or negative where none may be")
    made.load_state_dict({name: torch.zeros_like(tensor) for name, tensor in own.items()} | weights)
    return made


def _check_shapes(expected: Mapping[str, Tensor], shapes: Mapping[str, Shape], later: Sequence[str]) -> None:
    missing = [name for name in expected if name not in shapes and not name.endswith(tuple(later))]
    unknown = [name for name in shapes if name not in expected]
    unlike = [
        f"{name} is {shapes[name].dtype} {list(shapes[name].sizes)}, its parts make it {list(tensor.shape)}"
        for name, tensor in expected.items()
        if name in shapes
        and (shapes[name].sizes != tuple(tensor.shape) or (shapes[name].dtype in _FLOATS) != tensor.is_floating_point())
    ]
    unfit = [
        *(f"{name} is missing" for name in missing[:3]),
        *(f"{shown(name)} is unknown" for name in unknown[:3]),
        *unlike[:3],
    ]
    if unfit:
        raise ValueError(f"{WEIGHTS} does not fit the parts of the artefact: {'; '.join(unfit)}")


def _check_horizons(network: RewardNetwork, outcome: Any, also: Mapping[str, Any], horizon_days: int) -> None:
    """See that heads and outcomes tell of the same days and answers, and that heads read what the encoder gives."""
    pairs = {"head": (network.head, outcome), **{name: (network.also[name], each) for name, each in also.items()}}
    problems = [
        f"{name}: {what} is {shown(getattr(head, what))}, that of its outcome {shown(getattr(told, what))}"
        for name, (head, told) in pairs.items()
        for what in ("horizon_days", "levels")
        if hasattr(head, what) and hasattr(told, what) and _plain(getattr(head, what)) != _plain(getattr(told, what))
    ]
    once = {name: [getattr(it, "once", False) for it in pair] for name, pair in pairs.items()}
    problems += [
        f"{name}: once is {shown(given)}, that of its outcome {shown(wanted)}"
        for name, (given, wanted) in once.items()
        if given != wanted
    ]
    widths = {name: head.width for name, (head, _) in pairs.items() if hasattr(head, "width")}
    problems += [
        f"{name} reads {width} numbers, the encoder gives {network.encoder.width}"
        for name, width in widths.items()
        if width != network.encoder.width
    ]
    if tuple(outcome.states) != STATES:
        problems.append(f"the outcome that rewards are told in is one of {', '.join(outcome.states)} alone")
    if horizon_days != outcome.horizon_days:
        problems.append(f"horizon_days is {horizon_days}, that of its outcome {outcome.horizon_days}")
    if problems:
        raise ValueError("its parts do not fit each other: " + "; ".join(problems))


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, list | tuple) else value


def _table_check(sealed: Sealed) -> Callable[[Peek, int], None]:
    return partial(check_table, packed=sealed.version < 5)


def _warning(facts: Mapping[str, Any]) -> Iterator[str]:
    found = facts.get("effects")
    warning = found.get("warning") if isinstance(found, dict) else None
    if warning is not None:
        yield str(warning)


def _sealed(manifest: Mapping[str, Any]) -> str:
    """The manifest as text, with the hash of itself at its end."""
    text = json.dumps(manifest, indent=1, ensure_ascii=False, allow_nan=False)
    return json.dumps({**manifest, "seal": hashlib.sha256(text.encode()).hexdigest()}, indent=1, ensure_ascii=False)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
