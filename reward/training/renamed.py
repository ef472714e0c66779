"""Names that settings had: old command lines and run folders go on working through this one table."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from reward.moved import today as moved
from reward.targets import TARGET

GROUPS = {"effects": "causal"}  # settings of before, and of today
CHOICES = {("causal", "second_stage"): "personalized"}
_OVERRIDE = re.compile(r"(?P<sign>[+~]{0,2})(?P<group>\w+)(?P<rest>(?:[.@=].*)?)", re.DOTALL)


def todays(arguments: Iterable[str]) -> list[str]:
    """A command line in the names of today.

    >>> todays(["effects=second_stage", "effects.gate=click", "seed=1", "--multirun"])
    ['causal=personalized', 'causal.gate=click', 'seed=1', '--multirun']
    """
    return [_todays(argument) for argument in arguments]


def _todays(argument: str) -> str:
    match = _OVERRIDE.fullmatch(argument)
    if match is None or match["group"] not in GROUPS:
        return argument
    group, rest = GROUPS[match["group"]], match["rest"]
    choices = rest.removeprefix("=").split(",") if rest.startswith("=") else []
    if choices:
        rest = "=" + ",".join(CHOICES.get((group, choice), choice) for choice in choices)
    return f"{match['sign']}{group}{rest}"


def load_config(file: Path, today: DictConfig | None = None) -> DictConfig:
    """The config of a run folder, in the names of today.

    Args:
        file: where it is.
        today: a config of today, of which parts of the same class lend those settings that the folder's does not have:
            they came later, with the values that were in the code.
    """
    saved: Any = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    config = {GROUPS.get(name, name): _renamed(value) for name, value in saved.items()}
    if today is not None:
        lent: Any = OmegaConf.to_container(today, resolve=False)
        config = {**lent, **_completed(config, lent)}
    made = OmegaConf.create(config)
    assert isinstance(made, DictConfig)
    return made


def _completed(saved: Any, today: Any) -> Any:
    """Parts with the settings that they lack; what is no part stays as it is, with the parts in it completed."""
    if not isinstance(saved, Mapping) or not isinstance(today, Mapping):
        return saved
    known = {name: _completed(value, today[name]) if name in today else value for name, value in saved.items()}
    if TARGET not in saved:
        return known
    same = moved(str(saved[TARGET])) == moved(str(today.get(TARGET)))
    return known | {name: value for name, value in today.items() if same and name not in saved}


def _renamed(value: Any) -> Any:
    """A value of a config, with what refers to a setting by its old name."""
    if isinstance(value, Mapping):
        return {name: _renamed(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_renamed(each) for each in value]
    if isinstance(value, str) and "${" in value:
        return re.sub(r"\$\{(\w+)(?=[.}])", lambda found: "${" + GROUPS.get(found[1], found[1]), value)
    return value
