"""What was found of effects, in sentences: for an artefact's card, and for all that is above it."""

from __future__ import annotations

from collections.abc import Mapping
from math import floor, log10

from reward.causal.diagnostics.summary import (
    EffectSummary,
    HeldOutSlope,
    PropensityCheck,
    ShiftCurve,
    Verdict,
    no_push,
    verdict,
)


def effect_sentences(found: EffectSummary) -> list[str]:
    """What was found of effects: the verdict first, the warning apart."""
    if found.reason is not None:
        return [f"Effects of items were not estimated: {found.reason}"]
    return [
        _of_items(found),
        *([] if found.personal is None or found.rewards is None else [_of_users(found, found.rewards, found.personal)]),
        *([] if not found.policy_shifts else [_leaning(found, found.policy_shifts)]),
        *([] if found.policy is None else [_of_the_policy(found.policy.calibration)]),
        *([] if found.balance is None else found.balance.sentences),
        *([found.chosen.sentence] if found.chosen is not None and found.chosen.sentence else []),
    ]


def _of_items(found: EffectSummary) -> str:
    if found.items.interval is None:
        return "Effects of items cannot be distinguished from zero: all estimates are the same."
    low, high = found.items.interval
    seen = (
        f"for each {found.unit.one} of predicted effect, held-out users show {_slope(found.items, found)}, with "
        f"{found.propensities} propensities"
    )
    if low <= 0 <= high:
        return f"Effects of items cannot be distinguished from zero: {seen}."
    if high < 0:
        return f"Held-out users contradict the effects of items: {seen}."
    if found.flagged:
        return (
            f"No effect of items is claimed: {seen}, but these fail their balance check, so the difference can come "
            "from who was shown an item as well as from the item."
        )
    return f"Held-out users confirm the effects of items: {seen}."


def _of_users(found: EffectSummary, rewards: HeldOutSlope, personal: HeldOutSlope) -> str:
    """Whether it is known what an item does to one user rather than another."""
    one = found.unit.one
    if personal.interval is None or rewards.interval is None:
        return "What a user likes and has already seen makes no difference that this log can show."
    seen = (
        f"for each predicted {one} of it, held-out users show {_slope(personal, found)}; for each {one} of reward, "
        f"which adds it to the effect of the item, {_slope(rewards, found)}"
    )
    low, high = personal.interval
    if low > 0 and found.flagged:
        return f"No effect of what a user likes and has already seen is claimed either: {seen}."
    if low > 0:
        return f"Held-out users confirm that effects depend on what a user likes and has already seen: {seen}."
    if high < 0:
        return f"Held-out users contradict the personal part of rewards: {seen}."
    return f"What a user likes and has already seen makes no difference that this log can show: {seen}."


def _slope(part: HeldOutSlope, found: EffectSummary) -> str:
    slope, low, high = (_number(it, 2) for it in (part.slope or 0.0, *(part.interval or ())))
    return f"{slope} {found.unit.many} (95% interval {low} to {high})"


def _number(value: float, decimals: int) -> str:
    """With a minus sign where it is below zero as written."""
    text = f"{value:.{decimals}f}"
    return text.replace("-", "−") if float(text) else text.removeprefix("-")


def _leaning(found: EffectSummary, shifts: Mapping[str, ShiftCurve]) -> str:
    """How far a ranker may lean on the rewards, or on the effects where these are all there is."""
    what = "the effects of items" if found.rewards is None else "rewards"
    if (why := no_push(found)) is not None:
        return f"A ranker should not lean on {what}: {why}."
    said = []
    for kappa, it in shifts.items():
        whose = "their mean" if float(kappa) == 0 else f"their mean minus {kappa} standard deviation"
        if not it.limit:
            said.append(f"by {whose}, no gain is certain at any distance")
            continue
        at = it.divergence.index(it.limit)
        half = max((it.high[at] - it.low[at]) / 2, 1e-9)
        decimals = min(max(1 - floor(log10(half)), 2), 6)  # two digits of the half-width
        realized, low, high, predicted = (
            _number(column[at], decimals) for column in (it.realized, it.low, it.high, it.predicted)
        )
        said.append(
            f"by {whose}, up to {it.limit:g} nats from what was shown, where held-out users gain {realized} "
            f"{found.unit.many} an exposure (95% interval {low} to {high}) of {predicted} predicted"
        )
    limit = "How far a ranker can lean" if verdict(found) is Verdict.SUPPORTED else "How far an experiment could lean"
    return f"{limit} on {what}: {'; '.join(said)}."


def _of_the_policy(check: PropensityCheck) -> str:
    holds = "does not hold" if check.flagged else "holds"
    return (
        f"The model of what the service shows {holds} for held-out users: log-likelihood "
        f"{_number(check.held_out_log_likelihood, 2)} a row ({_number(check.uniform_log_likelihood, 2)} if every item "
        f"were as likely), agreement of the residuals by item and activity z = {_number(check.z, 1)}."
    )
