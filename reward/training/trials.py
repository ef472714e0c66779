"""Parts that only know of themselves whether their settings will do: each is tried on next to nothing."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from reward.encoders import Encoder
from reward.heads import Head
from reward.outcomes.protocol import Outcome
from reward.statistics.regression import boosting_with
from reward.training.fitting import make_trainer

MOST_PARAMETERS = 2_000_000_000
_ROLES: dict[str, type] = {"encoder": Encoder, "head": Head, "outcome": Outcome}


class TrialError(ValueError):
    """A part that does not take its settings, or does not do what it is there for."""


@contextlib.contextmanager
def _trying(what: str) -> Iterator[None]:
    try:
        yield
    except TrialError:
        raise
    except Exception as error:  # whatever another library raises
        raise TrialError(f"{what}: {type(error).__name__}: {str(error).partition(chr(10))[0]}") from error


def try_trainer(settings: Mapping[str, Any]) -> None:
    """Make a trainer and let it go, for what only it knows: which devices there are and what they compute with.

    Raises:
        TrialError: it does not take its settings.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 or "LOCAL_RANK" in os.environ:
        raise TrialError(
            "train.py was started in several processes (LOCAL_RANK or WORLD_SIZE is set), but it starts them itself: "
            "start it once, with trainer.devices=N"
        )
    told = ", ".join(f"{name}={settings[name]}" for name in ("accelerator", "devices", "precision") if name in settings)
    with _trying(f"trainer ({told})"):
        make_trainer(settings, logger=False, enable_checkpointing=False, enable_progress_bar=False)


def try_optimizer(make: Callable[[Any], torch.optim.Optimizer]) -> None:
    """Make an optimizer of one number and take a step.

    Raises:
        TrialError: it does not take its settings.
    """
    with _trying("model.optimizer"):
        parameter = nn.Parameter(torch.zeros(1))
        parameter.grad = torch.ones(1)
        make([parameter]).step()


def try_boosting(settings: Mapping[str, Any] | None) -> None:
    """Grow one tree on a few rows, where LightGBM is installed and asked for.

    Raises:
        TrialError: it does not take its parameters.
    """
    if settings is None:
        return
    with _trying("evaluation.boosting.parameters"), contextlib.suppress(ImportError):
        parameters = {**settings["parameters"], "metric": "binary_logloss"}
        lightgbm, setting = boosting_with(parameters, objective="binary", num_threads=settings["num_threads"], seed=0)
        draw = np.random.default_rng(0)
        rows = lightgbm.Dataset(draw.normal(size=(64, 2)), draw.integers(0, 2, 64), params=setting)
        lightgbm.train(setting, rows, 1)


def check_role(name: str, role: str, part: Any) -> None:
    """Whether a part has what its role asks for.

    Args:
        name: the setting that names the part.
        role: encoder, head or outcome.
        part: what was built.

    Raises:
        TrialError: lists what it lacks.
    """
    asked = _ROLES[role]
    wanted = {*getattr(asked, "__annotations__", {}), *(it for it in vars(asked) if not it.startswith("_"))}
    missing = sorted(it for it in wanted if not hasattr(part, it))
    if missing:
        raise TrialError(
            f"{name}: expected {'an' if role[0] in 'eo' else 'a'} {role}, which has {', '.join(sorted(wanted))}; "
            f"{type(part).__name__} lacks {', '.join(missing)}"
        )


def check_size(name: str, make: Callable[[], Any]) -> None:
    """Whether a module has a number of parameters that a machine can hold; nothing is allocated.

    Raises:
        TrialError: it has more than two thousand million.
    """
    count = 0
    with contextlib.suppress(Exception), torch.device("meta"):  # a part that cannot be made so is made as it is
        count = sum(parameter.numel() for parameter in make().parameters())
    if count > MOST_PARAMETERS:
        raise TrialError(f"{name} has {count:,} parameters: expected at most {MOST_PARAMETERS:,}, make it smaller")
