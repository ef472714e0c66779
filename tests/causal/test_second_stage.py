from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from reward.causal.diagnostics.calibration_slope import CalibrationSlope, calibration_slope
from reward.causal.estimate import _MISFIT, estimate_effects
from reward.causal.item_effects.day_effects import covariances, day_effects
from reward.causal.item_effects.effect_curve import effect_curve
from reward.causal.item_effects.feedback_rates import FeedbackRows, Flags, Rates, Traits, described, describing
from reward.causal.item_effects.hierarchy import HierarchySums, slope_of, solve, spreads_of
from reward.causal.item_effects.ipw import IPWEstimates, inverse_weights, ipw_estimates
from reward.causal.item_effects.observed import Observed
from reward.causal.item_effects.outcome_residuals import DayEffects, UserDays, user_days
from reward.causal.item_effects.shrinkage import pooled_effects
from reward.data.event_log import EventLog, SchemaError
from reward.data.prepared import PreparedLog
from reward.data.validation import check
from reward.outcomes.activity import ActivityTrace
from reward.statistics.sums import fold as folded

SETTINGS = {
    "gate": "click",
    "rare": [],
    "group": "creator",
    "folds": 4,
    "most_weight": 50.0,
    "smooth_days": 30.0,
    "curve_rounds": 1,
    "joint_rounds": 1,
    "personal": None,
    "seed": 0,
}
OUTCOME = ActivityTrace(5)
ITEMS, USERS, DAYS = 12, 1500, 30


def toy_log(strength, seed=0, confounded=True):
    """Users come back with a probability that what they clicked yesterday and the day before moves by ``strength``.

    The policy shows the later half of the items to active users more; items 0, 2, 4, .. are good, the others bad.
    """
    rng = np.random.default_rng(seed)
    base = rng.normal(-0.5, 1.0, USERS)
    good = np.where(np.arange(ITEMS) % 2 == 0, 1.0, -1.0)
    lean = np.where(np.arange(ITEMS) >= ITEMS // 2, 0.6, -0.6) * confounded
    habit, rate, rows = np.zeros(USERS), np.full(USERS, 0.4), []
    for day in range(DAYS):
        active = rng.random(USERS) < 1 / (1 + np.exp(-(base + habit)))
        chance = np.exp(lean * (rate[:, None] - 0.4) * 3)
        chance /= chance.sum(axis=1, keepdims=True)
        item = (chance.cumsum(axis=1) < rng.random((USERS, 1))).sum(axis=1).clip(0, ITEMS - 1)
        click = active & (rng.random(USERS) < 0.5)
        habit = 0.6 * habit + strength * click * good[item]
        who = np.flatnonzero(active)
        rows.append((who, item[who], np.full(len(who), day), click[who], chance[who, item[who]]))
        rate += 0.1 * (active - rate)
    user, item, day, click, chance = (np.concatenate(column) for column in zip(*rows, strict=True))
    events = pl.DataFrame(
        {
            "user_id": user,
            "item_id": item,
            "timestamp": np.datetime64("2024-01-01T12:00", "us") + day.astype("timedelta64[D]"),
            "click": click,
            "propensity": chance,
        }
    )
    items = pl.DataFrame({"item_id": range(ITEMS), "creator": [f"c{k % 2}" for k in range(ITEMS)]})
    log = EventLog(events.lazy(), ("click",), 30, 0.0, items=items.lazy(), item_features=("creator",))
    return check(log).log


@pytest.fixture(scope="module")
def log():
    return toy_log(0.6)


def test_good_items_are_told_from_bad_ones_whoever_they_were_shown_to(log):
    whole = estimate_effects(log, OUTCOME, **SETTINGS)
    assert whole.model is None
    found = whole.items
    assert found["item_id"].to_list() == list(range(ITEMS))
    assert found["mean"].gather_every(2).min() > found["mean"].gather_every(2, 1).max()
    assert found["exposures"].sum() == log.events.collect().height
    assert (found["std"] > 0).all()
    pooled = found["std"] ** 2 - (_MISFIT * found["mean"]) ** 2  # what pooling leaves, without what no estimate sees
    assert (pooled < found["anchor_std"] ** 2).all()


def test_effects_are_borne_out_by_users_held_out_where_there_are_any_and_not_where_there_are_none(log):
    there = estimate_effects(log, OUTCOME, **SETTINGS)
    assert there.calibration.slope - 1.96 * there.calibration.se > 0
    for seed in (1, 2):
        none = estimate_effects(toy_log(0.0, seed), OUTCOME, **SETTINGS).calibration
        assert abs(none.slope) < 1.96 * none.se


def test_items_permuted_within_the_log_do_nothing(log):
    rng = np.random.default_rng(0)
    shuffled = replace(
        log, events=log.events.with_columns(pl.Series("item_id", rng.integers(0, ITEMS, log.events.collect().height)))
    )
    found = estimate_effects(shuffled, OUTCOME, **SETTINGS)
    assert abs(found.calibration.slope) < 1.96 * found.calibration.se
    assert found.items["mean"].abs().max() < estimate_effects(log, OUTCOME, **SETTINGS).items["mean"].abs().max() / 3


def test_the_same_seed_gives_the_same_effects_and_an_unknown_item_is_an_average_one(log):
    one, other = (estimate_effects(log, OUTCOME, **SETTINGS) for _ in range(2))
    assert one.items.equals(other.items)
    asked = one.reward(pl.Series("item_id", [0, 99, 1]), pessimism=1.0)
    assert asked[0] == pytest.approx(one.items["mean"][0] - one.items["std"][0])
    assert asked[1] == 0.0


def test_what_does_not_fit_is_said_all_at_once(log):
    wrong = SETTINGS | {"gate": "like", "rare": ["survey"], "group": "show"}
    without = replace(log, events=log.events.drop("propensity"))
    with pytest.raises(SchemaError, match=r"gate='like'.*rare='survey'.*group='show'.*no column propensity"):
        estimate_effects(without, OUTCOME, **wrong)
    with pytest.raises(SchemaError, match="scope=user"):
        user_days(PreparedLog.of(log), ActivityTrace(5, scope="item", active_if="click"), folds=2, seed=0)
    with pytest.raises(SchemaError, match="at least 8000 users for 4000 folds, got"):
        user_days(PreparedLog.of(log), OUTCOME, folds=4000, seed=0)
    empty = pl.DataFrame(schema={"user_id": pl.Int64, "day": pl.Int64, "forecast": pl.List(pl.Float64)})
    with pytest.raises(SchemaError, match="forecast lacks"):
        user_days(PreparedLog.of(log), OUTCOME, folds=2, seed=0, forecast=empty)


def test_a_forecast_that_is_given_takes_the_baseline_s_place(log):
    (own,) = user_days(PreparedLog.of(log), OUTCOME, folds=2, seed=0)
    given = pl.DataFrame(
        {"user_id": own.users.gather(own.user), "day": own.day, "forecast": [[0.4] * 5] * len(own.day)}
    )
    (other,) = user_days(PreparedLog.of(log), OUTCOME, folds=2, seed=0, forecast=given)
    assert np.allclose(other.residual, own.residual, atol=0.01)


def test_residuals_are_0_where_nothing_is_known_and_on_average_within_each_fold(log):
    (days,) = user_days(PreparedLog.of(log), OUTCOME, folds=3, seed=0)
    assert (days.residual[days.known == 0] == 0).all()
    assert days.known.max() == 5
    for fold in range(3):
        assert days.residual[days.fold[days.user] == fold].mean() == pytest.approx(0, abs=1e-5)


def small_days(residual, known, user=None, day=None, fold=None):
    n = len(known)
    user = np.arange(n) if user is None else np.array(user)
    return UserDays(
        users=pl.Series(range(int(user.max()) + 1)),
        user=user,
        day=np.zeros(n, np.int64) if day is None else np.array(day),
        fold=np.zeros(int(user.max()) + 1, np.int64) if fold is None else np.array(fold),
        known=np.array(known),
        residual=np.array(residual, np.float32),
        expected=np.zeros(n),
        row=np.arange(n),
        start=0,
        span=1 if day is None else int(np.max(day)) + 1,
    )


def seen(days, value, item, weight, precision=None):
    n = len(days.user)
    effect = DayEffects(np.array(value, np.float64), np.ones(n) if precision is None else precision)
    return [Observed(days, effect, np.array(item), np.array(weight, np.float64))]


def test_least_squares_over_the_horizon_by_hand():
    days = small_days([[0.5, 0.1], [0.4, 0.0]], [2, 1])
    (made,) = day_effects([days], np.diag([1.0, 2.0]), np.array([0.75, 0.25]))
    # Σ c r / v over Σ c² / v: (.75·.5 + .25·.1/2) / (.5625 + .03125), and .4 / .75
    assert made.value.tolist() == pytest.approx([0.3875 / 0.59375, 0.4 / 0.75])
    assert made.precision[0] / made.precision[1] == pytest.approx(0.59375 / 0.5625)


def test_the_covariance_is_that_of_the_longest_known_user_days():
    days = small_days([[1.0, 1.0], [-1.0, 1.0], [9.0, 0.0]], [2, 2, 1])
    assert covariances([days]) == pytest.approx(np.array([[1.01, 0.0], [0.0, 1.01]]), abs=1e-5)


def test_weights_are_inverse_propensities_clipped_and_of_mean_1_within_an_item():
    item = np.array([0, 0, 1, 1])
    (weight,) = inverse_weights([np.array([0.5, 0.25, 0.1, 0.1])], [item], 2, most=10)
    assert weight.tolist() == pytest.approx([2 / 3, 4 / 3, 1, 1])
    (clipped,) = inverse_weights([np.array([0.5] * 9 + [0.001])], [np.zeros(10, np.int64)], 1, most=2)
    # 1000 is cut to twice the mean of 101.8, and again to twice the mean of (18 + 203.6) / 10
    assert clipped[-1] / clipped[0] == pytest.approx(44.32 / 2)
    assert clipped.mean() == pytest.approx(1)


def test_an_anchor_is_a_weighted_mean_less_the_fold_s():
    days = small_days([[0.0]] * 4, [1] * 4)
    made = ipw_estimates(seen(days, [1.0, 2.0, 3.0, 6.0], [0, 0, 1, 1], [0.5, 1.5, 1.0, 1.0]), 3, rounds=0)
    # item 0: (.5·1 + 1.5·2) / 2 = 1.75, item 1: 4.5, all: 12.5 / 4 = 3.125
    assert made.value[0].tolist() == pytest.approx([1.75 - 3.125, 4.5 - 3.125, 0.0])
    assert made.variance[0, 2] == np.inf
    assert made.variance[0, 0] / made.variance[0, 1] == pytest.approx((0.25 + 2.25) / 2)


@pytest.mark.parametrize("rows", [2, 3, 20])
def test_however_few_users_an_item_has_its_variance_is_that_of_the_noise(rows):
    rng = np.random.default_rng(rows)
    items, folds = 4000 // rows, 2
    user = np.arange(folds * items * rows)
    item = user % items
    drawn = rng.normal(0, 2.0, len(user))
    days = small_days(drawn[:, None], np.ones(len(user), np.int64), fold=user % folds)
    weight = rng.uniform(0.5, 1.5, len(user))
    made = ipw_estimates(seen(days, drawn, item, weight), items, rounds=0)
    shown = np.isfinite(made.variance)
    assert (made.value**2 / made.variance)[shown].mean() == pytest.approx(1, abs=0.1)


def test_a_log_in_which_no_two_users_of_a_fold_share_an_item_is_refused():
    user = np.arange(8)
    days = small_days(np.ones((8, 1)), user * 0 + 1, fold=user % 2)
    with pytest.raises(SchemaError, match="several users of a fold"):
        ipw_estimates(seen(days, np.ones(8), user, np.ones(8)), 8, rounds=0)


def some_facts():
    rng = np.random.default_rng(3)
    items, columns = 60, 5
    return HierarchySums(
        items=np.concatenate([rng.uniform(1, 400, (items, 1)), rng.normal(0, 20, (items, 1 + columns))], axis=1),
        gram=np.diag(np.r_[1e4, rng.uniform(1e4, 3e4, columns)]),
        groups=np.arange(items) % 7,
        order=np.argsort(np.arange(items) % 7, kind="stable"),
        count=7,
        block=np.array([0, 0, 1, 1, 2]),
        doubt=rng.uniform(0, 0.01, items),
    )


def test_the_slope_of_the_likelihood_is_that_of_finite_differences():
    facts = some_facts()
    at, step = np.log([0.05, 0.03, 0.02, 0.04]), 1e-5
    found = slope_of(facts, solve(facts, at), at)
    for place, move in enumerate(step * np.eye(4)):
        apart = (solve(facts, at + move, penalty=0.0).loss - solve(facts, at - move, penalty=0.0).loss) / (2 * step)
        assert found[place] == pytest.approx(apart, rel=1e-5, abs=1e-5)


def test_a_search_that_ends_nowhere_gives_the_best_it_has_seen(monkeypatch):
    facts, step = some_facts(), torch.optim.LBFGS.step
    found = spreads_of(facts, np.full(4, 0.02))

    def lost(self, closure):
        step(self, closure)
        self.param_groups[0]["params"][0].data.fill_(torch.nan)

    monkeypatch.setattr(torch.optim.LBFGS, "step", lost)
    kept = spreads_of(facts, np.full(4, 0.02))
    assert solve(facts, kept).loss == pytest.approx(solve(facts, found).loss, abs=1e-5)


def test_pooling_is_exact_bayes_for_the_spreads_it_finds():
    rng = np.random.default_rng(0)
    folds, items = 3, 40
    groups = np.arange(items) % 8
    truth = 0.5 * rng.standard_normal(8)[groups] + 0.3 * rng.standard_normal(items)
    variance = rng.uniform(0.05, 0.3, (folds, items))
    anchor = IPWEstimates(truth + rng.standard_normal((folds, items)) * variance**0.5, variance)
    gate = np.tile(rng.uniform(0.5, 1.0, items), (folds + 1, 1))
    trait = rng.standard_normal((items, 2))
    traits = Traits(trait, np.zeros((folds + 1, items, 0)), gate, np.zeros((items, 0)))
    made = pooled_effects(anchor, traits, groups)
    mean, std = made.posterior_effects(traits, groups)
    own, group, described_, _ = made.spreads
    # the oracle: one Gaussian over everything, inverted whole
    columns = np.concatenate(
        [
            np.ones((items, 1)),
            gate[0][:, None] * np.concatenate([np.ones((items, 1)), trait, np.eye(8)[groups], np.eye(items)], axis=1),
        ],
        axis=1,
    )
    prior = np.array([1.0, 1.0] + [described_**2] * 2 + [group**2] * 8 + [own**2] * items)
    precision = np.diag(1 / prior) + sum(columns.T @ (columns / v[:, None]) for v in variance)
    posterior = np.linalg.inv(precision)
    weights = posterior @ sum(columns.T @ (y / v) for y, v in zip(anchor.value, variance, strict=True))
    assert mean == pytest.approx(columns @ weights, abs=1e-8)
    assert std == pytest.approx(np.sqrt(np.einsum("xi,ij,xj->x", columns, posterior, columns)), abs=1e-8)


def rates(events, item, fold, items, folds, *, feedback, gate, rare):
    chunks = [FeedbackRows(events.lazy(), item, fold)]
    return folded(Rates(items, folds, feedback, folded(Flags(feedback), chunks), gate, rare), chunks)


def test_rates_leave_out_the_fold_they_are_for():
    events = pl.DataFrame({"click": [1.0, 0.0, 1.0, 1.0], "like": [1.0, 0.0, 0.0, 1.0]})
    item, fold = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    answered, gate, doubt = rates(events, item, fold, 2, 2, feedback=("click", "like"), gate="click", rare=())
    assert answered.shape == (3, 2, 1)
    assert gate.shape == (3, 2)
    assert doubt.shape == (2, 1)
    changed = events.with_columns(click=pl.Series([0.0, 0.0, 0.0, 1.0]))
    other = rates(changed, item, fold, 2, 2, feedback=("click", "like"), gate="click", rare=())
    assert np.array_equal(other[1][0], gate[0])  # row 0 knows nothing of fold 0
    assert not np.array_equal(other[1][2], gate[2])


def test_what_is_foretold_from_few_answers_is_believed_less():
    rng = np.random.default_rng(0)
    folds, items = 2, 400
    asked = np.where(np.arange(items) % 2, 200, 2)  # answers an item and fold
    glad = rng.normal(0.0, 0.5, items)
    item = np.repeat(np.tile(np.arange(items), folds), np.tile(asked, folds))
    fold = np.repeat(np.arange(folds), asked.sum())
    events = pl.DataFrame({"survey": 5 + glad[item] + rng.normal(0.0, 1.0, len(item))})
    answered, gate, doubt = rates(events, item, fold, items, folds, feedback=("survey",), gate=None, rare=("survey",))
    assert doubt[::2].min() > 5 * doubt[1::2].max()
    truth = 0.2 * glad
    variance = np.full((folds, items), 0.05**2)
    anchor = IPWEstimates(truth + 0.05 * rng.standard_normal((folds, items)), variance)
    traits = Traits(np.zeros((items, 0)), answered, gate, doubt)
    groups = np.arange(items)
    mean, std = pooled_effects(anchor, traits, groups).posterior_effects(traits, groups)
    covered = np.abs(mean - truth) <= 1.96 * std
    assert 0.9 < covered[::2].mean() < 0.99
    assert 0.9 < covered[1::2].mean() < 0.99
    assert std[::2].mean() > 1.2 * std[1::2].mean()
    alike = pooled_effects(anchor, replace(traits, doubt=0 * doubt), groups).posterior_effects(traits, groups)[1]
    assert alike[::2].mean() == pytest.approx(alike[1::2].mean(), rel=0.05)


def test_described_traits_are_standardised_and_the_group_is_not_one_of_them():
    items = pl.DataFrame(
        {
            "n": [0.0, 2.0, None],
            "kind": ["a", "a", "b"],
            "creator": ["x", "y", "y"],
            "e": [[1.0, 5.0], [2.0, 5.0], None],
        }
    )
    columns = describing(items, ["n", "kind", "creator", "e"], "creator")
    assert [(one.feature, one.part) for one in columns] == [("n", None), ("kind", "a"), ("e", 0)]
    table = described(items, columns)
    assert table[2, 0] == table[2, 2] == 0.0
    assert table[:2, 0].tolist() == pytest.approx([-1.0, 1.0])


def test_a_curve_follows_the_days_that_bear_the_effects_out_and_is_flat_where_none_do():
    rng = np.random.default_rng(0)
    n = 4000
    item = rng.integers(0, 2, n)
    shape = np.array([0.7, 0.2, 0.1])
    residual = (item - 0.5)[:, None] * shape + 0.1 * rng.standard_normal((n, 3))
    days = small_days(residual, [3] * n, fold=np.arange(n) % 2)
    shown, predicted = seen(days, np.zeros(n), item, np.ones(n)), np.array([[-0.5, 0.5]] * 2)
    curve = effect_curve(shown, predicted, CalibrationSlope(1.0, 0.01), smooth_days=1.0)
    assert curve == pytest.approx(shape, abs=0.03)
    flat = effect_curve(shown, predicted, CalibrationSlope(0.1, 0.2), smooth_days=1.0)
    assert flat.tolist() == pytest.approx([1 / 3] * 3)


def test_a_held_out_slope_by_hand():
    days = small_days([[0.0]] * 4, [1] * 4)
    shown = seen(days, [1.0, 3.0, 5.0, 7.0], [0, 0, 1, 1], np.ones(4))
    made = calibration_slope(shown, np.array([[0.0, 2.0]]))
    # predictions −1 −1 1 1, values −3 −1 1 3: slope 8/4; rests −1 1 −1 1, so se² = 2 · 4 / 16
    assert made.slope == pytest.approx(2.0)
    assert made.se == pytest.approx(0.5**0.5)
    assert calibration_slope(shown, np.zeros((1, 2))) == CalibrationSlope(0.0, np.inf)
