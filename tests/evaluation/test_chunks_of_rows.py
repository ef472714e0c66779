"""Everything that judging measures is the same over a log cut by users into any chunks, in any order."""

import numpy as np
import polars as pl
import pytest

from reward.evaluation.auxiliary_sums import AuxiliaryRows, AuxiliarySums
from reward.evaluation.estimates import of_log
from reward.evaluation.evaluator import Evaluator, JudgedLog
from reward.evaluation.measure import measurements
from reward.evaluation.metric_table import JudgedRows, MetricEstimator
from reward.evaluation.slice_ratios import SlicedRows, SliceRatios
from reward.outcomes.protocol import DAYS
from reward.records import to_json
from reward.statistics.bootstrap import Resamples, Users
from reward.statistics.sums import fold, total

USERS, ROWS, HORIZON, LEVEL = 120, 900, 4, 0.9
DRAWS = Resamples(25, seed=3)
IDS = {
    "numbers": np.random.default_rng(0).permutation(10 * USERS)[:USERS] - 300,
    "texts": np.array([f"käufer {code:x}" for code in range(USERS)], object),
}
cuts = pytest.mark.parametrize(
    ("chunks", "order"), [(chunks, order) for chunks in (1, 3, 17) for order in range(3)], ids=lambda it: str(it)
)
kinds = pytest.mark.parametrize("ids", IDS.values(), ids=IDS.keys())


def log(seed=0):
    """Two predictions with ties, outcomes drawn from one of them, a right-censored mask, and whose rows they are."""
    generator = np.random.default_rng(seed)
    user = np.concatenate([np.arange(USERS), generator.integers(USERS, size=ROWS - USERS)])
    habit = generator.normal(size=USERS)[user, None]
    first = np.round(1 / (1 + np.exp(-habit + generator.normal(0, 0.3, (ROWS, HORIZON)))), 2)
    second = np.clip(first + generator.normal(0, 0.1, first.shape), 0.01, 0.99)
    trace = generator.random(first.shape) < np.clip(first, 0.01, 0.99)
    observed = np.arange(HORIZON) < generator.integers(0, HORIZON + 1, size=ROWS)[:, None]
    return np.clip(first, 0.01, 0.99), second, trace, observed, user


def cut(chunks, order, *columns, user):
    """Columns of the rows of each chunk of whole users; chunks and the rows of each in a random order."""
    generator = np.random.default_rng([chunks, order])
    chunk_of = generator.permutation(np.arange(USERS) % chunks)[user]
    for chunk in generator.permutation(chunks):
        some = generator.permutation(np.flatnonzero(chunk_of == chunk))
        yield [column[some] for column in columns]


def same(found, whole):
    np.testing.assert_allclose(found, whole, rtol=1e-10, atol=1e-10)


@kinds
@cuts
@pytest.mark.parametrize("once", [False, True])
def test_metrics_their_intervals_and_differences(chunks, order, ids, once):
    first, second, trace, observed, user = log()
    metrics = MetricEstimator(DRAWS, bins=5, once=once)
    whole = fold(metrics, [JudgedRows({"a": first, "b": second}, trace, observed, ids[user])])
    found = fold(
        metrics,
        (
            JudgedRows({"a": a, "b": b}, *rest)
            for a, b, *rest in cut(chunks, order, first, second, trace, observed, ids[user], user=user)
        ),
    )
    same(found.values, whole.values)
    np.testing.assert_array_equal(found.sizes, whole.sizes)
    assert np.isfinite(whole.values).all()
    for one, other in zip(alone_and_compared(found), alone_and_compared(whole), strict=True):
        same(one, other)


def alone_and_compared(table):
    """Values and ends of each prediction, and of one minus the other."""
    first, second = table.values[:, 0], table.values[:, 1]
    for values in (first, second, first - second):
        rows = measurements(values, table.sizes, LEVEL)
        yield [(row.value, row.low, row.high, row.rows, row.users) for row in rows]


@kinds
@cuts
def test_slices(chunks, order, ids):
    first, _, _, observed, user = log()
    inside = np.stack([user % 2 == 0, first[:, 0] > 0.5, user == 7], axis=1)
    slices = SliceRatios(DRAWS)
    given = (first, observed.astype(float), inside, ids[user])
    whole = fold(slices, [SlicedRows(*given[:3], Users.of(given[3]))])
    found = fold(slices, (SlicedRows(*rows, Users.of(whose)) for *rows, whose in cut(chunks, order, *given, user=user)))
    same(found.ratios, whole.ratios)
    np.testing.assert_array_equal(found.sizes, whole.sizes)
    assert whole.ratios.shape == (26, HORIZON, 3)


@kinds
@cuts
def test_auxiliary_outcomes(chunks, order, ids):
    first, second, _, observed, user = log()
    generator = np.random.default_rng(1)
    outcome = second + generator.normal(size=second.shape)
    average = np.array([0.4, 0.5, np.nan, 0.6])
    sums = AuxiliarySums(average, DRAWS)
    inside = first[:, 0] > 0.5
    given = (first, outcome, observed, inside, ids[user])

    def rows(predicted, outcome, known, inside, whose):
        return AuxiliaryRows(predicted, outcome, known, {"likely": inside}, whose)

    whole = fold(sums, [rows(*given)])
    found = fold(sums, (rows(*some) for some in cut(chunks, order, *given, user=user)))
    for one, other in zip(found[:4], whole[:4], strict=True):
        same(one, other)
        assert np.isfinite(other).all()
    same(found.slices.ratios, whole.slices.ratios)
    np.testing.assert_array_equal(found.slices.sizes, whole.slices.sizes)


def frame(ids, user, seed=2):
    """Rows as a run has them: items, clicks, the steps of the value, rewards and slices."""
    generator = np.random.default_rng(seed)
    item, before = generator.integers(12, size=ROWS), generator.normal(1.5, 0.3, ROWS)
    click = generator.random(ROWS) < 0.1 + item / 15
    exposed = before + 0.01 * item + generator.normal(0, 0.1, ROWS)
    columns = {
        "user_id": ids[user],
        "item_id": [f"item {it}" for it in item],
        of_log("click"): click,
        "value_before": before,
        "value_exposed": exposed,
        "value_after": exposed + 0.1 * click,
        "value_previous": np.where(generator.random(ROWS) < 0.2, np.nan, before + 0.1),
        "reward": exposed - before,
        "reward_std": np.full(ROWS, 0.05),
        "slice: even": user % 2 == 0,
        "slice: one user": user == 7,
    }
    return pl.DataFrame(columns).with_columns(pl.col("value_previous").fill_nan(None))


@kinds
@cuts
def test_all_of_an_evaluation(chunks, order, ids):
    first, second, trace, observed, user = log()
    rows = frame(ids, user)
    evaluator = Evaluator(
        model="reward model",
        unit="days",
        click="click",
        resamples=DRAWS,
        level=LEVEL,
        bins=4,
        min_slice_users=5,
        min_item_rows=10,
        points=DAYS,
    )
    base = np.full(first.shape, trace.mean())

    def judged(some):
        predictions = {"base rate": base[some], "activity only": second[some], "reward model": first[some]}
        return JudgedLog(predictions, trace[some], observed[some], rows[some])

    whole = leaves(to_json(fold(evaluator, [judged(np.arange(ROWS))])))
    places = cut(chunks, order, np.arange(ROWS), user=user)
    found = leaves(to_json(fold(evaluator, (judged(some) for (some,) in places))))
    assert found.keys() == whole.keys()
    words = {path for path, leaf in whole.items() if not isinstance(leaf, float)}
    assert {path: found[path] for path in words} == {path: whole[path] for path in words}
    numbers = sorted(whole.keys() - words)
    same([found[path] for path in numbers], [whole[path] for path in numbers])
    assert sum(path.endswith("/low") for path in numbers) > 100


def leaves(tree, path=""):
    """Each leaf of nested values, by its path."""
    if isinstance(tree, dict):
        return {at: leaf for key, it in tree.items() for at, leaf in leaves(it, f"{path}/{key}").items()}
    if isinstance(tree, list | tuple):
        return {at: leaf for place, it in enumerate(tree) for at, leaf in leaves(it, f"{path}/{place}").items()}
    return {path: tree}


def test_a_slice_without_the_one_impossible_row_has_its_loss_still():
    loss, inside = np.array([[np.inf], [1.0], [3.0]]), np.array([[True, False], [True, True], [True, True]])
    slices = SliceRatios(Resamples(5, seed=0))
    found = slices.solve(slices.partial(SlicedRows(loss, np.ones((3, 1)), inside, Users.of([1, 2, 3]))))
    np.testing.assert_array_equal(found.ratios[0], [[np.inf, 2.0]])
    np.testing.assert_array_equal(found.sizes, [[3, 3], [2, 2]])


def test_an_auxiliary_outcome_is_finite_where_it_is_known():
    sums = AuxiliarySums(np.zeros(1), DRAWS)
    rows = AuxiliaryRows(np.full((2, 1), np.nan), np.zeros((2, 1)), np.ones((2, 1), bool), {}, np.arange(2))
    with pytest.raises(ValueError, match="finite predictions and outcomes where they are known, got 2 others"):
        sums.partial(rows)


def test_chunks_of_other_predictions_do_not_add():
    metrics = MetricEstimator(Resamples(2, seed=0), bins=2, once=False)
    some = np.full((2, 1), 0.5), np.zeros((2, 1), bool), np.ones((2, 1), bool)
    rows = [JudgedRows({name: some[0]}, *some[1:], user) for name, user in (("a", [1, 2]), ("b", [3, 4]))]
    with pytest.raises(ValueError, match="the same predictions, in one order, of every chunk of users, got a and b"):
        fold(metrics, rows)


def test_chunks_of_other_slices_do_not_add():
    *_, user = log()
    rows = frame(IDS["numbers"], user)
    evaluator = Evaluator("a", "days", None, Resamples(2, seed=0), LEVEL, 2, 5, 10, DAYS)
    some = np.full((ROWS, 1), 0.5), np.zeros((ROWS, 1), bool), np.ones((ROWS, 1), bool)
    states = [evaluator.partial(JudgedLog({"a": some[0]}, *some[1:], it)) for it in (rows, rows.drop("slice: even"))]
    with pytest.raises(ValueError, match="slices of every chunk of users, got all rows, even, one user and all rows"):
        total(states)
