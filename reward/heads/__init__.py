"""Heads: a state in, the parameters of a predicted outcome and its expected value out.

A state has D numbers from the encoder and, where the main head has ``from_activity``, H logits of the days ahead from
past activity after them; any other head reads the first D alone. A head whose numbers depend on the scale of what it
predicts also has ``begin(targets)``, which training calls once with the targets of all its rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor


class Head(Protocol):
    """What the network and the scoring function ask of any head.

    Attributes:
        outputs: names of the tensors a call returns.
        members: M, size of the ensemble.
    """

    members: int

    @property
    def outputs(self) -> tuple[str, ...]: ...

    def __call__(self, state: Tensor) -> dict[str, Tensor]: ...

    def value(self, state: Tensor) -> Tensor: ...

    def expected(self, state: Tensor) -> Tensor: ...

    def distribution(self, state: Tensor) -> tuple[Tensor, Tensor]: ...

    def calibrate(
        self, outputs: Mapping[str, Tensor], targets: Mapping[str, Tensor], *, prior_events: float
    ) -> None: ...


class DailyHead(Head, Protocol):
    """What they ask of the head that rewards are told by: a probability for each day of the horizon.

    Attributes:
        horizon_days: H.
    """

    horizon_days: int

    def probabilities(self, state: Tensor) -> Tensor: ...

    def after_silence(self, chance: Tensor, days: Tensor) -> Tensor: ...


class CorrectingHead(DailyHead, Protocol):
    """One with ``from_activity``: it corrects the logits of past activity, which the state has after its first numbers.

    Attributes:
        width: D, how many these are.
        ensemble: logits (..., M, H) of states, before they are corrected.
        correction: () the share of the correction that is kept.
    """

    width: int
    correction: Tensor

    def ensemble(self, state: Tensor) -> Tensor: ...
