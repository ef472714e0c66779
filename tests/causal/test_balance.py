import numpy as np
import pytest

from reward.causal.diagnostics.balance import _several, agreement, balance
from reward.causal.diagnostics.imbalance import Compared, imbalance_of
from reward.causal.propensity.conditional_logit import estimate_propensities
from reward.data.event_log import SchemaError
from reward.data.slates import slates_of


@pytest.fixture(scope="module")
def checked(settings):
    def check(log, propensity, half=None, **changes):
        return balance(log, propensity, **settings("balance", half=half, **changes))

    return check


def row(found, covariate):
    return next(it for it in found.frame.to_dicts() if it["covariate"] == covariate)


@pytest.fixture(scope="module")
def confounded(log_of):
    return log_of("confounded")


@pytest.fixture(scope="module")
def hidden(log_of):
    return log_of("hidden")


def test_halves_that_share_nothing_do_not_agree():
    rng = np.random.default_rng(0)
    spread = rng.lognormal(size=300)  # which the weights know nothing of
    z = [agreement(*(spread * rng.standard_normal((2, 300))), np.ones(300))[1] for _ in range(400)]
    assert np.mean(z) == pytest.approx(0, abs=0.15)
    assert np.std(z) == pytest.approx(1, abs=0.1)


def test_what_the_halves_share_is_measured_whatever_the_noise():
    rng = np.random.default_rng(1)
    true, noise = 0.1 * rng.standard_normal(20_000), rng.standard_normal((2, 20_000))
    covariance, z = agreement(true + 0.5 * noise[0], true + noise[1], np.ones(20_000))
    assert covariance == pytest.approx(0.01, abs=0.01)
    assert z > 2


def test_imbalance_is_the_weighted_mean_of_those_shown_less_that_of_all_who_could_have_been(confounded):
    log, true = confounded
    slates = slates_of(log)
    rng = np.random.default_rng(0)
    value, part = rng.standard_normal(len(slates.user)), (rng.random(len(slates.user)) < 0.5).astype(float)
    compared = Compared(slates, np.zeros(len(part), int), part > 0, 1 / true[None], 0)
    values = np.broadcast_to(value, (2, 1, len(value)))
    (sides, _), _ = imbalance_of([None], lambda _: (compared, values), np.zeros(1, int), slates.catalogue)
    found = sides[0, 0]
    day, centred = slates.day, value.copy()
    count = (slates.items >= 0).sum(1) * part
    for today in np.unique(day):
        centred[day == today] -= np.average(value[day == today], weights=count[day == today])
    item = 7
    weight = dict.fromkeys(range(len(day)), 0.0)
    could_sum = could = 0.0
    for s in np.flatnonzero((part > 0) & (slates.first[item] <= day) & (day <= slates.last[item])):
        places = int((slates.items[s] >= 0).sum())
        at = np.flatnonzero(slates.items[s] == item)
        slots = at[0] + 1 if len(at) else places
        could_sum, could = could_sum + slots * centred[s], could + slots
    for r in np.flatnonzero(slates.items[slates.row, slates.place] == item):
        weight[slates.row[r]] += part[slates.row[r]] / true[r]
    w = np.array(list(weight.values()))
    shown = np.average(centred, weights=w)
    shown += (w**2 * (centred - shown)).sum() / w.sum() ** 2
    assert found[item] == pytest.approx(shown - could_sum / could)


def test_the_propensities_of_the_policy_balance_the_log(confounded, checked):
    assert not checked(*confounded).flagged


def test_no_weights_at_all_do_not(confounded, checked):
    found = checked(confounded[0], np.ones_like(confounded[1]))
    assert found.flagged
    assert row(found, "past activity")["spread"] > 0.2
    assert "confounded" in found.sentences()[0]
    assert "unbalanced" in found.sentences()[1]


def test_estimated_propensities_balance_a_policy_that_follows_what_is_logged(confounded, settings, checked):
    log, _ = confounded
    made = estimate_propensities(log, **settings("propensities", gate="click"))
    found = checked(log, made.propensity, made.half)
    assert not found.flagged
    assert "No imbalance" in found.sentences()[0]


def test_they_do_not_balance_a_policy_that_follows_what_nobody_logs(hidden, settings, checked):
    log, true = hidden
    made = estimate_propensities(log, **settings("propensities", gate="click"))
    found = checked(log, made.propensity, made.half)
    assert found.flagged
    assert row(found, "past assignments")["flagged"]
    assert not checked(log, true).flagged


def test_propensities_of_other_rows_are_caught(confounded, checked):
    log, true = confounded
    assert checked(log, np.random.default_rng(0).permutation(true)).flagged


def test_propensities_must_be_those_of_the_rows(confounded, checked):
    with pytest.raises(SchemaError, match=r"propensity expected one number a row, \d+, got shape"):
        checked(confounded[0], confounded[1][:-1])
    with pytest.raises(SchemaError, match=r"propensity expected numbers in \(0, 1\], got 0 among others"):
        checked(confounded[0], 0 * confounded[1])


def test_a_user_is_in_one_half(confounded, checked):
    log, true = confounded
    with pytest.raises(ValueError, match="one for all rows of a user"):
        checked(log, true, np.arange(len(true)) % 2)


def test_days_must_be_left_to_compare(confounded, checked):
    with pytest.raises(ValueError, match="warm_days=30 expected at least placebo_days=7 and fewer than the log's 30"):
        checked(*confounded, warm_days=30)


@pytest.mark.parametrize("level", [1e-3, 2.33, 12.0, 30.0])
def test_a_level_of_several_tests_is_a_number_however_strict(level):
    assert _several(level, 1) == pytest.approx(level, rel=1e-6)
    assert level <= _several(level, 10) < level + 3
