"""Past items: how their users' traces vary between items and between users, and the factors of that."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from reward.arrays import Doubles, Floats, Ints
from reward.moved import find_names_of_before
from reward.progressive.skewed import RIDGE
from reward.progressive.traces import bits

_NOISE_USERS = 50_000  # users that covariances between users are taken from, spread over the items
_MOST_FACTORS = 64
_MOST_SKEW = 2.0  # an exponential law's
_FEW_ITEMS = 6.0  # items as good as knowing beforehand that skewness is of the order of one: its variance is 6 / items

find_names_of_before(__name__)


class PastItems:
    """Means of past items, by day and cut at each d, and a sample of their users around them."""

    def __init__(self, item: Ints, trace: Ints, users: Doubles, horizon_days: int):
        order = np.argsort(item, kind="stable")
        sample = order[:: -(-len(order) // _NOISE_USERS)]
        self.active = Centred(bits(trace[sample], horizon_days).astype(np.float32), item[sample])
        means = _means(item, trace, users, horizon_days)
        self.daily, self.later = next(means), list(means)
        days, within = self.daily.sum(axis=1), self.active.values.sum(axis=1, keepdims=True)
        noise = float(self.active.covariance(within, within)[0, 0])
        between = max(float(days.var(ddof=1)) - noise * float((1 / users).mean()), RIDGE)
        share = users / (users + noise / between)
        self.share = share / share.sum()
        self.skew = self._skew(item, np.bitwise_count(trace & ((1 << horizon_days) - 1)), users, between)
        self.spare = float(1 - (self.share**2).sum())
        self.noise = float((self.share * (1 - self.share) / users).sum()) / self.spare  # of a mean, in users' variances

    def _skew(self, item: Ints, days: npt.NDArray[np.uint8], users: Doubles, between: float) -> float:
        """Skewness over items of the days.

        Its third moment is a mean over triples of different users of an item, whose noises have no product; it is drawn
        to 0 where items are few.
        """
        apart = days - np.bincount(item, days, len(users)) / users @ self.share
        one, two, three = (np.bincount(item, apart**power, len(users)) for power in (1, 2, 3))
        triples = users * (users - 1) * (users - 2)
        cubes = (one**3 - 3 * one * two + 2 * three) / np.maximum(triples, 1)
        known = self.share * (triples > 0)
        third = float(known @ cubes / known.sum()) if known.any() else 0.0
        return float(np.clip(third / between**1.5, -_MOST_SKEW, _MOST_SKEW)) / (1 + _FEW_ITEMS / len(users))

    def across(self, one: Doubles, other: Doubles) -> Doubles:
        """Covariance between items, of columns (items, ...), the noise of their means included."""
        return (one - self.share @ one).T @ ((other - self.share @ other) * self.share[:, None]) / self.spare

    def between(self, mean: Doubles, mine: Floats) -> Doubles:
        """The same less the noise, which users' columns ``mine`` show."""
        return self.across(mean, mean) - self.noise * self.active.covariance(mine, mine)

    def cut(self, d: int) -> tuple[Doubles, Floats]:
        """The items' means of φ_d, (items, 2d−1), and the sampled users' φ_d around them."""
        later = np.maximum.accumulate(self.active.raw[:, d - 1 :: -1], axis=1)[:, :0:-1]
        return (
            np.concatenate([self.daily[:, :d], self.later[d - 1][:, : d - 1]], axis=1),
            np.concatenate([self.active.values[:, :d], self.active.centred(later)], axis=1),
        )


class Factors:
    """Principal components of whole traces' φ, whitened by the noise between users, that exceed what noise gives."""

    def __init__(self, past: PastItems):
        mean, mine = past.cut(past.daily.shape[1])
        root = np.linalg.cholesky(past.active.covariance(mine, mine) + RIDGE * np.eye(mine.shape[1]))
        white = np.linalg.solve(root, mean.T).T
        size, axes = np.linalg.eigh(past.across(white, white))
        edge = past.noise * (1 + np.sqrt(len(size) * (past.share**2).sum())) ** 2
        kept = np.flatnonzero(size > edge)[::-1][:_MOST_FACTORS]
        self.past, self.std = past, np.sqrt(size[kept] - past.noise)
        self.items = white @ axes[:, kept]
        self.users = mine @ np.linalg.solve(root.T, axes[:, kept]).astype(np.float32)

    def loading(self, mean: Doubles, mine: Floats) -> Doubles:
        """(columns, K) covariance between items of ``mean`` with the factors, less that of having the same users."""
        noise = self.past.noise * self.past.active.covariance(mine, self.users)
        return (self.past.across(mean, self.items) - noise) / self.std


class Centred:
    """Rows sorted by group, and less their group's mean."""

    def __init__(self, raw: Floats, group: Ints):
        self.starts = np.flatnonzero(np.diff(group, prepend=-1))
        self.sizes = np.diff(self.starts, append=len(group))
        self.raw, self.values = raw, self.centred(raw)

    def centred(self, raw: Floats) -> Floats:
        if not raw.shape[1]:
            return raw
        mean = np.add.reduceat(raw, self.starts) / self.sizes[:, None].astype(np.float32)
        return raw - np.repeat(mean, self.sizes, axis=0)

    def covariance(self, one: Floats, other: Floats) -> Doubles:
        """Within groups, of columns that are centred."""
        return (one.T @ other).astype(np.float64) / max(len(self.raw) - len(self.starts), 1)


def _means(item: Ints, trace: Ints, users: Doubles, horizon_days: int) -> Iterator[Doubles]:
    """(items, H) share active by day; then for each d, (items, H) share whose last active day up to d is t or later."""
    H, items = horizon_days, len(users)
    yield np.stack([np.bincount(item, (trace >> day) & 1, items) for day in range(H)], axis=1) / users[:, None]
    place, last = item * (H + 1), np.zeros(len(trace), np.int64)
    for d in range(1, H + 1):
        last = np.where((trace >> (d - 1)) & 1 == 1, d, last)
        table = np.bincount(place + last, minlength=items * (H + 1)).reshape(items, H + 1)
        yield table[:, :0:-1].cumsum(axis=1)[:, ::-1] / users[:, None]
