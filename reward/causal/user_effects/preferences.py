"""Taste: in which directions of the items' features users differ, and what one user's answers tell of theirs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reward.arrays import Doubles, Ints

_LEAST_SHARE = 1e-3  # of the widest direction's variance, below which a direction of the items' features is left out
_ROUNDING = 1e-18  # variance of standardised features that is 0
_MOST_EVENTS = 3000.0  # answers after which a user's taste in a direction would be known by half: more, and it is noise


@dataclass(frozen=True)
class Taste:
    """A user's mean answer to an item is ``t · item`` beyond what all users answer, with t drawn for each user.

    Attributes:
        axes: (described columns, k) the directions in which users differ, of the items' described traits.
        prior: (k,) answers by which a user's mean is drawn to 0: noise variance over the variance of t.
        noise: variance of an answer around ``t · item``.
    """

    axes: Doubles
    prior: Doubles
    noise: float

    def mean(self, total: Doubles, count: Doubles) -> Doubles:
        """(m, k) posterior means of t from sums of ``answer · item``, (m, k), over ``count`` answers, (m,)."""
        return total / (count[:, None] + self.prior)

    def variance(self, count: Doubles) -> Doubles:
        """(m, k) posterior variances of t."""
        return self.noise / (count[:, None] + self.prior)


def fit_taste(answer: Doubles, user: Ints, item: Ints, described: Doubles) -> Taste:
    """The directions and how far users differ in them, by the method of moments.

    Two answers of one user have the covariance x'Λx', with Λ the covariance of t over users: Λ is the mean of products
    of different answers of the same user, in features that are white over the answers given. Directions in which users
    do not differ are dropped: those whose variance is within the noise of Λ (the edge of the semicircle in which the
    eigenvalues of pure noise lie), or too little to be told within thousands of answers.

    Args:
        answer: (n,) less what all users answer to the item.
        user: (n,) from 0.
        item: (n,) rows of ``described``.
        described: (items, columns) standardised traits.

    Source:
        Random-coefficient models: Swamy, "Efficient inference in a random coefficient regression model"
        (Econometrica 1970); Wigner's semicircle law.
    """
    columns = described.shape[1]
    none = Taste(np.zeros((columns, 0)), np.zeros(0), 1.0)
    if len(answer) < 2 or columns == 0:
        return none
    shown = np.bincount(item, minlength=len(described))
    second = (described * shown[:, None]).T @ described / shown.sum()
    spread, turn = np.linalg.eigh(second)
    wide = spread > max(_LEAST_SHARE * float(spread.max()), _ROUNDING)
    if not wide.any():
        return none
    white = turn[:, wide] / np.sqrt(spread[wide])
    features = described @ white
    users = int(user.max()) + 1
    total = np.stack([np.bincount(user, answer * part[item], users) for part in features.T], axis=1)
    squares = np.bincount(item, answer**2, len(described))
    own = (features * squares[:, None]).T @ features
    count = np.bincount(user, minlength=users).astype(np.float64)
    pairs = float((count**2 - count).sum())
    noise = float((answer**2).mean())
    if not (pairs > 0 and noise > 0):
        return none
    found, axes = np.linalg.eigh((total.T @ total - own) / pairs)
    edge = 2 * np.sqrt(2 * features.shape[1] / pairs)
    differ = np.flatnonzero(found > noise * max(edge, 1 / _MOST_EVENTS))[::-1]
    return Taste(white @ axes[:, differ], noise / found[differ], noise)
