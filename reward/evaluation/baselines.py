"""What simpler models forecast from engineered features: the baselines of a reward model.

A baseline is fitted on the rows and trace bits that the reward model trains on, chosen and stopped on the bits that
validation revealed, and calibrated on these as the reward model is: what it lacks is the stream, nothing else.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import polars as pl

from reward.arrays import Bools, Doubles
from reward.data.days import OBSERVED, TRACE
from reward.data.event_log import EventLog
from reward.data.split import Split
from reward.evaluation.baseline_models import (
    ACTIVITY,
    FEEDBACK,
    ITEMS,
    Columns,
    Examples,
    Forecast,
    base_rate,
    boosted_trees,
    calibrated,
    engineered,
    logistic_regression,
)
from reward.evaluation.estimates import ACTIVITY as ACTIVITY_ONLY
from reward.evaluation.estimates import ACTIVITY_FEEDBACK, BASE_RATE, EVERYTHING, FEEDBACK_ONLY, LIGHTGBM
from reward.features.events import Features
from reward.outcomes.protocol import STATES, Outcome, Parts
from reward.sequences.datamodule import StreamData
from reward.sequences.stream import Stream


@dataclass(frozen=True)
class _Days:
    """An outcome read day by day, whatever else training reads of it."""

    outcome: Outcome

    targets = (TRACE, OBSERVED)
    states = STATES

    @property
    def horizon_days(self) -> int:
        return self.outcome.horizon_days

    @property
    def unit(self) -> str:
        return self.outcome.unit

    @property
    def counted(self) -> str:
        return self.outcome.counted

    def label(self, log: EventLog, end_day: int, *, since: int | None = None) -> pl.LazyFrame:
        return self.outcome.label(log, end_day, since=since)

    def parts(self, labels: pl.DataFrame) -> Parts:
        return self.outcome.parts(labels)


def baselines(
    log: EventLog,
    window: Split,
    outcome: Outcome,
    features: Features,
    *,
    logistic: Mapping[str, Any],
    boosting: Mapping[str, Any] | None,
    prior_events: float,
    seed: int,
    rows: Bools | None = None,
    asked: Bools | None = None,
) -> dict[str, Doubles]:
    """Fit every baseline and forecast a log with it.

    Args:
        log: a checked log; baselines are fitted on the rows that training and validation of the reward model see.
        window: its split.
        outcome: one whose `label` has days, in ``trace`` and ``observed``.
        features: fitted on the training window.
        logistic: ``strengths`` and ``max_categories`` of `logistic_regression`.
        boosting: ``parameters``, ``max_trees``, ``patience`` and ``num_threads`` of `boosted_trees`; None: without.
        prior_events: weight of "no correction" in the calibration, see `platt`.
        seed: of the boosted trees.
        rows: (events,) bool, which of the log's events to forecast; None: all.
        asked: (rows, H) bool, which days of them; None: all. Nan elsewhere.

    Returns:
        By name, the chance of being active on each of the next H days after each event, (rows, H), in the order of
        ``log.events``. Where LightGBM is not installed a warning says so, and its baseline is absent.
    """
    only = {"days": _Days(outcome)}
    data = StreamData(log, only, features, window, reward="days", max_events=2, batch_rows=1, members=1, seed=seed)
    data.setup()
    training, validation = (
        Examples.of(part.windows.stream, own[TRACE], own[OBSERVED], horizon_days=outcome.horizon_days)
        for part in (data.training, data.validation)
        for own in part.targets.values()
    )

    def linear(*groups: str) -> Forecast:
        return logistic_regression(training, validation, groups=groups, **logistic)

    forecasts = {
        BASE_RATE: base_rate(training),
        FEEDBACK_ONLY: linear(FEEDBACK),
        ACTIVITY_ONLY: linear(ACTIVITY),
        ACTIVITY_FEEDBACK: linear(ACTIVITY, FEEDBACK),
        EVERYTHING: linear(ACTIVITY, FEEDBACK, ITEMS),
    }
    if boosting is not None and find_spec("lightgbm") is None:
        warnings.warn(f"no {LIGHTGBM} baseline: pip install 'reward[boosting]', or set boosting to null", stacklevel=2)
    elif boosting is not None:
        forecasts[LIGHTGBM] = boosted_trees(training, validation, seed=seed, **boosting)
    stream = Stream.build(log.events, features)
    place = np.argsort(stream.events.source)[slice(None) if rows is None else rows]
    inputs = {name: Columns(numbers[place], codes[place]) for name, (numbers, codes) in engineered(stream).items()}
    return {
        name: calibrated(forecast, validation, prior_events=prior_events)(inputs, asked)
        for name, forecast in forecasts.items()
    }
