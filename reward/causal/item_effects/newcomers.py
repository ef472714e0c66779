"""What is expected of items that the log does not hold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from reward.arrays import Doubles, Ints
from reward.causal.item_effects.feedback_rates import Column, described
from reward.causal.item_effects.shrinkage import Pooled


@dataclass(frozen=True)
class Newcomers:
    """What is expected of items that the log does not hold.

    Attributes:
        describing: the columns that describe items.
        group: the column of the items table that they are pooled over; None: none.
        coefficients: (1 + columns,) of the effect behind the gate, on 1 and what describes an item.
        groups: names of the groups, ascending.
        group_codes: (groups,) codes of these.
        group_effects: (groups,) what an item of a group has beyond that.
    """

    describing: tuple[Column, ...]
    group: str | None
    coefficients: Doubles
    groups: tuple[str, ...]
    group_codes: Ints
    group_effects: Doubles

    def expected(self, table: pl.DataFrame) -> tuple[Doubles, Doubles, Ints]:
        """Of items of an items table, in its order: (n, columns) traits, (n,) effects, (n,) group codes, −1: none."""
        traits = described(table, self.describing)
        effect = self.coefficients[0] + traits @ self.coefficients[1:]
        code = np.full(len(table), -1)
        if self.group is not None and self.groups:
            names = pl.DataFrame({"name": self.groups, "at": np.arange(len(self.groups))})
            wanted = table.select(pl.col(self.group).cast(pl.String).alias("name"))
            found = wanted.join(names, on="name", how="left", maintain_order="left")["at"]
            known, at = found.is_not_null().to_numpy(), found.fill_null(0).to_numpy()
            code = np.where(known, self.group_codes[at], -1)
            effect = effect + np.where(known, self.group_effects[at], 0)
        return traits, effect, code


def newcomers_of(
    table: pl.DataFrame, columns: tuple[Column, ...], group: str | None, groups: Ints, pooled: Pooled
) -> Newcomers:
    """What a fit expects of other items: from the log's table of items and the (items,) code of each one's group."""
    names = (
        pl.Series([], dtype=pl.String) if group is None else table[group].cast(pl.String).drop_nulls().unique().sort()
    )
    codes = np.zeros(0, np.int64)
    if group is not None:
        known = table.select(pl.col(group).cast(pl.String).alias("name"), pl.Series("code", groups)).unique("name")
        codes = names.to_frame("name").join(known, on="name", how="left", maintain_order="left")["code"].to_numpy()
    coefficients = pooled.coefficients[1 : 2 + len(columns)].copy()
    return Newcomers(columns, group, coefficients, tuple(names), codes, pooled.group[codes])
