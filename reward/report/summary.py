"""An assessment in three sentences for anybody in a product team, true to the intervals and the verdict."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import shorten
from typing import Any

from reward.causal.diagnostics.summary import LOGGED, Verdict, no_push, points_of, verdict
from reward.evaluation.estimates import ACTIVITY, Json
from reward.evaluation.policy_values import LEANING
from reward.text import Estimate, amount, negated, places, readable, side_of_zero

HEADS = ("Forecast", "Effects", "Next")


def in_short(
    assessment: Json, effects: Mapping[str, Any] | None, forecast: Mapping[str, Any] | None = None
) -> list[str]:
    """How well the outcome is forecast, whether showing an item changes it, and what to do next.

    Args:
        assessment: what `reward.evaluation.results.assess` returned, and its ``canary``.
        effects: the account of effects that the artefact keeps; None or empty: there is none.
        forecast: what the artefact says of what training gained over past activity; None: it did not start there.

    Returns:
        Three sentences, one for each of `HEADS`, which they do not repeat.
    """
    gain = _gain(assessment)
    return [_forecast(gain, assessment, forecast), _effects(effects), _next(gain, assessment, effects)]


def _gain(assessment: Json) -> Estimate | None:
    """What the model has less of in log-loss than past activity alone."""
    found = assessment["differences"].get(ACTIVITY)
    return None if found is None else negated(found["log_loss"])


def _forecast(gain: Estimate | None, assessment: Json, forecast: Mapping[str, Any] | None) -> str:
    if forecast and forecast["share"] == 0:
        return "that of past activity alone, for training gained nothing over it (the report says what was tried)."
    if gain is None:
        return "not compared with past activity alone, which was not fitted."
    told = amount(gain, unit=" nats a day", level=assessment["level"])
    days = f"the next {assessment['horizon_days']} days" if assessment["horizon_days"] > 1 else "the next day"
    return {
        "above": f"better than past activity alone over {days} (gain {told}).",
        "open": f"no better than past activity alone over {days}, as far as this log shows (gain {told}).",
        "below": f"worse than past activity alone over {days} (gain {told}).",
        "unknown": f"whether it is better than past activity alone cannot be said from so few users (gain {told}).",
    }[side_of_zero(gain)]


def _effects(found: Mapping[str, Any] | None) -> str:
    said = verdict(found)
    if not found or said is Verdict.NOT_ESTIMATED:
        why = (found or {}).get("reason") or "the artefact keeps no account of them"
        return f"not estimated. {shorten(why[0].upper() + why[1:].rstrip('.'), 170, placeholder=' ...')}."
    evidence, changed = _evidence(found), points_of(found).changed
    doubt = "propensities are estimated" if found["propensities"] != LOGGED else "balance was not checked"
    return {
        Verdict.SUPPORTED: f"showing an item changes {changed}{evidence}.",
        Verdict.TO_BE_TESTED: f"showing an item seems to change {changed}{evidence}, but {doubt}.",
        Verdict.CONFOUNDED: "none is claimed. Who is shown what follows something that the propensities leave out, so "
        "differences need not come from the items.",
        Verdict.NOT_DETECTED: f"none that this log can tell from zero{evidence}, so do not push on them.",
        Verdict.CONTRADICTED: f"contradicted{evidence}, so do not push on them.",
    }[said]


def _evidence(found: Mapping[str, Any]) -> str:
    """What held-out users show: of rewards, or of the effects of items where these decide the verdict."""
    rewards, personal = found.get("rewards"), found.get("personal")
    candidates = [("reward", rewards), ("effect", found), ("personal effect", personal)]
    there = [(name, it) for name, it in candidates if it is not None and it["interval"] is not None]
    weak = [(name, it) for name, it in there if it["interval"][0] <= 0 and name != "personal effect"]
    against = [(name, it) for name, it in there if it["interval"][1] < 0]
    if not there or (verdict(found) is Verdict.NOT_DETECTED and not weak):
        return ": all estimates are the same"
    name, it = (against or weak or there)[0]
    low, high = it["interval"]
    decimals = min(places([{"value": it["slope"], "low": low, "high": high}]), 2)
    slope, low, high = (readable(number, decimals) for number in (it["slope"], low, high))
    told = points_of(found)
    return f": held-out users show {slope} {told.many} for each {told.one} of {name} (95% interval {low} to {high})"


def _next(gain: Estimate | None, assessment: Json, found: Mapping[str, Any] | None) -> str:
    leaks = [it["column"] for it in assessment.get("canary", {}).get("columns", []) if it["leaks"]]
    if leaks:
        return (
            f"leave out {', '.join(leaks)} and train again: it seems to be filled in after its rows, so no figure here "
            "can be trusted."
        )
    logged = found is not None and found.get("propensities") == LOGGED
    forecasts = gain is not None and side_of_zero(gain) == "above"
    said = verdict(found)
    if no_push(found) is None and _loses(assessment):
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


def _loses(assessment: Json) -> bool:
    """Whether an off-policy estimate says that leaning on the mean reward lowers the outcome."""
    estimates = assessment.get("policies", {}).get("estimates", [])
    leaning = [it["change"] for it in estimates if it["policy"] == LEANING and it["outcome"] == estimates[0]["outcome"]]
    return any(it is not None and side_of_zero(it) == "below" for it in leaning)


def _limit(found: Mapping[str, Any] | None) -> str:
    """How far to lean on the mean reward, where that was looked at."""
    push = ((found or {}).get("push") or {}).get("0")
    if not push or not push["divergence"]:
        return ""
    if not push["limit"]:
        return ", leaning on them little, for no gain from leaning is certain"
    return f", at most {push['limit']:g} nats from what is shown today"
