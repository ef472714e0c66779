"""Tables and tensors are measured before they are read, by what their own headers say."""

import json
from io import BytesIO

import numpy as np
import polars as pl
import pytest
import safetensors.torch
import torch

from reward.scoring.bounded import Shape, check_table, table, table_bytes, tensor_shapes, tensors


def peek_at(content):
    return lambda start, count: content[start : start + count]


def shapes_of(content):
    return tensor_shapes(peek_at(content), len(content))


def file_of(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(shape, start, stop, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


def test_shapes_are_those_of_the_tensors():
    content = safetensors.torch.save({"a": torch.ones(2, 3), "b": torch.zeros((), dtype=torch.float64)})
    assert shapes_of(content) == {"a": Shape("F32", (2, 3)), "b": Shape("F64", ())}
    assert torch.equal(tensors(content)["a"], torch.ones(2, 3))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"abc", "its header expected 1 to 0 bytes, says"),
        (file_of(b"[]"), "its header expected a table of at most"),
        (file_of({"a": 3}), "its tensor a expected a table of names, got 3"),
        (file_of({"a": entry([1], 0, 4, "F4096")}, b"1234"), "its tensor a is a F4096 of shape"),
        (file_of({"a": entry([-1], 0, 4)}, b"1234"), "its tensor a is a F32 of shape"),
        (file_of({"a": entry([1] * 9, 0, 4)}, b"1234"), "its tensor a is a F32 of shape"),
        (file_of({"a": entry([10**9], 0, 4)}, b"1234"), "does not have the 4 bytes it is given"),
        (file_of({"a": entry([1], 0, 4), "b": entry([1], 0, 4)}, b"1234"), "its tensors overlap or leave gaps"),
        (file_of({"a": entry([1], 4, 8)}, b"12345678"), "its tensors overlap or leave gaps"),
        (file_of({"a": entry([1], 0, 4)}, b"12345"), "its tensors expected a file of"),
    ],
)
def test_a_header_that_lies_is_refused(content, message):
    with pytest.raises(ValueError, match=message):
        shapes_of(content)


def test_what_is_no_safetensors_file_is_refused():
    with pytest.raises(ValueError, match="is no safetensors file"):
        tensors(b"abc")


def parquet_of(frame, **options):
    file = BytesIO()
    frame.write_parquet(file, **options)
    return file.getvalue()


def measured(content):
    check_table(peek_at(content), len(content))


@pytest.mark.parametrize("rows", [0, 1, 1000, 300_000])
@pytest.mark.parametrize("compression", ["zstd", "snappy", "uncompressed"])
def test_honest_tables_pass(rows, compression):
    number = np.arange(rows)
    frame = pl.DataFrame(
        {
            "item_id": number,
            "name": pl.Series([f"item {each}" for each in number], dtype=pl.String),
            "kind": pl.Series(["abc"[each % 3] for each in number], dtype=pl.String),
            "nothing": pl.Series([None] * rows, dtype=pl.Float64),
            "vector": pl.Series(np.random.default_rng(0).random((rows, 3))).arr.to_list(),
        }
    )
    content = parquet_of(frame, compression=compression)
    measured(content)
    assert table(content).equals(frame)


@pytest.mark.parametrize(
    "frame",
    [
        pl.DataFrame({"item_id": pl.repeat(7, 10_000_000, eager=True)}),
        pl.DataFrame({"genre": ["a" * 30_000_000]}),
        pl.DataFrame({"genre": pl.repeat("a" * 1000, 5_000_000, eager=True)}),
        pl.DataFrame({"vector": [pl.zeros(5_000_000, eager=True)]}),
        pl.DataFrame({"nothing": pl.repeat(None, 10_000_000, dtype=pl.Null, eager=True)}),
    ],
    ids=["rows", "a word", "words", "a vector", "nulls"],
)
def test_a_table_that_unpacks_to_far_more_than_its_file_is_refused(frame):
    content = parquet_of(frame)
    assert len(content) < 200_000
    with pytest.raises(ValueError, match=r"its tables take more than \d+ bytes of memory, for a file of"):
        measured(content)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda it: b"item_id,code", "is no parquet file"),
        (lambda it: it[:-8] + (2**31).to_bytes(4, "little") + b"PAR1", "its metadata expected at most"),
        (lambda it: it[:-60] + bytes(range(52)) + it[-8:], "its metadata"),
        (lambda it: it[:4] + bytes(1 << 20) + it[4:], "its metadata|most of it belongs to no column"),
    ],
)
def test_a_broken_table_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        measured(change(parquet_of(pl.DataFrame({"item_id": [1, 2]}))))


def test_what_cannot_be_read_is_said():
    with pytest.raises(ValueError, match="cannot be read as parquet"):
        table(b"PAR1 and nothing else PAR1")


MANY = 200_000
REPETITIVE = {
    "numbers in sequence": {},
    "codes that are none": {"code": np.zeros(MANY, np.int64)},
    "categories that are one": {f"c{place}": pl.repeat("a", MANY, eager=True) for place in range(20)},
    "numbers that are one": {f"n{place}": pl.repeat(3, MANY, dtype=pl.Int64, eager=True) for place in range(20)},
    "nothing but nulls": {f"n{place}": pl.repeat(None, MANY, dtype=pl.Float64, eager=True) for place in range(20)},
    "vectors of zeros": {"vector": pl.Series(np.zeros((MANY, 16))).arr.to_list()},
}


@pytest.mark.parametrize("name", REPETITIVE)
@pytest.mark.parametrize("ids", ["integers", "strings"])
def test_a_repetitive_table_is_packed_less_rather_than_refused(name, ids):
    number = pl.Series(np.arange(MANY))
    frame = pl.DataFrame({"item_id": number if ids == "integers" else number.cast(pl.String), **REPETITIVE[name]})
    content = table_bytes(frame)
    measured(content)
    assert len(content) < 2 * frame.estimated_size() + 100_000
    assert table(content).equals(frame)


@pytest.mark.parametrize("name", sorted(REPETITIVE.keys() - {"vectors of zeros"}))
def test_a_repetitive_table_of_an_earlier_format_is_read(name):
    content = parquet_of(pl.DataFrame({"item_id": np.arange(MANY), **REPETITIVE[name]}))
    check_table(peek_at(content), len(content), packed=True)


def test_a_table_that_no_packing_makes_fit_is_not_written():
    with pytest.raises(ValueError, match=r"its tables take more than \d+ bytes of memory"):
        table_bytes(pl.DataFrame({"item_id": pl.repeat(7, 10_000_000, eager=True)}))
