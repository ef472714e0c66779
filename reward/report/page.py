"""An evaluation for people: one self-contained page, legible on light and on dark screens."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import polars as pl
from jinja2 import Environment, PackageLoader, StrictUndefined

from reward.causal.diagnostics.summary import EffectSummary
from reward.evaluation.findings import Evaluation
from reward.report.blocks import Paragraph, Section, bullets, section
from reward.report.drawing import COLOURS, STYLE, picture
from reward.report.figures import against_truth
from reward.report.model_sections import (
    auxiliary_tasks,
    by_day,
    gains_table,
    reliability,
    return_time,
    slices_section,
)
from reward.report.reward_sections import claims, decomposition_section, reward_section
from reward.report.sections import how_early, how_far_to_lean, other_policies, past_experiments, what_items_do
from reward.report.sentences import summary_sentences, truth_sentences
from reward.report.summary import HEADS, TrainingGain, in_short
from reward.report.text import interval_name

_TEMPLATES = Environment(
    loader=PackageLoader("reward.report"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)


def report(
    evaluation: Evaluation,
    *,
    title: str,
    facts: Sequence[tuple[str, str]],
    items: pl.DataFrame | None = None,
    effects: EffectSummary | None = None,
    forecast: TrainingGain | None = None,
) -> str:
    """Write an evaluation as an HTML page without scripts, links or anything to load.

    Args:
        evaluation: what `evaluate_function` returned, or `reward.report.saved.from_json` made of ``metrics.json``.
        title: of the page.
        facts: labels and values shown under the title, such as the log, the split and the commit.
        items: what was learned of items beside what they truly do, where the evaluation has the truth.
        effects: the summary of effects that the artefact keeps; None: there is none.
        forecast: what training gained over past activity; None: training did not start there.

    Returns:
        The page.

    """
    sizes = {"rows": evaluation.rows, "users": evaluation.users, "items": evaluation.items}
    shown = [
        *facts,
        *((f"test {name}", f"{size:,}") for name, size in sizes.items()),
        ("horizon", f"{evaluation.horizon_days} days"),
        ("intervals", f"{100 * evaluation.level:.4g}%, {evaluation.resamples} resamples of users"),
    ]
    policies, tested = evaluation.policies, evaluation.experiments
    early = None if tested is None else tested.early
    with matplotlib.rc_context(STYLE):
        sections = [
            _in_short(evaluation, effects, forecast),
            what_items_do(effects),
            _in_words(evaluation, forecast),
            None if items is None or evaluation.truth is None else _truth(evaluation, items),
            gains_table(evaluation, interval_name(evaluation.level)),
            by_day(evaluation),
            reliability(evaluation),
            return_time(evaluation),
            slices_section(evaluation),
            auxiliary_tasks(evaluation),
            decomposition_section(evaluation),
            reward_section(evaluation, effects),
            None if policies is None else other_policies(policies, effects),
            how_far_to_lean(effects, evaluation.unit),
            None if tested is None else past_experiments(tested),
            None if tested is None or early is None else how_early(early, tested.north_star, evaluation.level),
            claims(evaluation),
        ]
    colours = {name: {"light": light, "dark": dark} for name, (_, light, dark) in COLOURS.items()}
    return _TEMPLATES.get_template("page.html.j2").render(
        title=title, facts=shown, colours=colours, sections=[it for it in sections if it is not None]
    )


def _in_short(evaluation: Evaluation, effects: EffectSummary | None, forecast: TrainingGain | None) -> Section:
    said = [
        Paragraph(text[0].upper() + text[1:], strong=f"{head}.")
        for head, text in zip(HEADS, in_short(evaluation, effects, forecast), strict=True)
    ]
    return section(
        "In short", "What this run found, and what to do next. Each sentence is as certain as its interval.", *said
    )


def _in_words(evaluation: Evaluation, forecast: TrainingGain | None) -> Section:
    gained = [] if forecast is None else [forecast.sentence]
    return section(
        "Forecasts in words",
        "What carries the forecasts. Where an interval covers zero, this log shows no difference.",
        bullets([*gained, *summary_sentences(evaluation)]),
    )


def _truth(evaluation: Evaluation, items: pl.DataFrame) -> Section:
    """Where the log is a simulated world's."""
    lead = (
        "This log is simulated, so the true effect of showing an item once is known: the same visits were simulated "
        "again with and without the item, with the same random numbers. Each dot is an item."
    )
    said = truth_sentences(evaluation.truth, unit=evaluation.unit, click=evaluation.click, level=evaluation.level)
    drawing = picture(against_truth(evaluation, items), "against the truth")
    return section("Against the truth", lead, bullets(said), drawing)
