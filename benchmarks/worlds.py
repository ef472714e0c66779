"""Are the worlds fit to prove anything in? Measures the conditions that fix their constants; no estimator is looked at.

For each world and seed: size and speed of the log; the spread of the true item effects against the standard error of an
unpooled inverse-propensity item mean; true active days under the oracle and the click-optimal policy; the correlation
of clicks and minutes with the true effects; the share of the effects that creator, type and embedding explain.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from harness import Benchmark, Smoke, mean_and_se, result_row
from hydra.utils import instantiate
from rich.table import Table

from reward.simulation.lives import first_state, open_service
from reward.simulation.long_run import outcome
from reward.simulation.paired_runs import paired_runs
from reward.simulation.service import simulate
from reward.simulation.slate_policies import (
    click_optimal,
    logging_policy,
    minutes_optimal,
    oracle,
    random_policy,
)
from reward.simulation.true_effects import effects_from_pairs, segments_of
from reward.training.defaults import composed

SMOKE = Smoke("--worlds clickbait --seeds 1 --users 150 --parents-per-day 10")
HORIZON_DAYS = 14
ROLL_OUT_DAYS = 28
ROLL_OUT_USERS = 6000
JUDGED = ("clickbait", "confounded", "slow_burn", "cold_start")
OTHERS = ("no_effect", "hidden")
GOALS = {
    "seconds": ("<= 120", lambda value: value <= 120),
    "million exposures": ("2 to 5", lambda value: 2 <= value <= 5),
    "standard error / effect sd": (">= 1", lambda value: value >= 1),
    "oracle over click-optimal": (">= 0.15", lambda value: value >= 0.15),
    "click rate ~ effect": ("< 0.2", lambda value: value < 0.2),
    "minutes ~ effect": ("< 0.2", lambda value: value < 0.2),
    "effect variance explained": (">= 0.5", lambda value: value >= 0.5),
}


def world_of(name, **changes):
    """The world of ``conf/simulation/name.yaml``."""
    world = instantiate(composed(f"simulation/{name}", []).simulation)
    return replace(world, **changes)


def measure(world, seed, parents_per_day=500, items_per_parent=10):
    """The conditions in one world, by name, and what the plots need."""
    began = time.perf_counter()
    service = open_service(world, seed)
    policy = logging_policy(service)
    run = simulate(service, policy, first_state(service), world.days, record=True)
    seconds = time.perf_counter() - began
    shown = run.exposures
    pairs = paired_runs(
        service,
        policy,
        horizon_days=HORIZON_DAYS,
        days=range(10, world.days - HORIZON_DAYS, 7),
        parents_per_day=parents_per_day,
        items_per_parent=items_per_parent,
    )
    truth = effects_from_pairs(pairs, segments_of(service), service.catalogue.kind)
    items = len(truth.mean)
    count = np.bincount(shown.item, minlength=items)
    known = np.isfinite(truth.mean) & (count > 200)
    clicks = np.bincount(shown.item, shown.click, items) / np.maximum(count, 1)
    minutes = np.bincount(shown.item, shown.listen_ms / 60_000, items) / np.maximum(count, 1)
    total = active_days(world, shown)
    raw, residual = standard_errors(world, shown, total, items)
    mean, spread = truth.mean[known], true_spread(truth.mean[known], truth.se[known])
    middle = world.days // 2
    start = simulate(service, policy, first_state(service), middle).state.of(
        np.arange(min(world.users, ROLL_OUT_USERS))
    )
    policies = {
        "logging": policy,
        "random": random_policy(),
        "click-optimal": click_optimal(service),
        "minutes-optimal": minutes_optimal(service),
        "oracle": oracle(service, ROLL_OUT_DAYS),
    }
    days = {name: outcome(service, it, start, ROLL_OUT_DAYS) for name, it in policies.items()}
    best, clicked = days["oracle"], days["click-optimal"]
    row = {
        "seconds": seconds,
        "million exposures": len(shown.item) / 1e6,
        "live items": float(np.mean([len(service.catalogue.live(day)) for day in range(world.days)])),
        "effect sd (days)": spread,
        "effect mean (days)": float(mean.mean()),
        "effect standard error": float(np.sqrt(np.mean(truth.se[known] ** 2))),
        "effect missed by first order, sd": truth.missed_spread,
        "personal sd / effect sd": truth.personal_spread / spread if spread else np.nan,
        "standard error / effect sd": ratio(np.nanmedian(residual[known]), spread),
        "standard error / effect sd, raw outcome": ratio(np.nanmedian(raw[known]), spread),
        "oracle over click-optimal": best.mean()[0] / clicked.mean()[0] - 1,
        "oracle over click-optimal, se": best.less(clicked)[1] / clicked.mean()[0],
        "click rate ~ effect": correlation(clicks[known], mean),
        "minutes ~ effect": correlation(minutes[known], mean),
        "raw mean outcome ~ activity shown to": loading_bias(world, shown, total, items, service, known),
        "effect variance explained": explained(service, truth, known),
        **{f"active days, {name}": it.mean()[0] for name, it in days.items()},
    }
    return row, {"effect": mean, "se": truth.se[known], "clicks": clicks[known], "kind": service.catalogue.kind[known]}


def active_days(world, shown):
    """(users, days + 1): how many days each user was active before each day."""
    active = np.zeros((world.users, world.days))
    active[shown.life, shown.day] = 1
    return np.concatenate([np.zeros((world.users, 1)), np.cumsum(active, axis=1)], axis=1)


def standard_errors(world, shown, total, items):
    """Standard errors, clustered by user, of self-normalised inverse-propensity means of the 14-day outcome by item.

    First of the outcome itself; then of what past activity (of the last 14 days, linear) does not foretell of it,
    the stricter of the two.
    """
    use = (shown.day >= HORIZON_DAYS) & (shown.day < world.days - HORIZON_DAYS)
    user, day, item = shown.life[use], shown.day[use], shown.item[use]
    ahead = total[user, day + HORIZON_DAYS + 1] - total[user, day + 1]
    past = np.stack([np.ones(len(user)), *(total[user, day] - total[user, day - k] for k in (1, 3, 7, 14))], axis=1)
    rest = ahead - past @ np.linalg.lstsq(past, ahead, rcond=None)[0]
    weight = 1 / shown.propensity[use]
    return [clustered(values, weight, user, item, items, world.users) for values in (ahead, rest)]


def clustered(values, weight, user, item, items, users):
    heavy = np.bincount(item, weight, items)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.bincount(item, weight * values, items) / heavy
        pulls = weight * (values - mean[item])
        by_user = np.bincount(item * users + user, pulls, items * users).reshape(items, users)
        return np.sqrt((by_user**2).sum(axis=1)) / heavy


def loading_bias(world, shown, total, items, service, known):
    """Correlation, over items, of the mean later activity after an exposure with the item's loading."""
    use = shown.day < world.days - HORIZON_DAYS
    user, day, item = shown.life[use], shown.day[use], shown.item[use]
    ahead = total[user, day + HORIZON_DAYS + 1] - total[user, day + 1]
    mean = np.bincount(item, ahead, items) / np.maximum(np.bincount(item, minlength=items), 1)
    return correlation(mean[known], service.catalogue.loading[known])


def explained(service, truth, known):
    """Share of the effects' variance that a ridge on creator, type and embedding foretells for items left out."""
    catalogue = service.catalogue
    one_hot = [np.eye(codes.max() + 1)[codes] for codes in (catalogue.creator, catalogue.type)]
    features = np.concatenate([*one_hot, catalogue.embedding], axis=1)[known]
    if not truth.mean[known].any():
        return np.nan
    effect, fold = truth.mean[known], np.random.default_rng(0).permutation(known.sum()) % 10
    best = -np.inf
    for strength in (1.0, 3.0, 10.0):
        guess = np.empty(len(effect))
        for one in range(10):
            x, y = features[fold != one], effect[fold != one]
            centre, level = x.mean(axis=0), y.mean()
            gram = (x - centre).T @ (x - centre) + strength * np.eye(x.shape[1])
            guess[fold == one] = level + (features[fold == one] - centre) @ np.linalg.solve(
                gram, (x - centre).T @ (y - level)
            )
        best = max(best, 1 - float(((effect - guess) ** 2).sum() / ((effect - effect.mean()) ** 2).sum()))
    return best


def true_spread(mean, se):
    return float(np.sqrt(max(mean.var() - np.mean(se**2), 0)))


def ratio(value, spread):
    return float(value / spread) if spread else np.nan


def correlation(one, other):
    return float(np.corrcoef(one, other)[0, 1]) if one.std() > 0 and other.std() > 0 else np.nan


def report(rows):
    """One row a world and metric, mean over seeds and its standard error; and their table."""
    table = Table(title="the worlds: mean over seeds (standard error)")
    for name in ("metric", *rows):
        table.add_column(name)
    out: list[dict[str, object]] = []
    for metric in next(iter(rows.values()))[0]:
        cells = []
        for name, of_seeds in rows.items():
            mean, se = mean_and_se([row[metric] for row in of_seeds])
            goal, holds = GOALS.get(metric, (None, None)) if name in JUDGED else (None, None)
            met = None if holds is None else bool(holds(mean))
            out.append(result_row(name, metric, mean, se, goal=goal, met=met))
            mark = {True: " ok", False: " [red]no[/red]", None: ""}[met]
            cells.append(f"{mean:.3f}" + (f" ({se:.3f})" if se is not None else "") + mark)
        table.add_row(metric, *cells)
    return out, table


def plot(samples, file):
    """Click rate against the true effect of each item, one panel a world."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = list(samples)
    rows = -(-len(names) // 3)
    figure, axes = plt.subplots(rows, 3, figsize=(10, 3.2 * rows), sharex=True, sharey=True, squeeze=False)
    colours = ("#4c72b0", "#c44e52", "#8c8c8c", "#55a868")
    for axis, name in zip(axes.ravel(), names, strict=False):
        sample, kinds = samples[name]
        for kind, label in enumerate(kinds):
            mine = sample["kind"] == kind
            axis.scatter(
                sample["clicks"][mine], sample["effect"][mine], s=9, alpha=0.75, color=colours[kind], label=label
            )
        r = correlation(sample["clicks"], sample["effect"])
        axis.set_title(f"{name.replace('_', ' ')}" + (f" (r = {r:.2f})" if np.isfinite(r) else ""), fontsize=10)
        axis.axhline(0, color="black", linewidth=0.6)
    for axis in axes[-1]:
        axis.set_xlabel("click rate")
    for axis in axes[:, 0]:
        axis.set_ylabel("true effect (active days)")
    axes[0, 0].legend(fontsize=7, frameon=False)
    figure.tight_layout()
    figure.savefig(file, dpi=90)


def main(arguments: list[str] | None = None) -> None:
    bench = Benchmark(globals(), SMOKE, width=160)
    bench.add("--worlds", nargs="+", default=[*JUDGED, *OTHERS], help="names in conf/simulation/")
    bench.add("--seeds", type=int, default=5)
    bench.add("--users", type=int, help="fewer than the world's, to try things")
    bench.add("--parents-per-day", type=int, default=500, help="visits with paired runs, on each of 6 days")
    bench.add("--plot", type=Path, help="also draw clicks against truth (docs/concepts/worlds.png)")
    chosen = bench.parse(arguments)
    rows, samples = {}, {}
    changes = {} if chosen.users is None else {"users": chosen.users}
    jobs = [(name, seed) for name in chosen.worlds for seed in range(chosen.seeds)]
    for name, seed in bench.progress(jobs, "worlds and seeds"):
        world = world_of(name, **changes)
        row, sample = measure(world, seed, parents_per_day=chosen.parents_per_day)
        rows.setdefault(name, []).append(row)
        samples.setdefault(name, (sample, world.kind_names))
    found, table = report(rows)
    bench.finish(found, show=table)
    if chosen.plot is not None:
        plot(samples, chosen.plot)


if __name__ == "__main__":
    main()
