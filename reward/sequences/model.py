"""RewardModel: where network, objectives and the weights of the three states meet."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torchmetrics import MeanMetric

from reward.objectives.consistency import soft_trace_likelihood
from reward.outcomes.protocol import ABSENT, STATES
from reward.sequences.consistency import TemporalConsistency, consistent
from reward.sequences.datamodule import Example, target
from reward.sequences.network import RewardNetwork


class Task(NamedTuple):
    """A further outcome to learn from the same states.

    Attributes:
        objective: ``(**named tensors) -> (..., members)``, one loss a row; see `reward.objectives`.
        weight: of its loss, where that of the outcome that rewards are told in is 1.
        states: those that are asked for it; each of the three has its weight, and ``absent`` 1.
        sequential: whether the next state in the stream waits for the same thing, as it does for what the user does,
            and not for a return to the same item.
    """

    objective: Callable[..., Tensor]
    weight: float
    states: tuple[str, ...]
    sequential: bool


class RewardModel(LightningModule):
    """Trains a `RewardNetwork` to predict the outcome, and any others, from every state of the stream.

    Args:
        network: tokens, encoder and heads.
        objective: ``(**named tensors) -> (..., members)``, one loss a row; see `reward.objectives`.
        optimizer: makes an optimizer of the parameters.
        warmup_steps: steps over which the learning rate rises from 0.
        state_weights: weight of the loss at ``before`` (Q), ``exposed`` (E) and ``after`` (F).
        seed: draws dropout, anew each step from the seed and the step alone, so that a resumed run repeats it.
        also: a task for each of ``network.also``.
        sequential: see `Task`, of the outcome that rewards are told in.
        consistency: ``network -> TemporalConsistency``: traces and hazards of the user learn from their next states,
            too. None: from their own labels alone.

    Raises:
        ValueError: ``state_weights`` does not name the three states, or tasks and heads have other names.
        TypeError: there is nothing to be consistent.
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
        also: Mapping[str, Task] | None = None,
        sequential: bool = True,
        consistency: Callable[[RewardNetwork], TemporalConsistency] | None = None,
    ) -> None:
        super().__init__()
        if set(state_weights) != set(STATES):
            raise ValueError(f"model.state_weights expected {', '.join(STATES)}, got {', '.join(state_weights)}")
        if set(also or {}) != set(network.also):
            raise ValueError(f"also expected a task for each head, {sorted(network.also)}, got {sorted(also or {})}")
        self.network = network
        self.optimizer = optimizer
        self.warmup_steps = warmup_steps
        self.state_weights = {name: state_weights[name] for name in STATES}
        self.seed = seed
        self.tasks = {"": Task(objective, 1.0, STATES, sequential), **(also or {})}
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

    def begin(self, targets: Mapping[str, Tensor]) -> None:
        """Tell heads that ask for it what the targets of training look like.

        Args:
            targets: those of all tasks, as `StreamData` names them.
        """
        for task in self.tasks:
            begin = getattr(self._head(task), "begin", None)
            if begin is not None:
                begin(_of(task, targets))

    def on_train_batch_start(self, batch: Example, batch_idx: int) -> None:  # noqa: ARG002
        """Tie the step's randomness to the seed and the step."""
        torch.manual_seed(self.seed * 1_000_003 + self.global_step)

    def _head(self, task: str) -> Any:
        return self.network.also[task] if task else self.network.head

    def _is_consistent(self, task: str) -> bool:
        return self.tasks[task].sequential and consistent(self._head(task).outputs, self.tasks[task].objective)

    def _soft_targets(self, example: Example) -> dict[str, dict[str, tuple[Tensor, Tensor]]]:
        """By task and state the targets that come from the next states."""
        if self.consistency is None:
            return {}
        states, slow = self.consistency.states(example), self.consistency.slow
        return {
            task: self.consistency.targets(
                example,
                (slow.also[task] if task else slow.head)(states),
                _of(task, example.event_targets),
                _of(task, example.slot_targets),
            )
            for task in filter(self._is_consistent, self.tasks)
        }

    def _soft_losses(self, state: Tensor, soft: tuple[Tensor, Tensor], task: str) -> Tensor:
        (logits,) = self._head(task)(state).values()
        return soft_trace_likelihood(logits, *soft)

    def row_losses(self, state: Tensor, targets: Mapping[str, Tensor], task: str = "") -> Tensor:
        """Loss of each row by ensemble member, (windows, length, M)."""
        objective = self.tasks[task].objective
        named = {**self._head(task)(state), **_of(task, targets)}
        reads = inspect.signature(objective).parameters
        return objective(**{name: named[name] for name in reads if name in named})

    def training_step(self, example: Example, _: int) -> Tensor:
        """Sum over tasks of the rows' mean loss over the task's states and the members, each with its resample."""
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
                    else self.row_losses(state, targets, name)
                )
                mean = (losses * inside).sum() / inside.sum().clamp(min=1)
                loss = loss + self.state_weights.get(which, 1.0) * mean
            loss = loss / sum(self.state_weights.get(which, 1.0) for which in task.states)
            self._log(f"train/{name or 'loss'}", loss, example, on_step=False, on_epoch=True)
            total = total + task.weight * loss
        return total

    def on_train_batch_end(self, outputs: Any, batch: Example, batch_idx: int) -> None:  # noqa: ARG002
        """Let the slow network follow."""
        if self.consistency is not None:
            self.consistency.follow(self.network, self.global_step)

    def validation_step(self, example: Example, _: int) -> None:
        """Losses on what validation revealed, at the last state that each task asks."""
        for name, mean in zip(self.tasks, self.validation_losses, strict=True):
            state, targets, inside = self._last_state(example, name)
            mean.update(self.row_losses(state, targets, name).mean(-1)[inside])  # type: ignore[operator]
            self._log(f"validation/{name or 'loss'}", mean, example)

    def _log(self, name: str, value: Any, example: Example, **how: Any) -> None:
        self.log(name, value, prog_bar=name.endswith("/loss"), batch_size=len(example.weight), **how)

    def _last_state(self, example: Example, task: str) -> tuple[Tensor, Mapping[str, Tensor], Tensor]:
        """The state in which most is known that ``task`` may be asked in, its targets and which places are rows."""
        batch, asked = example.batch, self.tasks[task].states
        if "after" in asked:
            return self.network.after(batch.history), example.event_targets, batch.history.row >= 0
        state = self.network(batch, example.asked[task])[-1] if ABSENT in asked else self.network(batch)[1]
        return state, example.slot_targets, batch.slots.row >= 0

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
                outputs[name].append(self._head(name)(state[inside]))
                known[name].append({key: each[inside] for key, each in _of(name, targets).items()})
        for name in self.tasks:
            self._head(name).calibrate(_joined(outputs[name]), _joined(known[name]), prior_events=prior_events)

    def configure_optimizers(self) -> Any:
        """The optimizer with linear warm-up and a cosine to zero at the last step."""
        optimizer = self.optimizer(self.network.parameters())
        steps = int(self.trainer.estimated_stepping_batches)

        def rate(step: int) -> float:
            rise = min(1.0, (step + 1) / max(self.warmup_steps, 1))
            return rise * 0.5 * (1 + torch.tensor(torch.pi * min(step / max(steps, 1), 1.0)).cos().item())

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def _of(task: str, targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The targets of one task, by their own names."""
    if not task:
        return {name: each for name, each in targets.items() if "/" not in name}
    return {
        name.removeprefix(target(task, "")): each for name, each in targets.items() if name.startswith(target(task, ""))
    }


def _joined(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]} if parts else {}
