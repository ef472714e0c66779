"""Temporal consistency along the stream: a slow copy of the network that states learn from."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn

from reward.objectives.consistency import hazard_targets, trace_targets
from reward.objectives.hazard import hazard_likelihood
from reward.objectives.likelihood import trace_likelihood
from reward.sequences.datamodule import Example
from reward.sequences.network import RewardNetwork

Labels = Mapping[str, Tensor]
_TARGETS: dict[
    str, tuple[Callable[..., tuple[Tensor, Tensor]], tuple[str, str]]
] = {  # a head's logits: the soft targets they learn from, and the labels that these are made of
    "trace_logits": (trace_targets, ("trace", "observed")),
    "hazard_logits": (hazard_targets, ("time_days", "event")),
}
_LIKELIHOODS = {"trace_logits": trace_likelihood, "hazard_logits": hazard_likelihood}


def consistent(outputs: Iterable[str], objective: Callable[..., Tensor]) -> bool:
    """Whether there are soft targets for a head's logits that stand for this objective: its plain likelihood alone."""
    plain = getattr(objective, "func", objective)
    return any(plain is likelihood for logits, likelihood in _LIKELIHOODS.items() if logits in outputs)


class TemporalConsistency(nn.Module):
    """Soft targets for the states of a stream, by TD(λ) with a slow target network.

    The state after an event learns from what the slow network says of the days still ahead after the next event, and
    from what is known of those between; the states Q and E of a slot from the event that filled it. Where the next
    event lies outside the window, a row keeps its own labels. See `reward.objectives.consistency`.

    Args:
        network: what is trained; the slow network begins as it and follows it.
        lam: λ, from 0 (the next state alone) to 1 (plain likelihood).
        momentum: share of the slow network's weights that stays from one step to the next; less in the first steps.

    Source: Sutton 1988; Maystre & Russo 2022; a slow target network: Lillicrap et al. 2016.
    """

    def __init__(self, network: RewardNetwork, *, lam: float, momentum: float) -> None:
        super().__init__()
        if not 0 <= lam <= 1 or not 0 <= momentum < 1:
            raise ValueError(f"consistency expected lam in [0, 1] and momentum in [0, 1), got {lam} and {momentum}")
        self.lam, self.momentum = lam, momentum
        self.slow = copy.deepcopy(network).requires_grad_(False)

    @torch.no_grad()
    def follow(self, network: RewardNetwork, step: int) -> None:
        """Move the slow network towards ``network`` after its ``step``-th step."""
        stay = min(self.momentum, (1 + step) / (10 + step))
        for slow, fast in zip(self.slow.state_dict().values(), network.state_dict().values(), strict=True):
            if slow.is_floating_point():
                slow.lerp_(fast, 1 - stay)

    @torch.no_grad()
    def states(self, example: Example) -> Tensor:
        """The slow network's states after each event, (windows, length, ·)."""
        self.slow.eval()
        return self.slow.after(example.batch.history)

    @torch.no_grad()
    def targets(
        self, example: Example, slow: Mapping[str, Tensor], labels: Labels, slot_labels: Labels
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """Targets and weights of each of the three states, by its name.

        Args:
            example: a batch; its rows and days are read, and not its targets.
            slow: what the slow network's head says from `states`.
            labels: targets of the events, (windows, length), by their own names.
            slot_labels: those of the slots, (windows, slots).

        Returns:
            ``target`` and ``weight``, (windows, places, M or 1, H) each, of ``after`` for the batch's events, and of
            ``before`` and ``exposed`` for its slots.
        """
        (name,) = slow.keys() & _TARGETS.keys()
        soft, reads = _TARGETS[name]
        logits, known, own = slow[name], *([each[label] for label in reads] for each in (labels, slot_labels))
        row, day = example.batch.history.row, example.day
        follows = (row[:, 1:] >= 0) & (row[:, :-1] >= 0)
        gap = torch.full_like(row, logits.shape[-1])
        gap[:, :-1] = (day[:, 1:] - day[:, :-1]).where(follows, gap[:, :-1])
        after = soft(*known, logits, gap, lam=self.lam)
        filled = soft(*known, logits, gap, lam=self.lam, before=True)
        # a slot takes those of the event that filled it, which is the window's own but for some at its edges
        asked = example.batch.slots.row
        first = (row >= 0).long().argmax(1, keepdim=True)
        place = (asked - row.gather(1, first) + first).clamp(0, row.shape[1] - 1)
        inside = row.gather(1, place) == asked
        plain = soft(*own, torch.zeros_like(_at(logits, place)), torch.full_like(asked, logits.shape[-1]), lam=1.0)
        target, weight = (
            _at(part, place).where(inside[..., None, None], alone) for part, alone in zip(filled, plain, strict=True)
        )
        return {"after": after, "before": (target, weight), "exposed": (target, weight)}


def _at(values: Tensor, place: Tensor) -> Tensor:
    """Values (windows, length, ...) at places (windows, slots)."""
    return values[torch.arange(len(place), device=place.device).unsqueeze(1), place]
