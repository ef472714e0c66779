"""How what came after a click hangs together with the effect of being shown: found by the evidence of both."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from reward.arrays import Doubles, Ints
from reward.causal.item_effects.feedback_rates import Traits
from reward.causal.item_effects.front_door import FrontDoor
from reward.causal.item_effects.hierarchy import (
    START_DAYS,
    HierarchySums,
    bounded,
    known_spreads,
    least,
    slope_of,
    solve,
)
from reward.causal.item_effects.ipw import IPWEstimates
from reward.causal.item_effects.shrinkage import FoldSums, FrontMeans, anchor_sums, evidence_at, facts_of

_START_UNOPENED, _START_BIAS_DAYS = 0.2, 0.05
_BIAS_DAYS = (1e-3, 10.0)
_LOGIT = 6.0  # of a share that is hardly different from 0 or 1
_STEP = 1e-4  # of a derivative by a difference


class Link(NamedTuple):
    """How contrasts of the gate and effects of exposures hang together.

    A search finds it, and ends a little elsewhere where sums were rounded otherwise: it is told in two digits.

    Attributes:
        unopened: what an exposure that does not open the gate does, as a share of one that does.
        bias_std: standard deviation between items of what is no effect in the contrasts, days, see `FrontDoor`.
        evidence: of anchors and contrasts together, see `shrinkage.evidence`.
    """

    unopened: float
    bias_std: float
    evidence: float


def link(
    anchors: IPWEstimates, traits: Traits, groups: Ints, front: FrontDoor, *, unopened: float | None = None
) -> Link:
    """The link of largest evidence, found together with the spreads of the hierarchy.

    Args:
        anchors: (folds, items).
        traits: of the same items.
        groups: see `pooled_effects`.
        front: what came after the gate opened; its ``bias_std`` is not read.
        unopened: sets this part of the link; None: it is found.
    """
    whole = _Linked.of(anchors, traits, groups, front)
    known = known_spreads(whole.facts(0.5, 0.0))

    def facts(at: Doubles) -> HierarchySums:
        return whole.facts(*read(at))

    def read(at: Doubles) -> tuple[float, float]:
        share = float(1 / (1 + np.exp(-np.clip(at[5], -_LOGIT, _LOGIT)))) if unopened is None else unopened
        return share, float(np.exp(np.clip(at[4], *np.log(_BIAS_DAYS))))

    def lost(at: Doubles) -> tuple[float, Doubles]:
        inside = bounded(at[:4])
        here = facts(at)
        made = solve(here, inside, penalty=0.0)
        slope = np.zeros(6)
        slope[:4] = np.where((inside == at[:4]) & known, slope_of(here, made, inside), 0)
        for place in (4, 5) if unopened is None else (4,):
            moved = at.copy()
            moved[place] += _STEP
            slope[place] = (solve(facts(moved), inside, penalty=0.0).loss - made.loss) / _STEP
        return made.loss, slope

    start = np.log([START_DAYS] * 4 + [_START_BIAS_DAYS, _START_UNOPENED / (1 - _START_UNOPENED)])
    found = least(lost, start)
    share, bias_std = read(found)
    return Link(round(share, 2), float(f"{bias_std:.2g}"), evidence_at(facts(found), bounded(found[:4])))


class _Linked(NamedTuple):
    """The sums for any link: what anchors add is a polynomial of second degree in the share of unopened exposures."""

    items: Doubles  # (3, items, 2 + columns) of anchors, at shares of 0, 1/2 and 1
    gram: Doubles  # (3, 1 + columns, 1 + columns) the same
    contrasts: FrontMeans
    traits: Traits
    groups: Ints

    @classmethod
    def of(cls, anchors: IPWEstimates, traits: Traits, groups: Ints, front: FrontDoor) -> _Linked:
        at = [anchor_sums(anchors, replace(traits, unopened=share), 1) for share in (0.0, 0.5, 1.0)]
        items, gram = (np.stack(each) for each in zip(*at, strict=True))
        return cls(items, gram, FrontMeans.of(front, traits), traits, groups)

    def facts(self, unopened: float, bias_std: float) -> HierarchySums:
        a = unopened
        share = ((2 * a - 1) * (a - 1), 4 * a * (1 - a), a * (2 * a - 1))  # Lagrange's polynomials
        of_anchors = FoldSums(np.tensordot(share, self.items, 1), np.tensordot(share, self.gram, 1))
        more, constant = self.contrasts.sums(unopened, bias_std)
        return facts_of([of_anchors, more], self.traits, self.groups, front=True, constant=constant)
