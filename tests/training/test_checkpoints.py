"""Checkpoints are written beside their target, whole or not at all."""

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader

from reward.training import checkpoints
from reward.training.checkpoints import WholeCheckpoints
from reward.training.fitting import make_trainer, quietly


class Line(LightningModule):
    def __init__(self):
        super().__init__()
        self.line = nn.Linear(1, 1)

    def training_step(self, batch):
        return self.line(batch).square().mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def test_a_trainer_writes_its_checkpoints_through_scratch_files_beside_them(tmp_path, monkeypatch):
    written, save = [], torch.save
    monkeypatch.setattr(torch, "save", lambda state, path: written.append(path) or save(state, path))
    trainer = make_trainer(
        {"max_epochs": 2, "patience": 1, "accelerator": "cpu"},
        logger=False,
        callbacks=[ModelCheckpoint(tmp_path / "checkpoints", "last", enable_version_counter=False)],
        enable_progress_bar=False,
        default_root_dir=tmp_path,
    )
    model = Line()
    with quietly():
        trainer.fit(model, DataLoader(torch.ones(4, 1)))
    assert len(written) == 2
    assert {path.parent for path in written} == {tmp_path / "checkpoints"}
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["last.ckpt"]
    state = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert torch.equal(state["state_dict"]["line.weight"], model.line.weight)


def test_a_checkpoint_that_fails_half_way_leaves_the_one_before(tmp_path, monkeypatch):
    writer = WholeCheckpoints()
    writer.save_checkpoint({"epoch": 1}, tmp_path / "last.ckpt")

    def fail(state, path):
        path.write_bytes(b"half")
        raise OSError("the disk is full")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="the disk is full"):
        writer.save_checkpoint({"epoch": 2}, tmp_path / "last.ckpt")
    assert writer.load_checkpoint(tmp_path / "last.ckpt", weights_only=True) == {"epoch": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]


def test_a_path_with_a_protocol_is_left_to_lightning(monkeypatch):
    asked = []
    monkeypatch.setattr(checkpoints.TorchCheckpointIO, "save_checkpoint", lambda self, *given: asked.append(given))
    WholeCheckpoints().save_checkpoint({}, "s3://bucket/last.ckpt")
    assert asked == [({}, "s3://bucket/last.ckpt", None)]


def test_a_plugin_that_is_given_stays(tmp_path):
    own = WholeCheckpoints()
    trainer = make_trainer({"accelerator": "cpu", "plugins": [own]}, logger=False, default_root_dir=tmp_path)
    assert isinstance(trainer, Trainer)
    assert trainer.strategy.checkpoint_io is own
