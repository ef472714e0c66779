"""A hash of users' ids: the same everywhere, even over its range, and different for different users."""

import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from scipy import stats

from reward.statistics.user_hash import user_hash

KINDS = {
    "numbers": np.arange(20_000),
    "numbers far apart": np.arange(20_000) * 2**40 - 2**62,
    "texts": [f"user-{code}" for code in range(20_000)],
    "long texts": [f"{code:05d}" + "x" * 60 for code in range(20_000)],
}


def plain(text):
    """The hash of one text, byte by byte, in whole numbers."""
    word = sum((byte + 1) * 0x9E3779B97F4A7C15 ** (place + 1) for place, byte in enumerate(text.encode())) % 2**64
    return finalised(word ^ 0x8CB92BA72F3D8DD7)


def finalised(word):
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    word = (word ^ (word >> 27)) * 0x94D049BB133111EB % 2**64
    return word ^ (word >> 31)


def test_the_finaliser_is_that_of_splitmix64():
    # the first outputs of the generator seeded with 1234567, as published with its reference code
    gamma = 0x9E3779B97F4A7C15
    found = [finalised((1234567 + gamma * step) % 2**64) for step in (1, 2, 3)]
    assert found == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_hashes_are_those_of_plain_arithmetic_and_so_of_every_machine():
    texts = ["", "a", "ann", "Zoë", "日本", "a" * 1000, "\0", "\0\0", "a​b"]
    assert user_hash(pl.Series(texts)).tolist() == [plain(text) for text in texts]
    numbers = [0, 1, -1, 2**63 - 1, -(2**63)]
    assert user_hash(numbers).tolist() == [finalised(number % 2**64 ^ 0xD1B54A32D192ED03) for number in numbers]


def test_another_process_hashes_alike():
    code = "from reward.statistics.user_hash import user_hash; print(user_hash(['ann', 'bob']).tolist())"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.strip() == str(user_hash(["ann", "bob"]).tolist())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (np.array([3, 4], np.int64), np.array([3, 4], np.uint8)),
        (np.array([3, 4]), pl.Series([3, 4], dtype=pl.Int32)),
        (np.array(["ann", "bo"]), np.array(["ann", "bo"], object)),
        (["ann", "bo"], pl.Series(["ann", "bo"], dtype=pl.Categorical)),
    ],
)
def test_the_kind_of_array_does_not_matter(one, other):
    np.testing.assert_array_equal(user_hash(one), user_hash(other))


def test_a_hash_does_not_depend_on_who_else_is_there(monkeypatch):
    texts = KINDS["texts"]
    whole = user_hash(texts)
    np.testing.assert_array_equal(user_hash(texts[::-1])[::-1], whole)
    monkeypatch.setattr("reward.statistics.user_hash._IDS_AT_ONCE", 7)
    np.testing.assert_array_equal(user_hash(texts[:100]), whole[:100])


def test_a_number_and_its_text_are_two_users():
    assert user_hash([5])[0] != user_hash(["5"])[0]


@pytest.mark.parametrize("ids", KINDS.values(), ids=KINDS.keys())
def test_hashes_are_even_over_their_range_bit_by_bit_and_byte_by_byte(ids):
    hashes = user_hash(ids)
    assert len(np.unique(hashes)) == len(hashes)
    bits = (hashes[:, None] >> np.arange(64).astype(np.uint64)) & np.uint64(1)
    ones = bits.mean(axis=0)
    assert np.abs(ones - 0.5).max() < 4.5 * 0.5 / np.sqrt(len(hashes))
    together = np.corrcoef(bits.T.astype(float)) - np.eye(64)
    assert np.abs(together).max() < 5.5 / np.sqrt(len(hashes))
    for byte in hashes.view(np.uint8).reshape(-1, 8).T:
        assert stats.chisquare(np.bincount(byte, minlength=256)).pvalue > 1e-4


def test_no_ids_have_no_hashes():
    assert user_hash([]).shape == (0,)
    assert user_hash(pl.Series([], dtype=pl.String)).shape == (0,)


@pytest.mark.parametrize(
    ("ids", "told"),
    [
        ([1.5, 2.0], "whole numbers or texts, got Float64"),
        (["ann", None], "got String with 1 nulls"),
        (pl.Series([1, None]), "on every row, got 1 nulls"),
        (np.array(["ann", 1], object), "all whole numbers or all texts, got others"),
        ([[1, 2]], r"one id a row, got shape \(1, 2\)"),
    ],
)
def test_ids_of_no_user_are_refused(ids, told):
    with pytest.raises(ValueError, match=told):
        user_hash(ids)
