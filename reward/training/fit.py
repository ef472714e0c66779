"""The Python calls that train a scoring function and judge it, as ``train.py`` and ``evaluate.py`` do."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pytorch_lightning.utilities.seed import isolate_rng

from reward.data import parquet
from reward.data.event_log import EventLog, SchemaError, reading
from reward.data.files import Source
from reward.plain import near
from reward.scoring.artifact import load
from reward.scoring.function import RewardFunction
from reward.training.command_line import RefusedError, of_the_config, refusing
from reward.training.defaults import composed, conf_folder, defaults
from reward.training.folder import own_modules
from reward.training.judging import evaluate_run
from reward.training.opening import begin, go_on
from reward.training.renamed import of_today, setting
from reward.training.run import train
from reward.training.stages import Stages
from reward.training.terminal import quiet, say
from reward.writing import whole

Settings = Mapping[str, Any] | Sequence[str]
StrPath = str | os.PathLike[str]

LOG = Path("log")
_ROLES = ("feedback", "context", "item_features", "click", "flags")
_READING = ("session_gap_minutes", "max_rejected_share", "timezone", "timestamp_unit", "day_starts_at")


def read_log(events: Source, *, feedback: str | Sequence[str], **settings: Any) -> EventLog:
    """Point at a log: parquet files, or a polars frame.

    Args:
        events: a file, a folder, a glob or an object-store URL with one row an exposure; or a frame of such rows.
        feedback: the columns with what the user did.
        settings: whatever else `reward.data.parquet.read` takes, such as ``items``, ``item_features``, ``context`` and
            ``timezone``; what is not given is as in ``conf/data/log.yaml``.

    Raises:
        SchemaError: the files cannot be read as one table.
        TypeError: there is no such setting.
    """
    told = {name: value for name, value in defaults("data", "log").items() if not name.startswith("_")}
    unknown = sorted(settings.keys() - told.keys())
    if unknown:
        hint = near(unknown[0], told)
        raise TypeError(f"read_log expected settings of {', '.join(told)}; got {', '.join(unknown)}{hint}")
    return parquet.read(**{**told, **settings, "events": events, "feedback": feedback})


def fit(
    log: EventLog | None = None,
    *,
    tasks: str | Sequence[str] | None = None,
    encoder: str | None = None,
    causal: str | None = None,
    seed: int | None = None,
    settings: Settings = (),
    folder: StrPath | None = None,
    resume: bool = False,
    evaluate: bool = True,
    silent: bool = False,
) -> RewardFunction:
    """Train a scoring function on a log, estimate what items do, and judge it on the log's last days.

    The same run as ``python train.py``: see ``conf/train.yaml`` for the settings and their defaults. The state of
    random number generators is as before afterwards; the same log, settings and seed give the same weights.

    Args:
        log: from `read_log`, or an `EventLog` of your own; it is written into the run folder. None: the log that
            ``settings`` name, by default the bundled one; or, with ``resume``, the run's own.
        tasks: what to predict, by the names in ``conf/task``. Rewards are told in the first.
        encoder: a choice of ``conf/encoder``.
        causal: a choice of ``conf/causal``, such as ``personalized`` or ``excursion``.
        seed: draws the initial weights, batches and resamples.
        settings: any others, by their path: ``{"trainer.max_epochs": 10}``, or as on the command line,
            ``["trainer.max_epochs=10"]``.
        folder: the run folder, with the artefact in ``reward/``, ``metrics.json``, the report and checkpoints. None: a
            temporary one that is gone afterwards.
        resume: go on with the run in ``folder``.
        evaluate: judge it, write the report, and fit again on all days as ``refit`` says. False: training and effects
            alone; `reward.evaluate` can do it later.
        silent: print nothing.

    Returns:
        What ``reward.load(folder / "reward")`` gives.

    Raises:
        SchemaError: the log does not do; the message lists what is wrong.
        ValueError: settings do not do, or ``folder`` holds another run; nothing has been trained.
        TypeError: ``log`` is no `EventLog`.
    """
    if log is not None and not isinstance(log, EventLog):
        raise TypeError(f"log expected an EventLog, got {type(log).__name__}: make one with reward.read_log(...)")
    chosen = {"task": tasks, "encoder": encoder, "causal": causal, "seed": seed}
    overrides = [f"{name}={_told(value)}" for name, value in chosen.items() if value is not None]
    if resume and log is not None:
        raise ValueError("resume=True goes on with the run's own log, which is in its folder: expected log=None")
    with _place(folder, resume) as place, quiet(silent), isolate_rng(), _as_its_kind():
        asked, values = _overrides(settings, overrides)
        told = [*asked, *values]
        if log is not None:
            asked, values = ["data=log", *asked], {**_reading(log, place / LOG), **values}
        config = composed("train", asked, values)
        run = go_on(place, config, told) if resume else begin(config, place, told, or_next=False)
        try:
            if log is not None:
                _write(log, place / LOG)
            train(replace(run, kept=folder is not None), Stages(say, first=False), judged=evaluate)
        finally:
            if run.folder.record is None:  # refused before anything ran
                shutil.rmtree(place / LOG, ignore_errors=True)
            run.folder.release()
        return load(run.folder.artifact, trust=own_modules(run.folder))


def evaluate(run: StrPath, *, settings: Settings = (), silent: bool = False) -> dict[str, Any]:
    """Judge the scoring function of a run folder on its test days, as ``python evaluate.py run=...`` does.

    Args:
        run: the run folder.
        settings: see ``conf/evaluate.yaml``, by their path: ``{"evaluation.intervals.resamples": 1000}``, or as on the
            command line.
        silent: print nothing.

    Returns:
        What it writes into ``metrics.json`` of the run's ``evaluation`` folder, beside the report.

    Raises:
        SchemaError: the log cannot be read any more, or does not do.
        ValueError: the settings do not do, or there is no run.
    """
    with quiet(silent), isolate_rng(), _as_its_kind():
        given, values = _overrides(settings)
        config = composed("evaluate", given, {**values, "run": os.fspath(run)})
        return evaluate_run(config, Stages(say, first=False))


@contextmanager
def _as_its_kind() -> Iterator[None]:
    """Let errors of a log and of settings through as what they are; those of the config system as `ValueError`."""
    try:
        with refusing():
            yield
    except RefusedError as error:
        causes = list(_causes(error))
        of_the_log = next((it for it in causes if isinstance(it, SchemaError)), None)
        first = next((it for it in causes if not isinstance(it, RefusedError)), error)
        own = first if isinstance(first, RefusedError) or not of_the_config(first) else ValueError(str(error))
        raise (of_the_log or own) from None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


@contextmanager
def _place(folder: StrPath | None, resume: bool) -> Iterator[Path]:
    """The run folder, or one that is gone afterwards."""
    if folder is None and resume:
        raise ValueError("resume=True expected the folder of a run, got folder=None")
    with TemporaryDirectory() if folder is None else nullcontext(folder) as place:
        yield Path(place) / "run" if folder is None else Path(place)


def _told(value: Any) -> str:
    """A value as the config system reads it."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        return str(value)
    return f"[{','.join(map(str, value))}]"


def _overrides(settings: Settings, before: Sequence[str] = ()) -> tuple[list[str], dict[str, Any]]:
    """Settings as overrides, which choices need, after those ``before``; and as values by their path."""
    if isinstance(settings, str):
        raise ValueError(f"settings expected a mapping, or a list such as [{settings!r}], got a string")
    if not isinstance(settings, Mapping):
        return of_today([*before, *settings]), {}
    groups = {place.name for place in conf_folder().iterdir() if place.is_dir()}
    choices = {name: value for name, value in settings.items() if name in groups and not isinstance(value, Mapping)}
    told = [f"{name}={'null' if value is None else _told(value)}" for name, value in choices.items()]
    return of_today([*before, *told]), {setting(name): value for name, value in settings.items() if name not in choices}


def _reading(log: EventLog, place: Path) -> dict[str, Any]:
    """The settings by which a log is read that `_write` wrote."""
    files = {
        name: str((place / f"{name}.parquet").resolve())
        for name in ("events", "items")
        if getattr(log, name, None) is not None
    }
    roles = {name: getattr(log, name) for name in (*_ROLES, *_READING)}
    told = {name: list(value) if isinstance(value, tuple) else value for name, value in roles.items()}
    told |= {"items": None, **files, "end": None if log.end is None else log.end.isoformat()}
    told["outcomes"] = {kind: str((place / f"outcome_{kind}.parquet").resolve()) for kind in log.outcomes} or None
    told["outcomes_end"] = {kind: end.isoformat() for kind, end in log.outcomes_end.items()} or None
    return {f"data.{name}": value for name, value in told.items()}


def _write(log: EventLog, place: Path) -> None:
    """Write a log's tables, without holding them in memory."""
    outcomes = {f"outcome_{kind}": table for kind, table in log.outcomes.items()}
    for name, table in {"events": log.events, "items": log.items, **outcomes}.items():
        if table is not None:
            with whole(place / f"{name}.parquet") as scratch, reading(f"the log's {name}"):
                table.sink_parquet(scratch)
