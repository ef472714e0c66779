"""Every public function of the room, given what no caller should pass."""

import numpy as np
import polars as pl
import pytest
from hostile import faults, public

from reward.experiments.decision_rules import Metric
from reward.experiments.table import Experiments, from_users

RNG = np.random.default_rng(0)
USERS = pl.DataFrame(
    {
        "experiment": np.repeat(np.arange(40), 40),
        "arm": np.tile(["off", "on"], 800),
        "user_id": np.arange(1600),
        "plays": RNG.normal(size=1600) + 0.8 * np.repeat(RNG.normal(size=40), 40) * np.tile([0, 1], 800),
    }
).with_columns(days=0.5 * pl.col("plays") + pl.Series(RNG.normal(size=1600)), before=pl.Series(RNG.normal(size=1600)))
ARMS = pl.DataFrame(
    {
        "experiment": [0, 1, 2],
        "size": [10.0, 20.0, 30.0],
        "days": [0.1, -0.2, 0.3],
        "plays": [0.2, -0.1, 0.3],
        "covariance": [[1.0, 0.1, 0.1, 2.0]] * 3,
    }
)
PAST = from_users(USERS, ["plays", "days"], control="off")
TABLE = {
    "metrics": ("plays", "days"),
    "experiment": np.arange(3),
    "effects": RNG.normal(size=(3, 2)),
    "covariance": np.tile(np.eye(2), (3, 1, 1)),
    "size": np.array([3.0, 4.0, 5.0]),
}
LOOKS = {"information": np.array([0.01, 0.5, 1.0]), "alpha": 0.05}
LEARN = {"table": PAST, "north_star": "days", "signals": ["plays"], "level": 0.95}
PLAN = {
    "effect": 0.1,
    "sd": 1.0,
    "daily_users": np.full(40, 100.0),
    "horizon_days": 7,
    "explained": 0.2,
    "treated_share": 0.5,
    "alpha": 0.05,
    "power": 0.8,
}

SOUND = {
    "comparison.compare": {
        "users": USERS.select("arm", "days", "before"),
        "metric": "days",
        "control": "off",
        "treated": "on",
        "covariate": "before",
        "alpha": 0.05,
    },
    "comparison.join_cohorts": {"effects": [1.0, 2.0], "ses": [1.0, 0.5], "level": 0.95},
    "comparison.sample_ratio": {"users": USERS.select("arm"), "expected": {"off": 0.5, "on": 0.5}},
    "decision_rules.decide": {
        "success": {"days": Metric(0.3, 0.1)},
        "guardrails": {"skips": Metric(0.0, 0.1, 0.2)},
        "alpha": 0.05,
    },
    "decision_rules.discoveries": {"p_values": [0.01, 0.2, 0.03], "rate": 0.05, "dependent": False},
    "heterogeneity.rank_weighted_effect": {
        "score": [1.0, 2.0, 3.0, 4.0],
        "outcome": [1.0, 0.0, 1.0, 0.5],
        "treated": [True, False, True, False],
        "treated_share": 0.5,
        "weighting": "autoc",
        "resamples": 5,
        "seed": 0,
        "level": 0.95,
    },
    "shrinkage.shrink": {
        "estimate": [0.1, -0.2, 0.4],
        "se": [0.1, 0.2, 0.1],
        "scale": [1.0, 2.0, 1.0],
        "groups": ["a", "a", "b"],
        "features": [0.0, 1.0, 0.5],
    },
    "design.plan": PLAN | {"inflation": 1.0},
    "design.schedule": PLAN,
    "sequential.always_valid": LOOKS | {"tuned_at": 0.5},
    "sequential.group_sequential": LOOKS,
    "sequential.monitor": {"effects": [0.1, 0.2], "ses": [0.1, 0.05], "bounds": [3.0, 2.5]},
    "sequential.crossing": {
        "information": [0.5, 1.0],
        "bounds": [2.8, 2.0],
        "drift": 2.8,
        "paths": 100,
        "seed": 0,
    },
    "sequential.inflation": {
        "information": [0.5, 1.0],
        "bounds": [2.8, 2.0],
        "alpha": 0.05,
        "power": 0.8,
        "paths": 100,
    },
    "proxy_validation.evaluate_proxy": {
        "table": PAST,
        "north_star": "days",
        "signals": ["plays"],
        "weights": np.array([0.5]),
        "resamples": 20,
        "seed": 0,
        "alpha": 0.05,
        "level": 0.95,
    },
    "proxy_validation.pareto_front": {
        "table": PAST,
        "north_star": "days",
        "signals": ["plays"],
        "directions": 5,
        "resamples": 20,
        "seed": 0,
        "level": 0.95,
    },
    "proxy_validation.undominated": {"points": RNG.normal(size=(5, 2))},
    "table.Experiments": TABLE,
    "table.from_arms": {"arms": ARMS, "metrics": ["days", "plays"]},
    "table.from_users": {"users": USERS, "metrics": ["plays", "days"], "control": "off"},
    "proxy_weights.naive": LEARN,
    "proxy_weights.total_covariance": LEARN,
    "proxy_weights.jive": LEARN,
    "proxy_weights.liml": LEARN,
    "proxy_weights.all_weights": LEARN,
}
ENDLESS = {
    # the interval of a weight is as long as the experiments leave it, see ProxyWeights
    **{f"weights.{name}": ("",) for name in ("naive", "total_covariance", "jive", "liml", "all_weights")},
}
ELSEWHERE = {
    "comparison.predicted_before": "a scoring function's: tests/experiments/test_comparison.py",
    "confidence.difference": "the bridge, behind compare",
    "confidence.users_needed": "the bridge, behind plan",
    "confidence.ratio_chance": "the bridge, behind sample_ratio",
    "confidence.spending_bounds": "the bridge, behind group_sequential",
    "table.arm_names": "an expression",
    "table.arm_name": "text",
    "table.check_numbers": "reads a schema",
    "proxy_weights.sums_by_experiment": "of a checked table",
    "proxy_weights.seen": "of sums",
    "proxy_weights.beyond_pooled": "of sums",
    "proxy_weights.beyond_own": "of sums",
    "proxy_weights.beyond_least": "of sums",
    "proxy_weights.slopes": "of sums",
    "proxy_weights.jackknife": "of sums",
    "proxy_weights.strength_of": "of sums",
}
ELSEWHERE_AS_A_WHOLE = (
    "surrogate_index",
    "surrogate_effect",
    "early_readout",
)  # tests/evaluation/test_evaluation_hostile.py
FUNCTIONS = {
    name: thing for name, thing in public("reward.experiments") if name.split(".")[2] not in ELSEWHERE_AS_A_WHOLE
}


def test_every_public_function_has_a_sound_call():
    names = {name.removeprefix("reward.experiments.") for name in FUNCTIONS}
    assert names == {*SOUND, *ELSEWHERE}


@pytest.mark.parametrize("name", SOUND)
def test_what_no_caller_should_pass_is_answered_in_a_sentence(name):
    if name.split(".")[0] in ("comparison", "design", "sequential"):
        pytest.importorskip("spotify_confidence", exc_type=ImportError)
    told = faults(FUNCTIONS[f"reward.experiments.{name}"], SOUND[name], may_be_endless=ENDLESS.get(name, ()))
    assert not told, "\n".join(told)


@pytest.mark.parametrize("level", [1e6, 1e9, 1e12])
def test_effects_far_from_0_give_the_weights_of_those_near_it(level):
    far = Experiments(PAST.metrics, PAST.experiment, PAST.effects + level, PAST.covariance, PAST.size)
    near, found = (FUNCTIONS["reward.experiments.proxy_weights.jive"](each, "days") for each in (PAST, far))
    assert found.weights == pytest.approx(near.weights, rel=level * 1e-13 + 1e-9)


@pytest.mark.parametrize("unit", [1e-150, 1e-9, 1e150])
def test_weights_change_with_the_unit_of_a_signal_and_nothing_else_does(unit):
    scale = np.array([unit, 1.0])
    other = Experiments(
        PAST.metrics, PAST.experiment, PAST.effects * scale, PAST.covariance * np.outer(scale, scale), PAST.size
    )
    near, found = (FUNCTIONS["reward.experiments.proxy_weights.jive"](each, "days") for each in (PAST, other))
    assert found.weights * unit == pytest.approx(near.weights)
    assert found.strength == pytest.approx(near.strength)


@pytest.mark.parametrize("level", [1e6, 1e9])
def test_metrics_far_from_0_have_the_covariance_of_those_near_it(level):
    far = from_users(USERS.with_columns(pl.col("days", "plays") + level), ["plays", "days"], control="off")
    assert far.covariance == pytest.approx(PAST.covariance, rel=1e-4)
    assert far.effects == pytest.approx(PAST.effects, abs=level * 1e-14)
