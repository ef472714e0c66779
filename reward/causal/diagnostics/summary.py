"""What the second stage found, as plain values and in plain words, for whoever reads of it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from math import floor, isfinite, log10
from typing import Any

from reward.causal.choosing import Chosen
from reward.causal.diagnostics.balance import Balance
from reward.causal.diagnostics.calibration_slope import CalibrationSlope
from reward.causal.diagnostics.policy_shift import PolicyShift
from reward.causal.propensity.conditional_logit import Propensities
from reward.outcomes.protocol import DAYS, Points

LOGGED, ESTIMATED = "logged", "estimated"
_NOT_LOGGED = (
    "They were estimated from the log, and are right only as far as the service chose items by "
    "what the log shows. Expect much less of the effects of items than with logged propensities, whatever their "
    "standard deviations say, and run an experiment before anything depends on them."
)


class Verdict(StrEnum):
    """What the log supports of the effects, and so what may be done with them."""

    NOT_ESTIMATED = "not estimated"
    NOT_DETECTED = "not detected"  # an interval holds zero
    CONTRADICTED = "contradicted"  # an interval is below zero
    CONFOUNDED = "confounded"  # the propensities fail their balance check
    TO_BE_TESTED = "to be tested"  # supported, by propensities that are estimated or were not checked
    SUPPORTED = "supported"


_NO_PUSH = {
    Verdict.NOT_DETECTED: "their effects cannot be distinguished from zero",
    Verdict.CONTRADICTED: "held-out users contradict them",
    Verdict.CONFOUNDED: "they rest on propensities that fail their balance check",
}


def account(
    calibration: CalibrationSlope,
    estimated: Propensities | None,
    balance: Balance | None,
    *,
    personal: tuple[CalibrationSlope, CalibrationSlope] | None = None,
    pushed: Mapping[float, PolicyShift] | None = None,
    unchecked: str = "",
    chosen: Chosen | None = None,
    unused: str | None = None,
    points: Points = DAYS,
) -> dict[str, Any]:
    """What was found, as values that go into JSON.

    Args:
        calibration: calibration of the effects of items among held-out users.
        estimated: the propensities, where the log had none; None where it had.
        balance: what the check of the propensities found; None where it could not be made.
        personal: the same of the rewards, and of what these add to the effects of items; None: not fitted.
        pushed: how far a ranker may lean on the rewards, or where ``personal`` is None on the effects, by
            pessimism; None: not looked at.
        unchecked: why the check could not be made.
        chosen: what opens an effect, which answers are rare and what items are pooled over; None: not told.
        unused: why propensities that the log has were not used and others were estimated; None: they were, or it has
            none.
        points: how amounts of the outcome are told.

    Returns:
        ``propensities`` (logged or estimated), ``slope``, ``se`` and ``interval`` (95%; null where nothing was
        predicted), the same three of the ``rewards`` and of their ``personal`` part (null where not fitted),
        ``policy`` (what `Propensities.statement` says; null where logged), ``balance`` (``flagged``, null where not
        checked, and ``sentences``), ``push`` (by pessimism, what `PolicyShift.values` says; null where not looked at),
        ``chosen`` (what `Chosen.values` says; null where not told), ``points``, ``warning``, a text or null, and
        ``reason``, null.
    """
    rewards, added = (None, None) if personal is None else map(_values, personal)
    return {
        "propensities": LOGGED if estimated is None else ESTIMATED,
        **_values(calibration),
        "rewards": rewards,
        "personal": added,
        "policy": None if estimated is None else estimated.statement(),
        "balance": {
            "flagged": None if balance is None else balance.flagged,
            "sentences": [f"Balance was not checked: {unchecked}."] if balance is None else balance.sentences(),
        },
        "push": None if pushed is None else {f"{kappa:g}": push.values() for kappa, push in pushed.items()},
        "chosen": None if chosen is None else chosen.values(),
        "points": points._asdict(),
        "warning": _warning(estimated, balance, unused),
        "reason": None,
    }


def no_summary(reason: str) -> dict[str, Any]:
    """The same of a log whose effects could not be estimated, with the reason."""
    keys = ("propensities", "slope", "se", "interval", "rewards", "personal", "policy", "balance", "push", "chosen")
    return {**dict.fromkeys((*keys, "points", "warning")), "reason": reason}


def points_of(found: Mapping[str, Any] | None) -> Points:
    """How amounts of the outcome are told that an account or an assessment of any version is of."""
    return Points(**((found or {}).get("points") or {}))


def verdict(found: Mapping[str, Any] | None) -> Verdict:
    """What an account supports: the worst of what held-out users say of effects of items, and of rewards.

    A personal part that they contradict is in every reward, so it counts too; one that they do not confirm does not.

    Args:
        found: what `account` or `no_summary` returned, or an artefact of any version keeps; None or empty: nothing.
    """
    if not found or found.get("reason") is not None:
        return Verdict.NOT_ESTIMATED
    rewards, personal = (found.get(name) for name in ("rewards", "personal"))
    intervals = [found.get("interval"), *([] if rewards is None else [rewards["interval"]])]
    if any(it is not None and it[1] < 0 for it in [*intervals, *([] if personal is None else [personal["interval"]])]):
        return Verdict.CONTRADICTED
    if not all(it is not None and it[0] > 0 for it in intervals):
        return Verdict.NOT_DETECTED
    flagged = (found.get("balance") or {}).get("flagged")
    if flagged:
        return Verdict.CONFOUNDED
    return Verdict.SUPPORTED if found["propensities"] == LOGGED and flagged is False else Verdict.TO_BE_TESTED


def no_push(found: Mapping[str, Any] | None) -> str | None:
    """Why no ranker should lean on the rewards of an account; None where one may, if only in an experiment."""
    said = verdict(found)
    return "they were not estimated" if said is Verdict.NOT_ESTIMATED else _NO_PUSH.get(said)


def account_sentences(found: dict[str, Any]) -> list[str]:
    """An account in plain words, the verdict first, the warning apart."""
    if found["reason"] is not None:
        return [f"Effects of items were not estimated: {found['reason']}"]
    policy, personal, chosen = found["policy"], found.get("personal"), (found.get("chosen") or {}).get("sentence")
    return [
        _of_items(found),
        *([] if personal is None else [_of_users(found, found["rewards"], personal)]),
        *([] if not found.get("push") else [_pushed(found)]),
        *([] if policy is None else [_calibration(policy)]),
        *found["balance"]["sentences"],
        *([chosen] if chosen else []),
    ]


def _values(calibration: CalibrationSlope) -> dict[str, Any]:
    if not isfinite(calibration.se):
        return {"slope": None, "se": None, "interval": None}
    interval = [calibration.slope + side * 1.96 * calibration.se for side in (-1, 1)]
    return {"slope": calibration.slope, "se": calibration.se, "interval": interval}


def _of_items(found: dict[str, Any]) -> str:
    if found["interval"] is None:
        return "Effects of items cannot be distinguished from zero: all estimates are the same."
    low, high = found["interval"]
    seen = (
        f"for each {points_of(found).one} of predicted effect, held-out users show {_slope(found, found)}, with "
        f"{found['propensities']} propensities"
    )
    if low <= 0 <= high:
        return f"Effects of items cannot be distinguished from zero: {seen}."
    if high < 0:
        return f"Held-out users contradict the effects of items: {seen}."
    if found["balance"]["flagged"]:
        return (
            f"No effect of items is claimed: {seen}, but these fail their balance check, so the difference can come "
            "from who was shown an item as well as from the item."
        )
    return f"Held-out users confirm the effects of items: {seen}."


def _of_users(found: dict[str, Any], rewards: dict[str, Any], personal: dict[str, Any]) -> str:
    """Whether it is known what an item does to one user rather than another."""
    one, flagged = points_of(found).one, found["balance"]["flagged"]
    if personal["interval"] is None or rewards["interval"] is None:
        return "What a user likes and has already seen makes no difference that this log can show."
    seen = (
        f"for each predicted {one} of it, held-out users show {_slope(personal, found)}; for each {one} of reward, "
        f"which adds it to the effect of the item, {_slope(rewards, found)}"
    )
    low, high = personal["interval"]
    if low > 0 and flagged:
        return f"No effect of what a user likes and has already seen is claimed either: {seen}."
    if low > 0:
        return f"Held-out users confirm that effects depend on what a user likes and has already seen: {seen}."
    if high < 0:
        return f"Held-out users contradict the part of rewards that is a user's own: {seen}."
    return f"What a user likes and has already seen makes no difference that this log can show: {seen}."


def _slope(part: dict[str, Any], found: dict[str, Any]) -> str:
    low, high = part["interval"]
    return f"{_number(part['slope'], 2)} {points_of(found).many} (95% interval {_number(low, 2)} to {_number(high, 2)})"


def _number(value: float, decimals: int) -> str:
    """With a minus sign where it is below zero as written."""
    text = f"{value:.{decimals}f}"
    return text.replace("-", "−") if float(text) else text.removeprefix("-")


def _pushed(found: dict[str, Any]) -> str:
    """How far a ranker may lean on the rewards, or on the effects where these are all there is."""
    push, what = found["push"], "the effects of items" if found.get("rewards") is None else "rewards"
    if (why := no_push(found)) is not None:
        return f"A ranker should not lean on {what}: {why}."
    said = []
    for kappa, it in push.items():
        whose = "their mean" if float(kappa) == 0 else f"their mean minus {kappa} standard deviation"
        if not it["limit"]:
            said.append(f"by {whose}, no gain is certain at any distance")
            continue
        at = it["divergence"].index(it["limit"])
        half = max((it["high"][at] - it["low"][at]) / 2, 1e-9)
        decimals = min(max(1 - floor(log10(half)), 2), 6)  # two digits of the half-width
        kept, low, high, promised = (_number(it[name][at], decimals) for name in ("kept", "low", "high", "promised"))
        said.append(
            f"by {whose}, up to {it['limit']:g} nats from what was shown, where held-out users gain {kept} "
            f"{points_of(found).many} an exposure (95% interval {low} to {high}) of {promised} predicted"
        )
    limit = "How far a ranker can lean" if verdict(found) is Verdict.SUPPORTED else "How far an experiment could lean"
    return f"{limit} on {what}: {'; '.join(said)}."


def _calibration(policy: dict[str, Any]) -> str:
    check = policy["calibration"]
    holds = "does not hold" if check["flagged"] else "holds"
    return (
        f"The model of what the service shows {holds} for held-out users: log-likelihood "
        f"{_number(check['held_out_log_likelihood'], 2)} a row ({_number(check['uniform_log_likelihood'], 2)} if every "
        f"item were as likely), agreement of the residuals by item and activity z = {_number(check['z'], 1)}."
    )


def _warning(estimated: Propensities | None, balance: Balance | None, unused: str | None) -> str | None:
    """None where propensities are logged and no check speaks against them."""
    said = []
    if estimated is not None:
        why = "The log has no propensities." if unused is None else f"The log's propensities were not used: {unused}."
        said.append(f"{why} {_NOT_LOGGED}")
    if estimated is not None and estimated.calibration.flagged:
        said.append("The model that they come from does not hold for held-out users.")
    if balance is not None and balance.flagged:
        said.append(
            f"The balance check speaks against the {LOGGED if estimated is None else ESTIMATED} propensities: the "
            "service follows something that they leave out, and the effects are confounded by it."
        )
    if estimated is not None and balance is None:
        said.append("Their balance was not checked.")
    return " ".join(said) or None
