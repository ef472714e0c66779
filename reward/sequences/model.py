"""RewardModel: where network, tasks and the weights of the three states meet."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torchmetrics import MeanMetric

from reward.heads import Head
from reward.objectives.consistency import soft_trace_likelihood
from reward.outcomes.protocol import ABSENT, STATES
from reward.sequences.consistency import TemporalConsistency, consistent
from reward.sequences.datamodule import Example
from reward.sequences.network import RewardNetwork
from reward.task import Task

_OWN = ("loss", "value")  # how the reward's task is called among metrics and columns of scores


class RewardModel(LightningModule):
    """Trains a `RewardNetwork` to predict the outcomes of all its tasks from every state of the stream.

    Args:
        network: tokens, encoder and heads.
        tasks: what is learned, by name; of each the head is that of ``network.heads``. Weights are relative to the
            weight of the reward's task.
        optimizer: makes an optimizer of the parameters.
        warmup_steps: steps over which the learning rate rises from 0.
        state_weights: weight of the loss at ``before`` (Q), ``exposed`` (E) and ``after`` (F).
        seed: draws dropout, anew each step from the seed and the step alone, so that a resumed run repeats it.
        consistency: ``network -> TemporalConsistency``: traces and hazards of the user learn from their next states,
            too. None: from their own labels alone.

    Raises:
        ValueError: ``state_weights`` does not name the three states, tasks and heads have other names, or a task has
            the name of a metric.
        TypeError: there is nothing to be consistent.
    """

    def __init__(
        self,
        network: RewardNetwork,
        tasks: Mapping[str, Task],
        *,
        optimizer: Callable[[Iterable[Tensor]], torch.optim.Optimizer],
        warmup_steps: int,
        state_weights: Mapping[str, float],
        seed: int,
        consistency: Callable[[RewardNetwork], TemporalConsistency] | None = None,
    ) -> None:
        super().__init__()
        if set(state_weights) != set(STATES):
            raise ValueError(f"model.state_weights expected {', '.join(STATES)}, got {', '.join(state_weights)}")
        self.tasks = network.one_a_head(tasks)
        taken = [name for name in _OWN if name in tasks and name != network.reward]
        if taken:
            raise ValueError(
                f"names of tasks expected none of {', '.join(_OWN)}, by which the reward's own task is called among "
                f"metrics and scores, got {', '.join(taken)}: give the task another name"
            )
        self.network = network
        self.optimizer = optimizer
        self.warmup_steps = warmup_steps
        self.state_weights = {name: state_weights[name] for name in STATES}
        self.seed = seed
        self.consistency = None if consistency is None else consistency(network)
        if self.consistency is not None and not any(map(self._is_consistent, self.tasks)):
            raise TypeError(
                "consistency expected an outcome of the user that a trace or hazard head predicts with its plain "
                "likelihood, there is none: give it up with consistency=null, or take outcome.scope=user"
            )
        self.validation_losses = nn.ModuleList(MeanMetric() for _ in self.tasks)

    def setup(self, stage: str | None = None) -> None:
        """Tell heads what their targets look like; after training it would undo a calibration."""
        data = getattr(self.trainer, "datamodule", None) if stage == "fit" else None
        if data is not None:
            self.begin(data.training.targets)

    def begin(self, targets: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Tell heads that ask for it what the targets of training look like.

        Args:
            targets: those of all rows, by task and by name.
        """
        for task in self.tasks:
            begin = getattr(self.network.heads[task], "begin", None)
            if begin is not None:
                begin(targets[task])

    def on_train_batch_start(self, batch: Example, batch_idx: int) -> None:  # noqa: ARG002
        """Tie the step's randomness to the seed and the step."""
        torch.manual_seed(self.seed * 1_000_003 + self.global_step)

    def _is_consistent(self, task: str) -> bool:
        outputs = cast(Head, self.network.heads[task]).outputs
        return self.tasks[task].sequential and consistent(outputs, self.tasks[task].objective)

    def _soft_targets(self, example: Example) -> dict[str, dict[str, tuple[Tensor, Tensor]]]:
        """By task and state the targets that come from the next states."""
        if self.consistency is None:
            return {}
        states, slow = self.consistency.states(example), self.consistency.slow
        return {
            task: self.consistency.targets(
                example,
                slow.heads[task](states),
                example.event_targets[task],
                example.slot_targets[task],
            )
            for task in filter(self._is_consistent, self.tasks)
        }

    def _soft_losses(self, state: Tensor, soft: tuple[Tensor, Tensor], task: str) -> Tensor:
        (logits,) = self.network.heads[task](state).values()
        return soft_trace_likelihood(logits, *soft)

    def row_losses(self, task: str, state: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
        """Loss of a task at each row by ensemble member, (windows, length, M).

        Args:
            task: its name.
            state: (windows, length, ·).
            targets: those of the task, (windows, length, ...) by their own names.
        """
        objective = self.tasks[task].objective
        named = {**self.network.heads[task](state), **targets}
        reads = inspect.signature(objective).parameters
        return objective(**{name: named[name] for name in reads if name in named})

    def training_step(self, example: Example, _: int) -> Tensor:
        """Weighted sum over tasks of the mean loss over rows, the task's states and members, each with its resample."""
        before, exposed, after, *without = self.network(example.batch, *example.asked.values())
        slots, events = example.batch.slots.row, example.batch.history.row
        states = {
            "before": (before, example.slot_targets, slots),
            "exposed": (exposed, example.slot_targets, slots),
            "after": (after, example.event_targets, events),
        }
        absent = {
            name: (state, example.slot_targets, slots) for name, state in zip(example.asked, without, strict=True)
        }
        soft = self._soft_targets(example)
        total = after.new_zeros(())
        for name, task in self.tasks.items():
            loss = after.new_zeros(())
            for which in task.states:
                state, targets, row = absent[name] if which == ABSENT else states[which]
                inside = (row >= 0).unsqueeze(-1) * example.weight.unsqueeze(1)
                losses = (
                    self._soft_losses(state, soft[name][which], name)
                    if name in soft
                    else self.row_losses(name, state, targets[name])
                )
                mean = (losses * inside).sum() / inside.sum().clamp(min=1)
                loss = loss + self.state_weights.get(which, 1.0) * mean
            loss = loss / sum(self.state_weights.get(which, 1.0) for which in task.states)
            self._log(f"train/{self._metric(name)}", loss, example, on_step=False, on_epoch=True)
            total = total + task.weight / self.tasks[self.network.reward].weight * loss
        return total

    def on_train_batch_end(self, outputs: Any, batch: Example, batch_idx: int) -> None:  # noqa: ARG002
        """Let the slow network follow."""
        if self.consistency is not None:
            self.consistency.follow(self.network, self.global_step)

    def validation_step(self, example: Example, _: int) -> None:
        """Losses on what validation revealed, at the last state that each task asks."""
        for name, mean in zip(self.tasks, self.validation_losses, strict=True):
            state, targets, inside = self._last_state(example, name)
            mean.update(self.row_losses(name, state, targets).mean(-1)[inside])  # type: ignore[operator]
            self._log(f"validation/{self._metric(name)}", mean, example)

    def _metric(self, task: str) -> str:
        return "loss" if task == self.network.reward else task

    def _log(self, name: str, value: Any, example: Example, **how: Any) -> None:
        self.log(name, value, prog_bar=name.endswith("/loss"), batch_size=len(example.weight), **how)

    def _last_state(self, example: Example, task: str) -> tuple[Tensor, Mapping[str, Tensor], Tensor]:
        """The state in which most is known that ``task`` may be asked in, its targets and which places are rows."""
        batch, asked = example.batch, self.tasks[task].states
        if "after" in asked:
            return self.network.after(batch.history), example.event_targets[task], batch.history.row >= 0
        state = self.network(batch, example.asked[task])[-1] if ABSENT in asked else self.network(batch)[1]
        return state, example.slot_targets[task], batch.slots.row >= 0

    @torch.no_grad()
    def calibrate(self, examples: Iterable[Example], *, prior_events: float) -> None:
        """Fit each head's calibration to what validation revealed, at the last state that its task asks.

        Args:
            examples: the validation window.
            prior_events: weight of "no correction", in observations.
        """
        self.eval()
        outputs: dict[str, list[dict[str, Tensor]]] = {name: [] for name in self.tasks}
        known: dict[str, list[dict[str, Tensor]]] = {name: [] for name in self.tasks}
        for example in examples:
            for name in self.tasks:
                state, targets, inside = self._last_state(example, name)
                outputs[name].append(self.network.heads[name](state[inside]))
                known[name].append({key: each[inside] for key, each in targets.items()})
        for name, head in self.network.heads.items():
            cast(Head, head).calibrate(_joined(outputs[name]), _joined(known[name]), prior_events=prior_events)

    def configure_optimizers(self) -> Any:
        """The optimizer with linear warm-up and a cosine to zero at the last step."""
        optimizer = self.optimizer(self.network.parameters())
        steps = int(self.trainer.estimated_stepping_batches)

        def rate(step: int) -> float:
            rise = min(1.0, (step + 1) / max(self.warmup_steps, 1))
            return rise * 0.5 * (1 + torch.tensor(torch.pi * min(step / max(steps, 1), 1.0)).cos().item())

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def _joined(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]} if parts else {}
