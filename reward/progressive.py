"""Progressive beliefs: what showing an item is followed by, told from the few days its first users have had so far.

An item shown for the first time last week has users of one to seven days. Their traces say two things about the weeks
to come: how active they are, and how many have fallen silent. The published progressive filter reads the first, the
share active on each day, and so takes a user who will be back tomorrow and one who left for good for the same. This
one reads both: of a user observed for d days it keeps the active days and the *last* one. For users who leave for good
these are sufficient (docs/progressive.md); for others they are still means whose item-to-item covariance and
user-to-user noise past items show, and nothing else is assumed of them. The rest is linear-Gaussian algebra.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from reward.outcomes.activity import MAX_HORIZON_DAYS

Doubles = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

_NOISE_USERS = 50_000  # users that covariances between users are taken from, spread over the items
_MOST_FACTORS = 64
_RIDGE = 1e-6  # variance of a day on which nobody is active: of one in a million


@dataclass(frozen=True)
class Evidence:
    """What partial traces say of each item, in numbers that add up: over users, and over days as differences.

    A day later a user's trace says more. What it says then replaces what it said before:
    ``evidence − prior.evidence(item, trace, observed, …) + prior.evidence(item, new_trace, new_observed, …)``.

    Attributes:
        users: (items, H+1) users by days observed.
        score: (items, K) gradient of the log-likelihood at the population's mean.
    """

    users: Doubles
    score: Doubles

    def __add__(self, other: Evidence) -> Evidence:
        return Evidence(self.users + other.users, self.score + other.score)

    def __sub__(self, other: Evidence) -> Evidence:
        return Evidence(self.users - other.users, self.score - other.score)


@dataclass(frozen=True)
class Belief:
    """Gaussian belief about items.

    Attributes:
        mean, std: (items,) a user's expected active days over the horizon, days 1..H.
        trace: (items, H) mean of the expected trace: P(active on day t).
    """

    mean: Doubles
    std: Doubles
    trace: Doubles

    def sample(self, draws: int, rng: np.random.Generator) -> Doubles:
        """(draws, items) days, independent draws of each item's belief: the largest of a row is Thompson's choice."""
        return self.mean + self.std * rng.standard_normal((draws, len(self.mean)))


@dataclass(frozen=True)
class ItemPrior:
    """What items are like before anything is known of them, and how their users' traces tell.

    Item i has factors z_i ~ N(centre, spread). With φ the active days of a user observed for d days and, for each day t
    before d, whether t or a later one was active, the mean of n such users is Gaussian: mean(φ) | z ~
    N(μ_d + A_d z, R_d / n). All of it is estimated from past items. Centre and spread may be an item's own.

    Attributes:
        usual: (H,) or (items, H) expected trace at z = 0.
        shift: the same less the population's; 0 unless centred on something else.
        loadings: (H, K) of the expected trace on the factors.
        leftover: (H,) variance between items, by day, that the factors leave.
        leftover_days: the same of the sum over days.
        by_day: (H+1, H, K) a user's score A_d' R_d⁻¹ (φ − μ_d) by days observed and active day, and
        by_last: (H+1, H+1, K) by last active day, the constant in it.
        information: (H+1, K, K) A_d' R_d⁻¹ A_d, of one user of d days.
        centre: (K,) or (items, K).
        spread: (K, K) or (items, K, K).
    """

    usual: Doubles
    shift: Doubles
    loadings: Doubles
    leftover: Doubles
    leftover_days: float
    by_day: Doubles
    by_last: Doubles
    information: Doubles
    centre: Doubles
    spread: Doubles

    @classmethod
    def learn(cls, item: Ints, trace: Ints, observed: Ints, *, horizon_days: int) -> ItemPrior:
        """The prior that past items teach, by moments.

        Only users observed for the whole horizon teach. Their traces, cut at each d, give the items' means of φ_d. The
        factors are the principal components of the whole traces' means, whitened by the noise between users, that
        stand out of what noise alone would give (the Marchenko–Pastur edge); A_d are the covariances of φ_d with them,
        less what both owe to having the same users. Items count by how well they are known.

        Args:
            item: int (users,) which item, 0 to I−1; all I must occur.
            trace: int64 (users,) active days as bits.
            observed: int64 (users,) observed days as bits.
            horizon_days: H.

        Raises:
            ValueError: the words do not fit the horizon, there are fewer than 3 items, or an item has fewer than 2
                users observed for the whole horizon.

        Source: the filter is that of McDonald et al., Impatient Bandits (KDD 2023), section 4, with more to read.

        >>> rng = np.random.default_rng(0)
        >>> item = np.repeat(np.arange(40), 200)
        >>> active = rng.random((8000, 3)) < rng.uniform(0.2, 0.6, 40)[item][:, None]
        >>> trace, whole = active @ np.array([1, 2, 4]), np.full(8000, 7)
        >>> prior = ItemPrior.learn(item, trace, whole, horizon_days=3)
        >>> told = prior.evidence(np.zeros(50, int), np.full(50, 1), np.full(50, 1), items=2)
        >>> belief = prior.belief(told)  # fifty users of item 0 came back on the first day, nothing known of item 1
        >>> bool(belief.mean[0] > belief.mean[1]), bool(belief.std[0] < belief.std[1])
        (True, True)
        """
        H = horizon_days
        _days_observed(item, trace, observed, H)
        whole = observed == (1 << H) - 1
        items = int(item.max(initial=-1)) + 1
        users = np.bincount(item[whole], minlength=items).astype(np.float64)
        if items < 3 or users.min() < 2:
            raise ValueError(
                f"expected 3 or more items with 2 or more users observed for all {H} days each, got {items} items, "
                f"{int((users < 2).sum())} of them with fewer; leave those out and number the others from 0"
            )
        order = np.flatnonzero(whole)[np.argsort(item[whole], kind="stable")]
        sample = order[:: -(-len(order) // _NOISE_USERS)]
        active = _Centred(_bits(trace[sample], H).astype(np.float32), item[sample])
        means = _means(item[whole], trace[whole], users, H)
        daily, later = next(means), list(means)

        days = daily.sum(1)
        noise_days = float(active.covariance(active.values).sum())
        between = max(float(days.var(ddof=1)) - noise_days * float((1 / users).mean()), 1e-9)
        share = users / (users + noise_days / between)
        share /= share.sum()
        spare = 1 - (share**2).sum()
        noise = float((share * (1 - share) / users).sum()) / spare

        def across(one: Doubles, other: Doubles) -> Doubles:
            return (one - share @ one).T @ ((other - share @ other) * share[:, None]) / spare

        coming = _Centred(_later(active.raw), item[sample])
        stacked = np.concatenate([active.values, coming.values[:, :-1]], axis=1)
        root = np.linalg.cholesky(active.covariance(stacked, stacked) + _RIDGE * np.eye(2 * H - 1))
        white = np.linalg.solve(root, np.concatenate([daily, later[-1][:, :-1]], axis=1).T).T
        size, axes = np.linalg.eigh(across(white, white))
        edge = noise * (1 + np.sqrt(len(size) * (share**2).sum())) ** 2
        kept = np.flatnonzero(size > edge)[::-1][:_MOST_FACTORS]
        signal, axes = np.sqrt(size[kept] - noise), axes[:, kept]
        factor, users_factor = white @ axes, stacked @ np.linalg.solve(root.T, axes).astype(np.float32)

        def lifted(mean: Doubles, mine: Floats) -> Doubles:
            return (across(mean, factor) - noise * active.covariance(mine, users_factor)) / signal

        K = len(kept)
        by_day, by_last = np.zeros((H + 1, H, K)), np.zeros((H + 1, H + 1, K))
        information = np.zeros((H + 1, K, K))
        loadings = lifted(daily, active.values)
        noise_daily = active.covariance(active.values)
        raw = np.zeros_like(active.raw)
        for d in range(1, H + 1):
            np.maximum(raw[:, :d], active.raw[:, d - 1 : d], out=raw[:, :d])
            mine = _Centred(raw[:, : d - 1], item[sample]).values
            mean = later[d - 1][:, : d - 1]
            cross = active.covariance(active.values[:, :d], mine)
            covariance = np.block([[noise_daily[:d, :d], cross], [cross.T, active.covariance(mine)]])
            lift = np.concatenate([loadings[:d], lifted(mean, mine)])
            weight = np.linalg.solve(covariance + _RIDGE * np.eye(2 * d - 1), lift)
            information[d] = lift.T @ weight
            by_day[d, :d] = weight[:d]
            by_last[d, 1:d] = weight[d:].cumsum(axis=0)
            by_last[d, d:] = by_last[d, d - 1]
            by_last[d] -= share @ np.concatenate([daily[:, :d], mean], axis=1) @ weight
        leftover = np.diag(across(daily, daily)) - noise * np.diag(noise_daily) - (loadings**2).sum(1)
        total = across(days[:, None], days[:, None])[0, 0] - noise * noise_days - (loadings.sum(0) ** 2).sum()
        return cls(
            usual=share @ daily,
            shift=np.zeros(H),
            loadings=loadings,
            leftover=np.maximum(leftover, _RIDGE),
            leftover_days=max(float(total), 0.0),
            by_day=by_day,
            by_last=by_last,
            information=information,
            centre=np.zeros(K),
            spread=np.eye(K),
        )

    def centred_on(self, mean: Doubles, covariance: Doubles | None = None) -> ItemPrior:
        """The prior of items whose expected traces something else foretells: a model's forecast, say.

        The factors take the law they have in the population given the expected trace, averaged over N(mean,
        covariance): with G = T'(TT' + E)⁻¹, T the loadings and E what they leave, their mean is G (mean − usual) and
        their covariance G covariance G' + I − G T. What no factor explains of ``mean`` is added to the trace, so that
        before any evidence the belief's trace is ``mean``.

        Args:
            mean: (H,) for all items, or (items, H): P(active on day t).
            covariance: (H, H) or (items, H, H) of the forecast's error; None: as wide as the population.

        Raises:
            ValueError: the shapes do not fit, or ``mean`` is not between 0 and 1.
        """
        H, K = self.loadings.shape
        if mean.shape[-1:] != (H,) or mean.ndim > 2 or not ((mean >= 0) & (mean <= 1)).all():
            raise ValueError(
                f"expected an expected trace of {H} daily probabilities, ({H},) or (items, {H}), got shape "
                f"{mean.shape} with values from {mean.min(initial=np.inf):g} to {mean.max(initial=-np.inf):g}"
            )
        if covariance is not None and covariance.shape[-2:] != (H, H):
            raise ValueError(f"expected a covariance between {H} days, ({H}, {H}), got shape {covariance.shape}")
        population = self.usual - self.shift
        gain = np.linalg.solve(self.loadings @ self.loadings.T + np.diag(self.leftover), self.loadings).T
        centre = (mean - population) @ gain.T
        usual = mean - centre @ self.loadings.T
        spread = np.eye(K)
        if covariance is not None:
            spread = gain @ covariance @ gain.T + spread - gain @ self.loadings
        return replace(self, usual=usual, shift=usual - population, centre=centre, spread=spread)

    def evidence(self, item: Ints, trace: Ints, observed: Ints, *, items: int) -> Evidence:
        """What users' partial traces say.

        Args:
            item: int (users,) which item, 0 to ``items`` − 1.
            trace: int64 (users,) active days as bits, bit t−1 for day t; unobserved days do not matter.
            observed: int64 (users,) observed days as bits: days 1 to d for some d, as in a log that ends.
            items: how many items there are.

        Raises:
            ValueError: the words do not fit each other or the horizon, a day is observed after one that is not, or
                an item is out of range.
        """
        H, K = self.loadings.shape
        days = _days_observed(item, trace, observed, H)
        if ((item < 0) | (item >= items)).any():
            raise ValueError(f"expected items from 0 to {items - 1}, got {item.min()} to {item.max()}")
        score = np.zeros((items, K))
        for d in np.unique(days[days > 0]):
            mine = days == d
            active = _bits(trace[mine], int(d))
            last = np.where(active.any(1), d - np.argmax(active[:, ::-1], axis=1), 0)
            np.add.at(score, item[mine], active.astype(np.float64) @ self.by_day[d, :d] + self.by_last[d, last])
        users = np.bincount(item * (H + 1) + days, minlength=items * (H + 1)).reshape(items, H + 1)
        return Evidence(users.astype(np.float64), score)

    def belief(self, evidence: Evidence) -> Belief:
        """The posterior: precision spread⁻¹ + Σ_d n_d A_d' R_d⁻¹ A_d, and the mean that goes with it.

        Raises:
            ValueError: the prior is centred item by item on another number of items.
        """
        items = len(evidence.users)
        if self.centre.ndim == 2 and len(self.centre) != items:
            raise ValueError(f"expected evidence about {len(self.centre)} items, one for each centre, got {items}")
        before = np.linalg.inv(self.spread)
        precision = before + np.tensordot(evidence.users, self.information, axes=1)
        score = evidence.score + (before @ self.centre[..., None])[..., 0]
        if self.shift.any():
            told = np.tensordot(evidence.users, self.by_day, axes=1)  # (items, H, K)
            score = score - (np.broadcast_to(self.shift, (items, self.shift.shape[-1]))[:, None] @ told)[:, 0]
        total = np.broadcast_to(self.loadings.sum(0), score.shape)
        solved = np.linalg.solve(precision, np.stack([score, total], axis=-1))
        trace = self.usual + solved[..., 0] @ self.loadings.T
        variance = (solved[..., 1] * total).sum(1) + self.leftover_days
        return Belief(trace.sum(1), np.sqrt(variance), trace)


class _Centred:
    """Rows sorted by group, less their group's mean."""

    def __init__(self, raw: Floats, group: Ints):
        starts = np.flatnonzero(np.diff(group, prepend=-1))
        sizes = np.diff(starts, append=len(group))
        self.raw = raw
        self.values = raw - np.repeat(np.add.reduceat(raw, starts) / sizes[:, None].astype(np.float32), sizes, axis=0)
        self.free = max(len(group) - len(starts), 1)

    def covariance(self, one: Floats, other: Floats | None = None) -> Doubles:
        """Within groups, of columns that are centred."""
        return np.asarray(one.T @ (one if other is None else other), np.float64) / self.free


def _bits(words: Ints, days: int) -> npt.NDArray[np.bool_]:
    return (words[:, None] >> np.arange(days)) & 1 == 1


def _later(active: Floats) -> Floats:
    """Whether a day or a later one is active."""
    return np.maximum.accumulate(active[:, ::-1], axis=1)[:, ::-1]


def _days_observed(item: Ints, trace: Ints, observed: Ints, horizon_days: int) -> Ints:
    """Days observed of each user, the words checked."""
    if not 1 <= horizon_days <= MAX_HORIZON_DAYS:
        raise ValueError(f"expected a horizon of 1 to {MAX_HORIZON_DAYS} days, got {horizon_days}")
    if not item.shape == trace.shape == observed.shape or item.ndim != 1:
        raise ValueError(
            "expected one item, one trace and one observed word for each user, got shapes "
            f"{item.shape}, {trace.shape} and {observed.shape}"
        )
    days = np.zeros(len(observed), np.int64)
    for day in range(horizon_days):
        days += (observed >> day) & 1
    if (observed != (1 << days) - 1).any():
        odd = int(observed[observed != (1 << days) - 1][0])
        raise ValueError(
            f"expected observed words of days 1 to d, d at most {horizon_days}, got {odd:#b}: cut a trace at its "
            "first unobserved day, and at the horizon"
        )
    return days


def _means(item: Ints, trace: Ints, users: Doubles, horizon_days: int) -> Iterator[Doubles]:
    """(items, H) share active by day; then for each d, (items, H) share whose last active day up to d is t or later."""
    H, items = horizon_days, len(users)
    yield np.stack([np.bincount(item, (trace >> day) & 1, items) for day in range(H)], axis=1) / users[:, None]
    place, last = item * (H + 1), np.zeros(len(trace), np.int64)
    for d in range(1, H + 1):
        last = np.where((trace >> (d - 1)) & 1 == 1, d, last)
        table = np.bincount(place + last, minlength=items * (H + 1)).reshape(items, H + 1)
        yield table[:, :0:-1].cumsum(axis=1)[:, ::-1] / users[:, None]
