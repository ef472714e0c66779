"""Runs in this process, without a command line."""

from pathlib import Path
from types import SimpleNamespace

import pytest

import train
from benchmarks.kill_and_resume import SETTINGS, small_log
from reward.training.assembly import plain_values
from reward.training.command_line import JobError
from reward.training.defaults import composed
from reward.training.stages import Stages

ROOT = Path(__file__).parents[2]
QUICK = [
    *SETTINGS.split(),
    "trainer.max_epochs=2",
    "evaluation.policies.min_effective_sample_size=10",
    "causal.personal=null",
    "refit=none",
]


def quick(overrides):
    """The settings of a small run, without those of a task that is not asked for."""
    tasks = [it for it in overrides if it.startswith("task=")]
    without = bool(tasks) and "active_days" not in tasks[-1]
    return [it for it in QUICK if not (without and it.startswith("task.active_days."))]


@pytest.fixture(scope="session")
def events(tmp_path_factory):
    file = tmp_path_factory.mktemp("log") / "events.parquet"
    small_log().write_parquet(file)
    return file


@pytest.fixture
def evaluation():
    """Settings of evaluate.py."""
    asked = [override for override in QUICK if override.startswith("evaluation.")]
    return plain_values(composed("evaluate", ["run=here", *asked]))


@pytest.fixture
def opened(events):
    """Opens a run as the command line does: ``opened(folder, *overrides)``."""
    taken = []

    def open_run(folder, *overrides):
        config = composed("train", [*quick(overrides), f"data.events={events}", *overrides])
        job = SimpleNamespace(
            mode=train.RunMode.RUN,
            overrides=SimpleNamespace(task=list(overrides), hydra=[f"hydra.run.dir={folder}"]),
            runtime=SimpleNamespace(output_dir=str(folder)),
        )
        run = train.opened(config, job)
        taken.append(run.folder)
        return run

    yield open_run
    for folder in taken:
        folder.release()


@pytest.fixture
def trained(opened):
    """Makes a run and lets go of its folder: the stages, and what was raised at the end or None."""

    def train_run(folder, *overrides):
        run, stages = opened(folder, *overrides), Stages(lambda text: None, first=False)
        caught = None
        try:
            train.train(run, stages)
        except JobError as error:
            caught = error
        finally:
            run.folder.release()
        return stages, caught

    return train_run
