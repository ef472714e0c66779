"""Settings of before work by the names of today, on a command line and in a run folder."""

import re
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

import train  # noqa: F401  registers the resolvers
from reward.training.command_line import in_one_sentence, of_the_config, sentence
from reward.training.defaults import composed
from reward.training.folder import RunFolder
from reward.training.opening import saved_config
from reward.training.renamed import RenamedError, config_of_today, of_today, setting

BEFORE = Path(__file__).with_name("config_of_before.yaml")  # what the overrides below led to
GIVEN = [
    "data=log",
    "data.events=events.parquet",
    "data.feedback=[click]",
    "data.context=[surface]",
    "data.end=2024-03-21",
    "outcome.horizon_days=5",
    "outcome.whole_sessions=false",
    "head.members=2",
    "head.hidden=4",
    "head.from_activity=false",
    "also=[return_time,habit]",
    "also.return_time.weight=0.5",
    "also.taken_up.outcome.active_if=click",
    "also.back_after.outcome.scope=item",
    "encoder.width=16",
    "logger=csv",
]


def resolved(config):
    return OmegaConf.to_container(config, resolve=True)


def test_overrides_of_before_lead_to_the_config_that_was_saved_then():
    config = composed("train", of_today(GIVEN))
    saved = (OmegaConf.to_container(it) for it in (OmegaConf.load(BEFORE), config))
    before, today = resolved(OmegaConf.create(config_of_today(*saved))), resolved(config)
    assert today.keys() == before.keys()
    for name, value in today.items():
        assert before[name] == value, name


def test_what_rewards_are_told_in_is_the_first_task():
    assert of_today(["outcome=return_time", "head=hazard", "objective=hazard", "head.hidden=8"]) == [
        "task.return_time.head.hidden=8",
        "task=[return_time]",
    ]
    config = OmegaConf.create(config_of_today(OmegaConf.to_container(OmegaConf.load(BEFORE))))
    assert list(config.task) == ["active_days", "return_time", "taken_up", "back_after", "back_without"]


def test_a_further_outcome_of_before_keeps_its_name_beside_the_rewards():
    saved = {
        "outcome": {"_target_": "reward.outcomes.returns.ReturnTime", "scope": "user"},
        "head": {"hidden": "${outcome.scope}"},
        "objective": {},
        "also": {"return_time": {"head": {"hidden": "${also.return_time.weight}"}, "weight": 0.2}},
    }
    first, second = config_of_today(saved)["task"].items()
    assert (first[0], first[1]["head"]["hidden"]) == ("return_time_", "${task.return_time_.outcome.scope}")
    assert second == ("return_time", {"head": {"hidden": "${task.return_time.weight}"}, "weight": 0.2})


def test_a_run_folder_of_before_is_read_by_the_names_of_today(tmp_path):
    folder = tmp_path / "run"
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra/config.yaml").write_text(BEFORE.read_text())
    taken = RunFolder.reopen(folder, called="resume")
    config = saved_config(taken)
    taken.release()
    assert (config.horizon_days, config.members, config.task.active_days.outcome.horizon_days) == (5, 2, 5)
    assert config.task.return_time.outcome.horizon_days == 5
    assert config_of_today(OmegaConf.to_container(config)) == OmegaConf.to_container(config)


@pytest.mark.parametrize(
    "overrides",
    [
        ["seed=1", "-m", "+task.active_days.head.hidden=3", "trainer.max_epochs=1,2", "--cfg=job"],
        ["~task.active_days.head.hidden", "data.events=log/day=1/*.parquet", "'data.feedback=[a,b]'"],
        ["hydra.run.dir=also=1", "task=[active_days]"],
    ],
)
def test_overrides_of_today_stay_as_they_are_and_nothing_is_said(overrides):
    said = []
    assert of_today(overrides, said.append) == overrides
    assert said == []


def test_what_has_another_name_is_said_once_with_it():
    said = []
    assert of_today(["++outcome.horizon_days=3,4", "~head.x", "also=survey"], said.append) == [
        "++horizon_days=3,4",
        "~task.active_days.head.x",
        "task=[active_days,survey]",
    ]
    assert said == [
        "outcome.horizon_days is called horizon_days now",
        "head.x is called task.active_days.head.x now",
        "also=survey is called task=[active_days,survey] now",
    ]


@pytest.mark.parametrize(
    "overrides", [["head=hazard"], ["objective=mine"], ["outcome=mine"], ["outcome=return_time", "head=trace"]]
)
def test_a_choice_that_is_no_task_is_refused_with_what_to_do(overrides):
    with pytest.raises(RenamedError, match=r"are one choice now, a task: task=\[active_days\].*conf/task/NAME\.yaml"):
        of_today(overrides)
    with pytest.raises(RenamedError, match="by task=\\[survey\\] alone"):
        of_today([*overrides, "task=[survey]"])


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["head.hidden=3"], r"no setting head\.hidden: it is called task\.active_days\.head\.hidden now"),
        (["encoder.width=${head.members}"], r"\$\{head\.members\} is called \$\{members\} now"),
    ],
)
def test_a_name_of_before_inside_a_config_is_answered_with_that_of_today(overrides, told):
    with pytest.raises(Exception) as caught:  # noqa: PT011  the config system's own
        resolved(composed("train", overrides))
    assert of_the_config(caught.value)
    assert re.search(told, sentence(caught.value)), sentence(caught.value)


def test_names_that_stayed_are_left_alone():
    assert [setting(it) for it in ("seed", "outcome", "data.events", "horizon_days")] == [
        "seed",
        "outcome",
        "data.events",
        "horizon_days",
    ]


@pytest.mark.parametrize(
    ("before", "today"),
    [
        ("effects=second_stage", "causal=personalized"),
        ("effects=second_stage,neural", "causal=personalized,neural"),
        ("effects.gate=click", "causal.gate=click"),
        ("+effects.personal.net.hidden=[8]", "+causal.personal.net.hidden=[8]"),
        ("~effects.personal", "~causal.personal"),
        ("refit=effects", "refit=effects"),
        ("effects_of=1", "effects_of=1"),
        ("data.events=/effects=1/a.parquet", "data.events=/effects=1/a.parquet"),
    ],
)
def test_what_estimates_effects_is_a_choice_of_causal(before, today):
    assert of_today([before]) == [today]


def test_the_command_line_is_read_by_the_names_of_today(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["train.py", "effects.gate=click", "effects=second_stage", "seed=1"])
    with in_one_sentence():
        assert sys.argv == ["train.py", "seed=1", "causal.gate=click", "causal=personalized"]
    said = capsys.readouterr().out
    assert "effects.gate is called causal.gate now" in said
    assert "effects=second_stage is called causal=personalized now" in said


def test_a_part_of_an_earlier_run_has_the_settings_that_came_later():
    target = "reward.effects.personal.fit_personal"
    effects = {"_target_": "reward.effects.second_stage.fit_effects", "folds": 3, "personal": {"_target_": target}}
    saved = {"effects": effects, "encoder": {"_target_": "mine.Encoder"}, "batches": {}, "run": "${effects.folds}"}
    today = {
        "causal": {
            "_target_": "reward.causal.estimate.estimate_effects",
            "folds": 5,
            "personal": {"_target_": "reward.causal.user_effects.estimation.fit_user_effects", "clusters": 2000},
        },
        "encoder": {"_target_": "reward.encoders.gru.GRU", "width": 8},
        "batches": {"rows": 1},
        "roles": {"gate": "auto"},
    }
    found = OmegaConf.create(config_of_today(saved, today))
    assert (found.causal.folds, found.run) == (3, 3)
    assert found.causal.personal.clusters == 2000
    assert found.causal.personal._target_ == "reward.causal.user_effects.estimation.fit_user_effects"
    assert found.encoder == {"_target_": "mine.Encoder"}
    assert found.batches == {}
    assert found.roles.gate == "auto"
