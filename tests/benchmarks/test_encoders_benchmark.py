"""The benchmark of the encoders, in little."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def encoders(benchmark, monkeypatch):
    module = benchmark("encoders")
    monkeypatch.setattr(module, "ROWS", 32)
    monkeypatch.setattr(module, "CANDIDATES", (1, 3))
    monkeypatch.setattr(module, "seconds_of", lambda work: float(work() is None))
    return module


def test_every_encoder_there_is_a_choice_of_is_measured(encoders):
    assert set(encoders.ENCODERS) == {file.stem for file in (ROOT / "conf" / "encoder").glob("*.yaml")}
    found = [encoders.measure(name, 8) for name in encoders.ENCODERS]
    assert all(set(one) == set(found[0]) for one in found)
    numbers = [one["memory, numbers an event"] for one in found]
    assert numbers == [2 * 2 * 64, 2 * 64, 2 * 2 * 64, 2 * 64 * 8]  # keys and values; a state; a matrix of states


def test_costs_are_told_as_ratios_within_a_round(encoders, monkeypatch):
    seconds = iter([1.0, 2.0, 3.0, 4.0, 10.0, 10.0, 10.0, 20.0])
    monkeypatch.setattr(encoders, "apart", lambda name, length: {"seconds": next(seconds)})
    rows = {row["metric"]: row for row in encoders.costs([8], rounds=2)}
    assert rows["seconds, transformer"]["ours"] == pytest.approx(5.5)
    assert rows["seconds, gru / transformer"]["ours"] == pytest.approx(1.5)
    assert rows["seconds, mamba / transformer"]["ours"] == pytest.approx(3)
    assert rows["seconds, mamba / transformer"]["se"] == pytest.approx(1)


def test_losses_are_told_as_differences_within_a_seed_and_kept(encoders, monkeypatch, tmp_path):
    losses = {"transformer": (0.5, 0.7), "gru": (0.6, 0.9), "hstu": (0.5, 0.7), "mamba": (0.4, 0.6)}
    monkeypatch.setattr(encoders, "forecast", lambda name, seed, settings: {"validation loss": losses[name][seed]})
    rows = {row["metric"]: row for row in encoders.forecasts(2, tmp_path)}
    assert rows["validation loss, transformer"]["ours"] == pytest.approx(0.6)
    assert rows["validation loss, gru - transformer"]["ours"] == pytest.approx(0.15)
    assert rows["validation loss, gru - transformer"]["se"] == pytest.approx(0.05)
    assert json.loads(Path(tmp_path / "mamba-1.json").read_text()) == {"validation loss": 0.6}
    monkeypatch.setattr(encoders, "forecast", lambda *_: pytest.fail("it was trained again"))
    assert len(encoders.forecasts(2, tmp_path)) == len(rows)
