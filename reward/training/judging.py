"""Judging a run again, on its test days and with other settings."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from reward.data.prepared import PreparedLog
from reward.data.split import Split
from reward.evaluation.evaluate import evaluate_function
from reward.evaluation.past_experiments import PastExperiments, past_experiments
from reward.evaluation.simulated_truth import TRUTH
from reward.report.saved import to_json
from reward.report.sentences import summary_sentences
from reward.report.write import write_report
from reward.scoring.artifact import load
from reward.scoring.function import RewardFunction
from reward.training.assembly import plain_values
from reward.training.command_line import JobError, refusing
from reward.training.fitting import TrainingError, best_loss
from reward.training.folder import RunFolder, RunFolderError, own_modules
from reward.training.identity import same_log
from reward.training.opening import saved_config
from reward.training.reading import read_log
from reward.training.refit import keep_what_was_judged
from reward.training.settings import check_settings
from reward.training.stages import Stages
from reward.training.terminal import console, say
from reward.writing import write_json


def evaluate_run(config: DictConfig, stages: Stages) -> dict[str, Any]:
    """Judge the run folder ``config.run``, see ``conf/evaluate.yaml``.

    Returns what is written into ``evaluation/metrics.json``.

    Raises:
        RefusedError: the settings or the log do not do.
        JobError: the report could not be written.
    """
    with refusing():
        settings = plain_values(config)
        check_settings(settings, command="evaluate")
        folder = RunFolder.reopen(Path(config.run), called="run")
    try:
        return evaluate(folder, settings, stages)
    finally:
        folder.release()


def evaluate(folder: RunFolder, settings: dict[str, Any], stages: Stages) -> dict[str, Any]:
    """Judge a run's scoring function, and write what is missing of the run."""
    run = folder.path
    training = saved_config(folder)
    told = {"seed": training.seed, "calibration": training.calibration, "proposed": settings["policies"]}
    with refusing():
        with stages.timed("reading"):
            function, prepared, window = judged(folder, training, settings["moved"])
            proxies = past_tests(settings, seed=training.seed)
        with stages.timed("judging"), console.status("scoring the test days and fitting the baselines ..."):
            evaluation = evaluate_function(function, prepared, window, **told, **settings["evaluation"])
    if "metrics" not in function.facts:  # the run was cut short before it was judged
        with stages.timed("saving"):
            carry, metrics = summary_sentences(evaluation), to_json(evaluation)["metrics"]
            keep_what_was_judged(folder, function, carry=carry, metrics=metrics)
    if not folder.metrics.is_file():
        loss: dict[str, Any] = {}
        with suppress(TrainingError):
            loss = {"validation/loss": best_loss(run)}
        write_json(folder.metrics, {**loss, **to_json(evaluation)})
    if proxies is not None:
        evaluation = replace(evaluation, experiments=proxies)
    report = partial(write_report, function, evaluation, run / "evaluation", console, truth=run / TRUTH)
    evaluation = stages.attempt("report", report, folder=run) or evaluation
    console.print(f"report: {run / 'evaluation' / 'report.html'}", soft_wrap=True)
    console.print(stages.line(), soft_wrap=True)
    if stages.failed:
        raise JobError("the report could not be written")
    return to_json(evaluation)


def judged(folder: RunFolder, training: DictConfig, moved: dict[str, Any]) -> tuple[RewardFunction, PreparedLog, Split]:
    """The scoring function, the log as far as the run is judged on it, and the run's days.

    Raises:
        ArtifactError: the scoring function cannot be read.
        SchemaError: the log cannot.
    """
    if not folder.has_artifact:
        raise RunFolderError(
            f"run={folder.path} has no scoring function yet: python train.py resume={folder.path} goes on with it"
        )
    function = load(folder.judged, trust=own_modules(folder))
    source = plain_values(training.data) | {name: path for name, path in moved.items() if path is not None}
    read = read_log(source, training.split, folder, function.facts.get("window"))
    prepared, changed = same_log(read.prepared, read.window, function.facts.get("fingerprints"), to_train=False)
    if changed is not None:
        say(changed)
    return function, prepared, read.window


def past_tests(settings: dict[str, Any], *, seed: int) -> PastExperiments | None:
    """What past A/B tests say, where there are any."""
    if settings["experiments"] is None:
        return None
    intervals = {name: settings["evaluation"]["intervals"][name] for name in ("resamples", "level")}
    told = {"control": settings["control"], "north_star": settings["north_star"], "seed": seed}
    return past_experiments(settings["experiments"], **told, **intervals)
