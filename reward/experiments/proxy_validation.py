"""A proxy judged by past experiments: would it have decided as the north star did, and how much sooner is it sure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from reward.arrays import Doubles
from reward.experiments.proxy_weights import Sums, beyond_own, sums_by_experiment
from reward.experiments.table import Experiments
from reward.moved import find_names_of_before
from reward.statistics.intervals import check_alpha, check_level, normal

PROXY = "proxy"
MEASURES = (
    "sign agreement",
    "decision agreement",
    "recall",
    "precision",
    "reversals",
    "sensitivity",
    "detections",
    "correlation",
)

find_names_of_before(__name__)


def evaluate_proxy(
    table: Experiments,
    north_star: str,
    signals: Sequence[str],
    weights: npt.ArrayLike,
    *,
    resamples: int,
    seed: int,
    alpha: float = 0.05,
    level: float = 0.95,
) -> pl.DataFrame:
    """Measures of a proxy, the weighted sum of signals, over the arms of past experiments.

    With z the estimated effect over its standard error, an arm is *launched* by a metric whose ``z > z_{1−α/2}``:

    - sign agreement: share of arms whose estimates have one sign.
    - decision agreement: share of arms that both launch or both do not.
    - recall: of the arms that the north star launches, the share that the proxy launches.
    - precision: of the arms that the proxy launches, the share that the north star launches.
    - reversals: share of arms where both are significant and of opposite sign.
    - sensitivity: ``Σ |z_proxy| / Σ |z_north|``. Noise alone has a mean |z| of .8: where neither sees anything it is 1.
    - detections: significant arms of the proxy over those of the north star.
    - correlation: of the *true* effects, with each arm's sampling covariance taken out as in `jive`; not bounded by 1.

    All but the last compare estimates. Both come from the same users, so that their noise agrees or disagrees too:
    read them beside the correlation.

    Args:
        table: past experiments; others than the weights were learned on.
        north_star: the metric the proxy stands in for.
        signals: what is summed.
        weights: (signals,), or (arms, signals): `ProxyWeights.held_out` has been learned without the arm's own
            experiment.
        resamples: of whole experiments.
        seed: of the resamples.
        alpha: level of the two-sided test.
        level: share of the resamples inside the interval.

    Returns:
        ``measure``, ``value``, ``low`` and ``high``, a row for each measure. Null where nothing is launched; an
        interval is null where a resample leaves the measure undefined.

    Raises:
        ValueError: an unknown metric, weights of another shape or all 0, fewer than 2 experiments or no resample, or
            alpha or level outside (0, 1).

    Source: Netflix's launch recall and consistency, Zhang et al. 2023, Evaluating the Surrogate Index as a
    Decision-Making Tool; sensitivity and detections, Richardson et al. 2023, Pareto optimal proxy metrics.
    """
    check_alpha(alpha)
    check_level(level)
    both = table.with_proxy(PROXY, signals, weights, north_star)
    draws = _resamples(table.experiments, resamples, seed)
    counts, sums = _counts(both, normal(1 - alpha)), sums_by_experiment(both)
    everyone = np.ones((1, table.experiments))
    told, drawn = (
        _measures(rows @ counts, Sums(*(np.tensordot(rows, part, 1) for part in sums))) for rows in (everyone, draws)
    )
    low, high = _ends(drawn, level)
    numbers = {"value": told[0], "low": low, "high": high}
    return pl.DataFrame({"measure": MEASURES, **numbers}).with_columns(pl.col(*numbers).fill_nan(None))


def pareto_front(
    table: Experiments,
    north_star: str,
    signals: Sequence[str],
    *,
    directions: int,
    resamples: int,
    seed: int,
    known: Mapping[str, npt.ArrayLike] | None = None,
    level: float = 0.95,
) -> pl.DataFrame:
    """Combinations of signals than which no other is both more sensitive and more often of the north star's sign.

    The best of many combinations is the best in part by luck. So the front is chosen on a random half of the
    experiments, and what is told of it is measured on the other half.

    Args:
        table: past experiments.
        north_star: what the combinations are proxies of.
        signals: what they combine.
        directions: random combinations tried, evenly over the sphere of signals in units of their errors. Each signal
            alone is tried besides.
        resamples: of the experiments of the other half.
        seed: of the directions, the halves and the resamples.
        known: more combinations to try and to tell of whether on the front or not: name -> (signals,) weights. Their
            other half is only unseen if they were not learned on it.
        level: see `evaluate_proxy`.

    Returns:
        A row for each combination on the front, and for each signal and each of ``known``, by falling sensitivity:
        ``name`` (null for a random one), ``weights`` (list, in the signals' order and units), ``front``,
        ``sensitivity`` and ``sign agreement`` of the other half with their intervals (``… low``, ``… high``), and
        those of the half that chose (``… chosen by``).

    Raises:
        ValueError: see `evaluate_proxy`; fewer than 4 experiments, directions below 0, or known weights that do not
            fit.

    Source: Richardson, Zito, Greaves and Soriano 2023, Pareto optimal proxy metrics (arXiv 2307.01000).
    """
    check_level(level)
    if not directions >= 0:
        raise ValueError(f"directions expected a number of at least 0, got {directions}: some hundreds are usual")
    if table.experiments < 4:
        raise ValueError(f"a front expected at least 4 experiments, got {table.experiments}: half of them choose it")
    rng = np.random.default_rng(seed)
    half = rng.permutation(table.experiments) % 2 == 0
    parts = table.of([*signals, north_star])
    error = np.sqrt(np.average(parts.covariance.diagonal(0, 1, 2) * parts.size[:, None], axis=0))[:-1]
    named = {name: np.eye(len(signals))[at] for at, name in enumerate(signals)}
    named |= {name: np.asarray(weights, np.float64) for name, weights in (known or {}).items()}
    shape = (len(signals),)
    wrong = [
        name
        for name, weights in named.items()
        if weights.shape != shape or not np.isfinite(weights).all() or not weights.any()
    ]
    if wrong:
        raise ValueError(
            f"known expected weights of shape {shape}, got others for {', '.join(wrong)}: finite, and not all 0"
        )
    tried = np.concatenate([np.array(list(named.values())), rng.normal(size=(directions, len(signals))) / error])
    chosen, told = (_scores(parts.among(which), tried) for which in (half, ~half))
    before = _rates(chosen.sum(1))
    front = undominated(before)
    keep = front | (np.arange(len(tried)) < len(named))
    draws = _resamples(int((~half).sum()), resamples, seed)
    after = _rates(told[keep].sum(1))
    low, high = _ends(_rates(np.einsum("rg,dgq->rdq", draws, told[keep])), level)
    frame = pl.DataFrame(
        {"name": [*named, *[None] * directions], "weights": tried.tolist(), "front": front},
        schema_overrides={"name": pl.String},
    ).filter(keep)
    for at, name in enumerate(("sensitivity", "sign agreement")):
        frame = frame.with_columns(
            pl.Series(name, after[:, at]),
            pl.Series(f"{name} low", low[:, at]),
            pl.Series(f"{name} high", high[:, at]),
            pl.Series(f"{name} chosen by", before[keep, at]),
        )
    return frame.sort("sensitivity chosen by", descending=True)


def undominated(points: Doubles) -> npt.NDArray[np.bool_]:
    """Which of ``points`` no other reaches in one coordinate and beats in the other; (points, 2), more is better.

    Of equal points each counts.

    Raises:
        ValueError: another shape, or a point that is NaN.

    >>> undominated(np.array([[1.0, 3.0], [2.0, 2.0], [2.0, 1.0], [3.0, 1.0]])).tolist()
    [True, True, False, True]
    """
    if np.ndim(points) != 2 or np.shape(points)[1] != 2 or np.isnan(points).any():
        raise ValueError(f"expected points (n, 2) without NaN, got shape {np.shape(points)}")
    if not len(points):
        return np.zeros(0, np.bool_)
    order = np.lexsort((-points[:, 1], -points[:, 0]))
    first, second = points[order].T
    best = np.maximum.accumulate(second)
    start = np.searchsorted(-first, -first)  # the first point of the same first coordinate
    before = np.concatenate([[-np.inf], best])[start]
    out = np.empty(len(points), np.bool_)
    out[order] = (second > before) & (second == second[start])
    return out


def _counts(both: Experiments, critical: float) -> Doubles:
    """(experiments, 11) what `_measures` divides, summed over each experiment's arms."""
    z = both.effects / np.sqrt(both.covariance.diagonal(0, 1, 2))
    proxy, north = z.T
    up, down = z > critical, z < -critical
    launched, wanted = up.T
    per_arm = [
        np.ones(len(both)),
        np.sign(proxy) == np.sign(north),
        launched == wanted,
        launched & wanted,
        launched,
        wanted,
        (up[:, 0] & down[:, 1]) | (down[:, 0] & up[:, 1]),
        np.abs(proxy),
        np.abs(north),
        up[:, 0] | down[:, 0],
        up[:, 1] | down[:, 1],
    ]
    return np.stack([np.bincount(both.experiment, values, both.experiments) for values in per_arm], axis=1)


def _measures(counts: Doubles, sums: Sums) -> Doubles:
    """(resamples, measures) in the order of `MEASURES`."""
    arms, sign, decision, right, launched, wanted, reversed_, proxy, north, found, seen = counts.T
    spread = beyond_own(sums)
    above = [sign, decision, right, right, reversed_, proxy, found, spread[:, 0, 1]]
    below = [arms, arms, wanted, launched, arms, north, seen]
    product = spread[:, 0, 0] * spread[:, 1, 1]
    below.append(np.sqrt(np.where((spread[:, 0, 0] > 0) & (product > 0), product, 0)))
    numerator, denominator = np.stack(above, axis=1), np.stack(below, axis=1)
    return np.divide(numerator, denominator, out=np.full_like(numerator, np.nan), where=denominator > 0)


def _scores(parts: Experiments, weights: Doubles) -> Doubles:
    """(combinations, experiments, 4) Σ |z|, Σ |z| of the north star, arms of its sign, and arms."""
    signals = parts.effects[:, :-1], parts.covariance[:, :-1, :-1]
    z = weights @ signals[0].T / np.sqrt(np.einsum("da,kab,db->dk", weights, signals[1], weights, optimize=True))
    north = parts.effects[:, -1] / np.sqrt(parts.covariance[:, -1, -1])
    per_arm = [np.abs(z), np.abs(north), np.sign(z) == np.sign(north), 1.0]
    arms = np.stack([np.broadcast_to(values, z.shape).astype(np.float64) for values in per_arm], axis=-1)
    return np.einsum("kg,dkq->dgq", np.eye(parts.experiments)[parts.experiment], arms, optimize=True)


def _rates(scores: Doubles) -> Doubles:
    """(..., 2) sensitivity and sign agreement; nan where the north star has no effect at all."""
    above, below = scores[..., [0, 2]], scores[..., [1, 3]]
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)


def _resamples(experiments: int, resamples: int, seed: int) -> Doubles:
    """(resamples, experiments) how often each experiment is drawn."""
    if not (experiments >= 2 and resamples >= 1):
        raise ValueError(
            f"resampling expected at least 2 experiments and 1 resample, got {experiments} and {resamples}"
        )
    even = np.full(experiments, 1 / experiments)
    return np.random.default_rng(seed).multinomial(experiments, even, resamples).astype(np.float64)


def _ends(drawn: Doubles, level: float) -> tuple[Doubles, Doubles]:
    """Percentiles over the first axis; nan where a draw is."""
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high
