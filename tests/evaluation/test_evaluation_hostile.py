"""Every public function that judges numbers, given what no caller should pass."""

from functools import partial

import numpy as np
import polars as pl
import pytest
from hostile import faults, public

from reward.experiments.early_readout import Effects
from reward.off_policy.feedback import LoggedFeedback
from reward.statistics.regression import linear

RNG = np.random.default_rng(0)
N = 60
REWARD, PROPENSITY = RNG.normal(size=N), RNG.uniform(0.2, 0.8, N)
USER = np.arange(N) // 3
TARGET = PROPENSITY * RNG.uniform(0.7, 1.2, N)
LOG = LoggedFeedback(reward=REWARD, propensity=PROPENSITY, user=USER, min_effective_sample_size=5)
SLATES = LoggedFeedback(
    reward=REWARD.reshape(-1, 2), propensity=PROPENSITY.reshape(-1, 2), user=USER[::2], min_effective_sample_size=2
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
    "off_policy.feedback.LoggedFeedback": {
        "reward": REWARD,
        "propensity": PROPENSITY,
        "user": USER,
        "min_effective_sample_size": 5.0,
        "most_off": 0.05,
    },
    "off_policy.feedback.logged": {
        "events": pl.DataFrame({"user_id": USER, "propensity": PROPENSITY, "days": REWARD}),
        "reward": "days",
        "min_effective_sample_size": 5.0,
    },
    "off_policy.estimate.effective_sample_size": {"weight": TARGET / PROPENSITY},
    "off_policy.estimate.top_share": {"weight": TARGET / PROPENSITY},
    "off_policy.feedback.importance": OF,
    "off_policy.ips.ips": OF,
    "off_policy.ips.snips": OF,
    "off_policy.ips.clipped": OF | {"most": 2.0},
    "off_policy.ips.above_zero": {"most": 2.0},
    "off_policy.doubly_robust.direct": {"rows": LOG, "expected": MODEL["expected"]},
    "off_policy.doubly_robust.doubly_robust": OF | MODEL,
    "off_policy.doubly_robust.clipped_doubly_robust": OF | MODEL | {"most": 2.0},
    "off_policy.doubly_robust.switch_doubly_robust": OF | MODEL | {"most": 2.0},
    "off_policy.doubly_robust.predictions": {"rows": LOG, "predicted": MODEL["predicted"]},
    "off_policy.paired_difference.difference": OF | {"other": PROPENSITY * 0.98},
    "off_policy.paired_difference.difference_from_level": OF,
    "off_policy.paired_difference.difference_doubly_robust": OF | MODEL | {"expected_of_other": MODEL["expected"]},
    "off_policy.slate_ips.slate_ips": OF_SLATES,
    "off_policy.slate_ips.independent_ips": OF_SLATES,
    "off_policy.slate_ips.reward_interaction_ips": OF_SLATES,
    "off_policy.reward_model.action_regression": LEARNED | {"reward": REWARD, "strength": 1.0},
    "off_policy.reward_model.folds": {"count": 10, "number": 2, "seed": 0},
    "off_policy.lope.long_term": {"rows": LOG, "weight": TARGET / PROPENSITY, "most": 5.0} | MODEL,
    "off_policy.lope.marginal_weight": {"target": CHANCES, "logging": CHANCES, "posterior": CHANCES},
    "off_policy.lope.action_posterior": LEARNED
    | {"short_term": RNG.normal(size=(N, 2)), "logging": CHANCES, "widened": 1.0},
    "off_policy.lope.distribution": {"name": "target", "matrix": CHANCES},
    "evaluation.metrics.log_loss": WEIGHED,
    "evaluation.metrics.brier": WEIGHED,
    "evaluation.metrics.auc": WEIGHED,
    "evaluation.metrics.calibration_error": WEIGHED | {"bins": 4},
    "evaluation.metrics.active_days": WEIGHED,
    "evaluation.metrics.over_horizon": {"by_day": np.full(4, 0.2), "observed": SEEN, "weights": np.ones(N)},
    "evaluation.survival_metrics.return_time": {"trace": TRACE, "observed": SEEN},
    "evaluation.survival_metrics.expected_return_day": {"probabilities": FORECAST["probabilities"]},
    "evaluation.survival_metrics.c_index": {
        "score": RNG.normal(size=N),
        "time": RNG.integers(1, 5, N),
        "event": RNG.random(N) < 0.7,
        "weights": np.ones(N),
    },
    "evaluation.measure.evaluate": FORECAST | RESAMPLED,
    "evaluation.measure.compare": {
        "first": FORECAST["probabilities"],
        "second": FORECAST["probabilities"][::-1].copy(),
        "trace": TRACE,
        "observed": SEEN,
    }
    | RESAMPLED,
    "statistics.clustered.clustered_error": {},
    "statistics.unit_bootstrap.ratio": {
        "numerator": RNG.normal(size=(N, 2)),
        "denominator": np.ones((N, 2)),
        "unit": USER,
    },
    "statistics.unit_bootstrap.unit_weights": {"units": 5, "resamples": 3, "seed": 0},
    "statistics.bootstrap.Resamples": {"count": 5, "seed": 0},
    "statistics.bootstrap.check_users": {"users": 5},
    "statistics.user_hash.user_hash": {"ids": USER},
    "statistics.bootstrap.check_codes": {"user": USER, "rows": N},
    "statistics.intervals.normal": {"level": 0.95},
    "statistics.intervals.student": {"level": 0.95, "freedom": 10.0},
    "statistics.intervals.chance_beyond": {"chi_square": 3.0, "freedom": 2},
    "statistics.intervals.check_level": {"level": 0.95},
    "statistics.intervals.check_alpha": {"alpha": 0.05},
    "statistics.regression.linear": {"ridge": 0.1, "degree": 1},
    "experiments.surrogate_index.PastExperiments": PAST,
    "experiments.surrogate_index.Experiment": {key: PAST[key] for key in ("user", "surrogates", "covariates")}
    | {"treated": TREATED},
    "experiments.surrogate_index.SurrogateIndex": {
        "regression": linear(ridge=0.1, degree=1),
        "folds": 2,
        "degree": 1,
        "ridge": 0.1,
        "seed": 0,
    },
    "experiments.surrogate_effect.violations": {"direct": RNG.normal(size=6), "se": np.full(6, 0.5)},
    "experiments.early_readout.effects_by_test": {"test": TESTS, "treated": TREATED, "values": REWARD},
    "experiments.early_readout.auto_surrogate": {
        "past": TRACE.astype(float),
        "days": 2,
        "regression": linear(ridge=0.1, degree=1),
    },
    "experiments.early_readout.described": {"seen": TRACE},
    "experiments.early_readout.launch_decisions": {"effects": Effects(RNG.normal(size=5), np.ones(5)), "alpha": 0.05},
    "experiments.early_readout.agreement": {
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
    **dict.fromkeys(
        ("evaluation.metrics.log_loss", "evaluation.measure.evaluate", "evaluation.measure.compare"), ("",)
    ),
    **dict.fromkeys(
        (
            "evaluation.metrics.brier",
            "evaluation.metrics.auc",
            "evaluation.metrics.calibration_error",
            "evaluation.metrics.active_days",
        ),
        ("",),
    ),
    "evaluation.survival_metrics.c_index": ("none", "all", "0.0 everywhere", "empty"),
    "evaluation.metrics.over_horizon": ("inf", "nan"),
    "off_policy.feedback.LoggedFeedback": ("most_off inf",),
    "off_policy.ips.above_zero": ("inf",),
}
ELSEWHERE = {
    "off_policy.estimate.estimate": "what the estimators call",
    "off_policy.doubly_robust.augmented": "what the estimators call",
    "off_policy.ips.single": "of a checked log",
    "off_policy.selection.select_estimator": "of estimates: test_off_policy_choice.py",
    "evaluation.survival_metrics.c_index_statistic": "behind c_index",
    "statistics.regression.boosting_with": "LightGBM's own settings",
    "statistics.regression.expanded": "behind linear",
    "statistics.regression.gram": "behind SurrogateIndex",
    "statistics.regression.moments": "behind linear",
    "statistics.unit_bootstrap.interval": "of a statistic: test_unit_bootstrap.py",
    "statistics.unit_bootstrap.resampled": "of a statistic: test_unit_bootstrap.py",
    "statistics.bootstrap.percentiles": "of draws, behind interval",
    "statistics.bootstrap.sums_by": "of checked codes",
    "statistics.user_hash.mixed": "of any words",
    "statistics.cells.cell_sums": "of checked codes",
    "statistics.random.uniforms": "of any seed: test_random.py",
    "statistics.sums.fold": "of an estimator: test_sums.py",
    "statistics.sums.total": "of states: test_sums.py",
    "evaluation.measure.measurements": "behind evaluate_against",
    "evaluation.measure.compared": "behind evaluate_against",
    "evaluation.measure.evaluate_against": "what evaluate and compare call",
    "statistics.bootstrap.quotient": "elementwise, NaN where the denominator is 0",
    "statistics.regression.boosted": "LightGBM's own settings",
    "experiments.early_readout.reward_surrogate": "a scoring function's: test_surrogates_early.py",
}
SURROGATES = ("experiments.surrogate_index", "experiments.surrogate_effect", "experiments.early_readout")
MEASURES = ("evaluation.metrics", "evaluation.survival_metrics", "evaluation.measure")
ROOMS = ("off_policy", *MEASURES, "statistics", *SURROGATES)
FUNCTIONS = {name.removeprefix("reward."): thing for room in ROOMS for name, thing in public(f"reward.{room}")}


def test_every_public_function_has_a_sound_call():
    assert set(FUNCTIONS) == {*SOUND, *ELSEWHERE}


@pytest.mark.parametrize("name", [name for name in SOUND if name != "statistics.clustered.clustered_error"])
def test_what_no_caller_should_pass_is_answered_in_a_sentence(name):
    told = faults(FUNCTIONS[name], SOUND[name], may_be_endless=ENDLESS.get(name, ()))
    assert not told, "\n".join(told)


@pytest.mark.parametrize("samples", [[], [(np.zeros(3, int), np.ones(3))], [(np.array([-1, 0]), np.ones(2))]])
def test_a_clustered_error_wants_two_users(samples):
    with pytest.raises(ValueError, match=r"at least 2 users|from 0, for each of 2 rows"):
        FUNCTIONS["statistics.clustered.clustered_error"](*samples)


@pytest.mark.parametrize("kind", [np.int8, np.int16, np.int32, np.uint8])
def test_codes_of_few_bits_do_not_come_round(kind):
    tests, treated = np.repeat(np.arange(100), 4), np.tile([True, True, False, False], 100)
    values = np.arange(400.0)
    effects_by_test = partial(FUNCTIONS["experiments.early_readout.effects_by_test"], treated=treated, values=values)
    small, whole = (effects_by_test(tests.astype(each)) for each in (kind, np.int64))
    np.testing.assert_array_equal(small.effect, whole.effect)


@pytest.mark.parametrize("unit", [1e-40, 1e40])
def test_a_surrogate_in_a_small_or_large_unit_is_one_still(unit):
    x = RNG.normal(size=(50, 2))
    y = x @ [1.0, 2.0] + RNG.normal(size=50)
    told = [linear(ridge=1e-4, degree=2)(each, y)(each) for each in (x, x * unit)]
    np.testing.assert_allclose(told[0], told[1], rtol=1e-9)
