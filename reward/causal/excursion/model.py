"""A model of excursion effects: an item's own effect, moderated by what the user's past says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TypedDict

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from reward.arrays import Doubles, Ints
from reward.causal.diagnostics.calibration_slope import CalibrationSlope
from reward.causal.excursion.moderators import ModeratorHistory, Moderators, ModeratorState
from reward.causal.item_effects.newcomers import Newcomers
from reward.causal.protocol import EffectModel
from reward.causal.stored import (
    NewcomersJson,
    SlopeJson,
    ids_column,
    ids_flaws,
    is_finite,
    newcomers_flaws,
    newcomers_from_json,
    newcomers_to_json,
    slope_from_json,
    slope_to_json,
)
from reward.columns import ITEM
from reward.features.events import Features
from reward.moved import OldName
from reward.plain import check, shown
from reward.rewards import Rewards

_TENSORS = ("coefficients", "covariance", "centre", "width", "usual")


class ItemEffectState(NamedTuple):
    """What is known of items; both start with the items' shape.

    Attributes:
        mean: effects, in days.
        variance: of them.
    """

    mean: Tensor
    variance: Tensor

    def of(self, code: Tensor) -> ItemEffectState:
        """Those of some items."""
        return ItemEffectState(self.mean[code], self.variance[code])

    def to(self, device: torch.device | str) -> ItemEffectState:
        """The same on ``device``."""
        return ItemEffectState(self.mean.to(device), self.variance.to(device))


class _Values(TypedDict):
    feedback: list[str]
    prior_answers: float
    memory_days: float
    level: float
    newcomers: NewcomersJson
    calibration: SlopeJson
    personal_calibration: SlopeJson


class ExcursionEffect(EffectModel):
    """reward(h, i) = (e_i − level) · (1, z(h))'β, with e the items' effects and z what the past h says of the user.

    Args:
        ids: (items,) item ids, ascending; strings are objects.
        mean: (items + 1,) effects in days, last that of an unknown item.
        variance: (items + 1,) of them.
        newcomers: what is expected of other items.
        moderators: how a user's past is read.
        coefficients: (1 + k,) β.
        covariance: (1 + k, 1 + k) of them.
        level: mean effect of what the log's last days show: a reward is what an exposure does beyond it.
        calibration: how users held out agree with the rewards.
        personal_calibration: how they agree with what the moderators add to the items' own effects.
    """

    coefficients: Tensor
    covariance: Tensor
    centre: Tensor
    width: Tensor
    usual: Tensor
    mean: Tensor
    variance: Tensor

    def __init__(
        self,
        *,
        ids: NDArray[Any],
        mean: Doubles,
        variance: Doubles,
        newcomers: Newcomers,
        moderators: Moderators,
        coefficients: Doubles,
        covariance: Doubles,
        level: float,
        calibration: CalibrationSlope,
        personal_calibration: CalibrationSlope,
    ) -> None:
        super().__init__()
        self.ids, self.newcomers, self.moderators, self.level = ids, newcomers, moderators, level
        self.calibration, self.personal_calibration = calibration, personal_calibration
        for name, values in (("coefficients", coefficients), ("covariance", covariance)):
            self.register_buffer(name, torch.as_tensor(values, dtype=torch.float64))
        for name in ("centre", "width", "usual"):
            self.register_buffer(name, torch.as_tensor(getattr(moderators, name), dtype=torch.float64))
        for name, values in (("mean", mean), ("variance", variance)):  # in the table
            self.register_buffer(name, torch.as_tensor(values, dtype=torch.float64), persistent=False)

    effects = OldName("item_effects")

    @property
    def item_effects(self) -> ItemEffectState:
        """Of the items and, last, of an unknown one."""
        return ItemEffectState(self.mean, self.variance)

    def history(self, events: pl.DataFrame, users: pl.Series) -> ModeratorHistory:
        """The past of ``users``, ids in ascending order, in their checked events."""
        return self.moderators.history(events, users)

    def known(self, ids: NDArray[Any], items_table: pl.DataFrame | None = None) -> ItemEffectState:
        """What is known of items, see `EffectModel.known`."""
        code = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1).astype(np.int64)
        new = np.flatnonzero(self.ids[code] != ids)
        code[new] = len(self.ids)
        found = self.item_effects.of(torch.from_numpy(code).to(self.mean.device))
        if items_table is None:
            return found
        table = items_table.filter(pl.col(ITEM).is_in(pl.Series(ids[new].tolist(), dtype=items_table.schema[ITEM])))
        at = torch.from_numpy(np.searchsorted(ids, table[ITEM].to_numpy())).to(self.mean.device)
        _, expected, _ = self.newcomers.expected(table)
        return found._replace(mean=found.mean.index_put((at,), torch.from_numpy(expected).to(self.mean.device)))

    def score(self, state: ModeratorState, items: ItemEffectState) -> Rewards:
        """Rewards of candidates, see `EffectModel.score`."""
        like = items.mean
        ones = torch.ones_like(state.moderators[:, :1])
        columns = torch.cat([ones, state.moderators], dim=1).to(like)  # (n, 1 + k)
        slope = (columns @ self.coefficients.to(like)).unsqueeze(1)
        doubt = ((columns @ self.covariance.to(like)) * columns).sum(1, keepdim=True).clamp_min(0)
        beyond = items.mean - self.level
        variance = slope**2 * items.variance + beyond**2 * doubt
        return Rewards(slope * beyond, variance.sqrt())

    def score_rows(self, history: ModeratorHistory, user: Ints, time: Doubles, items: ItemEffectState) -> Rewards:
        """Rewards of one item in each of m slots, see `EffectModel.score_rows`."""
        found = self.score(history.state(user, time), ItemEffectState(items.mean[:, None], items.variance[:, None]))
        return Rewards(found.mean[:, 0], found.std[:, 0])

    def to_json(self) -> dict[str, Any]:
        """All of it that is neither a tensor nor in the table, as JSON values."""
        told = self.moderators
        return {
            "feedback": list(told.feedback),
            "prior_answers": told.prior_answers,
            "memory_days": told.memory_days,
            "level": self.level,
            "newcomers": newcomers_to_json(self.newcomers),
            "calibration": slope_to_json(self.calibration),
            "personal_calibration": slope_to_json(self.personal_calibration),
        }

    def to_table(self) -> pl.DataFrame:
        """One row an item, ascending, and last one without an id for all others."""
        numbers = {name: getattr(self, name).cpu().numpy() for name in ("mean", "variance")}
        return pl.DataFrame({ITEM: ids_column(self.ids).extend_constant(None, 1), **numbers})

    @classmethod
    def restored(
        cls, told: Any, table: pl.DataFrame | None, tensors: Mapping[str, Tensor], features: Features
    ) -> ExcursionEffect:
        """See `EffectModel.restored`."""
        check(told, _Values, "effects")
        problems = [*_flaws(told, tensors, features), *_flaws_of_table(told, table)]
        if problems or table is None:
            raise ValueError("its effects do not fit: " + "; ".join(problems))
        plain = {name: tensors[name].numpy() for name in _TENSORS}
        moderators = Moderators(
            tuple(told["feedback"]),
            plain["usual"],
            told["prior_answers"],
            told["memory_days"],
            plain["centre"],
            plain["width"],
        )
        return cls(
            ids=table[ITEM].head(len(table) - 1).to_numpy(),
            mean=table["mean"].to_numpy().copy(),
            variance=table["variance"].to_numpy().copy(),
            newcomers=newcomers_from_json(told["newcomers"]),
            moderators=moderators,
            coefficients=plain["coefficients"],
            covariance=plain["covariance"],
            level=told["level"],
            calibration=slope_from_json(told["calibration"]),
            personal_calibration=slope_from_json(told["personal_calibration"]),
        )


def _flaws(told: Mapping[str, Any], tensors: Mapping[str, Tensor], features: Features) -> Iterator[str]:
    """What is wrong with values and tensors."""
    if not {*told["feedback"]} <= {*features.feedback} or len({*told["feedback"]}) != len(told["feedback"]):
        yield "it reads what is no feedback of the log"
    if not told["prior_answers"] > 0 or not told["memory_days"] > 0:
        yield "prior_answers and memory_days expected numbers above 0"
    yield from newcomers_flaws(told["newcomers"], features)
    if set(tensors) != {*_TENSORS}:
        yield f"it has tensors named {shown(', '.join(sorted(tensors)))}, expected {', '.join(_TENSORS)}"
        return
    k = 2 + len(told["feedback"])
    shapes = {"coefficients": (1 + k,), "covariance": (1 + k, 1 + k), "centre": (k,), "width": (k,), "usual": (k - 2,)}
    for name, shape in shapes.items():
        if tuple(tensors[name].shape) != shape or not is_finite(tensors[name]):
            yield f"{name} expected finite numbers in double precision of shape {shape}"
        elif name == "width" and not (tensors[name] > 0).all():
            yield "width expected numbers above 0"
        elif name == "usual" and not (tensors[name] >= 0).all():
            yield "usual expected numbers of at least 0"


def _flaws_of_table(told: Mapping[str, Any], table: pl.DataFrame | None) -> Iterator[str]:
    """What is wrong with the items."""
    if table is None or set(table.columns) != {ITEM, "mean", "variance"} or not len(table):
        yield f"the table of items expected {ITEM}, mean and variance"
        return
    yield from ids_flaws(table)
    for name in ("mean", "variance"):
        if table.schema[name] != pl.Float64 or not table[name].is_finite().fill_null(value=False).all():
            yield f"{name} expected finite numbers"
        elif name == "variance" and (table[name] < 0).any():
            yield "variance is negative"
    codes = told["newcomers"]["group_codes"]
    if len(codes) > len(table) or min(codes, default=0) < -1 or max(codes, default=0) >= len(table):
        yield "group_codes expected places of groups, no more than there are items"
