"""The demonstration: its settings, its files, and sentences that its figures carry."""

import copy
import json
import subprocess
import sys
import tomllib
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

import reward
import train  # noqa: F401  registers the resolvers
from reward.__main__ import main
from reward.causal.diagnostics.summary import EffectSummary
from reward.evaluation.estimates import Estimate
from reward.evaluation.simulated_truth import AgainstTruth, TrueSpread
from reward.records import to_json
from reward.simulation.demo import CLICKS, REWARDS, TRUTH, Found, default_settings, demo, rewards_of
from reward.simulation.lives import open_service
from reward.simulation.rankers import log_with_slates
from reward.simulation.world import World
from reward.training.defaults import composed

ROOT = Path(__file__).parents[2]
CHANGED = {"days", "follow_up_days", "users", "initial_items", "lifetime_days", "creators", "gain"}


@pytest.fixture(scope="module")
def conf():
    return composed("train", ["data=world", "simulation=clickbait"])


def test_its_world_is_clickbait_but_for_what_it_says(conf):
    ours, theirs = asdict(World(**default_settings()["world"])), asdict(instantiate(conf.simulation))
    assert {name for name in ours if ours[name] != theirs[name]} == CHANGED
    assert ours["gain"] == pytest.approx(default_settings()["demo"]["times"] * theirs["gain"])


def test_effects_and_checks_have_the_settings_of_train_py(conf):
    told = default_settings()
    effects = OmegaConf.to_container(conf.causal, resolve=True)
    personal = effects.pop("personal")
    balance = OmegaConf.to_container(conf.balance, resolve=False)
    features = OmegaConf.to_container(conf.features)
    for ours, theirs in (
        (told["effects"], effects),
        (told["personal"], personal),
        (told["balance"], balance),
        (told["features"], features),
    ):
        assert ours == {name: theirs[name] for name in ours}


def test_the_seed_that_is_shown_is_none_of_those_that_chose_the_settings():
    assert default_settings()["demo"]["seed"] % 2 == 1


@pytest.fixture(scope="module")
def small():
    told = copy.deepcopy(default_settings())
    told["world"] |= {"users": 150, "initial_items": 24, "creators": 6, "days": 40, "follow_up_days": 18}
    told["demo"] |= {"roll_out_days": 5, "resamples": 20, "roll_out_users": 100}
    told["split"] |= {"train_days": 28}
    told["forecaster"] |= {"batches": 2, "width": 8, "hidden": 8}
    told["truth"] |= {"parents_per_day": 20, "every_days": 9}
    told["slates"] |= {"slates": 300, "candidates": 8}
    told["ranker"] |= {"epochs": 1}
    return told


@pytest.fixture(scope="module")
def run(small, tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    return folder, demo(folder, seed=3, phase=lambda _: nullcontext(), settings=small)


def test_it_writes_the_picture_the_figures_a_scoring_function_and_its_log(run):
    folder, found = run
    assert (folder / "demo.svg").read_text().startswith("<svg")
    figures = json.loads((folder / "demo.json").read_text())
    assert figures["gains"] == to_json(found.gains)
    assert figures["sentences"] == found.sentences()
    fn = reward.load(folder / "reward")
    scored = fn.score_events(pl.read_parquet(folder / "events.parquet"))
    assert scored["reward"].is_finite().all()
    assert found.rows == len(scored)


def test_its_figures_are_those_of_the_log_and_the_rankers(run):
    _, found = run
    assert set(found.gains) == {CLICKS, REWARDS, TRUTH}
    assert all(it.low < it.value < it.high for it in found.gains.values())
    assert 0 < found.usual < found.roll_out_days
    assert -1 <= found.truth.correlation["learned reward"].value <= 1


def test_the_same_seed_gives_the_same_figures_and_another_gives_others(run, small, tmp_path):
    _, found = run
    again, other = (
        demo(tmp_path / str(seed), seed=seed, phase=lambda _: nullcontext(), settings=small) for seed in (3, 4)
    )
    assert again.gains == found.gains
    assert again.truth == found.truth
    assert other.gains != found.gains


def test_rewards_are_of_the_slots_of_the_slates_or_refused(run, small):
    folder, _ = run
    service = open_service(World(**small["world"]), 3)
    *_, slates = log_with_slates(service, **small["slates"])
    events, fn = pl.read_parquet(folder / "events.parquet"), reward.load(folder / "reward")
    rewards = rewards_of(fn, events, slates)
    assert rewards.shape == slates.items.shape
    one = fn.encode(events, now=events[[slates.row[7]]].select("user_id", "timestamp", "surface", "platform"))
    np.testing.assert_allclose(fn.score_candidates(one, slates.items[[7]]).mean.numpy()[0], rewards[7], atol=1e-5)
    with pytest.raises(ValueError, match=r"expected events in the order in which slates\.row counts"):
        rewards_of(fn, events.sort("user_id"), slates)


def estimate(value, half):
    return Estimate(value, value - half, value + half)


def truth(learned):
    correlation = {"learned reward": learned, "click rate": estimate(-0.2, 0.1)}
    return AgainstTruth(5, False, correlation, slope=1.0, covered=0.9, spread=TrueSpread(0.1, 0.1))


FOUND = Found(
    users=10,
    rows=100,
    items=5,
    days=40,
    times=3,
    truth=truth(estimate(0.8, 0.1)),
    gains={CLICKS: estimate(-1.2, 0.2), REWARDS: estimate(2.25, 0.25), TRUTH: estimate(3.0, 0.3)},
    usual=10.04,
    roll_out_days=28,
    effects=EffectSummary(),
)


@pytest.mark.parametrize(
    ("gain", "words"),
    [
        (estimate(2.25, 0.25), "a ranker trained on learned rewards adds 2.25 days, 95% interval 2.00 to 2.50"),
        (estimate(-1.2, 0.2), "a ranker trained on learned rewards takes away 1.20 days, 95% interval 1.00 to 1.40"),
        (estimate(0.1, 0.2), "a ranker trained on learned rewards changes nothing that these users can show (0.10"),
    ],
)
def test_a_sentence_says_what_the_interval_says(gain, words):
    said = replace(FOUND, gains=FOUND.gains | {REWARDS: gain}).sentences()
    assert len(said) == 3
    assert words in said[1]


def test_a_correlation_that_is_none_is_said_to_be_none():
    said = replace(
        FOUND,
        truth=truth(estimate(0.0, 0.3)),
    ).sentences()
    assert "have no correlation that these items can show (0.00, 95% interval −0.30 to 0.30)" in said[0]
    assert "correlate 0.800, 95% interval 0.700 to 0.900" in FOUND.sentences()[0].replace("0.80,", "0.800,").replace(
        "0.70 ", "0.700 "
    ).replace("0.90,", "0.900,")


def test_the_command_has_help_and_refuses_a_seed_that_is_none(capsys, tmp_path):
    with pytest.raises(SystemExit):
        main(["demo", "--help"])
    assert "About a minute" in " ".join(capsys.readouterr().out.split())
    assert main(["demo", "--seed", "-1", "--out", str(tmp_path)]) == 2
    assert "--seed -1 expected a whole number of at least 0" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_command_line_loads_nothing_heavy_before_it_is_asked_for_the_demonstration():
    heavy = ["hydra", "omegaconf", "wandb", "pytorch_lightning", "matplotlib"]
    probe = f"import reward.__main__, sys; print(*sorted(set({heavy}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == []


def test_no_settings_file_is_left_out_of_the_package():
    """All that is in the package's folder is in the wheel, and conf/ beside it."""
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert told == {"packages": ["reward"], "force-include": {"conf": "reward/conf"}}
    assert np.isfinite(default_settings()["demo"]["times"])
