"""Experiment trackers that ask nothing."""

from __future__ import annotations

import os
from pathlib import Path

from pytorch_lightning.loggers import CSVLogger, WandbLogger


def wandb_logger(*, folder: str | os.PathLike[str], project: str) -> WandbLogger:
    """Weights & Biases: online where an API key or ``WANDB_MODE`` is set, else offline, without asking.

    Args:
        folder: the run folder; the files of an offline run are in its ``wandb`` folder, for ``wandb sync``.
        project: the project the run is shown in.
    """
    import wandb

    key = wandb.api.api_key
    mode = os.environ.get("WANDB_MODE") or ("online" if key else "offline")
    settings = wandb.Settings(silent=True, console="off")
    return WandbLogger(project=project, save_dir=str(folder), mode=mode, settings=settings, name=Path(folder).name)


def csv_logger(*, folder: str | os.PathLike[str]) -> CSVLogger:
    """A table, ``metrics.csv``, in the run folder."""
    return CSVLogger(str(folder), name="", version="")
