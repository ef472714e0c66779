"""Shows and their users' activity traces: the published generator, and three whose users behave otherwise.

A trace is one 64-bit word, bit t for the day t+1 after the first listen. Source: McDonald et al., Impatient Bandits
(KDD 2023), the synthetic data of their public repository: beta-geometric churn, activity rates that are a Gaussian
process plus a weekly pattern.
"""

from __future__ import annotations

import numpy as np

H = 59  # days
DAY = np.arange(H)
CHOLESKY = np.linalg.cholesky(1.2 * np.exp(-np.abs(DAY[:, None] - DAY) / 8))
WEEK = -np.abs(np.sin(np.pi * DAY / 7))
BITS = 1 << DAY
WHOLE = (1 << H) - 1
TRAINING, JUDGED = 200, 200  # shows
USERS = 10_000  # of each show
PUBLISHED, TWO_RATES, RETURN, DIFFER = "published", "two rates of leaving", "users return", "users differ in activity"


def expit(value):
    return 1 / (1 + np.exp(-value))


def published(seed: int, shows: int = TRAINING + JUDGED, users: int = USERS) -> np.ndarray:
    """Words (shows, users), drawn in the published order: with seed 42 these are the published traces."""
    rng = np.random.default_rng(seed)
    words = np.zeros((shows, users), np.int64)
    for show in range(shows):
        centre = expit(0.1 * rng.normal() - 0.4)
        concentration = rng.uniform(0.7, 1.5)
        rates = -0.5 + 0.1 * CHOLESKY @ rng.normal(size=H)
        active = rng.binomial(1, expit(rates + rng.uniform(0.1, 1.0) * WEEK), size=(users, H))
        leaves = rng.beta(concentration * centre, concentration * (1 - centre), size=users)
        words[show] = (active * (rng.geometric(leaves)[:, None] - 1 > DAY)) @ BITS
    return words


def otherwise(kind: str, seed: int, shows: int = TRAINING + JUDGED, users: int = USERS) -> np.ndarray:
    """Words (shows, users) of users who behave otherwise than published.

    Args:
        kind: `TWO_RATES`: a show's users are quick or slow to leave, in a mix of its own. `RETURN`: who has left comes
            back at some 3% a day. `DIFFER`: users' logits of activity differ by a standard normal.
        seed: draws everything.
        shows: how many.
        users: of each.
    """
    rng = np.random.default_rng([seed, 7])
    words = np.zeros((shows, users), np.int64)
    for show in range(shows):
        centre, concentration = expit(0.1 * rng.normal() - 0.4), rng.uniform(0.7, 1.5)
        logits = -0.5 + 0.1 * CHOLESKY @ rng.normal(size=H) + rng.uniform(0.1, 1.0) * WEEK
        leaves = rng.beta(concentration * centre, concentration * (1 - centre), size=users)
        back = 0.03 * np.exp(0.3 * rng.normal()) if kind == RETURN else 0.0
        if kind == TWO_RATES:
            slow = rng.random(users) < expit(-0.8 + 0.5 * rng.normal())
            leaves = np.where(slow, 0.02 * np.exp(0.2 * rng.normal()), expit(0.2 * rng.normal()))
        own = rng.normal(size=(users, 1)) if kind == DIFFER else np.zeros((users, 1))
        active = rng.random((users, H), dtype=np.float32) < expit(logits + own)
        turn = rng.random((H, users), dtype=np.float32)
        there = np.ones(users, bool)
        for day in range(H):
            there = np.where(there, turn[day] >= leaves, turn[day] < back)
            active[:, day] &= there
        words[show] = active @ BITS
    return words


def drawn(kind: str, seed: int, shows: int = TRAINING + JUDGED, users: int = USERS) -> np.ndarray:
    size = {"shows": shows, "users": users}
    return published(seed, **size) if kind == PUBLISHED else otherwise(kind, seed, **size)


def active_on(words: np.ndarray, days: int = H) -> np.ndarray:
    """Words (...) -> (..., days) of 0 and 1."""
    return (words[..., None] >> DAY[:days]) & 1


def daily_means(words: np.ndarray) -> np.ndarray:
    """Words (shows, users) -> (shows, H) share active on each day."""
    return np.stack([((words >> day) & 1).mean(axis=1) for day in DAY], axis=1)
