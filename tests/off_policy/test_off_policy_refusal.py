"""Where weights do not average 1 there is no estimate; and an interval counts on rows that the log has missed."""

import numpy as np
import pytest

from reward.off_policy.doubly_robust import (
    clipped_doubly_robust,
    direct,
    doubly_robust,
    switch_doubly_robust,
)
from reward.off_policy.estimate import MeanWeightOff, Refusal, TooFewEffectiveRows
from reward.off_policy.feedback import LoggedFeedback
from reward.off_policy.ips import clipped, ips, snips
from reward.off_policy.lope import long_term
from reward.off_policy.paired_difference import difference, difference_doubly_robust, difference_from_level
from reward.off_policy.selection import select_estimator
from reward.off_policy.slate_ips import (
    independent_ips,
    reward_interaction_ips,
    slate_ips,
)

N = 3_000
ZERO = np.zeros(N)
UNBIASED = {
    "inverse propensity": ips,
    "doubly robust": lambda rows, target: doubly_robust(rows, target, ZERO, ZERO),
    "long term": lambda rows, target: long_term(rows, target / rows.propensity, ZERO, ZERO),
    "difference": difference,
    "difference from level": difference_from_level,
    "difference doubly robust": lambda rows, target: difference_doubly_robust(rows, target, ZERO, ZERO, ZERO),
}
LOWERED = {
    "clipped": lambda rows, target: clipped(rows, target, most=2.0),
    "clipped doubly robust": lambda rows, target: clipped_doubly_robust(rows, target, ZERO, ZERO, most=2.0),
    "switch doubly robust": lambda rows, target: switch_doubly_robust(rows, target, ZERO, ZERO, most=20.0),
    "long term, clipped": lambda rows, target: long_term(rows, target / rows.propensity, ZERO, ZERO, most=2.0),
}
SLATES = {
    "slate": slate_ips,
    "independent": independent_ips,
    "reward interaction": reward_interaction_ips,
}


def log(times=1.0, *, seed=0, **more):
    """Rows of a policy that tries four items, and another's chances of these; propensities are off by a factor."""
    draws = np.random.default_rng(seed)
    logging, policy = np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.4, 0.3, 0.2, 0.1])
    item = draws.choice(4, N, p=logging)
    given = {
        "reward": draws.normal(size=N) + item,
        "propensity": logging[item] * times,
        "min_effective_sample_size": 100,
    }
    return LoggedFeedback(**given | more), policy[item]


@pytest.mark.parametrize("name", UNBIASED)
def test_weights_that_average_1_are_not_refused_and_others_are(name):
    assert UNBIASED[name](*log()).rows == N
    for times, mean in ((0.8, 1.25), (1.25, 0.8)):
        with pytest.raises(MeanWeightOff, match=r"average 1, got (1\.2|0\.7|0\.8).*Check the propensities") as refused:
            UNBIASED[name](*log(times))
        assert refused.value.mean_weight == pytest.approx(mean, abs=0.06)
        assert refused.value.effective_sample_size > 100
        assert "and not 1" in refused.value.brief


@pytest.mark.parametrize("name", LOWERED)
def test_clipped_weights_average_less_by_design_and_more_by_mistake(name):
    assert LOWERED[name](*log(1.25)).mean_weight < 0.85
    with pytest.raises(MeanWeightOff, match="average 1"):
        LOWERED[name](*log(0.4))


@pytest.mark.parametrize("name", SLATES)
def test_one_position_of_a_slate_is_enough_to_refuse(name):
    (first, target), (second, other) = log(seed=1), log(seed=2)
    slates = LoggedFeedback(
        reward=np.stack([first.reward, second.reward], axis=1),
        propensity=np.stack([first.propensity, second.propensity], axis=1),
        min_effective_sample_size=50,
    )
    assert SLATES[name](slates, np.stack([target, other], axis=1)).rows == N
    for off in ((0.7, 1.0), (1.0, 0.7)):
        with pytest.raises(MeanWeightOff, match="average 1"):
            SLATES[name](slates, np.stack([target, other], axis=1) * off)


def test_a_log_can_be_taken_as_it_is():
    assert snips(*log(1.25)).mean_weight < 0.85  # divided by
    assert ips(*log(1.25, most_off=np.inf)).mean_weight < 0.85
    assert direct(log(1.25)[0], ZERO).value == 0


def test_users_whose_rows_are_alike_leave_the_mean_weight_less_sure():
    """Off by .08: more than two errors if rows are independent, fewer if one user has a hundred of them."""
    rows, target = log()
    target = target * 0.92 / (target / rows.propensity).mean()
    order = np.argsort(target / rows.propensity)
    user = np.empty(N, int)
    user[order] = np.arange(N) // 100
    alone, together = (
        LoggedFeedback(reward=rows.reward, propensity=rows.propensity, min_effective_sample_size=100, user=each)
        for each in (None, user)
    )
    with pytest.raises(MeanWeightOff, match=r"got 0\.920"):
        ips(alone, target)
    assert ips(together, target).mean_weight == pytest.approx(0.92)


def test_a_choice_without_its_reference_is_refused_and_others_are_named():
    rows, target = log(1.25)
    candidates = {"IPS": lambda: ips(rows, target), "clipped": lambda: clipped(rows, target, most=2)}
    with pytest.raises(Refusal, match="average 1"):
        select_estimator(candidates, reference="IPS")
    assert "average 1" in select_estimator(candidates, reference="clipped").refused["IPS"]


def test_what_was_not_seen_by_hand():
    rows = LoggedFeedback(reward=[2.0, 1.0], propensity=[0.25, 0.5], min_effective_sample_size=1, most_off=np.inf)
    found = ips(rows, [0.75, 0.5])  # weights 3 and 1: √3 · 3/2 · ((3 · 16 + 1) / 4)^¼
    assert found.unseen == pytest.approx(3**0.5 * 1.5 * (49 / 4) ** 0.25)
    low, high = found.interval(0.95)
    assert (high - low) / 2 == pytest.approx(1.959964 * np.hypot(found.standard_error, found.unseen), rel=1e-6)
    assert found.minus(found).unseen == pytest.approx(2**0.5 * found.unseen)
    assert direct(rows, [1.0, 2.0]).unseen == 0
    at_once = difference(rows, [0.75, 0.5])  # δ is 2 and 0
    assert at_once.unseen == pytest.approx(3**0.5 * 2 / 2 * 2)


def test_what_was_not_seen_is_in_the_unit_of_the_reward():
    rows, target = log()
    for unit in (1e-200, 1e100):
        scaled = LoggedFeedback(reward=rows.reward * unit, propensity=rows.propensity, min_effective_sample_size=100)
        assert ips(scaled, target).unseen / unit == pytest.approx(ips(rows, target).unseen)


def test_near_the_floor_what_passes_holds_the_truth():
    """Log-normal weights, of which a log has rarely seen the heaviest, and a reward that goes with them."""
    held = {"now": [], "floor alone": []}
    for seed in range(300):
        draws = np.random.default_rng([1, seed])
        dose = draws.normal(size=N)
        logging, target = (np.exp(-((dose - at) ** 2) / 2) / (2 * np.pi) ** 0.5 for at in (0.0, 2.1))
        given = {"reward": 1 + 0.3 * dose + draws.normal(size=N), "propensity": logging}
        try:
            found = ips(LoggedFeedback(**given, min_effective_sample_size=100, most_off=np.inf), target)
        except TooFewEffectiveRows:
            continue
        held["floor alone"].append(abs(found.value - 1.63) <= 1.96 * found.standard_error)
        try:
            ips(LoggedFeedback(**given, min_effective_sample_size=100), target)
        except MeanWeightOff:
            continue
        low, high = found.interval(0.95)
        held["now"].append(low <= 1.63 <= high)
    assert len(held["now"]) > 50
    assert np.mean(held["now"]) >= 0.93
    assert np.mean(held["floor alone"]) < 0.87


def test_nothing_passes_for_a_floor():
    for floor in (np.nan, np.inf, -1):
        with pytest.raises(ValueError, match="min_effective_sample_size, a finite number of at least 0"):
            log(min_effective_sample_size=floor)
    with pytest.raises(ValueError, match="most_off of at least 0"):
        log(most_off=np.nan)
