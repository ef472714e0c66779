"""Every estimator against ten lines of loops, and contracts that hold for all of them."""

import numpy as np
import pytest

from reward.off_policy.doubly_robust import (
    clipped_doubly_robust,
    direct,
    doubly_robust,
    switch_doubly_robust,
)
from reward.off_policy.estimate import TooFewEffectiveRows, effective_sample_size, top_share
from reward.off_policy.feedback import LoggedFeedback, importance
from reward.off_policy.ips import clipped, ips, snips
from reward.off_policy.lope import long_term, marginal_weight
from reward.off_policy.paired_difference import difference, difference_doubly_robust, difference_from_level
from reward.off_policy.slate_ips import (
    independent_ips,
    reward_interaction_ips,
    slate_ips,
)

N, USERS, ACTIONS, POSITIONS = 60, 17, 4, 3
MOST = 1.5


class World:
    """A log of single actions, one of slates, and two policies to evaluate."""

    def __init__(self, seed):
        draws = np.random.default_rng(seed)
        self.logging, self.policy, self.other = (draws.dirichlet(np.ones(ACTIONS), N) for _ in range(3))
        self.action = np.array([draws.choice(ACTIONS, p=row) for row in self.logging])
        self.at = np.arange(N), self.action
        self.reward, self.user = draws.normal(1, 1, N), draws.integers(USERS, size=N)
        self.model, self.posterior = draws.normal(size=(N, ACTIONS)), draws.dirichlet(np.ones(ACTIONS), N)
        self.target, self.other_target = self.policy[self.at], self.other[self.at]
        self.predicted, self.expected = self.model[self.at], (self.policy * self.model).sum(axis=1)
        self.expected_of_other = (self.other * self.model).sum(axis=1)
        self.slate_target, self.slate_propensity = draws.uniform(0.1, 1, (2, N, POSITIONS))
        self.slate_reward = draws.normal(size=(N, POSITIONS))
        self.marginal = marginal_weight(self.policy, self.logging, self.posterior)

    def rows(self, user=True, least=0.0):
        who = self.user if user else None
        return LoggedFeedback(
            reward=self.reward,
            propensity=self.logging[self.at],
            user=who,
            min_effective_sample_size=least,
            most_off=np.inf,  # sixty rows are for arithmetic: their weights average what they will
        )

    def slates(self, user=True, least=0.0):
        who = self.user if user else None
        return LoggedFeedback(
            reward=self.slate_reward,
            propensity=self.slate_propensity,
            user=who,
            min_effective_sample_size=least,
            most_off=np.inf,
        )


ESTIMATORS = {
    "inverse propensity": lambda w, r, s: ips(r, w.target),
    "self-normalised": lambda w, r, s: snips(r, w.target),
    "clipped": lambda w, r, s: clipped(r, w.target, most=MOST),
    "direct": lambda w, r, s: direct(r, w.expected),
    "doubly robust": lambda w, r, s: doubly_robust(r, w.target, w.predicted, w.expected),
    "clipped doubly robust": lambda w, r, s: clipped_doubly_robust(r, w.target, w.predicted, w.expected, most=MOST),
    "switch doubly robust": lambda w, r, s: switch_doubly_robust(r, w.target, w.predicted, w.expected, most=MOST),
    "long term": lambda w, r, s: long_term(r, w.marginal, w.predicted, w.expected),
    "difference": lambda w, r, s: difference(r, w.target),
    "difference of two": lambda w, r, s: difference(r, w.target, w.other_target),
    "difference from level": lambda w, r, s: difference_from_level(r, w.target, w.other_target),
    "difference doubly robust": lambda w, r, s: difference_doubly_robust(
        r, w.target, w.predicted, w.expected, w.expected_of_other, w.other_target
    ),
    "slate": lambda w, r, s: slate_ips(s, w.slate_target),
    "independent": lambda w, r, s: independent_ips(s, w.slate_target),
    "reward interaction": lambda w, r, s: reward_interaction_ips(s, w.slate_target),
}


def by_loops(name, w):
    """The estimate, row by row and action by action."""
    total, weights, squares, pulled = 0.0, 0.0, 0.0, 0.0
    for i in range(N):
        a, r = w.action[i], w.reward[i]
        one, two = w.policy[i, a] / w.logging[i, a], w.other[i, a] / w.logging[i, a]
        of_model, of_other = 0.0, 0.0
        for b in range(ACTIONS):
            of_model += w.policy[i, b] * w.model[i, b]
            of_other += w.other[i, b] * w.model[i, b]
        weights += one
        squares += (one - two) ** 2
        pulled += (one - two) ** 2 * r
        rest = r - w.model[i, a]
        if name in ("inverse propensity", "self-normalised"):
            total += one * r
        elif name == "clipped":
            total += min(one, MOST) * r
        elif name == "direct":
            total += of_model
        elif name == "doubly robust":
            total += one * rest + of_model
        elif name == "clipped doubly robust":
            total += min(one, MOST) * rest + of_model
        elif name == "switch doubly robust":
            total += (one * rest if one <= MOST else 0.0) + of_model
        elif name == "long term":
            marginal = 0.0
            for b in range(ACTIONS):
                marginal += w.posterior[i, b] * w.policy[i, b] / w.logging[i, b]
            total += marginal * rest + of_model
        elif name == "difference":
            total += (one - 1) * r
        elif name in ("difference of two", "difference from level"):
            total += (one - two) * r
        elif name == "difference doubly robust":
            total += (one - two) * rest + of_model - of_other
        else:
            product, all_of_them = 1.0, 1.0
            for k in range(POSITIONS):
                all_of_them *= w.slate_target[i, k] / w.slate_propensity[i, k]
            for k in range(POSITIONS):
                here = w.slate_target[i, k] / w.slate_propensity[i, k]
                product *= here
                weight = {"slate": all_of_them, "independent": here, "reward interaction": product}[name]
                total += weight * w.slate_reward[i, k]
    if name == "self-normalised":
        return total / weights
    if name == "difference from level":
        level = pulled / squares
        for i in range(N):
            total -= level * (w.target[i] - w.other_target[i]) / w.logging[i, w.action[i]]
    return total / N


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("seed", [0, 1])
def test_an_estimate_is_that_of_plain_loops(name, seed):
    world = World(seed)
    found = ESTIMATORS[name](world, world.rows(), world.slates())
    assert found.value == pytest.approx(by_loops(name, world), abs=1e-9, rel=1e-9)
    assert found.value == pytest.approx(found.contribution.mean(), abs=1e-12)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_standard_error_sums_contributions_by_user_first(name):
    world = World(2)
    found = ESTIMATORS[name](world, world.rows(), world.slates())
    users, total = np.unique(world.user), 0.0
    for user in users:
        mine = 0.0
        for i in range(N):
            if world.user[i] == user:
                mine += found.contribution[i] - found.value
        total += mine**2
    assert found.standard_error == pytest.approx((len(users) / (len(users) - 1) * total) ** 0.5 / N, rel=1e-9)
    alone = ESTIMATORS[name](world, world.rows(user=False), world.slates(user=False))
    assert alone.standard_error == pytest.approx(found.contribution.std(ddof=1) / N**0.5, rel=1e-9)
    assert alone.value == found.value


@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_estimator_refuses_below_the_floor(name):
    world = World(3)
    found = ESTIMATORS[name](world, world.rows(), world.slates())
    floor = found.effective_sample_size + 1e-6
    with pytest.raises(
        TooFewEffectiveRows, match=f"{found.effective_sample_size:.1f} of {N}.*Evaluate a policy nearer"
    ):
        ESTIMATORS[name](world, world.rows(least=floor), world.slates(least=floor))
    just = found.effective_sample_size - 1e-6
    assert ESTIMATORS[name](world, world.rows(least=just), world.slates(least=just)).value == found.value


@pytest.mark.parametrize("name", [name for name in ESTIMATORS if name not in ("direct", "long term")])
def test_the_logging_policy_itself_has_full_weight(name):
    """Its value is the mean reward, and its difference from itself is 0."""
    world = World(4)
    world.policy = world.other = world.logging
    world.target = world.other_target = world.logging[world.at]
    world.expected = world.expected_of_other = world.predicted
    world.slate_target = world.slate_propensity
    found = ESTIMATORS[name](world, world.rows(), world.slates())
    slate = name in ("slate", "independent", "reward interaction")
    mean = 0.0 if "difference" in name else world.slate_reward.sum(axis=1).mean() if slate else world.reward.mean()
    assert found.value == pytest.approx(mean, abs=1e-12)
    assert (found.effective_sample_size, found.mean_weight) == pytest.approx((N, 1))
    assert found.top_share == pytest.approx(1 / N)


def test_intervals_cover_and_weighting_is_unbiased():
    """Of 400 logs of a policy whose value is known, about 95% have it in their interval."""
    draws = np.random.default_rng(5)
    logging, policy, mean = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.3, 0.5]), np.array([0.0, 1.0, 2.0])
    true, level = policy @ mean, logging @ mean
    held, values = np.zeros(3), []
    for _ in range(400):
        action = draws.choice(3, 300, p=logging)
        rows = LoggedFeedback(
            reward=draws.normal(mean[action]), propensity=logging[action], min_effective_sample_size=10, most_off=np.inf
        )
        found = [ips(rows, policy[action]), snips(rows, policy[action])]
        found.append(difference_from_level(rows, policy[action]))
        ends = [each.interval(0.95) for each in found]
        truths = true, true, true - level
        held += [low <= truth <= high for (low, high), truth in zip(ends, truths, strict=True)]
        values.append([each.value - truth for each, truth in zip(found, truths, strict=True)])
    assert (np.abs(held / 400 - 0.95) < 0.035).all()
    bias, error = np.mean(values, axis=0), np.std(values, axis=0) / 20
    assert (np.abs(bias) < 4 * error + 0.005).all()


def test_a_difference_estimated_at_once_is_less_noisy_than_two_values():
    world = World(6)
    world.reward = world.reward + 10
    rows = world.rows(user=False)
    apart = ips(rows, world.target).minus(ips(rows, world.other_target))
    once, level = (each(rows, world.target, world.other_target) for each in (difference, difference_from_level))
    assert apart.value == pytest.approx(once.value)
    assert apart.standard_error == pytest.approx(once.standard_error)
    assert level.standard_error < once.standard_error / 2


def test_effective_rows_and_top_share_by_hand():
    np.testing.assert_allclose(effective_sample_size([[1, 1, 0], [1, 3, 0]]), [2, 1.6, 0])
    weight = np.ones(200)
    weight[:2] = 101  # 1% of the rows: two of them
    assert top_share(weight) == pytest.approx(202 / 400)
    assert top_share(np.zeros(5)) == 1


def test_a_largest_weight_of_infinity_changes_nothing():
    world, rows = World(7), World(7).rows()
    assert clipped(rows, world.target, most=np.inf).value == ips(rows, world.target).value
    model = world.predicted, world.expected
    robust = doubly_robust(rows, world.target, *model).value
    for each in (clipped_doubly_robust, switch_doubly_robust):
        assert each(rows, world.target, *model, most=np.inf).value == robust


def test_no_weight_at_all_is_refused_and_no_warning():
    rows = World(8).rows(least=1)
    with pytest.raises(TooFewEffectiveRows, match=r"got 0\.0 of 60: the heaviest 1% of the rows hold 100%"):
        snips(rows, np.zeros(N))


def test_what_does_not_fit_is_said():
    world, rows = World(9), World(9).rows()
    with pytest.raises(ValueError, match=r"shape \(60,\), got \(60, 4\): of a matrix over actions, take the column"):
        ips(rows, world.policy)
    with pytest.raises(ValueError, match="expected chances in"):
        importance(rows, world.target + 1)
    with pytest.raises(ValueError, match="a largest weight above 0, got 0"):
        clipped(rows, world.target, most=0)
    with pytest.raises(ValueError, match="expected a finite prediction for each of the 60 rows"):
        direct(rows, world.expected[:5])
    with pytest.raises(ValueError, match="expected rows of one action, got slates"):
        ips(world.slates(), world.slate_target)
    with pytest.raises(ValueError, match=r"expected slates, rewards \(n, positions\)"):
        independent_ips(rows, world.target)
    with pytest.raises(ValueError, match="take what marginal_weight returns"):
        long_term(rows, -world.marginal, world.predicted, world.expected)
    found = ips(rows, world.target)
    with pytest.raises(ValueError, match="level must lie between 0 and 1, got 95"):
        found.interval(95)
    short = LoggedFeedback(reward=[0, 1], propensity=[1, 1], min_effective_sample_size=1)
    with pytest.raises(ValueError, match="two estimates on the same rows, got 60 and 2"):
        found.minus(ips(short, [1, 1]))
