"""Reward signal modelling for recommender systems.

``reward.load(folder)`` gives a `RewardFunction`: ``score_events`` scores a log, ``encode`` and ``score_candidates``
score what could be shown next. ``reward.check(events, feedback=...)`` says which rows of a log can be used, and why not
the others. ``reward.ranking`` has losses that train a ranker on such rewards.
"""

from reward import ranking
from reward.artifact import ArtifactError, ArtifactWarning, load
from reward.effects.exposure import Rewards
from reward.function import History, RewardFunction
from reward.logs.files import check
from reward.schema import SchemaError, SetAsideWarning

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
