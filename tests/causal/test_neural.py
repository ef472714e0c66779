from functools import partial

import numpy as np
import polars as pl
import pytest
import torch
from test_personal import SETTINGS as LINEAR

from reward.causal.estimate import estimate_effects
from reward.causal.user_effects.effect_net import EffectNet, Exposures, by_fold, contrast_loss, fit_effect_nets
from reward.data.event_log import EventLog
from reward.data.validation import check
from reward.outcomes.activity import ActivityTrace
from reward.scoring.artifact import load, save
from reward.scoring.function import RewardFunction

USERS, DAYS, ITEMS = 1500, 30, 12
NET = partial(fit_effect_nets, hidden=[16], passes=12, batch_rows=512, learning_rate=3e-3, weight_decay=0.01)
SETTINGS = LINEAR | {"personal": partial(LINEAR["personal"], net=NET)}


def turning_log(strength, seed=0):
    """What users like brings them back until they have been shown six items, and from then on keeps them away."""
    rng = np.random.default_rng(seed)
    taste = np.where(np.arange(USERS) % 2 == 0, 1.0, -1.0)
    place = np.where(np.arange(ITEMS) < ITEMS // 2, 1.0, -1.0)
    base, habit, shown, rows = rng.normal(-0.4, 0.8, USERS), np.zeros(USERS), np.zeros(USERS), []
    for day in range(DAYS):
        active = rng.random(USERS) < 1 / (1 + np.exp(-(base + habit)))
        item = rng.integers(0, ITEMS, USERS)
        match = taste * place[item]
        click = active & (rng.random(USERS) < 1 / (1 + np.exp(-1.5 * match)))
        habit = 0.6 * habit + strength * click * match * np.where(shown < 6, 1, -1)
        shown += active
        who = np.flatnonzero(active)
        rows.append((who, item[who], np.full(len(who), day), click[who]))
    user, item, day, click = (np.concatenate(column) for column in zip(*rows, strict=True))
    events = pl.DataFrame(
        {
            "user_id": user,
            "item_id": item,
            "timestamp": np.datetime64("2024-01-01T12:00", "us") + day.astype("timedelta64[D]"),
            "click": click,
            "propensity": 1 / ITEMS,
        }
    )
    items = pl.DataFrame({"item_id": range(ITEMS), "style": place})
    return check(EventLog(events.lazy(), ("click",), 30, 0.0, items=items.lazy(), item_features=("style",))).log


@pytest.fixture(scope="module")
def found():
    return estimate_effects(turning_log(1.5), ActivityTrace(5), **SETTINGS).model


def exposures(folds=4, rows=4000, effect=lambda x: x[..., 0] * x[..., 1], noise=0.5):
    random = torch.Generator().manual_seed(0)
    inputs = torch.randn(rows, 3, 2, generator=random)
    true = effect(inputs)
    value = true[:, 0] + noise * torch.randn(rows, generator=random)
    return Exposures(
        inputs, torch.ones(rows, 3), value[:, None].expand(-1, folds + 1), torch.ones(rows), torch.arange(rows) % folds
    )


def test_a_net_finds_what_no_linear_column_can(found):
    assert found.net_calibration.slope > 3 * found.net_calibration.se
    assert found.net_calibration.slope == pytest.approx(1.0, abs=3 * found.net_calibration.se)


def test_where_nothing_matters_a_net_adds_nothing():
    found = estimate_effects(turning_log(0.0), ActivityTrace(5), **SETTINGS).model
    assert abs(found.net_calibration.slope) < 3.3 * found.net_calibration.se or found.net_calibration.se == np.inf
    assert abs(found.calibration.slope) < 3.3 * found.calibration.se


def test_a_product_of_two_inputs_is_learnt_and_its_slope_is_1():
    told = exposures()
    nets = NET(told, seed=0, passes=25, batch_rows=256, learning_rate=1e-2)
    fresh = torch.randn(2000, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    truth = fresh.prod(1)
    for net in nets:
        effect = net(fresh) - net(fresh).mean()
        assert torch.corrcoef(torch.stack([effect, truth]))[0, 1] > 0.9
        assert float((effect * truth).mean() / (effect**2).mean()) == pytest.approx(1, abs=0.2)


def test_each_folds_net_has_not_seen_its_users():
    told = exposures()
    mine = told.fold == 2
    changed = told._replace(value=torch.where(mine[:, None], -told.value, told.value))
    one, two = (NET(each, seed=0) for each in (told, changed))
    fresh = torch.randn(100, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert torch.equal(one[2](fresh), two[2](fresh))
    assert not torch.equal(one[3](fresh), two[3](fresh))


def test_the_loss_is_least_at_the_slope_that_made_the_values():
    told = exposures(rows=20_000, effect=lambda x: 0.7 * x[..., 0])
    tried = torch.linspace(0.4, 1.0, 61)
    lost = [contrast_loss(each * told.inputs[..., 0], told.value[:, 0], told.weight).mean() for each in tried]
    assert tried[int(torch.stack(lost).argmin())] == pytest.approx(0.7, abs=0.04)


def test_a_net_of_noise_alone_stays_where_it_began():
    nets = NET(exposures(rows=400, effect=lambda x: 0 * x[..., 0], noise=5.0), seed=0)
    fresh = torch.randn(100, 2, dtype=torch.float64)
    assert sum(not net(fresh).any() for net in nets) >= 3


def test_the_same_seed_gives_the_same_weights():
    told = exposures(rows=500)
    one, two, other = NET(told, seed=0), NET(told, seed=0), NET(told, seed=1)
    assert all(
        np.array_equal(a, b)
        for net, again in zip(one, two, strict=True)
        for layer, same in zip(net.layers, again.layers, strict=True)
        for a, b in zip(layer, same, strict=True)
    )
    assert not np.array_equal(one[0].layers[0][0], other[0].layers[0][0])


def test_a_net_by_hand():
    layers = ((np.array([[1.0, 2.0]]), np.array([0.5])), (np.array([[3.0]]), np.array([-1.0])))
    net = EffectNet(np.array([1.0, 0.0]), np.array([2.0, 1.0]), layers)
    inside = 1.0 * (3 - 1) / 2 + 2.0 * 5.0 + 0.5  # the second input is cut at 5
    expected = 3 * inside / (1 + np.exp(-inside)) - 1
    rows = torch.tensor([[3.0, 8.0]], dtype=torch.float64)
    assert net(rows).item() == pytest.approx(expected, abs=1e-12)
    assert by_fold([net, net], rows.expand(2, 2), torch.tensor([1, 0])).tolist() == pytest.approx([expected] * 2)


def test_two_folds_are_too_few():
    with pytest.raises(ValueError, match=r"at least 3 folds .* got 2: set causal.folds=5"):
        NET(exposures(folds=2), seed=0)


def test_an_artefact_with_a_net_scores_exactly_as_before(network_of, features, outcome, log, tmp_path):
    rows = log.events.select(pl.len()).collect().item()
    settings = {**SETTINGS, "group": "genre", "propensity": np.full(rows, 1 / ITEMS)}
    effects = estimate_effects(log, outcome, **settings).model
    width = len(effects.net.centre)
    random = np.random.default_rng(0)
    loud = EffectNet(
        effects.net.centre,
        effects.net.width,
        ((random.normal(size=(4, width)), random.normal(size=4)), (random.normal(size=(1, 4)), np.zeros(1))),
    )
    kept = {"max_events": 16, "timestamp_unit": None, "facts": {}}
    coefficients = np.append(effects.coefficients[:-1], 0.1)
    effects = effects.replaced(net=loud, coefficients=coefficients)
    fn = RewardFunction(network_of(), features, {"active_days": outcome}, **kept, effects=effects)
    save(fn, tmp_path / "reward")
    again = load(str(tmp_path / "reward"))
    events = log.events.filter(pl.col("user_id") < 8).collect()
    one, two = fn.score_events(events), again.score_events(events)
    assert one.equals(two)
    assert again.effects.net_calibration == effects.net_calibration
    first = pl.col("timestamp").min().over("user_id", "request_id")
    slate = pl.when(pl.col("request_id").is_null()).then("timestamp").otherwise(first)
    history = again.encode(events, now=events.select("user_id", slate.alias("timestamp")))
    found = again.score_candidates(history, events["item_id"].to_numpy()[:, None])
    np.testing.assert_allclose(found.mean[:, 0], one["reward"], atol=1e-6)
    np.testing.assert_allclose(found.std[:, 0], one["reward_std"], atol=1e-6)
    silent = EffectNet(loud.centre, loud.width, tuple((0 * weight, 0 * bias) for weight, bias in loud.layers))
    without = RewardFunction(
        network_of(), features, {"active_days": outcome}, **kept, effects=effects.replaced(net=silent)
    )
    assert (without.score_events(events)["reward"] - one["reward"]).abs().max() > 1e-4
