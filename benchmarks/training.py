"""A scoring function from a log and a config of conf/, as train.py makes it, without a run folder."""

from __future__ import annotations

import logging
import warnings
from typing import NamedTuple

from hydra.utils import instantiate
from omegaconf import DictConfig
from pytorch_lightning import Callback, LightningModule, Trainer, seed_everything
from pytorch_lightning.callbacks import EarlyStopping

from reward.data.event_log import EventLog
from reward.data.split import Split, known_at
from reward.features.events import Features
from reward.outcomes.protocol import ABSENT
from reward.scoring.function import RewardFunction
from reward.sequences.datamodule import StreamData
from reward.sequences.model import RewardModel, Task
from reward.sequences.network import RewardNetwork
from reward.training.activity import Gain, fit_activity, keep_what_gained


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
    seed_everything(config.seed, verbose=False)
    outcome, head, objective = (instantiate(config[each], _convert_="all") for each in ("outcome", "head", "objective"))
    also = {name: instantiate(told, _convert_="all") for name, told in config.also.items()}
    outcomes = {name: told["outcome"] for name, told in also.items()}
    features = Features.fit(known_at(log, window.train_end), **config.features)
    data = StreamData(
        log, outcome, features, window, members=head.members, seed=config.seed, also=outcomes, **config.batches
    )
    network = RewardNetwork(
        instantiate(config.encoder),
        head,
        sizes=features.sizes(),
        also={name: told["head"] for name, told in also.items()},
        absent=any(ABSENT in it.states for it in outcomes.values()),
        **config.network,
    )
    data.setup()
    if network.activity is not None:
        fit_activity(network.activity, data, **config.activity)
    tasks = {
        name: Task(told["objective"], told["weight"], told["outcome"].states, sequential=False)
        for name, told in also.items()
    }
    consistency = None if config.consistency is None else instantiate(config.consistency)
    model = RewardModel(
        network, objective, seed=config.seed, also=tasks, consistency=consistency, **instantiate(config.model)
    )
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
    if network.activity is not None:
        gain = keep_what_gained(model, data, **config.correction, **config.calibration)
    model.calibrate(data.val_dataloader(), **config.calibration)
    settings = {"max_events": config.batches.max_events, "timestamp_unit": None, "facts": {}}
    function = RewardFunction(network, features, outcome, also=outcomes, **settings)
    return Trained(function, losses.found, model, data, gain)
