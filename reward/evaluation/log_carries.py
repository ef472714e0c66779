"""What a log can carry: how much each kind of knowledge adds to a forecast."""

from __future__ import annotations

from collections.abc import Mapping

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
    Json,
    Sample,
)
from reward.statistics.bootstrap import quotient
from reward.text import amount, negated, percentage, side_of_zero

_KNOWS: dict[str, tuple[str, ...]] = {
    BASE_RATE: (),
    ACTIVITY: ("past activity",),
    ACTIVITY_FEEDBACK: ("past activity", "feedback"),
    EVERYTHING: ("past activity", "feedback", "item information"),
}


ORDER = (LIGHTGBM, EVERYTHING, ACTIVITY_FEEDBACK, ACTIVITY, FEEDBACK_ONLY, BASE_RATE)


def carried(losses: Mapping[str, Doubles], observed: Bools, model: str, sample: Sample) -> Json:
    """Gains in log-loss on two references, what each kind of knowledge adds, and shares of the whole gain."""
    seen, *bits = (np.column_stack([it.sum(axis=1), it]) for it in (observed, *losses.values()))  # the sum, the days
    table = np.stack([sample.ratio(loss, seen) for loss in bits], axis=1)  # (1 + resamples, predictions, 1 + H)
    place = {name: at for at, name in enumerate(losses)}
    why = f"no row is observed on that day, or {INFINITE}"

    def gain(reference: str) -> Doubles:
        with np.errstate(invalid="ignore"):  # the difference of two infinite losses is undefined
            return np.asarray(table[:, [place[reference]]] - table)

    gains: Json = {}
    for reference in (BASE_RATE, ACTIVITY):
        if reference not in place:
            sample.notes.append(f"no prediction is named {reference!r}, so there are no gains over it")
            continue
        flat = sample.estimates(gain(reference), f"gains over {reference}", why)
        whole, *days = (flat[column :: seen.shape[1]] for column in range(seen.shape[1]))
        gains[reference] = {
            name: whole[at] | {"by_day": [{"day": day, **gained[at]} for day, gained in enumerate(days, 1)]}
            for name, at in place.items()
        }

    ladder = [*(name for name in _KNOWS if name in place and name != model), model]
    rungs = [place[name] for name in ladder]
    with np.errstate(invalid="ignore"):
        steps = -np.diff(table[:, rungs, 0])
    added = sample.estimates(steps, "increments", why)

    of = EVERYTHING if EVERYTHING in place else model
    share: Json = {"of": of, "by": {}}
    if (gains.get(BASE_RATE, {}).get(of, {}).get("low") or 0) > 0:
        gained = gain(BASE_RATE)[..., 0]
        shares = quotient(gained, np.broadcast_to(gained[:, [place[of]]], gained.shape))
        share["by"] = dict(zip(place, sample.estimates(shares, f"shares of the gain of {of}", why), strict=True))
    else:
        sample.notes.append(f"no shares of the gain of {of} over {BASE_RATE}: it is not shown to be above zero")
    return {
        "gains": gains,
        "increments": [
            {"from": lower, "to": upper, **it} for lower, upper, it in zip(ladder, ladder[1:], added, strict=False)
        ],
        "share": share,
    }


def sentences(carry: Json, differences: Json, model: str, level: float) -> list[str]:
    """What the intervals say about what carries the prediction and about the model against its rivals."""
    said = []
    share = carry["share"]["by"].get(ACTIVITY)
    for step in carry["increments"]:
        if step["to"] == model:
            continue
        known = _KNOWS[step["from"]]
        news = [part for part in _KNOWS[step["to"]] if part not in known]
        subject, s = " and ".join(news), "" if news[1:] else "s"
        known_already = f"the prediction from {' and '.join(known)}" if known else f"the {BASE_RATE}"
        gained = amount(step, unit=" nats a day", level=level)
        text = {
            "above": f"{subject} improve{s} on {known_already} ({gained})",
            "open": f"{subject} add{s} nothing that this log can show ({gained})",
            "below": f"{subject} make{s} {known_already} worse ({gained})",
            "unknown": f"whether {subject} improve{s} on {known_already} cannot be said ({gained})",
        }[side_of_zero(step)]
        if step["to"] == ACTIVITY and share and share["low"] is not None:
            text += f"; this is {percentage(share, level=level)} of what {carry['share']['of']} gains on it"
        said.append(text)
    rivals = [name for name in (ACTIVITY, EVERYTHING, LIGHTGBM) if name in differences] or list(differences)
    for rival in rivals:
        gain = negated(differences[rival]["log_loss"])
        gained = amount(gain, unit=" nats a day", level=level)
        said.append(
            {
                "above": f"{model} predicts better than {rival} ({gained})",
                "open": f"{model} and {rival} predict alike as far as this log shows ({gained})",
                "below": f"{model} predicts worse than {rival} ({gained})",
                "unknown": f"whether {model} predicts better than {rival} cannot be said ({gained})",
            }[side_of_zero(gain)]
        )
    return [f"{text[0].upper()}{text[1:]}." for text in said]
