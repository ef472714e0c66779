"""python train.py: from a log to a scoring function.

Trains on the bundled log, or on yours (data=log data.events=PATH 'data.feedback=[click,listen_ms]'), judges the result
on the test days, prints how well it forecasts and what the log can carry, and prints the run folder last. Any value
of conf/ can be set on the command line; --cfg job shows what there is.

The order of a run: check all that can be known, train, estimate effects, save the scoring function, judge it, report.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from reward.training.assembly import Run
from reward.training.command_line import JobError, RefusedError, in_one_sentence, refusing
from reward.training.fitting import TrainingError
from reward.training.opening import begin, go_on
from reward.training.run import crashed, train
from reward.training.stages import Stages
from reward.training.terminal import console, own_warnings_only, say

OmegaConf.register_new_resolver("run_folder", lambda resume, fresh: "." if resume else fresh, replace=True)


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(config: DictConfig) -> float:
    """Train, or go on training, and judge; returns the validation loss for sweeps to minimise."""
    job = HydraConfig.get()
    stages = Stages(say, first=job.mode is RunMode.RUN)
    try:
        with refusing():
            run = opened(config, job)
        try:
            return train(run, stages)
        except Exception as error:
            if not isinstance(error, RefusedError | JobError | TrainingError):
                raise crashed(error, run.path) from error
            raise
        finally:
            run.folder.release()
    except (RefusedError, JobError, TrainingError) as error:
        if config.resume is None:
            _let_go(Path(job.runtime.output_dir), named=_named(job))
        if job.mode is RunMode.RUN:
            raise SystemExit(str(error)) from error
        console.print(f"job {job.job.num} ({', '.join(job.overrides.task)}): {error}", markup=False)
        raise JobError(f"job {job.job.num} was refused: {error}") from error


def opened(config: DictConfig, job: Any) -> Run:
    """The run that the command line asks for, in its folder."""
    given, output = list(job.overrides.task), Path(job.runtime.output_dir)
    if config.resume is None:
        return begin(config, output, given, or_next=not _named(job))
    if job.mode is not RunMode.RUN:
        _let_go(output, named=True)  # the folder that a sweep makes for each of its jobs
    return go_on(Path(config.resume), config, given)


def _named(job: Any) -> bool:
    """Whether the command line says where the run is to be kept."""
    place = "hydra.run.dir=" if job.mode is RunMode.RUN else "hydra.sweep."
    return any(override.startswith(place) for override in job.overrides.hydra)


def _let_go(folder: Path, *, named: bool) -> None:
    """Remove a folder that the config system made, and those above that it named itself, where they are empty."""
    for place in (folder,) if named else (folder, folder.parent, folder.parent.parent):
        with suppress(OSError):
            place.rmdir()


if __name__ == "__main__":
    own_warnings_only(say)
    with in_one_sentence():
        main()
