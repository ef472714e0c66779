"""The published beliefs, written anew from their formulas (McDonald et al., KDD 2023, section 4), all shows at once.

Each takes of the traces what it reads and returns the mean and standard deviation of each show's active days (of the
first day's activity for the day-two proxy).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from impatient.shows import H, active_on


@dataclass(frozen=True)
class Moments:
    """What training shows say: the mean trace, its covariance between shows, and that between a show's users."""

    mean: np.ndarray
    between: np.ndarray
    within: np.ndarray

    @classmethod
    def of(cls, words: np.ndarray) -> Moments:
        means, within = np.zeros((len(words), H)), np.zeros((H, H))
        for show, mine in enumerate(words):
            active = active_on(mine).astype(np.float64)
            means[show] = active.mean(axis=0)
            within += np.cov(active.T) / len(words)
        return cls(means.mean(axis=0), np.cov(means.T), within)

    def explained(self, days: int) -> float:
        """Share of the variance between shows of the active days that the sum over the first days explains."""
        seen, ahead = self.between[:days, :days].sum(), self.between[days:, days:].sum()
        return float(1 - (ahead - self.between[days:, :days].sum() ** 2 / seen) / self.between.sum())


def progressive(moments: Moments, active: np.ndarray, users: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The progressive filter.

    Args:
        moments: the prior and the noise.
        active: (shows, H) how many users were active on each day.
        users: (shows, H) how many were observed that day, non-increasing.
    """
    seen = users > 0
    more = np.maximum(users[:, :, None], users[:, None, :])
    noise = np.where(more > 0, moments.within / np.maximum(more, 1), 0)
    both = seen[:, :, None] & seen[:, None, :]
    covariance = np.where(both, moments.between + noise, np.eye(H))
    sums = moments.between.sum(axis=1)
    told = np.where(seen, active / np.maximum(users, 1) - moments.mean, 0)
    lift = np.linalg.solve(covariance, np.stack([told, np.where(seen, sums, 0)], axis=-1))
    lift *= seen[:, :, None]
    mean = moments.mean.sum() + lift[..., 0] @ sums
    return mean, np.sqrt(np.maximum(moments.between.sum() - lift[..., 1] @ sums, 0))


def univariate(mean: float, between: float, within: float, total: np.ndarray, users: np.ndarray):
    """Belief about a number that each user is one noisy reading of: totals and counts (shows,)."""
    variance = 1 / (1 / between + users / within)
    return variance * (mean / between + total / within), np.sqrt(variance)
