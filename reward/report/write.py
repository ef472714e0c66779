"""Puts an assessment where people look: metrics.json, report.html and the terminal."""

from __future__ import annotations

from pathlib import Path

import polars as pl
from rich.console import Console

from reward.causal.diagnostics.summary import LOGGED, no_push
from reward.evaluation.estimates import Json
from reward.evaluation.simulated_truth import against_truth
from reward.report.figures import truth_picture
from reward.report.page import report
from reward.report.sections import pushed_in
from reward.report.terminal import beside_the_truth, sentences, table_of
from reward.scoring.function import RewardFunction
from reward.writing import whole, write_json


def write_report(function: RewardFunction, assessment: Json, folder: Path, console: Console, *, truth: Path) -> None:
    """Write ``metrics.json`` and ``report.html`` to ``folder``, and print the table and what it means.

    Where the file ``truth`` is there, as `beside_truth` has it, what was learned is held against it, and ``truth.svg``
    shows how.
    """
    items = None
    if truth.is_file():
        items = pl.read_parquet(truth)
        settings = {name: assessment[name] for name in ("unit", "resamples", "seed", "level")}
        assessment["truth"] = against_truth(items, feedback=assessment["feedback"], **settings)
        with whole(folder / "truth.svg") as scratch:
            scratch.write_text(truth_picture(assessment, items), encoding="utf-8")
    effects, forecast = (function.facts.get(name) for name in ("effects", "forecast"))
    assessment["notes"] = [*assessment["notes"], *unanswered(effects, assessment)]
    facts = list(function.facts["table"].items())
    with whole(folder / "report.html") as scratch:
        title = f"A reward signal in {function.unit}"
        page = report(assessment, title=title, facts=facts, items=items, effects=effects, forecast=forecast)
        scratch.write_text(page, encoding="utf-8")
    write_json(folder / "metrics.json", assessment)
    console.print(table_of(assessment))
    for sentence in [*sentences(assessment, effects, forecast), *beside_the_truth(assessment)]:
        console.print(sentence, highlight=False)


def unanswered(effects: Json | None, assessment: Json) -> list[str]:
    """Questions that the data at hand cannot answer, and what it would take."""
    said = []
    if "policies" not in assessment:
        said.append(
            "What another policy would have been worth: off-policy estimates need the probability with which each item "
            f"was shown, and {assessment.get('no policies', 'the log has none')}."
        )
    elif refused := sorted({it["policy"] for it in assessment["policies"]["estimates"] if it["refused"] is not None}):
        said.append(
            f"What all policies would have been worth: too few rows speak of {', '.join(refused)}, or weights do not "
            "average 1. Ask about policies nearer to what was shown, or log more rows with a policy that tries more "
            "items."
        )
    if not effects or effects.get("reason") is not None:
        why = (effects or {}).get("reason") or "the artefact says nothing of them"
        said.append(f"What showing an item does: effects of items were not estimated. {why[0].upper()}{why[1:]}.")
    elif (why := no_push(effects)) is not None:
        said.append(f"How far a ranker can lean on the rewards: {why}.")
    elif effects["propensities"] == LOGGED and pushed_in(effects) is None:
        said.append("How far a ranker can lean on the rewards: no item was shown to users of every fold.")
    if "experiments" not in assessment:
        said.append(
            "Whether moving this reward, or a quick signal, moves the north star: no past experiments were given. Name "
            "their users' rows, evaluate.py run=DIR experiments=users.parquet north_star=METRIC."
        )
    elif assessment["experiments"]["early"] is None:
        said.append(
            "How early a test can be read: the past experiments have the north star as one number a user. Give it day "
            "by day, as a list."
        )
    if (reason := assessment.get("canary", {}).get("reason")) is not None:
        said.append(f"Whether a column was filled in later than its rows: {reason}.")
    return said
