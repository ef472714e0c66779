"""Sections of a report on the forecasts: how good they are, where, and what they claim."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from html import escape
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from reward.causal.diagnostics.summary import no_push, points_of
from reward.evaluation.auxiliary_tasks import further_sentences
from reward.evaluation.estimates import ACTIVITY, BASE_RATE, EVERYTHING, LIGHTGBM, Json
from reward.evaluation.results import overview
from reward.outcomes.protocol import Points
from reward.report.drawing import (
    FOURTH,
    INK,
    MODEL,
    MUTED,
    PAPER,
    SECOND,
    THIRD,
    WIDTH,
    bullets,
    canvas,
    cell_of,
    cells_of,
    forest,
    legend,
    per_cent,
    point,
    rows_of,
    section,
    svg,
    tabled,
)
from reward.text import Estimate, places, readable

_RIVALS = {ACTIVITY: SECOND, LIGHTGBM: THIRD, EVERYTHING: FOURTH}
_PANELS = 5  # days of reliability: more are thinned to as many


def _colour(assessment: Json, name: str) -> str:
    return MODEL if name == assessment["model"] else _RIVALS.get(name, MUTED)


def gains_table(assessment: Json, span: str) -> str:
    """What each forecast gains on what it is held against."""
    names, gains = list(assessment["metrics"]), assessment["carry"]["gains"]
    blocks = []
    if gains:
        figure, axes = canvas(1, len(gains), 0.75 + 0.3 * len(names))
        for panel, (reference, by_name) in zip(axes, gains.items(), strict=True):
            shown = {name: by_name[name] for name in names if name not in (reference, BASE_RATE)}
            if reference != BASE_RATE:  # weaker ones lie so far off that the others could not be told apart
                shown = {name: it for name, it in shown.items() if _no_weaker(gains, name, reference)}
            forest(panel, f"gain over {reference}, nats a day", shown, partial(_colour, assessment), at=0)
        blocks.append(svg(figure, "gains in log-loss"))
    columns = overview(assessment)
    blocks.append(tabled(["prediction", *columns], rows_of(names, list(columns.values())), assessment["model"]))
    lead = (
        "How much less log-loss each prediction has than the base rate and, enlarged, than past activity "
        "alone, without those far below it: to the right of the line is better. The table has every metric over "
        f"the horizon with its {span}. Noise raises the calibration error; the interval is corrected for it, and so "
        "mostly lies below the value."
    )
    return section("Gains in log-loss", lead, *blocks)


def _no_weaker(gains: Json, name: str, reference: str) -> bool:
    gain, bar = (gains.get(BASE_RATE, {}).get(it, {}).get("value") for it in (name, reference))
    return gain is None or bar is None or gain > bar / 2


def by_day(assessment: Json) -> str:
    """Forecasts by the day ahead."""
    metrics, gains, model = assessment["metrics"], assessment["carry"]["gains"], assessment["model"]
    panels = {f"gain over {reference}, nats a day": by_name for reference, by_name in gains.items()}
    panels["AUC"] = {name: it["auc"] for name, it in metrics.items()}
    shown = [name for name in (*reversed(_RIVALS), model) if name in metrics]
    figure, axes = canvas(1, len(panels), 2.9)
    for panel, (title, by_name) in zip(axes, panels.items(), strict=True):
        for place, name in enumerate(shown):
            if title == f"gain over {name}, nats a day":
                continue
            days = [it for it in by_name[name]["by_day"] if it["value"] is not None]
            x = [it["day"] + 0.09 * (place - (len(shown) - 1) / 2) for it in days]
            colour = _colour(assessment, name)
            panel.plot(x, [it["value"] for it in days], color=colour, lw=1.2, alpha=0.6)
            for at, it in zip(x, days, strict=True):
                point(panel, at, it, colour, across=False)
        panel.set_title(title)
        panel.set_xlabel("day after the row")
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.grid(visible=False, axis="x")
        if title == f"gain over {ACTIVITY}, nats a day":
            panel.axhline(0, color=MUTED, lw=0.9)
    lead = (
        "The same predictions day by day: log-loss gains should stay above zero, and AUC, the chance that "
        f"of {_of_a_pair(points_of(assessment))} the first got the higher prediction, above one half. Days that no "
        "row has seen yet are left out."
    )
    return section("Day by day", lead, _legend(assessment, shown[::-1]), svg(figure, "gains and AUC by day"))


def _of_a_pair(points: Points) -> str:
    return f"a user with {points.one} that day and one without" if points.share else "an active and an absent user"


def _legend(assessment: Json, names: Sequence[str]) -> str:
    return legend([(_colour(assessment, name), name) for name in names])


def reliability(assessment: Json) -> str:
    """How often what was forecast came, by the forecast."""
    metrics, curves = assessment["metrics"], assessment["reliability"]
    days = [it["day"] for it in curves[assessment["model"]]]
    days = [days[at] for at in np.unique(np.linspace(0, len(days) - 1, min(_PANELS, len(days))).round().astype(int))]
    figure, axes = canvas(2, len(days), 1.2 + 1.6 * WIDTH / max(len(days), 3))
    for place, day in enumerate(days):
        curve, gap = axes[place], axes[place + len(days)]
        curve.plot([0, 1], [0, 1], color=MUTED, lw=0.9, transform=curve.transAxes)
        gap.axhline(0, color=MUTED, lw=0.9)
        for name in reversed(curves):
            colour = _colour(assessment, name)
            for group in next(it["bins"] for it in curves[name] if it["day"] == day):
                point(curve, group["predicted"], group["observed"], colour, across=False)
                point(gap, group["predicted"], _less(group["observed"], group["predicted"]), colour, across=False)
        curve.set_title(f"day {day}")
        gap.set_xlabel("predicted")
    top = max(max(panel.get_xlim()[1], panel.get_ylim()[1]) for panel in axes[: len(days)])
    widest = max(max(map(abs, panel.get_ylim())) for panel in axes[len(days) :])
    for panel in axes[: len(days)]:
        panel.set(xlim=(0, top), ylim=(0, top), aspect="equal")
        panel.locator_params(nbins=4)
    for panel in axes[len(days) :]:
        panel.set(xlim=(0, top), ylim=(-widest, widest))
        panel.locator_params(nbins=4)
    for panel in (it for place, it in enumerate(axes) if place % len(days)):
        panel.tick_params(labelleft=False)
    axes[0].set_ylabel("observed")
    axes[len(days)].set_ylabel("observed − predicted")
    kinds = ("predicted", "observed", "ratio")
    points = points_of(assessment)
    columns = [[it[f"active_days_{kind}"] for it in metrics.values()] for kind in kinds]
    if points.share:
        columns[:2] = [[per_cent(it) for it in column] for column in columns[:2]]
    lead = (
        "Where the model says 30%, do 30% come? Each dot is one of equally large groups of rows: on the "
        "diagonal the model is right, below it promises too much. The lower row enlarges the distance to "
        "the diagonal. The table sums over the days that are known of a row: with a ratio above 1 fewer "
        f"{points.total} came than were promised."
    )
    table = tabled([_of_rows(points), *kinds], rows_of(list(metrics), columns), assessment["model"])
    return section("Reliability", lead, _legend(assessment, list(curves)), svg(figure, "reliability by day"), table)


def _of_rows(points: Points) -> str:
    """What a table of sums over the known days of rows is called."""
    return f"% of rows with {points.total}" if points.share else f"{points.total} a row"


def _less(estimate: Estimate, number: float) -> Estimate:
    return {end: None if it is None else it - number for end, it in estimate.items()}


def return_time(assessment: Json) -> str:
    """Who is back first."""
    found = {name: it["c_index"] for name, it in assessment["metrics"].items() if name != BASE_RATE}
    points, what, asked = (
        points_of(assessment),
        "the return time",
        "who is back first have the higher chance of being back",
    )
    if points.share:
        what, asked = f"the time until {points.one}", f"whose {points.one} comes first have the higher chance of it"
    figure, [axes] = canvas(1, 1, 0.75 + 0.26 * len(found))
    forest(axes, f"C-index of {what}", found, partial(_colour, assessment), at=None)
    lead = (
        f"Of two users, does the one {asked}, as predicted? The C-index is the share of such pairs in order, with "
        "those counted whose order the log can tell: one half is chance, 1 is perfect."
    )
    title = what.removeprefix("the ").capitalize()
    return section(title, lead, svg(figure, f"C-index of {what}"))


def slices_section(assessment: Json) -> str:
    """Forecasts by slices of the test days."""
    slices = assessment["slices"]
    gains = {it["slice"]: it["gain"] for it in slices if it["gain"]}
    blocks = []
    if gains:
        figure, [axes] = canvas(1, 1, 0.75 + 0.26 * len(gains))
        title = f"gain of {assessment['model']} over {ACTIVITY}, nats a day"
        forest(axes, title, gains, lambda _: MODEL, at=0)
        blocks.append(svg(figure, "gain by slice"))
    points = points_of(assessment)
    header = [
        "slice",
        "rows",
        "users",
        "log-loss",
        f"gain over {ACTIVITY}",
        f"{_of_rows(points).removesuffix(' a row')} predicted",
        "observed",
    ]
    told = {metric: [it[metric] for it in slices] for metric in ("log_loss", "gain", "predicted", "observed")}
    if points.share:
        told |= {metric: [per_cent(it) for it in told[metric]] for metric in ("predicted", "observed")}
    columns = [cells_of(column) for column in told.values()]
    rows = [
        (
            it["slice"],
            [f"{it['rows']:,}", f"{it['users']:,}", *(cells if it["measured"] else ["too small", "–", "–", "–"])],
        )
        for it, cells in zip(slices, zip(*columns, strict=True), strict=True)
    ]
    lead = (
        "Whether the gain over past activity holds for every kind of row, or is earned by some and paid by "
        f"others. A slice with fewer than {assessment['min_slice_users']} users is too small to say."
    )
    return section("Slices", lead, *blocks, tabled(header, rows))


def further_outcomes(assessment: Json) -> str:
    """Outcomes beside the one that rewards are told in."""
    further = {name: it for name, it in assessment.get("further", {}).items() if it["reason"] is None}
    if not assessment.get("further"):
        return ""
    lead = (
        "What else the same states predict, on the same test days. Skill is the share of the variance explained that "
        "the average of training leaves: 0 is that average, 1 is perfect. Predicted over observed is 1 where "
        "predictions add up, part by part and for every kind of row."
    )
    blocks = [bullets(further_sentences(assessment["further"]))]
    if further:
        figure, axes = canvas(1, len(further), 2.9)
        for panel, (name, it) in zip(axes, further.items(), strict=True):
            for shift, which, colour in ((-0.09, "observed", SECOND), (0.09, "predicted", MODEL)):
                for place, part in enumerate(it["parts"]):
                    point(panel, place + shift, part[which], colour, across=False)
            every = range(0, len(it["parts"]), max(len(it["parts"]) // 6, 1))
            panel.set_xticks(list(every), [it["parts"][place]["part"].removeprefix("day ") for place in every])
            panel.set_title(f"{name}: {it['unit']}")
            panel.grid(visible=False, axis="x")
        blocks += [legend([(MODEL, "predicted"), (SECOND, "observed")]), svg(figure, "predicted and observed parts")]
    for name, it in further.items():
        rows = [(one["slice"], [cell_of(one["ratio"], places([one["ratio"]]))]) for one in it["slices"]]
        blocks += [f"<h3>{escape(name)}</h3>", tabled(["slice", "predicted over observed"], rows)]
    return section("Further outcomes", lead, *blocks)


def ledger_section(assessment: Json) -> str:
    """How values move with an exposure and its feedback."""
    ledger, unit, feedback = assessment["ledger"], assessment["unit"], assessment["feedback"]
    steps, groups = [it for it in ledger["steps"] if it["sd"] is not None], ledger["surprise"]
    figure, axes = canvas(1, 2 if groups else 1, 2.9)
    axes[0].axvline(0, color=MUTED, lw=0.9)
    for place, it in enumerate(steps):
        spread = it["quantiles"]
        for low, high, thick, alpha in (("0.05", "0.95", 2, 0.55), ("0.25", "0.75", 9, 0.4)):
            axes[0].plot(
                [spread[low], spread[high]], [place] * 2, color=MODEL, lw=thick, alpha=alpha, solid_capstyle="butt"
            )
        axes[0].plot(it["value"], place, "o", color=MODEL, mec=PAPER, ms=6)
    axes[0].set_yticks(range(len(steps)), [it["step"] for it in steps], color=INK)
    axes[0].set_ylim(len(steps) - 0.5, -0.5)
    axes[0].set_title("mean, middle half and middle 90% of the rows")
    axes[0].set_xlabel(unit)
    axes[0].grid(visible=False, axis="y")
    for panel in axes[1:]:
        panel.axhline(0, color=MUTED, lw=0.9)
        for it in groups:
            point(panel, it["rate"], it, MODEL, across=False)
        panel.set_title("mean surprise by the item's click rate")
        panel.set_xlabel(f"the item's mean {feedback} among other users")
        panel.grid(visible=False, axis="x")
    sds = places([{"low": 0, "high": it["sd"]} for it in steps])
    rows = [
        (it["step"], [f"{it['rows']:,}", mean, readable(it["sd"], sds)])
        for it, mean in zip(ledger["steps"], cells_of(ledger["steps"]), strict=True)
    ]
    lead = (
        "From one feedback to the next the value moves in three steps: arrival (the user came back), "
        "exposure (this item rather than another) and surprise (what the feedback revealed). A good model "
        "is not surprised on average, whatever the item's click rate: the dots on the right should lie on "
        "zero."
    )
    table = tabled(["step", "rows", f"mean ({unit})", "standard deviation"], rows)
    return section("The ledger", lead, bullets(ledger["sentences"]), svg(figure, "the ledger"), table)


def reward_section(assessment: Json, effects: Mapping[str, Any] | None) -> str:
    """How rewards are spread, and what they go with."""
    reward, unit = assessment["reward"], assessment["unit"]
    figure, axes = canvas(1, 2, 2.7)
    titles = ("reward", "its standard deviation")
    for panel, title, it, colour in zip(axes, titles, (reward, reward["std"]), (MODEL, FOURTH), strict=True):
        panel.stairs(it["histogram"]["counts"], it["histogram"]["edges"], fill=True, color=colour, alpha=0.75)
        panel.set_title(f"{title}, middle 99% of the rows")
        panel.set_xlabel(unit)
        panel.set_yticks([])
        panel.grid(visible=False, axis="y")
    axes[0].axvline(0, color=MUTED, lw=0.9)
    axes[1].set_xlim(left=0)
    quantiles = list(reward["quantiles"])
    decimals = places([{"low": reward["quantiles"]["0.25"], "high": reward["quantiles"]["0.75"]}])
    rows = [
        (title, [readable(number, decimals) for number in (it["mean"], it["sd"], *it["quantiles"].values())])
        for title, it in zip(titles, (reward, reward["std"]), strict=True)
    ]
    lead = (
        "How large rewards are, against how sure one can be of them, and whether the reward is more "
        "than clickability: a correlation with click rate near 1 or −1 would say that it is not."
    )
    why = None if not effects or assessment["ledger"]["reward_is_exposure"] else no_push(effects)
    doubt = [] if why is None else [f"Do not act on these rewards, whatever their standard deviations say: {why}."]
    header = [unit, "mean", "sd", *(f"{100 * float(q):g}%" for q in quantiles)]
    return section(
        "The reward", lead, bullets([*doubt, *reward["sentences"]]), svg(figure, "the reward"), tabled(header, rows)
    )


def claims(assessment: Json) -> str:
    """What a reward of this kind claims, and what it does not."""
    said = [
        "The reward here is the exposure step: what the model expects of users who were shown this item, "
        "minus what it expects of users in the same state who were shown anything. It is a difference of "
        "predictions, not a causal effect: an item shown to users who would have come back anyway is credited with "
        "it, as far as the state does not know them."
        if assessment["ledger"]["reward_is_exposure"]
        else "The reward here is the effect of showing the item, estimated from the log's own randomness. It is causal "
        "as far as the propensities are right; the effects of showing items, above, say where these come from, whether "
        "they balance the log, and whether held-out users confirm the rewards.",
        "Log-loss judges the prediction, not the reward: true effects of single items are too small to "
        "show in it. A better log-loss is no proof of better rewards, and a ranker has to be tested in an experiment "
        "or against logged propensities.",
        "The intervals resample the users of this log. They say what other users would have changed, not "
        "other weeks, another logging policy or another training run.",
        "Surprise without a trend in click rate is what a good model must show; it is not all that one must show.",
    ]
    lead = "What was measured is how well the outcome is predicted and how the reward behaves, no more."
    notes = f"<h3>Not computed</h3>{bullets(assessment['notes'])}" if assessment["notes"] else ""
    return section("What this can and cannot claim", lead, bullets(said), notes)
