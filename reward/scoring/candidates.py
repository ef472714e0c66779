"""Candidates: item ids as they come, what is known of the items, and every history with each of its candidates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from reward.columns import ITEM
from reward.features.events import Features, ItemTable
from reward.rewards import Rewards
from reward.scoring.history import History

ATTENTION_CELLS = 1 << 24  # events that candidates read at once

Ids = Sequence[Any] | pl.Series | NDArray[Any] | Tensor
Score = Callable[[History, Tensor], Rewards]  # of histories and places of candidates, (users, candidates)


class Catalogue:
    """The items that training knew, by id. Without a table of other items it needs no polars, which a fork cannot use.

    Attributes:
        ids: (items,) ascending; strings are objects.
        inputs: the network's inputs of these and, last, of an unknown one.
        features: what makes them.
    """

    def __init__(self, features: Features) -> None:
        known = features.items[ITEM]
        self.features = features
        self.ids = known.to_numpy()
        self.inputs = features.item_inputs(known.extend_constant(None, 1))

    def ids_of(self, items: Ids) -> NDArray[Any]:
        """Item ids as integers, or as strings in an array of objects, in the shape they came in.

        NumPy's own strings would end at their last character that is not NUL, and all be as long as the longest.

        Raises:
            ValueError: they are of another type than those of training.
        """
        if isinstance(items, Tensor):
            items = items.cpu().numpy()
        elif isinstance(items, pl.Series):
            items = (items if items.dtype.is_numeric() or items.dtype.is_nested() else items.cast(pl.String)).to_numpy()
        strings = self.ids.dtype == object
        ids = np.array(items, object) if strings else np.asarray(items)
        if not strings and ids.dtype == object:  # integers may come as objects
            ids = np.array(ids.tolist())
        fit = all(issubclass(kind, str) for kind in set(map(type, ids.flat))) if strings else ids.dtype.kind in "iu"
        if ids.size and not fit:
            came = np.array([it for it in ids.flat if not isinstance(it, str)]).dtype if strings else ids.dtype
            raise ValueError(
                f"items expected {self.features.items.schema[ITEM]} ids, as in training, got {came}: cast them"
            )
        return ids if strings else ids.astype(np.int64)

    def inputs_of(self, ids: NDArray[Any], items_table: pl.DataFrame | None) -> ItemTable:
        """The inputs of items; those of neither training nor ``items_table`` have those of an unknown one."""
        if items_table is not None:
            return self.features.item_inputs(pl.Series(ITEM, ids, self.features.items.schema[ITEM]), items_table)
        place = np.searchsorted(self.ids, ids)
        known = np.append(self.ids, self.ids[-1:])[place] == ids
        return self.inputs[np.where(known, place, len(self.ids))]

    def unknown(self, items: Ids, items_table: pl.DataFrame | None) -> int:
        """How many of ``items`` are not in the vocabulary."""
        known = items.drop_nulls() if isinstance(items, pl.Series) else items
        distinct, place = np.unique(self.ids_of(known), return_inverse=True)
        return int((self.inputs_of(distinct, items_table).code[place] == 0).sum())


def scored(history: History, ids: NDArray[Any], score_of: Callable[[NDArray[Any]], Score]) -> Rewards:
    """What is made of distinct ids, for each history and candidate; some histories at a time.

    Args:
        history: of the users.
        ids: (candidates,) for all users alike or (users, candidates).
        score_of: from distinct ids to what scores them by their places.

    Returns:
        Rewards of shape (users, candidates), float32.

    Raises:
        ValueError: ``ids`` has another shape.
    """
    shape = ids.shape
    if len(shape) not in (1, 2) or (len(shape) == 2 and shape[0] != len(history)):
        raise ValueError(
            f"items expected shape (candidates,) or ({len(history)}, candidates) for {len(history)} histories, "
            f"got {shape}"
        )
    distinct, place = np.unique(ids, return_inverse=True)
    score, device = score_of(distinct), history.visible.device
    which = torch.from_numpy(place.reshape(shape)).to(device).expand(len(history), -1)
    mean = torch.zeros(len(history), shape[-1], device=device)
    std = torch.zeros_like(mean)
    # a candidate reads a history's events, or one state of each layer
    read = max(1, history.memory.hours.shape[1], *(layer.shape[-1] // 4 for layer in history.memory.layers))
    step = max(ATTENTION_CELLS // (read * max(shape[-1], 1)), 1)
    for start in range(0, len(history) if shape[-1] else 0, step):
        rows = slice(start, start + step)
        mean[rows], std[rows] = score(history[rows], which[rows])
    return Rewards(mean, std)
