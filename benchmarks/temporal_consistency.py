"""Do predictions that must agree from one state to the next learn more from few sequences? Against published TCSR.

Survival of the initial state of sequences, learned from n of them: from initial states alone, from every state
(landmarking), by TCSR (Maystre & Russo, NeurIPS 2022), and by this project's objective with its own choices, all on the
same data in the same run. The published figures picked the ridge of each method for each metric on the test curves;
told are that protocol and the one in which every choice is made inside the training data. The published Brier score
compares the world after h steps with the curve after h − 1, its C-index takes a censored sequence to outlast what ends
a step after it was last seen, and its random walk does not walk: each is told as published and mended.

Then effects of treatments from ten sequences each (data pooling), by how many treatments share what follows them.

What was computed is kept in a folder, replicate by replicate: a run that was broken off goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from consistency.methods import (
    PUBLISHED,
    WAYS,
    Ours,
    Published,
    ridge_of_all,
    risk,
    treatments_ours,
    treatments_published,
)
from consistency.model import fit
from consistency.scores import brier, concordance, log_likelihood
from consistency.sequences import Replicate, aids, folds, pbc2, pooled_treatments, random_walk
from harness import ROOT, Benchmark, Row, Smoke, kept, mean_and_se, result_row
from rich.console import Console
from rich.table import Table
from scipy.stats import kendalltau
from torch import Tensor

SMOKE = Smoke(
    "--of 'random walk, mended' 'data pooling' --replicates 1 --sizes 10 --treatments 12",
    TESTS=30,
)
TESTS = 10_000  # sequences of the test set of a random walk
SIZES = [20, 100, 200]
TREATMENTS = [46, 129, 359, 1000]
WALK, MENDED, CIRRHOSIS, HIV = "random walk", "random walk, mended", "PBC2", "AIDS"
POOLING = "data pooling"
OURS = "ours"
CONCORDANCE, BRIER, LIKELIHOOD, DISTANCE = "C-index", "Brier", "log-likelihood", "distance to coefficients"
SIGN = {  # 1 where more is better
    CONCORDANCE: 1,
    f"{CONCORDANCE}, as published": 1,
    BRIER: -1,
    f"{BRIER}, as published": -1,
    LIKELIHOOD: 1,
    DISTANCE: -1,
}
# (n = 20, 100, 200) of initial state, landmarking and TCSR as published: five replicates, ridges of the notebooks
FIGURES = {
    (WALK, f"{CONCORDANCE}, as published"): [(0.577, 0.636, 0.661), (0.595, 0.660, 0.671), (0.639, 0.677, 0.683)],
    (WALK, f"{BRIER}, as published"): [(0.256, 0.224, 0.215), (0.232, 0.217, 0.217), (0.235, 0.214, 0.213)],
    (WALK, DISTANCE): [(0.632, 0.515, 0.369), (0.582, 0.376, 0.296), (0.469, 0.284, 0.223)],
    (CIRRHOSIS, f"{CONCORDANCE}, as published"): [(0.600, 0.814, 0.819), (0.757, 0.816, 0.818), (0.783, 0.828, 0.830)],
    (CIRRHOSIS, f"{BRIER}, as published"): [(0.226, 0.152, 0.146), (0.179, 0.138, 0.139), (0.166, 0.135, 0.132)],
    (HIV, f"{CONCORDANCE}, as published"): [(0.516, 0.717, 0.726), (0.552, 0.700, 0.720), (0.572, 0.714, 0.721)],
}
RIDGES = {  # of the notebooks, of initial state, landmarking and TCSR
    (WALK, f"{CONCORDANCE}, as published"): (10.0, 3.0, 10.0),
    (WALK, f"{BRIER}, as published"): (10.0, 30.0, 10.0),
    (WALK, DISTANCE): (30.0, 30.0, 10.0),
    (CIRRHOSIS, f"{CONCORDANCE}, as published"): (0.0, 0.0, 0.0),
    (CIRRHOSIS, f"{BRIER}, as published"): (0.1, 0.1, 0.0),
    (HIV, f"{CONCORDANCE}, as published"): (0.0, 0.0, 0.0),
}
POOLED = {46: (0.096, 0.477), 129: (0.134, 0.600), 359: (0.147, 0.682), 1000: (0.141, 0.709)}  # landmarking, TCSR
LEAST = {46: (">", 0.477), 129: (">=", 0.6), 1000: (">=", 0.71)}
Found = dict[str, dict[str, list[float]]]  # method -> metric -> a value a ridge; "picked" -> way -> place of the ridge


def figures(logits: Tensor, test, order: Tensor, away: Tensor | None) -> dict[str, list[float]]:
    """Every metric of (rows, B, H) predictions, a value a fit."""
    steps, ended = test.steps, test.ended
    told = {
        CONCORDANCE: concordance(order, steps, ended),
        f"{CONCORDANCE}, as published": concordance(order, steps, ended, early=1),
        BRIER: brier(logits, steps, ended),
        f"{BRIER}, as published": brier(logits, steps, ended, early=1),
        LIKELIHOOD: log_likelihood(logits, steps, ended),
    }
    return {name: each.tolist() for name, each in told.items()} | ({} if away is None else {DISTANCE: away.tolist()})


def compare(replicate: Replicate, size: int, truth: Tensor | None, seed: int) -> Found:
    """Learn in every way from the first ``size`` sequences; what each predicts of the test set's initial states."""
    train, test = replicate.train.take(np.arange(size)), replicate.test.initial()

    def away(coefficients: Tensor) -> Tensor | None:
        return None if truth is None else (coefficients[:, : len(truth)] - truth).norm(dim=-1)

    found: Found = {"picked": {}}
    for way in WAYS:
        learned = Published.learn(train, way, seed=seed)
        order = test.states @ learned.coefficients.T
        found[way] = figures(learned.logits(test.states), test, order, away(learned.coefficients))
        found["picked"][way] = [learned.picked]
    mine = Ours.learn(train, seed=seed)
    logits = mine.logits(test.states)
    found[OURS] = figures(logits, test, risk(logits), away(mine.coefficients(train.states)))
    return found


def replicates_of(name: str, count: int, data: Path) -> list[Replicate]:
    if name in (WALK, MENDED):
        return random_walk(count, mended=name == MENDED, tests=TESTS)
    return folds(pbc2(data), count, seed=42) if name == CIRRHOSIS else folds(aids(data), count, seed=0)


def truth_of(name: str, replicates: list[Replicate]) -> Tensor | None:
    """Coefficients of proportional hazards fitted to the walks' test set; a clinic's are not known."""
    if name not in (WALK, MENDED):
        return None
    test = replicates[0].test.initial()
    design = ridge_of_all([0.0], test)
    return design.coefficients(fit(test, design, lam=1.0))[0, 0, : test.states.shape[1] - 1]


def pool(data, harsh: np.ndarray, count: int, seed: int) -> dict[str, float]:
    """Kendall's τ of the first ``count`` treatments' estimated and true effects, by method."""
    few, offset = data.take(np.arange(10 * count)), 20
    states = offset + count
    estimates = {
        "landmarking": treatments_published(few, states, lam=1.0),
        "TCSR": treatments_published(few, states, lam=0.0),
        OURS: treatments_ours(few, states, seed=seed),
        f"{OURS}, without what leads where": treatments_ours(few, states, seed=seed, features=False),
    }
    return {name: float(kendalltau(each[offset:], harsh[:count]).statistic) for name, each in estimates.items()}


def compared(name: str, chosen, bench: Benchmark) -> dict[int, list[Found]]:
    """What every replicate gave, by the number of sequences learned from."""
    replicates, truth = [], None
    if not chosen.from_cache:
        replicates = replicates_of(name, chosen.replicates, chosen.data)
        truth = truth_of(name, replicates)
    found: dict[int, list[Found]] = {size: [] for size in chosen.sizes}
    jobs = [(place, size) for place in range(chosen.replicates) for size in chosen.sizes]
    for place, size in bench.progress(jobs, name):
        file = chosen.cache / f"{name.replace(', ', '-').replace(' ', '-')}-{size}-{place}.json"
        one = kept(file, partial(compare, replicates[place], size, truth, place) if replicates else None)
        found[size] += [] if one is None else [one]
    return {size: each for size, each in found.items() if each}


def pooled(chosen, bench: Benchmark) -> dict[int, list[dict[str, float]]]:
    """What every repetition gave, by the number of treatments."""
    rng, most = np.random.default_rng(0), max(chosen.treatments)
    found: dict[int, list[dict[str, float]]] = {count: [] for count in chosen.treatments}
    for place in bench.progress(range(chosen.replicates), POOLING):
        drawn = None if chosen.from_cache else pooled_treatments(most, rng)
        for count in chosen.treatments:
            file = chosen.cache / f"pooling-{most}-{count}-{place}.json"
            one = kept(file, None if drawn is None else partial(pool, *drawn, count, place))
            found[count] += [] if one is None else [one]
    return {count: each for count, each in found.items() if each}


def value(found: Found, way: str, metric: str, ridge: int | None = None) -> float:
    """A method's value of a metric; without a ridge, at the one that nested validation picked."""
    values = found[way][metric]
    if way == OURS:
        return values[0]
    return values[found["picked"][way][0] if ridge is None else ridge]


def row(what: str, metric: str, values: np.ndarray, peers: dict[str, float], goal=None, holds=None) -> Row:
    return result_row(what, metric, *mean_and_se(values), peers, goal, holds)


def rows_of(name: str, size: int, found: list[Found]) -> Iterator[dict]:
    """Ours against every way, and the paired difference to TCSR under both protocols, oriented so that more is better.

    A goal holds where the mean difference is no worse than one standard error of it.
    """
    what = f"{name}, n = {size}"
    yield row(what, "replicates", np.array([len(found)]), {})
    for metric in [metric for metric in SIGN if metric in found[0][OURS]]:
        mine = np.array([value(each, OURS, metric) for each in found])
        nested = {way: np.array([value(each, way, metric) for each in found]) for way in WAYS}
        curves = {way: np.array([each[way][metric] for each in found]) for way in WAYS}
        best = {way: curve[:, (SIGN[metric] * curve.mean(0)).argmax()] for way, curve in curves.items()}
        peers = {f"{way}, nested": float(each.mean()) for way, each in nested.items()}
        peers |= {f"{way}, picked on the test curves": float(each.mean()) for way, each in best.items()}
        yield row(what, metric, mine, peers)
        for protocol, theirs in (("nested", nested["TCSR"]), ("picked on the test curves", best["TCSR"])):
            ahead = SIGN[metric] * (mine - theirs)
            se = ahead.std(ddof=1) / np.sqrt(len(ahead)) if len(ahead) > 1 else 0.0
            peer = {f"TCSR, {protocol}": float(theirs.mean())}
            yield row(what, f"{metric}, ahead of TCSR, {protocol}", ahead, peer, ">= -1 se", ahead.mean() >= -se)


def halved(name: str, found: dict[int, list[Found]]) -> Iterator[dict]:
    """Ways that are temporally consistent with half the sequences, against landmarking with all of them."""
    for half in [size for size in found if 2 * size in found]:
        for metric in (CONCORDANCE, BRIER, LIKELIHOOD):
            whole = np.array([value(each, "landmarking", metric) for each in found[2 * half]])
            peers = {f"landmarking, n = {2 * half}, nested": float(whole.mean())}
            for way in (OURS, "TCSR"):
                mine = np.array([value(each, way, metric) for each in found[half]])
                ahead = SIGN[metric] * (mine - whole)
                se = ahead.std(ddof=1) / np.sqrt(len(ahead)) if len(ahead) > 1 else 0.0
                goal = ">= -1 se" if way == OURS else None
                holds = None if goal is None else ahead.mean() >= -se
                told = f"{metric}, {way} on half the sequences ahead of landmarking on all"
                yield row(f"{name}, n = {half}", told, ahead, peers, goal, holds)


def reproduced(name: str, found: dict[int, list[Found]]) -> Iterator[dict]:
    """The published ways on the published replicates with the published ridges, beside the published figures."""
    for (where, metric), published in FIGURES.items():
        for place, way in enumerate(WAYS):
            ridge = PUBLISHED.index(RIDGES[where, metric][place])
            for size, figure in zip(SIZES, published[place], strict=True):
                if where == name and size in found:
                    mine = np.array([value(each, way, metric, ridge) for each in found[size][:5]])
                    yield row(f"{name}, n = {size}, {way} reproduced", metric, mine, {"published": figure})


def pooling_rows(found: dict[int, list[dict[str, float]]]) -> Iterator[dict]:
    for count, each in found.items():
        values = {name: np.array([one[name] for one in each]) for name in each[0]}
        peers = {name: float(of.mean()) for name, of in values.items() if name != OURS}
        peers |= dict(zip(("landmarking, published", "TCSR, published"), POOLED.get(count, ()), strict=False))
        sign, least = LEAST.get(count, (None, None))
        holds = None if sign is None else (values[OURS].mean() > least if sign == ">" else values[OURS].mean() >= least)
        goal = None if sign is None else f"{sign} {least}"
        yield row(f"{POOLING}, {count} treatments", "repetitions", np.array([len(each)]), {})
        yield row(f"{POOLING}, {count} treatments", "Kendall tau", values[OURS], peers, goal, holds)


def tables(rows: list[dict], console: Console) -> None:
    """One table a data set: a row a metric and n, the figures of nested validation, and how far ours is ahead."""
    told = {(one["what"], one["metric"]): one for one in rows if "reproduced" not in one["what"]}
    protocols = ("nested", "picked on the test curves")
    groups = {what: what.split(", n = ")[0] if ", n = " in what else POOLING for what, _ in told}
    for name in dict.fromkeys(groups.values()):
        table = Table(title=name)
        for column in ("", "metric", "ours (se)", *WAYS, *(f"ahead of TCSR, {each} (se)" for each in protocols)):
            table.add_column(column)
        for (what, metric), one in told.items():
            if groups[what] != name or "ahead of TCSR" in metric:
                continue
            cells = [f"{one['ours']:.3f}" + ("" if one["se"] is None else f" ({one['se']:.3f})")]
            peers = [one["peers"].get(f"{way}, nested", one["peers"].get(way)) for way in WAYS]
            cells += ["" if peer is None else f"{peer:.3f}" for peer in peers]
            ahead = [told.get((what, f"{metric}, ahead of TCSR, {each}")) for each in protocols]
            cells += [
                "" if each is None else f"{each['ours']:+.4f} ({each['se'] or 0:.4f}) {_mark(each)}" for each in ahead
            ]
            goal = "" if one["goal"] is None else f" {one['goal']} {_mark(one)}"
            table.add_row(what.removeprefix(name).strip(", "), metric + goal, *cells)
        console.print(table)


def _mark(one: dict) -> str:
    return "ok" if one["met"] else "[red]no[/red]"


def main(told: list[str] | None = None) -> None:
    names = [WALK, MENDED, CIRRHOSIS, HIV, POOLING]
    bench = Benchmark(globals(), SMOKE, cache="temporal_consistency", width=160)
    bench.add("--of", nargs="+", choices=names, default=names, metavar="DATA", help=f"{names}")
    bench.add("--data", type=Path, default=ROOT / "data", help="folder of pbcseq.csv and aids.csv")
    bench.add("--replicates", type=int, default=10, help="the first five are the published ones")
    bench.add("--sizes", type=int, nargs="+", default=SIZES, help="sequences to learn from")
    bench.add("--treatments", type=int, nargs="+", default=TREATMENTS)
    bench.add("--from-cache", action="store_true", help="compute nothing, tell of what is there")
    chosen = bench.parse(told)
    rows = []
    for name in [name for name in chosen.of if name != POOLING]:
        try:
            found = compared(name, chosen, bench)
        except FileNotFoundError as error:
            bench.say(f"{name} is left out: {error}")
            continue
        for size, each in found.items():
            rows.extend(rows_of(name, size, each))
        rows.extend(halved(name, found))
        rows.extend(reproduced(name, found))
    if POOLING in chosen.of:
        rows.extend(pooling_rows(pooled(chosen, bench)))
    if not rows:
        raise SystemExit("nothing was measured, and no result is written")
    bench.finish(rows, show=partial(tables, rows, bench.console))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
