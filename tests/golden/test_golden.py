"""Numbers that no move of code may change: artefacts of every format, and small runs of every source of a log.

``python tests/golden/test_golden.py`` writes them anew, from the code as it is: do so only where they are meant to
change, and say so in CHANGELOG. With ``--intervals`` it writes the ends of the runs' intervals alone, and refuses where
any other number has moved. Where processor and libraries round as they did when the numbers were written they are
equal to 1e-9, elsewhere to single precision; ``--here`` writes them anew for this processor, and refuses where any has
moved by more than that.
"""

import json
import sys
import warnings
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
import pytest
import torch

import reward

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FORMATS = (1, 2, 3, 4, 5, 6, 7)
NOW = datetime(2024, 3, 25, 9, tzinfo=UTC)
SINGLE = 1e-4  # two processors with the same instructions differ by up to 2e-6 in small runs, 2e-5 in the bundled log's
SCORES, RUNS = HERE / "scores.parquet", HERE / "runs.json"
SMALL = [
    "encoder.width=8",
    "encoder.layers=1",
    "encoder.heads=2",
    "task.active_days.head.hidden=4",
    "members=2",
    "batches.max_events=16",
    "trainer.max_epochs=1",
    "trainer.accelerator=cpu",
    "correction.least_gain=-100",
    "evaluation.intervals.resamples=5",
    "evaluation.intervals.min_slice_users=5",
    "evaluation.boosting=null",
    "features.min_item_events=2",
    "logger=csv",
]
LOGS = {
    "log": [
        "data=log",
        f"data.events={HERE / 'events.parquet'}",
        f"data.items={HERE / 'items.parquet'}",
        "data.feedback=[click,listen_ms]",
        "data.context=[surface]",
        "data.item_features=[genre,minutes]",
        "horizon_days=5",
        "split.train_days=14",
        "split.validation_days=5",
        "task=[active_days,return_time]",
    ],
    "world": [
        "data=world",
        "simulation.users=150",
        "simulation.days=40",
        "simulation.initial_items=30",
        "horizon_days=7",
        "truth.parents_per_day=5",
    ],
    "kuairand": ["data=kuairand", "causal.personal=null", "evaluation.logistic.strengths=[100]"],
}


def scores(version: int) -> pl.DataFrame:
    """What an artefact says of a thousand rows and of all candidates."""
    events = pl.read_parquet(HERE / "events.parquet")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", reward.ArtifactWarning)
        function = reward.load(HERE / f"format_{version}")
    of_rows = function.score_events(events).head(1000).select(reward.scoring.prediction.SCORES).cast(pl.Float64)
    candidates = function.score_candidates(function.encode(events, now=NOW), np.arange(12)).mean.double().flatten()
    column = pl.Series("candidates", candidates.numpy()[:1000]).extend_constant(None, max(0, 1000 - len(candidates)))
    return of_rows.with_columns(column).rename(lambda name: f"{version} {name}")


def numbers(found: object, path: str = "") -> dict[str, float]:
    """Every number of a nested value, by its path."""
    if isinstance(found, dict):
        return {k: v for name, it in found.items() for k, v in numbers(it, f"{path}/{name}").items()}
    if isinstance(found, list):
        return {k: v for place, it in enumerate(found) for k, v in numbers(it, f"{path}/{place}").items()}
    return {path: float(found)} if isinstance(found, int | float) else {}


def trained(name: str, folder: Path) -> reward.RewardFunction:
    """A small run."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", reward.ArtifactWarning)
        return reward.fit(settings=[*LOGS[name], *SMALL], folder=folder, silent=True)


def run(name: str, folder: Path) -> dict[str, float]:
    """The figures of a small run, the weights' moments and those of the effects."""
    network = trained(name, folder).network
    told = numbers({"metrics": json.loads((folder / "metrics.json").read_text())["metrics"]})
    effects = pl.read_parquet(folder / "effects.parquet").select(pl.col(pl.Float64))
    told |= {f"effects/{it}": float(effects[it].fill_null(0).fill_nan(0).abs().sum()) for it in effects.columns}
    for it, tensor in network.state_dict().items():
        told[f"weights/{name_of_before(it, network.reward)}"] = float(tensor.double().abs().sum())
    return told


def name_of_before(weight: str, reward: str) -> str:
    """The name of a weight when these numbers were written: the head of the reward's task stood apart."""
    return weight.replace(f"heads.{reward}.", "head.").replace("heads.", "also.")


def apart(found: dict[str, float], wanted: dict[str, float], most: float) -> dict[str, tuple[float, float]]:
    """What differs by more than this, absolutely and of the value wanted."""
    return {it: (found[it], wanted[it]) for it in wanted if not np.isclose(found[it], wanted[it], most, most)}


def machine() -> dict[str, str]:
    """What rounding depends on: libraries, and what the processor makes of a few sums in single precision."""
    draw = torch.Generator().manual_seed(0)
    rows, weights = torch.randn(64, 40, generator=draw), torch.randn(40, 48, generator=draw)
    made = (rows @ weights / 8).softmax(-1).log() + torch.nn.functional.gelu(rows @ weights).cumsum(0).tanh()
    rounding = sha256(torch.nn.functional.layer_norm(made, (48,)).numpy().tobytes()).hexdigest()[:12]
    return {"rounding": rounding, **{it: version(it) for it in ("torch", "numpy")}}


@pytest.fixture(scope="module")
def exact():
    """The relative tolerance here."""
    return 1e-9 if json.loads(RUNS.read_text())["machine"] == machine() else SINGLE


@pytest.mark.parametrize("format_version", FORMATS)
def test_an_artefact_of_every_format_scores_as_it_did(format_version, exact):
    wanted = pl.read_parquet(SCORES)
    found = scores(format_version)
    for name in found.columns:
        np.testing.assert_allclose(
            found[name].to_numpy(), wanted[name].to_numpy(), rtol=exact, atol=exact, err_msg=name
        )


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name == "kuairand" else ()) for name in LOGS]
)
def test_a_small_run_ends_with_the_same_numbers(name, tmp_path, exact):
    wanted = json.loads(RUNS.read_text())[name]
    found = run(name, tmp_path / "run")
    assert found.keys() == wanted.keys()
    assert not apart(found, wanted, exact)


def of_interval(path: str) -> bool:
    """Whether a figure is the end of an interval, or one of the shares that are told where an interval is above 0."""
    return path.endswith(("/low", "/high")) or path.startswith("/metrics/carry/share/by/")


def with_intervals(wanted: dict[str, float], found: dict[str, float]) -> dict[str, float]:
    """The figures of a run with the ends of its intervals as they are found, where these moved.

    Raises:
        SystemExit: another figure moved, came or went.
    """
    both = wanted.keys() & found.keys()
    moved = {it for it in both if not np.isclose(found[it], wanted[it], 1e-9, 1e-9)}
    other = {it for it in wanted.keys() ^ found.keys() if not of_interval(it)}
    other |= {it for it in moved if not it.endswith(("/low", "/high"))}
    if other:
        raise SystemExit(f"expected other figures than ends of intervals to stay, got changes of {sorted(other)}")
    return {it: found[it] if it in moved or it not in wanted else wanted[it] for it in found}


def test_writing_intervals_anew_takes_the_ends_alone():
    wanted = {"/a/value": 1.0, "/a/low": 0.5, "/a/high": 1.5, "/b/low": 0.0}
    found = {"/a/value": 1.0 + 1e-12, "/a/low": 0.6, "/a/high": 1.5, "/c/high": 2.0}
    assert with_intervals(wanted, found) == {"/a/value": 1.0, "/a/low": 0.6, "/a/high": 1.5, "/c/high": 2.0}
    for other in ({"/a/value": 1.1}, {"/d/value": 1.0}):
        with pytest.raises(SystemExit, match=f"changes of .*{next(iter(other))}"):
            with_intervals(wanted, found | other)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    torch.set_num_threads(1)  # as in tests: the same sums in the same order
    with TemporaryDirectory() as scratch:
        told = {name: run(name, Path(scratch) / name) for name in LOGS}
    if "--here" in sys.argv:
        before = json.loads(RUNS.read_text())
        moved = {name: apart(told[name], before[name], SINGLE) for name in LOGS}
        if any(moved.values()):
            raise SystemExit(f"expected no figure to move by more than {SINGLE}, got {moved}")
    if "--intervals" in sys.argv:
        before = json.loads(RUNS.read_text())
        told = {name: with_intervals(before[name], found) for name, found in told.items()}
    else:
        pl.concat([scores(it) for it in FORMATS], how="horizontal").write_parquet(SCORES, compression_level=19)
    RUNS.write_text(json.dumps({"machine": machine()} | told, indent=0) + "\n")
