"""Reward signal modelling for recommender systems.

``reward.load(folder)`` gives a `RewardFunction`: ``score_events`` scores a log, ``encode`` and ``score_candidates``
score what could be shown next. ``reward.check(events, feedback=...)`` says which rows of a log can be used, and why not
the others. ``reward.ranking`` has losses that train a ranker on such rewards.
"""

from reward import ranking
from reward.data.event_log import SchemaError
from reward.data.parquet import check
from reward.data.validation import SetAsideWarning
from reward.moved import find_what_moved
from reward.rewards import Rewards
from reward.scoring.artifact import ArtifactError, ArtifactWarning, load
from reward.scoring.function import RewardFunction
from reward.scoring.history import History

find_what_moved()

__all__ = [
    "ArtifactError",
    "ArtifactWarning",
    "History",
    "RewardFunction",
    "Rewards",
    "SchemaError",
    "SetAsideWarning",
    "check",
    "load",
    "ranking",
]
