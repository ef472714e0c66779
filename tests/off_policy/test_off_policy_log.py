"""What a log for off-policy evaluation must be."""

import numpy as np
import polars as pl
import pytest

from reward.off_policy.estimate import TooFewEffectiveRows
from reward.off_policy.feedback import LoggedFeedback, logged
from reward.off_policy.ips import clipped, ips

EVENTS = pl.DataFrame(
    {"user_id": ["b", "a", "b"], "propensity": [0.5, 0.25, 1.0], "click": [True, False, True], "days": [3, 0, None]}
)


def test_rows_are_made_of_an_event_log_and_users_are_its_clusters():
    rows = logged(EVENTS, "click", min_effective_sample_size=1)
    np.testing.assert_array_equal(rows.reward, [1, 0, 1])
    np.testing.assert_array_equal(rows.propensity, [0.5, 0.25, 1])
    np.testing.assert_array_equal(rows.cluster[1], [1, 0, 1])
    assert len(rows) == 3


def test_a_column_that_is_missing_or_has_nulls_is_named():
    with pytest.raises(ValueError, match=r"got none or nulls in \['days'\]"):
        logged(EVENTS, "days", min_effective_sample_size=1)
    with pytest.raises(ValueError, match=r"got none or nulls in \['propensity'\]"):
        logged(EVENTS.drop("propensity"), "click", min_effective_sample_size=1)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"reward": [0, 1, 1]}, r"of one shape, .* got \(3,\) and \(2,\)"),
        ({"reward": [0], "propensity": [1]}, "with n at least 2"),
        ({"reward": [0, np.nan]}, "expected finite rewards, got 1 others"),
        ({"propensity": [0, 0.5]}, r"propensities in \(0, 1\], got 1 others, the first 0.0.*estimate_propensities"),
        ({"user": [1, 1]}, "at least 2 users"),
        ({"user": [1, 2, 3]}, r"a user for each of the 2 rows .*got shape \(3,\)"),
    ],
)
def test_rows_are_checked_once(wrong, says):
    with pytest.raises(ValueError, match=says):
        LoggedFeedback(**({"reward": [0, 1], "propensity": [0.5, 0.5], "min_effective_sample_size": 1} | wrong))


def test_a_log_like_the_worst_of_the_open_bandit_dataset_is_refused_with_what_to_do():
    """Ten thousand rows of a policy that all but settled, to evaluate a uniform one: two rows have all the weight."""
    draws = np.random.default_rng(0)
    propensity = np.full(10_000, 0.9)
    propensity[:2] = 1e-6
    rows = LoggedFeedback(reward=draws.integers(2, size=10_000), propensity=propensity, min_effective_sample_size=100)
    target = np.full(10_000, 1 / 46)
    with pytest.raises(TooFewEffectiveRows, match=r"got 2\.0 of 10000.*hold 99% of the weight.*clipped") as refused:
        ips(rows, target)
    said = refused.value
    assert (said.rows, said.min_effective_sample_size) == (10_000, 100)
    assert said.effective_sample_size == pytest.approx(2, abs=0.1)
    assert said.top_share > 0.99
    assert clipped(rows, target, most=10).effective_sample_size > 100
