"""Puts an assessment where people look: metrics.json, report.html and the terminal."""

from __future__ import annotations

from pathlib import Path

import polars as pl
from rich.console import Console

from reward.effects.account import LOGGED
from reward.evaluation.assessment import Json
from reward.evaluation.report import report, sentences, summary_table, truth_picture
from reward.evaluation.truth import against_truth
from reward.function import RewardFunction
from reward.writing import whole, write_json


def publish(function: RewardFunction, assessment: Json, folder: Path, console: Console, *, truth: Path) -> None:
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
    assessment["notes"] = [*assessment["notes"], *unanswered(function.facts.get("effects"), assessment)]
    facts = list(function.facts["table"].items())
    with whole(folder / "report.html") as scratch:
        title = f"A reward signal in {function.unit}"
        page = report(assessment, title=title, facts=facts, items=items, push=pushed_in(function.facts.get("effects")))
        scratch.write_text(page, encoding="utf-8")
    write_json(folder / "metrics.json", assessment)
    console.print(summary_table(assessment))
    for sentence in sentences(assessment):
        console.print(f"• {sentence}")
    console.print(f"\nreport: {folder / 'report.html'}", soft_wrap=True)


def pushed_in(effects: Json | None) -> Json | None:
    """How far a ranker may be pushed; None where that was not looked at, or rests on propensities that fail."""
    if not effects or not effects.get("push") or effects["balance"]["flagged"]:
        return None
    reached: Json = {kappa: push for kappa, push in effects["push"].items() if push["divergence"]}
    return reached or None


def unanswered(effects: Json | None, assessment: Json) -> list[str]:
    """Questions that the data at hand cannot answer, and what it would take."""
    said = []
    if "policies" not in assessment:
        said.append(
            "What another policy would have been worth: the log has no propensities of its own, and estimated ones "
            "carry no off-policy estimate. Log the probability with which each item was chosen."
        )
    elif refused := sorted({it["policy"] for it in assessment["policies"]["estimates"] if it["refused"] is not None}):
        said.append(
            f"What all policies would have been worth: too few rows are left of {', '.join(refused)}, or weights do not "
            "average 1. Ask of policies nearer to what was shown, or log more rows with a policy that tries more."
        )
    if not effects or effects.get("reason") is not None:
        why = (effects or {}).get("reason") or "the artefact says nothing of them"
        said.append(f"What showing an item does: effects of items were not estimated. {why[0].upper()}{why[1:]}.")
    elif effects["propensities"] == LOGGED and pushed_in(effects) is None:
        said.append(
            "How far a ranker may be pushed: the propensities fail their check, or no item was shown to users of every "
            "fold."
        )
    if "experiments" not in assessment:
        said.append(
            "Whether moving this reward, or a quick signal, moves the north star: no past experiments were given. Name "
            "their users' rows, evaluate.py run=DIR experiments=users.parquet north_star=METRIC."
        )
    elif assessment["experiments"]["early"] is None:
        said.append(
            "How early a test may be read: the past experiments tell the north star as one number a user. Give it day "
            "by day, as a list."
        )
    if (reason := assessment.get("canary", {}).get("reason")) is not None:
        said.append(f"Whether a column was filled in later than its rows: {reason}.")
    return said
