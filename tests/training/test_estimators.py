"""Each choice of causal= trains, is saved and judged as a whole run."""

import json
from pathlib import Path

import polars as pl
import pytest
from small_run import SMALL_RUN

import reward
from reward.causal.excursion.model import ExcursionEffect
from reward.causal.user_effects.model import PersonalizedEffect

LOG = Path(__file__).parents[1] / "golden"
SETTINGS = [
    *SMALL_RUN,
    f"data.events={LOG / 'events.parquet'}",
    f"data.items={LOG / 'items.parquet'}",
    "data.feedback=[click,listen_ms]",
    "data.item_features=[genre,minutes]",
    "split.train_days=14",
    "split.validation_days=5",
    "trainer.max_epochs=1",
    "evaluation.intervals.resamples=5",
    "evaluation.intervals.min_slice_users=5",
    "evaluation.boosting=null",
    "evaluation.logistic.strengths=[100]",
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("choice", "kind", "column"),
    [("personalized", PersonalizedEffect, "anchor"), ("excursion", ExcursionEffect, "users")],
)
def test_an_estimator_is_trained_with_saved_judged_and_fitted_again(choice, kind, column, tmp_path):
    run = tmp_path / "run"
    function = reward.fit(settings=[*SETTINGS, f"causal={choice}"], folder=run, silent=True)
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
