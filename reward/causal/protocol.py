"""What a causal estimator is: how it is fitted to a log, what it says of items, and the model that scores by it.

An estimator is a callable, `EffectEstimator`, that a yaml of ``conf/`` names. It gives `EstimatedEffects`, whose
`EffectModel` is what rewards are made of. `reward.scoring` and the second stage of training know no more than this.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from reward.arrays import Doubles, Ints
from reward.columns import ITEM
from reward.rewards import Rewards

if TYPE_CHECKING:
    from reward.causal.choosing import Chosen
    from reward.causal.diagnostics.calibration_slope import CalibrationSlope
    from reward.causal.diagnostics.policy_shift import PolicyShift
    from reward.data.prepared import PreparedLog
    from reward.features.events import Features
    from reward.outcomes.protocol import DailyOutcome


class StateOfUsers(Protocol):
    """What a model has read of users before n slots: tensors, each of n rows."""

    def map(self, change: Callable[[Tensor], Tensor]) -> Self:
        """``change`` of every tensor, such as the choice of some rows or the move to a device."""


class StateOfItems(Protocol):
    """What a model knows of items: tensors that start with the items' shape."""

    def of(self, code: Tensor) -> Self:
        """Those at some places, in the shape of ``code``."""

    def to(self, device: torch.device | str) -> Self:
        """The same on ``device``."""


class HistoryOfUsers(Protocol):
    """Users' events, read once, so that their state at any moment is at hand."""

    def state(self, user: Ints, time: Doubles) -> Any:
        """The `StateOfUsers` of users, (m,) places among those that were read, at moments, (m,) days since 1970."""


class EffectModel(nn.Module, ABC):
    """What showing an item does to a user: a frozen module that scores items for users' states.

    It is deterministic, has no parameters that train, and keeps its numbers as buffers, so that it moves between
    devices as any module does. What it reads and scores stays in double precision.

    Saving asks for three parts, each of which may be empty: `state_dict` goes into ``effects.safetensors``, `to_json`
    into the manifest, and `to_table` into ``effects.parquet``. Buffers that the table has are not persistent.
    `restored` reads them again, and checks each of them: they may come from anybody.

    Attributes:
        ids: (items,) ids of the items that it was fitted to, ascending; strings are objects.
        calibration: how users held out agree with its rewards.
        personal_calibration: how they agree with what its rewards add to the items' own effects.
    """

    ids: NDArray[Any]
    calibration: CalibrationSlope
    personal_calibration: CalibrationSlope

    @abstractmethod
    def history(self, events: pl.DataFrame, users: pl.Series) -> Any:
        """The `HistoryOfUsers` of ``users``, ids in ascending order, in their checked events."""

    @abstractmethod
    def known(self, ids: NDArray[Any], items_table: pl.DataFrame | None = None) -> Any:
        """The `StateOfItems` of items: estimated, foretold by ``items_table``, or as of an unknown one.

        Args:
            ids: (items,) ascending.
            items_table: features of items that the log does not hold, as in training.
        """

    @abstractmethod
    def score(self, state: Any, items: Any) -> Rewards:
        """Rewards of candidates, in days more than what the policy shows.

        Args:
            state: of n slots.
            items: (n, candidates, ...) or (1, candidates, ...).

        Returns:
            (n, candidates).
        """

    @abstractmethod
    def score_rows(self, history: Any, user: Ints, time: Doubles, items: Any) -> Rewards:
        """Rewards of one item in each of m slots, as `score` has them.

        Args:
            history: of the users.
            user: (m,) users of the slots.
            time: (m,) their moments, days since 1970.
            items: (m, ...).

        Returns:
            (m,).
        """

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """All of it that is neither in the `state_dict` nor in the table, as JSON values."""

    def to_table(self) -> pl.DataFrame | None:
        """What it knows of single items, in a table; None: it has none."""
        return None

    @classmethod
    @abstractmethod
    def restored(cls, told: Any, table: pl.DataFrame | None, tensors: Mapping[str, Tensor], features: Features) -> Self:
        """A model from what it saved.

        Args:
            told: what `to_json` gave.
            table: what `to_table` gave.
            tensors: the `state_dict`.
            features: of the artefact whose model it is.

        Raises:
            ValueError: they do not fit each other or the features, or hold what no estimate leaves.
        """

    def digest(self) -> str:
        """A hash of all of it; without polars, which a forked process cannot use."""
        found = hashlib.sha256(json.dumps([self.to_json(), self.ids.tolist()]).encode())
        for name, tensor in sorted(self.named_buffers()):
            found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            found.update(np.ascontiguousarray(tensor.cpu().numpy()).tobytes())
        return found.hexdigest()


@dataclass(frozen=True)
class EstimatedEffects:
    """What one exposure of each item does over the horizon, against an average exposure of the log.

    Attributes:
        items: one row an item of the log or of its items table: ``item_id``, ``exposures``, ``mean`` and ``std`` (the
            estimate and its standard deviation, in days), and whatever else the estimator says of it.
        calibration: how the log's own users agree with effects of items that were estimated without them.
        model: what rewards are made of; None: the estimator says of items alone, and rewards are differences of
            forecasts.
        pushed: how far a ranker may be pushed, by how pessimistic it is: on the model's rewards, or without a model on
            the effects of items.
        chosen: which of the estimator's settings were chosen by the log, and why; None: none.
    """

    items: pl.DataFrame
    calibration: CalibrationSlope
    model: EffectModel | None
    pushed: Mapping[float, PolicyShift]
    chosen: Chosen | None

    def reward(self, items: pl.Series, *, pessimism: float = 0.0) -> pl.Series:
        """Mean − ``pessimism`` · std for each of ``items``; 0, an average exposure, for those not known."""
        found = items.to_frame(ITEM).join(self.items, on=ITEM, how="left", maintain_order="left")
        return (found["mean"] - pessimism * found["std"]).fill_null(0.0).alias("reward")


class EffectEstimator(Protocol):
    """Estimates effects from a log; its own settings are bound to it, by a yaml or by `functools.partial`."""

    def __call__(
        self, log: PreparedLog, outcome: DailyOutcome, *, seed: int, propensity: Doubles, **settings: Any
    ) -> EstimatedEffects:
        """Estimate the effect of each item.

        Args:
            log: as it is to be known; its users are read some at a time, ``for users in log.chunks()``.
            outcome: what effects are on.
            seed: draws whatever is drawn: the same seed gives the same effects.
            propensity: (events,) probability with which each row's item was shown.
            settings: those that replace its own.

        Raises:
            SchemaError: the log or the outcome does not allow for it.
        """
