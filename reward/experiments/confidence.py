"""The bridge to spotify-confidence, which does the tests themselves: the extra ``reward[experiments]``.

What it does is called and not written again: Welch's test, regression on a pre-period covariate, sample sizes, bounds
of a group-sequential test, the sample-ratio test. It reads sufficient statistics, so that users never leave polars.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from reward.arrays import Doubles


class Moments(NamedTuple):
    """Sums over one arm's users, of a metric y and of a covariate x known before the test; without one, None."""

    users: int
    y: float
    yy: float
    x: float | None = None
    xx: float | None = None
    xy: float | None = None


class Difference(NamedTuple):
    """A treated arm less its control."""

    effect: float
    se: float
    low: float
    high: float
    p_value: float


def difference(control: Moments, treated: Moments, *, alpha: float) -> Difference:
    """Test a difference of means; of means adjusted for the covariate, where there is one.

    Without a covariate Welch's t-test. With one the z-test of ``y − β (x − x̄)``, with β the slope over both arms: the
    regression form of CUPED, whose variance is ``1 − ρ²`` of the plain one's.

    Args:
        control: its users.
        treated: its users.
        alpha: level of the two-sided test; the interval is its complement.

    Raises:
        ImportError: spotify-confidence is not installed.

    Source: Deng, Xu, Kohavi and Walker 2013, Improving the sensitivity of online controlled experiments by utilizing
    pre-experiment data.
    """
    sides = {"control": control, "treated": treated}
    rows: dict[str, list[Any]] = {"arm": list(sides)}
    rows |= {name: [getattr(side, name) for side in sides.values()] for name in Moments._fields}
    settings = {
        "numerator_column": "y",
        "numerator_sum_squares_column": "yy",
        "denominator_column": "users",
        "categorical_group_columns": "arm",
        "interval_size": 1 - alpha,
    }
    with _confidence() as (library, pandas):
        if control.x is None:
            frame = pandas.DataFrame({name: rows[name] for name in ("arm", "users", "y", "yy")})
            test = library.StudentsTTest(frame, **settings)
        else:
            columns = {"feature_column": "x", "feature_sum_squares_column": "xx", "feature_cross_sum_column": "xy"}
            test = library.ZTestLinreg(pandas.DataFrame(rows), **settings, **columns)
        found = test.difference("control", "treated", verbose=True).iloc[0]  # std_err is told in this way alone
    names = ("difference", "std_err", "ci_lower", "ci_upper", "p-value")
    return Difference(*(float(found[name]) for name in names))


def users_needed(effect: float, variance: float, *, alpha: float, power: float, treated_share: float) -> int:
    """Users in both arms together for a test of fixed size.

    Args:
        effect: difference of means to be found.
        variance: of the metric, what a covariate leaves of it.
        alpha: level of the two-sided test.
        power: chance of finding the effect.
        treated_share: of the users.

    Raises:
        ImportError: spotify-confidence is not installed.
    """
    with _confidence() as (library, _):
        total, _, _ = library.SampleSize.continuous(
            effect,
            variance,
            alpha=alpha,
            power=power,
            treatments=2,
            treatment_allocations=np.array([1 - treated_share, treated_share]),
        )
    return int(total)


def ratio_chance(users: Mapping[str, int], expected: Mapping[str, float]) -> float:
    """p-value of the arms' sizes, if users are split by the expected shares: Pearson's chi-square test.

    Raises:
        ImportError: spotify-confidence is not installed.
    """
    with _confidence() as (library, pandas):
        frame = pandas.DataFrame({"arm": list(users), "users": list(users.values())}).assign(y=0.0, yy=0.0)
        test = library.ZTest(
            frame,
            numerator_column="y",
            numerator_sum_squares_column="yy",
            denominator_column="users",
            categorical_group_columns="arm",
        )
        chance, _ = test.sample_ratio_test(dict(expected))
    return float(chance)


def spending_bounds(information: npt.ArrayLike, *, alpha: float) -> Doubles:
    """Bounds on |z| at each look of a group-sequential test that has spent ``alpha · t²`` by information t.

    Args:
        information: (looks,) rising, in (0, 1].
        alpha: level of the two-sided test.

    Raises:
        ImportError: spotify-confidence is not installed.

    Source: Lan and DeMets 1983, Discrete sequential boundaries for clinical trials.
    """
    with _confidence():
        from spotify_confidence.analysis.frequentist.confidence_computers.z_test_computer import sequential_bounds

        found = sequential_bounds(np.asarray(information, np.float64), alpha=alpha, sides=2).bounds
    return np.asarray(found, np.float64)


@contextmanager
def _confidence() -> Iterator[tuple[Any, Any]]:
    """The library and pandas, without pandas' warnings of what the library does by ways that are going away.

    Raises:
        ValueError: the library cannot do what is asked.
    """
    try:
        import pandas
        import spotify_confidence
    except ImportError as error:
        raise ImportError(
            "tests of differences need spotify-confidence, the extra reward[experiments]: "
            "pip install 'reward[experiments]'"
        ) from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", RuntimeWarning)  # what cannot be told comes out as NaN, and is refused
        try:
            yield spotify_confidence, pandas
        except Exception as error:
            raise ValueError(
                f"these numbers cannot be tested (spotify-confidence: {str(error).partition(', input param')[0]}): see "
                "that arms have users who differ, and looks information that rises"
            ) from error
