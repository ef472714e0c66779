"""The bound: the Bayes-optimal belief about a show, for one who knows the published generator and all its constants.

A show is 62 numbers that are standard normal a priori: the churn's centre, its concentration and the weekly pattern's
strength (uniform, so their normal scores) and 59 innovations of the rates. M traces of d days have an exact likelihood:
a user's last active day says how long they surely stayed, and over the days since one sums. The posterior of the active
days is found by importance sampling around the posterior's mode, with the curvature there. Its median errs least in
absolute value.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from impatient.shows import CHOLESKY, DAY, WEEK, H, active_on, expit

_CURVED = 3  # the numbers whose posterior is far from normal
_WIDE = 1.6  # half of the draws are this much wider in them
_STEPS, _NATS = 40, 1e-5
_AT_ONCE = 50  # shows


@dataclass(frozen=True)
class Table:
    """Of users of d days: (shows, d) active, and silent but surely there; (shows, d+1) by last active day."""

    active: np.ndarray
    quiet: np.ndarray
    last: np.ndarray

    @classmethod
    def of(cls, words: np.ndarray, days: int) -> Table:
        active = active_on(words, days)
        last = (active * np.arange(1, days + 1)).max(axis=-1, initial=0)
        counts = np.stack([(last == day).sum(axis=1) for day in range(days + 1)], axis=1).astype(float)
        there = counts[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:]
        return cls(active.sum(axis=1), there - active.sum(axis=1), counts)

    def __getitem__(self, shows: slice) -> Table:
        return Table(self.active[shows], self.quiet[shows], self.last[shows])


def logits(z: np.ndarray) -> np.ndarray:
    """(..., 62) -> (..., 2, H): of leaving before day t+1 for who is there, and of being active for who is."""
    centre, concentration = expit(0.1 * z[..., :1] - 0.4), 0.7 + 0.8 * ndtr(z[..., 1:2])
    leave = np.log(centre * concentration) - np.log(concentration * (1 - centre) + DAY)
    rates = -0.5 + 0.1 * z[..., 3:] @ CHOLESKY.T + (0.1 + 0.9 * ndtr(z[..., 2:3])) * WEEK
    return np.stack([leave, rates], axis=-2)


def slopes(z: np.ndarray) -> np.ndarray:
    """(shows, 62) -> (shows, 2, H, 62), the derivative of `logits`."""
    centre, concentration = expit(0.1 * z[:, :1] - 0.4), 0.7 + 0.8 * ndtr(z[:, 1:2])
    density = np.exp(-(z[:, 1:3] ** 2) / 2) / np.sqrt(2 * np.pi)
    stay = concentration * (1 - centre) + DAY
    out = np.zeros((len(z), 2, H, z.shape[1]))
    out[:, 0, :, 0] = 0.1 * centre * (1 - centre) * (1 / centre + concentration / stay)
    out[:, 0, :, 1] = 0.8 * density[:, :1] * (1 / concentration - (1 - centre) / stay)
    out[:, 1, :, 2] = 0.9 * density[:, 1:] * WEEK
    out[:, 1, :, 3:] = 0.1 * CHOLESKY
    return out


def expected_days(theta: np.ndarray) -> np.ndarray:
    stay, active = np.cumprod(1 - expit(theta[..., 0, :]), axis=-1), expit(theta[..., 1, :])
    return (stay * active).sum(axis=-1)


def silence(leave: np.ndarray, active: np.ndarray) -> np.ndarray:
    """(..., d) probabilities -> (..., d+1): that who is there after day l is silent from then to day d."""
    days = leave.shape[-1]
    out = np.ones((*leave.shape[:-1], days + 1))
    for day in range(days - 1, -1, -1):
        out[..., day] = leave[..., day] + (1 - leave[..., day]) * (1 - active[..., day]) * out[..., day + 1]
    return out


def log_likelihood(table: Table, theta: np.ndarray) -> np.ndarray:
    """(shows, [draws,] 2, H) -> (shows, [draws])."""
    days = table.active.shape[1]
    leave, active = expit(theta[..., 0, :days]), expit(theta[..., 1, :days])

    def wide(counts):
        return counts.reshape(len(counts), *[1] * (theta.ndim - 3), -1)

    stayed = np.concatenate([np.zeros((*leave.shape[:-1], 1)), np.log1p(-leave).cumsum(axis=-1)], axis=-1)
    seen = wide(table.active) * np.log(active) + wide(table.quiet) * np.log1p(-active)
    return seen.sum(axis=-1) + (wide(table.last) * (stayed + np.log(silence(leave, active)))).sum(axis=-1)


def curvature(table: Table, theta: np.ndarray, slope: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gradient (shows, K) and observed information (shows, K, K) of the log-likelihood along ``slope``.

    That of the complete data, in which it is known when each user left, less the variance that not knowing it adds
    (Louis 1982), summed along the days of silence.
    """
    shows, days = table.active.shape
    leave, active = expit(theta[:, 0, :days]), expit(theta[:, 1, :days])
    gone = leave / silence(leave, active)[:, :-1]  # leaves next day, given silence to day d
    silent = np.zeros((shows, days))
    mass = np.zeros(shows)
    for day in range(days):
        mass = mass + table.last[:, day]
        silent[:, day] = mass
        mass = mass * (1 - gone[:, day])
    left = silent * gone
    lived = table.active + table.quiet + silent - left
    gradient = np.concatenate([left - leave * (left + lived), table.active - active * lived], axis=1)
    weight = np.concatenate([leave * (1 - leave) * (left + lived), active * (1 - active) * lived], axis=1)
    slope = slope[:, :, :days]
    flat = slope.reshape(shows, 2 * days, slope.shape[-1])
    found = (flat * weight[:, :, None]).transpose(0, 2, 1) @ flat
    ahead, apart = np.zeros((shows, slope.shape[-1])), np.zeros((shows, days, slope.shape[-1]))
    for day in range(days - 1, -1, -1):
        stays = ahead - leave[:, day, None] * slope[:, 0, day] - active[:, day, None] * slope[:, 1, day]
        apart[:, day] = (1 - leave[:, day, None]) * slope[:, 0, day] - stays
        ahead = stays + gone[:, day, None] * apart[:, day]
    spread = silent * gone * (1 - gone)
    found -= (apart * spread[..., None]).transpose(0, 2, 1) @ apart
    return (gradient[:, None] @ flat)[:, 0], found


def mode(table: Table) -> tuple[np.ndarray, np.ndarray]:
    """(shows, 62) posterior modes, and (shows, 62, 62) lower roots of the inverse curvature there."""
    shows, size = len(table.active), 3 + H
    z = np.zeros((shows, size))
    now = log_likelihood(table, logits(z))
    for _ in range(_STEPS):
        gradient, information = curvature(table, logits(z), slopes(z))
        values, axes = np.linalg.eigh(information + np.eye(size))
        values = np.maximum(values, 1)
        rise = ((gradient - z)[:, None] @ axes)[:, 0]
        step = (axes @ (rise / values)[..., None])[..., 0]
        if (rise**2 / values).sum(axis=1).max() < _NATS:
            break
        length = np.ones(shows)
        for _ in range(12):
            trial = z + length[:, None] * step
            then = log_likelihood(table, logits(trial)) - 0.5 * (trial**2).sum(axis=1)
            worse = then < now - 1e-9 * np.abs(now)
            if not worse.any():
                break
            length[worse] /= 2
        length[worse] = 0
        z = z + length[:, None] * step
        now = np.where(worse, now, then)
    return z, np.linalg.cholesky((axes / values[:, None]) @ axes.transpose(0, 2, 1))


def middle(value: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Medians (shows,) of weighted draws (shows, draws), between the two draws next to it."""
    order = value.argsort(axis=1)
    value, weight = (np.take_along_axis(each, order, axis=1) for each in (value, weight))
    below = (weight.cumsum(axis=1) - weight / 2) / weight.sum(axis=1, keepdims=True)
    return np.array([np.interp(0.5, *one) for one in zip(below, value, strict=True)])


def optimal(
    words: np.ndarray, days: int, draws: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Bayes-optimal beliefs (shows,) from the first ``days`` days of traces (shows, users), by ``draws`` (4, 8, ...).

    Returns:
        Means; medians; the absolute difference of the means of either half of the draws; effective share of the draws.
    """
    rng, whole = np.random.default_rng(seed), Table.of(words, days)
    means, medians, doubt, worth = [], [], [], []
    for start in range(0, len(words), _AT_ONCE):
        table = whole[start : start + _AT_ONCE]
        centre, root = mode(table)
        half = rng.normal(size=(len(centre), 2, draws // 4, centre.shape[1]))
        xi = np.concatenate([half, -half], axis=2).reshape(len(centre), -1, centre.shape[1])  # each draw and its mirror
        wider = np.arange(xi.shape[1]) % 2 == 1
        xi[:, wider, :_CURVED] *= _WIDE
        near = (xi[..., :_CURVED] ** 2).sum(axis=-1)
        drawn = -0.5 * ((xi[..., _CURVED:] ** 2).sum(axis=-1)) + np.logaddexp(
            -0.5 * near, -0.5 * near / _WIDE**2 - _CURVED * np.log(_WIDE)
        )
        z = centre[:, None] + xi @ root.transpose(0, 2, 1)
        theta = logits(z)
        log_weight = log_likelihood(table, theta) - 0.5 * (z**2).sum(axis=-1) - drawn
        weight = np.exp(log_weight - log_weight.max(axis=1, keepdims=True))
        value = expected_days(theta)
        halves = [
            (weight[:, part] * value[:, part]).sum(axis=1) / weight[:, part].sum(axis=1)
            for part in (slice(0, xi.shape[1] // 2), slice(xi.shape[1] // 2, None))
        ]
        means.append((weight * value).sum(axis=1) / weight.sum(axis=1))
        medians.append(middle(value, weight))
        doubt.append(np.abs(halves[0] - halves[1]))
        worth.append(weight.sum(axis=1) ** 2 / (weight**2).sum(axis=1) / xi.shape[1])
    return np.concatenate(means), np.concatenate(medians), np.concatenate(doubt), np.concatenate(worth)
