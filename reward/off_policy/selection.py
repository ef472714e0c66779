"""Which estimator to take: the one of the least estimated mean squared error, from the log alone.

Weighting less lowers the variance, which the log tells well, and brings a bias, which it tells badly: the difference
from an unbiased estimate is the bias and the noise of that estimate. Taken at its word, it makes a choice follow the
noise; ignored, it leads to whatever weights least. So the bias is given a prior of the variance of its measurement:
half of what is seen is believed, and half of the noise is held against whoever departs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from reward.off_policy.estimate import Estimate, Refusal

_BELIEVED = 1 / 2  # of the difference from the reference: prior variance over that and the noise


@dataclass(frozen=True)
class Choice:
    """The candidate that was taken, and what was thought of all.

    Attributes:
        name: the candidate of the least estimated mean squared error.
        estimate: its estimate; its standard error knows neither its bias nor that it was chosen.
        squared_error: of each candidate that was not refused, the estimated bias² + variance.
        refused: why, of the others.
    """

    name: str
    estimate: Estimate
    squared_error: dict[str, float]
    refused: dict[str, str]


def select_estimator(candidates: Mapping[str, Callable[[], Estimate]], *, reference: str) -> Choice:
    """Take the candidate of the least estimated mean squared error.

    With ``d = v_j − v_ref`` and the variances estimated on the same rows,

        ``E[bias_j² | d] = d²/4 + var(d)/2``  for a prior  ``bias_j ~ N(0, var(d))``
        ``mse_j = d²/4 + var(d)/2 + var_j``,  and  ``mse_ref = var_ref``.

    No interval around what is chosen holds the truth as often as it says, and is shorter than the reference's: take
    that of the reference.

    Args:
        candidates: estimators on the same rows, called here, by name. The more they differ in how much they weight, the
            better: doubly robust, clipped at several weights, long-term by short-term rewards.
        reference: name of one that is (nearly) unbiased, such as doubly robust.

    Raises:
        ValueError: no candidate of the reference's name, or candidates on other rows.
        Refusal: the reference is refused, so nothing tells how biased the others are.

    Source:
        Own; compare Su, Srinath and Krishnamurthy (2020), Adaptive estimator selection for off-policy evaluation
        (SLOPE), and Udagawa et al. (2023), Policy-adaptive estimator selection for off-policy evaluation.

    >>> from reward.off_policy.estimate import LoggedFeedback
    >>> from reward.off_policy.ips import clipped, ips
    >>> rows = LoggedFeedback(reward=[1, 0, 1, 1], propensity=[0.5, 0.5, 0.1, 0.5], min_effective_sample_size=1)
    >>> target = [0.5, 0.5, 0.5, 0.5]
    >>> tried = {"IPS": lambda: ips(rows, target), "at 2": lambda: clipped(rows, target, most=2)}
    >>> choice = select_estimator(tried, reference="IPS")  # 7/4 and 4/4: d² = 9/16, var(d) = 9/16, var = 1/6 and 59/48
    >>> choice.name, {name: round(error, 3) for name, error in choice.squared_error.items()}
    ('at 2', {'IPS': 1.229, 'at 2': 0.589})

    """
    if reference not in candidates:
        raise ValueError(f"expected a candidate named {reference!r}, got {sorted(candidates)}: name the unbiased one")
    unbiased = candidates[reference]()
    found, refused = {reference: unbiased}, {}
    for name, estimator in candidates.items():
        if name != reference:
            try:
                found[name] = estimator()
            except Refusal as error:
                refused[name] = str(error)
    squared_error = {name: _squared_error(each, unbiased) for name, each in found.items()}
    best = min(squared_error, key=squared_error.__getitem__)
    return Choice(best, found[best], squared_error, refused)


def _squared_error(candidate: Estimate, unbiased: Estimate) -> float:
    apart = candidate.minus(unbiased)
    bias = (_BELIEVED * apart.value) ** 2 + _BELIEVED * apart.standard_error**2
    return bias + candidate.standard_error**2
