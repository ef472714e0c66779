"""Launch rules and discoveries make no more mistakes than they say."""

import numpy as np
import pytest
from scipy.stats import false_discovery_control, norm

from reward.experiments.decision_rules import Metric, decide, discoveries


def launched(rng, success, guardrails, margin=1.0, tests=4000, shared=0.5):
    """Share of tests that are launched; effects in standard errors, of metrics that move together."""
    effects = np.array([*success, *guardrails])
    noise = np.sqrt(1 - shared) * rng.standard_normal((tests, len(effects)))
    seen = effects + noise + np.sqrt(shared) * rng.standard_normal((tests, 1))
    count = len(success)
    return np.mean(
        [
            decide(
                {f"s{it}": Metric(row[it], 1.0) for it in range(count)},
                {f"g{it}": Metric(row[it], 1.0, margin) for it in range(count, len(effects))},
            ).launch
            for row in seen
        ]
    )


@pytest.mark.parametrize("shared", [0.0, 0.7])
def test_what_does_nothing_or_harms_is_launched_no_more_often_than_alpha(shared):
    rng = np.random.default_rng(1)
    slack = 3 * np.sqrt(0.05 * 0.95 / 4000)
    assert launched(rng, [0, 0, 0], [5, 5], margin=9.0, shared=shared) <= 0.05 + slack
    assert launched(rng, [9, 9], [-1.0, 3.0], margin=1.0, shared=shared) <= 0.05 + slack  # a guardrail at its margin
    assert launched(rng, [5], [3, 3], margin=3.0, shared=shared) > 0.8


def test_a_decision_says_why():
    success = {"days": Metric(0.3, 0.1), "saves": Metric(0.1, 0.1)}
    guardrails = {"skips": Metric(-0.05, 0.1, margin=0.1), "crashes": Metric(-0.5, 0.1, margin=1.0)}
    found = decide(success, guardrails)
    assert found == (False, ("days",), ("skips",), ("crashes",))
    assert decide(success, {}).launch
    assert not decide({"days": Metric(0.0, 0.1)}, {}).launch


@pytest.mark.parametrize(
    ("success", "guardrails", "message"),
    [
        ({}, {"a": Metric(1.0, 1.0)}, "at least one success metric"),
        ({"a": Metric(1.0, 1.0)}, {"a": Metric(1.0, 1.0)}, r"\['a'\] as both"),
        ({"a": Metric(1.0, 0.0)}, {}, "a expected finite numbers"),
        ({"a": Metric(np.nan, 1.0)}, {}, "a expected finite numbers"),
        ({"a": Metric(1.0, 1.0)}, {"b": Metric(1.0, 1.0, -1.0)}, "a margin of at least 0"),
    ],
)
def test_what_cannot_be_decided_is_refused(success, guardrails, message):
    with pytest.raises(ValueError, match=message):
        decide(success, guardrails)


@pytest.mark.parametrize("dependent", [False, True])
def test_false_discoveries_are_no_larger_a_share_than_asked(dependent):
    rng = np.random.default_rng(1)
    shares, powers = [], []
    for _ in range(600):
        z = rng.standard_normal(200) + np.where(np.arange(200) < 40, 3.5, 0) + dependent * rng.standard_normal()
        found = discoveries(2 * norm.sf(np.abs(z / np.sqrt(1 + dependent))), rate=0.1, dependent=dependent)
        shares.append(found[40:].sum() / max(found.sum(), 1))
        powers.append(found[:40].mean())
    assert np.mean(shares) <= 0.1 + 3 * np.std(shares) / np.sqrt(600)
    assert np.mean(powers) > (0.1 if dependent else 0.6)


def test_discoveries_are_those_of_scipy():
    rng = np.random.default_rng(3)
    for method, dependent in (("bh", False), ("by", True)):
        for _ in range(20):
            p = rng.random(30) ** 3
            found = discoveries(p, rate=0.1, dependent=dependent)
            assert (found == (false_discovery_control(p, method=method) <= 0.1)).all()
    assert discoveries([]).shape == (0,)
    assert not discoveries([0.9, 1.0]).any()
    with pytest.raises(ValueError, match="p-values from 0 to 1"):
        discoveries([0.5, 1.5])
