"""Where the defaults of every setting stand: ``conf/``, beside the package or, once installed, inside of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from reward.plain import near

_PACKAGE = Path(__file__).parents[1]


def conf_folder() -> Path:
    """The folder with ``train.yaml``, ``evaluate.yaml`` and a folder for each group of choices."""
    inside = _PACKAGE / "conf"
    return inside if inside.is_dir() else _PACKAGE.parent / "conf"


def defaults(group: str, choice: str) -> dict[str, Any]:
    """The settings of one choice as plain values, such as ``defaults("data", "log")``."""
    values: dict[str, Any] = OmegaConf.to_container(OmegaConf.load(conf_folder() / group / f"{choice}.yaml"))  # type: ignore[assignment]
    return values


def composed(name: str, overrides: Sequence[str] = (), values: Mapping[str, Any] | None = None) -> DictConfig:
    """The config of a command.

    Args:
        name: ``train`` or ``evaluate``.
        overrides: as on the command line.
        values: further settings by their path.

    Raises:
        ValueError: there is no such setting; an override that cannot be read is an error of the config system.
    """
    state = GlobalHydra.instance()
    application, state.hydra = state.hydra, None  # of a caller that is an application of Hydra itself
    try:
        with initialize_config_dir(str(conf_folder().resolve()), version_base="1.3"):
            config = compose(name, overrides=list(overrides))
    finally:
        GlobalHydra.instance().hydra = application
    for path, value in (values or {}).items():
        try:
            OmegaConf.update(config, path, value, merge=False)
        except OmegaConfBaseException as error:
            where = OmegaConf.select(config, path.rpartition(".")[0]) if "." in path else config
            known = [str(it) for it in where] if isinstance(where, DictConfig) else []
            raise ValueError(f"there is no setting {path}{near(path.rpartition('.')[2], known)}") from error
    return config
