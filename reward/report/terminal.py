"""What a run says on the terminal: at most 25 lines of 80 to 120 columns, the rest is in the report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

from reward.causal.diagnostics.summary import EffectSummary, verdict
from reward.evaluation.estimates import ACTIVITY, BASE_RATE, FEEDBACK_ONLY, Estimate
from reward.evaluation.findings import Evaluation
from reward.report.summary import HEADS, TrainingGain, in_short
from reward.report.text import places, readable

MOST_LINES = 25  # of a run's first screen
_REPORT_ONLY = (FEEDBACK_ONLY, BASE_RATE)  # weaker forecasts, which the report has


def what_was_read(*, rows: int, users: int, items: int, rejected: int, days: Sequence[object]) -> list[str]:
    """How large the log is, and how its days are used.

    Args:
        rows: events that are used.
        users: of these.
        items: of these.
        rejected: rows set aside.
        days: the first day of training, of validation and of test.
    """
    aside = f"; {rejected:,} rows set aside" if rejected else ""
    train, validation, test = days
    return [
        f"{rows:,} events of {users:,} users on {items:,} items{aside}",
        f"train from {train}, validate from {validation}, test from {test} on",
    ]


def what_was_refit(what: str, judged: EffectSummary | None, shipped: EffectSummary | None) -> str:
    """What of the scoring function was fitted again after the evaluation, and the verdict where that is another now.

    Args:
        what: ``all`` or ``effects``.
        judged: the summary of effects that the report has.
        shipped: that of the artefact.
    """
    fitted = "network and effects" if what == "all" else "effects"
    before, after = verdict(judged), verdict(shipped)
    another = "" if before is after else f"; with these the verdict on effects is {after}, and was {before}"
    return f"{fitted} fitted again on all days, after the evaluation{another}"


def table_of(evaluation: Evaluation) -> Table:
    """The strongest predictions, the reward model first: log-loss, gain over past activity with its interval, AUC."""
    every = ACTIVITY not in evaluation.metrics
    metrics = {name: it for name, it in evaluation.metrics.items() if every or name not in _REPORT_ONLY}
    gains = evaluation.carries.gains.get(ACTIVITY, {})
    columns = {
        "log-loss": _values([it.log_loss.estimate for it in metrics.values()]),
        f"gain over {ACTIVITY}, {100 * evaluation.level:.4g}%": _with_intervals(
            [None if name == ACTIVITY or name not in gains else gains[name].total for name in metrics]
        ),
        "AUC": _values([it.auc.estimate for it in metrics.values()]),
    }
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(f"forecast of {_days(evaluation)}", no_wrap=True)
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    for name, *cells in zip(metrics, *columns.values(), strict=True):
        table.add_row(Text(name, style="bold" if name == evaluation.model else ""), *cells)
    return table


def sentences(
    evaluation: Evaluation, effects: EffectSummary | None, forecast: TrainingGain | None = None
) -> list[Text]:
    """The three sentences of `in_short`, under their heads."""
    return [
        Text.assemble((f"{head}: ", "bold"), sentence)
        for head, sentence in zip(HEADS, in_short(evaluation, effects, forecast), strict=True)
    ]


def beside_the_truth(evaluation: Evaluation) -> list[str]:
    """How click rates and learned rewards of items correlate with what showing each truly does, where it is known."""
    found = evaluation.truth
    if found is None:
        return []
    shown = [f"{name} {readable(it.value, 2)}" for name, it in found.correlation.items() if it.value is not None]
    return [f"correlation with the true effects of {found.items} items: {', '.join(shown)}"] if shown else []


def where_things_are(folder: Path) -> list[str]:
    """What a run folder holds of what people look for, by names inside it."""
    there = {
        "report": "evaluation/report.html",
        "scoring function": "reward",
        "every figure": "metrics.json",
        "rows set aside": "rejected.parquet",
    }
    named = [f"{what}: {name}" for what, name in there.items() if (folder / name).exists()]
    return [f"in the run folder, {', '.join(named)}"] if named else []


def _days(evaluation: Evaluation) -> str:
    days = evaluation.horizon_days
    return "the next day" if days == 1 else f"{days} days"


def _values(estimates: Sequence[Estimate]) -> list[str]:
    decimals = places(estimates)
    return [readable(it.value, decimals) for it in estimates]


def _with_intervals(estimates: Sequence[Estimate | None]) -> list[str]:
    decimals = places(it for it in estimates if it is not None)
    cells = []
    for it in estimates:
        text = readable(None if it is None else it.value, decimals)
        if it is not None and it.interval is not None:
            text += " ({} to {})".format(*(readable(end, decimals) for end in it.interval))
        cells.append(text)
    return cells
