"""The input files: finding them, their formats and columns, and cutting them into ranges."""

from __future__ import annotations

import csv
import glob
import itertools
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow.parquet as pq

from mtl_tf.errors import DataError, UserError, did_you_mean
from mtl_tf.schema import SPLITS
from pipelines.sources import text

RANGE_BYTES = 64 << 20
FORMATS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
}
_MAX_PROBE_BYTES = 4 << 20
_MAX_PROBE_LINES = 1000
_MAX_NAMES_SHOWN = 60


@dataclass(frozen=True)
class Source:
    """One input file.

    Attributes:
        path: As the user named it.
        absolute: The absolute path: workers may run in another folder.
        format: "csv", "tsv", "jsonl" or "parquet".
        compression: "gz", "xz", "bz2" or empty.
        split: The split of all its rows; empty if they are split by hash.
        bytes: Size of the file.
        columns: Its columns; of JSON Lines, those of the first rows.
    """

    path: str
    absolute: str
    format: str
    compression: str
    split: str
    bytes: int
    columns: tuple[str, ...]


class FileRange(NamedTuple):
    """A part of one file, the unit of work: a byte range, or row groups of Parquet.

    Attributes:
        range_index: Place among all ranges of the job; the same for any number of workers.
        file: Place of the file among the sources.
        path: See `Source`; also the following ones, up to `columns`.
        start: First byte (or row group).
        end: Byte (or row group) after the last one; -1 is the end of the file.
        first_row: Rows of the file before this range, of Parquet.
    """

    range_index: int
    file: int
    path: str
    absolute: str
    format: str
    compression: str
    split: str
    columns: Sequence[str]
    start: int
    end: int
    first_row: int


def plan(inputs: Sequence[str], wanted: Sequence[str]) -> tuple[list[Source], list[FileRange]]:
    """Return the files of `[SPLIT=]PATTERN` arguments and their ranges, in a fixed order.

    Raises:
        UserError: Nothing matches; a file is unreadable, of unknown format, or given twice.
        DataError: A file is empty, its header damaged, or a wanted column missing.
    """
    sources = [_source(split, path, wanted) for split, path in expand(inputs)]
    ranges: list[FileRange] = []
    for number, source in enumerate(sources):
        for start, end, first_row in _cuts(source):
            ranges.append(
                FileRange(
                    len(ranges), number, source.path, source.absolute,
                    source.format, source.compression, source.split, source.columns,
                    start, end, first_row,
                )
            )  # fmt: skip
    return sources, ranges


def expand(inputs: Sequence[str]) -> list[tuple[str, str]]:
    """Return (split or "", path) of every file, in the order given, globs sorted."""
    found: list[tuple[str, str]] = []
    seen: dict[str, str] = {}
    for given in inputs:
        split, pattern = _split_and_pattern(given)
        for path in _matches(pattern):
            real = os.path.realpath(path)
            if real in seen:
                raise UserError(
                    f"input {path!r} is given twice ({seen[real]!r} and {given!r}); its rows would "
                    "count twice or be in two splits; give each file once"
                )
            seen[real] = given
            found.append((split, path))
    return found


def _split_and_pattern(given: str) -> tuple[str, str]:
    split, equals, rest = given.partition("=")
    if not equals or os.path.exists(given) or not split.isidentifier():
        return "", given
    if split not in SPLITS:
        raise UserError(
            f"--input {given}: unknown split {split!r}; use one of {', '.join(SPLITS)} before `=`"
        )
    return split, rest


def _matches(pattern: str) -> list[str]:
    if "://" in pattern:
        raise UserError(
            f"--input {pattern}: expected a path that every worker can open; received a URL; "
            "mount the store (NFS, FUSE) or copy the files first"
        )
    if os.path.isdir(pattern):
        raise UserError(f"--input {pattern}: is a folder; give its files, e.g. '{pattern}/*.csv'")
    if os.path.exists(pattern):
        return [pattern]
    paths = sorted(path for path in glob.glob(pattern, recursive=True) if os.path.isfile(path))
    if not paths:
        what = "no file matches" if glob.has_magic(pattern) else "no such file"
        raise UserError(f"--input {pattern}: {what}; check the path")
    return paths


def kind_of(path: str) -> tuple[str, str]:
    """Return (format, compression) by the file's name, e.g. ("csv", "xz")."""
    stem, suffix = os.path.splitext(path.lower())
    compression = suffix[1:] if suffix in text.COMPRESSIONS else ""
    suffix = os.path.splitext(stem)[1] if compression else suffix
    if suffix not in FORMATS or (compression and FORMATS[suffix] == "parquet"):
        raise UserError(
            f"input {path!r}: unknown format; expected a name ending in "
            f"{', '.join(FORMATS)}, text also with {', '.join(text.COMPRESSIONS)}"
        )
    return FORMATS[suffix], compression


def _source(split: str, path: str, wanted: Sequence[str]) -> Source:
    format_, compression = kind_of(path)
    try:
        size = os.path.getsize(path)
        if size == 0:
            raise DataError(f"{path}: is empty; omit it or write it again")
        columns = _columns(path, format_, compression)
    except text.UNREADABLE as error:
        kind = UserError if isinstance(error, PermissionError) else DataError
        raise kind(f"{path}: cannot be read ({text.why(error)}); check the file") from None
    if format_ != "jsonl":
        check_columns(path, columns, wanted)
    return Source(path, os.path.abspath(path), format_, compression, split, size, tuple(columns))


def _columns(path: str, format_: str, compression: str) -> list[str]:
    if format_ == "parquet":
        return list(pq.read_schema(path).names)
    lines = _MAX_PROBE_LINES if format_ == "jsonl" else 1
    data = text.beginning(path, compression, lines, _MAX_PROBE_BYTES)
    if not data:
        raise DataError(f"{path}: is empty; omit it or write it again")
    return _keys(data) if format_ == "jsonl" else _header(path, format_, data)


def _header(path: str, format_: str, data: bytes) -> list[str]:
    try:
        header = data.split(b"\n", 1)[0].decode("utf-8-sig").rstrip("\r")
    except UnicodeDecodeError:
        raise DataError(f"{path}: the header line is not UTF-8 text; convert the file") from None
    names = next(csv.reader([header], delimiter=text.DELIMITERS[format_]), [])
    if not names:
        raise DataError(f"{path}: the first line is blank; expected a header of column names")
    return names


def _keys(data: bytes) -> list[str]:
    """Return every key of the first rows, in order of first use."""
    keys: dict[str, None] = {}
    for line in data.removeprefix(text.BYTE_ORDER_MARK).split(b"\n"):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):  # the worker rejects it, or it is cut off here
            continue
        keys |= dict.fromkeys(row if isinstance(row, dict) else ())
    return list(keys)


def check_columns(path: str, columns: Sequence[str], wanted: Sequence[str]) -> None:
    """Raise a `DataError` unless every wanted column is there once."""
    for name in wanted:
        if name not in columns:
            raise missing_column(path, name, columns)
        if list(columns).count(name) > 1:
            raise DataError(f"{path}: column {name!r} appears more than once; rename one of them")


def missing_column(
    path: str, name: str, columns: Sequence[str], problem: str = "no column"
) -> DataError:
    """Return the error for a missing column, with the columns of the file."""
    shown = ", ".join(repr(column) for column in columns[:_MAX_NAMES_SHOWN])
    more = len(columns) - _MAX_NAMES_SHOWN
    return DataError(
        f"{path}: {problem} {name!r}, which the configuration reads.{did_you_mean(name, columns)} "
        f"It has {shown or 'none'}{f' and {more} more' if more > 0 else ''}"
    )


def _cuts(source: Source) -> list[tuple[int, int, int]]:
    if source.format == "parquet":
        return _row_groups(source.path)
    if source.compression or source.bytes <= RANGE_BYTES:
        return [(0, -1, 0)]
    count = -(-source.bytes // RANGE_BYTES)
    edges = [source.bytes * i // count for i in range(count)] + [-1]
    return [(start, end, 0) for start, end in itertools.pairwise(edges)]


def _row_groups(path: str) -> list[tuple[int, int, int]]:
    metadata = pq.read_metadata(path)
    cuts, start, first_row, size, rows = [], 0, 0, 0, 0
    for group in range(metadata.num_row_groups):
        size += metadata.row_group(group).total_byte_size
        rows += metadata.row_group(group).num_rows
        if size >= RANGE_BYTES or group == metadata.num_row_groups - 1:
            cuts.append((start, group + 1, first_row))
            start, first_row, size = group + 1, first_row + rows, 0
            rows = 0
    return cuts
