"""Reward signal modelling for recommender systems.

``reward.fit(reward.read_log(path, feedback=[...]))`` trains a `RewardFunction` and `reward.evaluate` judges it.
``reward.load(folder)`` gives one that was saved: ``score_events`` scores a log, ``encode`` and ``score_candidates``
score what could be shown next. ``reward.check(events, feedback=...)`` says which rows of a log can be used, and why not
the others. ``reward.ranking`` has losses that train a ranker on such rewards.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reward import ranking
from reward.data.event_log import EventLog, SchemaError
from reward.data.parquet import check
from reward.data.validation import SetAsideWarning
from reward.moved import find_what_moved
from reward.rewards import Rewards
from reward.scoring.artifact import ArtifactError, ArtifactWarning, load
from reward.scoring.function import RewardFunction
from reward.scoring.history import History

if TYPE_CHECKING:
    from reward.training.fit import evaluate, fit, read_log

find_what_moved()
_TRAINING = ("evaluate", "fit", "read_log")


def __getattr__(name: str) -> Any:
    """What trains and judges is imported when it is asked for: a ranker that loads a function does without."""
    if name in _TRAINING:
        from reward.training import fit as training

        return getattr(training, name)
    raise AttributeError(f"module 'reward' has no attribute {name!r}")


__all__ = [
    "ArtifactError",
    "ArtifactWarning",
    "EventLog",
    "History",
    "RewardFunction",
    "Rewards",
    "SchemaError",
    "SetAsideWarning",
    "check",
    "evaluate",
    "fit",
    "load",
    "ranking",
    "read_log",
]
