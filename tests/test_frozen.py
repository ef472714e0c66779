"""What a scoring function is inside of a parent: neither trained, cast, saved nor overwritten."""

import copy
import pickle
from datetime import UTC, datetime

import polars as pl
import pytest
import torch
from polars.testing import assert_frame_equal
from slots import Lists
from torch import nn
from torch.utils.data import DataLoader

from reward.frozen import Frozen
from reward.scoring.artifact import load, save
from reward.scoring.composite import Composite
from reward.scoring.function import RewardFunction

NOW = datetime(2024, 4, 3, 9, 30, tzinfo=UTC)
CASTS = {
    "half": lambda parent: parent.half(),
    "bfloat16": lambda parent: parent.bfloat16(),
    "double": lambda parent: parent.double(),
    "to float64": lambda parent: parent.to(torch.float64),
    "to cpu and float16": lambda parent: parent.to("cpu", torch.float16),
    "type": lambda parent: parent.type(torch.float64),
    "to_empty": lambda parent: parent.to_empty(device="cpu"),
    "apply": lambda parent: parent.apply(zero),
    "train": lambda parent: parent.train(),
    "requires_grad_": lambda parent: parent.requires_grad_(True),
    "share_memory": lambda parent: parent.share_memory(),
}


def zero(module):
    for parameter in module.parameters(recurse=False):
        nn.init.zeros_(parameter)


class Ranker(nn.Module):
    def __init__(self, fn):
        super().__init__()
        self.fn = fn
        self.line = nn.Linear(3, 3)


@pytest.fixture(scope="module")
def events(log):
    return log.events.filter(pl.col("user_id") < 6).collect()


@pytest.fixture
def functions(network_of, features, outcome, effects):
    def made(seed, personal=None):
        network = network_of(seed=seed)
        given = {"max_events": 16, "timestamp_unit": None, "facts": {}, "effects": personal}
        return RewardFunction(network, features, {"active_days": outcome}, **given)

    plain, personal, other = made(0), made(1, effects.model), made(2)
    both = Composite(
        {"a": 1.0, "b": -2.0}, "days", functions={"a": made(0), "b": made(1)}, covariance=[[0.1, 0], [0, 1]]
    )
    return {"plain": plain, "personal": personal, "composite": both, "other": other}


def scores_of(fn, events):
    rewards = fn.score_candidates(fn.encode(events, now=NOW), range(12))
    assert rewards.mean.dtype == torch.float32
    return fn.score_events(events), torch.stack([*rewards])


@pytest.mark.parametrize("cast", CASTS)
@pytest.mark.parametrize("name", ["plain", "personal", "composite"])
def test_what_is_done_to_a_parent_changes_no_reward(functions, events, name, cast):
    fn = functions[name]
    before, candidates = scores_of(fn, events)
    CASTS[cast](Ranker(fn))
    after, again = scores_of(fn, events)
    assert_frame_equal(after, before, check_exact=True)
    assert torch.equal(again, candidates)
    assert not any(
        each.requires_grad or each.dtype != torch.float32 for _, part in fn.held() for each in part.parameters()
    )


@pytest.mark.parametrize("name", ["plain", "personal", "composite"])
def test_autocast_around_it_changes_no_reward(functions, events, name):
    fn = functions[name]
    before, candidates = scores_of(fn, events)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        after, again = scores_of(fn, events)
        assert torch.is_autocast_enabled("cpu")
        forward = fn(fn.encode(events, now=NOW), range(12))
    assert_frame_equal(after, before, check_exact=True)
    assert torch.equal(again, candidates)
    assert torch.equal(forward.mean, candidates[0])


def test_autocast_changes_no_forecast(functions, events):
    fn = functions["plain"]
    before, distribution = fn.forecast(events), fn.distribution(events)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (fn.forecast(events) == before).all()
        assert_frame_equal(fn.distribution(events), distribution, check_exact=True)


@pytest.mark.parametrize("name", ["plain", "composite"])
def test_a_parents_state_neither_holds_nor_overwrites_it(functions, events, name):
    fn, parent = functions[name], Ranker(functions[name])
    before = scores_of(fn, events)[1]
    assert set(parent.state_dict()) == {"line.weight", "line.bias"}
    assert [key for key, _ in parent.named_parameters()] == ["line.weight", "line.bias"]
    parent.load_state_dict(Ranker(functions["other"]).state_dict(), strict=True)
    held = {f"fn.{key}": torch.zeros_like(value) for key, value in fn.state_dict().items()}
    assert held
    parent.load_state_dict(parent.state_dict() | held, strict=True)  # of a checkpoint that holds one
    assert torch.equal(scores_of(fn, events)[1], before)


def test_its_own_state_can_be_looked_at_and_not_loaded(functions):
    fn = functions["plain"]
    state = fn.state_dict()
    assert torch.equal(state["network.heads.active_days.scale"], fn.network.head.scale)
    assert list(state) == [f"network.{key}" for key in fn.network.state_dict()]
    with pytest.raises(TypeError, match="a RewardFunction is frozen and takes no weights: save one with"):
        fn.load_state_dict(state)


def test_an_optimiser_of_the_parent_leaves_it_alone(functions, events):
    parent = Ranker(functions["plain"])
    before = scores_of(parent.fn, events)[1]
    optimizer = torch.optim.AdamW(parent.parameters(), weight_decay=10.0)
    (parent.line(torch.ones(1, 3)).sum() * before.sum()).backward()
    optimizer.step()
    assert torch.equal(scores_of(parent.fn, events)[1], before)


@pytest.mark.parametrize("name", ["plain", "personal", "composite"])
def test_copies_and_pickles_score_alike_and_take_each_others_histories(functions, events, name):
    fn = functions[name]
    history, expected = fn.encode(events, now=NOW), scores_of(fn, events)[1]
    for twin in (copy.deepcopy(fn), copy.deepcopy(Ranker(fn)).fn, pickle.loads(pickle.dumps(fn))):
        assert torch.equal(torch.stack([*twin.score_candidates(history, range(12))]), expected)
        assert twin is not fn


@pytest.mark.slow
def test_a_spawned_worker_scores_candidates(functions, events):
    fn = functions["personal"]
    history = fn.encode(events, now=NOW)
    loader = DataLoader(Lists(fn, history), 2, num_workers=1, timeout=120, multiprocessing_context="spawn")
    torch.testing.assert_close(torch.cat(list(loader)), fn.score_candidates(history[:4], Lists.ITEMS).mean)


def test_a_history_is_scored_by_the_function_that_encoded_it_alone(functions, events, tmp_path):
    fn, other = functions["plain"], functions["other"]
    history = fn.encode(events, now=NOW)
    for changed in (history, history[[2, 0]], history[1:3], history.to("cpu")):
        with pytest.raises(
            ValueError, match="history expected one that this function encoded, got one of another function"
        ):
            other.score_candidates(changed, [1])
        assert fn.score_candidates(changed, [1]).mean.isfinite().all()
    one, two = load(save(fn, tmp_path / "reward")), load(tmp_path / "reward")
    assert one.fingerprint == two.fingerprint == fn.fingerprint != other.fingerprint
    assert torch.equal(
        two.score_candidates(one.encode(events, now=NOW), [1, 2]).mean, fn.score_candidates(history, [1, 2]).mean
    )


def test_effects_and_features_are_part_of_what_encodes(functions, network_of, features, outcome, effects):
    def made(features=features, **changes):
        given = {"max_events": 16, "timestamp_unit": None, "facts": {}} | changes
        return RewardFunction(network_of(seed=0), features, {"active_days": outcome}, **given).fingerprint

    prints = [
        made(),
        made(effects=effects.model),
        made(max_events=15),
        RewardFunction(
            network_of(seed=1), features, {"active_days": outcome}, max_events=16, timestamp_unit=None, facts={}
        ).fingerprint,
    ]
    assert len(set(prints)) == 4
    assert made(facts={"more": 1}) == prints[0]
    fn = functions["plain"]
    first = fn.fingerprint
    fn.effects = effects.model
    assert fn.fingerprint != first


def test_a_module_that_is_set_later_is_frozen_too():
    whole = Frozen()
    whole.part = nn.Linear(2, 2)
    assert not whole.part.training
    assert not whole.part.weight.requires_grad
    assert list(whole.parameters()) == []
    assert dict(whole.held()) == {"part": whole.part}
    whole.part.train()
    assert not nn.Sequential(whole).train()[0].part.training
