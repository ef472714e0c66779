"""An evaluation as ``metrics.json`` keeps it: its numbers, and beside them what they say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reward import records
from reward.evaluation.findings import Evaluation
from reward.report.sentences import (
    decomposition_sentences,
    early_sentences,
    forecast_sentences,
    leak_sentences,
    missing_sentence,
    policy_sentences,
    reward_sentences,
    truth_sentences,
)


def to_json(evaluation: Evaluation) -> dict[str, Any]:
    """The values that go into JSON, with ``sentences`` in each part that has some and ``notes`` as text."""
    saved: dict[str, Any] = records.to_json(evaluation)
    saved["notes"] = [missing_sentence(it) for it in evaluation.missing]
    for key, said in (
        ("carry", forecast_sentences(evaluation)),
        ("ledger", decomposition_sentences(evaluation)),
        ("reward", reward_sentences(evaluation)),
    ):
        saved[key]["sentences"] = said
    if evaluation.leakage is not None:
        saved["canary"]["sentences"] = leak_sentences(evaluation.leakage)
    if evaluation.policies is not None:
        saved["policies"]["sentences"] = policy_sentences(evaluation.policies)
    if evaluation.truth is not None:
        saved["truth"]["sentences"] = truth_sentences(
            evaluation.truth, unit=evaluation.unit, click=evaluation.click, level=evaluation.level
        )
    early = None if evaluation.experiments is None else evaluation.experiments.early
    if early is not None and early.reason is None:
        saved["experiments"]["early"]["sentences"] = early_sentences(early, evaluation.level)
    return saved


def from_json(saved: Mapping[str, Any]) -> Evaluation:
    """The evaluation that `to_json` made these values of; sentences are made anew from the numbers.

    Raises:
        ValueError: they are not those of an evaluation; says where.
    """
    notes = [dict(zip(("what", "why"), note.partition(": ")[::2], strict=True)) for note in saved.get("notes", [])]
    return records.from_json(Evaluation, {**saved, "notes": notes}, "metrics.json")
