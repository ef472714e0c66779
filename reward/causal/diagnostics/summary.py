"""What an estimation of effects found, in numbers, and what may be done with it: what an artefact keeps of effects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import isfinite
from typing import Annotated, Any

from reward import records
from reward.causal.choosing import Chosen
from reward.causal.diagnostics.balance import Balance
from reward.causal.diagnostics.calibration_slope import CalibrationSlope
from reward.causal.diagnostics.policy_shift import PolicyShift
from reward.causal.propensity.conditional_logit import Propensities
from reward.outcomes.protocol import DAYS, Points
from reward.records import Kept

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


@dataclass(frozen=True)
class HeldOutSlope:
    """How what held-out users did agrees with what was predicted; None where all predictions are the same.

    Attributes:
        slope: of what they did on what was predicted.
        se: its standard error.
        interval: at 95%.
    """

    slope: float | None = None
    se: float | None = None
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class PropensityCheck:
    """Whether the model of what the service shows holds for users that it was not fitted on.

    Attributes:
        z: of the agreement of its residuals, by item and activity.
        excess: the share by which cells are shown too often or too rarely, beyond chance.
        flagged: it does not hold.
        log_likelihood: a row.
        held_out_log_likelihood: of users that it was not fitted on.
        uniform_log_likelihood: if every item were as likely.
        bins: predicted and observed frequencies.
    """

    z: float
    excess: float
    flagged: bool
    log_likelihood: float
    held_out_log_likelihood: float
    uniform_log_likelihood: float
    bins: tuple[Mapping[str, object], ...] = ()


@dataclass(frozen=True)
class PropensityModel:
    """The model that propensities were estimated with: its inputs and settings, what it was fitted on, its check."""

    calibration: PropensityCheck
    propensities: str = ESTIMATED
    features: tuple[str, ...] = ()
    settings: Mapping[str, object] | None = None
    rows: int = 0
    users: int = 0
    items: int = 0
    slates: int = 0


@dataclass(frozen=True)
class BalanceCheck:
    """Whether users who were shown an item resemble those who could have been.

    Attributes:
        flagged: they do not; None: it was not checked.
        sentences: what was found of each covariate.
    """

    flagged: bool | None = None
    sentences: tuple[str, ...] = ()


@dataclass(frozen=True)
class ShiftCurve:
    """Policies that lean on a reward more and more, see `PolicyShift`.

    Attributes:
        limit: nats at which the lower end of the realized gain is highest; 0: no gain is certain.
        divergence: of each policy from what was shown, nats.
        predicted: the gain that the reward predicts.
        realized: the gain of held-out users.
        realized_se: its standard error.
        low: lower end of its 95% interval.
        high: upper end.
    """

    divergence: tuple[float, ...]
    limit: float = 0.0
    predicted: Annotated[tuple[float, ...], Kept("promised")] = ()
    realized: Annotated[tuple[float, ...], Kept("kept")] = ()
    realized_se: Annotated[tuple[float, ...], Kept("kept_se")] = ()
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()


@dataclass(frozen=True)
class ChosenRoles:
    """The roles of columns that were set, or chosen by what the log shows, with the evidence and what it says."""

    gate: str | None = None
    rare: tuple[str, ...] = ()
    group: str | None = None
    auto: tuple[str, ...] = ()
    evidence: Mapping[str, object] | None = None
    sentence: str = ""


@dataclass(frozen=True)
class EffectSummary:
    """What was found of effects.

    Attributes:
        propensities: logged or estimated; None: effects were not estimated.
        items: calibration of the effects of items.
        rewards: calibration of the rewards; None: they have no personal part.
        personal: calibration of what rewards add to the effects of items; None: not fitted.
        policy: the model of what the service shows; None: propensities are logged.
        balance: the check of the propensities.
        policy_shifts: how far a ranker may lean on the rewards, by the standard deviations taken off them; None: not
            looked at.
        chosen: roles of columns; None: unknown.
        points: how amounts of the outcome are called.
        warning: what to know before anything; None: nothing.
        reason: why effects could not be estimated; None: they were.
    """

    propensities: str | None = None
    items: Annotated[HeldOutSlope, Kept(flat=True)] = HeldOutSlope()
    rewards: HeldOutSlope | None = None
    personal: HeldOutSlope | None = None
    policy: PropensityModel | None = None
    balance: BalanceCheck | None = None
    policy_shifts: Annotated[Mapping[str, ShiftCurve] | None, Kept("push")] = None
    chosen: ChosenRoles | None = None
    points: Points | None = None
    warning: str | None = None
    reason: str | None = None

    @classmethod
    def from_json(cls, values: Mapping[str, Any] | None) -> EffectSummary | None:
        """The summary that an artefact of any version keeps; None: it keeps none.

        Raises:
            ValueError: these are no values of a summary; says where.
        """
        return records.from_json(cls, values, "effects") if values else None

    def to_json(self) -> dict[str, Any]:
        """The values that an artefact keeps."""
        values: dict[str, Any] = records.to_json(self)
        return values

    @property
    def unit(self) -> Points:
        """How amounts of the outcome are called; days in a summary of before."""
        return DAYS if self.points is None else self.points

    @property
    def flagged(self) -> bool | None:
        """Whether the propensities fail their balance check; None: it was not made."""
        return None if self.balance is None else self.balance.flagged


def summarize_effects(
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
) -> EffectSummary:
    """What was found of effects, in numbers.

    Args:
        calibration: calibration of the effects of items among held-out users.
        estimated: the propensities, where the log had none; None where it had.
        balance: what the check of the propensities found; None where it could not be made.
        personal: the same of the rewards, and of what these add to the effects of items; None: not fitted.
        pushed: how far a ranker may lean on the rewards, or where ``personal`` is None on the effects, by
            pessimism; None: not looked at.
        unchecked: why the check could not be made.
        chosen: the mediator, the columns whose 0 means that nothing was asked, and what items are pooled over; None:
            unknown.
        unused: why propensities that the log has were not used and others were estimated; None: they were, or it has
            none.
        points: how amounts of the outcome are called.
    """
    rewards, added = (None, None) if personal is None else map(_values, personal)
    said = [f"Balance was not checked: {unchecked}."] if balance is None else balance.sentences()
    return EffectSummary(
        propensities=LOGGED if estimated is None else ESTIMATED,
        items=_values(calibration),
        rewards=rewards,
        personal=added,
        policy=None if estimated is None else propensity_model(estimated),
        balance=BalanceCheck(None if balance is None else balance.flagged, tuple(said)),
        policy_shifts=None if pushed is None else {f"{kappa:g}": _curve(shift) for kappa, shift in pushed.items()},
        chosen=None if chosen is None else _roles(chosen),
        points=points,
        warning=_warning(estimated, balance, unused),
    )


def not_estimated(reason: str) -> EffectSummary:
    """The summary of a log whose effects could not be estimated."""
    return EffectSummary(reason=reason)


def verdict(found: EffectSummary | None) -> Verdict:
    """What a summary supports: the worst of what held-out users say of effects of items, and of rewards.

    A personal part that they contradict is in every reward, so it counts too; one that they do not confirm does not.

    Args:
        found: None: there is none.
    """
    if found is None or found.reason is not None:
        return Verdict.NOT_ESTIMATED
    intervals = [it.interval for it in (found.items, found.rewards) if it is not None]
    personal = [] if found.personal is None else [found.personal.interval]
    if any(it is not None and it[1] < 0 for it in [*intervals, *personal]):
        return Verdict.CONTRADICTED
    if not all(it is not None and it[0] > 0 for it in intervals):
        return Verdict.NOT_DETECTED
    if found.flagged:
        return Verdict.CONFOUNDED
    sure = found.propensities == LOGGED and found.flagged is False
    return Verdict.SUPPORTED if sure else Verdict.TO_BE_TESTED


def no_push(found: EffectSummary | None) -> str | None:
    """Why no ranker should lean on the rewards of a summary; None where one may, if only in an experiment."""
    said = verdict(found)
    return "they were not estimated" if said is Verdict.NOT_ESTIMATED else _NO_PUSH.get(said)


def _values(calibration: CalibrationSlope) -> HeldOutSlope:
    if not isfinite(calibration.se):
        return HeldOutSlope()
    low, high = (calibration.slope + side * 1.96 * calibration.se for side in (-1, 1))
    return HeldOutSlope(calibration.slope, calibration.se, (low, high))


def _curve(shift: PolicyShift) -> ShiftCurve:
    columns = (shift.divergence, shift.promised, shift.kept, shift.kept_se, shift.low, shift.high)
    divergence, *others = (tuple(map(float, column)) for column in columns)
    return ShiftCurve(divergence, shift.limit, *others)


def propensity_model(estimated: Propensities) -> PropensityModel:
    """What an artefact keeps of the model that propensities were estimated with, without its arrays."""
    check = estimated.calibration
    return PropensityModel(
        PropensityCheck(
            z=float(check.z),
            excess=float(check.excess),
            flagged=bool(check.flagged),
            log_likelihood=float(check.log_likelihood),
            held_out_log_likelihood=float(check.held_out_log_likelihood),
            uniform_log_likelihood=float(check.uniform_log_likelihood),
            bins=tuple(check.bins.to_dicts()),
        ),
        features=estimated.features,
        settings=estimated.settings,
        rows=estimated.rows,
        users=estimated.users,
        items=estimated.items,
        slates=estimated.slates,
    )


def _roles(chosen: Chosen) -> ChosenRoles:
    roles = chosen.roles
    return ChosenRoles(
        roles.gate, tuple(roles.rare), roles.group, tuple(chosen.auto), chosen.evidence, chosen.sentence()
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
