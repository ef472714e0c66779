"""python train.py: from a log to a scoring function.

Trains on the bundled log, or on yours (data=log data.events=PATH 'data.feedback=[click,listen_ms]'), judges the result
on the test days, prints how well it forecasts and what the log can carry, and prints the run folder last. Any value
of conf/ can be set on the command line; --cfg job shows what there is.

The order of a run: check all that can be known, train, estimate effects, save the scoring function, judge it, report.
"""

from __future__ import annotations

import logging
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import hydra
import polars as pl
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import seed_everything

import reward
from reward.causal.diagnostics.summary import account, no_account
from reward.causal.estimate import ItemEffects
from reward.causal.propensity.plausibility import check_propensities
from reward.causal.settings import check_effects
from reward.causal.user_effects.model import Personal
from reward.columns import PROPENSITY
from reward.data.event_log import Checked, EventLog, SchemaError
from reward.data.split import Split, check_windows, day_to_date, known_at, split
from reward.data.validation import check, unread_item_features
from reward.evaluation.evaluate import judge
from reward.evaluation.simulated_truth import TRUTH, beside_truth
from reward.features.events import Features
from reward.outcomes.activity import ActivityTrace
from reward.outcomes.protocol import ABSENT
from reward.report.page import sentences
from reward.report.terminal import what_was_read, what_was_refit, where_things_are
from reward.report.write import publish
from reward.scoring.artifact import save
from reward.scoring.function import RewardFunction
from reward.sequences.datamodule import StreamData
from reward.sequences.model import RewardModel, Task
from reward.sequences.network import RewardNetwork
from reward.training.activity import fit_activity, keep_what_gained
from reward.training.command_line import JobError, RefusedError, in_one_sentence, refusing
from reward.training.fitting import TrainingError, best_loss, fit
from reward.training.folder import CONFIG, JUDGED, RunFolder
from reward.training.identity import fingerprints, placed, same_log, window_dates, window_of
from reward.training.overrides import resumed
from reward.training.refit import ALL, NONE, keep_what_was_judged, refit_facts, refit_network
from reward.training.settings import check_settings
from reward.training.stages import Stages
from reward.training.terminal import console, own_warnings_only, say
from reward.training.tracking import finish, log_config, log_results
from reward.training.trials import check_role, check_size, try_boosting, try_optimizer, try_trainer
from reward.training.wiring import check_names
from reward.writing import whole, write_json

REJECTED = "rejected.parquet"
ROLES = ("gate", "rare", "group")
EFFECTS_OF_ALL_DAYS = "effects_all_days.parquet"
TASK = ("head", "outcome", "objective")

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


@dataclass(frozen=True)
class Run:
    """A run that this process works on.

    Attributes:
        config: its settings.
        plain: the same, resolved, as plain values.
        folder: where it is kept.
        given: what the command line set.
        changed: settings that are others than when the run was started.
    """

    config: DictConfig
    plain: dict[str, Any]
    folder: RunFolder
    given: list[str]
    changed: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.folder.path


@dataclass(frozen=True)
class Ready:
    """All that a run needs once nothing is left to be found wrong.

    Attributes:
        checked: the log, and the rows that were set aside.
        log: the checked log as the run is judged on it.
        window: its split.
        outcome: what rewards are told in; None where the function was saved.
        function: makes the scoring function of what was trained, or reads it where it was saved.
        model: what is trained; None where the function was saved.
        data: what it is trained on; None where the function was saved.
    """

    checked: Checked
    log: EventLog
    window: Split
    outcome: Any
    function: Callable[[], RewardFunction]
    model: RewardModel | None
    data: StreamData | None


def crashed(error: Exception, folder: Path) -> JobError:
    """Write the traceback of a fault into the run folder; returns the sentence that says so."""
    file = folder / "failed.txt"
    file.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    summary = str(error).partition("\n")[0]
    return JobError(f"{type(error).__name__}: {summary}. This is a fault of reward: please report it with {file}")


def opened(config: DictConfig, job: Any) -> Run:
    """Check the settings and take the run folder.

    Raises:
        SettingsError: lists the settings that will not do.
        RunFolderError: the folder holds another run, or another process works in it.
    """
    given, output = list(job.overrides.task), Path(job.runtime.output_dir)
    if config.resume is None:
        plain = plain_values(config)
        check_settings(plain)
        return Run(config, plain, RunFolder.claim(output, or_next=not _named(job)), given)
    if job.mode is not RunMode.RUN:
        _let_go(output, named=True)  # the folder that a sweep makes for each of its jobs
    folder = RunFolder.reopen(Path(config.resume), called="resume")
    try:
        saved: DictConfig = OmegaConf.load(folder.path / CONFIG)  # type: ignore[assignment]
        OmegaConf.set_struct(saved, False)
        told = (OmegaConf.to_container(it, resolve=False) for it in (config, saved))
        changed = resumed(given, *told, has_artifact=folder.has_artifact)  # type: ignore[arg-type]
        for name, value in changed.items():
            OmegaConf.update(saved, name, value, merge=False, force_add=True)
        plain = plain_values(saved)
        check_settings(plain)
    except BaseException:
        folder.release()
        raise
    return Run(saved, plain, folder, given, tuple(changed))


def plain_values(config: DictConfig) -> dict[str, Any]:
    """A config as plain values, with what refers to other values resolved."""
    values: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    return values


def train(run: Run, stages: Stages) -> float:
    """Everything between a log and the run folder: ``reward/``, ``metrics.json`` and ``checkpoints/``."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    if run.folder.ended and not run.changed:
        say(f"This run has ended: nothing is left to do. python evaluate.py run={run.path} judges it again.")
        print(run.path)
        return best_loss(run.path)
    with refusing(), stages.timed("reading"):
        ready = prepare(run)
    identify(run, ready)
    logger = instantiate(run.config.logger) or False
    logger = logger(folder=run.path) if isinstance(logger, partial) else logger
    log_config(logger, run.plain)
    try:
        function, loss = learn(run, ready, stages, logger)
        assessment = judge_and_report(run, ready, stages, function, loss)
        stages.attempt("refit", partial(fit_again, run, ready, function), folder=run.path)
        if assessment is not None:
            told = {"metrics": assessment["metrics"], "validation/loss": loss}
            pages = {"report": run.path / "evaluation" / "report.html", "artifact": run.folder.artifact}
            stages.attempt("tracking", partial(log_results, logger, told, **pages), folder=run.path)
    finally:
        finish(logger, failed=sys.exc_info()[0] is not None)
    for line in where_things_are(run.path):
        console.print(line, highlight=False)
    stages.write(run.path)
    console.print(stages.line(), soft_wrap=True)
    print(run.path)
    if not stages.failed:
        run.folder.end()
    else:
        raise JobError(f"not all of the run was done: {', '.join(stages.failed)} failed")
    return loss


def prepare(run: Run) -> Ready:
    """Read the log and build what is trained: all that can be wrong with a log or a config is found here.

    Raises:
        SchemaError: the log does not do.
        TypeError: the parts do not fit each other.
        ValueError: a part does not take its settings.
    """
    config = run.config
    try_trainer(run.plain["trainer"])
    try_boosting(run.plain["evaluation"]["boosting"])
    record = run.folder.record
    source, checked, window = read(config, record)
    log, changed = same_log(checked.log, window, record and record["fingerprints"])
    if changed is not None:
        say(changed)
    if run.folder.has_artifact:
        return Ready(checked, log, window, None, partial(saved_function, run.folder), None, None)
    check_effects(run.plain, log)
    unused = check_propensities(known_at(log, window.validation_end))
    if unused is not None:
        say(f"The log's propensities are not used, and estimated instead: {unused}.")
    return assembled(config, checked, log, window, source.timestamp_unit)


def check_savable(untrained: RewardFunction) -> None:
    """Save what has the form of that which is going to be trained, and read it back.

    Raises:
        ValueError: it cannot be saved, such as for more names than its embeddings account for.
    """
    with TemporaryDirectory() as scratch, torch.random.fork_rng():
        save(untrained, Path(scratch) / "reward")


def assembled(config: DictConfig, checked: Checked, log: EventLog, window: Split, timestamp_unit: str | None) -> Ready:
    """Features, data and an untrained model, whose weights the seed draws.

    Raises:
        SchemaError: the log does not do.
        TypeError: the parts do not fit each other.
        ValueError: a part does not take its settings.
    """
    settings = instantiate(config.model)
    try_optimizer(settings["optimizer"])
    for name in ("encoder", "head"):
        check_size(name, partial(instantiate, config[name]))
    seed_everything(config.seed, verbose=False)
    head, outcome, objective = task_of(config, "")
    also = {name: dict(zip(TASK, task_of(told, f"also.{name}."), strict=True)) for name, told in config.also.items()}
    outcomes = {name: told["outcome"] for name, told in also.items()}
    further = {f"also.{name}.outcome.horizon_days": it.horizon_days for name, it in outcomes.items()}
    check_windows(log, window, {"outcome.horizon_days": outcome.horizon_days} | further)
    features = Features.fit(known_at(log, window.train_end), **config.features)
    if quiet := [name for name in (*log.feedback, *log.context) if name in features.constant]:
        say(f"not learned from, for they never vary in training: {', '.join(quiet)}")
    data = StreamData(
        log, outcome, features, window, members=head.members, seed=config.seed, also=outcomes, **config.batches
    )
    data.setup()
    encoder = instantiate(config.encoder)
    check_role("encoder", "encoder", encoder)
    network = RewardNetwork(
        encoder,
        head,
        sizes=features.sizes(),
        also={name: told["head"] for name, told in also.items()},
        absent=any(ABSENT in it.states for it in outcomes.values()),
        **config.network,
    )
    if network.activity is not None:
        fit_activity(network.activity, data, **config.activity)
    tasks = {
        name: Task(told["objective"], config.also[name].weight, told["outcome"].states, sequential(told["outcome"]))
        for name, told in also.items()
    }
    model = RewardModel(
        network,
        objective,
        seed=config.seed,
        also=tasks,
        sequential=sequential(outcome),
        consistency=instantiate(config.consistency),
        **settings,
    )
    function = partial(
        RewardFunction,
        features=features,
        outcome=outcome,
        max_events=config.batches.max_events,
        timestamp_unit=timestamp_unit,
        facts={},
        also=outcomes,
    )
    check_savable(function(deepcopy(network)))
    return Ready(checked, log, window, outcome, partial(function, network), model, data)


def task_of(config: DictConfig, place: str) -> tuple[Any, Any, Any]:
    """The head, the outcome and the objective of a task, which fit each other."""
    head, outcome, objective = (instantiate(config[name], _convert_="all") for name in TASK)
    check_role(f"{place}head", "head", head)
    check_role(f"{place}outcome", "outcome", outcome)
    check_names(head, outcome, objective)
    return head, outcome, objective


def identify(run: Run, ready: Ready) -> None:
    """Write what runs in the folder, and the rows that were set aside."""
    if ready.checked.rejected.height:
        with whole(run.path / REJECTED) as scratch:
            ready.checked.rejected.write_parquet(scratch)
    record = run.folder.record or {
        "made_with": f"reward {version('reward')}",
        "started_in": str(Path.cwd()),
        "window": window_dates(ready.window),
        "fingerprints": fingerprints(ready.log, ready.window),
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
        second = partial(estimate_effects, ready.log, ready.outcome, window, config, run.path)
        found, function.effects = stages.attempt("effects", second, folder=run.path) or (
            no_account("their estimation failed; the run folder has the reason"),
            None,
        )
        with stages.timed("saving"):
            function.facts.update(facts(ready, run), effects=found, forecast=forecast)
            save(function, run.folder.artifact)
    if not (run.path / TRUTH).is_file():
        truth = partial(compare_with_truth, ready.log, window, config, run.path)
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
) -> dict[str, Any] | None:
    """Judge the scoring function on the test days; what is found goes into it, into the report and ``metrics.json``."""
    config = run.config

    def judging() -> dict[str, Any]:
        with console.status("scoring the test days and fitting the baselines ..."):
            settings = {"seed": config.seed, "calibration": config.calibration, **run.plain["evaluation"]}
            return judge(function, ready.log, ready.window, **settings)

    assessment = stages.attempt("judging", judging, folder=run.path)
    if assessment is None:
        if "judging" in stages.reasons:
            write_json(run.folder.metrics, {"validation/loss": loss, "not judged": stages.reasons["judging"]})
        return None
    with stages.timed("saving"):
        keep_what_was_judged(run.folder, function, carry=sentences(assessment), metrics=assessment["metrics"])
    report = partial(publish, function, assessment, run.path / "evaluation", console, truth=run.path / TRUTH)
    stages.attempt("report", report, folder=run.path)
    write_json(run.folder.metrics, {"validation/loss": loss, **assessment})
    return assessment


def fit_again(run: Run, ready: Ready, judged: RewardFunction) -> None:
    """Fit what is shipped again on all days, as ``refit`` says; the judged function stays in ``judged/``."""
    what, folder = run.plain.get("refit", NONE), run.folder
    if what == NONE or folder.refitted:
        return
    chosen = judged.facts["effects"].get("chosen") or {}
    roles = {name: chosen[name] for name in ROLES if name in chosen}  # the reward stays of the kind that was judged
    second = partial(second_stage, known_at(ready.log, ready.window.end), judged.outcome, run.config, roles)
    network, gained = judged.network, (judged.facts.get("forecast") or {}).get("share") != 0
    if what == ALL and gained:
        again = assembled(run.config, ready.checked, ready.log, ready.window, judged.timestamp_unit)
        model, data = cast(RewardModel, again.model), cast(StreamData, again.data)
        refit_network(model, data, network, run.path, settings=run.plain["trainer"])
        network = model.network
    elif judged.effects is None:
        return
    found, effects = second() if judged.effects is not None else (judged.facts["effects"], None)
    if chosen:
        found = {**found, "chosen": chosen}
    shipped = RewardFunction(
        network,
        judged.features,
        judged.outcome,
        max_events=judged.max_events,
        timestamp_unit=judged.timestamp_unit,
        facts={
            **judged.facts,
            "effects": found,
            "refit": refit_facts(what, judged.facts["window"], network=network is not judged.network),
        },
        effects=None if effects is None else effects.personal,
        also=judged.also,
    )
    if effects is not None:
        with whole(run.path / EFFECTS_OF_ALL_DAYS) as scratch:
            effects.items.write_parquet(scratch)
    save(judged, run.path / JUDGED)
    save(shipped, folder.artifact)
    say(what_was_refit(shipped.facts["refit"], judged.facts["effects"], found))


def saved_function(folder: RunFolder) -> RewardFunction:
    """The scoring function that the run has saved; what it warns of has been said when it was made."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", reward.ArtifactWarning)
        return reward.load(folder.judged)


def sequential(outcome: Any) -> bool:
    """Whether the next state in the stream waits for the same outcome: what the user does, and not to one item."""
    return getattr(outcome, "scope", "user") == "user" and "after" in outcome.states


def read(config: DictConfig, record: Mapping[str, Any] | None) -> tuple[EventLog, Checked, Split]:
    """The log as it came, checked, and its windows, which are those of ``record`` where the run goes on."""
    source = placed(plain_values(config.data), (record or {}).get("started_in"), grown=record is not None)
    log = instantiate(source)
    if not isinstance(log, EventLog):
        raise TypeError(f"data: expected a source of an EventLog, {source['_target_']} gives {type(log).__name__}")
    checked = check(log)
    window = split(checked.log, **config.split) if record is None else window_of(record["window"])
    rejected = checked.rejected.height
    rows, users, items = (
        checked.log.events.select(
            pl.len(), pl.col("user_id").n_unique().alias("users"), pl.col("item_id").n_unique().alias("items")
        )
        .collect()
        .row(0)
    )
    days = [day_to_date(day) for day in window.days[:3]]
    for line in what_was_read(rows=rows, users=users, items=items, rejected=rejected, days=days):
        console.print(line, highlight=False)
    if unread := unread_item_features(log):
        named = ",".join((*log.item_features, *unread))
        say(f"not read of the items table: {', '.join(unread)}; to learn from them, 'data.item_features=[{named}]'")
    return log, checked, window


def estimate_effects(
    log: EventLog, outcome: Any, window: Split, config: DictConfig, folder: Path
) -> tuple[dict[str, Any], Personal | None]:
    """The second stage on what training and validation saw: ``effects.parquet``.

    Returns what the artefact says of it, and what its rewards are made of: None where effects cannot be estimated.
    Propensities that the log lacks are estimated from it; either kind is checked by balance.
    """
    known = known_at(log, window.validation_end)
    try:
        with console.status("estimating the effects of items ..."):
            found, effects = second_stage(known, outcome, config)
    except SchemaError as error:
        found, personal = no_account(str(error)), None
    else:
        personal = effects.personal
        with whole(folder / "effects.parquet") as scratch:
            effects.items.write_parquet(scratch)
    return found, personal


def compare_with_truth(log: EventLog, window: Split, config: DictConfig, folder: Path) -> None:
    """What items truly do beside what was learned of them, ``truth.parquet``, where a simulated world knows it."""
    learned = folder / "effects.parquet"
    if config.truth is None or not learned.is_file():
        return
    try:
        with console.status("measuring by paired runs what items truly do ..."):
            true = instantiate(config.truth)()
    except SchemaError as error:
        console.print(f"What items truly do was not measured: {error}")
        return
    known = known_at(log, window.validation_end).events
    with whole(folder / TRUTH) as scratch:
        beside_truth(true, pl.read_parquet(learned), known, log.click).write_parquet(scratch)


def second_stage(
    known: EventLog, outcome: Any, config: DictConfig, roles: Mapping[str, Any] | None = None
) -> tuple[dict[str, Any], ItemEffects]:
    """The effects of items, and the account of how far they can be believed.

    ``roles`` are ``gate``, ``rare`` and ``group`` where they are not to be chosen as ``config`` says.

    Raises:
        SchemaError: the log or the outcome does not allow for it.
    """
    if not isinstance(outcome, ActivityTrace) or outcome.scope != "user":
        raise SchemaError(f"they need outcome=active_days with outcome.scope=user, and it tells {outcome.unit}")
    estimated, unused = None, check_propensities(known)
    if unused is None and PROPENSITY in known.events.collect_schema().names():
        propensity = known.events.select(PROPENSITY).collect().to_series().to_numpy()
    else:
        estimated = instantiate(config.propensities, _convert_="all")(known)
        propensity = estimated.propensity
    effects = instantiate(config.effects)(known, outcome, seed=config.seed, propensity=propensity, **(roles or {}))
    balance, unchecked = None, ""
    try:
        balance = instantiate(config.balance)(known, propensity, half=None if estimated is None else estimated.half)
    except SchemaError as error:
        unchecked = str(error)
    personal = None if effects.personal is None else (effects.personal.borne_out, effects.personal.personal_borne_out)
    found = account(
        effects.borne_out,
        estimated,
        balance,
        personal=personal,
        pushed=effects.pushed,
        unchecked=unchecked,
        chosen=effects.chosen,
        unused=unused,
    )
    return found, effects


def facts(ready: Ready, run: Run) -> dict[str, Any]:
    """What the artefact says of itself before it is judged."""
    dates, record = window_dates(ready.window), run.folder.record or {}
    rows = known_at(ready.log, ready.window.train_end).events.select(pl.len()).collect().item()
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
