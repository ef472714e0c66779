"""Which settings may be given beside ``resume=``: those that the stages still to be done read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from reward.training.folder import RunFolderError

_WHERE = ("data.events", "data.items", "data.folder", "data.outcomes")  # the same log elsewhere: fingerprints tell
_ALWAYS = ("evaluation", "logger", "refit", *_WHERE)
_BEFORE_TRAINING_ENDS = ("trainer.max_epochs", "trainer.patience", "trainer.accelerator", "trainer.devices")
_BEFORE_THE_ARTIFACT = (
    *_BEFORE_TRAINING_ENDS,
    "calibration",
    "roles",
    "causal",
    "propensities",
    "balance",
    "truth",
)


def names(overrides: Iterable[str]) -> list[str]:
    """The settings that overrides of a command line set: ``+causal.gate=click`` → ``causal.gate``."""
    return [re.sub(r"^[+~]+", "", override).partition("=")[0].partition("@")[0] for override in overrides]


def resumed(
    overrides: Iterable[str], given: Mapping[str, Any], saved: Mapping[str, Any], *, has_artifact: bool
) -> dict[str, Any]:
    """The settings that a run goes on with in the place of its own.

    Args:
        overrides: of the command line, without those of the config system itself.
        given: the config that they lead to.
        saved: the config that the run was started with.
        has_artifact: whether the run has saved its scoring function.

    Returns:
        Value by name.

    Raises:
        RunFolderError: lists the overrides that cannot count any more.
    """
    allowed = (*_ALWAYS, *(() if has_artifact else _BEFORE_THE_ARTIFACT))
    changed, refused = {}, []
    for name in names(overrides):
        if name == "resume":
            continue
        value, before = value_at(given, name), value_at(saved, name)
        if value == before:
            continue
        if any(name == it or name.startswith(f"{it}.") for it in allowed):
            changed[name] = value
        else:
            refused.append(f"{name} (the run has {before!r}, asked for {value!r})")
    if refused:
        can = ", ".join(it if it in _BEFORE_TRAINING_ENDS or it in _WHERE else f"{it}.*" for it in allowed)
        raise RunFolderError(
            f"a run goes on with its own settings, which cannot be changed to {'; '.join(refused)}. Beside resume= "
            f"{'its scoring function is made, and ' if has_artifact else ''}may stand {can}; for other settings start "
            "a new run"
        )
    return changed


def value_at(config: Any, path: str) -> Any:
    """The value at a path; None where there is none."""
    for name in path.split("."):
        config = config.get(name) if isinstance(config, Mapping) else None
    return config
