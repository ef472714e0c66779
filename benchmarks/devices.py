"""What does a GPU buy? Training and scoring by encoder and size, side by side on the devices that are there.

The untrained network scores candidates for users whose histories were read once. Every device starts from the same
weights, so that what they score is held against the first one's: the largest difference, in standard deviations of the
values. It is then trained on the bundled log, with the settings of conf/ at the width and the batch that are named, for
some steps; told are rows a second after a warm-up, data loading and optimizer included, and the share of the time in
which the next batch was waited for. A case is measured once: figures vary by some percent.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import polars as pl
import torch
from harness import WORLD, Benchmark, Smoke, result_row
from hydra.utils import instantiate
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.profilers import SimpleProfiler
from rich.table import Table

from reward.data.prepared import PreparedLog
from reward.data.split import split
from reward.data.validation import check
from reward.sequences.datamodule import Example
from reward.training.assembly import Ready, assembled
from reward.training.defaults import composed
from reward.training.fitting import make_trainer, quietly
from reward.training.reading import ReadLog

SMOKE = Smoke(
    f"--encoders gru --sizes 0 --devices cpu --steps 3 --settings {WORLD} batches.max_events=16",
    SIZES=((8, 64),),
    WARM_UP=1,
    USERS=8,
    CANDIDATES=20,
)
ENCODERS = ("transformer", "gru", "hstu", "mamba")
SIZES = ((64, 1024), (256, 8192))  # width, rows of a batch
WARM_UP = 5
USERS, CANDIDATES = 256, 1000
WAITING = "[_TrainingEpochLoop].train_dataloader_next"


class Device(NamedTuple):
    """Where and how precisely."""

    accelerator: str
    precision: str

    @property
    def place(self) -> str:
        return "cuda" if self.accelerator == "gpu" else self.accelerator


DEVICES = {
    "cpu": Device("cpu", "32-true"),
    "gpu": Device("gpu", "32-true"),
    "gpu, bfloat16": Device("gpu", "bf16-mixed"),
}


class Rows(Callback):
    """Rows and seconds of the steps after the warm-up."""

    def __init__(self) -> None:
        self.rows, self.began, self.ended = 0, 0.0, 0.0

    def on_train_batch_end(self, trainer: Trainer, _: LightningModule, __: Any, batch: Example, ___: int) -> None:
        done = trainer.global_step
        if done == WARM_UP:
            _wait()
            self.began = time.perf_counter()
        if done > WARM_UP:
            self.rows += int((batch.batch.history.row >= 0).sum())
        if done == trainer.max_steps:
            _wait()
            self.ended = time.perf_counter()


def _wait() -> None:
    """Until the GPU has done what it was told."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def prepared(encoder: str, width: int, rows: int, settings: Sequence[str] = ()) -> Ready:
    """Model and data with the settings of conf/, from one seed."""
    heads = max(width // 32, 1)
    wide = [f"encoder.width={width}", f"batches.batch_rows={rows}"]
    wide += [f"encoder.heads={heads}"] if encoder in ("transformer", "hstu") else []
    config = composed("train", [f"encoder={encoder}", *wide, *settings])
    log = PreparedLog.of(check(instantiate(config.data)).log)
    return assembled(config, ReadLog(log, split(log.log, **config.split)), log)


def measure(
    encoder: str, width: int, rows: int, device: Device, steps: int, settings: Sequence[str] = ()
) -> tuple[dict[str, float], torch.Tensor]:
    """Speeds on a device, and what the untrained network scores there."""
    ready = prepared(encoder, width, rows, settings)
    model, data, function = ready.model, ready.data, ready.function().to(device.place)
    assert model is not None
    assert data is not None
    known = ready.prepared.known_at(ready.window.train_end).log.events.collect()
    users = known["user_id"].unique(maintain_order=True)[:USERS]
    some = known.filter(pl.col("user_id").is_in(users.implode()))
    history = function.encode(some, now=known["timestamp"].max())
    items = known["item_id"].unique(maintain_order=True)[:CANDIDATES]
    with torch.autocast(device.place, torch.bfloat16, enabled=device.precision == "bf16-mixed"):
        values = function.score_candidates(history, items).mean
        _wait()
        began = time.perf_counter()
        function.score_candidates(history, items)
        _wait()
        scoring = time.perf_counter() - began
    model.train().requires_grad_(True)
    speed, profiler = Rows(), SimpleProfiler()
    trainer = make_trainer(
        {"accelerator": device.accelerator, "precision": device.precision, "devices": 1, "gradient_clip_val": 1.0},
        max_steps=steps,
        callbacks=[speed],
        profiler=profiler,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
    )
    with quietly():
        trainer.fit(model, data)
    waited = sum(profiler.recorded_durations[WAITING][WARM_UP:])
    spent = speed.ended - speed.began
    return {
        "training, rows a second": speed.rows / spent,
        "of it waiting for a batch": waited / spent,
        "scoring, candidates a second": values.numel() / scoring,
    }, values.float().cpu()


def main(arguments: list[str] | None = None) -> None:
    bench = Benchmark(globals(), SMOKE, width=130)
    bench.add("--encoders", nargs="+", choices=ENCODERS, default=list(ENCODERS), metavar="NAME")
    bench.add("--sizes", nargs="+", type=int, default=list(range(len(SIZES))), help=f"places in {SIZES}")
    bench.add("--devices", nargs="+", choices=DEVICES, help="default: those that are there")
    bench.add("--steps", type=int, default=30, help="of training; fewer where the log has fewer batches")
    bench.add_settings()
    chosen = bench.parse(arguments)
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    there = chosen.devices or [name for name, it in DEVICES.items() if it.place == "cpu" or torch.cuda.is_available()]
    cases = [(encoder, *SIZES[size]) for size in chosen.sizes for encoder in chosen.encoders]
    table, rows = Table("encoder", "width", "rows of a batch", "measure", *there), []
    for encoder, width, batch in bench.progress(cases, "encoders and sizes ..."):
        found = {name: measure(encoder, width, batch, DEVICES[name], chosen.steps, chosen.settings) for name in there}
        reference = found[there[0]][1]
        for name in there:
            values = found[name][1]
            found[name][0][f"largest difference from {there[0]}, sd"] = float(
                (values - reference).abs().max() / reference.std()
            )
        for metric in found[there[0]][0]:
            told = [found[name][0][metric] for name in there]
            table.add_row(encoder, str(width), str(batch), metric, *(f"{value:,.4g}" for value in told))
            for name, value in zip(there, told, strict=True):
                rows.append(result_row(f"{encoder}, width {width}, {batch} rows: {name}", metric, value))
    bench.finish(rows, show=table)


if __name__ == "__main__":
    main()
