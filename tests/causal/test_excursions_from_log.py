import json
import sys
import types
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest
import torch
from estimators import MODERATION
from polars.testing import assert_frame_equal
from renewals import end, service
from test_second_stage import DAYS, ITEMS, OUTCOME, USERS, toy_log

from reward.causal.excursion.arms import ArmRows, arm_effects
from reward.causal.excursion.estimator import clustered
from reward.causal.excursion.from_log import estimate_excursions
from reward.causal.excursion.model import ExcursionEffect
from reward.data.event_log import EventLog, SchemaError
from reward.data.parquet import read
from reward.data.validation import check
from reward.outcomes.activity import ActivityTrace
from reward.outcomes.event_within import EventWithin
from reward.scoring.artifact import ArtifactError, load, save
from reward.scoring.function import RewardFunction

SETTINGS = {
    "group": "creator",
    "folds": 4,
    "most_weight": 50.0,
    "prior_users": 50.0,
    "level": 0.95,
    "moderation": MODERATION,
    "seed": 0,
}


@pytest.fixture(scope="module")
def found():
    return estimate_excursions(toy_log(0.6), OUTCOME, **SETTINGS)


def moderated_log(seed=0):
    """Good items bring users back who are there most days, and do nothing to the others."""
    rng = np.random.default_rng(seed)
    often = np.arange(USERS) % 2 == 0
    good = np.where(np.arange(ITEMS) % 2 == 0, 1.0, -1.0)
    habit, rows = np.zeros(USERS), []
    for day in range(DAYS):
        active = rng.random(USERS) < 1 / (1 + np.exp(-(np.where(often, 0.3, -1.5) + habit)))
        item = rng.integers(0, ITEMS, USERS)
        habit = 0.6 * habit + 0.8 * active * often * good[item]
        who = np.flatnonzero(active)
        rows.append((who, item[who], np.full(len(who), day)))
    user, item, day = (np.concatenate(column) for column in zip(*rows, strict=True))
    events = pl.DataFrame(
        {
            "user_id": user,
            "item_id": item,
            "timestamp": np.datetime64("2024-01-01T12:00", "us") + day.astype("timedelta64[D]"),
            "click": rng.random(len(user)) < 0.5,
            "propensity": 1 / ITEMS,
        }
    )
    return check(EventLog(events.lazy(), ("click",), 30, 0.0)).log


def test_the_effect_of_each_item_is_the_clustered_regression_on_its_indicator():
    random = np.random.default_rng(0)
    user, cell = random.integers(0, 30, 500), random.integers(0, 4, 500)
    value, weight = random.normal(size=500) + 0.2 * cell + random.normal(size=30)[user], random.uniform(0, 2, 500)
    arms = arm_effects([ArmRows(value, weight, cell, user)], 4, prior_users=0)
    whole = clustered(np.eye(4)[cell], value, weight, user, small_sample=False)
    np.testing.assert_allclose(arms.value, whole.coefficients)
    for one in range(4):
        rows = cell == one
        alone = clustered(np.ones((rows.sum(), 1)), value[rows], weight[rows], user[rows], small_sample=True)
        assert arms.variance[one] == pytest.approx(alone.covariance[0, 0])
        low, high = (ends[one] for ends in arms.intervals(0.95))
        assert (low, high) == pytest.approx(tuple(alone.intervals(0.95)[0]))


def test_an_item_of_one_user_has_the_noise_of_the_others_and_no_interval():
    user, cell = np.array([0, 1, 2, 3, 0]), np.array([0, 0, 0, 0, 1])
    value = np.array([1.0, 2.0, 3.0, 4.0, 9.0])
    arms = arm_effects([ArmRows(value, np.ones(5), cell, user)], 3, prior_users=10)
    scores = (value[:4] - 2.5) / (1 - 1 / 4)
    assert arms.variance[1] == pytest.approx((scores**2).sum() / 4)  # the mean square of the scores of one exposure
    assert arms.variance[2] == np.inf
    assert arms.value[2] == 0
    assert arms.users.tolist() == [4, 1, 0]
    assert np.isnan(arms.intervals(0.95)[0]).tolist() == [False, True, True]


@pytest.mark.parametrize(
    ("value", "cell"), [(np.zeros(4), np.array([0, 0, 1, 1])), (np.arange(4.0), np.arange(4))], ids=["alike", "alone"]
)
def test_what_tells_nothing_of_noise_is_refused(value, cell):
    with pytest.raises(SchemaError, match="several users were shown and days after them that differ"):
        arm_effects([ArmRows(value, np.ones(4), cell, np.arange(4))], 4, prior_users=1)


def test_good_items_are_told_from_bad_ones_whoever_they_were_shown_to(found):
    items = found.items
    assert items["item_id"].to_list() == list(range(ITEMS))
    assert items["mean"].gather_every(2).min() > items["mean"].gather_every(2, 1).max()
    assert (items["std"] < items["unpooled_se"]).all()
    assert (items["low"] < items["unpooled"]).all()
    assert (items["unpooled"] < items["high"]).all()
    for slope in (found.calibration, found.model.calibration):
        assert slope.slope == pytest.approx(1.0, abs=3 * slope.se)
        assert slope.slope > 3 * slope.se
    assert found.pushed[0.0].low.max() > 0


@pytest.mark.parametrize("seed", [1, 2])
def test_where_nothing_matters_nothing_is_confirmed(seed):
    none = estimate_excursions(toy_log(0.0, seed), OUTCOME, **SETTINGS)
    for slope in (none.calibration, none.model.calibration, none.model.personal_calibration):
        assert abs(slope.slope) < 3.3 * slope.se


def test_an_item_does_more_for_users_whose_past_says_so():
    log = moderated_log()
    model = estimate_excursions(log, OUTCOME, **SETTINGS | {"group": None}).model
    assert model.personal_calibration.slope > 3 * model.personal_calibration.se
    events = log.events.collect()
    users = events["user_id"].unique().sort()
    state = model.history(events, users).state(np.arange(len(users)), np.full(len(users), 19_723.0 + DAYS))
    rewards = model.score(state, model.known(np.arange(ITEMS)).of(torch.arange(ITEMS)[None])).mean.numpy()
    gap = rewards[:, ::2].mean(1) - rewards[:, 1::2].mean(1)
    often = users.to_numpy() % 2 == 0
    assert gap[often].mean() > 0.1
    assert gap[often].mean() > 1.4 * np.abs(gap[~often]).mean()


def test_the_same_seed_gives_the_same_numbers(found):
    again = estimate_excursions(toy_log(0.6), OUTCOME, **SETTINGS)
    assert_frame_equal(again.items, found.items, check_exact=True)
    assert again.model.digest() == found.model.digest()


def test_the_group_is_chosen_by_the_log_where_it_is_not_set(found):
    chosen = estimate_excursions(toy_log(0.6), OUTCOME, **SETTINGS | {"group": "auto"}).chosen
    assert chosen.auto == ("group",)
    assert chosen.evidence["group"].keys() == {"creator"}
    assert "items are pooled over no category" in chosen.sentence()  # as a feature it says the same
    assert found.chosen.auto == ()


def test_a_log_without_a_whole_horizon_is_refused():
    log = toy_log(0.6)
    first = log.events.select(pl.col("timestamp").min()).collect().item()
    short = replace(log, events=log.events.filter(pl.col("timestamp") < first + pl.duration(days=5)))
    with pytest.raises(SchemaError, match="all 30 days after them in the log, found none"):
        estimate_excursions(short, ActivityTrace(30), **SETTINGS)


def test_a_log_without_propensities_or_the_group_is_refused():
    log = toy_log(0.6)
    with pytest.raises(SchemaError, match=r"no column propensity.*estimate_propensities"):
        estimate_excursions(replace(log, events=log.events.drop("propensity")), OUTCOME, **SETTINGS)
    with pytest.raises(SchemaError, match=r"causal.group='maker' is no item feature"):
        estimate_excursions(log, OUTCOME, **SETTINGS | {"group": "maker"})


@pytest.fixture(scope="module")
def function(log, outcome, features, network_of):
    rows = log.events.select(pl.len()).collect().item()
    settings = SETTINGS | {"group": "genre", "folds": 2, "propensity": np.full(rows, 1 / 30)}
    model = estimate_excursions(log, outcome, **settings).model
    return RewardFunction(
        network_of(), features, {"active_days": outcome}, max_events=16, timestamp_unit=None, facts={}, effects=model
    )


NOW = datetime(2024, 4, 9, 9, tzinfo=UTC)


def test_it_is_saved_and_loaded_and_scores_as_before(function, log, tmp_path):
    events = log.events.collect()
    again = load(save(function, tmp_path / "reward"))
    assert type(again.effects) is ExcursionEffect
    assert again.fingerprint == function.fingerprint
    assert_frame_equal(again.score_events(events), function.score_events(events), check_exact=True)
    history = again.encode(events, now=NOW)
    one, two = (each.score_candidates(history, [3, 1, 999]) for each in (function, again))
    assert torch.equal(one.mean, two.mean)
    assert torch.equal(one.std, two.std)
    assert again.effects.calibration == function.effects.calibration


def test_rows_and_candidates_agree(function, log):
    events = log.events.collect().filter(pl.col("user_id") < 8)
    rows = function.score_events(events)
    first = pl.col("timestamp").min().over("user_id", "request_id")
    slate = pl.when(pl.col("request_id").is_null()).then("timestamp").otherwise(first)
    history = function.encode(events, now=events.select("user_id", slate.alias("timestamp")))
    found = function.score_candidates(history, events["item_id"].to_numpy()[:, None])
    np.testing.assert_allclose(found.mean[:, 0], rows["reward"], atol=1e-6)
    np.testing.assert_allclose(found.std[:, 0], rows["reward_std"], atol=1e-6)


def test_a_new_item_is_foretold_by_its_features(function, log):
    events = log.events.collect()
    history = function.encode(events, now=NOW)
    known = log.items.collect().filter(pl.col("item_id") == 3)
    table = known.with_columns(item_id=pl.lit(500, pl.Int64))
    told = function.score_candidates(history, [500], items_table=table)
    model = function.effects
    _, expected, _ = model.newcomers.expected(table)
    slope = torch.cat([torch.ones(len(history), 1), history.standing.moderators], 1).double() @ model.coefficients
    np.testing.assert_allclose(told.mean[:, 0], slope * (expected[0] - model.level), atol=1e-6)
    assert not torch.equal(told.mean, function.score_candidates(history, [500]).mean)


def test_a_copy_without_its_moderators_scores_all_users_alike(function, log):
    model = function.effects
    still = ExcursionEffect(
        ids=model.ids,
        mean=model.mean.numpy(),
        variance=model.variance.numpy(),
        newcomers=model.newcomers,
        moderators=model.moderators,
        coefficients=np.r_[1.0, np.zeros(len(model.coefficients) - 1)],
        covariance=np.zeros_like(model.covariance.numpy()),
        level=0.0,
        calibration=model.calibration,
        personal_calibration=model.personal_calibration,
    )
    events = log.events.collect()
    users = events["user_id"].unique().sort()
    state = still.history(events, users).state(np.arange(3), np.full(3, 19_900.0))
    found = still.score(state, still.known(np.array([1, 2])).of(torch.arange(2)[None]))
    np.testing.assert_allclose(found.mean, model.mean[[1, 2]].expand(3, 2))
    np.testing.assert_allclose(found.std, model.variance[[1, 2]].sqrt().expand(3, 2))


def parts_of(model):
    return (
        json.loads(json.dumps(model.to_json())),
        model.to_table(),
        {name: it.clone() for name, it in model.state_dict().items()},
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda told, table, tensors: ("x", table, tensors), "effects expected"),
        (lambda told, table, tensors: (told | {"level": "high"}, table, tensors), "level"),
        (lambda told, table, tensors: (told | {"feedback": ["likes"]}, table, tensors), "no feedback of the log"),
        (lambda told, table, tensors: (told | {"memory_days": 0.0}, table, tensors), "above 0"),
        (lambda told, table, tensors: (told, None, tensors), "the table of items expected"),
        (lambda told, table, tensors: (told, table.reverse(), tensors), "null in the last row alone"),
        (lambda told, table, tensors: (told, table.with_columns(mean=pl.lit(np.nan)), tensors), "mean expected finite"),
        (lambda told, table, tensors: (told, table.with_columns(variance=-1.0), tensors), "variance is negative"),
        (lambda told, table, tensors: (told, table, tensors | {"more": torch.ones(1)}), "tensors named"),
        (lambda told, table, tensors: (told, table, tensors | {"width": tensors["width"] * 0}), "width expected"),
        (lambda told, table, tensors: (told, table, tensors | {"usual": tensors["usual"] - 99}), "usual expected"),
        (
            lambda told, table, tensors: (told, table, tensors | {"coefficients": tensors["coefficients"][:2]}),
            "coefficients expected finite numbers in double precision of shape",
        ),
        (
            lambda told, table, tensors: (
                told | {"newcomers": told["newcomers"] | {"group_codes": [99] * 3}},
                table,
                tensors,
            ),
            "group_codes expected",
        ),
    ],
)
def test_what_nobody_estimated_is_refused(function, features, change, said):
    with pytest.raises(ValueError, match=said):
        ExcursionEffect.restored(*change(*parts_of(function.effects)), features)


MINE = '''
import torch
from reward.causal.diagnostics.calibration_slope import CalibrationSlope
from reward.causal.excursion.moderators import ModeratorState
from reward.causal.protocol import EffectModel
from reward.rewards import Rewards
import numpy as np


class Items:
    def __init__(self, value):
        self.value = value

    def of(self, code):
        return Items(self.value[code])

    def to(self, device):
        return Items(self.value.to(device))


class History:
    def state(self, user, time):
        return ModeratorState(torch.zeros(len(user), 1))


class Popularity(EffectModel):
    """An item does what its id says."""

    def __init__(self, scale):
        super().__init__()
        self.ids = np.zeros(0, np.int64)
        self.calibration = self.personal_calibration = CalibrationSlope(1.0, 0.1)
        self.register_buffer("scale", torch.tensor(scale))

    def history(self, events, users):
        return History()

    def known(self, ids, items_table=None):
        return Items(torch.tensor(ids.tolist(), dtype=torch.float64))

    def score(self, state, items):
        mean = self.scale * items.value.expand(len(state.moderators), -1)
        return Rewards(mean, torch.zeros_like(mean))

    def score_rows(self, history, user, time, items):
        return Rewards(self.scale * items.value, torch.zeros_like(items.value))

    def to_json(self):
        return {}

    @classmethod
    def restored(cls, told, table, tensors, features):
        return cls(float(tensors["scale"]))
'''


def test_a_model_of_somebody_else_is_one_class(function, log, tmp_path, monkeypatch):
    (tmp_path / "popular.py").write_text(MINE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(sys.modules, "popular", types.ModuleType("popular"))  # taken out again at the end
    del sys.modules["popular"]
    import popular

    events = log.events.collect()
    settings = {"max_events": 16, "timestamp_unit": None, "facts": {}, "effects": popular.Popularity(0.5)}
    other = RewardFunction(function.network, function.features, function.tasks, **settings)
    folder = save(other, tmp_path / "reward")
    assert not (folder / "effects.parquet").exists()
    assert json.loads((folder / "reward.json").read_text())["effects"] == {"_target_": "popular.Popularity"}
    with pytest.raises(ArtifactError, match=r"load it with trust=\('popular',\)"):
        load(folder)
    again = load(folder, trust=("popular",))
    assert again.score_events(events)["reward"].to_list() == (0.5 * events["item_id"]).to_list()
    found = again.score_candidates(again.encode(events, now=NOW), [4, 2])
    assert found.mean[0].tolist() == [2.0, 1.0]


@pytest.mark.parametrize("seed", [1, 3])
def test_effects_on_renewals_are_those_that_items_have(seed):
    events, renewals, truth = service(seed, users=500)
    raw = read(
        events,
        feedback=["click"],
        session_gap_minutes=30,
        max_rejected_share=0.0,
        end=end(),
        outcomes={"renewal": renewals},
    )
    found = estimate_excursions(check(raw).log, EventWithin("renewal", 7), **SETTINGS | {"group": None})
    items = found.items.sort("item_id")
    assert np.corrcoef(items["mean"], truth)[0, 1] > 0.8
    assert abs(found.calibration.slope - 1) < 3 * found.calibration.se
    assert found.calibration.slope > 1.96 * found.calibration.se
