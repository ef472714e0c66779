"""The published nuisances: small networks, fitted for many simulations at once.

What scikit-learn's MLPRegressor and MLPClassifier do with three hidden layers of ten and their defaults: rectified
units, Glorot's uniform start, Adam at .001 on shuffled batches of 200, a penalty of .0001, at most 200 passes, and a
stop once the loss has not come down by .0001 for ten passes. Networks of different simulations share nothing but the
matrix products.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

HIDDEN, RATE, BATCH, PENALTY, PASSES, TOLERANCE, PATIENCE = (10, 10, 10), 1e-3, 200, 1e-4, 200, 1e-4, 10
BETAS, TINY = (0.9, 0.999), 1e-8
AT_ONCE = 100


def fitted(features: np.ndarray, target: np.ndarray, asked: list[np.ndarray], *, classes: int, seed: int) -> list:
    """Fit a network a simulation, and ask each.

    Args:
        features: (simulations, n, p).
        target: (simulations, n); numbers, or codes of classes.
        asked: arrays (simulations, m, p).
        classes: 0 to regress; else probabilities of so many classes are told.
        seed: of starts and batches.

    Returns:
        For each of ``asked`` (simulations, m), or (simulations, m, classes).
    """
    parts = [
        _fitted(
            torch.from_numpy(features[start : start + AT_ONCE]).float(),
            torch.from_numpy(target[start : start + AT_ONCE]),
            [torch.from_numpy(each[start : start + AT_ONCE]).float() for each in asked],
            classes,
            torch.Generator().manual_seed(seed + start),
        )
        for start in range(0, len(features), AT_ONCE)
    ]
    return [torch.cat(part).double().numpy() for part in zip(*parts, strict=True)]


def _fitted(x: Tensor, y: Tensor, asked: list[Tensor], classes: int, draws: torch.Generator) -> list[Tensor]:
    networks, rows, size = x.shape
    y = y.long() if classes else y.float()
    sizes = list(zip((size, *HIDDEN), (*HIDDEN, max(classes, 1)), strict=True))
    shapes = [shape for before, after in sizes for shape in ((before, after), (1, after))]
    reach = torch.cat([torch.full((b * a,), (6 / sum(of)) ** 0.5) for of in sizes for b, a in (of, (1, of[1]))])
    flat = (2 * torch.rand(networks, len(reach), generator=draws) - 1) * reach
    pieces = flat.split([b * a for b, a in shapes], dim=1)
    parameters = [piece.view(networks, *shape).requires_grad_() for piece, shape in zip(pieces, shapes, strict=True)]
    first, second, step = torch.zeros_like(flat), torch.zeros_like(flat), 0
    best, patience = torch.full((networks,), torch.inf), torch.zeros(networks)
    alive = torch.ones(networks, dtype=torch.bool)
    for _ in range(PASSES):
        order = torch.randperm(rows, generator=draws)  # one for all: they share no rows
        shuffled = x[:, order], y[:, order]
        total = torch.zeros(networks)
        for start in range(0, rows, BATCH):
            xs, ys = (part[:, start : start + BATCH] for part in shuffled)
            size = xs.shape[1]
            loss = _loss(_outputs(xs, parameters), ys, classes)
            loss = loss + PENALTY / 2 / size * sum((weight**2).sum(dim=(1, 2)) for weight in parameters[::2])
            parts = torch.autograd.grad(loss.sum(), parameters)
            gradient = torch.cat([part.view(networks, -1) for part in parts], dim=1)
            total += size * loss.detach()
            step += 1
            rate = RATE * (1 - BETAS[1] ** step) ** 0.5 / (1 - BETAS[0] ** step)
            first.lerp_(gradient, 1 - BETAS[0])
            second.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
            flat.addcdiv_(first * (-rate * alive[:, None]), second.sqrt().add_(TINY))
        mean = total / rows
        patience = torch.where(mean > best - TOLERANCE, patience + 1, 0.0)
        best = torch.minimum(best, mean)
        alive &= patience <= PATIENCE
        if not alive.any():
            break
    with torch.no_grad():
        told = [_outputs(each, parameters) for each in asked]
        return [each.softmax(dim=2) if classes else each[..., 0] for each in told]


def _outputs(x: Tensor, parameters: list[Tensor]) -> Tensor:
    for place in range(0, len(parameters), 2):
        x = torch.baddbmm(parameters[place + 1], x, parameters[place])
        if place < len(parameters) - 2:
            x = x.relu()
    return x


def _loss(outputs: Tensor, y: Tensor, classes: int) -> Tensor:
    """(networks,), over the rows of a batch."""
    if classes:
        told = functional.cross_entropy(outputs.flatten(0, 1), y.flatten(), reduction="none")
        return told.view(y.shape).mean(dim=1)
    return ((outputs[..., 0] - y) ** 2).mean(dim=1) / 2
