"""Puts an evaluation where people look: metrics.json, report.html and the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl
from rich.console import Console

from reward import records
from reward.causal.diagnostics.summary import LOGGED, EffectSummary, no_push
from reward.evaluation.estimates import Missing
from reward.evaluation.findings import Evaluation
from reward.evaluation.simulated_truth import against_truth
from reward.report.figures import truth_picture
from reward.report.page import report
from reward.report.saved import to_json
from reward.report.sections import shifts_to_show
from reward.report.summary import TrainingGain
from reward.report.terminal import beside_the_truth, sentences, table_of
from reward.scoring.function import RewardFunction
from reward.writing import whole, write_json


def write_report(
    function: RewardFunction, evaluation: Evaluation, folder: Path, console: Console, *, truth: Path
) -> Evaluation:
    """Write ``metrics.json`` and ``report.html`` to ``folder``, and print the table and what it means.

    Where the file ``truth`` is there, as `beside_truth` has it, what was learned is compared with it, and ``truth.svg``
    shows how.

    Returns:
        The evaluation, with the truth and with all that could not be computed.

    Raises:
        ValueError: the artefact's facts are of another form.
    """
    items = None
    if truth.is_file():
        items = pl.read_parquet(truth)
        setting = {"resamples": evaluation.resamples, "seed": evaluation.seed}
        evaluation = replace(evaluation, truth=against_truth(items, level=evaluation.level, **setting))
        with whole(folder / "truth.svg") as scratch:
            scratch.write_text(truth_picture(evaluation, items), encoding="utf-8")
    effects, gained = EffectSummary.from_json(function.facts.get("effects")), function.facts.get("forecast")
    forecast = None if gained is None else records.from_json(TrainingGain, gained, "forecast")
    evaluation = replace(evaluation, missing=(*evaluation.missing, *unanswered(effects, evaluation)))
    facts = list(function.facts["table"].items())
    with whole(folder / "report.html") as scratch:
        title = f"A reward signal in {function.unit}"
        page = report(evaluation, title=title, facts=facts, items=items, effects=effects, forecast=forecast)
        scratch.write_text(page, encoding="utf-8")
    write_json(folder / "metrics.json", to_json(evaluation))
    console.print(table_of(evaluation))
    for sentence in [*sentences(evaluation, effects, forecast), *beside_the_truth(evaluation)]:
        console.print(sentence, highlight=False)
    return evaluation


def unanswered(effects: EffectSummary | None, evaluation: Evaluation) -> tuple[Missing, ...]:
    """Questions that the data at hand cannot answer, and what it would take."""
    return (*_of_policies(evaluation), *_of_effects(effects), *_of_experiments(evaluation), *_of_leakage(evaluation))


def _of_policies(evaluation: Evaluation) -> Iterator[Missing]:
    found = evaluation.policies
    if found is None:
        yield Missing(
            "What another policy would have been worth",
            "off-policy estimates need the probability with which each item was shown, and "
            f"{evaluation.no_policies or 'the log has none'}.",
        )
    elif refused := sorted({it.policy for it in found.estimates if it.refused is not None}):
        yield Missing(
            "What every policy would have been worth",
            f"too few rows inform the estimate of {', '.join(refused)}, or weights do not average 1. Ask about "
            "policies nearer to what was shown, or log more rows with a policy that tries more items.",
        )


def _of_effects(effects: EffectSummary | None) -> Iterator[Missing]:
    if effects is None or effects.reason is not None:
        why = "the artefact keeps no summary of them" if effects is None else f"{effects.reason}"
        yield Missing("What showing an item does", f"effects of items were not estimated. {why[0].upper()}{why[1:]}.")
    elif (doubt := no_push(effects)) is not None:
        yield Missing("How far a ranker can lean on the rewards", f"{doubt}.")
    elif effects.propensities == LOGGED and shifts_to_show(effects) is None:
        yield Missing("How far a ranker can lean on the rewards", "no item was shown to users of every fold.")


def _of_experiments(evaluation: Evaluation) -> Iterator[Missing]:
    found = evaluation.experiments
    if found is None:
        yield Missing(
            "Whether moving this reward, or a quick signal, moves the north star",
            "no past experiments were given. Give a file with a row for each user of them: evaluate.py run=DIR "
            "experiments=users.parquet north_star=METRIC.",
        )
    elif found.early is None:
        yield Missing(
            "How early a test can be read",
            "the past experiments have the north star as one number a user. Give it day by day, as a list.",
        )


def _of_leakage(evaluation: Evaluation) -> Iterator[Missing]:
    if evaluation.leakage is not None and evaluation.leakage.reason is not None:
        yield Missing("Whether a column was filled in later than its rows", f"{evaluation.leakage.reason}.")
