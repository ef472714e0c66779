"""The estimators that are compared in Saito et al. (2024), by their formulas and with their networks."""

from __future__ import annotations

import numpy as np

from long_term.networks import fitted
from long_term.setting import Population, Simulation

AB, SURROGATE, IPS, DR, LOPE = "A/B test (skyline)", "surrogate index", "IPS", "DR", "LOPE"


def published(
    people: Population, simulations: list[Simulation], seed: int, *, surrogate: bool
) -> dict[str, np.ndarray]:
    """Each estimator's value of the new policy, (simulations,); the surrogate index only if asked for."""
    history, old, new = ([getattr(each, name) for each in simulations] for name in ("history", "old", "new"))
    x, action, short, long = _stacked(history, "context", "action", "short", "long")
    logging, target = _stacked(history, "logging", "new")
    many, rows = action.shape
    number = len(people.actions)
    seen = np.concatenate([x, short], axis=2)

    every = np.concatenate(
        [np.repeat(x, number, axis=1), np.broadcast_to(np.tile(people.actions, (rows, 1)), (many, rows * number, 5))], 2
    )
    (told,) = fitted(np.concatenate([x, people.actions[action]], axis=2), long, [every], classes=0, seed=seed)
    told = told.reshape(many, rows, number)

    both = np.concatenate([seen, np.concatenate(_stacked(old, "context", "short"), axis=2)], axis=1)
    taken = np.concatenate([action, _stacked(old, "action")[0]], axis=1)
    (posterior,) = fitted(both, taken, [seen], classes=number, seed=seed)

    def of_action(matrix: np.ndarray) -> np.ndarray:
        return np.take_along_axis(matrix, action[:, :, None], axis=2)[..., 0]

    weight = of_action(target) / of_action(logging)
    marginal = (posterior * target / logging).sum(axis=2)
    rest, expected = long - of_action(told), (told * target).sum(axis=2)
    told_of_new = {}
    if surrogate:
        asked = np.concatenate(_stacked(new, "context", "short"), axis=2)
        told_of_new[SURROGATE] = fitted(seen, long, [asked], classes=0, seed=seed)[0].mean(axis=1)
    return told_of_new | {
        AB: _stacked(new, "long")[0].mean(axis=1),
        IPS: (weight * long).mean(axis=1),
        DR: (weight * rest + expected).mean(axis=1),
        LOPE: (marginal * rest + expected).mean(axis=1),
    }


def _stacked(rows: list, *names: str) -> list[np.ndarray]:
    return [np.stack([getattr(each, name) for each in rows]) for name in names]
