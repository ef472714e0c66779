"""Trains a model with Lightning, from its last checkpoint where there is one."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint, RichProgressBar
from pytorch_lightning.loggers import Logger

from reward.sequences.datamodule import StreamData
from reward.sequences.model import RewardModel
from reward.training.checkpoints import WholeCheckpoints
from reward.training.terminal import console
from reward.writing import whole

MONITOR = "validation/loss"
LAST, BEST = "last.ckpt", "best.ckpt"
HISTORY = "metrics.csv"


class TrainingError(ValueError):
    """Training that came to nothing, with what to change."""


class Checkpoint(ModelCheckpoint):
    """A checkpoint that is written over at the end of each epoch, and whose folder may be moved between two runs.

    Args:
        folder: where it is written.
        name: of the file, without its ending.
        monitor: a metric: only an epoch in which it is lower than ever is written; None: every epoch is.
    """

    def __init__(self, folder: Path, name: str, *, monitor: str | None = None) -> None:
        super().__init__(folder, name, monitor=monitor, enable_version_counter=False, save_on_train_epoch_end=True)

    def state_dict(self) -> dict[str, Any]:
        """What Lightning keeps, without the folder."""
        found: dict[str, Any] = _renamed(super().state_dict(), lambda path: Path(path).name)
        return found

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what was kept, in the folder as it is now."""
        folder = Path(str(self.dirpath))
        super().load_state_dict(
            _renamed(state_dict, lambda path: str(folder / Path(path).name)) | {"dirpath": self.dirpath}
        )


_PATHS = ("best_model_path", "kth_best_model_path", "last_model_path")


def _renamed(state: Mapping[str, Any], rename: Any) -> dict[str, Any]:
    paths = {name: state[name] and rename(state[name]) for name in _PATHS}
    return {
        **state,
        **paths,
        "dirpath": None,
        "best_k_models": {rename(k): v for k, v in state["best_k_models"].items()},
    }


class History(Callback):
    """The metrics of all epochs as a table; checkpoints hold it, so that a run that goes on has those before.

    Args:
        file: where it is written after each epoch: ``epoch``, ``step`` and a column a metric.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.rows: list[dict[str, float]] = []

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Add the epoch that ended."""
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self.rows.append({"epoch": trainer.current_epoch, "step": trainer.global_step, **metrics})
        if trainer.is_global_zero:
            with whole(self.file) as scratch, scratch.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, sorted({name for row in self.rows for name in row}))
                writer.writeheader()
                writer.writerows(self.rows)

    def state_dict(self) -> dict[str, Any]:
        """The rows so far."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the rows of the epochs before."""
        self.rows = list(state_dict["rows"])


def fit(
    model: RewardModel, data: StreamData, folder: Path, *, settings: Mapping[str, Any], logger: Logger | bool
) -> float:
    """Train, and leave the weights of the best epoch in ``model``.

    Args:
        model: what is trained.
        data: what it is trained and validated on.
        folder: of the run; checkpoints are in its ``checkpoints``, and the last of them is gone on from.
        settings: arguments of the `Trainer`, and ``patience``, the epochs without a better validation loss.
        logger: gets the metrics.

    Returns:
        The validation loss of the best epoch.

    Raises:
        TrainingError: no epoch ended with a finite validation loss.
    """
    checkpoints = folder / "checkpoints"
    last = checkpoints / LAST
    state = _load(last) if last.is_file() else None
    stop = EarlyStopping(MONITOR, patience=settings["patience"], check_on_train_epoch_end=True)
    if state is None or not _ended(state, stop, settings["max_epochs"]):
        best, newest = Checkpoint(checkpoints, "best", monitor=MONITOR), Checkpoint(checkpoints, "last")
        callbacks = [stop, History(folder / HISTORY), best, newest, *progress(console.is_terminal)]
        trainer = make_trainer(
            settings,
            logger=logger,
            callbacks=callbacks,
            enable_progress_bar=console.is_terminal and not console.quiet,
            default_root_dir=folder,
        )
        with quietly():
            trainer.fit(model, data, ckpt_path=None if state is None else last)
        if trainer.interrupted:
            raise KeyboardInterrupt
    loss = best_loss(folder)
    model.load_state_dict(_load(checkpoints / BEST)["state_dict"])
    return loss


def progress(terminal: bool) -> list[Callback]:
    """A bar for an epoch at a time on a terminal; nothing in a log file, which would keep every one of its states."""
    return [RichProgressBar()] if terminal else []


def best_loss(folder: Path) -> float:
    """The validation loss of the best epoch of a run folder.

    Raises:
        TrainingError: no epoch ended with a finite validation loss.
    """
    file = folder / "checkpoints" / BEST
    loss = _callback(_load(file), BEST)["best_model_score"] if file.is_file() else None
    if loss is None or not torch.isfinite(loss):
        raise TrainingError(
            "training diverged: no epoch ended with a finite validation loss; lower model.optimizer.lr, or raise "
            "model.warmup_steps"
        )
    return float(loss)


def best_epochs(folder: Path) -> int:
    """How many epochs had been trained when the validation loss was best."""
    return int(_load(folder / "checkpoints" / BEST)["epoch"]) + 1


@contextmanager
def quietly() -> Iterator[None]:
    """Leave out what Lightning warns of and a run means."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*LeafSpec.*")
        warnings.filterwarnings("ignore", message=".*Checkpoint directory .* exists and is not empty.*")
        yield


def make_trainer(settings: Mapping[str, Any], **more: Any) -> Trainer:
    """A trainer; on several devices it trains in processes of its own, so that all else is done once, in this one."""
    told = {name: value for name, value in settings.items() if name != "patience"} | more
    fixed: dict[str, Any] = {"enable_model_summary": False, "num_sanity_val_steps": 0, "log_every_n_steps": 1}
    if "plugins" not in told:
        fixed["plugins"] = [WholeCheckpoints()]
    trainer = Trainer(**told, **fixed)
    if trainer.num_devices > 1 and "strategy" not in told:
        trainer = Trainer(**told, **fixed, strategy="ddp_spawn", use_distributed_sampler=False)
    return trainer


def _load(path: Path) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
    return state


def _callback(state: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The state of the checkpoint callback that writes the file ``name``."""
    found: dict[str, Any] = next(
        it for it in state["callbacks"].values() if Path(it.get("best_model_path", "")).name == name
    )
    return found


def _ended(state: Mapping[str, Any], stop: EarlyStopping, max_epochs: int) -> bool:
    """Whether the run of a checkpoint had no epoch left to train."""
    waited = state["callbacks"].get(stop.state_key, {}).get("wait_count", 0)
    return bool(state["epoch"] + 1 >= max_epochs or waited >= stop.patience)
