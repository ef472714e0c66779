"""The refit: after a scoring function was judged, what is shipped is fitted again on all days of the log."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn

from reward.scoring.artifact import ArtifactWarning, load, save
from reward.scoring.function import RewardFunction
from reward.sequences.datamodule import StreamData
from reward.sequences.model import RewardModel
from reward.training.fitting import best_epochs, make_trainer, quietly
from reward.training.folder import RunFolder, own_modules

NONE, EFFECTS, ALL = "none", "effects", "all"

_EFFECTS = (
    "The effects of items were fitted again on all days before {until}. Figures of the test days are judged before "
    "that, on effects fitted on the days before {validation_end}."
)
_ALL = (
    "The network and the effects of items were fitted again on all days before {until}. Figures of the test days are "
    "judged before that. The features, the forecast of past activity and the calibration are those that were "
    "judged: no days are left to calibrate on."
)
_NOTHING_ADDED = " The network was not fitted again: it adds nothing to past activity."


def refit_facts(what: str, window: Mapping[str, str], *, network: bool) -> dict[str, Any]:
    """What an artefact says of its refit.

    Args:
        what: the setting, but not none.
        window: the dates of the split.
        network: whether the network was fitted again.
    """
    dates = {"until": window["end"], "validation_end": window["validation_end"]}
    sentence = (_ALL if network else _EFFECTS).format(**dates)
    if what == ALL and not network:
        sentence += _NOTHING_ADDED
    return {"what": ALL if network else EFFECTS, "until": window["end"], "judged_before": True, "sentence": sentence}


def keep_what_was_judged(folder: RunFolder, judged: RewardFunction, **found: Any) -> None:
    """Save a scoring function with what was found of it, which is also told by the one that is shipped in its place.

    Args:
        folder: of the run.
        judged: what the findings are of.
        found: facts, by name.
    """
    judged.facts.update(found)
    save(judged, folder.judged)
    if folder.refitted:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ArtifactWarning)  # said when it was made
            shipped = load(folder.artifact, trust=own_modules(folder))
        shipped.facts.update(found)
        save(shipped, folder.artifact)


def refit_network(
    model: RewardModel, data: StreamData, judged: nn.Module, folder: Path, *, settings: Mapping[str, Any]
) -> None:
    """Train a network on all days for as many epochs as were best on validation, and calibrate it as the judged one.

    What calibration changed in the judged network is carried over: no days are left to calibrate on.

    Args:
        model: untrained, from the seed of the run that was judged.
        data: what the judged network was trained on; afterwards it holds all days.
        judged: the network that was judged.
        folder: of the run, whose best checkpoint says how many epochs were best.
        settings: of the trainer.
    """
    network = model.network
    model.begin(data.training.targets)
    changed = _buffers(judged, _buffers(network))
    data.train_on_all_days()
    limits = {**settings, "limit_val_batches": 0}
    callbacks = [_StopAfter(best_epochs(folder))]
    trainer = make_trainer(limits, logger=False, callbacks=callbacks, enable_checkpointing=False)
    with quietly():
        trainer.fit(model.train(), data)
    for name, buffer in network.named_buffers():
        if name in changed:
            buffer.add_(changed[name].to(buffer))
    network.cpu().eval()


def _buffers(network: nn.Module, less: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """The buffers of a network, or what they have more than others."""
    found = {name: buffer.detach().cpu().clone() for name, buffer in network.named_buffers()}
    return found if less is None else {name: found[name] - buffer for name, buffer in less.items()}


class _StopAfter(Callback):
    """Stops when some epochs are done, with the learning rates of a longer training."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Stop when they are done."""
        if trainer.current_epoch + 1 >= self.epochs:
            trainer.should_stop = True
