"""The estimators that are compared in Saito et al. (2024), by their formulas and with their networks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from long_term.networks import fitted
from long_term.setting import Population, Rows, Simulation

AB, SURROGATE, IPS, DR, LOPE = "A/B test (skyline)", "surrogate index", "IPS", "DR", "LOPE"


def marginal_weights(people: Population, simulations: Sequence[Simulation], seed: int) -> np.ndarray:
    """(simulations, n) weights of short-term rewards; they do not depend on the noise of the long-term ones."""
    history, old = ([getattr(each, name) for each in simulations] for name in ("history", "old"))
    x, action, short, logging, target = _stacked(history, "context", "action", "short", "logging", "new")
    seen = np.concatenate([x, short], axis=2)
    both = np.concatenate([seen, np.concatenate(_stacked(old, "context", "short"), axis=2)], axis=1)
    taken = np.concatenate([action, *_stacked(old, "action")], axis=1)
    (posterior,) = fitted(both, taken, [seen], classes=len(people.actions), seed=seed)
    return (posterior * target / logging).sum(axis=2)


def published(
    people: Population, simulations: Sequence[Simulation], marginal: np.ndarray, seed: int, *, surrogate: bool
) -> dict[str, np.ndarray]:
    """Each estimator's value of the new policy, (simulations,); the surrogate index only if asked for.

    Args:
        people: the population.
        simulations: of one size.
        marginal: their `marginal_weights`.
        seed: of the networks.
        surrogate: whether to tell the surrogate index.
    """
    history, new = ([getattr(each, name) for each in simulations] for name in ("history", "new"))
    x, action, short, long, logging, target = _stacked(history, "context", "action", "short", "long", "logging", "new")
    (many, rows), number = action.shape, len(people.actions)

    def of_action(matrix: np.ndarray) -> np.ndarray:
        return np.take_along_axis(matrix, action[:, :, None], axis=2)[..., 0]

    features = np.broadcast_to(np.tile(people.actions, (rows, 1)), (many, rows * number, people.actions.shape[1]))
    every = np.concatenate([np.repeat(x, number, axis=1), features], axis=2)
    (told,) = fitted(np.concatenate([x, people.actions[action]], axis=2), long, [every], classes=0, seed=seed)
    told = told.reshape(many, rows, number)
    weight = of_action(target) / of_action(logging)
    rest, expected = long - of_action(told), (told * target).sum(axis=2)
    out = {
        AB: _stacked(new, "long")[0].mean(axis=1),
        IPS: (weight * long).mean(axis=1),
        DR: (weight * rest + expected).mean(axis=1),
        LOPE: (marginal * rest + expected).mean(axis=1),
    }
    if surrogate:
        seen, asked = (np.concatenate(parts, axis=2) for parts in ([x, short], _stacked(new, "context", "short")))
        out[SURROGATE] = fitted(seen, long, [asked], classes=0, seed=seed)[0].mean(axis=1)
    return out


def _stacked(rows: Sequence[Rows], *names: str) -> list[np.ndarray]:
    return [np.stack([getattr(each, name) for each in rows]) for name in names]
