import math
from dataclasses import replace
from functools import partial

import polars as pl
import pytest
import torch
from pytorch_lightning import Callback, Trainer

from reward.heads.trace import TraceHead
from reward.objectives.likelihood import trace_likelihood
from reward.sequences.datamodule import StreamData
from reward.sequences.model import RewardModel
from reward.task import Task

TASK = "active_days"
BATCHES = {"max_events": 16, "batch_rows": 150, "members": 2, "seed": 0}
TARGETS = ("trace", "observed")
WEIGHTS = {"before": 1.0, "exposed": 2.0, "after": 0.5}

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.isinstance.treespec, LeafSpec.:FutureWarning"),
]


@pytest.fixture(scope="module")
def data(log, outcome, features, windows_of_time):
    data = StreamData(log, {TASK: outcome}, features, windows_of_time, reward=TASK, **BATCHES)
    data.setup()
    return data


@pytest.fixture(scope="module")
def few(log, outcome, features, windows_of_time):
    """The data of a few users."""
    log = replace(log, events=log.events.filter(pl.col("user_id") < 12))
    small = BATCHES | {"batch_rows": 50}
    data = StreamData(log, {TASK: outcome}, features, windows_of_time, reward=TASK, **small)
    data.setup()
    return data


@pytest.fixture(scope="module")
def example(data):
    return next(iter(data.train_dataloader()))


@pytest.fixture
def model_of(network_of, outcome):
    def build(
        encoder=None, objective=trace_likelihood, *, seed=0, state_weights=WEIGHTS, warmup_steps=0, rate=0.03, **kw
    ):
        network = network_of(encoder, seed=seed, **kw)
        return RewardModel(
            network,
            {TASK: Task(outcome, network.head, objective)},
            optimizer=partial(torch.optim.AdamW, lr=rate),
            warmup_steps=warmup_steps,
            state_weights=state_weights,
            seed=seed,
        ).train()

    return build


@pytest.fixture
def quiet_trainer(tmp_path):
    def build(epochs, *callbacks):
        return Trainer(
            max_epochs=epochs,
            accelerator="cpu",
            logger=False,
            callbacks=list(callbacks),
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            deterministic=True,
            inference_mode=False,
            default_root_dir=tmp_path,
        )

    return build


@pytest.fixture
def step(example):
    """One training step's loss, away from a trainer."""

    def loss(model, example=example):
        model.log = lambda *_, **__: None
        return model.training_step(example, 0)

    return loss


class Seen(Callback):
    """What training went through."""

    def __init__(self):
        self.losses, self.rates = [], []

    def on_train_batch_end(self, trainer, model, outputs, batch, batch_idx):
        self.losses.append(outputs["loss"].item())

    def on_train_batch_start(self, trainer, model, batch, batch_idx):
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])


@pytest.fixture
def encoder(encoder_class, small_arguments):
    return partial(encoder_class, **small_arguments(encoder_class, layers=1, dropout=0.0))


def test_training_lowers_the_loss_on_rows_it_learns_from_and_on_later_ones(model_of, quiet_trainer, data, encoder):
    model = model_of(encoder)
    trainer = quiet_trainer(6)
    before = trainer.validate(model, data, verbose=False)[0]["validation/loss"]
    seen = Seen()
    trainer.callbacks.append(seen)
    trainer.fit(model, data)
    assert trainer.callback_metrics["train/loss"] < 0.8 * sum(seen.losses[:3]) / 3
    assert trainer.callback_metrics["validation/loss"] < 0.9 * before


def test_the_same_seed_trains_the_same_weights_to_the_bit_and_another_other_ones(model_of, quiet_trainer, few, encoder):
    weights = []
    for seed in (0, 0, 1):
        model = model_of(partial(encoder, dropout=0.2), seed=seed, item_dropout=0.3)
        torch.manual_seed(torch.seed())  # what was drawn before training plays no part
        quiet_trainer(2).fit(model, few)
        weights.append(torch.cat([parameter.flatten() for parameter in model.parameters()]))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_every_epoch_has_batches_of_its_own(model_of, quiet_trainer, data):
    class Order(Callback):
        def on_train_epoch_start(self, trainer, model):
            self.epochs = [*getattr(self, "epochs", []), []]

        def on_train_batch_start(self, trainer, model, batch, batch_idx):
            self.epochs[-1].append(batch.batch.history.row[:, -1].tolist())

    order = Order()
    quiet_trainer(2, order).fit(model_of(), data)
    assert order.epochs[0] != order.epochs[1]


def test_the_loss_is_the_weighted_mean_over_states_of_the_rows_mean(model_of, step, example):
    model = model_of()
    batch = example.batch
    states = dict(zip(WEIGHTS, model.network(batch), strict=True))
    expected = 0.0
    for name, state in states.items():
        row = batch.history.row if name == "after" else batch.slots.row
        targets = (example.event_targets if name == "after" else example.slot_targets)[TASK]
        total = count = 0.0
        for window, place in (row >= 0).nonzero().tolist():
            logits = model.network.head(state[window, place])["trace_logits"]
            losses = trace_likelihood(logits, *(targets[key][window, place] for key in ("trace", "observed")))
            total += (losses * example.weight[window]).sum().item()
            count += example.weight[window].sum().item()
        expected += WEIGHTS[name] * total / count
    assert step(model).item() == pytest.approx(expected / sum(WEIGHTS.values()), rel=1e-4)


@pytest.mark.parametrize("name", WEIGHTS)
def test_a_state_without_weight_is_not_learned_from(model_of, step, name):
    chosen = {state: float(state == name) for state in WEIGHTS}
    model = model_of(state_weights=chosen)
    step(model).backward()
    blank, feedback = model.network.embedding.blank.grad, model.network.embedding.feedback[0].weight.grad
    assert (blank is not None and blank.any()) == (name == "before")
    assert feedback.any()  # every state reads earlier feedback
    alone = [step(model_of(state_weights={**chosen, name: weight})).item() for weight in (1.0, 7.0)]
    assert alone[0] == pytest.approx(alone[1])


def test_a_member_learns_from_the_users_it_drew(model_of, step, example):
    model = model_of()
    weight = example.weight.clone()
    weight[:, 1] = 0
    step(model, example._replace(weight=weight)).backward()
    assert model.network.head.ensemble.outer.grad[0].any()
    assert not model.network.head.ensemble.outer.grad[1].any()


def test_a_batch_that_no_member_drew_has_loss_0_and_finite_gradients(model_of, step, example):
    model = model_of()
    loss = step(model, example._replace(weight=torch.zeros_like(example.weight)))
    loss.backward()
    assert loss == 0
    assert all(not parameter.grad.any() for parameter in model.parameters() if parameter.grad is not None)


def test_the_validation_loss_is_the_mean_over_rows_after_feedback(model_of, quiet_trainer, data):
    model = model_of()
    found = quiet_trainer(1).validate(model, data, verbose=False)[0]["validation/loss"]
    total = count = 0
    with torch.no_grad():
        for example in data.val_dataloader():
            logits = model.network.head(model.network(example.batch)[2])["trace_logits"]
            losses = trace_likelihood(logits, *(example.event_targets[TASK][name] for name in TARGETS)).mean(-1)[
                example.batch.history.row >= 0
            ]
            total, count = total + losses.sum().item(), count + len(losses)
    assert found == pytest.approx(total / count, rel=1e-4)
    assert count == len(data.validation.windows.stream.events)


def test_the_learning_rate_rises_and_falls_to_nothing_at_the_last_step(model_of, quiet_trainer, data):
    seen = Seen()
    quiet_trainer(3, seen).fit(model_of(warmup_steps=4, rate=0.1), data)
    steps = len(seen.rates)
    expected = [0.1 * min(1, (step + 1) / 4) * (1 + math.cos(math.pi * step / steps)) / 2 for step in range(steps)]
    assert steps > 8
    assert seen.rates == pytest.approx(expected, rel=1e-5)
    assert seen.rates[-1] < 0.01


def test_an_objective_is_given_what_its_parameters_name(model_of, step):
    def share(trace, observed, trace_logits):
        assert trace.dtype == observed.dtype == torch.int64
        return trace_likelihood(trace_logits, trace, observed) / 2

    whole, half = step(model_of()), step(model_of(objective=share))
    assert half.item() == pytest.approx(whole.item() / 2)


def test_calibration_is_fitted_to_what_validation_revealed_after_feedback(model_of, data):
    model = model_of()
    model.network.head.ensemble.bias.data.fill_(3.0)  # an optimist
    examples = list(data.val_dataloader())
    raw, words = [], []
    with torch.no_grad():
        for example in examples:
            inside = example.batch.history.row >= 0
            raw.append(model.network.head(model.network(example.batch)[2][inside])["trace_logits"])
            words.append(torch.stack([example.event_targets[TASK][name][inside] for name in ("trace", "observed")]))
    targets = dict(zip(("trace", "observed"), torch.cat(words, 1), strict=True))
    by_hand = TraceHead(width=8, hidden=4, horizon_days=7, members=2)
    by_hand.calibrate({"trace_logits": torch.cat(raw)}, targets, prior_events=10.0)
    for _ in range(2):  # a second time starts afresh
        model.calibrate(examples, prior_events=10.0)
        assert model.network.head.scale.item() == pytest.approx(by_hand.scale.item(), rel=1e-3)
        assert model.network.head.offset.tolist() == pytest.approx(by_hand.offset.tolist(), rel=1e-3, abs=1e-5)
    assert by_hand.scale < 0.9


@pytest.mark.parametrize("weights", [{"before": 1.0}, {**WEIGHTS, "later": 1.0}])
def test_weights_of_other_states_are_refused(model_of, weights):
    with pytest.raises(ValueError, match=f"expected before, exposed, after, got {', '.join(weights)}"):
        model_of(state_weights=weights)
