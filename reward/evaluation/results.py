"""What test rows say about a reward model, in numbers: all that a report shows and a table prints.

Intervals resample users. Where something cannot be computed, ``missing`` says why.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy.typing as npt
import polars as pl

from reward.arrays import Bools
from reward.evaluation.estimates import ACTIVITY, Estimate
from reward.evaluation.evaluator import Evaluator, JudgedLog
from reward.evaluation.findings import Evaluation
from reward.outcomes.protocol import DAYS, Points
from reward.statistics.bootstrap import Resamples
from reward.statistics.sums import fold


def assess(
    predictions: Mapping[str, npt.ArrayLike],
    trace: Bools,
    observed: Bools,
    *,
    rows: pl.DataFrame,
    model: str,
    unit: str,
    click: str | None,
    resamples: int,
    seed: int,
    level: float,
    bins: int,
    min_slice_users: int,
    min_item_rows: int,
    points: Points = DAYS,
) -> Evaluation:
    """Measure a reward model, its baselines, the steps of its value and its rewards on test rows.

    An item's click rate is its mean of ``click``. Where surprise is grouped by it, it is the rate
    among the other half of the users: with a row's own click on both sides, surprise would rise with it in a
    perfect model too. The correlation of click rate with mean reward is over items, weighted by rows. Its interval, and
    that of the correlation of reward with exposure, resamples the covariance alone. The standard deviations stay as
    they are, because resampling would add noise to them.

    Args:
        predictions: probabilities (n, H) of being active on each day, by name. Beside ``model`` the names
            ``base rate``, ``feedback only``, ``activity only``, ``activity + feedback``,
            ``activity + feedback + items`` and ``LightGBM`` have a meaning; any of them may be absent.
        trace: bool (n, H): was active.
        observed: bool (n, H): the bit is known.
        rows: the n rows: ``user_id``, ``item_id``, the click under the name that `of_log` gives it,
            ``value_before``, ``value_exposed``, ``value_after``, ``value_previous`` (null at a user's first row),
            ``reward``, ``reward_std`` and any bool columns ``slice: …``.
        model: name of the reward model's prediction.
        unit: of values and rewards.
        click: the log's feedback that says that an item was taken up; None: it has none, and rewards and surprise are
            not compared with it.
        resamples: number of resamples of users.
        seed: of the resamples and of the halves of the users.
        level: of the intervals, in (0, 1).
        bins: number of groups of equal mass, for the calibration error, the reliability and the items by click rate.
        min_slice_users: a slice with fewer is named and not measured.
        min_item_rows: an item with fewer has no click rate.
        points: how amounts of the outcome are called.

    Returns:
        What was asked for and what was found. `evaluate_function` adds the rest.

    Raises:
        ValueError: a prediction, column or row is missing or unusable, nothing is observed, or all rows are of
            one user.

    """
    settings = Evaluator(
        model=model,
        unit=unit,
        click=click,
        resamples=Resamples(resamples, seed),
        level=level,
        bins=bins,
        min_slice_users=min_slice_users,
        min_item_rows=min_item_rows,
        points=points,
    )
    return fold(settings, [JudgedLog(predictions, trace, observed, rows)])


def overview(evaluation: Evaluation) -> dict[str, list[Estimate | None]]:
    """Columns that sum an evaluation up, over the horizon: an estimate for each prediction, None if there is none."""
    metrics = evaluation.metrics.values()
    gains = evaluation.carries.gains.get(ACTIVITY, {})
    return {
        "log-loss": [it.log_loss.estimate for it in metrics],
        f"gain over {ACTIVITY}": [
            None if name == ACTIVITY or name not in gains else gains[name].total for name in evaluation.metrics
        ],
        "Brier": [it.brier.estimate for it in metrics],
        "AUC": [it.auc.estimate for it in metrics],
        "C-index": [it.c_index.estimate for it in metrics],
        "calibration error": [it.calibration_error.estimate for it in metrics],
    }
