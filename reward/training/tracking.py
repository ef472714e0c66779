"""Experiment trackers that ask nothing: each run is a run of its own there, and goes on with it when it is resumed."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pytorch_lightning.loggers import Logger, WandbLogger

from reward.writing import whole

WANDB_ID = ".wandb_id"


def wandb_logger(*, folder: str | os.PathLike[str], project: str) -> WandbLogger:
    """Weights & Biases: online where an API key or ``WANDB_MODE`` is set, else offline, without asking.

    A run that goes on in the same folder goes on there. The job of a sweep is in a group with the others.

    Args:
        folder: the run folder; the files of an offline run are in its ``wandb`` folder, for ``wandb sync``.
        project: the project the run is shown in.
    """
    import wandb

    path = Path(folder)
    mode = os.environ.get("WANDB_MODE") or ("online" if _has_key() else "offline")
    settings = wandb.Settings(silent=True, console="off")
    job = (
        path.name.partition("-")[0].isdigit() and len(path.name) < 5
    )  # 12, 12-1: a job of the sweep in the folder above
    named: dict[str, Any] = {"name": f"{path.parent.name}-{path.name}", "group": path.parent.name}
    logger = WandbLogger(
        project=project,
        save_dir=str(folder),
        mode=mode,
        settings=settings,
        id=_wandb_id(path),
        **(named if job else {"name": path.name}),
    )
    logger._wandb_init.pop("anonymous", None)  # Lightning gives it as None, of which wandb warns that it does nothing
    return logger


def _wandb_id(folder: Path) -> str:
    """The id of the folder's run, made once."""
    file = folder / WANDB_ID
    if not file.is_file():
        with whole(file) as scratch:
            scratch.write_text(secrets.token_hex(4), encoding="utf-8")
    return file.read_text(encoding="utf-8")


def _has_key() -> bool:
    """Whether wandb would find a key in the environment or the netrc file."""
    if any(os.environ.get(name) for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE")):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).netloc
    places = [os.environ["NETRC"]] if os.environ.get("NETRC") else ["~/.netrc", "~/_netrc"]
    for file in (Path(place).expanduser() for place in places):
        try:
            return netrc(file).authenticators(host) is not None
        except FileNotFoundError:
            continue
        except (NetrcParseError, OSError, UnicodeDecodeError):
            return False  # wandb warns of a file that it cannot read
    return False


def csv_logger(*, folder: str | os.PathLike[str]) -> bool:  # noqa: ARG001
    """No tracker: the run folder has the table ``metrics.csv`` in any case."""
    return False


def log_config(logger: Logger | bool, config: Mapping[str, Any]) -> None:
    """Tell a tracker what is run."""
    if isinstance(logger, Logger):
        logger.log_hyperparams(dict(config))


def log_results(logger: Logger | bool, metrics: Mapping[str, Any], *, report: Path, artifact: Path) -> None:
    """Give a tracker the final metrics, the report and the artefact, where it takes them.

    Args:
        logger: the run's logger.
        metrics: numbers, nested by name; estimates are in ``value``, ``low`` and ``high``.
        report: a page.
        artifact: a folder.
    """
    numbers = {f"final/{name}": it for name, it in _flat(metrics, "")}
    if isinstance(logger, WandbLogger):
        _wandb_results(logger.experiment, numbers, report, artifact)
    elif isinstance(logger, Logger):
        logger.log_metrics(numbers)
        logger.save()


def finish(logger: Logger | bool, *, failed: bool = False) -> None:
    """End a tracker's run, so that the next of this process is another."""
    if isinstance(logger, WandbLogger):
        import wandb

        if wandb.run is not None:
            wandb.finish(exit_code=int(failed))
    elif isinstance(logger, Logger):
        logger.finalize("failed" if failed else "success")


def _wandb_results(run: Any, numbers: Mapping[str, float], report: Path, artifact: Path) -> None:
    import wandb

    run.summary.update(dict(numbers))
    if report.is_file():
        run.log({"report": wandb.Html(report.read_text(encoding="utf-8"), inject=False)})
    if artifact.is_dir():
        kept = wandb.Artifact("reward", type="scoring-function")
        for file in sorted(artifact.resolve().iterdir()):  # add_dir would talk
            kept.add_file(str(file), name=file.name)
        run.log_artifact(kept, aliases=["latest", str(run.id)])


def _flat(values: Mapping[str, Any], path: str) -> Iterator[tuple[str, float]]:
    """The numbers of nested values, each with where it stands."""
    for name, value in values.items():
        here = f"{path}/{name}" if path else str(name)
        if isinstance(value, Mapping):
            yield from _flat(value, here)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield here.removesuffix("/value"), value
