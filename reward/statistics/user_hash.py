"""A hash of a user's id that is the same in every process, on every machine and in every version of every library."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from reward.arrays import Words

_BASE = np.uint64(0x9E3779B97F4A7C15)  # of the polynomial over a text's bytes: odd, 2^64 over the golden ratio
_NUMBER, _TEXT = np.uint64(0xD1B54A32D192ED03), np.uint64(0x8CB92BA72F3D8DD7)  # so that 5 and "5" are two users
_IDS_AT_ONCE = 1 << 16  # texts whose bytes are held as words at one time


def user_hash(ids: npt.ArrayLike | pl.Series) -> Words:
    """(n,) a hash of each user's id: whole numbers as Int64, texts as their UTF-8 bytes.

    A number is mixed by the finaliser of SplitMix64. A text is the polynomial ``Σ_j (byte_j + 1) · base^j`` modulo
    2^64, mixed alike. A hash depends on the id alone, so it is the same whoever else is there.

    Args:
        ids: (n,) whole numbers or texts.

    Raises:
        ValueError: another shape, another kind, or a null.

    Source:
        Steele, Lea and Flood (2014), Fast splittable pseudorandom number generators; Karp and Rabin (1987), Efficient
        randomized pattern-matching algorithms.

    >>> [hex(it) for it in user_hash([1, 2])]
    ['0x1d60447fea35413', '0xde0dd7eb3aacbec3']
    >>> user_hash(["ann", "bob"])[0] == user_hash(["bob", "ann"])[1]
    np.True_

    """
    column = ids if isinstance(ids, pl.Series) else _column(np.asarray(ids))
    if column.dtype.is_integer():
        if column.has_nulls():
            raise ValueError(f"expected the id of a user on every row, got {column.null_count()} nulls: fill or filter")
        return mixed(column.to_numpy().astype(np.int64).view(np.uint64) ^ _NUMBER)
    if column.dtype in (pl.Categorical, pl.Enum):
        column = column.cast(pl.String)
    if column.dtype != pl.String or column.has_nulls():
        raise ValueError(
            f"expected the id of a user on every row, whole numbers or texts, got {column.dtype} with "
            f"{column.null_count()} nulls: cast them to Int64 or String"
        )
    starts = [*range(0, len(column), _IDS_AT_ONCE), len(column)]
    parts = [_polynomial(column[first:last]) for first, last in pairwise(starts)]
    return mixed(np.concatenate([np.zeros(0, np.uint64), *parts]) ^ _TEXT)


def mixed(words: Words) -> Words:
    """Spread every bit of a word over all of its bits: SplitMix64's finaliser, one to one."""
    word = words.copy()
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        word ^= word >> np.uint64(shift)
        word *= np.uint64(factor)
    word ^= word >> np.uint64(31)
    return word


def _column(ids: npt.NDArray[Any]) -> pl.Series:
    """Ids of an array as a column."""
    if ids.ndim != 1:
        raise ValueError(f"expected one id a row, got shape {ids.shape}: pass the users as a vector")
    if ids.dtype.kind in "iu" or not len(ids):
        return pl.Series(ids.astype(np.int64))
    try:
        return pl.Series(ids.tolist(), dtype=pl.String if ids.dtype.kind in "OUT" else None, strict=True)
    except (TypeError, UnicodeError, pl.exceptions.PolarsError) as error:
        raise ValueError("expected users of one kind, all whole numbers or all texts, got others") from error


def _polynomial(texts: pl.Series) -> Words:
    """(n,) polynomials over the bytes of texts, which lie one after the other: none is padded."""
    length = texts.str.len_bytes().to_numpy().astype(np.int64)
    end = np.cumsum(length)
    start = end - length
    letters = np.frombuffer(texts.str.join("").item().encode(), np.uint8).astype(np.uint64) + np.uint64(1)
    power = np.multiply.accumulate(np.full(int(length.max(initial=0)), _BASE))
    sums = np.zeros(len(letters) + 1, np.uint64)
    np.cumsum(letters * power[np.arange(len(letters)) - np.repeat(start, length)], out=sums[1:])
    return sums[end] - sums[start]  # exact: sums are modulo 2^64
