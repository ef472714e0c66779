"""From tests of several metrics to one decision: a launch rule with guardrails, and discoveries among many metrics."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from reward.arrays import Bools
from reward.statistics.intervals import check_alpha


class Metric(NamedTuple):
    """A metric's estimated difference between two arms; more is better.

    Attributes:
        effect: treated minus control, as `compare` gives it.
        se: its standard error, above 0.
        margin: of a guardrail: the loss that is borne, at least 0, in the metric's unit.
    """

    effect: float
    se: float
    margin: float = 0.0


class Decision(NamedTuple):
    """Whether to launch, and why or why not: the metrics behind each clause of the rule.

    Attributes:
        launch: a success metric is better, every guardrail is not worse by more than its margin, and none deteriorates.
        better: success metrics that are better.
        doubtful: guardrails that could be worse by more than their margin.
        worse: metrics of either kind that are worse than in the control.
    """

    launch: bool
    better: tuple[str, ...]
    doubtful: tuple[str, ...]
    worse: tuple[str, ...]


def decide(success: Mapping[str, Metric], guardrails: Mapping[str, Metric], *, alpha: float = 0.05) -> Decision:
    """Launch if at least one success metric is better and every guardrail is not inferior.

    One-sided tests: of each success metric at alpha divided by their number, so that a treatment which does nothing is
    launched with a chance of at most alpha; of each guardrail at alpha, for all of them have to pass; and that no
    metric is worse, at alpha divided by the number of all.

    Args:
        success: by name, those of which one must be better.
        guardrails: by name, those that must not be worse by more than their margin.
        alpha: chance of launching what makes no success metric better, or a guardrail worse by its margin.

    Raises:
        ValueError: there is no success metric, a name is in both, a number is not finite or out of its range.

    Source: Schultzberg, Ankargren and Frånberg, "Risk-aware product decisions in A/B tests with multiple metrics"
    (arXiv 2402.11609), Spotify's rule.

    >>> decide({"days": Metric(0.3, 0.1)}, {"skips": Metric(0.0, 0.05, margin=0.1)}).launch
    True
    """
    check_alpha(alpha)
    if not success:
        raise ValueError("expected at least one success metric, got none: a launch must be for something")
    both = success.keys() & guardrails.keys()
    if both:
        raise ValueError(f"expected a metric to be success or guardrail, got {sorted(both)} as both")
    every = {**success, **guardrails}
    for name, it in every.items():
        if not (np.isfinite([it.effect, it.se, it.margin]).all() and it.se > 0 and it.margin >= 0):
            raise ValueError(f"{name} expected finite numbers, se above 0 and a margin of at least 0, got {it}")
    bound = {count: NormalDist().inv_cdf(1 - alpha / count) for count in {1, len(success), len(every)}}
    better = tuple(name for name, it in success.items() if it.effect / it.se > bound[len(success)])
    doubtful = tuple(name for name, it in guardrails.items() if not (it.effect + it.margin) / it.se > bound[1])
    worse = tuple(name for name, it in every.items() if -it.effect / it.se > bound[len(every)])
    return Decision(bool(better) and not doubtful and not worse, better, doubtful, worse)


def discoveries(p_values: npt.ArrayLike, *, rate: float = 0.05, dependent: bool = False) -> Bools:
    """Which of many metrics moved, with false ones among them at most a share ``rate`` in the mean.

    Args:
        p_values: (metrics,) from 0 to 1, of independent or positively dependent tests.
        rate: false discoveries over discoveries, in the mean.
        dependent: tests may depend on each other in any way: fewer discoveries.

    Returns:
        (metrics,) whether each is a discovery.

    Raises:
        ValueError: not one dimension, a value outside 0 to 1, or a rate outside (0, 1).

    Source: Benjamini and Hochberg 1995, "Controlling the false discovery rate"; for any dependence, Benjamini and
    Yekutieli 2001.

    >>> discoveries([0.001, 0.02, 0.04, 0.5])
    array([ True,  True, False, False])
    """
    check_alpha(rate)
    values = np.asarray(p_values, np.float64)
    if values.ndim != 1 or not ((values >= 0) & (values <= 1)).all():
        raise ValueError(f"expected p-values from 0 to 1 in one dimension, got {values.tolist()!s:.80}")
    if not len(values):
        return np.zeros(0, np.bool_)
    ranks = np.arange(1, len(values) + 1)
    level = rate / (1 / ranks).sum() if dependent else rate
    passed = np.flatnonzero(np.sort(values) <= level * ranks / len(values))
    return values <= (np.sort(values)[passed[-1]] if len(passed) else -1.0)
