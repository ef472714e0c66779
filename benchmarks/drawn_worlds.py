"""Do the defaults find what items did in worlds that nobody chose, and are rankers better for it?

Each seed draws the mechanisms and the constants of a service (``simulation=drawn``, docs/concepts/worlds.md). Nothing
is set: what the log's columns are to effects is chosen from its own evidence. Of each world: estimated against true
effects of items shown 200 times or more, with the propensities logged and with estimated ones; whether the interval of
the held-out slope covers 0 where nothing that is shown changes visiting; and what share of the gap from the
click-optimal policy to the oracle a ranker trained on the rewards closes. Even seeds are for choosing, odd seeds for
reporting: no constant was chosen in sight of an odd one.

What was computed is kept in a folder, job by job: a run that was broken off goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from closing_the_gap import HIGH, LOW, POLICIES, measure
from gap.signals import click_rate, survey_times_clicks
from gap.study import study_of
from harness import Benchmark, Row, Smoke, kept, mean_and_se, result_row
from recovered.judged import evaluate, live_throughout
from recovered.logs import Case, true_effects
from recovered.rewards import estimated, learned, shown_to

SMOKE = Smoke("--seeds 14 --users 120 --parents-per-day 10 --roll-out-users 40 --views 300 --candidates 10")
AUTO = {"gate": "auto", "rare": "auto", "group": "auto"}
EXACT = (("logged_propensities", True), ("propensity_noise", 0.0))
LOGGED, ESTIMATED, OURS, TRUTH = "propensities logged", "propensities estimated", "reward", "truth"
PARTS = ("items", "estimated", "nothing", "rankers")
Figures = dict[str, float]


def of_items(seed: int, users: int, parents_per_day: int) -> Figures:
    """Estimated against true effects of the items of a world."""
    case = Case("drawn", seed, users, parents_per_day, EXACT)
    truth = true_effects(case)
    shown = shown_to(case) | {"throughout": live_throughout(case)}
    scores = {LOGGED: learned(case, case.log, **AUTO), "click rate": click_rate(case)}
    if case.world.survey_share:
        scores["survey x click rate"] = survey_times_clicks(case)
    return evaluate(truth, shown, scores)


def of_items_estimated(seed: int, users: int, parents_per_day: int) -> Figures:
    """The same of a log that has no propensities, and what the checks say of those estimated."""
    case = Case("drawn", seed, users, parents_per_day, EXACT)
    truth = true_effects(case)
    log, propensity, checked = estimated(case)
    shown = shown_to(case) | {"throughout": live_throughout(case)}
    found = evaluate(truth, shown, {ESTIMATED: learned(case, log, propensity, **AUTO)})
    return found | {f"{what}, {ESTIMATED}": float(checked[what]) for what in ("flagged", "calibration flagged")}


def of_nothing(seed: int, users: int, parents_per_day: int) -> Figures:
    """Whether the held-out interval covers 0 where nothing that is shown changes visiting."""
    case = Case("drawn", seed, users, parents_per_day, (*EXACT, ("gain", 0.0)))
    log, propensity, checked = estimated(case)
    found = {LOGGED: learned(case, case.log, **AUTO), ESTIMATED: learned(case, log, propensity, **AUTO)}
    covers = {
        f"held-out interval covers 0, {name}": float(abs(it["slope"]) <= 1.96 * it["slope_se"])
        for name, it in found.items()
    }
    return covers | {f"flagged, {ESTIMATED}": float(checked["flagged"])}


def of_rankers(seed: int, users: int, parents_per_day: int, sizes: Mapping[str, int]) -> Figures:
    """The share of the gap that rankers close, and the logging policy."""
    world = Case("drawn", seed, users, parents_per_day, EXACT).world
    roles = tuple(f"roles.{name}={value}" for name, value in AUTO.items())
    study = replace(study_of(world, seed, **sizes), settings=roles)
    return measure(study, [OURS, TRUTH], {name: POLICIES[name] for name in (LOW, HIGH, "logging")})


# (part, metric) -> what is asked for, in words, and of the values of all worlds
GOALS = {
    ("items", f"Pearson, {LOGGED}"): (">= 0.8", lambda it: np.mean(it) >= 0.8),
    ("items", f"Pearson, {LOGGED}, tenth percentile"): (">= 0.6", lambda it: it[0] >= 0.6),
    ("items", f"slope of truth, {LOGGED}"): ("0.9 to 1.1", lambda it: 0.9 <= np.mean(it) <= 1.1),
    ("items", f"truth in the 95% interval, {LOGGED}"): ("0.93 to 0.97", lambda it: 0.93 <= np.mean(it) <= 0.97),
    ("estimated", f"Pearson, {ESTIMATED}, not flagged"): (">= 0.7", lambda it: np.mean(it) >= 0.7),
    ("nothing", f"held-out interval covers 0, {LOGGED}"): (">= 0.93", lambda it: np.mean(it) >= 0.93),
    ("nothing", f"held-out interval covers 0, {ESTIMATED}"): (">= 0.93", lambda it: np.mean(it) >= 0.93),
    ("rankers", OURS): (">= 0.5", lambda it: np.mean(it) >= 0.5),
    ("rankers", f"{OURS}, worst world"): (">= 0", lambda it: it[0] >= 0),
}


def rows_of(part: str, found: Mapping[int, Figures]) -> list[Row]:
    """Means over worlds and their standard errors, the tenth percentile of correlations, the worst gap closed."""
    values = {
        name: [of[name] for of in found.values() if name in of]
        for name in dict.fromkeys(it for of in found.values() for it in of)
    }
    logged, passed = values.get(f"Pearson, {LOGGED}"), f"Pearson, {ESTIMATED}"
    if logged:
        values[f"Pearson, {LOGGED}, tenth percentile"] = [float(np.quantile(logged, 0.1))]
    if passed in values:
        believed = [of[passed] for of in found.values() if not of[f"flagged, {ESTIMATED}"]]
        values |= {f"{passed}, not flagged": believed} if believed else {}
    if OURS in values:
        values[f"{OURS}, worst world"] = [min(values[OURS])]
    rows = [result_row(part, "worlds", len(found))]
    for name, of in values.items():
        known = [it for it in of if np.isfinite(it)]
        if not known:
            continue
        goal, holds = GOALS.get((part, name), (None, None))
        mean, se = mean_and_se(known)
        rows.append(result_row(part, name, mean, se, None, goal, None if holds is None else bool(holds(known))))
    return rows


def main(arguments: list[str] | None = None) -> None:
    bench = Benchmark(globals(), SMOKE, cache="drawn_worlds", width=160)
    bench.add("--seeds", nargs="+", type=int, default=range(1, 80, 2), help="odd ones report, even ones choose")
    bench.add("--users", type=int, default=20_000)
    bench.add("--parts", nargs="+", choices=PARTS, default=PARTS)
    bench.add("--parents-per-day", type=int, default=500, help="visits with paired runs, on each of 6 days")
    bench.add("--roll-out-users", type=int, default=4000)
    bench.add("--views", type=int, default=25_000, help="slates that train a ranker")
    bench.add("--candidates", type=int, default=40, help="items in each of them")
    chosen = bench.parse(arguments)
    torch.set_num_threads(1)  # the same sums in the same order wherever it runs
    sizes = {name: getattr(chosen, name) for name in ("views", "candidates", "roll_out_users")}
    how = {
        "items": of_items,
        "estimated": of_items_estimated,
        "nothing": of_nothing,
        "rankers": partial(of_rankers, sizes=sizes),
    }
    files = {
        (part, seed): chosen.cache / f"{part}_{seed}_{chosen.users}.json"
        for seed in chosen.seeds
        for part in chosen.parts
    }
    jobs = {
        file: partial(how[part], seed, chosen.users, chosen.parents_per_day) for (part, seed), file in files.items()
    }
    bench.keep(jobs, "worlds")
    rows = []
    for part in chosen.parts:
        rows += rows_of(part, {seed: kept(files[part, seed]) for seed in chosen.seeds})
    bench.finish(rows)


if __name__ == "__main__":
    main()
