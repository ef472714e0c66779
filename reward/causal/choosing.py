"""What opens an effect, which answers are rare, what items are pooled over: proposed from the log, chosen by evidence.

The evidence of a choice is the likelihood of the items' anchors under the hierarchy of `shrinkage`, see
`shrinkage.evidence`: how well the choice foretells each fold's anchors from feedback of the other folds' users.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from reward.arrays import Doubles, Ints
from reward.causal.item_effects.feedback_rates import (
    Column,
    FeedbackRows,
    Flags,
    Rates,
    Traits,
    described,
    describing,
)
from reward.causal.item_effects.front_door import FrontDoor, front_door
from reward.causal.item_effects.ipw import IPWEstimates
from reward.causal.item_effects.link import Link, link
from reward.causal.item_effects.observed import Observed
from reward.causal.item_effects.proposals import Opened, Openings, RareAnswers, Scale
from reward.causal.item_effects.shrinkage import evidence
from reward.causal.settings import AUTO
from reward.moved import OldName
from reward.statistics.sums import fold

_LEAST_NATS = 3.0  # log 20: what a choice must explain more than none, but for what is likely before the log is seen
_CLICK_NATS = -3.0  # of the click, which in most services opens what an item does: it must be contradicted
_PASSES = 2
_WORTH_A_WORD = 0.05  # share


@dataclass(frozen=True)
class Roles:
    """What feedback and features do in the estimation.

    Attributes:
        gate: feedback without which an exposure does nothing; None: every exposure counts.
        rare: feedback where 0 means that nothing was asked.
        group: the category of items that are alike; None: none.
    """

    gate: str | None = None
    rare: tuple[str, ...] = ()
    group: str | None = None


@dataclass(frozen=True)
class Chosen:
    """The roles that were set or chosen, and why.

    Attributes:
        roles: what the estimation uses.
        auto: which of ``gate``, ``rare`` and ``group`` were chosen and not set.
        evidence: of what was compared last, by role and choice, nats more than without.
        unopened: what an exposure that does not open the gate does, as a share of one that does.
        bias_std: standard deviation between items of what is no effect in what comes after the gate opened, days;
            None: that is not read.
    """

    roles: Roles
    auto: tuple[str, ...] = ()
    evidence: dict[str, dict[str, float]] = field(default_factory=dict)
    unopened: float = 0.0
    bias_std: float | None = None

    def sentence(self) -> str:
        """What was chosen and why, in plain words; empty where everything was set."""
        said = []
        if "gate" in self.auto:
            gate = self.roles.gate
            said.append(
                f"an exposure counts where {gate} is above 0{self._others()} ({self._more('gate', gate)})"
                if gate is not None
                else f"every exposure counts ({self._none('gate', 'feedback')})"
            )
        if "rare" in self.auto and (self.roles.rare or self.evidence.get("rare")):
            rare = self.roles.rare
            said.append(
                f"0 in {', '.join(rare)} means that nothing was asked ({self._more('rare', rare[-1])})"
                if rare
                else f"0 is an answer everywhere ({self._none('rare', 'column')})"
            )
        if "group" in self.auto and (self.roles.group or self.evidence.get("group")):
            group = self.roles.group
            said.append(
                f"items of one {group} are alike ({self._more('group', group)})"
                if group is not None
                else f"items are pooled over no category ({self._none('group', 'feature')})"
            )
        return f"Chosen by what the log shows: {'; '.join(said)}." if said else ""

    def _others(self) -> str:
        """What of exposures that do not open the gate."""
        return f", and {self.unopened:.0%} as much elsewhere" if self.unopened >= _WORTH_A_WORD else ""

    def _more(self, role: str, name: Any) -> str:
        nats = self.evidence.get(role, {}).get(name)
        return "as its values say" if nats is None else f"which explains the items' effects by {nats:+.1f} nats"

    def _none(self, role: str, what: str) -> str:
        tried = self.evidence.get(role, {})
        if not tried:
            return f"no {what} could be tried"
        best = max(tried, key=lambda name: tried[name])
        if tried[best] <= 0:
            return f"the best {what}, {best}, explains the items' effects no better than none"
        return f"the best {what}, {best}, explains the items' effects by {tried[best]:+.1f} nats, too little to be sure"


@dataclass(frozen=True)
class Chooser:
    """What choices are judged on.

    Attributes:
        chunks: what users answered.
        table: of items, in the order of their codes.
        features: columns of it that describe items.
        feedback: columns.
        click: the feedback that says that an item was taken up, tried first; None: there is none.
        anchor: of the items.
        observed: exposures of each chunk with what came after them; none: anchors alone are explained.
    """

    chunks: Sequence[FeedbackRows]
    table: pl.DataFrame
    features: Sequence[str]
    feedback: Sequence[str]
    click: str | None
    anchor: IPWEstimates
    observed: Sequence[Observed] = ()
    _links: dict[str, Link] = field(default_factory=dict)
    _fronts: dict[str, FrontDoor] = field(default_factory=dict)
    _alone: dict[Roles, float] = field(default_factory=dict)
    _rates: dict[tuple[str | None, tuple[str, ...]], tuple[Doubles, Doubles, Doubles]] = field(default_factory=dict)

    choose = OldName("select_roles")

    def select_roles(self, gate: str | None, rare: Sequence[str] | str | None, group: str | None) -> Chosen:
        """The roles: each as it is set, or where it is ``auto`` as the evidence says."""
        auto = tuple(
            role
            for role, value in (("rare", rare), ("gate", gate), ("group", group))
            if isinstance(value, str) and value == AUTO
        )
        roles = Roles(
            gate=None if "gate" in auto else gate,
            rare=() if rare is None or isinstance(rare, str) else tuple(rare),
            group=None if "group" in auto else group,
        )
        evidence: dict[str, dict[str, float]] = {}
        known: dict[Roles, float] = {}
        for done in range(_PASSES if auto else 0):
            before = roles
            for role in auto:
                roles, evidence[role] = self._best(role, roles, known)
            if done and roles == before:
                break
        if roles.gate is None or not self.observed:
            return Chosen(roles, auto, evidence)
        found = self._found(roles, None if "gate" in auto else 0.0)
        return Chosen(roles, auto, evidence, found.unopened, found.bias_std)

    def _best(self, role: str, roles: Roles, known: dict[Roles, float]) -> tuple[Roles, dict[str, float]]:
        """The choice for one role, all else as it is, and the evidence of each choice over none."""
        none = replace(roles, **{role: () if role == "rare" else None})  # type: ignore[arg-type]
        options = dict(self.proposals(role, none))
        for each in (none, *options.values()):
            if each not in known:
                known[each] = self.explained(each)
        more = {name: known[each] - known[none] for name, each in options.items()}
        if role == "gate":  # contrasts of a gate are data that without it are not there
            more = {name: found - self.explained_alone(options[name]) for name, found in more.items()}
        beyond = {name: more[name] - self._asked(role, name) for name in options}
        enough = [name for name in options if beyond[name] > 0]
        if role == "rare":  # each for itself: one does not stand in another's way
            return replace(none, rare=tuple(enough)), more
        return options[max(enough, key=lambda name: beyond[name])] if enough else none, more

    def _asked(self, role: str, name: str) -> float:
        """Nats that a choice must explain more than none: of the click, and of a scale of answers, little is asked."""
        if role == "gate":
            return _CLICK_NATS if name == self.click else _LEAST_NATS
        if role == "rare":
            return -_LEAST_NATS if fold(Scale(name), self.chunks) else _LEAST_NATS
        return _LEAST_NATS

    def proposals(self, role: str, roles: Roles) -> Iterator[tuple[str, Roles]]:
        """What the log allows for a role, by name."""
        if role == "gate":
            first = [] if self.click is None else [self.click]
            yield from ((name, replace(roles, gate=name)) for name in self._opened.gates(first))
        elif role == "rare":
            among = [name for name in self.feedback if name != roles.gate]
            yield from (
                (name, replace(roles, rare=(name,))) for name in fold(RareAnswers(among, roles.gate), self.chunks)
            )
        else:
            yield from ((name, replace(roles, group=name)) for name in self.features if self._groups(name))

    @cached_property
    def _opened(self) -> Opened:
        return fold(Openings(self.feedback), self.chunks)

    @cached_property
    def flags(self) -> frozenset[str]:
        """Feedback that is only ever 0 or 1."""
        return fold(Flags(self.feedback), self.chunks)

    def _groups(self, name: str) -> bool:
        column = self.table[name]
        if column.dtype != pl.String:
            return False
        levels = column.drop_nulls().n_unique()
        return 2 <= levels <= column.drop_nulls().len() / 2

    def explained(self, roles: Roles) -> float:
        """The `evidence` of roles, nats up to a constant; of a gate with its contrasts."""
        groups = groups_of(self.table, roles.group)
        if roles.gate is None or not self.observed:
            return evidence(self.anchor, self.item_traits(roles)[0], groups)
        if roles.gate not in self._links:
            self._links[roles.gate] = self._found(roles, None)
            return self._links[roles.gate].evidence
        unopened, bias_std, _ = self._links[roles.gate]
        front = replace(self.front(roles.gate), bias_std=bias_std)
        return evidence(self.anchor, self.item_traits(roles, unopened)[0], groups, front)

    def _found(self, roles: Roles, unopened: float | None) -> Link:
        """The link of a gate and its contrasts."""
        assert roles.gate is not None
        traits, groups = self.item_traits(roles)[0], groups_of(self.table, roles.group)
        return link(self.anchor, traits, groups, self.front(roles.gate), unopened=unopened)

    def explained_alone(self, roles: Roles) -> float:
        """How well contrasts are explained that no anchor hangs together with; 0 where none are read."""
        if roles.gate is None or not self.observed:
            return 0.0
        if roles not in self._alone:
            traits, groups = self.item_traits(roles)[0], groups_of(self.table, roles.group)
            self._alone[roles] = evidence(None, traits, groups, self.front(roles.gate))
        return self._alone[roles]

    def front(self, gate: str) -> FrontDoor:
        """What came after the gate opened."""
        if gate not in self._fronts:
            opened = [each.above(gate) for each in self.chunks]
            self._fronts[gate] = front_door(self.observed, opened, len(self.table))
        return self._fronts[gate]

    def item_traits(self, roles: Roles, unopened: float = 0.0) -> tuple[Traits, tuple[Column, ...]]:
        """Traits of the items under roles, and the columns that describe them.

        Behind a gate they are the mean answers behind it, and those of all exposures.
        """
        columns = describing(self.table, self.features, roles.group)
        return Traits(described(self.table, columns), *self._answers(roles.gate, roles.rare), unopened), columns

    def _answers(self, gate: str | None, rare: tuple[str, ...]) -> tuple[Doubles, Doubles, Doubles]:
        """Mean feedback, shares of exposures that open the gate, and doubts, see `Rates`; read once for each gate."""
        if (gate, rare) in self._rates:
            return self._rates[gate, rare]
        size, folds = len(self.table), len(self.anchor.value)
        rates = Rates(items=size, folds=folds, feedback=self.feedback, flags=self.flags, gate=gate, rare=rare)
        answered, share, doubt = fold(rates, self.chunks)
        if gate is not None:
            everywhere = replace(rates, feedback=[it for it in self.feedback if it not in rare], gate=None)
            more, _, more_doubt = fold(everywhere, self.chunks)
            answered, doubt = np.concatenate([answered, more], axis=2), np.concatenate([doubt, more_doubt], axis=1)
        self._rates[gate, rare] = answered, share, doubt
        return self._rates[gate, rare]


def groups_of(table: pl.DataFrame, group: str | None) -> Ints:
    """(items,) group of each item from 0; one of its own for an item without."""
    if group is None:
        return np.arange(len(table))
    code = table[group].cast(pl.String).rank("dense").cast(pl.Int64).to_frame("code") - 1
    alone = pl.col("code").is_null()
    own = alone.cum_sum() + pl.col("code").max().fill_null(-1)
    return code.select(pl.when(alone).then(own).otherwise("code")).to_series().to_numpy().astype(np.int64)
