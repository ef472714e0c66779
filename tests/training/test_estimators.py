"""Each choice of causal= trains, is saved and judged as a whole run."""

import json
from pathlib import Path

import polars as pl
import pytest
from hydra import compose, initialize_config_dir

import reward
from reward.causal.excursion.model import ExcursionEffect
from reward.causal.user_effects.model import PersonalizedEffect
from reward.training.assembly import Run, plain_values
from reward.training.folder import RunFolder
from reward.training.run import train
from reward.training.stages import Stages

ROOT = Path(__file__).parents[2]
LOG = ROOT / "tests" / "golden"
SETTINGS = [
    "data=log",
    f"data.events={LOG / 'events.parquet'}",
    f"data.items={LOG / 'items.parquet'}",
    "data.feedback=[click,listen_ms]",
    "data.context=[surface]",
    "data.item_features=[genre,minutes]",
    "horizon_days=5",
    "split.train_days=14",
    "split.validation_days=5",
    "encoder.width=8",
    "encoder.layers=1",
    "encoder.heads=2",
    "task.active_days.head.hidden=4",
    "members=2",
    "batches.max_events=16",
    "trainer.max_epochs=1",
    "trainer.accelerator=cpu",
    "evaluation.intervals.resamples=5",
    "evaluation.intervals.min_slice_users=5",
    "evaluation.boosting=null",
    "features.min_item_events=2",
    "logger=csv",
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("choice", "kind", "column"),
    [("personalized", PersonalizedEffect, "anchor"), ("excursion", ExcursionEffect, "users")],
)
def test_an_estimator_is_trained_with_saved_judged_and_fitted_again(choice, kind, column, tmp_path):
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("train", overrides=[*SETTINGS, f"causal={choice}"])
    folder, stages = RunFolder.claim(tmp_path / "run", or_next=False), Stages(lambda text: None, first=False)
    train(Run(config, plain_values(config), folder, []), stages)
    folder.release()
    assert not stages.failed
    run = tmp_path / "run"
    function = reward.load(run / "reward")
    assert type(function.effects) is kind
    assert column in pl.read_parquet(run / "effects.parquet").columns
    assert column in pl.read_parquet(run / "effects_all_days.parquet").columns
    scores = function.score_events(pl.read_parquet(LOG / "events.parquet"))
    assert scores["reward"].is_finite().all()
    found = function.facts["effects"]
    assert found["slope"] is not None
    assert found["rewards"] is not None
    assert found["push"].keys() == {"0", "1"}
    assert json.loads((run / "metrics.json").read_text())["metrics"]
