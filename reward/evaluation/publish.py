"""Puts an assessment where people look: metrics.json, report.html and the terminal."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from reward.evaluation.assessment import Json
from reward.evaluation.report import report, sentences, summary_table
from reward.function import RewardFunction
from reward.writing import whole, write_json


def publish(function: RewardFunction, assessment: Json, folder: Path, console: Console) -> None:
    """Write ``metrics.json`` and ``report.html`` to ``folder``, and print the table and what it means."""
    facts = list(function.facts["table"].items())
    with whole(folder / "report.html") as scratch:
        scratch.write_text(
            report(assessment, title=f"A reward signal in {function.unit}", facts=facts), encoding="utf-8"
        )
    write_json(folder / "metrics.json", assessment)
    console.print(summary_table(assessment))
    for sentence in sentences(assessment):
        console.print(f"• {sentence}")
    console.print(f"\nreport: {folder / 'report.html'}", soft_wrap=True)
