"""Effects are the same however a log is cut into chunks of users, and in whatever order these are read."""

from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from estimators import MODERATION

from reward.causal.choosing import groups_of
from reward.causal.diagnostics.calibration_slope import calibration_slope
from reward.causal.estimate import estimate_effects
from reward.causal.excursion.from_log import estimate_excursions
from reward.causal.exposures import exposures_of
from reward.causal.item_effects.day_effects import covariances, day_effects
from reward.causal.item_effects.effect_curve import effect_curve
from reward.causal.item_effects.ipw import ipw_estimates
from reward.causal.item_effects.shrinkage import effects_by_fold, left_out
from reward.data.event_log import EventLog
from reward.data.prepared import Origin, PreparedLog, UserRows
from reward.data.validation import check
from reward.outcomes.activity import ActivityTrace

USERS, DAYS, STAY, ITEMS, FOLDS = 260, 36, 24, 16, 3
FEEDBACK = ("click", "listen_ms", "survey")
OUTCOME = ActivityTrace(5)
SETTINGS = {"folds": FOLDS, "most_weight": 5.0, "seed": 0}
TOLERANCE = 1e-10
OF_A_SEARCH = 1e-6  # nats: where a search ends depends on how sums were rounded
ARGUMENTS = SETTINGS | {
    "gate": "click",
    "rare": ["survey"],
    "group": "creator",
    "smooth_days": 30.0,
    "curve_rounds": 2,
    "joint_rounds": 2,
    "personal": None,
}
CUTS = [(chunks, order) for chunks in (1, 3, 17) for order in ("forwards", "backwards", "shuffled")]


@dataclass(frozen=True)
class Cut(PreparedLog):
    """A prepared log that is read in so many chunks of users, in an order of its own."""

    count: int = 1
    order: str = "forwards"

    def chunks(self, rows=None):
        edges = np.linspace(0, len(self.users), self.count + 1).astype(int)
        found = [UserRows(self, int(first), int(last)) for first, last in pairwise(edges)]
        if self.order == "shuffled":
            np.random.default_rng(self.count).shuffle(found)
        yield from reversed(found) if self.order == "backwards" else found


def log_of(seed=4):
    """Items do what their quality says where they are clicked; users differ, also in when they come and leave."""
    rng = np.random.default_rng(seed)
    creator = rng.integers(0, 5, ITEMS)
    quality = rng.normal(size=5)[creator] + rng.normal(0, 0.4, ITEMS)
    rate, base, habit, rows = rng.random(ITEMS), rng.normal(0.2, 0.8, USERS), np.zeros(USERS), []
    first = np.arange(USERS) * (DAYS - STAY) // USERS
    for day in range(DAYS):
        there = (first <= day) & (day < first + STAY)
        who = np.flatnonzero(there & (rng.random(USERS) < 1 / (1 + np.exp(-(base + habit)))))
        habit *= 0.7
        for slot in range(2):
            chance = rng.dirichlet(np.full(ITEMS, 2.0))
            item = rng.choice(ITEMS, len(who), p=chance)
            click = rng.random(len(who)) < 0.1 + 0.8 * rate[item]
            habit[who] += 1.2 * click * quality[item]
            asked = click & (rng.random(len(who)) < 0.15)
            answer = np.clip(np.rint(3 + quality[item] + rng.normal(size=len(who))), 1, 5)
            rows.append(
                pl.DataFrame(
                    {
                        "user_id": [f"u{it:04}" for it in who],
                        "item_id": item,
                        "timestamp": np.datetime64("2024-01-01T08:00", "us")
                        + np.full(len(who), day * 86_400 + slot * 3600).astype("timedelta64[s]"),
                        "click": click,
                        "listen_ms": np.where(click, rng.exponential(3e4, len(who)), 0),
                        "survey": np.where(asked, answer, 0),
                        "propensity": chance[item],
                    }
                )
            )
    items = pl.DataFrame(
        {"item_id": range(ITEMS), "creator": [f"c{it}" for it in creator], "minutes": rng.uniform(1, 9, ITEMS)}
    )
    features = ("creator", "minutes")
    log = EventLog(pl.concat(rows).lazy(), FEEDBACK, 30, 0.0, items=items.lazy(), item_features=features)
    return check(log).log


@pytest.fixture(scope="module")
def prepared():
    return PreparedLog.of(log_of())


def cut(prepared, count, order):
    return Cut(**vars(prepared), count=count, order=order)


def statistics(prepared):
    """Every statistic on the way to effects, by name."""
    shown = exposures_of(prepared, OUTCOME, None, folds=FOLDS, seed=0, most_weight=5.0)
    covariance = covariances(shown.days)
    effects = day_effects(shown.days, covariance, np.full(5, 0.2))
    observed, items = shown.observed(effects), len(shown.table)
    anchor = ipw_estimates(observed, items, rounds=2)
    chooser = shown.chooser(anchor, observed)
    chosen = chooser.select_roles("auto", "auto", "auto")
    traits, _ = chooser.item_traits(chosen.roles, chosen.unopened)
    front = shown.front_door(effects, shown.mediator_open(chosen.roles.gate), chosen.bias_std)
    groups = groups_of(shown.table, chosen.roles.group)
    predicted, spread = effects_by_fold(left_out(anchor, traits, groups, front), traits, groups)
    slope = calibration_slope(observed, predicted)
    whole = shown.whole_effects(effects)
    return {
        "weights": shown.whole.weight,
        "exposures": shown.count,
        "covariance": covariance,
        "precision": whole.precision,
        "ipw": anchor.value,
        "variance": anchor.variance,
        "rates": traits.answered,
        "gate": traits.gate,
        "doubt": traits.doubt,
        "evidence": np.array([it for each in chosen.evidence.values() for it in each.values()]),
        "predicted": predicted,
        "spread": spread,
        "slope": np.array([slope.slope, slope.se]),
        "curve": effect_curve(observed, predicted, slope, smooth_days=30.0),
    }, chosen.roles


@pytest.fixture(scope="module")
def expected(prepared):
    return statistics(prepared)


@pytest.mark.parametrize(("count", "order"), CUTS)
def test_every_statistic_is_that_of_the_whole_log(prepared, expected, count, order):
    found, roles = statistics(cut(prepared, count, order))
    assert roles == expected[1]
    for name, values in expected[0].items():
        close = OF_A_SEARCH if name == "evidence" else TOLERANCE
        np.testing.assert_allclose(found[name], values, rtol=close, atol=close, err_msg=name)


def test_the_log_of_these_tests_has_what_is_to_be_told(expected):
    numbers, roles = expected
    assert roles.gate == "click"
    assert roles.rare == ("survey",)
    assert numbers["slope"][0] > 2 * numbers["slope"][1]
    assert np.ptp(numbers["curve"]) > 0.01


def numbers(effects):
    return effects.items.select(pl.exclude("item_id").cast(pl.Float64)).fill_null(-1.0).to_numpy()


@pytest.fixture(scope="module")
def whole(prepared):
    return estimate(prepared)


def estimate(prepared):
    return estimate_effects(prepared, OUTCOME, **ARGUMENTS)


@pytest.mark.parametrize(("count", "order"), CUTS)
def test_effects_are_those_of_the_whole_log(prepared, whole, count, order):
    found = estimate(cut(prepared, count, order))
    np.testing.assert_allclose(numbers(found), numbers(whole), rtol=TOLERANCE, atol=TOLERANCE)
    np.testing.assert_allclose(found.curve, whole.curve, atol=TOLERANCE)
    assert found.calibration.slope == pytest.approx(whole.calibration.slope, rel=TOLERANCE)
    assert found.calibration.se == pytest.approx(whole.calibration.se, rel=TOLERANCE)
    for pessimism, shift in whole.pushed.items():
        np.testing.assert_allclose(found.pushed[pessimism].kept, shift.kept, rtol=TOLERANCE, atol=TOLERANCE)


def excursions(prepared):
    moderation = partial(MODERATION, pushed_slates=500)
    return estimate_excursions(
        prepared, OUTCOME, **SETTINGS, group="creator", prior_users=50.0, level=0.95, moderation=moderation
    )


@pytest.mark.parametrize(("count", "order"), [(3, "shuffled"), (17, "backwards")])
def test_excursion_effects_are_those_of_the_whole_log(prepared, count, order):
    one, found = (excursions(it) for it in (prepared, cut(prepared, count, order)))
    np.testing.assert_allclose(numbers(found), numbers(one), rtol=TOLERANCE, atol=TOLERANCE)
    np.testing.assert_allclose(found.model.coefficients, one.model.coefficients, rtol=TOLERANCE)
    assert found.model.calibration.slope == pytest.approx(one.model.calibration.slope, rel=TOLERANCE)


def test_a_log_on_disk_is_read_in_the_chunks_that_it_says(prepared, whole, tmp_path):
    few = replace(prepared.kept_in(tmp_path / "log", "stamp", Origin()), chunk_rows=1000)
    assert len(list(few.chunks())) > 3
    np.testing.assert_allclose(numbers(estimate(few)), numbers(whole), rtol=TOLERANCE, atol=TOLERANCE)
    alone = estimate_effects(prepared.log, OUTCOME, **ARGUMENTS)
    np.testing.assert_array_equal(numbers(alone), numbers(whole))
