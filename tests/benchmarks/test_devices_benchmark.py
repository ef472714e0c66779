"""The benchmark of devices, in little."""

import json

import pytest
import torch


@pytest.fixture
def devices(benchmark):
    return benchmark("devices")


def test_what_is_scored_is_held_against_the_first_device(devices, monkeypatch, tmp_path):
    scored = {"cpu": torch.tensor([[0.0, 1.0], [2.0, 3.0]]), "gpu": torch.tensor([[0.0, 1.0], [2.5, 3.0]])}
    speeds = {"cpu": 10.0, "gpu": 40.0}

    def measure(encoder, width, rows, device, steps, settings):
        name = device.accelerator
        return {"training, rows a second": speeds[name]}, scored[name]

    monkeypatch.setattr(devices, "measure", measure)
    out = tmp_path / "devices.json"
    devices.main(["--encoders", "gru", "--sizes", "0", "--devices", "cpu", "gpu", "--out", str(out)])
    rows = {
        (row["what"].rpartition(": ")[2], row["metric"]): row["ours"] for row in json.loads(out.read_text())["rows"]
    }
    assert rows["gpu", "training, rows a second"] == 40
    assert rows["cpu", "largest difference from cpu, sd"] == 0
    assert rows["gpu", "largest difference from cpu, sd"] == pytest.approx(0.5 / scored["cpu"].std().item())


def test_rows_are_counted_after_the_warm_up(devices, monkeypatch):
    clock = iter([100.0, 104.0])
    monkeypatch.setattr(devices.time, "perf_counter", lambda: next(clock))

    class Step:
        max_steps = devices.WARM_UP + 2
        global_step = 0

    class Batch:
        batch = type("", (), {"history": type("", (), {"row": torch.tensor([[0, 1, 2, -1]])})})

    speed, trainer = devices.Rows(), Step()
    for step in range(1, trainer.max_steps + 1):
        trainer.global_step = step
        speed.on_train_batch_end(trainer, None, None, Batch, 0)
    assert speed.rows == 2 * 3
    assert speed.ended - speed.began == 4
