from functools import partial

import pytest
import torch

from reward.days import trace_bits
from reward.heads.hazard import HazardHead
from reward.objectives.hazard import hazard_likelihood
from reward.objectives.likelihood import trace_likelihood
from reward.outcomes.activity import ActivityTrace
from reward.outcomes.protocol import STATES
from reward.outcomes.returns import ReturnTime
from reward.sequences.consistency import TemporalConsistency
from reward.sequences.datamodule import StreamData
from reward.sequences.model import RewardModel
from reward.task import Task

HORIZON = 7  # of the fixtures' outcome


@pytest.fixture(scope="module")
def data(log, outcome, features, windows_of_time):
    outcomes = {"active_days": outcome, "return_time": ReturnTime(HORIZON)}
    settings = {"max_events": 16, "batch_rows": 150, "members": 2, "seed": 0}
    data = StreamData(log, outcomes, features, windows_of_time, reward="active_days", **settings)
    data.setup()
    return data


@pytest.fixture(scope="module")
def example(data):
    return next(iter(data.train_dataloader()))


@pytest.fixture
def model_of(network_of):
    def build(lam=None, objective=trace_likelihood, *, scope="user", scope_of_waits="user"):
        network = network_of()
        torch.manual_seed(3)
        network.heads["return_time"] = HazardHead(width=8, hidden=4, horizon_days=HORIZON, causes=1, members=2)
        outcome, waits = ActivityTrace(HORIZON, scope=scope), ReturnTime(HORIZON, scope=scope_of_waits)
        tasks = {
            "active_days": Task(outcome, network.head, objective),
            "return_time": Task(waits, network.heads["return_time"], hazard_likelihood, 0.5),
        }
        settings = {
            "optimizer": partial(torch.optim.AdamW, lr=0.01),
            "warmup_steps": 0,
            "state_weights": dict.fromkeys(STATES, 1.0),
            "seed": 0,
            "consistency": lam if lam is None else partial(TemporalConsistency, lam=lam, momentum=0.9),
        }
        model = RewardModel(network, tasks, **settings).eval()
        model.log = lambda *_, **__: None
        return model

    return build


def test_with_lambda_1_the_loss_is_that_of_the_labels(model_of, example):
    plain, soft = (model_of(lam).training_step(example, 0).item() for lam in (None, 1.0))
    assert soft == pytest.approx(plain, rel=1e-6)
    assert model_of(0.5).training_step(example, 0).item() != pytest.approx(plain, rel=1e-3)


def test_with_lambda_0_a_state_learns_from_the_next_one_and_a_slot_from_the_event_that_filled_it(model_of, example):
    model = model_of(0.0)
    for parameter in model.consistency.slow.parameters():
        parameter += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
    batch, slow = example.batch, model.consistency.slow
    chance = slow.head(slow.read(batch.history).states)["trace_logits"].sigmoid()
    found = model._soft_targets(example)["active_days"]
    row, day = batch.history.row, example.day
    trace, observed = (
        trace_bits(example.event_targets["active_days"][name], HORIZON) for name in ("trace", "observed")
    )
    target, weight = (part.expand_as(chance) for part in found["after"])
    compared = 0
    for window, place in (row >= 0).nonzero().tolist():
        last = place + 1 == row.shape[1] or row[window, place + 1] < 0
        gap = HORIZON if last else int(day[window, place + 1] - day[window, place])
        for ahead in range(1, HORIZON + 1):
            if ahead <= gap:
                known = observed[window, place, ahead - 1]
                expected = trace[window, place, ahead - 1].float().expand(2)
            else:
                known, expected = True, chance[window, place + 1, :, ahead - gap - 1]
                compared += 1
            assert weight[window, place, 0, ahead - 1] == known
            if known:
                torch.testing.assert_close(target[window, place, :, ahead - 1], expected)
    assert compared > 100
    by_row = dict(zip(row[row >= 0].tolist(), chance[row >= 0], strict=True))
    inside = 0
    for window, place in (batch.slots.row >= 0).nonzero().tolist():
        filled = int(batch.slots.row[window, place])
        if filled in set(row[window].tolist()):
            torch.testing.assert_close(found["exposed"][0][window, place], by_row[filled])
            inside += 1
    assert inside > 50


def test_a_slot_whose_event_is_in_another_window_keeps_its_own_labels(model_of, data):
    model, outside = model_of(0.0), 0
    for example in data.train_dataloader():
        target, weight = model._soft_targets(example)["active_days"]["before"]
        row = example.batch.slots.row
        apart = (row >= 0) & ~(row.unsqueeze(2) == example.batch.history.row.unsqueeze(1)).any(2)
        trace, observed = (
            trace_bits(example.slot_targets["active_days"][name], HORIZON)[apart] for name in ("trace", "observed")
        )
        assert torch.equal(weight[apart][:, 0], observed.float())
        assert torch.equal(target[apart][:, 0], (trace & observed).float())
        outside += int(apart.sum())
    assert outside > 0


def test_no_gradient_reaches_the_slow_network_and_it_follows_the_fast_one(model_of, example):
    model = model_of(0.3)
    model.training_step(example, 0).backward()
    assert all(parameter.grad is None for parameter in model.consistency.parameters())
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter += 1.0
    before = [each.clone() for each in model.consistency.slow.parameters()]
    model.consistency.follow(model.network, step=10_000)
    for old, slow, fast in zip(before, model.consistency.slow.parameters(), model.network.parameters(), strict=True):
        torch.testing.assert_close(slow, 0.9 * old + 0.1 * fast)


def test_the_slow_network_is_in_the_checkpoint_and_no_optimizer_moves_it(model_of):
    model = model_of(0.3)
    assert any(name.startswith("consistency.slow.") for name in model.state_dict())
    assert {id(each) for each in model.network.parameters()}.isdisjoint(map(id, model.consistency.parameters()))


def test_what_another_item_will_bring_says_nothing_of_this_one(model_of):
    with pytest.raises(TypeError, match="expected an outcome of the user that a trace or hazard head predicts"):
        model_of(0.5, scope="item", scope_of_waits="item")
    model = model_of(0.5, scope_of_waits="item")
    assert [model._is_consistent(task) for task in model.tasks] == [True, False]


def test_an_objective_of_ones_own_is_not_replaced_by_a_likelihood(model_of):
    def twice(trace_logits, trace, observed):
        return 2 * trace_likelihood(trace_logits, trace, observed)

    with pytest.raises(TypeError, match="with its plain likelihood, there is none"):
        model_of(0.5, objective=twice, scope_of_waits="item")


@pytest.mark.parametrize("told", [{"lam": 1.5, "momentum": 0.9}, {"lam": 0.5, "momentum": 1.0}])
def test_shares_outside_their_range_are_refused(network_of, told):
    with pytest.raises(ValueError, match=r"expected lam in \[0, 1\] and momentum in \[0, 1\)"):
        TemporalConsistency(network_of(), **told)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("survey", r"tasks expected one for each head, \['active_days'\], got \['active_days', 'survey'\]: give both"),
        ("loss", "names of tasks expected none of loss, value, .* got loss: give the task another name"),
        ("value", "names of tasks expected none of loss, value, .* got value: give the task another name"),
    ],
)
def test_each_head_has_a_task_of_its_name_and_none_the_name_of_a_metric(network_of, outcome, name, message):
    network = network_of()
    task = Task(outcome, network.head, trace_likelihood)
    if name != "survey":
        network.heads[name] = network.head
    with pytest.raises(ValueError, match=message):
        RewardModel(
            network,
            {"active_days": task, name: task},
            optimizer=torch.optim.AdamW,
            warmup_steps=0,
            state_weights=dict.fromkeys(STATES, 1.0),
            seed=0,
        )
