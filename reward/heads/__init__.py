"""Heads: a state in, the parameters of a predicted outcome and its expected value out."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Head(Protocol):
    """What the network and the scoring function ask of a head.

    Attributes:
        outputs: names of the tensors a call returns.
        members: M, size of the ensemble.
        horizon_days: H.
    """

    outputs: tuple[str, ...]
    members: int
    horizon_days: int

    def __call__(self, state: Tensor) -> dict[str, Tensor]: ...

    def value(self, state: Tensor) -> Tensor: ...

    def probabilities(self, state: Tensor) -> Tensor: ...

    def calibrate(self, logits: Tensor, trace: Tensor, observed: Tensor, *, prior_events: float) -> None: ...
