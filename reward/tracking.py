"""Experiment trackers that ask nothing."""

from __future__ import annotations

import os
from netrc import NetrcParseError, netrc
from pathlib import Path
from urllib.parse import urlsplit

from pytorch_lightning.loggers import CSVLogger, WandbLogger


def wandb_logger(*, folder: str | os.PathLike[str], project: str) -> WandbLogger:
    """Weights & Biases: online where an API key or ``WANDB_MODE`` is set, else offline, without asking.

    Args:
        folder: the run folder; the files of an offline run are in its ``wandb`` folder, for ``wandb sync``.
        project: the project the run is shown in.
    """
    import wandb

    mode = os.environ.get("WANDB_MODE") or ("online" if _has_key() else "offline")
    settings = wandb.Settings(silent=True, console="off")
    return WandbLogger(project=project, save_dir=str(folder), mode=mode, settings=settings, name=Path(folder).name)


def _has_key() -> bool:
    """Whether wandb would find a key in the environment or the netrc file."""
    if any(os.environ.get(name) for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE")):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).netloc
    places = [os.environ["NETRC"]] if os.environ.get("NETRC") else ["~/.netrc", "~/_netrc"]
    for file in (Path(place).expanduser() for place in places):
        try:
            return netrc(file).authenticators(host) is not None
        except FileNotFoundError:
            continue
        except (NetrcParseError, OSError, UnicodeDecodeError):
            return False  # wandb warns of a file that it cannot read
    return False


def csv_logger(*, folder: str | os.PathLike[str]) -> CSVLogger:
    """A table, ``metrics.csv``, in the run folder."""
    return CSVLogger(str(folder), name="", version="")
