"""A scoring function from a log, by the package's own calls, in a window that a benchmark chooses."""

from __future__ import annotations

import logging
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from omegaconf import DictConfig, OmegaConf

from reward.data.event_log import EventLog
from reward.data.prepared import PreparedLog
from reward.data.split import Split
from reward.scoring.function import RewardFunction
from reward.sequences.datamodule import StreamData
from reward.sequences.model import RewardModel
from reward.training.activity import Gain, keep_what_gained
from reward.training.assembly import assembled
from reward.training.defaults import composed
from reward.training.fitting import fit
from reward.training.reading import ReadLog
from reward.training.terminal import quiet


class Trained(NamedTuple):
    """A calibrated scoring function without effects, and the least validation loss of its epochs.

    Attributes:
        gain: what training added to past activity; None where the head does not correct that.
    """

    function: RewardFunction
    loss: float
    model: RewardModel
    data: StreamData
    gain: Gain | None


def trained(config: DictConfig, log: EventLog, window: Split, *, epochs: int | None = None) -> Trained:
    """Train on a checked log in a window of one's own, as `reward.fit` does on the log's last days.

    Args:
        config: of train.py.
        log: a checked log.
        window: what of it is trained and validated on.
        epochs: most of them; None: the config's.
    """
    prepared = PreparedLog.of(log)
    settings = OmegaConf.to_container(config.trainer, resolve=True)
    settings |= {} if epochs is None else {"max_epochs": epochs}
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    with TemporaryDirectory() as folder, quiet(True):
        ready = assembled(config, ReadLog(prepared, window), prepared)
        model, data = ready.model, ready.data
        assert model is not None
        assert data is not None
        loss = fit(model, data, Path(folder), settings=settings, logger=False)
    gain = None
    if model.network.activity is not None:
        gain = keep_what_gained(model, data, **config.correction, **config.calibration)
    model.calibrate(data.val_dataloader(), **config.calibration)
    return Trained(ready.function(), loss, model, data, gain)


def choice_of(group: str, choice: str) -> DictConfig:
    """The settings of one choice of ``conf/``, with those that it starts from."""
    return composed(f"{group}/{choice}", [])[group]
