"""Taste: in which directions of the items' features users differ, and what one user's answers tell of theirs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from reward.arrays import Doubles, Ints
from reward.statistics.sums import States, Totals

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


class GivenFeedback(NamedTuple):
    """All n answers of some users.

    Attributes:
        answer: (n,) less what all users answer to the item.
        user: (n,) codes, from whichever.
        item: (n,) from 0.
    """

    answer: Doubles
    user: Ints
    item: Ints


@dataclass(frozen=True)
class FeedbackProducts(Totals):
    """Answers of some users to items; a state that adds.

    Attributes:
        count: (items,) answers.
        squares: (items,) sum of their squares.
        products: (columns, columns) Σ over users of a a', a the user's sum of ``answer · described``.
        pairs: Σ over users of the ordered pairs of different answers.
    """

    count: Ints
    squares: Doubles
    products: Doubles
    pairs: int


@dataclass(frozen=True)
class PreferenceFit:
    """The directions in which users differ and how far they do, column by column of feedback, by the method of moments.

    Two answers of one user have the covariance x'Λx', with Λ the covariance of t over users: Λ is the mean of products
    of different answers of the same user, in features that are white over the answers given. Directions in which users
    do not differ are dropped: those whose variance is within the noise of Λ (the edge of the semicircle in which the
    eigenvalues of pure noise lie), or too little to be told within thousands of answers.

    Attributes:
        described: (items, columns) standardised traits.

    Source:
        Random-coefficient models: Swamy, "Efficient inference in a random coefficient regression model"
        (Econometrica 1970); Wigner's semicircle law.
    """

    described: Doubles

    def partial(self, users: Iterable[GivenFeedback]) -> States[FeedbackProducts]:
        """What some users answered, column by column."""
        return States(tuple(map(self._products, users)))

    def solve(self, state: States[FeedbackProducts]) -> tuple[Taste, ...]:
        """The directions of all users, column by column."""
        return tuple(map(self._taste, state.states))

    def _products(self, given: GivenFeedback) -> FeedbackProducts:
        answer, user, item = given
        items, columns = self.described.shape
        own = user - user.min(initial=np.iinfo(np.int64).max)
        size = int(own.max(initial=-1)) + 1
        count = np.bincount(own, minlength=size)
        total = np.zeros((columns, size))
        for column, part in enumerate(self.described.T):
            total[column] = np.bincount(own, answer * part[item], size)
        return FeedbackProducts(
            np.bincount(item, minlength=items),
            np.asarray(np.bincount(item, answer**2, items), np.float64),
            total @ total.T,
            int((count * (count - 1)).sum()),
        )

    def _taste(self, state: FeedbackProducts) -> Taste:
        columns, answers = self.described.shape[1], int(state.count.sum())
        none = Taste(np.zeros((columns, 0)), np.zeros(0), 1.0)
        if answers < 2 or columns == 0:
            return none
        second = (self.described * state.count[:, None]).T @ self.described / answers
        spread, turn = np.linalg.eigh(second)
        wide = spread > max(_LEAST_SHARE * float(spread.max()), _ROUNDING)
        if not wide.any():
            return none
        white = turn[:, wide] / np.sqrt(spread[wide])
        features = self.described @ white
        noise = float(state.squares.sum()) / answers
        if not (state.pairs > 0 and noise > 0):
            return none
        same = (features * state.squares[:, None]).T @ features
        found, axes = np.linalg.eigh((white.T @ state.products @ white - same) / state.pairs)
        edge = 2 * np.sqrt(2 * features.shape[1] / state.pairs)
        differ = np.flatnonzero(found > noise * max(edge, 1 / _MOST_EVENTS))[::-1]
        return Taste(white @ axes[:, differ], noise / found[differ], noise)


def fit_taste(answer: Doubles, user: Ints, item: Ints, described: Doubles) -> Taste:
    """The directions and how far users differ in them for one column of feedback, see `PreferenceFit`.

    Args:
        answer: (n,) less what all users answer to the item.
        user: (n,) from 0.
        item: (n,) rows of ``described``.
        described: (items, columns) standardised traits.
    """
    fit = PreferenceFit(described)
    return fit.solve(fit.partial([GivenFeedback(answer, user, item)]))[0]
