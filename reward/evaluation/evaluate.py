"""Evaluates a scoring function on the days after its validation window."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from reward.arrays import Doubles
from reward.causal.propensity.plausibility import check_propensities
from reward.columns import ITEM, PROPENSITY, TIMESTAMP, USER
from reward.data.days import DAY, OBSERVED, TRACE
from reward.data.event_log import EventLog, SchemaError
from reward.data.prepared import PreparedLog
from reward.data.split import Split, known_at
from reward.evaluation.auxiliary_tasks import AuxiliaryTask, assess_auxiliary
from reward.evaluation.baselines import baselines
from reward.evaluation.estimates import PREVIOUS, SLICE, of_log
from reward.evaluation.findings import Evaluation
from reward.evaluation.leakage import leakage_summary
from reward.evaluation.policy_values import PolicyValues, other_policies, proposed_policies
from reward.evaluation.results import assess
from reward.moved import find_names_of_before
from reward.outcomes.protocol import ABSENT, ASKED, DAYS, Outcome, days_of
from reward.scoring.function import RewardFunction

MODEL = "reward model"
HEAVY_SHARE = 0.9

find_names_of_before(__name__)


@dataclass(frozen=True)
class _Rows:
    """What is judged.

    Attributes:
        all: the log's rows, with their scores and the slices that they are in.
        test: (rows,) which of them are judged: those of the test days of whose trace at least one day is known.
        trace: (test rows, H) active days.
        observed: (test rows, H) days that the log has seen.
        known: the log as it was known when the function had been trained.
    """

    all: pl.DataFrame
    test: NDArray[np.bool_]
    trace: NDArray[np.bool_]
    observed: NDArray[np.bool_]
    known: EventLog

    @classmethod
    def of(
        cls,
        function: RewardFunction,
        log: EventLog,
        window: Split,
        events: pl.DataFrame,
        scores: pl.DataFrame,
        labelled: pl.DataFrame,
    ) -> _Rows:
        """Those of a log, of which ``events``, ``scores`` and ``labelled`` have a row each."""
        # the log's columns apart from the scores and the labels, whose names they may have
        keys = [name for name in (USER, ITEM, TIMESTAMP, PROPENSITY) if name in events.columns]
        rows = (
            events.select(*keys, *(pl.col(name).alias(of_log(name)) for name in log.feedback))
            .hstack(scores)
            .with_columns(labelled[DAY])
            .with_columns(pl.col("value_after").shift(1).over(USER).alias(PREVIOUS), *_slices(window))
        )
        test = ((labelled[DAY] >= window.validation_end) & (labelled[OBSERVED] > 0)).to_numpy()
        trace, observed = (days_of(labelled[name], function.horizon_days)[test] for name in (TRACE, OBSERVED))
        return cls(rows, test, trace, observed, known_at(log, window.validation_end))

    @property
    def judged(self) -> pl.DataFrame:
        """The rows that are judged."""
        return self.all.filter(self.test)


def evaluate_function(
    function: RewardFunction,
    prepared: PreparedLog,
    window: Split,
    *,
    logistic: Mapping[str, Any],
    boosting: Mapping[str, Any] | None,
    intervals: Mapping[str, Any],
    calibration: Mapping[str, Any],
    policies: Mapping[str, Any],
    seed: int,
    proposed: str | Path | None = None,
) -> Evaluation:
    """Score the test rows, fit the baselines on what the function was trained on, and measure both.

    A test row is an event from ``window.validation_end`` on of whose trace at least one day is known.

    Args:
        function: trained on the log up to ``window.validation_end``.
        prepared: the log.
        window: the split it was trained with.
        logistic: settings of the logistic baselines.
        boosting: settings of the gradient-boosted baseline; None: without it.
        intervals: settings of `assess`.
        calibration: settings of the calibration that model and baselines share.
        policies: settings of `other_policies`.
        seed: of the resamples and of the boosted baseline.
        proposed: a file of policies to estimate the worth of, see `proposed_policies`.

    Raises:
        SchemaError: see `proposed_policies`; or policies are proposed for a log whose propensities can weight no row.
    """
    log, everybody = prepared.log, prepared.every_user()
    events = everybody.events
    labelled = function.outcome.label(log, window.end).collect()
    labels = {name: outcome.label(log, window.end).collect() for name, outcome in function.auxiliary.items()}
    asked = {name: it[ASKED] if ABSENT in function.auxiliary[name].states else None for name, it in labels.items()}
    predicted = function.predict(everybody, forecast=True, expected=asked)
    rows = _Rows.of(function, log, window, events, predicted.scores, labelled)
    policies_found, no_policies = _worth(function, rows, window, proposed, level=intervals["level"], **policies)
    others = baselines(
        log,
        window,
        function.outcome,
        function.features,
        logistic=logistic,
        boosting=boosting,
        seed=seed,
        rows=rows.test,
        asked=rows.observed,
        **calibration,
    )
    found = assess(
        {MODEL: predicted.forecast[rows.test], **others},
        rows.trace,
        rows.observed,
        rows=rows.judged,
        model=MODEL,
        unit=function.unit,
        points=getattr(function.outcome, "points", DAYS),
        click=log.click,
        seed=seed,
        **intervals,
    )
    setting = {name: intervals[name] for name in ("resamples", "level", "min_slice_users")}
    auxiliary = {
        name: _auxiliary(function.auxiliary[name], predicted.expected[name], it, rows, window, seed=seed, **setting)
        for name, it in labels.items()
    }
    leakage = leakage_summary(rows.known, horizon_days=function.horizon_days, seed=seed)
    return replace(found, auxiliary=auxiliary, leakage=leakage, policies=policies_found, no_policies=no_policies)


def _worth(
    function: RewardFunction, rows: _Rows, window: Split, proposed: str | Path | None, **settings: Any
) -> tuple[PolicyValues | None, str | None]:
    """What policies would have been worth, or why that cannot be estimated."""
    unused = _no_propensities(rows.known)
    if unused is None:
        worth = other_policies(
            rows.judged,
            rows.trace,
            rows.observed,
            past=rows.all.filter(pl.col(DAY) < window.validation_end),
            feedback=function.features.feedback,
            click=rows.known.click,
            unit=function.unit,
            proposed=None if proposed is None else proposed_policies(proposed, rows.judged, rows.known.timestamp_unit),
            **settings,
        )
        return worth, None
    if proposed is not None:
        raise SchemaError(f"policies={proposed} expected the probability with which each item was shown: {unused}")
    return None, unused


def _no_propensities(log: EventLog) -> str | None:
    """Why a log's propensities cannot weight rows, as a clause; None: they can."""
    if PROPENSITY not in log.events.collect_schema().names():
        return f"the log has no column {PROPENSITY}, log it"
    return check_propensities(log)


def _auxiliary(
    outcome: Outcome,
    expected: Doubles,
    labels: pl.DataFrame,
    rows: _Rows,
    window: Split,
    **setting: Any,
) -> AuxiliaryTask:
    """`assess_auxiliary` of one outcome, on the events of the test days."""
    before = outcome.parts(outcome.label(rows.known, window.validation_end).collect())
    test = (labels[DAY] >= window.validation_end).to_numpy()
    parts = outcome.parts(labels.filter(test))
    count = before.known.sum(0)
    average = np.divide((before.values * before.known).sum(0), count, out=np.full(len(count), np.nan), where=count > 0)
    return assess_auxiliary(
        expected[test],
        parts.values,
        parts.known,
        average,
        rows=rows.all.filter(test),
        unit=outcome.unit,
        parts=parts.names,
        **setting,
    )


def _slices(window: Split) -> list[pl.Expr]:
    """Who was new, who was heavy and which items were unseen when the function had been trained."""
    before = pl.col(DAY) < window.validation_end
    active_days = pl.col(DAY).filter(before).n_unique().over(USER)
    return [
        (~before.any().over(USER)).alias(f"{SLICE}new users"),
        (active_days >= active_days.quantile(HEAVY_SHARE)).alias(f"{SLICE}heavy users"),
        (~(pl.col(DAY) < window.train_end).any().over(ITEM)).alias(f"{SLICE}unseen items"),
    ]
