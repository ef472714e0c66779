"""Past activity as a forecast: what a network corrects, and how much of its correction is kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from reward.data.days import OBSERVED, TRACE
from reward.data.event_log import SchemaError
from reward.days import trace_bits
from reward.evaluation.baseline_models import ACTIVITY, Columns, Examples, Forecast, logistic_regression
from reward.heads import CorrectingHead
from reward.heads.calibration import platt
from reward.sequences.datamodule import StreamData
from reward.sequences.model import RewardModel
from reward.sequences.network import ActivityLogits

_NOWHERE = -1  # a code that no category has


class Gain(NamedTuple):
    """What training added to the forecast of past activity, on the validation days.

    Attributes:
        share: how much of the network's correction is kept: 0 is past activity alone, 1 the network alone.
        activity: log-loss of past activity alone, in nats a day.
        tried: the share whose gain is surest, of those tried.
        gain: nats a day by which it forecast better than past activity alone.
        gain_std: standard error of that, over users.
    """

    share: float
    activity: float
    tried: float
    gain: float
    gain_std: float

    def sentence(self, what: str) -> str:
        """What training gained, or that it gained nothing and what was tried; ``what`` is what was trained."""
        size = f"{self.gain:.4f} nats a day (standard error {self.gain_std:.4f})"
        if self.share == 0:
            return (
                "Training gained nothing over past activity on the validation days, so the forecast is that of past "
                f"activity alone; tried: {what}, of which the surest share, {self.tried:.0%}, gained {size}."
            )
        return (
            f"On the validation days {what} forecasts better than past activity alone, by {size}; "
            f"{self.share:.0%} of its correction is kept."
        )


def fit_activity(layer: ActivityLogits, data: StreamData, *, strengths: Sequence[float], max_categories: int) -> None:
    """Fit the forecast of past activity and set ``layer`` to it: the baseline "activity only" before its calibration.

    Args:
        layer: what is set.
        data: set up; the outcome of the reward's task has a trace.
        strengths: see `logistic_regression`.
        max_categories: see `logistic_regression`.

    Raises:
        SchemaError: training or validation observes no day of any outcome.
    """
    horizon_days = data.outcomes[data.reward].horizon_days
    try:
        training, validation = (
            Examples.of(part.windows.stream, own[TRACE], own[OBSERVED], horizon_days=horizon_days)
            for part in (data.training, data.validation)
            for own in (part.targets[data.reward],)
        )
    except ValueError as error:
        raise SchemaError(
            f"training and validation expected outcomes to learn from: {error}, or move split.train_days"
        ) from error
    forecast = logistic_regression(
        training, validation, groups=(ACTIVITY,), strengths=strengths, max_categories=max_categories
    )
    _copy(forecast, layer)


def _copy(forecast: Forecast, layer: ActivityLogits) -> None:
    """Read the weights of an affine forecast off its values at zero, at unit vectors and at single codes."""
    numbers, tables = len(layer.numbers), layer.categories

    def at(inputs: np.ndarray, codes: np.ndarray) -> Tensor:
        return torch.from_numpy(forecast({ACTIVITY: Columns(inputs.astype(np.float32), codes)}))

    def nowhere(rows: int) -> np.ndarray:
        return np.full((rows, len(tables)), _NOWHERE, np.int64)

    intercept = at(np.zeros((1, numbers)), nowhere(1))
    layer.intercept.copy_(intercept[0])
    layer.numbers.copy_(at(np.eye(numbers), nowhere(numbers)) - intercept)
    for place, table in enumerate(tables):
        codes = nowhere(len(table))
        codes[:, place] = np.arange(len(table))
        table.copy_(at(np.zeros((len(table), numbers)), codes) - intercept)


@torch.no_grad()
def keep_what_gained(
    model: RewardModel, data: StreamData, *, shares: Sequence[float], least_gain: float, prior_events: float
) -> Gain:
    """Set how much of the network's correction the head keeps, by the log-loss on the validation days.

    Each share is calibrated and its loss compared with that of past activity alone, user by user. That share is kept
    whose gain less ``least_gain`` of its standard errors is the largest; where that is not above 0, past activity is
    left alone. Judged are rows of whose outcome training knew no day, as of the rows that will be scored. Of the
    others, whose later days alone are new, the network has learnt the first ones, and gains more.

    Args:
        model: trained, with a head that corrects past activity.
        data: what it was trained and validated on.
        shares: those tried, above 0 and at most 1.
        least_gain: standard errors.
        prior_events: see `platt`.

    Raises:
        TypeError: the head does not correct past activity.
        ValueError: a share is not above 0 and at most 1.
    """
    if not getattr(model.network.head, "from_activity", False):
        raise TypeError(f"expected a head with from_activity=true, got {type(model.network.head).__name__} without")
    head = cast(CorrectingHead, model.network.head)
    if not shares or not all(0 < share <= 1 for share in shares):
        raise ValueError(f"correction.shares expected numbers above 0 and at most 1, got {list(shares)}")
    model.eval()
    states, rows = [], []
    for example in data.val_dataloader():
        history = example.batch.history
        inside = history.row >= 0
        states.append(model.network.after(history)[inside])
        rows.append(history.row[inside])
    state, row = torch.cat(states), torch.cat(rows)
    targets = data.validation.targets[data.reward]
    trace, known = (trace_bits(targets[name][row], head.horizon_days) for name in (TRACE, OBSERVED))
    asked = known[:, 0] if known[:, 0].any() else known.any(1)
    state, trace, known = state[asked], trace[asked], known[asked]
    start, learnt = state[:, head.width :].unsqueeze(1), head.ensemble(state)
    user = torch.from_numpy(data.validation.windows.stream.events.user.copy())[row[asked]]
    count = torch.zeros(int(user.max()) + 1, dtype=torch.float64).index_add(0, user, known.sum(1).double())

    def losses(share: float) -> Tensor:
        """Sum of the log-loss of each user's known days."""
        logits = (1 - share) * start + share * learnt
        scale, offset = platt(logits, trace, known, prior_events=prior_events)
        calibrated = scale * logits + offset
        active, silent = (F.logsigmoid(sign * calibrated).logsumexp(1) for sign in (1, -1))
        loss = (np.log(logits.shape[1]) - torch.where(trace, active, silent)) * known
        return torch.zeros_like(count).index_add(0, user, loss.sum(1))

    alone = losses(0.0)
    found = []
    for share in shares:
        saved = alone - losses(share)
        gain = saved.sum() / count.sum()
        found.append((share, float(gain), float((saved - gain * count).square().sum().sqrt() / count.sum())))
    share, gained, gain_std = max(found, key=lambda it: it[1] - least_gain * it[2])
    kept = share if gained > least_gain * gain_std else 0.0
    head.correction.fill_(kept)
    return Gain(kept, float(alone.sum() / count.sum()), share, gained, gain_std)
