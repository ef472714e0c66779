"""How fooled can a ranker be? What a reward promises as it is pushed, what users held out keep, and what is true.

In simulated worlds, whose item effects are known from paired runs, policies lean on a reward more and more: the learned
one, the learned one less a standard deviation, and the click rate. Each is told at its distance from the logging
policy, KL in nats, what it truly gains an exposure; for the learned ones also what they promise, and what the log
itself shows of users whom the reward had not seen, from which the artefact's limit is taken. Held against the true
gain: the log's own estimate and its interval, and the gain at that limit as a share of the most that any push gains.
The same for rewards, which differ from user to user: these and, beside them, the effects of items are added to the
service's own scores, and told at the divergence that its slates turn out to have.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
from harness import Benchmark, Row, Smoke, kept, mean_and_se, result_row
from pushed.service import by_item, by_user, gains
from recovered.logs import Case, fitted, true_effects

from reward.causal.diagnostics.policy_shift import DIVERGENCES, PESSIMISM, leaning_at, strength_at
from reward.causal.estimate import ItemEffects
from reward.columns import ITEM
from reward.simulation.lives import first_state
from reward.simulation.long_run import outcome
from reward.simulation.service import simulate
from reward.simulation.slate_policies import logging_policy, rank_by
from reward.writing import whole

SMOKE = Smoke(
    "--worlds clickbait --users 100 --parents 5 --seeds 1",
    ROLLED=(0.4, 3.0),
    ROLL_OUT_DAYS=5,
    LEANED=(1.5,),
    LEANED_USERS=30,
)
WORLDS = ("clickbait", "confounded", "slow_burn", "no_effect")
CLICKS = "click rate"
ROLLED = (0.1, 0.4, 1.0, 2.0, 3.0, 4.0)  # nats at which the service is run on
ROLL_OUT_DAYS, ROLL_OUT_USERS = 28, 3000
KINDS = {0.0: "learned", 1.0: "learned less 1 sd"}
REWARDS = {0.0: "rewards", 1.0: "rewards less 1 sd"}
OWN = "effects of items"
LEANED = (0.5, 1.5, 3.0, 5.0)  # nats on the first day; less later on, for what was seen is worth less
LEANED_USERS = 500

Found = dict[str, list[dict[str, np.ndarray]]]  # by world, one a seed
Tell = Callable[[str, str, float], None]  # kind, metric, value


def found_in(case: Case) -> dict[str, np.ndarray]:
    """By kind the true gains at `DIVERGENCES`; of learned ones also what is promised and kept."""
    effects = fitted(case, case.log, personal=None)
    place = effects.items[ITEM].cast(pl.Int64).to_numpy()
    shown, mean, std = (effects.items[name].to_numpy().astype(float) for name in ("exposures", "mean", "std"))
    click = case.events.group_by(ITEM).agg((pl.col(case.log.click) > 0).mean().alias("rate"))
    rate = effects.items.select(ITEM).join(click, on=ITEM, how="left", maintain_order="left")["rate"].to_numpy()
    truth = true_effects(case)["mean"][place]
    there = (shown > 0) & np.isfinite(truth)
    share, truth = shown[there] / shown[there].sum(), truth[there]
    rewards = {KINDS[kappa]: mean - kappa * std for kappa in PESSIMISM} | {CLICKS: rate}
    found = {"divergence": np.array(DIVERGENCES)}
    for kind, reward in rewards.items():
        found[f"{kind}, true"] = (leaning_at(share, reward[there], found["divergence"]) - share) @ truth
    found |= run_on(case, place[there], share, {kind: reward[there] for kind, reward in rewards.items()}, ROLLED)
    return found | told_by(effects, KINDS)


def told_by(effects: ItemEffects, kinds: dict[float, str]) -> dict[str, np.ndarray]:
    """What the log tells of pushes at `DIVERGENCES`, nan where not reached, and their limits, by kind."""
    found = {}
    for kappa, push in effects.pushed.items():
        reached = np.isin(DIVERGENCES, push.divergence)
        for name in ("promised", "kept", "kept_se"):
            column = np.full(len(reached), np.nan)
            column[reached] = getattr(push, name)
            found[f"{kinds[kappa]}, {name}"] = column
        found[f"{kinds[kappa]}, limit"] = np.array(push.limit)
    return found


def run_on(
    case: Case, item: np.ndarray, share: np.ndarray, rewards: dict[str, np.ndarray], nats: Sequence[float]
) -> dict[str, np.ndarray]:
    """Active days a user gains, and standard errors, (nats,) each, by kind of reward (items,)."""
    service, today = case.service, logging_policy(case.service)
    start = simulate(service, today, first_state(service), service.world.days // 2).state
    start = start.of(np.arange(min(case.users, ROLL_OUT_USERS)))
    usual = outcome(service, today, start, ROLL_OUT_DAYS)
    found = {}
    for kind, reward in rewards.items():
        table = np.full(case.items, reward.mean())
        table[item] = reward
        gains = []
        for strength in strength_at(share, reward, np.array(nats)):
            lean = (strength * table).astype(np.float32)
            policy = rank_by(lambda view, lean=lean: today.scores(view) + lean[view.live], temperature=1.0)
            gains.append(outcome(service, policy, start, ROLL_OUT_DAYS).less(usual))
        found[f"{kind}, days"], found[f"{kind}, days_se"] = np.array(gains).T
    return found


def rewards_in(case: Case) -> dict[str, np.ndarray]:
    """By kind what rewards promise and what is kept, at `DIVERGENCES`, and active days gained at `LEANED`."""
    effects, service = fitted(case, case.log), case.service
    assert effects.model is not None
    found = {"divergence": np.array(DIVERGENCES)} | told_by(effects, REWARDS)
    start = simulate(service, logging_policy(service), first_state(service), service.world.days // 2).state
    start = start.of(np.arange(min(case.users, LEANED_USERS)))
    own = np.zeros(case.items)
    own[effects.items[ITEM].cast(pl.Int64).to_numpy()] = effects.items["mean"].to_numpy()
    made = {REWARDS[it]: partial(by_user, service, case.events, effects.model, start, it) for it in PESSIMISM}
    for kind, reward in (made | {OWN: by_item(own)}).items():
        told = np.array([np.zeros(len(LEANED)), np.zeros(len(LEANED)), LEANED])  # what nothing shown changes
        if service.world.gain:
            told = np.array(gains(service, start, ROLL_OUT_DAYS, reward, LEANED))
        found[f"{kind}, days"], found[f"{kind}, days_se"], found[f"{kind}, far"] = told
    return found


def file_of(folder: Path, case: Case, part: str = "") -> Path:
    return folder / f"{case.name}_{case.users}_{case.seed}{part}.npz"


def gathered(found: list[dict[str, np.ndarray]], judge: Callable[..., None]) -> dict[tuple[str, str], np.ndarray]:
    """Figures of a world, one a seed, as ``judge(one, tell)`` tells them."""
    out: dict[tuple[str, str], list[float]] = {}

    def tell(kind: str, metric: str, value: float) -> None:
        out.setdefault((kind, metric), []).append(value)

    for one in found:
        judge(one, tell)
    return {key: np.array(values) for key, values in out.items()}


def of_items(one: dict[str, np.ndarray], tell: Tell) -> None:
    """Figures of effects of items."""
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


def of_rewards(one: dict[str, np.ndarray], tell: Tell) -> None:
    """Figures of rewards."""
    at = one["divergence"]
    for kind in (*REWARDS.values(), OWN):
        days, far = one[f"{kind}, days"], one[f"{kind}, far"]
        order = np.argsort(far)
        curve = np.append(0.0, far[order]), np.append(0.0, days[order])
        for nats in (0.1, 0.4, 1.0, 2.0, 3.0):
            if nats <= far.max():
                gained = float(np.interp(nats, *curve))
                tell(kind, f"active days gained in {ROLL_OUT_DAYS} days at {nats:g} nats", gained)
        tell(kind, "most active days gained", float(max(days.max(), 0.0)))
        tell(kind, "active days turn at, nats", float(far[days.argmax()]) if days.max() > 0 else 0.0)
        tell(kind, "furthest divergence run, nats", float(far.max()))
        if kind == OWN:
            continue
        for nats in (0.1, 0.4, 1.0, 2.0):
            for name in ("promised", "kept", "kept_se"):
                tell(kind, f"{name} at {nats:g} nats", float(one[f"{kind}, {name}"][at == nats][0]))
        limit = float(one[f"{kind}, limit"])
        tell(kind, "limit, nats", limit)
        if days.max() > 0:
            gained = float(np.interp(limit, *curve)) / float(days.max())
            tell(kind, "active days gained at the limit, of the most", gained)


def plot(worlds: Found, rewards: Found, file: Path) -> None:
    """Active days gained against the divergence, one column a world, with the limits that the log gives.

    Above on effects of items, at the divergence of the shares; below on rewards, at that which slates turn out to have.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    size = (3.2 * len(worlds), 6.0)
    figure, axes = plt.subplots(2, len(worlds), figsize=size, sharey=True, squeeze=False)
    colours = ("#4c72b0", "#55a868", "#c44e52")
    rows = (((*KINDS.values(), CLICKS), worlds), ((*REWARDS.values(), OWN), rewards))
    for row, (kinds, of) in zip(axes, rows, strict=True):
        for axis, (name, found) in zip(row, of.items(), strict=True):
            for kind, colour in zip(kinds, colours, strict=True):
                days = np.array([np.append(0.0, one[f"{kind}, days"]) for one in found])
                far = np.mean([np.append(0.0, one.get(f"{kind}, far", ROLLED)) for one in found], axis=0)
                axis.plot(far, days.mean(0), color=colour, marker=".", label=kind)
                axis.fill_between(far, days.min(0), days.max(0), color=colour, alpha=0.15, linewidth=0)
            for place, one in enumerate(found):
                label = None if place else "limit the log gives"
                axis.axvline(float(one[f"{kinds[0]}, limit"]), color="0.4", linestyle=":", linewidth=1, label=label)
            axis.axhline(0, color="0.8", linewidth=0.8, zorder=0)
            axis.set_title(name)
        row[0].set_ylabel(f"active days a user gains in {ROLL_OUT_DAYS}")
        row[0].legend(frameon=False, fontsize=8)
    for axis in axes[-1]:
        axis.set_xlabel("divergence from the log, nats")
    figure.tight_layout()
    with whole(file) as scratch:
        figure.savefig(scratch, format="png", dpi=110)


def main(arguments: list[str] | None = None) -> None:
    bench = Benchmark(globals(), SMOKE, cache="pushing", width=130)
    bench.add("--worlds", nargs="+", choices=WORLDS, default=list(WORLDS), metavar="NAME")
    bench.add("--users", type=int, default=5000)
    bench.add("--parents", type=int, default=500, help="visits a day in the paired runs of the truth")
    bench.add("--seeds", type=int, default=3, help="how many; some minutes each")
    bench.add("--reward-seeds", type=int, default=1, help="how many of them have rewards run on, too")
    bench.add("--first", type=int, default=0, metavar="SEED", help="the first of them")
    bench.add("--plot", type=Path, metavar="PNG", help="draw the curves, too")
    chosen = bench.parse(arguments)
    seeds = range(chosen.first, chosen.first + chosen.seeds)
    cases = [Case(name, seed, chosen.users, chosen.parents) for seed in seeds for name in chosen.worlds]
    leaned = [case for case in cases if case.seed < chosen.first + chosen.reward_seeds]
    jobs = {file_of(chosen.cache, case): partial(found_in, case) for case in cases}
    jobs |= {file_of(chosen.cache, case, "_rewards"): partial(rewards_in, case) for case in leaned}
    bench.keep(jobs, "worlds ...")

    def known(of: list[Case], part: str) -> Found:
        return {
            name: [kept(file_of(chosen.cache, case, part)) for case in of if case.name == name]
            for name in chosen.worlds
        }

    rows: list[Row] = []
    items, rewards = known(cases, ""), known(leaned, "_rewards")
    for name in chosen.worlds:
        figures = gathered(items[name], of_items) | gathered(rewards[name], of_rewards)
        for (kind, metric), values in figures.items():
            rows.append(result_row(f"{name}, {kind}", metric, *mean_and_se(values)))
    if chosen.plot is not None:
        plot(items, rewards, chosen.plot)
    bench.finish(rows)


if __name__ == "__main__":
    main()
