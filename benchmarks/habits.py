"""Does the habit reward know what bringing a show up does? Shows whose habits are made, so that the truth is known.

Users are recommended three shows a visit, at random. One is taken up by taste and by the show's appeal; a user who
takes it up may form a habit, by how sticky the show is and how prone the user, and then comes back to it by herself on
some days, until the habit ends. What showing each show to each user does to the days back to it in the next 14 is
computed exactly from this. Held against it: the habit reward and what it is made of. Told, as means over worlds with
standard errors, Pearson correlation over users and shows, the slope of the truth on the score, and what the five
shows of highest score are worth, as a share of what the five best are.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import numpy as np
import polars as pl
import torch
from harness import TINY, Benchmark, Smoke, mean_and_se, result_row
from numpy.typing import NDArray
from training import trained
from worlds import correlation

from reward.arrays import Doubles
from reward.data.event_log import EventLog
from reward.data.split import split
from reward.data.validation import check
from reward.scoring.function import RewardFunction
from reward.training.defaults import composed

SMOKE = Smoke(f"--users 50 --days 36 --worlds 1 --epochs 1 --settings {TINY}", ASKED=10)
SHOWS, GENRES, SLATE = 60, 6, 3
RETURNS, ENDS = 0.35, 0.08  # a day, of a habit
HORIZON_DAYS, PICKS, ASKED = 14, 5, 400
BEGIN = datetime(2024, 1, 1, tzinfo=UTC)
HABIT, TAKEN_UP, AFTER, BOTH = "habit", "P(taken up)", "V after", "P(taken up) V after"
SIGNALS = (HABIT, BOTH, AFTER, TAKEN_UP)


class Service(NamedTuple):
    """Users, shows and habits as they are at the end of the log.

    Attributes:
        visits: (users,) chance of a visit on a day.
        taken: (users, shows) chance that a show is taken up when shown.
        formed: (users, shows) chance that it then becomes a habit.
        habit: (users, shows) bool.
        events: the log.
        genre: (shows,).
    """

    visits: Doubles
    taken: Doubles
    formed: Doubles
    habit: NDArray[np.bool_]
    events: pl.DataFrame
    genre: NDArray[np.int64]


def service(users: int, days: int, seed: int) -> Service:
    """Draw a service and run it."""
    rng = np.random.default_rng([seed, 47])
    genre, appeal, sticky = rng.integers(0, GENRES, SHOWS), rng.normal(0, 0.7, SHOWS), rng.beta(1, 2, SHOWS)
    liked, prone = rng.integers(0, GENRES, users), rng.choice([0.3, 1.0], users)
    visits = rng.beta(2, 3, users)
    taken = 1 / (1 + np.exp(1.5 - 2 * (liked[:, None] == genre) - appeal))
    formed = prone[:, None] * sticky
    habit, rows = np.zeros((users, SHOWS), bool), []
    for day in range(days):
        user, show = np.nonzero(habit & (rng.random(habit.shape) < RETURNS))
        rows.append((day, user, show, np.ones(len(user), bool), "library"))
        user = np.flatnonzero(rng.random(users) < visits)
        shown = rng.random((len(user), SHOWS)).argsort(1)[:, :SLATE]
        user, show = user.repeat(SLATE), shown.ravel()
        click = rng.random(len(user)) < taken[user, show]
        rows.append((day, user, show, click, "home"))
        begins = click & (rng.random(len(user)) < formed[user, show])
        habit[user[begins], show[begins]] = True
        habit &= rng.random(habit.shape) >= ENDS
    frames = [
        pl.DataFrame({"user_id": user, "item_id": show, "click": click}).with_columns(
            timestamp=pl.lit(BEGIN + timedelta(days=day))
            + pl.duration(minutes=pl.Series(rng.permutation(len(user)) % 720)),
            surface=pl.lit(surface),
        )
        for day, user, show, click, surface in rows
    ]
    events = pl.concat(frames).unique(["user_id", "item_id", "timestamp"], keep="first", maintain_order=True)
    return Service(visits, taken, formed, habit, events, genre)


def days_back(world: Service, habit: Doubles) -> Doubles:
    """Expected days back to each show in the next days, (users, shows), from the chance of a habit now."""
    chance = world.visits[:, None] * SLATE / SHOWS * world.taken
    total = np.zeros_like(chance)
    for _ in range(HORIZON_DAYS):
        habit = (1 - ENDS) * habit
        total += 1 - (1 - chance) * (1 - RETURNS * habit)
        habit = habit + (1 - habit) * chance * world.formed
    return total


def truth(world: Service) -> Doubles:
    """What showing each show to each user next does to the days back to it."""
    now = world.habit.astype(float)
    shown = now + (1 - now) * world.taken * world.formed
    return days_back(world, shown) - days_back(world, now)


def learned(world: Service, days: int, seed: int, epochs: int, settings: Sequence[str] = ()) -> RewardFunction:
    """A scoring function of the log, with habits of shows."""
    told = [
        *("data=log", "data.events=none", "data.feedback=[click]", "data.context=[surface]"),
        *("task=[active_days,habit]", "task.taken_up.outcome.active_if=click", "task.back_after.outcome.scope=item"),
        *(f"horizon_days={HORIZON_DAYS}", f"seed={seed}", "batches.max_events=64"),
        *(f"task.{part}.weight=1.0" for part in ("taken_up", "back_after", "back_without")),
        *settings,
    ]
    config = composed("train", told)
    items = pl.LazyFrame({"item_id": range(SHOWS), "genre": [f"g{it}" for it in world.genre]})
    log = EventLog(
        world.events.lazy(),
        feedback=("click",),
        context=("surface",),
        items=items,
        item_features=("genre",),
        end=BEGIN + timedelta(days=days),
        session_gap_minutes=30,
        max_rejected_share=0.0,
    )
    checked = check(log).log
    return trained(config, checked, split(checked, train_days=days - 9, validation_days=7), epochs=epochs).function


def scores(function: RewardFunction, world: Service, users: NDArray[np.int64], days: int) -> dict[str, Doubles]:
    """(users, shows) of each signal at a visit on the day after the log."""
    slots = pl.DataFrame({"user_id": users, "timestamp": [BEGIN + timedelta(days=days, hours=6)] * len(users)})
    slots = slots.with_columns(surface=pl.lit("home"))
    history = function.encode(world.events.filter(pl.col("user_id").is_in(users.tolist())), now=slots)
    shows = np.arange(SHOWS)
    found = {HABIT: function.score_candidates(history, shows, habit="item").mean}
    parts = {name: function.predict_candidates(history, shows, name) for name in ("taken_up", "back_after")}
    found |= {TAKEN_UP: parts["taken_up"], AFTER: parts["back_after"], BOTH: parts["taken_up"] * parts["back_after"]}
    return {name: values.double().numpy() for name, values in found.items()}


def judged(true: Doubles, score: Doubles) -> dict[str, float]:
    """How a score agrees with the truth, (users, shows) both."""
    best, chosen = (np.take_along_axis(true, np.argsort(-by, 1)[:, :PICKS], 1).sum() for by in (true, score))
    slope = np.cov(true.ravel(), score.ravel())[0, 1] / score.var()
    return {
        "Pearson": correlation(score.ravel(), true.ravel()),
        "slope of the truth": float(slope),
        f"worth of the first {PICKS}": float(chosen / best),
    }


def main(arguments: list[str] | None = None) -> None:
    bench = Benchmark(globals(), SMOKE)
    bench.add("--users", type=int, default=1500)
    bench.add("--days", type=int, default=50, help="of the log")
    bench.add("--worlds", type=int, default=3, help="how many; some ten minutes each")
    bench.add("--first", type=int, default=0, metavar="SEED", help="of the first world")
    bench.add("--epochs", type=int, default=9, help="at most; so small a log wants more than the config's")
    bench.add_settings()
    chosen = bench.parse(arguments)
    found: list[dict[str, dict[str, float]]] = []
    for seed in bench.progress(range(chosen.first, chosen.first + chosen.worlds), "worlds ..."):
        torch.manual_seed(seed)
        world = service(chosen.users, chosen.days, seed)
        function = learned(world, chosen.days, seed, chosen.epochs, chosen.settings)
        users = np.random.default_rng([seed, 53]).permutation(chosen.users)[:ASKED]
        true = truth(world)[users]
        found.append({name: judged(true, score) for name, score in scores(function, world, users, chosen.days).items()})
    bench.finish(
        [
            result_row(name, metric, *mean_and_se([one[name][metric] for one in found]))
            for name in SIGNALS
            for metric in found[0][name]
        ]
    )


if __name__ == "__main__":
    main()
