"""A run: check, train, estimate effects, save, judge, report, refit."""

from __future__ import annotations

import logging
import sys
import traceback
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

from hydra.utils import instantiate
from omegaconf import OmegaConf

from reward.causal.diagnostics.summary import EffectSummary, not_estimated
from reward.evaluation.evaluate import evaluate_function
from reward.evaluation.findings import Evaluation
from reward.evaluation.simulated_truth import TRUTH
from reward.report.saved import to_json
from reward.report.sentences import summary_sentences
from reward.report.terminal import what_was_refit, where_things_are
from reward.report.write import write_report
from reward.scoring.artifact import save
from reward.scoring.function import RewardFunction
from reward.sequences.datamodule import StreamData
from reward.sequences.model import RewardModel
from reward.training.activity import keep_what_gained
from reward.training.assembly import Ready, Run, assembled, prepare
from reward.training.causal import compare_with_truth, estimate_effects, estimated_effects
from reward.training.command_line import JobError, refusing
from reward.training.fitting import best_loss, fit
from reward.training.folder import JUDGED
from reward.training.identity import fingerprints, window_dates
from reward.training.refit import ALL, NONE, keep_what_was_judged, refit_facts, refit_network
from reward.training.stages import Stages
from reward.training.terminal import console, say, show_path
from reward.training.tracking import finish, log_config, log_results
from reward.writing import whole, write_json

REJECTED = "rejected.parquet"
EFFECTS_OF_ALL_DAYS = "effects_all_days.parquet"


def crashed(error: Exception, folder: Path) -> JobError:
    """Write the traceback of a fault into the run folder; returns the sentence that says so."""
    file = folder / "failed.txt"
    file.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    summary = str(error).partition("\n")[0]
    return JobError(f"{type(error).__name__}: {summary}. This is a fault of reward: please report it with {file}")


def train(run: Run, stages: Stages, *, judged: bool = True) -> float:
    """Everything between a log and the run folder: ``reward/``, ``metrics.json`` and ``checkpoints/``.

    Args:
        run: what is run, and where.
        stages: are timed.
        judged: False: the run stops where its scoring function is saved; going on with it does the rest.

    Returns:
        The validation loss.

    Raises:
        RefusedError: the log or the settings do not do; nothing was trained.
        TrainingError: training came to nothing.
        JobError: a stage after training failed.
    """
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    if run.folder.ended and not run.changed:
        say(f"This run has ended: nothing is left to do. python evaluate.py run={run.path} judges it again.")
        show_path(run.path)
        return best_loss(run.path)
    with refusing(), stages.timed("reading"):
        ready = prepare(run)
    identify(run, ready)
    logger = instantiate(run.config.logger) or False
    logger = logger(folder=run.path) if isinstance(logger, partial) else logger
    log_config(logger, run.plain)
    try:
        function, loss = learn(run, ready, stages, logger)
        evaluation = judge_and_report(run, ready, stages, function, loss) if judged else None
        if judged:
            stages.attempt("refit", partial(fit_again, run, ready, function), folder=run.path)
        if evaluation is not None:
            told = {"metrics": to_json(evaluation)["metrics"], "validation/loss": loss}
            pages = {"report": run.path / "evaluation" / "report.html", "artifact": run.folder.artifact}
            stages.attempt("tracking", partial(log_results, logger, told, **pages), folder=run.path)
    finally:
        finish(logger, failed=sys.exc_info()[0] is not None)
    for line in where_things_are(run.path) if run.kept else ():
        console.print(line, highlight=False)
    stages.write(run.path)
    console.print(stages.line(), soft_wrap=True)
    if run.kept:
        show_path(run.path)
    if stages.failed:
        raise JobError(f"not all of the run was done: {', '.join(stages.failed)} failed")
    if judged:
        run.folder.end()
    return loss


def identify(run: Run, ready: Ready) -> None:
    """Write what runs in the folder, and the rows that were set aside."""
    if ready.read.checked is not None:
        aside = {f"rejected_{kind}.parquet": rows for kind, rows in ready.read.checked.rejected_outcomes.items()}
        if ready.read.checked.rejected.height:
            aside[REJECTED] = ready.read.checked.rejected
        for name, rows in aside.items():
            with whole(run.path / name) as scratch:
                rows.write_parquet(scratch)
    record = run.folder.record or {
        "made_with": f"reward {version('reward')}",
        "started_in": str(Path.cwd()),
        "window": window_dates(ready.window),
        "fingerprints": fingerprints(ready.prepared.log, ready.window),
    }
    run.folder.identify(OmegaConf.to_yaml(run.config), OmegaConf.to_yaml(run.given), record)


def learn(run: Run, ready: Ready, stages: Stages, logger: Any) -> tuple[RewardFunction, float]:
    """Train, estimate effects and save the scoring function, where that is not done; and the validation loss."""
    config, window = run.config, ready.window
    if ready.model is None or ready.data is None:
        function, loss = ready.function(), best_loss(run.path)
    else:
        with stages.timed("training"):
            loss = fit(ready.model, ready.data, run.path, settings=run.plain["trainer"], logger=logger)
            forecast = weigh(run, ready.model, ready.data)
            ready.model.calibrate(ready.data.val_dataloader(), **config.calibration)
        function = ready.function()
        second = partial(estimate_effects, ready.prepared, ready.outcome, window, config, run.path)
        found, function.effects = stages.attempt("effects", second, folder=run.path) or (
            not_estimated("their estimation failed; the run folder has the reason"),
            None,
        )
        with stages.timed("saving"):
            function.facts.update(facts(ready, run), effects=found.to_json(), forecast=forecast)
            save(function, run.folder.artifact)
    if not (run.path / TRUTH).is_file():
        truth = partial(compare_with_truth, ready.prepared, window, config, run.path)
        stages.attempt("truth", truth, folder=run.path)
    return function, loss


def weigh(run: Run, model: RewardModel, data: StreamData) -> dict[str, Any] | None:
    """Keep what training gained over past activity, where it started there; returns what the artefact says of it."""
    if model.network.activity is None:
        return None
    config = run.config
    gained = keep_what_gained(model, data, **config.correction, **config.calibration)
    encoder = type(model.network.encoder).__name__
    tried = f"a {encoder} of width {config.encoder.width} in at most {config.trainer.max_epochs} epochs"
    return {**gained._asdict(), "sentence": gained.sentence(tried)}


def judge_and_report(
    run: Run, ready: Ready, stages: Stages, function: RewardFunction, loss: float
) -> Evaluation | None:
    """Judge the scoring function on the test days; what is found goes into it, into the report and ``metrics.json``."""
    config = run.config

    def judging() -> Evaluation:
        with console.status("scoring the test days and fitting the baselines ..."):
            settings = {"seed": config.seed, "calibration": config.calibration, **run.plain["evaluation"]}
            return evaluate_function(function, ready.prepared, ready.window, **settings)

    evaluation = stages.attempt("judging", judging, folder=run.path)
    if evaluation is None:
        if "judging" in stages.reasons:
            write_json(run.folder.metrics, {"validation/loss": loss, "not judged": stages.reasons["judging"]})
        return None
    with stages.timed("saving"):
        carry, metrics = summary_sentences(evaluation), to_json(evaluation)["metrics"]
        keep_what_was_judged(run.folder, function, carry=carry, metrics=metrics)
    report = partial(write_report, function, evaluation, run.path / "evaluation", console, truth=run.path / TRUTH)
    evaluation = stages.attempt("report", report, folder=run.path) or evaluation
    write_json(run.folder.metrics, {"validation/loss": loss, **to_json(evaluation)})
    return evaluation


def fit_again(run: Run, ready: Ready, judged: RewardFunction) -> None:
    """Fit what is shipped again on all days, as ``refit`` says; the judged function stays in ``judged/``."""
    what, folder = run.plain.get("refit", NONE), run.folder
    if what == NONE or folder.refitted:
        return
    summary = EffectSummary.from_json(judged.facts["effects"])
    chosen = None if summary is None else summary.chosen  # the reward stays of the kind that was judged
    roles = {} if chosen is None else {"gate": chosen.gate, "rare": list(chosen.rare), "group": chosen.group}
    second = partial(estimated_effects, ready.prepared.known_at(ready.window.end), judged.outcome, run.config, roles)
    network, gained = judged.network, (judged.facts.get("forecast") or {}).get("share") != 0
    if what == ALL and gained:
        again = assembled(run.config, ready.read, ready.prepared)
        model, data = cast(RewardModel, again.model), cast(StreamData, again.data)
        refit_network(model, data, network, run.path, settings=run.plain["trainer"])
        network = model.network
    elif judged.effects is None:
        return
    found, effects = second() if judged.effects is not None else (summary, None)
    if found is not None and chosen is not None:
        found = replace(found, chosen=chosen)
    shipped = RewardFunction(
        network,
        judged.features,
        judged.tasks,
        max_events=judged.max_events,
        timestamp_unit=judged.timestamp_unit,
        facts={
            **judged.facts,
            "effects": judged.facts["effects"] if found is None else found.to_json(),
            "refit": refit_facts(what, judged.facts["window"], network=network is not judged.network),
        },
        effects=None if effects is None else effects.model,
    )
    if effects is not None:
        with whole(run.path / EFFECTS_OF_ALL_DAYS) as scratch:
            effects.items.write_parquet(scratch)
    save(judged, run.path / JUDGED)
    save(shipped, folder.artifact)
    say(what_was_refit(shipped.facts["refit"]["what"], summary, found))


def facts(ready: Ready, run: Run) -> dict[str, Any]:
    """What the artefact says of itself before it is judged."""
    dates, record = window_dates(ready.window), run.folder.record or {}
    rows = len(ready.prepared.known_at(ready.window.train_end))
    return {
        "made_with": f"reward {version('reward')}",
        "window": dates,
        "log_fingerprint": record["fingerprints"]["training"],
        "fingerprints": record["fingerprints"],
        "table": {
            "trained on": f"{dates['start']} to {dates['train_end']} (exclusive), {rows:,} events",
            "validated until": dates["validation_end"],
            "judged on": f"{dates['validation_end']} to {dates['end']} (exclusive)",
        },
        "config": run.plain,
    }
