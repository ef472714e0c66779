"""What partial traces say of items, and what is believed of them then."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from reward.arrays import Doubles
from reward.progressive.skewed import bent


@dataclass(frozen=True)
class Evidence:
    """What partial traces say of each item, in numbers that add up: over users, and over days as differences.

    A day later a user's trace says more. What it says then replaces what it said before:
    ``evidence − prior.evidence(item, trace, observed, …) + prior.evidence(item, new_trace, new_observed, …)``.

    Attributes:
        users: (items, H+1) users by days observed.
        score: (items, K) gradient of the log-likelihood at the population's mean.
    """

    users: Doubles
    score: Doubles

    def __add__(self, other: Evidence) -> Evidence:
        return Evidence(self.users + other.users, self.score + other.score)

    def __sub__(self, other: Evidence) -> Evidence:
        return Evidence(self.users - other.users, self.score - other.score)


@dataclass(frozen=True)
class Belief:
    """Belief about items: a user's expected active days over the horizon, days 1..H, are shifted log-normal.

    Attributes:
        mean, std, skew: (items,) of the days; a skewness of 0 is the Gaussian.
        trace: (items, H) mean of the expected trace: P(active on day t).
    """

    mean: Doubles
    std: Doubles
    skew: Doubles
    trace: Doubles

    @property
    def median(self) -> Doubles:
        """(items,) days: the guess of least expected absolute error."""
        return self.quantile(0.5)

    def quantile(self, level: float) -> Doubles:
        """(items,) days that the item's are below with probability ``level``.

        Raises:
            ValueError: ``level`` is not between 0 and 1.
        """
        if not 0 < level < 1:
            raise ValueError(f"expected a level between 0 and 1, got {level:g}")
        return self.mean + self.std * bent(np.full(len(self.mean), NormalDist().inv_cdf(level)), self.skew)

    def sample(self, draws: int, rng: np.random.Generator) -> Doubles:
        """(draws, items) days, independent draws around each item's belief: the largest of a row is Thompson's choice.

        They are Gaussian, of its mean and standard deviation: the upper tail of a skewed law would explore too much
        (docs/concepts/progressive.md).
        """
        return self.mean + self.std * rng.standard_normal((draws, len(self.mean)))
