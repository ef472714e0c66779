"""The artefact: a folder that holds a scoring function, readable without the code that trained it."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

import safetensors.torch

from reward.features.restored import restored
from reward.outcomes.protocol import ABSENT
from reward.plain import check
from reward.scoring.bounded import Peek, check_table, table, table_bytes, tensor_shapes
from reward.scoring.earlier_formats import SINCE, EarlierParts, named, parts_of_today
from reward.scoring.effects_files import read_effects, write_effects
from reward.scoring.function import RewardFunction
from reward.scoring.hub import fetched
from reward.scoring.manifest import CARD, ITEMS, MANIFEST, WEIGHTS, write_manifest
from reward.scoring.model_card import model_card
from reward.scoring.open_folder import ArtifactError as ArtifactError
from reward.scoring.open_folder import MissingError, ReplacedError, shown_error
from reward.scoring.parts import Parts, check_horizons, check_sizes, filled, modules_of, part
from reward.scoring.sealed import Sealed
from reward.sequences.network import RewardNetwork
from reward.targets import TARGET, build, resolve, trusted
from reward.task import reward_first
from reward.writing import recover, whole_folder

_TRIES = 100  # readings of an artefact that is replaced meanwhile
_PAUSE_SECONDS = 0.01


class ArtifactWarning(UserWarning):
    """What an artefact says of itself that whoever uses its effects should know."""


class _Columns(TypedDict):
    timestamp_unit: str | None


class _Manifest(TypedDict):
    horizon_days: int
    columns: _Columns
    parts: dict[str, Any]
    normalisation: dict[str, Any]
    effects: NotRequired[dict[str, Any] | None]
    facts: dict[str, Any]


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
                "tasks": {
                    name: {"head": part(function.network.heads[name]), "outcome": part(outcome)}
                    for name, outcome in function.tasks.items()
                },
                "reward": function.reward,
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


def read_back(folder: Path, functions: Iterable[RewardFunction]) -> None:
    """See that an artefact that was just written is read, by what reads it.

    Args:
        folder: where it is.
        functions: whose artefact it is; the modules of their parts are trusted.

    Raises:
        ValueError: it is not.
    """
    try:
        with Sealed.open(folder) as sealed:
            _of_its_kind(sealed, frozenset().union(*map(_own_modules, functions)))
    except Exception as error:
        why = shown_error(error).replace(str(folder), "it")
        raise ValueError(f"the artefact is not saved, since it could not be loaded: {why}") from error


def _own_modules(function: RewardFunction) -> set[str]:
    """Modules of parts that do not ship with `reward`."""
    parts = [*function.network.modules(), function.effects, *function.tasks.values()]
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
    parts = _parts(sealed)
    check_sizes(parts)
    items = table(sealed.read(ITEMS, _table_check(sealed)))
    features = restored(manifest["normalisation"], items)
    today = partial(named, reward=parts["reward"], version=sealed.version)
    shapes = today(sealed.peek(WEIGHTS, tensor_shapes))
    most = max(len(shapes), *(size for shape in shapes.values() for size in shape.sizes), 1)
    each = reward_first(parts["tasks"], parts["reward"])
    tasks = {name: build(its["outcome"], "outcome", trust, most=most) for name, its in each.items()}

    def network() -> RewardNetwork:
        return RewardNetwork(
            build(parts["encoder"], "encoder", trust, most=most),
            {name: build(its["head"], "head", trust, most=most) for name, its in each.items()},
            reward=parts["reward"],
            sizes=features.sizes(),
            item_dropout=parts["item_dropout"],
            absent=any(ABSENT in outcome.states for outcome in tasks.values()),
            recall_days=parts["recall_days"],
        )

    with sealed.blaming(WEIGHTS):
        made = filled(network, shapes, sealed, named=today, on_trial=not modules_of(parts) & trust)
    check_horizons(made, tasks, manifest["horizon_days"])
    function = RewardFunction(
        made,
        features,
        tasks,
        max_events=parts["max_events"],
        timestamp_unit=manifest["columns"]["timestamp_unit"],
        facts=manifest["facts"],
        effects=read_effects(sealed, features, trust),
    )
    sealed.warnings.extend(_warning(manifest["facts"]))
    return function


def _parts(sealed: Sealed) -> Parts:
    """What the manifest says of the parts, in the form of today.

    Raises:
        ValueError: something in it does not fit.
    """
    parts: Any = sealed.manifest["parts"]
    if sealed.version < SINCE:
        check(parts, EarlierParts, "parts")
        return parts_of_today(parts, sealed.manifest["facts"])
    check(parts, Parts, "parts")
    return cast(Parts, parts)


def _read_whole(folder: Path, links_to: Path | None, trust: frozenset[str], source: str) -> tuple[Any, list[str]]:
    """What an artefact holds, and what is to be said of it; read again where another takes its place meanwhile."""
    for left in reversed(range(_TRIES)):
        replaced = False
        try:
            with Sealed.open(folder, links_to=links_to) as sealed:
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


def _table_check(sealed: Sealed) -> Callable[[Peek, int], None]:
    return partial(check_table, packed=sealed.version < 5)


def _warning(facts: Mapping[str, Any]) -> Iterator[str]:
    found = facts.get("effects")
    warning = found.get("warning") if isinstance(found, dict) else None
    if warning is not None:
        yield str(warning)
