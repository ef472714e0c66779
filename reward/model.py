"""RewardModel: where network, objective and the weights of the three states meet."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor
from torchmetrics import MeanMetric

from reward.network import RewardNetwork
from reward.objectives.likelihood import trace_bits
from reward.sequences.datamodule import Example

STATES = ("before", "exposed", "after")


class RewardModel(LightningModule):
    """Trains a `RewardNetwork` to predict the outcome from every state of the stream.

    Args:
        network: tokens, encoder and head.
        objective: ``(**named tensors) -> (..., members)``, one loss a row; see `reward.objectives`.
        optimizer: makes an optimizer of the parameters.
        warmup_steps: steps over which the learning rate rises from 0.
        state_weights: weight of the loss at ``before`` (Q), ``exposed`` (E) and ``after`` (F).
        seed: draws dropout, anew each step from the seed and the step alone, so that a resumed run repeats it.

    Raises:
        ValueError: ``state_weights`` does not name the three states.
    """

    def __init__(
        self,
        network: RewardNetwork,
        objective: Callable[..., Tensor],
        *,
        optimizer: Callable[[Iterable[Tensor]], torch.optim.Optimizer],
        warmup_steps: int,
        state_weights: Mapping[str, float],
        seed: int,
    ) -> None:
        super().__init__()
        if set(state_weights) != set(STATES):
            raise ValueError(f"model.state_weights expected {', '.join(STATES)}, got {', '.join(state_weights)}")
        self.network = network
        self.objective = objective
        self.optimizer = optimizer
        self.warmup_steps = warmup_steps
        self.state_weights = {name: state_weights[name] for name in STATES}
        self.seed = seed
        self.reads = tuple(inspect.signature(objective).parameters)
        self.validation_loss = MeanMetric()

    def on_train_batch_start(self, batch: Example, batch_idx: int) -> None:  # noqa: ARG002
        """Tie the step's randomness to the seed and the step."""
        torch.manual_seed(self.seed * 1_000_003 + self.global_step)

    def row_losses(self, state: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
        """Loss of each row by ensemble member, (windows, length, M)."""
        named = {**self.network.head(state), **targets}
        return self.objective(**{name: named[name] for name in self.reads if name in named})

    def training_step(self, example: Example, _: int) -> Tensor:
        """Mean loss of the rows over the three states and the members, each with its resample of users."""
        before, exposed, after = self.network(example.batch)
        states = {
            "before": (before, example.slot_targets, example.batch.slots.row),
            "exposed": (exposed, example.slot_targets, example.batch.slots.row),
            "after": (after, example.event_targets, example.batch.history.row),
        }
        total = after.new_zeros(())
        for name, (state, targets, row) in states.items():
            inside = (row >= 0).unsqueeze(-1) * example.weight.unsqueeze(1)
            loss = (self.row_losses(state, targets) * inside).sum() / inside.sum().clamp(min=1)
            total = total + self.state_weights[name] * loss
        total = total / sum(self.state_weights.values())
        self.log("train/loss", total, on_step=False, on_epoch=True, prog_bar=True, batch_size=len(example.weight))
        return total

    def validation_step(self, example: Example, _: int) -> None:
        """Loss of the states after feedback on what validation revealed."""
        after = self.network(example.batch)[2]
        losses = self.row_losses(after, example.event_targets).mean(-1)
        inside = example.batch.history.row >= 0
        self.validation_loss.update(losses[inside])
        self.log("validation/loss", self.validation_loss, prog_bar=True, batch_size=len(example.weight))

    @torch.no_grad()
    def calibrate(self, examples: Iterable[Example], *, prior_events: float) -> None:
        """Fit the head's calibration to what validation revealed of the states after feedback.

        Args:
            examples: the validation window.
            prior_events: weight of "no correction", in observations.
        """
        self.eval()
        logits, targets = [], []
        for example in examples:
            inside = example.batch.history.row >= 0
            state = self.network.read(example.batch.history).states[inside]
            logits.append(self.network.head(state)["trace_logits"])
            targets.append(torch.stack([example.event_targets[name][inside] for name in ("trace", "observed")]))
        head = self.network.head
        trace, observed = (trace_bits(words, head.horizon_days) for words in torch.cat(targets, 1))
        head.calibrate(torch.cat(logits), trace, observed, prior_events=prior_events)

    def configure_optimizers(self) -> Any:
        """The optimizer with linear warm-up and a cosine to zero at the last step."""
        optimizer = self.optimizer(self.parameters())
        steps = int(self.trainer.estimated_stepping_batches)

        def rate(step: int) -> float:
            rise = min(1.0, (step + 1) / max(self.warmup_steps, 1))
            return rise * 0.5 * (1 + torch.tensor(torch.pi * min(step / max(steps, 1), 1.0)).cos().item())

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
