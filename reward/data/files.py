"""Parquet files, wherever they are, as one table."""

from __future__ import annotations

import os
from collections.abc import Sequence
from difflib import get_close_matches
from os import PathLike
from pathlib import Path

import polars as pl

from reward.data.event_log import SchemaError, reading

Source = str | PathLike[str] | pl.DataFrame | pl.LazyFrame

_MAGIC = b"PAR1"  # at the beginning and at the end of a parquet file
_SHORTEST = 12  # bytes
_ENDINGS = (".parquet", ".parq", ".pq")
_CONVERT = "for example with pandas.read_csv(...).to_parquet(...)"


def scan(what: str, source: Source, named: Sequence[str] = ()) -> pl.LazyFrame:
    """The rows of parquet files, of which only the schema is read.

    Args:
        what: their name in messages.
        source: a file, a folder, a glob or an object-store URL; or a polars frame, which is taken as it is.
        named: columns that will be read where they are there: all files must have them, or none.

    Raises:
        SchemaError: nothing is there, a file is no whole parquet file, or files do not go together.
    """
    if isinstance(source, pl.DataFrame | pl.LazyFrame):
        return source.lazy()
    if not isinstance(source, str | PathLike):
        raise SchemaError(f"{what} expected a path or a polars frame, got {type(source).__name__}: convert it")
    path = os.fspath(source)
    if "://" in path:
        with reading(f"{what} at {path}"):
            frame = pl.scan_parquet(path, extra_columns="ignore")
            frame.collect_schema()
        return frame
    root, files = _files(what, path)
    for file in files:
        _whole(what, file)
    hive = any("=" in part for file in files for part in file.relative_to(root).parts[:-1])
    with reading(f"{what} at {path}"):
        schemas = [pl.Schema(pl.read_parquet_schema(file)) for file in files] if len(files) > 1 else []
        frame = pl.scan_parquet(files, glob=False, hive_partitioning=hive, extra_columns="ignore")
        names = frame.collect_schema().names()
    differ = _differences(files, schemas, named)
    if differ:
        raise SchemaError(f"{what} at {path} cannot be read as one table: {'; '.join(differ)}: write all files alike")
    kinds = {name: {one[name] for one in schemas if name in one} for name in dict.fromkeys(named)}
    mixed = {name: types for name, types in kinds.items() if len(types) > 1}
    if not mixed:
        return frame
    told = [
        f"{name!r} is {' and '.join(sorted(map(str, types)))}" for name, types in mixed.items() if not _alike(types)
    ]
    if told:
        raise SchemaError(
            f"{what} at {path} cannot be read as one table: in its files {'; '.join(told)}: write them with one type"
        )
    with reading(f"{what} at {path}"):
        frames = [pl.scan_parquet(file, glob=False, hive_partitioning=False) for file in files]
        frame = pl.concat(
            [one.select(name for name in kinds if name in names and kinds[name]) for one in frames],
            how="vertical_relaxed",
        )
        frame.collect_schema()
    return frame


def _alike(types: set[pl.DataType]) -> bool:
    """Whether values of these types mean the same: numbers, moments of a zone, or names."""
    return (
        all(it.is_numeric() or it == pl.Boolean for it in types)
        or all(isinstance(it, pl.Datetime) for it in types)
        or all(it in (pl.String, pl.Categorical, pl.Enum) for it in types)
    )


def _differences(files: Sequence[Path], schemas: Sequence[pl.Schema], named: Sequence[str]) -> list[str]:
    """Named columns that are in some of the files alone."""
    told = []
    for name in dict.fromkeys(named):
        has = [name in one for one in schemas]
        if any(has) and not all(has):
            told.append(f"{name!r} is in {files[has.index(True)].name} and not in {files[has.index(False)].name}")
    return told


def _files(what: str, path: str) -> tuple[Path, list[Path]]:
    """The folder that a path is in or is, and the parquet files that it stands for, sorted."""
    place = Path(path)
    if path and place.is_file():
        return place.parent, [place]
    if path and place.is_dir():
        found = _inside(place)
        if not found:
            raise SchemaError(f"{what} at {path}: expected parquet files in this folder, found {_others(place)}")
        return place, found
    matched = matching(place)
    found = [file for it in matched for file in ([it] if it.is_file() else _inside(it))]
    if found:
        return Path(os.path.commonpath([file.parent for file in found])), found
    if any(sign in path for sign in "*?["):
        raise SchemaError(f"{what} at {path}: expected parquet files, no file matches; check the pattern")
    raise SchemaError(f"{what} at {path}: expected a file or folder, nothing is there{_nearby(place)}; check the path")


def matching(pattern: Path) -> list[Path]:
    """The files and folders that a glob stands for, sorted."""
    try:
        return sorted(Path(pattern.anchor or ".").glob(str(pattern.relative_to(pattern.anchor))))
    except (ValueError, IndexError, OSError):
        return []


def _inside(folder: Path) -> list[Path]:
    """The parquet files of a folder: Spark's and others' own files begin with a dot or an underscore."""
    found = []
    for file in sorted(folder.rglob("*")):
        hidden = any(part.startswith((".", "_")) for part in file.relative_to(folder).parts)
        if not hidden and file.is_file() and (file.name.lower().endswith(_ENDINGS) or _begins(file) == _MAGIC):
            found.append(file)
    return found


def _others(folder: Path) -> str:
    names = sorted(it.name for it in folder.iterdir())
    return f"{', '.join(names[:3])}{' and others' if len(names) > 3 else ''}" if names else "nothing"


def _begins(file: Path, count: int = len(_MAGIC)) -> bytes:
    with file.open("rb") as stream:
        return stream.read(count)


def _whole(what: str, file: Path) -> None:
    """Refuse what is no whole parquet file.

    Raises:
        SchemaError: it says what the file is, as far as can be seen.
    """
    try:
        size, begins = file.stat().st_size, _begins(file, 512)
        with file.open("rb") as stream:
            stream.seek(max(size - len(_MAGIC), 0))
            ends = stream.read()
    except OSError as error:
        raise SchemaError(
            f"{what} at {file} cannot be read: {error.strerror or error}; check its permissions"
        ) from error
    if size >= _SHORTEST and begins.startswith(_MAGIC) and ends == _MAGIC:
        return
    if size == 0:
        told = "is empty, 0 bytes, as a write that broke off leaves it: write it again, or take it away"
    elif begins.startswith(_MAGIC):
        told = "is a parquet file that is damaged or unfinished: write it again"
    elif begins.startswith(b"\x1f\x8b"):
        told = f"is no parquet file, it is compressed (gzip): expected parquet, convert it, {_CONVERT}"
    elif _text(begins):
        told = f"is no parquet file, it is text, such as CSV or JSON: expected parquet, convert it, {_CONVERT}"
    else:
        told = "is no parquet file: expected parquet, as pandas, polars, DuckDB and Spark write it"
    raise SchemaError(f"{what} at {file} cannot be read: it {told}")


def _text(begins: bytes) -> bool:
    try:
        told = begins.decode("utf-8", errors="strict" if len(begins) < 512 else "ignore")
    except UnicodeDecodeError:
        return False
    return all(sign.isprintable() or sign in "\r\n\t\ufeff" for sign in told)


def _nearby(place: Path) -> str:
    """The first part of a path that is not there, and names beside it that are like it."""
    missing = place
    while missing.parent != missing and not missing.parent.is_dir():
        missing = missing.parent
    beside = [it.name for it in missing.parent.iterdir()] if missing.parent.is_dir() else []
    near = get_close_matches(missing.name, beside)
    where = "" if missing == place else f", {missing} does not exist"
    return where + (f" (did you mean {' or '.join(map(repr, near))}?)" if near else "")
