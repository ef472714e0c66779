"""Checkpoints that appear whole or not at all, written beside their target."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins import TorchCheckpointIO

from reward.writing import whole


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint beside its target and gives it its name in one step; for ``Trainer(plugins=...)``.

    Lightning itself writes to the system's temporary folder and moves the file from there, which is a copy where that
    is another file system: killed on the way, it leaves half a checkpoint under the right name.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write ``checkpoint`` to ``path``; one with a protocol, such as ``s3://``, is left to Lightning."""
        if "://" in str(path) or storage_options is not None:
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        with whole(Path(path)) as scratch:
            torch.save(checkpoint, scratch)
