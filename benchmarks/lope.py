"""What will a new policy be worth in the long run? The synthetic setting of Saito et al. (WWW 2024), and a choice.

A log of the old policy with short-term and long-term rewards, a new policy, thirty actions. Told is the mean squared
error of the new policy's estimated value over simulations with seeds of their own, in one population, the published:

* *as published*: a long A/B test (the skyline), the surrogate index, IPS, DR and LOPE, by the paper's formulas and
  networks. The surrogate index alone also sees the new policy's short-term rewards; LOPE also sees as many rows again
  of the old policy's.
* *ours*: DR and LOPE with ridges, cross-fitted, from the log alone; LOPE with its weights tempered and clipped; and
  what is chosen among DR, LOPE and clipped DR by estimated mean squared error, at three levels of noise.

What was computed is kept in a folder, part by part: the networks take about an hour on one core, the rest minutes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from long_term.ours import CHOSEN, OUR_DR, OUR_LOPE, OURS, TEMPERED_LOPE, ours
from long_term.published import AB, DR, IPS, LOPE, SURROGATE, marginal_weights, published
from long_term.setting import PUBLISHED, Simulation, population, simulation
from rich.console import Console
from rich.progress import track
from rich.table import Table
from worlds import ROOT, write_result

from reward.writing import whole

AT_ONCE = 100  # simulations in a file of the cache
PARTS = PUBLISHED_PART, OUR_PART = "published", "ours"
AS_PUBLISHED = (AB, SURROGATE, IPS, DR, LOPE)
Rows = list[dict[str, Any]]


class Case(NamedTuple):
    """Rows of a log, and the noise σ of the long-term reward."""

    rows: int
    noise: float

    def __str__(self) -> str:
        return f"n = {self.rows}, σ = {self.noise:g}"


GOALS = {Case(200, 5.0): 0.255, Case(1000, 5.0): 0.054}  # for the squared error of LOPE: what the paper's code prints
CASES = (Case(200, 5.0), Case(600, 5.0), Case(1000, 5.0), Case(500, 1.0), Case(500, 5.0), Case(500, 9.0))
CHOICES = CASES[3:]
FACTOR = 1.2  # times the better of DR and LOPE, which a choice may cost


def kept(file: Path, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """What a file of the cache holds, or is given."""
    if not file.is_file():
        made = make()
        file.parent.mkdir(parents=True, exist_ok=True)
        with whole(file) as scratch, scratch.open("wb") as out:
            np.savez(out, **made)
    return dict(np.load(file))


def values(case: Case, seeds: Sequence[int], place: int, cache: Path, parts: Sequence[str]) -> dict[str, np.ndarray]:
    """Estimated values of the new policy, a value a seed, from the cache where they are there."""
    people = population(place)
    size, noise, which = f"{place}-{case.rows}", f"{case.noise:g}", f"{seeds[0]}-{len(seeds)}.npz"
    made: list[Simulation] = []

    def simulations() -> list[Simulation]:
        if not made:
            made.extend(simulation(people, case.rows, case.noise, seed) for seed in seeds)
        return made

    def weights() -> np.ndarray:
        file = cache / f"weights-{size}-{which}"
        return kept(file, lambda: {"weights": marginal_weights(people, simulations(), seeds[0])})["weights"]

    surrogate = case not in CHOICES
    make = {
        PUBLISHED_PART: lambda: published(people, simulations(), weights(), seeds[0], surrogate=surrogate),
        OUR_PART: lambda: ours(people, simulations(), seeds),
    }
    found = [kept(cache / f"{part}-{size}-{noise}-{which}", make[part]) for part in parts]
    return {name: each for part in found for name, each in part.items()}


def rows_of(case: Case, error: dict[str, np.ndarray]) -> Rows:
    """Mean squared errors of a case, and what the choice costs."""
    squared = {name: each**2 for name, each in error.items()}
    mean = {name: float(each.mean()) for name, each in squared.items()}
    peers = {name: mean[name] for name in AS_PUBLISHED if name in mean}
    rows: Rows = []
    for name, each in squared.items():
        goal = GOALS.get(case) if name in (LOPE, OUR_LOPE, TEMPERED_LOPE) else None
        row = {"what": str(case), "metric": f"squared error, {name}", "ours": mean[name], "se": _error(each)}
        row |= {"peers": peers if name in OURS else {}}
        rows.append(
            row | {"goal": None if goal is None else f"<= {goal}", "met": None if goal is None else mean[name] <= goal}
        )
        row = {
            "what": str(case),
            "metric": f"bias, {name}",
            "ours": float(error[name].mean()),
            "se": _error(error[name]),
        }
        rows.append(row | {"peers": {}, "goal": None, "met": None})
    for what, pair in (("as published", (DR, LOPE)), ("ours", (OUR_DR, OUR_LOPE, TEMPERED_LOPE))):
        if CHOSEN in mean and pair[0] in mean:
            better = min(pair, key=mean.__getitem__)
            ratio = mean[CHOSEN] / mean[better]
            pull = (squared[CHOSEN] - ratio * squared[better]) / mean[better]
            row = {
                "what": str(case),
                "metric": f"chosen, over the better of DR and LOPE {what}",
                "ours": ratio,
                "se": _error(pull),
            }
            judged = case in CHOICES
            row |= {"peers": {each: mean[each] for each in pair}, "goal": f"<= {FACTOR}" if judged else None}
            rows.append(row | {"met": ratio <= FACTOR if judged else None})
    return rows


def _error(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / len(values) ** 0.5)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=1000, help="of each case")
    parser.add_argument("--first-seed", type=int, default=0, help="anything but the reported 0 is for trying things")
    parser.add_argument("--population", type=int, default=PUBLISHED, help="seed of users, actions and what these do")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="of one, no result is written")
    parser.add_argument("--cache", type=Path, default=ROOT / "outputs" / "lope", help="what was computed")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "lope.json")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    console, truth = Console(width=max(Console().width, 140)), population(chosen.population).values[1]
    seeds = range(chosen.first_seed, chosen.first_seed + chosen.simulations)
    rows: Rows = []
    for case in CASES:
        starts = range(0, len(seeds), AT_ONCE)
        parts = [
            values(case, seeds[start : start + AT_ONCE], chosen.population, chosen.cache, chosen.parts)
            for start in track(starts, str(case), console=console)
        ]
        rows += rows_of(case, {name: np.concatenate([part[name] for part in parts]) - truth for name in parts[0]})
    table = Table("what", "metric", "value", "standard error", "goal", title=f"true value {truth:.3f}")
    for row in rows:
        goal = "" if row["goal"] is None else f"{row['goal']}: {'yes' if row['met'] else 'no'}"
        table.add_row(row["what"], row["metric"], f"{row['ours']:.4f}", f"{row['se']:.4f}", goal)
    console.print(table)
    if set(chosen.parts) == set(PARTS):
        write_result(chosen.out, rows)


if __name__ == "__main__":
    main()
