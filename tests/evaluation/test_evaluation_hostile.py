"""Every public function that judges numbers, given what no caller should pass."""

from functools import partial

import numpy as np
import polars as pl
import pytest
from hostile import faults, public

from reward.evaluation.off_policy import Logged
from reward.evaluation.surrogates.early import Effects
from reward.evaluation.surrogates.index import linear

RNG = np.random.default_rng(0)
N = 60
REWARD, PROPENSITY = RNG.normal(size=N), RNG.uniform(0.2, 0.8, N)
USER = np.arange(N) // 3
TARGET = PROPENSITY * RNG.uniform(0.7, 1.2, N)
LOG = Logged(reward=REWARD, propensity=PROPENSITY, user=USER, least_effective_rows=5)
SLATES = Logged(
    reward=REWARD.reshape(-1, 2), propensity=PROPENSITY.reshape(-1, 2), user=USER[::2], least_effective_rows=2
)
OF = {"rows": LOG, "target": TARGET}
OF_SLATES = {"rows": SLATES, "target": TARGET.reshape(-1, 2)}
MODEL = {"predicted": RNG.normal(size=N), "expected": RNG.normal(size=N)}
CHANCES = RNG.uniform(0.2, 1, (N, 3))
CHANCES /= CHANCES.sum(axis=1, keepdims=True)
ACTION = RNG.integers(3, size=N)
LEARNED = {"context": RNG.normal(size=(N, 2)), "actions": np.eye(3), "action": ACTION, "fold": USER % 2}

SEEN = np.ones((N, 4), bool)
TRACE = RNG.random((N, 4)) < 0.4
FORECAST = {"probabilities": RNG.uniform(0.1, 0.9, (N, 4)), "trace": TRACE, "observed": SEEN}
WEIGHED = FORECAST | {"weights": np.ones(N)}
RESAMPLED = {"user": USER, "resamples": 5, "seed": 0, "level": 0.9, "bins": 4}
PAST = {
    "user": USER,
    "surrogates": RNG.normal(size=(N, 2)),
    "outcome": RNG.normal(size=N),
    "covariates": RNG.normal(size=(N, 1)),
}
TREATED = np.arange(N) % 2 == 0
TESTS = (np.arange(N) // 12).astype(np.int64)

SOUND = {
    "off_policy.Logged": {
        "reward": REWARD,
        "propensity": PROPENSITY,
        "user": USER,
        "least_effective_rows": 5.0,
        "most_off": 0.05,
    },
    "off_policy.logged": {
        "events": pl.DataFrame({"user_id": USER, "propensity": PROPENSITY, "days": REWARD}),
        "reward": "days",
        "least_effective_rows": 5.0,
    },
    "off_policy.effective_rows": {"weight": TARGET / PROPENSITY},
    "off_policy.top_share": {"weight": TARGET / PROPENSITY},
    "off_policy.importance": OF,
    "off_policy.weighting.inverse_propensity": OF,
    "off_policy.weighting.self_normalised": OF,
    "off_policy.weighting.clipped": OF | {"most": 2.0},
    "off_policy.weighting.above_zero": {"most": 2.0},
    "off_policy.regression.direct": {"rows": LOG, "expected": MODEL["expected"]},
    "off_policy.regression.doubly_robust": OF | MODEL,
    "off_policy.regression.clipped_doubly_robust": OF | MODEL | {"most": 2.0},
    "off_policy.regression.switch_doubly_robust": OF | MODEL | {"most": 2.0},
    "off_policy.regression.predictions": {"rows": LOG, "predicted": MODEL["predicted"]},
    "off_policy.difference.difference": OF | {"other": PROPENSITY * 0.98},
    "off_policy.difference.difference_from_level": OF,
    "off_policy.difference.difference_doubly_robust": OF | MODEL | {"expected_of_other": MODEL["expected"]},
    "off_policy.slates.slate_inverse_propensity": OF_SLATES,
    "off_policy.slates.independent_inverse_propensity": OF_SLATES,
    "off_policy.slates.reward_interaction_inverse_propensity": OF_SLATES,
    "off_policy.ridge.action_regression": LEARNED | {"reward": REWARD, "strength": 1.0},
    "off_policy.ridge.folds": {"count": 10, "number": 2, "seed": 0},
    "off_policy.long_term.long_term": {"rows": LOG, "weight": TARGET / PROPENSITY, "most": 5.0} | MODEL,
    "off_policy.long_term.marginal_weight": {"target": CHANCES, "logging": CHANCES, "posterior": CHANCES},
    "off_policy.long_term.action_posterior": LEARNED
    | {"short_term": RNG.normal(size=(N, 2)), "logging": CHANCES, "widened": 1.0},
    "off_policy.long_term.distribution": {"name": "target", "matrix": CHANCES},
    "metrics.log_loss": WEIGHED,
    "metrics.brier": WEIGHED,
    "metrics.auc": WEIGHED,
    "metrics.calibration_error": WEIGHED | {"bins": 4},
    "metrics.active_days": WEIGHED,
    "metrics.over_horizon": {"by_day": np.full(4, 0.2), "observed": SEEN, "weights": np.ones(N)},
    "metrics.return_time": {"trace": TRACE, "observed": SEEN},
    "metrics.expected_return_day": {"probabilities": FORECAST["probabilities"]},
    "metrics.c_index": {
        "score": RNG.normal(size=N),
        "time": RNG.integers(1, 5, N),
        "event": RNG.random(N) < 0.7,
        "weights": np.ones(N),
    },
    "metrics.evaluate": FORECAST | RESAMPLED,
    "metrics.compare": {
        "first": FORECAST["probabilities"],
        "second": FORECAST["probabilities"][::-1].copy(),
        "trace": TRACE,
        "observed": SEEN,
    }
    | RESAMPLED,
    "resampling.clustered_error": {},
    "resampling.ratio": {"numerator": RNG.normal(size=(N, 2)), "denominator": np.ones((N, 2)), "user": USER},
    "resampling.user_weights": {"users": 5, "resamples": 3, "seed": 0},
    "resampling.check_codes": {"user": USER, "rows": N},
    "surrogates.index.linear": {"ridge": 0.1, "degree": 1},
    "surrogates.index.Past": PAST,
    "surrogates.index.Experiment": {key: PAST[key] for key in ("user", "surrogates", "covariates")}
    | {"treated": TREATED},
    "surrogates.index.SurrogateIndex": {
        "regression": linear(ridge=0.1, degree=1),
        "folds": 2,
        "degree": 1,
        "ridge": 0.1,
        "seed": 0,
    },
    "surrogates.index.violations": {"direct": RNG.normal(size=6), "se": np.full(6, 0.5)},
    "surrogates.early.effects_by_test": {"test": TESTS, "treated": TREATED, "values": REWARD},
    "surrogates.early.auto_surrogate": {
        "past": TRACE.astype(float),
        "days": 2,
        "regression": linear(ridge=0.1, degree=1),
    },
    "surrogates.early.described": {"seen": TRACE},
    "surrogates.early.decisions": {"effects": Effects(RNG.normal(size=5), np.ones(5)), "alpha": 0.05},
    "surrogates.early.agreement": {
        "outcome": Effects(RNG.normal(size=5), np.ones(5)),
        "surrogates": {"first": Effects(RNG.normal(size=(5, 2)), np.ones((5, 2)))},
        "days": [1, 2],
        "alpha": 0.05,
        "resamples": 5,
        "seed": 0,
        "level": 0.9,
        "cluster": np.arange(5),
    },
}
UNDEFINED = (
    "0 for certain and it came, a day without an observed row, or nobody active: infinite or NaN by its own words"
)
ENDLESS = {  # parts of names of arguments
    **dict.fromkeys(("metrics.log_loss", "metrics.evaluate", "metrics.compare"), ("",)),
    **dict.fromkeys(("metrics.brier", "metrics.auc", "metrics.calibration_error", "metrics.active_days"), ("",)),
    "metrics.c_index": ("none", "all", "0.0 everywhere", "empty"),
    "metrics.over_horizon": ("inf", "nan"),
    "off_policy.Logged": ("most_off inf",),
    "off_policy.weighting.above_zero": ("inf",),
}
ELSEWHERE = {
    "off_policy.estimate": "what the estimators call",
    "off_policy.regression.augmented": "what the estimators call",
    "off_policy.weighting.single": "of a checked log",
    "off_policy.choice.choose": "of estimates: test_off_policy_choice.py",
    "resampling.interval": "of a statistic: test_resampling.py",
    "resampling.resampled": "of a statistic: test_resampling.py",
    "resampling.percentiles": "of draws, behind interval",
    "metrics.evaluate_against": "what evaluate and compare call",
    "resampling.quotient": "elementwise, NaN where the denominator is 0",
    "surrogates.index.boosted": "LightGBM's own settings",
    "surrogates.early.reward_surrogate": "a scoring function's: test_surrogates_early.py",
}
ROOMS = ("off_policy", "metrics", "resampling", "surrogates")
FUNCTIONS = {
    name.removeprefix("reward.evaluation."): thing
    for room in ROOMS
    for name, thing in public(f"reward.evaluation.{room}")
}


def test_every_public_function_has_a_sound_call():
    assert set(FUNCTIONS) == {*SOUND, *ELSEWHERE}


@pytest.mark.parametrize("name", [name for name in SOUND if name != "resampling.clustered_error"])
def test_what_no_caller_should_pass_is_answered_in_a_sentence(name):
    told = faults(FUNCTIONS[name], SOUND[name], may_be_endless=ENDLESS.get(name, ()))
    assert not told, "\n".join(told)


@pytest.mark.parametrize("samples", [[], [(np.zeros(3, int), np.ones(3))], [(np.array([-1, 0]), np.ones(2))]])
def test_a_clustered_error_wants_two_users(samples):
    with pytest.raises(ValueError, match=r"at least 2 users|from 0, for each of 2 rows"):
        FUNCTIONS["resampling.clustered_error"](*samples)


@pytest.mark.parametrize("kind", [np.int8, np.int16, np.int32, np.uint8])
def test_codes_of_few_bits_do_not_come_round(kind):
    tests, treated = np.repeat(np.arange(100), 4), np.tile([True, True, False, False], 100)
    values = np.arange(400.0)
    effects_by_test = partial(FUNCTIONS["surrogates.early.effects_by_test"], treated=treated, values=values)
    small, whole = (effects_by_test(tests.astype(each)) for each in (kind, np.int64))
    np.testing.assert_array_equal(small.effect, whole.effect)


@pytest.mark.parametrize("unit", [1e-40, 1e40])
def test_a_surrogate_in_a_small_or_large_unit_is_one_still(unit):
    x = RNG.normal(size=(50, 2))
    y = x @ [1.0, 2.0] + RNG.normal(size=50)
    told = [linear(ridge=1e-4, degree=2)(each, y)(each) for each in (x, x * unit)]
    np.testing.assert_allclose(told[0], told[1], rtol=1e-9)
