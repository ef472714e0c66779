"""The law of items' days, shifted log-normal, and what a noisy reading of them leaves of it."""

from __future__ import annotations

import numpy as np

from reward.arrays import Doubles

RIDGE = 1e-6  # variance of a day on which nobody is active: of one in a million
_LEAST_DAYS = 0.05  # of the usual: the noise between users does not shrink further
_END = 0.1  # of the way from a skewed law's end to its mean
_NODES = np.linspace(-8.0, 8.0, 129)  # of the integrals over an item's days


def given_a_reading(
    mean: Doubles,
    variance: Doubles,
    noise: Doubles,
    prior_mean: Doubles,
    prior_variance: Doubles,
    *,
    tilt: float,
    usual: Doubles,
    growth: float,
) -> tuple[Doubles, Doubles, Doubles]:
    """Mean, standard deviation and skewness (items,) of the days given their reading, as `ItemPrior.belief` says."""
    prior_std, std = (np.sqrt(np.maximum(each, RIDGE**2))[:, None] for each in (prior_variance, variance))
    known = 1 - (std / prior_std) ** 2
    node, (_, power) = bent(_NODES, tilt * std), _shape(tilt * std)
    days = mean[:, None] + std * node
    ahead = days - prior_mean[:, None]
    swell = np.maximum(days / np.maximum(usual, RIDGE), _LEAST_DAYS) ** growth  # where nobody came there is no noise
    spread = np.maximum(known * std**2 - noise[:, None], 0) + noise[:, None] * swell + (RIDGE * prior_std) ** 2
    off = (mean - prior_mean)[:, None] - known * ahead
    weight = _log_density(ahead / prior_std, tilt * prior_std) + power * _NODES  # and their spacing
    weight -= off**2 / (2 * spread) + np.log(spread) / 2
    weight = np.exp(weight - weight.max(axis=1, keepdims=True))
    weight /= weight.sum(axis=1, keepdims=True)
    centre = (weight * node).sum(axis=1, keepdims=True)
    second, third = ((weight * (node - centre) ** power).sum(axis=1) for power in (2, 3))
    return mean + (std * centre)[:, 0], std[:, 0] * np.sqrt(second), third / second**1.5


def _shape(skew: Doubles | float) -> tuple[Doubles, Doubles]:
    """(y, k) of the law (e^{kξ − k²/2} − 1) / y, ξ normal; its variance is 1 with e^{k²} = 1 + y², its skew y³ + 3y."""
    lean = 2 * np.sinh(np.arcsinh(np.asarray(skew) / 2) / 3)
    lean = np.where(np.abs(lean) < 1e-8, 1e-8, lean)  # the Gaussian
    return lean, np.sign(lean) * np.sqrt(np.log1p(lean**2))


def bent(normal: Doubles, skew: Doubles | float) -> Doubles:
    """Standard normals to a law of mean 0, variance 1 and this skewness."""
    lean, power = _shape(skew)
    return np.expm1(power * normal - power**2 / 2) / lean


def _log_density(bent: Doubles, skew: Doubles | float) -> Doubles:
    """Of `bent`, but for what is the same everywhere; a Gaussian tail takes over near its end."""
    lean, power = _shape(skew)
    inside = np.maximum(lean * bent, _END - 1)
    log = np.log1p(inside) + (lean * bent - inside) / _END
    return -((log / power + power / 2) ** 2) / 2 - log
