"""What was learned of items against what they truly do."""

import numpy as np
import polars as pl
import pytest

from reward.evaluation.estimates import Estimate
from reward.evaluation.simulated_truth import LEAST_EXPOSURES, against_truth, beside_truth
from reward.report.sentences import truth_sentences

SETTINGS = {"resamples": 200, "seed": 0, "level": 0.95}
WORDS = {"unit": "active days in the next 14 days", "click": "click", "level": 0.95}


def items(n=60, seed=0, strength=1.0):
    rng = np.random.default_rng(seed)
    effect = strength * rng.normal(0.0, 0.04, n)
    return pl.DataFrame(
        {
            "click_rate": rng.uniform(0.05, 0.3, n) - effect,
            "reward": 0.3 + effect + rng.normal(0.0, 0.01, n),
            "reward_std": np.full(n, 0.01),
            "effect": effect,
            "effect_se": np.full(n, 0.001),
        }
    )


def test_correlations_slope_and_coverage_are_those_by_hand():
    table = items()
    found = against_truth(table, **SETTINGS)
    for name, column in (("click rate", "click_rate"), ("learned reward", "reward")):
        estimate = found.correlation[name]
        assert estimate.value == pytest.approx(np.corrcoef(table[column], table["effect"])[0, 1])
        assert estimate.low < estimate.value < estimate.high
    centred = [table[name] - table[name].mean() for name in ("reward", "effect")]
    assert found.slope == pytest.approx(centred[0].dot(centred[1]) / centred[0].dot(centred[0]))
    inside = (centred[0] - centred[1]).abs() <= 1.959964 * np.hypot(0.01, 0.001)
    assert found.covered == pytest.approx(inside.mean())  # whatever the level of either
    assert found.items == 60
    assert "correlates" in truth_sentences(found, **WORDS)[0]


def test_a_world_where_nothing_matters_is_told_as_one():
    found = against_truth(items(strength=0.0), **SETTINGS)
    assert found.nothing
    assert found.correlation["learned reward"] == Estimate()
    assert truth_sentences(found, **WORDS)[0].startswith("Nothing that is shown in this world changes what users do")


@pytest.mark.parametrize("n", [0, 2])
def test_a_handful_of_items_is_too_few(n):
    assert "too few" in truth_sentences(against_truth(items(n), **SETTINGS), **WORDS)[0]


def test_items_shown_too_rarely_or_without_a_truth_are_left_out():
    learned = pl.DataFrame(
        {
            "item_id": [1, 2, 3],
            "exposures": [LEAST_EXPOSURES, LEAST_EXPOSURES, LEAST_EXPOSURES - 1],
            "mean": [0.1, 0.2, 0.3],
            "std": [0.01] * 3,
        }
    )
    true = pl.DataFrame({"item_id": [1, 3], "effect": [0.5, 0.6], "effect_se": [0.1, 0.1]})
    events = pl.LazyFrame({"item_id": [1, 1, 2, 3], "click": [1.0, 0.0, 1.0, 1.0]})
    found = beside_truth(true, learned, events, "click")
    assert found.rows(named=True) == [
        {
            "item_id": 1,
            "exposures": LEAST_EXPOSURES,
            "click_rate": 0.5,
            "reward": 0.1,
            "reward_std": 0.01,
            "effect": 0.5,
            "effect_se": 0.1,
        }
    ]
