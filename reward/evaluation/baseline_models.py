"""Forecasts that are easy to beat or to trust: a base rate, logistic regressions, boosted trees."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from reward.arrays import Bools, Doubles, Ints
from reward.days import trace_bits
from reward.heads.calibration import platt
from reward.sequences.stream import Stream
from reward.statistics.regression import boosting_with

ACTIVITY = "activity"
FEEDBACK = "feedback"
ITEMS = "items"
_VARIANCE = 0.2  # of a bit that is neither rare nor sure


class Columns(NamedTuple):
    """Numbers (rows, ·), float32, and categories as codes (rows, ·), with 0 for unknown."""

    numbers: npt.NDArray[np.float32]
    codes: Ints


Inputs = Mapping[str, Columns]


class Forecast(Protocol):
    """(rows, H) from engineered inputs: logits before `calibrated`, and chances after."""

    def __call__(self, inputs: Inputs, asked: Bools | None = None) -> Doubles:
        """``asked``, (rows, H) bool, says which days are wanted; the others are not read."""


def engineered(stream: Stream) -> dict[str, Columns]:
    """Describe each event of a stream, after its feedback, in columns a plain model can read.

    No column counts what only grows as the log gets longer: a model that reads such a count (or a mean shrunk by one)
    learns the calendar of its training days, and no later day looks like them.

    Returns:
        ``activity``: what the slot knew before its item was chosen, that is past activity, timing and context.
        ``feedback``: the event's feedback; the mean of each feedback column over the user's events before its slate,
        0 where there are none; and whether there are none. ``items``: the item's features and its code, first.
    """
    events = stream.events
    first = stream.offsets[events.user]
    sums = np.concatenate([np.zeros((1, events.feedback.shape[1])), np.cumsum(events.feedback, axis=0, dtype=float)])
    past = (sums[first + events.visible] - sums[first]) / np.maximum(events.visible, 1)[:, None]
    feedback = np.column_stack([events.feedback, past, events.visible == 0]).astype(np.float32)
    return {
        ACTIVITY: Columns(events.slot_numbers, events.slot_categories),
        FEEDBACK: Columns(feedback, np.zeros((len(events), 0), np.int64)),
        ITEMS: Columns(events.items.numbers, np.column_stack([events.items.code, events.items.categories])),
    }


@dataclass(frozen=True)
class Examples:
    """Rows of which something is known of what came after.

    Attributes:
        inputs: engineered columns.
        trace: (rows, H) bool: was active; never read where not observed.
        observed: (rows, H) bool: the bit is known.
    """

    inputs: dict[str, Columns]
    trace: Bools
    observed: Bools

    @classmethod
    def of(cls, stream: Stream, trace: Tensor, observed: Tensor, *, horizon_days: int) -> Examples:
        """The events of ``stream`` with an observed day; ``trace`` and ``observed`` are words in its order.

        Raises:
            ValueError: the words are not one an event, or no day is observed.
        """
        if not trace.shape == observed.shape == (len(stream.events),):
            raise ValueError(
                f"expected a word for each of the stream's {len(stream.events)} events, got trace "
                f"{tuple(trace.shape)} and observed {tuple(observed.shape)}"
            )
        known = trace_bits(observed, horizon_days).numpy()
        rows = known.any(axis=1)
        if not rows.any():
            raise ValueError("expected at least one observed day, got none: give events with a whole day after them")
        active = trace_bits(trace, horizon_days).numpy()
        inputs = {name: Columns(numbers[rows], codes[rows]) for name, (numbers, codes) in engineered(stream).items()}
        return cls(inputs, active[rows], known[rows])


def base_rate(training: Examples) -> Forecast:
    """The share of active ones among the observed bits of each day, for every row the same.

    A day counts one bit more than it has, at the rate of all days (which itself counts half an active and half a
    silent bit more), so that a day that training never observed has a rate too and none is 0 or 1.
    """
    active, known = (training.trace & training.observed).sum(axis=0), training.observed.sum(axis=0)
    overall = (active.sum() + 0.5) / (known.sum() + 1)
    rate = (active + overall) / (known + 1)
    logits = np.log(rate) - np.log1p(-rate)
    return lambda inputs, asked=None: np.tile(logits, (len(inputs[ACTIVITY].numbers), 1))  # noqa: ARG005


def logistic_regression(
    training: Examples,
    validation: Examples,
    *,
    groups: Sequence[str],
    strengths: Sequence[float],
    max_categories: int,
) -> Forecast:
    """A logistic regression for each day, with a common ridge penalty chosen on validation.

    Minimises the log-loss summed over the observed bits plus ``strength`` / 2 · Σ weight², intercepts free, over
    columns standardised by the training rows. The strengths are tried from the strongest on for as long as
    validation's log-loss falls.

    Args:
        training: what is fitted.
        validation: what the strength is chosen on.
        groups: the groups of columns that are read.
        strengths: the candidates, above 0.
        max_categories: a category's most frequent values in training, the unknown one among them, get a column each;
            a rarer value has none.

    Raises:
        ValueError: no strength is given, or one is not above 0.
    """
    if not strengths or min(strengths) <= 0:
        raise ValueError(f"expected at least one strength, each above 0, got {list(strengths)}")
    design = _design(training.inputs, groups, max_categories)
    x, y, known = _tensors(design, training)
    others = _tensors(design, validation)
    start = base_rate(training)(training.inputs)[:1]
    weights = torch.cat([torch.zeros(x.shape[1] - 1, start.shape[1], dtype=torch.float64), torch.from_numpy(start)])
    chosen, least = weights, float("inf")
    for strength in sorted(strengths, reverse=True):
        weights = _ridge(weights, x, y, known, strength)
        loss = _log_loss(weights, *others).item()
        if not loss < least:
            break
        chosen, least = weights, loss
    return lambda inputs, asked=None: (design(inputs) @ chosen).numpy()  # noqa: ARG005


def boosted_trees(
    training: Examples,
    validation: Examples,
    *,
    parameters: Mapping[str, Any],
    max_trees: int,
    patience: int,
    num_threads: int,
    seed: int,
) -> Forecast:
    """Gradient-boosted trees on all groups, with the day ahead as one more column: each observed bit is a row.

    Categories stay codes, the item's too, and LightGBM groups them. The same arguments give the same trees.

    Args:
        training: what is fitted.
        validation: what stops the fit.
        parameters: LightGBM's own, by its names.
        max_trees: most trees.
        patience: trees without a better log-loss in validation after which the fit stops at the best.
        num_threads: threads that LightGBM uses.
        seed: draws the rows and columns that ``parameters`` may ask each tree to leave out.

    Raises:
        ImportError: LightGBM is not installed.
    """
    lightgbm, setting = boosting_with(
        {**parameters, "metric": "binary_logloss"}, objective="binary", num_threads=num_threads, seed=seed
    )
    numbers = sum(group.numbers.shape[1] for group in training.inputs.values())
    codes = sum(group.codes.shape[1] for group in training.inputs.values())

    def dataset(examples: Examples, reference: Any = None) -> Any:
        row, day = np.nonzero(examples.observed)
        return lightgbm.Dataset(
            np.column_stack([_plain(examples.inputs)[row], day.astype(np.float32)]),
            examples.trace[row, day],
            reference=reference,
            categorical_feature=list(range(numbers, numbers + codes)),
            params=setting,
        )

    fitted = dataset(training)
    booster = lightgbm.train(
        setting,
        fitted,
        max_trees,
        valid_sets=[dataset(validation, fitted)],
        callbacks=[lightgbm.early_stopping(patience, verbose=False)],
    )

    def forecast(inputs: Inputs, asked: Bools | None = None) -> Doubles:
        columns = np.column_stack([_plain(inputs), np.zeros(len(inputs[ACTIVITY].numbers), np.float32)])
        logits = np.zeros((len(columns), training.trace.shape[1]))
        for day, rows in enumerate(np.ones(logits.shape, bool).T if asked is None else asked.T):
            columns[:, -1] = day
            if rows.any():  # trees cost by the row and day
                logits[rows, day] = booster.predict(columns[rows], raw_score=True, num_threads=num_threads)
        return logits

    return forecast


def calibrated(forecast: Forecast, validation: Examples, *, prior_events: float) -> Forecast:
    """Turn logits into chances, scaled and moved as the reward model's are, by `platt` on validation."""
    logits = torch.from_numpy(forecast(validation.inputs, validation.observed)).unsqueeze(1)
    trace, observed = torch.from_numpy(validation.trace), torch.from_numpy(validation.observed)
    scale, offset = platt(logits, trace, observed, prior_events=prior_events)

    def chances(inputs: Inputs, asked: Bools | None = None) -> Doubles:
        found = (scale * torch.from_numpy(forecast(inputs, asked)) + offset).sigmoid().numpy()
        return found if asked is None else np.where(asked, found, np.nan)

    return chances


def _design(inputs: Inputs, groups: Sequence[str], max_categories: int) -> Callable[[Inputs], Tensor]:
    """Numbers and one-hot categories, standardised by ``inputs``, those that vary there; then a column of ones."""
    frequent = {name: [_most_frequent(codes, max_categories) for codes in inputs[name].codes.T] for name in groups}

    def raw(inputs: Inputs) -> Doubles:
        parts = []
        for name in groups:
            parts.append(inputs[name].numbers)
            parts += [
                codes[:, None] == known for codes, known in zip(inputs[name].codes.T, frequent[name], strict=True)
            ]
        return np.concatenate(parts, axis=1, dtype=np.float64)

    columns = raw(inputs)
    mean, deviation = columns.mean(axis=0), columns.std(axis=0)
    varies = deviation > 1e-6

    def design(inputs: Inputs) -> Tensor:
        columns = raw(inputs)
        standard = (columns[:, varies] - mean[varies]) / deviation[varies]
        return torch.from_numpy(np.column_stack([standard, np.ones(len(standard))]))

    return design


def _most_frequent(codes: Ints, count: int) -> Ints:
    values, events = np.unique(codes, return_counts=True)
    return values[np.argsort(-events, kind="stable")[:count]]


def _tensors(design: Callable[[Inputs], Tensor], examples: Examples) -> tuple[Tensor, Tensor, Tensor]:
    trace, observed = torch.from_numpy(examples.trace), torch.from_numpy(examples.observed)
    return design(examples.inputs), trace.double(), observed.double()


def _log_loss(weights: Tensor, x: Tensor, y: Tensor, known: Tensor) -> Tensor:
    """Mean over the observed bits."""
    return F.binary_cross_entropy_with_logits(x @ weights, y, known, reduction="sum") / known.sum()


def _ridge(start: Tensor, x: Tensor, y: Tensor, known: Tensor, strength: float) -> Tensor:
    """Weights (columns, H), the last row the intercepts, from ``start`` on.

    Searched for in coordinates in which the curvature is about 1 whatever the columns have in common: some ten steps.
    """
    bits = known.sum()
    ridge = torch.full((x.shape[1],), strength, dtype=x.dtype)
    ridge[-1] = 0
    curvature = _VARIANCE * bits / known.numel() * (x.T @ x) + torch.diag(ridge) + torch.eye(len(ridge), dtype=x.dtype)
    lower = torch.linalg.cholesky(curvature / bits)

    def weights_at(place: Tensor) -> Tensor:
        return torch.linalg.solve_triangular(lower.T, place, upper=True)

    place = (lower.T @ start).requires_grad_()
    solver = torch.optim.LBFGS(
        [place], max_iter=500, tolerance_grad=1e-5, tolerance_change=1e-9, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        solver.zero_grad()
        weights = weights_at(place)
        loss = _log_loss(weights, x, y, known) + 0.5 / bits * (ridge @ weights.square()).sum()
        loss.backward()
        return loss

    solver.step(closure)
    return weights_at(place.detach())


def _plain(inputs: Inputs) -> npt.NDArray[np.float32]:
    """All numbers, then all codes."""
    groups = inputs.values()
    return np.column_stack([*(group.numbers for group in groups), *(group.codes for group in groups)]).astype(
        np.float32
    )
