"""Ranking losses on rewards: ``loss(scores, rewards, *, mask=None, ...)``, one number per list."""

from reward.ranking.losses import pairwise_logistic, pointwise_logistic, softmax

__all__ = ["pairwise_logistic", "pointwise_logistic", "softmax"]
