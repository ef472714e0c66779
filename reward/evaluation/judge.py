"""Judges a scoring function on the days after its validation window."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
import torch

from reward.days import trace_bits
from reward.evaluation.assessment import PREVIOUS, SLICE, Json, assess
from reward.evaluation.baselines import baselines
from reward.function import RewardFunction
from reward.outcomes.activity import DAY, OBSERVED, TRACE
from reward.schema import ITEM, USER, EventLog
from reward.sequences.split import Split

MODEL = "reward model"
HEAVY_SHARE = 0.9


def judge(
    function: RewardFunction,
    log: EventLog,
    window: Split,
    *,
    logistic: Mapping[str, Any],
    boosting: Mapping[str, Any] | None,
    intervals: Mapping[str, Any],
    calibration: Mapping[str, Any],
    seed: int,
) -> Json:
    """Score the test rows, fit the baselines on what the function was trained on, and measure both.

    A test row is an event from ``window.validation_end`` on of whose trace at least one day is known.

    Args:
        function: trained on ``log`` up to ``window.validation_end``.
        log: the checked log.
        window: the split it was trained with.
        logistic: settings of the logistic baselines.
        boosting: settings of the gradient-boosted baseline; None: without it.
        intervals: settings of `assess`.
        calibration: settings of the calibration that model and baselines share.
        seed: of the resamples and of the boosted baseline.

    Returns:
        See `assess`.
    """
    labelled = function.outcome.label(log, window.end).collect()
    rows = function.score_events(labelled).with_columns(
        pl.col("value_after").shift(1).over(USER).alias(PREVIOUS), *_slices(window)
    )
    test = ((labelled[DAY] >= window.validation_end) & (labelled[OBSERVED] > 0)).to_numpy()
    trace, observed = (_days(labelled[name], function.horizon_days)[test] for name in (TRACE, OBSERVED))
    others = baselines(
        log,
        window,
        function.outcome,
        function.features,
        logistic=logistic,
        boosting=boosting,
        seed=seed,
        rows=test,
        **calibration,
    )
    return assess(
        {MODEL: function.forecast(labelled)[test], **others},
        trace,
        observed,
        rows=rows.filter(test),
        model=MODEL,
        unit=function.unit,
        feedback=function.features.feedback,
        seed=seed,
        **intervals,
    )


def _days(words: pl.Series, horizon_days: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    return trace_bits(torch.from_numpy(words.to_numpy().copy()), horizon_days).numpy()


def _slices(window: Split) -> list[pl.Expr]:
    """Who was new, who was heavy and which items were unseen when the function had been trained."""
    before = pl.col(DAY) < window.validation_end
    active_days = pl.col(DAY).filter(before).n_unique().over(USER)
    return [
        (~before.any().over(USER)).alias(f"{SLICE}new users"),
        (active_days >= active_days.quantile(HEAVY_SHARE)).alias(f"{SLICE}heavy users"),
        (~(pl.col(DAY) < window.train_end).any().over(ITEM)).alias(f"{SLICE}unseen items"),
    ]
