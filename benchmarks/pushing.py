"""How fooled can a ranker be? What a reward promises as it is pushed, what users held out keep, and what is true.

In simulated worlds, whose item effects are known from paired runs, policies lean on a reward more and more: the learned
one, the learned one less a standard deviation, and the click rate. Each is told at its distance from the logging
policy, KL in nats, what it truly gains an exposure; for the learned ones also what they promise, and what the log
itself shows of users whom the reward had not seen, from which the artefact's limit is taken. Held against the true
gain: the log's own estimate and its interval, and the gain at that limit as a share of the most that any push gains.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import polars as pl
from recovery import Case, fitted, true_effects
from rich.console import Console
from rich.progress import track
from rich.table import Table
from worlds import ROOT, write_result

from reward.effects.pushing import DIVERGENCES, PESSIMISM, leaning_at, strength_at
from reward.schema import ITEM
from reward.simulation.policies import logging_policy, rank_by
from reward.simulation.service import first_state, simulate
from reward.simulation.truth import outcome
from reward.writing import whole

WORLDS = ("clickbait", "confounded", "slow_burn", "no_effect")
CLICKS = "click rate"
ROLLED = (0.1, 0.4, 1.0, 2.0, 3.0, 4.0)  # nats at which the service is run on
ROLL_OUT_DAYS, ROLL_OUT_USERS = 28, 3000
KINDS = {0.0: "learned", 1.0: "learned less 1 sd"}


def found_in(case: Case) -> dict[str, np.ndarray]:
    """By kind the true gains at `DIVERGENCES`; of learned ones also what is promised and kept."""
    effects = fitted(case, case.log, personal=None)
    place = effects.items[ITEM].cast(pl.Int64).to_numpy()
    shown, mean, std = (effects.items[name].to_numpy().astype(float) for name in ("exposures", "mean", "std"))
    click = case.events.group_by(ITEM).agg((pl.col(case.log.feedback[0]) > 0).mean().alias("rate"))
    rate = effects.items.select(ITEM).join(click, on=ITEM, how="left", maintain_order="left")["rate"].to_numpy()
    truth = true_effects(case)["mean"][place]
    there = (shown > 0) & np.isfinite(truth)
    share, truth = shown[there] / shown[there].sum(), truth[there]
    rewards = {KINDS[kappa]: mean - kappa * std for kappa in PESSIMISM} | {CLICKS: rate}
    found = {"divergence": np.array(DIVERGENCES)}
    for kind, reward in rewards.items():
        found[f"{kind}, true"] = (leaning_at(share, reward[there], found["divergence"]) - share) @ truth
    found |= run_on(case, place[there], share, {kind: reward[there] for kind, reward in rewards.items()})
    for kappa, push in effects.pushed.items():
        reached = np.isin(found["divergence"], push.divergence)
        for name in ("promised", "kept", "kept_se"):
            column = np.full(len(reached), np.nan)
            column[reached] = getattr(push, name)
            found[f"{KINDS[kappa]}, {name}"] = column
        found[f"{KINDS[kappa]}, limit"] = np.array(push.values()["limit"])
    return found


def run_on(case: Case, item: np.ndarray, share: np.ndarray, rewards: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Active days a user gains, and standard errors, (ROLLED,) each, by kind of reward (items,)."""
    service, today = case.service, logging_policy(case.service)
    start = simulate(service, today, first_state(service), service.world.days // 2).state
    start = start.of(np.arange(min(case.users, ROLL_OUT_USERS)))
    usual = outcome(service, today, start, ROLL_OUT_DAYS)
    found = {}
    for kind, reward in rewards.items():
        table = np.full(case.items, reward.mean())
        table[item] = reward
        gains = []
        for strength in strength_at(share, reward, np.array(ROLLED)):
            lean = (strength * table).astype(np.float32)
            policy = rank_by(lambda view, lean=lean: today.scores(view) + lean[view.live], temperature=1.0)
            gains.append(outcome(service, policy, start, ROLL_OUT_DAYS).less(usual))
        found[f"{kind}, days"], found[f"{kind}, days_se"] = np.array(gains).T
    return found


def file_of(folder: Path, case: Case) -> Path:
    return folder / f"{case.name}_{case.users}_{case.seed}.npz"


def judged(found: list[dict[str, np.ndarray]]) -> dict[tuple[str, str], np.ndarray]:
    """Figures of a world, one a seed."""
    out: dict[tuple[str, str], list[float]] = {}

    def tell(kind: str, metric: str, value: float) -> None:
        out.setdefault((kind, metric), []).append(value)

    for one in found:
        at = one["divergence"]
        for kind in (*KINDS.values(), CLICKS):
            true = one[f"{kind}, true"]
            for nats in (0.1, 1.0, 3.0):
                tell(kind, f"true gain at {nats:g} nats", float(true[at == nats][0]))
            tell(kind, "true gain turns at, nats", float(at[true.argmax()]) if true.max() > 0 else 0.0)
            days = one[f"{kind}, days"]
            for nats, gained in zip(ROLLED, days, strict=True):
                tell(kind, f"active days gained in {ROLL_OUT_DAYS} days at {nats:g} nats", float(gained))
            tell(kind, "active days turn at, nats", ROLLED[days.argmax()] if days.max() > 0 else 0.0)
        for kind in KINDS.values():
            true, kept, error = (one[f"{kind}, {name}"] for name in ("true", "kept", "kept_se"))
            known = np.isfinite(kept)
            within = np.abs(kept - true)[known] <= 1.96 * error[known]
            tell(kind, "promised at 1 nat", float(one[f"{kind}, promised"][at == 1.0][0]))
            tell(kind, "kept by held-out users at 1 nat", float(kept[at == 1.0][0]))
            tell(kind, "share of intervals of what is kept that hold the true gain", float(within.mean()))
            limit = float(one[f"{kind}, limit"])
            tell(kind, "limit, nats", limit)
            if true.max() > 0:
                gain = float(true[at == limit][0]) if limit else 0.0
                tell(kind, "gain at the limit, of the most that a push gains", gain / float(true.max()))
            days = one[f"{kind}, days"]
            if days.max() > 0:
                gain = float(np.interp(limit, (0.0, *ROLLED), np.append(0.0, days)))
                tell(kind, "active days gained at the limit, of the most", gain / float(days.max()))
    return {key: np.array(values) for key, values in out.items()}


def plot(worlds: dict[str, list[dict[str, np.ndarray]]], file: Path) -> None:
    """Active days gained against the divergence, one panel a world, with the limit that the log gives."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(worlds), figsize=(3.2 * len(worlds), 3.1), sharey=True, squeeze=False)
    colours = dict(zip((*KINDS.values(), CLICKS), ("#4c72b0", "#55a868", "#c44e52"), strict=True))
    for axis, (name, found) in zip(axes[0], worlds.items(), strict=True):
        for kind, colour in colours.items():
            days = np.array([np.append(0.0, one[f"{kind}, days"]) for one in found])
            axis.plot((0.0, *ROLLED), days.mean(0), color=colour, marker=".", label=kind)
            axis.fill_between((0.0, *ROLLED), days.min(0), days.max(0), color=colour, alpha=0.15, linewidth=0)
        limits = [float(one[f"{KINDS[0.0]}, limit"]) for one in found]
        for place, limit in enumerate(limits):
            label = None if place else "limit the log gives"
            axis.axvline(limit, color="0.4", linestyle=":", linewidth=1, label=label)
        axis.axhline(0, color="0.8", linewidth=0.8, zorder=0)
        axis.set_title(name)
        axis.set_xlabel("divergence from the log, nats")
    axes[0, 0].set_ylabel(f"active days a user gains in {ROLL_OUT_DAYS}")
    axes[0, 0].legend(frameon=False, fontsize=8)
    figure.tight_layout()
    with whole(file) as scratch:
        figure.savefig(scratch, format="png", dpi=110)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", nargs="+", choices=WORLDS, default=list(WORLDS), metavar="NAME")
    parser.add_argument("--users", type=int, default=5000)
    parser.add_argument("--parents", type=int, default=500, help="visits a day in the paired runs of the truth")
    parser.add_argument("--seeds", type=int, default=3, help="how many; some minutes each")
    parser.add_argument("--first", type=int, default=0, metavar="SEED", help="the first of them")
    parser.add_argument("--cache", type=Path, default=ROOT / "outputs" / "pushing", help="what was computed")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "pushing.json")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw the curves, too")
    chosen = parser.parse_args(arguments)
    seeds = range(chosen.first, chosen.first + chosen.seeds)
    cases = [Case(name, seed, chosen.users, chosen.parents) for name in chosen.worlds for seed in seeds]
    for case in track(cases, "worlds ..."):
        if not file_of(chosen.cache, case).exists():
            with whole(file_of(chosen.cache, case)) as scratch, scratch.open("wb") as out:
                np.savez(out, **found_in(case))
    table, rows = Table("world", "reward", "measure", "mean", "standard error"), []
    for name in chosen.worlds:
        found = [dict(np.load(file_of(chosen.cache, case))) for case in cases if case.name == name]
        for (kind, metric), values in judged(found).items():
            se = float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None
            table.add_row(name, kind, metric, f"{values.mean():.4f}", "" if se is None else f"{se:.4f}")
            row = {"what": f"{name}, {kind}", "metric": metric, "ours": float(values.mean()), "se": se}
            rows.append(row | {"peers": {}, "goal": None, "met": None})
    Console(width=130).print(table)
    if chosen.plot is not None:
        worlds = {
            name: [dict(np.load(file_of(chosen.cache, it))) for it in cases if it.name == name]
            for name in chosen.worlds
        }
        plot(worlds, chosen.plot)
    write_result(chosen.out, rows)


if __name__ == "__main__":
    main()
