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

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from harness import Benchmark, Row, Smoke, kept, result_row, table
from long_term.ours import CHOSEN, OUR_DR, OUR_LOPE, OURS, TEMPERED_LOPE, ours
from long_term.published import AB, DR, IPS, LOPE, SURROGATE, marginal_weights, published
from long_term.setting import PUBLISHED, Simulation, population, simulation

AT_ONCE = 100  # simulations in a file of the cache
PARTS = PUBLISHED_PART, OUR_PART = "published", "ours"
AS_PUBLISHED = (AB, SURROGATE, IPS, DR, LOPE)
Rows = list[Row]


class Case(NamedTuple):
    """Rows of a log, and the noise σ of the long-term reward."""

    rows: int
    noise: float

    def __str__(self) -> str:
        return f"n = {self.rows}, σ = {self.noise:g}"


GOALS = {Case(200, 5.0): 0.255, Case(1000, 5.0): 0.054}  # for the squared error of LOPE: what the paper's code prints
CASES = (Case(200, 5.0), Case(600, 5.0), Case(1000, 5.0), Case(500, 1.0), Case(500, 5.0), Case(500, 9.0))
CHOICES = CASES[3:]
SMOKE = Smoke("--simulations 2 --first-seed 20000", CASES=(Case(60, 5.0), Case(70, 1.0)), CHOICES=(Case(70, 1.0),))
FACTOR = 1.2  # times the better of DR and LOPE, which a choice may cost


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
        asked = {} if goal is None else {"goal": f"<= {goal}", "met": mean[name] <= goal}
        beside = peers if name in OURS else {}
        rows.append(result_row(str(case), f"squared error, {name}", mean[name], _error(each), beside, **asked))
        rows.append(result_row(str(case), f"bias, {name}", float(error[name].mean()), _error(error[name])))
    for what, pair in (("as published", (DR, LOPE)), ("ours", (OUR_DR, OUR_LOPE, TEMPERED_LOPE))):
        if CHOSEN in mean and pair[0] in mean:
            better = min(pair, key=mean.__getitem__)
            ratio = mean[CHOSEN] / mean[better]
            pull = (squared[CHOSEN] - ratio * squared[better]) / mean[better]
            metric, beside = f"chosen, over the better of DR and LOPE {what}", {each: mean[each] for each in pair}
            goal = f"<= {FACTOR}" if case in CHOICES else None
            rows.append(result_row(str(case), metric, ratio, _error(pull), beside, goal, ratio <= FACTOR))
    return rows


def _error(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / len(values) ** 0.5)


def main(arguments: list[str] | None = None) -> None:
    bench = Benchmark(globals(), SMOKE, cache="lope", width=140)
    bench.add("--simulations", type=int, default=1000, help="of each case")
    bench.add("--first-seed", type=int, default=0, help="anything but the reported 0 is for trying things")
    bench.add("--population", type=int, default=PUBLISHED, help="seed of users, actions and what these do")
    bench.add("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="of one, no result is written")
    chosen = bench.parse(arguments)
    torch.set_num_threads(1)
    truth = population(chosen.population).values[1]
    seeds = range(chosen.first_seed, chosen.first_seed + chosen.simulations)
    rows: Rows = []
    for case in CASES:
        starts = range(0, len(seeds), AT_ONCE)
        parts = [
            values(case, seeds[start : start + AT_ONCE], chosen.population, chosen.cache, chosen.parts)
            for start in bench.progress(starts, str(case))
        ]
        rows += rows_of(case, {name: np.concatenate([part[name] for part in parts]) - truth for name in parts[0]})
    bench.finish(rows, show=table(rows, f"true value {truth:.3f}"), write=set(chosen.parts) == set(PARTS))


if __name__ == "__main__":
    main()
