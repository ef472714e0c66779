"""Losses that train a ranker's scores on rewards: plain functions ``loss(scores, rewards, *, mask=None)``.

One convention holds for all. ``scores``, ``rewards`` and ``mask`` share one shape ``(..., items)``, and the
result has the shape ``(...)``: one number per list, never reduced over the batch, in the dtype of
``scores`` (worked out in at least float32). ``mask`` is True where an item takes part; what stands
elsewhere, NaN included, reaches neither value nor gradient. Rewards are constants: no gradient flows into
them. Only their differences within a list count, and a list without any (all masked, one item, all tied)
gives exactly 0 with a zero gradient. The default of an option leaves it out. A score of -inf is as low as
a score can be, and ties with others like it: value and gradient stay finite, and its own gradient is 0.
Values are not inspected, which would make a GPU wait: a score of NaN or +inf, or a NaN or infinite reward,
that takes part makes the loss of its own list NaN.
"""

from __future__ import annotations

import torch
from torch.nn.functional import log_softmax, logsigmoid


def softmax(scores: torch.Tensor, rewards: torch.Tensor, *, mask: torch.Tensor | None = None) -> torch.Tensor:
    """Cross-entropy between the items' shares of the list's gains and the softmax of the scores.

    ``loss = -Σ_i g_i log softmax(s)_i``, with the gains ``g_i = (r_i - min r) / Σ_j (r_j - min r)``.

    Counted from the list's worst item, rewards of any sign and unit make shares. At the minimum a score is,
    up to one constant per list, the logarithm of its gain.

    Args:
        scores: (..., items), floating; the ranker's scores, in nats.
        rewards: (..., items); in the outcome's unit, of any sign.
        mask: (..., items), bool; True where an item takes part. None: all do.

    Returns:
        (...), the dtype of ``scores``; nats per list.

    Raises:
        ValueError: if shapes differ, lists have no items, ``scores`` is not floating or ``mask`` is not bool.

    Source:
        Bruch, "An Analysis of the Softmax Cross Entropy Loss for Learning-to-Rank with Binary Relevance"
        (ICTIR 2019): ListNet's cross-entropy with the labels' shares as target; here the labels are gains.

    Example:
        The softmax is (1/4, 1/4, 1/2), the gains are (0, 1/3, 2/3): log(4) / 3 + 2 log(2) / 3 = 4 log(2) / 3.

        >>> scores = torch.tensor([[1.0, 1.0, 2.0]]).log()
        >>> softmax(scores, torch.tensor([[-0.1, 0.0, 0.1]]))
        tensor([0.9242])

    """
    s, r, valid = _taking_part(scores, rewards, mask)
    log_share = log_softmax(s.masked_fill(~valid, torch.finfo(s.dtype).min), dim=-1)
    return -(_shares(_above_worst(r, valid)) * log_share).sum(-1).to(scores.dtype)


def pairwise_logistic(
    scores: torch.Tensor, rewards: torch.Tensor, *, mask: torch.Tensor | None = None, margin: float = 0.0
) -> torch.Tensor:
    """Logistic loss of ordering the list's pairs as their rewards do, each weighted by its reward difference.

    ``loss = Σ_{r_i > r_j} w_ij softplus(margin (r_i - r_j) - (s_i - s_j))``,
    with the weights ``w_ij = (r_i - r_j) / Σ_{r_k > r_l} (r_k - r_l)``.

    The weight is what the pair is worth: the wrong order costs ``r_i - r_j`` of the outcome. Without it, a
    difference far below the rewards' own error would count as much as the largest, and the loss would jump
    where rounding breaks a tie. With it, the loss is continuous in the rewards, and at margin 0 the share of
    all reward differences that the scores put in the wrong order is at most ``loss / log(2)``. Memory grows
    with the square of the items.

    Args:
        scores: (..., items), floating; the ranker's scores, in nats (differences are log-odds of an order).
        rewards: (..., items); in the outcome's unit, of any sign.
        mask: (..., items), bool; True where an item takes part. None: all do.
        margin: lead asked of the better item, in score per unit of reward. 0 asks for none.

    Returns:
        (...), the dtype of ``scores``; nats per list.

    Raises:
        ValueError: if shapes differ, lists have no items, ``scores`` is not floating or ``mask`` is not bool.

    Source:
        Burges et al., "Learning to Rank using Gradient Descent" (ICML 2005), eq. 3 with target probability 1;
        the margin as in Touvron et al., "Llama 2" (2023), eq. 2, here proportional to the reward difference.

    Example:
        The pairs differ by .1, .3 and .2 in reward, and the better item leads by -log(3), 0 and log(3):
        (log(4) + 3 log(2) + 2 log(4/3)) / 6.

        >>> scores = torch.tensor([[1.0, 3.0, 1.0]]).log()
        >>> pairwise_logistic(scores, torch.tensor([[0.3, 0.2, 0.0]]))
        tensor([0.6735])

    """
    s, r, valid = _taking_part(scores, rewards, mask)
    lead = s.unsqueeze(-1) - s.unsqueeze(-2)  # (..., i, j): of item i over item j
    gap = r.unsqueeze(-1) - r.unsqueeze(-2)
    pairs = valid.unsqueeze(-1) & valid.unsqueeze(-2)
    shares = _shares(gap.clamp(min=0).masked_fill(~pairs, 0).flatten(-2))
    return -(shares * logsigmoid(lead - margin * gap).flatten(-2)).sum(-1).to(scores.dtype)


def pointwise_logistic(
    scores: torch.Tensor,
    rewards: torch.Tensor,
    *,
    mask: torch.Tensor | None = None,
    baseline: torch.Tensor | float | None = None,
) -> torch.Tensor:
    """Logistic loss of telling items above the baseline from items below, weighted by their distance to it.

    ``loss = Σ_i w_i softplus(-sign(a_i) s_i)``,
    with the advantages ``a_i = r_i - baseline`` and the weights ``w_i = |a_i| / Σ_j |a_j|``.

    Args:
        scores: (..., items), floating; the ranker's scores, in nats (log-odds of being above the baseline).
        rewards: (..., items); in the outcome's unit, of any sign.
        mask: (..., items), bool; True where an item takes part. None: all do.
        baseline: one number, or (...) one per list, in the unit of ``rewards``. None: the list's mean reward.
            A given baseline is a level of its own: tied rewards then give 0 only if they are equal to it.

    Returns:
        (...), the dtype of ``scores``; nats per list.

    Raises:
        ValueError: if shapes differ, lists have no items, ``scores`` is not floating, ``mask`` is not bool or
            ``baseline`` is neither one number nor one per list.

    Source:
        Zadrozny, Langford and Abe, "Cost-Sensitive Learning by Cost-Proportionate Example Weighting" (ICDM
        2003), theorem 2.1; the cost of an item on the wrong side is its distance to the baseline.

    Example:
        The advantages are (.1, -.2, .1), the weights (1/4, 1/2, 1/4): log(4/3) / 4 + log(2) / 2 + log(2) / 4.

        >>> scores = torch.tensor([[3.0, 1.0, 1.0]]).log()
        >>> pointwise_logistic(scores, torch.tensor([[0.6, 0.3, 0.6]]))
        tensor([0.5918])

    """
    s, r, valid = _taking_part(scores, rewards, mask)
    if baseline is None:
        above = _above_worst(r, valid)  # exactly 0 for ties, and so is its mean; a mean of rewards is rounded
        advantage = above - above.sum(-1, keepdim=True) / valid.sum(-1, keepdim=True)
    else:
        level = torch.as_tensor(baseline, dtype=r.dtype, device=r.device).detach()
        if level.ndim and level.shape != r.shape[:-1]:
            expected, got = tuple(r.shape[:-1]), tuple(level.shape)
            raise ValueError(f"baseline: expected one number or one per list, {expected}, got {got}")
        advantage = r - level.unsqueeze(-1)
    advantage = advantage.masked_fill(~valid, 0)
    return -(_shares(advantage.abs()) * logsigmoid(advantage.sign() * s)).sum(-1).to(scores.dtype)


def _taking_part(
    scores: torch.Tensor, rewards: torch.Tensor, mask: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Check a loss's arguments; scores and constant rewards, 0 where masked and at least float32, and the mask."""
    shape = tuple(scores.shape)
    if not shape or shape[-1] == 0:
        raise ValueError(f"scores: expected shape (..., items) with at least one item, got {shape}")
    if not scores.is_floating_point():
        raise ValueError(f"scores: expected a floating dtype, got {scores.dtype}; pass scores.float()")
    if rewards.shape != scores.shape:
        raise ValueError(f"rewards: expected the shape of scores, {shape}, got {tuple(rewards.shape)}")
    if mask is None:
        mask = torch.ones_like(scores, dtype=torch.bool)
    if mask.shape != scores.shape:
        raise ValueError(f"mask: expected the shape of scores, {shape}, got {tuple(mask.shape)}")
    if mask.dtype != torch.bool:
        raise ValueError(f"mask: expected torch.bool (True takes part), got {mask.dtype}; pass mask.bool()")
    dtype = torch.promote_types(torch.promote_types(scores.dtype, rewards.dtype), torch.float32)
    lowest = torch.finfo(dtype).min / 4  # in the place of -inf: a difference of two such scores is 0, and no NaN
    return (
        scores.to(dtype).masked_fill(~mask, 0).clamp(min=lowest),
        rewards.detach().to(dtype).masked_fill(~mask, 0),
        mask,
    )


def _above_worst(rewards: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Distance of each reward to the least that takes part: exactly 0 for ties and where masked."""
    worst = rewards.masked_fill(~valid, torch.inf).amin(-1, keepdim=True)
    return (rewards - worst).masked_fill(~valid, 0)


def _shares(weights: torch.Tensor) -> torch.Tensor:
    """Weights, none below 0, as shares of their sum over the last dimension; all 0 where that sum is."""
    total = weights.sum(-1, keepdim=True)
    return weights / total.masked_fill(total == 0, 1)
