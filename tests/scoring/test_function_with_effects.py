"""The scoring function where its rewards are effects: the same contracts as without."""

import copy
import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
import torch
from forged import before, manifest_of, reseal
from polars.testing import assert_frame_equal
from slots import Lists, slots_of
from torch.testing import assert_close
from torch.utils.data import DataLoader

from reward.causal.user_effects.effect_net import EffectNet
from reward.scoring.artifact import ArtifactError, load, save

NOW = datetime(2024, 4, 3, 9, 30, tzinfo=UTC)


@pytest.fixture(scope="module")
def events(log):
    return log.events.filter(pl.col("user_id") < 16).collect()


@pytest.fixture
def fn(function_of, effects):
    return function_of(effects.model)


@pytest.fixture
def plain(function_of):
    return function_of()


def test_rewards_are_effects_and_values_stay_forecasts(fn, plain, events):
    with_effects, without = fn.score_events(events), plain.score_events(events)
    values = ["value_before", "value_exposed", "value_after"]
    assert_frame_equal(with_effects.select(values), without.select(values))
    assert with_effects["reward"].is_finite().all()
    assert with_effects["reward_std"].min() > 0
    assert (with_effects["reward"] - without["reward"]).abs().max() > 1e-4


def test_a_logged_item_as_a_candidate_in_its_slot_gets_the_reward_of_its_row(fn, events):
    scored = fn.score_events(events)
    found = fn.score_candidates(fn.encode(events, now=slots_of(events)), events["item_id"].to_numpy()[:, None])
    np.testing.assert_allclose(found.mean[:, 0], scored["reward"], atol=1e-6)
    np.testing.assert_allclose(found.std[:, 0], scored["reward_std"], atol=1e-6)


def test_neither_the_order_of_rows_nor_other_users_change_a_reward(fn, events):
    scored = fn.score_events(events)
    mixed = fn.score_events(events.sample(fraction=1.0, shuffle=True, seed=1))
    keys = ["user_id", "timestamp", "item_id"]
    assert_frame_equal(mixed.sort(keys), scored.sort(keys))
    user = events["user_id"][0]
    alone = fn.score_events(events.filter(pl.col("user_id") == user))
    assert_frame_equal(alone, scored.filter(pl.col("user_id") == user))


def test_the_future_and_a_slates_own_feedback_move_no_reward(fn, events):
    keys = ["user_id", "timestamp", "item_id"]
    scored = fn.score_events(events)
    moment = events["timestamp"].sort()[len(events) // 2]
    slate = pl.col("timestamp").min().over("user_id", "request_id")
    earlier = pl.when(pl.col("request_id").is_null()).then("timestamp").otherwise(slate) <= moment
    changed = events.with_columns(
        pl.when(earlier & (slots_of(events)["timestamp"] < moment)).then("click").otherwise(1 - pl.col("click"))
    )
    after = fn.score_events(changed)
    before = slots_of(events)["timestamp"] <= moment
    assert_frame_equal(after.filter(before).select(*keys, "reward"), scored.filter(before).select(*keys, "reward"))
    assert (after["reward"] - scored["reward"]).abs().max() > 1e-6


def test_candidates_together_are_candidates_one_by_one(fn, events):
    history = fn.encode(events, now=NOW)
    together = fn.score_candidates(history, range(34))
    alone = [fn.score_candidates(history, [item]) for item in range(34)]
    for name in ("mean", "std"):
        assert_close(getattr(together, name), torch.cat([getattr(each, name) for each in alone], 1))
    own = torch.stack([torch.randperm(30)[:4] for _ in range(len(history))])
    assert_close(fn.score_candidates(history, own).mean, together.mean.gather(1, own))
    assert_close(fn.score_candidates(history[2:5], own[2:5]).mean, together.mean.gather(1, own)[2:5])


def test_rewards_are_measured_against_what_the_service_shows(fn, effects, events):
    history = fn.encode(events, now=NOW)
    basket = effects.model.ids[effects.model.basket]
    usual = torch.cat([fn.score_candidates(history, [item]).mean for item in basket.tolist()], dim=1)
    assert_close(usual.mean(1), torch.zeros(len(history)), atol=1e-6, rtol=0)


def test_a_new_item_is_foretold_by_its_features_and_remembered_once_seen(fn, effects, events):
    history = fn.encode(events, now=NOW)
    table = pl.DataFrame(
        {
            "item_id": [500, 501],
            "genre": ["a", "b"],
            "minutes": [3.0, 60.0],
            "vector": [[2.0, 0.0, 0.0], [0.0, 2.0, 0.0]],
        }
    )
    unknown = fn.score_candidates(history, [500, 501, 3])
    assert torch.equal(unknown.mean[:, 0], unknown.mean[:, 1])
    told = fn.score_candidates(history, [500, 501, 3], items_table=table)
    assert not torch.allclose(told.mean[:, 0], told.mean[:, 1])
    assert torch.equal(told.mean[:, 2], unknown.mean[:, 2])
    user = int(events["user_id"].min())
    last = events.filter(pl.col("user_id") == user)[-1]
    shown = last.with_columns(
        item_id=pl.lit(500, events.schema["item_id"]),
        timestamp=pl.lit(NOW - timedelta(hours=1)).cast(events.schema["timestamp"]),
        request_id=pl.lit(None, pl.String),
        click=pl.lit(0.0),
        listen_ms=pl.lit(0.0),
    )
    seen = fn.encode(pl.concat([events, shown]), now=NOW)
    codes = effects.model.codes(np.array([500, 501]))
    assert codes[0] != codes[1]
    assert codes[0] in seen.standing.items[0]
    assert codes[1] not in seen.standing.items[0]


def test_users_without_events_stand_with_no_past(fn, events):
    slots = pl.DataFrame(
        {"user_id": [-7, int(events["user_id"][0])], "timestamp": [NOW, NOW]},
        schema_overrides={"timestamp": events.schema["timestamp"], "user_id": events.schema["user_id"]},
    )
    history = fn.encode(events, now=slots)
    assert history.standing.person.shown[0] == 0
    assert history.standing.person.shown[1] > 0
    assert fn.score_candidates(history, range(5)).mean.isfinite().all()


def test_a_history_of_another_function_is_refused(fn, plain, events):
    with pytest.raises(ValueError, match="expected one that this function encoded"):
        fn.score_candidates(plain.encode(events, now=NOW), [1])


def test_what_is_read_scores_exactly_as_what_was_written(fn, events, tmp_path):
    folder = save(fn, tmp_path / "reward")
    again = load(folder)
    assert_frame_equal(again.score_events(events), fn.score_events(events), check_exact=True)
    one, two = (each.score_candidates(each.encode(events, now=NOW), [3, 1, 999]) for each in (fn, again))
    assert torch.equal(one.mean, two.mean)
    assert torch.equal(one.std, two.std)
    assert again.effects.calibration == fn.effects.calibration
    assert "effects.parquet" in json.loads((folder / "reward.json").read_text())["sha256"]
    assert "an experiment" in (folder / "README.md").read_text()
    assert "a difference of forecasts, not an effect" in (folder / "README.md").read_text()
    (folder / "effects.parquet").unlink()
    with pytest.raises(ArtifactError, match=r"effects\.parquet"):
        load(folder)


def test_a_copy_scores_alike(fn, events):
    twin = copy.deepcopy(fn)
    one, two = (each.score_candidates(each.encode(events, now=NOW), [3, 1]) for each in (fn, twin))
    assert torch.equal(one.mean, two.mean)


def test_the_model_of_effects_goes_where_the_function_goes_and_is_frozen_with_it(fn):
    moved = copy.deepcopy(fn).to("meta")
    assert {tensor.device.type for tensor in moved.effects.buffers()} == {"meta"}
    assert {tensor.device.type for tensor in fn.effects.buffers()} == {"cpu"}
    assert {tensor.dtype for tensor in copy.deepcopy(fn).half().effects.buffers()} == {torch.float64, torch.int64}
    assert not moved.effects.training
    assert not list(moved.effects.parameters())


def test_a_forked_worker_scores_candidates(fn, events):
    history = fn.encode(events, now=NOW)
    loader = DataLoader(Lists(fn, history), 2, num_workers=2, timeout=30, multiprocessing_context="fork")
    assert_close(torch.cat(list(loader)), fn.score_candidates(history[:4], Lists.ITEMS).mean)


@pytest.fixture
def with_net(effects):
    """A personal part whose last column is what a large net makes."""
    personal, rng = effects.model, np.random.default_rng(0)
    inputs = len(personal.gate) + 1 + personal.facts.taste.shape[-1]
    sizes = pairwise([inputs, 256, 256, 1])
    layers = tuple((rng.normal(size=(out, into)) / into, np.zeros(out)) for into, out in sizes)
    size = len(personal.coefficients)
    covariance = np.zeros((size + 1, size + 1))
    covariance[:size, :size] = personal.covariance
    return personal.replaced(
        net=EffectNet(np.zeros(inputs), np.ones(inputs), layers),
        net_calibration=personal.calibration,
        scale=np.append(personal.scale, 1.0),
        coefficients=np.append(personal.coefficients, 1.0),
        covariance=covariance,
    )


SLOPES = {
    "borne_out": "calibration",
    "personal_borne_out": "personal_calibration",
    "net_borne_out": "net_calibration",
}


def test_a_large_net_is_kept_in_a_file_of_its_own(function_of, with_net, events, tmp_path):
    fn = function_of(with_net)
    folder = save(fn, tmp_path / "reward")
    assert (folder / "reward.json").stat().st_size < 30_000
    assert 8 * 256 * 256 < (folder / "effects.safetensors").stat().st_size < 9 * 256 * 280
    again = load(folder)
    assert_frame_equal(again.score_events(events), fn.score_events(events), check_exact=True)
    assert again.fingerprint == fn.fingerprint
    (folder / "effects.safetensors").unlink()
    with pytest.raises(ArtifactError, match=r"effects\.safetensors"):
        load(folder)


def test_a_net_in_the_manifest_of_an_earlier_version_is_read(function_of, with_net, events, tmp_path):
    (first, bias), _, (last, end) = with_net.net.layers
    net = EffectNet(with_net.net.centre, with_net.net.width, ((first[:8], bias[:8]), (last[:, :8], end)))
    fn = function_of(with_net.replaced(net=net))
    folder = save(fn, tmp_path / "reward")
    before(lambda *_: None)(folder, None)
    (folder / "effects.safetensors").unlink()
    manifest = manifest_of(folder)
    del manifest["sha256"]["effects.safetensors"]
    manifest["format_version"] = 4
    told, kept = manifest["effects"], fn.effects.state_dict()
    manifest["effects"] = {
        **{name: told[name] for name in ("answers", "tastes", "newcomers", "spans_days")},
        **{name: kept[name].tolist() for name in ("basket", "gate", "scale", "coefficients", "covariance")},
        **{old: told[new] for old, new in SLOPES.items()},
    }
    manifest["effects"]["net"] = {
        "centre": net.centre.tolist(),
        "width": net.width.tolist(),
        "layers": [[weight.tolist(), bias.tolist()] for weight, bias in net.layers],
    }
    reseal(folder, manifest)
    assert_frame_equal(load(folder).score_events(events), fn.score_events(events), check_exact=True)


def test_weights_of_a_net_tell_functions_apart(function_of, with_net):
    weight, bias = with_net.net.layers[0]
    layers = ((weight + 1e-9, bias), *with_net.net.layers[1:])
    other = with_net.replaced(net=EffectNet(with_net.net.centre, with_net.net.width, layers))
    assert function_of(other).fingerprint != function_of(with_net).fingerprint
