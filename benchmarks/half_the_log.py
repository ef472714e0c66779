"""Does half a log with temporal consistency teach as much as the whole log without?

The reward model is trained on a whole log and on halves of it (half the users; the later half of the training days),
from labels alone (λ = 1) and with TD(λ), several λ. Of those the one with the lowest validation loss, in nats a
row of plain likelihood, is taken, seed by seed; nothing is chosen on the test days, whose events of all users are
forecast by each. Told are log-losses in nats a day and differences, means over seeds, with 95% intervals that
resample users.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
from harness import TINY, Benchmark, Smoke, kept, result_row
from hydra.utils import instantiate
from rich.table import Table
from training import trained

from reward.columns import USER
from reward.data.days import DAY, day_of
from reward.data.event_log import EventLog
from reward.data.split import Split, split
from reward.data.validation import check
from reward.statistics.bootstrap import RatioRows, Ratios, Resamples, Users, percentiles
from reward.statistics.sums import fold
from reward.training.defaults import composed

SMOKE = Smoke(
    f"--logs confounded --lambdas 0.5 --seeds 1 --epochs 1 --settings simulation.users=60 {TINY}", RESAMPLES=20
)
LOGS = {  # what train.py would be told
    "kuairand": ["data=kuairand"],
    "confounded": ["data=world", "simulation=confounded", "simulation.users=1500"],
}
DRAWN = {"confounded"}  # anew by each seed
WHOLE, USERS, DAYS = "whole", "half the users", "half the days"
PARTS = (WHOLE, USERS, DAYS)
PLAIN = 1.0
RESAMPLES, LEVEL = 1000, 0.95
Losses = dict[str, np.ndarray]  # of test users: code, summed loss, observed days; and the validation loss


def part_of(log: EventLog, window: Split, part: str, seed: int) -> tuple[EventLog, Split]:
    """What is trained and validated on, and its window; the test days stay."""
    if part == USERS:
        users = log.events.select(pl.col(USER).unique().sort()).collect().to_series()
        mine = np.random.default_rng([seed, 31]).permutation(len(users)) % 2 == 0
        return replace(
            log, events=log.events.filter(pl.col(USER).is_in(users.filter(pl.Series(mine)).implode()))
        ), window
    if part == DAYS:
        start = window.start + (window.train_end - window.start) // 2
        later = log.events.filter(day_of(log) >= start)
        return replace(log, events=later), replace(window, start=start)
    return log, window


def losses(name: str, part: str, lam: float, seed: int, epochs: int | None, settings: Sequence[str] = ()) -> Losses:
    """Train on a part of a log, and forecast the test days of all of it."""
    told = [*LOGS[name], f"seed={seed}"] + ([] if lam == PLAIN else ["consistency=td", f"consistency.lam={lam}"])
    config = composed("train", [*told, *settings])
    log = check(instantiate(config.data)).log
    window = split(log, **config.split)
    learnt, inside = part_of(log, window, part, seed)
    made = trained(config, learnt, inside, epochs=epochs)
    function, outcome = made.function, made.function.outcome
    labelled = outcome.label(log, window.end).collect()
    days = outcome.parts(labelled)
    rows = (labelled[DAY] >= window.validation_end).to_numpy() & days.known.any(1)
    came, known = days.values[rows], days.known[rows]
    chance = np.clip(function.forecast(labelled)[rows], 1e-9, 1 - 1e-9)
    loss = -np.where(came > 0, np.log(chance), np.log1p(-chance)) * known
    user = labelled[USER].rank("dense").to_numpy().astype(np.int64)[rows] - 1
    users = int(user.max()) + 1
    return {
        "loss": np.bincount(user, loss.sum(1), users),
        "days": np.bincount(user, known.sum(1), users),
        "validation": np.array(made.loss),
    }


def file_of(folder: Path, *job: object) -> Path:
    """Where a job's losses are kept."""
    return folder / ("_".join(str(it).replace(" ", "-") for it in job) + ".npz")


def chosen_lambda(found: dict[float, list[Losses]], seed: int) -> float:
    """The λ below 1 with the lowest validation loss of a seed."""
    return min((lam for lam in found if lam != PLAIN), key=lambda lam: float(found[lam][seed]["validation"]))


def estimates(
    columns: dict[str, np.ndarray], days: np.ndarray, user: np.ndarray | None = None
) -> dict[str, tuple[float, float, float]]:
    """Nats a day of each column of losses, with the interval that resamples users; None: one a row."""
    there = days > 0
    losses = np.stack([values[there] for values in columns.values()], axis=1)
    users = Users.of((np.arange(len(days)) if user is None else user)[there])
    rows = RatioRows(losses, np.broadcast_to(days[there][:, None], losses.shape), users)
    table = fold(Ratios(Resamples(RESAMPLES, seed=0)), [rows])
    return dict(zip(columns, zip(table[0], *percentiles(table[1:], LEVEL), strict=True), strict=True))


def judged(
    found: dict[str, dict[float, list[Losses]]], *, drawn_anew: bool = False
) -> dict[str, tuple[float, float, float]]:
    """Log-losses of a log's parts, over all seeds, and the differences that the question is about.

    Args:
        found: by part and λ, the losses of each seed.
        drawn_anew: whether each seed is of a log of its own, so that no two of them have users in common.
    """
    known = [one["days"] for one in found[WHOLE][PLAIN]]
    user = np.concatenate([np.arange(len(days)) for days in known])
    if drawn_anew:
        user = np.arange(len(user))

    def of(part: str, consistent: bool) -> np.ndarray:
        mine = found[part]
        lams = [chosen_lambda(mine, seed) if consistent else PLAIN for seed in range(len(known))]
        return np.concatenate([mine[lam][seed]["loss"] for seed, lam in enumerate(lams)])

    columns = {f"{part}, {how}": of(part, how == "TD") for part in found for how in ("labels", "TD")}
    for part in found:
        columns[f"{part}: TD less labels"] = columns[f"{part}, TD"] - columns[f"{part}, labels"]
        if part != WHOLE:
            columns[f"{part}, TD, less {WHOLE}, labels"] = columns[f"{part}, TD"] - columns[f"{WHOLE}, labels"]
    return estimates(columns, np.concatenate(known), user)


def main(arguments: list[str] | None = None) -> None:
    bench = Benchmark(globals(), SMOKE, cache="half_the_log")
    bench.add("--logs", nargs="+", choices=LOGS, default=list(LOGS), metavar="LOG", help=f"{list(LOGS)}")
    bench.add("--parts", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART", help=f"{list(PARTS)}")
    bench.add("--lambdas", nargs="+", type=float, default=[0.0, 0.5, 0.9], help="to choose from")
    bench.add("--seeds", type=int, default=3, help="how many")
    bench.add("--epochs", type=int, help="other than the config's, to try things")
    bench.add_settings()
    chosen = bench.parse(arguments)
    if chosen.epochs is not None:
        chosen.cache /= f"{chosen.epochs}_epochs"
    rows = []
    parts = [WHOLE, *(part for part in chosen.parts if part != WHOLE)]
    jobs = [
        (name, part, lam, seed)
        for seed in range(chosen.seeds)
        for name in chosen.logs
        for part in parts
        for lam in (PLAIN, *chosen.lambdas)
    ]
    made = {file_of(chosen.cache, *job): partial(losses, *job, chosen.epochs, chosen.settings) for job in jobs}
    bench.keep(made, "logs, parts and λ")
    table = Table("log", "what", "nats a day", "95% interval")
    for name in chosen.logs:
        found: dict[str, dict[float, list[Losses]]] = {}
        for _, part, lam, seed in (job for job in jobs if job[0] == name):
            arrays = kept(file_of(chosen.cache, name, part, lam, seed))
            found.setdefault(part, {}).setdefault(lam, []).append(arrays)
        for what, (value, low, high) in judged(found, drawn_anew=name in DRAWN).items():
            table.add_row(name, what, f"{value:.5f}", f"{low:.5f} to {high:.5f}")
            met = None if "less whole" not in what else bool(low <= 0)
            for metric, number in (("log-loss", value), ("low", low), ("high", high)):
                goal = "interval reaches 0 or less" if met is not None and metric == "log-loss" else None
                rows.append(result_row(f"{name}: {what}", metric, number, goal=goal, met=met))
    bench.finish(rows, show=table)


if __name__ == "__main__":
    main()
