"""Reward signal modelling for recommender systems.

``reward.load(folder)`` gives a `RewardFunction`: ``score_events`` scores a log, ``encode`` and ``score_candidates``
score what could be shown next. ``reward.ranking`` has losses that train a ranker on such rewards.
"""

from reward import ranking
from reward.artifact import ArtifactError, ArtifactWarning, load
from reward.effects.exposure import Rewards
from reward.function import History, RewardFunction
from reward.schema import SchemaError

__all__ = ["ArtifactError", "ArtifactWarning", "History", "RewardFunction", "Rewards", "SchemaError", "load", "ranking"]
