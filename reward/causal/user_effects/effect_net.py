"""A learned effect: a small network of where user and item stand, fitted by the same contrasts as the linear part."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from reward.arrays import Doubles

_FURTHEST = 5.0  # standard deviations from the mean at which an input stops to count
_CHECKS = 2  # looks at the users kept apart in a pass
_AT_ONCE = 200_000

Layers = tuple[tuple[Tensor, Tensor], ...]


class Exposures(NamedTuple):
    """n exposures of a log, each with A alternatives that could have been shown.

    Attributes:
        inputs: (n, 1 + A, inputs) of the item shown and of its alternatives, float32.
        opened: (n, 1 + A) probability that the gate opens, float32.
        value: (n, folds + 1) effect of the day beyond what the linear part foretells, in days; the linear part of each
            column is made without that fold's users, that of the last with all.
        weight: (n,) float32.
        fold: (n,) cross-fitting fold of the user.
    """

    inputs: Tensor
    opened: Tensor
    value: Tensor
    weight: Tensor
    fold: Tensor


class _Layer(nn.Module):
    """Weights and biases that do not train."""

    weight: Tensor
    bias: Tensor

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)


class EffectNet(nn.Module):
    """An effect behind the gate, in days, as a network of where the user and the item stand.

    Args:
        centre: (inputs,) means.
        width: (inputs,) standard deviations; 1 for an input that does not vary.
        layers: (out, in) weights and (out,) biases of each; SiLU between them; the last has one output.
    """

    centre: Tensor
    width: Tensor

    def __init__(
        self, centre: Doubles | Tensor, width: Doubles | Tensor, layers: Sequence[tuple[Doubles | Tensor, ...]]
    ) -> None:
        super().__init__()
        self.register_buffer("centre", doubles(centre))
        self.register_buffer("width", doubles(width))
        self.stack = nn.ModuleList(_Layer(doubles(weight), doubles(bias)) for weight, bias in layers)

    @property
    def layers(self) -> Layers:
        """Weights and biases of each layer."""
        return tuple((layer.weight, layer.bias) for layer in self.stack)  # type: ignore[misc]

    def forward(self, inputs: Tensor) -> Tensor:
        """(..., inputs) → (...) days."""
        layers = tuple((weight.to(inputs), bias.to(inputs)) for weight, bias in self.layers)
        return _through(_standardised(inputs, self.centre.to(inputs), self.width.to(inputs)), layers)


def doubles(values: Doubles | Tensor) -> Tensor:
    """The same values in double precision."""
    return torch.as_tensor(values, dtype=torch.float64)


def by_fold(nets: Sequence[EffectNet], inputs: Tensor, fold: Tensor) -> Tensor:
    """(n, inputs) and (n,) → (n,) days, each row's from the net of its fold."""
    out = inputs.new_zeros(len(inputs))
    for place, net in enumerate(nets):
        rows = fold == place
        out[rows] = net(inputs[rows])
    return out


def contrast_loss(effect: Tensor, value: Tensor, weight: Tensor) -> Tensor:
    """The loss w (z² / (2 (1 + 1/A)) − z v), with z the effect of the item shown less the mean of its A alternatives.

    Where weights make what is shown a draw like its alternatives, z² is on average (1 + 1/A) times the variance of the
    effect in its slot. So for effects linear in columns the loss is least at the coefficients that solve the moments of
    `g_estimates`, and for any effect at the true one.

    Args:
        effect: (n, 1 + A) of the item shown and of its alternatives, days.
        value: (n,) effect of the day, days.
        weight: (n,).

    Returns:
        (n,), days².

    Source:
        Nie & Wager, "Quasi-oracle estimation of heterogeneous treatment effects" (Biometrika 2021), equation 4.

    >>> contrast_loss(torch.tensor([[3.0, 1.0]]), torch.tensor([1.0]), torch.tensor([3.0]))  # z = 2, A = 1
    tensor([-3.])
    """
    beyond = effect[:, 0] - effect[:, 1:].mean(1)
    return weight * (beyond**2 / (2 * (1 + 1 / (effect.shape[1] - 1))) - beyond * value)


def fit_effect_nets(
    exposures: Exposures,
    *,
    hidden: Sequence[int],
    passes: int,
    batch_rows: int,
    learning_rate: float,
    weight_decay: float,
    seed: int,
) -> tuple[EffectNet, ...]:
    """For each fold a net fitted without its users, and last one fitted to all.

    A net begins as 0 everywhere and is kept as it was when users that it does not learn from, those of the next fold,
    were foretold best: as 0 where they never were foretold better.

    Args:
        exposures: of a log; at least 3 folds.
        hidden: units of each hidden layer.
        passes: over the exposures.
        batch_rows: exposures in a step.
        learning_rate: of AdamW.
        weight_decay: the same.
        seed: draws first weights and the order.

    Raises:
        ValueError: fewer than 3 folds.
    """
    folds = exposures.value.shape[1] - 1
    if folds < 3:
        raise ValueError(
            f"a net expected at least 3 folds (one to foretell, one to stop by, one to learn from), got {folds}: "
            "set causal.folds=5, or causal.personal.net=null"
        )
    shown = exposures.inputs[:, 0].double()
    centre, width = shown.mean(0), shown.std(0, correction=0)
    width = torch.where(width > 1e-9, width, 1.0)
    settings = (hidden, passes, batch_rows, learning_rate, weight_decay)
    found = [_fit(exposures, centre.float(), width.float(), fold, *settings, seed) for fold in range(folds + 1)]
    return tuple(EffectNet(centre, width, layers) for layers in found)


def _fit(
    exposures: Exposures,
    centre: Tensor,
    width: Tensor,
    without: int,
    hidden: Sequence[int],
    passes: int,
    batch_rows: int,
    learning_rate: float,
    weight_decay: float,
    seed: int,
) -> Layers:
    folds = exposures.value.shape[1] - 1
    apart = (without + 1) % folds
    held = torch.nonzero(exposures.fold == apart)[:, 0]
    learnt = torch.nonzero((exposures.fold != apart) & (exposures.fold != without))[:, 0]
    weight = exposures.weight / exposures.weight.mean()

    def loss(layers: Layers, rows: Tensor) -> Tensor:
        inputs = _standardised(exposures.inputs[rows], centre, width)
        effect = exposures.opened[rows] * _through(inputs, layers)
        return contrast_loss(effect, exposures.value[rows, without], weight[rows]).sum()

    random = torch.Generator().manual_seed(seed * (folds + 1) + without)
    layers = _start(len(centre), hidden, random)
    parameters = [part.requires_grad_() for layer in layers for part in layer]
    optimiser = torch.optim.AdamW(parameters, learning_rate, weight_decay=weight_decay)
    least, kept = 0.0, _copy(layers)
    for _ in range(passes):
        order = learnt[torch.randperm(len(learnt), generator=random)]
        for part in order.chunk(_CHECKS):
            for rows in part.split(batch_rows):
                optimiser.zero_grad()
                (loss(layers, rows) / len(rows)).backward()
                optimiser.step()
            with torch.no_grad():
                lost = sum(float(loss(layers, rows)) for rows in held.split(_AT_ONCE))
            if lost < least:
                least, kept = lost, _copy(layers)
    return kept


def _start(inputs: int, hidden: Sequence[int], random: torch.Generator) -> Layers:
    """First weights, of variance 1 over what comes in; the last are 0."""
    sizes = [inputs, *hidden, 1]
    layers = [(torch.randn(out, into, generator=random) / into**0.5, torch.zeros(out)) for into, out in pairwise(sizes)]
    layers[-1] = (torch.zeros(1, sizes[-2]), torch.zeros(1))
    return tuple(layers)


def _standardised(inputs: Tensor, centre: Tensor, width: Tensor) -> Tensor:
    return ((inputs - centre) / width).clamp(-_FURTHEST, _FURTHEST)


def _through(out: Tensor, layers: Layers) -> Tensor:
    for weight, bias in layers[:-1]:
        out = silu(out @ weight.T + bias)
    weight, bias = layers[-1]
    return (out @ weight.T + bias)[..., 0]


def _copy(layers: Layers) -> Layers:
    return tuple((weight.detach().clone(), bias.detach().clone()) for weight, bias in layers)
