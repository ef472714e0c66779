"""Settings by the names that they had: on the command line, and in the folders of earlier runs."""

import sys

import pytest
from omegaconf import OmegaConf

from reward.training.command_line import in_one_sentence
from reward.training.renamed import load_config, todays


@pytest.mark.parametrize(
    ("before", "today"),
    [
        ("effects=second_stage", "causal=personalized"),
        ("effects=neural", "causal=neural"),
        ("effects=second_stage,neural", "causal=personalized,neural"),
        ("effects.gate=click", "causal.gate=click"),
        ("+effects.personal.net.hidden=[8]", "+causal.personal.net.hidden=[8]"),
        ("~effects.personal", "~causal.personal"),
        ("effects@causal=neural", "causal@causal=neural"),
        ("refit=effects", "refit=effects"),
        ("effects_of=1", "effects_of=1"),
        ("data.events=/effects=1/a.parquet", "data.events=/effects=1/a.parquet"),
        ("--cfg=job", "--cfg=job"),
    ],
)
def test_an_old_name_is_one_of_today(before, today):
    assert todays([before]) == [today]


def test_the_command_line_is_read_in_the_names_of_today(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", "effects.gate=click", "seed=1"])
    with in_one_sentence():
        assert sys.argv == ["train.py", "causal.gate=click", "seed=1"]


def test_the_config_of_an_earlier_run_is_read_in_the_names_of_today(tmp_path):
    saved = OmegaConf.create(
        {
            "seed": 3,
            "effects": {"gate": "click", "personal": {"net": None}},
            "propensities": {"gate": "${effects.gate}", "seed": "${seed}"},
            "run": ["${effects.gate}", {"inside": "${effects}"}],
            "refit": "effects",
        }
    )
    OmegaConf.save(saved, tmp_path / "config.yaml")
    found = load_config(tmp_path / "config.yaml")
    assert set(found) == {"seed", "causal", "propensities", "run", "refit"}
    assert found.propensities.gate == "click"
    assert found.propensities.seed == 3
    assert found.run[0] == "click"
    assert found.run[1].inside.personal.net is None
    assert found.refit == "effects"


def test_a_part_of_an_earlier_run_has_the_settings_that_came_later(tmp_path):
    target = "reward.effects.personal.fit_personal"
    saved = {
        "effects": {"_target_": "reward.effects.second_stage.fit_effects", "folds": 3, "personal": {"_target_": target}}
    }
    OmegaConf.save(
        OmegaConf.create(saved | {"encoder": {"_target_": "mine.Encoder"}, "batches": {}}), tmp_path / "c.yaml"
    )
    today = OmegaConf.create(
        {
            "causal": {
                "_target_": "reward.causal.estimate.fit_effects",
                "folds": 5,
                "personal": {"_target_": "reward.causal.user_effects.estimation.fit_personal", "clusters": 2000},
            },
            "encoder": {"_target_": "reward.encoders.gru.GRU", "width": 8},
            "batches": {"rows": 1},
            "roles": {"gate": "auto"},
        }
    )
    found = load_config(tmp_path / "c.yaml", today)
    assert found.causal.folds == 3
    assert found.causal.personal.clusters == 2000
    assert found.causal.personal._target_ == target
    assert found.encoder == {"_target_": "mine.Encoder"}
    assert found.batches == {}
    assert found.roles.gate == "auto"
