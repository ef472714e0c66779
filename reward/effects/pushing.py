"""How far a ranker may be pushed on the learned effects: what they promise of it, and what users held out keep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from reward.effects.anchors import Anchors
from reward.effects.residuals import Doubles

DIVERGENCES = (0.01, 0.03, 0.1, 0.2, 0.4, 0.7, 1.0, 1.5, 2.0, 3.0, 4.0)  # nats from what the log showed
PESSIMISM = (0.0, 1.0)  # standard deviations taken off a reward
_BISECTIONS = 60
_NORMAL = 1.959964  # standard deviations to either side that hold 95%


@dataclass(frozen=True)
class Push:
    """Policies that lean on a reward, from hardly to wholly, against what the log showed.

    Attributes:
        divergence: (S,) KL(policy ‖ shown) of each, in nats.
        promised: (S,) what the reward says an exposure gains, in days.
        kept: (S,) what exposures of users gained whom the reward had not seen.
        kept_se: (S,) its standard error.
    """

    divergence: Doubles
    promised: Doubles
    kept: Doubles
    kept_se: Doubles

    @property
    def low(self) -> Doubles:
        """(S,) lower end of the 95% interval of what is kept."""
        return self.kept - _NORMAL * self.kept_se

    @property
    def high(self) -> Doubles:
        """(S,) upper end."""
        return self.kept + _NORMAL * self.kept_se

    @property
    def surest(self) -> int | None:
        """The place of the policy whose gain is kept most surely, by its lower 95% bound; None: none is above 0."""
        return int(self.low.argmax()) if len(self.low) and self.low.max() > 0 else None

    def values(self) -> dict[str, Any]:
        """Plain values: ``limit`` in nats, 0 where no gain is sure, the columns, and ``low`` and ``high``."""
        surest = self.surest
        columns = {**vars(self), "low": self.low, "high": self.high}
        return {
            "limit": 0.0 if surest is None else float(self.divergence[surest]),
            **{name: [float(value) for value in column] for name, column in columns.items()},
        }


def pushes(shown: Doubles, mean: Doubles, std: Doubles, anchor: Anchors) -> Mapping[float, Push]:
    """What is promised and kept as a policy leans on rewards of users other than those who are asked.

    The policy of strength β shows an item of reward r in proportion to shown · exp(β r), which is the best there is at
    its distance from the log. For each fold β is such that KL(policy ‖ shown) is that of `DIVERGENCES`; the policy then
    is judged by the fold's own anchors, Σ (policy − shown) · anchor, which are unbiased where the propensities are.

    Args:
        shown: (items,) exposures. Items that some fold was not shown take no part.
        mean: (folds, items) effects, each fold's made without its users.
        std: (folds, items) their standard deviations.
        anchor: by fold and item.

    Returns:
        By pessimism κ, the pushes on mean − κ · std; the same divergences for all, those that every fold can reach.

    Source:
        Gao, Schulman & Hilton, "Scaling laws for reward model overoptimization" (ICML 2023): gold and proxy reward
        against the divergence; Coste et al., "Reward model ensembles help mitigate overoptimization" (ICLR 2024).
    """
    there = (shown > 0) & np.isfinite(anchor.variance).all(axis=0)
    share = shown[there] / max(shown[there].sum(), 1)
    known = Anchors(anchor.value[:, there], anchor.variance[:, there])
    return {kappa: _push(share, (mean - kappa * std)[:, there], mean[:, there], known) for kappa in PESSIMISM}


def _push(share: Doubles, reward: Doubles, mean: Doubles, anchor: Anchors) -> Push:
    most = [_divergence(_leaning(share, one[None], np.array([np.inf]))[0], share) for one in reward]
    within = np.array([each for each in DIVERGENCES if each < min(most, default=0.0)])
    lean = np.stack([leaning_at(share, one, within) for one in reward]) - share if len(within) else np.zeros((0, 0, 0))
    if not lean.size:
        return Push(*np.zeros((4, 0)))
    promised = np.einsum("fsi,fi->s", lean, mean) / len(reward)
    kept = np.einsum("fsi,fi->s", lean, anchor.value) / len(reward)
    noise = np.einsum("fsi,fi->s", lean**2, anchor.variance) / len(reward) ** 2
    # each fold judges what the others made and is in what judges them: as in `held_out`
    return Push(within, promised, kept, np.sqrt(2 * noise))


def strength_at(share: Doubles, reward: Doubles, divergences: Doubles) -> Doubles:
    """Strengths β at which KL(policy ‖ share) of the policy in proportion to share · exp(β · reward) is as given.

    Args:
        share: (items,) above 0, of sum 1.
        reward: (items,).
        divergences: (S,) nats; for more than that of the best item alone a strength that leaves it alone.

    Returns:
        (S,), by bisection in logarithms.

    >>> strength_at(np.array([0.5, 0.5]), np.array([0.0, 3.0]), np.array([0.1927])).round(2)  # ln 4 / 3
    array([0.46])

    """
    scale = max(float(reward.std()), 1e-12)
    low, high = np.full(len(divergences), 1e-6 / scale), np.full(len(divergences), 1e6 / scale)
    for _ in range(_BISECTIONS):
        middle = np.sqrt(low * high)
        short = _divergence(_leaning(share, reward[None], middle), share) < divergences
        low, high = np.where(short, middle, low), np.where(short, high, middle)
    return np.asarray(np.sqrt(low * high))


def leaning_at(share: Doubles, reward: Doubles, divergences: Doubles) -> Doubles:
    """(S, items) policies in proportion to share · exp(β · reward), β of `strength_at`."""
    return _leaning(share, reward[None], strength_at(share, reward, divergences))


def _leaning(share: Doubles, reward: Doubles, strength: Doubles) -> Doubles:
    """(S, items) share · exp(strength · reward), normalised; of infinite strength the best alone."""
    off = reward - reward.max(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        raised = np.where(off < 0, strength[:, None] * off, 0.0)
    policy = share * np.exp(raised)
    return np.asarray(policy / policy.sum(axis=1, keepdims=True))


def _divergence(policy: Doubles, share: Doubles) -> Doubles:
    """KL(policy ‖ share) along the last axis, nats."""
    ratio = np.divide(policy, share, out=np.ones_like(policy), where=policy > 0)
    return np.asarray((policy * np.log(ratio)).sum(axis=-1))
