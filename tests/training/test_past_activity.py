from functools import partial

import numpy as np
import polars as pl
import pytest
import torch
from pytorch_lightning import Trainer
from torch.testing import assert_close

import reward
from reward.days import trace_bits
from reward.encoders.gru import GRU
from reward.evaluation.baselines import baselines
from reward.evaluation.estimates import ACTIVITY
from reward.heads.calibration import platt
from reward.heads.trace import TraceHead
from reward.objectives.likelihood import trace_likelihood
from reward.outcomes.protocol import STATES
from reward.scoring.artifact import save
from reward.scoring.function import RewardFunction
from reward.scoring.model_card import model_card
from reward.sequences.datamodule import StreamData
from reward.sequences.model import RewardModel
from reward.sequences.network import RewardNetwork
from reward.task import Task
from reward.training.activity import Gain, fit_activity, keep_what_gained

TASK = "active_days"
BATCHES = {"max_events": 16, "batch_rows": 150, "members": 2, "seed": 0}
LOGISTIC = {"strengths": [30.0, 3.0], "max_categories": 10}
CORRECTION = {"shares": [0.5, 1.0], "least_gain": 2.0}
CALIBRATION = {"prior_events": 10}

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.isinstance.treespec, LeafSpec.:FutureWarning"),
]


@pytest.fixture(scope="module")
def data(log, outcome, features, windows_of_time):
    data = StreamData(log, {TASK: outcome}, features, windows_of_time, reward=TASK, **BATCHES)
    data.setup()
    return data


@pytest.fixture
def network(features, outcome, data):
    """A network that corrects past activity, before training and with nothing of its correction kept."""
    torch.manual_seed(0)
    head = TraceHead(width=8, hidden=4, horizon_days=outcome.horizon_days, members=2, from_activity=True)
    made = RewardNetwork(
        GRU(width=8, layers=1, dropout=0.0),
        {"active_days": head},
        reward="active_days",
        sizes=features.sizes(),
        item_dropout=0.0,
    )
    fit_activity(made.activity, data, **LOGISTIC)
    made.head.correction.zero_()
    return made.eval()


@pytest.fixture
def model_of(outcome):
    def build(network):
        rate = partial(torch.optim.AdamW, lr=0.02)
        weights = dict.fromkeys(STATES, 1.0)
        tasks = {TASK: Task(outcome, network.head, trace_likelihood)}
        return RewardModel(network, tasks, optimizer=rate, warmup_steps=0, state_weights=weights, seed=0).eval()

    return build


@pytest.fixture
def function_of(features, outcome):
    def build(network):
        return RewardFunction(network, features, {"active_days": outcome}, max_events=16, timestamp_unit=None, facts={})

    return build


def half(network):
    """The network with half of its correction."""
    network.head.correction.fill_(0.5)
    return network


def test_without_a_correction_the_forecast_is_that_of_activity_alone(
    network, model_of, function_of, data, log, outcome, features, windows_of_time
):
    assert network.activity.categories, "the log has a category of its slots"
    model_of(network).calibrate(data.val_dataloader(), **CALIBRATION)
    events = log.events.collect()
    alone = baselines(log, windows_of_time, outcome, features, logistic=LOGISTIC, boosting=None, seed=0, **CALIBRATION)[
        ACTIVITY
    ]
    np.testing.assert_allclose(function_of(network).forecast(events), alone, atol=2e-6)


def test_without_a_correction_no_item_makes_a_difference_and_members_agree(network, function_of, log):
    scored = function_of(network).score_events(log.events.collect())
    assert scored["reward"].abs().max() < 1e-6
    assert scored["reward_std"].abs().max() < 1e-6
    assert scored["value_before"].n_unique() > 20


def test_training_is_that_of_the_network_alone(network, model_of, data):
    """With the whole correction the logits are the ensemble's, bit by bit, so that past activity slows no learning."""
    network.head.correction.fill_(1.0)
    batch = next(iter(data.train_dataloader())).batch
    for state in network(batch):
        logits = network.head(state)["trace_logits"]
        assert torch.equal(logits, network.head.ensemble(state))
        assert state.shape[-1] == network.state_width == 8 + network.head.horizon_days


def test_a_correction_moves_logits_from_those_of_activity_to_those_of_the_ensemble(network, data):
    _, _, state = half(network)(next(iter(data.train_dataloader())).batch)
    activity = network.activity(next(iter(data.train_dataloader())).batch.history)
    expected = (activity.unsqueeze(-2) + network.head.ensemble(state)) / 2
    assert_close(network.head(state)["trace_logits"], expected)


def test_past_activity_survives_saving_and_is_the_same_for_all_candidates(network, function_of, log, tmp_path):
    events = log.events.collect()
    function = function_of(half(network))
    read = reward.load(save(function, tmp_path / "saved"))
    np.testing.assert_array_equal(read.forecast(events), function.forecast(events))
    assert read.network.head.from_activity
    history = function.encode(events, now=events["timestamp"].max())
    items = events["item_id"].unique().sort()
    together = function.score_candidates(history, items)
    assert together.mean.std(1).min() > 0
    assert_close(read.score_candidates(history, items).mean, together.mean)
    alone = torch.cat([function.score_candidates(history, items[[place]]).mean for place in range(len(items))], 1)
    assert_close(alone, together.mean, rtol=1e-5, atol=1e-5)


def test_a_logged_item_is_a_candidate_that_was_shown(network, function_of, log):
    """The reward of a row is that of its item among candidates, at the row's slot."""
    function = function_of(half(network))
    events = log.events.collect()
    scored = function.score_events(events)
    last = events.with_row_index().sort("timestamp").group_by("user_id", maintain_order=True).last().sort("user_id")
    slots = last.select("user_id", "timestamp", "session_id", "surface", "volume")
    # rows of a slate read the events before it, so only rows that are the first of their slate are compared
    first = (
        scored.with_row_index()
        .join(scored.group_by("user_id", "request_id").agg(pl.len().alias("slate")), on=["user_id", "request_id"])
        .filter((pl.col("slate") == 1) & pl.col("index").is_in(last["index"].implode()))
    )
    assert len(first) > 3
    history = function.encode(events, now=slots)
    place = [history.users.to_list().index(user) for user in first["user_id"]]
    rewards = function.score_candidates(history[place], np.array(first["item_id"])[:, None]).mean[:, 0]
    np.testing.assert_allclose(rewards.numpy(), first["reward"].to_numpy(), atol=1e-5)


def test_a_correction_that_gains_is_kept(network, model_of, data):
    """Where the logits of activity are of no use, what a network learns is."""
    network.head.correction.fill_(1.0)
    network.activity.numbers.zero_()
    for table in network.activity.categories:
        table.zero_()
    model = model_of(network)
    trainer = Trainer(
        max_epochs=6,
        accelerator="cpu",
        num_sanity_val_steps=0,
        **dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False),
    )
    trainer.fit(model.train(), data)
    gain = keep_what_gained(model, data, shares=[0.5, 1.0], least_gain=1.0, **CALIBRATION)
    assert gain.share > 0
    assert network.head.correction == gain.share
    assert gain.gain > gain.gain_std > 0
    assert "forecasts better than past activity alone" in gain.sentence("a GRU")


def test_a_correction_of_noise_is_dropped(network, model_of, data, function_of, log):
    events = log.events.collect()
    before = function_of(network).forecast(events)
    gain = keep_what_gained(model_of(half(network)), data, **CORRECTION, **CALIBRATION)
    assert gain.share == network.head.correction == 0
    np.testing.assert_allclose(function_of(network).forecast(events), before, atol=1e-6)
    assert gain.sentence("a GRU in 3 epochs").startswith("Training gained nothing over past activity")
    assert "tried: a GRU in 3 epochs" in gain.sentence("a GRU in 3 epochs")


def test_the_gain_is_the_difference_of_calibrated_losses_over_users(network, model_of, data, outcome):
    """Against a table of users by another road."""
    model = model_of(network)
    rows, losses = data.validation, {}
    stream = rows.windows.stream
    trace, known = (trace_bits(rows.targets[TASK][name], outcome.horizon_days) for name in ("trace", "observed"))
    states = torch.zeros(len(stream.events), network.state_width)
    for example in data.val_dataloader():
        batch = example.batch
        own = batch.history.row >= 0
        states[batch.history.row[own]] = network.after(batch.history)[own].detach()
    use = known[:, 0]
    for share in (0.0, 1.0):
        logits = ((1 - share) * states[use, 8:].unsqueeze(1) + share * network.head.ensemble(states[use])).detach()
        scale, offset = platt(logits, trace[use], known[use], **CALIBRATION)
        chance = (scale * logits + offset).sigmoid().mean(1)
        loss = -torch.where(trace[use], chance, 1 - chance).log() * known[use]
        losses[share] = np.bincount(stream.events.user[use.numpy()], loss.sum(1).numpy())
    count = np.bincount(stream.events.user[use.numpy()], known[use].sum(1).numpy())
    gain = keep_what_gained(model, data, shares=[1.0], least_gain=0.0, **CALIBRATION)
    expected = (losses[0.0] - losses[1.0]).sum() / count.sum()
    rest = losses[0.0] - losses[1.0] - expected * count
    assert gain.gain == pytest.approx(expected, abs=1e-9)
    assert gain.gain_std == pytest.approx(np.sqrt((rest**2).sum()) / count.sum(), rel=1e-6)
    assert gain.activity == pytest.approx(losses[0.0].sum() / count.sum())


def test_the_share_with_the_surest_gain_is_kept(network, model_of, data):
    """That whose gain less two standard errors is the largest, be its gain the largest or not."""
    trainer = Trainer(
        max_epochs=3,
        accelerator="cpu",
        num_sanity_val_steps=0,
        **dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False),
    )
    network.head.correction.fill_(1.0)
    model = model_of(network)
    trainer.fit(model.train(), data)

    def tried(*shares):
        return keep_what_gained(model, data, shares=shares, least_gain=2.0, **CALIBRATION)

    alone = [tried(share) for share in (0.1, 0.5, 1.0)]
    surest = max(alone, key=lambda found: found.gain - 2 * found.gain_std)
    assert tried(1.0, 0.1, 0.5) == surest
    assert all((found.share > 0) == (found.gain > 2 * found.gain_std) for found in alone)


def test_the_card_says_what_training_gained(network, function_of):
    nothing = Gain(share=0.0, activity=0.6, tried=0.25, gain=-0.001, gain_std=0.002)
    function = function_of(network)
    card = model_card(function, {"forecast": {**nothing._asdict(), "sentence": nothing.sentence("a GRU")}})
    assert "Training gained nothing over past activity on the validation days" in card
    assert "Training gained" not in model_card(function, {})


def test_shares_are_checked(network, model_of, data):
    with pytest.raises(ValueError, match=r"shares expected numbers above 0 and at most 1, got \[0.0, 2\]"):
        keep_what_gained(model_of(network), data, shares=[0.0, 2], least_gain=2.0, **CALIBRATION)


def test_only_a_head_that_corrects_activity_is_weighed(network_of, model_of, data):
    with pytest.raises(TypeError, match="expected a head with from_activity=true, got TraceHead without"):
        keep_what_gained(model_of(network_of()), data, **CORRECTION, **CALIBRATION)


def test_a_further_head_does_not_start_from_the_main_outcomes_activity(features):
    head = partial(TraceHead, width=8, hidden=4, horizon_days=3, members=2)
    message = r"from_activity expected of the head of the reward's task, active_days, alone, item has it"
    with pytest.raises(TypeError, match=message):
        RewardNetwork(
            GRU(width=8, layers=1, dropout=0.0),
            {"active_days": head(), "item": head(from_activity=True)},
            reward=TASK,
            sizes=features.sizes(),
            item_dropout=0.0,
        )


def test_without_an_observed_day_activity_cannot_be_fitted(network, data):
    nothing = StreamData.__new__(StreamData)
    nothing.__dict__.update(data.__dict__)
    own = data.validation.targets[TASK]
    targets = {TASK: {**own, "observed": torch.zeros_like(own["observed"])}}
    labels = data.validation.labels._replace(targets=targets)
    nothing.validation = type(data.validation)(data.validation.windows, labels, data.validation.weight)
    with pytest.raises(reward.SchemaError, match="expected outcomes to learn from: expected at least one observed day"):
        fit_activity(network.activity, nothing, **LOGISTIC)
