"""Does the learned reward find what items did? Its items' effects, and what people use today, against the true effects.

For each world and seed one log is lived and the second stage fitted to it with the settings of ``conf/``. Told are the
correlations with the true item effects of the learned reward, of variants of it and of today's signals; and of the
learned reward its calibration slope, the coverage of its intervals, whether it errs with the activity of those an item
is shown to, and whether users held out bear it out. Then the same at other log sizes, against the same truth. Nothing
was tuned on these seeds.

What was computed is kept in a folder, job by job: a run that was broken off goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from gap.cells import CELLS, judge_cells
from harness import Benchmark, Row, Smoke, mean_and_se, result_row
from recovered.judged import evaluate, live_throughout, scores_of
from recovered.logs import TRUTH, Case, compute, found_of
from recovered.rewards import (
    BOOSTED,
    ESTIMATED,
    LEARNED,
    PARTS,
    PROSPECTIVE,
    SURVEYED,
    TODAY,
    UNANSWERED,
    WEIGHTED,
    parts_of,
)
from rich.console import Console
from rich.table import Table
from worlds import JUDGED, OTHERS

SMOKE = Smoke("--worlds clickbait --seeds 1 --users 100 --parents-per-day 20")
ALL = "all worlds"
DRAWN = {  # colour and line
    LEARNED: ("#c44e52", "-"),
    UNANSWERED: ("#c44e52", "--"),
    "survey x click rate": ("#4c72b0", "-"),
    "mean activity, adjusted, weighted, shrunk": ("#55a868", "-"),
    "mean activity, adjusted": ("#55a868", "--"),
    "click rate": ("#8c8c8c", "-"),
}
Figures = dict[str, dict[int, dict[str, float]]]  # world (and size) -> seed -> metric -> value
Goal = tuple[str, Callable[[float], bool]]
BESTS = {  # of today's signals which are left out
    "the best of today's": SURVEYED,
    "the best of today's without propensities": (*SURVEYED, *WEIGHTED),
    "the best of today's and of surveys": (),
}
_MARGIN: Goal = (">= 0.2", lambda value: value >= 0.2)
# (world, size, metric) of the learned reward, {}, with surveys and likes and without
GOALS: dict[tuple[str, str, str], Goal] = {
    (ALL, "", "Pearson, {}"): (">= 0.75", lambda value: value >= 0.75),
    (ALL, "", "Pearson, {}, worst log"): (">= 0.55", lambda value: value >= 0.55),
    (ALL, "80,000 users", "Pearson, {}"): (">= 0.82", lambda value: value >= 0.82),
    (ALL, "", "truth in the 95% interval, {}"): ("0.85 to 0.97", lambda value: 0.85 <= value <= 0.97),
    ("no_effect", "", "held-out interval covers 0, {}"): ("1", lambda value: value == 1),
    **{(ALL, "", f"Pearson, {{}}, above {label}"): _MARGIN for label in list(BESTS)[:2]},
}
EXACT_GOALS: dict[tuple[str, str], Goal] = {
    (ALL, f"Pearson, {ESTIMATED}"): (">= 0.6", lambda value: value >= 0.6),
    ("no_effect", f"held-out interval covers 0, {ESTIMATED}"): ("1", lambda value: value == 1),
    ("hidden", f"flagged, {ESTIMATED}"): ("1", lambda value: value == 1),
}


def figures_of(cases: dict[Case, list[str]], first_users: int, folder: Path) -> Figures:
    """What `evaluate` says of each log, by world, size and seed; logs without a truth or exposures are left out."""
    out: Figures = {}
    for case in cases:
        found = found_of(case, folder, PARTS)
        truth = found_of(replace(case, users=first_users), folder, [TRUTH]).get(TRUTH)
        if truth is not None and "today" in found:
            what = case.name if case.users == first_users else f"{case.name}, {case.users:,} users"
            shown = found["today"] | {"throughout": live_throughout(case)}
            judged = evaluate(truth, shown, scores_of(found))
            if PROSPECTIVE in found:
                judged |= judge_cells(truth, found[PROSPECTIVE])
            out.setdefault(what, {})[case.seed] = judged
    sizes = {what.partition(", ")[2] for what in out}
    for size in sorted(sizes):
        parts = [out.get(f"{name}, {size}" if size else name, {}) for name in JUDGED]
        shared = sorted(set.intersection(*(set(part) for part in parts)))
        if shared:
            told = {seed: [it for it in parts[0][seed] if all(it in part[seed] for part in parts)] for seed in shared}
            out[f"{ALL}, {size}" if size else ALL] = {
                seed: {it: float(np.mean([part[seed][it] for part in parts])) for it in told[seed]} for seed in shared
            }
    return out


def best_of(of_seeds: dict[int, dict[str, float]], left_out: tuple[str, ...] = ()) -> str:
    """The one of today's signals with the highest mean Pearson correlation."""
    names = [name for name in (*TODAY, BOOSTED) if name not in left_out]
    there = [name for name in names if all(f"Pearson, {name}" in row for row in of_seeds.values())]
    return max(there, key=lambda name: np.mean([row[f"Pearson, {name}"] for row in of_seeds.values()]))


def rows_of(figures: Figures) -> list[Row]:
    """The result: means over seeds and their standard errors, margins over today's signals, worst logs."""
    rows: list[Row] = []

    def tell(what: str, metric: str, values: list[float], peers: dict[str, float] | None = None) -> None:
        mean, se = mean_and_se(values)
        goal, holds = goal_of(what, metric)
        rows.append(result_row(what, metric, mean, se, peers, goal, None if holds is None else holds(mean)))

    for what, all_seeds in figures.items():
        tell(what, "seeds", [len(all_seeds)])
        world, _, size = what.partition(", ")
        for metric in dict.fromkeys(name for row in all_seeds.values() for name in row):
            tell(what, metric, [row[metric] for row in all_seeds.values() if metric in row])
        by_cell = sum(f"Pearson, {CELLS}" in row for row in all_seeds.values())
        if 0 < by_cell < len(all_seeds):
            tell(what, f"seeds, {PROSPECTIVE}", [by_cell])
        for name in (LEARNED, UNANSWERED, BOOSTED, ESTIMATED):
            metric = f"Pearson, {name}"
            of_seeds = {seed: row for seed, row in all_seeds.items() if metric in row}
            if 0 < len(of_seeds) < len(all_seeds):
                tell(what, f"seeds, {name}", [len(of_seeds)])
            if not of_seeds or name == BOOSTED or world == "no_effect":
                continue
            logs = [figures[f"{it}, {size}" if size else it] for it in JUDGED] if world == ALL else [of_seeds]
            worst = min(row[metric] for of in logs for row in of.values() if metric in row)
            tell(what, f"{metric}, worst log", [worst])
            for label, left_out in BESTS.items():
                best = best_of(of_seeds, left_out)
                margin = [row[metric] - row[f"Pearson, {best}"] for row in of_seeds.values()]
                peer = float(np.mean([row[f"Pearson, {best}"] for row in of_seeds.values()]))
                tell(what, f"{metric}, above {label}", margin, {best: peer})
    return rows


def goal_of(what: str, metric: str) -> tuple[str | None, Callable[[float], bool] | None]:
    """What was asked for: over the judged worlds, in the null world, and of the check in the confounded one."""
    world, _, size = what.partition(", ")
    for (where, of_size, begins), goal in GOALS.items():
        if where == world and of_size == size and metric in (begins.format(name) for name in (LEARNED, UNANSWERED)):
            return goal
    return EXACT_GOALS.get((what, metric), (None, None))


def show(rows: list[Row], console: Console) -> None:
    """One table a log size: a row a metric, a column a world."""
    sizes = {str(row["what"]).partition(", ")[2]: None for row in rows}
    for size in sizes:
        mine = [row for row in rows if str(row["what"]).partition(", ")[2] == size]
        worlds = list(dict.fromkeys(str(row["what"]).partition(", ")[0] for row in mine))
        table = Table(title=f"recovery{', ' + size if size else ''}: mean over seeds (standard error)")
        for name in ("metric", *worlds):
            table.add_column(name)
        for metric in dict.fromkeys(str(row["metric"]) for row in mine):
            cells = {}
            for row in mine:
                if row["metric"] == metric and row["ours"] is not None:
                    mark = {True: " ok", False: " [red]no[/red]", None: ""}[row["met"]]
                    se = "" if row["se"] is None else f" ({row['se']:.3f})"
                    cells[str(row["what"]).partition(", ")[0]] = f"{row['ours']:.3f}{se}{mark}"
            table.add_row(metric, *(cells.get(name, "") for name in worlds))
        console.print(table)


def plot(rows: list[Row], first_users: int, file: Path) -> None:
    """Pearson correlation with the true item effects by log size, one panel a world."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    told = {(str(row["what"]), row["metric"]): row for row in rows}
    worlds = [name for name in JUDGED if (name, "seeds") in told]
    figure, axes = plt.subplots(1, len(worlds), figsize=(3.1 * len(worlds), 3.6), sharey=True, squeeze=False)
    for axis, world in zip(axes[0], worlds, strict=True):
        others = {what for what, _ in told if what.startswith(f"{world}, ")}
        sizes = {first_users: world} | {int("".join(filter(str.isdigit, what))): what for what in others}
        for name, (colour, style) in DRAWN.items():
            there = [users for users in sorted(sizes) if (sizes[users], f"Pearson, {name}") in told]
            mine = [told[sizes[users], f"Pearson, {name}"] for users in there]
            values, errors = [row["ours"] for row in mine], [1.96 * (row["se"] or 0) for row in mine]
            axis.errorbar(there, values, errors, label=name, color=colour, linestyle=style, marker="o", markersize=3)
        axis.set_xscale("log")
        axis.set_xticks(sorted(sizes), [f"{users:,}" for users in sorted(sizes)], fontsize=8)
        axis.minorticks_off()
        axis.axhline(0, color="black", linewidth=0.6)
        axis.set_title(world.replace("_", " "), fontsize=10)
        axis.set_xlabel("users in the log")
    axes[0, 0].set_ylabel("correlation with true item effects")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="lower center", ncols=3, fontsize=8, frameon=False)
    figure.tight_layout(rect=(0, 0.14, 1, 1))
    figure.savefig(file, dpi=90)


def main(arguments: list[str] | None = None) -> None:
    bench = Benchmark(globals(), SMOKE, cache="recovery", width=200)
    bench.add("--worlds", nargs="+", default=[*JUDGED, *OTHERS], help="names in conf/simulation/")
    bench.add("--seeds", type=int, default=5, help="how many")
    bench.add("--first-seed", type=int, default=0)
    bench.add("--users", nargs="+", type=int, default=[20_000, 5_000, 80_000], help="the truth is the first's")
    bench.add("--parts", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART", help=f"{list(PARTS)}")
    bench.add("--parents-per-day", type=int, default=500, help="visits with paired runs, on each of 6 days")
    bench.add("--from-cache", action="store_true", help="compute nothing, tell of what is there")
    bench.add("--plot", type=Path, help="also draw correlations by log size (docs/research/recovery.png)")
    chosen = bench.parse(arguments)
    first, left_out = chosen.users[0], bench.without({BOOSTED: "lightgbm"})
    cases = {
        Case(name, seed, users, chosen.parents_per_day): [
            part for part in parts_of(name, users == first) if part in chosen.parts and part not in left_out
        ]
        for users in chosen.users
        for seed in range(chosen.first_seed, chosen.first_seed + chosen.seeds)
        for name in chosen.worlds
        if users == first or name in JUDGED
    }
    if not chosen.from_cache:
        compute(bench, cases, chosen.cache, PARTS)
    rows = rows_of(figures_of(cases, first, chosen.cache))
    bench.finish(rows, show=partial(show, rows, bench.console))
    if chosen.plot is not None:
        plot(rows, first, chosen.plot)


if __name__ == "__main__":
    main()
