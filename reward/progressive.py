"""Progressive beliefs: what showing an item is followed by, told from the few days its first users have had so far.

An item shown for the first time last week has users of one to seven days. Their traces say two things about the weeks
to come: how active they are, and how many have fallen silent. The published progressive filter reads the first, the
share active on each day, and so takes a user who will be back tomorrow and one who left for good for the same. This
one reads both: of a user observed for d days it keeps the active days and the *last* one. For users who leave for good
these are sufficient (docs/concepts/progressive.md); for others they are still means whose item-to-item covariance and
user-to-user noise past items show, and nothing else is assumed of them. What they say is read by linear-Gaussian
algebra, as one noisy reading of the item's expected days; the law of those over items, which is skewed, does the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from reward.arrays import Doubles, Floats, Ints
from reward.data.days import MAX_HORIZON_DAYS

_NOISE_USERS = 50_000  # users that covariances between users are taken from, spread over the items
_MOST_FACTORS = 64
_RIDGE = 1e-6  # variance of a day on which nobody is active: of one in a million
_MOST_SKEW = 2.0  # an exponential law's
_FEW_ITEMS = 6.0  # items as good as knowing beforehand that skewness is of the order of one: its variance is 6 / items
_LEAST_DAYS = 0.05  # of the usual: the noise between users does not shrink further
_MOST_NUMBERS = 2**33  # that evidence may hold: 64 GiB
_END = 0.1  # of the way from a skewed law's end to its mean
_NODES = np.linspace(-8.0, 8.0, 129)  # of the integrals over an item's days


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
    """Belief about items: a user's expected active days over the horizon, days 1..H, are shifted log-normal.

    Attributes:
        mean, std, skew: (items,) of the days; a skewness of 0 is the Gaussian.
        trace: (items, H) mean of the expected trace: P(active on day t).
    """

    mean: Doubles
    std: Doubles
    skew: Doubles
    trace: Doubles

    @property
    def median(self) -> Doubles:
        """(items,) days: the guess of least expected absolute error."""
        return self.quantile(0.5)

    def quantile(self, level: float) -> Doubles:
        """(items,) days that the item's are below with probability ``level``.

        Raises:
            ValueError: ``level`` is not between 0 and 1.
        """
        if not 0 < level < 1:
            raise ValueError(f"expected a level between 0 and 1, got {level:g}")
        return self.mean + self.std * _bent(np.full(len(self.mean), NormalDist().inv_cdf(level)), self.skew)

    def sample(self, draws: int, rng: np.random.Generator) -> Doubles:
        """(draws, items) days, independent draws around each item's belief: the largest of a row is Thompson's choice.

        They are Gaussian, of its mean and standard deviation: the upper tail of a skewed law would explore too much
        (docs/concepts/progressive.md).
        """
        return self.mean + self.std * rng.standard_normal((draws, len(self.mean)))


@dataclass(frozen=True)
class ItemPrior:
    """What items are like before anything is known of them, and how their users' traces tell.

    Item i has factors z_i ~ N(centre, spread). With φ the active days of a user observed for d days and, for each day t
    before d, whether t or a later one was active, the mean of n such users is Gaussian: mean(φ) | z ~
    N(μ_d + A_d z, R_d / n). Only the sum over days is taken to be skewed, and its noise to grow with it (`belief`). All
    of it is estimated from past items. Centre and spread may be an item's own.

    Attributes:
        usual: (H,) or (items, H) expected trace at z = 0.
        shift: the same less the population's; 0 unless centred on something else.
        loadings: (H, K) of the expected trace on the factors.
        leftover: (H,) variance between items, by day, that the factors leave.
        leftover_days: the same of the sum over days.
        skew: skewness over items of the sum over days.
        growth: the power of an item's days that the noise between its users grows with.
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
    skew: float
    growth: float
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
            ValueError: the words do not fit the horizon, an item is below 0, there are fewer than 3 items, or one has
                fewer than 2 users observed for the whole horizon.

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
        item, trace, observed, _ = _days_observed(item, trace, observed, H)
        if (item < 0).any():
            raise ValueError(f"expected items numbered from 0, got {item.min()}")
        if item.max(initial=-1) >= len(item):
            raise ValueError(
                f"expected items numbered from 0, got {item.max()} among {len(item)} users: number them anew"
            )
        whole = observed == (1 << H) - 1
        items = int(item.max(initial=-1)) + 1
        users = np.bincount(item[whole], minlength=items).astype(np.float64)
        if items < 3 or users.min() < 2:
            raise ValueError(
                f"expected 3 or more items with 2 or more users observed for all {H} days each, got {items} items, "
                f"{int((users < 2).sum())} of them with fewer; leave those out and number the others from 0"
            )
        past = _Past(item[whole], trace[whole], users, H)
        factor = _Factors(past)
        loadings = factor.loading(past.daily, past.active.values)
        K = loadings.shape[1]
        by_day, by_last = np.zeros((H + 1, H, K)), np.zeros((H + 1, H + 1, K))
        information = np.zeros((H + 1, K, K))
        for d in range(1, H + 1):
            mean, mine = past.cut(d)
            noise = past.active.covariance(mine, mine) + _RIDGE * np.eye(2 * d - 1)
            lift = factor.loading(mean, mine)
            weight = np.linalg.solve(noise, lift)
            information[d] = lift.T @ weight
            by_day[d, :d] = weight[:d]
            by_last[d, 1:d] = weight[d:].cumsum(axis=0)
            by_last[d, d:] = by_last[d, d - 1]
            by_last[d] -= past.share @ mean @ weight
        days = past.daily.sum(axis=1, keepdims=True)
        within = past.active.values.sum(axis=1, keepdims=True)
        leftover = past.between(past.daily, past.active.values).diagonal() - (loadings**2).sum(axis=1)
        leftover_days = float(past.between(days, within)[0, 0] - (loadings.sum(axis=0) ** 2).sum())
        return cls(
            usual=past.share @ past.daily,
            shift=np.zeros(H),
            loadings=loadings,
            leftover=np.maximum(leftover, _RIDGE),
            leftover_days=max(leftover_days, 0.0),
            skew=past.skew,
            growth=1.0,  # as a count's
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
            ValueError: the shapes do not fit, ``mean`` is not between 0 and 1, or ``covariance`` is not finite.
        """
        H, K = self.loadings.shape
        if mean.shape[-1:] != (H,) or mean.ndim > 2 or not ((mean >= 0) & (mean <= 1)).all():
            raise ValueError(
                f"expected an expected trace of {H} daily probabilities, ({H},) or (items, {H}), got shape "
                f"{mean.shape} with values from {mean.min(initial=np.inf):g} to {mean.max(initial=-np.inf):g}"
            )
        if covariance is not None and (covariance.shape[-2:] != (H, H) or not np.isfinite(covariance).all()):
            raise ValueError(
                f"expected a finite covariance between {H} days, ({H}, {H}), got shape {covariance.shape} or others"
            )
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
        item, trace, observed, days = _days_observed(item, trace, observed, H)
        if not 0 <= items * (H + 1) * max(K, 1) < _MOST_NUMBERS:
            raise ValueError(f"expected a number of items that fits the memory, got {items}")
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
        """The posterior.

        That of the factors has precision spread⁻¹ + Σ_d n_d A_d' R_d⁻¹ A_d and the mean that goes with it. The days S
        that follow have mean m and variance s² where before any evidence they had μ and v: m is a reading of S, with

            m | S ~ N(μ + ρ (S − μ), ρ s² − u + u (S / usual)^growth)        ρ = 1 − s² / v

        where u is the users' share of the noise. S is shifted log-normal a priori, of the items' skewness in proportion
        to √v, and its posterior is integrated numerically and told by its first three moments. Without skewness and
        growth it is N(m, s²).

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
        trace, along = self.usual + solved[..., 0] @ self.loadings.T, solved[..., 1]
        variance = (along * total).sum(1)
        noise = variance - (along[:, None] @ (before @ along[..., None]))[:, 0, 0]
        prior_mean = self.usual.sum(-1) + (self.centre * total).sum(1)
        prior_variance = ((total[:, None] @ self.spread)[:, 0] * total).sum(1) + self.leftover_days
        population = float((self.loadings.sum(0) ** 2).sum()) + self.leftover_days
        mean, std, skew = _skewed(
            trace.sum(1),
            variance + self.leftover_days,
            noise,
            prior_mean,
            prior_variance,
            tilt=self.skew / np.sqrt(max(population, _RIDGE)),
            usual=(self.usual - self.shift).sum(-1, keepdims=True),
            growth=self.growth,
        )
        rise = (mean - trace.sum(1)) / np.where(variance > 0, variance, 1)
        return Belief(mean, std, skew, trace + rise[:, None] * (along @ self.loadings.T))


class _Past:
    """Means of past items, by day and cut at each d, and a sample of their users around them."""

    def __init__(self, item: Ints, trace: Ints, users: Doubles, horizon_days: int):
        order = np.argsort(item, kind="stable")
        sample = order[:: -(-len(order) // _NOISE_USERS)]
        self.active = _Centred(_bits(trace[sample], horizon_days).astype(np.float32), item[sample])
        means = _means(item, trace, users, horizon_days)
        self.daily, self.later = next(means), list(means)
        days, within = self.daily.sum(axis=1), self.active.values.sum(axis=1, keepdims=True)
        noise = float(self.active.covariance(within, within)[0, 0])
        between = max(float(days.var(ddof=1)) - noise * float((1 / users).mean()), _RIDGE)
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


class _Factors:
    """Principal components of whole traces' φ, whitened by the noise between users, that exceed what noise gives."""

    def __init__(self, past: _Past):
        mean, mine = past.cut(past.daily.shape[1])
        root = np.linalg.cholesky(past.active.covariance(mine, mine) + _RIDGE * np.eye(mine.shape[1]))
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


class _Centred:
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


def _skewed(
    mean: Doubles,
    variance: Doubles,
    noise: Doubles,
    prior_mean: Doubles,
    prior_variance: Doubles,
    *,
    tilt: float,
    usual: Doubles,
    growth: float,
) -> tuple[Doubles, Doubles, Doubles]:
    """Mean, standard deviation and skewness (items,) of the days given their reading, as `ItemPrior.belief` says."""
    prior_std, std = (np.sqrt(np.maximum(each, _RIDGE**2))[:, None] for each in (prior_variance, variance))
    known = 1 - (std / prior_std) ** 2
    node, (_, power) = _bent(_NODES, tilt * std), _shape(tilt * std)
    days = mean[:, None] + std * node
    ahead = days - prior_mean[:, None]
    swell = np.maximum(days / np.maximum(usual, _RIDGE), _LEAST_DAYS) ** growth  # where nobody came there is no noise
    spread = np.maximum(known * std**2 - noise[:, None], 0) + noise[:, None] * swell + (_RIDGE * prior_std) ** 2
    off = (mean - prior_mean)[:, None] - known * ahead
    weight = _log_density(ahead / prior_std, tilt * prior_std) + power * _NODES  # and their spacing
    weight -= off**2 / (2 * spread) + np.log(spread) / 2
    weight = np.exp(weight - weight.max(axis=1, keepdims=True))
    weight /= weight.sum(axis=1, keepdims=True)
    centre = (weight * node).sum(axis=1, keepdims=True)
    second, third = ((weight * (node - centre) ** power).sum(axis=1) for power in (2, 3))
    return mean + (std * centre)[:, 0], std[:, 0] * np.sqrt(second), third / second**1.5


def _shape(skew: Doubles | float) -> tuple[Doubles, Doubles]:
    """(y, k) of the law (e^{kξ − k²/2} − 1) / y, ξ normal; its variance is 1 with e^{k²} = 1 + y², its skew y³ + 3y."""
    lean = 2 * np.sinh(np.arcsinh(np.asarray(skew) / 2) / 3)
    lean = np.where(np.abs(lean) < 1e-8, 1e-8, lean)  # the Gaussian
    return lean, np.sign(lean) * np.sqrt(np.log1p(lean**2))


def _bent(normal: Doubles, skew: Doubles | float) -> Doubles:
    """Standard normals to a law of mean 0, variance 1 and this skewness."""
    lean, power = _shape(skew)
    return np.expm1(power * normal - power**2 / 2) / lean


def _log_density(bent: Doubles, skew: Doubles | float) -> Doubles:
    """Of `_bent`, but for what is the same everywhere; a Gaussian tail takes over near its end."""
    lean, power = _shape(skew)
    inside = np.maximum(lean * bent, _END - 1)
    log = np.log1p(inside) + (lean * bent - inside) / _END
    return -((log / power + power / 2) ** 2) / 2 - log


def _bits(words: Ints, days: int) -> npt.NDArray[np.bool_]:
    return (words[:, None] >> np.arange(days)) & 1 == 1


def _days_observed(item: Ints, trace: Ints, observed: Ints, horizon_days: int) -> tuple[Ints, Ints, Ints, Ints]:
    """The words checked, as 64 bits each, and the days observed of each user."""
    kinds = [np.asarray(each).dtype for each in (item, trace, observed)]
    if any(kind.kind not in "iu" for kind in kinds):
        raise ValueError(f"expected items and words of integers, got {', '.join(map(str, kinds))}")
    item, trace, observed = (np.asarray(each).astype(np.int64) for each in (item, trace, observed))
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
    return item, trace, observed, days


def _means(item: Ints, trace: Ints, users: Doubles, horizon_days: int) -> Iterator[Doubles]:
    """(items, H) share active by day; then for each d, (items, H) share whose last active day up to d is t or later."""
    H, items = horizon_days, len(users)
    yield np.stack([np.bincount(item, (trace >> day) & 1, items) for day in range(H)], axis=1) / users[:, None]
    place, last = item * (H + 1), np.zeros(len(trace), np.int64)
    for d in range(1, H + 1):
        last = np.where((trace >> (d - 1)) & 1 == 1, d, last)
        table = np.bincount(place + last, minlength=items * (H + 1)).reshape(items, H + 1)
        yield table[:, :0:-1].cumsum(axis=1)[:, ::-1] / users[:, None]
