"""What an artefact, its card and whoever trains it are told of the second stage: plain values and plain words."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

from reward.effects.anchors import HeldOut
from reward.effects.balance import Balance
from reward.effects.propensities import Propensities
from reward.effects.pushing import Push

LOGGED, ESTIMATED = "logged", "estimated"
_NOT_LOGGED = (
    "The log has no propensities: they were estimated from it, and are right only as far as the service chose items by "
    "what the log shows. Expect much less of the effects of items than where propensities are logged, whatever their "
    "standard deviations say, and put nothing on them without an experiment."
)


def account(
    borne_out: HeldOut,
    estimated: Propensities | None,
    balance: Balance | None,
    *,
    personal: tuple[HeldOut, HeldOut] | None = None,
    pushed: Mapping[float, Push] | None = None,
    unchecked: str = "",
) -> dict[str, Any]:
    """What was found, as values that go into JSON.

    Args:
        borne_out: what users held out say of the effects of items.
        estimated: the propensities, where the log had none; None where it had.
        balance: what the check of the propensities found; None where it could not be made.
        personal: what they say of the rewards, and of what these add to the effects of items; None: not fitted.
        pushed: how far a ranker may be pushed on the rewards, or where ``personal`` is None on the effects, by
            pessimism; None: not looked at.
        unchecked: why the check could not be made.

    Returns:
        ``propensities`` (logged or estimated), ``slope``, ``se`` and ``interval`` (95%; null where nothing was
        predicted), the same three of the ``rewards`` and of their ``personal`` part (null where not fitted),
        ``policy`` (what `Propensities.statement` says; null where logged), ``balance`` (``flagged``, null where not
        checked, and ``sentences``), ``push`` (by pessimism, what `Push.values` says; null where not looked at),
        ``warning``, a text or null, and ``reason``, null.
    """
    rewards, added = (None, None) if personal is None else map(_values, personal)
    return {
        "propensities": LOGGED if estimated is None else ESTIMATED,
        **_values(borne_out),
        "rewards": rewards,
        "personal": added,
        "policy": None if estimated is None else estimated.statement(),
        "balance": {
            "flagged": None if balance is None else balance.flagged,
            "sentences": [f"Balance was not checked: {unchecked}."] if balance is None else balance.sentences(),
        },
        "push": None if pushed is None else {f"{kappa:g}": push.values() for kappa, push in pushed.items()},
        "warning": _warning(estimated, balance),
        "reason": None,
    }


def no_account(reason: str) -> dict[str, Any]:
    """The same of a log whose effects could not be estimated, with the reason."""
    keys = ("propensities", "slope", "se", "interval", "rewards", "personal", "policy", "balance", "push", "warning")
    return {**dict.fromkeys(keys), "reason": reason}


def account_sentences(found: dict[str, Any]) -> list[str]:
    """An account in plain words, the verdict first, the warning apart."""
    if found["reason"] is not None:
        return [f"Effects of items were not estimated: {found['reason']}"]
    policy, personal = found["policy"], found.get("personal")
    return [
        _verdict(found),
        *([] if personal is None else [_of_users(found["rewards"], personal, found["balance"]["flagged"])]),
        *([] if not found.get("push") else [_pushed(found)]),
        *([] if policy is None else [_calibration(policy)]),
        *found["balance"]["sentences"],
    ]


def _values(borne_out: HeldOut) -> dict[str, Any]:
    if not isfinite(borne_out.se):
        return {"slope": None, "se": None, "interval": None}
    interval = [borne_out.slope + side * 1.96 * borne_out.se for side in (-1, 1)]
    return {"slope": borne_out.slope, "se": borne_out.se, "interval": interval}


def _verdict(found: dict[str, Any]) -> str:
    if found["interval"] is None:
        return "No effect of items distinguishable from zero: all estimates are alike."
    low, high = found["interval"]
    seen = (
        f"users held out show {_days(found)} for a day of predicted effect, with propensities {found['propensities']}"
    )
    if low <= 0 <= high:
        return f"No effect of items distinguishable from zero: {seen}."
    if high < 0:
        return f"The effects of items are refuted: {seen}."
    if found["balance"]["flagged"]:
        return (
            f"No effect of items is claimed: {seen}, but these fail their check, so it can be who was shown what as "
            "well as what it did."
        )
    return f"The effects of items are borne out: {seen}."


def _of_users(rewards: dict[str, Any], personal: dict[str, Any], flagged: bool | None) -> str:
    """Whether it is known what an item does to one user rather than another."""
    if personal["interval"] is None or rewards["interval"] is None:
        return "What a user likes and has seen makes no difference that this log can show."
    seen = f"they show {_days(personal)} for a day of it, and {_days(rewards)} for a day of reward, which is both"
    low, high = personal["interval"]
    if low > 0 and flagged:
        return f"Of what a user likes and has seen nothing is claimed either: {seen}."
    if low > 0:
        return f"What a user likes and has seen is borne out beside the item: {seen}."
    if high < 0:
        return f"What a user likes and has seen is refuted: {seen}."
    return f"What a user likes and has seen makes no difference distinguishable from zero: {seen}."


def _days(found: dict[str, Any]) -> str:
    low, high = found["interval"]
    return f"{found['slope']:.2f} days (95% {low:.2f} to {high:.2f})"


def _pushed(found: dict[str, Any]) -> str:
    """How far a ranker may be pushed on the rewards, or on the effects where these are all there is."""
    push, what = found["push"], "the effects of items" if found.get("rewards") is None else "rewards"
    if found["balance"]["flagged"]:
        return "How far a ranker may be pushed cannot be said from propensities that fail their check."
    said = []
    for kappa, it in push.items():
        whose = "the mean" if float(kappa) == 0 else f"the mean less {kappa} standard deviation"
        if not it["limit"]:
            said.append(f"on {whose} no push is sure to be kept")
            continue
        at = it["divergence"].index(it["limit"])
        kept, low, high, promised = (it[name][at] for name in ("kept", "low", "high", "promised"))
        said.append(
            f"on {whose} up to {it['limit']:g} nats from what was shown, where users held out keep {kept:.3f} days an "
            f"exposure (95% {low:.3f} to {high:.3f}) of {promised:.3f} promised"
        )
    return f"How far a ranker may be pushed on {what}: {'; '.join(said)}."


def _calibration(policy: dict[str, Any]) -> str:
    check = policy["calibration"]
    verdict = "does not hold" if check["flagged"] else "holds"
    return (
        f"The model of what the service shows {verdict} for users it was not fitted on: log-likelihood "
        f"{check['held_out_log_likelihood']:.2f} a row ({check['uniform_log_likelihood']:.2f} if every item were as "
        f"likely), agreement of what is left by item and activity z = {check['z']:.1f}."
    )


def _warning(estimated: Propensities | None, balance: Balance | None) -> str | None:
    """None where propensities are logged and no check speaks against them."""
    said = [] if estimated is None else [_NOT_LOGGED]
    if estimated is not None and estimated.calibration.flagged:
        said.append("The model that they come from does not even hold for users it was not fitted on.")
    if balance is not None and balance.flagged:
        said.append(
            f"The balance check speaks against the {LOGGED if estimated is None else ESTIMATED} propensities: the "
            "policy follows something that they leave out, and the effects are confounded by it."
        )
    if estimated is not None and balance is None:
        said.append("Their balance was not checked.")
    return " ".join(said) or None
