from pathlib import Path

import numpy as np
import polars as pl
import pytest

from reward.causal.excursion.estimator import clustered, excursion_effects, expected_by_arm

PLACES = [above / "shared/data/distal_effects" for above in Path(__file__).parents[3:]]  # beside the repository
TRIALS = next((place for place in PLACES if place.is_dir()), PLACES[0])
needs_trials = pytest.mark.skipif(not TRIALS.is_dir(), reason="the trials of shared/data/distal_effects are not here")


def trial(name):
    return pl.read_parquet(TRIALS / f"{name}.parquet")


def arrays(frame, *names):
    return (frame[name].to_numpy().astype(np.float64) for name in names)


def users_of(frame):
    return np.unique(frame["userid"].to_numpy(), return_inverse=True)[1]


@needs_trials
def test_the_average_effect_of_the_first_trial_is_the_published_one():
    frame = trial("continuous")
    outcome, treatment, probability, available = arrays(frame, "Y", "A", "prob_A", "avail")
    expected = expected_by_arm(outcome, treatment, frame.select("X", "Z").to_numpy())
    found = excursion_effects(
        outcome, treatment, probability, users_of(frame), expected, available=available, small_sample=False
    )
    assert found.coefficients[0] == pytest.approx(0.4041, abs=1e-4)
    assert found.standard_errors[0] == pytest.approx(0.5848, abs=1e-4)
    np.testing.assert_allclose(found.intervals(0.95)[0], [-0.771, 1.579], atol=1e-3)
    assert found.degrees_of_freedom == 49


def loop(outcome, treatment, probability, user, expected, moderators, available, weight, *, small_sample):
    """The estimating equation, decision point by decision point, and the sandwich, user by user."""
    n = len(outcome)
    design = np.column_stack([np.ones(n), moderators])
    bread, right, value = np.zeros((design.shape[1],) * 2), np.zeros(design.shape[1]), np.zeros(n)
    for t in range(n):
        of_what_was_done = probability[t] if treatment[t] == 1 else 1 - probability[t]
        usual = (1 - probability[t]) * expected[t, 1] + probability[t] * expected[t, 0]
        value[t] = available[t] * (-1) ** (1 - treatment[t]) / of_what_was_done * (outcome[t] - usual)
        bread += weight[t] * np.outer(design[t], design[t])
        right += weight[t] * design[t] * value[t]
    beta = np.linalg.solve(bread, right)
    meat = np.zeros_like(bread)
    for one in np.unique(user):
        rows = np.flatnonzero(user == one)
        mine, heavy = design[rows], np.diag(weight[rows])
        residual = value[rows] - mine @ beta
        if small_sample:
            hat = mine @ np.linalg.inv(bread) @ mine.T @ heavy
            residual = np.linalg.solve(np.eye(len(rows)) - hat, residual)
        score = mine.T @ heavy @ residual
        meat += np.outer(score, score)
    return beta, np.linalg.inv(bread) @ meat @ np.linalg.inv(bread)


@needs_trials
@pytest.mark.parametrize("small_sample", [False, True])
def test_moderated_effects_of_the_second_trial_are_those_of_the_equation_written_out(small_sample):
    frame = trial("mimic_heartsteps").filter(pl.col("decision_point") <= 60)
    treatment, probability, available, at_home, before, day = arrays(
        frame, "intervention", "rand_prob", "avail", "is_at_home_or_work", "logstep_pre30min", "day_in_study"
    )
    outcome = frame.select(pl.col("logstep_30min").mean().over("userid")).to_series().to_numpy()  # of the user, distal
    expected = expected_by_arm(outcome, treatment, np.column_stack([before, at_home]))
    parts = (outcome, treatment, probability, users_of(frame), expected)
    weight = 1 / (1 + day)
    found = excursion_effects(
        *parts, moderators=at_home[:, None], available=available, weight=weight, small_sample=small_sample
    )
    beta, covariance = loop(*parts, at_home[:, None], available, weight, small_sample=small_sample)
    np.testing.assert_allclose(found.coefficients, beta, rtol=1e-10)
    np.testing.assert_allclose(found.covariance, covariance, rtol=1e-9)
    assert found.degrees_of_freedom == 37 - 2


def made_trial(users, points, seed, effect=lambda state: 0.3 * state):
    """A trial whose treatment follows the state, and whose outcome sums what the points did."""
    random = np.random.default_rng(seed)
    user = np.repeat(np.arange(users), points)
    state = random.normal(size=len(user))
    probability = 1 / (1 + np.exp(-state))
    treatment = (random.random(len(user)) < probability).astype(np.int64)
    gained = np.bincount(user, effect(state) * treatment + state, users)
    outcome = (gained + random.normal(size=users))[user]
    return outcome, treatment, probability, user, state


def test_effects_and_their_moderation_are_recovered_where_treatment_follows_the_state():
    outcome, treatment, probability, user, state = made_trial(4000, 5, 0, lambda state: 0.5 + 0.3 * state)
    expected = expected_by_arm(outcome, treatment, state[:, None])
    found = excursion_effects(
        outcome, treatment, probability, user, expected, moderators=state[:, None], small_sample=True
    )
    np.testing.assert_array_less(np.abs(found.coefficients - [0.5, 0.3]), 3 * found.standard_errors)
    assert found.standard_errors.max() < 0.1


def test_a_wrong_regression_leaves_the_effect_unbiased_and_is_paid_for_in_its_error():
    outcome, treatment, probability, user, state = made_trial(4000, 5, 1)
    right = excursion_effects(
        outcome,
        treatment,
        probability,
        user,
        expected_by_arm(outcome, treatment, state[:, None], fold=user % 3),
        small_sample=False,
    )
    wrong = excursion_effects(outcome, treatment, probability, user, np.full((len(user), 2), 3.0), small_sample=False)
    for found in (right, wrong):
        assert abs(found.coefficients[0]) < 3 * found.standard_errors[0]  # E[0.3 state] = 0
    assert right.standard_errors[0] < 0.8 * wrong.standard_errors[0]


def test_intervals_of_few_users_hold_the_truth_as_often_as_they_say_only_with_the_correction():
    held = {True: 0, False: 0}
    for seed in range(400):
        random = np.random.default_rng(seed)
        user = np.repeat(np.arange(10), 3)
        columns = np.column_stack([np.ones(30), np.exp(random.normal(size=10))[user]])  # some users have much leverage
        value = random.normal(size=10)[user] + random.normal(size=30)
        for corrected in held:
            found = clustered(columns, value, np.ones(30), user, small_sample=corrected)
            low, high = found.intervals(0.95)[1]
            held[corrected] += bool(low <= 0 <= high)
    assert held[True] >= 0.93 * 400
    assert held[False] <= 0.90 * 400


def test_a_user_of_one_row_each_has_the_leverage_of_the_textbook():
    value = np.array([1.0, 2.0, 6.0])
    found = clustered(np.ones((3, 1)), value, np.ones(3), np.arange(3), small_sample=True)
    residual = (value - 3) / (1 - 1 / 3)
    assert found.coefficients[0] == 3
    assert found.covariance[0, 0] == pytest.approx((residual**2).sum() / 9)


def test_weights_of_zero_leave_decision_points_out():
    outcome, treatment, probability, user, _ = made_trial(50, 4, 2)
    kept = np.tile([1.0, 1.0, 0.0, 1.0], 50)
    expected = np.zeros((len(user), 2))
    found = excursion_effects(outcome, treatment, probability, user, expected, weight=kept, small_sample=True)
    rows = kept > 0
    alone = excursion_effects(
        outcome[rows], treatment[rows], probability[rows], user[rows], expected[rows], small_sample=True
    )
    np.testing.assert_allclose(found.covariance, alone.covariance)


OUTCOME, TREATMENT, PROBABILITY, USER = np.arange(8.0), np.arange(8) % 2, np.full(8, 0.5), np.arange(8) // 2


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"treatment": TREATMENT[:3]}, r"treatment expected shape \(8,\)"),
        ({"treatment": TREATMENT + 1}, "treatment expected 0 or 1"),
        ({"probability": np.ones(8)}, "above 0 and below 1"),
        ({"expected": np.zeros(8)}, r"expected expected shape \(8, 2\)"),
        ({"user": np.zeros(8, np.int64)}, "more users than the 1 coefficients, got 1"),
        ({"moderators": np.ones((8, 1))}, "none is a sum of others"),
        ({"moderators": (USER == 0).astype(float)[:, None]}, "told of by one alone"),
    ],
)
def test_what_does_not_fit_is_refused(changes, told):
    given = {
        "outcome": OUTCOME,
        "treatment": TREATMENT,
        "probability": PROBABILITY,
        "user": USER,
        "expected": np.zeros((8, 2)),
    }
    with pytest.raises(ValueError, match=told):
        excursion_effects(**given | changes, small_sample=True)


def test_an_arm_without_decision_points_is_refused():
    with pytest.raises(ValueError, match="arm 1 expected decision points"):
        expected_by_arm(OUTCOME, np.zeros(8, np.int64), np.zeros((8, 1)))
