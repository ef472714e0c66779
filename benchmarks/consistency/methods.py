"""Ways to learn hazards of an initial state: the published three, and ours.

Ours differs from TCSR in five things: coefficients may fade with the days ahead; coefficients of standardised features
are shrunk and the baseline is smoothed, in place of one ridge on all parameters; λ is not always 0; and no one setting
is picked: predictions are averaged with weights from sequences held out inside the training data.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from consistency.model import Codes, Numbers, fit
from consistency.sequences import Sequences
from reward.objectives.hazard import hazard_likelihood, log_survival

FOLDS = 5
PUBLISHED = [0.0, 0.01, 0.1, 0.3, 0.5, 1.0, 3.0, 10.0, 30.0, 100.0]  # strengths of one ridge on all parameters
NESTED = [0.01, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0]  # those that are picked among inside the training data
WAYS = {"initial state": 1.0, "landmarking": 1.0, "TCSR": 0.0}  # λ of each
# chosen on mended walks of seeds 101 to 107, which are not reported
LAMBDAS = [0.5, 0.0]
SHRINKAGE = [(stays, fades) for stays in (0.1, 1.0, 10.0, 100.0) for fades in (1.0, 10.0, 100.0)]
SMOOTHING = 1.0  # of the baseline's steps from day to day
LEVEL = 1e-3  # of its level


def inner_folds(data: Sequences, seed: int) -> Tensor:
    """Which fold a row is held out in; a sequence stays whole."""
    fold = np.random.default_rng(seed).permutation(len(data)) % FOLDS
    return torch.from_numpy(fold)[data.sequence]


def training_rows(fold: Tensor, fits: int) -> Tensor:
    """(rows, (1 + FOLDS) · fits): all rows, and then all but each fold's."""
    kept = torch.stack([torch.ones_like(fold, dtype=torch.bool), *(fold != each for each in range(FOLDS))], 1)
    return kept.float().repeat_interleave(fits, 1)


def held_out(logits: Tensor, data: Sequences, fold: Tensor, fits: int, judged: Tensor) -> np.ndarray:
    """Sum over the judged rows of the log-likelihood by the fit that did not see them, (fits,).

    Args:
        logits: (rows, (1 + FOLDS) · fits, H).
        data: the sequences.
        fold: (rows,), which one a row is held out in.
        fits: in each fold.
        judged: (rows,), bool.
    """
    mine = logits.unflatten(1, (1 + FOLDS, fits))[torch.arange(len(fold)), 1 + fold][judged].double()
    return -hazard_likelihood(mine, data.steps[judged], data.ended[judged]).sum(0).numpy()


def ridge_of_all(strengths: list[float], data: Sequences) -> Numbers:
    """Proportional hazards with one ridge on all parameters, as published; a fit a strength."""
    size = data.states.shape[1] + data.horizon
    penalty = torch.tensor(strengths, dtype=data.states.dtype)[:, None, None] * torch.eye(size, dtype=data.states.dtype)
    return Numbers(torch.ones(1, data.horizon, dtype=data.states.dtype), penalty)


@dataclass(frozen=True)
class Published:
    """Fits of one of the published ways, one a strength of the ridge, and the strength that nested validation picks."""

    design: Numbers
    theta: Tensor
    picked: int

    @classmethod
    def learn(cls, data: Sequences, way: str, *, seed: int) -> Published:
        """Fit every strength to all sequences, and to all but a fifth to pick one by the likelihood of that fifth."""
        data = data.initial() if way == "initial state" else data
        design = ridge_of_all(PUBLISHED, data)
        theta = fit(data, design, lam=WAYS[way])
        light = replace(data, states=data.states.float())
        inner, fold = ridge_of_all(NESTED * (1 + FOLDS), light), inner_folds(data, seed)
        rows = training_rows(fold, len(NESTED))
        found = fit(light, inner, lam=WAYS[way], rows=rows, iterations=60, tolerance=1e-3)
        told = held_out(inner.logits(light.states, found), light, fold, len(NESTED), data.first)
        return cls(design, theta, PUBLISHED.index(NESTED[int(told.argmax())]))

    def logits(self, states: Tensor) -> Tensor:
        """(rows, strengths, H)."""
        return self.design.logits(states, self.theta)

    @property
    def coefficients(self) -> Tensor:
        """(strengths, P)."""
        return self.design.coefficients(self.theta)[:, 0]


def fading(horizon: int) -> Tensor:
    """The basis of coefficients: what stays, and what halves with every step ahead."""
    steps = torch.arange(horizon, dtype=torch.float32)
    return torch.stack([torch.ones(horizon), 0.5**steps])


def shrinkage(pairs: list[tuple[float, float]], features: int, horizon: int) -> Tensor:
    """Ridges of what stays and of what fades, and a penalty on the baseline's differences: (B, 2P + H, 2P + H)."""
    rough = torch.diff(torch.eye(horizon), dim=0)
    baseline = SMOOTHING * rough.T @ rough + LEVEL * torch.eye(horizon)
    stays, fades = (torch.eye(2)[each].repeat_interleave(features).diag() for each in (0, 1))
    return torch.stack([torch.block_diag(a * stays + b * fades, baseline) for a, b in pairs])


@dataclass(frozen=True)
class Ours:
    """Hazards whose coefficients may fade, averaged over λ and shrinkage.

    Attributes:
        design: one fit for each pair of ``SHRINKAGE``.
        theta: the fits of each λ.
        weights: (λs · pairs,), of the survival curves.
        mean, spread: (P,), of the training states.
    """

    design: Numbers
    theta: list[Tensor]
    weights: np.ndarray
    mean: Tensor
    spread: Tensor

    @classmethod
    def learn(cls, data: Sequences, *, seed: int, lambdas: list[float] = LAMBDAS) -> Ours:
        """Fit every λ and shrinkage to all sequences, and to all but a fifth to weigh it by the likelihood of that."""
        mean, spread = data.states.mean(0), data.states.std(0)
        spread = spread.where(spread > 1e-8, 1.0)
        light = replace(data, states=((data.states - mean) / spread).float())
        penalty = shrinkage(SHRINKAGE, data.states.shape[1], data.horizon)
        fits, basis, fold = len(penalty), fading(data.horizon), inner_folds(data, seed)
        inner, rows = Numbers(basis, penalty.repeat(1 + FOLDS, 1, 1)), training_rows(fold, len(penalty))
        found, told, theta = [], [], None
        for lam in lambdas:
            theta = fit(light, inner, lam=lam, rows=rows, start=theta, iterations=60, tolerance=1e-3)
            told.append(held_out(inner.logits(light.states, theta), light, fold, fits, data.first))
            found.append(theta[:fits].double())
        likelihood = np.concatenate(told)
        weights = np.exp(likelihood - likelihood.max())
        return cls(Numbers(basis.double(), penalty.double()), found, weights / weights.sum(), mean, spread)

    def logits(self, states: Tensor) -> Tensor:
        """(rows, 1, H), of the averaged survival curves."""
        states = (states - self.mean) / self.spread
        curves = torch.cat([log_survival(self.design.logits(states, theta)).exp() for theta in self.theta], 1)
        return averaged(curves, self.weights)

    def coefficients(self, states: Tensor) -> Tensor:
        """(1, P): averaged over the fits, and over days by how much the likelihood of ``states`` hangs on each."""
        hazards, total = self.logits(states), torch.zeros_like(self.mean)
        alive = torch.cat([torch.ones_like(hazards[..., :1]), log_survival(hazards)[..., :-1].exp()], -1)
        chance = hazards.sigmoid()
        day = (alive * chance * (1 - chance)).sum((0, 1))
        each = torch.from_numpy(self.weights).split(len(self.design.penalty))
        for theta, weights in zip(self.theta, each, strict=True):
            by_day = torch.einsum("bjp,jh->bph", self.design.coefficients(theta), self.design.basis)
            total += torch.einsum("b,bph,h->p", weights, by_day, day / day.sum())
        return (total / self.spread).unsqueeze(0)


def averaged(curves: Tensor, weights: np.ndarray) -> Tensor:
    """Hazard logits (rows, 1, H) of the weighted mean of survival curves (rows, B, H)."""
    curve = torch.einsum("rbh,b->rh", curves, torch.from_numpy(weights)).unsqueeze(1)
    before = torch.cat([torch.ones_like(curve[..., :1]), curve[..., :-1]], -1)
    return (1 - curve / before.clamp(min=1e-12)).clamp(1e-9, 1 - 1e-9).logit()


def risk(logits: Tensor) -> Tensor:
    """The order of initial states: minus the expected steps survived within the horizon, (rows, B)."""
    return -log_survival(logits).exp().sum(-1)


def pairs(data: Sequences, counted: Tensor) -> tuple[Sequences, Tensor]:
    """The distinct (state, next state) of coded sequences, as sequences of two: all that λ = 0 reads.

    Args:
        data: coded sequences.
        counted: (rows, B), how often each row counts in each fit.

    Returns:
        The pairs, and how often each row of them counts in each fit; a next state's own row never does.
    """
    live = data.steps > 0
    over = data.ended & (data.steps == 1)
    following = torch.where(over, -1, data.states.roll(-1))
    keys, place = torch.unique(torch.stack([data.states, following], 1)[live], dim=0, return_inverse=True)
    times = counted.new_zeros(len(keys), counted.shape[1]).index_add(0, place, counted[live])
    ends = keys[:, 1] < 0
    lengths = torch.where(ends, 1, 2)
    first = lengths.cumsum(0) - lengths
    sequence = torch.arange(len(keys)).repeat_interleave(lengths)
    states, weight = keys[sequence, 1], counted.new_zeros(len(sequence), counted.shape[1])
    states[first], weight[first] = keys[:, 0], times
    steps = torch.zeros_like(states)
    steps[first] = lengths
    return Sequences(states, sequence, steps, ends[sequence], data.horizon), weight


def reached_from(data: Sequences, count: int, most: int = 3) -> Tensor:
    """Features of states from who leads to them: the leading axes of the correspondence analysis of first moves.

    Counts of initial states by the states they move to; an axis is kept where its singular value is more than noise
    alone would give (√rows + √columns). A state that is moved to has its coordinates, an initial state the mean of
    those it moves to. No outcome is read.

    Args:
        data: coded sequences.
        count: of codes.
        most: axes at most.

    Returns:
        (count, axes).

    Source: Greenacre 1984; Marchenko & Pastur 1967.
    """
    start = data.first.nonzero().squeeze(1)
    start = start[data.gap[start] == 1]
    origin, goal = data.states[start].numpy(), data.states[start + 1].numpy()
    rows, row = np.unique(origin, return_inverse=True)
    columns, column = np.unique(goal, return_inverse=True)
    moves = np.zeros((len(rows), len(columns)))
    np.add.at(moves, (row, column), 1)
    expected = moves.sum(1, keepdims=True) * moves.sum(0) / moves.sum()
    _, size, axes = np.linalg.svd((moves - expected) / np.sqrt(expected), full_matrices=False)
    kept = axes[: min(most, int((size > np.sqrt(len(rows)) + np.sqrt(len(columns))).sum()))].T
    features = np.zeros((count, kept.shape[1]))
    features[columns] = kept * np.sqrt(len(columns))
    features[rows] = moves @ features[columns] / moves.sum(1, keepdims=True)
    return torch.from_numpy(features)


def codes(features: Tensor, strengths: list[float], horizon: int, *, terms: float, baseline: float) -> Codes:
    """Ridges of states' own effects, one a fit, of the features' and of the baseline."""
    states, axes = features.shape
    ridge = torch.full((len(strengths), states + axes + horizon), baseline, dtype=features.dtype)
    ridge[:, :states] = torch.tensor(strengths, dtype=features.dtype).unsqueeze(1)
    ridge[:, states : states + axes] = terms
    return Codes(features, ridge)


def treatments_published(data: Sequences, count: int, *, lam: float) -> Tensor:
    """Effects (count,) of coded states, one ridge of 1 on all parameters."""
    design = codes(torch.zeros(count, 0, dtype=torch.float64), [1.0], data.horizon, terms=1.0, baseline=1.0)
    rows = torch.ones(len(data.states), 1, dtype=torch.float64)
    if lam == 0:
        data, rows = pairs(data, rows)
    return design.effects(fit(data, design, lam=lam, rows=rows, tolerance=1e-4))[0]


def treatments_ours(data: Sequences, count: int, *, seed: int, features: bool = True) -> Tensor:
    """Risk (count,) of coded states at λ = 0, averaged over shrinkage by the likelihood of sequences held out."""
    found = reached_from(data, count) if features else torch.zeros(count, 0, dtype=torch.float64)
    strengths = [0.3, 3.0, 30.0]
    design = codes(found, strengths * (1 + FOLDS), data.horizon, terms=0.1, baseline=0.01)
    fold = inner_folds(data, seed)
    few, rows = pairs(data, training_rows(fold, len(strengths)).double())
    theta = fit(few, design, lam=0.0, rows=rows, tolerance=1e-3)
    judged = data.steps > 0
    told = held_out(design.logits(data.states, theta), data, fold, len(strengths), judged)
    weights = np.exp(told - told.max())
    curves = log_survival(design.logits(torch.arange(count), theta[: len(strengths)])).exp()
    return risk(averaged(curves, weights / weights.sum())).squeeze(1)
