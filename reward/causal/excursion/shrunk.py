"""Excursion effects of items, drawn to what their features and groups foretell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reward.arrays import Doubles
from reward.causal.choosing import groups_of
from reward.causal.exposures import Exposures
from reward.causal.item_effects.feedback_rates import Traits, described, describing
from reward.causal.item_effects.ipw import IPWEstimates
from reward.causal.item_effects.newcomers import Newcomers, newcomers_of
from reward.causal.item_effects.shrinkage import effects_by_fold, left_out, pooled_effects


@dataclass(frozen=True)
class Shrunk:
    """Effects of items, drawn to what their features and groups foretell.

    Attributes:
        mean: (folds + 1, items) days more than an average exposure, each fold's without its users, last that of all.
        std: (folds + 1, items) their standard deviations.
        newcomers: what is expected of items that the log does not hold.
    """

    mean: Doubles
    std: Doubles
    newcomers: Newcomers


def shrunk_effects(shown: Exposures, anchor: IPWEstimates, group: str | None) -> Shrunk:
    """Effects of items by a Gaussian hierarchy over their features and groups, see `pooled_effects`."""
    items, folds = len(shown.table), shown.folds
    columns = describing(shown.table, shown.features, group)
    traits = Traits(
        described(shown.table, columns),
        np.zeros((folds + 1, items, 0)),
        np.ones((folds + 1, items)),
        np.zeros((items, 0)),
    )
    groups = groups_of(shown.table, group)
    pooled = pooled_effects(anchor, traits, groups)
    mean, std = (
        np.concatenate([apart, whole[None]])
        for apart, whole in zip(
            effects_by_fold(left_out(anchor, traits, groups), traits, groups),
            pooled.posterior_effects(traits, groups),
            strict=True,
        )
    )
    centre = mean @ shown.count / shown.count.sum()
    others = newcomers_of(shown.table, columns, group, groups, pooled)
    others.coefficients[0] += pooled.coefficients[0] - centre[-1]
    return Shrunk(mean - centre[:, None], std, others)
