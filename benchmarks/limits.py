"""Where does the learned reward fail? Effects made weaker, a cause that nobody logs made stronger, and false alarms.

Three questions, each asked of logs of seeds that nothing was tuned on:

* *effects*: how weak may effects be, in a log of how many users? The world's ``gain`` is scaled, and the truth
  measured anew.
* *cause*: the logging policy follows a mood that also moves visiting and that nobody logs. How much of that does it
  take to ruin the reward, and does the balance check say so before or after?
* *alarms*: how often does the balance check flag logs whose policy follows logged history alone, their propensities
  logged or estimated?

What was computed is kept in a folder, job by job, as in ``recovery.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from harness import Benchmark, Row, Smoke, mean_and_se, result_row
from recovered.judged import evaluate, live_throughout, scores_of
from recovered.logs import TRUTH, Case, compute, found_of
from recovered.rewards import ESTIMATED, LEARNED, PARTS, UNANSWERED, estimated, found_by_balance, shown_to
from rich.console import Console
from rich.table import Table
from worlds import JUDGED, true_spread, world_of

from reward.columns import PROPENSITY

SHOWN = "shown"
EFFECTS, CAUSE, ALARMS = "effects", "cause", "alarms"
BY_LOGGED, BY_ESTIMATED = "balance, propensities logged", "balance, propensities estimated"
WEAKENED, CONFOUNDED = "confounded", "hidden"  # the worlds whose constants are varied
WITHOUT_SURVEYS = "mean activity, adjusted, weighted, shrunk"
SURVEYS = "survey x click rate"
Rows = list[Row]
SMOKE = Smoke("--seeds 1 --users 100 --gains 1 --moods 1 --parents-per-day 5 --alarm-seeds 1 --alarm-worlds confounded")


def check_of_logged(case: Case) -> dict[str, np.ndarray]:
    """What the balance check says of the true propensities."""
    return found_by_balance(case, case.log, case.events[PROPENSITY].to_numpy())


def check_of_estimated(case: Case) -> dict[str, np.ndarray]:
    """What the checks say of propensities that were estimated."""
    return estimated(case)[2]


HOW: dict[str, Callable[[Case], dict[str, np.ndarray]]] = {
    **PARTS,
    SHOWN: shown_to,
    BY_LOGGED: check_of_logged,
    BY_ESTIMATED: check_of_estimated,
}
ASKED = {  # of each question: what is computed in each log
    EFFECTS: ("today", LEARNED, UNANSWERED),
    CAUSE: (SHOWN, ESTIMATED),
    ALARMS: (BY_LOGGED, BY_ESTIMATED),
}
ERRS = (
    "slope of truth",
    "truth in the 95% interval",
    "error (days)",
    "spread of estimates (days)",
    "held-out slope",
    "held-out slope, standard error",
)
CHECKS = ("flagged", *(f"z {of}" for of in ("past assignments", "past activity", "last days", "placebo outcome")))
TOLD = {  # metrics of the logs, in the order of the result
    EFFECTS: [
        "sd of true effects (days)",
        *(f"Pearson, {name}" for name in (LEARNED, UNANSWERED, SURVEYS, WITHOUT_SURVEYS)),
        *(f"{it}, {name}" for name in (LEARNED, UNANSWERED) for it in (*ERRS, "held-out interval covers 0")),
    ],
    CAUSE: [
        "sd of true effects (days)",
        *(f"{it}, {ESTIMATED}" for it in ("Pearson", *ERRS, *CHECKS, "calibration flagged")),
    ],
}


def label(value: float, users: int) -> str:
    return f"{value:g}, {users:,} users"


def cases_of(chosen) -> dict[str, dict[tuple[str, int], Case]]:
    """The logs of each question, by what they are called and seed."""
    seeds = range(chosen.first_seed, chosen.first_seed + chosen.seeds)
    gain = world_of(WEAKENED).gain

    def case(name, seed, users, **changes):
        return Case(name, seed, users, chosen.parents_per_day, tuple(changes.items()))

    return {
        EFFECTS: {
            (label(value, users), seed): case(WEAKENED, seed, users, gain=value * gain)
            for seed in seeds
            for users in chosen.users
            for value in chosen.gains
        },
        CAUSE: {
            (label(value, users), seed): case(CONFOUNDED, seed, users, policy_mood=value)
            for seed in seeds
            for users in chosen.users
            for value in chosen.moods
        },
        ALARMS: {
            (f"{name}, {users:,} users", seed): case(name, seed, users)
            for users in chosen.users
            for seed in range(chosen.first_seed, chosen.first_seed + chosen.alarm_seeds)
            for name in chosen.alarm_worlds
        },
    }


def jobs_of(cases: dict[tuple[str, int], Case], question: str, truth_users: int) -> dict[Case, list[str]]:
    """What is computed; the truth is of the items, so one population of a seed and strength serves all."""
    jobs: dict[Case, list[str]] = {}
    for case in cases.values():
        jobs.setdefault(case, []).extend(ASKED[question])
        if question != ALARMS:
            of_truth = jobs.setdefault(replace(case, users=truth_users), [])
            of_truth += [TRUTH] * (TRUTH not in of_truth)
    return jobs


def measured(question: str, case: Case, truth_users: int, folder: Path) -> dict[str, float]:
    """Figures of one log; none where a part is missing."""
    found = found_of(case, folder, HOW)
    if question == ALARMS:
        return {
            f"{name}, {part}": float(value)
            for part in ASKED[ALARMS]
            if part in found
            for name, value in found[part].items()
        }
    truth = found_of(replace(case, users=truth_users), folder, [TRUTH]).get(TRUTH)
    if truth is None or any(part not in found for part in ASKED[question]):
        return {}
    shown = found[ASKED[question][0]] | {"throughout": live_throughout(case)}
    out = evaluate(truth, shown, scores_of(found))
    known = np.isfinite(truth["mean"])
    return out | {"sd of true effects (days)": true_spread(truth["mean"][known], truth["se"][known])}


def rows_of(question: str, found: dict[str, list[dict[str, float]]]) -> Rows:
    """Means over seeds and their standard errors, by the name of the logs."""
    rows: Rows = []

    def tell(what, metric, values):
        values = np.array([value for value in values if np.isfinite(value)])
        if len(values):
            rows.append(result_row(f"{question}, {what}", metric, *mean_and_se(values)))

    for what, logs in found.items():
        tell(what, "seeds", [len(logs)])
        for metric in TOLD.get(question, list(dict.fromkeys(name for log in logs for name in log))):
            tell(what, metric, [log[metric] for log in logs if metric in log])
    for size in dict.fromkeys(what.partition(", ")[2] for what in found) if question == ALARMS else ():
        logs = [log for what, of in found.items() if what.partition(", ")[2] == size for log in of]
        for part in ASKED[ALARMS]:
            values = [log[f"flagged, {part}"] for log in logs if f"flagged, {part}" in log]
            tell(f"all worlds, {size}", f"logs, {part}", [len(values)])
            tell(f"all worlds, {size}", f"flagged, {part}", values)
    return rows


def show(question: str, rows: Rows, console: Console) -> None:
    """A row a log, a column a metric."""
    names = list(dict.fromkeys(str(row["metric"]) for row in rows))
    table = Table(title=f"{question}: mean over seeds (standard error)")
    whats = list(dict.fromkeys(str(row["what"]) for row in rows))
    for name in ("metric", *(what.partition(", ")[2] for what in whats)):
        table.add_column(name)
    cells = {
        (row["what"], row["metric"]): f"{row['ours']:.3f}" + ("" if row["se"] is None else f" ({row['se']:.3f})")
        for row in rows
    }
    for name in names:
        table.add_row(name, *(cells.get((what, name), "") for what in whats))
    console.print(table)


def plot(rows: Rows, chosen, file: Path) -> None:
    """Recovery by the size of effects, by what the log itself says, and by the weight of the unlogged cause."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    told = {(str(row["what"]), row["metric"]): row for row in rows}
    figure, (by_size, by_slope, by_cause) = plt.subplots(1, 3, figsize=(12.5, 4.2))

    def column_of(question, values, users, metric, key="ours"):
        found = [told.get((f"{question}, {label(value, users)}", metric), {}).get(key) for value in values]
        return np.array([np.nan if value is None else value for value in found], float)

    def draw(axis, at, question, values, users, metric, **style):
        height, se = (column_of(question, values, users, metric, key) for key in ("ours", "se"))
        there = np.isfinite(at) & np.isfinite(height)
        if there.any():
            bars = 1.96 * np.nan_to_num(se[there])
            axis.errorbar(at[there], height[there], bars, marker="o", markersize=3, **style)

    place = np.arange(len(chosen.moods))
    for users, line in zip(chosen.users, ("-", "--", ":"), strict=False):
        size = f"{users:,} users"
        effects = EFFECTS, chosen.gains, users
        sd = column_of(*effects, "sd of true effects (days)")
        for name, colour in {LEARNED: "#c44e52", UNANSWERED: "#4c72b0", WITHOUT_SURVEYS: "#8c8c8c"}.items():
            style = {"color": colour, "linestyle": line, "label": f"{name}, {size}"}
            draw(by_size, np.where(sd > 0, sd, np.nan), *effects, f"Pearson, {name}", **style)
            if name != WITHOUT_SURVEYS:
                slope = column_of(*effects, f"held-out slope, {name}")
                draw(
                    by_slope,
                    slope / column_of(*effects, f"held-out slope, standard error, {name}"),
                    *effects,
                    f"Pearson, {name}",
                    **style,
                )
        for metric, colour in {
            "Pearson": "#c44e52",
            "slope of truth": "#4c72b0",
            "truth in the 95% interval": "#55a868",
            "flagged": "#333333",
        }.items():
            style = {"color": colour, "linestyle": line, "label": f"{metric.replace('Pearson', 'correlation')}, {size}"}
            draw(by_cause, place, CAUSE, chosen.moods, users, f"{metric}, {ESTIMATED}", **style)
    by_size.set_xscale("log")
    by_size.minorticks_off()
    by_size.set_xticks([0.005, 0.01, 0.02, 0.05], [".005", ".01", ".02", ".05"])
    by_size.set_xlabel("standard deviation of true item effects (days)")
    by_size.set_ylabel("correlation with true item effects")
    by_slope.set_xlabel("held-out slope over its standard error")
    by_slope.axvline(1.96, color="black", linewidth=0.6, linestyle=":")
    by_cause.set_xticks(place, [f"{value:g}" for value in chosen.moods])
    by_cause.set_xlabel("weight of the unlogged mood in the policy")
    for axis in (by_size, by_cause):
        if axis.get_legend_handles_labels()[0]:
            axis.legend(fontsize=6.5, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.16))
    for axis in (by_size, by_slope, by_cause):
        axis.axhline(0, color="black", linewidth=0.6)
    figure.tight_layout()
    figure.savefig(file, dpi=80)


def main(arguments: list[str] | None = None) -> None:
    bench = Benchmark(globals(), SMOKE, cache="limits", width=240)
    bench.add("--questions", nargs="+", choices=ASKED, default=list(ASKED), metavar="QUESTION", help=f"{list(ASKED)}")
    bench.add("--seeds", type=int, default=3, help="how many")
    bench.add("--first-seed", type=int, default=200)
    bench.add("--users", nargs="+", type=int, default=[5_000, 20_000], help="the truth is the first's")
    bench.add("--gains", nargs="+", type=float, default=[0, 0.125, 0.25, 0.5, 1, 2], help="times the world's")
    bench.add("--moods", nargs="+", type=float, default=[0, 0.125, 0.25, 0.5, 1, 2], help="the world's is 0.5")
    bench.add("--alarm-worlds", nargs="+", default=JUDGED, help="names in conf/simulation/")
    bench.add("--alarm-seeds", type=int, default=5, help="how many, from the first on")
    bench.add("--parents-per-day", type=int, default=200, help="visits with paired runs, on each of 6 days")
    bench.add("--from-cache", action="store_true", help="compute nothing, tell of what is there")
    bench.add("--plot", type=Path, help="also draw the curves (docs/research/limits.png)")
    chosen = bench.parse(arguments)
    tables: dict[str, Rows] = {}
    cases = cases_of(chosen)
    for question in chosen.questions:
        if not chosen.from_cache:
            compute(bench, jobs_of(cases[question], question, chosen.users[0]), chosen.cache, HOW)
        found: dict[str, list[dict[str, float]]] = {}
        for (what, _), case in cases[question].items():
            figures = measured(question, case, chosen.users[0], chosen.cache)
            if figures:
                found.setdefault(what, []).append(figures)
        tables[question] = rows_of(question, found)
    rows = [one for mine in tables.values() for one in mine]
    bench.finish(rows, show=lambda: [show(*each, bench.console) for each in tables.items()])
    if chosen.plot is not None:
        plot(rows, chosen, chosen.plot)


if __name__ == "__main__":
    main()
