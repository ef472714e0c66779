"""Users whose coming back is a habit, and tests that touch the habit early, late, for a while or for good.

A user with base b is active on a day with chance σ(b + GAIN · (habit − ½) + what the test does that day), while they
are still there; habit is the decaying mean of the days they were active. Given b and habit, the days ahead hang on
nothing else: where a test acts on the first days alone and leaving is not its doing, these two are all that the
outcome depends on, and surrogacy holds exactly. Hidden bases, late acts and acts on leaving break it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

HORIZON_DAYS, BEFORE_DAYS = 63, 28
EARLY_DAYS = 14  # of the test, on which an early act acts, and of which the index is told
BASE = (-0.9, 1.0)  # mean and spread of b
GAIN, MEMORY_DAYS = 2.5, 7
LEAVING = 0.003  # chance a day to leave for good, from the first day of the test on


@dataclass(frozen=True)
class Act:
    """What a test does to its treated.

    Attributes:
        early: added to the logit on the first `EARLY_DAYS` days.
        late: added to it on the days after.
        leaving: added to the log of the chance to leave.
        left: whether anybody leaves.
        hidden: whether bases are hidden from the index, which is then told of the days before.
    """

    early: float = 0.0
    late: float = 0.0
    leaving: float = 0.0
    left: bool = True
    hidden: bool = True


@dataclass(frozen=True)
class Users:
    """Users lived to the horizon.

    Attributes:
        base: (n,) b.
        before: (n, BEFORE_DAYS) active on each day before the test.
        days: (n, HORIZON_DAYS) active on each of its days.
        chance: (n,) sum of the chances of these days, given the days before each.
        habit: (n, 2) habit when the test begins, and after `EARLY_DAYS`.
    """

    base: np.ndarray
    before: np.ndarray
    days: np.ndarray
    chance: np.ndarray
    habit: np.ndarray

    @property
    def outcome(self):
        """(n,) active days over the horizon."""
        return self.days.sum(1, dtype=float)


def lived(act, treated, rng):
    """Users of whom ``treated`` are treated; the same generator gives the same users and luck, whatever is done."""
    n = len(treated)
    base = rng.normal(*BASE, n).astype(np.float32)
    habit = 1 / (1 + np.exp(-base))
    there, chance = np.ones(n, bool), np.zeros(n)
    active = np.empty((BEFORE_DAYS + HORIZON_DAYS, n), bool)
    told = []
    leaves = LEAVING * np.exp(act.leaving * treated) if act.left else np.zeros(n)
    for day in range(-BEFORE_DAYS, HORIZON_DAYS):
        if day in (0, EARLY_DAYS):
            told.append(habit)
        if day >= 0:
            there = there & (rng.random(n, np.float32) >= leaves)
        push = 0.0 if day < 0 else act.early if day < EARLY_DAYS else act.late
        expected = there / (1 + np.exp(-(base + GAIN * (habit - 0.5) + push * treated)))
        active[day + BEFORE_DAYS] = rng.random(n, np.float32) < expected
        chance += expected if day >= 0 else 0
        habit = habit + (active[day + BEFORE_DAYS] - habit) / np.float32(MEMORY_DAYS)
    return Users(base, active[:BEFORE_DAYS].T, active[BEFORE_DAYS:].T, chance, np.stack(told, axis=1))


def truth(act, users, seed):
    """The long-term effect of an act and its standard error: the same users and luck, with it and without it."""
    none, all_ = (lived(act, np.full(users, w), np.random.default_rng(seed)).chance for w in (False, True))
    return float((all_ - none).mean()), float((all_ - none).std(ddof=1) / np.sqrt(users))


def told(users, act):
    """Surrogates and covariates of the index: the first days and the habit after them; what was known before."""
    first = users.days[:, :EARLY_DAYS]
    silent = np.where(first.any(1), first[:, ::-1].argmax(1), EARLY_DAYS)
    surrogates = np.column_stack([first.sum(1), users.habit[:, 1], silent])
    known = users.before.sum(1) if act.hidden else 1 / (1 + np.exp(-users.base))
    return surrogates.astype(float), np.column_stack([known, users.habit[:, 0]]).astype(float)


def drawn_acts(count, rng, strength):
    """Acts of tests as a service might run them, by name of what they are: half act early alone.

    One in four does nothing; the others' strengths are normal.
    """
    names = np.array(["nothing", "early", "early and late", "wears off", "late", "leaving"])
    kinds = rng.choice(names, count, p=[0.25, 0.35, 0.15, 0.1, 0.05, 0.1])
    size, other = rng.normal(0, strength, (2, count))
    acts = []
    for kind, one, two in zip(kinds, size, other, strict=True):
        act = {
            "nothing": Act(),
            "early": Act(early=one),
            "early and late": Act(early=one, late=0.5 * one),
            "wears off": Act(early=one, late=-0.5 * one),
            "late": Act(late=one),
            "leaving": Act(early=0.2 * two, leaving=3 * one),
        }[kind]
        acts.append(act)
    return kinds, acts


NOTHING, TOLD = "nothing (A/A)", "early, all told"
CASES = {
    NOTHING: Act(left=False, hidden=False),
    TOLD: Act(early=0.3, left=False, hidden=False),
    "early, bases hidden": Act(early=0.3, left=False),
    "early, bases hidden, users leave": Act(early=0.3),
    "late": Act(late=0.15),
    "wears off": Act(early=0.3, late=-0.15),
    "leaving": Act(leaving=-1.0),
}
HOLD = (NOTHING, TOLD)
