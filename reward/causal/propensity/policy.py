"""The choice of a policy: a conditional logit over what could be shown."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from reward.causal.propensity.candidates import Chunk


def choice_log_likelihood(shown: Tensor, others: Tensor) -> Tensor:
    """Log-probability of each item of a slate drawn without replacement from e^score.

    Args:
        shown: (n, size) scores of the items shown, from the top; −inf at places that do not exist.
        others: (n,) log of the sum of e^score over the live items that the slate does not show.

    Returns:
        (n, size) log e^{s_j} / (Σ_{i ≥ j} e^{s_i} + e^{others}); 0 at places that do not exist.

    >>> scores = torch.tensor([[0.0, 0.0]])
    >>> choice_log_likelihood(scores, torch.tensor([0.0])).exp()  # of three equal items, then of two
    tensor([[0.3333, 0.5000]])
    """
    below = torch.logcumsumexp(shown.flip(-1), -1).flip(-1)
    return torch.where(shown.isneginf(), 0.0, shown - torch.logaddexp(below, others[:, None]))


@dataclass(frozen=True)
class Policy:
    """A conditional logit: scores of items are bilinear in what is known of the slot."""

    theta: Tensor  # (items, K), float64 as all of them
    weights: Tensor  # (memories · F, F)
    traits: Tensor  # (items, F)


@dataclass(frozen=True)
class _Choice:
    """What a policy makes of a chunk, slots summed over a slate."""

    log_p: Tensor  # (n, size) of what was shown; 0 where nothing
    shown: Tensor  # (n, size) expected times that a shown item is chosen down to its own place
    others: Tensor  # (n, m) expected times of each candidate that the slate does not show, by its weight


def choice_of(policy: Policy, chunk: Chunk) -> _Choice:
    """Log-probabilities of what was shown, and of all that could have been."""
    query = torch.cat([chunk.state, chunk.liking @ policy.weights], 1)
    key = torch.cat([policy.theta[chunk.candidates], policy.traits[chunk.candidates]], 1)
    score = query @ key.T  # (n, m)
    real = chunk.items >= 0
    shown = torch.where(real, _of_shown(policy, chunk, query, score), -torch.inf)
    top = torch.maximum(score.amax(1), shown.amax(1))
    raw = score.sub_(top[:, None]).exp_()
    row, column = torch.nonzero(chunk.place >= 0, as_tuple=True)
    raw[row, chunk.place[row, column]] = 0
    if (chunk.weight != 1).any():
        raw *= chunk.weight
    rest = raw.sum(1)
    log_p = choice_log_likelihood(shown - top[:, None], rest.clamp(min=1e-30).log())
    # 1 / what is left to choose from at each place
    per_place = torch.where(real, (log_p - (shown - top[:, None])).exp(), 0.0)
    expected = torch.where(real, (shown - top[:, None]).exp() * per_place.cumsum(1), 0.0)
    return _Choice(log_p, expected, raw.mul_(per_place.sum(1, keepdim=True)))


def _of_shown(policy: Policy, chunk: Chunk, query: Tensor, score: Tensor) -> Tensor:
    """(n, size) scores of the items shown; any number where there is none."""
    if not ((chunk.items >= 0) & (chunk.place < 0)).any():
        return score.gather(1, chunk.place.clamp(min=0))
    safe = chunk.items.clamp(min=0)
    mine = torch.cat([policy.theta[safe], policy.traits[safe]], -1)  # (n, size, K + F)
    return (mine @ query[:, :, None]).squeeze(-1)
