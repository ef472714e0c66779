"""What is known of items that a policy may have followed: from the items table, or learned from who takes up what."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from reward.arrays import Bools, Doubles, Floats, Ints
from reward.causal.propensity.scales import ColumnScales, Levels, one_hot
from reward.data.prepared import PreparedLog, UserRows
from reward.data.slates import Catalogue, Slates
from reward.statistics.least_squares import Triangle
from reward.statistics.sums import Totals, fold

_ROUNDS = 4  # of powers applied to random directions


@dataclass(frozen=True)
class Traits:
    """What is known of items.

    Attributes:
        values: (items, F).
        pairs: (F, F) which liking may speak for which trait.
        names: what they are made of.
    """

    values: Floats
    pairs: Bools
    names: tuple[str, ...]


def no_traits(items: int) -> Traits:
    """Of items of which nothing is known."""
    return Traits(np.zeros((items, 0), np.float32), np.zeros((0, 0), np.bool_), ())


def table_traits(prepared: PreparedLog, catalogue: Catalogue, size: int, levels: int) -> Traits:
    """Traits from the items table.

    Args:
        prepared: the log; its items have features.
        catalogue: the items that were shown.
        size: most dimensions kept of an embedding.
        levels: most categories of a column that are told apart.
    """
    items = prepared.items.filter(pl.Series(catalogue.code >= 0))
    blocks: list[tuple[str, Floats, bool]] = []
    for name in prepared.log.item_features:
        column = items[name]
        if isinstance(column.dtype, pl.List):
            blocks.append((name, _rotated(column, size), True))
        elif column.dtype.is_float():
            values = column.to_numpy()[:, None]
            blocks.append((name, ColumnScales.of(values).standard(values).astype(np.float32), True))
        else:
            common = Levels.of(column).common(levels)
            blocks.append((name, one_hot(column, common).astype(np.float32), False))
    values = np.concatenate([block for _, block, _ in blocks], axis=1)
    owner = np.concatenate([np.full(block.shape[1], place) for place, (_, block, _) in enumerate(blocks)])
    free = np.array([full for *_, full in blocks])[owner]
    pairs = (owner[:, None] == owner) & (free[:, None] | np.eye(len(owner), dtype=np.bool_))
    return Traits(values.astype(np.float32), pairs, tuple(name for name, *_ in blocks))


def _rotated(column: pl.Series, size: int) -> Floats:
    """Principal directions of an embedding about its origin, each of mean square 1; 0 where it is unknown."""
    known = column.is_not_null().to_numpy()
    values = np.zeros((len(column), int(column.list.len().max() or 0)))  # type: ignore[arg-type]
    if not values.shape[1]:
        return values.astype(np.float32)
    values[known] = np.array(column.drop_nulls().to_list())
    spread, directions = np.linalg.eigh(values.T @ values / max(known.sum(), 1))
    kept = spread > 1e-6 * spread[-1]
    spread, directions = spread[kept][-size:], directions[:, kept][:, -size:]
    return (values @ directions / np.sqrt(spread)).astype(np.float32)


@dataclass(frozen=True)
class Taken:
    """Who took up what, of some users: item and user of each time, the user as a place among them."""

    item: Ints
    user: Ints
    users: int

    @classmethod
    def of(cls, slates: Slates, gated: Bools) -> Self:
        """Of their slates; ``gated`` (n, size) says what was taken up."""
        row, place = np.nonzero(gated)
        return cls(slates.items[row, place], slates.user[row], slates.users)


def learned_traits(
    chunks: Sequence[UserRows], read: Callable[[UserRows], Taken], users: int, items: int, size: int
) -> Traits:
    """Left factors of the table of who took up what, each item's row scaled by the root of its count.

    The first factor is popularity and is left out. The range of the table is found by powers applied to random
    directions, each of them one pass over the chunks.

    Args:
        chunks: users, in any order.
        read: what each chunk took up.
        users: of the log.
        items: that were shown.
        size: most traits.

    Source:
        Halko, Martinsson and Tropp, "Finding structure with randomness" (2011), randomised subspace iteration.
    """
    often = np.sqrt(fold(_Counts(read, items), chunks) + 1.0)
    wanted = min(size + 1, items, users)
    random = torch.from_numpy(np.random.default_rng(0).standard_normal((users, wanted)))
    reach = fold(_Powers(read, often, random, None), chunks)
    for _ in range(_ROUNDS):
        reach = fold(_Powers(read, often, random, torch.linalg.qr(reach.items)[0]), chunks)
    left, strength, _ = torch.linalg.svd(reach.of_orthogonal, full_matrices=False)
    factors = (left[:, 1:] * (strength[1:] > 1e-9)).numpy() * often[:, None]
    values = (factors / np.sqrt(np.maximum((factors**2).mean(axis=0), 1e-12))).astype(np.float32)
    full = np.ones((values.shape[1],) * 2, np.bool_)
    return Traits(values, full, tuple(f"learned {place}" for place in range(values.shape[1])))


@dataclass(frozen=True)
class _Counts:
    """How often each item was taken up."""

    read: Callable[[UserRows], Taken]
    items: int

    def partial(self, users: UserRows, /) -> NDArray[np.intp]:
        return np.bincount(self.read(users).item, minlength=self.items)

    def solve(self, state: NDArray[np.intp], /) -> NDArray[np.intp]:
        return state


@dataclass(frozen=True)
class _Reach(Totals):
    """A B of the table A (items, users) for directions B (users, k), and B itself as a triangle."""

    items: Tensor
    users: Triangle

    @property
    def of_orthogonal(self) -> Tensor:
        """A V, up to a rotation, for an orthogonal V of the same range as B."""
        _, strength, turned = np.linalg.svd(self.users.r, full_matrices=False)
        kept = strength > 1e-12 * strength.max(initial=0)
        scaled: Doubles = turned[kept].T / strength[kept]
        lacking = np.zeros((len(turned.T), int((~kept).sum())))
        return self.items @ torch.from_numpy(np.concatenate([scaled, lacking], axis=1))


@dataclass(frozen=True)
class _Powers:
    """One application of A Aᵀ to directions ``basis`` (items, k); None: of A to ``random`` (users, k)."""

    read: Callable[[UserRows], Taken]
    often: Doubles
    random: Tensor
    basis: Tensor | None

    def partial(self, users: UserRows, /) -> _Reach:
        taken = self.read(users)
        many = np.sqrt(np.bincount(taken.user, minlength=taken.users) + 1.0)
        table = torch.sparse_coo_tensor(
            torch.from_numpy(np.stack([taken.item, taken.user])),
            torch.from_numpy(1 / (self.often[taken.item] * many[taken.user])),
            (len(self.often), taken.users),
            check_invariants=True,
        ).coalesce()
        basis = self.random[users.first : users.last] if self.basis is None else torch.sparse.mm(table.t(), self.basis)
        return _Reach(torch.sparse.mm(table, basis), Triangle.of(basis.numpy()))

    def solve(self, state: _Reach, /) -> _Reach:
        return state
