"""Propensities of a log that is cut into chunks of users are those of the log."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from reward.causal.propensity.conditional_logit import estimate_propensities, propensities_of
from reward.causal.propensity.plausibility import check_chunks, check_propensities
from reward.causal.propensity.scales import ColumnScales, Levels, one_hot
from reward.data.prepared import Origin, PreparedLog
from reward.statistics.sums import total

SMALL = {"gate": "click", "spans_days": [3, 14], "memory_clicks": [5], "embedding_size": 4, "passes": 3}
WAYS = {
    "all that is live": {},
    "drawn candidates": {
        "max_candidates": 15,
        "chunk_slates": 64,
        "max_training_slates": 300,
        "calibration_slates": 400,
    },
    "context": {"context": ["surface"], "memory_clicks": []},
}


@pytest.fixture(scope="module")
def logged(log_of):
    return log_of("confounded", users=51, days=9, initial_items=25)


def same(found, wanted, rtol=1e-10):
    """All numbers of both are equal."""
    np.testing.assert_array_equal(found.half, wanted.half)
    np.testing.assert_allclose(found.propensity, wanted.propensity, rtol=rtol)
    np.testing.assert_allclose(found.calibration.bins, wanted.calibration.bins, rtol=rtol, atol=1e-10)
    for name in ("z", "excess", "log_likelihood", "held_out_log_likelihood", "uniform_log_likelihood"):
        assert getattr(found.calibration, name) == pytest.approx(getattr(wanted.calibration, name), rel=rtol, abs=1e-10)
    assert (found.rows, found.users, found.items, found.slates) == (
        wanted.rows,
        wanted.users,
        wanted.items,
        wanted.slates,
    )


@pytest.fixture(scope="module", params=WAYS)
def way(request, logged, settings):
    told = settings("propensities", **SMALL | WAYS[request.param])
    prepared = PreparedLog.of(logged[0])
    return prepared, told, estimate_propensities(logged[0], **told)


def test_propensities_are_the_same_however_users_are_cut(way, cut):
    prepared, told, wanted = way
    same(propensities_of(prepared, cut(prepared), told), wanted)


def test_learned_traits_are_the_same_however_users_are_cut(logged, settings, cut):
    prepared = PreparedLog.of(replace(logged[0], items=None, item_features=()))
    told = settings("propensities", **SMALL)
    same(propensities_of(prepared, cut(prepared), told), estimate_propensities(prepared.log, **told))


def test_what_is_not_kept_is_read_anew(way):
    prepared, told, wanted = way
    small = replace(prepared, chunk_rows=len(prepared) // 5)
    assert len(list(small.chunks())) > 4
    same(estimate_propensities(small, **told), wanted)


def test_a_log_on_disk_is_read_in_chunks(way, tmp_path):
    prepared, told, wanted = way
    read = prepared.kept_in(tmp_path / "log", "stamp", Origin())
    same(estimate_propensities(replace(read, chunk_rows=len(prepared) // 3), **told), wanted)


def test_candidates_are_drawn_where_there_are_too_many(logged, settings):
    every, drawn = (
        estimate_propensities(logged[0], **settings("propensities", **SMALL | WAYS[it]))
        for it in ("all that is live", "drawn candidates")
    )
    with pytest.raises(AssertionError):
        same(drawn, every, rtol=1e-3)


def test_scales_of_columns_are_the_same_however_rows_are_cut():
    rng = np.random.default_rng(0)
    table = rng.standard_normal((100, 5)) * [1, 1e200, 1e-200, 0, 1] + [0, 0, 0, 3, 1e6]
    table[rng.random(table.shape) < 0.1] = np.nan
    table[:40, 1] = np.nan
    wanted = ColumnScales.of(table).standard(table)
    for parts in (3, 17, 100):
        found = total(ColumnScales.of(it) for it in np.array_split(table, parts)).standard(table)
        np.testing.assert_allclose(found, wanted, rtol=1e-8, atol=1e-10)
    known = np.isfinite(table)
    for column in (0, 1, 2, 4):
        mine = wanted[known[:, column], column]
        assert (mine.mean(), mine.std()) == pytest.approx((0, 1), abs=1e-9)
    assert not wanted[:, 3].any()
    assert not wanted[~known].any()


def test_levels_of_a_column_are_the_most_frequent_however_rows_are_cut():
    column = pl.Series(["b", "a", None, "b", "c", "a", "d", "b", "a"])
    for parts in (1, 2, 9):
        found = total(Levels.of(column[int(a) : int(a) + -(-9 // parts)]) for a in range(0, 9, -(-9 // parts)))
        assert found.common(3).to_list() == ["a", "b", "c"]
    assert one_hot(column, found.common(2)).sum(axis=0).tolist() == [3, 3]
    assert one_hot(column, found.common(0)).tolist() == [[0.0]] * 9


@pytest.mark.parametrize("wrong", [None, 1.0, 0.0, 1e-80, 1e-30])
def test_whether_propensities_are_plausible_does_not_depend_on_how_users_are_cut(logged, cut, wrong):
    log, true = logged
    values = true if wrong is None else np.where(np.arange(len(true)) % 50 == 7, wrong, true)
    values = np.ones_like(true) if wrong == 1 else values
    given = replace(log, events=log.events.with_columns(pl.Series("propensity", values)))
    said = check_propensities(given)
    assert (said is None) == (wrong is None)
    prepared = PreparedLog.of(given)
    assert check_chunks(prepared, cut(prepared)) == said == check_propensities(prepared)
