"""What a run says on the terminal: at most 25 lines of 80 to 120 columns, the rest is in the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from reward.evaluation.assessment import ACTIVITY, Json
from reward.evaluation.summary import HEADS, in_short
from reward.evaluation.wording import Estimate, interval_name, places, readable

MOST_LINES = 25  # of a run's first screen
_SHOWN = 0.02  # of a run, below which a phase is left out of where the time went


def what_was_read(*, rows: int, users: int, items: int, rejected: int, days: Sequence[object]) -> list[str]:
    """How large the log is, and how its days are used.

    Args:
        rows: events that are used.
        users: of these.
        items: of these.
        rejected: rows set aside.
        days: first day, and the ends of training, validation and test, each the first day of what follows.
    """
    aside = f"; {rejected:,} rows set aside" if rejected else ""
    start, train_end, validation_end, end = days
    return [
        f"{rows:,} events of {users:,} users on {items:,} items{aside}",
        f"train {start} to {train_end}, validate to {validation_end}, test to {end} (ends exclusive)",
    ]


def what_training_did(*, epochs: int, best: float | None, seconds: float) -> str:
    """How long training took, and what validation said of the weights that are kept."""
    loss = "" if best is None else f"; best validation loss {best:.4f}"
    return f"trained {epochs} epoch{'' if epochs == 1 else 's'} in {_time(seconds)}{loss}"


def table_of(assessment: Json) -> Table:
    """Every prediction in a row, the reward model first: log-loss, gain over past activity with its interval, AUC."""
    metrics = assessment["metrics"]
    gains = assessment["carry"]["gains"].get(ACTIVITY, {})
    columns = {
        "log-loss": _values([it["log_loss"] for it in metrics.values()]),
        f"gain over {ACTIVITY}, {interval_name(assessment['level'])}": _with_intervals(
            [None if name == ACTIVITY else gains.get(name) for name in metrics]
        ),
        "AUC": _values([it["auc"] for it in metrics.values()]),
    }
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(f"forecast of {_days(assessment)}", no_wrap=True)
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    for name, *cells in zip(metrics, *columns.values(), strict=True):
        table.add_row(Text(name, style="bold" if name == assessment["model"] else ""), *cells)
    return table


def sentences(assessment: Json, effects: Mapping[str, Any] | None) -> list[Text]:
    """The three sentences of `in_short`, under their heads."""
    return [
        Text.assemble((f"{head}: ", "bold"), sentence)
        for head, sentence in zip(HEADS, in_short(assessment, effects), strict=True)
    ]


def where_things_are(folder: Path) -> list[str]:
    """What a run folder holds of what people look for, by names inside it."""
    there = {
        "evaluation/report.html": "the report",
        "reward": "the scoring function",
        "metrics.json": "every figure",
        "rejected.parquet": "rows set aside, with reasons",
    }
    named = [f"{name} ({what})" for name, what in there.items() if (folder / name).exists()]
    return [f"in the run folder: {', '.join(named)}"] if named else []


def where_time_went(seconds: Mapping[str, float]) -> str:
    """How long a run took, and its phases in their order."""
    total = sum(seconds.values())
    shown = [f"{name} {_time(value)}" for name, value in seconds.items() if value >= _SHOWN * total]
    return f"time: {_time(total)}" + (f" ({', '.join(shown)})" if len(shown) > 1 else "")


def _time(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 9.95 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _days(assessment: Json) -> str:
    days = assessment["horizon_days"]
    return "the next day" if days == 1 else f"{days} days"


def _values(estimates: Sequence[Estimate | None]) -> list[str]:
    decimals = places(it for it in estimates if it)
    return [readable(it["value"] if it else None, decimals) for it in estimates]


def _with_intervals(estimates: Sequence[Estimate | None]) -> list[str]:
    decimals = places(it for it in estimates if it)
    cells = []
    for it in estimates:
        text = readable(it["value"] if it else None, decimals)
        if it and it["low"] is not None:
            text += f" ({readable(it['low'], decimals)} to {readable(it['high'], decimals)})"
        cells.append(text)
    return cells
