"""Which goals of which benchmark are met? Reads benchmarks/results/, writes the table in docs/research/results.md."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from harness import ROOT
from rich.console import Console

from reward.writing import whole

BEGIN, END = "<!-- goals: benchmarks/goals.py writes this table -->\n", "<!-- end of goals -->\n"


def markdown(results: Path) -> str:
    """How many goals each benchmark has and meets, and those that are not met."""
    lines, missed = ["| benchmark | goals | met |", "|---|---|---|"], []
    for file in sorted(results.glob("*.json")):
        goals = [row for row in json.loads(file.read_text(encoding="utf-8"))["rows"] if row["goal"] is not None]
        if goals:
            lines.append(f"| `{file.stem}.py` | {len(goals)} | {sum(bool(row['met']) for row in goals)} |")
        missed += [
            f"- `{file.stem}.py`, {row['what']}, {row['metric']}: {row['ours']:.4g} (goal: {row['goal']})"
            for row in goals
            if not row["met"]
        ]
    return "\n".join([*lines, "", *(["Not met:", "", *missed] if missed else ["All are met."])]) + "\n"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results")
    parser.add_argument(
        "--page", type=Path, default=ROOT / "docs" / "research" / "results.md", help="is given the table"
    )
    chosen = parser.parse_args(arguments)
    text = chosen.page.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(
            f"{chosen.page}: expected the lines {BEGIN.strip()} and {END.strip()}, which enclose the table"
        )
    table = markdown(chosen.results)
    with whole(chosen.page) as scratch:
        scratch.write_text(before + BEGIN + table + END + after, encoding="utf-8")
    Console(width=120).print(table, markup=False)


if __name__ == "__main__":
    main()
