"""python evaluate.py run=DIR: judge the scoring function of a run on its test days.

train.py does so once; this is for other settings (evaluation.intervals.resamples=1000), for a run from elsewhere, and
for one whose judging was cut short: what is missing of it is written. The days are those of the run, whatever the log
has got since, and a log that has changed is named. With past A/B tests (experiments=users.parquet north_star=days)
the report also tells which quick signals foretell it.
Writes DIR/evaluation/metrics.json and DIR/evaluation/report.html, and prints the results table.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import hydra
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

import reward
from reward.data.event_log import EventLog
from reward.data.split import Split, split
from reward.data.validation import check
from reward.evaluation.evaluate import judge
from reward.evaluation.past_experiments import past_experiments
from reward.evaluation.simulated_truth import TRUTH
from reward.report.page import sentences
from reward.report.write import publish
from reward.scoring.function import RewardFunction
from reward.training.command_line import JobError, RefusedError, in_one_sentence, refusing
from reward.training.fitting import TrainingError, best_loss
from reward.training.folder import CONFIG, RunFolder, RunFolderError
from reward.training.identity import placed, same_log, window_of
from reward.training.refit import keep_what_was_judged
from reward.training.renamed import load_config
from reward.training.settings import check_settings
from reward.training.stages import Stages
from reward.training.terminal import console, own_warnings_only, say
from reward.writing import write_json


@hydra.main(version_base="1.3", config_path="conf", config_name="evaluate")
def main(config: DictConfig) -> None:
    """Judge the run folder ``config.run``."""
    stages = Stages(say)
    try:
        with refusing():
            settings: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
            check_settings(settings, command="evaluate")
            folder = RunFolder.reopen(Path(config.run), called="run")
        try:
            evaluate(folder, settings, stages)
        finally:
            folder.release()
    except RefusedError as error:
        raise SystemExit(str(error)) from error


def evaluate(folder: RunFolder, settings: dict[str, Any], stages: Stages) -> None:
    """Judge a run's scoring function, and write what is missing of the run."""
    run = folder.path
    training = load_config(run / CONFIG)
    told = {"seed": training.seed, "calibration": training.calibration, "proposed": settings["policies"]}
    with refusing():
        with stages.timed("reading"):
            function, log, window = read(folder, training, settings["moved"])
            proxies = past_tests(settings, seed=training.seed)
        with stages.timed("judging"), console.status("scoring the test days and fitting the baselines ..."):
            assessment = judge(function, log, window, **told, **settings["evaluation"])
    if "metrics" not in function.facts:  # the run was cut short before it was judged
        with stages.timed("saving"):
            keep_what_was_judged(folder, function, carry=sentences(assessment), metrics=assessment["metrics"])
    if not folder.metrics.is_file():
        loss: dict[str, Any] = {}
        with suppress(TrainingError):
            loss = {"validation/loss": best_loss(run)}
        write_json(folder.metrics, {**loss, **assessment})
    if proxies is not None:
        assessment["experiments"] = proxies
    report = partial(publish, function, assessment, run / "evaluation", console, truth=run / TRUTH)
    stages.attempt("report", report, folder=run)
    console.print(f"report: {run / 'evaluation' / 'report.html'}", soft_wrap=True)
    console.print(stages.line(), soft_wrap=True)
    if stages.failed:
        raise JobError("the report could not be written")


def read(folder: RunFolder, training: DictConfig, moved: dict[str, Any]) -> tuple[RewardFunction, EventLog, Split]:
    """The scoring function, the log as far as the run is judged on it, and the run's days.

    Raises:
        ArtifactError: the scoring function cannot be read.
        SchemaError: the log cannot.
    """
    if not folder.has_artifact:
        raise RunFolderError(
            f"run={folder.path} has no scoring function yet: python train.py resume={folder.path} goes on with it"
        )
    function = reward.load(folder.judged)
    source: dict[str, Any] = OmegaConf.to_container(training.data, resolve=True)  # type: ignore[assignment]
    source |= {name: path for name, path in moved.items() if path is not None}
    dates = function.facts.get("window")
    source = placed(source, (folder.record or {}).get("started_in"), grown=dates is not None)
    log = check(instantiate(source)).log
    window = split(log, **training.split) if dates is None else window_of(dates)
    log, changed = same_log(log, window, function.facts.get("fingerprints"), to_train=False)
    if changed is not None:
        say(changed)
    return function, log, window


def past_tests(settings: dict[str, Any], *, seed: int) -> Any:
    """What past A/B tests say, where there are any."""
    if settings["experiments"] is None:
        return None
    intervals = {name: settings["evaluation"]["intervals"][name] for name in ("resamples", "level")}
    told = {"control": settings["control"], "north_star": settings["north_star"], "seed": seed}
    return past_experiments(settings["experiments"], **told, **intervals)


if __name__ == "__main__":
    own_warnings_only(say)
    with in_one_sentence():
        main()
