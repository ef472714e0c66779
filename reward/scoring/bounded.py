"""Tables and tensors from files that nobody vouches for: their size is known before anything is allocated."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from math import prod
from typing import Any, Literal, NamedTuple, TypedDict

import polars as pl
import safetensors.torch
from torch import Tensor

from reward.plain import check, parse

MOST_HEADER = 1 << 20  # bytes
_MOST_TENSORS = 10_000
_MOST_DIMENSIONS = 8
_ITEM_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
_FREE = 1 << 18  # bytes that any table may take in memory
_CELL, _VIEW = 8, 16  # bytes of a value in memory: a number, a string
_STRINGS = {6, 7}  # physical types
_COMPRESSIONS: tuple[Literal["zstd", "lz4", "uncompressed"], ...] = ("zstd", "lz4", "uncompressed")
_PACKED = 8  # times smaller than by `table_bytes` may be what earlier formats packed
_DATA, _DICTIONARY, _DATA_2 = 0, 2, 3  # kinds of pages

Peek = Callable[[int, int], bytes]  # start and count to the bytes that are there


class Shape(NamedTuple):
    """What a header says of a tensor: ``dtype`` as safetensors names it, and its sizes."""

    dtype: str
    sizes: tuple[int, ...]


class _Entry(TypedDict):
    dtype: str
    shape: list[int]
    data_offsets: tuple[int, int]


def tensor_shapes(peek: Peek, size: int) -> dict[str, Shape]:
    """What the header of a safetensors file says, once it is known to agree with the size of the file.

    Args:
        peek: reads bytes.
        size: of the file, bytes.

    Raises:
        ValueError: it does not agree, or is no such header.
    """
    length = int.from_bytes(peek(0, 8), "little")
    if not 0 < length <= min(MOST_HEADER, size - 8):
        raise ValueError(f"its header expected 1 to {min(MOST_HEADER, max(size - 8, 0))} bytes, says {length}")
    header = parse(peek(8, length))
    if not isinstance(header, dict) or len(header) > _MOST_TENSORS:
        raise ValueError(f"its header expected a table of at most {_MOST_TENSORS} tensors")
    shapes, spans = {}, []
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        check(entry, _Entry, f"its tensor {name}")
        start, stop = entry["data_offsets"]
        sizes = entry["shape"]
        if entry["dtype"] not in _ITEM_BYTES or len(sizes) > _MOST_DIMENSIONS or min(sizes, default=0) < 0:
            raise ValueError(f"its tensor {name} is a {entry['dtype']} of shape {sizes[:_MOST_DIMENSIONS]}")
        if prod(sizes) * _ITEM_BYTES[entry["dtype"]] != stop - start:
            raise ValueError(f"its tensor {name} of shape {sizes} does not have the {stop - start} bytes it is given")
        shapes[name] = Shape(entry["dtype"], tuple(sizes))
        spans.append((start, stop))
    end = 0
    for start, stop in sorted(spans):
        if start != end:
            raise ValueError("its tensors overlap or leave gaps")
        end = stop
    if 8 + length + end != size:
        raise ValueError(f"its tensors expected a file of {8 + length + end} bytes, which has {size}")
    return shapes


def tensors(content: bytes) -> dict[str, Tensor]:
    """The tensors of a safetensors file whose `tensor_shapes` are known.

    Raises:
        ValueError: it is none.
    """
    try:
        return safetensors.torch.load(content)
    except safetensors.SafetensorError as error:
        raise ValueError(f"is no safetensors file: {error}") from error


def table_bytes(frame: pl.DataFrame) -> bytes:
    """A table as a parquet file that `check_table` passes: packed as well as it allows.

    Raises:
        ValueError: it does not pass, however it is packed.
    """
    for compression in _COMPRESSIONS:
        file = BytesIO()
        frame.write_parquet(file, compression=compression)
        content = file.getvalue()
        try:
            check_table(lambda start, count, it=content: it[start : start + count], len(content))  # type: ignore[misc]
        except ValueError:
            if compression == _COMPRESSIONS[-1]:
                raise
        else:
            break
    return content


def check_table(peek: Peek, size: int, *, packed: bool = False) -> None:
    """See that a parquet file takes no more memory than its size leads one to expect.

    Counted are the uncompressed bytes of each page, as the pages' own headers have them, and the values that they say
    they hold. Where ids are not packed, a row has 8 bytes or more in the file, and its value in a column takes 8 or 16
    in memory, however well the column is packed; so a table may take twice its file for each column, and twice.

    Args:
        peek: reads bytes.
        size: of the file, bytes.
        packed: whether ids may be packed, as before format 5.

    Raises:
        ValueError: it takes more, or is no parquet file.
    """
    if size < 12 or peek(0, 4) != b"PAR1" or peek(size - 4, 4) != b"PAR1":
        raise ValueError("is no parquet file")
    length = int.from_bytes(peek(size - 8, 4), "little")
    if not 0 < length <= min(MOST_HEADER, size - 12):
        raise ValueError(f"its metadata expected at most {min(MOST_HEADER, size - 12)} bytes, says {length}")
    try:
        _check_pages(peek, size, length, _PACKED if packed else 1)
    except (IndexError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError("its metadata is broken") from error


def table(content: bytes) -> pl.DataFrame:
    """The rows of a parquet file that `check_table` has passed.

    Raises:
        ValueError: it cannot be read.
    """
    try:
        return pl.read_parquet(BytesIO(content))
    except (Exception, pl.exceptions.PanicException) as error:
        raise ValueError(f"cannot be read as parquet: {str(error).partition(chr(10))[0]}") from error


def _check_pages(peek: Peek, size: int, length: int, packed: int) -> None:
    found = _Thrift(peek(size - 8 - length, length)).struct()
    rows, taken, covered = found[3], 0, 12 + length
    groups = found.get(4, [])
    columns = max((len(group[1]) for group in groups), default=0)
    most = _FREE + 2 * (columns + 1) * packed * size
    too_much = ValueError(f"its tables take more than {most} bytes of memory, for a file of {size}")
    if rows != sum(group[3] for group in groups):
        raise ValueError("its metadata counts its rows in two ways")
    for group in groups:
        for column in group[1]:
            chunk = column[3]
            start = min(place for place in (chunk[9], chunk.get(11)) if place)
            stop = start + chunk[7]
            if not (4 <= start <= stop <= size - 8 - length):
                raise ValueError("its metadata tells of bytes outside the file")
            covered += stop - start
            cell = _VIEW if chunk[1] in _STRINGS else _CELL
            unpacked = values = 0
            while start < stop:
                page, start = _page(peek, start, stop)
                unpacked, values = unpacked + page.size, values + page.values
                if taken + unpacked + cell * values > most:
                    raise too_much
            taken += unpacked + cell * max(group[3], chunk[5], values)
    if max(rows, taken, 0) > most:
        raise too_much
    if size > 2 * covered + _FREE:
        raise ValueError("most of it belongs to no column")


class _Page(NamedTuple):
    """What a page unpacks to, bytes, and how many values it holds."""

    size: int
    values: int


def _page(peek: Peek, start: int, stop: int) -> tuple[_Page, int]:
    """A page, and where it ends."""
    reader = _Thrift(peek(start, min(stop - start, _MOST_PAGE_HEADER)))
    page = reader.struct()
    counts = {_DATA: 5, _DICTIONARY: 7, _DATA_2: 8}
    values = page[counts[page[1]]][1] if page[1] in counts else 0
    if page[2] < 0 or page[3] < 0 or values < 0:
        raise ValueError("its pages have negative sizes")
    return _Page(page[2], values), start + reader.place + page[3]


_MOST_PAGE_HEADER = 1 << 16


class _Thrift:
    """Reads Thrift's compact protocol, in which parquet keeps its metadata: structs as tables by field number.

    Of what is told only integers, structs and lists of structs are kept.

    Source: https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
    """

    def __init__(self, content: bytes) -> None:
        self.content, self.place = content, 0

    def struct(self, depth: int = 0) -> dict[int, Any]:
        if depth > 16:
            raise ValueError("its metadata is nested too deeply")
        fields: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._signed()
            kind = head & 15
            value = None if kind in (1, 2) else self._value(kind, depth)
            if value is not None:
                fields[number] = value
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if kind in (1, 2, 3):
            return self._byte()
        if kind in (4, 5, 6):
            return self._signed()
        if kind in (7, 8):
            count = self._within(8 if kind == 7 else self._unsigned())
            self.place += count
            return None
        if kind in (9, 10):
            head = self._byte()
            count = self._within(head >> 4 if head >> 4 < 15 else self._unsigned())
            if head & 15 == 12:
                return [self.struct(depth + 1) for _ in range(count)]
            for _ in range(count):
                self._value(head & 15, depth + 1)
            return None
        if kind == 12:
            return self.struct(depth + 1)
        raise ValueError("its metadata is broken")

    def _within(self, count: int) -> int:
        if count > len(self.content) - self.place:
            raise ValueError("its metadata is broken")
        return count

    def _byte(self) -> int:
        self.place += 1
        return self.content[self.place - 1]

    def _unsigned(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
            if shift > 63:
                raise ValueError("its metadata is broken")

    def _signed(self) -> int:
        value = self._unsigned()
        return (value >> 1) ^ -(value & 1)
