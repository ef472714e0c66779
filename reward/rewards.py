"""The exposure term: this item rather than whatever the logging policy would have put there."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from reward.moved import find_names_of_before

find_names_of_before(__name__)


class Rewards(NamedTuple):
    """Rewards in the outcome's unit and their standard deviations over the ensemble, of one shape."""

    mean: Tensor
    std: Tensor

    def pessimistic(self, kappa: float) -> Tensor:
        """Mean − κ · std: what is left of a reward when doubt is held against it."""
        return self.mean - kappa * self.std


def exposure_rewards(blank: Tensor, filled: Tensor) -> Rewards:
    """V(E) − V(Q), its mean and standard deviation over the ensemble.

    A difference of predictions, not yet a causal effect: what the model expects of users who were shown this item,
    against users in the same state who were shown anything.

    Args:
        blank: (..., M) values of the slot left blank, by member.
        filled: (..., M) values of the slot with the item in it.

    Returns:
        Rewards of shape (...); std is 0 for an ensemble of one.
    """
    difference = filled - blank
    return Rewards(difference.mean(-1), difference.std(-1, correction=0))
