"""Proxies judged, by hand and by a loop; fronts."""

import numpy as np
import pytest
from arms import simulated

from reward.experiments.proxy_validation import MEASURES, evaluate_proxy, pareto_front, undominated
from reward.experiments.proxy_weights import jive
from reward.experiments.table import Experiments

FEW = {"resamples": 20, "seed": 0}


def scored(z):
    """Arms of one signal and the north star with these effects over their standard errors, errors independent."""
    arms = len(z)
    return Experiments(
        ("a", "north"), np.arange(arms), np.array(z, float), np.tile(np.eye(2), (arms, 1, 1)), np.ones(arms)
    )


def value(found, measure):
    return found.filter(found["measure"] == measure)["value"].item()


def test_measures_by_hand():
    z = [[3, 3], [3, 1], [1, 3], [-3, -3], [-1, 1], [3, -3]]
    found = evaluate_proxy(scored(z), "north", ["a"], [2.0], **FEW)
    told = dict(zip(found["measure"], found["value"], strict=True))
    assert tuple(told) == MEASURES
    assert told["sign agreement"] == pytest.approx(4 / 6)
    assert told["decision agreement"] == pytest.approx(3 / 6)  # launched: 0 1 5 against 0 2
    assert told["recall"] == pytest.approx(1 / 2)
    assert told["precision"] == pytest.approx(1 / 3)
    assert told["reversals"] == pytest.approx(1 / 6)
    assert told["sensitivity"] == pytest.approx(14 / 14)
    assert told["detections"] == pytest.approx(4 / 4)
    centred = np.array(z, float) - np.mean(z, axis=0)
    spread = centred.T @ centred - 5 * np.eye(2)
    assert told["correlation"] == pytest.approx(spread[0, 1] / np.sqrt(spread[0, 0] * spread[1, 1]))


def test_what_is_never_launched_has_no_recall():
    found = evaluate_proxy(scored([[1, 0.5], [0.5, -1], [3, 1]]), "north", ["a"], [1.0], **FEW)
    assert value(found, "recall") is None
    assert found.filter(found["measure"] == "recall")["low"].item() is None


def test_the_intervals_are_quantiles_over_resampled_experiments():
    table = simulated(0, experiments=30, arms=2)
    found = evaluate_proxy(table, "north", ["a", "b"], [0.6, 0.3], resamples=50, seed=4)
    rng = np.random.default_rng(4)
    both = table.with_proxy("proxy", ["a", "b"], [0.6, 0.3], "north")
    agree = (np.sign(both.effects[:, 0]) == np.sign(both.effects[:, 1])).reshape(30, 2).sum(1)
    rates = [rng.multinomial(30, np.full(30, 1 / 30)) @ agree / 60 for _ in range(50)]
    row = found.row(0, named=True)
    assert (row["low"], row["high"]) == pytest.approx(tuple(np.quantile(rates, [0.025, 0.975])))


def test_a_good_proxy_is_told_from_a_bad_one():
    table = simulated(1, strength=5.0)
    good = evaluate_proxy(table, "north", ["a", "b"], jive(table, "north").held_out, resamples=100, seed=0)
    bad = evaluate_proxy(table, "north", ["b"], [-1.0], resamples=100, seed=0)
    assert value(good, "correlation") == pytest.approx(1.0, abs=0.1)
    assert value(bad, "correlation") < -0.5
    assert value(good, "sensitivity") > 1
    low = good.filter(good["measure"] == "sign agreement")["low"].item()
    assert low > value(bad, "sign agreement")


def test_the_front_is_what_a_loop_finds():
    points = np.random.default_rng(0).integers(0, 6, (60, 2)).astype(float)
    beaten = [any((other >= one).all() and (other > one).any() for other in points) for one in points]
    assert undominated(points).tolist() == [not each for each in beaten]


def test_the_front_trades_sensitivity_for_agreement():
    table = simulated(2, experiments=100, strength=4.0)
    known = {"truth": [0.6, 0.3]}
    found = pareto_front(table, "north", ["a", "b"], directions=200, resamples=50, seed=1, known=known)
    front = found.filter("front")
    assert {"a", "b", "truth"} <= set(found["name"])
    assert (np.diff(front["sensitivity chosen by"]) <= 0).all()
    assert (np.diff(front["sign agreement chosen by"]) >= 0).all()
    assert (found["sensitivity low"] <= found["sensitivity"]).all()
    assert (found["sign agreement"] <= found["sign agreement high"]).all()
    assert found.equals(
        pareto_front(table, "north", ["a", "b"], directions=200, resamples=50, seed=1, known=known), null_equal=True
    )


def test_the_front_is_told_on_experiments_that_did_not_choose_it():
    table = simulated(3, experiments=40)
    half = np.random.default_rng(7).permutation(40) % 2 == 0
    found = pareto_front(table, "north", ["a", "b"], directions=50, resamples=10, seed=7)
    for row in found.head(5).iter_rows(named=True):
        for which, column in ((half, "sign agreement chosen by"), (~half, "sign agreement")):
            effects = table.among(which).effects
            sign = np.sign(effects[:, :2] @ row["weights"]) == np.sign(effects[:, 2])
            assert row[column] == pytest.approx(sign.mean())


def test_a_question_that_has_no_answer_is_an_error():
    table = simulated(4, experiments=3)
    with pytest.raises(ValueError, match="at least 2 experiments and 1 resample, got 3 and 0"):
        evaluate_proxy(table, "north", ["a"], [1.0], resamples=0, seed=0)
    with pytest.raises(ValueError, match="level must lie between 0 and 1"):
        evaluate_proxy(table, "north", ["a"], [1.0], level=95, **FEW)
    with pytest.raises(ValueError, match="a front expected at least 4 experiments, got 3"):
        pareto_front(table, "north", ["a"], directions=1, **FEW)
    with pytest.raises(ValueError, match=r"weights of shape \(1,\), got others for it"):
        pareto_front(simulated(4), "north", ["a"], directions=1, known={"it": [1.0, 2.0]}, **FEW)
