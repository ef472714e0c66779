"""Long-term value by short-term rewards: the weights, the posterior and the model behind them."""

import numpy as np
import pytest

from reward.off_policy.doubly_robust import doubly_robust
from reward.off_policy.feedback import LoggedFeedback
from reward.off_policy.lope import action_posterior, long_term, marginal_weight
from reward.off_policy.reward_model import action_regression, folds

N, ACTIONS = 3000, 6


@pytest.fixture(scope="module")
def log():
    """Actions move two short-term rewards, and these alone the long-term one."""
    draws = np.random.default_rng(0)
    context, actions = draws.normal(size=(N, 2)), draws.normal(size=(ACTIONS, 3))
    scores = context @ draws.normal(size=(2, 3)) @ actions.T
    logging, target = (np.exp(scale * scores) for scale in (0.3, -0.3))
    logging, target = (each / each.sum(axis=1, keepdims=True) for each in (logging, target))
    action = (logging.cumsum(axis=1) > draws.uniform(size=(N, 1))).argmax(axis=1)
    means = np.stack([scores, np.broadcast_to(actions[:, 0], scores.shape)], axis=2)
    at = np.arange(N), action
    short = draws.normal(means[at], 0.5)
    long = short @ [1.0, -1.0] + draws.normal(size=N)
    value = (target * (means @ [1.0, -1.0])).sum(axis=1).mean()
    return {
        "context": context,
        "actions": actions,
        "action": action,
        "short": short,
        "long": long,
        "logging": logging,
        "target": target,
        "means": means,
        "at": at,
        "value": value,
        "fold": folds(N, 5, 0),
    }


def posterior_of(log):
    return action_posterior(log["context"], log["actions"], log["action"], log["short"], log["logging"], log["fold"])


def test_the_posterior_is_bayes_rule_with_the_true_means(log):
    found = posterior_of(log)
    true = np.empty_like(found)
    for i in range(N):
        for a in range(ACTIONS):
            off = (log["short"][i] - log["means"][i, a]) / 0.5
            true[i, a] = log["logging"][i, a] * np.exp(-(off @ off) / 2)
        true[i] /= true[i].sum()
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert np.abs(found - true).mean() < 0.01


def test_the_weights_have_mean_one_and_vary_less_than_those_of_actions(log):
    weight = marginal_weight(log["target"], log["logging"], posterior_of(log))
    of_actions = log["target"][log["at"]] / log["logging"][log["at"]]
    assert weight.mean() == pytest.approx(1, abs=0.05)
    assert weight.var() < of_actions.var()


def test_the_weights_of_a_posterior_that_knows_the_action_are_those_of_actions(log):
    weight = marginal_weight(log["target"], log["logging"], np.eye(ACTIONS)[log["action"]])
    np.testing.assert_allclose(weight, log["target"][log["at"]] / log["logging"][log["at"]])


def test_the_true_value_is_recovered_with_a_smaller_error_than_doubly_robust(log):
    rows = LoggedFeedback(reward=log["long"], propensity=log["logging"][log["at"]], min_effective_sample_size=50)
    model = action_regression(log["context"], log["actions"], log["action"], log["long"], log["fold"], strength=1)
    told, expected = model[log["at"]], (log["target"] * model).sum(axis=1)
    found = long_term(rows, marginal_weight(log["target"], log["logging"], posterior_of(log)), told, expected)
    assert found.value == pytest.approx(log["value"], abs=3.5 * found.standard_error)
    robust = doubly_robust(rows, log["target"][log["at"]], told, expected)
    assert robust.value == pytest.approx(log["value"], abs=3.5 * robust.standard_error)
    assert found.standard_error < robust.standard_error


def test_a_regression_is_that_of_its_normal_equations_on_the_other_folds(log):
    fold = log["fold"] % 2
    found = action_regression(log["context"], log["actions"], log["action"], log["long"], fold, strength=1e-9)
    context, actions = ((each - each.mean(axis=0)) / each.std(axis=0) for each in (log["context"], log["actions"]))
    left, right = (np.column_stack([np.ones(len(each)), each]) for each in (context, actions))
    design = np.array([np.kron(x, right[a]) for x, a in zip(left, log["action"], strict=True)])
    rest = fold != 0
    theta = np.linalg.lstsq(design[rest], log["long"][rest], rcond=None)[0]
    for i in np.flatnonzero(~rest)[:20]:
        for a in range(ACTIONS):
            assert found[i, a] == pytest.approx(np.kron(left[i], right[a]) @ theta, abs=1e-5)


def test_a_regression_averages_the_strengths_by_the_likelihood_of_its_rewards():
    """By the rewards' dense covariance, strength by strength."""
    draws, share, few = np.random.default_rng(3), 0.1, 60
    context, actions, action = draws.normal(size=(few, 2)), draws.normal(size=(4, 2)), draws.integers(4, size=few)
    reward, fold = context[:, 0] + 3 * draws.normal(size=few), np.arange(few) % 2
    found = action_regression(context, actions, action, reward, fold, strength=share)
    scaled = [(each - each.mean(axis=0)) / each.std(axis=0) for each in (context, actions)]
    left, right = (np.column_stack([np.ones(len(each)), each]) for each in scaled)
    rest = np.flatnonzero(fold != 0)
    design = np.array([np.kron(left[i], right[action[i]])[1:] for i in rest])
    design, centre, y = design - design.mean(axis=0), design.mean(axis=0), reward[rest] - reward[rest].mean()
    surprises, thetas = [], []
    for strength in np.geomspace(1e-4, 1e2, 25) * len(rest):
        covariance = np.eye(len(rest)) + design @ design.T / strength
        fit = y @ np.linalg.solve(covariance, y)
        surprises.append(len(rest) * np.log(fit) + np.linalg.slogdet(covariance)[1])
        thetas.append(np.linalg.solve(design.T @ design + share * strength * np.eye(design.shape[1]), design.T @ y))
    odds = [np.exp((min(surprises) - each) / 2) for each in surprises]
    theta = sum(each * one for each, one in zip(odds, thetas, strict=True)) / sum(odds)
    assert max(odds) / sum(odds) < 0.5  # no strength has it all
    for i in np.flatnonzero(fold == 0):
        for a in range(4):
            expected = reward[rest].mean() + (np.kron(left[i], right[a])[1:] - centre) @ theta
            assert found[i, a] == pytest.approx(expected, abs=1e-9)


def test_noise_alone_is_shrunk_to_its_mean(log):
    noise = np.random.default_rng(1).normal(2, 1, N)
    found = action_regression(log["context"], log["actions"], log["action"], noise, log["fold"], strength=1)
    assert found.std() < 0.05
    assert found.mean() == pytest.approx(2, abs=0.1)


def test_a_widened_posterior_is_the_posterior_of_its_root_and_far_enough_the_policy_itself(log):
    seen = [log[each] for each in ("context", "actions", "action", "short", "logging", "fold")]
    exact, wide, far = (action_posterior(*seen, widened=by) for by in (1, 4, 1e12))
    likelihood = exact / log["logging"]
    by_hand = log["logging"] * (likelihood / likelihood.max(axis=1, keepdims=True)) ** 0.25
    np.testing.assert_allclose(wide, by_hand / by_hand.sum(axis=1, keepdims=True), atol=1e-9)
    np.testing.assert_allclose(far, log["logging"], atol=1e-6)
    with pytest.raises(ValueError, match="widened above 0, got 0"):
        action_posterior(*seen, widened=0)


def test_no_row_is_told_by_its_own_fold(log):
    changed = log["long"].copy()
    changed[log["fold"] == 0] += 100
    model = [
        action_regression(log["context"], log["actions"], log["action"], long, log["fold"], strength=1)
        for long in (log["long"], changed)
    ]
    mine = log["fold"] == 0
    np.testing.assert_array_equal(model[0][mine], model[1][mine])
    assert not np.allclose(model[0][~mine], model[1][~mine])


def test_folds_are_of_nearly_equal_sizes_and_those_of_their_seed():
    np.testing.assert_array_equal(np.bincount(folds(11, 3, 0)), [4, 4, 3])
    np.testing.assert_array_equal(folds(11, 3, 0), folds(11, 3, 0))
    assert (folds(11, 3, 0) != folds(11, 3, 1)).any()


def test_what_does_not_fit_is_said(log):
    few = {name: log[name][:8] for name in ("context", "action", "long", "short", "logging")}
    fold, actions = np.arange(8) % 2, log["actions"]

    def told(strength=1.0, **changed):
        parts = {"context": few["context"], "actions": actions, "action": few["action"], "reward": few["long"]}
        return action_regression(**(parts | {"fold": fold} | changed), strength=strength)

    with pytest.raises(ValueError, match="expected at least 2 folds, got 1"):
        told(fold=np.zeros(8, int))
    with pytest.raises(ValueError, match="expected action codes from 0 to 5, got up to 6"):
        told(action=np.full(8, 6))
    with pytest.raises(ValueError, match=r"expected context \(n, p\)"):
        told(reward=few["long"][:3])
    with pytest.raises(ValueError, match="expected a strength above 0, got 0"):
        told(strength=0)
    with pytest.raises(ValueError, match="expected short-term rewards that vary"):
        action_posterior(few["context"], actions, few["action"], np.ones((8, 1)), few["logging"], fold)
    with pytest.raises(ValueError, match=r"expected three matrices"):
        marginal_weight([[0.5, 0.5]], [[0.5, 0.5]], [[1.0]])
    with pytest.raises(ValueError, match=r"expected posterior .* rows that sum to 1"):
        marginal_weight([[0.5, 0.5]], [[0.5, 0.5]], [[0.5, 0.6]])
    with pytest.raises(ValueError, match="does in 1 rows what the logging policy never does"):
        marginal_weight([[0.5, 0.5]], [[1.0, 0.0]], [[0.5, 0.5]])
