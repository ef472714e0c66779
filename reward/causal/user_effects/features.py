"""What the effect on one user is made of: columns of the gate and of the effect behind it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reward.arrays import Doubles, Ints
from reward.causal.user_effects.preferences import Taste
from reward.causal.user_effects.user_state import NEW_CODES, ItemState, UserHistory, UserProfile, middle

_FRESH_DAYS = (3.0, 10.0)
_MIX = np.uint64(0x9E3779B97F4A7C15)  # Knuth's multiplicative hash, 2^64 over the golden ratio


def hashed(ids: NDArray[Any]) -> Ints:
    """(n,) numbers below `NEW_CODES` that depend on the ids alone."""
    if ids.dtype == object:
        length = np.fromiter(map(len, ids), np.int64, len(ids))
        letters = np.frombuffer("".join(ids).encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)
        end = np.cumsum(length)
        place = np.arange(1, len(letters) + 1) - np.repeat(end - length, length)
        total = np.append(np.uint64(0), np.cumsum((letters + np.uint64(1)) * _MIX ** place.astype(np.uint64)))
        number = total[end] - total[end - length]  # exact: sums are modulo 2^64
    else:
        number = ids.astype(np.uint64)
    return ((number * _MIX) >> np.uint64(64 - NEW_CODES.bit_length() + 1)).astype(np.int64)


def taste_vectors(traits: Doubles, tastes: Sequence[Taste]) -> Doubles:
    """(items, t) places of items in the directions of taste, feedback by feedback."""
    return np.concatenate([np.zeros((len(traits), 0)), *(traits @ taste.axes for taste in tastes)], axis=1)


def seen(past: UserHistory, user: Ints, time: Doubles, code: Tensor, group: Tensor) -> tuple[Tensor, Tensor]:
    """`UserHistory.seen` of candidates of m slots, (m, candidates) each."""
    each = code.shape[1]
    found = past.seen(np.repeat(user, each), code.flatten().numpy(), group.flatten().numpy(), np.repeat(time, each))
    return found[0].unflatten(0, code.shape), found[1].unflatten(0, code.shape)


def how_often(own: Tensor) -> Tensor:
    """(...) how often the item was shown, remembered over the middle span, as log(1 + x)."""
    return own[..., middle(own.shape[-1])].log1p()


def by_feedback(values: Tensor, widths: Sequence[int]) -> Tensor:
    """(..., feedback) sums over the directions of each feedback that has any."""
    parts = [part.sum(-1) for part in values.split(list(widths), dim=-1) if part.shape[-1]]
    return torch.stack(parts, dim=-1) if parts else values.new_zeros(*values.shape[:-1], 0)


def _likeness(person: UserProfile, facts: ItemState, widths: Sequence[int]) -> Tensor:
    if facts.taste.ndim == 3 and len(facts.taste) == 1:  # the same items for all: (n, candidates) in one product
        parts = zip(
            person.taste.squeeze(1).split(list(widths), -1), facts.taste[0].split(list(widths), -1), strict=True
        )
        found = [taste @ items.T for taste, items in parts if taste.shape[-1]]
        return torch.stack(found, -1) if found else person.taste.new_zeros(len(person.taste), facts.taste.shape[1], 0)
    return by_feedback(person.taste * facts.taste, widths)


def stacked(parts: Sequence[Tensor]) -> Tensor:
    """(..., columns) of parts that broadcast to (...)."""
    return torch.stack(torch.broadcast_tensors(*parts), dim=-1)


def weighed(parts: Sequence[Tensor], weights: Tensor) -> Tensor:
    """(...) their sum, each times its weight: without the columns of `stacked`."""
    total = parts[0] * weights[0]
    for part, weight in zip(parts[1:], weights[1:], strict=True):
        total = total + part * weight
    return total


def _gate_parts(
    person: UserProfile, facts: ItemState, own: Tensor, group: Tensor, widths: Sequence[int]
) -> list[Tensor]:
    """The columns of the gate's logit, each of which broadcasts to (...)."""
    age = (person.day - facts.first).clamp_min(0)
    return [
        torch.ones_like(facts.gate),
        facts.gate,
        *own.log1p().unbind(-1),
        own[..., middle(own.shape[-1])],
        group.log1p(),
        *(torch.exp(-age / span) for span in _FRESH_DAYS),
        person.rate,
        person.shown.log1p(),
        *_likeness(person, facts, widths).unbind(-1),
    ]


def gate_columns(person: UserProfile, facts: ItemState, own: Tensor, group: Tensor, widths: Sequence[int]) -> Tensor:
    """(..., columns) of the gate's logit."""
    return stacked(_gate_parts(person, facts, own, group, widths))


def share_of_effect(
    gate: Tensor,
    unopened: float,
    person: UserProfile,
    facts: ItemState,
    own: Tensor,
    group: Tensor,
    widths: Sequence[int],
) -> Tensor:
    """(...) how much of its effect behind the gate an exposure is expected to have; 1 where there is no gate.

    The probability that the gate opens, and of the rest the share ``unopened``.
    """
    if not len(gate):
        return torch.ones_like(group)
    opened = torch.sigmoid(weighed(_gate_parts(person, facts, own, group, widths), gate))
    return unopened + (1 - unopened) * opened if unopened else opened


def effect_columns(person: UserProfile, facts: ItemState, own: Tensor, group: Tensor, widths: Sequence[int]) -> Tensor:
    """(..., columns) of the effect behind the gate."""
    return stacked(effect_parts(person, facts, own, group, widths))


def effect_parts(
    person: UserProfile, facts: ItemState, own: Tensor, group: Tensor, widths: Sequence[int]
) -> list[Tensor]:
    """The columns of the effect behind the gate: 1, the item's own and it again where user and item have met."""
    often, kin = how_often(own), group.log1p()
    likeness = _likeness(person, facts, widths)
    return [
        torch.ones_like(often),
        facts.behind,
        facts.behind * often,
        facts.behind * kin,
        often,
        *likeness.unbind(-1),
        *(likeness * often.unsqueeze(-1)).unbind(-1),
    ]


def net_inputs(person: UserProfile, facts: ItemState, own: Tensor, group: Tensor, widths: Sequence[int]) -> Tensor:
    """(..., inputs) of a net: all that the gate and the linear part read, and likeness direction by direction."""
    gate = gate_columns(person, facts, own, group, widths)
    liked = person.taste * facts.taste
    behind = facts.behind.unsqueeze(-1)
    shape = gate.shape[:-1]
    return torch.cat([gate, behind.expand(*shape, 1), liked.expand(*shape, liked.shape[-1])], dim=-1)


def with_learnt(columns: Tensor, learnt: Tensor) -> Tensor:
    """(..., p) and (...) → (..., p + 1)."""
    return torch.cat([columns, learnt.unsqueeze(-1)], dim=-1)
