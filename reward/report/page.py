"""An assessment for people: one self-contained page, legible on light and on dark screens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import polars as pl
from jinja2 import Environment, PackageLoader, StrictUndefined

from reward.evaluation.auxiliary_tasks import further_sentences
from reward.evaluation.estimates import Json
from reward.report.blocks import Paragraph, Section, bullets, section
from reward.report.drawing import COLOURS, STYLE, picture
from reward.report.figures import against_truth
from reward.report.model_sections import (
    by_day,
    further_outcomes,
    gains_table,
    reliability,
    return_time,
    slices_section,
)
from reward.report.reward_sections import claims, ledger_section, reward_section
from reward.report.sections import how_early, other_policies, past_experiments, pushing, what_items_do
from reward.report.summary import HEADS, in_short
from reward.text import interval_name

_TEMPLATES = Environment(
    loader=PackageLoader("reward.report"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)


def report(
    assessment: Json,
    *,
    title: str,
    facts: Sequence[tuple[str, str]],
    items: pl.DataFrame | None = None,
    effects: Mapping[str, Any] | None = None,
    forecast: Mapping[str, Any] | None = None,
) -> str:
    """Write an assessment as an HTML page without scripts, links or anything to load.

    Args:
        assessment: what `assess` returned, also after a round trip through JSON.
        title: of the page.
        facts: labels and values shown under the title, such as the log, the split and the commit.
        items: what was learned of items beside what they truly do, where ``assessment["truth"]`` is of them.
        effects: the account of effects that the artefact keeps; None or empty: there is none.
        forecast: what it says of what training gained over past activity; None: training did not start there.

    Returns:
        The page.

    """
    span = interval_name(assessment["level"])
    sizes = [(name, f"{assessment[name]:,}") for name in ("rows", "users", "items")]
    shown = [
        *facts,
        *(("test " + name, size) for name, size in sizes),
        ("horizon", f"{assessment['horizon_days']} days"),
        ("intervals", f"{100 * assessment['level']:.4g}%, {assessment['resamples']} resamples of users"),
    ]
    tested = assessment.get("experiments")
    with matplotlib.rc_context(STYLE):
        sections = [
            _in_short(assessment, effects, forecast),
            what_items_do(effects),
            _in_words(assessment, forecast),
            None if items is None else _truth(assessment, items),
            gains_table(assessment, span),
            by_day(assessment),
            reliability(assessment),
            return_time(assessment),
            slices_section(assessment),
            further_outcomes(assessment),
            ledger_section(assessment),
            reward_section(assessment, effects),
            other_policies(assessment["policies"], effects) if "policies" in assessment else None,
            pushing(effects, assessment["unit"]),
            past_experiments(tested) if tested else None,
            how_early(tested["early"], tested["north_star"]) if tested and tested["early"] else None,
            claims(assessment),
        ]
    colours = {name: {"light": light, "dark": dark} for name, (_, light, dark) in COLOURS.items()}
    told = {"title": title, "facts": shown, "colours": colours, "sections": [it for it in sections if it is not None]}
    return _TEMPLATES.get_template("page.html.j2").render(told)


def sentences(assessment: Json) -> list[str]:
    """What leaks, what carries the prediction, the model against its rivals and against the truth where it is known."""
    leaks, further = assessment.get("canary", {}).get("sentences", []), further_sentences(assessment.get("further", {}))
    return [*leaks, *assessment["carry"]["sentences"], *further, *assessment.get("truth", {}).get("sentences", [])]


def _in_short(assessment: Json, effects: Mapping[str, Any] | None, forecast: Mapping[str, Any] | None) -> Section:
    said = [
        Paragraph(text[0].upper() + text[1:], strong=f"{head}.")
        for head, text in zip(HEADS, in_short(assessment, effects, forecast), strict=True)
    ]
    return section("In short", "What this run found, and what to do next. Each sentence holds for its interval.", *said)


def _in_words(assessment: Json, forecast: Mapping[str, Any] | None) -> Section:
    gained = [] if forecast is None else [forecast["sentence"]]
    return section(
        "Forecasts in words",
        "What carries the forecasts. Where an interval covers zero, this log cannot tell the two apart.",
        bullets([*gained, *sentences(assessment)]),
    )


def _truth(assessment: Json, items: pl.DataFrame) -> Section:
    """Where the log is a simulated world's."""
    lead = (
        "This log is simulated, so what showing an item once truly does to active days is known: the same visits were "
        "lived again with and without it, with the same luck. Each dot is an item."
    )
    drawing = picture(against_truth(assessment, items), "against the truth")
    return section("Against the truth", lead, bullets(assessment["truth"]["sentences"]), drawing)
