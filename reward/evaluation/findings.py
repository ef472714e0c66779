"""What evaluation finds of a scoring function, as numbers: what a report shows and ``metrics.json`` keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from reward.evaluation.auxiliary_tasks import AuxiliaryTask
from reward.evaluation.estimates import ACTIVITY, Estimate, Flat, Missing
from reward.evaluation.leakage import Leakage
from reward.evaluation.log_carries import LogCarries
from reward.evaluation.past_experiments import PastExperiments
from reward.evaluation.policy_values import PolicyValues
from reward.evaluation.simulated_truth import AgainstTruth
from reward.evaluation.value_decomposition import RewardDistribution, ValueDecomposition
from reward.outcomes.protocol import Points
from reward.records import Kept


@dataclass(frozen=True)
class DayMetric:
    """A metric on one day ahead.

    Attributes:
        day: after the row's, from 1.
        estimate: the metric, or the difference of two.
        rows: with something observed.
        users: of these rows.
    """

    day: int
    estimate: Flat
    rows: int
    users: int


@dataclass(frozen=True)
class Metric:
    """A metric over the horizon, and on each day where it has days.

    Attributes:
        estimate: the metric, or the difference of two.
        rows: with something observed.
        users: of these rows.
        by_day: from the first.
    """

    estimate: Flat
    rows: int
    users: int
    by_day: tuple[DayMetric, ...] = ()


@dataclass(frozen=True)
class Metrics:
    """The metrics of a forecast, or their differences between two forecasts.

    Attributes:
        log_loss: nats a day.
        brier: squared error of the probability.
        auc: the chance that of an active and an absent user the first got the higher probability.
        calibration_error: expected, over bins of equal mass.
        c_index: of the return time.
        active_days_predicted: a row.
        active_days_ratio: predicted over observed.
        active_days_observed: a row; None in a difference, where it is one number for both.
    """

    log_loss: Metric
    brier: Metric
    auc: Metric
    calibration_error: Metric
    c_index: Metric
    active_days_predicted: Metric
    active_days_ratio: Metric
    active_days_observed: Annotated[Metric | None, Kept(omit_empty=True)] = None


@dataclass(frozen=True)
class Slice:
    """The model on a slice of the rows; None where it has too few users, or there is nothing to gain on.

    Attributes:
        name: of the slice.
        rows: in it of which a day is known.
        users: of these rows.
        measured: it has users enough.
        log_loss: of the model, nats a day.
        gain: in log-loss over past activity alone.
        predicted: active days a row.
        observed: active days a row.
    """

    name: Annotated[str, Kept("slice")]
    rows: int
    users: int
    measured: bool
    log_loss: Estimate | None = None
    gain: Estimate | None = None
    predicted: Estimate | None = None
    observed: Estimate | None = None


@dataclass(frozen=True)
class Bin:
    """Rows of similar forecasts: their mean forecast, the share that came true, and how many they are."""

    predicted: float
    observed: Estimate
    rows: int


@dataclass(frozen=True)
class DayReliability:
    """How often users came, by their forecast probability, on one day ahead."""

    day: int
    bins: tuple[Bin, ...]


@dataclass(frozen=True)
class Evaluation:
    """What test rows say of a scoring function.

    Attributes:
        model: the name of its forecast.
        unit: of values and rewards.
        points: how amounts of the outcome are called.
        click: the feedback that says that an item was taken up; None: the log has none.
        horizon_days: of the outcome.
        rows: that were judged.
        users: of these rows.
        items: in these rows.
        observed_days: known days of these rows, together.
        bins: of the calibration error, the reliability and the items by click rate.
        min_slice_users: a slice with fewer is not measured.
        min_item_rows: an item with fewer has no click rate.
        resamples: of users, for intervals.
        seed: of the resamples.
        level: of the intervals.
        metrics: of each forecast, by name, the model first.
        differences: of the model and each other forecast: the model minus it.
        carries: how much of what can be predicted past activity carries alone, and what the rest adds.
        slices: of the rows, all of them first.
        reliability: of the model and of past activity alone.
        decomposition: of the value, in steps.
        reward: how rewards are distributed.
        missing: what could not be computed.
        auxiliary: what else is predicted, by name.
        leakage: columns that know what comes after; None: not looked at.
        policies: what other policies would have been worth; None: not estimated.
        no_policies: why not; None: they were, or it was not asked.
        truth: of a simulated world; None: it is not known.
        experiments: past ones; None: there are none.
    """

    model: str
    unit: str
    points: Points
    click: Annotated[str | None, Kept("feedback")]
    horizon_days: int
    rows: int
    users: int
    items: int
    observed_days: int
    bins: int
    min_slice_users: int
    min_item_rows: int
    resamples: int
    seed: int
    level: float
    metrics: Mapping[str, Metrics]
    differences: Mapping[str, Metrics]
    carries: Annotated[LogCarries, Kept("carry")]
    slices: tuple[Slice, ...]
    reliability: Mapping[str, tuple[DayReliability, ...]]
    decomposition: Annotated[ValueDecomposition, Kept("ledger")]
    reward: RewardDistribution
    missing: Annotated[tuple[Missing, ...], Kept("notes")] = ()
    auxiliary: Annotated[Mapping[str, AuxiliaryTask], Kept("further")] = field(default_factory=dict)
    leakage: Annotated[Leakage | None, Kept("canary", omit_empty=True)] = None
    policies: Annotated[PolicyValues | None, Kept(omit_empty=True)] = None
    no_policies: Annotated[str | None, Kept("no policies", omit_empty=True)] = None
    truth: Annotated[AgainstTruth | None, Kept(omit_empty=True)] = None
    experiments: Annotated[PastExperiments | None, Kept(omit_empty=True)] = None

    @property
    def gain(self) -> Estimate | None:
        """What the model gains in log-loss over past activity alone; None: that was not fitted."""
        found = self.differences.get(ACTIVITY)
        return None if found is None else -found.log_loss.estimate
