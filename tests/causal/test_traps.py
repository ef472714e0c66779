"""Known traps, in one service: what clicks, minutes and later activity are fooled by does not fool the effects.

Of 32 items half do good and half do harm, to all users alike. Crossed with that, half are shown to active users (who
click more and return anyway), half are long (and bring minutes), half stand at the top (and are clicked there).
"""

from datetime import UTC, datetime, timedelta
from itertools import product

import numpy as np
import polars as pl
import pytest

from reward.causal.estimate import estimate_effects
from reward.data.event_log import EventLog
from reward.data.validation import check
from reward.outcomes.activity import ActivityTrace

ITEMS, USERS, DAYS = 32, 1500, 40
GOOD, LOADED, LONG, TOP = np.array([*product([-1, 1], repeat=4), *product([-1, 1], repeat=4)]).T
BEGIN = datetime(2024, 1, 1, tzinfo=UTC)
DOES = 0.25  # to the logit of being active, halving every week


@pytest.fixture(scope="module")
def log():
    rng = np.random.default_rng(12)
    base, habit, past = rng.normal(-0.3, 1.2, USERS), np.zeros(USERS), np.full(USERS, 0.4)
    frames = []
    for day in range(DAYS):
        user = np.flatnonzero(rng.random(USERS) < 1 / (1 + np.exp(-base - habit)))
        shown = np.zeros((USERS, 2), int)
        for position in range(2):
            score = 1.2 * (past[user, None] - 0.4) / 0.3 * LOADED + (0.8 if position == 0 else -0.8) * TOP
            chance = np.exp(score) / np.exp(score).sum(1, keepdims=True)
            item = (chance.cumsum(1) < rng.random((len(user), 1))).sum(1).clip(max=ITEMS - 1)
            shown[user, position] = item
            click = rng.random(len(user)) < 1 / (1 + np.exp(-(base[user] + (1.0 if position == 0 else -1.0))))
            frames.append(
                pl.DataFrame(
                    {
                        "user_id": user,
                        "item_id": item,
                        "timestamp": [BEGIN + timedelta(days=day, hours=9, seconds=position)] * len(user),
                        "position": np.full(len(user), position),
                        "propensity": chance[np.arange(len(user)), item],
                        "click": click.astype(int),
                        "minutes": click * (4.0 + 3.5 * LONG[item]) * rng.uniform(0.5, 1.5, len(user)),
                    }
                )
            )
        active = np.isin(np.arange(USERS), user)
        habit = 0.9 * habit + DOES * active * GOOD[shown].sum(1)
        past = 0.85 * past + 0.15 * active
    return EventLog(
        pl.concat(frames).unique(["user_id", "item_id", "timestamp"], maintain_order=True).lazy(),
        feedback=("click", "minutes"),
        context=(),
        items=pl.LazyFrame({"item_id": range(ITEMS), "length": 4.0 + 3.5 * LONG}),
        item_features=("length",),
        end=BEGIN + timedelta(days=DAYS),
        session_gap_minutes=30,
        max_rejected_share=0.0,
    )


@pytest.fixture(scope="module")
def found(log):
    settings = {"folds": 2, "most_weight": 50.0, "smooth_days": 30.0, "curve_rounds": 1, "joint_rounds": 1}
    settings |= {"gate": None, "rare": [], "group": None, "personal": None, "seed": 0}
    return estimate_effects(check(log).log, ActivityTrace(7, "user", None), **settings)


def standing(values, half):
    """How the halves of the items differ in ``values``: the difference, in standard errors of the rest."""
    apart = values[half > 0].mean() - values[half < 0].mean()
    rest = values - np.where(half > 0, values[half > 0].mean(), values[half < 0].mean())
    return apart / (2 * rest.std(ddof=2) / np.sqrt(ITEMS))


def by_item(log, value):
    events = log.events.collect().with_columns(value.alias("value"))
    return events.group_by("item_id").agg(pl.col("value").mean()).sort("item_id")["value"].to_numpy()


def test_what_good_items_do_is_seen(found):
    effect = found.items.sort("item_id")["mean"].to_numpy()
    assert standing(effect, GOOD) > 5
    assert found.calibration.slope > 3 * found.calibration.se


@pytest.mark.parametrize(
    ("trap", "fooled", "half"),
    [
        ("activity", lambda log: later_activity(log), LOADED),
        ("duration", lambda log: by_item(log, pl.col("minutes")), LONG),
        ("position", lambda log: by_item(log, pl.col("click")), TOP),
    ],
    ids=["heavy users return anyway", "long items bring minutes", "what stands at the top is clicked"],
)
def test_the_trap_fools_the_signal_and_not_the_effect(log, found, trap, fooled, half):
    signal, effect = fooled(log), found.items.sort("item_id")["mean"].to_numpy()
    assert standing(signal, half) > 5, f"{trap} is a trap"
    assert abs(standing(signal, GOOD)) < 3, "and tells nothing of what is good"
    assert abs(standing(effect, half)) < 2.5


def later_activity(log):
    """Mean active days in the week after an exposure, by item."""
    labels = ActivityTrace(7, "user", None).label(check(log).log, 19783).collect()
    known = labels.filter(pl.col("observed") == (1 << 7) - 1)
    later = known.with_columns(pl.col("trace").bitwise_count_ones().cast(pl.Float64).alias("later"))
    return later.group_by("item_id").agg(pl.col("later").mean()).sort("item_id")["later"].to_numpy()
