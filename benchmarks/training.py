"""A scoring function from a log and a config of conf/, as train.py makes it, without a run folder."""

from __future__ import annotations

import logging
import warnings
from typing import NamedTuple

import polars as pl
from omegaconf import DictConfig
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import EarlyStopping

from reward.data.event_log import Checked, EventLog
from reward.data.split import Split
from reward.scoring.function import RewardFunction
from reward.sequences.datamodule import StreamData
from reward.sequences.model import RewardModel
from reward.training.activity import Gain, keep_what_gained
from reward.training.assembly import assembled


class Trained(NamedTuple):
    """A calibrated scoring function without effects, of the last epoch, and the validation losses of all epochs.

    Attributes:
        gain: what training added to past activity; None where the head does not correct that.
    """

    function: RewardFunction
    losses: list[float]
    model: RewardModel
    data: StreamData
    gain: Gain | None


class _Losses(Callback):
    def __init__(self) -> None:
        self.found: list[float] = []

    def on_validation_epoch_end(self, trainer: Trainer, model: LightningModule) -> None:  # noqa: ARG002
        self.found.append(float(trainer.callback_metrics["validation/loss"]))


def trained(config: DictConfig, log: EventLog, window: Split, *, epochs: int | None = None) -> Trained:
    """Train on a checked log until the validation loss stops falling.

    Args:
        config: of train.py.
        log: a checked log.
        window: what of it is trained and validated on.
        epochs: most of them; None: the config's.
    """
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    nothing = log.events.limit(0).collect()
    made = assembled(config, Checked(log, nothing, pl.Series("reason", [], pl.String)), log, window, None)
    model, data = made.model, made.data
    assert model is not None
    assert data is not None
    losses = _Losses()
    trainer = Trainer(
        max_epochs=config.trainer.max_epochs if epochs is None else epochs,
        callbacks=[
            losses,
            EarlyStopping("validation/loss", patience=config.trainer.patience, check_on_train_epoch_end=True),
        ],
        gradient_clip_val=config.trainer.gradient_clip_val,
        accelerator=config.trainer.accelerator,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        num_sanity_val_steps=0,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*LeafSpec.*")
        trainer.fit(model, data)
    model.cpu()
    gain = None
    if model.network.activity is not None:
        gain = keep_what_gained(model, data, **config.correction, **config.calibration)
    model.calibrate(data.val_dataloader(), **config.calibration)
    return Trained(made.function(), losses.found, model, data, gain)
