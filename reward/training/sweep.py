"""A table of the jobs of a sweep, when all have ended."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from reward.evaluation.evaluate import MODEL
from reward.training.folder import METRICS, OVERRIDES
from reward.training.terminal import console


class JobTable:
    """Prints it; the config system calls it, with ``config``, when a sweep ends, and at other moments in vain."""

    def on_multirun_end(self, config: Any, **_: Any) -> None:
        """Print the table of the jobs in the sweep's folder."""
        rows = jobs(Path(str(config.hydra.sweep.dir)))
        if rows:
            console.print(table(rows))

    def _nothing(self, **_: Any) -> None:
        """Nothing is done then."""

    on_run_start = on_run_end = on_multirun_start = on_job_start = on_job_end = on_compose_config = _nothing


def jobs(folder: Path) -> list[dict[str, Any]]:
    """Of each job that has ended: its ``folder``, what was ``set``, and its metrics, in the order of their numbers."""
    found = []
    for file in folder.glob(f"*/{METRICS}"):
        place = file.parent
        overrides = (place / OVERRIDES).read_text(encoding="utf-8") if (place / OVERRIDES).is_file() else ""
        given = [line.removeprefix("- ").strip() for line in overrides.splitlines() if line.startswith("- ")]
        found.append({"folder": place.name, "set": given, **json.loads(file.read_text(encoding="utf-8"))})
    return sorted(found, key=lambda job: (len(job["folder"]), job["folder"]))


def table(rows: list[dict[str, Any]]) -> Table:
    """One line a job: what sets it apart, its validation loss, its log-loss and AUC on the test days."""
    shared = set.intersection(*(set(row["set"]) for row in rows)) if len(rows) > 1 else set()
    found = Table(title="jobs", title_justify="left", box=None, pad_edge=False)
    for name in ("job", "settings", "validation loss", "log-loss", "AUC"):
        found.add_column(name, justify="left" if name in ("job", "settings") else "right")
    for row in rows:
        measured = row.get("metrics", {}).get(MODEL, {})
        found.add_row(
            row["folder"],
            " ".join(it for it in row["set"] if it not in shared) or "–",
            _number(row.get("validation/loss")),
            _number(measured.get("log_loss")),
            _number(measured.get("auc")),
        )
    return found


def _number(found: Any) -> str:
    value = found.get("value") if isinstance(found, Mapping) else found
    return f"{value:.4f}" if isinstance(value, float) else "–"
