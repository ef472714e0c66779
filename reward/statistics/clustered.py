"""Standard errors of means whose rows are not independent: users are clusters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reward.arrays import Doubles, Ints
from reward.statistics.bootstrap import check_codes, sums_by
from reward.statistics.sums import fold

Samples = Sequence[tuple[Ints, Doubles]]  # of each sample the user of every row, from 0, and its values (n_s,)


@dataclass(frozen=True)
class ClusteredMoments:
    """Second moments of what users add to the means of S samples.

    A user's vector is ``(Σ (ψ − centre_s) / n_s, rows_s / n_s)`` over the samples: centred values stay small, and so
    no digits cancel where values are far from 0.

    Attributes:
        users: how many.
        rows: (S,) n_s.
        centre: (S,) mean of the values.
        moments: (2S, 2S) sum over users of the products of their vectors.
    """

    users: int
    rows: Doubles
    centre: Doubles
    moments: Doubles

    def __add__(self, other: ClusteredMoments) -> ClusteredMoments:
        """The moments of the users of both.

        Source: Chan, Golub and LeVeque (1983), Algorithms for computing the sample variance.
        """
        rows = self.rows + other.rows
        share = np.divide(other.rows, rows, out=np.zeros_like(rows), where=rows > 0)
        centre = self.centre + share * (other.centre - self.centre)
        moments = self._around(centre, rows) + other._around(centre, rows)
        return ClusteredMoments(self.users + other.users, rows, centre, moments)

    def _around(self, centre: Doubles, rows: Doubles) -> Doubles:
        """The moments, were the means ``centre`` and the numbers of rows ``rows``."""
        scale = np.divide(self.rows, rows, out=np.zeros_like(rows), where=rows > 0)
        above = np.concatenate([np.diag(scale), np.diag(-scale * (centre - self.centre))], axis=1)
        below = np.concatenate([np.zeros_like(np.diag(scale)), np.diag(scale)], axis=1)
        change = np.concatenate([above, below])
        return np.asarray(change @ self.moments @ change.T)


class ClusteredError:
    """Standard error of the sum of some samples' means, the rows of a user in any of them taken together.

    ``√(C/(C−1) Σ_c (Σ_s Σ_{i of c in s} (ψ_i − ψ̄_s) / n_s)²)`` over C users.

    Source:
        Liang and Zeger (1986), Longitudinal data analysis using generalized linear models.
    """

    def partial(self, users: Samples, /) -> ClusteredMoments:
        """What some users add; their codes have no gaps over all samples.

        Raises:
            ValueError: codes that do not fit.
        """
        for code, values in users:
            check_codes(code, len(values))
        count = max((int(code.max(initial=-1)) for code, _ in users), default=-1) + 1
        rows = np.array([len(values) for _, values in users], np.float64)
        centre = np.array([values.mean() if len(values) else 0.0 for _, values in users])
        pulls = [
            sums_by(code, ((values - mean) / max(len(values), 1))[:, None], count)
            for (code, values), mean in zip(users, centre, strict=True)
        ]
        shares = [sums_by(code, np.full((len(code), 1), 1 / max(len(code), 1)), count) for code, _ in users]
        vectors = np.concatenate([np.zeros((count, 0)), *pulls, *shares], axis=1)
        return ClusteredMoments(count, rows, centre, vectors.T @ vectors)

    def solve(self, state: ClusteredMoments, /) -> float:
        """The standard error.

        Raises:
            ValueError: fewer than 2 users, or a sample without rows.
        """
        users = state.users if state.rows.all() else 0
        if users < 2:
            raise ValueError(
                f"a clustered error expected rows of at least 2 users, got {users}: more users have to be seen"
            )
        samples = len(state.rows)
        return float(np.sqrt(users / (users - 1) * max(state.moments[:samples, :samples].sum(), 0.0)))


def clustered_error(*samples: tuple[Ints, Doubles]) -> float:
    """Standard error of the sum of the samples' means, see `ClusteredError`.

    Args:
        samples: of each the user of every row, from 0 and without gaps over all of them, and ψ (n_s,).

    Raises:
        ValueError: fewer than 2 users, or codes that do not fit.

    >>> round(clustered_error((np.array([0, 1, 2, 3]), np.array([1.0, 2.0, 3.0, 4.0]))), 12)  # sd / √4
    0.645497224368

    """
    return fold(ClusteredError(), [samples])
