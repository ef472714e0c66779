"""Does a pessimistic ensemble keep a ranker from being fooled, where a single head does not?

For a reward that is a difference of forecasts, V(E) − V(Q), as it is where no second stage can be fitted. In a
simulated world a network with an ensemble of heads is trained on the log; an item's reward is the mean of the
differences where it was shown. Policies lean on it more and more, as in `pushing.py`, on

* *one member*: each member alone, averaged over members, with the spread of the members;
* *mean*, *mean less 1 sd*, *worst*: of the members, item by item;
* *effects of items*: of the second stage, for comparison.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from functools import partial

import numpy as np
import polars as pl
import torch
from harness import TINY, Benchmark, Row, Smoke, kept, result_row
from pushing import ROLLED, run_on
from recovered.logs import Case, fitted, true_effects
from training import trained

from reward.causal.diagnostics.policy_shift import leaning_at
from reward.columns import ITEM, USER
from reward.data.split import bounds, split
from reward.scoring.function import RewardFunction
from reward.training.defaults import composed

SMOKE = Smoke(
    f"--worlds clickbait --users 80 --parents 5 --epochs 1 --settings {TINY} members=2",
    MEMBERS=2,
    READ_USERS=20,
    ROLLED=(0.4,),
)
WORLDS = ("clickbait", "slow_burn")
MEMBERS, EPOCHS, VALIDATION_DAYS, LAST_DAYS = 5, 2, 7, 2
READ_USERS = 500  # whose exposures an item's reward is the mean of
DIVERGENCES = (0.1, 0.4, 1.0, 2.0, 3.0, 4.0)
SETTINGS = ["encoder=gru", f"members={MEMBERS}"]
MEMBER, MEAN, CAREFUL, WORST, EFFECTS = KINDS = (
    "one member",
    "mean",
    "mean less 1 sd",
    "worst",
    "effects of items",
)


def member(function: RewardFunction, which: int) -> RewardFunction:
    """The function with one head of its ensemble."""
    alone = deepcopy(function)
    head = alone.network.head
    ensemble, rows = head.ensemble, slice(which * head.hidden, (which + 1) * head.hidden)
    inner = torch.nn.Linear(head.width, head.hidden)
    inner.weight.data, inner.bias.data = ensemble.inner.weight[rows], ensemble.inner.bias[rows]
    ensemble.inner, ensemble.members, head.members = inner.requires_grad_(False), 1, 1
    ensemble.outer, ensemble.bias = (
        torch.nn.Parameter(part[which : which + 1], requires_grad=False) for part in (ensemble.outer, ensemble.bias)
    )
    return alone


def by_item(case: Case, epochs: int, settings: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Codes of the items that were shown to those who are read, and their rewards by each member (members, items)."""
    config = composed("train", [*case.told, *SETTINGS, *settings])
    start, end = bounds(case.log)
    window = split(case.log, train_days=end - start - VALIDATION_DAYS - LAST_DAYS, validation_days=VALIDATION_DAYS)
    function = trained(config, case.log, window, epochs=epochs).function
    users = case.events[USER].unique().sort().head(READ_USERS)
    events = case.events.filter(pl.col(USER).is_in(users.implode()))
    scored = [member(function, which).score_events(events) for which in range(MEMBERS)]
    means = [it.group_by(ITEM).agg(pl.col("reward").mean()).sort(ITEM) for it in scored]
    return means[0][ITEM].cast(pl.Int64).to_numpy(), np.stack([it["reward"].to_numpy() for it in means])


def found_in(case: Case, epochs: int, settings: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """True gains an exposure at `DIVERGENCES` and active days gained at `ROLLED`, by kind; of members one a row."""
    item, rewards = by_item(case, epochs, settings)
    effects = fitted(case, case.log, personal=None).items.with_columns(pl.col(ITEM).cast(pl.Int64))
    known = pl.DataFrame({ITEM: item}).join(effects, on=ITEM, how="left", maintain_order="left")
    truth, shown = true_effects(case)["mean"][item], known["exposures"].to_numpy().astype(float)
    there = np.isfinite(truth)
    item, rewards, truth, share = item[there], rewards[:, there], truth[there], shown[there] / shown[there].sum()
    kinds = {f"{MEMBER} {which}": each for which, each in enumerate(rewards)}
    mean, std = rewards.mean(axis=0), rewards.std(axis=0, ddof=1)
    kinds |= {MEAN: mean, CAREFUL: mean - std, WORST: rewards.min(axis=0)}
    kinds[EFFECTS] = known["mean"].to_numpy()[there]
    gains = {name: (leaning_at(share, each, np.array(DIVERGENCES)) - share) @ truth for name, each in kinds.items()}
    days = run_on(case, item, share, kinds, ROLLED)
    correlation = {f"{name}, correlation": np.corrcoef(each, truth)[0, 1] for name, each in kinds.items()}
    return {f"{name}, true": each for name, each in gains.items()} | days | correlation


def rows_of(world: str, found: dict[str, np.ndarray]) -> list[Row]:
    """Rows of a world; of single members the mean, with the error of it over members."""
    rows = []
    for kind in KINDS:
        names = [f"{MEMBER} {which}" for which in range(MEMBERS)] if kind == MEMBER else [kind]

        def tell(metric: str, values: list[float], se: float | None = None, kind: str = kind) -> None:
            many = len(values) > 1
            error = float(np.std(values, ddof=1) / len(values) ** 0.5) if many else se
            rows.append(result_row(f"{world}, {kind}", metric, float(np.mean(values)), error))

        tell("correlation with the truth over items", [float(found[f"{name}, correlation"]) for name in names])
        for place, nats in enumerate(DIVERGENCES):
            tell(f"true gain at {nats:g} nats", [float(found[f"{name}, true"][place]) for name in names])
        for place, nats in enumerate(ROLLED):
            values = [float(found[f"{name}, days"][place]) for name in names]
            tell(f"active days gained at {nats:g} nats", values, float(found[f"{names[0]}, days_se"][place]))
        tell("true gain turns at, nats", [_turn(found[f"{name}, true"], DIVERGENCES) for name in names])
        tell("active days turn at, nats", [_turn(found[f"{name}, days"], ROLLED) for name in names])
    return rows


def _turn(gains: np.ndarray, at: tuple[float, ...]) -> float:
    return at[int(gains.argmax())] if gains.max() > 0 else 0.0


def main(arguments: list[str] | None = None) -> None:
    bench = Benchmark(globals(), SMOKE, cache="ensembles")
    bench.add("--worlds", nargs="+", choices=WORLDS, default=list(WORLDS), metavar="NAME")
    bench.add("--users", type=int, default=2000)
    bench.add("--parents", type=int, default=300, help="visits a day in the paired runs of the truth")
    bench.add("--seed", type=int, default=0)
    bench.add("--epochs", type=int, default=EPOCHS)
    bench.add_settings()
    chosen = bench.parse(arguments)
    jobs = {
        world: chosen.cache / f"{world}_{chosen.users}_{chosen.seed}_{chosen.epochs}.npz" for world in chosen.worlds
    }
    made = {
        file: partial(found_in, Case(world, chosen.seed, chosen.users, chosen.parents), chosen.epochs, chosen.settings)
        for world, file in jobs.items()
    }
    bench.keep(made, "worlds: training, truth, running on; some ten minutes each")
    bench.finish([one for world, file in jobs.items() for one in rows_of(world, kept(file))])


if __name__ == "__main__":
    main()
