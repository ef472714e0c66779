"""Slates and balance of a log that is cut into chunks of users are those of the log."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from reward.causal.diagnostics.balance import balance, balance_of
from reward.causal.diagnostics.covariates import Windows
from reward.data.chunk_cache import ChunkCache
from reward.data.event_log import SchemaError
from reward.data.prepared import PreparedLog
from reward.data.slates import ActiveDays, Live, past_activity, slates_in, slates_of
from reward.statistics.gathered import Gathered
from reward.statistics.sums import fold, total

FIGURES = ("spread", "unweighted", "z")


@pytest.fixture(scope="module")
def logged(log_of):
    return log_of("confounded", users=200)


@pytest.fixture(scope="module")
def prepared(logged):
    return PreparedLog.of(logged[0])


@pytest.fixture(scope="module")
def of_chunks(settings):
    def check(prepared, chunks, propensity, half=None, **changes):
        told = settings("balance", half=half, **changes)
        windows = Windows(*(told.pop(name) for name in ("spans_days", "prior_days", "placebo_days", "last_days")))
        return balance_of(prepared, chunks, propensity, windows=windows, **told)

    return check


@pytest.fixture(scope="module")
def whole(logged, settings):
    return balance(*logged, **settings("balance"))


def test_slates_are_the_same_however_users_are_cut(prepared, cut):
    wanted, chunks = slates_of(prepared), cut(prepared)
    catalogue = fold(Live(prepared.items["item_id"]), chunks)
    for name in ("day", "first", "last"):
        np.testing.assert_array_equal(getattr(catalogue, name), getattr(wanted.catalogue, name))
    assert catalogue.item_ids.to_list() == wanted.item_ids.to_list()
    parts = total(Gathered.of(it.first, slates_in(it, catalogue)) for it in chunks)
    first = np.append(0, np.cumsum([len(it.user) for it in parts.in_order]))
    for name, begin in (("day", 0), ("place", 0), ("item", 0), ("user", parts.first), ("row", first)):
        found = [
            getattr(it, name) + (begin[k] if name in ("user", "row") else 0) for k, it in enumerate(parts.in_order)
        ]
        np.testing.assert_array_equal(np.concatenate(found), getattr(wanted, name))


def test_past_activity_is_the_same_however_users_are_cut(prepared, cut):
    wanted, chunks = past_activity(slates_of(prepared), (3.0, 7.0), 7.0, 2), cut(prepared)
    catalogue = fold(Live(prepared.items["item_id"]), chunks)
    slates = {it.first: slates_in(it, catalogue) for it in chunks}
    start = total(map(ActiveDays.of, slates.values())).share
    found = [past_activity(slates[it], (3.0, 7.0), 7.0, 2, start=start) for it in sorted(slates)]
    np.testing.assert_array_equal(np.concatenate(found), wanted)


def test_balance_is_the_same_however_users_are_cut(logged, prepared, cut, of_chunks, whole):
    found = of_chunks(prepared, cut(prepared), logged[1])
    for name in FIGURES:
        np.testing.assert_allclose(found.frame[name], whole.frame[name], rtol=0, atol=1e-10)
    assert found.frame["unweighted"].min() > 0.01
    assert (found.level, found.clipped, found.slots) == (whole.level, whole.clipped, whole.slots)


def test_weights_are_clipped_at_the_medians_of_all_users(logged, prepared, cut, of_chunks, settings):
    some = np.random.default_rng(0).random(len(logged[1])) < 0.02
    rare = np.where(some, logged[1] / 1000, logged[1])
    wanted = balance(logged[0], rare, **settings("balance", clip=20))
    found = of_chunks(prepared, cut(prepared), rare, clip=20)
    assert found.clipped == wanted.clipped > 0.01
    np.testing.assert_allclose(found.frame["z"], wanted.frame["z"], rtol=0, atol=1e-10)


def test_a_chunk_left_out_is_missed(logged, prepared, of_chunks, whole):
    chunks = list(prepared.chunks(len(prepared) // 16))
    found = of_chunks(prepared, chunks[:-1], logged[1])
    assert found.slots < whole.slots
    assert np.abs(found.frame["z"].to_numpy() - whole.frame["z"].to_numpy()).max() > 1e-6


def test_a_prepared_log_may_be_checked_for_balance(logged, prepared, whole, settings):
    small = replace(prepared, chunk_rows=len(prepared) // 5)  # little is kept, so the others are read anew in each pass
    assert len(list(small.chunks())) > 3
    found = balance(small, logged[1], **settings("balance"))
    for name in FIGURES:
        np.testing.assert_allclose(found.frame[name], whole.frame[name], rtol=0, atol=1e-10)
    with pytest.raises(SchemaError, match="one number a row"):
        balance(small, logged[1][1:], **settings("balance"))


def test_halves_may_be_given_for_a_prepared_log(logged, prepared, settings):
    half = prepared.every_user().user % 2
    told = settings("balance", half=half)
    assert balance(prepared, logged[1], **told).frame.equals(balance(*logged, **told).frame)
    with pytest.raises(ValueError, match="one for all rows of a user"):
        balance(prepared, logged[1], **settings("balance", half=half[1:]))


def test_items_of_the_table_that_nobody_was_shown_have_no_code(logged):
    log, _ = logged
    shown = log.items.select("item_id").collect()
    more = pl.concat([shown, pl.DataFrame({"item_id": [-1, 10**6]}, schema=shown.schema)])
    slates = slates_of(PreparedLog.of(replace(log, items=more.lazy(), item_features=())))
    assert slates.item_ids.to_list() == slates_of(replace(log, items=None, item_features=())).item_ids.to_list()
    assert set(slates.item) == set(range(len(slates.item_ids)))


def test_results_are_kept_until_their_chunks_have_so_many_rows(prepared):
    chunks, asked = list(prepared.chunks(len(prepared) // 4)), []
    cached = ChunkCache(lambda users: asked.append(users.first) or users.last, len(chunks[0]) + len(chunks[1]))
    for _ in range(2):
        assert [cached(it) for it in chunks] == [it.last for it in chunks]
    assert asked == [*(it.first for it in chunks), *(it.first for it in chunks[2:])]
