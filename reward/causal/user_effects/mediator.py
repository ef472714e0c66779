"""The model of the gate: how likely a user is to take up an item that is shown, by logistic regression."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from reward.arrays import Doubles
from reward.causal.user_effects.exposed import ExposedUsers
from reward.causal.user_effects.features import gate_columns
from reward.causal.user_effects.replay import Replay
from reward.statistics.gathered import Gathered
from reward.statistics.random import uniforms

_NEWTON_STEPS = 12
_LEAST_STEP = 1e-8  # of a coefficient, after which no other step is made
_HIDDEN = 1e-9  # of the loss: a step that gains less is so small that it is right, and rounding may hide what it gains


@dataclass(frozen=True)
class MediatorFit:
    """Coefficients of the gate's logit, from a share of a log's exposures, whose rows are kept.

    Attributes:
        replay: reads the past.
        share: of the exposures, about, that are drawn.
        seed: of the stream of random numbers that draws them; each exposure has its place in it.
    """

    replay: Replay
    share: float
    seed: tuple[int, ...]

    def partial(self, users: ExposedUsers) -> Gathered[tuple[Tensor, Tensor]]:
        """(m, columns) of the exposures drawn, and (m,) 1 where they opened the gate."""
        some = np.flatnonzero(uniforms(self.seed, users.first, len(users)) < self.share)
        user, item, slate = users.events.user[some] - users.first_user, users.events.item[some], users.slate[some]
        history, facts = self.replay.history(users), self.replay.facts.of(torch.from_numpy(item))
        seen = history.seen(user, item, facts.group.numpy(), slate)
        columns = gate_columns(history.person(user, slate), facts, *seen, self.replay.widths)
        opened = users.events.answer[some, 0] + self.replay.answers.mean[item, 0]
        return Gathered.of(users.first, (columns, torch.from_numpy(opened)))

    def solve(self, state: Gathered[tuple[Tensor, Tensor]]) -> Doubles:
        """(columns,) coefficients."""
        columns, opened = map(torch.cat, zip(*state.in_order, strict=True))
        return logistic(columns, opened)


def logistic(columns: Tensor, opened: Tensor) -> Doubles:
    """(p,) coefficients of a logistic regression by Newton's method, with a penalty of one row.

    Args:
        columns: (n, p).
        opened: (n,) in [0, 1].
    """
    out = columns.new_zeros(columns.shape[1])
    eye = torch.eye(len(out), dtype=columns.dtype)

    def loss(at: Tensor) -> float:
        score = columns @ at
        return float((torch.nn.functional.softplus(score) - opened * score).sum() + at @ at / 2)

    lost = loss(out)
    for _ in range(_NEWTON_STEPS):
        chance = torch.sigmoid(columns @ out)
        weight = (chance * (1 - chance)).unsqueeze(1)
        slope = columns.T @ (opened - chance) - out
        step = torch.linalg.solve(columns.T @ (weight * columns) + eye, slope)
        small = float(slope @ step) / 2 <= _HIDDEN * lost
        now = loss(out + step)
        while not (small or now <= lost) and float(step.abs().max()) >= _LEAST_STEP:
            step = step / 2  # a step that trusts the curvature of where it begins may go too far
            now = loss(out + step)
        if not (small or now <= lost):
            break
        out, lost = out + step, now
        if float(step.abs().max()) < _LEAST_STEP:
            break
    return out.numpy()
