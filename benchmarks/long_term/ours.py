"""The estimators of the library on the same simulations: DR and LOPE with ridges, and the automatic choice."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from long_term.setting import Population, Simulation
from reward.off_policy.doubly_robust import clipped_doubly_robust, doubly_robust
from reward.off_policy.feedback import LoggedFeedback
from reward.off_policy.lope import action_posterior, long_term, marginal_weight
from reward.off_policy.reward_model import action_regression, folds
from reward.off_policy.selection import select_estimator

OURS = OUR_DR, OUR_LOPE, TEMPERED_LOPE, CHOSEN = "DR, ours", "LOPE, ours", "LOPE, ours, tempered", "chosen"
FOLDS = 5
STRENGTH = 0.03  # of the reward model, over that of empirical Bayes
WIDENED, MOST_MARGINAL = 4.0, 2.0  # of the tempered LOPE: the noise of short-term rewards, and the largest weight
MOST = (1.0, 2.0, 3.0, 5.0, 8.0)  # weights at which doubly robust candidates are clipped
LEAST_EFFECTIVE_ROWS = 10


def ours(people: Population, simulations: Sequence[Simulation], seeds: Sequence[int]) -> dict[str, np.ndarray]:
    """Each estimator's value of the new policy, (simulations,), from the log alone."""
    each = [_ours(people, simulation, seed) for simulation, seed in zip(simulations, seeds, strict=True)]
    return {name: np.array([values[name] for values in each]) for name in OURS}


def _ours(people: Population, simulation: Simulation, seed: int) -> dict[str, float]:
    log = simulation.history
    at, fold = (np.arange(len(log.action)), log.action), folds(len(log.action), FOLDS, seed)
    told = action_regression(log.context, people.actions, log.action, log.long, fold, strength=STRENGTH)
    seen = log.context, people.actions, log.action, log.short, log.logging, fold
    rows = LoggedFeedback(
        reward=log.long, propensity=log.logging[at], min_effective_sample_size=LEAST_EFFECTIVE_ROWS, most_off=np.inf
    )
    weight, near = (marginal_weight(log.new, log.logging, action_posterior(*seen, widened=by)) for by in (1, WIDENED))
    target, model = log.new[at], (told[at], (log.new * told).sum(axis=1))
    candidates = {
        OUR_DR: lambda: doubly_robust(rows, target, *model),
        OUR_LOPE: lambda: long_term(rows, weight, *model),
        **{f"at {most:g}": lambda most=most: clipped_doubly_robust(rows, target, *model, most=most) for most in MOST},
    }
    chosen = select_estimator(candidates, reference=OUR_DR)
    return {
        OUR_DR: candidates[OUR_DR]().value,
        OUR_LOPE: candidates[OUR_LOPE]().value,
        TEMPERED_LOPE: long_term(rows, near, *model, most=MOST_MARGINAL).value,
        CHOSEN: chosen.estimate.value,
    }
