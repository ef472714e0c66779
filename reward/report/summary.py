"""An evaluation in three sentences for anybody in a product team, true to the intervals and the verdict."""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import shorten

from reward.causal.diagnostics.summary import LOGGED, EffectSummary, HeldOutSlope, Verdict, no_push, verdict
from reward.evaluation.estimates import Estimate
from reward.evaluation.findings import Evaluation
from reward.evaluation.policy_values import LEANING
from reward.report.text import amount, places, readable

HEADS = ("Forecast", "Effects", "Next")


@dataclass(frozen=True)
class TrainingGain:
    """What an artefact keeps of what training gained over past activity.

    Attributes:
        share: of the network's correction that is kept; 0: training gained nothing.
        sentence: what it gained, and what was tried.
    """

    share: float
    sentence: str


def in_short(evaluation: Evaluation, effects: EffectSummary | None, forecast: TrainingGain | None = None) -> list[str]:
    """How well the outcome is forecast, whether showing an item changes it, and what to do next.

    Args:
        evaluation: of the artefact.
        effects: the summary of effects that the artefact keeps; None: there is none.
        forecast: what training gained over past activity; None: it did not start there.

    Returns:
        Three sentences, one for each of `HEADS`, which they do not repeat.
    """
    gain = evaluation.gain
    return [_forecast(gain, evaluation, forecast), _effects(effects), _next(gain, evaluation, effects)]


def _forecast(gain: Estimate | None, evaluation: Evaluation, forecast: TrainingGain | None) -> str:
    if forecast is not None and forecast.share == 0:
        return "the same as past activity alone, because training gained nothing over it (see the report)."
    if gain is None:
        return "not compared with past activity alone, which was not fitted."
    gained = amount(gain, unit=" nats a day", level=evaluation.level)
    days = f"the next {evaluation.horizon_days} days" if evaluation.horizon_days > 1 else "the next day"
    return {
        "above": f"better than past activity alone over {days} (gain {gained}).",
        "open": f"no better than past activity alone over {days}, as far as this log shows (gain {gained}).",
        "below": f"worse than past activity alone over {days} (gain {gained}).",
        "unknown": f"there are too few users to say whether it is better than past activity alone (gain {gained}).",
    }[gain.side_of_zero]


def _effects(found: EffectSummary | None) -> str:
    said = verdict(found)
    if found is None or said is Verdict.NOT_ESTIMATED:
        why = (found and found.reason) or "the artefact keeps no summary of effects"
        return f"not estimated. {shorten(why[0].upper() + why[1:].rstrip('.'), 170, placeholder=' ...')}."
    evidence, changed = _evidence(found), found.unit.changed
    doubt = "propensities are estimated" if found.propensities != LOGGED else "balance was not checked"
    return {
        Verdict.SUPPORTED: f"showing an item changes {changed}{evidence}.",
        Verdict.TO_BE_TESTED: f"showing an item seems to change {changed}{evidence}, but {doubt}.",
        Verdict.CONFOUNDED: "none is claimed. The service chooses whom to show an item by something that the "
        "propensities leave out, so differences need not come from the items.",
        Verdict.NOT_DETECTED: f"none that this log can distinguish from zero{evidence}, so do not act on them.",
        Verdict.CONTRADICTED: f"contradicted{evidence}, so do not act on them.",
    }[said]


def _evidence(found: EffectSummary) -> str:
    """What held-out users show: of rewards, or of the effects of items where these decide the verdict."""
    candidates = {"reward": found.rewards, "effect": found.items, "personal effect": found.personal}
    there = {name: (it, it.interval) for name, it in candidates.items() if it is not None and it.interval is not None}
    weak = [name for name, (_, interval) in there.items() if interval[0] <= 0 and name != "personal effect"]
    against = [name for name, (_, interval) in there.items() if interval[1] < 0]
    if not there or (verdict(found) is Verdict.NOT_DETECTED and not weak):
        return ": all estimates are the same"
    name = (against or weak or list(there))[0]
    slope, interval = _slope(*there[name], found)
    return f": held-out users show {slope} for each {found.unit.one} of {name} {interval}"


def _slope(part: HeldOutSlope, interval: tuple[float, float], found: EffectSummary) -> tuple[str, str]:
    """A slope with its unit, and its interval in brackets."""
    decimals = min(places([Estimate(part.slope, *interval)]), 2)
    slope, low, high = (readable(number, decimals) for number in (part.slope, *interval))
    return f"{slope} {found.unit.many}", f"(95% interval {low} to {high})"


def _next(gain: Estimate | None, evaluation: Evaluation, found: EffectSummary | None) -> str:
    columns = () if evaluation.leakage is None else evaluation.leakage.columns
    leaks = [it.column for it in columns if it.leaks]
    if leaks:
        return (
            f"leave out {', '.join(leaks)} and train again: it seems to be filled in after its rows, so no figure here "
            "can be trusted."
        )
    logged = found is not None and found.propensities == LOGGED
    forecasts = gain is not None and gain.side_of_zero == "above"
    said = verdict(found)
    if no_push(found) is None and _loses(evaluation):
        return (
            "before a ranker is trained on the rewards, find out why leaning on them loses on the test days (Other "
            "policies in the report)."
        )
    until = "until then, use the forecasts and not the rewards" if forecasts else "until then, do not use the rewards"
    log_them = "log the chance of each item shown (propensity) and train again"
    explore = "log more days, or let the service try more items at random, and train again"
    return {
        Verdict.SUPPORTED: f"train a ranker on the rewards and try it in an A/B test{_limit(found)}.",
        Verdict.TO_BE_TESTED: f"try the rewards in a small A/B test{_limit(found)}"
        + ("; log more days so that balance can be checked." if logged else f"; {log_them}."),
        Verdict.CONFOUNDED: f"find what the service follows that its propensities leave out; {until}."
        if logged
        else f"{log_them}; {until}.",
        Verdict.NOT_DETECTED: f"{explore if logged else log_them}; {until}.",
        Verdict.CONTRADICTED: f"check how propensities are logged; {until}." if logged else f"{log_them}; {until}.",
        Verdict.NOT_ESTIMATED: "use the forecasts; rewards are differences of forecasts here, and no effects."
        if forecasts
        else "see the report for what the log lacks; rewards are differences of forecasts here, and no effects.",
    }[said]


def _loses(evaluation: Evaluation) -> bool:
    """Whether an off-policy estimate says that leaning on the mean reward lowers the outcome."""
    if evaluation.policies is None:
        return False
    outcome = evaluation.policies.outcomes[:1]
    leaning = [it for it in evaluation.policies.estimates if it.policy == LEANING and [it.outcome] == outcome]
    return any(it.change is not None and it.change.side_of_zero == "below" for it in leaning)


def _limit(found: EffectSummary | None) -> str:
    """How far to lean on the mean reward, where that was looked at."""
    push = None if found is None or found.policy_shifts is None else found.policy_shifts.get("0")
    if push is None or not push.divergence:
        return ""
    if not push.limit:
        return ", leaning on them little, because no gain from leaning is certain"
    return f", at most {push.limit:g} nats from what is shown today"
