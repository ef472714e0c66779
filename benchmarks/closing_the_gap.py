"""What is a reward signal worth to a ranker? The same small ranker is trained on each, and let loose on the users.

For each world and seed one log is lived. Every signal read from it says what showing each of some items would have
been worth in the same sampled slates; the same ranker is trained on each with the same loss of `reward.ranking`, takes
over on the day the log ends and fills all slates for four weeks. All start from the same users in the same state with
the same luck. Told is the share of the distance in true active days, from the policy that is best at clicks to the
oracle, that each closes. The ranker, its training and the loss were chosen on seeds 100 and 101 by what the true
effects make of it, and by nothing else.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from gap.learned import score_candidates
from gap.ranker import policy_of, train
from gap.signals import SIGNALS, rewards_of
from gap.study import study_of
from harness import Benchmark, Smoke, mean_and_se, result_row
from rich.table import Table
from scipy.stats import t as student
from worlds import JUDGED, ROLL_OUT_DAYS, world_of

from reward import ranking
from reward.simulation.long_run import gap_closed, outcome
from reward.simulation.slate_policies import click_optimal, logging_policy, minutes_optimal, oracle, random_policy
from reward.writing import write_json

SMOKE = Smoke(
    "--worlds clickbait --seeds 0 --users 200 --roll-out-users 60 --views 500 --candidates 10 --signals reward truth"
)
LOSS = ranking.softmax
LOW, HIGH, REFERENCE, OURS = "click-optimal", "oracle", "truth", "reward"
DIRECT = "score_candidates as the ranking"
ALL = "all worlds"
GOALS = {  # over all worlds
    f"gap closed, {OURS}": 0.45,
    f"share of {REFERENCE}, {OURS}": 0.75,
    f"gap closed, {OURS}, worst seed": 0,
    f"gap closed, {OURS}, worst log": 0,
}
# a policy of its own rather than a ranker trained on a signal: study -> Policy
POLICIES = {
    LOW: lambda study: click_optimal(study.service),
    HIGH: lambda study: oracle(study.service, ROLL_OUT_DAYS),
    "random": lambda _: random_policy(),
    "logging": lambda study: logging_policy(study.service),
    "minutes-optimal": lambda study: minutes_optimal(study.service),
    DIRECT: score_candidates,
}


def measure(study, signals, policies):
    """Gap closed by each policy and by the ranker of each signal, by name; ``policies`` with `LOW` and `HIGH`."""

    def lived(policy):
        return outcome(study.service, policy, study.start, ROLL_OUT_DAYS)

    outcomes = {name: lived(policy(study)) for name, policy in policies.items()}
    for name in signals:
        ranker = train(study, rewards_of(study, SIGNALS[name]), LOSS)
        outcomes[name] = lived(policy_of(study, ranker))
    return {name: gap_closed(outcomes, name, low=LOW, high=HIGH) for name in outcomes}


def summary(values):
    """Mean over seeds, its standard error, the half width of its 95% interval (None with one seed), the worst seed."""
    mean, worst = float(np.mean(values)), float(np.min(values))
    if len(values) < 2:
        return mean, None, None, worst
    se = mean_and_se(values)[1]
    return mean, se, float(student.ppf(0.975, len(values) - 1)) * se, worst


def report(gaps):
    """The rows, and their table: by world and over all, where a seed counts by its mean over the worlds.

    Args:
        gaps: world -> seed -> name -> gap closed.
    """
    seeds = list(next(iter(gaps.values())))
    names = list(gaps[next(iter(gaps))][seeds[0]])
    columns = {world: {name: [of[seed][name] for seed in seeds] for name in names} for world, of in gaps.items()}
    columns[ALL] = {name: np.mean([of[name] for of in columns.values()], axis=0) for name in names}
    table = Table(
        title=f"gap closed, from {LOW} (0) to {HIGH} (1): mean over {len(seeds)} seeds [95% interval] worst seed",
        caption="of truth: share of what the ranker trained on the true effects closes",
    )
    for name in ("reward signal", *columns, f"of {REFERENCE}"):
        table.add_column(name)
    rows, cells = [], {name: [name] for name in names}

    def tell(world, metric, ours, se=None, peers=None):
        goal = GOALS.get(metric) if world == ALL else None
        asked = None if goal is None else f">= {goal}"
        rows.append(result_row(world, metric, ours, se, peers, asked, goal is not None and ours >= goal))

    for world, of in columns.items():
        told = {name: summary(of[name]) for name in names}
        for name, (mean, se, half, worst) in told.items():
            best = told.get(REFERENCE)
            tell(world, f"gap closed, {name}", mean, se, {} if best is None else {REFERENCE: best[0]})
            if half is not None:
                tell(world, f"gap closed, {name}, 95% from", mean - half)
                tell(world, f"gap closed, {name}, 95% to", mean + half)
            tell(world, f"gap closed, {name}, worst seed", worst, None, {} if best is None else {REFERENCE: best[3]})
            interval = "" if half is None else f" [{mean - half:.2f}, {mean + half:.2f}] {worst:.2f}"
            cells[name].append(f"{mean:.2f}{interval}".replace("[", "\\["))
            if best is not None and name in SIGNALS:
                tell(world, f"share of {REFERENCE}, {name}", mean / best[0])
                if world == ALL:
                    cells[name].append(f"{mean / best[0]:.0%}")
    for name in names:
        table.add_row(*cells[name], end_section=name == list(POLICIES)[-1])
        tell(
            ALL, f"gap closed, {name}, worst log", float(min(gap[name] for of in gaps.values() for gap in of.values()))
        )
    return rows, table


def main(arguments=None):
    bench = Benchmark(globals(), SMOKE, width=160)
    bench.add("--worlds", nargs="+", default=JUDGED, help="names in conf/simulation/")
    bench.add("--seeds", nargs="+", type=int, default=range(5))
    bench.add("--signals", nargs="+", choices=SIGNALS, default=SIGNALS, metavar="SIGNAL")
    bench.add("--users", type=int, help="fewer than the world's, to try things")
    bench.add("--roll-out-users", type=int, default=4000)
    bench.add("--views", type=int, default=25_000, help="slates that train a ranker")
    bench.add("--candidates", type=int, default=40, help="items in each of them")
    bench.add("--cache", type=Path, help="folder that keeps the gaps of each world and seed, to go on from")
    chosen = bench.parse(arguments)
    torch.set_num_threads(1)  # the same sums in the same order wherever it runs
    gaps = {}
    changes = {} if chosen.users is None else {"users": chosen.users}
    jobs = [(name, seed) for seed in chosen.seeds for name in chosen.worlds]
    for name, seed in bench.progress(jobs, "worlds and seeds"):
        kept = None if chosen.cache is None else chosen.cache / f"{name}_{seed}.json"
        known = json.loads(kept.read_text()) if kept is not None and kept.is_file() else {}
        missing = [signal for signal in chosen.signals if signal not in known]
        policies = [
            policy for policy in POLICIES if policy not in known and (policy != DIRECT or OURS in chosen.signals)
        ]
        if not missing and not policies:
            gaps.setdefault(name, {})[seed] = known
            continue
        study = study_of(
            world_of(name, **changes),
            seed,
            views=chosen.views,
            candidates=chosen.candidates,
            roll_out_users=chosen.roll_out_users,
        )
        tried = {policy: POLICIES[policy] for policy in dict.fromkeys((LOW, HIGH, *policies))}
        gaps.setdefault(name, {})[seed] = known | measure(study, missing, tried)
        if kept is not None:
            write_json(kept, gaps[name][seed])
    rows, table = report(gaps)
    bench.finish(rows, show=table)


if __name__ == "__main__":
    main()
