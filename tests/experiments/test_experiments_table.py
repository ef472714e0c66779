"""Past experiments read from arms and from users."""

import numpy as np
import polars as pl
import pytest

from reward.experiments.table import Experiments, from_arms, from_users

METRICS = ["clicks", "days"]


def arms(**changes):
    columns = {
        "experiment": ["y", "x", "y"],
        "clicks": [1.0, 2.0, 3.0],
        "days": [0.1, 0.2, 0.3],
        "size": [50, 60, 70],
        "covariance": [[1.0, 0.5, 0.5, 2.0]] * 3,
    }
    return pl.DataFrame(columns | changes)


def users(**changes):
    columns = {
        "experiment": [1] * 5 + [0] * 6,
        "arm": ["off", "off", "on", "on", "on", "off", "off", "hot", "hot", "on", "on"],
        "user_id": [*range(5), *range(6)],
        "clicks": [0, 2, 3, 4, 5, 1, 1, 2, 6, 1, 3],
        "days": [1.0, 3.0, 2.0, 4.0, 9.0, 0.0, 1.0, 5.0, 3.0, 2.0, 2.0],
    }
    return pl.DataFrame(columns | changes)


def test_a_table_of_arms_is_read_as_it_stands():
    table = from_arms(arms(), METRICS)
    assert table.experiment.tolist() == [1, 0, 1]
    assert table.effects.tolist() == [[1.0, 0.1], [2.0, 0.2], [3.0, 0.3]]
    assert table.covariance[1].tolist() == [[1.0, 0.5], [0.5, 2.0]]
    assert (len(table), table.experiments) == (3, 2)
    assert table.of(["days"]).covariance[:, 0, 0].tolist() == [2.0] * 3


def test_users_make_arms_by_hand():
    table = from_users(users(), METRICS, control="off")
    assert table.experiment.tolist() == [0, 0, 1]  # the arms hot and on of experiment 0, the arm on of experiment 1
    # experiment 1: means (4, 5) against (1, 2)
    assert table.effects[2] == pytest.approx([3.0, 3.0])
    # covariances of users: on [[1, 3.5], [3.5, 13]] of 3, off [[2, 2], [2, 2]] of 2
    assert table.covariance[2] == pytest.approx(np.array([[1 / 3 + 1, 3.5 / 3 + 1], [3.5 / 3 + 1, 13 / 3 + 1]]))
    assert table.size[2] == pytest.approx(1 / (1 / 3 + 1 / 2))


def test_users_make_the_arms_that_numpy_makes():
    rng = np.random.default_rng(0)
    n = 3000
    frame = pl.DataFrame(
        {
            "experiment": rng.integers(0, 5, n),
            "arm": rng.choice(["off", "on", "hot"], n),
            "user_id": np.arange(n),
            "a": rng.exponential(size=n),
            "b": rng.normal(size=n),
            "c": rng.poisson(1.0, n),
        }
    )
    table = from_users(frame.lazy(), ["a", "b", "c"], control="off")
    at = 0
    for experiment in range(5):
        rows = frame.filter(pl.col("experiment") == experiment)
        control = rows.filter(pl.col("arm") == "off").select("a", "b", "c").to_numpy().astype(float)
        for arm in ("hot", "on"):
            mine = rows.filter(pl.col("arm") == arm).select("a", "b", "c").to_numpy().astype(float)
            assert table.effects[at] == pytest.approx(mine.mean(0) - control.mean(0))
            expected = np.cov(mine.T) / len(mine) + np.cov(control.T) / len(control)
            assert table.covariance[at] == pytest.approx(expected)
            at += 1
    assert at == len(table)


def test_a_proxy_is_a_sum_with_the_error_of_a_sum():
    table = from_arms(arms(), METRICS)
    both = table.with_proxy("proxy", ["clicks"], [2.0], "days")
    assert both.metrics == ("proxy", "days")
    assert both.effects[0] == pytest.approx([2.0, 0.1])
    assert both.covariance[0] == pytest.approx(np.array([[4.0, 1.0], [1.0, 2.0]]))
    each = table.with_proxy("proxy", ["clicks"], [[1.0], [2.0], [0.5]], "days")
    assert each.effects[:, 0] == pytest.approx([1.0, 4.0, 1.5])
    with pytest.raises(ValueError, match=r"weights expected shape \(1,\) or \(3, 1\), got \(2,\)"):
        table.with_proxy("proxy", ["clicks"], [1.0, 2.0], "days")


def test_experiments_can_be_chosen():
    some = from_users(users(), METRICS, control="off").among(np.array([False, True]))
    assert some.experiment.tolist() == [0]
    assert some.effects[0] == pytest.approx([3.0, 3.0])


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"size": [1.0, 0.0, 1.0]}, "size expected positive numbers, got others in arms 1"),
        ({"clicks": [1.0, 2.0, np.inf]}, "effects expected finite numbers, got others in arms 2"),
        ({"days": [1.0, None, 2.0]}, "expected no nulls, got some in days"),
        ({"covariance": [[1.0, 0.5, 0.2, 2.0]] * 3}, "symmetric matrices, got others in arms 0, 1, 2"),
        ({"covariance": [[1.0, 1.0, 1.0, 1.0]] * 3}, "positive definite matrices, got others in arms 0, 1, 2"),
        ({"covariance": [[1.0, 0.0, 0.0, -1.0]] * 3}, "positive definite matrices"),
        ({"covariance": [[1.0]] * 3}, r"lists of 4 numbers for 2 metrics, got lengths \[1\]"),
    ],
)
def test_an_arm_that_does_not_fit_is_named(changes, told):
    with pytest.raises(ValueError, match=told):
        from_arms(arms(**changes), METRICS)


def test_what_is_missing_from_a_table_is_named():
    with pytest.raises(ValueError, match="it has no size, covariance"):
        from_arms(arms().drop("size", "covariance"), METRICS)
    with pytest.raises(ValueError, match="it has no user_id"):
        from_users(users().drop("user_id"), METRICS, control="off")
    with pytest.raises(ValueError, match="at least one treated arm, got none"):
        from_users(users(arm=["off"] * 11), METRICS, control="off")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"arm": ["on"] * 5 + ["off", "off", "hot", "hot", "on", "on"]}, "no arm 'off' in experiments 1"),
        ({"user_id": [0, 1, 2, 3, 3, *range(6)]}, "two rows or in two arms in experiments 1"),
        ({"clicks": [None, *range(10)]}, "null values in experiments 1"),
        ({"arm": ["off", "off", "on", "on", "on", "off", "off", "hot", "on", "on", "on"]}, "fewer than two users"),
    ],
)
def test_users_that_do_not_fit_are_told_with_their_experiment(changes, told):
    with pytest.raises(ValueError, match=told):
        from_users(users(**changes), METRICS, control="off")


def test_arrays_that_do_not_fit_together_are_an_error():
    good = from_arms(arms(), METRICS)
    with pytest.raises(ValueError, match=r"effects expected shape \(3, 2\) for 3 arms and 2 metrics, got \(3, 1\)"):
        Experiments(good.metrics, good.experiment, good.effects[:, :1], good.covariance, good.size)
    with pytest.raises(ValueError, match="codes from 0 without gaps"):
        Experiments(good.metrics, good.experiment + 1, good.effects, good.covariance, good.size)
    with pytest.raises(ValueError, match="distinct names"):
        Experiments(("a", "a"), good.experiment, good.effects, good.covariance, good.size)
    with pytest.raises(ValueError, match="likes expected to be of the metrics clicks, days"):
        good.of(["likes"])
