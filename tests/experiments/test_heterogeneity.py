"""What a score of users is worth: nothing where effects are alike, and what theory says where they are not."""

import numpy as np
import pytest

from reward.experiments.heterogeneity import rank_weighted_effect


def drawn(seed, users=4000, spread=1.0, share=0.4):
    """Effects that are uniform over [0, spread], the score that knows them, and a test."""
    rng = np.random.default_rng(seed)
    effect, treated = spread * rng.random(users), rng.random(users) < share
    return effect, rng.normal(0, 0.5, users) + effect * treated, treated


@pytest.mark.parametrize(("weighting", "expected"), [("autoc", 0.25), ("qini", 1 / 12)])
def test_a_score_that_knows_is_worth_what_theory_says(weighting, expected):
    # effects uniform over [0, 1]: TOC(q) = (1 − q) / 2, its mean 1/4, that of q TOC 1/12
    effect, outcome, treated = drawn(1, 40_000)
    found = rank_weighted_effect(effect, outcome, treated, treated_share=0.4, weighting=weighting, resamples=100)
    assert found.value == pytest.approx(expected, abs=4 * found.se)
    assert found.low > 0
    assert found.average == pytest.approx(0.5, abs=0.05)
    worst = rank_weighted_effect(-effect, outcome, treated, treated_share=0.4, weighting=weighting, resamples=100)
    assert worst.value == pytest.approx(-found.value, abs=0.01 + 0.1 * expected) or worst.high < 0


@pytest.mark.parametrize("weighting", ["autoc", "qini"])
def test_intervals_hold_the_truth_and_0_where_there_is_nothing(weighting):
    known, nothing = [], []
    for seed in range(150):
        effect, outcome, treated = drawn(seed, 1000)
        told = {"treated_share": 0.4, "weighting": weighting, "resamples": 100}
        expected = {"autoc": 0.25, "qini": 1 / 12}[weighting]
        found = rank_weighted_effect(effect, outcome, treated, **told)
        known.append(found.low <= expected <= found.high)
        found = rank_weighted_effect(np.random.default_rng([seed, 1]).random(1000), outcome, treated, **told)
        nothing.append(found.low <= 0 <= found.high)
    assert 0.88 <= np.mean(known) <= 0.99
    assert 0.88 <= np.mean(nothing) <= 0.99


def test_equal_scores_count_as_one_group_in_any_order():
    effect, outcome, treated = drawn(2, 500)
    coarse, order = np.round(effect * 3), np.random.default_rng(0).permutation(500)
    told = {"treated_share": 0.4, "resamples": 10}
    one = rank_weighted_effect(coarse, outcome, treated, **told).value
    assert rank_weighted_effect(coarse[order], outcome[order], treated[order], **told).value == pytest.approx(one)
    assert rank_weighted_effect(np.zeros(500), outcome, treated, **told).value == pytest.approx(0)


def test_it_is_the_plain_mean_over_ranks():
    effect, outcome, treated = drawn(3, 60)
    order = np.argsort(-effect)
    usual = 0.6 * outcome[treated].mean() + 0.4 * outcome[~treated].mean()
    own = (np.where(treated, 1 / 0.4, -1 / 0.6) * (outcome - usual))[order]
    toc = np.array([own[: k + 1].mean() - own.mean() for k in range(60)])
    for weighting, wanted in (("autoc", toc.mean()), ("qini", (toc * np.arange(1, 61) / 60).mean())):
        found = rank_weighted_effect(effect, outcome, treated, treated_share=0.4, weighting=weighting, resamples=5)
        assert found.value == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": [1.0]}, "of one shape"),
        ({"treated": [1, 1, 1, 0]}, "two users or more in each arm"),
        ({"treated": [1, 2, 0, 0]}, "true or false"),
        ({"treated_share": 1.0}, "a probability from 1e-06"),
        ({"outcome": [1.0, np.nan, 0.0, 0.0]}, "outcome expected finite"),
        ({"weighting": "all"}, "autoc or qini"),
        ({"resamples": 1}, "at least 2"),
    ],
)
def test_what_cannot_be_measured_is_refused(change, message):
    sound = {"score": [1.0, 2, 3, 4], "outcome": [1.0, 0, 1, 0], "treated": [1, 1, 0, 0], "treated_share": 0.5}
    with pytest.raises(ValueError, match=message):
        rank_weighted_effect(**(sound | change))
