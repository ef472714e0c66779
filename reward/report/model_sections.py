"""Sections of a report on the forecasts: how good they are, on which days and of which rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from matplotlib.ticker import MaxNLocator

from reward.evaluation.estimates import ACTIVITY, BASE_RATE, EVERYTHING, LIGHTGBM, Estimate
from reward.evaluation.findings import Evaluation
from reward.evaluation.log_carries import Gain
from reward.evaluation.results import overview
from reward.outcomes.protocol import Points
from reward.report.blocks import (
    Block,
    Heading,
    Legend,
    Row,
    Section,
    bullets,
    cell_of,
    cells_of,
    rows_of,
    section,
    tabled,
)
from reward.report.drawing import (
    FOURTH,
    MODEL,
    MUTED,
    SECOND,
    THIRD,
    WIDTH,
    canvas,
    forest,
    legend,
    picture,
    point,
)
from reward.report.sentences import auxiliary_sentences
from reward.report.text import places

_RIVALS = {ACTIVITY: SECOND, LIGHTGBM: THIRD, EVERYTHING: FOURTH}
_PANELS = 5  # days of reliability: more are thinned to as many


def _colour(evaluation: Evaluation, name: str) -> str:
    return MODEL if name == evaluation.model else _RIVALS.get(name, MUTED)


def gains_table(evaluation: Evaluation, span: str) -> Section:
    """What each forecast gains over the base rate and over past activity alone."""
    names, gains = list(evaluation.metrics), evaluation.carries.gains
    blocks: list[Block] = []
    if gains:
        figure, axes = canvas(1, len(gains), 0.75 + 0.3 * len(names))
        for panel, (reference, by_name) in zip(axes, gains.items(), strict=True):
            shown = {name: by_name[name].total for name in names if name not in (reference, BASE_RATE)}
            if reference != BASE_RATE:  # weaker ones lie so far off that the others would coincide
                shown = {name: it for name, it in shown.items() if _no_weaker(gains, name, reference)}
            forest(panel, f"gain over {reference}, nats a day", shown, partial(_colour, evaluation), at=0)
        blocks.append(picture(figure, "gains in log-loss"))
    columns = overview(evaluation)
    blocks.append(tabled(["prediction", *columns], rows_of(names, list(columns.values())), evaluation.model))
    lead = (
        "How much lower the log-loss of each prediction is than that of the base rate, and (enlarged) than that of "
        "past activity alone. Right of the line is better; predictions far left of it are left out. The table has "
        f"every metric over the horizon with its {span}. Noise raises the calibration error. Its interval is corrected "
        "for that, so it mostly lies below the value."
    )
    return section("Gains in log-loss", lead, *blocks)


def _no_weaker(gains: Mapping[str, Mapping[str, Gain]], name: str, reference: str) -> bool:
    over_base = gains.get(BASE_RATE, {})
    gain, bar = (None if it not in over_base else over_base[it].total.value for it in (name, reference))
    return gain is None or bar is None or gain > bar / 2


def by_day(evaluation: Evaluation) -> Section:
    """Forecasts by the day ahead."""
    metrics, gains = evaluation.metrics, evaluation.carries.gains
    panels = {
        f"gain over {reference}, nats a day": {
            name: [(it.day, it.gain) for it in gain.by_day] for name, gain in by_name.items()
        }
        for reference, by_name in gains.items()
    }
    panels["AUC"] = {name: [(it.day, it.estimate) for it in found.auc.by_day] for name, found in metrics.items()}
    shown = [name for name in (*reversed(_RIVALS), evaluation.model) if name in metrics]
    figure, axes = canvas(1, len(panels), 2.9)
    for panel, (title, by_name) in zip(axes, panels.items(), strict=True):
        for place, name in enumerate(shown):
            if title == f"gain over {name}, nats a day":
                continue
            days = [(day, it) for day, it in by_name[name] if it.value is not None]
            x = [day + 0.09 * (place - (len(shown) - 1) / 2) for day, _ in days]
            colour = _colour(evaluation, name)
            panel.plot(x, [it.value or 0.0 for _, it in days], color=colour, lw=1.2, alpha=0.6)
            for at, (_, it) in zip(x, days, strict=True):
                point(panel, at, it, colour, across=False)
        panel.set_title(title)
        panel.set_xlabel("day after the row")
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.grid(visible=False, axis="x")
        if title == f"gain over {ACTIVITY}, nats a day":
            panel.axhline(0, color=MUTED, lw=0.9)
    lead = (
        "The same predictions day by day. Log-loss gains should stay above zero and AUC above one half. AUC is the "
        f"chance that, of {_of_a_pair(evaluation.points)}, the first got the higher prediction. Days that no row has "
        "reached yet are left out."
    )
    return section("Day by day", lead, _legend(evaluation, shown[::-1]), picture(figure, "gains and AUC by day"))


def _of_a_pair(points: Points) -> str:
    return f"a user with {points.one} that day and one without" if points.share else "an active and an absent user"


def _legend(evaluation: Evaluation, names: Sequence[str]) -> Legend:
    return legend([(_colour(evaluation, name), name) for name in names])


def reliability(evaluation: Evaluation) -> Section:
    """How often an event came, by its forecast probability."""
    metrics, curves = evaluation.metrics, evaluation.reliability
    days = [it.day for it in curves[evaluation.model]]
    days = [days[at] for at in np.unique(np.linspace(0, len(days) - 1, min(_PANELS, len(days))).round().astype(int))]
    figure, axes = canvas(2, len(days), 1.2 + 1.6 * WIDTH / max(len(days), 3))
    for place, day in enumerate(days):
        curve, gap = axes[place], axes[place + len(days)]
        curve.plot([0, 1], [0, 1], color=MUTED, lw=0.9, transform=curve.transAxes)
        gap.axhline(0, color=MUTED, lw=0.9)
        for name in reversed(list(curves)):
            colour = _colour(evaluation, name)
            for group in next(it.bins for it in curves[name] if it.day == day):
                point(curve, group.predicted, group.observed, colour, across=False)
                point(gap, group.predicted, group.observed.minus(group.predicted), colour, across=False)
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
    points = evaluation.points
    scale = 100 if points.share else 1
    columns: list[list[Estimate | None]] = [
        [it.active_days_predicted.estimate.scaled(scale) for it in metrics.values()],
        [
            None if it.active_days_observed is None else it.active_days_observed.estimate.scaled(scale)
            for it in metrics.values()
        ],
        [it.active_days_ratio.estimate for it in metrics.values()],
    ]
    lead = (
        "Where the model says 30%, do 30% come? Rows are cut into equally large groups, and each dot is a group. On "
        "the diagonal the model is right; below it the forecast is too high. The lower row enlarges the distance to "
        f"the diagonal. The table sums over the known days of a row: a ratio above 1 means that fewer {points.total} "
        "came than were forecast."
    )
    table = tabled(
        [_of_rows(points), "predicted", "observed", "ratio"], rows_of(list(metrics), columns), evaluation.model
    )
    return section("Reliability", lead, _legend(evaluation, list(curves)), picture(figure, "reliability by day"), table)


def _of_rows(points: Points) -> str:
    """What a table of sums over the known days of rows is called."""
    return f"% of rows with {points.total}" if points.share else f"{points.total} a row"


def return_time(evaluation: Evaluation) -> Section:
    """How well the order in which users return is forecast."""
    found = {name: it.c_index.estimate for name, it in evaluation.metrics.items() if name != BASE_RATE}
    points, what, asked = (
        evaluation.points,
        "the return time",
        "who is back first have the higher predicted chance of being back",
    )
    if points.share:
        what, asked = (
            f"the time until {points.one}",
            f"whose {points.one} comes first have the higher predicted chance of it",
        )
    figure, [axes] = canvas(1, 1, 0.75 + 0.26 * len(found))
    forest(axes, f"C-index of {what}", found, partial(_colour, evaluation), at=None)
    lead = (
        f"Of two users, does the one {asked}? The C-index is the share of pairs that are in the predicted order, "
        "among those whose order is known from the log: one half is chance, 1 is perfect."
    )
    title = what.removeprefix("the ").capitalize()
    return section(title, lead, picture(figure, f"C-index of {what}"))


def slices_section(evaluation: Evaluation) -> Section:
    """Forecasts by slices of the test days."""
    slices = evaluation.slices
    gains = {it.name: it.gain for it in slices if it.gain is not None}
    blocks: list[Block] = []
    if gains:
        figure, [axes] = canvas(1, 1, 0.75 + 0.26 * len(gains))
        title = f"gain of {evaluation.model} over {ACTIVITY}, nats a day"
        forest(axes, title, gains, lambda _: MODEL, at=0)
        blocks.append(picture(figure, "gain by slice"))
    points = evaluation.points
    header = [
        "slice",
        "rows",
        "users",
        "log-loss",
        f"gain over {ACTIVITY}",
        f"{_of_rows(points).removesuffix(' a row')} predicted",
        "observed",
    ]
    scale = 100 if points.share else 1
    columns = [
        cells_of(column)
        for column in (
            [it.log_loss for it in slices],
            [it.gain for it in slices],
            [None if it.predicted is None else it.predicted.scaled(scale) for it in slices],
            [None if it.observed is None else it.observed.scaled(scale) for it in slices],
        )
    ]
    rows = [
        (
            it.name,
            [f"{it.rows:,}", f"{it.users:,}", *(cells if it.measured else ["too small", "–", "–", "–"])],
        )
        for it, cells in zip(slices, zip(*columns, strict=True), strict=True)
    ]
    lead = (
        "Whether the gain over past activity holds in every slice of the rows, or is above zero in some and below in "
        f"others. A slice with fewer than {evaluation.min_slice_users} users is not measured."
    )
    return section("Slices", lead, *blocks, tabled(header, rows))


def auxiliary_tasks(evaluation: Evaluation) -> Section | None:
    """What is predicted beside the outcome that rewards are in."""
    if not evaluation.auxiliary:
        return None
    measured = {name: it for name, it in evaluation.auxiliary.items() if it.reason is None}
    lead = (
        "What else the same states predict, on the same test days. Skill is the share of the variance around the "
        "training average that the prediction explains: 0 is that average, 1 is perfect. Predicted over observed is 1 "
        "where predictions are calibrated, in each part and in each slice of the rows."
    )
    blocks: list[Block] = [bullets(auxiliary_sentences(evaluation.auxiliary))]
    if measured:
        figure, axes = canvas(1, len(measured), 2.9)
        for panel, (name, it) in zip(axes, measured.items(), strict=True):
            for place, part in enumerate(it.parts):
                point(panel, place - 0.09, part.observed, SECOND, across=False)
                point(panel, place + 0.09, part.predicted, MODEL, across=False)
            every = range(0, len(it.parts), max(len(it.parts) // 6, 1))
            panel.set_xticks(list(every), [it.parts[place].name.removeprefix("day ") for place in every])
            panel.set_title(f"{name}: {it.unit}")
            panel.grid(visible=False, axis="x")
        blocks += [
            legend([(MODEL, "predicted"), (SECOND, "observed")]),
            picture(figure, "predicted and observed parts"),
        ]
    for name, it in measured.items():
        rows: list[Row] = [(one.name, [cell_of(one.ratio, places([one.ratio]))]) for one in it.slices]
        blocks += [Heading(name), tabled(["slice", "predicted over observed"], rows)]
    return section("Auxiliary tasks", lead, *blocks)
