"""The forecaster: what will happen, as the network and its heads tell it of a log's rows and of candidates."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, NamedTuple, cast

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from reward.data.split import EPOCH
from reward.features.events import Features, ItemTable
from reward.heads import Head
from reward.outcomes.protocol import ABSENT, AbsentOutcome, Outcome
from reward.rewards import Rewards
from reward.scoring.candidates import Catalogue, Score
from reward.scoring.history import History
from reward.sequences.network import RewardNetwork, codes_of
from reward.sequences.stream import Items, Stream, Windows

_HEADS = "heads."


class Fillings(NamedTuple):
    """What slots may be filled with: (..., D) and (..., codes), see `codes_of`."""

    vector: Tensor
    codes: Tensor

    def at(self, place: Tensor) -> Fillings:
        """(..., ·) of places (...)."""
        return Fillings(self.vector[place], self.codes[place])


@dataclass(frozen=True)
class Forecaster:
    """A network with what it takes to ask it of logs and of items.

    Attributes:
        network: trained and calibrated.
        features: how a log's columns become the network's inputs.
        tasks: what is predicted, by the names of the tasks.
        max_events: longest history a slot reads.
        catalogue: the items that training knew.
    """

    network: RewardNetwork
    features: Features
    tasks: Mapping[str, Outcome]
    max_events: int
    catalogue: Catalogue

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.network.parameters()).device

    @property
    def reward(self) -> str:
        """The task that rewards are measured in."""
        return self.network.reward

    def head(self, name: str) -> Head:
        """That of a task."""
        return cast(Head, self.network.heads[name])

    def latest_state(self, name: str) -> str:
        """The state in which most is known that a task may be asked in."""
        states = self.tasks[name].states
        return "after" if "after" in states else ABSENT if ABSENT in states else "exposed"

    def refuse_unknown(self, names: Iterable[str]) -> None:
        """See that there are tasks of these names.

        Raises:
            ValueError: there is not.
        """
        unknown = [name for name in names if name not in self.tasks]
        if unknown:
            raise ValueError(
                f"tasks expected names of the tasks of this function, {', '.join(self.tasks)}, got "
                f"{', '.join(unknown)}: name some of these, or train with task=[{','.join([*self.tasks, *unknown])}]"
            )

    def windows(
        self,
        clean: pl.DataFrame,
        slots: pl.DataFrame | None,
        items_table: pl.DataFrame | None,
        history_start: date | None,
    ) -> Windows:
        """The stream of a log in pieces; ``slots`` are asked about, None: its own."""
        first_day = None if history_start is None else (history_start - EPOCH).days
        stream = Stream.build(clean.lazy(), self.features, first_day=first_day, at=slots, items_table=items_table)
        return Windows.cut(stream, self.max_events)

    def questions(self, items: ItemTable, names: Iterable[str]) -> dict[str, Items]:
        """What ``items`` are of, by the scopes of the named tasks that ask about what is not shown."""
        scopes = [self.scope(name) for name in names if ABSENT in self.tasks[name].states]
        return {scope: Items.of(self.features.groups(scope, items)) for scope in scopes}

    def scope(self, name: str) -> str:
        """What an outcome of what is not shown asks about."""
        return cast(AbsentOutcome, self.tasks[name]).scope

    def fillings(self, ids: NDArray[Any], items_table: pl.DataFrame | None, asked: str | None = None) -> Fillings:
        """(ids, ·) of items; or of what they are of and is not shown, as a task asks."""
        table, embedding = self.catalogue.inputs_of(ids, items_table), self.network.embedding
        groups = Items.of(table) if asked is None else self.questions(table, [asked])[self.scope(asked)]
        there = Items(*(part.to(self.device) for part in groups))
        vector = embedding.item(*there) if asked is None else embedding.without(there)
        return Fillings(vector, codes_of(there.code, there.categories))

    def state(self, history: History, filling: Fillings | None) -> Tensor:
        """(users, candidates, ·) states of the histories' slots, left blank or with what fills them."""
        slots, visible = history.slots, history.visible
        if filling is None:
            return self.network.query(history.memory, slots, visible)
        vector = self.network.recalled(filling.vector, history.past, slots.hours, visible, filling.codes)
        wide = (-1, vector.shape[1])
        slots = slots._replace(hours=slots.hours.expand(wide))
        return self.network.query(history.memory, slots, visible.expand(wide), vector)

    def of_candidates(self, name: str, ids: NDArray[Any], items_table: pl.DataFrame | None) -> Score:
        """The outcome of a task for candidates, with its standard deviation over the ensemble."""
        asked = name if ABSENT in self.tasks[name].states else None
        fillings, value = self.fillings(ids, items_table, asked), self.head(name).value

        def score(history: History, which: Tensor) -> Rewards:
            found = value(self.state(history, fillings.at(which)))
            return Rewards(found.mean(-1), found.std(-1, correction=0))

        return score

    def fingerprint(self, more: str | None) -> str:
        """A hash of what reads a history; without polars, which a forked process cannot use.

        Args:
            more: of what else reads it.
        """
        told = [self.features.to_json(), self.max_events, repr(self.network.encoder), self.catalogue.ids.tolist(), more]
        found = hashlib.sha256(json.dumps(told).encode())
        weights = {name: part for name, part in self.network.state_dict().items() if not name.startswith(_HEADS)}
        arrays = {name: part.cpu().numpy() for name, part in weights.items()} | vars(self.catalogue.inputs)
        for name, array in sorted(arrays.items()):
            found.update(f"{name} {array.dtype} {array.shape}".encode())
            found.update(np.ascontiguousarray(array).tobytes())
        return found.hexdigest()
