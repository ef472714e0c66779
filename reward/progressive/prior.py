"""What items are like before anything is known of them: learned from past items, and read against evidence."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from reward.arrays import Doubles, Ints
from reward.progressive.belief import Belief, Evidence
from reward.progressive.past import Factors, PastItems
from reward.progressive.skewed import RIDGE, given_a_reading
from reward.progressive.traces import bits, days_observed

_MOST_NUMBERS = 2**33  # that evidence may hold: 64 GiB


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
        item, trace, observed, _ = days_observed(item, trace, observed, H)
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
        past = PastItems(item[whole], trace[whole], users, H)
        factor = Factors(past)
        loadings = factor.loading(past.daily, past.active.values)
        K = loadings.shape[1]
        by_day, by_last = np.zeros((H + 1, H, K)), np.zeros((H + 1, H + 1, K))
        information = np.zeros((H + 1, K, K))
        for d in range(1, H + 1):
            mean, mine = past.cut(d)
            noise = past.active.covariance(mine, mine) + RIDGE * np.eye(2 * d - 1)
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
            leftover=np.maximum(leftover, RIDGE),
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
        item, trace, observed, days = days_observed(item, trace, observed, H)
        if not 0 <= items * (H + 1) * max(K, 1) < _MOST_NUMBERS:
            raise ValueError(f"expected a number of items that fits the memory, got {items}")
        if ((item < 0) | (item >= items)).any():
            raise ValueError(f"expected items from 0 to {items - 1}, got {item.min()} to {item.max()}")
        score = np.zeros((items, K))
        for d in np.unique(days[days > 0]):
            mine = days == d
            active = bits(trace[mine], int(d))
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
        mean, std, skew = given_a_reading(
            trace.sum(1),
            variance + self.leftover_days,
            noise,
            prior_mean,
            prior_variance,
            tilt=self.skew / np.sqrt(max(population, RIDGE)),
            usual=(self.usual - self.shift).sum(-1, keepdims=True),
            growth=self.growth,
        )
        rise = (mean - trace.sum(1)) / np.where(variance > 0, variance, 1)
        return Belief(mean, std, skew, trace + rise[:, None] * (along @ self.loadings.T))
