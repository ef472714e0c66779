"""How far a ranker may be pushed on what was learned: what it promises, and what users held out keep.

On the effects of items by their anchors (`policy_shifts`); on rewards, which differ from user to user, by what was
shown in slots and what could have been (`slot_policy_shifts`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from reward.arrays import Doubles, Ints
from reward.causal.item_effects.ipw import Anchors

DIVERGENCES = (0.01, 0.03, 0.1, 0.2, 0.4, 0.7, 1.0, 1.5, 2.0, 3.0, 4.0)  # nats from what the log showed
PESSIMISM = (0.0, 1.0)  # standard deviations taken off a reward
_BISECTIONS = 60
_SLOT_BISECTIONS = 25  # of a range of eight decades
_STRENGTH_SLOTS = 4000  # that tell how strong a policy is at a distance
_NORMAL = 1.959964  # standard deviations to either side that hold 95%


@dataclass(frozen=True)
class PolicyShift:
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

    @property
    def limit(self) -> float:
        """How far to lean, in nats: the divergence of the surest policy; 0 where no gain is sure."""
        return 0.0 if self.surest is None else float(self.divergence[self.surest])


def policy_shifts(shown: Doubles, mean: Doubles, std: Doubles, anchor: Anchors) -> Mapping[float, PolicyShift]:
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


def _push(share: Doubles, reward: Doubles, mean: Doubles, anchor: Anchors) -> PolicyShift:
    most = [_divergence(_leaning(share, one[None], np.array([np.inf]))[0], share) for one in reward]
    within = np.array([each for each in DIVERGENCES if each < min(most, default=0.0)])
    lean = np.stack([leaning_at(share, one, within) for one in reward]) - share if len(within) else np.zeros((0, 0, 0))
    if not lean.size:
        return PolicyShift(*np.zeros((4, 0)))
    promised = np.einsum("fsi,fi->s", lean, mean) / len(reward)
    kept = np.einsum("fsi,fi->s", lean, anchor.value) / len(reward)
    noise = np.einsum("fsi,fi->s", lean**2, anchor.variance) / len(reward) ** 2
    # each fold judges what the others made and is in what judges them: as in `calibration_slope`
    return PolicyShift(within, promised, kept, np.sqrt(2 * noise))


@dataclass(frozen=True)
class Slots:
    """Slots of a log, filled as if by chance, and rewards made without the users concerned.

    Attributes:
        mean: (n,) rewards of what was shown, in days.
        std: (n,) their standard deviations.
        others_mean: (slates, K) rewards of items drawn from what was shown that day, of the slates' users.
        others_std: (slates, K) their standard deviations.
        slate: (n,) of each slot, from 0.
        user: (n,) from 0.
        weight: (n,) under which what is shown is drawn as the others are: share of the day's exposures over the
            propensity, times the precision of ``value``.
        value: (n,) days gained.
    """

    mean: Doubles
    std: Doubles
    others_mean: Doubles
    others_std: Doubles
    slate: Ints
    user: Ints
    weight: Doubles
    value: Doubles

    def take(self, rows: Ints) -> Slots:
        """Some of the slots."""
        slates, slate = np.unique(self.slate[rows], return_inverse=True)
        return Slots(
            mean=self.mean[rows],
            std=self.std[rows],
            others_mean=self.others_mean[slates],
            others_std=self.others_std[slates],
            slate=slate,
            user=self.user[rows],
            weight=self.weight[rows],
            value=self.value[rows],
        )


def slot_policy_shifts(slots: Slots) -> Mapping[float, PolicyShift]:
    """What is promised and kept as a policy leans on rewards that differ from user to user.

    The policy of strength β is told, for a slot, K + 1 items in the shares in which they are shown that day, and picks
    one of reward r in proportion to exp(β r): π(x | slot) / share(x) = w, (K + 1) times the pick's probability. The
    item that was shown and the K drawn beside it are such a set, where slots are weighted as if filled by chance, and
    in any such set w − 1 of the one shown has mean 0 whatever K is. So Σ v (w − 1) y / Σ v, v the weights and y what
    was gained after the slot, is unbiased for what that policy gains; it is clustered by user. Its divergence is that
    of the pick from a pick by chance, Σ_j p_j log((K + 1) p_j), which is at most log(K + 1) and for large K that of
    π(· | slot) from the day's shares.

    Returns:
        By pessimism κ, the pushes on mean − κ · std, at those of `DIVERGENCES` that can be reached.

    Source:
        Gao et al. and Coste et al. as in `policy_shifts`.
    """
    return {kappa: _slot_push(slots, kappa) for kappa in PESSIMISM}


def _slot_push(slots: Slots, kappa: float) -> PolicyShift:
    n = len(slots.slate)
    some = slots.take(np.random.default_rng(0).choice(n, min(n, _STRENGTH_SLOTS), replace=False))
    rewards = some.others_mean - kappa * some.others_std
    spread = max(float(rewards.std()), 1e-300)
    differ = spread > 1e-9 * float(np.abs(rewards).max()) and slots.weight.sum() > 0
    most = _picks(some, kappa, 1e4 / spread)[0] if differ else 0.0
    within = np.array([each for each in DIVERGENCES if each < most])
    low, high = np.full(len(within), 1e-4 / spread), np.full(len(within), 1e4 / spread)
    for _ in range(_SLOT_BISECTIONS):
        middle = np.sqrt(low * high)
        short = np.array([_picks(some, kappa, beta)[0] for beta in middle]) < within
        low, high = np.where(short, middle, low), np.where(short, high, middle)
    columns = np.zeros((3, len(within)))
    for at, beta in enumerate(np.sqrt(low * high)):
        _, promised, ratio = _picks(slots, kappa, beta)
        pull = slots.weight * (ratio - 1) * slots.value
        by_user = np.bincount(slots.user, pull)
        # users of each fold judge what the others made, and are in what judges them: as in `calibration_slope`
        columns[:, at] = promised, pull.sum(), np.sqrt(2 * (by_user**2).sum())
    columns[1:] /= max(slots.weight.sum(), 1e-300)
    return PolicyShift(within, *columns)


def _picks(slots: Slots, kappa: float, beta: float) -> tuple[float, float, Doubles]:
    """Of picks of strength ``beta`` the divergence, what the reward promises of them, and (n,) w of what was shown."""
    slate, known = slots.slate, slots.others_mean.shape[1] + 1
    others, own = beta * (slots.others_mean - kappa * slots.others_std), beta * (slots.mean - kappa * slots.std)
    best = others.max(axis=1)
    raised = np.exp(others - best[:, None])
    mass, score, gain = (
        it[slate] for it in (raised.sum(1), (raised * others).sum(1), (raised * slots.others_mean).sum(1))
    )
    top = np.maximum(best[slate], own)
    rest, mine = np.exp(best[slate] - top), np.exp(own - top)
    total = rest * mass + mine
    surprise = np.log(known) + (rest * score + mine * own) / total - np.log(total) - top
    chance = (slots.others_mean.sum(axis=1)[slate] + slots.mean) / known
    promised = (rest * gain + mine * slots.mean) / total - chance
    divergence, promise = (float(slots.weight @ it / slots.weight.sum()) for it in (surprise, promised))
    return divergence, promise, known * mine / total


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
