"""A run is begun in a folder of its own, or a run that is there is gone on with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from reward.training.assembly import Run, plain_values
from reward.training.folder import CONFIG, RunFolder
from reward.training.overrides import resumed
from reward.training.renamed import config_of_today
from reward.training.settings import check_settings


def begin(config: DictConfig, folder: Path, given: Sequence[str], *, or_next: bool) -> Run:
    """Check the settings, and take the folder for a new run.

    Args:
        config: of a run, see ``conf/train.yaml``.
        folder: where it is kept.
        given: what was set, as overrides of ``config``.
        or_next: where the folder is taken, try the same name with -1, -2 and so on.

    Raises:
        SettingsError: lists the settings that will not do.
        RunFolderError: the folder holds another run, or another process works in it.
    """
    plain = plain_values(config)
    check_settings(plain)
    return Run(config, plain, RunFolder.claim(folder, or_next=or_next), list(given))


def go_on(folder: Path, config: DictConfig, given: Sequence[str]) -> Run:
    """Take the folder of a run that is there; its settings stay, but for those that later stages read.

    Args:
        folder: the run's.
        config: what ``given`` leads to.
        given: what was set for going on.

    Raises:
        SettingsError: lists the settings that will not do.
        RunFolderError: no run is there, another process works in it, or a setting cannot be changed any more.
    """
    taken = RunFolder.reopen(folder, called="resume")
    try:
        saved = saved_config(taken, config)
        OmegaConf.set_struct(saved, False)
        told: list[Any] = [OmegaConf.to_container(it, resolve=False) for it in (config, saved)]
        changed: Mapping[str, Any] = resumed(given, *told, has_artifact=taken.has_artifact)
        for name, value in changed.items():
            OmegaConf.update(saved, name, value, merge=False, force_add=True)
        plain = plain_values(saved)
        check_settings(plain)
    except BaseException:
        taken.release()
        raise
    return Run(saved, plain, taken, list(given), tuple(changed))


def saved_config(folder: RunFolder, today: DictConfig | None = None) -> DictConfig:
    """The config that a run was started with, by the names of today.

    Args:
        folder: the run's.
        today: lends what came later, see `config_of_today`.
    """
    values, lent = (
        None if it is None else OmegaConf.to_container(it) for it in (OmegaConf.load(folder.path / CONFIG), today)
    )
    return OmegaConf.create(config_of_today(values, lent))  # type: ignore[arg-type]
