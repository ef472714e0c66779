"""The return times of a trained reward model's test days, beside those of boosted trees that learned the same hazard.

`reward.evaluation.baselines` reads a return time as "back by day d", day by day. Of what validation reveals, only those
who had not been back before take part there, and a model of "back by" cannot be told so: its calibration is that of
late returns. Here the trees are given the person-period table, in which a day at risk is a row, as the hazard head is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch

from reward.columns import USER
from reward.data.days import DAY, OBSERVED
from reward.data.event_log import EventLog
from reward.data.split import Split
from reward.days import at_risk, event_on
from reward.evaluation.baseline_models import Columns, Examples, boosted_trees, calibrated, engineered
from reward.outcomes.returns import ENTRY_DAYS, EVENT, TIME_DAYS
from reward.scoring.function import RewardFunction
from reward.sequences.datamodule import StreamData
from reward.sequences.stream import Stream


class Waits(NamedTuple):
    """Test rows: whose they are, what came, and the chance by each forecaster to be away longer than 1, … H days."""

    user: np.ndarray
    time: np.ndarray
    event: np.ndarray
    survival: dict[str, np.ndarray]


def table(stream: Stream, targets: Mapping[str, torch.Tensor], horizon_days: int) -> Examples:
    """The person-period table of a stream's events: ``observed`` days at risk, and ``trace``, the day of the return."""
    time, event, entry = (targets[name] for name in (TIME_DAYS, EVENT, ENTRY_DAYS))
    risk = at_risk(time, entry, horizon_days).numpy()
    came = event_on(time, event, entry, horizon_days).numpy()
    rows = risk.any(1)
    inputs = {name: Columns(numbers[rows], codes[rows]) for name, (numbers, codes) in engineered(stream).items()}
    return Examples(inputs, came[rows], risk[rows])


def waits_of_test_days(
    function: RewardFunction, log: EventLog, window: Split, *, boosting: Mapping[str, Any], prior: float, seed: int
) -> Waits:
    """What the function and the trees forecast of the rows after validation of which a day is known.

    Args:
        function: trained on ``log`` with a `ReturnTime`.
        log: the checked log.
        window: the split it was trained with.
        boosting: settings of `boosted_trees`.
        prior: weight of "no correction" in the calibration of the trees, in observations.
        seed: of the trees.
    """
    outcome, horizon = function.outcome, function.horizon_days
    name, drawn = function.reward, {"max_events": 2, "batch_rows": 1, "members": 1, "seed": seed}
    data = StreamData(log, {name: outcome}, function.features, window, reward=name, **drawn)
    data.setup()
    training, validation = (
        table(part.windows.stream, part.targets[name], horizon) for part in (data.training, data.validation)
    )
    trees = calibrated(boosted_trees(training, validation, seed=seed, **boosting), validation, prior_events=prior)
    labels = outcome.label(log, window.end).collect()
    test = ((labels[DAY] >= window.validation_end) & (labels[OBSERVED] > 0)).to_numpy()
    stream = Stream.build(log.events, function.features)
    place = np.argsort(stream.events.source)[test]
    hazard = trees(
        {name: Columns(numbers[place], codes[place]) for name, (numbers, codes) in engineered(stream).items()}
    )
    return Waits(
        np.unique(labels[USER].to_numpy()[test], return_inverse=True)[1],
        labels[TIME_DAYS].to_numpy()[test],
        labels[EVENT].to_numpy()[test] == 1,
        {"ours": 1 - function.forecast(labels)[test], "LightGBM": np.cumprod(1 - hazard, axis=1)},
    )
