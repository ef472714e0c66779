"""What a log can carry: how much each kind of knowledge adds to a forecast."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import numpy as np

from reward.arrays import Bools, Doubles
from reward.evaluation.estimates import (
    ACTIVITY,
    ACTIVITY_FEEDBACK,
    BASE_RATE,
    EVERYTHING,
    FEEDBACK_ONLY,
    INFINITE,
    LIGHTGBM,
    Estimate,
    Flat,
    Sample,
)
from reward.records import Kept
from reward.statistics.bootstrap import quotient, ratio

_LADDER = (BASE_RATE, ACTIVITY, ACTIVITY_FEEDBACK, EVERYTHING)  # each knows more than the one before
ORDER = (LIGHTGBM, EVERYTHING, ACTIVITY_FEEDBACK, ACTIVITY, FEEDBACK_ONLY, BASE_RATE)


@dataclass(frozen=True)
class DayGain:
    """What a forecast gains on one day ahead, in nats."""

    day: int
    gain: Flat


@dataclass(frozen=True)
class Gain:
    """What a forecast gains in log-loss, nats a day: over the horizon, and on each day."""

    total: Flat
    by_day: tuple[DayGain, ...]


@dataclass(frozen=True)
class Increment:
    """What one more kind of knowledge adds to a forecast, nats a day.

    Attributes:
        lower: the forecast without it.
        upper: the forecast with it.
        gain: in log-loss.
    """

    lower: Annotated[str, Kept("from")]
    upper: Annotated[str, Kept("to")]
    gain: Flat


@dataclass(frozen=True)
class GainShares:
    """How much of one forecast's gain over the base rate each has.

    Attributes:
        of: the forecast whose gain is 1.
        by: the share of each, by name; empty where that gain is not shown to be above zero.
    """

    of: str
    by: Mapping[str, Estimate]


@dataclass(frozen=True)
class LogCarries:
    """How much each kind of knowledge adds to a forecast.

    Attributes:
        gains: by the reference that they are over, and by forecast.
        increments: from the least knowledge to the most, and to the model.
        share: of the whole gain.
    """

    gains: Mapping[str, Mapping[str, Gain]]
    increments: tuple[Increment, ...]
    share: GainShares


def carried(losses: Mapping[str, Doubles], observed: Bools, model: str, sample: Sample) -> LogCarries:
    """Gains in log-loss on two references, what each kind of knowledge adds, and shares of the whole gain."""
    seen, *bits = (np.column_stack([it.sum(axis=1), it]) for it in (observed, *losses.values()))  # the sum, the days
    by_name = [ratio(loss, seen, sample.user) for loss in bits]
    place = {name: at for at, name in enumerate(losses)}
    why = f"no row is observed on that day, or {INFINITE}"

    def log_loss(weights: Doubles) -> Doubles:
        return np.stack([loss(weights) for loss in by_name])  # (predictions, 1 + H)

    def gain(reference: str, weights: Doubles) -> Doubles:
        table = log_loss(weights)
        return np.asarray(table[place[reference]] - table)

    gains: dict[str, dict[str, Gain]] = {}
    for reference in (BASE_RATE, ACTIVITY):
        if reference not in place:
            sample.lack(f"gains over {reference}", "there is no prediction of this name")
            continue
        flat = sample.estimates(partial(gain, reference), f"gains over {reference}", why)
        whole, *days = (flat[column :: seen.shape[1]] for column in range(seen.shape[1]))
        gains[reference] = {
            name: Gain(whole[at], tuple(DayGain(day, table[at]) for day, table in enumerate(days, 1)))
            for name, at in place.items()
        }

    ladder = [*(name for name in _LADDER if name in place and name != model), model]
    rungs = [place[name] for name in ladder]
    added = sample.estimates(lambda weights: -np.diff(log_loss(weights)[rungs, 0]), "increments", why)

    of = EVERYTHING if EVERYTHING in place else model
    share: dict[str, Estimate] = {}
    of_whole = gains.get(BASE_RATE, {}).get(of)
    if of_whole is not None and of_whole.total.side_of_zero == "above":

        def shares(weights: Doubles) -> Doubles:
            gained = gain(BASE_RATE, weights)[:, 0]
            return quotient(gained, np.full_like(gained, gained[place[of]]))

        share = dict(zip(place, sample.estimates(shares, f"shares of the gain of {of}", why), strict=True))
    else:
        sample.lack(f"shares of the gain of {of} over {BASE_RATE}", "that gain is not shown to be above zero")
    steps = zip(ladder, ladder[1:], added, strict=False)
    return LogCarries(gains, tuple(Increment(*step) for step in steps), GainShares(of, share))
