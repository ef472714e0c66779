"""What an evaluation found, in sentences that its intervals carry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from reward.evaluation.auxiliary_tasks import AuxiliaryTask
from reward.evaluation.early_readout import AGREED, EarlyReadout
from reward.evaluation.estimates import (
    ACTIVITY,
    ACTIVITY_FEEDBACK,
    BASE_RATE,
    EVERYTHING,
    LIGHTGBM,
    ROUNDING,
    Estimate,
    Missing,
)
from reward.evaluation.findings import Evaluation
from reward.evaluation.leakage import Leakage, Suspect
from reward.evaluation.log_carries import Increment
from reward.evaluation.policy_values import PolicyEstimate, PolicyValues
from reward.evaluation.simulated_truth import MIN_ITEMS, AgainstTruth
from reward.off_policy.feedback import MOST_OFF
from reward.report.text import amount, figures, interval_name, percentage, places, readable

_KNOWS: dict[str, tuple[str, ...]] = {
    BASE_RATE: (),
    ACTIVITY: ("past activity",),
    ACTIVITY_FEEDBACK: ("past activity", "feedback"),
    EVERYTHING: ("past activity", "feedback", "item information"),
}
_NO_CLICK = "Clicks were not compared: no feedback column is named as the click. Name it with data.click=NAME."


def summary_sentences(evaluation: Evaluation) -> list[str]:
    """Which columns leak, what carries the forecast, the model against its rivals, and against the truth if known."""
    return [
        *leak_sentences(evaluation.leakage),
        *forecast_sentences(evaluation),
        *auxiliary_sentences(evaluation.auxiliary),
        *truth_sentences(evaluation.truth, unit=evaluation.unit, click=evaluation.click, level=evaluation.level),
    ]


def missing_sentence(missing: Missing) -> str:
    """What could not be computed, and why."""
    return f"{missing.what}: {missing.why}" if missing.why else missing.what


def leak_sentences(leakage: Leakage | None) -> list[str]:
    """Each column that leaks: what is wrong with it, and what to do."""
    return [] if leakage is None else [leak_sentence(it) for it in leakage.columns if it.leaks]


def leak_sentence(column: Suspect) -> str:
    """What is wrong with a column that leaks, and what to do."""
    return (
        f"{column.column} explains {column.after:.0%} of the active days after a row and {column.before:.0%} of those "
        "before it: it seems to be filled in later than the row. Leave it out of data.feedback, data.context and "
        "data.item_features, or log what was known at that moment."
    )


def forecast_sentences(evaluation: Evaluation) -> list[str]:
    """What carries the forecast, and how the model compares with its rivals."""
    model, level = evaluation.model, evaluation.level
    said = [_increment(step, evaluation) for step in evaluation.carries.increments if step.upper != model]
    differences = evaluation.differences
    rivals = [name for name in (ACTIVITY, EVERYTHING, LIGHTGBM) if name in differences] or list(differences)
    for rival in rivals:
        gain = -differences[rival].log_loss.estimate
        gained = amount(gain, unit=" nats a day", level=level)
        said.append(
            {
                "above": f"{model} predicts better than {rival} ({gained})",
                "open": f"{model} and {rival} predict alike as far as this log shows ({gained})",
                "below": f"{model} predicts worse than {rival} ({gained})",
                "unknown": f"whether {model} predicts better than {rival} is unknown ({gained})",
            }[gain.side_of_zero]
        )
    return [f"{text[0].upper()}{text[1:]}." for text in said]


def _increment(step: Increment, evaluation: Evaluation) -> str:
    """What one more kind of knowledge adds."""
    known, level = _KNOWS[step.lower], evaluation.level
    news = [part for part in _KNOWS[step.upper] if part not in known]
    subject, s = " and ".join(news), "" if news[1:] else "s"
    before = f"the prediction from {' and '.join(known)}" if known else f"the {BASE_RATE}"
    gained = amount(step.gain, unit=" nats a day", level=level)
    text = {
        "above": f"{subject} improve{s} on {before} ({gained})",
        "open": f"{subject} add{s} nothing that this log can show ({gained})",
        "below": f"{subject} make{s} {before} worse ({gained})",
        "unknown": f"whether {subject} improve{s} on {before} is unknown ({gained})",
    }[step.gain.side_of_zero]
    shares = evaluation.carries.share
    share = shares.by.get(ACTIVITY)
    if step.upper == ACTIVITY and share is not None and share.interval is not None:
        text += f"; this is {percentage(share, level=level)} of what {shares.of} gains on it"
    return text


def auxiliary_sentences(tasks: Mapping[str, AuxiliaryTask]) -> list[str]:
    """Each auxiliary task: its skill, and whether its predictions add up."""
    said = []
    for name, task in tasks.items():
        if task.skill is None:
            said.append(f"{name} ({task.unit}): not measured, because {task.reason}.")
            continue
        skill = _bracketed(task.skill)
        better = {
            "above": f"explains {skill} of the variance that the average leaves",
            "open": f"is forecast no better than by the average, as far as this log shows (skill {skill})",
            "below": f"is forecast worse than by the average (skill {skill})",
            "unknown": f"has a skill of {skill}",
        }[task.skill.side_of_zero]
        said.append(f"{name} ({task.unit}) {better}; predicted over observed is {_bracketed(task.slices[0].ratio)}.")
    return said


def _bracketed(estimate: Estimate) -> str:
    value, ends = figures(estimate)
    if value is None:
        return "unknown"
    return f"{value} with no interval" if ends is None else f"{value} [{ends}]"


def decomposition_sentences(evaluation: Evaluation) -> list[str]:
    """Whether the reward is the exposure step, and whether surprise depends on the click rate."""
    found, click = evaluation.decomposition, evaluation.click
    together = amount(found.correlation, unit="", level=evaluation.level)
    slope, of_item = amount(found.slope, unit="", level=evaluation.level), f"an item's mean {click}"
    return [
        f"The reward is the exposure step on every row, within {found.largest_difference:.1g} {evaluation.unit}."
        if found.largest_difference <= ROUNDING
        else "The reward is not the exposure step, which is a difference of forecasts: their correlation over rows is "
        f"{together}.",
        _NO_CLICK
        if click is None
        else {
            "above": f"Surprise rises with {of_item} (slope {slope}): items with much of it are underrated.",
            "open": f"Surprise does not depend on {of_item} as far as this log shows (slope {slope}).",
            "below": f"Surprise falls with {of_item} (slope {slope}): items with much of it are overrated.",
            "unknown": f"Whether surprise depends on {of_item} is unknown (slope: {slope}).",
        }[found.slope.side_of_zero],
    ]


def reward_sentences(evaluation: Evaluation) -> list[str]:
    """How many rewards stand out from their standard deviation, and whether the reward follows the click rate."""
    found, level = evaluation.reward, evaluation.level
    correlation, rate = found.click_correlation.estimate, f"its mean {evaluation.click}"
    measured = amount(correlation, unit="", level=level)
    return [
        "How many rewards stand out from their standard deviation is unknown."
        if found.beyond_two_std.value is None
        else f"On {percentage(found.beyond_two_std, level=level)} of the rows the reward is more than two of its "
        "standard deviations away from zero.",
        _NO_CLICK
        if evaluation.click is None
        else {
            "above": f"An item's mean reward rises with {rate} (correlation {measured}).",
            "open": f"An item's mean reward does not depend on {rate} as far as this log shows "
            f"(correlation {measured}).",
            "below": f"An item's mean reward falls with {rate} (correlation {measured}).",
            "unknown": f"Whether an item's mean reward depends on {rate} is unknown (correlation: {measured}).",
        }[correlation.side_of_zero],
    ]


def policy_sentences(found: PolicyValues) -> list[str]:
    """What each policy changes of the outcome and of clicks, and where its weights do not average 1."""
    said, level = [], found.level
    outcomes = {*found.outcomes[:1], found.click}
    for weights in found.weights:
        name, mean = weights.policy, weights.mean
        changes = [it for it in found.estimates if it.policy == name and it.outcome in outcomes]
        said.append(f"{name[0].upper()}{name[1:]}: {'; '.join(_change(it, level) for it in changes)}.")
        if mean.minus(1).side_of_zero not in ("open", "unknown") and abs((mean.value or 0.0) - 1) > MOST_OFF:
            said.append(
                f"The weights of {name!r} average {amount(mean, unit='', level=level)}, and should average 1: the "
                "propensities are wrong, or the policy shows what was never tried."
            )
    return said


def _change(estimate: PolicyEstimate, level: float) -> str:
    outcome, change = estimate.outcome, estimate.change
    if change is None or change.value is None or change.interval is None:
        return f"no estimate of {outcome}, with {estimate.brief}"
    decimals = places([change])
    value, low, high = (readable(end, decimals) for end in (change.value, *change.interval))
    sign = "+" if change.value > 0 else ""
    by = f"{sign}{value} ({interval_name(level)} {low} to {high}) on {estimate.ran:.3g}"
    if change.side_of_zero == "open":
        return f"no change of {outcome} that this log can show, {by}"
    return f"{outcome} {by}"


def early_sentences(found: EarlyReadout, level: float) -> list[str]:
    """From when on each surrogate decides tests as the whole horizon does."""
    return list(_early(found, level))


def _early(found: EarlyReadout, level: float) -> Iterator[str]:
    horizon = found.horizon_days
    for name in dict.fromkeys(it.surrogate for it in found.agreement):
        mine = [it for it in found.agreement if (it.surrogate, it.measure) == (name, "consistent")]
        rows = sorted(mine, key=lambda it: it.day)
        late = [at for at, it in enumerate(rows) if it.estimate.value is not None and it.estimate.value < AGREED]
        first = late[-1] + 1 if late else 0
        when = f"from day {rows[first].day} on" if first < len(rows) else "on no day that was read"
        middle = rows[int(np.argmin([abs(it.day - horizon / 2) for it in rows]))]
        yield (
            f"{name[0].upper()}{name[1:]}: {AGREED:.0%} or more of the tests are decided as after {horizon} days "
            f"{when}; after {middle.day} days {percentage(middle.estimate, level=level)}."
        )


def truth_sentences(found: AgainstTruth | None, *, unit: str, click: str | None, level: float) -> list[str]:
    """How clicks and learned rewards of items agree with what showing them truly does; none where it is unknown."""
    if found is None:
        return []
    if found.items < MIN_ITEMS or found.spread is None or found.covered is None:
        return [f"{found.items} items were shown often enough to be compared with the truth: too few."]
    if found.nothing:
        return [
            "Nothing that is shown in this world changes what users do: every true effect is 0. The learned rewards of "
            f"{found.items} items have a standard deviation of {found.spread.reward:.3f} {unit}, and "
            f"{found.covered:.0%} of their 95% intervals hold the truth."
        ]
    clicked, reward = (_correlates(found.correlation[name], level) for name in ("click rate", "learned reward"))
    worth = (
        "What a day of learned reward is in truth is unknown"
        if found.slope is None
        else f"A day of learned reward is {readable(found.slope, 2)} days in truth"
    )
    what = "what showing an item truly does"
    return [
        *([] if click is None else [f"Over {found.items} items, mean {click} {clicked} with {what}."]),
        f"The learned reward {reward} with {'it' if click else what}.",
        f"{worth}; {found.covered:.0%} of its 95% intervals hold the truth.",
    ]


def _correlates(estimate: Estimate, level: float) -> str:
    measured = amount(estimate, unit="", level=level)
    if estimate.side_of_zero == "open":
        return f"has no correlation that these items can show ({measured})"
    return f"correlates {measured},"
