"""python train.py: from a log to a scoring function.

Trains on the bundled log, or on yours (data=log data.events=PATH 'data.feedback=[click,listen_ms]'), judges the result
on the test days, prints how well it forecasts and what the log can carry, and prints the run folder last. Any value
of conf/ can be set on the command line; --cfg job shows what there is.
"""

from __future__ import annotations

import hashlib
import logging
import tempfile
import warnings
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import hydra
import polars as pl
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationToMissingValueError
from pytorch_lightning import Trainer, seed_everything
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint, RichProgressBar
from rich.console import Console

from reward.artifact import save
from reward.effects.account import account, account_sentences, no_account
from reward.effects.personal import Personal
from reward.effects.second_stage import ItemEffects
from reward.evaluation.judge import judge
from reward.evaluation.publish import publish
from reward.evaluation.report import sentences
from reward.evaluation.truth import TRUTH, beside_truth
from reward.function import RewardFunction
from reward.model import RewardModel, Task
from reward.network import RewardNetwork
from reward.outcomes import ABSENT
from reward.outcomes.activity import ActivityTrace
from reward.schema import PROPENSITY, Checked, EventLog, SchemaError, check
from reward.sequences.datamodule import StreamData
from reward.sequences.features import Features
from reward.sequences.split import Split, day_to_date, known_at, split
from reward.wiring import check_names, check_signatures
from reward.writing import whole, write_json

console = Console()

OmegaConf.register_new_resolver("run_folder", lambda resume, fresh: resume or fresh, replace=True)
OmegaConf.register_new_resolver("record_folder", lambda resume: None if resume else ".hydra", replace=True)


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(config: DictConfig) -> float:
    """Train, or go on training, and judge; returns the validation loss for sweeps to minimise."""
    folder = Path(HydraConfig.get().runtime.output_dir)
    if config.resume is not None:
        saved = folder / ".hydra" / "config.yaml"
        if not saved.is_file():
            with suppress(OSError):  # Hydra made the folder if it was not there
                folder.rmdir()
            raise SystemExit(f"resume={config.resume}: expected a run folder with .hydra/config.yaml, found none there")
        config = OmegaConf.load(saved)  # type: ignore[assignment]
    try:
        return train(config, folder)
    except InterpolationToMissingValueError as error:
        needed = str(error).splitlines()[0].rpartition(": ")[2]
        raise SystemExit(f"{needed} expected a value, it was given none: set {needed}=...") from error
    except (SchemaError, TypeError) as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from error


def train(config: DictConfig, folder: Path) -> float:
    """Everything between a log and the run folder: ``reward/``, ``metrics.json`` and ``checkpoints/``."""
    plain: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    check_signatures(plain)
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    seed_everything(config.seed, verbose=False)
    log, checked, window = read(config, folder)
    outcome, head, objective = (instantiate(config[name], _convert_="all") for name in ("outcome", "head", "objective"))
    check_names(head, outcome, objective)
    also = {name: instantiate(told, _convert_="all") for name, told in config.also.items()}
    for told in also.values():
        check_names(told["head"], told["outcome"], told["objective"])
    outcomes = {name: told["outcome"] for name, told in also.items()}
    features = Features.fit(known_at(checked.log, window.train_end), **config.features)
    data = StreamData(
        checked.log, outcome, features, window, members=head.members, seed=config.seed, also=outcomes, **config.batches
    )
    network = RewardNetwork(
        instantiate(config.encoder),
        head,
        sizes=features.sizes(),
        also={name: told["head"] for name, told in also.items()},
        absent=any(ABSENT in it.states for it in outcomes.values()),
        **config.network,
    )
    tasks = {
        name: Task(told["objective"], told["weight"], told["outcome"].states, sequential(told["outcome"]))
        for name, told in also.items()
    }
    model = RewardModel(
        network,
        objective,
        seed=config.seed,
        also=tasks,
        sequential=sequential(outcome),
        consistency=instantiate(config.consistency),
        **instantiate(config.model),
    )
    loss = fit(model, data, config, folder)
    model.calibrate(data.val_dataloader(), **config.calibration)
    function = RewardFunction(
        network,
        features,
        outcome,
        max_events=config.batches.max_events,
        timestamp_unit=log.timestamp_unit,
        facts={},
        also=outcomes,
    )
    found, function.effects = estimate_effects(checked.log, outcome, window, config, folder)
    compare_with_truth(checked.log, window, config, folder)
    with console.status("scoring the test days and fitting the baselines ..."):
        assessment = judge(
            function, checked.log, window, seed=config.seed, calibration=config.calibration, **plain["evaluation"]
        )
    function.facts.update(facts(checked, window, assessment, plain), effects=found)
    save(function, folder / "reward")
    publish(function, assessment, folder / "evaluation", console, truth=folder / TRUTH)
    write_json(folder / "metrics.json", {"validation/loss": loss, **assessment})
    console.print(f"scoring function: {folder / 'reward'}", soft_wrap=True)
    print(folder)
    return loss


def sequential(outcome: Any) -> bool:
    """Whether the next state in the stream waits for the same outcome: what the user does, and not to one item."""
    return getattr(outcome, "scope", "user") == "user" and "after" in outcome.states


def read(config: DictConfig, folder: Path) -> tuple[Any, Checked, Split]:
    """The log as it came, checked, and its windows; what was set aside is written to ``rejected.parquet``."""
    log = instantiate(config.data)
    checked = check(log)
    window = split(checked.log, **config.split)
    rejected = checked.rejected.height
    if rejected:
        with whole(folder / "rejected.parquet") as scratch:
            checked.rejected.write_parquet(scratch)
    start, train_end, validation_end, end = (day_to_date(day) for day in window.days)
    rows, users, items = (
        checked.log.events.select(
            pl.len(), pl.col("user_id").n_unique().alias("users"), pl.col("item_id").n_unique().alias("items")
        )
        .collect()
        .row(0)
    )
    console.print(
        f"{rows:,} events of {users:,} users on {items:,} items; {rejected:,} rows set aside"
        + (f" ({folder / 'rejected.parquet'} says why)" if rejected else "")
    )
    console.print(
        f"learn from {start} to {train_end}, validate until {validation_end}, test until {end} (ends exclusive)"
    )
    return log, checked, window


def fit(model: RewardModel, data: StreamData, config: DictConfig, folder: Path) -> float:
    """Train, from the last checkpoint if there is one, and leave the weights of the best epoch in ``model``."""
    checkpoints = folder / "checkpoints"
    best = ModelCheckpoint(
        checkpoints, "best", monitor="validation/loss", enable_version_counter=False, save_on_train_epoch_end=True
    )
    last = ModelCheckpoint(checkpoints, "last", enable_version_counter=False, save_on_train_epoch_end=True)
    settings: dict[str, Any] = OmegaConf.to_container(config.trainer)  # type: ignore[assignment]
    stop = EarlyStopping("validation/loss", patience=settings.pop("patience"), check_on_train_epoch_end=True)
    trainer = Trainer(
        logger=instantiate(config.logger),
        callbacks=[stop, best, last, RichProgressBar(leave=True)],
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,
        log_every_n_steps=1,
        **settings,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*LeafSpec.*")
        warnings.filterwarnings("ignore", message=".*Checkpoint directory .* exists and is not empty.*")
        resumed = checkpoints / "last.ckpt"
        trainer.fit(model, data, ckpt_path=resumed if resumed.is_file() else None)
    state = torch.load(checkpoints / "best.ckpt", weights_only=True, map_location="cpu")
    model.load_state_dict(state["state_dict"])
    return float(best.best_model_score or torch.nan)


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
    console.print("\n".join(account_sentences(found)))
    if found["warning"] is not None:
        console.print(f"[bold]Warning.[/bold] {found['warning']}")
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


def second_stage(known: EventLog, outcome: Any, config: DictConfig) -> tuple[dict[str, Any], ItemEffects]:
    """The effects of items, and the account of how far they can be believed.

    Raises:
        SchemaError: the log or the outcome does not allow for it.
    """
    if not isinstance(outcome, ActivityTrace) or outcome.scope != "user":
        raise SchemaError(f"they need outcome=active_days with outcome.scope=user, and it tells {outcome.unit}")
    estimated = None
    if PROPENSITY in known.events.collect_schema().names():
        propensity = known.events.select(PROPENSITY).collect().to_series().to_numpy()
    else:
        estimated = instantiate(config.propensities, _convert_="all")(known)
        propensity = estimated.propensity
    effects = instantiate(config.effects)(known, outcome, seed=config.seed, propensity=propensity)
    balance, unchecked = None, ""
    try:
        balance = instantiate(config.balance)(known, propensity, half=None if estimated is None else estimated.half)
    except SchemaError as error:
        unchecked = str(error)
    personal = None if effects.personal is None else (effects.personal.borne_out, effects.personal.personal_borne_out)
    found = account(
        effects.borne_out, estimated, balance, personal=personal, pushed=effects.pushed, unchecked=unchecked
    )
    return found, effects


def facts(checked: Checked, window: Split, assessment: dict[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """What the artefact says of itself."""
    start, train_end, validation_end, end = (day_to_date(day).isoformat() for day in window.days)
    training = known_at(checked.log, window.train_end).events.collect()
    return {
        "made_with": f"reward {version('reward')}",
        "window": {"start": start, "train_end": train_end, "validation_end": validation_end, "end": end},
        "log_fingerprint": fingerprint(training),
        "table": {
            "trained on": f"{start} to {train_end} (exclusive), {training.height:,} events",
            "validated until": validation_end,
            "judged on": f"{validation_end} to {end} (exclusive)",
        },
        "carry": sentences(assessment),
        "metrics": assessment["metrics"],
        "config": dict(config),
    }


def fingerprint(events: pl.DataFrame) -> str:
    """sha256 of a checked log's events, as an Arrow stream."""
    with tempfile.TemporaryFile() as file:
        events.rechunk().write_ipc_stream(file)
        file.seek(0)
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    main()
