"""The automatic choice: what it weighs, and that it follows the noise."""

import numpy as np
import pytest

from reward.off_policy.estimate import TooFewEffectiveRows, estimate
from reward.off_policy.feedback import LoggedFeedback
from reward.off_policy.selection import select_estimator


def rows_of(n, least=1.0, user=None):
    return LoggedFeedback(reward=np.zeros(n), propensity=np.ones(n), min_effective_sample_size=least, user=user)


def of(rows, contribution, weight=None):
    return lambda: estimate(rows, contribution, np.ones(len(rows)) if weight is None else weight)


def test_the_estimated_errors_are_those_of_the_formula():
    draws, user = np.random.default_rng(0), np.arange(50) % 20
    rows, contributions = rows_of(50, user=user), draws.normal(size=(3, 50))
    found = select_estimator({str(j): of(rows, each) for j, each in enumerate(contributions)}, reference="0")

    def variance(values):
        sums = [sum(values[i] - values.mean() for i in range(50) if user[i] == u) for u in range(20)]
        return 20 / 19 * sum(each**2 for each in sums) / 50**2

    for j, each in enumerate(contributions):
        apart = each - contributions[0]
        assert found.squared_error[str(j)] == pytest.approx(
            apart.mean() ** 2 / 4 + variance(apart) / 2 + variance(each), rel=1e-9
        )
    assert found.squared_error[found.name] == min(found.squared_error.values())
    assert found.estimate.value == contributions[int(found.name)].mean()


@pytest.mark.parametrize(("noise", "best"), [(0.3, "unbiased"), (30.0, "biased")])
def test_a_biased_candidate_is_taken_where_noise_is_more_than_bias(noise, best):
    draws, taken = np.random.default_rng(1), []
    for _ in range(50):
        z = draws.normal(0, noise, (2, 400))
        candidates = {"unbiased": of(rows_of(400), z[0]), "biased": of(rows_of(400), 0.2 + 0.3 * z[0] + 0.2 * z[1])}
        taken.append(select_estimator(candidates, reference="unbiased").name == best)
    assert np.mean(taken) > 0.8


def test_a_refused_candidate_is_told_and_a_refused_reference_refuses():
    rows = rows_of(10, least=5)
    heavy = np.array([100.0] + [0.1] * 9)
    candidates = {"fine": of(rows, np.arange(10.0)), "heavy": of(rows, np.arange(10.0), heavy)}
    found = select_estimator(candidates, reference="fine")
    assert found.name == "fine"
    assert set(found.squared_error) == {"fine"}
    assert "got 1.0 of 10" in found.refused["heavy"]
    with pytest.raises(TooFewEffectiveRows, match=r"got 1\.0 of 10"):
        select_estimator(candidates, reference="heavy")


def test_a_reference_that_is_no_candidate_is_named():
    with pytest.raises(ValueError, match=r"expected a candidate named 'DR', got \['IPS'\]"):
        select_estimator({"IPS": of(rows_of(3), np.zeros(3))}, reference="DR")
